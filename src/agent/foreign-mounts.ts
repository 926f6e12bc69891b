/**
 * Finds out which paths are on a mount that may stop responding, without touching that mount. A file system on another machine, or one
 * implemented by a program (NFS, SMB, FUSE, …), blocks every process that accesses it while its server is down. The agent has only one
 * thread, so it leaves such paths to the process of the task, see task-starter.ts.
 */

import { closeSync, lstatSync, openSync, readFileSync, readlinkSync, readSync, realpathSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { kindOf } from "./executors/paths.ts";

/** File systems that the kernel serves from this machine; any other may hang. */
const LOCAL: ReadonlySet<string> = new Set(
  (
    "bcachefs bpf btrfs cgroup cgroup2 configfs cramfs debugfs devpts devtmpfs efivarfs erofs exfat ext2 ext3 ext4 f2fs fusectl " +
    "hugetlbfs iso9660 jfs mqueue nilfs2 nsfs ntfs3 overlay proc pstore ramfs reiserfs rootfs securityfs selinuxfs squashfs sysfs " +
    "tmpfs tracefs udf vfat xfs zfs"
  ).split(" "),
);

/** How long the table of mounts is cached, ms. */
const FRESH_MS = 200;
/** Maximum number of symbolic links in one path, as in the kernel. */
const MOST_LINKS = 40;

/** The mounts of this host that may hang. */
export class ForeignMounts {
  readonly #trusted: readonly string[];
  readonly #read: () => string;
  #points: ReadonlySet<string> = new Set();
  #readMs = Number.NEGATIVE_INFINITY;

  /**
   * @param trusted paths without which the agent cannot work, such as its data directory: their mounts do not count as foreign
   * @param read returns the contents of `/proc/self/mountinfo`
   */
  constructor(trusted: readonly string[], read = () => readFileSync("/proc/self/mountinfo", "utf8")) {
    this.#trusted = trusted.map(real);
    this.#read = read;
  }

  /**
   * The foreign mount that starting a program would touch.
   * @param paths files and directories, relative to `cwd`; a name without a slash is looked up in `searchPath`
   * @returns its mount point, or undefined
   */
  among(paths: readonly string[], cwd: string, searchPath: string): string | undefined {
    const points = this.#pointsNow();
    if (points.size === 0) return undefined;
    for (const path of paths) {
      const places = path.includes("/")
        ? [path]
        : searchPath.split(delimiter).map((directory) => join(directory, path));
      for (const place of places) {
        const file = resolve(cwd, place);
        const mount = mountOn(file, points);
        if (mount !== undefined) return mount;
        if (kindOf(file) !== "file") continue;
        const interpreter = interpreterOf(file);
        const itsMount = interpreter === undefined ? undefined : mountOn(resolve(cwd, interpreter), points);
        if (itsMount !== undefined) return itsMount;
        break;
      }
    }
    return undefined;
  }

  #pointsNow(): ReadonlySet<string> {
    const now = performance.now();
    if (now - this.#readMs < FRESH_MS) return this.#points;
    this.#readMs = now;
    try {
      this.#points = this.#foreign(this.#read());
    } catch {
      // Without /proc nothing is known: every path counts as local.
    }
    return this.#points;
  }

  #foreign(mountinfo: string): Set<string> {
    const types = new Map<string, string>();
    for (const line of mountinfo.split("\n")) {
      const [mount, type] = line.split(" - ");
      const point = mount?.split(" ")[4];
      // A later mount covers an earlier one.
      if (point !== undefined && type !== undefined) types.set(decodeOctal(point), type.split(" ")[0] ?? "");
    }
    const points = new Set<string>();
    for (const [point, type] of types) {
      const isTrusted = this.#trusted.some((path) => path === point || path.startsWith(withSlash(point)));
      if (!LOCAL.has(type) && !isTrusted) points.add(point);
    }
    return points;
  }
}

/** The first of the mounts that the kernel would enter while resolving a path, symbolic links included. */
function mountOn(path: string, points: ReadonlySet<string>): string | undefined {
  let rest = path.split("/").reverse();
  let at = "/";
  let links = 0;
  for (;;) {
    const name = rest.pop();
    if (name === undefined) return undefined;
    if (name === "" || name === ".") continue;
    if (name === "..") {
      at = dirname(at);
      continue;
    }
    const next = join(at, name);
    // Checked before the path is touched, which alone would block.
    if (points.has(next)) return next;
    let target: string | undefined;
    try {
      if (lstatSync(next).isSymbolicLink()) target = readlinkSync(next);
    } catch {
      // The kernel would stop here too.
      return undefined;
    }
    if (target === undefined) {
      at = next;
      continue;
    }
    if (++links > MOST_LINKS) return undefined;
    if (target.startsWith("/")) at = "/";
    rest = [...rest, ...target.split("/").reverse()];
  }
}

/** The interpreter named in the first line of a script; undefined for anything else. Call it for regular files only. */
export function interpreterOf(file: string): string | undefined {
  try {
    const fd = openSync(file, "r");
    try {
      const start = Buffer.alloc(256);
      const length = readSync(fd, start);
      return /^#! *([^ \t\n]+)/.exec(start.toString("latin1", 0, length))?.[1];
    } finally {
      closeSync(fd);
    }
  } catch {
    return undefined;
  }
}

/** `/proc` writes a space in a path as `\040`. */
function decodeOctal(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function withSlash(path: string): string {
  return path.endsWith("/") ? path : `${path}/`;
}

function real(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return resolve(path);
  }
}
