import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../../src/clock.ts";
import type { CdktrError } from "../../src/errors.ts";
import { DataDirectoryInUseError, type OperationalTx } from "../../src/storage/operational/store.ts";
import { turn } from "../../src/timer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { describeStore, type StoreUnderTest } from "./conformance.ts";
import { describeAlerts } from "./conformance-alerts.ts";
import { describeBackfills } from "./conformance-backfills.ts";
import { describeExpectations } from "./conformance-expectations.ts";
import { describePauses } from "./conformance-pauses.ts";
import { describeQueryAlerts } from "./conformance-query-alerts.ts";
import { agentRecord, pendingRun, TestStores } from "./operational-support.ts";

const CHILD = join(import.meta.dir, "operational-child.ts");

/** The lines that a child prints, one at a time. */
async function* linesOf(child: Bun.Subprocess<"ignore", "pipe", "inherit">): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of child.stdout) {
    text += new TextDecoder().decode(chunk);
    for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
      yield text.slice(0, end);
      text = text.slice(end + 1);
    }
  }
}

function child(directory: string, mode: "hold" | "write") {
  return Bun.spawn([process.execPath, CHILD, directory, mode], {
    stdout: "pipe",
    stderr: "inherit",
    stdin: "ignore",
  });
}

async function sqlite(): Promise<StoreUnderTest> {
  const stores = new TestStores();
  return {
    store: await stores.open(),
    reopen: () => stores.reopen(),
    failStatement: (n) => stores.failStatement(n),
    [Symbol.asyncDispose]: () => stores[Symbol.asyncDispose](),
  };
}

describeStore("sqlite", sqlite);
describeBackfills("sqlite", sqlite);
describePauses("sqlite", sqlite);
describeAlerts("sqlite", sqlite);
describeExpectations("sqlite", sqlite);
describeQueryAlerts("sqlite", sqlite);

test("units of one turn share one commit, with what they ask for before it", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const wal = `${store.path}-wal`;
  const step = {
    work: async (tx: OperationalTx) => {
      await tx.claim({ agent_id: "a", session_id: "s", fetch_id: null, assigned_at_ms: 1, offer_ms: 1 });
    },
    failed: () => {},
  };
  await store.transact((tx) => tx.registerAgent(agentRecord("a"), null, 1000));
  const before = stores.commits;
  await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      store.transact(async (tx) => {
        await tx.createRun(pendingRun(`together-${i}`), "{}", []);
        tx.beforeCommit(step);
      }),
    ),
  );
  expect(stores.commits - before).toBe(1);
  expect(await store.read((tx) => tx.openAttempts("a"))).toHaveLength(1);
  expect(statSync(wal).size).toBeGreaterThan(0);
});

test("whether the disk can be written is tried out when asked, but not right after something was written", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const commitsOf = async (count: number, problem: RegExp | null) => {
    const before = stores.commits;
    const found = await store.writeProblem();
    expect([stores.commits - before, found === null ? null : problem?.test(found)]).toEqual([
      count,
      problem && true,
    ]);
  };
  await commitsOf(1, null);
  await commitsOf(0, null);
  stores.failStatement(1);
  await expect(store.transact((tx) => tx.createRun(pendingRun("a"), "{}", []))).rejects.toThrow(
    /disk is full/,
  );
  stores.failStatement(1);
  await commitsOf(0, /disk is full/);
  await commitsOf(1, null);
  await commitsOf(0, null);
});

describe("the file", () => {
  test("is not readable by others", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.transact((tx) => tx.createRun(pendingRun("a"), "{}", []));
    expect(statSync(join(stores.directory, "data")).mode & 0o777).toBe(0o700);
    for (const name of ["state.db", "state.db-wal"]) {
      expect(statSync(join(stores.directory, "data", name)).mode & 0o777).toBe(0o600);
    }
  });

  test("is refused to a second principal, which is told what to do; a killed one leaves it free", async () => {
    await using stores = new TestStores();
    const directory = join(stores.directory, "data");
    await using holder = child(directory, "hold");
    expect((await linesOf(holder).next()).value).toBe("open");
    const refused = await stores.open().catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(DataDirectoryInUseError);
    expect(String(refused)).toContain(`process ${holder.pid}`);
    expect((refused as CdktrError).hint).toContain("CDKTR_APP_DATA_DIRECTORY");
    holder.kill("SIGKILL");
    await holder.exited;
    await stores.open();
  });

  test("written by a newer cdktr, or damaged, is refused with an explanation", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.stop();
    const database = new Database(store.path);
    database.run("PRAGMA user_version = 999");
    database.close();
    await expect(stores.open()).rejects.toThrow(/newer cdktr/);
    mkdirSync(join(stores.directory, "broken"), { mode: 0o700 });
    writeFileSync(
      join(stores.directory, "broken", "state.db"),
      "this is no database, and long enough to tell".repeat(50),
    );
    await expect(stores.open("broken")).rejects.toThrow(/is damaged/);
    writeFileSync(join(stores.directory, "file"), "");
    await expect(stores.open("file/data")).rejects.toThrow(/cannot be created/);
  });

  test("that cannot grow refuses units and recovers automatically", async () => {
    await using stores = new TestStores();
    const directory = join(stores.directory, "data");
    await using writer = child(directory, "write");
    const limit = (bytes: string) =>
      Bun.spawnSync(["prlimit", `--fsize=${bytes}:`, "--pid", String(writer.pid)]);
    const lines = linesOf(writer);
    expect((await lines.next()).value).toBe("open");
    expect(limit("4096").exitCode).toBe(0);
    expect((await lines.next()).value).toMatch(/^refused The principal's state cannot be written: /);
    expect(limit("unlimited").exitCode).toBe(0);
    const healed = (await lines.next()).value ?? "";
    expect(healed).toMatch(/^healed \d+$/);
    expect(await writer.exited).toBe(0);
    const store = await stores.open();
    await store.stop();
    const database = new Database(store.path, { readonly: true });
    const count = database.query<{ n: number }, []>("SELECT count(*) AS n FROM definitions").get()?.n;
    database.close();
    expect(`healed ${count}`).toBe(healed);
  });
});

describe("a copy", () => {
  test("is of the moment that was announced; units of work go on while it is written", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    const put = (id: string, definition: string) =>
      store.transact((tx) => tx.createRun(pendingRun(id, { definition_hash: id }), definition, []));
    for (let i = 0; i < 40; i++) await put(`before-${i}`, "x".repeat(1_000_000));
    const path = join(stores.directory, "copy.db");
    let isFixed = false;
    let isDone = false;
    const copying = store.copyTo(path, () => {
      isFixed = true;
    });
    void copying.then(() => {
      isDone = true;
    });
    while (!isFixed) await turn();
    let units = 0;
    // More than the log takes before it is copied into the database.
    while (!isDone) await put(`after-${units++}`, "y".repeat(500_000));
    await copying;
    expect(units).toBeGreaterThan(1);

    const copy = new Database(path, { readonly: true });
    expect(copy.query("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    expect(copy.query("PRAGMA journal_mode").get()).toEqual({ journal_mode: "delete" });
    const count = (like: string) =>
      copy.query("SELECT count(*) AS n FROM runs WHERE workflow_instance_id LIKE ?").get(like);
    expect([count("before-%"), count("after-%")]).toEqual([{ n: 40 }, { n: 0 }]);
    copy.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);

    // This store still has its lock, and its log is copied into the database again.
    const again = await stores.reopen();
    expect((await again.read((tx) => tx.findRuns("after-", 1000))).length).toBe(units);
  });
});

test("deadlines stay where they are when the wall clock is set and the store is opened again", async () => {
  await using stores = new TestStores();
  // One monotonic clock, as all processes of a boot have, and a wall clock that another process finds elsewhere.
  const clock = new ManualClock();
  const setTo = (now: number): Clock => ({
    now: () => now,
    monotonic: () => clock.monotonic() - 17,
    sinceBoot: () => clock.sinceBoot(),
    after: (ms, ring) => clock.after(ms, ring),
  });
  const first = await stores.open("data", setTo(1_700_000_000_000));
  await first.transact(async (tx) => {
    await tx.createRun(pendingRun("limited", { queued: false, revision: 1 }), "{}", []);
    const run = await tx.getRun("limited");
    if (run !== null) await tx.limitRun(run, 60_000);
  });
  await first.stop();
  clock.advance(10_000);
  for (const now of [1_700_000_000_000 + 7_200_000, 1_600_000_000_000]) {
    const store = await stores.open("data", setTo(now));
    expect(await store.read((tx) => tx.nextOverdueRun())).toBe(50_000);
    await store.stop();
  }
});

describe("queries of the queue", () => {
  test("use an index, however many runs there are", async () => {
    await using stores = new TestStores();
    const store = await stores.open();
    await store.stop();
    const database = new Database(store.path, { readonly: true });
    const plan = (sql: string) =>
      database
        .query<{ detail: string }, []>(`EXPLAIN QUERY PLAN ${sql}`)
        .all()
        .map((row) => row.detail);
    expect(plan("SELECT * FROM runs WHERE queued = 1 ORDER BY seq LIMIT 1")).toEqual([
      expect.stringContaining("runs_queue"),
    ]);
    expect(
      plan(
        "SELECT * FROM attempts WHERE lease IN ('OFFERED', 'HELD') AND agent_id = 'a' ORDER BY assigned_at_ms",
      )[0],
    ).toContain("attempts_open");
    const heads = "SELECT needs FROM slices WHERE state = 'QUEUED' AND needs > 'a' ORDER BY needs LIMIT 1";
    expect(plan(heads)).toEqual([expect.stringContaining("slices_queue")]);
    const open = (table: string) =>
      `SELECT agent_id, assigned_at_ms FROM ${table} WHERE lease IN ('OFFERED', 'HELD') AND agent_id = 'a'`;
    const both = plan(`${open("attempts")} UNION ALL ${open("slice_attempts")} ORDER BY assigned_at_ms`).join(
      "\n",
    );
    expect(both).toContain("attempts_open");
    expect(both).toContain("slice_attempts_open");
    expect(
      plan(
        "SELECT * FROM task_runs WHERE workflow_instance_id = 'a' AND slice > 0 AND slice = 1 ORDER BY seq",
      )[0],
    ).toContain("task_runs_by_slice");
    expect(plan("SELECT min(deadline_ms) AS next FROM attempts WHERE lease = 'OFFERED'")).toEqual([
      expect.stringContaining("attempts_offered"),
    ]);
    expect(
      plan("SELECT status, count(*) AS n FROM runs WHERE finished_at_ms IS NULL GROUP BY status"),
    ).toEqual([expect.stringContaining("runs_open")]);
    database.close();
  });
});

test("versions of workflows that an older cdktr wrote: the newest counts, whoever wrote it", async () => {
  await using stores = new TestStores();
  let store = await stores.open();
  const packed = {
    workflow_id: "flow",
    path: "flow.yml",
    fingerprint: "",
    facts: "{}",
    texts: Uint8Array.of(1),
  };
  /** What another program does with the file while the store is closed. */
  const outside = async <T>(work: (database: Database) => T): Promise<T> => {
    await store.stop();
    using database = new Database(store.path);
    const result = work(database);
    database.close();
    store = await stores.open();
    return result;
  };
  const write = (source: string) =>
    outside((database) =>
      database.run(
        "INSERT OR REPLACE INTO workflow_versions (workflow_id, path, definition, source) VALUES (?, ?, ?, ?)",
        ["flow", "flow.yml", "{}", source],
      ),
    );
  const plain = () =>
    outside((database) => database.query("SELECT source FROM workflow_versions").values().flat());
  const present = () =>
    store.read(async (tx) => ({
      own: (await tx.listWorkflowVersions()).length,
      others: (await tx.listPlainVersions("", 10)).map(({ source }) => source),
    }));

  await write("one");
  expect(await present()).toEqual({ own: 0, others: ["one"] });
  // Converted: the older one can still use it.
  await store.transact((tx) => tx.putWorkflowVersion(packed, true));
  expect(await present()).toEqual({ own: 1, others: [] });
  expect(await plain()).toEqual(["one"]);
  // The older one is back, and finds another version.
  await write("two");
  expect(await present()).toEqual({ own: 0, others: ["two"] });
  // This one finds another version.
  await store.transact((tx) => tx.putWorkflowVersion(packed));
  expect(await present()).toEqual({ own: 1, others: [] });
  expect(await plain()).toEqual([]);
  // The older one drops a workflow.
  await write("three");
  await store.transact((tx) => tx.putWorkflowVersion(packed, true));
  await outside((database) => database.run("DELETE FROM workflow_versions WHERE workflow_id = 'flow'"));
  expect(await present()).toEqual({ own: 0, others: [] });
});

/** Tables with a row a run, or more: they have millions. The others are bounded, or have one a workflow or an agent. */
const LARGE =
  "runs|task_runs|attempts|slices|slice_attempts|status_outbox|dedupe_keys|artifacts|missed_events|backfill_firings|waits";
/** What follows from a condition is looked up. Those in the order of their keys end after a page. */
const IN_PAGES = /^SELECT (?!.* WHERE ).* ORDER BY seq DESC LIMIT \?$/;

test("none of the statements of this file reads all of a large table", async () => {
  await using stores = new TestStores();
  await (await stores.open()).stop();
  using database = new Database(join(stores.directory, "data", "state.db"), { readonly: true });
  const texts = [...TestStores.texts].filter((sql) => /^\s*(WITH|SELECT|UPDATE|DELETE|INSERT)\b/.test(sql));
  expect(texts.length).toBeGreaterThan(150);
  const whole = texts.flatMap((sql) => {
    const short = sql.replaceAll(/\s+/g, " ").trim();
    const aliases = [...short.matchAll(new RegExp(`\\b(?:${LARGE}) AS (\\w+)`, "g"))].map(([, name]) => name);
    const scan = new RegExp(`^SCAN (${[LARGE, ...aliases].join("|")})$`);
    const steps = database.query(`EXPLAIN QUERY PLAN ${sql}`).all() as { detail: string }[];
    const found = steps.filter(({ detail }) => scan.test(detail));
    return found.length === 0 || IN_PAGES.test(short) ? [] : [`${found[0]?.detail}: ${short}`];
  });
  expect(whole).toEqual([]);
});
