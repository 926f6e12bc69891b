/** The history database: queries and copies of it. */
import { z } from "zod";

/** `QUERYDB`: one read-only statement. */
export const QueryDatabase = z.object({
  sql: z
    .string()
    .min(1)
    .max(128 * 1024),
  max_rows: z.number().int().min(1).max(1_000_000).default(10_000),
  /** Ends the statement earlier than others, ms. */
  timeout_ms: z.number().int().min(1).optional(),
});
export type QueryDatabase = z.infer<typeof QueryDatabase>;

/** Values that JSON lacks (dates, big numbers) are text. */
export const QueryResult = z.object({
  columns: z.array(z.object({ name: z.string(), type: z.string() })),
  rows: z.array(z.array(z.unknown())),
  truncated: z.boolean(),
  /** What is missing from the result and why, while the history is incomplete. */
  warning: z.string().nullable().default(null),
});
export type QueryResult = z.infer<typeof QueryResult>;

/** `EXPORTDB`, `BACKUPDB` and `BACKUP`. */
export const PrepareFiles = z.object({
  /** Random, chosen by the client: with it, `DROPFILES` ends the preparation too. */
  transfer_id: z.uuid().optional(),
  /** A backup without what is in the archive. */
  without_archive: z.boolean().optional(),
});
export type PrepareFiles = z.infer<typeof PrepareFiles>;

/** Reply to `EXPORTDB` and `BACKUPDB`: files that `READFILE` reads. */
export const PreparedFiles = z.object({
  transfer_id: z.string(),
  files: z.array(
    z.object({ name: z.string(), bytes: z.number(), sha256: z.string(), rows: z.number().nullable() }),
  ),
});
export type PreparedFiles = z.infer<typeof PreparedFiles>;

/** `READFILE`: a piece of a prepared file, base64. */
export const ReadFile = z.object({
  transfer_id: z.string().max(64),
  name: z.string().max(256),
  offset: z.number().int().nonnegative(),
});
export type ReadFile = z.infer<typeof ReadFile>;

export const FilePiece = z.object({ data: z.string(), next: z.number().nullable() });
export type FilePiece = z.infer<typeof FilePiece>;

/** `DROPFILES`: the principal may delete the prepared files. */
export const DropFiles = z.object({ transfer_id: z.string().max(64) });

/** `ARCHIVEDB`: a step of moving old days into the archive and of deleting what is kept no longer; the next one with `after: next`. */
export const ArchiveDatabase = z.object({
  /** Tells what would be done. */
  dry_run: z.boolean().default(false),
  /** Moves the days before this one, ms since the epoch, and deletes nothing; by default what the settings say. */
  before_ms: z.number().optional(),
  after: z.string().max(512).optional(),
});
export type ArchiveDatabase = z.infer<typeof ArchiveDatabase>;

/** What was done with a day of the history, a day of the archive, or runs of a workflow. */
export const ArchiveItem = z.object({
  action: z.enum(["move", "delete"]),
  /** A day (YYYY-MM-DD), or the id of a workflow. */
  subject: z.string(),
  /** Number of runs of a workflow; null for a day. */
  runs: z.number().nullable(),
  tables: z.array(z.object({ table: z.string(), rows: z.number(), bytes: z.number() })),
});
export type ArchiveItem = z.infer<typeof ArchiveItem>;

/** Reply to `ARCHIVEDB`. */
export const ArchiveProgress = z.object({
  items: z.array(ArchiveItem),
  /** Null when everything is done. */
  next: z.string().nullable(),
  /** Days before this one move; null when all stay. */
  before: z.string().nullable(),
});
export type ArchiveProgress = z.infer<typeof ArchiveProgress>;

/** Reply to `GETARCHIVE`: sizes of the history, and how the archive is. */
export const ArchiveInfo = z.object({
  /** The directory of the archive; null for a history in memory. */
  directory: z.string().nullable(),
  /** Days that are kept in the database, and in the archive; null for all. */
  history_keep_days: z.number().nullable(),
  archive_keep_days: z.number().nullable(),
  database_bytes: z.number(),
  /** Whether it is in a lake, which has no archive. */
  in_lake: z.boolean().optional(),
  archive_bytes: z.number(),
  files: z.number(),
  days: z.number(),
  /** The first and the last day of the archive, YYYY-MM-DD. */
  first_day: z.string().nullable(),
  last_day: z.string().nullable(),
  /** The oldest status that is in the database, ms since the epoch. */
  oldest_ms: z.number().nullable(),
  /** Files that should be there and are not, at most 20, and their number. */
  missing: z.array(z.string()),
  missing_files: z.number(),
  /** When everything that was due was done the last time, ms since the epoch. */
  passed_at_ms: z.number().nullable(),
  /** Why it could not be done the last time. */
  problem: z.string().nullable(),
});
export type ArchiveInfo = z.infer<typeof ArchiveInfo>;
