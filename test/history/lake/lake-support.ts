/** Helpers for the tests of a history in a lake. */
import type { LakeSettings } from "../../../src/contract/history.ts";
import { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import type { HistoryMigrations } from "../../../src/history/database/migrations.ts";
import { lake } from "../../../src/history/lake/lake.ts";
import type { PostgresServer } from "../../support/postgres.ts";
import type { TestDirectory } from "../database-support.ts";

/** The settings of a lake whose catalog is in a schema of this server's database. */
export function lakeAt(
  server: PostgresServer,
  directory: TestDirectory,
  { schema = "lake", epoch = null as number | null } = {},
): LakeSettings {
  const { hostname, port, pathname, username, password } = new URL(server.url());
  return {
    catalog: {
      host: hostname,
      port,
      database: pathname.slice(1),
      user: username,
      password: decodeURIComponent(password),
      schema,
    },
    data: directory.at(`${schema}-data`),
    epoch,
    compact_every_ms: 600_000,
    keep_snapshots_days: 1,
  };
}

/** Opens the history in a lake, as one principal of several does. */
export function openLake(
  settings: LakeSettings,
  directory: TestDirectory,
  { name = "a", migrations }: { name?: string; migrations?: HistoryMigrations } = {},
): Promise<HistoryDatabase> {
  const files = {
    path: ":memory:",
    filesDirectory: directory.at(`${name}/files`),
    tempDirectory: directory.at(`${name}/temp`),
    migrations,
  };
  return HistoryDatabase.open({ ...files, place: lake({ ...files, settings }) });
}
