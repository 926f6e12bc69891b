/** Signatures that have come, on disk: what was signed once does not pass again under another name. */
import type { Database } from "bun:sqlite";
import type { SqliteMigrations } from "../../migrations/sqlite-migrations.ts";
import { openListenerFile } from "../listener-file.ts";

/** So many are remembered, the newest. */
const REMEMBERED = 1_000_000;
/** Between two looks at how many there are, in signatures. */
const TIDIED = 1000;
/** The principal forgets which event made which run after 7 days: a repetition is known as one for less, ms. */
const REPEATABLE_MS = 6 * 24 * 3_600_000;

/** The file, from its first version on. */
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

/** What a signature is: new, that of a delivery that is repeated, or taken from an earlier request. */
export type Seen = "new" | "repeated" | "replayed";

/** The memory. */
export class SeenSignatures {
  readonly #db: Database;

  /**
   * @throws ListenerFileError when the file cannot be opened
   * @throws NewerSchemaError when a newer cdktr wrote it; NoRoomForBackupError
   */
  constructor(directory: string) {
    this.#db = openListenerFile(directory, "signatures.db", SEEN_SIGNATURES_MIGRATIONS);
  }

  /** Looks a signature up, and remembers it when it is new. */
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
