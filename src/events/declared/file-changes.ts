/** Derives changes of files from successive scans: each change once, when the file has been quiet. */

/** A change of a file. */
export interface FileEvent {
  readonly kind: "created" | "changed" | "deleted";
  readonly path: string;
  /** The version that it has or, if it is deleted, had. */
  readonly version: string;
}

interface Unsettled {
  /** The version seen last; null while the file does not exist. */
  readonly version: string | null;
  readonly sinceMs: number;
}

/** The known state of a set of files. Files found by the first scan cause no event, unless an earlier state is known. */
export class FileChanges {
  readonly #settleMs: number;
  #known: Map<string, string> | undefined;
  readonly #unsettled = new Map<string, Unsettled>();

  /** @param known the files that were handled before, with their versions */
  constructor(settleMs: number, known?: ReadonlyMap<string, string>) {
    this.#settleMs = settleMs;
    if (known !== undefined) this.#known = new Map(known);
  }

  /** Whether there was no scan yet. */
  get isNew(): boolean {
    return this.#known === undefined;
  }

  /** Files that changed and are not quiet yet, or whose change was not handled. */
  get unsettled(): Iterable<string> {
    return this.#unsettled.keys();
  }

  /** Time until the next of them is quiet, ms; null when there are none. */
  nextMs(nowMs: number): number | null {
    if (this.#unsettled.size === 0) return null;
    const since = Math.min(...[...this.#unsettled.values()].map(({ sinceMs }) => sinceMs));
    return Math.max(0, since + this.#settleMs - nowMs);
  }

  /**
   * Processes a scan: the existing files with their versions. Returns the changes that have settled; later scans return them again until
   * {@link done} is called.
   * @param nowMs monotonic time
   */
  see(present: ReadonlyMap<string, string>, nowMs: number): FileEvent[] {
    if (this.#known === undefined) {
      this.#known = new Map(present);
      return [];
    }
    const known = this.#known;
    for (const path of new Set([...present.keys(), ...known.keys()])) {
      const version = present.get(path) ?? null;
      if (version === (known.get(path) ?? null)) {
        // Unchanged: a file that a program replaced is back, or nothing happened at all.
        this.#unsettled.delete(path);
      } else if (this.#unsettled.get(path)?.version !== version || !this.#unsettled.has(path)) {
        this.#unsettled.set(path, { version, sinceMs: nowMs });
      }
    }
    const events: FileEvent[] = [];
    for (const [path, { version, sinceMs }] of this.#unsettled) {
      if (!present.has(path) && !known.has(path)) {
        // Created and deleted before it was quiet.
        this.#unsettled.delete(path);
        continue;
      }
      if (nowMs - sinceMs < this.#settleMs) continue;
      const before = known.get(path);
      if (version === null) events.push({ kind: "deleted", path, version: before ?? "" });
      else events.push({ kind: before === undefined ? "created" : "changed", path, version });
    }
    return events;
  }

  /** The event was handled. */
  done(event: FileEvent): void {
    if (event.kind === "deleted") this.#known?.delete(event.path);
    else this.#known?.set(event.path, event.version);
    this.#unsettled.delete(event.path);
  }
}
