/** Stores on disk which versions of which files were handled, so that changes made while the listener was down are found. */
import type { Database } from "bun:sqlite";
import type { FileState } from "../../host/file-helper/requests.ts";
import type { SqliteMigrations } from "../../migrations/sqlite-migrations.ts";
import { turn } from "../../timer.ts";
import { openListenerFile } from "../listener-file.ts";
import type { SeenChange, SeenState } from "./file-changes.ts";

/** Retention of the state of a workflow that is gone, ms: its file may come back. */
const KEPT_MS = 7 * 24 * 3_600_000;
/** Retention of files that counted as deleted because their volume was away, ms. */
const DOUBTFUL_KEPT_MS = 30 * 24 * 3_600_000;
/** Number of files that are read or written at once: other work goes on in between. */
const FILES_AT_ONCE = 1000;
/** Stands for the glob of a watch while its files are written for the first time. */
const UNFINISHED = "";

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
  {
    what: "places of files",
    isAdditive: true,
    apply(database) {
      database.run("ALTER TABLE files ADD COLUMN place TEXT NOT NULL DEFAULT ''");
      database.run("ALTER TABLE files ADD COLUMN doubtful_ms INTEGER");
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

  /**
   * Takes over what was handled for a glob of a workflow under an id that is not used any more: those of several globs of a workflow follow
   * from other things than that of a single one, and did so otherwise in older versions.
   * @param used the ids that are in use
   */
  adopt(
    { id, workflowId, glob }: { readonly id: string; readonly workflowId: string; readonly glob: string },
    used: ReadonlySet<string>,
  ): void {
    const watches = this.#db
      .query<{ workflow_id: string }, [string]>("SELECT workflow_id FROM watches WHERE glob = ?")
      .all(glob);
    if (watches.some((watch) => watch.workflow_id === id)) return;
    const former = watches.find(
      (watch) =>
        !used.has(watch.workflow_id) &&
        (watch.workflow_id === workflowId || watch.workflow_id.startsWith(`${workflowId}#`)),
    );
    if (former === undefined) return;
    this.#db
      .transaction(() => {
        for (const table of ["watches", "files"]) {
          this.#db.query(`DELETE FROM ${table} WHERE workflow_id = ?`).run(id);
          this.#db
            .query(`UPDATE ${table} SET workflow_id = ? WHERE workflow_id = ?`)
            .run(id, former.workflow_id);
        }
      })
      .immediate();
  }

  /** What was handled for a workflow and a glob; undefined before the first look. */
  async load(workflowId: string, glob: string, nowMs: number): Promise<SeenState | undefined> {
    const watch = this.#db
      .query<object, [string, string]>("SELECT 1 FROM watches WHERE workflow_id = ? AND glob = ?")
      .get(workflowId, glob);
    if (watch === null) return undefined;
    this.#db
      .query("DELETE FROM files WHERE workflow_id = ? AND doubtful_ms < ?")
      .run(workflowId, nowMs - DOUBTFUL_KEPT_MS);
    const seen: SeenState = { known: new Map(), doubtful: new Map() };
    const places = new Map<string, string>();
    for (let after = ""; ; await turn()) {
      const rows = this.#db
        .query<
          { path: string; version: string; place: string; doubtful_ms: number | null },
          [string, string, number]
        >(
          "SELECT path, version, place, doubtful_ms FROM files WHERE workflow_id = ? AND path > ? ORDER BY path LIMIT ?",
        )
        .all(workflowId, after, FILES_AT_ONCE);
      for (const { path, version, place, doubtful_ms } of rows) {
        // Thousands of files share one string.
        if (!places.has(place)) places.set(place, place);
        const state = { version, place: places.get(place) ?? place };
        (doubtful_ms === null ? seen.known : seen.doubtful).set(path, state);
      }
      const last = rows.at(-1);
      if (last === undefined) return seen;
      after = last.path;
    }
  }

  /** Starts over with the existing files. */
  async begin(
    workflowId: string,
    glob: string,
    present: ReadonlyMap<string, FileState>,
    signal: AbortSignal,
  ): Promise<void> {
    const note = (as: string) =>
      this.#db.query("INSERT OR REPLACE INTO watches (workflow_id, glob) VALUES (?, ?)").run(workflowId, as);
    note(UNFINISHED);
    while (this.#deleteSome(workflowId)) {
      await turn();
      if (signal.aborted) return;
    }
    const files = [...present];
    for (let i = 0; i < files.length; i += FILES_AT_ONCE) {
      this.save(
        workflowId,
        files.slice(i, i + FILES_AT_ONCE).map(([path, state]) => ({ path, state })),
      );
      await turn();
      if (signal.aborted) return;
    }
    note(glob);
  }

  /** Stores the states of files; with `doubtfulMs`, as those of files that count as deleted since then, but may come back. */
  save(workflowId: string, changes: readonly SeenChange[], doubtfulMs: number | null = null): void {
    this.#db
      .transaction(() => {
        for (const { path, state } of changes) {
          if (state === null) {
            this.#db.query("DELETE FROM files WHERE workflow_id = ? AND path = ?").run(workflowId, path);
          } else {
            this.#db
              .query(
                "INSERT OR REPLACE INTO files (workflow_id, path, version, place, doubtful_ms) VALUES (?, ?, ?, ?, ?)",
              )
              .run(workflowId, path, state.version, state.place, doubtfulMs);
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
            // The rest at the next change of workflows.
            if (nowMs - goneMs > KEPT_MS && !this.#deleteSome(id))
              this.#db.query("DELETE FROM watches WHERE workflow_id = ?").run(id);
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

  /** Deletes files of a workflow. Returns whether there were any. */
  #deleteSome(workflowId: string): boolean {
    const { changes } = this.#db
      .query(
        "DELETE FROM files WHERE workflow_id = ?1 AND path IN (SELECT path FROM files WHERE workflow_id = ?1 LIMIT ?2)",
      )
      .run(workflowId, FILES_AT_ONCE);
    return changes > 0;
  }
}
