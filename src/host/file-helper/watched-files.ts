/** The files that match a glob, as the file helper sees them: a full scan, or only the paths for which events arrived. */
import { type BigIntStats, statfsSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import type { ConsolaInstance } from "consola";
import { DirectoryWatch } from "../directory-watch.ts";
import type { FileState } from "./requests.ts";

/** File systems whose files can change on other hosts without an event here: statfs(2). */
const REMOTE: ReadonlySet<number> = new Set([
  0x6969, // NFS
  0xff534d42, // CIFS
  0xfe534d42, // SMB2
  0x517b, // SMB
  0x65735546, // FUSE
  0x01021997, // 9P
  0x5346414f, // AFS
  0x73757245, // Coda
]);

/** How often a scan is tried if the directory is replaced, or one below it removed, in the meantime. */
const SCANS = 3;

/** A parsed glob. */
interface Place {
  /** The directory before the first part with a wildcard. */
  readonly directory: string;
  readonly pattern: string;
}

/** Watches a glob, and knows which changes have not been told yet. */
export class WatchedFiles {
  readonly #place: Place;
  readonly #glob: Bun.Glob;
  readonly #watch: DirectoryWatch;
  readonly #happened: () => void;
  /** The result of the last look. */
  #present: Map<string, FileState> | undefined;
  /** The directories of these files, and those above them; some may be gone. */
  #directories = new Set<string>();
  /** Paths that have changed since they were last told. */
  #untold = new Set<string>();
  #generation = 0;
  #mustScan = false;
  /** Where the directories that the last look was asked about were. */
  #asked: ReadonlyMap<string, string> = new Map();
  /** Paths with events since then. */
  readonly #heard = new Set<string>();

  /**
   * @param glob if relative, relative to the working directory
   * @param happened called when there were events, so that {@link look} has something to do
   */
  constructor(glob: string, happened: () => void, log: Pick<ConsolaInstance, "warn">) {
    this.#place = placeOf(glob);
    this.#glob = new Bun.Glob(this.#place.pattern);
    this.#happened = happened;
    this.#watch = new DirectoryWatch({
      root: this.#place.directory,
      recursive: this.#place.pattern.includes("/"),
      relevant: (_event, path) => {
        if (path === null) this.#mustScan = true;
        else this.#heard.add(join(this.#place.directory, path));
        return true;
      },
      changed: () => this.#happened(),
      log,
    });
  }

  /** Whether file events are delivered. On a network disk, or when inotify watches are exhausted, only scanning helps. */
  get hears(): boolean {
    return this.#watch.hasEvents && !this.#isRemote();
  }

  /**
   * Looks for changes, which {@link take} then returns.
   * @param also paths to check in addition to those with events
   * @param whole scans everything
   * @param directories directories from which files are missing
   * @returns where each of these directories, or the nearest one above it that exists, was during the look; `""` if that is unclear
   */
  look(also: Iterable<string>, whole: boolean, directories: readonly string[]): ReadonlyMap<string, string> {
    // "/" contains more directories than there are watches.
    if (this.#place.directory !== "/") this.#watch.refresh();
    const isAnother = this.#watch.generation !== this.#generation;
    this.#generation = this.#watch.generation;
    const paths = new Set([...this.#heard, ...also]);
    this.#heard.clear();
    const before = this.#placesOf(directories);
    // A volume that was mounted below the glob's directory causes no event.
    const isMounted = directories.some(
      (one) => (this.#asked.get(one) ?? before.get(one)) !== before.get(one),
    );
    if (
      whole ||
      isAnother ||
      isMounted ||
      this.#mustScan ||
      this.#present === undefined ||
      !this.#lookAt(paths, this.#present)
    ) {
      // Events that arrive during the scan are handled by the next one.
      this.#mustScan = false;
      this.#scan();
    }
    const after = this.#placesOf(directories);
    this.#asked = new Map([...before].map(([path, place]) => [path, after.get(path) === place ? place : ""]));
    return this.#asked;
  }

  /** From now on, {@link take} returns all files. */
  tellAll(): void {
    this.#untold = new Set(this.#present?.keys());
  }

  /** Some of the changes that were not returned yet. */
  take(limit: number): {
    readonly present: [path: string, version: string, place: string][];
    readonly gone: string[];
    readonly isMore: boolean;
  } {
    const present: [string, string, string][] = [];
    const gone: string[] = [];
    for (const path of this.#untold) {
      if (present.length + gone.length >= limit) break;
      this.#untold.delete(path);
      const state = this.#present?.get(path);
      if (state === undefined) gone.push(path);
      else present.push([path, state.version, state.place]);
    }
    return { present, gone, isMore: this.#untold.size > 0 };
  }

  close(): void {
    this.#watch.close();
  }

  /** Checks only these paths. Returns whether that is sufficient: created or deleted directories need a full scan. */
  #lookAt(paths: ReadonlySet<string>, present: Map<string, FileState>): boolean {
    const places = new Places(this.#place.directory);
    for (const path of paths) {
      const found = statOf(path);
      if (found === null) continue;
      if (found?.isDirectory()) return false;
      if (found?.isFile() && this.#matches(path)) {
        const state = stateOf(path, found, places, present.get(path));
        if (present.get(path) === state) continue;
        present.set(path, state);
        noteDirectories(this.#directories, path);
        this.#untold.add(path);
      } else if (present.delete(path)) this.#untold.add(path);
      else if (found === undefined && this.#directories.has(path)) return false;
    }
    return true;
  }

  #matches(path: string): boolean {
    const prefix = this.#place.directory === "/" ? "/" : `${this.#place.directory}/`;
    const relative = path.slice(prefix.length);
    const isHidden = /(^|\/)\./.test(relative) && !/(^|\/)\./.test(this.#place.pattern);
    return !isHidden && this.#glob.match(relative);
  }

  #scan(): void {
    const before = this.#present;
    const found = this.#find();
    const directories = new Set<string>();
    for (const [path, state] of found) {
      noteDirectories(directories, path);
      if (before?.get(path) !== state) this.#untold.add(path);
    }
    for (const path of before?.keys() ?? []) if (!found.has(path)) this.#untold.add(path);
    this.#present = found;
    this.#directories = directories;
  }

  #find(): Map<string, FileState> {
    const { directory } = this.#place;
    for (let scans = 1; ; scans++) {
      const places = new Places(directory);
      try {
        const found = this.#list(places);
        if (new Places(directory).root === places.root || scans === SCANS) return found;
      } catch (error) {
        if (!isAbsence(error)) throw error;
        // The directory may be created later. If only one below it went away, the rest was not listed.
        if (statOf(directory) === undefined) return new Map();
        if (scans === SCANS) throw error;
      }
    }
  }

  #list(places: Places): Map<string, FileState> {
    const files = new Map<string, FileState>();
    for (const path of this.#glob.scanSync({ cwd: this.#place.directory, absolute: true })) {
      const before = this.#present?.get(path);
      const found = statOf(path);
      // Files deleted between listing and stat are omitted.
      if (found === undefined) continue;
      const state = found === null ? before : stateOf(path, found, places, before);
      if (state !== undefined) files.set(path, state);
    }
    return files;
  }

  #placesOf(directories: readonly string[]): Map<string, string> {
    const places = new Places(this.#place.directory);
    return new Map(directories.map((path) => [path, places.of(path)]));
  }

  #isRemote(): boolean {
    try {
      return REMOTE.has(statfsSync(this.#place.directory).type >>> 0);
    } catch {
      return false;
    }
  }
}

/** Where directories are at the moment: which directory is the glob's, and on which file system each is. */
class Places {
  /** Device and inode of the glob's directory; `""` if it does not exist. */
  readonly root: string;
  readonly #known = new Map<string, string>();

  constructor(root: string) {
    const found = statOf(root);
    this.root = found == null ? "" : `${found.dev}:${found.ino}`;
  }

  /** Where a directory is, or the nearest one above it that exists; `""` if it cannot be determined. */
  of(directory: string): string {
    if (this.root === "") return "";
    let place = this.#known.get(directory);
    if (place === undefined) {
      const device = deviceOf(directory);
      place = device === undefined ? "" : `${this.root}/${device}`;
      this.#known.set(directory, place);
    }
    return place;
  }
}

function deviceOf(directory: string): bigint | undefined {
  const found = statOf(directory);
  if (found === null) return undefined;
  if (found !== undefined) return found.dev;
  return directory === "/" ? undefined : deviceOf(dirname(directory));
}

function placeOf(glob: string): Place {
  const absolute = isAbsolute(glob) ? glob : join(resolve("."), glob);
  const parts = absolute.split("/");
  const wild = parts.findIndex((part) => /[*?[\]{}!]/.test(part));
  const at = wild === -1 ? parts.length - 1 : wild;
  return { directory: parts.slice(0, at).join("/") || "/", pattern: parts.slice(at).join("/") || "*" };
}

/** The status of a path; null if it cannot be determined, which does not mean that the file is missing. */
function statOf(path: string): BigIntStats | undefined | null {
  try {
    return statSync(path, { bigint: true });
  } catch (error) {
    return isAbsence(error) ? undefined : null;
  }
}

function isAbsence(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

/** The state of a file: `before` if it is the same. */
function stateOf(path: string, found: BigIntStats, places: Places, before: FileState | undefined): FileState {
  const version = `${found.ino}:${found.mtimeNs}:${found.size}`;
  const place = places.of(dirname(path));
  return before?.version === version && before.place === place ? before : { version, place };
}

/** Adds the directories above a path. */
function noteDirectories(directories: Set<string>, path: string): void {
  for (let at = dirname(path); !directories.has(at); at = dirname(at)) directories.add(at);
}
