/** The files that match a glob, which may be on a mount that does not respond. */
import { type FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";
import type { FileState } from "../../host/file-helper/requests.ts";

/** What a look at the files found. */
export interface Look {
  readonly present: ReadonlyMap<string, FileState>;
  /** The paths that may have changed since the previous look; undefined if all may have. */
  readonly touched: Iterable<string> | undefined;
  /** Where each of the directories that were asked about is, or what is left of it; `""` if that is unclear. */
  readonly places: ReadonlyMap<string, string>;
}

/** Accesses them through a helper process with a deadline. */
export class GlobFiles {
  readonly #helper: FileHelper;
  readonly #key: string;
  readonly #glob: string;
  readonly #happened: () => void;
  readonly #unsubscribe: readonly (() => void)[];
  #present = new Map<string, FileState>();
  /** The places of these files: a few texts, which thousands of files share. */
  readonly #places = new Map<string, string>();
  #isKnown = false;
  #hears = false;
  #silent: PathSilentError | undefined;

  /**
   * @param key distinguishes it from others that use the same helper
   * @param glob if relative, relative to the working directory
   * @param happened called when there were events, so that {@link look} has something to do
   */
  constructor(helper: FileHelper, key: string, glob: string, happened: () => void) {
    this.#helper = helper;
    this.#key = key;
    this.#glob = glob;
    this.#happened = happened;
    this.#unsubscribe = [
      helper.signals.on("changed", (changed) => {
        if (changed === key) happened();
      }),
      helper.signals.on("restarted", () => {
        this.#isKnown = false;
        happened();
      }),
    ];
  }

  /** Whether file events are delivered. On a network disk, or when inotify watches are exhausted, only scanning helps. */
  get hears(): boolean {
    return this.#hears;
  }

  /**
   * Looks at the files.
   * @param look.also paths to check in addition to those with events
   * @param look.directories directories from which files are missing
   * @param look.whole scans everything
   * @throws PathSilentError when the directory does not respond
   */
  async look(look: {
    readonly also: readonly string[];
    readonly directories: readonly string[];
    readonly whole: boolean;
  }): Promise<Look> {
    if (this.#silent !== undefined) throw this.#silent;
    try {
      return await this.#ask(look);
    } catch (error) {
      this.#isKnown = false;
      if (error instanceof PathSilentError) {
        this.#silent = error;
        void error.answers.then(() => {
          this.#silent = undefined;
          this.#happened();
        });
      }
      throw error;
    }
  }

  close(): void {
    for (const end of this.#unsubscribe) end();
    this.#helper.ask("forget", { key: this.#key }).catch(() => {});
  }

  async #ask(look: {
    readonly also: readonly string[];
    readonly directories: readonly string[];
    readonly whole: boolean;
  }): Promise<Look> {
    const places = new Map<string, string>();
    let present = this.#present;
    let touched: Set<string> | undefined = new Set();
    for (let [rest, isMore] = [false, true]; isMore; rest = true) {
      const found = await this.#helper.ask("glob", {
        key: this.#key,
        glob: this.#glob,
        ...look,
        difference: rest || this.#isKnown,
        rest,
      });
      // All files from the beginning, also if a new helper answers.
      if (!found.isDifference) {
        present = new Map();
        touched = undefined;
      }
      for (const [path, version, place] of found.present) {
        present.set(path, { version, place: this.#placeOf(place) });
        touched?.add(path);
      }
      for (const path of found.gone) {
        present.delete(path);
        touched?.add(path);
      }
      for (const [directory, place] of found.places) places.set(directory, place);
      this.#hears = found.hears;
      isMore = found.isMore;
    }
    this.#present = present;
    this.#isKnown = true;
    return { present, touched, places };
  }

  #placeOf(place: string): string {
    const known = this.#places.get(place);
    if (known === undefined) this.#places.set(place, place);
    return known ?? place;
  }
}
