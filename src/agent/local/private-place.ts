/**
 * The private directory of a process that runs workflows without a principal, below the one for temporary files. Who holds the lock in it
 * lives. When the process ends, also by kill -9, the directory goes, and with it what its tasks have left running: by the process itself, by
 * a shell that waits for its end, or by the next process of this user that runs a workflow so.
 *
 *     cdktr-run-XXXXXX/lock        held by the process
 *                     /stream      the id that marks the processes of its tasks
 *                     /processes   those that it has started, a line of JSON each
 */
import {
  appendFileSync,
  closeSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { errorMessage, UnprocessableError } from "../../errors.ts";
import { log } from "../../log.ts";
import { inheritedEnvironment } from "../environment.ts";
import { lockFile } from "../libc.ts";
import { endLegacies } from "../orphans.ts";
import type { ProcessRecord } from "../outbox.ts";
import { DEFAULT_GRACE_MS } from "../process-group.ts";
import { removeFiles } from "../remove-files.ts";
import { removeFormer } from "../user-places.ts";

const PREFIX = "cdktr-run-";
/** A directory has this name until it is locked. */
const NEW = ".cdktr-run-new-";
/** A directory that has been new for longer belongs to nobody, ms. */
const NEW_MS = 3_600_000;
const LOCK = "lock";
const STREAM = "stream";
const PROCESSES = "processes";

/** What to do when the process ends without a word: become the program that ends what it has left. */
const WATCH = 'read -r word || exec "$@"';

/** A private directory that this process holds. */
export class PrivatePlace {
  readonly path: string;
  /** Marks the processes of its tasks. */
  readonly streamId = crypto.randomUUID();
  readonly #lock: number;
  #watch: Bun.Subprocess<"pipe", "ignore", "ignore"> | undefined;

  /**
   * Makes one.
   * @param cleaner the command that cleans up a place, which is its last argument, with {@link endAbandonedAt}; null for none
   * @throws UnprocessableError when the directory for temporary files cannot be written
   */
  constructor(cleaner: readonly string[] | null, parent = tmpdir()) {
    try {
      const fresh = mkdtempSync(join(parent, NEW));
      this.#lock = openSync(join(fresh, LOCK), "wx", 0o600);
      lockFile(this.#lock);
      writeFileSync(join(fresh, STREAM), this.streamId, { mode: 0o600 });
      writeFileSync(join(fresh, PROCESSES), "", { mode: 0o600 });
      this.path = join(parent, `${PREFIX}${basename(fresh).slice(NEW.length)}`);
      renameSync(fresh, this.path);
    } catch (error) {
      throw new UnprocessableError(
        `No private directory for the run can be made in ${parent}: ${errorMessage(error)}.`,
        { cause: error, hint: "Set TMPDIR to a directory that can be written and has room." },
      );
    }
    if (cleaner !== null) this.#watch = watch([...cleaner, this.path]);
  }

  /** Remembers a process for whoever ends what is left. */
  remember(record: ProcessRecord): void {
    try {
      appendFileSync(join(this.path, PROCESSES), `${JSON.stringify(record)}\n`);
    } catch (error) {
      // It is found by its mark.
      log.debug(`A process could not be remembered: ${errorMessage(error)}`);
    }
  }

  /** Leaves it to whoever cleans up, as when this process ends without a word. */
  abandon(): void {
    closeSync(this.#lock);
  }

  /** Removes it. Call when nothing runs any more. */
  async close(): Promise<void> {
    await removePlace(this.path);
    closeSync(this.#lock);
    try {
      await this.#watch?.stdin.write("over\n");
      await this.#watch?.stdin.end();
    } catch {
      // Somebody has ended it.
    }
    this.#watch = undefined;
  }
}

/** Starts the shell that waits for the end of this process. Without one, the next run cleans up. */
function watch(cleaner: readonly string[]): Bun.Subprocess<"pipe", "ignore", "ignore"> | undefined {
  try {
    const child = Bun.spawn(["/bin/sh", "-c", WATCH, "cdktr", ...cleaner], {
      cwd: "/",
      // Not that of the task that this process may be in.
      env: inheritedEnvironment(process.env),
      stdin: "pipe",
      stdout: "ignore",
      stderr: "ignore",
      // Whoever ends all processes of a terminal or a group does not end it.
      detached: true,
    });
    child.unref();
    return child;
  } catch (error) {
    log.debug(`Nobody watches over this run: ${errorMessage(error)}`);
    return undefined;
  }
}

/** Ends what processes have left that ran workflows and were killed. */
export async function endAbandoned(parent = tmpdir()): Promise<void> {
  for (const name of namesIn(parent)) {
    const path = join(parent, name);
    if (name.startsWith(PREFIX)) await endAbandonedAt(path);
    else if (name.startsWith(NEW) && isOwn(path, Date.now() - NEW_MS)) await removePlace(path);
  }
}

/** Ends what is left at one place. @param waits whether it waits for the end of the process that has it, or leaves it alone */
export async function endAbandonedAt(path: string, waits = false): Promise<void> {
  if (!basename(path).startsWith(PREFIX) || !isOwn(path)) return;
  let lock: number;
  try {
    lock = openSync(join(path, LOCK), "r");
  } catch {
    await removePlace(path);
    return;
  }
  try {
    // A process that dies lets go of one file after the other.
    if (!lockFile(lock, waits) || !isOwn(path)) return;
    const streamId = readFileSync(join(path, STREAM), "utf8");
    const processes = readFileSync(join(path, PROCESSES), "utf8").split("\n").flatMap(recordOf);
    await endLegacies([{ streamId, processes }], DEFAULT_GRACE_MS, "A process");
    await removeFormer(path);
    await removePlace(path);
  } catch (error) {
    log.warn(`${path}, which a run has left, cannot be cleaned up: ${errorMessage(error)}.`);
  } finally {
    closeSync(lock);
  }
}

/** The last line may be half. */
function recordOf(line: string): ProcessRecord[] {
  try {
    return [JSON.parse(line)];
  } catch {
    return [];
  }
}

/** Whether it is a directory of this user. @param beforeMs and was last changed before this time */
function isOwn(path: string, beforeMs = Number.POSITIVE_INFINITY): boolean {
  const found = lstatSync(path, { throwIfNoEntry: false });
  return found?.isDirectory() === true && found.uid === process.getuid?.() && found.mtimeMs < beforeMs;
}

/** Removes the lock last: without it, this has begun and may be taken up by anybody. */
async function removePlace(path: string): Promise<void> {
  for (const name of namesIn(path)) if (name !== LOCK) await removeFiles(join(path, name));
  await rm(path, { recursive: true, force: true });
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
