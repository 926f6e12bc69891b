/** Watches a set of directories that is updated with each scan of the files. */
import { type FSWatcher, statSync, watch } from "node:fs";
import { Debounce } from "../debounce.ts";

interface Place {
  /** Device and inode, because another directory may replace it. */
  readonly identity: string;
  watcher: FSWatcher | undefined;
  /** Whether the whole directory is watched, not just single names. */
  whole: boolean;
  names: Set<string>;
  round: number;
}

/** Watches directories, as a whole or for single names. Not recursive. */
export class PlacesWatch {
  readonly #places = new Map<string, Place>();
  readonly #relevant: (event: string, name: string) => boolean;
  readonly #failed: (error: unknown) => void;
  readonly #changed: Debounce;
  #round = 0;

  /**
   * @param options.relevant whether an event in a directory that is watched as a whole matters
   * @param options.changed called after events
   * @param options.failed called when a directory cannot be watched
   */
  constructor(options: {
    relevant: (event: string, name: string) => boolean;
    changed: () => void;
    failed: (error: unknown) => void;
  }) {
    this.#relevant = options.relevant;
    this.#failed = options.failed;
    this.#changed = new Debounce(options.changed);
  }

  /** Starts a round: directories that are not added again before {@link end} are no longer watched. */
  begin(): void {
    this.#round++;
  }

  /** Watches a directory from now on, for all names or for one. */
  add(directory: string, name?: string): void {
    const identity = identityOf(directory);
    if (identity === undefined) return;
    let place = this.#places.get(directory);
    if (place?.identity !== identity) {
      // Closed first, because a second watcher of the same path would still watch the old directory.
      place?.watcher?.close();
      place = { identity, watcher: undefined, whole: false, names: new Set(), round: this.#round };
      this.#places.set(directory, place);
    }
    if (place.round !== this.#round) {
      place.whole = false;
      place.names = new Set();
      place.round = this.#round;
    }
    if (place.watcher === undefined) this.#watch(directory, place);
    if (name === undefined) place.whole = true;
    else place.names.add(name);
  }

  end(): void {
    for (const [directory, place] of this.#places) {
      if (place.round === this.#round) continue;
      place.watcher?.close();
      this.#places.delete(directory);
    }
  }

  close(): void {
    this.#changed.cancel();
    for (const { watcher } of this.#places.values()) watcher?.close();
    this.#places.clear();
  }

  #watch(directory: string, place: Place): void {
    try {
      const watcher = watch(directory, { persistent: false }, (event, name) => {
        const matters = name == null || place.names.has(name) || (place.whole && this.#relevant(event, name));
        if (matters) this.#changed.soon();
      });
      watcher.on("error", (error) => {
        this.#failed(error);
        if (place.watcher === watcher) place.watcher = undefined;
      });
      place.watcher = watcher;
    } catch (error) {
      this.#failed(error);
    }
  }
}

function identityOf(directory: string): string | undefined {
  try {
    const { dev, ino } = statSync(directory, { bigint: true });
    return `${dev} ${ino}`;
  } catch {
    return undefined;
  }
}
