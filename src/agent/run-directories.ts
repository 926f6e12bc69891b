/**
 * The directories that runs have for themselves on this agent (`CDKTR_RUN_DIRECTORY`). One is made when the first task starts there, and
 * removed when the run is over; that of a run that failed is kept for a day, as far as there is room. It is new for each attempt of a run
 * that this agent executes as a whole; slices of a run share one. After a restart of the agent nothing is left but what was kept.
 */
import { chmodSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { lstat, opendir, readFile, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { RunAssignment } from "../contract/messages.ts";
import { errorMessage, InvalidInputError } from "../errors.ts";
import { log } from "../log.ts";
import { Timer } from "../timer.ts";
import type { RunStatus } from "../workflow/status.ts";
import { removeFiles } from "./remove-files.ts";
import { cannotWrite } from "./task-files.ts";

/** Name of the directory in an agent's data directory. */
const DIRECTORY = "runs";

/** Beside a directory that is kept; its time is that of the end of the run, its content the size of the directory. */
const KEPT = ".kept";
/** Begins the names of directories that are being removed. */
const DOOMED = ".removed-";

/** For how long, how many and how much is kept of runs that failed. */
const KEEP = { ms: 86_400_000, runs: 20, bytes: 1024 * 1024 * 1024, entries: 50_000 } as const;

/** Ids of runs are such. Anything else must not become part of a path. */
const RUN_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

/** Puts something into a directory. */
type Fill = (path: string, signal: AbortSignal) => Promise<void>;

/** What is being put into a directory. */
interface Filling {
  readonly done: Promise<void>;
  isDone: boolean;
  /** Number of those who wait for it; when nobody does any more, it stops. */
  users: number;
  readonly stop: AbortController;
}

/** What {@link RunDirectory} needs of all of them. */
interface All {
  make(): void;
  fill(work: Fill, signal: AbortSignal): Promise<void>;
  release(end: RunStatus | null): void;
}

/** What is kept of a run that failed. */
interface Kept {
  readonly name: string;
  readonly sinceMs: number;
  readonly bytes: number;
}

/** The directories of all runs of an agent. */
export class RunDirectories {
  readonly #directory: string;
  readonly #clock: Clock;
  /** Names of those that were made, with the number of attempts that use each now. */
  readonly #made = new Map<string, number>();
  /** Ids of runs whose slices share one. */
  readonly #shared = new Set<string>();
  /** What is being put into those that were made, or was. */
  readonly #filled = new Map<string, Filling>();
  readonly #expiry: Timer;
  #trimming: Promise<void> = Promise.resolve();

  /**
   * Removes what an earlier process of the agent left, except what was kept.
   * @param dataDirectory the agent's own, which no other process uses
   */
  constructor(dataDirectory: string, clock: Clock) {
    this.#directory = join(dataDirectory, DIRECTORY);
    this.#clock = clock;
    this.#expiry = new Timer(() => this.#trim(), clock);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    // A task may have taken the permissions away.
    chmodSync(this.#directory, 0o700);
    const names = new Set(readdirSync(this.#directory));
    for (const name of names) {
      const isMarker = name.endsWith(KEPT) && names.has(name.slice(0, -KEPT.length));
      if (!isMarker && !names.has(`${name}${KEPT}`)) this.#remove(name);
    }
    if (names.size > 0) this.#trim();
  }

  /**
   * The directory of an attempt. It is not made yet.
   * @throws InvalidInputError when the run has an id that no run has
   */
  of(assignment: Pick<RunAssignment, "workflow_instance_id" | "slice" | "attempt">): RunDirectory {
    const { workflow_instance_id: id, slice, attempt } = assignment;
    if (!RUN_ID.test(id)) throw new InvalidInputError(`${JSON.stringify(id)} is not the id of a run`);
    const isShared = slice > 0;
    const name = isShared ? id : `${id}-${attempt}`;
    return new RunDirectory(join(this.#directory, name), {
      make: () => {
        this.#make(name);
        if (isShared) this.#shared.add(id);
      },
      fill: (work, signal) => this.#fill(name, work, signal),
      release: (end) => {
        this.#made.set(name, (this.#made.get(name) ?? 1) - 1);
        // Another agent may have other slices of a run: only the principal knows when it is over.
        if (!isShared) this.#over(name, end === "FAILED");
      },
    });
  }

  /** Ids of the runs whose directories stay until {@link runOver}. */
  get shared(): readonly string[] {
    return [...this.#shared];
  }

  /** The principal says that a run is over. While parts of it are still here, nothing happens: it says so again. */
  runOver(id: string, hasFailed: boolean): void {
    if (!this.#shared.has(id) || (this.#made.get(id) ?? 0) > 0) return;
    this.#shared.delete(id);
    this.#over(id, hasFailed);
  }

  /** Resolves when the directories that are not kept any more are being removed. */
  get settled(): Promise<void> {
    return this.#trimming;
  }

  close(): void {
    this.#expiry.cancel();
  }

  #make(name: string): void {
    const users = this.#made.get(name);
    this.#made.set(name, (users ?? 0) + 1);
    if (users !== undefined) return;
    const path = join(this.#directory, name);
    try {
      try {
        mkdirSync(path, { mode: 0o700 });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
        // It would not be a fresh one.
        this.#remove(name);
        mkdirSync(path, { mode: 0o700 });
      }
    } catch (error) {
      this.#made.delete(name);
      throw cannotWrite(`The run's own directory ${path} cannot be made`, this.#directory, error);
    }
  }

  /** Puts something into a directory once, however many ask for it; again if that has failed. */
  async #fill(name: string, work: Fill, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    let filling = this.#filled.get(name);
    if (filling === undefined) {
      const stop = new AbortController();
      const fresh: Filling = {
        users: 0,
        isDone: false,
        stop,
        done: work(join(this.#directory, name), stop.signal),
      };
      fresh.done.then(
        () => {
          fresh.isDone = true;
        },
        () => {
          if (this.#filled.get(name) === fresh) this.#filled.delete(name);
        },
      );
      this.#filled.set(name, fresh);
      filling = fresh;
    }
    filling.users++;
    const aborted = Promise.withResolvers<never>();
    const onAbort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      await Promise.race([filling.done, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
      filling.users--;
      if (filling.users === 0 && !filling.isDone) {
        if (this.#filled.get(name) === filling) this.#filled.delete(name);
        filling.stop.abort();
      }
    }
  }

  #over(name: string, hasFailed: boolean): void {
    this.#made.delete(name);
    this.#filled.get(name)?.stop.abort();
    this.#filled.delete(name);
    if (!hasFailed) {
      this.#remove(name);
      return;
    }
    const path = join(this.#directory, name);
    try {
      writeFileSync(`${path}${KEPT}`, "", { mode: 0o600 });
      log.info(`The directory of a run that failed is kept for a day: ${path}.`);
    } catch (error) {
      log.warn(`${path}, the directory of a run that failed, cannot be kept: ${errorMessage(error)}.`);
      this.#remove(name);
      return;
    }
    this.#trim(name);
  }

  /** Begins to remove a directory; it is gone from its place at once. */
  #remove(name: string): void {
    const path = join(this.#directory, name);
    rmSync(`${path}${KEPT}`, { force: true });
    const doomed = name.startsWith(DOOMED) ? path : join(this.#directory, `${DOOMED}${crypto.randomUUID()}`);
    try {
      if (doomed !== path) renameSync(path, doomed);
      void removeFiles(doomed);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT")
        log.warn(`${path}, the directory of a run that is over, cannot be removed: ${errorMessage(error)}.`);
    }
  }

  /**
   * Removes what is kept for too long or is too much, oldest first.
   * @param fresh the one that has just been added
   */
  #trim(fresh?: string): void {
    this.#trimming = this.#trimming
      .then(() => this.#trimNow(fresh))
      .catch((error) =>
        log.warn(`Directories of runs that failed could not be looked at: ${errorMessage(error)}.`),
      );
  }

  async #trimNow(fresh?: string): Promise<void> {
    const now = this.#clock.now();
    const kept: Kept[] = [];
    for (const file of readdirSync(this.#directory)) {
      if (!file.endsWith(KEPT)) continue;
      const each = await this.#look(file.slice(0, -KEPT.length), fresh, now);
      if (each !== undefined) kept.push(each);
    }
    for (const name of this.#made.keys()) {
      // An agent has the run again since it was looked at: it has a fresh directory, which is not one that is kept.
      const at = kept.findIndex((each) => each.name === name);
      if (at === -1) continue;
      kept.splice(at, 1);
      rmSync(`${join(this.#directory, name)}${KEPT}`, { force: true });
    }
    kept.sort((a, b) => b.sinceMs - a.sinceMs);
    let [runs, bytes] = [0, 0];
    let oldest: number | undefined;
    for (const each of kept) {
      runs++;
      bytes += each.bytes;
      // A clock that was put back does not keep anything for ever.
      const isCurrent = Math.abs(now - each.sinceMs) < KEEP.ms;
      if (isCurrent && runs <= KEEP.runs && bytes <= KEEP.bytes) oldest = each.sinceMs;
      else {
        if (each.name === fresh) log.warn(`${each.name} is not kept after all: it holds too much.`);
        this.#remove(each.name);
      }
    }
    if (oldest === undefined) this.#expiry.cancel();
    else this.#expiry.in(Math.max(1000, oldest + KEEP.ms - now));
  }

  /** What is known of a kept directory; its size is measured once. Undefined if somebody has removed it. */
  async #look(name: string, fresh: string | undefined, now: number): Promise<Kept | undefined> {
    const path = join(this.#directory, name);
    const marker = `${path}${KEPT}`;
    let [sinceMs, known] = [now, Number.NaN];
    try {
      if (name === fresh) await utimes(marker, now / 1000, now / 1000);
      sinceMs = (await lstat(marker)).mtimeMs;
      known = Number.parseInt(await readFile(marker, "utf8"), 10);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
    if (Number.isSafeInteger(known)) return { name, sinceMs, bytes: known };
    const bytes = await sizeOf(path);
    // Without it, it is measured again.
    await writeFile(marker, String(bytes), { mode: 0o600 }).catch(() => {});
    await utimes(marker, sinceMs / 1000, sinceMs / 1000).catch(() => {});
    return { name, sinceMs, bytes };
  }
}

/** The directory of a run, for one of its attempts on this agent. */
export class RunDirectory {
  /** Whether or not it exists. */
  readonly path: string;
  readonly #all: All;
  #isUsed = false;

  constructor(path: string, all: All) {
    this.path = path;
    this.#all = all;
  }

  /**
   * Makes it, unless it was made already.
   * @returns its path
   * @throws CannotStartError when the disk cannot be written
   */
  make(): string {
    if (!this.#isUsed) {
      this.#all.make();
      this.#isUsed = true;
    }
    return this.path;
  }

  /**
   * Makes it, and puts something into it, once for all attempts that share it.
   * @throws CannotStartError when the disk cannot be written; whatever `work` throws; the reason of the signal
   */
  async fill(work: Fill, signal: AbortSignal): Promise<void> {
    this.make();
    await this.#all.fill(work, signal);
  }

  /** The attempt is over on this agent. @param end null if it continues elsewhere */
  release(end: RunStatus | null): void {
    if (!this.#isUsed) return;
    this.#isUsed = false;
    this.#all.release(end);
  }
}

/** The size of a directory on the disk, bytes; more than is kept if it holds too much to be looked at. */
async function sizeOf(directory: string): Promise<number> {
  let [bytes, entries] = [0, 0];
  const left = [directory];
  for (let path = left.pop(); path !== undefined; path = left.pop()) {
    try {
      for await (const entry of await opendir(path)) {
        const child = join(path, entry.name);
        if (entry.isDirectory()) left.push(child);
        bytes += ((await lstat(child)).blocks ?? 0) * 512;
        if (++entries > KEEP.entries || bytes > KEEP.bytes) return KEEP.bytes + 1;
      }
    } catch (error) {
      // What a task has closed to everyone, or is removing now.
      log.debug(`${path} cannot be measured: ${errorMessage(error)}`);
    }
  }
  return bytes;
}
