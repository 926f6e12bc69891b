/** Finds the files that globs name in a directory, as they are packed into an archive. */
import { type BigIntStats, lstatSync, readdirSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { CdktrError } from "../errors.ts";
import { MAX_FILES, MAX_PATH_BYTES, type Source } from "./archive.ts";

/** Deepest directory that is looked at. */
const MAX_DEPTH = 64;
/** Most links that lead to one path, as in the kernel. */
const MAX_LINKS = 40;
/** Stands for bytes of a name that are not UTF-8. */
const UNDECODED = "\ufffd";

/** What was found. */
export interface MatchingFiles {
  readonly sources: readonly Source[];
  /** Their size, bytes. */
  readonly bytes: number;
  /** Changes when one of them does. */
  readonly signature: string;
}

/** What the globs name cannot be packed. The message is about a path below the directory, or a glob. */
export class MatchingFilesError extends CdktrError {}

/** How files are found. */
export interface MatchOptions {
  /** Whether `*` and `**` stand for names that begin with a dot, too. */
  readonly hidden?: boolean;
  /** Whether a glob may name nothing. */
  readonly mayBeNone?: boolean;
  /**
   * Whether nothing outside the directory is accessed to find out that a link leads out of it: it may be on a file system that does not
   * answer.
   */
  readonly stays?: boolean;
  /** Called before a path is accessed that may be on another file system. */
  readonly touching?: (path: string) => void;
}

/**
 * Finds the files. A glob that names a directory stands for everything in it. Links are followed, as long as they stay in the directory.
 * @param globs with `/`, relative to the directory
 * @throws MatchingFilesError
 */
export function matchingFiles(
  directory: string,
  globs: readonly string[],
  options: MatchOptions = {},
): MatchingFiles {
  const search = new Search(directory, options);
  for (const glob of globs) {
    const before = search.matches;
    search.look(
      "",
      glob.split("/").filter((part) => part !== "" && part !== "."),
      [],
    );
    if (search.matches === before && options.mayBeNone !== true)
      throw new MatchingFilesError(`no file matches ${JSON.stringify(glob)}`);
  }
  return search.found();
}

class Search {
  /** Number of files that were named, each as often as it was. */
  matches = 0;
  readonly #root: string;
  /** The directory as it was named: links may lead there by that name. */
  readonly #given: string;
  readonly #options: MatchOptions;
  readonly #files = new Map<string, { readonly from: string; readonly info: BigIntStats }>();
  readonly #globs = new Map<string, Bun.Glob>();
  #bytes = 0;

  constructor(directory: string, options: MatchOptions) {
    options.touching?.(directory);
    this.#root = realpathSync(directory);
    this.#given = resolve(directory);
    this.#options = options;
  }

  found(): MatchingFiles {
    const hasher = new Bun.CryptoHasher("sha256");
    const files = [...this.#files].sort(([a], [b]) => (a < b ? -1 : 1));
    for (const [path, { info }] of files) {
      const { dev, ino, size, mode, mtimeNs, ctimeNs } = info;
      hasher.update(`${path}\0${dev} ${ino} ${size} ${mode} ${mtimeNs} ${ctimeNs}\0`);
    }
    return {
      sources: files.map(([path, { from }]) => ({ path, from })),
      bytes: this.#bytes,
      signature: hasher.digest("hex"),
    };
  }

  /**
   * @param at a directory, relative to the root; `""` is the root
   * @param parts what is left of the glob
   * @param above the real paths of the directories that lead here
   */
  look(at: string, parts: readonly string[], above: readonly string[]): void {
    const [part = "**", ...rest] = parts;
    if (above.length > MAX_DEPTH) throw new MatchingFilesError(`"${at}" is too deep`);
    if (part === "**") {
      if (rest.length > 0) this.look(at, rest, above);
      for (const name of this.#names(at)) {
        if (!this.#isShown(name)) continue;
        const path = at === "" ? name : `${at}/${name}`;
        this.#visit(path, above, rest.length === 0, ["**", ...rest]);
      }
      return;
    }
    const names = /[*?[\]{}\\!]/.test(part)
      ? this.#names(at).filter(
          (name) => (this.#isShown(name) || part.startsWith(".")) && this.#fits(part, name),
        )
      : [part];
    for (const name of names) this.#visit(at === "" ? name : `${at}/${name}`, above, rest.length === 0, rest);
  }

  /**
   * @param counts whether it is named if it is a file
   * @param inside what is named in it if it is a directory
   */
  #visit(path: string, above: readonly string[], counts: boolean, inside: readonly string[]): void {
    const { touching } = this.#options;
    const absolute = join(this.#root, path);
    if (path.includes(UNDECODED))
      throw new MatchingFilesError(`the name of ${JSON.stringify(path)} is not UTF-8`);
    touching?.(absolute);
    const own = lstatSync(absolute, { bigint: true, throwIfNoEntry: false });
    if (own === undefined) return;
    let [from, info] = [absolute, own];
    if (own.isSymbolicLink()) {
      const target = this.#followed(path, absolute);
      if (!isBelow(target, this.#root)) {
        if (!counts) return;
        throw new MatchingFilesError(`"${path}" is a link that leads out of the directory`);
      }
      [from, info] = [target, statSync(target, { bigint: true })];
    }
    if (info.isDirectory()) {
      const real = own.isSymbolicLink() ? from : realpathSync(absolute);
      if (!above.includes(real)) this.look(path, inside, [...above, real]);
    } else if (counts) this.#add(path, from, info);
  }

  /** Where a link leads; outside the directory, this may be on the way there. */
  #followed(path: string, absolute: string): string {
    try {
      return this.#options.stays === true ? this.#insideOf(absolute) : realpathSync(absolute);
    } catch {
      throw new MatchingFilesError(`"${path}" is a link that leads nowhere`);
    }
  }

  /** Follows a link as long as it stays in the directory, or above it. @throws an error of the system */
  #insideOf(link: string): string {
    // What leads here was followed before.
    let at = realpathSync(dirname(link));
    const left = [basename(link)];
    let links = 0;
    for (let part = left.shift(); part !== undefined; part = left.shift()) {
      const next = part === ".." ? dirname(at) : join(at, part);
      const isNear = [this.#root, this.#given].some((root) => isBelow(next, root) || isBelow(root, next));
      if (!isNear) return next;
      if (!lstatSync(next).isSymbolicLink()) {
        at = next;
        continue;
      }
      if (++links > MAX_LINKS) throw new Error("too many links");
      const target = readlinkSync(next);
      if (target.startsWith("/")) at = "/";
      left.unshift(...target.split("/").filter((each) => each !== "" && each !== "."));
    }
    return at;
  }

  #add(path: string, from: string, info: BigIntStats): void {
    this.matches++;
    if (this.#files.has(path)) return;
    if (!info.isFile()) throw new MatchingFilesError(`"${path}" is ${kindOf(info)}, not a file`);
    if (Buffer.byteLength(path) > MAX_PATH_BYTES)
      throw new MatchingFilesError(`the path "${path.slice(0, 60)}…" is longer than ${MAX_PATH_BYTES} bytes`);
    this.#files.set(path, { from, info });
    this.#bytes += Number(info.size);
    if (this.#files.size > MAX_FILES) throw new MatchingFilesError(`there are more than ${MAX_FILES} files`);
  }

  #names(at: string): string[] {
    const absolute = join(this.#root, at);
    this.#options.touching?.(absolute);
    return readdirSync(absolute);
  }

  #isShown(name: string): boolean {
    return this.#options.hidden === true || !name.startsWith(".");
  }

  #fits(part: string, name: string): boolean {
    let glob = this.#globs.get(part);
    glob ??= new Bun.Glob(part);
    this.#globs.set(part, glob);
    return glob.match(name);
  }
}

function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(root === "/" ? "/" : `${root}/`);
}

function kindOf(info: BigIntStats): string {
  if (info.isFIFO()) return "a pipe";
  if (info.isSocket()) return "a socket";
  return "a device";
}
