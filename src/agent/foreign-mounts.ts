/**
 * Finds out which paths are on a mount that may stop responding, without touching that mount. A file system on another machine, or one
 * implemented by a program (NFS, SMB, FUSE, …), blocks every process that accesses it while its server is down, and so does a disk that
 * hangs. task-paths.ts decides what to do about it.
 */

import { lstatSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { delimiter, dirname, join, resolve } from "node:path";
import { interpreterOf } from "../host/interpreter.ts";
import { kindOf } from "./executors/paths.ts";

/** File systems that are only in memory. */
const IN_MEMORY: ReadonlySet<string> = new Set(
  (
    "bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc pstore ramfs rootfs securityfs " +
    "selinuxfs sysfs tmpfs tracefs"
  ).split(" "),
);
/** File systems on disks of this machine, which only hang when the disk does. Any other may be remote. */
const ON_DISK: ReadonlySet<string> = new Set(
  "bcachefs btrfs cramfs erofs exfat ext2 ext3 ext4 f2fs iso9660 jfs nilfs2 ntfs3 overlay reiserfs squashfs udf vfat xfs zfs".split(
    " ",
  ),
);

/** How long the table of mounts is cached, ms. */
const FRESH_MS = 200;
/** Maximum number of symbolic links in one path, as in the kernel. */
const MOST_LINKS = 40;

/** A mount that may hang. */
export interface Mount {
  readonly point: string;
  readonly isRemote: boolean;
}

/** What starting a program touches. */
export interface Touched {
  /** Files and directories, relative to `cwd`; a name without a slash is looked up in `searchPath`. */
  readonly paths: readonly string[];
  readonly cwd: string;
  readonly searchPath: string;
}

/** The mounts of this host that may hang. */
export class ForeignMounts {
  readonly #trusted: readonly string[];
  readonly #read: () => string;
  #mounts: ReadonlyMap<string, Mount> = new Map();
  #readMs = Number.NEGATIVE_INFINITY;

  /**
   * @param trusted paths without which the agent cannot work, such as its data directory: their mounts do not count as foreign
   * @param read returns the contents of `/proc/self/mountinfo`
   */
  constructor(trusted: readonly string[], read = () => readFileSync("/proc/self/mountinfo", "utf8")) {
    this.#trusted = trusted.map(real);
    this.#read = read;
  }

  /** Whether there are any. */
  get areThere(): boolean {
    return this.#mountsNow().size > 0;
  }

  /**
   * The foreign mount that starting a program would touch; a remote one rather than a disk.
   * @param passesDisks whether the disks among them have just responded, so that paths may be followed through them
   */
  among(touched: Touched, passesDisks: boolean): Mount | undefined {
    const mounts = this.#mountsNow();
    if (mounts.size === 0) return undefined;
    let disk: Mount | undefined;
    for (const candidates of candidatesOf(touched)) {
      for (const file of candidates) {
        const mount = mountOn(file, mounts, passesDisks);
        if (mount?.isRemote) return mount;
        disk ??= mount;
        // What is on the disk is not known yet.
        if (mount !== undefined) break;
        if (kindOf(file) !== "file") continue;
        const interpreter = interpreterOf(file);
        const its =
          interpreter === undefined
            ? undefined
            : mountOn(resolve(touched.cwd, interpreter), mounts, passesDisks);
        if (its?.isRemote) return its;
        disk ??= its;
        break;
      }
    }
    return disk;
  }

  /** The files and directories to access in order to see whether the disks respond: of each list, up to the first file. */
  onDisks(touched: Touched): string[][] {
    const mounts = this.#mountsNow();
    return candidatesOf(touched).map((candidates) => {
      const remote = candidates.findIndex((file) => mountOn(file, mounts, false)?.isRemote);
      return remote < 0 ? candidates : candidates.slice(0, remote);
    });
  }

  #mountsNow(): ReadonlyMap<string, Mount> {
    const now = performance.now();
    if (now - this.#readMs < FRESH_MS) return this.#mounts;
    this.#readMs = now;
    try {
      this.#mounts = this.#foreign(this.#read());
    } catch {
      // Without /proc nothing is known: every path counts as local.
    }
    return this.#mounts;
  }

  #foreign(mountinfo: string): Map<string, Mount> {
    const all = new Map<string, { type: string; device: string }>();
    for (const line of mountinfo.split("\n")) {
      const [mount, type] = line.split(" - ");
      const [, , device = "", , point] = mount?.split(" ") ?? [];
      // A later mount covers an earlier one.
      if (point !== undefined && type !== undefined)
        all.set(decodeOctal(point), { type: type.split(" ")[0] ?? "", device });
    }
    const isTrusted = (point: string) =>
      this.#trusted.some((path) => path === point || path.startsWith(withSlash(point)));
    const trusted = new Set([...all].flatMap(([point, { device }]) => (isTrusted(point) ? [device] : [])));
    const mounts = new Map<string, Mount>();
    for (const [point, { type, device }] of all)
      if (!IN_MEMORY.has(type) && !trusted.has(device))
        mounts.set(point, { point, isRemote: !ON_DISK.has(type) });
    return mounts;
  }
}

/** For each path, the places where it is looked for. */
function candidatesOf({ paths, cwd, searchPath }: Touched): string[][] {
  return paths.map((path) =>
    path.includes("/")
      ? [resolve(cwd, path)]
      : searchPath.split(delimiter).map((directory) => resolve(cwd, join(directory, path))),
  );
}

/** The first of the mounts that the kernel would enter while resolving a path, symbolic links included. */
function mountOn(path: string, mounts: ReadonlyMap<string, Mount>, passesDisks: boolean): Mount | undefined {
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
    const mount = mounts.get(next);
    if (mount !== undefined && (mount.isRemote || !passesDisks)) return mount;
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
