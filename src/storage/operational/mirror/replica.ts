/**
 * A member's copy of the state, in a SQLite file of its own. It begins anew with each process and after each term: what counts is in
 * PostgreSQL. A follower applies what others commit; when it is to lead, a store takes the file over.
 */
import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import {
  canRead,
  NewerSchemaError,
  newerSchema,
  type SchemaChange,
} from "../../../migrations/newer-schema.ts";
import { migrateSqlite, type SqliteMigrations } from "../../../migrations/sqlite-migrations.ts";
import type { PostgresConnection } from "../../postgres/connection.ts";
import { commitsAfter, type FeedCommit } from "../../postgres/feed.ts";
import type { Term } from "../../postgres/leadership.ts";
import { StoreUnavailableError } from "../store.ts";
import { CommitStatements } from "./commit-statement.ts";
import { digestsOf, type TableDigest } from "./digest.ts";
import { DirectoryLock, REPLICA_FILE } from "./directory-lock.ts";
import type { Query } from "./query.ts";
import { RowWriter } from "./rows.ts";
import { AS_OF_ONE_MOMENT, download, type Head, readHead, upload } from "./snapshot.ts";

/** Commits that are read at once. */
const COMMITS_AT_ONCE = 500;

/** How long a statement over a whole table may take, ms. */
const LONG_MS = 60_000;

/** A connection to the primary, which opens sessions for transactions. */
type Sessions = Pick<PostgresConnection, "session">;

export interface ReplicaOptions {
  /** The data directory. */
  readonly directory: string;
  readonly log: ConsolaInstance;
  /** The migrations of the state, from its first version on. */
  readonly migrations: SqliteMigrations;
}

/** A member's replica. */
export class Replica {
  readonly path: string;
  readonly #options: ReplicaOptions;
  #lock: DirectoryLock | undefined;
  #database: Database | undefined;
  #writer: RowWriter | undefined;
  /** The triggers of the state, which the file lacks while it follows. */
  #triggers: readonly string[] = [];
  #seq = 0;
  /** The term in which that commit was made; null when nobody knows. */
  #epoch: number | null = null;
  /** The version of the schema in PostgreSQL; 0 when it has no state. */
  #version = 0;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    this.path = join(options.directory, REPLICA_FILE);
  }

  /** The number of the last commit that it contains. */
  get seq(): number {
    return this.#seq;
  }

  /** Whether PostgreSQL had no state yet. */
  get isNew(): boolean {
    return this.#version === 0;
  }

  /**
   * Locks the data directory, until {@link close}.
   * @throws DataDirectoryInUseError when another member has it
   */
  open(): void {
    this.#lock ??= new DirectoryLock(this.#options.directory);
  }

  close(): void {
    this.#release();
    this.#lock?.release();
    this.#lock = undefined;
  }

  /**
   * Begins anew with what PostgreSQL has.
   * @throws NewerSchemaError when this cdktr cannot use it
   */
  async load(postgres: Sessions): Promise<void> {
    this.open();
    this.#release();
    await inTransaction(postgres, AS_OF_ONE_MOMENT, async (query) => {
      const head = await readHead(query);
      const database = this.#create(await this.#usableVersion(query, head));
      if (head.schema_version > 0) await download(query, database);
      const [last] = await query<Pick<FeedCommit, "epoch">>(
        "SELECT epoch FROM cluster_commits WHERE seq = $1::bigint",
        [head.commit_seq],
      );
      this.#seq = head.commit_seq;
      this.#epoch = last?.epoch ?? null;
      this.#version = head.schema_version;
      this.#writer = new RowWriter(database);
    });
  }

  /**
   * Applies what others have committed since.
   * @returns false when that is not possible: it must be loaded again
   */
  async follow(postgres: PostgresConnection): Promise<boolean> {
    for (;;) {
      // With the last one that it has.
      const commits = await commitsAfter(postgres, this.#seq - 1, COMMITS_AT_ONCE);
      // It was given to a leader meanwhile, or is loaded again.
      if (this.#writer === undefined) return true;
      if (!this.#apply(commits)) return false;
      if (commits.length < COMMITS_AT_ONCE) return true;
    }
  }

  /**
   * Applies commits that it does not have, if what it has is what they follow. It is not when a database was replaced by an older one: by a
   * standby that lacked the last commits, or by a backup. Their numbers are then used a second time, in another term.
   */
  #apply(commits: readonly FeedCommit[]): boolean {
    const [database, writer] = [this.#database, this.#writer];
    if (database === undefined || writer === undefined) return false;
    const news = commits.filter(({ seq }) => seq > this.#seq);
    const last = commits.find(({ seq }) => seq === this.#seq) ?? (this.#seq === 0 ? undefined : news[0]);
    const isKnown = this.#epoch === null || last?.epoch === this.#epoch;
    const isWhole = news.every(({ seq, changes }, i) => seq === this.#seq + 1 + i && changes !== null);
    if (!isKnown || !isWhole) return false;
    database.transaction(() => {
      for (const { changes } of news) if (changes !== null) writer.apply(changes);
    })();
    this.#seq += news.length;
    this.#epoch = news.at(-1)?.epoch ?? this.#epoch;
    return true;
  }

  /** What it contains, to be compared with others. */
  digests(): Map<string, TableDigest> {
    if (this.#database === undefined) throw new Error("the replica is not loaded");
    return digestsOf(this.#database);
  }

  /**
   * Brings it to the last commit, makes the file ready for the store of a leader, and gives it free. The state in PostgreSQL is brought to
   * the schema of this cdktr, or begun, which is one more commit.
   * @throws StoreUnavailableError when the term is over
   */
  async lead(postgres: PostgresConnection, term: Term): Promise<void> {
    const isCurrent = this.#writer !== undefined && (await this.follow(postgres));
    if (!isCurrent || this.#seq !== term.firstSeq) await this.load(postgres);
    const database = this.#database;
    if (database === undefined || this.#seq !== term.firstSeq) throw notLeading();
    this.#writer?.release();
    this.#writer = undefined;
    for (const sql of this.#triggers) database.run(sql);
    const { migrations, log } = this.#options;
    const newest = migrations.length;
    if (this.#version < newest) {
      migrateSqlite(database, migrations, log, { keepsBackup: false });
      await inTransaction(postgres, "BEGIN", async (query) => {
        await upload(query, database);
        await this.#fence(query, term, newest);
      });
      this.#seq++;
      if (this.#version > 0) log.info(`PostgreSQL: schema ${this.#version} of the state became ${newest}.`);
    }
    this.#release();
  }

  /** Ends a transaction which has replaced everything: it counts only if the term lasts. It takes the row late, and so shortly. */
  async #fence(query: Query, { epoch, memberId }: Term, version: number): Promise<void> {
    const statement = new CommitStatements([]).for([]);
    const rows = await query(statement, [this.#seq + 1, epoch, memberId, null]);
    if (rows.length === 0) throw notLeading();
    await query("UPDATE cluster_leadership SET schema_version = $1::int WHERE one = 1", [version]);
  }

  /** Closes the file. */
  #release(): void {
    this.#writer?.release();
    this.#writer = undefined;
    this.#database?.close();
    this.#database = undefined;
  }

  /** The version of the schema that the file gets: that of PostgreSQL, or the newest that this cdktr knows. */
  async #usableVersion(query: Query, { schema_version: version }: Head): Promise<number> {
    const newest = this.#options.migrations.length;
    if (version <= newest) return version || newest;
    const changes = await query<SchemaChange>(
      "SELECT version, cdktr, backup, oldest_reader FROM schema_changes ORDER BY version, applied_at_ms",
    );
    if (canRead(newest, version, changes)) return newest;
    const { message, hint } = newerSchema("The state in PostgreSQL", newest, version, changes);
    throw new NewerSchemaError(message, { hint });
  }

  #create(version: number): Database {
    const { migrations, log } = this.#options;
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(`${this.path}${suffix}`, { force: true });
    const database = new Database(this.path, { readwrite: true, create: true, strict: true });
    this.#database = database;
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("PRAGMA journal_mode = WAL");
    // A process that ends in any way begins with another file.
    database.run("PRAGMA synchronous = OFF");
    migrateSqlite(database, migrations.slice(0, version), log);
    const triggers = database
      .query<{ name: string; sql: string }, []>("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
      .all();
    for (const { name } of triggers) database.run(`DROP TRIGGER ${name}`);
    this.#triggers = triggers.map(({ sql }) => sql);
    return database;
  }
}

function notLeading(): StoreUnavailableError {
  return new StoreUnavailableError("This member is not the leader any more.");
}

async function inTransaction(
  postgres: Sessions,
  begin: string,
  work: (query: Query) => Promise<void>,
): Promise<void> {
  await using session = await postgres.session(LONG_MS);
  await session.transaction(begin, () =>
    work((sql, values, options) => session.query(sql, values, { timeoutMs: LONG_MS, ...options })),
  );
}
