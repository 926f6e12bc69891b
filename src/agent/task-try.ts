import { resolve } from "node:path";
import type { AssignedItem, RunAssignment } from "../contract/messages.ts";
import type { Outputs } from "../contract/outputs.ts";
import { errorMessage } from "../errors.ts";
import { BackOff, Timer } from "../timer.ts";
import { formatDuration } from "../workflow/duration.ts";
import type { TaskConfig, TaskDefinition } from "../workflow/model.ts";
import { ITEM_VARIABLES } from "../workflow/own-variables.ts";
import { type EnvFile, envFileOf, withEnvFile } from "./env-file.ts";
import {
  AGENT_MARKER,
  itemVariables,
  TASK_VARIABLES,
  taskEnvironment,
  traceVariables,
} from "./environment.ts";
import {
  CannotStartError,
  type Command,
  commandFor,
  type ExecutionContext,
  leastMemoryOf,
  type Performed,
  type Performer,
  performerOf,
  preloadOf,
  type ResponseValues,
  scriptOf,
  startsInRunDirectory,
  touchedBy,
} from "./executors/index.ts";
import type { Account } from "./libc.ts";
import type { Evaluated, ResolvedTask } from "./resolved-task.ts";
import { unpack } from "./run-bundle.ts";
import { NoRoomError } from "./spawn-error.ts";
import type { RunContext } from "./task-context.ts";
import type { Inputs, TryFiles } from "./task-files.ts";
import { TaskLimits } from "./task-limits.ts";
import type { TaskLog } from "./task-log.ts";
import type { Barrier } from "./task-paths.ts";
import { type ProcessEnd, TaskProcess } from "./task-process.ts";
import { type Instructions, isStarting, starterCommand } from "./task-starter.ts";
import { userOfTask, variablesOfUser } from "./user-places.ts";

/** Time limit for starting a task on a foreign mount, ms. */
const STARTING_MS = 30_000;
/** How long to wait for the helper that accesses a disk, before the task does that itself, ms. */
const ASK_MS = 100;
/** How long a task waits for a host that has no room for another process, and the pauses between its tries, ms. */
const NO_ROOM_MS = 300_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

/** What a task has left as files, or an item of a fan-out. */
export type InputFiles = NonNullable<RunAssignment["artifacts"]>[number];

/** The task run whose try it is. One of the three last functions is called, once, when the try is over and its slot is free. */
export interface TryOwner {
  /** What the tasks on which the task depends have published. */
  inputs(): Inputs;
  /** What they have left as files. */
  inputFiles(): readonly InputFiles[];
  /**
   * Evaluates an expression about a response.
   * @throws ExpressionError
   */
  evaluate(template: string, response: ResponseValues): Evaluated;
  /** The process has ended. What it has published can be read until this returns. */
  tryEnded(end: ProcessEnd): void;
  /** This process has performed the try. */
  tryPerformed(performed: Performed): void;
  /** There was no process. */
  tryNotStarted(error: string): void;
}

/** What is tried. */
export interface Tried {
  /** The task run. */
  readonly id: string;
  /** From 1. */
  readonly attempt: number;
  readonly definition: TaskDefinition;
  /** The item of the fan-out that it executes. */
  readonly item: AssignedItem | undefined;
}

/** One try of a task in its slot: reads the secrets, starts the process or performs it here, watches the time limit, ends it. */
export class TaskTry {
  readonly #what: Tried;
  readonly #context: RunContext;
  readonly #log: TaskLog;
  readonly #owner: TryOwner;
  readonly #files: TryFiles;
  /** With the values of its expressions, as soon as it begins. */
  #resolved: ResolvedTask;
  #process: TaskProcess | undefined;
  /** The variables that hold secrets. */
  #secrets: Readonly<Record<string, string>> = {};
  /** Set while they are read; aborted if the try ends meanwhile. */
  #reading: AbortController | undefined;
  /** Set while this process performs it. */
  #performing: AbortController | undefined;
  /** The user as whom it runs, if not as the agent. */
  #account: Account | undefined;
  /** If the task has any. */
  #limits: TaskLimits | undefined;
  readonly #limit: Timer;
  readonly #starting: Timer;
  /** The foreign mount that the process has to enter to start. */
  #mount: string | undefined;
  /** Whether it has waited for the helper already. */
  #hasAsked = false;
  /** Until when it waits for a host that has no room for its process (monotonic). */
  #roomUntil = 0;
  readonly #pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  #isShortOfRoom = false;
  /** Why the process was ended although nobody stopped it. */
  #fault: string | undefined;
  #isStopped = false;

  constructor(what: Tried, context: RunContext, log: TaskLog, owner: TryOwner) {
    this.#what = what;
    this.#context = context;
    this.#log = log;
    this.#owner = owner;
    this.#resolved = { task: what.definition, workflowEnv: context.assignment.workflow.env };
    this.#files = context.files.of(what.id, what.attempt);
    this.#limit = new Timer(() => this.#timeOut(), context.clock);
    this.#starting = new Timer(() => this.#lookAgain(), context.clock);
    context.liveTasks.add(what.id);
  }

  /** Why it has failed, whatever its process said; undefined if nobody ended it for a reason. */
  get fault(): string | undefined {
    return this.#fault;
  }

  begin(resolved: ResolvedTask): void {
    this.#resolved = resolved;
    const limit = this.#task.timeout_ms;
    if (limit !== null) this.#limit.in(limit);
    this.#roomUntil = this.#context.clock.monotonic() + NO_ROOM_MS;
    const { user } = this.#task;
    try {
      if (user !== undefined) this.#beUser(userOfTask(user));
    } catch (error) {
      this.cannotStart(error);
      return;
    }
    const wanted = this.#wantedSecrets();
    if (wanted === undefined && this.#context.bundle === undefined && this.#owner.inputFiles().length === 0)
      this.#begin();
    else void this.#prepare(wanted);
  }

  /** It runs as another user, who cannot reach the files of the agent. @throws CannotStartError */
  #beUser(account: Account): void {
    if (this.#context.bundle !== undefined)
      throw new CannotStartError('Cannot start: a task with "user" cannot use the files of its workflow.', {
        hint: "Leave one of the two out, or put the files where that user can read them.",
      });
    try {
      const { users } = this.#context;
      const place = users.make();
      this.#files.moveTo(place, account, () => users.remove(place));
    } catch (error) {
      throw new CannotStartError(
        `Cannot start: no directory for user "${account.name}" can be made: ${errorMessage(error)}.`,
        {
          cause: error,
        },
      );
    }
    this.#account = account;
  }

  /** Somebody stops the task. @param because the reason in words */
  stop(because: string): void {
    this.#isStopped = true;
    this.#end(because);
  }

  /**
   * What the process has published; null for nothing.
   * @throws OutputsError
   */
  readOutputs(): Outputs | null {
    return this.#files.readOutputs();
  }

  /**
   * The directory in which the process has left files, for the caller to remove; null if it has left none.
   * @throws ArtifactsError
   */
  takeArtifacts(): string | null {
    return this.#files.takeArtifacts();
  }

  /** Lifts the limits of the process, which has ended. Undefined if it has none. */
  liftLimits(): ReturnType<TaskLimits["close"]> | undefined {
    const lifted = this.#limits?.close((this.#task.background ?? "kill") !== "leave");
    this.#limits = undefined;
    return lifted;
  }

  get #task(): TaskDefinition {
    return this.#resolved.task;
  }

  /** The secrets that it needs, by variable, or by their own names if this process performs it. */
  #wantedSecrets(): Readonly<Record<string, string>> | undefined {
    const { config } = this.#task;
    const names = performerOf(config)?.secrets(config);
    if (names === undefined) return this.#what.definition.secrets;
    return names.length === 0 ? undefined : Object.fromEntries(names.map((name) => [name, name]));
  }

  /** Waits for the files of the workflow and reads the secrets, then starts. */
  async #prepare(wanted: Readonly<Record<string, string>> | undefined): Promise<void> {
    const { secrets, bundle } = this.#context;
    const reading = new AbortController();
    this.#reading = reading;
    let values: Record<string, string> | undefined;
    let failure: unknown;
    try {
      await bundle?.unpacked(reading.signal, (level, text) => this.#log.remark(level, text));
      for (const input of this.#owner.inputFiles()) await this.#unpack(input, reading.signal);
      if (wanted !== undefined) values = await secrets?.read(wanted, reading.signal);
    } catch (error) {
      failure = error;
    }
    // It may have ended meanwhile.
    if (this.#reading !== reading) {
      if (values !== undefined) secrets?.release(values);
      return;
    }
    this.#reading = undefined;
    if (failure !== undefined) this.cannotStart(failure);
    else {
      this.#secrets = values ?? {};
      this.#begin();
    }
  }

  /** Puts what another task has left into the directory of the inputs. */
  async #unpack({ task_id, item_key, ...blob }: InputFiles, signal: AbortSignal): Promise<void> {
    const { blobs, assignment } = this.#context;
    const say = (level: "INFO" | "WARN", text: string) => this.#log.remark(level, text);
    const into = this.#files.makeInput(task_id, item_key);
    await blobs?.use(assignment, blob, { signal, say }, (archive) => unpack(archive, into, signal));
  }

  #begin(): void {
    const performer = performerOf(this.#task.config);
    if (performer === undefined) this.#start();
    else void this.#perform(performer);
  }

  /** Performs it in this process. */
  async #perform(performer: Performer<TaskConfig>): Promise<void> {
    const performing = new AbortController();
    this.#performing = performing;
    const { environment, paths, slots, bundle, runDirectory } = this.#context;
    const directory = bundle === undefined ? this.#context.directory : runDirectory.path;
    let performed: Performed;
    try {
      performed = await performer.perform(this.#task.config, {
        directory,
        environment,
        secrets: this.#secrets,
        traceparent: traceVariables(this.#context.assignment, this.#what.id).TRACEPARENT,
        signal: performing.signal,
        say: (level, text) => this.#log.remark(level, text),
        read: (path, maxBytes) => paths.read(resolve(directory, path), maxBytes),
        evaluate: (template, response) => this.#owner.evaluate(template, response),
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
    this.#owner.tryPerformed(performed);
  }

  /** Starts the process; later if the host has no room for it now. */
  #start(): void {
    const { slots, outbox, clock } = this.#context;
    const { id, attempt, item } = this.#what;
    const task = this.#task;
    let isRemembered = false;
    try {
      const background = task.background ?? "kill";
      const environment = taskEnvironment(
        {
          inherited: {
            ...this.#context.environment,
            ...(this.#account === undefined ? {} : variablesOfUser(this.#account)),
            ...traceVariables(this.#context.assignment, id),
          },
          workflow: this.#resolved.workflowEnv,
          run:
            this.#account === undefined
              ? this.#context.variables
              : { ...this.#context.variables, CDKTR_RUN_DIRECTORY: this.#files.work },
        },
        task,
        id,
        attempt,
        this.#files,
        this.#secrets,
      );
      if (item !== undefined) Object.assign(environment, itemVariables(item));
      // What a user's task leaves is not read by root: it could be led to the files of others.
      if (this.#account !== undefined) delete environment.CDKTR_ARTIFACTS;
      this.#files.writeInputs(this.#owner.inputs());
      // Whoever ends leftovers of this agent does not find it.
      if (background === "leave") delete environment[AGENT_MARKER];
      const command = this.#command(environment);
      if (command === undefined) return;
      const { stdin, grace_ms = this.#context.graceMs } = task;
      this.#process = TaskProcess.start(command, this.#log, {
        graceMs: grace_ms,
        background,
        openFiles: this.#context.openFiles,
        secrets: this.#context.secrets,
        stdin: stdin === undefined ? undefined : this.#files.writeStdin(stdin),
        remember: (pid, start_ticks) => {
          isRemembered = true;
          outbox.rememberProcess({
            pid,
            start_ticks,
            boot_id: this.#context.bootId,
            task_instance_id: id,
          });
        },
      });
    } catch (error) {
      if (error instanceof NoRoomError && clock.monotonic() < this.#roomUntil) {
        if (!this.#starting.isSet && !this.#isShortOfRoom) {
          this.#isShortOfRoom = true;
          this.#log.remark("WARN", `${error.message} The task waits until there is room. ${error.hint}`);
        }
        this.#starting.in(this.#pauses.next());
        return;
      }
      this.cannotStart(error);
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
      try {
        this.#owner.tryEnded(end);
      } finally {
        this.#files.remove();
      }
    });
  }

  /** It ends without having begun. */
  cannotStart(error: unknown): void {
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
    this.#context.liveTasks.delete(this.#what.id);
  }

  #couldNotStart(error: string): void {
    this.#files.remove();
    this.#limits?.close(true);
    this.#limits = undefined;
    this.#leaveSlot();
    this.#context.slots.release();
    this.#owner.tryNotStarted(error);
  }

  /** Time for another look: is there room now, or does the process still wait for a mount? */
  #lookAgain(): void {
    if (this.#process !== undefined) this.#giveUpStarting();
    else this.#start();
  }

  /**
   * The command. On a mount that does not respond, the process of the task performs everything that could block.
   * @returns undefined if the helper has to access the paths first: {@link #start} is called again
   */
  #command(environment: Readonly<Record<string, string>>): Command | undefined {
    const { config, id, env_file } = this.#task;
    const { openFiles, runDirectory } = this.#context;
    const files = this.#files;
    const isThere = startsInRunDirectory(config) || this.#context.bundle !== undefined;
    const account = this.#account;
    const own = () => (account === undefined ? runDirectory.make() : files.work);
    const directory = isThere ? own() : this.#context.directory;
    const script = scriptOf(config);
    if (script !== null && this.#context.blobs !== undefined && account === undefined) files.makeArtifacts();
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
    limits?.checkLeast(leastMemoryOf(config), `!${config.type}`);
    if (barrier === undefined && limits === undefined && account === undefined)
      return commandFor(config, context);
    files.handOver();
    const { script: file, preload: before } = context;
    const instructions: Instructions = {
      config,
      directory,
      script: file,
      preload: before,
      envFile: barrier === undefined ? undefined : envFile,
      confinement: limits?.confinement,
      ...(account === undefined ? {} : { user: { name: account.name, uid: account.uid, gid: account.gid } }),
      openFiles,
    };
    return starterCommand(instructions, context.environment, (text) => files.writeInstructions(text));
  }

  /** The limits of the process, which are told once. */
  #limitsOf(): TaskLimits | undefined {
    const { limits } = this.#task;
    if (limits === undefined || Object.keys(limits).length === 0) return undefined;
    if (this.#limits !== undefined) return this.#limits;
    const { id, attempt } = this.#what;
    this.#limits = new TaskLimits(limits, `${id}-${attempt}`, this.#context.cgroups);
    if (attempt === 1) this.#log.remark("INFO", this.#limits.remark);
    return this.#limits;
  }

  #envFile(name: string, context: ExecutionContext): EnvFile {
    const { config, env } = this.#task;
    const [directory] = touchedBy(config, context) ?? [context.directory];
    const own = [env, this.#secrets, this.#context.variables].flatMap((variables) => Object.keys(variables));
    const ofItem = this.#what.item === undefined ? [] : Object.keys(ITEM_VARIABLES);
    const overridden = [...own, ...ofItem, ...TASK_VARIABLES];
    return envFileOf(name, directory, context.environment, overridden);
  }

  #barrier(context: ExecutionContext, envFile: EnvFile | undefined): Barrier | undefined {
    const touched = touchedBy(this.#task.config, context);
    if (touched === undefined) return undefined;
    const [cwd] = touched;
    const paths = envFile === undefined ? touched : [...touched, envFile.path];
    return this.#context.paths.barrier({ paths, cwd, searchPath: context.environment.PATH ?? "" });
  }

  #wait(answer: Promise<void>): void {
    this.#hasAsked = true;
    this.#starting.in(ASK_MS);
    void answer.then(() => {
      if (this.#process !== undefined || !this.#starting.isSet) return;
      this.#starting.cancel();
      this.#lookAgain();
    });
  }

  #timeOut(): void {
    const limit = formatDuration(this.#task.timeout_ms ?? 0);
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

  /** Ends it because it has failed. */
  #endFor(fault: string, message: string): void {
    if (this.#isStopped || this.#fault !== undefined) return;
    this.#fault = fault;
    this.#log.remark("ERROR", this.#process === undefined ? message : `${message} SIGTERM is sent.`);
    this.#end(fault);
  }

  /** Ends the process, or the wait for one. */
  #end(reason: string): void {
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
}
