/** Attaches a lake to a DuckDB instance. */
import { mkdir } from "node:fs/promises";
import type { DuckDBConnection } from "@duckdb/node-api";
import type { LakeBucket, LakeCatalog, LakeSettings } from "../../contract/history.ts";
import { quoteName, quoteText } from "../database/duckdb.ts";
import { loadLakeExtensions } from "./extensions.ts";

/** The name of the lake in the instance. */
export const LAKE = "lake";

/** Up to so many rows of a statement go into the catalog: a file of their own takes longer only from there on. Upkeep moves them into files. */
const INLINED_ROWS = 300;

/** Connections to the catalog: a server that is gone is noticed, and a standby is not written. */
const CONNECTION: Readonly<Record<string, string>> = {
  connect_timeout: "5",
  keepalives_idle: "5",
  keepalives_interval: "5",
  keepalives_count: "3",
  tcp_user_timeout: "20000",
  target_session_attrs: "read-write",
  application_name: "cdktr-history",
};

/** Whether its files are in a bucket. */
function isInBucket(data: string): boolean {
  return data.startsWith("s3://");
}

/**
 * Loads the extensions, attaches the lake and makes it the current database. Credentials are in secrets, which no statement of a user
 * can read.
 * @throws errors of DuckDB and of the file system
 */
export async function attachLake(connection: DuckDBConnection, settings: LakeSettings): Promise<void> {
  const { catalog, data, bucket } = settings;
  await loadLakeExtensions(connection, bucket !== undefined);
  await connection.run(catalogSecret(catalog));
  if (bucket !== undefined) await connection.run(bucketSecret(bucket));
  if (!isInBucket(data)) await mkdir(data, { recursive: true, mode: 0o700 });
  const parameters = Object.entries({ ...CONNECTION, ...catalog.parameters });
  const options = [
    `DATA_PATH ${quoteText(`${data.replace(/\/+$/, "")}/`)}`,
    `DATA_INLINING_ROW_LIMIT ${INLINED_ROWS}`,
    "META_SECRET 'cdktr_catalog'",
    `METADATA_SCHEMA ${quoteText(catalog.schema)}`,
  ];
  const source = `ducklake:postgres:${parameters.map(([name, value]) => `${name}=${quoteLibpq(value)}`).join(" ")}`;
  await connection.run(`ATTACH ${quoteText(source)} AS ${LAKE} (${options.join(", ")})`);
  await useLake(connection);
}

/** Makes the lake the current database of a connection. */
export async function useLake(connection: DuckDBConnection): Promise<void> {
  await connection.run(`USE ${quoteName(LAKE)}`);
}

function catalogSecret({ host, port, database, user, password = "" }: LakeCatalog): string {
  const values = { HOST: host, PORT: port, DATABASE: database, USER: user, PASSWORD: password };
  return secret("cdktr_catalog", "postgres", values);
}

function bucketSecret({
  endpoint,
  region,
  key_id,
  secret: key,
  is_path_style,
  uses_tls,
}: LakeBucket): string {
  return secret("cdktr_bucket", "s3", {
    KEY_ID: key_id,
    SECRET: key,
    ENDPOINT: endpoint,
    REGION: region,
    URL_STYLE: is_path_style ? "path" : "vhost",
    USE_SSL: String(uses_tls),
  });
}

function secret(name: string, type: string, values: Readonly<Record<string, string>>): string {
  const fields = Object.entries(values).map(([field, value]) => `${field} ${quoteText(value)}`);
  return `CREATE OR REPLACE SECRET ${name} (TYPE ${type}, ${fields.join(", ")})`;
}

/** A value in a connection string of libpq. */
function quoteLibpq(value: string): string {
  return `'${value.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
