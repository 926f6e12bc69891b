/** Histories over many days, and what is asked of them. */

import type { PendingStatus } from "../../../src/contract/history-rows.ts";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import type { HistoryBatch } from "../../../src/history/database/write.ts";
import { line, rowsOf, runRow, taskRow } from "../database-support.ts";

export const DAY = 86_400_000;
/** The first day of the histories: 2025-10-01. */
export const FIRST_DAY = 20_362;
/** "Now" in the tests: 12 days later, at noon. */
export const NOW = (FIRST_DAY + 12) * DAY + DAY / 2;

/** Like those of runs, in no order. */
const runId = (timeMs: number, n: number) =>
  new Bun.CryptoHasher("md5").update(`${timeMs} ${n}`).digest("hex");

/**
 * Twelve days of runs, or so many: some fail, one a day goes past midnight, one of the first day is still running, the clock of an agent goes back, and
 * audit rows and alerts come in.
 */
export function days(perDay = 12, count = 12): HistoryBatch {
  const statuses: PendingStatus[] = [];
  const lines: string[] = [];
  const disordered: string[] = [];
  let id = 0;
  for (let day = 0; day < count; day++)
    for (let n = 0; n < perDay; n++) {
      const at = (FIRST_DAY + day) * DAY + Math.floor((n * DAY) / perDay);
      const run = runId(at, n);
      const workflow_id = n % 3 === 0 ? "etl.hourly" : "etl.daily";
      const runs = { workflow_id, workflow_instance_id: run, created_at_ms: at, scheduled_time_ms: at };
      const tasks = { workflow_id, workflow_instance_id: run, task_instance_id: `task-${run}` };
      const isOpen = day === 0 && n === 1;
      const took = n === perDay - 1 ? DAY / perDay + 5000 : 60_000;
      const end = n % 5 === 4 ? "FAILED" : "COMPLETED";
      const add = (timestamp_ms: number, table: "run" | "task", row: object) =>
        statuses.push(
          table === "run"
            ? { id: ++id, table: "workflow_run_status", row: runRow({ ...runs, timestamp_ms, ...row }) }
            : { id: ++id, table: "task_run_status", row: taskRow({ ...tasks, timestamp_ms, ...row }) },
        );
      add(at, "run", { status: "PENDING" });
      add(at + 5, "run", { status: "RUNNING", agent_id: "agent-1" });
      add(at + 6, "task", { status: "RUNNING" });
      if (n % 4 === 0) {
        add(at + 20, "run", { status: "CRASHED", error: "lost" });
        add(at + 30, "run", { status: "RUNNING", attempt: 2, agent_id: "agent-2" });
      }
      if (!isOpen) {
        add(at + took, "task", { status: end, exit_code: end === "FAILED" ? 3 : 0, outputs: '{"rows":"7"}' });
        add(at + took, "run", { status: end, attempt: n % 4 === 0 ? 2 : 1, outputs: '{"total":"9"}' });
      }
      // The clock of every seventh task goes back, and its last line is from the next day.
      const goesBack = n % 7 === 2;
      if (goesBack) disordered.push(`task-${run}`);
      for (let i = 0; i < 10; i++)
        lines.push(
          line({
            ...runs,
            ...tasks,
            timestamp_ms: at + (goesBack && i > 5 ? i - 500 : i * (took / 10)),
            payload: `line ${i} of ${run}`,
            level: i === 3 ? "ERROR" : "INFO",
          }),
        );
    }
  for (let day = 0; day < count; day++) {
    const timestamp_ms = (FIRST_DAY + day) * DAY + 1000;
    statuses.push({
      id: ++id,
      table: "audit_log",
      row: {
        timestamp_ms,
        actor: "ana",
        role: "admin",
        action: "run.trigger",
        subject: `etl.daily ${day}`,
        detail: null,
        outcome: "done",
        source: "local",
      },
    } as PendingStatus);
  }
  return { logs: [{ agent_id: "agent-1", stream_id: "s", first_seq: 1, lines }], statuses, disordered };
}

/** Moves everything that is older than so many days. @returns days and rows by table */
export async function archiveAll(history: HistoryDatabase, keepDays: number) {
  const cut = (Math.floor(NOW / DAY) - keepDays) * DAY;
  const moved = [];
  for (const day of await history.archive.plan(cut))
    moved.push(await history.archive.move(day, cut, NOW, false));
  return moved;
}

const ofTable = (table: string, time = "timestamp_ms") =>
  `SELECT '${table}' AS name, ${time} // ${DAY} AS day, count(*) AS rows, sum(hash(t)::HUGEINT)::VARCHAR AS hash FROM ${table} t GROUP BY ALL`;

/** A user's statement for the count and the hash of each day. */
export const perDaySql = `FROM (${[
  ofTable("logstore"),
  ofTable("workflow_run_status"),
  ofTable("task_run_status"),
  `${ofTable("audit_log").replace("GROUP BY", "WHERE actor = 'ana' GROUP BY")}`,
  ofTable("alert_log"),
  ofTable("workflow_runs", "created_at_ms"),
  ofTable("task_runs", "created_at_ms"),
].join(" UNION ALL ")}) ORDER BY ALL`;

/** The count and the hash of each day. */
export const perDay = (history: HistoryDatabase) => rowsOf(history, perDaySql);

/** All that cdktr itself asks, and some of what users ask. */
export async function answers(history: HistoryDatabase): Promise<Record<string, unknown>> {
  const oldRun = runId(FIRST_DAY * DAY + DAY / 6, 2);
  const pages: unknown[][] = [];
  for (let after: number | undefined, n = 0; n < 50; n++) {
    const page = await history.searchLogs({ limit: 300, ...(after === undefined ? {} : { after }) });
    pages.push(...page.rows);
    if (page.next === null) break;
    after = page.next;
  }
  const noon = (FIRST_DAY + 2) * DAY + DAY / 2;
  return {
    perDay: await perDay(history),
    all: (await history.searchLogs({})).rows,
    newest: (await history.searchLogs({ limit: 40 })).rows,
    day: (await history.searchLogs({ since_ms: noon, until_ms: noon + DAY })).rows,
    run: (await history.searchLogs({ workflow_instance_id: oldRun })).rows,
    task: (await history.searchLogs({ task: "extract", limit: 25 })).rows,
    errors: (await history.searchLogs({ level: "ERROR", grep: "line 3", limit: 20 })).rows,
    pages,
    text: await history.queryLogLines({
      endMs: noon + DAY,
      startMs: noon,
      workflowId: "etl.daily",
      workflowInstanceId: null,
      verbose: true,
    }),
    found: await history.findRun(oldRun, true),
    none: await history.findRun("nothing", true),
    runs: await history.listRuns({ limit: 1000 }),
    some: await history.listRuns({ limit: 7 }),
    failed: await history.listRuns({ limit: 9, status: "FAILED", workflow_id: "etl.daily" }),
    before: await history.listRuns({ limit: 5 }, noon),
    prefix: await history.listRuns({ limit: 5, id_prefix: oldRun.slice(0, 10) }),
    firings: await history.findFirings("etl.hourly", [FIRST_DAY * DAY, (FIRST_DAY + 3) * DAY]),
    outputs: [...((await history.findOutputs([`task-${oldRun}`])) ?? [])],
    statuses: (await history.statusesOf([oldRun, "nothing"])).map((run) => ({
      ...run,
      tasks: [...run.tasks],
    })),
    unfinished: (await history.unfinished()).map((run) => ({ ...run, tasks: [...run.tasks] })),
    user: await rowsOf(
      history,
      "SELECT workflow_id, status, count(*), max(duration_ms) FROM workflow_runs WHERE status = 'FAILED' OR attempt = 2 GROUP BY ALL ORDER BY ALL",
    ),
    join: await rowsOf(
      history,
      "SELECT l.payload FROM task_runs t JOIN logstore l USING (task_instance_id) WHERE t.status = 'FAILED' AND l.level = 'ERROR' ORDER BY ALL",
    ),
    columns: await rowsOf(history, "DESCRIBE logstore"),
    columnsOfRuns: await rowsOf(history, "DESCRIBE workflow_runs"),
  };
}
