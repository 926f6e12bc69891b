/** The history database: queries and copies of it. */
import { z } from "zod";

/** `QUERYDB`: one read-only statement. */
export const QueryDatabase = z.object({
  sql: z
    .string()
    .min(1)
    .max(128 * 1024),
  max_rows: z.number().int().min(1).max(1_000_000).default(10_000),
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
