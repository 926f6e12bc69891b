/**
 * The tables of the members of an installation: who leads, who is there, and the feed of commits. The mirror of the operational state
 * has its own, which are made from the state's schema.
 */
import { VERSION } from "../../build-facts.ts";
import {
  type Additive,
  canRead,
  NewerSchemaError,
  newerSchema,
  oldestReader,
  type SchemaChange,
} from "../../migrations/newer-schema.ts";
import type { PostgresConnection } from "./connection.ts";
import type { PostgresSession } from "./session.ts";

interface Step extends Additive {
  readonly sql: string;
}

/**
 * What leads from one version of the tables to the next. A step is never changed once it has been released.
 *
 * `cluster_leadership` has one row, which is written with every commit: the page has room for its next versions, so that no index is
 * touched. `cluster_commits.changes` is null when everything must be loaded again.
 */
const STEPS: readonly Step[] = [
  {
    sql: `
CREATE TABLE cluster_leadership (
  one int PRIMARY KEY CHECK (one = 1),
  epoch bigint NOT NULL,
  member_id text,
  commit_seq bigint NOT NULL,
  since timestamptz,
  renewed_at timestamptz,
  until timestamptz NOT NULL,
  lease_ms int NOT NULL DEFAULT 3000,
  backend_pid int,
  backend_start timestamptz,
  schema_version int NOT NULL
) WITH (fillfactor = 10);
INSERT INTO cluster_leadership (one, epoch, commit_seq, until, schema_version) VALUES (1, 0, 0, 'epoch', 0);
CREATE TABLE cluster_commits (
  seq bigint PRIMARY KEY,
  epoch bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  changes text
);
CREATE TABLE cluster_members (
  member_id text PRIMARY KEY,
  name text NOT NULL,
  host text NOT NULL,
  api_port int NOT NULL,
  logs_listening_port int NOT NULL,
  logs_publishing_port int NOT NULL,
  version text NOT NULL,
  protocol int NOT NULL,
  started_at_ms bigint NOT NULL,
  heard_at timestamptz NOT NULL,
  applied_seq bigint NOT NULL,
  workflows_digest text NOT NULL,
  is_stopping bool NOT NULL,
  data jsonb NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE cluster_files (
  path text PRIMARY KEY,
  content text,
  changed_seq bigint NOT NULL,
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL
);
CREATE INDEX cluster_files_changed ON cluster_files (changed_seq);
CREATE TABLE cluster_sequences (
  name text PRIMARY KEY,
  seq bigint NOT NULL
);`,
  },
];

/** Those who make or migrate tables wait for each other. */
const LOCK = "SELECT pg_advisory_xact_lock(hashtext('cdktr'), hashtext(current_setting('search_path')))";

/** How long they may wait, ms. */
const PATIENCE_MS = 60_000;

/**
 * Makes the schema and these tables, or brings them up to date.
 * @throws NewerSchemaError when a newer cdktr made them and this one cannot use them; PostgresRefusedError when the role may not create them
 */
export async function prepareClusterTables(pg: PostgresConnection): Promise<void> {
  await using session = await pg.session(PATIENCE_MS);
  if (await isUpToDate(session, pg.address.shown)) return;
  await session.transaction("BEGIN", async () => {
    await session.query(LOCK, [], { timeoutMs: PATIENCE_MS });
    if (await isUpToDate(session, pg.address.shown)) return;
    await migrate(session, pg.address.schema);
  });
}

/** @throws NewerSchemaError when this cdktr cannot use what it finds */
async function isUpToDate(session: PostgresSession, shown: string): Promise<boolean> {
  const changes = await changesOf(session);
  const found = changes.at(-1)?.version ?? 0;
  if (found > STEPS.length && !canRead(STEPS.length, found, changes)) {
    const { message, hint } = newerSchema(`The store ${shown}`, STEPS.length, found, changes);
    throw new NewerSchemaError(message, { hint });
  }
  return found >= STEPS.length;
}

/** The changes of the tables so far, in order; none when they are not there. */
async function changesOf(session: PostgresSession): Promise<SchemaChange[]> {
  const [is] = await session.query("SELECT to_regclass('cluster_schema') IS NOT NULL AS there");
  if (is?.there !== true) return [];
  return session.query<SchemaChange>(
    "SELECT version, cdktr, NULL AS backup, oldest_reader FROM cluster_schema ORDER BY version",
  );
}

async function migrate(session: PostgresSession, schema: string): Promise<void> {
  // IF NOT EXISTS would ask for the privilege to create it also when it is there.
  const [is] = await session.query("SELECT to_regnamespace($1) IS NOT NULL AS there", [schema]);
  if (is?.there !== true) await session.query(`CREATE SCHEMA ${schema}`);
  const done = (await changesOf(session)).length;
  if (done === 0)
    await session.query(`CREATE TABLE cluster_schema (
  version int PRIMARY KEY,
  cdktr text NOT NULL,
  oldest_reader int NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)`);
  for (const [index, { sql }] of STEPS.entries()) {
    if (index < done) continue;
    await session.query(sql);
    await session.query("INSERT INTO cluster_schema (version, cdktr, oldest_reader) VALUES ($1, $2, $3)", [
      index + 1,
      VERSION,
      oldestReader(STEPS.slice(0, index + 1)),
    ]);
  }
}
