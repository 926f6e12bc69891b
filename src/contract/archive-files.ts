/** Where the archive of a history is, and what its files are called on their way into a backup. */
import { join } from "node:path";
import { IN_MEMORY } from "./history.ts";

/** The directory of a database's archive; null for a database in memory, which has none. */
export function archiveDirectory(dbPath: string): string | null {
  return dbPath === IN_MEMORY ? null : `${dbPath}.archive`;
}

/** The directory of the archive in a backup. */
export const ARCHIVE_IN_BACKUP = "app.db.archive";

const CARRIED = /^archive\.(?:([a-z_]+)\.(day=\d{4}-\d{2}-\d{2})\.(part-[0-9a-f]{16}\.parquet)|DATABASE)$/;

/** The name of a file of the archive in a transfer, which has no directories. */
export function carriedName(file: string): string {
  return `archive.${file.replaceAll("/", ".")}`;
}

/** The path of such a file in a backup; undefined for another file. */
export function pathInBackup(name: string): string | undefined {
  const match = CARRIED.exec(name);
  if (match === null) return undefined;
  const [, table, day, part] = match;
  if (table === undefined || day === undefined || part === undefined)
    return join(ARCHIVE_IN_BACKUP, "DATABASE");
  return join(ARCHIVE_IN_BACKUP, table, day, part);
}
