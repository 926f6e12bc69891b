/**
 * File events of a directory tree that may not exist yet, be removed, or be replaced by another. Events are only hints: the
 * receiver must look for itself. Where there are none (network disks, inotify watches exhausted), it has to poll.
 */
import { type FSWatcher, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import type { ConsolaInstance } from "consola";
import { errorMessage } from "../errors.ts";
import { Debounce } from "./debounce.ts";

/** Watches a directory. */
export class DirectoryWatch {
  readonly #root: string;
  readonly #relevant: (event: string, path: string | null) => boolean;
  readonly #log: Pick<ConsolaInstance, "warn">;
  readonly #recursive: boolean;
  #tree: FSWatcher | undefined;
  #treeIdentity = "";
  #generation = 0;
  #parent: FSWatcher | undefined;
  readonly #changed: Debounce;
  #complained = false;
  #closed = false;

  /**
   * @param options.relevant whether an event (`rename` or `change`, and the path relative to the root) matters
   * @param options.changed called after relevant events
   */
  constructor(options: {
    root: string;
    relevant: (event: string, path: string | null) => boolean;
    changed: () => void;
    log: Pick<ConsolaInstance, "warn">;
    /** Whether to watch subdirectories too; true by default. */
    recursive?: boolean;
  }) {
    this.#recursive = options.recursive ?? true;
    this.#root = options.root;
    this.#relevant = options.relevant;
    this.#changed = new Debounce(options.changed);
    this.#log = options.log;
  }

  /** Makes sure that the directory currently at the path is the one being watched. Cheap if it is. */
  refresh(): void {
    if (this.#closed) return;
    this.#watchParent();
    const identity = identityOf(this.#root);
    if (identity === this.#treeIdentity && this.#tree !== undefined) return;
    this.#tree?.close();
    this.#tree = undefined;
    this.#treeIdentity = identity;
    this.#generation++;
    if (identity === "") return;
    try {
      const tree = watch(this.#root, { recursive: this.#recursive }, (event, path) => {
        if (path === null || path === undefined) this.refresh();
        if (this.#relevant(event, path ?? null)) this.#changed.soon();
      });
      tree.on("error", (error) => {
        this.#complain(error);
        if (this.#tree === tree) this.#tree = undefined;
      });
      this.#tree = tree;
    } catch (error) {
      this.#complain(error);
    }
  }

  /** Whether events are delivered at the moment; if not, the caller has to poll. */
  get hasEvents(): boolean {
    return this.#tree !== undefined;
  }

  /** Incremented whenever a different directory is watched: its content was there before the first event. */
  get generation(): number {
    return this.#generation;
  }

  close(): void {
    this.#closed = true;
    this.#changed.cancel();
    this.#tree?.close();
    this.#parent?.close();
  }

  /** Events of the parent report when the directory itself appears or is replaced. */
  #watchParent(): void {
    if (this.#parent !== undefined) return;
    try {
      const name = basename(this.#root);
      const parent = watch(dirname(this.#root), (_event, path) => {
        if (path !== name) return;
        this.refresh();
        this.#changed.soon();
      });
      parent.on("error", () => {
        if (this.#parent === parent) this.#parent = undefined;
      });
      this.#parent = parent;
    } catch {
      // The parent does not exist either; the next poll tries again.
    }
  }

  #complain(error: unknown): void {
    if (this.#complained) return;
    this.#complained = true;
    this.#log.warn(
      `Changes under ${this.#root} are noticed only by the periodic scan: file events do not work (${errorMessage(error)}). ` +
        "If the reason is ENOSPC, raise fs.inotify.max_user_watches.",
    );
  }
}

function identityOf(path: string): string {
  try {
    const info = statSync(path, { bigint: true });
    return info.isDirectory() ? `${info.dev} ${info.ino}` : "";
  } catch {
    return "";
  }
}
