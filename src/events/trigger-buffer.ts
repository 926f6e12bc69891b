/** Triggers that are not runs yet, on disk, in order. */
import { Database } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { migrateSqlite, type SqliteMigrations } from "../sqlite-migrations.ts";
import type { TriggerRequest } from "./event-listener.ts";

/** The buffer cannot be opened. */
export class TriggerBufferError extends CdktrError {}

/** A trigger and its place. */
export interface WaitingTrigger {
  readonly seq: number;
  readonly request: TriggerRequest;
  readonly createdAtMs: number;
}

interface Row {
  seq: number;
  request: string;
  created_at_ms: number;
}

/** The file, from its first version on. */
export const TRIGGER_BUFFER_MIGRATIONS: SqliteMigrations = [
  {
    what: "triggers",
    apply(database) {
      database.run(`CREATE TABLE triggers (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        workflow_id TEXT NOT NULL,
        dedupe_key TEXT NOT NULL,
        request TEXT NOT NULL,
        created_at_ms INTEGER NOT NULL,
        UNIQUE (workflow_id, dedupe_key)
      )`);
    },
  },
];

/** A queue of triggers in a file. What was added is on the disk when `add` returns. */
export class TriggerBuffer {
  readonly #db: Database;
  #size: number;

  /**
   * @param directory made when it is missing
   * @throws TriggerBufferError when the file cannot be opened
   * @throws NewerSchemaError when a newer cdktr wrote it; NoRoomForBackupError
   */
  constructor(directory: string) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      this.#db = new Database(join(directory, "triggers.db"), { create: true, strict: true });
      this.#db.run("PRAGMA journal_mode = WAL");
      this.#db.run("PRAGMA synchronous = FULL");
      this.#db.run("PRAGMA busy_timeout = 5000");
      migrateSqlite(this.#db, TRIGGER_BUFFER_MIGRATIONS, log);
      this.#size = this.#count();
    } catch (error) {
      if (error instanceof CdktrError) throw error;
      throw new TriggerBufferError(
        `The buffer of triggers in ${directory} cannot be opened: ${errorMessage(error)}.`,
        {
          cause: error,
          hint: "CDKTR_APP_DATA_DIRECTORY must be a directory that this user can write.",
        },
      );
    }
  }

  /** How many wait. */
  get size(): number {
    return this.#size;
  }

  /** Adds a trigger at the end; one of the same event that waits already keeps its place, which is returned. */
  add(request: TriggerRequest, nowMs: number): number {
    const added = this.#db
      .query<{ seq: number }, [string, string, string, number]>(
        `INSERT INTO triggers (workflow_id, dedupe_key, request, created_at_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING RETURNING seq`,
      )
      .get(request.workflowId, request.dedupeKey, JSON.stringify(request), nowMs);
    if (added !== null) {
      this.#size++;
      return added.seq;
    }
    const present = this.#db
      .query<{ seq: number }, [string, string]>(
        "SELECT seq FROM triggers WHERE workflow_id = ? AND dedupe_key = ?",
      )
      .get(request.workflowId, request.dedupeKey);
    // Another process of this listener may have delivered it just now: then it is added after all.
    return present?.seq ?? this.add(request, nowMs);
  }

  /** The trigger that has waited longest. */
  first(): WaitingTrigger | undefined {
    const row = this.#db
      .query<Row, []>("SELECT seq, request, created_at_ms FROM triggers ORDER BY seq LIMIT 1")
      .get();
    if (row === null) {
      this.#size = 0;
      return undefined;
    }
    return {
      seq: row.seq,
      request: JSON.parse(row.request) as TriggerRequest,
      createdAtMs: row.created_at_ms,
    };
  }

  /** Takes a trigger out. */
  remove(seq: number): void {
    if (this.#db.query("DELETE FROM triggers WHERE seq = ?").run(seq).changes > 0) this.#size--;
  }

  close(): void {
    this.#db.close();
  }

  #count(): number {
    return this.#db.query<{ n: number }, []>("SELECT count(*) AS n FROM triggers").get()?.n ?? 0;
  }
}
