import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { HistoryUnavailableError } from "../../../src/contract/history.ts";
import type { PendingStatus, RunStatusRow } from "../../../src/contract/history-rows.ts";
import type { ListItems } from "../../../src/contract/messages.ts";
import { openDatabase } from "../../../src/history/database/duckdb.ts";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import type { RunStatus } from "../../../src/workflow/status.ts";
import { pythonWith } from "../../support/python.ts";
import { line, logs, openHistory, rowsOf, runRow, TestDirectory, taskRow } from "../database-support.ts";

const run = (id: number, fields: Parameters<typeof runRow>[0] = {}): PendingStatus => ({
  id,
  table: "workflow_run_status",
  row: runRow(fields),
});
const task = (id: number, fields: Parameters<typeof taskRow>[0] = {}): PendingStatus => ({
  id,
  table: "task_run_status",
  row: taskRow(fields),
});

describe("writing", () => {
  test("stores the columns of a line exactly, whatever its text", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const payloads = [
      "",
      "plain",
      "a\x01b\x01",
      "nul \0 here",
      "\r progress",
      "é ✓ 𝄞",
      "'quotes' \"too\" \\n",
      " ",
    ];
    await history.write(
      logs(
        "s",
        1,
        payloads.map((payload) => line({ payload })),
      ),
    );
    const rows = await rowsOf(
      history,
      "SELECT payload, level, timestamp_ms, agent_id, stream_id, seq FROM logstore ORDER BY seq",
    );
    expect(rows).toEqual(
      payloads.map((payload, i) => [payload, "INFO", 1_760_000_000_000, "agent-1", "s", i + 1]),
    );
    await history.close();
  });

  test.each([1, 2, 3, 4])(
    "stores runs of lines that are alike, and what is between them, as they are (%d)",
    async (seed) => {
      using directory = new TestDirectory();
      const history = await openHistory(directory);
      let state = seed;
      const below = (most: number) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
        return Math.floor((state / 2 ** 32) * most);
      };
      const one = <T>(of: readonly T[]): T => of[below(of.length)] as T;
      const texts = [
        "",
        "plain",
        "a\x01b\x01",
        "\x01",
        "nul \0 here",
        "é ✓ 𝄞",
        "1,2",
        "'quote' \\n\t",
        "x".repeat(2000),
      ];
      const lines: string[] = [];
      while (lines.length < 9000) {
        const head = ["etl", one(["Daily", "", "'"]), "run", one(["a", "b,c"]), one(["i1", "i2"])].join(
          "\x01",
        );
        const level = one(["INFO", "ERROR"]);
        const time = () =>
          below(50) === 0 ? one(["", "soon", "1,2", "-5", "1.6"]) : `${1_760_000_000_000 + below(1000)}`;
        const count = one([1, 2, 127, 128, 129, 700, 5000]);
        for (let n = 0; n < count; n++)
          lines.push(
            below(400) === 0
              ? one(["", "too few", `${head}\x01`, `${head}\x017`])
              : `${head}\x01${time()}\x01${level}\x01${one(texts)}`,
          );
      }
      await history.write(logs("s", 7, lines));
      const rows: unknown[][] = [];
      // A reply has a limit.
      for (let from = 0; from < lines.length; from += 1000)
        rows.push(
          ...(await rowsOf(
            history,
            `SELECT * EXCLUDE (agent_id, stream_id), agent_id, stream_id FROM logstore WHERE seq - 7 BETWEEN ${from} AND ${from + 999} ORDER BY rowid`,
          )),
        );
      const wanted = lines.flatMap((text, index) => {
        const fields = text.split("\x01");
        if (fields.length < 8) return [];
        const time = /^-?[\d.]+$/.test(fields[5] ?? "") ? Math.round(Number(fields[5])) : 0;
        return [
          [...fields.slice(0, 5), time, fields[6], fields.slice(7).join("\x01"), index + 7, "agent-1", "s"],
        ];
      });
      expect(rows.length).toBe(wanted.length);
      // One after the other: the difference of all of them would be long.
      for (const [index, row] of rows.entries())
        if (!Bun.deepEquals(row, wanted[index])) expect(row).toEqual(wanted[index] ?? []);
      await history.close();
    },
  );

  test("an empty line keeps its number and is not stored", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    await history.write(logs("s", 5, [line(), "", line({ payload: "after" })]));
    expect(await rowsOf(history, "SELECT seq, payload FROM logstore ORDER BY seq")).toEqual([
      [5, "hello"],
      [7, "after"],
    ]);
    expect((await history.cursors()).streams).toEqual(new Map([["s", 7]]));
    await history.close();
  });

  test("rows, cursors and order survive closing", async () => {
    using directory = new TestDirectory();
    const first = await openHistory(directory);
    const lines = Array.from({ length: 12_345 }, (_, i) => line({ payload: `${i}` }));
    await first.write(logs("s", 1, lines));
    await first.write({ ...logs("t", 1, [line()]), statuses: [run(7), task(9)] });
    await first.close();
    const second = await openHistory(directory);
    expect(await second.cursors()).toEqual({
      outbox: 9,
      states: new Map(),
      installation: null,
      streams: new Map([
        ["s", 12_345],
        ["t", 1],
      ]),
    });
    expect(
      await rowsOf(
        second,
        "SELECT count(*), bool_and(payload = (seq - 1)::VARCHAR AND rowid = seq - 1) FROM logstore WHERE stream_id = 's'",
      ),
    ).toEqual([[12_345, true]]);
    await second.close();
  });

  test("who did what, and what happened to alerts, is there with the cursor", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const audit = {
      timestamp_ms: 1_760_000_000_000,
      actor: "o'brien",
      role: "client",
      action: "run.trigger",
      subject: "etl",
      detail: '{"params":{"day":"\ud800"}}',
      outcome: "done",
      source: "10.0.0.7",
    };
    const alert = {
      alert_id: "a1",
      timestamp_ms: 1_760_000_000_001,
      event: "raised",
      kind: "failed",
      workflow_id: "etl",
      workflow_instance_id: "run",
      key: "failed etl run",
      subject: "etl failed",
      channel: null,
      error: null,
    } as const;
    const nobody = { ...audit, actor: null, role: null, subject: null, detail: null, source: null };
    // A newer state has tables that this history does not know.
    const unknown = { id: 5, table: "mood_log", row: { mood: "good" } } as unknown as PendingStatus;
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        { id: 1, table: "audit_log", row: audit },
        run(2),
        { id: 3, table: "alert_log", row: alert },
        { id: 4, table: "audit_log", row: nobody },
        unknown,
      ],
    });
    expect((await history.cursors()).outbox).toBe(5);
    expect(await rowsOf(history, "FROM audit_log ORDER BY rowid")).toEqual([
      Object.values({ ...audit, detail: audit.detail.toWellFormed() }),
      Object.values(nobody),
    ]);
    expect(await rowsOf(history, "FROM alert_log")).toEqual([Object.values(alert)]);
    expect(await rowsOf(history, "SELECT count(*) FROM workflow_run_status")).toEqual([[1]]);
    await history.close();
  });

  test("a status row with odd values does not block the others", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        run(1, { error: "half a pair \ud800, a nul \0 and a\nline feed", params: '{"k":"\\ud800"}' }),
        run(2, { status: "NONSENSE" as "PENDING" }),
        task(3, { cpu_ms: 1.25, max_rss_kb: 1000.6, exit_code: -1, signal: "SIGKILL" }),
      ],
    });
    expect(await rowsOf(history, "SELECT status, error FROM workflow_run_status")).toEqual([
      ["PENDING", "half a pair \ufffd, a nul \0 and a\nline feed"],
      [null, null],
    ]);
    expect(
      await rowsOf(history, "SELECT cpu_ms, max_rss_kb, exit_code, signal FROM task_run_status"),
    ).toEqual([[1.25, 1001, -1, "SIGKILL"]]);
    expect((await history.cursors()).outbox).toBe(3);
    await history.close();
  });

  test("works in memory", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory, ":memory:");
    await history.write(logs("s", 1, [line()]));
    expect(await rowsOf(history, "SELECT count(*) FROM logstore")).toEqual([[1]]);
    expect(history.stale).toBe(false);
    await history.close();
  });
});

describe("views", () => {
  test("workflow_runs has one row a run: the newest state by attempt, then by insertion", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        run(1, { timestamp_ms: 1000, created_at_ms: 1000, params: '{"day":"1"}' }),
        run(2, { status: "RUNNING", timestamp_ms: 1100, created_at_ms: 1000, agent_id: "a" }),
        run(3, { status: "CRASHED", timestamp_ms: 1900, created_at_ms: 1000, agent_id: "a", error: "lost" }),
        run(4, { status: "PENDING", timestamp_ms: 1900, created_at_ms: 1000, attempt: 2 }),
        // The clock of agent b is behind.
        run(5, { status: "RUNNING", timestamp_ms: 1800, created_at_ms: 1000, attempt: 2, agent_id: "b" }),
        run(6, { status: "COMPLETED", timestamp_ms: 1850, created_at_ms: 1000, attempt: 2, agent_id: "b" }),
        run(7, { workflow_instance_id: "run-2", timestamp_ms: 5000, created_at_ms: 5000, trigger: "cron" }),
        // The clock was set back while it ran.
        run(8, { workflow_instance_id: "run-3", status: "RUNNING", timestamp_ms: 9000, created_at_ms: 9000 }),
        run(9, {
          workflow_instance_id: "run-3",
          status: "FAILED",
          timestamp_ms: 9000,
          created_at_ms: 9000,
          duration_ms: 4000,
        }),
      ],
    });
    const rows = await rowsOf(
      history,
      `SELECT workflow_instance_id, status, trigger, attempt, agent_id, created_at_ms, started_at_ms, finished_at_ms, duration_ms, error
       FROM workflow_runs ORDER BY created_at_ms`,
    );
    expect(rows).toEqual([
      ["run-1", "COMPLETED", "cli", 2, "b", 1000, 1100, 1850, 750, null],
      ["run-2", "PENDING", "cron", 1, null, 5000, null, null, null, null],
      ["run-3", "FAILED", "cli", 1, null, 9000, 9000, 9000, 4000, null],
    ]);
    await history.close();
  });

  test("task_runs has one row a task run", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        task(1, { status: "PENDING", timestamp_ms: 10, task_attempt: 0 }),
        task(2, { status: "RUNNING", timestamp_ms: 20 }),
        task(3, { status: "WAITING", timestamp_ms: 30, exit_code: 1 }),
        task(4, { status: "RUNNING", timestamp_ms: 40, task_attempt: 2 }),
        task(5, {
          status: "COMPLETED",
          timestamp_ms: 60,
          task_attempt: 2,
          exit_code: 0,
          cpu_ms: 5.5,
          max_rss_kb: 99,
          duration_ms: 41,
        }),
        task(6, {
          task_instance_id: "task-2",
          task_id: "load",
          status: "SKIPPED",
          timestamp_ms: 61,
          task_attempt: 0,
        }),
      ],
    });
    const rows = await rowsOf(
      history,
      "SELECT task_id, status, task_attempt, started_at_ms, finished_at_ms, duration_ms, exit_code, cpu_ms, max_rss_kb FROM task_runs ORDER BY task_id",
    );
    expect(rows).toEqual([
      ["extract", "COMPLETED", 2, 20, 60, 41, 0, 5.5, 99],
      ["load", "SKIPPED", 0, null, 61, null, null, null, null],
    ]);
    await history.close();
  });

  test("the newest row of a run says why it waits; a task run has its slice and its outputs", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const outputs = JSON.stringify({ rows: 3, note: "it's “fine”" });
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        run(1, { timestamp_ms: 10 }),
        run(2, { timestamp_ms: 20, reason: "no agent is up" }),
        run(3, { timestamp_ms: 30, reason: "all agents that are up are full: a 5/5", waits: "[]" }),
        task(4, { status: "COMPLETED", slice: 3, outputs }),
        task(5, { task_instance_id: "task-2", task_id: "load", status: "SKIPPED" }),
        run(6, { workflow_instance_id: "run-2", reason: "no agent is up" }),
        run(7, { workflow_instance_id: "run-2", status: "RUNNING", timestamp_ms: 40 }),
      ],
    });
    expect(
      await rowsOf(
        history,
        "SELECT workflow_instance_id, status, reason, waits FROM workflow_runs ORDER BY ALL",
      ),
    ).toEqual([
      ["run-1", "PENDING", "all agents that are up are full: a 5/5", "[]"],
      ["run-2", "RUNNING", null, null],
    ]);
    expect(
      await rowsOf(history, "SELECT timestamp_ms, reason FROM workflow_run_status ORDER BY rowid LIMIT 3"),
    ).toEqual([
      [10, null],
      [20, "no agent is up"],
      [30, "all agents that are up are full: a 5/5"],
    ]);
    expect(await rowsOf(history, "SELECT task_id, slice, outputs FROM task_runs ORDER BY task_id")).toEqual([
      ["extract", 3, outputs],
      ["load", 0, null],
    ]);
    await history.close();
  });

  test("an old run is found with its attempts and tasks", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const params = '{"day":"1"}';
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        run(1, { timestamp_ms: 1, created_at_ms: 1, params }),
        run(2, { status: "RUNNING", timestamp_ms: 2, created_at_ms: 1, params, agent_id: "a" }),
        task(3, { status: "COMPLETED", timestamp_ms: 3, exit_code: 0 }),
        run(4, {
          status: "CRASHED",
          timestamp_ms: 4,
          created_at_ms: 1,
          params,
          agent_id: "a",
          error: "lost",
        }),
        run(5, { status: "RUNNING", timestamp_ms: 5, created_at_ms: 1, params, agent_id: "b", attempt: 2 }),
        task(6, {
          task_id: "load",
          task_instance_id: "task-9",
          status: "FAILED",
          timestamp_ms: 6,
          attempt: 2,
          exit_code: 3,
        }),
        run(7, { status: "FAILED", timestamp_ms: 7, created_at_ms: 1, params, agent_id: "b", attempt: 2 }),
        run(8, { workflow_instance_id: "run-2", created_at_ms: 9, status: "COMPLETED" }),
      ],
    });
    const found = await history.findRun("run-1", true);
    expect(found).toMatchObject({
      status: "FAILED",
      attempt: 2,
      started_at_ms: 2,
      finished_at_ms: 7,
      params: { day: "1" },
      attempts: [
        { attempt: 1, agent_id: "a", status: "CRASHED", started_at_ms: 2, finished_at_ms: 4, error: "lost" },
        { attempt: 2, agent_id: "b", status: "FAILED", started_at_ms: 5, finished_at_ms: 7, error: null },
      ],
      tasks: [
        { task_id: "extract", status: "COMPLETED", attempt: 1 },
        { task_id: "load", status: "FAILED", attempt: 2, exit_code: 3 },
      ],
    });
    expect(await history.findRun("none", true)).toBeNull();
    expect((await history.listRuns({ limit: 10 })).map((r) => r.workflow_instance_id)).toEqual([
      "run-2",
      "run-1",
    ]);
    expect((await history.listRuns({ limit: 10 }, 9)).map((r) => r.workflow_instance_id)).toEqual(["run-1"]);
    expect(
      (await history.listRuns({ limit: 10, status: "FAILED" })).map((r) => r.workflow_instance_id),
    ).toEqual(["run-1"]);
    expect(await history.listRuns({ limit: 10, workflow_id: "other" })).toEqual([]);
    expect((await history.listRuns({ limit: 10, id_prefix: "run-" })).length).toBe(2);
    expect((await history.listRuns({ limit: 10, id_prefix: "run-2" })).length).toBe(1);
    await history.close();
  });

  test("the runs that firings have had, as they were last", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const of = (n: number, id: string, at: number | null, fields: Partial<RunStatusRow> = {}) =>
      run(n, {
        workflow_instance_id: id,
        trigger: "cron",
        scheduled_time_ms: at,
        created_at_ms: n,
        timestamp_ms: n,
        ...fields,
      });
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        of(1, "a", 1000),
        of(2, "b", 2000, {
          trigger: "backfill",
          backfill_id: "bf",
          schedule: "entry",
          params: '{"day":"1"}',
        }),
        of(3, "c", 3000),
        of(4, "d", null),
        of(5, "e", 1000, { workflow_id: "other" }),
        of(6, "a", 1000, { status: "FAILED", created_at_ms: 1 }),
        of(7, "f", 1000, { trigger: "retry", retry_of: "a", status: "COMPLETED" }),
      ],
    });
    const plain = { schedule: null, retry_of: null, params: {} };
    const found = await history.findFirings("etl.daily", [1000, 2000, 9000]);
    expect(found.sort((a, b) => a.created_at_ms - b.created_at_ms)).toEqual([
      {
        ...plain,
        workflow_instance_id: "a",
        status: "FAILED",
        trigger: "cron",
        scheduled_time_ms: 1000,
        created_at_ms: 1,
      },
      {
        workflow_instance_id: "b",
        status: "PENDING",
        trigger: "backfill",
        scheduled_time_ms: 2000,
        created_at_ms: 2,
        retry_of: null,
        schedule: "entry",
        params: { day: "1" },
      },
      {
        ...plain,
        workflow_instance_id: "f",
        status: "COMPLETED",
        trigger: "retry",
        scheduled_time_ms: 1000,
        created_at_ms: 7,
        retry_of: "a",
      },
    ]);
    expect(await history.findFirings("etl.daily", [])).toEqual([]);
    const listed = await history.listRuns({ limit: 10, id_prefix: "b" });
    expect(listed.map(({ backfill_id }) => backfill_id)).toEqual(["bf"]);
    await history.close();
  });

  test("the contexts that triggers have brought, of the latest runs first", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const [one, two] = ["1", "2"].map((digit) => `00-${digit.repeat(32)}-${digit.repeat(16)}-01`);
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        run(1, { workflow_instance_id: "a", timestamp_ms: 1, traceparent: one }),
        run(2, { workflow_instance_id: "b", timestamp_ms: 2 }),
        run(3, { workflow_instance_id: "c", timestamp_ms: 3, traceparent: two }),
        run(4, { workflow_instance_id: "a", timestamp_ms: 4, traceparent: one, status: "RUNNING" }),
      ],
    });
    expect(await history.broughtContexts()).toEqual([
      ["a", `${one}`],
      ["c", `${two}`],
    ]);
    await history.close();
  });

  test("how runs of each workflow ended last", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const of = (n: number, workflow_id: string, fields: Partial<RunStatusRow>) =>
      run(n, { workflow_id, workflow_instance_id: `run-${n}`, timestamp_ms: n, ...fields });
    await history.write({
      logs: [],
      disordered: [],
      statuses: [
        of(1, "b", { status: "COMPLETED", duration_ms: 10 }),
        of(2, "b", { status: "COMPLETED", duration_ms: 20 }),
        of(3, "b", { status: "FAILED", duration_ms: 30 }),
        of(4, "b", { status: "SKIPPED" }),
        of(5, "b", { status: "RUNNING" }),
        of(6, "a", { status: "CRASHED" }),
        of(7, "c", { status: "COMPLETED" }),
        of(8, "d", { status: "PENDING" }),
      ],
    });
    expect(await history.latestEnds(["d", "b", "a"])).toEqual([
      { workflow_id: "a", success_ms: null, duration_ms: null },
      { workflow_id: "b", success_ms: 2, duration_ms: 30 },
    ]);
    expect(await history.latestEnds([])).toEqual([]);
    await history.close();
  });
});

test("an old run that agents shared is found with what each of them had of it", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  const part = (id: number, task_id: string, fields: Parameters<typeof task>[1]) => [
    task(id, {
      task_id,
      task_instance_id: `${task_id}-${fields?.attempt ?? 1}`,
      ...fields,
      status: "RUNNING",
    }),
    task(id + 1, {
      task_id,
      task_instance_id: `${task_id}-${fields?.attempt ?? 1}`,
      ...fields,
      timestamp_ms: 50 + id,
    }),
  ];
  await history.write({
    logs: [],
    disordered: [],
    statuses: [
      run(1, { timestamp_ms: 1 }),
      run(2, { status: "RUNNING", timestamp_ms: 2, agent_id: "a" }),
      ...part(3, "extract", {
        slice: 1,
        agent_id: "a",
        timestamp_ms: 10,
        status: "COMPLETED",
        outputs: '{"rows":3}',
      }),
      ...part(5, "train", {
        slice: 2,
        agent_id: "b",
        timestamp_ms: 20,
        status: "CRASHED",
        error: "agent lost",
      }),
      ...part(7, "train", { slice: 2, agent_id: "c", timestamp_ms: 30, status: "FAILED", attempt: 2 }),
      task(9, {
        task_id: "load",
        task_instance_id: "load",
        agent_id: null,
        status: "SKIPPED",
        timestamp_ms: 70,
      }),
      // It was skipped, and ran after all: another attempt of what it depends on completed.
      task(10, {
        task_id: "send",
        task_instance_id: "skipped",
        agent_id: null,
        status: "SKIPPED",
        timestamp_ms: 25,
        attempt: 2,
      }),
      ...part(11, "send", { slice: 3, agent_id: "a", timestamp_ms: 60, status: "COMPLETED" }),
      run(13, {
        status: "FAILED",
        timestamp_ms: 80,
        attempt: 2,
        agent_id: "c",
        agents: 3,
        parent_run: "run-0",
        parent_task: "all[a]",
      }),
    ],
  });
  const parent = { workflow_instance_id: "run-0", task_id: "all[a]" };
  expect(await history.listRuns({ limit: 1 })).toMatchObject([{ agent_id: "c", agents: 3, parent }]);
  expect(await history.findRun("run-1", true)).toMatchObject({
    status: "FAILED",
    attempts: [
      { slice: 1, attempt: 1, agent_id: "a", status: "COMPLETED", started_at_ms: 10, finished_at_ms: 53 },
      { slice: 2, attempt: 1, agent_id: "b", status: "CRASHED", finished_at_ms: 55, error: "agent lost" },
      {
        slice: 2,
        attempt: 2,
        agent_id: "c",
        status: "FAILED",
        started_at_ms: 30,
        finished_at_ms: 57,
        error: null,
      },
      { slice: 3, attempt: 1, agent_id: "a", status: "COMPLETED" },
    ],
    agents: 3,
    tasks: [
      { task_id: "extract", slice: 1, agent_id: "a", outputs: { rows: 3 } },
      { task_id: "train", slice: 2, attempt: 2, agent_id: "c", status: "FAILED" },
      { task_id: "send", slice: 3, agent_id: "a", status: "COMPLETED" },
      { task_id: "load", slice: 0, agent_id: null, status: "SKIPPED" },
    ],
  });
  const plain = await history.findRun("run-1", false);
  expect(plain?.tasks.map((task) => task.outputs)).toEqual(Array(4).fill(undefined));
  await history.close();
});

test("the items of a fan-out: the newest of each, or the one that COMPLETED; page by page", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  const item = (id: number, item_index: number, change: Parameters<typeof task>[1]) =>
    task(id, {
      task_id: "load",
      task_instance_id: `i${id}`,
      timestamp_ms: id,
      item_key: `Key ${item_index}`,
      item_index,
      ...change,
    });
  const outputs = JSON.stringify({ text: "x".repeat(250 * 1024) });
  await history.write({
    logs: [],
    disordered: [],
    statuses: [
      run(1, {}),
      task(2, { task_id: "load", task_instance_id: "load", status: "FAILED" }),
      item(3, 0, { status: "CRASHED" }),
      item(4, 0, { status: "COMPLETED", outputs: '{"rows":3}', attempt: 2 }),
      item(5, 1, { status: "FAILED", error: "exit status 1" }),
      item(6, 2, { status: "SKIPPED", task_attempt: 0 }),
      ...Array.from({ length: 40 }, (_, n) => item(7 + n, 3 + n, { status: "COMPLETED", outputs })),
    ],
  });
  const of = { workflow_instance_id: "run-1", task_id: "load", limit: 100, outputs: false };
  const found = async (more: Partial<ListItems>) =>
    (await history.findItems({ ...of, ...more })).map((each) => each.item_index);
  const all = await history.findItems({ ...of, outputs: false });
  expect(all).toHaveLength(43);
  expect(all.slice(0, 2)).toMatchObject([
    { item_key: "Key 0", item_index: 0, status: "COMPLETED", attempt: 2 },
    { item_key: "Key 1", item_index: 1, status: "FAILED", error: "exit status 1" },
  ]);
  expect(all[0]?.outputs).toBeUndefined();
  expect(await found({ limit: 2, after_index: 0 })).toEqual([1, 2]);
  expect(await found({ before_index: 2 })).toEqual([0, 1]);
  expect(await found({ status: "FAILED" })).toEqual([1]);
  expect(await found({ words: ["LOAD[key", "!completed", "!skip"] })).toEqual([1]);
  expect(await found({ task_id: "other" })).toEqual([]);
  const whole = await history.findItems({ ...of, outputs: true });
  expect(whole[0]?.outputs).toEqual({ rows: 3 });
  expect(whole.length).toBeLessThan(43);
  expect(whole.every((each) => each.status !== "COMPLETED" || each.outputs !== undefined)).toBe(true);
  await history.close();
});

test("outputs of an old run that are too large for a reply are left out, and the run says so", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  const outputs = JSON.stringify({ text: "x".repeat(250 * 1024) });
  const tasks = Array.from({ length: 33 }, (_, i) => {
    const name = { task_id: `t${i}`, task_instance_id: `t${i}` };
    return task(2 + i, { ...name, status: "COMPLETED", outputs });
  });
  await history.write({ logs: [], disordered: [], statuses: [run(1, {}), ...tasks.slice(1)] });
  const whole = await history.findRun("run-1", true);
  expect(whole?.outputs_left_out).toBeUndefined();
  expect(whole?.tasks.filter((task) => task.outputs !== undefined)).toHaveLength(32);
  await history.write({ logs: [], disordered: [], statuses: tasks.slice(0, 1) });
  const without = await history.findRun("run-1", true);
  expect(without?.outputs_left_out).toBe(true);
  expect(without?.tasks.filter((task) => task.outputs !== undefined)).toHaveLength(0);
  await history.close();
});

describe("opening", () => {
  test("takes over a database that an older writer made: its rows stay, columns and statuses are added", async () => {
    using directory = new TestDirectory();
    const path = directory.at("app.db");
    const old = await openDatabase({
      path,
      filesDirectory: directory.at("files"),
      tempDirectory: directory.at("temp"),
    });
    await old.connection.run(
      "CREATE TYPE RunStatus AS ENUM ('PENDING', 'RUNNING', 'WAITING', 'COMPLETED', 'FAILED', 'CRASHED')",
    );
    await old.connection.run(
      "CREATE TABLE logstore(workflow_id VARCHAR, workflow_name VARCHAR, workflow_instance_id VARCHAR, task_name VARCHAR, task_instance_id VARCHAR, timestamp_ms BIGINT, level VARCHAR, payload VARCHAR)",
    );
    await old.connection.run(
      "CREATE TABLE workflow_run_status(workflow_id VARCHAR, workflow_instance_id VARCHAR, status RunStatus, timestamp_ms BIGINT)",
    );
    await old.connection.run(
      "CREATE TABLE task_run_status(task_id VARCHAR, task_instance_id VARCHAR, workflow_instance_id VARCHAR, status RunStatus, timestamp_ms BIGINT)",
    );
    await old.connection.run("INSERT INTO logstore VALUES ('w', 'W', 'r', 't', 'tr', 5, 'INFO', 'old')");
    await old.connection.run(
      "INSERT INTO workflow_run_status VALUES ('w', 'r', 'RUNNING', 5), ('w', 'r', 'COMPLETED', 6)",
    );
    old.connection.disconnectSync();
    old.instance.closeSync();
    const history = await openHistory(directory);
    await history.write({ ...logs("s", 1, [line()]), statuses: [run(1, { status: "CANCELLED" })] });
    expect(await rowsOf(history, "SELECT payload, seq FROM logstore ORDER BY timestamp_ms")).toEqual([
      ["old", null],
      ["hello", 1],
    ]);
    expect(
      await rowsOf(
        history,
        "SELECT workflow_instance_id, status, duration_ms FROM workflow_runs ORDER BY ALL",
      ),
    ).toEqual([
      ["r", "COMPLETED", 1],
      ["run-1", "CANCELLED", null],
    ]);
    await history.close();
  });

  test("refuses a database that a newer cdktr wrote", async () => {
    using directory = new TestDirectory();
    await (await openHistory(directory)).close();
    const raw = await openDatabase({
      path: directory.at("app.db"),
      filesDirectory: directory.at("files"),
      tempDirectory: directory.at("temp"),
    });
    await raw.connection.run("INSERT INTO schema_version(version, applied_at_ms) VALUES (99, 0)");
    raw.connection.disconnectSync();
    raw.instance.closeSync();
    const error = await failure(openHistory(directory));
    expect(error.message).toContain("written by a newer cdktr (schema 99");
  });

  test("says that a file is no database, and what to do", async () => {
    using directory = new TestDirectory();
    writeFileSync(directory.at("app.db"), "x".repeat(20_000));
    const error = await failure(openHistory(directory));
    expect(error.message).toBe(`The history database ${directory.at("app.db")} is not a DuckDB database.`);
    expect(error.hint).toContain("Move the file away");
  });

  test("says that a directory is no database", async () => {
    using directory = new TestDirectory();
    expect((await failure(openHistory(directory, directory.path))).message).toContain("is not available");
  });

  test("makes the directories above the file", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory, directory.at("a/b/app.db"));
    await history.close();
  });

  test("notices that the file was taken away", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    expect(await history.lookAtFile()).toBe(false);
    expect(history.stale).toBe(false);
    await Bun.$`mv ${directory.at("app.db")} ${directory.at("aside.db")}`.quiet();
    expect(await history.lookAtFile()).toBe(true);
    expect(history.stale).toBe(true);
    await history.close();
  });
});

test("another DuckDB client reads the tables and views after closing", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.write({
    ...logs("s", 1, [line(), line({ payload: "é\0x", level: "ERROR" })]),
    statuses: [run(1), run(2, { status: "SKIPPED" }), task(3)],
  });
  await history.close();
  const python = await pythonWith(["duckdb>=1.5"]);
  const script = `
import duckdb, json, sys
db = duckdb.connect(sys.argv[1], read_only=True)
print(json.dumps([db.execute(q).fetchall() for q in sys.argv[2:]]))`;
  const child = Bun.spawn(
    [
      python,
      "-c",
      script,
      directory.at("app.db"),
      "SELECT payload, level, seq FROM logstore ORDER BY seq",
      "SELECT status::VARCHAR FROM workflow_run_status ORDER BY rowid",
      "SELECT workflow_instance_id, status::VARCHAR FROM workflow_runs",
      "SELECT task_id, status::VARCHAR FROM task_runs",
      "SELECT enum_range(NULL::RunStatus)::VARCHAR",
    ],
    { stdout: "pipe", stderr: "inherit" },
  );
  expect(JSON.parse(await child.stdout.text())).toEqual([
    [
      ["hello", "INFO", 1],
      ["é\0x", "ERROR", 2],
    ],
    [["PENDING"], ["SKIPPED"]],
    [["run-1", "SKIPPED"]],
    [["extract", "RUNNING"]],
    [["[PENDING, RUNNING, WAITING, COMPLETED, FAILED, CRASHED, SKIPPED, CANCELLED]"]],
  ]);
}, 180_000);

async function failure(opening: Promise<HistoryDatabase>): Promise<HistoryUnavailableError> {
  const error = await opening.then(
    () => undefined,
    (thrown) => thrown,
  );
  expect(error).toBeInstanceOf(HistoryUnavailableError);
  return error;
}

test("runs that have not ended are found with their tasks, and can be ended", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  const run = (id: string, status: RunStatus, attempt = 1) =>
    ({
      table: "workflow_run_status",
      row: runRow({ workflow_instance_id: id, status, attempt }),
    }) as const;
  const task = (id: string, task_instance_id: string, status: RunStatus) =>
    ({
      table: "task_run_status",
      row: taskRow({ workflow_instance_id: id, task_instance_id, status, exit_code: 0, cpu_ms: 5 }),
    }) as const;
  const rows = [
    run("over", "RUNNING"),
    run("over", "COMPLETED"),
    run("queued", "PENDING"),
    run("again", "RUNNING"),
    run("again", "CRASHED"),
    run("again", "PENDING", 2),
    run("again", "RUNNING", 2),
    task("over", "t0", "COMPLETED"),
    task("again", "t1", "COMPLETED"),
    task("again", "t2", "RUNNING"),
  ];
  const statuses = rows.map((row, i) => ({ ...row, id: i + 1 }));
  await history.write({ logs: [], disordered: [], statuses });
  const found = (await history.unfinished()).toSorted((a, b) => b.attempt - a.attempt);
  expect(found).toEqual([
    {
      workflow_instance_id: "again",
      attempt: 2,
      status: "RUNNING",
      tasks: new Map([
        ["t1", { attempt: 1, status: "COMPLETED" }],
        ["t2", { attempt: 1, status: "RUNNING" }],
      ]),
    },
    { workflow_instance_id: "queued", attempt: 1, status: "PENDING", tasks: new Map() },
  ]);
  expect(await history.statusesOf(["over", "none"])).toEqual([
    {
      workflow_instance_id: "over",
      attempt: 1,
      status: "COMPLETED",
      tasks: new Map([["t0", { attempt: 1, status: "COMPLETED" }]]),
    },
    { workflow_instance_id: "none", attempt: 0, status: "PENDING", tasks: new Map() },
  ]);
  await history.crash(["again", "over"], "nobody knows", 1_770_000_000_000);
  expect((await history.unfinished()).map((each) => each.workflow_instance_id)).toEqual(["queued"]);
  expect(
    await rowsOf(
      history,
      "SELECT workflow_instance_id, status::VARCHAR, attempt, finished_at_ms, error, workflow_name FROM workflow_runs ORDER BY 1",
    ),
  ).toEqual([
    ["again", "CRASHED", 2, 1_770_000_000_000, "nobody knows", "Daily"],
    ["over", "COMPLETED", 1, 1_760_000_000_000, null, "Daily"],
    ["queued", "PENDING", 1, null, null, "Daily"],
  ]);
  expect(
    await rowsOf(history, "SELECT task_instance_id, status::VARCHAR, error FROM task_runs ORDER BY 1"),
  ).toEqual([
    ["t0", "COMPLETED", null],
    ["t1", "COMPLETED", null],
    ["t2", "CRASHED", "nobody knows"],
  ]);
  await history.close();
});
