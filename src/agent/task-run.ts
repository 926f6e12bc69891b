import type { Artifacts, AssignedItem } from "../contract/messages.ts";
import type { Outputs } from "../contract/outputs.ts";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { Timer } from "../timer.ts";
import { isAllowedFailure } from "../workflow/allow-failure.ts";
import { formatDuration } from "../workflow/duration.ts";
import { formatExitCodes } from "../workflow/exit-codes.ts";
import type { TaskResult } from "../workflow/expressions.ts";
import { itemName } from "../workflow/item-id.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import { mayRetry, retryDelayMs } from "../workflow/retry.ts";
import { canTransition, isTerminal, type RunStatus } from "../workflow/status.ts";
import { TASK_TRANSITIONS } from "../workflow/task-state.ts";
import type { Performed, ResponseValues } from "./executors/index.ts";
import { OutputsError } from "./parse-outputs.ts";
import { removeFiles } from "./remove-files.ts";
import { taskReport } from "./reports.ts";
import { type Evaluated, evaluated, isMet, type ResolvedTask, resolved } from "./resolved-task.ts";
import { ArtifactsError } from "./run-blobs.ts";
import { describeSurvivors } from "./survivors.ts";
import { isSilentStop, type RunContext, STOP_TEXTS, type StopReason } from "./task-context.ts";
import type { Inputs } from "./task-files.ts";
import { TaskLog } from "./task-log.ts";
import type { ProcessEnd } from "./task-process.ts";
import { type InputFiles, TaskTry, type TryOwner } from "./task-try.ts";

/** How a task attempt failed. */
interface Failure {
  readonly error: string;
  readonly end?: ProcessEnd | undefined;
  /** The exit status that is the reason; absent if it failed for another one. */
  readonly exitCode?: number;
}

/** Further contents of a report. */
interface Details extends Partial<Failure> {
  /** Time until the next try, ms. */
  readonly nextTryMs?: number;
}

/** The run, as one of its tasks needs it. */
export interface TaskOwner {
  /** What the tasks on which this one depends have published. */
  inputsOf(task: TaskDefinition): Inputs;
  /** What they have left as files. */
  inputFilesOf(task: TaskDefinition): readonly InputFiles[];
  /** How a task ended; undefined if it is not over. */
  resultOf(id: string): TaskResult | undefined;
  /**
   * Keeps what a task publishes for those that depend on it.
   * @throws OutputsError when that is too much together with what others have published
   */
  keepOutputs(task: TaskRun, outputs: Outputs): void;
  /** Called once, when the status is final. */
  taskOver(task: TaskRun): void;
  /** The only task of the slice, a poll, waits for its next try, which may be on another agent. */
  taskRests(): void;
}

const MAX_ERROR_LENGTH = 4096;

/** One task of an attempt of a run, or one item of a fan-out, through all its retries. Its status changes only here, following the table of task-state.ts. */
export class TaskRun implements TryOwner {
  readonly id: string;
  readonly definition: TaskDefinition;
  /** The item of the fan-out that it executes. */
  readonly item: AssignedItem | undefined;
  readonly #context: RunContext;
  readonly #log: TaskLog;
  readonly #owner: TaskOwner;
  #status: RunStatus = "PENDING";
  #attempt = 0;
  /** The current try, or the last one. */
  #current: TaskTry | undefined;
  /** With the values of its expressions, since its first try. */
  #resolved: ResolvedTask;
  #isResolved = false;
  #outputs: Outputs | null = null;
  #artifacts: Artifacts | null = null;
  /** Set while what it has left is being kept. */
  #keeping: AbortController | undefined;
  #error: string | null = null;
  #isAllowed = false;
  #withdraw: (() => void) | undefined;
  readonly #retry: Timer;
  #stopped: StopReason | undefined;
  /** Why it was stopped, in words. */
  #because = "";
  #reportedMs = 0;
  /** When its first try began (monotonic). */
  #begunMs: number | undefined;
  /** Of a poll that goes on here: the time since its first try, ms, when it came here (monotonic). */
  readonly #before: { readonly elapsedMs: number; readonly atMs: number };

  constructor(definition: TaskDefinition, context: RunContext, owner: TaskOwner, item?: AssignedItem) {
    this.definition = definition;
    this.item = item;
    this.#context = context;
    this.#resolved = { task: definition, workflowEnv: context.assignment.workflow.env };
    this.#retry = new Timer(() => this.start(), context.clock);
    this.#owner = owner;
    const { assignment } = context;
    const going = item === undefined ? assignment.continues?.[definition.id] : undefined;
    this.id = going?.task_instance_id ?? crypto.randomUUID();
    if (going !== undefined) this.#status = "WAITING";
    this.#attempt = going?.task_attempt ?? 0;
    this.#before = { elapsedMs: going?.elapsed_ms ?? 0, atMs: context.clock.monotonic() };
    this.#log = new TaskLog(
      context.outbox,
      {
        workflow_id: assignment.workflow_id,
        workflow_name: assignment.workflow.name,
        workflow_instance_id: assignment.workflow_instance_id,
        task_name: item === undefined ? definition.name : itemName(definition.name, item.key),
        task_instance_id: this.id,
      },
      context.clock,
      context.secrets && ((text) => this.#mask(text)),
    );
  }

  get status(): RunStatus {
    return this.#status;
  }

  get isOver(): boolean {
    return isTerminal(TASK_TRANSITIONS, this.#status);
  }

  /** What it has published, until its owner was told that it is over; null for nothing. */
  get outputs(): Outputs | null {
    return this.#outputs;
  }

  /** What it has left as files, once it has COMPLETED; null for nothing. */
  get artifacts(): Artifacts | null {
    return this.#artifacts;
  }

  /** Why it does not complete, as far as it is known. */
  get error(): string | null {
    return this.#error;
  }

  /** Whether it FAILED, and was allowed to. */
  get isAllowed(): boolean {
    return this.#isAllowed;
  }

  /** All dependencies have COMPLETED: runs as soon as the agent has a free slot. */
  start(): void {
    this.#withdraw = this.#context.slots.request(this.#context.assignment.workflow_instance_id, () =>
      this.startInSlot(),
    );
  }

  /** Runs in a slot that was given to it. */
  startInSlot(): void {
    this.#withdraw = undefined;
    this.#attempt++;
    this.#become("RUNNING");
    const { id, definition, item } = this;
    const current = new TaskTry(
      { id, attempt: this.#attempt, definition, item },
      this.#context,
      this.#log,
      this,
    );
    this.#current = current;
    try {
      this.#resolve();
    } catch (error) {
      current.cannotStart(error);
      return;
    }
    current.begin(this.#resolved);
  }

  /** It is not to run. */
  skip(because: string): void {
    this.#become("SKIPPED", { error: because });
  }

  /** Whether it is to run cannot be computed. */
  fail(because: string, isAllowed: boolean): void {
    this.#log.remark("ERROR", `Cannot start: ${because}.`);
    this.#isAllowed = isAllowed;
    this.#become("FAILED", { error: because });
  }

  /**
   * Stops the task: its process if it has one, or its wait.
   * @param because the reason in words
   */
  stop(reason: StopReason, because = STOP_TEXTS[reason]): void {
    if (this.isOver || this.#stopped !== undefined) return;
    this.#stopped = reason;
    this.#because = because;
    this.#withdraw?.();
    if (this.#status === "RUNNING") {
      this.#log.remark("WARN", `Stopped: ${because}.`);
      if (this.#keeping === undefined) this.#current?.stop(because);
      else this.#keeping.abort();
      return;
    }
    this.#retry.cancel();
    this.#becomeStopped(reason);
  }

  /** @throws CannotStartError when an expression has no value */
  #resolve(): void {
    if (this.#isResolved) return;
    const { assignment } = this.#context;
    const results = (id: string) => this.#owner.resultOf(id);
    this.#resolved = resolved(this.definition, assignment, results, this.item);
    this.#isResolved = true;
  }

  inputFiles(): readonly InputFiles[] {
    return this.#owner.inputFilesOf(this.definition);
  }

  inputs(): Inputs {
    return this.#owner.inputsOf(this.definition);
  }

  evaluate(template: string, response: ResponseValues): Evaluated {
    const { assignment } = this.#context;
    const results = (id: string) => this.#owner.resultOf(id);
    return evaluated(this.definition, template, assignment, results, response, this.item);
  }

  tryEnded(end: ProcessEnd): void {
    this.#conclude(() => this.#judge(end), end);
  }

  tryPerformed({ error, outputs }: Performed): void {
    this.#conclude(() => {
      const fault = this.#current?.fault;
      if (fault !== undefined) this.#failed({ error: fault });
      else if (this.#stopped !== undefined) this.#becomeStopped(this.#stopped);
      else if (error !== null) this.#failed({ error });
      else this.#publish(() => outputs);
    });
  }

  tryNotStarted(error: string): void {
    this.#failed({ error });
  }

  /** Decides what becomes of a try that is over. If that fails, so does the task, and other runs of the agent go on. */
  #conclude(decide: () => void, end?: ProcessEnd): void {
    try {
      decide();
    } catch (error) {
      // Once its end is told, only a new process of the agent can take the run further.
      if (this.#status !== "RUNNING") throw error;
      log.error(`The end of task ${this.definition.id} (${this.id}) could not be handled:`, error);
      this.#failed({ error: `the agent could not handle its end: ${errorMessage(error)}`, end });
    }
  }

  #judge(ended: ProcessEnd): void {
    const limits = this.#current?.liftLimits();
    const fault = this.#current?.fault;
    const end = limits?.peakKb == null ? ended : { ...ended, maxRssKb: limits.peakKb };
    const { repeat } = this.definition;
    const hasFailed = end.signal !== null || end.exitCode !== 0;
    if (limits?.exceeded !== undefined && hasFailed && this.#stopped === undefined && fault === undefined) {
      this.#log.remark("ERROR", `The task ${limits.exceeded}.`);
      if (repeat === undefined) this.#failed({ error: limits.exceeded, end });
      else this.#poll(repeat, end, limits.exceeded);
    } else if (repeat !== undefined && this.#stopped === undefined) {
      this.#poll(repeat, end, fault);
    } else if (fault !== undefined) {
      this.#failed({ error: fault, end });
    } else if (end.signal !== null) {
      if (this.#stopped === undefined) {
        const memory = end.signal === "SIGKILL" ? " (by a person, or by the system when memory ran out)" : "";
        this.#log.remark("ERROR", `Ended by ${end.signal}${memory}.`);
      }
      this.#failed({ error: `ended by ${end.signal}`, end });
    } else if (end.exitCode !== 0 && end.exitCode !== null) {
      const why = end.lastError === null ? "" : `: ${end.lastError}`;
      this.#failed({ error: `exit status ${end.exitCode}${why}`, end, exitCode: end.exitCode });
    } else if (this.#stopped !== undefined) {
      this.#becomeStopped(this.#stopped, end);
    } else {
      this.#publish(() => this.#current?.readOutputs() ?? null, end);
    }
  }

  /** A try of a poll has ended: either the task is over, or it waits for its next try, and no agent has it. */
  #poll(repeat: NonNullable<TaskDefinition["repeat"]>, end: ProcessEnd, fault: string | undefined): void {
    const exit_code = fault === undefined && end.signal === null ? end.exitCode : null;
    let source = "until";
    if (exit_code !== null) {
      try {
        const read = this.#current?.readOutputs() ?? null;
        const results = (id: string) => this.#owner.resultOf(id);
        const attempt = { exit_code, outputs: read };
        const met = isMet(this.definition, repeat.until, this.#context.assignment, results, attempt);
        ({ source } = met);
        if (met.value === true) {
          this.#publish(() => read, end);
          return;
        }
      } catch (error) {
        this.#failed({ error: `until: ${errorMessage(error)}`, end });
        return;
      }
    }
    const {
      every_ms,
      max_attempts = Number.POSITIVE_INFINITY,
      timeout_ms = Number.POSITIVE_INFINITY,
    } = repeat;
    const elapsedMs = this.#before.elapsedMs + this.#context.clock.monotonic() - this.#before.atMs;
    const reason = fault ?? (end.signal === null ? source : `ended by ${end.signal}`);
    if (this.#attempt >= max_attempts) {
      const tries = max_attempts === 1 ? "1 try" : `${max_attempts} tries`;
      this.#failed({ error: `the condition was not met after ${tries}: ${reason}`, end });
    } else if (elapsedMs + every_ms > timeout_ms) {
      const error = `the condition was not met within ${formatDuration(timeout_ms)}: ${reason}`;
      this.#failed({ error, end });
    } else {
      this.#become("WAITING", { end, nextTryMs: every_ms });
      this.#owner.taskRests();
    }
  }

  /** Its work has ended well; the task has if what it publishes can be read. */
  #publish(read: () => Outputs | null, end?: ProcessEnd): void {
    let outputs: Outputs | null;
    let left: string | null;
    try {
      const published = read();
      const { secrets } = this.#context;
      outputs = published === null || secrets === undefined ? published : secrets.maskOutputs(published);
      const lack = lackOf(this.definition, outputs);
      if (lack !== undefined) {
        this.#log.remark(
          "ERROR",
          `It ${end === undefined ? "ended well" : "ended with status 0"}, but failed: ${lack}.`,
        );
        this.#failed({ error: lack, end });
        return;
      }
      left = end === undefined ? null : (this.#current?.takeArtifacts() ?? null);
    } catch (error) {
      this.#cannotPublish(error, end);
      return;
    }
    if (left === null) this.#complete(outputs, end);
    else void this.#keep(left, outputs, end);
  }

  /** Keeps what it has left as files: it has COMPLETED when that is safe. */
  async #keep(directory: string, outputs: Outputs | null, end?: ProcessEnd): Promise<void> {
    const { blobs, assignment, secrets } = this.#context;
    const keeping = new AbortController();
    this.#keeping = keeping;
    const { signal } = keeping;
    let failure: unknown;
    try {
      const isSecret = (name: string) => secrets !== undefined && secrets.mask(name) !== name;
      const say = (level: "INFO" | "WARN", text: string) => this.#log.remark(level, text);
      const left = { task_instance_id: this.id, directory, isSecret };
      this.#artifacts = (await blobs?.keep(assignment, left, { signal, say })) ?? null;
    } catch (error) {
      failure = error;
    }
    this.#keeping = undefined;
    void removeFiles(directory);
    this.#conclude(() => {
      if (this.#stopped !== undefined) this.#becomeStopped(this.#stopped, end);
      else if (failure !== undefined) this.#cannotPublish(failure, end);
      else this.#complete(outputs, end);
    }, end);
  }

  #cannotPublish(error: unknown, end?: ProcessEnd): void {
    const isOfFiles = error instanceof ArtifactsError;
    if (!(isOfFiles || error instanceof OutputsError)) throw error;
    const what = isOfFiles ? "artifacts cannot be kept" : "outputs cannot be published";
    this.#log.remark("ERROR", `Its ${what}: ${error.message}.`);
    this.#failed({ error: `its ${what}: ${error.message}`, end });
  }

  #complete(outputs: Outputs | null, end?: ProcessEnd): void {
    try {
      if (outputs !== null) this.#owner.keepOutputs(this, outputs);
    } catch (error) {
      this.#artifacts = null;
      this.#cannotPublish(error, end);
      return;
    }
    this.#outputs = outputs;
    this.#become("COMPLETED", { end });
  }

  #failed({ error, end, exitCode }: Failure): void {
    if (this.#stopped !== undefined) {
      this.#becomeStopped(this.#stopped, end);
      return;
    }
    const { retry } = this.#resolved.task;
    // An expression without a value would have none in the next attempt either.
    const delayMs = this.#isResolved ? retryDelayMs(retry, this.#attempt, this.#context.random) : null;
    const isAllowed = isAllowedFailure(this.definition, exitCode ?? null);
    if (delayMs === null) {
      this.#isAllowed = isAllowed;
      this.#become("FAILED", { error, end });
      return;
    }
    const failed = `Attempt ${this.#attempt} of ${retry.max_attempts} failed (${error})`;
    if (!mayRetry(retry, exitCode ?? null)) {
      this.#log.remark(
        "WARN",
        `${failed}; it is not tried again: on_exit_codes has only ${formatExitCodes(retry.on_exit_codes ?? [])}.`,
      );
      this.#isAllowed = isAllowed;
      this.#become("FAILED", { error, end });
      return;
    }
    this.#become("WAITING", { error, end, nextTryMs: delayMs });
    this.#log.remark("WARN", `${failed}; next attempt in ${formatDuration(delayMs)}.`);
    this.#retry.in(delayMs);
  }

  /** A text with `***` in the place of each secret. */
  #mask<T extends string | undefined>(text: T): T | string {
    return text === undefined ? text : (this.#context.secrets?.mask(text) ?? text);
  }

  #becomeStopped(reason: StopReason, end?: ProcessEnd): void {
    const error = this.#because;
    if (reason !== "run timed out") this.#become("CANCELLED", { error, end });
    else this.#become(this.#status === "PENDING" ? "SKIPPED" : "FAILED", { error, end });
  }

  #become(status: RunStatus, details: Details = {}): void {
    if (!canTransition(TASK_TRANSITIONS, this.#status, status)) {
      throw new Error(`task ${this.definition.id} cannot become ${status}: it is ${this.#status}`);
    }
    this.#status = status;
    this.#error = this.#mask(errorOf(details))?.slice(0, MAX_ERROR_LENGTH) ?? null;
    const { outbox, clock } = this.#context;
    this.#reportedMs = Math.max(this.#reportedMs, clock.now());
    if (status === "RUNNING") this.#begunMs ??= clock.monotonic();
    const tookMs = this.#begunMs === undefined ? undefined : Math.round(clock.monotonic() - this.#begunMs);
    if (!isSilentStop(this.#stopped)) {
      const { end, nextTryMs } = details;
      outbox.addReport(
        taskReport(this.#context, {
          task_id: this.definition.id,
          ...(this.item === undefined ? {} : { item: { key: this.item.key, index: this.item.index } }),
          task_instance_id: this.id,
          task_attempt: this.#attempt,
          status,
          timestamp_ms: this.#reportedMs,
          exit_code: end?.exitCode ?? null,
          signal: end?.signal ?? null,
          error: this.#error,
          cpu_ms: end?.cpuMs ?? null,
          max_rss_kb: end?.maxRssKb ?? null,
          outputs: this.#outputs,
          ...(this.isOver && tookMs !== undefined ? { duration_ms: tookMs } : {}),
          ...(nextTryMs === undefined ? {} : { next_try_ms: nextTryMs }),
          ...(this.#isAllowed ? { is_allowed: true } : {}),
          ...(this.#artifacts !== null && status === "COMPLETED" ? { artifacts: this.#artifacts } : {}),
        }),
      );
    }
    if (!this.isOver) return;
    this.#context.endedTasks.set(this.id, this.#log);
    this.#owner.taskOver(this);
    // Who needs them has them now.
    this.#outputs = null;
  }
}

/** Which of the outputs that it declares a task has not published, in words; undefined for none. */
function lackOf({ outputs: declared = [] }: TaskDefinition, published: Outputs | null): string | undefined {
  const lacking = declared.filter((name) => published === null || !Object.hasOwn(published, name));
  if (lacking.length === 0) return undefined;
  const names = lacking.map((name) => `"${name}"`).join(", ");
  return lacking.length === 1
    ? `it declares the output ${names} but did not publish it`
    : `it declares the outputs ${names} but did not publish them`;
}

/** Why a task failed or was stopped, and which of its processes live on all the same. */
function errorOf({ error, end }: Partial<Failure>): string | undefined {
  if (error === undefined || end === undefined || end.survivors.length === 0) return error;
  return `${error}; ${describeSurvivors(end.survivors)}`;
}
