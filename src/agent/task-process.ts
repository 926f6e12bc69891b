/** The process of a task and everything it starts: a session and a process group, ended as a whole. */

import { closeSync } from "node:fs";
import type { Subprocess } from "bun";
import { withInheritedUmask } from "../host/private-data.ts";
import { isDoneWithin, Timer } from "../timer.ts";
import { formatDuration } from "../workflow/duration.ts";
import { TASK_MARKER } from "./environment.ts";
import type { Command } from "./executors/executor.ts";
import { makePipe, type Pipe } from "./libc.ts";
import { LineSplitter } from "./line-splitter.ts";
import { MemoryWatch } from "./memory-watch.ts";
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
import type { TaskLog } from "./task-log.ts";

/** How long processes left behind by a task may take to exit by themselves (`| tee` in a shell), ms. */
const SETTLE_MS = 500;

/** A process that ends sooner is not recorded on disk: if the agent dies in that time, its marker identifies it, ms. */
const REMEMBER_AFTER_MS = 5;

/** How a process ended. */
export interface ProcessEnd {
  /** Null when it was ended by a signal. */
  readonly exitCode: number | null;
  /** Name of the signal, such as `SIGKILL`. */
  readonly signal: string | null;
  /** User and system time of the process and of the children that it waited for, ms. */
  readonly cpuMs: number;
  /** Peak resident memory, KiB; a lower bound, or null, for processes that live only a few milliseconds. */
  readonly maxRssKb: number | null;
}

export class TaskProcess {
  readonly pid: number;
  /** Resolves when the process has ended, its group is empty and its output has been read. Never rejects. */
  readonly ended: Promise<ProcessEnd>;
  readonly #child: Subprocess;
  readonly #log: TaskLog;
  readonly #marker: string;
  readonly #graceMs: number;
  readonly #output: readonly { readonly reader: PipeReader; readonly logged: Promise<void> }[];
  readonly #memory: MemoryWatch;
  /** When the process is killed after it was told to end; undefined if it was not told to. */
  #killAt: number | undefined;
  readonly #killing = new Timer(() => this.#kill());
  readonly #remembering: Timer;
  #gone = false;

  /**
   * Starts a command. Its output goes to `log`: stdout as INFO, stderr as ERROR.
   * @param graceMs time between TERM and KILL
   * @param remember called once unless the process ends very soon, with its start time as in proc-files.ts
   * @throws CannotStartError with the reason
   */
  static start(
    command: Command,
    log: TaskLog,
    graceMs: number,
    remember: (pid: number, startTicks: number) => void,
  ): TaskProcess {
    return new TaskProcess(command, log, graceMs, remember);
  }

  private constructor(
    command: Command,
    log: TaskLog,
    graceMs: number,
    remember: (pid: number, startTicks: number) => void,
  ) {
    this.#log = log;
    this.#graceMs = graceMs;
    this.#marker = `${TASK_MARKER}=${command.env[TASK_MARKER]}`;
    const pipes: Pipe[] = [];
    try {
      const stdout = makePipe();
      pipes.push(stdout);
      const stderr = makePipe();
      pipes.push(stderr);
      this.#memory = new MemoryWatch();
      this.#child = withInheritedUmask(() =>
        Bun.spawn([...command.argv], {
          cwd: command.cwd,
          env: command.env,
          stdio: ["ignore", stdout.write, stderr.write],
          detached: true,
        }),
      );
    } catch (error) {
      for (const pipe of pipes) closeSync(pipe.read);
      throw explainSpawnError(error, command);
    } finally {
      for (const pipe of pipes) closeSync(pipe.write);
    }
    this.pid = this.#child.pid;
    // Check at once: a small program ends within half a millisecond.
    this.#memory.watch(this.pid);
    this.#remembering = new Timer(() => {
      const startTicks = readStat(this.pid)?.startTicks;
      if (startTicks !== undefined) remember(this.pid, startTicks);
    });
    this.#remembering.in(REMEMBER_AFTER_MS);
    this.#output = pipes.map(({ read }, index) => this.#read(read, index === 0 ? "INFO" : "ERROR"));
    this.ended = this.#finish();
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
    this.#log.remark("WARN", `Still running ${formatDuration(this.#graceMs)} after SIGTERM: killed.`);
    this.#signal("SIGKILL");
  }

  #signal(signal: NodeJS.Signals): void {
    signalGroup(this.pid, signal);
    signalAll(this.#marked(), signal);
  }

  /** Processes with the marker of this task run that have created their own group. */
  #marked = () =>
    processesMarked((environment) => environment.includes(this.#marker)).filter(
      ({ group }) => group !== this.pid,
    );

  /** @returns the reader, and a promise that resolves when everything it read is in the log */
  #read(fd: number, level: "INFO" | "ERROR"): { reader: PipeReader; logged: Promise<void> } {
    const splitter = new LineSplitter();
    const armSnapshot = () => {
      const due = splitter.snapshotDueMs;
      if (due !== undefined) rewrite.within(Math.max(1, due - performance.now()));
    };
    const rewrite = new Timer(() => {
      this.#log.write(level, splitter.snapshot(performance.now()));
      // Timers may fire a fraction of a millisecond early.
      armSnapshot();
    });
    const reader = new PipeReader(fd, (chunk) => {
      this.#log.write(level, splitter.push(chunk, performance.now()));
      armSnapshot();
      return this.#log.room();
    });
    const logged = reader.ended.then(() => {
      rewrite.cancel();
      this.#log.write(level, splitter.end());
    });
    return { reader, logged };
  }

  async #finish(): Promise<ProcessEnd> {
    await this.#child.exited;
    this.#remembering.cancel();
    this.#memory.stop();
    if (groupExists(this.pid)) await this.#endGroup();
    const read = Promise.all(this.#output.map(({ logged }) => logged));
    if (!(await this.#isReadToTheEnd(read))) await this.#endHolders(read);
    this.#gone = true;
    this.#killing.cancel();
    const usage = this.#child.resourceUsage();
    const signal = this.#child.signalCode;
    return {
      exitCode: signal === null ? this.#child.exitCode : null,
      signal: signal === null ? null : String(signal),
      cpuMs: usage === undefined ? 0 : Number(usage.cpuTime.total) / 1000,
      maxRssKb: this.#memory.peakKb(usage === undefined ? 0 : usage.maxRSS / 1024),
    };
  }

  /** The leader has exited and left members of its group behind. */
  async #endGroup(): Promise<void> {
    const members = () => groupMembers(this.pid);
    if (this.#killAt === undefined) {
      const left = await waitUntilGone(members, performance.now() + SETTLE_MS);
      if (left.length === 0) return;
      if (this.#killAt === undefined) {
        this.#log.remark(
          "WARN",
          `The task has ended but left processes running: ${describeProcesses(left)}. They will be ended.`,
        );
        this.end();
      }
    }
    const deadline = this.#killAt ?? 0;
    if ((await waitUntilGone(members, deadline)).length > 0) await killProcesses(members);
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
    for (const { reader } of this.#output) await reader.giveUp();
    await read;
  }

  /** Whether the output has ended, or is only held open by a process that does not write. */
  async #isReadToTheEnd(read: Promise<unknown>): Promise<boolean> {
    let quietSince = performance.now();
    for (;;) {
      if (await isDoneWithin(SETTLE_MS / 5, read)) return true;
      const now = performance.now();
      if (!this.#output.every(({ reader }) => reader.idle)) quietSince = now;
      if (now - quietSince >= SETTLE_MS) return false;
    }
  }
}
