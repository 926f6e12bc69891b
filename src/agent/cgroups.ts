/**
 * The control groups (cgroup v2) in which tasks with limits run, if this agent has a group of its own: its service manager must have handed
 * it over (`Delegate=yes`), because otherwise that manages the group itself. Nothing is touched before the first task with limits.
 *
 *     the agent's group ──▶ agent               this process, and those beside it: a group with controllers for others has no processes
 *                      └──▶ t-INSTANCE-ATTEMPT   a task
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { extendedAttribute } from "./libc.ts";

const CONTROLLERS = ["memory", "cpu", "pids"] as const;
/** What can be limited. */
export type Controller = (typeof CONTROLLERS)[number];

/** The name of the group of this process, and the beginning of those of tasks. */
const OWN = "agent";
const TASK = "t-";

/** Attributes by which systemd marks a group that it has handed over. */
const DELEGATED = ["user.delegate", "trusted.delegate"];

const NOT_OURS = "this agent has no cgroup of its own (Delegate=yes)";

/** Where to find out about groups; other places are for tests. */
interface Places {
  /** Where cgroup v2 is mounted. */
  readonly root: string;
  /** The content of `/proc/self/cgroup`. */
  readonly self: string;
  isDelegated(directory: string): boolean;
}

/** The groups of an agent. */
export class Cgroups {
  readonly #places: Places | undefined;
  #found: { readonly base: string; readonly controllers: ReadonlySet<Controller> } | string | undefined;
  /** Groups that something still lives in. */
  readonly #left = new Set<string>();

  constructor(places?: Places) {
    this.#places = places;
  }

  /** For a process that must not change its group: nothing can be limited with one. @param because why not */
  static none(because: string): Cgroups {
    const cgroups = new Cgroups();
    cgroups.#found = because;
    return cgroups;
  }

  /** Why this controller cannot be used; undefined if it can. */
  lack(controller: Controller): string | undefined {
    this.#found ??= this.#open();
    if (typeof this.#found === "string") return this.#found;
    return this.#found.controllers.has(controller)
      ? undefined
      : `the cgroup of this agent lacks the controller ${controller}`;
  }

  /**
   * Makes the group of a task, with values for files such as `memory.max`.
   * @param optional files that older kernels lack
   * @throws an error of the system
   */
  make(
    name: string,
    files: Readonly<Record<string, string>>,
    optional: Readonly<Record<string, string>> = {},
  ): TaskGroup {
    this.#found ??= this.#open();
    if (typeof this.#found === "string") throw new Error(this.#found);
    for (const path of this.#left) this.#drop(path);
    const path = join(this.#found.base, `${TASK}${name}`);
    mkdirSync(path);
    try {
      for (const [file, value] of Object.entries(files)) writeFileSync(join(path, file), value);
    } catch (error) {
      this.#drop(path);
      throw error;
    }
    for (const [file, value] of Object.entries(optional)) {
      try {
        writeFileSync(join(path, file), value);
      } catch {
        // The limit holds without it.
      }
    }
    return new TaskGroup(path, () => this.#drop(path));
  }

  /** Removes a group, now or when nothing lives in it any more. */
  #drop(path: string): void {
    try {
      rmdirSync(path);
      this.#left.delete(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") this.#left.delete(path);
      else this.#left.add(path);
    }
  }

  #open(): { readonly base: string; readonly controllers: ReadonlySet<Controller> } | string {
    try {
      return this.#enter();
    } catch (error) {
      log.warn(`The cgroup of this agent cannot be used for limits of tasks: ${errorMessage(error)}.`);
      return `the cgroup of this agent cannot be used: ${errorMessage(error)}`;
    }
  }

  #enter(): { readonly base: string; readonly controllers: ReadonlySet<Controller> } | string {
    const {
      root = "/sys/fs/cgroup",
      self = readFileSync("/proc/self/cgroup", "utf8"),
      isDelegated = isHandedOver,
    } = this.#places ?? {};
    const path = /^0::(.*)$/m.exec(self)?.[1];
    const own = join(root, path ?? "");
    if (
      path === undefined ||
      statSync(join(own, "cgroup.controllers"), { throwIfNoEntry: false }) === undefined
    )
      return "this host has no cgroup v2";
    // A process before this one may have moved, or the service manager has started this one there.
    const base = basename(own) === OWN && isDelegated(dirname(own)) ? dirname(own) : own;
    if (!isDelegated(base)) return NOT_OURS;
    mkdirSync(join(base, OWN), { recursive: true });
    for (const pid of linesOf(join(base, "cgroup.procs"))) moveTo(join(base, OWN), pid);
    const there = new Set(readFileSync(join(base, "cgroup.controllers"), "utf8").trim().split(" "));
    const controllers = new Set<Controller>();
    for (const controller of CONTROLLERS) {
      if (!there.has(controller)) continue;
      writeFileSync(join(base, "cgroup.subtree_control"), `+${controller}`);
      controllers.add(controller);
    }
    // What an agent left that was killed.
    for (const name of readdirSync(base)) if (name.startsWith(TASK)) this.#drop(join(base, name));
    return { base, controllers };
  }
}

/** The group of a try of a task. */
export class TaskGroup {
  readonly path: string;
  readonly #drop: () => void;

  constructor(path: string, drop: () => void) {
    this.path = path;
    this.#drop = drop;
  }

  /** Whether the system has ended something in it because of its limit of memory. */
  get isOutOfMemory(): boolean {
    return Number(/^oom_kill (\d+)$/m.exec(this.#read("memory.events"))?.[1] ?? 0) > 0;
  }

  /** The most memory that it had at once, KiB; null if the kernel does not say. */
  get peakKb(): number | null {
    const bytes = Number.parseInt(this.#read("memory.peak"), 10);
    return Number.isNaN(bytes) ? null : Math.round(bytes / 1024);
  }

  /** The try is over. @param endsRest whether what still lives in it is killed */
  close(endsRest: boolean): void {
    try {
      if (endsRest && linesOf(join(this.path, "cgroup.procs")).length > 0)
        writeFileSync(join(this.path, "cgroup.kill"), "1");
    } catch {
      // An older kernel; the task's processes were looked for by other means.
    }
    this.#drop();
  }

  #read(file: string): string {
    try {
      return readFileSync(join(this.path, file), "utf8");
    } catch {
      return "";
    }
  }
}

/** Moves a process into a group. It may have ended. */
export function moveTo(group: string, pid: string): void {
  try {
    writeFileSync(join(group, "cgroup.procs"), pid);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function linesOf(file: string): string[] {
  return readFileSync(file, "utf8").split("\n").filter(Boolean);
}

/** Whether the service manager has handed a group over to this user. */
function isHandedOver(directory: string): boolean {
  const uid = process.getuid?.() ?? 0;
  if (uid !== 0) return statSync(directory).uid === uid;
  return DELEGATED.some((name) => extendedAttribute(directory, name) === "1");
}
