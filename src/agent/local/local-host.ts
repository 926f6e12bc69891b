/** What runs without a principal share on this host: what an agent has for its tasks, but for the connection to a principal. */
import { join } from "node:path";
import { systemClock } from "../../clock.ts";
import type { Config } from "../../config.ts";
import { bootId } from "../../host/boot.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { AgentFacts } from "../../workflow/run-facts.ts";
import { variablesOf } from "../../workflow/secrets.ts";
import { Cgroups } from "../cgroups.ts";
import { AGENT_MARKER, inheritedEnvironment, without } from "../environment.ts";
import { ForeignMounts } from "../foreign-mounts.ts";
import { automaticLabels } from "../labels.ts";
import { limitAtStart } from "../open-files.ts";
import { StraySweep, ZombieReaper } from "../orphans.ts";
import type { NewReport, ProcessRecord } from "../outbox.ts";
import { readStat } from "../proc-files.ts";
import { DEFAULT_GRACE_MS, killProcesses, processesMarked, signalGroup } from "../process-group.ts";
import { RunDirectories } from "../run-directories.ts";
import type { SecretPlaces } from "../secrets/sources.ts";
import { Survivors } from "../survivors.ts";
import type { AgentContext, TaskSink } from "../task-context.ts";
import { TaskFiles } from "../task-files.ts";
import type { TaskLog } from "../task-log.ts";
import { TaskPaths } from "../task-paths.ts";
import { TaskSlots } from "../task-slots.ts";
import { UserPlaces } from "../user-places.ts";
import { LocalBlobs } from "./local-blobs.ts";
import { PrivatePlace } from "./private-place.ts";

/** Where the output of tasks goes. */
interface LocalOutput {
  /** Encoded log lines, joined by line feeds. */
  addLines(text: string, count: number): void;
  /** Backpressure, see LineSink. */
  room(): Promise<void> | undefined;
}

/** A run, as its host knows it. */
interface Run {
  /** What its slices report. */
  reported(report: NewReport): void;
  cancel(): void;
}

/** What {@link LocalHost} needs. */
interface LocalHostOptions {
  readonly config: Config;
  readonly output: LocalOutput;
  /** See PrivatePlace. */
  readonly cleaner: readonly string[] | null;
  /** Where its private directory is; by default where temporary files are. */
  readonly parent?: string;
  /** The environment that tasks inherit; that of this process by default. */
  readonly own?: Readonly<Record<string, string | undefined>>;
  /** The base of relative paths in tasks; the working directory of this process by default. */
  readonly directory?: string;
}

/** Executes tasks on this host as an agent does. */
export class LocalHost {
  readonly context: AgentContext;
  readonly blobs: LocalBlobs;
  readonly #place: PrivatePlace;
  readonly #own: Readonly<Record<string, string | undefined>>;
  readonly #runs = new Map<string, Run>();
  /** Processes of tasks by pid. */
  readonly #processes = new Map<number, ProcessRecord>();
  readonly #idle = Promise.withResolvers<void>();
  readonly #sweep: StraySweep;
  readonly #reaper = new ZombieReaper();

  /** @throws UnprocessableError when there is no place for its files */
  constructor({
    config,
    output,
    cleaner,
    parent,
    own = process.env,
    directory = process.cwd(),
  }: LocalHostOptions) {
    this.#place = new PrivatePlace(cleaner, parent);
    this.#own = own;
    const { path } = this.#place;
    const liveTasks = new Set<string>();
    const endedTasks = new Map<string, TaskLog>();
    const survivors = new Survivors(() => {});
    const sink: TaskSink = {
      addLines: (text, count) => output.addLines(text, count),
      room: () => output.room(),
      addReport: (report) => {
        this.#runs.get(report.workflow_instance_id)?.reported(report);
        return 0;
      },
      rememberProcess: (record) => {
        this.#processes.set(record.pid, record);
        this.#place.remember(record);
      },
      forgetProcess: (pid) => this.#processes.delete(pid),
    };
    this.blobs = new LocalBlobs(join(path, "blobs"), config.CDKTR_ARTIFACTS_LIMIT_MB * 1024 * 1024);
    this.context = {
      blobs: this.blobs,
      outbox: sink,
      slots: new TaskSlots(config.CDKTR_AGENT_MAX_TASKS),
      clock: systemClock,
      environment: inheritedEnvironment(own, config.CDKTR_SECRET_VARIABLES),
      directory,
      paths: new TaskPaths(new ForeignMounts(["/", process.execPath, path])),
      openFiles: limitAtStart(),
      graceMs: DEFAULT_GRACE_MS,
      bootId: bootId(),
      liveTasks,
      endedTasks,
      survivors,
      files: new TaskFiles(path),
      directories: new RunDirectories(path, systemClock),
      users: new UserPlaces(path),
      // This process is in a group with the user's shell, which is not to be moved.
      cgroups: Cgroups.none("a run without a principal has no cgroup of its own"),
    };
    this.#sweep = new StraySweep(this.#place, {
      liveTasks,
      endedTasks,
      survivors,
      graceMs: DEFAULT_GRACE_MS,
    });
  }

  async start(): Promise<void> {
    await this.#reaper.start();
  }

  /** The id that marks the processes of its tasks. */
  get streamId(): string {
    return this.#place.streamId;
  }

  /** A run begins. */
  add(id: string, run: Run): void {
    this.#runs.set(id, run);
  }

  /** A run is over. */
  remove(id: string): void {
    this.#runs.delete(id);
    if (this.#runs.size === 0) this.#idle.resolve();
  }

  /** Resolves when all runs are over, also those for which no other waits. */
  get idle(): Promise<void> {
    return this.#idle.promise;
  }

  /** Cancels all runs. */
  cancel(): void {
    for (const run of [...this.#runs.values()]) run.cancel();
  }

  /** This host, as the expressions of workflows see agents. */
  get asAgent(): AgentFacts {
    const labels = automaticLabels();
    return { id: labels.host, host: labels.host, labels };
  }

  /** What tasks of a workflow inherit: no variables that it declares as secrets. */
  environmentFor({ secrets }: Pick<WorkflowDefinition, "secrets">): AgentContext["environment"] {
    const withheld = variablesOf(secrets);
    return withheld.length === 0 ? this.context.environment : without(this.context.environment, withheld);
  }

  /** Where secrets are. */
  get secretPlaces(): SecretPlaces {
    return {
      own: this.#own,
      environment: { ...inheritedEnvironment(this.#own), [AGENT_MARKER]: this.streamId },
      directory: this.context.directory,
      paths: this.context.paths,
    };
  }

  /** Kills all processes of tasks. */
  async kill(): Promise<void> {
    for (const { pid, start_ticks } of this.#processes.values())
      if (readStat(pid)?.startTicks === start_ticks) signalGroup(pid, "SIGKILL");
    const mark = `${AGENT_MARKER}=${this.streamId}`;
    await killProcesses(() => processesMarked((environment) => environment.includes(mark)));
  }

  /** Ends what tasks have left running. */
  async sweep(): Promise<void> {
    await this.#sweep.sweep();
  }

  /** Removes what tasks have left on the disk. */
  async close(): Promise<void> {
    await this.#reaper.stop();
    this.context.paths.close();
    this.context.directories.close();
    await this.context.users.close();
    await this.#place.close();
  }
}
