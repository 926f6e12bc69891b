import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type MoveOptions,
  moveIntoFile,
  moveIntoPostgres,
} from "../../src/storage/operational/mirror/move.ts";
import { refuseMoved } from "../../src/storage/operational/moved.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import type { PostgresConnection } from "../../src/storage/postgres/connection.ts";
import { PostgresServer } from "../support/postgres.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { MirrorDatabase, TestMember } from "./mirror-support.ts";
import { pendingRun, silent } from "./operational-support.ts";

setDefaultTimeout(120_000);

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Values that are easily changed on a way. */
function awkward(type: string, n: number): string | number | Uint8Array {
  if (type === "INTEGER") return 2 ** 45 + n;
  if (type === "REAL") return 0.1 + 0.2 + n;
  return type === "BLOB" ? Uint8Array.of(0, 255, n) : `ü\n"\\u0041" ${n} \u{1F600} '`;
}

/** A directory with a state that has rows in nearly every table. */
async function installation(): Promise<TemporaryDirectory> {
  const directory = new TemporaryDirectory();
  const store = new SqliteOperationalStore({ directory: directory.root, log: silent });
  await store.start();
  await store.transact((tx) => tx.createRun(pendingRun("r1"), "{}", []));
  await store.stop();
  const database = new Database(directory.path("state.db"), { readwrite: true, create: false });
  database.run("PRAGMA ignore_check_constraints = ON");
  const tables = database
    .query<{ name: string }, []>(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .all();
  let filled = 0;
  for (const { name } of tables) {
    const columns = database
      .query<{ name: string; type: string; hidden: number }, [string]>(
        "SELECT name, type, hidden FROM pragma_table_xinfo(?)",
      )
      .all(name)
      .filter(({ hidden }) => hidden === 0);
    // What the store itself counts by.
    if (/^(schema_changes|identity|status_outbox)$/.test(name)) continue;
    try {
      for (let n = 0; n < 3; n++)
        database
          .query(
            `INSERT INTO "${name}" (${columns.map((c) => `"${c.name}"`)}) VALUES (${columns.map(() => "?")})`,
          )
          .run(...columns.map(({ type }) => awkward(type, n)));
      filled++;
    } catch {
      // A constraint that such values do not fit.
    }
  }
  expect(filled).toBeGreaterThan(tables.length / 2);
  database.close();
  return directory;
}

/** All rows of all tables. */
function contents(path: string): Record<string, unknown[]> {
  const database = new Database(path, { readwrite: true, create: false });
  try {
    const tables = database
      .query<{ name: string }, []>(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sqlite_sequence' ORDER BY name",
      )
      .all();
    return Object.fromEntries(
      tables.map(({ name }) => [name, database.query(`SELECT * FROM "${name}"`).values().sort()]),
    );
  } finally {
    database.close();
  }
}

const optionsOf = (
  directory: TemporaryDirectory,
  postgres: PostgresConnection,
  isForced = false,
): MoveOptions => ({
  directory: directory.root,
  postgres,
  log: silent,
  isForced,
});

test("a state moves into PostgreSQL and back, and is the same", async () => {
  using directory = await installation();
  await using database = await MirrorDatabase.open(server);
  const before = contents(directory.path("state.db"));
  const sent: [number, number][] = [];
  const options = {
    ...optionsOf(directory, database.connection),
    progress: (done: number, all: number) => sent.push([done, all]),
  };
  const there = await moveIntoPostgres(options);
  expect(there.find(({ table }) => table === "runs")?.rows).toBe(before.runs?.length);
  expect(sent.at(-1)?.[0]).toBeGreaterThanOrEqual(sent.at(-1)?.[1] ?? Number.NaN);
  expect(contents(directory.path("state.db.moved"))).toEqual(before);
  expect(() => refuseMoved(directory.root)).toThrow(/was moved into PostgreSQL/);
  await expect(moveIntoPostgres(options)).rejects.toThrow(
    /was moved already: it is kept there as state\.db\.moved/,
  );

  // A member leads with it.
  await using member = new TestMember(database);
  const store = await member.lead();
  expect(await store.read(async (tx) => (await tx.getRun("r1"))?.workflow_id)).toBe("flow");
  await store.transact((tx) => tx.createRun(pendingRun("r2"), "{}", []));
  await store.stop();
  await database.connection.query("UPDATE cluster_leadership SET member_id = NULL");

  const back = await moveIntoFile(options);
  expect(back.find(({ table }) => table === "runs")?.rows).toBe((before.runs?.length ?? 0) + 1);
  refuseMoved(directory.root);
  expect(statSync(directory.path("state.db")).mode & 0o777).toBe(0o600);
  expect(
    readdirSync(directory.root)
      .filter((name) => name.startsWith("state.db"))
      .sort(),
  ).toEqual(["state.db"]);
  const single = new SqliteOperationalStore({ directory: directory.root, log: silent });
  await single.start();
  expect(await single.read(async (tx) => (await tx.getRun("r2"))?.workflow_id)).toBe("flow");
  await single.transact((tx) => tx.createRun(pendingRun("r3"), "{}", []));
  await single.stop();
  const [note] = await database.connection.query(
    "SELECT member_id, until > clock_timestamp() + interval '1 year' AS for_long FROM cluster_leadership",
  );
  expect(note).toEqual({ member_id: expect.stringContaining(`:${directory.root}`), for_long: true });

  // From there it may move again, and from nowhere else.
  using other = await installation();
  await expect(moveIntoPostgres(optionsOf(other, database.connection))).rejects.toThrow(
    /The state was moved to .*, where one principal goes on with it/,
  );
  await moveIntoPostgres(options);
  expect((await database.connection.query("SELECT count(*)::int AS n FROM runs"))[0]).toEqual({
    n: (before.runs?.length ?? 0) + 2,
  });
});

test("it is not moved while somebody uses it, nor over another state", async () => {
  using directory = await installation();
  using other = await installation();
  await using database = await MirrorDatabase.open(server);
  const options = optionsOf(directory, database.connection);
  const single = new SqliteOperationalStore({ directory: directory.root, log: silent });
  await single.start();
  await expect(moveIntoPostgres(options)).rejects.toThrow(/principal/);
  await single.stop();
  await expect(moveIntoFile(options)).rejects.toThrow(/There is a state in .* already/);
  await moveIntoPostgres(options);
  await expect(moveIntoPostgres(optionsOf(other, database.connection))).rejects.toThrow(
    /There is a state in PostgreSQL already \(postgres:\/\/cdktr@.*\), and it is not the one of/,
  );
  expect(existsSync(other.path("state.db"))).toBe(true);
  await database.connection.query(
    "UPDATE cluster_leadership SET member_id = 'm', until = clock_timestamp() + interval '1 hour'",
  );
  await expect(moveIntoFile(options)).rejects.toThrow("A member is running: m leads. Nothing was changed.");
  await database.connection.query("UPDATE cluster_leadership SET until = clock_timestamp()");
  await moveIntoPostgres(optionsOf(other, database.connection, true));

  // Nor is the state replaced that a principal uses; one that is damaged is.
  using third = new TemporaryDirectory();
  const back = optionsOf(third, database.connection, true);
  const running = new SqliteOperationalStore({ directory: third.root, log: silent });
  await running.start();
  await expect(moveIntoFile(back)).rejects.toThrow(/is using the data directory/);
  await running.transact((tx) => tx.createRun(pendingRun("acknowledged"), "{}", []));
  await running.stop();
  const own = new Database(third.path("state.db"));
  expect(own.query("SELECT workflow_instance_id FROM runs").values()).toEqual([["acknowledged"]]);
  own.close();
  writeFileSync(third.path("state.db"), "no database ".repeat(1000));
  await moveIntoFile(back);
  expect(contents(third.path("state.db")).runs?.length).toBeGreaterThan(0);
});

test("a move that ends anywhere is begun again, and nothing is lost", async () => {
  using directory = await installation();
  await using database = await MirrorDatabase.open(server);
  const { connection } = database;
  const before = contents(directory.path("state.db"));
  let left = Number.POSITIVE_INFINITY;
  /** A connection that is lost after so many statements. */
  const faulty = Object.assign(Object.create(connection) as PostgresConnection, {
    session: async () => {
      const session = await connection.session();
      const query = session.query.bind(session);
      return Object.assign(session, {
        query: async (...args: Parameters<typeof query>) => {
          if (--left < 0) {
            await session.close("cut");
            throw new Error("cut");
          }
          return query(...args);
        },
      });
    },
    query: connection.query.bind(connection),
  });
  const up = optionsOf(directory, faulty);
  let cuts = 0;
  for (let at = 0; ; at = Math.ceil((at + 1) * 2)) {
    left = at;
    const isDone = await moveIntoPostgres(up).then(
      () => true,
      (error) => {
        expect(String(error)).toContain("cut");
        return false;
      },
    );
    if (isDone) break;
    cuts++;
    expect(contents(directory.path("state.db"))).toEqual(before);
  }
  expect(cuts).toBeGreaterThan(3);
  // It was killed after PostgreSQL had it.
  copyFileSync(directory.path("state.db.moved"), directory.path("state.db"));
  rmSync(directory.path("state.db.moved"));
  left = Number.POSITIVE_INFINITY;
  await moveIntoPostgres(up);
  for (let at = 0; ; at = Math.ceil((at + 1) * 2)) {
    left = at;
    if (
      await moveIntoFile(up).then(
        () => true,
        () => false,
      )
    )
      break;
    expect(existsSync(directory.path("state.db"))).toBe(false);
  }
  expect(contents(directory.path("state.db"))).toEqual(before);
  // It was killed before the file had its name.
  rmSync(join(directory.root, "state.db"));
  left = Number.POSITIVE_INFINITY;
  await moveIntoFile(up);
  expect(contents(directory.path("state.db"))).toEqual(before);
});
