/** The files that match a glob, as the file helper sees them: a full scan, or only the paths for which events arrived. */
import { type BigIntStats, statfsSync, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import type { ConsolaInstance } from "consola";
import { DirectoryWatch } from "../directory-watch.ts";

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

/** A parsed glob. */
interface Place {
  /** The directory before the first part with a wildcard. */
  readonly directory: string;
  readonly pattern: string;
}

/** Watches a glob. */
export class WatchedFiles {
  readonly #place: Place;
  readonly #glob: Bun.Glob;
  readonly #watch: DirectoryWatch;
  readonly #happened: () => void;
  /** The result of the last scan: path to version. */
  #present: Map<string, string> | undefined;
  #generation = 0;
  /** The file system of the directory when files were last seen. */
  #device: bigint | undefined;
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
        if (path === null) this.#present = undefined;
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
   * The existing files, with a fingerprint that changes when they are written or replaced.
   * @param also paths to check in addition to those with events
   * @param whole scans everything
   */
  look(also: Iterable<string>, whole: boolean): ReadonlyMap<string, string> {
    // "/" contains more directories than there are watches.
    if (this.#place.directory !== "/") this.#watch.refresh();
    const isAnother = this.#watch.generation !== this.#generation;
    this.#generation = this.#watch.generation;
    const paths = new Set([...this.#heard, ...also]);
    this.#heard.clear();
    if (whole || isAnother || this.#present === undefined || !this.#lookAt(paths, this.#present)) {
      // Events that arrive during the scan are handled by the next one.
      const found = this.#scan();
      const device = deviceOf(this.#place.directory);
      // After an unmount the files are hidden, not deleted.
      const isElsewhere = found.size === 0 && device !== undefined && device !== (this.#device ?? device);
      if (!isElsewhere || this.#present === undefined) this.#present = found;
      if (found.size > 0) this.#device = device;
    }
    return this.#present;
  }

  close(): void {
    this.#watch.close();
  }

  /** Checks only these paths. Returns whether that is sufficient: created or deleted directories need a full scan. */
  #lookAt(paths: ReadonlySet<string>, present: Map<string, string>): boolean {
    const versions = statsOf([...paths]);
    for (const [path, found] of versions) {
      if (found === null) continue;
      if (found?.isDirectory()) return false;
      if (found?.isFile() && this.#matches(path)) present.set(path, versionOf(found));
      else if (!present.delete(path) && found === undefined && hasBelow(present, path)) return false;
    }
    return true;
  }

  #matches(path: string): boolean {
    const prefix = this.#place.directory === "/" ? "/" : `${this.#place.directory}/`;
    const relative = path.slice(prefix.length);
    const isHidden = /(^|\/)\./.test(relative) && !/(^|\/)\./.test(this.#place.pattern);
    return !isHidden && this.#glob.match(relative);
  }

  #scan(): Map<string, string> {
    const paths: string[] = [];
    try {
      for (const path of this.#glob.scanSync({ cwd: this.#place.directory, absolute: true }))
        paths.push(path);
    } catch (error) {
      // The directory may be created later.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
    }
    const versions = new Map<string, string>();
    // Files deleted between listing and stat are omitted.
    for (const [path, found] of statsOf(paths)) {
      const version = found === null ? this.#present?.get(path) : found && versionOf(found);
      if (version !== undefined) versions.set(path, version);
    }
    return versions;
  }

  #isRemote(): boolean {
    try {
      return REMOTE.has(statfsSync(this.#place.directory).type >>> 0);
    } catch {
      return false;
    }
  }
}

function placeOf(glob: string): Place {
  const absolute = isAbsolute(glob) ? glob : join(resolve("."), glob);
  const parts = absolute.split("/");
  const wild = parts.findIndex((part) => /[*?[\]{}!]/.test(part));
  const at = wild === -1 ? parts.length - 1 : wild;
  return { directory: parts.slice(0, at).join("/") || "/", pattern: parts.slice(at).join("/") || "*" };
}

/** The status of each path; null if it cannot be determined, which does not mean that the file is missing. */
function statsOf(paths: readonly string[]): [string, BigIntStats | undefined | null][] {
  return paths.map((path) => {
    try {
      return [path, statSync(path, { bigint: true })];
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      return [path, code === "ENOENT" || code === "ENOTDIR" ? undefined : null];
    }
  });
}

function deviceOf(directory: string): bigint | undefined {
  try {
    return statSync(directory, { bigint: true }).dev;
  } catch {
    return undefined;
  }
}

function versionOf(found: BigIntStats): string {
  return `${found.ino}:${found.mtimeNs}:${found.size}`;
}

function hasBelow(present: ReadonlyMap<string, string>, directory: string): boolean {
  for (const path of present.keys()) if (path.startsWith(`${directory}/`)) return true;
  return false;
}
