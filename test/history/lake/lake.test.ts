import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { HistoryUnavailableError, type LakeSettings } from "../../../src/contract/history.ts";
import type { PendingStatus } from "../../../src/contract/history-rows.ts";
import { openDatabase } from "../../../src/history/database/duckdb.ts";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { HISTORY_MIGRATIONS, type HistoryMigrations } from "../../../src/history/database/migrations.ts";
import { attachLake } from "../../../src/history/lake/attach.ts";
import { PostgresServer } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";
import { line, logs, openHistory, rowsOf, runRow, TestDirectory, taskRow } from "../database-support.ts";
import { recordingLog, startHistorian } from "../historian-support.ts";
import { lakeAt, openLake } from "./lake-support.ts";

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
}, 240_000);
afterAll(() => server[Symbol.asyncDispose]());

/** A schema that no other test of this file has. */
let schemas = 0;
const another = () => `lake_${++schemas}`;

const T0 = 1_760_000_000_000;

let ids = 0;
const run = (fields: Parameters<typeof runRow>[0]): PendingStatus => ({
  id: ++ids,
  table: "workflow_run_status",
  row: runRow(fields),
});
const task = (fields: Parameters<typeof taskRow>[0]): PendingStatus => ({
  id: ++ids,
  table: "task_run_status",
  row: taskRow(fields),
});

/** Some runs with tasks, items and lines; two of them have not ended, and the clock of one agent was set back. */
async function fill(history: HistoryDatabase): Promise<void> {
  ids = 0;
  for (let n = 0; n < 6; n++) {
    const id = { workflow_instance_id: `run-${n}`, workflow_id: n % 2 === 0 ? "etl.daily" : "report" };
    const at = T0 + n * 60_000;
    const taskId = { ...id, task_instance_id: `task-${n}` };
    await history.write({
      logs: [
        {
          agent_id: "agent-1",
          stream_id: "s",
          first_seq: n * 50 + 1,
          lines: Array.from({ length: 50 }, (_, i) =>
            line({
              ...id,
              task_instance_id: `task-${n}`,
              timestamp_ms: at + (n === 3 && i > 25 ? 20 : i),
              level: i % 7 === 0 ? "ERROR" : "INFO",
              payload: `line ${i} of ${n}: 'quoted' \\ \0 é`,
            }),
          ),
        },
      ],
      statuses: [
        run({ ...id, timestamp_ms: at, created_at_ms: at, scheduled_time_ms: at, traceparent: `00-${n}` }),
        run({ ...id, status: "RUNNING", timestamp_ms: at + 10, created_at_ms: at, scheduled_time_ms: at }),
        task({ ...taskId, timestamp_ms: at + 20 }),
        task({
          ...taskId,
          task_instance_id: `item-${n}`,
          task_id: "load",
          item_key: "orders",
          item_index: 0,
        }),
        ...(n === 4
          ? []
          : [
              task({
                ...taskId,
                status: "COMPLETED",
                timestamp_ms: at + 30,
                exit_code: 0,
                outputs: '{"rows":"3"}',
              }),
              run({
                ...id,
                status: n === 1 ? "FAILED" : "COMPLETED",
                timestamp_ms: at + 40,
                created_at_ms: at,
                scheduled_time_ms: at,
                duration_ms: 30,
              }),
            ]),
        {
          id: ++ids,
          table: "audit_log",
          row: {
            timestamp_ms: at,
            actor: "ada",
            role: null,
            action: "run.trigger",
            subject: id.workflow_id,
            detail: null,
            outcome: "done",
            source: "local",
          },
        },
      ],
      disordered: n === 3 ? ["task-3"] : [],
      state_id: "state",
    });
  }
}

/** What a history answers. */
async function answersOf(history: HistoryDatabase) {
  const first = await history.searchLogs({ limit: 120 });
  const pages = [await history.searchLogs({ task: "Extract", level: "ERROR" })];
  const newest = await history.searchLogs({ workflow_instance_id: "run-3", limit: 30 });
  return {
    first: { rows: first.rows, isWhole: first.next === null },
    pages,
    newest,
    grep: (await history.searchLogs({ grep: "^line 1\\d? of 2" })).rows,
    lines: await history.queryLogLines({
      startMs: null,
      endMs: null,
      workflowId: "report",
      workflowInstanceId: null,
      verbose: true,
    }),
    runs: await history.listRuns({ limit: 10 }),
    some: await history.listRuns({ limit: 2, workflow_id: "report", status: "COMPLETED" }),
    run: await history.findRun("run-2", true),
    open: await history.findRun("run-4", false),
    items: await history.findItems({
      workflow_instance_id: "run-5",
      task_id: "load",
      limit: 5,
      outputs: true,
    }),
    outputs: [...((await history.findOutputs(["task-0", "task-4"])) ?? [])],
    firings: await history.findFirings("report", [T0 + 60_000, T0 + 180_000]),
    ends: await history.latestEnds(["etl.daily", "report", "none"]),
    contexts: await history.broughtContexts(),
    unfinished: await history.unfinished(),
    statuses: await history.statusesOf(["run-0", "run-9"]),
    cursors: await history.cursors(),
    sql: await rowsOf(history, "FROM workflow_runs ORDER BY workflow_instance_id"),
    tasks: await rowsOf(history, "SELECT * FROM task_runs ORDER BY task_instance_id"),
    columns: await rowsOf(
      history,
      "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'main' ORDER BY ALL",
    ),
  };
}

describe("a lake", () => {
  test("answers everything as a file does, before and after maintenance, and a copy of it is such a file", async () => {
    using directory = new TestDirectory();
    const file = await openHistory(directory);
    await fill(file);
    const wanted = await answersOf(file);
    expect(wanted.runs).toHaveLength(6);
    const settings = lakeAt(server, directory, { schema: another(), epoch: 1 });
    const lake = await openLake(settings, directory);
    await fill(lake);
    expect(await answersOf(lake)).toEqual(wanted);
    await maintain(settings, directory);
    expect(await answersOf(lake)).toEqual(wanted);
    const again = await openLake(settings, directory, { name: "b" });
    await until("its size is known", () => again.archive.sizes.database > 0, 120_000);
    await again.close();
    for (const history of [file, lake]) {
      const out = directory.at(history === file ? "files/out" : "a/files/out");
      mkdirSync(out);
      await history.exportTo(out);
      await history.backupTo(`${out}/copy.duckdb`);
      await history.crash(["run-4"], "gone", T0 + 1_000_000);
    }
    const exported = await openHistory(directory, directory.at("reader.db"));
    await exported.close();
    for (const table of [
      "logstore",
      "workflow_run_status",
      "task_run_status",
      "workflow_runs",
      "task_runs",
    ]) {
      const rows = await Promise.all(
        ["files/out", "a/files/out"].map((out) =>
          parquet(directory, `${directory.at(out)}/${table}.parquet`),
        ),
      );
      expect(rows[0]?.length).toBeGreaterThan(0);
      expect(rows[1]).toEqual(rows[0] as unknown[][]);
    }
    expect((await lake.findRun("run-4", false))?.status).toBe("CRASHED");
    expect(await lake.unfinished()).toEqual(await file.unfinished());
    await Promise.all([file.close(), lake.close()]);
    const copy = await openHistory(directory, directory.at("a/files/out/copy.duckdb"));
    const copied = await answersOf(copy);
    expect({ ...copied, columns: null }).toEqual({ ...wanted, columns: null });
    await copy.write(logs("s", 301, [line()]));
    expect(await rowsOf(copy, "SELECT typeof(status) FROM workflow_run_status LIMIT 1")).toEqual([
      [expect.stringContaining("ENUM")],
    ]);
    await copy.close();
  }, 240_000);

  test("keeps rows in the order in which they were written, whatever the sizes of batches, through maintenance", async () => {
    using directory = new TestDirectory();
    const settings = lakeAt(server, directory, { schema: another() });
    const lake = await openLake(settings, directory);
    let written = 0;
    const next = (count: number, task_instance_id: string) =>
      Array.from({ length: count }, () => line({ task_instance_id, payload: String(written++) }));
    for (const sizes of [[3, 1], [2_000, 3, 700], [5], [1, 12_000, 300, 2], [40, 2], [900, 200]]) {
      await lake.write({
        logs: sizes.map((size, n) => {
          const first_seq = written + 1;
          return { agent_id: "a", stream_id: "s", first_seq, lines: next(size, `task-${n}`) };
        }),
        statuses: [],
        disordered: [],
      });
    }
    const order = async () =>
      await rowsOf(
        lake,
        "SELECT count(*), count(*) FILTER (payload::BIGINT <> place) FROM (SELECT payload, row_number() OVER (ORDER BY rowid) - 1 AS place FROM logstore)",
      );
    expect(await order()).toEqual([[written, 0]]);
    const before = await rowsOf(lake, "SELECT sum(hash(rowid, payload)::HUGEINT)::VARCHAR FROM logstore");
    await maintain(settings, directory);
    expect(await rowsOf(lake, "SELECT sum(hash(rowid, payload)::HUGEINT)::VARCHAR FROM logstore")).toEqual(
      before,
    );
    await lake.write(logs("s", written + 1, next(10, "task-9")));
    expect(await order()).toEqual([[written, 0]]);
    // A page goes on from the position of a line, also after that.
    const page = await lake.searchLogs({});
    const rest = await lake.searchLogs({ after: page.next ?? -1, limit: 5 });
    expect(rest.rows[0]?.[7]).toBe("10000");
    await lake.close();
  }, 240_000);

  test("brings an older schema to the current one, once", async () => {
    using directory = new TestDirectory();
    const settings = lakeAt(server, directory, { schema: another() });
    const old = await openLake(settings, directory);
    await old.write(logs("s", 1, [line({ payload: "old" })]));
    const migrations: HistoryMigrations = [
      ...HISTORY_MIGRATIONS,
      { what: "more", isAdditive: true, adds: { logstore: { more: "BIGINT" } } },
    ];
    const now = await openLake(settings, directory, { name: "b", migrations });
    await now.write(logs("s", 2, [line({ payload: "new" })]));
    await now.close();
    // An older cdktr can use it: the change is additive.
    const again = await openLake(settings, directory, { name: "c" });
    await again.write(logs("s", 3, [line({ payload: "old again" })]));
    expect(await rowsOf(again, "SELECT payload, more FROM logstore ORDER BY rowid")).toEqual([
      ["old", null],
      ["new", null],
      ["old again", null],
    ]);
    const n = HISTORY_MIGRATIONS.length;
    expect(await rowsOf(again, "SELECT version FROM schema_version ORDER BY 1")).toEqual([[n], [n + 1]]);
    await Promise.all([old.close(), again.close()]);
  }, 240_000);
});

describe("of several histories", () => {
  test("the one with the highest epoch writes; the others say so, and read", async () => {
    using directory = new TestDirectory();
    const schema = another();
    const at = (epoch: number | null) => lakeAt(server, directory, { schema, epoch });
    const first = await openLake(at(3), directory);
    await first.write(logs("s", 1, [line({ payload: "first" })]));
    const second = await openLake(at(4), directory, { name: "b" });
    expect((await second.cursors()).streams.get("s")).toBe(1);
    await expect(first.write(logs("s", 2, [line({ payload: "late" })]))).rejects.toThrow(
      "Another principal writes the history now (epoch 4; this one has 3).",
    );
    expect(first.stale).toBe(true);
    await second.write(logs("s", 2, [line({ payload: "second" })]));
    const read = "SELECT payload FROM logstore ORDER BY rowid";
    expect(await rowsOf(first, read)).toEqual([["first"], ["second"]]);
    await expect(openLake(at(3), directory)).rejects.toThrow("Another principal writes the history now");
    // One that is alone takes over, and every leader takes over from it.
    const third = await openLake(at(null), directory, { name: "c" });
    await expect(second.claim("other")).rejects.toThrow("(one that is alone; this one has 4)");
    await third.claim("mine");
    expect((await third.cursors()).installation).toBe("mine");
    const leader = await openLake(at(1), directory, { name: "d" });
    await expect(third.claim("other")).rejects.toThrow("(epoch 1; this one is alone too)");
    await Promise.all([first, second, third, leader].map((history) => history.close()));
  }, 240_000);

  test("no line is lost or doubled while they take over from each other and write at once", async () => {
    using directory = new TestDirectory();
    const schema = another();
    const first = await openLake(lakeAt(server, directory, { schema, epoch: 1 }), directory);
    const acknowledged: number[] = [];
    /** Writes until it is fenced, as a leader does that has not noticed. */
    const writeOn = async (history: HistoryDatabase, fenced: { is: boolean }) => {
      let { streams } = await history.cursors();
      for (;;) {
        const next = (streams.get("s") ?? 0) + 1;
        const many = next % 3 === 0 ? 1_200 : 2;
        const batch = Array.from({ length: many }, (_, i) => line({ payload: String(next + i) }));
        try {
          await history.write(logs("s", next, batch));
          acknowledged.push(next + many - 1);
        } catch (error) {
          if (!/Another principal writes/.test(String(error))) throw error;
          fenced.is = true;
          return;
        }
        ({ streams } = await history.cursors());
      }
    };
    let last = first;
    let writing: Promise<void> | undefined;
    const open: HistoryDatabase[] = [first];
    for (let epoch = 2; epoch < 4; epoch++) {
      const fenced = { is: false };
      const count = acknowledged.length;
      const was = writeOn(last, fenced);
      writing = was;
      await until("three more batches are written", () => acknowledged.length >= count + 3, 120_000);
      last = await openLake(lakeAt(server, directory, { schema, epoch }), directory, { name: `${epoch}` });
      open.push(last);
      await was;
      expect(fenced.is).toBe(true);
    }
    await writing;
    const most = Math.max(...acknowledged);
    expect((await last.cursors()).streams.get("s")).toBe(most);
    expect(
      await rowsOf(last, "SELECT count(*), count(DISTINCT payload), max(payload::BIGINT) FROM logstore"),
    ).toEqual([[most, most, most]]);
    await Promise.all(open.map((history) => history.close()));
  }, 240_000);
});

test("a history that is killed while it writes loses nothing that it has said is written, and doubles nothing", async () => {
  using directory = new TestDirectory();
  const schema = another();
  let acknowledged = 0;
  for (let epoch = 1; epoch < 4; epoch++) {
    const settings = lakeAt(server, directory, { schema, epoch });
    const child = Bun.spawn(
      [
        process.execPath,
        `${import.meta.dir}/lake-child.ts`,
        JSON.stringify({ settings, directory: directory.at(`${epoch}`) }),
      ],
      { stdout: "pipe", stderr: "inherit" },
    );
    let told = 0;
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      for (const last of chunk.split("\n").filter((text) => text !== "")) {
        acknowledged = Number(last);
        // The next batch is on its way, each time at another point of it.
        if (++told === 4) setTimeout(() => child.kill("SIGKILL"), epoch * 17);
      }
    }
    expect(told).toBeGreaterThanOrEqual(4);
  }
  const lake = await openLake(lakeAt(server, directory, { schema, epoch: 4 }), directory);
  const { streams, states, outbox } = await lake.cursors();
  const last = streams.get("s") ?? 0;
  expect(last).toBeGreaterThanOrEqual(acknowledged);
  expect([states.size, outbox]).toEqual([0, last]);
  expect(
    await rowsOf(lake, "SELECT count(*), count(DISTINCT payload), max(payload::BIGINT) FROM logstore"),
  ).toEqual([[last, last, last]]);
  expect(
    await rowsOf(lake, "SELECT count(*) - count(DISTINCT workflow_instance_id) FROM workflow_run_status"),
  ).toEqual([[0]]);
  await lake.close();
}, 240_000);

test("a history whose principal leads is not kept out by an epoch from before its state was restored", async () => {
  using directory = new TestDirectory();
  const schema = another();
  await (await openLake(lakeAt(server, directory, { schema, epoch: 9 }), directory)).close();
  const { log, messages } = recordingLog();
  await using historian = await startHistorian(directory, {
    lake: lakeAt(server, directory, { schema, epoch: 2 }),
    fencedMs: 0,
    log,
  });
  expect(messages.join("\n")).toContain(
    "Another principal writes the history now (epoch 9; this one has 2).",
  );
  await until("it writes", () => historian.available.ok, 120_000);
  expect(messages.join("\n")).toContain("it goes on with epoch 2.");
  historian.offer({ agent_id: "a", stream_id: "s", first_seq: 1, lines: [line()] });
  await historian.flush();
  expect(historian.position("s").durable).toBe(1);
}, 240_000);

describe("what users ask", () => {
  test("shows neither credentials nor what else is in the PostgreSQL database", async () => {
    using directory = new TestDirectory();
    await server.sql("CREATE TABLE IF NOT EXISTS private(secret TEXT)", [], "cdktr");
    const settings = lakeAt(server, directory, { schema: another() });
    const lake = await openLake(settings, directory);
    for (const sql of [
      "FROM __ducklake_metadata_lake.public.private",
      'FROM "__DUCKLAKE_metadata_lake".public.private',
      `SELECT (SELECT count(*) FROM __ducklake_metadata_lake.${settings.catalog.schema}.ducklake_snapshot)`,
      "DESCRIBE __ducklake_metadata_lake.public.private",
      "FROM postgres_query('__ducklake_metadata_lake', 'SELECT 1')",
      "FROM ducklake_snapshots('lake')",
      "FROM duckdb_secrets()",
      `FROM read_parquet('${settings.data}/*')`,
      "CALL ducklake_expire_snapshots('lake', older_than => now())",
    ])
      await expect(rowsOf(lake, sql)).rejects.toThrow();
    const told = JSON.stringify([
      await rowsOf(lake, "FROM duckdb_databases()"),
      await rowsOf(lake, "FROM duckdb_settings()"),
      await rowsOf(lake, "FROM duckdb_tables()"),
    ]);
    expect(told).not.toContain("s3cret");
    expect(await rowsOf(lake, "SHOW TABLES")).toContainEqual(["logstore"]);
    await lake.close();
  }, 240_000);
});

describe("when its catalog fails", () => {
  const kept = new TestDirectory();
  afterAll(() => kept[Symbol.dispose]());

  test("it goes on with the same connections when PostgreSQL is back, and everything is there once", async () => {
    using directory = new TestDirectory();
    await using own = await PostgresServer.start();
    const settings = lakeAt(own, directory, { schema: another() });
    let lake = await openLake(settings, directory);
    await lake.write(logs("s", 1, [line({ payload: "1" })]));
    await own.stop();
    const name = `ducklake:postgres://127.0.0.1:${own.port}/cdktr?schema=${settings.catalog.schema}`;
    await expect(lake.write(logs("s", 2, [line()]))).rejects.toThrow(
      `The catalog of the history ${name} cannot be reached: PostgreSQL does not answer.`,
    );
    await expect(lake.listRuns({ limit: 1 })).rejects.toBeInstanceOf(HistoryUnavailableError);
    // Whether it was written is not known: it is opened again.
    expect(lake.stale).toBe(true);
    await expect(openLake(settings, directory, { name: "b" })).rejects.toThrow("cannot be reached");
    await own.startAgain();
    expect(await rowsOf(lake, "SELECT payload FROM logstore")).toEqual([["1"]]);
    await lake.close();
    lake = await openLake(settings, directory);
    expect((await lake.cursors()).streams.get("s")).toBe(1);
    await lake.write(logs("s", 2, [line({ payload: "2" })]));
    expect(await rowsOf(lake, "SELECT payload FROM logstore ORDER BY rowid")).toEqual([["1"], ["2"]]);
    await lake.close();
  }, 240_000);

  test.each<readonly [what: string, (settings: LakeSettings) => LakeSettings, RegExp]>([
    [
      "a wrong password",
      (it) => ({ ...it, catalog: { ...it.catalog, password: "wrong-one" } }),
      /^PostgreSQL does not let cdktr into the catalog of the history .*: wrong user or password\.$/,
    ],
    [
      "another directory",
      (it) => ({ ...it, data: `${it.data}-other` }),
      /^The files of the history .* are in .*\/data\/, and CDKTR_HISTORY_DATA is .*\/data-other\/\.$/,
    ],
    [
      "nobody there",
      (it) => ({ ...it, catalog: { ...it.catalog, port: "1" } }),
      /^The catalog of the history .* cannot be reached: PostgreSQL does not answer\.$/,
    ],
  ])(
    "%s is told, without secrets",
    async (_, change, message) => {
      using directory = new TestDirectory();
      const settings = lakeAt(server, directory, { schema: "lake_errors" });
      // It exists from the first of these tests on.
      const existing = { ...settings, data: kept.at("data") };
      await (await openLake(existing, directory)).close();
      const wrong = change(existing);
      const error = await openLake(wrong, directory).then(
        () => null,
        (error: unknown) => error as HistoryUnavailableError,
      );
      expect(error).toBeInstanceOf(HistoryUnavailableError);
      expect(error?.message).toMatch(message);
      expect(`${error?.message} ${error?.hint} ${String(error?.cause)}`).not.toMatch(/s3cret|wrong-one/);
    },
    60_000,
  );
});

/** What maintenance does, at its most thorough. */
async function maintain(settings: LakeSettings, directory: TestDirectory): Promise<void> {
  const { connection, instance } = await openDatabase({
    path: ":memory:",
    filesDirectory: directory.at("maintenance/files"),
    tempDirectory: directory.at("maintenance/temp"),
    archiveDirectory: settings.data,
    prepare: (connection) => attachLake(connection, settings),
  });
  for (const step of [
    "ducklake_flush_inlined_data('lake')",
    "ducklake_merge_adjacent_files('lake')",
    "ducklake_expire_snapshots('lake', older_than => now())",
    "ducklake_cleanup_old_files('lake', cleanup_all => true)",
  ])
    await connection.run(`CALL ${step}`);
  expect(readdirSync(settings.data)).not.toEqual([]);
  connection.disconnectSync();
  instance.closeSync();
}

/** The rows of a Parquet file. */
async function parquet(directory: TestDirectory, file: string): Promise<unknown[][]> {
  const { connection, instance } = await openDatabase({
    path: ":memory:",
    filesDirectory: directory.path,
    tempDirectory: directory.at("parquet/temp"),
  });
  const rows = (await connection.runAndReadAll(`SELECT COLUMNS(*)::VARCHAR FROM '${file}'`)).getRows();
  connection.disconnectSync();
  instance.closeSync();
  return rows;
}
