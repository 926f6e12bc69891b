/** The lock of a member's data directory. It ends with the process, in whatever way that ends. */
import { Database, SQLiteError } from "bun:sqlite";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makePrivateDirectory } from "../private-directory.ts";
import { DataDirectoryInUseError } from "../store.ts";

/** The name of a replica in the data directory. */
export const REPLICA_FILE = "replica.db";

/** Held from its construction on. */
export class DirectoryLock {
  readonly #owner: string;
  readonly #database: Database;

  /** @throws DataDirectoryInUseError when another process holds it */
  constructor(directory: string) {
    makePrivateDirectory(directory);
    this.#owner = join(directory, "principal.pid");
    this.#database = new Database(join(directory, "replica.lock"), { readwrite: true, create: true });
    try {
      this.#database.run("PRAGMA busy_timeout = 0");
      this.#database.run("BEGIN EXCLUSIVE");
    } catch (error) {
      this.#database.close();
      const isTaken = error instanceof SQLiteError && /^SQLITE_(BUSY|LOCKED)/.test(error.code ?? "");
      throw isTaken ? inUse(directory, this.#owner, error) : error;
    }
    writeFileSync(this.#owner, `${process.pid}\n`, { mode: 0o600 });
  }

  release(): void {
    rmSync(this.#owner, { force: true });
    this.#database.close();
  }
}

/** @param owner the file that says which process has it */
export function inUse(directory: string, owner: string, cause: unknown): DataDirectoryInUseError {
  let pid = "";
  try {
    pid = ` (process ${readFileSync(owner, "utf8").split("\n", 1)[0]})`;
  } catch {
    // It is about to say so.
  }
  return new DataDirectoryInUseError(`Another principal${pid} is using the data directory ${directory}.`, {
    cause,
    hint: "Stop that one, or give this one its own directory with CDKTR_APP_DATA_DIRECTORY.",
  });
}
