/**
 * The files of a try of a task: what it publishes (`CDKTR_OUTPUT`), what the tasks that it depends on have published (`CDKTR_INPUTS`), and
 * what it is given, such as its script. They are in a private directory of the agent's data directory and are removed when the try has
 * ended. The next process of an agent that was killed removes what is left of them.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Outputs } from "../contract/outputs.ts";
import { errorMessage } from "../errors.ts";
import { itemFileName } from "../workflow/item-id.ts";
import { CannotStartError, type Script } from "./executors/index.ts";
import type { Account } from "./libc.ts";
import { MAX_OUTPUT_FILE_BYTES, OutputsError, parseOutputs } from "./parse-outputs.ts";
import { removeFiles } from "./remove-files.ts";
import { ArtifactsError } from "./run-blobs.ts";
import { NoRoomError } from "./spawn-error.ts";
import { handOver } from "./user-places.ts";

/** Name of the directory in an agent's data directory. */
const DIRECTORY = "tasks";

/** The most that `stdin` of a task may hold, bytes. */
const MAX_STDIN_BYTES = 1024 * 1024;

/** What a try may be given, in words. No id of a task begins with a dot, as the names of the other files do. */
const GIVEN = {
  script: "The script of the task",
  preload: "What is executed before the task",
  stdin: "stdin of the task",
  instructions: "How to start the task",
} as const;

export class TaskFiles {
  readonly #directory: string;

  /**
   * Makes the directory, and begins to remove what an earlier process of the agent left in it.
   * @param dataDirectory the agent's own, which no other process uses
   */
  constructor(dataDirectory: string) {
    this.#directory = join(dataDirectory, DIRECTORY);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    // A task may have taken the permissions away.
    chmodSync(this.#directory, 0o700);
    for (const name of readdirSync(this.#directory)) void removeFiles(join(this.#directory, name));
  }

  /** The files of a try. None of them exists yet. */
  of(taskInstanceId: string, attempt: number): TryFiles {
    return new TryFiles(join(this.#directory, `${taskInstanceId}-${attempt}`));
  }
}

/** What the tasks on which a task depends have published; without those that have published nothing. */
export interface Inputs {
  /** By task. */
  readonly tasks: ReadonlyMap<string, Outputs>;
  /** By fan-out, the items that have published something. */
  readonly items: ReadonlyMap<string, readonly { readonly key: string; readonly outputs: Outputs }[]>;
}

/** What all items of a fan-out have published goes into one file, too, unless that is larger than this, bytes. */
const MAX_AGGREGATE_BYTES = 256 * 1024;

/** Where the files of a try are. */
const pathsAt = (path: string) => ({
  output: `${path}.output`,
  inputs: `${path}.inputs`,
  artifacts: `${path}.artifacts`,
  /** The directory with what the try is given: its script, its stdin. It exists if there is anything. */
  given: `${path}.given`,
});

/** The files of one try of a task. */
export class TryFiles {
  #paths: ReturnType<typeof pathsAt>;
  /** What nobody but this process may read, or change. */
  readonly #privateDirectory: string;
  /** Of the task of another user. */
  #place: string | undefined;
  #owner: Account | undefined;
  #isHandedOver = false;
  #removePlace: (() => void) | undefined;
  /** The paths in it: a try that waits for its host to have room starts more than once. */
  readonly #given = new Map<keyof typeof GIVEN, string>();
  /** The directories that were made for it. */
  readonly #made = new Set<string>();
  /** The script, if it is elsewhere. */
  #amongFiles: string | undefined;
  #hasInputs = false;
  #hasWritten = false;
  #hasArtifacts = false;
  /** What is in the directory for artifacts belongs to somebody else now. */
  #isTaken = false;
  /** The task has ended, and did not make the file for its outputs. */
  #isSilent = false;

  constructor(path: string) {
    this.#paths = pathsAt(path);
    this.#privateDirectory = this.#paths.given;
  }

  /** Where the task writes its outputs. */
  get output(): string {
    return this.#paths.output;
  }

  /**
   * The directory with the outputs of the tasks on which it depends, `TASK.json` each, and `TASK/KEY.json` for the items of a fan-out; it
   * exists if there are any.
   */
  get inputs(): string {
    return this.#paths.inputs;
  }

  /** The directory for files that are kept with the run. */
  get artifacts(): string {
    return this.#paths.artifacts;
  }

  /** The directory in which the task of another user starts. */
  get work(): string {
    return join(this.#place ?? "", "work");
  }

  /**
   * All that the task is given, and that it makes, is in this directory, which becomes its user's. Before anything is written.
   * @param place exists
   * @param remove removes it
   */
  moveTo(place: string, owner: Account, remove: () => void): void {
    this.#removePlace = remove;
    this.#paths = pathsAt(join(place, "try"));
    this.#place = place;
    this.#owner = owner;
    mkdirSync(this.work, { mode: 0o700 });
  }

  /**
   * Everything is written: it becomes the user's. From then on this process writes nothing there, and follows nothing that is there. A try
   * that waits for its host to have room starts more than once.
   */
  handOver(): void {
    if (this.#place === undefined || this.#owner === undefined || this.#isHandedOver) return;
    this.#isHandedOver = true;
    handOver(this.#place, this.#owner);
  }

  /**
   * Writes the script of a task, which is never an argument: it may be long, and others may see arguments.
   * @param directory where the task starts by default
   * @returns its path; the name is that of the task, because interpreters print it
   * @throws CannotStartError when the disk cannot be written
   */
  writeScript(task: string, { text, ending, isAmongFiles }: Script, directory: string): string {
    if (isAmongFiles !== true) return this.#give("script", join(this.#paths.given, `${task}${ending}`), text);
    const path = join(directory, `.${task}-${basename(this.output, ".output")}${ending}`);
    this.#amongFiles = path;
    return this.#give("script", path, text);
  }

  /**
   * Writes what the runtime of a task executes before it.
   * @returns the path of the file
   * @throws CannotStartError when the disk cannot be written
   */
  writePreload(text: string): string {
    return this.#give("preload", join(this.#paths.given, ".preload.js"), text);
  }

  /**
   * Writes what the task reads from its standard input.
   * @returns the path of the file
   * @throws CannotStartError when the disk cannot be written, or it is too long
   */
  writeStdin(text: string): string {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_STDIN_BYTES)
      throw new CannotStartError(`stdin has ${bytes} bytes; a task gets at most ${MAX_STDIN_BYTES}.`, {
        hint: "Pass large data on as a file.",
      });
    return this.#give("stdin", join(this.#privateDirectory, ".stdin"), text);
  }

  /**
   * Writes the instructions for the process that becomes the task, see task-starter.ts.
   * @returns the path of the file
   * @throws CannotStartError when the disk cannot be written
   */
  writeInstructions(text: string): string {
    return this.#give("instructions", join(this.#privateDirectory, ".start.json"), text);
  }

  #give(what: keyof typeof GIVEN, path: string, text: string): string {
    const known = this.#given.get(what);
    if (known !== undefined) return known;
    try {
      const directory = dirname(path);
      if (path !== this.#amongFiles && !this.#made.has(directory)) {
        this.#made.add(directory);
        mkdirSync(directory, { recursive: true, mode: 0o700 });
      }
      writeFileSync(path, text, { mode: 0o600 });
      this.#given.set(what, path);
    } catch (error) {
      throw cannotWrite(`${GIVEN[what]} cannot be written to ${path}`, dirname(path), error);
    }
    return path;
  }

  /**
   * Writes the inputs.
   * @throws CannotStartError when the disk cannot be written
   */
  writeInputs({ tasks, items }: Inputs): void {
    // A try that waits for its host to have room starts more than once.
    if ((tasks.size === 0 && items.size === 0) || this.#hasWritten) return;
    this.#hasWritten = true;
    try {
      this.#makeInputs();
      for (const [task, outputs] of tasks) {
        const text = `${JSON.stringify(outputs)}\n`;
        if (items.has(task) && Buffer.byteLength(text) > MAX_AGGREGATE_BYTES) continue;
        writeFileSync(join(this.inputs, `${task}.json`), text, { mode: 0o600 });
      }
      for (const [task, published] of items) {
        const directory = join(this.inputs, task);
        mkdirSync(directory, { recursive: true, mode: 0o700 });
        for (const { key, outputs } of published) {
          const path = join(directory, `${itemFileName(key)}.json`);
          writeFileSync(path, `${JSON.stringify(outputs)}\n`, { mode: 0o600 });
        }
      }
    } catch (error) {
      throw cannotWrite(
        `The outputs of the tasks on which it depends cannot be written to ${this.inputs}`,
        dirname(this.inputs),
        error,
      );
    }
  }

  #makeInputs(): void {
    this.#hasInputs = true;
    mkdirSync(this.inputs, { recursive: true, mode: 0o700 });
  }

  /**
   * Makes the directory for what a task has left on which this one depends: `TASK`, and `TASK/KEY` for an item of a fan-out.
   * @throws CannotStartError when the disk cannot be written
   */
  makeInput(task: string, itemKey: string | null): string {
    const path = join(this.inputs, task, ...(itemKey === null ? [] : [itemFileName(itemKey)]));
    try {
      this.#makeInputs();
      mkdirSync(path, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw cannotWrite(`The directory ${path} cannot be made`, dirname(this.inputs), error);
    }
    return path;
  }

  /**
   * Makes the directory for artifacts, so that a script need not.
   * @throws CannotStartError when the disk cannot be written
   */
  makeArtifacts(): void {
    if (this.#hasArtifacts) return;
    this.#hasArtifacts = true;
    try {
      mkdirSync(this.artifacts, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw cannotWrite(`The directory ${this.artifacts} cannot be made`, dirname(this.artifacts), error);
    }
  }

  /**
   * The directory in which the task has left files: it belongs to whoever calls this. Null if it has left none.
   * @throws ArtifactsError when it is no directory
   */
  takeArtifacts(): string | null {
    if (this.#place !== undefined) return null;
    if (this.#hasArtifacts) {
      try {
        rmdirSync(this.artifacts);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === "ENOENT") return null;
        if (code === "ENOTDIR") throw new ArtifactsError("CDKTR_ARTIFACTS is not a directory");
        this.#isTaken = true;
        return this.artifacts;
      }
      this.#hasArtifacts = false;
      return null;
    }
    const found = lstatSync(this.artifacts, { throwIfNoEntry: false });
    if (found === undefined) return null;
    this.#hasArtifacts = true;
    if (!found.isDirectory()) throw new ArtifactsError("CDKTR_ARTIFACTS is not a directory");
    this.#isTaken = true;
    return this.artifacts;
  }

  /**
   * What the task has published; null if it did not.
   * @throws OutputsError when that cannot be read or is not what it should be
   */
  readOutputs(): Outputs | null {
    try {
      this.#isSilent = lstatSync(this.output, { throwIfNoEntry: false }) === undefined;
      return this.#isSilent ? null : parseOutputs(readBounded(this.output, this.#owner?.uid));
    } catch (error) {
      if (error instanceof OutputsError) throw error;
      throw new OutputsError(`the file cannot be read: ${errorMessage(error)}`);
    }
  }

  /**
   * Begins to remove the files. What is not removed when the agent ends is removed at its next start; no other try has files of these
   * names.
   */
  remove(): void {
    for (const directory of this.#made) void removeFiles(directory);
    if (this.#removePlace !== undefined) {
      this.#removePlace();
      return;
    }
    if (this.#hasInputs) void removeFiles(this.inputs);
    if (this.#amongFiles !== undefined) void removeFiles(this.#amongFiles);
    // A task that failed may have made it, too.
    if (!this.#isTaken && (this.#hasArtifacts || !this.#isSilent)) void removeFiles(this.artifacts);
    if (!this.#isSilent) void removeFiles(this.output);
  }
}

/**
 * Why something could not be written for a task.
 * @param what what cannot be done, in words
 * @param directory where, in the agent's data directory
 * @returns a NoRoomError if another try may help
 */
export function cannotWrite(what: string, directory: string, cause: unknown): CannotStartError {
  const because = (why: string, hint: string) => new CannotStartError(`${what}: ${why}.`, { cause, hint });
  switch (cause instanceof Error && "code" in cause ? cause.code : undefined) {
    case "ENOSPC":
      return because(
        "the disk is full",
        `Free some space, then trigger the run again: df -h ${directory} shows which disk it is, df -i ${directory} whether it has no room for another file.`,
      );
    case "EMFILE":
    case "ENFILE":
      return new NoRoomError(`${what}: too many files are open.`, {
        cause,
        hint: "Raise the limit of open files (ulimit -n), or lower CDKTR_AGENT_MAX_TASKS.",
      });
    case "EDQUOT":
      return because(
        "the disk quota of the agent's user is used up",
        `Free some space in ${directory} or raise the quota, then trigger the run again.`,
      );
    default:
      return because(
        errorMessage(cause),
        `The agent has to be able to write to ${directory}, in its data directory: check the permissions and the disk, then trigger the run again.`,
      );
  }
}

/** Reads a file that a task has written: it may be anything, and may grow meanwhile. */
function readBounded(path: string, owner: number | undefined): Uint8Array {
  // Neither a pipe without a writer nor a link may hold up the agent, or lead it elsewhere.
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile()) throw new OutputsError("the file is not a regular one");
    // A second name of a file that its user may not read.
    if (owner !== undefined && found.uid !== owner) throw new OutputsError("the file is not its user's own");
    const buffer = new Uint8Array(MAX_OUTPUT_FILE_BYTES + 1);
    let length = 0;
    for (;;) {
      const read = readSync(descriptor, buffer, length, buffer.length - length, null);
      length += read;
      if (read === 0 || length === buffer.length) break;
    }
    if (length > MAX_OUTPUT_FILE_BYTES)
      throw new OutputsError(`the file has more than ${MAX_OUTPUT_FILE_BYTES} bytes`);
    return buffer.subarray(0, length);
  } finally {
    closeSync(descriptor);
  }
}
