/** The process of a task and everything it starts: a session and a process group, ended as a whole. */

import { closeSync, constants, openSync } from "node:fs";
import type { Subprocess } from "bun";
import { withInheritedUmask } from "../host/private-data.ts";
import { BackOff, isDoneWithin, pause, Timer } from "../timer.ts";
import { formatDuration } from "../workflow/duration.ts";
import type { Background } from "../workflow/model.ts";
import { TASK_MARKER } from "./environment.ts";
import type { Command } from "./executors/executor.ts";
import { isForwarder } from "./forwarders.ts";
import { makePipe, type Pipe, withoutCoreDump } from "./libc.ts";
import { LineSplitter } from "./line-splitter.ts";
import { MemoryWatch } from "./memory-watch.ts";
import { withOpenFilesLimit } from "./open-files.ts";
import { PipeReader } from "./pipe-reader.ts";
import { readStat } from "./proc-files.ts";
import {
  describeProcesses,
  endProcesses,
  groupExists,
  groupMembers,
  killProcesses,
  processesMarked,
  signalAll,
  signalGroup,
  waitUntilGone,
} from "./process-group.ts";
import { explainSpawnError } from "./spawn-error.ts";
import { describeSurvivors, type Survivor, survivorOf } from "./survivors.ts";
import type { TaskLog } from "./task-log.ts";

/** How long processes left behind by a task may take to exit by themselves (`| tee` in a shell), ms. */
const SETTLE_MS = 500;

/**
 * A process that ends sooner causes no work while it runs, ms. Its output waits in the pipes. It is not recorded on disk: if the agent dies
 * in that time, its marker identifies it. How much memory it had stays unknown.
 */
const SHORT_MS = 10;
/** The same while so many others are that young: they take longer together, and the work would make all of them late. */
const CROWDED_SHORT_MS = 30;
const CROWD = 4;
/** Processes that are that young. */
let young = 0;

/** How long a process may take to die after SIGKILL before it counts as one that cannot be ended, ms. */
const DYING_MS = 3000;

/** How much of its last output a task may add to a log that has no room for it, bytes: two pipes, and what was read already. */
const SURPLUS_BYTES = 256 * 1024;

const MAX_ERROR_LINE = 300;

const ESC = 0x1b;

/** How a process ended. */
export interface ProcessEnd {
  /** Null when it was ended by a signal, or has not ended. */
  readonly exitCode: number | null;
  /** Name of the signal, such as `SIGKILL`. */
  readonly signal: string | null;
  /** User and system time of the process and of the children that it waited for, ms. */
  readonly cpuMs: number;
  /** Peak resident memory, KiB; null for processes that live only a few milliseconds. */
  readonly maxRssKb: number | null;
  /** Its last line on stderr that is not empty; it may be cut. */
  readonly lastError: string | null;
  /** Processes of the task that live on, because nothing could end them. */
  readonly survivors: readonly Survivor[];
}

/** Hides secrets in the output of a task. */
interface OutputMask {
  /** Masks one stream of output. */
  masker(): { push(chunk: Uint8Array): Uint8Array; end(): Uint8Array };
  mask(text: string): string;
}

/** Options of {@link TaskProcess}. */
export interface ProcessOptions {
  /** Time between TERM and KILL, ms. */
  readonly graceMs: number;
  /** What becomes of processes that are still there when the task's own process has ended. */
  readonly background: Background;
  /** The soft limit of open files; undefined for that of this process. */
  readonly openFiles: number | undefined;
  /** Hides secrets in its output; undefined if there are none. */
  readonly secrets?: OutputMask | undefined;
  /** The file that it reads from its standard input; undefined for nothing. */
  readonly stdin?: string | undefined;
  /** Called once unless the process ends very soon, with its start time as in proc-files.ts. */
  remember(pid: number, startTicks: number): void;
}

export class TaskProcess {
  readonly pid: number;
  /** Resolves when the process has ended, its group is empty and its output has been read. Never rejects. */
  readonly ended: Promise<ProcessEnd>;
  readonly #child: Subprocess;
  readonly #log: TaskLog;
  readonly #marker: string;
  readonly #background: Background;
  readonly #graceMs: number;
  readonly #secrets: OutputMask | undefined;
  /** What they have read is in the log once they have ended. */
  readonly #output: readonly PipeReader[];
  readonly #memory: MemoryWatch;
  /** When the process is killed after it was told to end; undefined if it was not told to. */
  #killAt: number | undefined;
  readonly #killing = new Timer(() => this.#kill());
  readonly #givingUp = new Timer(() => this.#givenUp.resolve());
  /** Resolved if the process does not die although it was killed. */
  readonly #givenUp = Promise.withResolvers<void>();
  #isKilled = false;
  /** Resolved when only the rest of the output is missing: from then on it does not wait for room in the log. */
  readonly #onlyOutput = Promise.withResolvers<void>();
  #isOnlyOutput = false;
  #surplusBytes = 0;
  #isCut = false;
  #lastError: string | null = null;
  /** Set until the process is not a short one any more. */
  readonly #settling: Timer;
  #isYoung = true;
  #gone = false;

  /**
   * Starts a command. Its output goes to `log`: stdout as INFO, stderr as ERROR.
   * @throws CannotStartError with the reason
   */
  static start(command: Command, log: TaskLog, options: ProcessOptions): TaskProcess {
    return new TaskProcess(command, log, options);
  }

  private constructor(command: Command, log: TaskLog, options: ProcessOptions) {
    this.#log = log;
    this.#graceMs = options.graceMs;
    this.#background = options.background;
    this.#secrets = options.secrets;
    this.#marker = `${TASK_MARKER}=${command.env[TASK_MARKER]}`;
    const pipes: Pipe[] = [];
    let stdin: number | undefined;
    try {
      if (options.stdin !== undefined)
        stdin = openSync(options.stdin, constants.O_RDONLY | constants.O_NOFOLLOW);
      const stdout = makePipe();
      pipes.push(stdout);
      const stderr = makePipe();
      pipes.push(stderr);
      const spawn = () =>
        Bun.spawn([...command.argv], {
          cwd: command.cwd,
          env: command.env,
          stdio: [stdin ?? "ignore", stdout.write, stderr.write],
          detached: true,
        });
      const start = this.#secrets === undefined ? spawn : () => withoutCoreDump(spawn);
      this.#child = withInheritedUmask(() => withOpenFilesLimit(options.openFiles, stderr.write, start));
    } catch (error) {
      for (const pipe of pipes) closeSync(pipe.read);
      throw explainSpawnError(error, command);
    } finally {
      for (const pipe of pipes) closeSync(pipe.write);
      if (stdin !== undefined) closeSync(stdin);
    }
    this.pid = this.#child.pid;
    this.#memory = new MemoryWatch(this.pid);
    this.#output = pipes.map(({ read }, index) => this.#outputOf(read, index === 0 ? "INFO" : "ERROR"));
    this.#settling = new Timer(() => {
      this.#ages();
      this.#readOutput();
      this.#memory.start();
      const startTicks = readStat(this.pid)?.startTicks;
      if (startTicks !== undefined) options.remember(this.pid, startTicks);
    });
    this.#settling.in(++young > CROWD ? CROWDED_SHORT_MS : SHORT_MS);
    this.ended = this.#finish();
  }

  /** It is not young any more. */
  #ages(): void {
    if (!this.#isYoung) return;
    this.#isYoung = false;
    young--;
  }

  /** Tells the whole group to end; what is left after the grace period is killed. */
  end(): void {
    if (this.#gone || this.#killAt !== undefined) return;
    this.#killAt = performance.now() + this.#graceMs;
    this.#signal("SIGTERM");
    // Stopped processes would not receive it.
    this.#signal("SIGCONT");
    this.#killing.in(this.#graceMs);
  }

  #kill(): void {
    if (this.#gone) return;
    this.#isKilled = true;
    this.#signal("SIGKILL");
    this.#givingUp.in(DYING_MS);
  }

  /**
   * Signals all processes of the task. One that passes TERM on to its child is told alone: otherwise the child would be told twice.
   */
  #signal(signal: NodeJS.Signals): void {
    const forwarders = new Set<number>();
    if (signal === "SIGTERM")
      for (const { pid, name } of groupMembers(this.pid)) if (isForwarder(pid, name)) forwarders.add(pid);
    if (forwarders.size === 0) signalGroup(this.pid, signal);
    else
      signalAll(
        groupMembers(this.pid).filter(({ parent }) => !forwarders.has(parent)),
        signal,
      );
    signalAll(this.#marked(), signal);
  }

  /** Processes with the marker of this task run that have created their own group. */
  #marked = () =>
    processesMarked((environment) => environment.includes(this.#marker)).filter(
      ({ group }) => group !== this.pid,
    );

  #outputOf(fd: number, level: "INFO" | "ERROR"): PipeReader {
    const splitter = new LineSplitter();
    const secrets = this.#secrets;
    const masker = secrets?.masker();
    /** Colours that are removed from a line may have been in the middle of a secret. */
    let isColoured = false;
    const masked = (lines: readonly string[]) =>
      isColoured && secrets !== undefined ? lines.map((line) => secrets.mask(line)) : lines;
    const write = (lines: readonly string[]) => {
      const payloads = masked(lines);
      if (level === "ERROR") {
        const last = payloads.findLast((payload) => payload.trim() !== "");
        if (last !== undefined) this.#lastError = last.trim().slice(0, MAX_ERROR_LINE);
      }
      this.#log.write(level, payloads);
    };
    const armSnapshot = () => {
      const due = splitter.snapshotDueMs;
      if (due !== undefined) rewrite.within(Math.max(1, due - performance.now()));
    };
    const rewrite = new Timer(() => {
      this.#log.write(level, masked(splitter.snapshot(performance.now())));
      // Timers may fire a fraction of a millisecond early.
      armSnapshot();
    });
    const take = (chunk: Uint8Array) => {
      isColoured ||= masker !== undefined && chunk.includes(ESC);
      write(splitter.push(masker?.push(chunk) ?? chunk, performance.now()));
      armSnapshot();
      const room = this.#log.room();
      if (room === undefined) return undefined;
      if (!this.#isOnlyOutput) return Promise.race([room, this.#onlyOutput.promise]);
      this.#surplusBytes += chunk.length;
      if (this.#surplusBytes > SURPLUS_BYTES) this.#cutOutput();
      return undefined;
    };
    return new PipeReader(fd, take, () => {
      rewrite.cancel();
      if (masker !== undefined) write(splitter.push(masker.end(), performance.now()));
      write(splitter.end());
    });
  }

  #readOutput(): void {
    for (const reader of this.#output) reader.begin();
  }

  async #finish(): Promise<ProcessEnd> {
    await Promise.race([this.#child.exited, this.#givenUp.promise]);
    this.#settling.cancel();
    this.#ages();
    this.#memory.stop();
    if (this.#isOver()) {
      this.#gone = true;
      return this.#endOf([]);
    }
    this.#readOutput();
    const isLeft = this.#hasEnded && (await this.#endBackground());
    const survivors = await this.#tellSurvivors();
    this.#gone = true;
    this.#killing.cancel();
    this.#givingUp.cancel();
    this.#isOnlyOutput = true;
    this.#onlyOutput.resolve();
    const read = Promise.all(this.#output.map(({ ended }) => ended));
    if (isLeft || survivors.length > 0) {
      if (!(await isDoneWithin(SETTLE_MS, read))) await this.#stopReading(read);
    } else if (!(await this.#isReadToTheEnd(read))) await this.#endHolders(read);
    return this.#endOf(survivors);
  }

  /** Whether the process has ended by itself, left nothing behind, and all that it has written is in the log: the usual end of a short one. */
  #isOver(): boolean {
    return (
      this.#hasEnded &&
      this.#killAt === undefined &&
      this.#background === "kill" &&
      this.#log.room() === undefined &&
      this.#output.every((reader) => reader.readNow()) &&
      !groupExists(this.pid)
    );
  }

  #endOf(survivors: readonly Survivor[]): ProcessEnd {
    const usage = this.#child.resourceUsage();
    const signal = this.#child.signalCode;
    return {
      exitCode: signal === null ? this.#child.exitCode : null,
      signal: signal === null ? null : String(signal),
      cpuMs: usage === undefined ? 0 : Number(usage.cpuTime.total) / 1000,
      maxRssKb: this.#memory.peakKb(usage === undefined ? 0 : usage.maxRSS / 1024),
      lastError: this.#lastError,
      survivors,
    };
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /**
   * The leader has exited: deals with what it left behind.
   * @returns whether something is left running
   */
  async #endBackground(): Promise<boolean> {
    const group = () => groupMembers(this.pid);
    // Processes that are killed with their group are looked for elsewhere only if they hold the output, or by the sweep: each look reads
    // the environments of all processes.
    const isThorough = this.#background !== "kill";
    const find = isThorough ? () => [...group(), ...this.#marked()] : group;
    if (!isThorough && !groupExists(this.pid)) return false;
    const ownEnd = () => this.#killAt === undefined;
    if (ownEnd()) {
      const left = await waitUntilGone(find, performance.now() + SETTLE_MS);
      if (left.length === 0) return false;
      const whatIsLeft = `The task has ended but left processes running: ${describeProcesses(left)}.`;
      if (ownEnd() && this.#background === "leave") {
        const output = "their further output is not recorded";
        this.#log.remark("INFO", `${whatIsLeft} They keep running (background: leave); ${output}.`);
        return true;
      }
      if (ownEnd() && this.#background === "wait") {
        this.#log.remark("INFO", `${whatIsLeft} The task waits for them (background: wait).`);
        const pauses = new BackOff(20, 500);
        while (ownEnd() && find().length > 0) await pause(pauses.next());
      } else if (ownEnd()) {
        this.#log.remark("WARN", `${whatIsLeft} They will be ended.`);
        this.end();
      }
    }
    if (this.#killAt === undefined || (await waitUntilGone(find, this.#killAt)).length === 0) return false;
    this.#isKilled = true;
    await killProcesses(find);
    return false;
  }

  /** Says in the log what became of processes that were killed. @returns those that live on */
  async #tellSurvivors(): Promise<readonly Survivor[]> {
    if (!this.#isKilled) return [];
    const survivors = groupMembers(this.pid).map(survivorOf);
    if (survivors.length > 0) {
      this.#log.remark("ERROR", `Still there after SIGTERM and SIGKILL: ${describeSurvivors(survivors)}.`);
      return survivors;
    }
    this.#log.remark("WARN", `Still running ${formatDuration(this.#graceMs)} after SIGTERM: killed.`);
    await this.#child.exited;
    return [];
  }

  async #stopReading(read: Promise<unknown>): Promise<void> {
    for (const reader of this.#output) await reader.giveUp();
    await read;
  }

  /** There is no room for the rest of the output, and the end of the task does not wait for it. */
  #cutOutput(): void {
    if (this.#isCut) return;
    this.#isCut = true;
    this.#log.remark(
      "WARN",
      "The rest of the output is not recorded: this agent has no space for more undelivered log lines.",
    );
    for (const reader of this.#output) void reader.giveUp();
  }

  /** A process outside the group holds the output open: one that created its own session. */
  async #endHolders(read: Promise<unknown>): Promise<void> {
    const holders = this.#marked();
    if (holders.length > 0) {
      this.#log.remark(
        "WARN",
        `The task has ended, but processes that it started still hold its output open: ${describeProcesses(holders)}. ` +
          "They will be ended.",
      );
      await endProcesses(this.#marked, this.#graceMs);
      if (await this.#isReadToTheEnd(read)) return;
    }
    this.#log.remark(
      "WARN",
      "The task has ended, but a process that cannot be found still holds its output open. The output of that process is not recorded.",
    );
    await this.#stopReading(read);
  }

  /** Whether the output has ended, or is only held open by a process that does not write. */
  async #isReadToTheEnd(read: Promise<unknown>): Promise<boolean> {
    let quietSince = performance.now();
    for (;;) {
      if (await isDoneWithin(SETTLE_MS / 5, read)) return true;
      const now = performance.now();
      if (!this.#output.every((reader) => reader.idle)) quietSince = now;
      if (now - quietSince >= SETTLE_MS) return false;
    }
  }
}
