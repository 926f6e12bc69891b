/** The file of an outbox: its migrations, whose it is, and why it cannot be used. */
import { Database, SQLiteError, type Statement } from "bun:sqlite";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { AgentDescription } from "../contract/messages.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import { bootId, hostUpMs, machineId } from "../host/boot.ts";
import type { SqliteMigrations } from "../migrations/sqlite-migrations.ts";

/** Name of the file in an agent's data directory. */
export const OUTBOX_FILE = "outbox.db";

/** Another process holds the outbox: an agent with this id is running. */
export class OutboxLockedError extends CdktrError {}
/** The outbox cannot be opened or created. */
export class OutboxUnavailableError extends CdktrError {}

/** The migrations of the file, from its first version on. */
export const OUTBOX_MIGRATIONS: SqliteMigrations = [
  {
    what: "reports, frames of log lines and processes",
    apply(database) {
      database.run(`
        CREATE TABLE stream (
          stream_id TEXT NOT NULL, report_seq INTEGER NOT NULL, log_seq INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE reports (seq INTEGER PRIMARY KEY, report TEXT NOT NULL) STRICT;
        CREATE TABLE frames (
          last_seq INTEGER PRIMARY KEY, first_seq INTEGER NOT NULL, frame BLOB NOT NULL
        ) STRICT;
        CREATE TABLE processes (
          pid INTEGER PRIMARY KEY, start_ticks INTEGER NOT NULL, boot_id TEXT NOT NULL, task_instance_id TEXT NOT NULL
        ) STRICT;
      `);
      database.run("INSERT INTO stream VALUES (?, 0, 0)", [crypto.randomUUID()]);
    },
  },
  {
    what: "owner and place of the outbox",
    isAdditive: true,
    apply(database) {
      // One row. NULL: no process has registered since this table was created.
      database.run("CREATE TABLE owner (session_id TEXT, machine TEXT, boot TEXT, file TEXT) STRICT");
      database.run("INSERT INTO owner DEFAULT VALUES");
    },
  },
  {
    what: "the installation that the outbox is for",
    isAdditive: true,
    apply(database) {
      database.run(`
        ALTER TABLE owner ADD COLUMN installation TEXT;
        CREATE TABLE parked_streams (
          installation TEXT PRIMARY KEY, session_id TEXT,
          stream_id TEXT NOT NULL, report_seq INTEGER NOT NULL, log_seq INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE parked_reports (installation TEXT NOT NULL, seq INTEGER NOT NULL, report TEXT NOT NULL) STRICT;
        CREATE TABLE parked_frames (
          installation TEXT NOT NULL, last_seq INTEGER NOT NULL, first_seq INTEGER NOT NULL, frame BLOB NOT NULL
        ) STRICT;
      `);
    },
  },
  {
    what: "with which suffix the agent was started",
    isAdditive: true,
    apply: (database) => void database.run("ALTER TABLE owner ADD COLUMN suffix TEXT"),
  },
  {
    what: "for how many days content waits for another installation",
    isAdditive: true,
    apply: (database) =>
      void database.run(
        "CREATE TABLE parked_days (installation TEXT PRIMARY KEY, days INTEGER NOT NULL, last_day TEXT NOT NULL) STRICT",
      ),
  },
];

/**
 * Opens the file, or creates it.
 * @throws SQLiteError when it cannot be opened, see {@link isLocked} and {@link isBroken}
 */
export function openFile(path: string): Database {
  const db = new Database(path, { create: true, strict: true });
  try {
    for (const pragma of [
      // Another agent that starts on this host may open the file for a moment, see orphans.ts.
      "busy_timeout=250",
      "locking_mode=EXCLUSIVE",
      "auto_vacuum=INCREMENTAL",
      "journal_mode=WAL",
      // A commit survives the end of the process; after a power failure the principal's numbers are used (catchUp).
      "synchronous=NORMAL",
      "wal_autocheckpoint=4000",
      "journal_size_limit=33554432",
    ]) {
      db.query(`PRAGMA ${pragma}`).all();
    }
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** The place of an outbox, which differs from that of any copy. */
export interface Place {
  readonly machine: string;
  readonly boot: string;
  /** Device and inode of the file. */
  readonly file: string;
}

/** The process that had an outbox before. */
export interface Former {
  /** Its session; null if it never registered. */
  readonly session_id: string | null;
  /** The outbox has not been moved, copied or restored since, and the host has not been restarted. */
  readonly in_place: boolean;
  /** The boot in which it ran, if the outbox is where it was, but the host was restarted since. */
  readonly earlier_boot?: string;
}

/** The current place of an outbox, to compare with the recorded one. */
export function placeOf(path: string): Place {
  const { dev, ino } = statSync(path);
  return { machine: machineId(), boot: bootId(), file: `${dev} ${ino}` };
}

/** An outbox that no process holds. */
export interface IdleOutbox {
  /** The suffix with which its agent was started; null if it belongs to another agent, or an older cdktr used it. */
  readonly suffix: string | null;
  /** Whether it is where its agent used it, on this machine. */
  readonly isHere: boolean;
  /** Number of reports and frames of log lines that wait in it. */
  readonly waiting: number;
  /** Those for the installation that its agent was connected to last. */
  readonly toDeliver: number;
}

/** Looks into the outbox in a directory; undefined when there is none, or it cannot be read. */
export function lookInto(directory: string): IdleOutbox | "in use" | undefined {
  const path = join(directory, OUTBOX_FILE);
  if (!existsSync(path)) return undefined;
  let db: Database | undefined;
  try {
    db = new Database(path, { readwrite: true, create: false });
    const owner = db
      .query<
        Omit<IdleOutbox, "isHere" | "waiting"> & { [K in "machine" | "file"]: string | null } & {
          parked: number;
        },
        []
      >(
        `SELECT suffix, machine, file,
           (SELECT count(*) FROM reports) + (SELECT count(*) FROM frames) AS toDeliver,
           (SELECT count(*) FROM parked_reports) + (SELECT count(*) FROM parked_frames) AS parked
         FROM owner`,
      )
      .get();
    if (owner === null) return undefined;
    const { machine, file } = placeOf(path);
    return {
      suffix: owner.suffix,
      isHere: owner.machine === machine && owner.file === file,
      waiting: owner.toDeliver + owner.parked,
      toDeliver: owner.toDeliver,
    };
  } catch (error) {
    return isLocked(error) ? "in use" : undefined;
  } finally {
    db?.close();
  }
}

/** What the principal is told of the process that had an outbox before. */
export function followed({ earlier_boot, ...former }: Former): AgentDescription["follows"] {
  const up_ms = earlier_boot === undefined ? undefined : hostUpMs();
  if (earlier_boot === undefined || up_ms === undefined) return former;
  return { ...former, restarted: { boot_id: earlier_boot, up_ms } };
}

/** The process that had an outbox before, read from an open one. */
export function formerOf(db: Database, { machine, boot, file }: Place): Former {
  const owner = db
    .query<{ session_id: string | null } & { [K in keyof Place]: string | null }, []>("SELECT * FROM owner")
    .get();
  const isUnused = owner === null || owner.file === null;
  const isHere = !isUnused && owner.machine === machine && owner.file === file;
  const in_place = isUnused || (isHere && owner.boot === boot);
  // Without an id, another machine looks like this one after a restart.
  const isRestarted = isHere && !in_place && machine !== "" && owner.boot !== null;
  return {
    session_id: owner?.session_id ?? null,
    in_place,
    ...(isRestarted ? { earlier_boot: owner.boot } : {}),
  };
}

export function readStream(db: Database): { stream_id: string; report_seq: number; log_seq: number } {
  const stream = db
    .query<{ stream_id: string; report_seq: number; log_seq: number }, []>("SELECT * FROM stream")
    .get();
  if (stream === null) throw new Error("the outbox has no stream");
  return stream;
}

/** What is executed all the time. */
export interface OutboxStatements {
  readonly insertReport: Statement;
  readonly insertFrame: Statement;
  readonly insertProcess: Statement;
  readonly deleteProcess: Statement;
  readonly deleteReports: Statement;
  readonly deleteFrames: Statement;
  readonly position: Statement;
  readonly report: Statement<{ report: string }, [number]>;
  readonly framesAfter: Statement<{ first_seq: number; last_seq: number; frame: Uint8Array }, [number]>;
}

export function statementsOf(db: Database): OutboxStatements {
  return {
    insertReport: db.prepare("INSERT OR REPLACE INTO reports VALUES (?, ?)"),
    insertFrame: db.prepare("INSERT OR REPLACE INTO frames VALUES (?, ?, ?)"),
    insertProcess: db.prepare("INSERT OR REPLACE INTO processes VALUES (?, ?, ?, ?)"),
    deleteProcess: db.prepare("DELETE FROM processes WHERE pid = ?"),
    deleteReports: db.prepare("DELETE FROM reports WHERE seq <= ?"),
    deleteFrames: db.prepare("DELETE FROM frames WHERE last_seq <= ?"),
    position: db.prepare("UPDATE stream SET report_seq = ?, log_seq = ?"),
    report: db.prepare("SELECT report FROM reports WHERE seq = ?"),
    framesAfter: db.prepare("SELECT * FROM frames WHERE last_seq > ? ORDER BY last_seq LIMIT 8"),
  };
}

export function isLocked(error: unknown): boolean {
  return error instanceof SQLiteError && (error.code ?? "").startsWith("SQLITE_BUSY");
}

export function isBroken(error: unknown): boolean {
  return (
    error instanceof SyntaxError ||
    (error instanceof SQLiteError && /^SQLITE_(CORRUPT|NOTADB)/.test(error.code ?? ""))
  );
}

export function holder(directory: string): string {
  try {
    const pid = readFileSync(join(directory, "pid"), "utf8").trim();
    return existsSync(`/proc/${pid}`) ? ` (pid ${pid})` : "";
  } catch {
    return "";
  }
}

export function unavailable(directory: string, error: unknown): OutboxUnavailableError {
  return new OutboxUnavailableError(
    `The agent cannot keep its data in ${directory}: ${errorMessage(error)}.`,
    { cause: error, hint: "Make it writable, or choose another directory with CDKTR_APP_DATA_DIRECTORY." },
  );
}
