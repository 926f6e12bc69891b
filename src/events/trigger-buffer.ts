/** An on-disk queue of triggers that are not runs yet. */
import type { Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { SqliteMigrations } from "../migrations/sqlite-migrations.ts";
import type { TriggerRequest } from "./event-listener.ts";
import { openListenerFile } from "./listener-file.ts";

/** A buffered trigger and its position. */
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

/** The migrations of the file, from its first version on. */
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

const FILE = "triggers.db";

/** Whether there is a queue in a directory. */
export function hasBuffer(directory: string): boolean {
  return existsSync(join(directory, FILE));
}

/** A queue of triggers in a file. A trigger is on disk when `add` returns. Several processes may share it. */
export class TriggerBuffer {
  readonly #db: Database;
  #size: number;

  /**
   * @param directory created if missing
   * @throws ListenerFileError when the file cannot be opened
   * @throws NewerSchemaError when a newer cdktr wrote it; NoRoomForBackupError
   */
  constructor(directory: string) {
    this.#db = openListenerFile(directory, FILE, TRIGGER_BUFFER_MIGRATIONS);
    this.#size = this.#db.query<{ n: number }, []>("SELECT count(*) AS n FROM triggers").get()?.n ?? 0;
  }

  /** Number of buffered triggers. */
  get size(): number {
    return this.#size;
  }

  /** Size of the file, including space for reuse, bytes. */
  get bytes(): number {
    const pragma = (name: string) =>
      Number(Object.values(this.#db.query(`PRAGMA ${name}`).get() as object)[0] ?? 0);
    return pragma("page_count") * pragma("page_size");
  }

  /**
   * Appends triggers in one transaction; if the same event is already queued, that entry is kept.
   * @returns their positions
   */
  add(requests: readonly TriggerRequest[], nowMs: number): number[] {
    let added = 0;
    this.#db.run("PRAGMA synchronous = FULL");
    const seqs = this.#db
      .transaction(() =>
        requests.map((request) => {
          const fresh = this.#db
            .query<{ seq: number }, [string, string, string, number]>(
              `INSERT INTO triggers (workflow_id, dedupe_key, request, created_at_ms) VALUES (?, ?, ?, ?)
               ON CONFLICT DO NOTHING RETURNING seq`,
            )
            .get(request.workflowId, request.dedupeKey, JSON.stringify(request), nowMs);
          if (fresh !== null) added++;
          return (fresh ?? this.#find(request)).seq;
        }),
      )
      .immediate();
    this.#size += added;
    return seqs;
  }

  /**
   * The oldest triggers.
   * @param options.afterSeq only those after this position
   * @param options.except without those of these workflows
   */
  first(
    limit: number,
    options: { readonly afterSeq?: number; readonly except?: readonly string[] } = {},
  ): WaitingTrigger[] {
    const { afterSeq = 0, except = [] } = options;
    const rows = this.#db
      .query<Row, [number, string, number]>(
        `SELECT seq, request, created_at_ms FROM triggers
         WHERE seq > ? AND workflow_id NOT IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?`,
      )
      .all(afterSeq, JSON.stringify(except), limit);
    // Another process may have removed some.
    if (rows.length < limit && afterSeq === 0 && except.length === 0) this.#size = rows.length;
    return rows.map((row) => ({
      seq: row.seq,
      request: JSON.parse(row.request) as TriggerRequest,
      createdAtMs: row.created_at_ms,
    }));
  }

  /** Whether a later trigger of the same workflow is queued. */
  hasLater({ seq, request }: WaitingTrigger): boolean {
    return (
      this.#db
        .query<object, [string, number]>("SELECT 1 FROM triggers WHERE workflow_id = ? AND seq > ? LIMIT 1")
        .get(request.workflowId, seq) !== null
    );
  }

  /** Removes triggers. Not synced: if a power cut brings one back, it is delivered again with the same key. */
  remove(seqs: readonly number[]): void {
    this.#db.run("PRAGMA synchronous = NORMAL");
    const remove = this.#db.query<unknown, [number]>("DELETE FROM triggers WHERE seq = ?");
    const removed = this.#db
      .transaction(() => seqs.reduce((sum, seq) => sum + remove.run(seq).changes, 0))
      .immediate();
    this.#size = Math.max(0, this.#size - removed);
  }

  close(): void {
    this.#db.close();
  }

  #find(request: TriggerRequest): { seq: number } {
    const present = this.#db
      .query<{ seq: number }, [string, string]>(
        "SELECT seq FROM triggers WHERE workflow_id = ? AND dedupe_key = ?",
      )
      .get(request.workflowId, request.dedupeKey);
    if (present === null) throw new Error("a trigger is neither new nor there");
    return present;
  }
}
