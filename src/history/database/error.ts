/** Errors of the history database, with helpful messages. */
import { HistoryUnavailableError } from "../../contract/history.ts";
import { CdktrError, errorMessage, InvalidInputError, UnprocessableError } from "../../errors.ts";

/** DuckDB's name for a kind of error: the words before "Error:" in its message. */
function kindOf(message: string): string {
  return /^([A-Za-z ]+?) Error: /.exec(message)?.[1]?.toLowerCase() ?? "";
}

/** Kinds that only the text of a statement can cause. */
const STATEMENT_KINDS: ReadonlySet<string> = new Set([
  "parser",
  "syntax",
  "binder",
  "catalog",
  "conversion",
  "invalid input",
  "invalid type",
  "mismatch type",
  "out of range",
  "divide by zero",
  "decimal",
  "expression",
  "not implemented",
  "permission",
  "parameter not resolved",
  "parameter not allowed",
  "invalid",
  "dependency",
  "sequence",
  "value",
]);

const RETRIES =
  "cdktr retries by itself, and nothing is lost in the meantime: agents keep their lines on disk.";

const DISK_FULL = /No space left|File too large|Disk quota exceeded|not enough space|Out of space/i;

/** Known problems: a pattern of DuckDB's message, what to say, what to do. */
const CAUSES: readonly [RegExp, (path: string, match: RegExpExecArray) => string, string][] = [
  [
    /Conflicting lock is held in (.+?) \(PID (\d+)\)/,
    (path, [, program, pid]) => `The history database ${path} is in use by ${program} (process ${pid}).`,
    `Close it there. To read it while the principal runs, use 'cdktr db query' or 'cdktr db backup'. ${RETRIES}`,
  ],
  [
    /Could not set lock|Conflicting lock/,
    (path) => `The history database ${path} is in use by another process.`,
    `Close it there. To read it while the principal runs, use 'cdktr db query' or 'cdktr db backup'. ${RETRIES}`,
  ],
  [
    DISK_FULL,
    (path) => `The disk is full: the history database ${path} cannot be written.`,
    `Free some space there. ${RETRIES}`,
  ],
  [
    /not a valid DuckDB database file/,
    (path) => `The history database ${path} is not a DuckDB database.`,
    `Move the file away: cdktr then creates a new one. ${RETRIES}`,
  ],
  [
    /read-only file system/i,
    (path) => `The file system of the history database ${path} is read-only.`,
    `Make it writable, or set CDKTR_DB_PATH to another path. ${RETRIES}`,
  ],
  [
    /permission denied/i,
    (path) => `The history database ${path} cannot be opened for writing: permission denied.`,
    `Give this user write permission for the file and its directory, or set CDKTR_DB_PATH. ${RETRIES}`,
  ],
  [
    /newer than|requires DuckDB|old DuckDB version|storage version|different version/i,
    (path) => `The history database ${path} was written by another version of DuckDB.`,
    `Use the cdktr that wrote it, or move the file away. ${RETRIES}`,
  ],
  [
    /corrupt|checksum|Failure while replaying WAL|Serialization Error|deserializ|invalid magic/i,
    (path) => `The history database ${path} is damaged.`,
    `Move it and its .wal file away, or put a backup in its place: cdktr then continues. ${RETRIES}`,
  ],
];

/** The same of lakes, before the others. */
const CAUSES_OF_LAKES: typeof CAUSES = [
  [
    /password authentication failed|no password supplied|no pg_hba\.conf entry|role "[^"]*" does not exist/,
    (path) =>
      `PostgreSQL does not let cdktr into the catalog of the history ${path}: wrong user or password.`,
    `Correct CDKTR_HISTORY_URL, or CDKTR_HISTORY_PASSWORD_FILE, and restart the principal. ${RETRIES}`,
  ],
  [
    /session is read-only|read-only transaction/,
    (path) => `No host of the catalog of the history ${path} takes changes: all of them are standbys.`,
    `Promote one, or name the primary in CDKTR_HISTORY_URL. ${RETRIES}`,
  ],
  [
    /Unable to connect to Postgres|connection to server|server closed the connection|terminating connection|Failed to execute query "(BEGIN|ROLLBACK|COMMIT)/,
    (path) => `The catalog of the history ${path} cannot be reached: PostgreSQL does not answer.`,
    RETRIES,
  ],
  [
    /DATA_PATH parameter "([^"]*)" does not match existing data path in the catalog "([^"]*)"/,
    (path, [, given, existing]) =>
      `The files of the history ${path} are in ${existing}, and CDKTR_HISTORY_DATA is ${given}.`,
    `Set it to where they are, on all principals alike. ${RETRIES}`,
  ],
  [
    DISK_FULL,
    (path) =>
      `The disk of PostgreSQL, or of CDKTR_HISTORY_DATA, is full: the history ${path} cannot be written.`,
    `Free some space there. ${RETRIES}`,
  ],
  [
    /permission denied for/i,
    (path) => `PostgreSQL does not let cdktr change the catalog of the history ${path}: permission denied.`,
    `Give the role CREATE on the database, or own the schema. ${RETRIES}`,
  ],
  [
    /(permission denied|no such file or directory|not a directory)/i,
    (path, [, why]) => `The files of the history ${path} cannot be read or written: ${why?.toLowerCase()}.`,
    `Is CDKTR_HISTORY_DATA mounted, and writable for this user? ${RETRIES}`,
  ],
  [
    /HTTP|S3 |Could not (establish|resolve)/i,
    (path) => `The bucket of the history ${path} cannot be reached, or refuses cdktr.`,
    `Check CDKTR_HISTORY_DATA and CDKTR_S3_*; the log at level DEBUG has what it answered. ${RETRIES}`,
  ],
];

/** The file of the archive that an error is about; undefined if it is about something else. */
export function archiveFileIn(error: unknown): string | undefined {
  return /\.archive\/([^\s"']+\.parquet)\b/.exec(errorMessage(error))?.[1];
}

/** Converts any error from opening or writing the database to the typed error. */
export function historyUnavailable(error: unknown, path: string): HistoryUnavailableError {
  if (error instanceof HistoryUnavailableError) return error;
  if (error instanceof CdktrError) {
    const hint = error.hint === undefined ? RETRIES : `${error.hint} ${RETRIES}`;
    return new HistoryUnavailableError(error.message, { cause: error, hint });
  }
  const text = errorMessage(error);
  const causes = path.startsWith("ducklake:") ? CAUSES_OF_LAKES : CAUSES;
  for (const [pattern, describe, hint] of causes) {
    const match = pattern.exec(text);
    if (match !== null) return new HistoryUnavailableError(describe(path, match), { cause: error, hint });
  }
  return new HistoryUnavailableError(`The history database ${path} is not available: ${firstLine(text)}`, {
    cause: error,
    hint: RETRIES,
  });
}

/** Whether `error` says that a disk or a quota is full. */
export function isDiskFull(error: unknown): boolean {
  return DISK_FULL.test(errorMessage(error));
}

/** Whether the connection is unusable after `error`, so that the database must be reopened. */
export function isFatal(error: unknown): boolean {
  const text = errorMessage(error instanceof HistoryUnavailableError ? error.cause : error);
  return /^(FATAL|INTERNAL) Error|database has been invalidated/i.test(text);
}

/**
 * Converts an error of a reading statement to the typed error.
 * @param what the subject of the message: "The query", "The pattern"
 */
export function readError(error: unknown, path: string, what: string): CdktrError {
  if (error instanceof CdktrError) return error;
  const text = errorMessage(error);
  const kind = kindOf(text);
  if (STATEMENT_KINDS.has(kind)) {
    return new InvalidInputError(`${what} cannot be run: ${text.trim()}`, { cause: error });
  }
  if (kind === "out of memory") {
    return new UnprocessableError(`${what} needs more memory than the history may use: ${firstLine(text)}`, {
      cause: error,
      hint: "Narrow it, or open a copy made with 'cdktr db backup' in another DuckDB client.",
    });
  }
  const file = archiveFileIn(error);
  if (file !== undefined && !isDiskFull(error)) {
    return new UnprocessableError(`A file of the archive cannot be read: ${path}.archive/${file}.`, {
      cause: error,
      hint: "If it is missing or damaged, its day is left out of what is asked next. Put it back from a backup and restart the principal; 'cdktr doctor' names the files that are missing.",
    });
  }
  return historyUnavailable(error, path);
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0]?.trim() ?? "";
}
