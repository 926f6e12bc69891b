/**
 * Decides how a task is started, so that a mount that does not respond blocks only that task. The agent has only one thread, and
 * starting a process blocks it until the kernel has entered the working directory and opened the program. Paths on a remote mount are
 * left to the process of the task, see task-starter.ts. That costs some 20 ms, so a helper process first accesses paths on a disk: if that
 * succeeds, the agent starts the task itself.
 */
import { dirname } from "node:path";
import { FileHelper, PathSilentError } from "../host/file-helper/file-helper.ts";
import { type RegularFile, readRegularFile } from "../host/regular-file.ts";
import { log } from "../log.ts";
import { dropOldest } from "../recent.ts";
import type { ForeignMounts, Mount, Touched } from "./foreign-mounts.ts";

/** How long a disk counts as responding after the helper has accessed a path on it, and paths as being on no foreign mount, ms. */
const FRESH_MS = 200;
/** Maximum number of paths to remember. */
const MOST_KNOWN = 1000;

/** A mount that the agent itself must not enter now. */
export interface Barrier extends Mount {
  /** Resolves when the helper has accessed the paths, or failed to: then ask again. Absent if that is known already. */
  readonly answer?: Promise<void>;
}

/** The paths of tasks. */
export class TaskPaths {
  readonly #mounts: ForeignMounts;
  readonly #helper: FileHelper;
  /** When a helper came through to them, ms. */
  readonly #answered = new Map<string, number>();
  readonly #asked = new Map<string, Promise<void>>();
  /** Until when what was found out about paths counts: that nothing keeps the agent from touching them, ms. */
  readonly #clear = new Map<string, number>();
  /** Disks that do not respond. */
  readonly #silent = new Set<string>();

  constructor(mounts: ForeignMounts, helper = new FileHelper()) {
    this.#mounts = mounts;
    this.#helper = helper;
    helper.signals.on("warning", (text) => log.warn(text));
  }

  /** What keeps the agent from starting a task itself; undefined if nothing does. */
  barrier(touched: Touched): Barrier | undefined {
    if (!this.#mounts.areThere) return undefined;
    const key = JSON.stringify(touched);
    const now = performance.now();
    // Following links costs a tenth of starting a process.
    if (now < (this.#clear.get(key) ?? 0)) return undefined;
    const freshUntil = (this.#answered.get(key) ?? Number.NEGATIVE_INFINITY) + FRESH_MS;
    const isFresh = now < freshUntil;
    const mount = this.#mounts.among(touched, isFresh);
    if (mount === undefined) {
      this.#clear.delete(key);
      this.#clear.set(key, isFresh ? freshUntil : now + FRESH_MS);
      dropOldest(this.#clear, MOST_KNOWN);
      return undefined;
    }
    if (mount.isRemote || this.#silent.has(mount.point)) return mount;
    let answer = this.#asked.get(key);
    answer ??= this.#ask(key, touched, mount.point).finally(() => this.#asked.delete(key));
    this.#asked.set(key, answer);
    return { ...mount, answer };
  }

  /**
   * Reads a file that a workflow names. On a mount that might not respond, the helper reads it.
   * @param path absolute
   * @throws PathSilentError when its mount does not respond
   */
  async read(path: string, maxBytes: number): Promise<RegularFile> {
    if (this.barrier({ paths: [path], cwd: dirname(path), searchPath: "" }) === undefined)
      return readRegularFile(path, maxBytes);
    const [found] = await this.#helper.ask("read", { paths: [path], maxBytes });
    if (found === undefined) throw new Error("the helper does not answer");
    return found.kind === "file" ? { kind: "file", bytes: Buffer.from(found.base64, "base64") } : found;
  }

  close(): void {
    this.#helper.close();
  }

  async #ask(key: string, touched: Touched, point: string): Promise<void> {
    try {
      await this.#helper.ask("touch", { places: this.#mounts.onDisks(touched) });
      this.#answered.delete(key);
      this.#answered.set(key, performance.now());
      dropOldest(this.#answered, MOST_KNOWN);
    } catch (error) {
      if (!(error instanceof PathSilentError)) return;
      this.#silent.add(point);
      void error.answers.then(() => this.#silent.delete(point));
    }
  }
}
