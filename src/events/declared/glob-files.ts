/** The files that match a glob, which may be on a mount that does not respond. */
import { type FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";

/** Accesses them through a helper process with a deadline. */
export class GlobFiles {
  readonly #helper: FileHelper;
  readonly #key: string;
  readonly #glob: string;
  readonly #happened: () => void;
  readonly #unsubscribe: readonly (() => void)[];
  readonly #present = new Map<string, string>();
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
   * The existing files, with a fingerprint that changes when they are written or replaced.
   * @param also paths to check in addition to those with events
   * @param whole scans everything
   * @throws PathSilentError when the directory does not respond
   */
  async look(also: Iterable<string>, whole: boolean): Promise<ReadonlyMap<string, string>> {
    if (this.#silent !== undefined) throw this.#silent;
    try {
      const difference = this.#isKnown;
      const found = await this.#helper.ask("glob", {
        key: this.#key,
        glob: this.#glob,
        also: [...also],
        whole,
        difference,
      });
      if (!found.isDifference) this.#present.clear();
      for (const [path, version] of found.present) this.#present.set(path, version);
      for (const path of found.gone) this.#present.delete(path);
      this.#hears = found.hears;
      this.#isKnown = true;
      return this.#present;
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
}
