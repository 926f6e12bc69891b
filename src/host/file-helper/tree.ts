/** Lists the files of a directory tree, and reports the directories and links that must be watched for changes. */
import {
  type BigIntStats,
  type Dirent,
  lstatSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  statSync,
} from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { errorMessage } from "../../errors.ts";
import { whyUnreadable } from "../unreadable.ts";

/** The content of a directory tree. */
export interface TreeListing {
  /** Relative path of each file with one of the endings, and a fingerprint that changes when the file does; its last word is the time of the last change, ns. Sorted by path. */
  readonly files: ReadonlyMap<string, string>;
  /** Directories and files that could not be read, with the reason. */
  readonly unreadable: ReadonlyMap<string, string>;
  /** The file system of each directory that was read, by relative path; `""` is the root. */
  readonly devices: ReadonlyMap<string, string>;
}

/** Options of {@link listTree}. */
export interface TreeOptions {
  /** A file counts if its name ends with one of these. */
  readonly endings: readonly string[];
  /** Further endings of files that count. Files that look similar are nobody's business. */
  readonly others?: readonly string[];
  /** Relative paths not to touch, with the reason; they are listed as unreadable. */
  readonly skip?: ReadonlyMap<string, string>;
  /** Called before accessing a path that could be on another file system. */
  readonly touching?: (path: string) => void;
  /** Called before a directory is read. */
  readonly directory?: (absolute: string) => void;
  /** Called before a link is followed, with the directory that contains it and its name. */
  readonly link?: (directory: string, name: string) => void;
}

const MOST_LINKS = 40;
/** Stands for bytes of a name that are not UTF-8. */
const UNDECODED = "\ufffd";

/** Why there is nothing at the path of an entry that is still there; undefined when it is gone. */
function reasonOfAbsence(entry: Dirent, absolute: string): string | undefined {
  if (entry.name.includes(UNDECODED)) return "its name is not UTF-8";
  return lstatSync(absolute, { throwIfNoEntry: false })?.isSymbolicLink() === true
    ? "it is a broken link"
    : undefined;
}

/**
 * Lists the files under `root`, following links and ignoring hidden names.
 * @throws the error of reading `root` itself
 */
export function listTree(root: string, options: TreeOptions): TreeListing {
  const { endings, others = [], skip, touching, directory: entering } = options;
  const files = new Map<string, string>();
  const unreadable = new Map<string, string>();
  const devices = new Map<string, string>();
  const looksRight = (name: string) => endings.some((ending) => name.endsWith(ending));
  const counts = (name: string) => looksRight(name) || others.some((ending) => name.endsWith(ending));

  const visitEntry = (directory: string, entry: Dirent) => {
    const { name } = entry;
    if (name.startsWith(".")) return;
    const path = directory === "" ? name : `${directory}/${name}`;
    const reason = skip?.get(path);
    if (reason !== undefined) {
      unreadable.set(path, reason);
      return;
    }
    if (entry.isFile() && !counts(name)) {
      if (looksRight(name.toLowerCase()))
        unreadable.set(path, `its name must end in ${endings.join(" or ")}`);
      return;
    }
    if (!entry.isFile()) touching?.(path);
    if (entry.isSymbolicLink() && options.link !== undefined) followLinks(join(root, path), options.link);
    let info: BigIntStats;
    let real: string;
    try {
      info = statSync(join(root, path), { bigint: true });
      if (!info.isDirectory()) {
        if (counts(name))
          files.set(path, `${info.dev} ${info.ino} ${info.size} ${info.mtimeNs} ${info.ctimeNs}`);
        return;
      }
      real = realpathSync(join(root, path));
    } catch (error) {
      if (isMissing(error)) {
        // Otherwise it was deleted since it was listed.
        const why = reasonOfAbsence(entry, join(root, path));
        if (why !== undefined && (counts(name) || name.includes(UNDECODED))) unreadable.set(path, why);
        return;
      }
      // It may be a directory, so it must not count as missing.
      if (counts(name)) files.set(path, errorMessage(error));
      else unreadable.set(path, whyUnreadable(error));
      return;
    }
    if (seen.has(real)) return;
    seen.add(real);
    try {
      visit(path, info);
    } catch (error) {
      if (!isMissing(error)) unreadable.set(path, whyUnreadable(error));
    }
  };
  const visit = (directory: string, info: BigIntStats) => {
    const absolute = join(root, directory);
    entering?.(absolute);
    devices.set(directory, String(info.dev));
    touching?.(directory);
    const entries = readdirSync(absolute, { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) visitEntry(directory, entry);
  };

  touching?.("");
  const reason = skip?.get("");
  if (reason !== undefined) throw new Error(reason);
  if (options.link !== undefined) followLinks(resolve(root), options.link);
  const seen = new Set<string>([realpathSync(root)]);
  visit("", statSync(root, { bigint: true }));
  return { files: new Map([...files].sort(([a], [b]) => (a < b ? -1 : 1))), unreadable, devices };
}

/** Reports every link on the way to `path`, and finally the place of the file itself. Never throws. */
export function followLinks(path: string, found: (directory: string, name: string) => void): void {
  let parts = path.split("/").filter((part) => part !== "");
  let at = "/";
  for (let links = 0; parts.length > 0 && links < MOST_LINKS; ) {
    const [name = "", ...rest] = parts;
    let target: string | undefined;
    try {
      target = readlinkSync(join(at, name));
    } catch {
      // Not a link.
    }
    if (target !== undefined || rest.length === 0) found(at, name);
    if (target === undefined) {
      at = name === ".." ? dirname(at) : join(at, name);
      parts = rest;
      continue;
    }
    links++;
    if (isAbsolute(target)) at = "/";
    parts = [...target.split("/").filter((part) => part !== "" && part !== "."), ...rest];
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
