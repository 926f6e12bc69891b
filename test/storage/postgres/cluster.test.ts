import { afterAll, beforeAll, expect, test } from "bun:test";
import { systemClock } from "../../../src/clock.ts";
import { prepareClusterTables } from "../../../src/storage/postgres/cluster-schema.ts";
import { PostgresConnection } from "../../../src/storage/postgres/connection.ts";
import { commitsAfter, FEED_STATEMENTS, FeedTrimmer } from "../../../src/storage/postgres/feed.ts";
import {
  CLUSTER_STATEMENTS,
  Cluster,
  FENCE,
  LEADER_CHANNEL,
  LEASE_MS,
  type MemberFacts,
  type MemberPulse,
  type Term,
} from "../../../src/storage/postgres/leadership.ts";
import { parseStoreUrl } from "../../../src/storage/postgres/url.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { PostgresServer } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";

/** A guard against hanging. */
const PATIENCE_MS = 60_000;

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const PULSE: MemberPulse = { applied_seq: 0, workflows_digest: "d", is_stopping: false, data: {} };

function facts(member_id: string, name = member_id): MemberFacts {
  return {
    member_id,
    name,
    host: "127.0.0.1",
    api_port: 1,
    logs_listening_port: 2,
    logs_publishing_port: 3,
    version: "1.0.0",
    protocol: 6,
    started_at_ms: 1_700_000_000_000,
  };
}

/** However long a test takes, a lease lasts until the test ends it. */
const LONG_LEASES = `
CREATE FUNCTION lease_longer() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.until > clock_timestamp() THEN NEW.until := clock_timestamp() + interval '1 hour'; END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER lease_longer BEFORE UPDATE ON cluster_leadership FOR EACH ROW EXECUTE FUNCTION lease_longer()`;

/** An installation with its own database. */
class Installation implements AsyncDisposable {
  readonly database: string;
  readonly #connections: PostgresConnection[] = [];
  /** How long it is since the beginning for the connections, ms. */
  #time = 0;

  private constructor(database: string) {
    this.database = database;
  }

  static async create(): Promise<Installation> {
    const installation = new Installation(await server.database());
    await prepareClusterTables(await installation.connect());
    await installation.sql(LONG_LEASES);
    return installation;
  }

  async connect(): Promise<PostgresConnection> {
    const clock = { ...systemClock, monotonic: () => this.#time };
    const address = parseStoreUrl(server.url({ database: this.database }));
    const connection = new PostgresConnection(address, { application: "cdktr test", clock });
    this.#connections.push(connection);
    await connection.start();
    await connection.connected(PATIENCE_MS);
    return connection;
  }

  async member(id: string, name = id) {
    const pg = await this.connect();
    const cluster = new Cluster(pg);
    return { pg, cluster, name: await cluster.join(facts(id, name), PULSE) };
  }

  /** Those that are connected have been so for longer. */
  later(ms: number): void {
    this.#time += ms;
  }

  sql<T = Record<string, unknown>>(text: string): Promise<T[]> {
    return server
      .sql<T>(`SET search_path = cdktr; ${text}`, [], this.database)
      .then((all) => all.flat() as T[]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const connection of this.#connections) await connection.stop();
  }
}

/** A commit of a term that changes nothing. @returns whether the fence let it through */
async function commit(pg: PostgresConnection, term: Term, seq: number): Promise<boolean> {
  const rows = await pg.query(
    `WITH fence AS (${FENCE}), feed AS (INSERT INTO cluster_commits (seq, epoch, changes) SELECT commit_seq, epoch, '{}' FROM fence)
     SELECT commit_seq FROM fence`,
    [seq, term.epoch, term.memberId],
  );
  return rows.length > 0;
}

test("the first one makes the tables, many at once too, and a role without CREATE is told what it needs", async () => {
  const installation = await Installation.create();
  await using _ = installation;
  const database = await server.database();
  const connections = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const pg = new PostgresConnection(parseStoreUrl(server.url({ database })), {
        application: "cdktr test",
      });
      await pg.start();
      await pg.connected(PATIENCE_MS);
      return pg;
    }),
  );
  await Promise.all(connections.map((pg) => prepareClusterTables(pg)));
  expect(await connections[0]?.query("SELECT version FROM cluster_schema")).toEqual([{ version: 1 }]);
  await Promise.all(connections.map((pg) => pg.stop()));

  const url = server.url({ database: "postgres" });
  const pg = new PostgresConnection(parseStoreUrl(url), { application: "cdktr test" });
  await pg.start();
  await pg.connected(PATIENCE_MS);
  const refused = await prepareClusterTables(pg).catch((error) => error);
  expect(refused.message).toBe(
    `PostgreSQL at 127.0.0.1:${server.port} refused: permission denied for database postgres.`,
  );
  expect(refused.hint).toBe(
    'cdktr\'s role needs CREATE on its database the first time: GRANT CREATE ON DATABASE "postgres" TO "cdktr".',
  );
  await pg.stop();
});

test("tables of a newer cdktr are used if it says so, and refused otherwise", async () => {
  await using installation = await Installation.create();
  const pg = await installation.connect();
  await installation.sql(
    "INSERT INTO cluster_schema (version, cdktr, oldest_reader) VALUES (2, '99.0.0', 1)",
  );
  await prepareClusterTables(pg);
  await installation.sql(
    "INSERT INTO cluster_schema (version, cdktr, oldest_reader) VALUES (3, '99.1.0', 3)",
  );
  const refused = await prepareClusterTables(pg).catch((error) => error);
  expect(refused).toMatchObject({ exitCode: 2, hint: "Use cdktr 99.1.0 again." });
  expect(refused.message).toStartWith(`The store postgres://cdktr@127.0.0.1:${server.port}/`);
});

test("one leads, the next one only when its lease is over, and then the first is fenced", async () => {
  await using installation = await Installation.create();
  const a = await installation.member("a");
  const b = await installation.member("b");
  expect(await a.cluster.look(PULSE)).toMatchObject({ leader: null, isFree: true, epoch: 0, commit_seq: 0 });
  const first = await a.cluster.takeOver();
  if (first === null) throw new Error("nobody leads");
  expect(first).toMatchObject({ epoch: 1, memberId: "a", firstSeq: 0, schemaVersion: 0 });
  expect(await b.cluster.takeOver()).toBeNull();
  expect(await b.cluster.look(PULSE)).toMatchObject({
    leader: { member_id: "a", epoch: 1 },
    isFree: false,
    members: [{ member_id: "a" }, { member_id: "b" }],
  });
  expect(await commit(a.pg, first, 1)).toBe(true);
  // The same once more does nothing: it is there already.
  expect(await commit(a.pg, first, 1)).toBe(false);
  expect(await a.cluster.renew(first)).toBe(true);

  await installation.sql("UPDATE cluster_leadership SET until = clock_timestamp() - interval '1 ms'");
  const second = await b.cluster.takeOver();
  expect(second).toMatchObject({ epoch: 2, memberId: "b", firstSeq: 1 });
  expect(await commit(a.pg, first, 2)).toBe(false);
  expect(await a.cluster.renew(first)).toBe(false);
  await a.cluster.release(first);
  expect(await b.cluster.look(PULSE)).toMatchObject({ leader: { member_id: "b", epoch: 2 }, commit_seq: 1 });
});

test("of many that want it at once, one gets it", async () => {
  await using installation = await Installation.create();
  const members = await Promise.all(["a", "b", "c", "d", "e"].map((id) => installation.member(id)));
  const terms = await Promise.all(members.map(({ cluster }) => cluster.takeOver()));
  expect(terms.filter((term) => term !== null)).toHaveLength(1);
});

test("a leader that lets go is followed at once, and everybody is told", async () => {
  await using installation = await Installation.create();
  const a = await installation.member("a");
  const b = await installation.member("b");
  const term = await a.cluster.takeOver();
  if (term === null) throw new Error("nobody leads");
  const listens = Promise.withResolvers<void>();
  const told = Promise.withResolvers<string>();
  b.pg.listen(LEADER_CHANNEL, (epoch) => (epoch === null ? listens.resolve() : told.resolve(epoch)));
  await listens.promise;
  await a.cluster.release(term);
  expect(await told.promise).toBe("1");
  expect(await b.cluster.look(PULSE)).toMatchObject({ leader: null, isFree: true, epoch: 1 });
  expect(await b.cluster.takeOver()).toMatchObject({ epoch: 2 });
});

test("a leader whose connection is gone is given up before its lease is over, but not by one that has just connected", async () => {
  await using installation = await Installation.create();
  const a = await installation.member("a");
  const b = await installation.member("b");
  const term = await a.cluster.takeOver();
  if (term === null) throw new Error("nobody leads");
  await installation.sql("UPDATE cluster_leadership SET renewed_at = clock_timestamp() - interval '1100 ms'");
  installation.later(2000);
  // Late, but its connection is there.
  expect(await b.cluster.takeOver()).toBeNull();
  await a.pg.stop();
  await until("the server has noticed", async () => (await b.cluster.look(PULSE)).isFree);
  const c = await installation.member("c");
  expect(await c.cluster.takeOver()).toBeNull();
  expect(await b.cluster.takeOver()).toMatchObject({ epoch: 2 });
});

test("a term's lease is counted from when its renewal was sent", async () => {
  await using installation = await Installation.create();
  const pg = await installation.connect();
  const clock = new ManualClock();
  expect(LEASE_MS).toBe(3000);
  const cluster = new Cluster(pg, clock, 70_000);
  await cluster.join(facts("a"), PULSE);
  const began = clock.monotonic();
  const term = await cluster.takeOver();
  expect(term?.leaseUntil).toBe(began + 70_000);
  expect(await pg.query("SELECT lease_ms FROM cluster_leadership")).toEqual([{ lease_ms: 70_000 }]);
  term?.renewedAt(began + 500);
  // An answer that comes later than that of a later one.
  term?.renewedAt(began + 200);
  expect(term?.leaseUntil).toBe(began + 500 + 70_000);
});

test("members have names of their own, are forgotten, and come back", async () => {
  await using installation = await Installation.create();
  const a = await installation.member("a", "host");
  const b = await installation.member("b", "host");
  expect([a.name, b.name]).toEqual(["host", "host-2"]);
  // It restarts, and has its name again.
  expect((await installation.member("a", "host")).name).toBe("host");

  await b.cluster.look({ applied_seq: 7, workflows_digest: "x", is_stopping: true, data: { "a'": [1] } });
  const { members, clockOffsetMs, clockErrorMs } = await a.cluster.look(PULSE);
  expect(members).toEqual([
    { ...facts("a", "host"), ...PULSE, silent_ms: expect.any(Number) },
    {
      ...facts("b", "host-2"),
      applied_seq: 7,
      workflows_digest: "x",
      is_stopping: true,
      data: { "a'": [1] },
      silent_ms: expect.any(Number),
    },
  ]);
  // It is the same machine: its clock is as right as it takes to ask.
  expect(Math.abs(clockOffsetMs)).toBeLessThanOrEqual(clockErrorMs + 2);

  await installation.sql("UPDATE cluster_members SET heard_at = clock_timestamp() - interval '2 hours'");
  await a.cluster.forgetOthers();
  expect((await a.cluster.look(PULSE)).members).toEqual([]);
  expect((await b.cluster.look(PULSE)).members.map(({ member_id }) => member_id)).toEqual(["a"]);
  await a.cluster.leave();
  expect((await b.cluster.look(PULSE)).members.map(({ name }) => name)).toEqual(["host-2"]);
});

test("the feed has the commits in order, and forgets those that nobody can be behind by", async () => {
  await using installation = await Installation.create();
  const { pg, cluster } = await installation.member("a");
  const term = await cluster.takeOver();
  if (term === null) throw new Error("nobody leads");
  const clock = new ManualClock();
  const trimmer = new FeedTrimmer(pg, clock);
  for (let seq = 1; seq <= 5; seq++) await commit(pg, term, seq);
  await trimmer.trim(5);
  await commit(pg, term, 6);
  expect((await commitsAfter(pg, 3)).map(({ seq }) => seq)).toEqual([4, 5, 6]);
  expect(await commitsAfter(pg, 3, 1)).toEqual([{ seq: 4, epoch: 1, changes: "{}" }]);
  clock.advance(599_999);
  await trimmer.trim(6);
  expect(await commitsAfter(pg, 0)).toHaveLength(6);
  clock.advance(1);
  await trimmer.trim(6);
  expect((await commitsAfter(pg, 0)).map(({ seq }) => seq)).toEqual([5, 6]);
});

test("each statement that is executed often finds its rows by an index", async () => {
  await using installation = await Installation.create();
  const pg = await installation.connect();
  await using session = await pg.session();
  await session.query("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan");
  const statements = Object.entries({ ...CLUSTER_STATEMENTS, ...FEED_STATEMENTS, fence: FENCE });
  for (const [name, text] of statements) {
    const count = Math.max(...[...text.matchAll(/\$(\d+)/g)].map(([, n]) => Number(n)));
    await session.query(`PREPARE ${name}_plan AS ${text}`);
    const nulls = Array.from({ length: count }, () => "NULL").join(", ");
    const plan = await session.query<Record<string, string>>(`EXPLAIN EXECUTE ${name}_plan(${nulls})`);
    const scans = plan.map((row) => String(row["QUERY PLAN"])).filter((line) => line.includes("Seq Scan"));
    // All members are wanted.
    expect([name, scans.filter((line) => !line.includes("cluster_members m"))]).toEqual([name, []]);
  }
});
