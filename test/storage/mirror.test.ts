import { Database } from "bun:sqlite";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CommitStatements } from "../../src/storage/operational/mirror/commit-statement.ts";
import { DirectoryLock } from "../../src/storage/operational/mirror/directory-lock.ts";
import { RowWriter } from "../../src/storage/operational/mirror/rows.ts";
import { type MirrorTable, SEQUENCES, tablesOf } from "../../src/storage/operational/mirror/tables.ts";
import { STATE_MIGRATIONS } from "../../src/storage/operational/sqlite/schema.ts";
import {
  DataDirectoryInUseError,
  type OperationalStore,
  StoreUnavailableError,
} from "../../src/storage/operational/store.ts";
import { OutcomeUnknownError } from "../../src/storage/postgres/errors.ts";
import { TcpProxy } from "../chaos/proxy.ts";
import { LONG } from "../support/long.ts";
import { PostgresServer } from "../support/postgres.ts";
import { until } from "../support/until.ts";
import { describeStore, LIFE, type StoreUnderTest } from "./conformance.ts";
import { describeAlerts } from "./conformance-alerts.ts";
import { describeBackfills } from "./conformance-backfills.ts";
import { describeExpectations } from "./conformance-expectations.ts";
import { describePauses } from "./conformance-pauses.ts";
import { describeQueryAlerts } from "./conformance-query-alerts.ts";
import { connectTo, MirrorDatabase, TestMember } from "./mirror-support.ts";
import { pendingRun, TestStores } from "./operational-support.ts";

let server: PostgresServer;
/** Databases that no test uses; the tables of one are made once. */
const free: MirrorDatabase[] = [];

beforeAll(async () => {
  server = await PostgresServer.start();
});

afterAll(async () => {
  for (const database of free) await database[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

async function mirrored(): Promise<StoreUnderTest> {
  const database = free.pop() ?? (await MirrorDatabase.open(server));
  await database.empty();
  const member = new TestMember(database);
  return {
    store: await member.lead(),
    reopen: () => member.lead(),
    failStatement: (n) => member.failStatement(n),
    async [Symbol.asyncDispose]() {
      await member[Symbol.asyncDispose]();
      free.push(database);
    },
  };
}

describeStore("postgres", mirrored);
// The same statements run on both stores: what they do is tested there, and here at full length only.
if (LONG) {
  describeBackfills("postgres", mirrored);
  describePauses("postgres", mirrored);
  describeAlerts("postgres", mirrored);
  describeExpectations("postgres", mirrored);
  describeQueryAlerts("postgres", mirrored);
}

const run = (store: OperationalStore, id: string) =>
  store.transact((tx) => tx.createRun(pendingRun(id), "{}", []));

const runsOf = async (store: OperationalStore) =>
  (await store.read((tx) => tx.listRuns({ limit: 100_000 }))).map((one) => one.workflow_instance_id).sort();

/** The tables of the state, by name. */
async function mirroredTables(): Promise<Map<string, MirrorTable>> {
  await using stores = new TestStores();
  const store = await stores.open();
  await store.stop();
  using database = new Database(store.path, { readonly: true });
  return new Map(tablesOf(database).map((table) => [table.name, table]));
}

/** A leader, and whoever else a test needs, on a database that nobody else uses. */
async function withLeader(
  work: (
    leader: TestMember,
    store: Awaited<ReturnType<TestMember["lead"]>>,
    database: MirrorDatabase,
  ) => Promise<void>,
): Promise<void> {
  const database = free.pop() ?? (await MirrorDatabase.open(server));
  await database.empty();
  await using leader = new TestMember(database);
  await work(leader, await leader.lead(), database);
  free.push(database);
}

describe("what the leader commits", () => {
  test("is in PostgreSQL and in the replica of a follower, each table and row of it", () =>
    withLeader(async (_, store, database) => {
      await using follower = new TestMember(database);
      await follower.replica.load(database.connection);
      // Some at once, some fail, some twice: whatever can happen to a unit.
      for (let i = 0; i < LIFE.length; i++) {
        const units = [...LIFE.slice(i, i + 1 + (i % 3)), ...LIFE.slice(0, i % 2)];
        await Promise.allSettled(units.map((unit) => store.transact(unit)));
        if (i % 7 !== 0) continue;
        const [postgres, sqlite] = await database.digests(store);
        expect(postgres).toEqual(sqlite);
        expect(await follower.follow()).toBe(true);
        expect(follower.replica.digests()).toEqual(sqlite);
      }
    }));

  test("is one statement for all units of a turn", () =>
    withLeader(async (leader, store) => {
      let sent = 0;
      leader.wire = (send) => {
        sent++;
        return send();
      };
      await Promise.all(Array.from({ length: 100 }, (_, i) => run(store, `run-${i}`)));
      await store.transact(async () => {});
      expect(sent).toBe(1);
    }));

  test("is what the next leader has, on another host", () =>
    withLeader(async (_, store, database) => {
      await run(store, "one");
      await using other = new TestMember(database);
      const next = await other.lead();
      expect(await runsOf(next)).toEqual(["one"]);
      expect((await next.identity()).is_new).toBe(false);
      expect((await next.identity()).former_boot_id).toBeNull();
    }));
});

describe("the statement of a commit", () => {
  test("finds rows by their keys, however many there are", () =>
    withLeader(async (_, __, { connection }) => {
      const tables = new Map(await mirroredTables());
      await using session = await connection.session();
      await session.query(`
        INSERT INTO runs (seq) SELECT generate_series(1, 20000);
        INSERT INTO attempts (workflow_instance_id, attempt) SELECT 'run-' || n, 1 FROM generate_series(1, 20000) AS n;
        INSERT INTO task_runs (seq) SELECT generate_series(1, 20000);
        ANALYZE runs; ANALYZE attempts; ANALYZE task_runs`);
      const large = ["runs", "attempts", "task_runs"].flatMap((name) => tables.get(name) ?? []);
      const statement = new CommitStatements(large).for(
        large.flatMap(({ name }) => [`${name}+`, `${name}-`]),
      );
      const plan = await session.query<{ "QUERY PLAN": string }>(`EXPLAIN ${statement}`, [1, 1, "m", "{}"]);
      const lines = plan.map((row) => row["QUERY PLAN"]).join("\n");
      for (const { name } of large) {
        expect(lines).toMatch(new RegExp(`(Index Scan using|Bitmap Index Scan on) ${name}_pkey`));
        expect(lines).not.toContain(`Seq Scan on ${name}`);
      }
    }));

  test("that changes tables together which are seldom changed together is one for all of them", () =>
    withLeader(async (leader, store, database) => {
      const tables = await mirroredTables();
      const few = new CommitStatements([...tables.values(), SEQUENCES], 1);
      expect(few.for(["runs+"])).not.toBe(few.for(["runs+", "runs-"]));
      expect(few.for(["attempts+"])).toBe(few.for(["runs+", "runs-"]));
      leader.wire = (send, sql, values) =>
        sql.includes("UPDATE cluster_leadership")
          ? database.connection.query(few.for(["agents+"]), values)
          : send();
      for (const unit of LIFE) await store.transact(unit);
      const [postgres, sqlite] = await database.digests(store);
      expect(postgres).toEqual(sqlite);
    }));
});

describe("an answer that does not come", () => {
  const unknown = () => new OutcomeUnknownError("the connection was lost");

  test("is found out: the unit is committed once, whether the first statement has arrived or not", () =>
    withLeader(async (leader, store, database) => {
      for (const arrives of [true, false]) {
        let isFirst = true;
        leader.wire = async (send) => {
          if (!isFirst) return send();
          isFirst = false;
          if (arrives) await send();
          throw unknown();
        };
        await run(store, `arrives ${arrives}`);
      }
      expect(await runsOf(store)).toEqual(["arrives false", "arrives true"]);
      const [postgres, sqlite] = await database.digests(store);
      expect(postgres).toEqual(sqlite);
      expect(leader.ends).toEqual([]);
    }));

  test("counts only when the standbys that commits wait for have it, whatever the primary has", () =>
    withLeader(async (leader, store) => {
      const waiting = async () => {
        const rows = await server.sql(
          "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' ORDER BY pid",
        );
        return rows.map(({ pid }) => Number(pid));
      };
      const waitFor = async (standbys: string) => {
        await server.sql(`ALTER SYSTEM SET synchronous_standby_names = '${standbys}'`);
        await server.sql("SELECT pg_reload_conf()");
      };
      const others: Promise<unknown>[] = [];
      try {
        await waitFor("nobody");
        // The server heeds it a little later.
        const before = await until("commits wait", async () => {
          let isDone = false;
          const other = server.sql("SELECT pg_logical_emit_message(true, 'a', 'b')").then(() => {
            isDone = true;
          });
          others.push(other);
          return await until("one waits or not", async () => {
            const pids = await waiting();
            return pids.length > 0 ? pids : isDone && [];
          }).then((pids) => pids.length > 0 && pids);
        });
        let isDone = false;
        others.push(
          run(store, "one").then(() => {
            isDone = true;
          }),
        );
        const isNew = (pid: number) => !before.includes(pid);
        const first = await until("the commit waits", async () => (await waiting()).find(isNew));
        // It is there, and its connection ends before a standby has it.
        await server.sql(`SELECT pg_terminate_backend(${first})`);
        await until(
          "it waits again",
          async () => isDone || (await waiting()).some((pid) => isNew(pid) && pid !== first),
        );
        expect(isDone).toBe(false);
      } finally {
        await waitFor("");
        await Promise.all(others);
      }
      expect(await runsOf(store)).toEqual(["one"]);
      expect(leader.ends).toEqual([]);
    }));

  test("ends the term when somebody else leads meanwhile; what has arrived is there, and the client is told that it may be", () =>
    withLeader(async (leader, store, database) => {
      await using other = new TestMember(database);
      let next: OperationalStore | undefined;
      leader.wire = async (send) => {
        if (next !== undefined) return send();
        await send();
        next = await other.lead();
        throw unknown();
      };
      const failure = await run(store, "one").catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(StoreUnavailableError);
      expect(String((failure as StoreUnavailableError).hint)).toMatch(/^It may have been written: /);
      expect(leader.ends).toEqual(["another member leads"]);
      if (next !== undefined) expect(await runsOf(next)).toEqual(["one"]);
    }));

  test("ends the term when the lease ends first, and everybody is told", () =>
    withLeader(async (leader, store) => {
      leader.wire = async () => {
        leader.loseLease();
        throw unknown();
      };
      const outcomes = await Promise.allSettled([run(store, "one"), run(store, "two")]);
      const reasons = outcomes.map((outcome) =>
        outcome.status === "rejected" ? String(outcome.reason) : "",
      );
      for (const reason of reasons)
        expect(reason).toContain("not the leader any more: PostgreSQL did not answer before the lease ended");
      // Neither is there anything to read, and it stops all the same.
      await expect(runsOf(store)).rejects.toThrow(StoreUnavailableError);
      await expect(run(store, "three")).rejects.toThrow(StoreUnavailableError);
      expect(leader.ends).toHaveLength(1);
    }));

  test("comes on another connection when the network was cut", () =>
    withLeader(async (_, store, database) => {
      await store.stop();
      const proxy = await TcpProxy.to(server.port);
      const connection = await connectTo(database.url.replace(`:${server.port}/`, `:${proxy.port}/`));
      try {
        await using leader = new TestMember({ connection });
        const cut = await leader.lead();
        for (const at of ["before", "after"]) {
          leader.wire = async (send) => {
            leader.wire = (again) => again();
            if (at === "before") proxy.cut();
            const answer = send();
            if (at === "after") await answer;
            proxy.cut();
            proxy.heal();
            return answer;
          };
          await run(cut, at);
        }
        expect(await runsOf(cut)).toEqual(["after", "before"]);
        expect(leader.ends).toEqual([]);
      } finally {
        await connection.stop();
        proxy.close();
      }
    }));
});

describe("a server", () => {
  test("that is killed and starts again is waited for, as long as the lease lasts", () =>
    withLeader(async (leader, store, database) => {
      const units = Array.from({ length: 20 }, async (_, i) => {
        for (let n = 0; n < 3; n++) await run(store, `${i}-${n}`);
      });
      await server.kill();
      await server.startAgain();
      await Promise.all(units);
      expect(await runsOf(store)).toHaveLength(60);
      expect(leader.ends).toEqual([]);
      const [postgres, sqlite] = await database.digests(store);
      expect(postgres).toEqual(sqlite);
    }));

  test("that hangs until the lease is over has ended the term; what it does later is known to the next leader", () =>
    withLeader(async (leader, store, database) => {
      await run(store, "one");
      leader.leaseEndsIn(200);
      server.pause();
      const failure = await run(store, "two").catch((error: unknown) => error);
      server.resume();
      expect(failure).toBeInstanceOf(StoreUnavailableError);
      expect(leader.ends).toHaveLength(1);
      await database.connection.connected(60_000);
      const next = await leader.lead();
      expect((await runsOf(next))[0]).toBe("one");
      const [postgres, sqlite] = await database.digests(next);
      expect(postgres).toEqual(sqlite);
    }));
});

describe("a leader", () => {
  test("whose epoch is over commits nothing, reads nothing, and stops", () =>
    withLeader(async (leader, store, database) => {
      await run(store, "one");
      await using other = new TestMember(database);
      const next = await other.lead();
      const failure = await run(store, "two").catch((error: unknown) => error);
      expect(String(failure)).toBe(
        "StoreUnavailableError: This member is not the leader any more: another member leads.",
      );
      expect((failure as StoreUnavailableError).hint).toBe("Nothing was changed.");
      await expect(runsOf(store)).rejects.toThrow(/not the leader/);
      expect(leader.ends).toEqual(["another member leads"]);
      expect(await runsOf(next)).toEqual(["one"]);
      // It can follow, and lead again.
      expect(await runsOf(await leader.lead())).toEqual(["one"]);
    }));

  test("that nobody renews in time reads nothing", () =>
    withLeader(async (leader, store) => {
      leader.loseLease();
      await expect(runsOf(store)).rejects.toThrow(/the lease could not be renewed in time/);
    }));

  test("that cannot write its replica after PostgreSQL has committed steps down; the commit stands", () =>
    withLeader(async (leader, store, database) => {
      leader.failHere();
      const failure = await run(store, "one").catch((error: unknown) => error);
      expect((failure as StoreUnavailableError).hint).toMatch(/^It may have been written: /);
      expect(leader.ends).toHaveLength(1);
      await using other = new TestMember(database);
      expect(await runsOf(await other.lead())).toEqual(["one"]);
    }));

  test("that is killed at any moment has lost nothing that it said", () =>
    withLeader(async (_, store, database) => {
      await store.stop();
      const said: string[] = [];
      for (let kills = 1; kills <= 3; kills++) {
        const directory = mkdtempSync(join(tmpdir(), "cdktr-killed-"));
        const child = Bun.spawn(
          [process.execPath, join(import.meta.dir, "mirror-child.ts"), database.url, directory],
          {
            stdout: "pipe",
            stderr: "inherit",
          },
        );
        let text = "";
        for await (const chunk of child.stdout) {
          text += new TextDecoder().decode(chunk);
          if (text.split("\n").length > 20 * kills) child.kill("SIGKILL");
        }
        await child.exited;
        rmSync(directory, { recursive: true });
        said.push(...text.split("\n").slice(0, -1));
      }
      await using next = new TestMember(database);
      const there = await runsOf(await next.lead());
      expect(said.filter((id) => !there.includes(id))).toEqual([]);
      // Those of one commit of each process were perhaps not said any more.
      const unsaid = there.filter((id) => !said.includes(id));
      expect(new Set(unsaid.map((id) => id.split("-").slice(0, 2).join("-"))).size).toBeLessThanOrEqual(3);
      const [postgres, sqlite] = await database.digests(await next.lead());
      expect(postgres).toEqual(sqlite);
    }));
});

describe("a follower", () => {
  test("that has missed commits, or is told that everything may have changed, says that it must be loaded again", () =>
    withLeader(async (leader, store, database) => {
      await using follower = new TestMember(database);
      await follower.replica.load(database.connection);
      await run(store, "one");
      await run(store, "two");
      await database.connection.query(
        "DELETE FROM cluster_commits WHERE seq = (SELECT max(seq) - 1 FROM cluster_commits)",
      );
      expect(await follower.follow()).toBe(false);
      await follower.replica.load(database.connection);
      await database.connection.query("UPDATE cluster_leadership SET schema_version = 1");
      await leader.lead();
      expect(await follower.follow()).toBe(false);
      await follower.replica.load(database.connection);
      expect(await follower.follow()).toBe(true);
    }));

  test("whose last commits PostgreSQL has lost notices that their numbers are used again", () =>
    withLeader(async (_, store, { connection }) => {
      await run(store, "kept");
      await using follower = new TestMember({ connection });
      await using successor = new TestMember({ connection });
      for (const member of [follower, successor]) await member.replica.load(connection);
      await run(store, "lost");
      for (const member of [follower, successor]) expect(await member.follow()).toBe(true);
      // A standby that lacked the last commit was promoted.
      await connection.query(`
        DELETE FROM cluster_commits WHERE seq = (SELECT commit_seq FROM cluster_leadership);
        UPDATE cluster_leadership SET commit_seq = commit_seq - 1;
        DELETE FROM runs WHERE workflow_instance_id = 'lost'`);
      await expect(run(store, "late")).rejects.toThrow(/another member leads/);
      await using leader = new TestMember({ connection });
      const next = await leader.lead();
      for (const id of ["a", "b"]) {
        expect(await follower.follow()).toBe(false);
        await run(next, id);
      }
      await follower.replica.load(connection);
      await run(next, "c");
      expect(await follower.follow()).toBe(true);
      expect(await runsOf(await successor.lead())).toEqual(["a", "b", "c", "kept"]);
    }));

  test("that knows more columns than the leader keeps what they have, as PostgreSQL does", () => {
    using database = new Database(":memory:", { strict: true });
    database.run(
      "CREATE TABLE t (a TEXT, b INTEGER, old TEXT, new TEXT, more INTEGER NOT NULL DEFAULT 7, PRIMARY KEY (a, b)) STRICT",
    );
    database.run("CREATE TABLE own (id INTEGER PRIMARY KEY AUTOINCREMENT, x TEXT) STRICT");
    database.run("INSERT INTO t VALUES ('a', 1, 'x', 'kept', 8)");
    const writer = new RowWriter(database);
    const row = (a: string, old: string) => ({ a, b: 1, old });
    writer.apply(
      JSON.stringify({ "t+": [row("a", "y"), row("b", "z"), { ...row("c", "w"), new: null, more: 9 }] }),
    );
    writer.release();
    expect(database.query("SELECT * FROM t ORDER BY a").values()).toEqual([
      ["a", 1, "y", "kept", 8],
      ["b", 1, "z", null, 7],
      ["c", 1, "w", null, 9],
    ]);
  });

  test("has its data directory for itself", () =>
    withLeader(async (leader) => {
      expect(() => new DirectoryLock(leader.directory)).toThrow(DataDirectoryInUseError);
    }));
});

describe("members with different schemas of the state", () => {
  /** Those of this cdktr before its newest ones, which are additive. */
  const OLDER = STATE_MIGRATIONS.slice(0, -2);

  test("lead one after the other: the newer one brings PostgreSQL up to date, the older one uses what it knows", () =>
    withLeader(async (_, store, database) => {
      await store.stop();
      await database.empty();
      await using older = new TestMember(database, OLDER);
      await run(await older.lead(), "one");
      await using newer = new TestMember(database);
      await run(await newer.lead(), "two");
      const [row] = await database.connection.query("SELECT schema_version FROM cluster_leadership");
      expect(row).toEqual({ schema_version: STATE_MIGRATIONS.length });
      await run(await older.lead(), "three");
      expect(await runsOf(await newer.lead())).toEqual(["one", "three", "two"]);
    }));

  test("that an older one cannot use are refused to it", () =>
    withLeader(async (_, store, database) => {
      await run(store, "one");
      await database.connection.query("UPDATE schema_changes SET oldest_reader = version");
      await using older = new TestMember(database, OLDER);
      await expect(older.lead()).rejects.toThrow(/^The state in PostgreSQL was written by a newer cdktr/);
    }));
});
