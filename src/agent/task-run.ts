import { resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { AssignedItem, RunAssignment } from "../contract/messages.ts";
import type { Outputs } from "../contract/outputs.ts";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { BackOff, Timer } from "../timer.ts";
import { isAllowedFailure } from "../workflow/allow-failure.ts";
import { formatDuration } from "../workflow/duration.ts";
import { formatExitCodes } from "../workflow/exit-codes.ts";
import type { TaskResult } from "../workflow/expressions.ts";
import { nodeId } from "../workflow/item-id.ts";
import type { TaskConfig, TaskDefinition } from "../workflow/model.ts";
import { ITEM_VARIABLES } from "../workflow/own-variables.ts";
import { mayRetry, retryDelayMs } from "../workflow/retry.ts";
import { canTransition, isTerminal, type RunStatus } from "../workflow/status.ts";
import { TASK_TRANSITIONS } from "../workflow/task-state.ts";
import type { Cgroups } from "./cgroups.ts";
import { type EnvFile, envFileOf, withEnvFile } from "./env-file.ts";
import { AGENT_MARKER, itemVariables, TASK_VARIABLES, taskEnvironment } from "./environment.ts";
import {
  CannotStartError,
  type Command,
  commandFor,
  type ExecutionContext,
  type Performed,
  type Performer,
  performerOf,
  preloadOf,
  type ResponseValues,
  scriptOf,
  startsInRunDirectory,
  touchedBy,
} from "./executors/index.ts";
import type { Outbox } from "./outbox.ts";
import { OutputsError } from "./parse-outputs.ts";
import { type Evaluated, evaluated, isMet, type ResolvedTask, resolved } from "./resolved-task.ts";
import type { RunDirectories, RunDirectory } from "./run-directories.ts";
import type { RunSecrets } from "./secrets/run-secrets.ts";
import { NoRoomError } from "./spawn-error.ts";
import { describeSurvivors, type Survivors } from "./survivors.ts";
import type { Inputs, TaskFiles, TryFiles } from "./task-files.ts";
import { TaskLimits } from "./task-limits.ts";
import { TaskLog } from "./task-log.ts";
import type { Barrier, TaskPaths } from "./task-paths.ts";
import { type ProcessEnd, TaskProcess } from "./task-process.ts";
import type { TaskSlots } from "./task-slots.ts";
import { type Instructions, isStarting, starterCommand } from "./task-starter.ts";

/** Shared by all runs of an agent. */
export interface AgentContext {
  readonly outbox: Outbox;
  readonly slots: TaskSlots;
  readonly clock: Clock;
  /** The environment that tasks inherit, see environment.ts. */
  readonly environment: Readonly<Record<string, string>>;
  /** The agent's working directory: the base of relative paths in tasks. */
  readonly directory: string;
  /** The paths that the agent itself does not touch. */
  readonly paths: TaskPaths;
  /** The soft limit of open files of tasks; undefined for that of the agent. */
  readonly openFiles: number | undefined;
  /** Time between TERM and KILL for tasks that do not say otherwise, ms. */
  readonly graceMs: number;
  /** The current boot of the host, see orphans.ts. */
  readonly bootId: string;
  /** Task runs (instance ids) that currently have a process: processes with their marker are not strays. */
  readonly liveTasks: Set<string>;
  /** Logs of task runs that have ended: what they left behind is told there. */
  readonly endedTasks: Map<string, TaskLog>;
  /** Processes of tasks that could not be ended. */
  readonly survivors: Survivors;
  /** The files of tasks, in the data directory. */
  readonly files: TaskFiles;
  /** The directories that runs have for themselves. */
  readonly directories: RunDirectories;
  /** Where the limits of tasks are enforced. */
  readonly cgroups: Cgroups;
  /** The most that tasks of a part of a run may have published that others of it still need, bytes; 128 MiB by default. */
  readonly keptOutputsBytes?: number;
  /** Gives numbers from 0 to below 1, for the jitter of delays; Math.random by default. */
  readonly random?: () => number;
}

/** Shared by all tasks of an attempt. */
export interface RunContext extends AgentContext {
  readonly assignment: RunAssignment;
  readonly variables: Readonly<Record<string, string>>;
  /** Absent if its workflow declares none. */
  readonly secrets?: RunSecrets | undefined;
  readonly runDirectory: RunDirectory;
}

/**
 * Why a task is stopped from outside. `superseded`: the principal considers the attempt over. `handed over`: this agent ends, and the
 * run goes to another one. In both cases nothing more is reported.
 */
export type StopReason = "cancelled" | "superseded" | "handed over" | "run timed out" | "fail fast";

/** Whether a stop for this reason is kept from the principal. */
export function isSilentStop(reason: StopReason | undefined): boolean {
  return reason === "superseded" || reason === "handed over";
}

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
/** Time limit for starting a task on a foreign mount, ms. */
const STARTING_MS = 30_000;
/** How long to wait for the helper that accesses a disk, before the task does that itself, ms. */
const ASK_MS = 100;
/** How long a task waits for a host that has no room for another process, and the pauses between its tries, ms. */
const NO_ROOM_MS = 300_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

/** One task of an attempt of a run, or one item of a fan-out, through all its retries. Its status changes only here, following the table of task-state.ts. */
export class TaskRun {
  readonly id: string;
  readonly definition: TaskDefinition;
  /** The item of the fan-out that it executes. */
  readonly item: AssignedItem | undefined;
  readonly #context: RunContext;
  readonly #log: TaskLog;
  readonly #owner: TaskOwner;
  #status: RunStatus = "PENDING";
  #attempt = 0;
  #process: TaskProcess | undefined;
  /** With the values of its expressions, since its first try. */
  #resolved: ResolvedTask;
  #isResolved = false;
  /** The files of the current try. */
  #files: TryFiles | undefined;
  #outputs: Outputs | null = null;
  #error: string | null = null;
  #isAllowed = false;
  #withdraw: (() => void) | undefined;
  /** The variables of the current try that hold secrets. */
  #secrets: Readonly<Record<string, string>> = {};
  /** Set while they are read; aborted if the try ends meanwhile. */
  #reading: AbortController | undefined;
  /** Set while this process performs the try itself. */
  #performing: AbortController | undefined;
  /** Those of the current try, if the task has any. */
  #limits: TaskLimits | undefined;
  readonly #limit: Timer;
  readonly #retry: Timer;
  readonly #starting: Timer;
  /** The foreign mount that the current process has to enter to start. */
  #mount: string | undefined;
  /** Whether this try has waited for the helper already. */
  #hasAsked = false;
  /** Until when the try waits for a host that has no room for its process. */
  #room = { until: 0, pauses: new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS) };
  #isShortOfRoom = false;
  /** Why the process was ended although nobody stopped it. */
  #fault: string | undefined;
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
    this.#limit = new Timer(() => this.#timeOut(), context.clock);
    this.#retry = new Timer(() => this.start(), context.clock);
    this.#starting = new Timer(() => this.#lookAgain(), context.clock);
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
    this.#try();
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
      this.#endProcess(because);
      return;
    }
    this.#retry.cancel();
    this.#becomeStopped(reason);
  }

  #try(): void {
    this.#withdraw = undefined;
    this.#attempt++;
    this.#fault = undefined;
    this.#become("RUNNING");
    const files = this.#context.files.of(this.id, this.#attempt);
    this.#files = files;
    this.#context.liveTasks.add(this.id);
    try {
      this.#resolve();
    } catch (error) {
      this.#cannotStart(error);
      return;
    }
    const limit = this.#resolved.task.timeout_ms;
    if (limit !== null) this.#limit.in(limit);
    this.#room = {
      until: this.#context.clock.monotonic() + NO_ROOM_MS,
      pauses: new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS),
    };
    this.#hasAsked = false;
    const wanted = this.#wantedSecrets();
    if (wanted === undefined) this.#begin(files);
    else void this.#readSecrets(files, wanted);
  }

  /** The secrets that a try needs, by variable, or by their own names if this process performs it. */
  #wantedSecrets(): Readonly<Record<string, string>> | undefined {
    const { config } = this.#resolved.task;
    const names = performerOf(config)?.secrets(config);
    if (names === undefined) return this.definition.secrets;
    return names.length === 0 ? undefined : Object.fromEntries(names.map((name) => [name, name]));
  }

  /** @throws CannotStartError when an expression has no value */
  #resolve(): void {
    if (this.#isResolved) return;
    const { assignment } = this.#context;
    const results = (id: string) => this.#owner.resultOf(id);
    this.#resolved = resolved(this.definition, assignment, results, this.item);
    this.#isResolved = true;
  }

  /** Reads the secrets of a try, then starts it. */
  async #readSecrets(files: TryFiles, wanted: Readonly<Record<string, string>>): Promise<void> {
    const { secrets } = this.#context;
    const reading = new AbortController();
    this.#files = files;
    this.#reading = reading;
    let values: Record<string, string> | undefined;
    let failure: unknown;
    try {
      values = await secrets?.read(wanted, reading.signal);
    } catch (error) {
      failure = error;
    }
    // The try may have ended meanwhile.
    if (this.#reading !== reading) {
      if (values !== undefined) secrets?.release(values);
      return;
    }
    this.#reading = undefined;
    if (failure !== undefined) this.#cannotStart(failure);
    else {
      this.#secrets = values ?? {};
      this.#begin(files);
    }
  }

  #begin(files: TryFiles): void {
    const performer = performerOf(this.#resolved.task.config);
    if (performer === undefined) this.#start(files);
    else void this.#perform(performer);
  }

  /** Performs the try in this process. */
  async #perform(performer: Performer<TaskConfig>): Promise<void> {
    const performing = new AbortController();
    this.#performing = performing;
    const { directory, environment, paths, slots } = this.#context;
    let performed: Performed;
    try {
      performed = await performer.perform(this.#resolved.task.config, {
        directory,
        environment,
        secrets: this.#secrets,
        signal: performing.signal,
        say: (level, text) => this.#log.remark(level, text),
        read: (path, maxBytes) => paths.read(resolve(directory, path), maxBytes),
        evaluate: (template, response) => this.#evaluate(template, response),
      });
    } catch (error) {
      const reason =
        error instanceof CannotStartError ? error.message : `Cannot start: ${errorMessage(error)}`;
      this.#log.remark("ERROR", reason);
      if (error instanceof CannotStartError && error.hint !== undefined)
        this.#log.remark("ERROR", error.hint);
      performed = { error: reason, outputs: null };
    }
    this.#performing = undefined;
    this.#leaveSlot();
    slots.release();
    this.#conclude(() => {
      const { error, outputs } = performed;
      if (this.#fault !== undefined) this.#failed({ error: this.#fault });
      else if (this.#stopped !== undefined) this.#becomeStopped(this.#stopped);
      else if (error !== null) this.#failed({ error });
      else this.#publish(() => outputs);
    });
  }

  #evaluate(template: string, response: ResponseValues): Evaluated {
    const { assignment } = this.#context;
    const results = (id: string) => this.#owner.resultOf(id);
    return evaluated(this.definition, template, assignment, results, response, this.item);
  }

  /** Starts the process of a try; later if the host has no room for it now. */
  #start(files: TryFiles): void {
    const { slots, outbox, clock } = this.#context;
    this.#files = files;
    let isRemembered = false;
    try {
      const { task, workflowEnv } = this.#resolved;
      const background = task.background ?? "kill";
      const environment = taskEnvironment(
        {
          inherited: this.#context.environment,
          workflow: workflowEnv,
          run: this.#context.variables,
        },
        task,
        this.id,
        this.#attempt,
        files,
        this.#secrets,
      );
      if (this.item !== undefined) Object.assign(environment, itemVariables(this.item));
      files.writeInputs(this.#owner.inputsOf(this.definition));
      // Whoever ends leftovers of this agent does not find it.
      if (background === "leave") delete environment[AGENT_MARKER];
      const command = this.#command(environment, files);
      if (command === undefined) return;
      const { stdin, grace_ms = this.#context.graceMs } = task;
      this.#process = TaskProcess.start(command, this.#log, {
        graceMs: grace_ms,
        background,
        openFiles: this.#context.openFiles,
        secrets: this.#context.secrets,
        stdin: stdin === undefined ? undefined : files.writeStdin(stdin),
        remember: (pid, start_ticks) => {
          isRemembered = true;
          outbox.rememberProcess({
            pid,
            start_ticks,
            boot_id: this.#context.bootId,
            task_instance_id: this.id,
          });
        },
      });
    } catch (error) {
      if (error instanceof NoRoomError && clock.monotonic() < this.#room.until) {
        if (!this.#starting.isSet && !this.#isShortOfRoom) {
          this.#isShortOfRoom = true;
          this.#log.remark("WARN", `${error.message} The task waits until there is room. ${error.hint}`);
        }
        this.#starting.in(this.#room.pauses.next());
        return;
      }
      this.#cannotStart(error);
      return;
    }
    const { pid, ended } = this.#process;
    if (this.#mount !== undefined) this.#starting.in(STARTING_MS);
    void ended.then((end) => {
      this.#process = undefined;
      this.#leaveSlot();
      this.#context.survivors.add(end.survivors);
      // What lives on is tried again by the next process of this agent.
      if (isRemembered && end.survivors.length === 0) outbox.forgetProcess(pid);
      slots.release();
      this.#ended(end);
    });
  }

  #cannotStart(error: unknown): void {
    const reason = error instanceof CannotStartError ? error.message : `Cannot start: ${errorMessage(error)}`;
    this.#log.remark("ERROR", reason);
    if (error instanceof CannotStartError && error.hint !== undefined) this.#log.remark("ERROR", error.hint);
    // In a separate turn: thousands of tasks that cannot start must not recurse into each other.
    queueMicrotask(() => this.#couldNotStart(reason));
  }

  #leaveSlot(): void {
    this.#context.secrets?.release(this.#secrets);
    this.#secrets = {};
    this.#limit.cancel();
    this.#starting.cancel();
    this.#isShortOfRoom = false;
    this.#context.liveTasks.delete(this.id);
  }

  /** The try ends without a process. */
  #couldNotStart(error: string): void {
    this.#files?.remove();
    this.#limits?.close(true);
    this.#limits = undefined;
    this.#leaveSlot();
    this.#context.slots.release();
    this.#failed({ error });
  }

  /** Time for another look: is there room now, or does the process still wait for a mount? */
  #lookAgain(): void {
    if (this.#process !== undefined) this.#giveUpStarting();
    else if (this.#files !== undefined) this.#start(this.#files);
  }

  /**
   * The command of the try. On a mount that does not respond, the process of the task performs everything that could block.
   * @returns undefined if the helper has to access the paths first: {@link #start} is called again
   */
  #command(environment: Readonly<Record<string, string>>, files: TryFiles): Command | undefined {
    const { config, id, env_file } = this.#resolved.task;
    const { openFiles, runDirectory } = this.#context;
    const directory = startsInRunDirectory(config) ? runDirectory.make() : this.#context.directory;
    const script = scriptOf(config);
    const preload = preloadOf(config);
    let context: ExecutionContext = {
      directory,
      environment,
      ...(script === null ? {} : { script: files.writeScript(id, script, directory) }),
      ...(preload === undefined ? {} : { preload: files.writePreload(preload) }),
    };
    const envFile = env_file === undefined ? undefined : this.#envFile(env_file, context);
    let barrier = this.#barrier(context, envFile);
    if (envFile !== undefined && barrier === undefined) {
      context = { ...context, environment: withEnvFile(environment, envFile) };
      // Its PATH may lead elsewhere.
      barrier = this.#barrier(context, undefined);
    }
    if (barrier?.answer !== undefined && !this.#hasAsked) {
      this.#wait(barrier.answer);
      return undefined;
    }
    this.#mount = barrier?.point;
    const limits = this.#limitsOf();
    if (barrier === undefined && limits === undefined) return commandFor(config, context);
    const { script: file, preload: before } = context;
    const instructions: Instructions = {
      config,
      directory,
      script: file,
      preload: before,
      envFile: barrier === undefined ? undefined : envFile,
      confinement: limits?.confinement,
      openFiles,
    };
    return starterCommand(instructions, context.environment, (text) => files.writeInstructions(text));
  }

  /** The limits of the try, which are told once. */
  #limitsOf(): TaskLimits | undefined {
    const { limits } = this.#resolved.task;
    if (limits === undefined || Object.keys(limits).length === 0) return undefined;
    if (this.#limits !== undefined) return this.#limits;
    this.#limits = new TaskLimits(limits, `${this.id}-${this.#attempt}`, this.#context.cgroups);
    if (this.#attempt === 1) this.#log.remark("INFO", this.#limits.remark);
    return this.#limits;
  }

  #envFile(name: string, context: ExecutionContext): EnvFile {
    const { config, env } = this.#resolved.task;
    const [directory] = touchedBy(config, context) ?? [context.directory];
    const own = [env, this.#secrets, this.#context.variables].flatMap((variables) => Object.keys(variables));
    const ofItem = this.item === undefined ? [] : Object.keys(ITEM_VARIABLES);
    const overridden = [...own, ...ofItem, ...TASK_VARIABLES];
    return envFileOf(name, directory, context.environment, overridden);
  }

  #barrier(context: ExecutionContext, envFile: EnvFile | undefined): Barrier | undefined {
    const touched = touchedBy(this.#resolved.task.config, context);
    if (touched === undefined) return undefined;
    const [cwd] = touched;
    const paths = envFile === undefined ? touched : [...touched, envFile.path];
    return this.#context.paths.barrier({ paths, cwd, searchPath: context.environment.PATH ?? "" });
  }

  #wait(answer: Promise<void>): void {
    this.#hasAsked = true;
    this.#starting.in(ASK_MS);
    const attempt = this.#attempt;
    void answer.then(() => {
      if (attempt !== this.#attempt || this.#process !== undefined || !this.#starting.isSet) return;
      this.#starting.cancel();
      this.#lookAgain();
    });
  }

  #timeOut(): void {
    const limit = formatDuration(this.#resolved.task.timeout_ms ?? 0);
    const silent = this.#silentMount();
    this.#endFor(
      `timed out after ${limit}${silent === undefined ? "" : `: ${silent}`}`,
      `Timed out after ${limit}${silent === undefined ? "" : `: ${silent}`}.`,
    );
  }

  #giveUpStarting(): void {
    const silent = this.#silentMount();
    if (silent !== undefined)
      this.#endFor(silent, `Cannot start: in ${formatDuration(STARTING_MS)}, ${silent}.`);
  }

  /** The reason if the program has not started because of a mount. */
  #silentMount(): string | undefined {
    const waits = this.#mount !== undefined && this.#process !== undefined && isStarting(this.#process.pid);
    return waits ? `the mount ${this.#mount} did not answer` : undefined;
  }

  /** Ends the process of a failed attempt. */
  #endFor(fault: string, message: string): void {
    if (this.#stopped !== undefined || this.#fault !== undefined) return;
    this.#fault = fault;
    this.#log.remark("ERROR", this.#process === undefined ? message : `${message} SIGTERM is sent.`);
    this.#endProcess(fault);
  }

  /** Ends the process of the try, or its wait for one. */
  #endProcess(reason: string): void {
    if (this.#process !== undefined) this.#process.end();
    else if (this.#performing !== undefined) this.#performing.abort();
    else if (this.#starting.isSet || this.#reading !== undefined) {
      this.#starting.cancel();
      this.#reading?.abort();
      this.#reading = undefined;
      queueMicrotask(() => this.#couldNotStart(reason));
    }
    // Otherwise it could not start, and its failure is about to be reported.
  }

  #ended(end: ProcessEnd): void {
    try {
      this.#conclude(() => this.#judge(end), end);
    } finally {
      this.#files?.remove();
    }
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
    const limits = this.#limits?.close((this.#resolved.task.background ?? "kill") !== "leave");
    this.#limits = undefined;
    const end = limits?.peakKb == null ? ended : { ...ended, maxRssKb: limits.peakKb };
    const { repeat } = this.definition;
    const hasFailed = end.signal !== null || end.exitCode !== 0;
    if (
      limits?.exceeded !== undefined &&
      hasFailed &&
      this.#stopped === undefined &&
      this.#fault === undefined
    ) {
      this.#log.remark("ERROR", `The task ${limits.exceeded}.`);
      if (repeat === undefined) this.#failed({ error: limits.exceeded, end });
      else this.#poll(repeat, end, limits.exceeded);
    } else if (repeat !== undefined && this.#stopped === undefined) {
      this.#poll(repeat, end, this.#fault);
    } else if (this.#fault !== undefined) {
      this.#failed({ error: this.#fault, end });
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
      this.#publish(() => this.#files?.readOutputs() ?? null, end);
    }
  }

  /** A try of a poll has ended: either the task is over, or it waits for its next try, and no agent has it. */
  #poll(repeat: NonNullable<TaskDefinition["repeat"]>, end: ProcessEnd, fault: string | undefined): void {
    const exit_code = fault === undefined && end.signal === null ? end.exitCode : null;
    let source = "until";
    if (exit_code !== null) {
      try {
        const read = this.#files?.readOutputs() ?? null;
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
    try {
      const published = read();
      const { secrets } = this.#context;
      const outputs =
        published === null || secrets === undefined ? published : secrets.maskOutputs(published);
      const lack = lackOf(this.definition, outputs);
      if (lack !== undefined) {
        this.#log.remark(
          "ERROR",
          `It ${end === undefined ? "ended well" : "ended with status 0"}, but failed: ${lack}.`,
        );
        this.#failed({ error: lack, end });
        return;
      }
      if (outputs !== null) this.#owner.keepOutputs(this, outputs);
      this.#outputs = outputs;
    } catch (error) {
      if (!(error instanceof OutputsError)) throw error;
      this.#log.remark("ERROR", `Its outputs cannot be published: ${error.message}.`);
      this.#failed({ error: `its outputs cannot be published: ${error.message}`, end });
      return;
    }
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
    const { assignment, outbox, clock } = this.#context;
    this.#reportedMs = Math.max(this.#reportedMs, clock.now());
    if (status === "RUNNING") this.#begunMs ??= clock.monotonic();
    const tookMs = this.#begunMs === undefined ? undefined : Math.round(clock.monotonic() - this.#begunMs);
    if (!isSilentStop(this.#stopped)) {
      outbox.addReport({
        kind: "task",
        workflow_id: assignment.workflow_id,
        workflow_instance_id: assignment.workflow_instance_id,
        slice: assignment.slice,
        attempt: assignment.attempt,
        task_id: this.definition.id,
        ...(this.item === undefined ? {} : { item: { key: this.item.key, index: this.item.index } }),
        task_instance_id: this.id,
        task_attempt: this.#attempt,
        status,
        timestamp_ms: this.#reportedMs,
        exit_code: details.end?.exitCode ?? null,
        signal: details.end?.signal ?? null,
        error: this.#error,
        cpu_ms: details.end?.cpuMs ?? null,
        max_rss_kb: details.end?.maxRssKb ?? null,
        outputs: this.#outputs,
        ...(this.isOver && tookMs !== undefined ? { duration_ms: tookMs } : {}),
        ...(details.nextTryMs === undefined ? {} : { next_try_ms: details.nextTryMs }),
        ...(this.#isAllowed ? { is_allowed: true } : {}),
      });
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

const STOP_TEXTS: Readonly<Record<StopReason, string>> = {
  cancelled: "the run was cancelled",
  superseded: "the principal considers this attempt of the run over",
  "handed over": "this agent stops before the run has finished",
  "run timed out": "the run timed out",
  "fail fast": "another item failed (fail_fast)",
};

/** Longest name of an item in log lines, characters. */
const MAX_ITEM_NAME = 200;

/** The name of an item in log lines: `Load[orders]`. */
function itemName(name: string, key: string): string {
  const all = nodeId(name, key);
  return all.length <= MAX_ITEM_NAME ? all : `${all.slice(0, MAX_ITEM_NAME - 2)}…]`;
}
