import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Outbox } from "../../src/agent/outbox.ts";
import { VERSION } from "../../src/build-facts.ts";
import type { LineQuery } from "../../src/contract/history.ts";
import { CdktrError } from "../../src/errors.ts";
import { TriggerBuffer } from "../../src/events/trigger-buffer.ts";
import { HistoryDatabase } from "../../src/history/database/history-database.ts";
import { HISTORY_MIGRATIONS, type HistoryMigrations } from "../../src/history/database/migrations.ts";
import { TABLES } from "../../src/history/database/schema.ts";
import { Historian } from "../../src/history/historian.ts";
import { backupsOf, KEPT_BACKUPS } from "../../src/migrations/database-backups.ts";
import { NewerSchemaError } from "../../src/migrations/newer-schema.ts";
import type { SqliteMigrations } from "../../src/migrations/sqlite-migrations.ts";
import { STATE_MIGRATIONS } from "../../src/storage/operational/sqlite/schema.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { PrivateMounts } from "../e2e/failures/support.ts";
import { until } from "../e2e/support/fixtures.ts";
import { line, logs, runRow, taskRow } from "../history/database-support.ts";
import { MemoryOutbox, recordingLog } from "../history/historian-support.ts";
import { pendingRun, silent } from "../storage/operational-support.ts";
import {
  AGENT,
  ask,
  contentOf,
  FormerDirectory,
  markOf,
  NEXT_OUTBOX,
  nextHistory,
  nextState,
} from "./support.ts";

async function openState(directory: FormerDirectory, migrations?: SqliteMigrations): Promise<void> {
  const store = new SqliteOperationalStore({ directory: directory.path, log: silent, migrations });
  await store.start();
  await store.stop();
}

async function openHistory(
  directory: FormerDirectory,
  migrations?: HistoryMigrations,
  say?: (what: string) => void,
): Promise<void> {
  const history = await HistoryDatabase.open({
    path: directory.history,
    filesDirectory: directory.at("files"),
    tempDirectory: directory.at("temp"),
    migrations,
    say,
  });
  await history.close();
}

async function failure(promise: Promise<unknown>): Promise<CdktrError> {
  const error = await promise.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (error instanceof CdktrError) return error;
  throw new Error(`no error of cdktr: ${error}`);
}

const only = (paths: readonly string[]): string => {
  expect(paths).toHaveLength(1);
  return paths[0] ?? "";
};

/** What stands beside a file under a name that begins with its own. */
const beside = (file: string) =>
  readdirSync(dirname(file)).filter((name) => join(dirname(file), name).startsWith(`${file}.`));

const versionAndTime = new RegExp(`\\.before-${VERSION.replaceAll(".", "\\.")}-\\d{8}T\\d{6}Z$`);
const ALL_LINES: LineQuery = {
  endMs: null,
  startMs: null,
  workflowId: null,
  workflowInstanceId: null,
  verbose: false,
};
const LAST_STATE = STATE_MIGRATIONS.length;
const LAST_HISTORY = HISTORY_MIGRATIONS.length;
const BEFORE_LIMITS = STATE_MIGRATIONS.findIndex(({ what }) => what.startsWith("pauses, concurrency groups"));

describe("the operational state of version 0.1", () => {
  test("is copied, then migrated; the copy is what it was", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const before = contentOf(directory.state);
    expect(before.runs).toHaveLength(5);
    await openState(directory, nextState());
    expect(markOf(directory.state)).toBe(LAST_STATE + 1);
    const after = contentOf(directory.state);
    expect(Object.keys(after)).toEqual(expect.arrayContaining(Object.keys(before)));
    expect(after.definitions).toEqual(before.definitions);
    expect(after.runs).toEqual(
      before.runs?.map((run) => expect.objectContaining(run as object)) as unknown[],
    );
    expect((after.runs as { mood: string }[]).map(({ mood }) => mood)).toContain("bad");
    const backup = only(backupsOf(directory.state));
    expect(backup).toMatch(versionAndTime);
    expect(statSync(backup).mode & 0o777).toBe(0o600);
    expect(markOf(backup)).toBe(1);
    expect(contentOf(backup)).toEqual(before);
    // Once is enough.
    await openState(directory, nextState());
    expect(backupsOf(directory.state)).toEqual([backup]);
  });

  test("is refused by the former version afterwards, with the way back, which works", async () => {
    using directory = await FormerDirectory.of("v0.1");
    await openState(directory);
    const before = contentOf(directory.state);
    await openState(directory, nextState());
    const backup = backupsOf(directory.state).at(-1) ?? "";
    const error = await failure(openState(directory));
    expect(error).toBeInstanceOf(NewerSchemaError);
    expect(error.exitCode).toBe(2);
    expect(error.message).toContain(
      `was written by a newer cdktr, ${VERSION} (schema ${LAST_STATE + 1}; this one, ${VERSION}, knows ${LAST_STATE})`,
    );
    expect(error.hint).toContain(backup);
    rmSync(directory.state);
    copyFileSync(backup, directory.state);
    await openState(directory);
    expect(contentOf(directory.state)).toEqual(before);
  });

  test("whose migration fails stays as it is, with one copy however often that is tried", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const before = contentOf(directory.state);
    const failing = nextState(() => {
      throw new Error("cannot be done");
    });
    for (let times = 0; times < 3; times++) {
      await expect(openState(directory, failing)).rejects.toThrow("cannot be done");
      expect(markOf(directory.state)).toBe(1);
      expect(contentOf(directory.state)).toEqual(before);
      only(backupsOf(directory.state));
    }
    await openState(directory, nextState());
    only(backupsOf(directory.state));
  });

  test("survives a kill in the middle of its migration, and a copy that was cut off", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const before = contentOf(directory.state);
    await killed(directory, "state", "changing");
    expect(markOf(directory.state)).toBe(1);
    const backup = only(backupsOf(directory.state));
    expect(contentOf(backup)).toEqual(before);
    writeFileSync(`${directory.state}.backup-unfinished-0`, "half a copy");
    await openState(directory, nextState());
    expect(markOf(directory.state)).toBe(LAST_STATE + 1);
    expect(backupsOf(directory.state)).toEqual([backup]);
    expect(contentOf(backup)).toEqual(before);
    expect(beside(directory.state)).toHaveLength(1);
  });

  test("status ids rise above what a history may have taken since the copy was made", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const least = Date.now() * 1000;
    await openState(directory);
    const database = new Database(directory.state);
    const { seq } = database
      .query<{ seq: number }, []>("SELECT seq FROM sqlite_sequence WHERE name = 'status_outbox'")
      .get() ?? { seq: 0 };
    database.close();
    expect(seq).toBeGreaterThanOrEqual(least);
  });
});

test("runs of version 0.1 have no limits, and neither have those that an older cdktr adds", async () => {
  using directory = await FormerDirectory.of("v0.1");
  await openState(directory, STATE_MIGRATIONS.slice(0, BEFORE_LIMITS));
  const columns = Object.keys((contentOf(directory.state).runs?.[0] ?? {}) as object).join(", ");
  await openState(directory);
  const database = new Database(directory.state);
  const others = columns.replace("seq, workflow_instance_id, ", "");
  const [added] = database
    .query(
      `INSERT INTO runs (workflow_instance_id, ${others}) SELECT 'of-an-older-cdktr', ${others} FROM runs ORDER BY seq LIMIT 1 RETURNING *`,
    )
    .all();
  expect(added).toMatchObject({ hold: null, group_key: null, admitted: null, priority: 5, rank_ms: null });
  database.close();
  const store = new SqliteOperationalStore({ directory: directory.path, log: silent });
  await store.start();
  const runs = await store.read((tx) => tx.listRuns({ limit: 10 }));
  await store.stop();
  expect(runs).toHaveLength(6);
  const none = { hold: null, group_key: null, group_max: null, on_conflict: null, admitted: false };
  for (const run of runs) {
    expect(run).toMatchObject({
      ...none,
      priority: 5,
      schedule: null,
      backfill_id: null,
      cancel_reason: null,
    });
  }
});

test("an older cdktr goes on with a state that has alerts, and passes over what is on its way to a history without them", async () => {
  using directory = await FormerDirectory.of("v0.1");
  const step = (all: readonly { what: string }[], what: string) => all.findIndex((one) => one.what === what);
  const formerState = STATE_MIGRATIONS.slice(
    0,
    step(STATE_MIGRATIONS, "alerts, their deliveries, expectations and queries"),
  );
  // Views are made as they are today: what they read is there.
  const formerHistory: HistoryMigrations = [
    ...HISTORY_MIGRATIONS.slice(0, step(HISTORY_MIGRATIONS, "who did what, and alerts") - 1),
    {
      what: "as it was, with what the views read today",
      isAdditive: true,
      adds: { workflow_run_status: TABLES.workflow_run_status },
    },
  ];
  await openState(directory, formerState);
  await openHistory(directory, formerHistory);
  const before = contentOf(directory.state);
  await openState(directory);
  await openHistory(directory);
  const after = contentOf(directory.state);
  const added = {
    ...{ alerts: [], deliveries: [], notify_states: [], expectations: [], query_alerts: [], query_rows: [] },
  };
  const runs = (before.runs ?? []).map((run) => ({ ...(run as object), traceparent: null }));
  expect(after).toEqual({ ...before, ...added, runs, identity: expect.anything() });
  // The changes are additive: both open with what an older cdktr knows.
  await openState(directory, formerState);
  await openHistory(directory, formerHistory);
  expect(await ask(directory.history, "SELECT count(*) FROM audit_log")).toEqual([["0"]]);
});

describe("an agent's outbox of version 0.1", () => {
  test("without a mark is copied and migrated with all that waits in it; later ones are migrated, and refused by the former agent", async () => {
    using directory = await FormerDirectory.of("v0.1");
    expect(markOf(directory.outbox)).toBe(0);
    const before = contentOf(directory.outbox);
    const options = { directory: dirname(directory.outbox), agentId: AGENT };
    const kept = Outbox.open(options);
    expect(kept.pendingReports).toBe(2);
    expect(kept.reports(0, 10).map((report) => report.status)).toEqual(["COMPLETED", "COMPLETED"]);
    expect(kept.lastLogSeq).toBe(5);
    const streamId = kept.streamId;
    kept.close();
    expect(contentOf(directory.outbox)).toMatchObject(before);
    expect(contentOf(only(backupsOf(directory.outbox)))).toEqual(before);

    const migrated = Outbox.open({ ...options, migrations: NEXT_OUTBOX });
    expect(migrated.streamId).toBe(streamId);
    expect(migrated.pendingReports).toBe(2);
    expect(migrated.frames(0)).toHaveLength(before.frames?.length ?? 0);
    migrated.close();
    expect(backupsOf(directory.outbox)).toHaveLength(2);

    const error = await failure((async () => Outbox.open(options))());
    expect(error).toBeInstanceOf(NewerSchemaError);
    // It was not put aside as damaged, and nothing in it is lost.
    expect(contentOf(directory.outbox).reports).toEqual(before.reports as unknown[]);
  });
});

test("the triggers that wait with a listener of version 0.1 are taken as they are", async () => {
  using directory = await FormerDirectory.of("v0.1");
  const buffer = new TriggerBuffer(directory.path);
  expect(buffer.size).toBe(1);
  expect(buffer.first(1)[0]?.request).toMatchObject({ workflowId: "good", dedupeKey: "event-1" });
  buffer.close();
});

test.each(["make", "migrate"])(
  "processes that share a file %s it, all at once, and none of them fails",
  async (what) => {
    using former = await FormerDirectory.of("v0.1");
    using fresh = new FormerDirectory();
    const directory = what === "make" ? fresh : former;
    const before = contentOf(former.at("triggers.db"));
    const said = await Promise.all(
      Array.from({ length: 6 }, async () => {
        const child = Bun.spawn(
          [process.execPath, join(import.meta.dir, "migration-child.ts"), directory.path, "triggers", "done"],
          { stdout: "pipe", stderr: "inherit" },
        );
        return new Response(child.stdout).text();
      }),
    );
    expect(said).toEqual(Array.from({ length: 6 }, () => "done\n"));
    const file = directory.at("triggers.db");
    expect(markOf(file)).toBe(2);
    // Who comes at the same moment may make a copy too, but never of what another one has changed.
    const backups = backupsOf(file);
    expect(backups.length > 0).toBe(directory === former);
    for (const backup of backups) expect(contentOf(backup)).toEqual(before);
    expect(beside(file)).toHaveLength(backups.length);
  },
);

describe("the history of version 0.1", () => {
  test("is copied, then migrated; the copy is what it was", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const columns = Object.keys(HISTORY_MIGRATIONS[0]?.adds?.workflow_run_status ?? {});
    const rows = `SELECT ${columns.join(", ")} FROM workflow_run_status ORDER BY rowid`;
    const before = await ask(directory.history, rows);
    expect(before).toHaveLength(11);
    const said: string[] = [];
    await openHistory(directory, nextHistory(), (what) => said.push(what));
    expect(said[0]).toContain("is being backed up before its schema is migrated");
    expect(said[1]).toContain(`schema 1 became ${LAST_HISTORY + 1}`);
    expect(await ask(directory.history, rows)).toEqual(before);
    expect(await ask(directory.history, "SELECT payload FROM logstore WHERE colour = 'red'")).toEqual([
      ["bad"],
    ]);
    expect(await ask(directory.history, "SELECT count(*) FROM workflow_runs")).toEqual([["5"]]);
    const backup = only(backupsOf(directory.history));
    expect(backup).toMatch(versionAndTime);
    expect(await ask(backup, rows)).toEqual(before);
    expect(await ask(backup, "SELECT max(version) FROM schema_version")).toEqual([[1]]);
    await openHistory(directory, nextHistory(), (what) => said.push(what));
    expect(said).toHaveLength(2);
    expect(beside(directory.history)).toHaveLength(1);
  });

  test("gets the schema that a new one has", async () => {
    using former = await FormerDirectory.of("v0.1");
    using fresh = new FormerDirectory();
    const columns =
      "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = current_database() ORDER BY table_name, column_index";
    for (const migrations of [HISTORY_MIGRATIONS, nextHistory()]) {
      await openHistory(former, migrations);
      await openHistory(fresh, migrations);
      const documented = await ask(fresh.history, columns);
      // The table that remembers the schema got its last columns when it was migrated for the first time.
      const others = (rows: unknown[][]) => rows.filter(([table]) => table !== "schema_version");
      expect(others(await ask(former.history, columns))).toEqual(others(documented));
    }
    const present = await ask(fresh.history, columns);
    for (const [table, wanted] of Object.entries(TABLES)) {
      const names = present.filter(([name]) => name === table).map(([, column]) => column);
      expect(names).toEqual(expect.arrayContaining(Object.keys(wanted)));
    }
    expect(backupsOf(fresh.history)).toHaveLength(1);
  });

  test("is refused by the former version afterwards, with the way back, which works", async () => {
    using directory = await FormerDirectory.of("v0.1");
    await openHistory(directory, nextHistory());
    const backup = backupsOf(directory.history).at(-1) ?? "";
    const error = await failure(openHistory(directory));
    expect(error.message).toContain(
      `was written by a newer cdktr, ${VERSION} (schema ${LAST_HISTORY + 1}; this one, ${VERSION}, knows ${LAST_HISTORY})`,
    );
    expect(error.hint).toContain(backup);
    copyFileSync(backup, directory.history);
    await openHistory(directory);
  });

  test("whose migration fails stays as it is, with one copy however often that is tried", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const failing = nextHistory(() => Promise.reject(new Error("cannot be done")));
    for (let times = 0; times < 3; times++) {
      await expect(openHistory(directory, failing)).rejects.toThrow("cannot be done");
      expect(await ask(directory.history, "SELECT max(version) FROM schema_version")).toEqual([[1]]);
      only(backupsOf(directory.history));
    }
  });

  for (const where of ["copying", "changing"] as const) {
    test(`survives a kill while ${where}`, async () => {
      using directory = await FormerDirectory.of("v0.1");
      await killed(directory, "history", where);
      expect(backupsOf(directory.history)).toHaveLength(where === "copying" ? 0 : 1);
      writeFileSync(`${directory.history}.backup-unfinished-0`, "half a copy");
      await openHistory(directory, nextHistory());
      expect(await ask(directory.history, "SELECT payload FROM logstore WHERE colour = 'red'")).toEqual([
        ["bad"],
      ]);
      for (const backup of backupsOf(directory.history)) {
        expect(await ask(backup, "SELECT max(version) FROM schema_version")).toEqual([[1]]);
      }
      expect(existsSync(`${directory.history}.backup-unfinished-0`)).toBe(false);
    });
  }
});

test("the history of version 0.1 gets slices, outputs and reasons, priorities and groups", async () => {
  using directory = await FormerDirectory.of("v0.1");
  await openHistory(directory);
  const limits = "SELECT DISTINCT priority, concurrency_group, backfill_id, schedule FROM workflow_runs";
  expect(await ask(directory.history, limits)).toEqual([[5, null, null, null]]);
  const tasks = "SELECT DISTINCT slice, outputs FROM task_runs";
  expect(await ask(directory.history, tasks)).toEqual([[0, null]]);
  expect(await ask(directory.history, "SELECT DISTINCT reason FROM workflow_runs")).toEqual([[null]]);
  const history = await HistoryDatabase.open({
    path: directory.history,
    filesDirectory: directory.at("files"),
    tempDirectory: directory.at("temp"),
  });
  await history.write({
    logs: [],
    disordered: [],
    statuses: [
      {
        id: 901,
        table: "workflow_run_status",
        row: runRow({ reason: "no agent is up", priority: 9, concurrency_group: "eu" }),
      },
      { id: 902, table: "task_run_status", row: taskRow({ slice: 2, outputs: '{"rows":3}' }) },
    ],
  });
  await history.close();
  expect(
    await ask(directory.history, "SELECT reason FROM workflow_runs WHERE workflow_instance_id = 'run-1'"),
  ).toEqual([["no agent is up"]]);
  expect(await ask(directory.history, `${limits} WHERE workflow_instance_id = 'run-1'`)).toEqual([
    [9, "eu", null, null],
  ]);
  expect(await ask(directory.history, `${tasks} WHERE workflow_instance_id = 'run-1'`)).toEqual([
    [2, '{"rows":3}'],
  ]);
});

describe("while the history is migrated", () => {
  test("nothing waits for it; what comes meanwhile is in it afterwards", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const middle = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const { log, waitFor } = recordingLog();
    const historian = new Historian({
      dbPath: directory.history,
      dataDirectory: directory.path,
      statuses: new MemoryOutbox(),
      flushIntervalMs: 3_600_000,
      log,
      migrations: nextHistory(() => {
        begun.resolve();
        return middle.promise;
      }),
    });
    await historian.start();
    await begun.promise;
    expect(historian.available).toEqual({ ok: false, error: expect.stringContaining("is being migrated") });
    await expect(historian.flush()).rejects.toThrow(/is being migrated/);
    await expect(historian.queryLogs(ALL_LINES)).rejects.toThrow(/is being migrated/);
    historian.agentHoldsFrom("s", 1);
    historian.offer({ agent_id: "a", stream_id: "s", first_seq: 1, lines: [line({ payload: "meanwhile" })] });
    middle.resolve();
    await waitFor(/schema 1 became/);
    await until("it is open", () => historian.available.ok);
    const lines = await historian.queryLogs({ ...ALL_LINES, workflowInstanceId: "run-1" });
    expect(lines.join()).toContain("meanwhile");
    await historian.stop();
  });

  test("a stop aborts the copy, and the next start makes it", async () => {
    using directory = await FormerDirectory.of("v0.1");
    const options = {
      dbPath: directory.history,
      dataDirectory: directory.path,
      statuses: new MemoryOutbox(),
      flushIntervalMs: 3_600_000,
      migrations: nextHistory(),
    };
    const first = new Historian({ ...options, log: recordingLog().log });
    // It resolves when the copy begins.
    await first.start();
    await first.stop();
    expect(beside(directory.history)).toEqual([]);
    const { log, waitFor } = recordingLog();
    const second = new Historian({ ...options, log });
    await second.start();
    await waitFor(/schema 1 became/);
    await second.stop();
    expect(backupsOf(directory.history)).toHaveLength(1);
  });
});

describe("a newer schema that only adds", () => {
  const additive = <T extends { what: string }>(migrations: readonly T[]) =>
    migrations.map((step, n) =>
      n === migrations.length - 1 ? { ...step, isAdditive: true as const } : step,
    );

  test("of the state: the former version can still use it, and so can the newer one afterwards", async () => {
    using directory = await FormerDirectory.of("v0.1");
    await openState(directory, additive(nextState()));
    const store = new SqliteOperationalStore({ directory: directory.path, log: silent });
    await store.start();
    await store.transact((tx) => tx.createRun(pendingRun("run-of-the-former"), "{}", []));
    await store.stop();
    expect(markOf(directory.state)).toBe(LAST_STATE + 1);
    await openState(directory, additive(nextState()));
    const runs = contentOf(directory.state).runs as { workflow_instance_id: string; mood: string }[];
    expect(runs).toHaveLength(6);
    expect(runs.find((run) => run.workflow_instance_id === "run-of-the-former")?.mood).toBe("good");
    only(backupsOf(directory.state));
    // It may be so for a program of the schema before, and not for those before that.
    const further = [...additive(nextState()), { what: "more", apply: () => {} }];
    await openState(directory, further);
    await expect(openState(directory)).rejects.toThrow(NewerSchemaError);
  });

  test("of the history: the former version can still use it, and so can the newer one afterwards", async () => {
    using directory = await FormerDirectory.of("v0.1");
    await openHistory(directory, additive(nextHistory()));
    const history = await HistoryDatabase.open({
      path: directory.history,
      filesDirectory: directory.at("files"),
      tempDirectory: directory.at("temp"),
    });
    await history.write(logs("a-stream", 1, [line({ payload: "of the former" })]));
    await history.close();
    await openHistory(directory, additive(nextHistory()));
    expect(
      await ask(directory.history, "SELECT payload, colour FROM logstore WHERE stream_id = 'a-stream'"),
    ).toEqual([["of the former", null]]);
    only(backupsOf(directory.history));
  });
});

test("only the newest copies stay", async () => {
  using directory = await FormerDirectory.of("v0.1");
  const old = Array.from(
    { length: KEPT_BACKUPS + 1 },
    (_, n) => `${directory.state}.before-0.0.${9 - n}-2024010${n + 1}T000000Z`,
  );
  for (const path of old) writeFileSync(path, path);
  await openState(directory, nextState());
  const kept = backupsOf(directory.state);
  expect(kept).toHaveLength(KEPT_BACKUPS);
  expect(kept.slice(0, -1)).toEqual(old.slice(2));
});

test("without room for the copy nothing is migrated, and the message says how much is missing", async () => {
  using directory = await FormerDirectory.of("v0.1");
  await using mounts = await PrivateMounts.create();
  const small = directory.at("small");
  await mounts.disk(small, 8 * 1024);
  for (const [kind, file] of [
    ["state", "state.db"],
    ["history", "app.db"],
  ] as const) {
    copyFileSync(directory.at(file), mounts.path(small, file));
    const child = Bun.spawn(
      [...mounts.prefix, process.execPath, join(import.meta.dir, "migration-child.ts"), small, kind, "done"],
      { stdout: "pipe", stderr: "inherit" },
    );
    expect(await new Response(child.stdout).text()).toMatch(
      /must be backed up before its schema is migrated .* there is not enough space: \d+ MB are needed in .*small, \d MB are free\. Nothing was changed\. Free some space there/,
    );
    await child.exited;
    expect(readdirSync(mounts.path(small)).filter((name) => name.includes(".b"))).toEqual([]);
  }
  copyFileSync(mounts.path(small, "state.db"), directory.at("left.db"));
  expect(markOf(directory.at("left.db"))).toBe(1);
});

/** Lets another process migrate, and kills it there. */
async function killed(directory: FormerDirectory, kind: "state" | "history", where: string): Promise<void> {
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "migration-child.ts"), directory.path, kind, where],
    { stdout: "pipe", stderr: "inherit" },
  );
  const { value } = await child.stdout.getReader().read();
  expect(Buffer.from(value ?? []).toString()).toBe(`${where}\n`);
  child.kill("SIGKILL");
  await child.exited;
}
