/**
 * What the agent has to tell the principal, kept on disk until the principal confirms that it has stored it: reports and log
 * lines, each kind numbered from 1 within a stream. The file belongs to one process at a time, and survives that process.
 */

import type { Database } from "bun:sqlite";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { encodeLogBatch } from "../contract/log-line.ts";
import type { AgentReport, RunReport, TaskReport } from "../contract/messages.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { migrateSqlite, type SqliteMigrations } from "../migrations/sqlite-migrations.ts";
import { Timer } from "../timer.ts";
import { isEnding } from "../workflow/task-state.ts";
import { BegunReports, isBegin } from "./begun-reports.ts";
import { KeptReports } from "./kept-reports.ts";
import {
  type Former,
  formerOf,
  holder,
  isBroken,
  isLocked,
  OUTBOX_FILE,
  OUTBOX_MIGRATIONS,
  OutboxLockedError,
  type OutboxStatements,
  openFile,
  type Place,
  placeOf,
  readStream,
  statementsOf,
  unavailable,
} from "./outbox-file.ts";
import { dropLeft, exchangeStreams } from "./outbox-parking.ts";
import { OutboxRoom } from "./outbox-room.ts";

/** A report without its number. */
export type NewReport = Omit<TaskReport, "seq"> | Omit<RunReport, "seq" | "log_seq">;

/** Log lines with consecutive numbers, encoded for delivery. */
export interface LogFrame {
  readonly first: number;
  readonly last: number;
  readonly frame: Uint8Array;
}

/** A process that was started for a task, identified well enough to recognize it after a restart of the agent. */
export interface ProcessRecord {
  readonly pid: number;
  /** Start time in clock ticks since boot: together with the pid it is unique. */
  readonly start_ticks: number;
  readonly boot_id: string;
  readonly task_instance_id: string;
}

export interface OutboxOptions {
  /** The agent's data directory. */
  readonly directory: string;
  readonly agentId: string;
  /** The suffix with which the agent was started; empty for none. */
  readonly suffix?: string | undefined;
  /** Maximum size of log lines and reports that the principal does not have yet, bytes; 256 MiB by default. */
  readonly limitBytes?: number;
  /** The migrations of the file; those of this cdktr by default. */
  readonly migrations?: SqliteMigrations;
  /** The wall clock, ms since the epoch. */
  readonly now?: () => number;
}

/** Receives notifications of new data, after it is on disk, lines first. */
export interface OutboxReaders {
  /** A new frame. Frames come in order, each once. */
  lines(frame: LogFrame): void;
  /** There are new reports. @param isUrgent whether somebody waits for one of them */
  reports(isUrgent: boolean): void;
}

const DEFAULT_LIMIT_BYTES = 256 * 1024 * 1024;
/** A frame is written at this many characters, without waiting for the end of the turn. */
const FRAME_CHARACTERS = 64 * 1024;
/** The file is shrunk after it has held this much, bytes. */
const SHRINK_BYTES = 16 * 1024 * 1024;
/** Maximum time for which lines and reports of tasks wait to be written together with others, ms. */
const GATHER_MS = 5;
/** Timers may fire this early, ms. */
const EARLY_MS = 1;
const RETRY_WRITE_MS = 1000;
/** The most that reports have that are sent together, bytes: a request is bounded. One alone may have more. */
const BATCH_BYTES = 4 * 1024 * 1024;

const encoder = new TextEncoder();

const Numbered = z.looseObject({ kind: z.string(), seq: z.number().int().positive() });

/** Sizes of the stored frames, oldest first. */
interface FrameSize {
  readonly first: number;
  readonly last: number;
  readonly bytes: number;
}

export class Outbox {
  #streamId = "";
  #former: Former;
  /** The installation of cdktr that the content is for; null if unknown. */
  #installation: string | null;
  readonly #db: Database;
  readonly #sql: OutboxStatements;
  readonly #place: Place;
  readonly #agentId: string;
  readonly #room: OutboxRoom;
  readonly #now: () => number;
  #readers: OutboxReaders | undefined;

  /** Whether the report of an end may say as well that the task run has begun. */
  joinsReports = false;
  readonly #reports = new KeptReports();
  readonly #begun = new BegunReports();
  #reportSeq = 0;
  /** Some could not be read: whoever delivers them is woken to try again. */
  #isUnread = false;
  /** Whether somebody waits for a report that was added since the last flush. */
  #isUrgent = false;

  readonly #sizes: FrameSize[] = [];
  #frameBytes = 0;
  /** Peak size since the file was last shrunk. */
  #peakBytes = 0;
  #logSeq = 0;
  /** Frames that are not on disk yet. */
  readonly #unsavedFrames: LogFrame[] = [];
  #unsavedFrameBytes = 0;
  #texts: string[] = [];
  #textLines = 0;
  #textLength = 0;

  readonly #processChanges: (ProcessRecord | number)[] = [];
  #immediate: Timer | NodeJS.Immediate | undefined;
  readonly #timer = new Timer(() => this.#write());
  #lastFlush = 0;
  #failure: string | undefined;
  #closed = false;

  /**
   * Opens the outbox of an agent, or creates one. A corrupt file is put aside with a message.
   * @throws OutboxLockedError when another process holds it
   * @throws OutboxUnavailableError when the directory cannot be used
   * @throws NewerSchemaError when a newer cdktr wrote it; NoRoomForBackupError
   */
  static open(options: OutboxOptions): Outbox {
    const path = join(options.directory, OUTBOX_FILE);
    try {
      mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw unavailable(options.directory, error);
    }
    try {
      return new Outbox(path, options);
    } catch (error) {
      if (isLocked(error)) {
        throw new OutboxLockedError(
          `An agent with the id "${options.agentId}" is already running on this host${holder(options.directory)}.`,
          { cause: error, hint: "Give this one its own id with --suffix NAME." },
        );
      }
      if (error instanceof CdktrError) throw error;
      if (!isBroken(error)) throw unavailable(options.directory, error);
      const aside = `${path}.broken-${Date.now()}`;
      renameSync(path, aside);
      for (const end of ["-wal", "-shm"]) rmSync(path + end, { force: true });
      log.error(
        `The agent's outbox was damaged (${errorMessage(error)}). It was moved to ${aside}, and a new one was created. ` +
          "Log lines and reports that the principal did not have yet are lost.",
      );
      return new Outbox(path, options);
    }
  }

  private constructor(path: string, options: OutboxOptions) {
    this.#agentId = options.agentId;
    this.#room = new OutboxRoom(options.limitBytes ?? DEFAULT_LIMIT_BYTES, () => ({
      kept: this.#keptBytes + this.#textLength,
      unsaved: this.#unsavedFrameBytes + this.#reports.unsavedBytes,
      reports: this.#reports.bytes,
      unsavedReports: this.#reports.unsavedBytes,
    }));
    this.#now = options.now ?? Date.now;
    this.#db = openFile(path);
    try {
      migrateSqlite(this.#db, options.migrations ?? OUTBOX_MIGRATIONS, log);
      this.#load();
      this.#place = placeOf(path);
      if (options.suffix !== undefined) this.#db.run("UPDATE owner SET suffix = ?", [options.suffix]);
      this.#former = formerOf(this.#db, this.#place);
      this.#installation =
        this.#db.query<{ installation: string | null }, []>("SELECT installation FROM owner").get()
          ?.installation ?? null;
      // A copy that continued the sequences would reuse numbers of the original for other lines.
      if (!this.#former.in_place && this.#reports.count === 0 && this.#sizes.length === 0) {
        this.#streamId = crypto.randomUUID();
        this.#reportSeq = 0;
        this.#logSeq = 0;
        this.#db.run("UPDATE stream SET stream_id = ?, report_seq = 0, log_seq = 0", [this.#streamId]);
      }
      this.#sql = statementsOf(this.#db);
    } catch (error) {
      this.#db.close();
      throw error;
    }
    try {
      writeFileSync(join(options.directory, "pid"), `${process.pid}\n`);
    } catch {
      // Only used in the message that names the holder of the outbox.
    }
  }

  #load(): void {
    const stream = readStream(this.#db);
    this.#streamId = stream.stream_id;
    this.#reportSeq = stream.report_seq;
    this.#logSeq = stream.log_seq;
    const reports = this.#db.query<{ report: string }, []>("SELECT report FROM reports ORDER BY seq");
    for (const { report } of reports.iterate()) {
      const written: unknown = JSON.parse(report);
      // It may come from an agent of another version: the principal decides what to do with it.
      if (Numbered.safeParse(written).success) this.#reports.addSaved(written as AgentReport, report);
    }
    const sizes = this.#db
      .query<FrameSize, []>(
        "SELECT first_seq AS first, last_seq AS last, length(frame) AS bytes FROM frames ORDER BY last_seq",
      )
      .all();
    for (const size of sizes) this.#keep(size);
    this.#hasGrown();
  }

  /** Records that the principal has registered this process, so that the next one can name it as its predecessor. */
  registered(sessionId: string): void {
    const { machine, boot, file } = this.#place;
    this.#attempt(() =>
      this.#db.run("UPDATE owner SET session_id = ?, machine = ?, boot = ?, file = ?", [
        sessionId,
        machine,
        boot,
        file,
      ]),
    );
    this.#attempt(() => dropLeft(this.#db, this.#now()));
  }

  /** The outbox turns out to be a copy of the one of another agent: no later process of this host takes it for its own. */
  disown(): void {
    this.#attempt(() => this.#db.run("UPDATE owner SET suffix = NULL"));
  }

  /**
   * Identifies the two sequences. Each installation has its own. An outbox that was moved, or whose host was restarted, starts a new one
   * as soon as it is empty.
   */
  get streamId(): string {
    return this.#streamId;
  }

  /** The process that had the outbox before this one. */
  get former(): Former {
    return this.#former;
  }

  /** Whether the content may be delivered to an installation. */
  isFor(installation: string | undefined): boolean {
    return installation === undefined || this.#installation === null || installation === this.#installation;
  }

  /**
   * Switches to an installation: everything added from now on is for it. Content for another one is kept until the outbox switches back.
   * @throws SQLiteError when the disk cannot be written; then nothing has changed
   */
  turnTo(installation: string): void {
    if (installation === this.#installation) return;
    this.flush();
    const before = this.#installation;
    const waiting = { reports: this.pendingReports, lines: this.pendingLines };
    this.#db.transaction(() => {
      this.#db.run("UPDATE owner SET installation = ?", [installation]);
      if (before !== null)
        exchangeStreams(this.#db, before, installation, waiting.reports + waiting.lines > 0);
    })();
    this.#installation = installation;
    if (before === null) return;
    this.#reload();
    this.#former = formerOf(this.#db, this.#place);
    if (waiting.reports + waiting.lines === 0) return;
    log.warn(
      `The principal belongs to another installation of cdktr than the one before. ${waiting.reports} reports and ${waiting.lines} log lines are for that one: they are kept, and delivered when this agent is connected to it again.`,
    );
  }

  #reload(): void {
    this.#reports.clear();
    this.#sizes.length = 0;
    this.#frameBytes = 0;
    this.#load();
    this.#room.release();
  }

  /** Sets the receiver of notifications. */
  attach(readers: OutboxReaders): void {
    this.#readers = readers;
  }

  /** Number of the newest log line, 0 for none. */
  get lastLogSeq(): number {
    return this.#logSeq + this.#textLines;
  }

  /** Number of the oldest log line that is still here, or of the next one. */
  get firstLogSeq(): number {
    return this.#sizes[0]?.first ?? this.#logSeq + 1;
  }

  /** Number of the newest report, 0 for none. */
  get lastReportSeq(): number {
    return this.#reportSeq;
  }

  /** Number of reports that the principal does not have yet. */
  get pendingReports(): number {
    return this.#reports.count;
  }

  /** Whether any of them is about a slice of a run. */
  get hasSlices(): boolean {
    return this.#reports.hasSlices;
  }

  /** Whether any of them tells of a run that the agent has begun by itself. */
  get hasBegun(): boolean {
    return this.#reports.hasBegun;
  }

  /** Number of log lines that are not in the principal's history yet. */
  get pendingLines(): number {
    return this.lastLogSeq - this.firstLogSeq + 1;
  }

  /** Why the disk cannot be written; undefined when it can. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * Adds a report. One that a task run has begun waits for a moment: that of its end says both if it follows at once.
   * @returns its number; that of the last report if it waits
   */
  addReport(report: NewReport): number {
    if (report.kind === "run") return this.#number(report);
    if (this.joinsReports && isBegin(report)) {
      this.#timer.by(this.#begun.hold(report, performance.now()));
      return this.#reportSeq;
    }
    const begun = this.#begun.take(report.task_instance_id);
    if (begun === undefined) return this.#number(report);
    if (this.joinsReports && isEnding(report.status))
      return this.#number({ ...report, began_at_ms: begun.timestamp_ms });
    this.#number(begun);
    return this.#number(report);
  }

  #number(report: NewReport): number {
    const seq = ++this.#reportSeq;
    const numbered: AgentReport =
      report.kind === "run" ? { ...report, seq, log_seq: this.lastLogSeq } : { ...report, seq };
    this.#reports.add(numbered, JSON.stringify(numbered));
    this.#hasGrown();
    if (isAwaited(report)) {
      this.#isUrgent = true;
      this.#flushNow();
    } else this.#timer.by(performance.now() + GATHER_MS);
    return seq;
  }

  /** Adds `count` encoded log lines, joined by newlines. */
  addLines(text: string, count: number): void {
    this.#texts.push(text);
    this.#textLines += count;
    this.#textLength += text.length;
    const due = this.#lastFlush + GATHER_MS;
    if (this.#textLength >= FRAME_CHARACTERS) this.#write();
    // The first line after a pause is shown at once.
    else if (due <= performance.now()) this.#flushNow();
    else this.#timer.by(due);
  }

  /** Backpressure: undefined when there is space for more lines; otherwise resolves when there is, and pipe readers pause until then. */
  room(): Promise<void> | undefined {
    return this.#room.forLines();
  }

  /**
   * Backpressure for tasks that have not started: what a task publishes is kept when it ends, however much waits, so no more of them start.
   * Undefined when they may; otherwise resolves when they may.
   */
  roomForTasks(): Promise<void> | undefined {
    return this.#room.forTasks();
  }

  /** Records a process of a task. */
  rememberProcess(record: ProcessRecord): void {
    this.#processChanges.push(record);
    this.#timer.by(performance.now() + GATHER_MS);
  }

  /** Forgets a process: it and everything that it started are gone. */
  forgetProcess(pid: number): void {
    this.#processChanges.push(pid);
    this.#timer.by(performance.now() + GATHER_MS);
  }

  /** The recorded processes. */
  processes(): ProcessRecord[] {
    this.flush();
    return this.#db.query<ProcessRecord, []>("SELECT * FROM processes").all();
  }

  /** The oldest reports with a number above `after`: at most `limit`, and fewer when they are too large for one request. */
  reports(after: number, limit: number): AgentReport[] {
    const reports: AgentReport[] = [];
    let bytes = 0;
    for (const kept of this.#reports.after(after, limit)) {
      bytes += kept.bytes;
      if (bytes > BATCH_BYTES && reports.length > 0) break;
      const report = kept.report ?? this.#readReport(kept.seq);
      // Those after it would be taken for later ones.
      if (report === "not now") break;
      if (report === "lost") this.#lose(kept.seq);
      else reports.push(report);
    }
    return reports;
  }

  /** A report that is only on disk. It is lost if the disk responds, but does not have it any more. */
  #readReport(seq: number): AgentReport | "not now" | "lost" {
    let text: string | undefined;
    const isRead = this.#attempt(() => {
      try {
        text = this.#sql.report.get(seq)?.report;
      } catch (error) {
        if (!isBroken(error)) throw error;
      }
    });
    if (!isRead) {
      this.#isUnread = true;
      return "not now";
    }
    try {
      return text === undefined ? "lost" : (JSON.parse(text) as AgentReport);
    } catch {
      return "lost";
    }
  }

  /** Without it, those after it are delivered: the principal sees that an attempt is over whose end was lost. */
  #lose(seq: number): void {
    log.error(
      `Report ${seq} in the agent's outbox is damaged and cannot be delivered. A run whose end it was counts as crashed.`,
    );
    this.#reports.remove(seq);
    this.#room.release();
  }

  /** Some of the oldest frames that hold lines with a number above `after`, in order. */
  frames(after: number): LogFrame[] {
    const saved = this.#sql.framesAfter
      .all(after)
      .map((row) => ({ first: row.first_seq, last: row.last_seq, frame: row.frame }));
    return saved.length > 0 ? saved : this.#unsavedFrames.filter((frame) => frame.last > after);
  }

  /** The principal has the reports up to `seq` on its disk. */
  forgetReports(seq: number): void {
    if (!this.#reports.forget(seq)) return;
    this.#attempt(() => {
      this.#sql.deleteReports.run(seq);
      this.#shrink();
    });
    this.#room.release();
  }

  /** The principal has the lines up to `seq` in its history. */
  forgetLines(seq: number): void {
    let count = 0;
    for (const size of this.#sizes) {
      if (size.last > seq) break;
      this.#frameBytes -= size.bytes;
      count++;
    }
    if (count === 0) return;
    this.#sizes.splice(0, count);
    while (this.#unsavedFrames[0] !== undefined && this.#unsavedFrames[0].last <= seq) {
      this.#unsavedFrameBytes -= this.#unsavedFrames.shift()?.frame.length ?? 0;
    }
    this.#attempt(() => {
      this.#sql.deleteFrames.run(seq);
      this.#shrink();
    });
    this.#room.release();
  }

  /** Gives the space of a file back that was large. */
  #shrink(): void {
    if (this.#sizes.length + this.#reports.count > 0 || this.#peakBytes < SHRINK_BYTES) return;
    this.#db.query("PRAGMA incremental_vacuum").all();
    this.#peakBytes = 0;
  }

  /**
   * Adopts the principal's numbers where they are ahead of the outbox: after a power failure the file may have lost its last numbers,
   * and the principal would ignore lines and reports that reuse them.
   */
  catchUp(reportSeq: number, logSeq: number): void {
    this.flush();
    if (reportSeq <= this.#reportSeq && logSeq <= this.#logSeq) return;
    log.warn(
      `The principal knows more of this agent (report ${reportSeq}, line ${logSeq}) than its outbox ` +
        `(report ${this.#reportSeq}, line ${this.#logSeq}): numbering continues from there.`,
    );
    this.#reportSeq = Math.max(this.#reportSeq, reportSeq);
    this.#logSeq = Math.max(this.#logSeq, logSeq);
    this.#attempt(() => this.#sql.position.run(this.#reportSeq, this.#logSeq));
  }

  /** Writes what was added, and notifies the reader. */
  flush(): void {
    this.#write(Number.POSITIVE_INFINITY);
  }

  /** @param untilMs the begins that were due by then are told, too (monotonic) */
  #write(untilMs = performance.now() + EARLY_MS): void {
    clearImmediate(this.#immediate as NodeJS.Immediate | undefined);
    this.#timer.cancel();
    this.#immediate = undefined;
    if (this.#closed) return;
    this.#lastFlush = performance.now();
    for (const report of this.#begun.takeDue(untilMs)) this.#number(report);
    this.#timer.cancel();
    this.#timer.by(this.#begun.nextMs);
    const frame = this.#takeFrame();
    const hasReports = this.#reports.unsavedCount > 0 || this.#isUnread;
    this.#isUnread = false;
    if (
      frame !== undefined ||
      hasReports ||
      this.#processChanges.length > 0 ||
      this.#unsavedFrames.length > 0
    ) {
      this.#save();
    }
    if (frame !== undefined) this.#readers?.lines(frame);
    if (hasReports) {
      const wasUrgent = this.#isUrgent;
      this.#isUrgent = false;
      this.#readers?.reports(wasUrgent);
    }
  }

  /** Writes what was added and closes the file. */
  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    this.#timer.cancel();
    // An open statement would keep the file, and its lock, open.
    for (const statement of Object.values(this.#sql)) statement.finalize();
    this.#db.close();
    this.#room.close();
  }

  /** Writes in this turn, together with what else is added in it. */
  #flushNow(): void {
    if (this.#immediate === undefined && !this.#closed) this.#immediate = setImmediate(() => this.#write());
  }

  #takeFrame(): LogFrame | undefined {
    if (this.#textLines === 0) return undefined;
    const first = this.#logSeq + 1;
    const last = this.#logSeq + this.#textLines;
    const batch = { agent_id: this.#agentId, stream_id: this.streamId, first_seq: first, lines: this.#texts };
    const frame = { first, last, frame: encoder.encode(encodeLogBatch(batch)) };
    this.#texts = [];
    this.#textLines = 0;
    this.#textLength = 0;
    this.#logSeq = last;
    this.#keep({ first, last, bytes: frame.frame.length });
    this.#unsavedFrames.push(frame);
    this.#unsavedFrameBytes += frame.frame.length;
    this.#hasGrown();
    return frame;
  }

  #keep(size: FrameSize): void {
    this.#sizes.push(size);
    this.#frameBytes += size.bytes;
  }

  /** Size of frames and reports. */
  get #keptBytes(): number {
    return this.#frameBytes + this.#reports.bytes;
  }

  #hasGrown(): void {
    this.#peakBytes = Math.max(this.#peakBytes, this.#keptBytes);
  }

  /** One transaction for everything that is not on disk; on failure it stays in memory and is retried. */
  #save(): void {
    const done = this.#attempt(() => {
      this.#db.run("BEGIN IMMEDIATE");
      for (const { seq, text } of this.#reports.unsaved())
        if (text !== undefined) this.#sql.insertReport.run(seq, text);
      for (const { first, last, frame } of this.#unsavedFrames) this.#sql.insertFrame.run(last, first, frame);
      for (const change of this.#processChanges) {
        if (typeof change === "number") this.#sql.deleteProcess.run(change);
        else {
          this.#sql.insertProcess.run(
            change.pid,
            change.start_ticks,
            change.boot_id,
            change.task_instance_id,
          );
        }
      }
      this.#sql.position.run(this.#reportSeq, this.#logSeq);
      this.#db.run("COMMIT");
    });
    if (!done) return;
    this.#reports.saved();
    this.#unsavedFrames.length = 0;
    this.#unsavedFrameBytes = 0;
    this.#processChanges.length = 0;
    this.#room.release();
  }

  /** Works on the database. A failure is logged once, and so is the recovery; it never reaches the tasks. */
  #attempt(work: () => void): boolean {
    try {
      work();
    } catch (error) {
      if (this.#db.inTransaction) this.#db.run("ROLLBACK");
      if (this.#failure === undefined) {
        log.error(
          `The agent cannot write its outbox: ${errorMessage(error)}. Runs continue; their reports are kept in memory until it can be written.`,
        );
      }
      this.#failure = errorMessage(error);
      this.#timer.within(RETRY_WRITE_MS);
      return false;
    }
    if (this.#failure !== undefined) {
      this.#failure = undefined;
      log.info("The agent can write its outbox again.");
    }
    return true;
  }
}

/** Whether somebody waits for it: for news of a run, or at the end of a task for its dependents that other agents execute. */
function isAwaited(report: NewReport): boolean {
  return report.kind === "run" || (report.slice > 0 && isEnding(report.status));
}
