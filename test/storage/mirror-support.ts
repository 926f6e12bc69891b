/** Members on one PostgreSQL: stores of leaders, and replicas of followers. */
import { Database } from "bun:sqlite";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { SqliteMigrations } from "../../src/migrations/sqlite-migrations.ts";
import { digestsIn, digestsOf } from "../../src/storage/operational/mirror/digest.ts";
import type { Query } from "../../src/storage/operational/mirror/query.ts";
import { Replica } from "../../src/storage/operational/mirror/replica.ts";
import { AS_OF_ONE_MOMENT } from "../../src/storage/operational/mirror/snapshot.ts";
import { tablesOf } from "../../src/storage/operational/mirror/tables.ts";
import { WriteThrough } from "../../src/storage/operational/mirror/write-through.ts";
import { STATE_MIGRATIONS } from "../../src/storage/operational/sqlite/schema.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { prepareClusterTables } from "../../src/storage/postgres/cluster-schema.ts";
import { PostgresConnection } from "../../src/storage/postgres/connection.ts";
import { PostgresRefusedError } from "../../src/storage/postgres/errors.ts";
import { Term } from "../../src/storage/postgres/leadership.ts";
import { parseStoreUrl } from "../../src/storage/postgres/url.ts";
import type { PostgresServer } from "../support/postgres.ts";
import { diskFull, silent } from "./operational-support.ts";

/** A term whose lease lasts until the test ends it. */
class TestTerm extends Term {
  #until = Number.POSITIVE_INFINITY;

  override get leaseUntil(): number {
    return this.#until;
  }

  /** @param at monotonic, ms */
  endLease(at: number): void {
    this.#until = at;
  }
}

type Digests = ReturnType<typeof digestsOf>;

/** A database with the state of one installation, and a connection to it. */
export class MirrorDatabase implements AsyncDisposable {
  readonly connection: PostgresConnection;
  readonly url: string;

  private constructor(connection: PostgresConnection, url: string) {
    this.connection = connection;
    this.url = url;
  }

  static async open(server: PostgresServer): Promise<MirrorDatabase> {
    const database = await server.database();
    const url = server.url({ database });
    const connection = await connectTo(url);
    await prepareClusterTables(connection);
    return new MirrorDatabase(connection, url);
  }

  /** Has no state any more: the next leader begins one. */
  async empty(): Promise<void> {
    await this.connection.query(
      "DELETE FROM cluster_commits; UPDATE cluster_leadership SET epoch = 0, commit_seq = 0, schema_version = 0",
    );
  }

  /** What its tables contain, and what the store of the leader does. */
  async digests(store: SqliteOperationalStore): Promise<[postgres: Digests, sqlite: Digests]> {
    const path = join(mkdtempSync(join(tmpdir(), "cdktr-copy-")), "copy.db");
    await store.copyTo(path);
    using database = new Database(path, { readonly: true });
    rmSync(dirname(path), { recursive: true });
    const tables = tablesOf(database);
    await using session = await this.connection.session();
    const query: Query = (...args) => session.query(...args);
    const found = await session.transaction(AS_OF_ONE_MOMENT, () => digestsIn(query, tables));
    return [found, digestsOf(database)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.connection.stop();
  }
}

/** A connection to the server, or to a proxy in front of it. */
export async function connectTo(url: string): Promise<PostgresConnection> {
  const connection = new PostgresConnection(parseStoreUrl(url), { application: "cdktr test" });
  await connection.start();
  await connection.connected(60_000);
  return connection;
}

/** Another member leads from now on. */
export async function takeOver(connection: PostgresConnection): Promise<TestTerm> {
  const [row] = await connection.query<{ epoch: number; commit_seq: number; schema_version: number }>(
    "UPDATE cluster_leadership SET epoch = epoch + 1, member_id = 'm' RETURNING epoch, commit_seq, schema_version",
  );
  if (row === undefined) throw new Error("there is no row");
  const { epoch, commit_seq, schema_version } = row;
  return new TestTerm({ epoch, memberId: "m", firstSeq: commit_seq, schemaVersion: schema_version }, 0);
}

/** Sends a commit, or does something else instead. */
type Wire = (send: () => Promise<unknown[]>, ...statement: Parameters<Query>) => Promise<unknown[]>;

/** A member in a data directory of its own: its replica, and the store when it leads. */
export class TestMember implements AsyncDisposable {
  readonly #connection: PostgresConnection;
  readonly #migrations: SqliteMigrations;
  readonly #directory = mkdtempSync(join(tmpdir(), "cdktr-mirror-"));
  readonly replica: Replica;
  #store: SqliteOperationalStore | undefined;
  #left: number | null = null;
  #failsHere = false;
  #term: TestTerm | undefined;
  /** What happens to the commits of its store. */
  wire: Wire = (send) => send();
  /** Why its terms have ended. */
  readonly ends: string[] = [];

  constructor(
    { connection }: Pick<MirrorDatabase, "connection">,
    migrations: SqliteMigrations = STATE_MIGRATIONS,
  ) {
    this.#connection = connection;
    this.#migrations = migrations;
    this.replica = new Replica({ directory: this.#directory, log: silent, migrations });
  }

  get path(): string {
    return this.replica.path;
  }

  get directory(): string {
    return this.#directory;
  }

  /** Its store as that of the leader, which contains what the others have committed. */
  async lead(): Promise<SqliteOperationalStore> {
    await this.#store?.stop();
    const term = await takeOver(this.#connection);
    this.#term = term;
    await this.replica.lead(this.#connection, term);
    const query: Query = async <Row>(...args: Parameters<Query>) => {
      if (this.#isNextToFail())
        throw new PostgresRefusedError("PostgreSQL refused: the disk is full.", { code: "53100" });
      return (await this.wire(() => this.#connection.query(...args), ...args)) as Row[];
    };
    const writeThrough = new WriteThrough({
      query,
      term,
      seq: this.replica.seq,
      over: (reason) => this.ends.push(reason),
    });
    this.#store = new SqliteOperationalStore({
      directory: this.#directory,
      log: silent,
      migrations: this.#migrations,
      replica: { isNew: this.replica.isNew, writeThrough },
      // What a commit writes is written to PostgreSQL.
      beforeStatement: (sql) => {
        if (sql === "COMMIT" && this.#failsHere) throw diskFull();
        if (sql !== "COMMIT" && this.#isNextToFail()) throw diskFull();
      },
    });
    await this.#store.start();
    return this.#store;
  }

  /** Its replica gets what others have committed since. @returns whether it can */
  follow(): Promise<boolean> {
    return this.replica.follow(this.#connection);
  }

  loseLease(): void {
    this.#term?.endLease(0);
  }

  leaseEndsIn(ms: number): void {
    this.#term?.endLease(performance.now() + ms);
  }

  /** The n-th statement from now on, from 1, fails as on a full disk, here or in PostgreSQL; none with null. */
  failStatement(n: number | null): void {
    this.#left = n;
  }

  /** What PostgreSQL has committed cannot be written here. */
  failHere(): void {
    this.#failsHere = true;
  }

  #isNextToFail(): boolean {
    return this.#left !== null && --this.#left === 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store?.stop();
    this.replica.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
