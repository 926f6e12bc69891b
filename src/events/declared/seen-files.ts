/** Stores on disk which versions of which files were handled, so that changes made while the listener was down are found. */
import type { Database } from "bun:sqlite";
import type { SqliteMigrations } from "../../migrations/sqlite-migrations.ts";
import { openListenerFile } from "../listener-file.ts";
import type { FileEvent } from "./file-changes.ts";

/** Retention of the state of a workflow that is gone, ms: its file may come back. */
const KEPT_MS = 7 * 24 * 3_600_000;

/** The migrations of the file, from its first version on. */
const SEEN_FILES_MIGRATIONS: SqliteMigrations = [
  {
    what: "files that were seen",
    apply(database) {
      database.run(`
        CREATE TABLE watches (
          workflow_id TEXT PRIMARY KEY,
          glob TEXT NOT NULL,
          gone_ms INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE files (
          workflow_id TEXT NOT NULL,
          path TEXT NOT NULL,
          version TEXT NOT NULL,
          PRIMARY KEY (workflow_id, path)
        ) STRICT, WITHOUT ROWID;
      `);
    },
  },
];

/** Not synced: what a power cut takes away is handled again, with the same dedupe keys. */
export class SeenFiles {
  readonly #db: Database;

  /**
   * @throws ListenerFileError when the file cannot be opened
   * @throws NewerSchemaError when a newer cdktr wrote it; NoRoomForBackupError
   */
  constructor(directory: string) {
    this.#db = openListenerFile(directory, "files.db", SEEN_FILES_MIGRATIONS);
  }

  /** What was handled for a workflow and a glob; undefined before the first scan. */
  load(workflowId: string, glob: string): Map<string, string> | undefined {
    const watch = this.#db
      .query<object, [string, string]>("SELECT 1 FROM watches WHERE workflow_id = ? AND glob = ?")
      .get(workflowId, glob);
    if (watch === null) return undefined;
    const rows = this.#db
      .query<{ path: string; version: string }, [string]>(
        "SELECT path, version FROM files WHERE workflow_id = ?",
      )
      .all(workflowId);
    return new Map(rows.map(({ path, version }) => [path, version]));
  }

  /** Starts over with the existing files. */
  begin(workflowId: string, glob: string, present: ReadonlyMap<string, string>): void {
    this.#db
      .transaction(() => {
        this.#delete(workflowId);
        this.#db.query("INSERT INTO watches (workflow_id, glob) VALUES (?, ?)").run(workflowId, glob);
        for (const [path, version] of present) this.#put(workflowId, path, version);
      })
      .immediate();
  }

  /** Events were handled. */
  done(workflowId: string, events: readonly FileEvent[]): void {
    this.#db
      .transaction(() => {
        for (const { kind, path, version } of events) {
          if (kind !== "deleted") this.#put(workflowId, path, version);
          else {
            this.#db.query("DELETE FROM files WHERE workflow_id = ? AND path = ?").run(workflowId, path);
          }
        }
      })
      .immediate();
  }

  /** These workflows watch files; the state of others is deleted after a while. */
  keep(workflowIds: ReadonlySet<string>, nowMs: number): void {
    const watches = this.#db
      .query<{ workflow_id: string; gone_ms: number | null }, []>("SELECT workflow_id, gone_ms FROM watches")
      .all();
    this.#db
      .transaction(() => {
        for (const { workflow_id: id, gone_ms: goneMs } of watches) {
          if (workflowIds.has(id) && goneMs === null) continue;
          if (goneMs !== null && !workflowIds.has(id)) {
            if (nowMs - goneMs > KEPT_MS) this.#delete(id);
            continue;
          }
          this.#db
            .query("UPDATE watches SET gone_ms = ? WHERE workflow_id = ?")
            .run(workflowIds.has(id) ? null : nowMs, id);
        }
      })
      .immediate();
  }

  close(): void {
    this.#db.close();
  }

  #put(workflowId: string, path: string, version: string): void {
    this.#db
      .query("INSERT OR REPLACE INTO files (workflow_id, path, version) VALUES (?, ?, ?)")
      .run(workflowId, path, version);
  }

  #delete(workflowId: string): void {
    this.#db.query("DELETE FROM files WHERE workflow_id = ?").run(workflowId);
    this.#db.query("DELETE FROM watches WHERE workflow_id = ?").run(workflowId);
  }
}
