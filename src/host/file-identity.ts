/** Tells whether a file was removed or replaced, without opening it. */
import { statSync } from "node:fs";
import { resolve } from "node:path";
import { FileHelper, PathSilentError } from "./file-helper/file-helper.ts";

export class FileIdentity {
  readonly #path: string;
  /** Undefined for a file on a disk without which this process cannot work anyway. */
  readonly #helper: FileHelper | undefined;
  /** The path does not respond: it is left alone until it does. */
  #isSilent = false;

  /** @param own a directory in which this process accesses files itself; others are left to a child process */
  constructor(path: string, own: string) {
    this.#path = path;
    this.#helper = resolve(path).startsWith(`${resolve(own)}/`) ? undefined : new FileHelper();
  }

  /** The inode of the file; null if there is none, undefined while nobody can tell. */
  async inode(): Promise<number | null | undefined> {
    if (this.#isSilent) return undefined;
    try {
      if (this.#helper !== undefined) return await this.#helper.ask("identify", { path: this.#path });
      return statSync(this.#path, { throwIfNoEntry: false })?.ino ?? null;
    } catch (error) {
      if (error instanceof PathSilentError) {
        this.#isSilent = true;
        void error.answers.then(() => {
          this.#isSilent = false;
        });
      }
      return undefined;
    }
  }

  close(): void {
    this.#helper?.close();
  }
}
