import { expect, test } from "bun:test";
import { openHistory, rowsOf, TestDirectory } from "../database-support.ts";
import { answers, archiveAll, DAY, days, FIRST_DAY, NOW, perDay } from "./archive-support.ts";

const AUDIT = "SELECT subject, detail FROM audit_log WHERE action = 'history.delete' ORDER BY rowid";

test("whole days of the archive are deleted, with a row of the audit log for each", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.write(days(3));
  await archiveAll(history, 5);
  const before = await perDay(history);
  const trial = await history.archive.removeDays(FIRST_DAY + 2, NOW, true);
  expect(await perDay(history)).toEqual(before);
  expect(await history.archive.removeDays(FIRST_DAY + 2, NOW, false)).toEqual(trial);
  await history.archive.settled();
  expect(trial.map(({ subject }) => subject)).toEqual(["2025-10-01", "2025-10-02"]);
  const [[oldest] = []] = await rowsOf(history, "SELECT min(finished_at_ms) FROM workflow_runs");
  expect(Number(oldest)).toBeGreaterThanOrEqual((FIRST_DAY + 2) * DAY);
  expect(await rowsOf(history, "SELECT count(*) FROM audit_log WHERE subject LIKE 'etl.daily %'")).toEqual([
    [10],
  ]);
  const audit = await rowsOf(history, AUDIT.replace(" ORDER BY rowid", " ORDER BY subject"));
  expect(audit.map(([subject]) => subject)).toEqual(["2025-10-01", "2025-10-02"]);
  expect(JSON.parse(String(audit[0]?.[1]))).toMatchObject({ why: "CDKTR_ARCHIVE_KEEP", logstore: 20 });
  await history.close();
});

test("runs that a workflow does not keep are deleted from the database and from the archive, and nothing else is", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.write(days(6));
  const all = (await history.listRuns({ limit: 1000 })).filter((run) => run.workflow_id === "etl.hourly");
  const others =
    "SELECT count(*), sum(hash(l)::HUGEINT)::VARCHAR FROM logstore l WHERE workflow_id <> 'etl.hourly'";
  const [linesOfOthers, tasksOfOthers] = [
    await rowsOf(history, others),
    await rowsOf(history, others.replace("logstore", "task_runs")),
  ];
  await archiveAll(history, 5);
  const forgotten: string[] = [];
  const forget = async (runs: readonly string[]) => void forgotten.push(...runs);
  const rule = { workflow_id: "etl.hourly", days: null, runs: 5 };
  const trial = await history.archive.removeRuns(rule, NOW, { skipped: 0 }, forget);
  expect(forgotten).toEqual([]);
  const rest = await history.archive.removeRuns(rule, NOW, { skipped: all.length - 6 }, forget);
  expect(rest.removed.map(({ runs }) => runs)).toEqual([1]);
  expect((await history.archive.removeRuns(rule, NOW, { skipped: all.length - 5 }, forget)).removed).toEqual(
    [],
  );
  const done = await history.archive.removeRuns(rule, NOW, null, forget);
  const counts = (removed: typeof done) =>
    removed.removed.map(({ subject, runs, parts }) => [
      subject,
      runs,
      parts.map(({ table, rows }) => [table, rows]),
    ]);
  expect(counts(done)).toEqual(counts(trial));
  await history.archive.settled();
  const kept = all.slice(0, 5).map((run) => run.workflow_instance_id);
  expect(forgotten.toSorted()).toEqual(
    all
      .slice(5)
      .map((run) => run.workflow_instance_id)
      .toSorted(),
  );
  const left = (await history.listRuns({ limit: 1000 })).filter((run) => run.workflow_id === "etl.hourly");
  expect(left.map((run) => run.workflow_instance_id)).toEqual(kept);
  const names = kept.map((id) => `'${id}'`).join(", ");
  for (const table of ["logstore", "workflow_run_status", "task_run_status", "task_runs"])
    expect(
      await rowsOf(
        history,
        `SELECT count(*) FROM ${table} WHERE workflow_id = 'etl.hourly' AND workflow_instance_id NOT IN (${names})`,
      ),
    ).toEqual([[0]]);
  expect(await rowsOf(history, others)).toEqual(linesOfOthers);
  expect(await rowsOf(history, others.replace("logstore", "task_runs"))).toEqual(tasksOfOthers);
  const [audit = []] = await rowsOf(history, AUDIT.replace(" ORDER BY rowid", ""));
  expect(audit[0]).toBe("etl.hourly");
  expect(JSON.parse(String(audit[1]))).toMatchObject({ why: "retention: {runs: 5}", runs: all.length - 5 });
  // Lines that were archived before go on in their order.
  const { all: lines } = await answers(history);
  await archiveAll(history, 3);
  expect((await answers(history)).all).toEqual(lines);
  expect((await history.archive.removeRuns(rule, NOW, null, forget)).removed).toEqual([]);
  await history.close();
}, 60_000);

test("what was told of a run days after it is deleted with it, also from the archive", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.write(days(1));
  const [first] = (await history.listRuns({ limit: 100 })).toReversed();
  if (first === undefined) throw new Error("no runs");
  const { workflow_id, workflow_instance_id, created_at_ms } = first;
  const row = {
    alert_id: "a",
    timestamp_ms: created_at_ms + 3 * DAY,
    event: "sent" as const,
    kind: "failed",
    workflow_id,
    workflow_instance_id,
    key: "k",
    subject: "it failed",
    channel: "ops",
    error: null,
  };
  await history.write({ logs: [], statuses: [{ id: 1e6, table: "alert_log", row }], disordered: [] });
  await archiveAll(history, 5);
  const rows = () =>
    rowsOf(history, `SELECT count(*) FROM alert_log WHERE workflow_instance_id = '${workflow_instance_id}'`);
  expect(await rows()).toEqual([[1]]);
  // The first one only.
  const { removed } = await history.archive.removeRuns(
    { workflow_id, days: 11, runs: null },
    NOW,
    null,
    async () => {},
  );
  expect(removed.map(({ runs }) => runs)).toEqual([1]);
  expect(await rows()).toEqual([[0]]);
  await history.close();
}, 60_000);
