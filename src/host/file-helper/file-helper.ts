/**
 * Accesses paths that users specify through a child process with a deadline. A path may be on a mount that does not respond; a system
 * call on it then blocks its thread, and sometimes even the exit of the process, until the mount recovers. While no child process
 * can be started, the paths are accessed here.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Clock, systemClock } from "../../clock.ts";
import { CdktrError, errorMessage } from "../../errors.ts";
import { EventHub } from "../../event-hub.ts";
import { BackOff, Timer } from "../../timer.ts";
import { childCommand, FILE_HELPER, isLastingFailure } from "../self.ts";
import { FileHandler } from "./helper.ts";
import type { Digest, FileNews, FileQuestion, FileRequests, FileVerb } from "./requests.ts";

/** A busy helper that the kernel has not scheduled for this many checks in a row is blocked; interval in ms. */
const CHECK_MS = 500;
const CHECKS = 6;
/** Maximum number of blocked helpers that are kept to notice when their path responds; beyond it, a path is retried after {@link AGAIN_MS}. */
const MOST_BLOCKED = 8;
/** After this many children that ended without a word, requests are handled here; the pauses between their starts, ms. */
const SILENT_STARTS = 3;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;
/** When what failed is tried again, ms. */
const AGAIN_MS = 60_000;
/** The number of the request that a child has to answer before it is given any other. */
const TRIAL = 0;

/** A path does not respond. */
export class PathSilentError extends CdktrError {
  /** The path that the helper was about to access, as written in the request; `""` if unknown. */
  readonly path: string;
  /** Resolves when the path responds again or should be retried. */
  readonly answers: Promise<void>;

  constructor(path: string, answers: Promise<void>) {
    super("it does not answer; is it on a network disk or another mount whose server is away?");
    this.path = path;
    this.answers = answers;
  }
}

interface Pending {
  readonly question: FileQuestion;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
}

interface Child {
  readonly process: Bun.Subprocess<"pipe", "pipe", "ignore">;
  /** The request and path that it is working on. */
  at: { id: number; path: string } | undefined;
  hasSpoken: boolean;
  /** Its scheduling counters at the last check, and the number of checks since they changed. */
  seen: string;
  checks: number;
  /** Set while it counts as blocked; called on its next sign of life. */
  moved: (() => void) | undefined;
}

/** Starts the child process on first use, and a new one when it is blocked or has exited. */
export class FileHelper {
  /** `changed`: the key whose files changed. `restarted`: all watches are gone and must be requested again. */
  readonly signals = new EventHub<{ changed: string; warning: string; restarted: undefined }>();
  readonly #command: readonly string[];
  readonly #digest: Digest | undefined;
  readonly #pending = new Map<number, Pending>();
  readonly #blocked = new Set<Child>();
  readonly #check = new Timer(() => this.#look());
  readonly #retries = new Set<Timer>();
  #child: Child | undefined;
  /** Children in a row that ended without a word. */
  #silentStarts = 0;
  readonly #pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS, 4);
  /** Set while the next child must not be started yet: requests wait. */
  readonly #pause: Timer;
  /** Handles the requests while no child process can be started. */
  #own: FileHandler | undefined;
  /** A child that takes over from {@link #own} when it has spoken. */
  #trial: Child | undefined;
  readonly #nextTrial: Timer;
  #last = 0;
  #isClosed = false;

  /**
   * @param command starts the child process
   * @param digest what it makes of files, for when it cannot be started
   */
  constructor(
    command: readonly string[] = helperCommand(),
    clock: Clock = systemClock,
    digest: Digest | undefined = undefined,
  ) {
    this.#command = command;
    this.#digest = digest;
    this.#pause = new Timer(() => this.#restart(), clock);
    this.#nextTrial = new Timer(() => this.#try(), clock);
  }

  /**
   * Sends a request to the helper, which handles requests in order.
   * @throws PathSilentError when a path does not respond
   * @throws Error with the code of the system call that failed
   */
  ask<Verb extends FileVerb>(
    verb: Verb,
    request: FileRequests[Verb]["request"],
  ): Promise<FileRequests[Verb]["reply"]> {
    if (this.#isClosed) return Promise.reject(new CdktrError("the file helper has ended"));
    const question: FileQuestion = { id: ++this.#last, verb, request };
    return new Promise((resolve, reject) => {
      this.#pending.set(question.id, { question, resolve: resolve as (reply: unknown) => void, reject });
      this.#write(question);
      if (this.#pending.size > 0 && !this.#check.isSet) this.#check.every(CHECK_MS);
    });
  }

  /** Starts the child process now, so that the first request need not wait for that. What goes wrong is the first request's affair. */
  prepare(): void {
    if (this.#isClosed || this.#own !== undefined || this.#pause.isSet) return;
    try {
      this.#child ??= this.#start();
    } catch {
      // Tried again by the first request.
    }
  }

  /** Whether a child process handles the requests. */
  get hasChild(): boolean {
    return this.#own === undefined;
  }

  /** Ends the helper; does not wait for a blocked one. */
  close(): void {
    this.#isClosed = true;
    for (const timer of [this.#check, this.#pause, this.#nextTrial, ...this.#retries]) timer.cancel();
    for (const child of [this.#child, this.#trial, ...this.#blocked]) child?.process.kill("SIGKILL");
    this.#own?.close();
    this.#child = undefined;
    for (const { reject } of this.#pending.values()) reject(new CdktrError("the file helper has ended"));
    this.#pending.clear();
  }

  #write(question: FileQuestion): void {
    if (this.#own !== undefined) {
      if (question.verb === "copy") this.#refuse(question, new CdktrError("no child process can be started"));
      else this.#own.answer(question);
      return;
    }
    if (this.#pause.isSet) return;
    try {
      this.#child ??= this.#start();
    } catch (error) {
      if (isLastingFailure(error)) {
        this.#workHere(errorMessage(error));
        return;
      }
      this.#refuse(question, error);
      return;
    }
    send(this.#child, question);
  }

  #refuse({ id }: FileQuestion, error: unknown): void {
    this.#pending.get(id)?.reject(error);
    this.#pending.delete(id);
  }

  /** No child process can be started: better without a deadline than not at all. */
  #workHere(reason: string): void {
    this.#own = new FileHandler((news) => {
      if (!this.#isClosed) this.#take(news);
    }, this.#digest);
    this.#nextTrial.every(AGAIN_MS);
    this.signals.emit(
      "warning",
      `No child process can be started to access files (${reason}): a mount that does not answer will block this process. A child is tried again every minute.`,
    );
    this.#restart();
  }

  /** Finds out whether a child process can be started again. */
  #try(): void {
    this.#trial?.process.kill("SIGKILL");
    try {
      this.#trial = this.#start();
      send(this.#trial, { id: TRIAL, verb: "forget", request: { key: "" } });
    } catch {
      this.#trial = undefined;
    }
  }

  /** The child handles the requests from now on. */
  #handOver(child: Child): void {
    this.#nextTrial.cancel();
    this.#trial = undefined;
    this.#own?.close();
    this.#own = undefined;
    this.#child = child;
    this.signals.emit(
      "warning",
      "A child process accesses files again: a mount that does not answer no longer blocks this process.",
    );
    this.signals.emit("restarted");
  }

  #start(): Child {
    const process = Bun.spawn([...this.#command], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
      // The child gets no secrets and no variables that change its behaviour.
      env: {},
    });
    process.unref();
    const child: Child = { process, at: undefined, hasSpoken: false, seen: "", checks: 0, moved: undefined };
    void this.#read(child);
    return child;
  }

  async #read(child: Child): Promise<void> {
    const decoder = new TextDecoder();
    let rest: string[] = [];
    try {
      for await (const chunk of child.process.stdout) {
        const text = decoder.decode(chunk, { stream: true });
        const lines = text.split("\n");
        if (lines.length === 1) {
          rest.push(text);
          continue;
        }
        lines[0] = rest.join("") + lines[0];
        rest = [lines.pop() ?? ""];
        for (const line of lines) this.#hear(child, JSON.parse(line) as FileNews);
      }
    } catch {
      // Handled like the end of the child.
    }
    this.#ended(child);
  }

  #hear(child: Child, news: FileNews): void {
    if (child.moved !== undefined) {
      child.moved();
      return;
    }
    if (child === this.#trial) this.#handOver(child);
    if (child !== this.#child) return;
    this.#silentStarts = 0;
    this.#pauses.reset();
    child.hasSpoken = true;
    if ("at" in news) child.at = { id: news.at, path: news.path };
    else {
      if (!("changed" in news || "warning" in news)) child.at = undefined;
      this.#take(news);
    }
  }

  #take(news: FileNews): void {
    if ("at" in news) return;
    if ("changed" in news) this.signals.emit("changed", news.changed);
    else if ("warning" in news) this.signals.emit("warning", news.warning);
    else {
      const pending = this.#pending.get(news.id);
      this.#pending.delete(news.id);
      if (this.#pending.size === 0) this.#check.cancel();
      if ("reply" in news) pending?.resolve(news.reply);
      else pending?.reject(Object.assign(new Error(news.error), { code: news.code }));
    }
  }

  /** Whether the child is blocked: it has work, but the kernel has not scheduled it for some time. */
  #look(): void {
    const child = this.#child;
    if (child === undefined) return;
    const seen = `${child.at?.id} ${child.at?.path} ${activityOf(child.process.pid)}`;
    child.checks = seen === child.seen ? child.checks + 1 : 0;
    child.seen = seen;
    if (child.checks >= CHECKS) this.#isBlocked(child);
  }

  #isBlocked(child: Child): void {
    const [first] = this.#pending.keys();
    const id = child.at?.id ?? first;
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#blocked.size < MOST_BLOCKED) {
      this.#blocked.add(child);
      child.moved = () => {
        child.moved = undefined;
        this.#blocked.delete(child);
        child.process.kill("SIGKILL");
        if (!this.#isClosed) resolve();
      };
    } else {
      child.process.kill("SIGKILL");
      const timer = new Timer(() => {
        this.#retries.delete(timer);
        resolve();
      });
      timer.in(AGAIN_MS);
      this.#retries.add(timer);
    }
    const guilty = id === undefined ? undefined : this.#pending.get(id);
    if (id !== undefined) this.#pending.delete(id);
    this.#restart();
    guilty?.reject(new PathSilentError(child.at?.path ?? "", promise));
  }

  #ended(child: Child): void {
    if (child.moved !== undefined) child.moved();
    else if (child === this.#child && !this.#isClosed) {
      if (!child.hasSpoken) {
        this.#child = undefined;
        if (++this.#silentStarts >= SILENT_STARTS) this.#workHere("it exits at once");
        else this.#pause.in(this.#pauses.next());
        return;
      }
      // The request during which it died is not retried: it may be the cause.
      const { at } = child;
      if (at !== undefined) {
        this.#pending.get(at.id)?.reject(new CdktrError("the file helper process was killed"));
        this.#pending.delete(at.id);
      }
      this.#restart();
    }
  }

  /** Sends the remaining requests to a new child. */
  #restart(): void {
    this.#child = undefined;
    for (const { question } of [...this.#pending.values()]) this.#write(question);
    if (this.#pending.size === 0) this.#check.cancel();
    this.signals.emit("restarted");
  }
}

function send({ process: { stdin } }: Child, question: FileQuestion): void {
  // If the child has exited, the end of its output brings the request to the next one.
  void (async () => {
    await stdin.write(`${JSON.stringify(question)}\n`);
    await stdin.flush();
  })().catch(() => {});
}

/** The kernel's counters for the main thread of a process, which change whenever it runs. */
function activityOf(pid: number): string {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    const [, state] = /^State:\s+(\S)/m.exec(status) ?? [];
    // It is runnable, but the CPUs are busy with other processes.
    if (state === "R") return `running at ${performance.now()}`;
    const switches = [...status.matchAll(/^\w*ctxt_switches:\s+(\d+)/gm)].map(([, count]) => count);
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const [user, system] = stat
      .slice(stat.lastIndexOf(")") + 2)
      .split(" ")
      .slice(11, 13);
    return [...switches, user, system].join(" ");
  } catch {
    return "ended";
  }
}

function helperCommand(): string[] {
  return childCommand(FILE_HELPER, join(import.meta.dir, "main.ts"));
}
