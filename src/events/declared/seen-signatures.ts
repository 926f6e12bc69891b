/** Stores seen signatures on disk: a signature cannot be replayed with another delivery id. */
import type { Database } from "bun:sqlite";
import type { SqliteMigrations } from "../../migrations/sqlite-migrations.ts";
import { openListenerFile } from "../listener-file.ts";

/** Number of the newest signatures to keep. */
const REMEMBERED = 1_000_000;
/** How many signatures to add between two counts. */
const TIDIED = 1000;
/** The principal remembers idempotency keys for 7 days: repetitions are accepted for less than that, ms. */
const REPEATABLE_MS = 6 * 24 * 3_600_000;

/** The migrations of the file, from its first version on. */
const SEEN_SIGNATURES_MIGRATIONS: SqliteMigrations = [
  {
    what: "signatures that have come",
    apply(database) {
      database.run(`
        CREATE TABLE signatures (
          seq INTEGER PRIMARY KEY AUTOINCREMENT,
          signature TEXT NOT NULL UNIQUE,
          delivery_id TEXT NOT NULL,
          seen_ms INTEGER NOT NULL
        ) STRICT;
      `);
    },
  },
];

/** A new signature, a repeated delivery, or a replay of another request's signature. */
export type Seen = "new" | "repeated" | "replayed";

export class SeenSignatures {
  readonly #db: Database;

  /**
   * @throws ListenerFileError when the file cannot be opened
   * @throws NewerSchemaError when a newer cdktr wrote it; NoRoomForBackupError
   */
  constructor(directory: string) {
    this.#db = openListenerFile(directory, "signatures.db", SEEN_SIGNATURES_MIGRATIONS);
  }

  /** Looks up a signature, and stores it if it is new. */
  see(signature: string, deliveryId: string, nowMs: number): Seen {
    const known = this.#db
      .query<{ delivery_id: string; seen_ms: number }, [string]>(
        "SELECT delivery_id, seen_ms FROM signatures WHERE signature = ?",
      )
      .get(signature);
    if (known !== null) {
      const isRepeated = known.delivery_id === deliveryId && nowMs - known.seen_ms < REPEATABLE_MS;
      return isRepeated ? "repeated" : "replayed";
    }
    const { lastInsertRowid: seq } = this.#db
      .query<unknown, [string, string, number]>(
        "INSERT INTO signatures (signature, delivery_id, seen_ms) VALUES (?, ?, ?)",
      )
      .run(signature, deliveryId, nowMs);
    if (Number(seq) % TIDIED === 0) {
      this.#db.query("DELETE FROM signatures WHERE seq <= ?").run(Number(seq) - REMEMBERED);
    }
    return "new";
  }

  close(): void {
    this.#db.close();
  }
}
