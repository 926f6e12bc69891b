/** Executes runs like an agent, with a real outbox and real processes but without a principal. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Cgroups } from "../../../src/agent/cgroups.ts";
import { inheritedEnvironment, runVariables } from "../../../src/agent/environment.ts";
import { ForeignMounts } from "../../../src/agent/foreign-mounts.ts";
import { Outbox } from "../../../src/agent/outbox.ts";
import type { RunBlobs } from "../../../src/agent/run-blobs.ts";
import { RunDirectories } from "../../../src/agent/run-directories.ts";
import { RunSecrets } from "../../../src/agent/secrets/run-secrets.ts";
import { type RunEnd, SliceRun } from "../../../src/agent/slice-run.ts";
import { Survivors } from "../../../src/agent/survivors.ts";
import type { AgentContext } from "../../../src/agent/task-context.ts";
import { TaskFiles } from "../../../src/agent/task-files.ts";
import { TaskPaths } from "../../../src/agent/task-paths.ts";
import { TaskSlots } from "../../../src/agent/task-slots.ts";
import { UserPlaces } from "../../../src/agent/user-places.ts";
import { type Clock, systemClock } from "../../../src/clock.ts";
import { decodeLogBatch, type LogLine, LogLineReader } from "../../../src/contract/log-line.ts";
import type { RunAssignment, RunReport, TaskReport } from "../../../src/contract/messages.ts";
import { bootId } from "../../../src/host/boot.ts";
import type { TaskConfig, TaskDefinition, WorkflowDefinition } from "../../../src/workflow/model.ts";
import { until as eventually } from "../../support/until.ts";

/** A task as tests write it. */
export type TaskSpec = Partial<Omit<TaskDefinition, "config">> & {
  /** A shell command, or what to execute. */
  run?: string | readonly [string, ...string[]];
  cwd?: string;
  config?: TaskConfig;
};

export function subprocess(run: TaskSpec["run"] = ["true"], cwd: string | null = null): TaskConfig {
  const [cmd, ...args] = typeof run === "string" ? ["sh", "-c", run] : run;
  return { type: "Subprocess", cmd: cmd ?? "", args, working_directory: cwd };
}

export function workflowOf(
  tasks: Readonly<Record<string, TaskSpec>>,
  more: Partial<WorkflowDefinition> = {},
): WorkflowDefinition {
  return {
    id: "test.flow",
    name: "Test flow",
    description: null,
    cron: null,
    timezone: null,
    start_time_ms: null,
    catchup: "latest",
    failover: "rerun",
    timeout_ms: null,
    env: {},
    params: {},
    ...(JSON.stringify(tasks).includes("${{") ? { language: 2 } : {}),
    tasks: Object.entries(tasks).map(([id, { run, cwd, ...task }]) => ({
      id,
      name: id,
      description: null,
      depends: [],
      config: subprocess(run, cwd),
      retry: { max_attempts: 1, delay_ms: 0, backoff: 1 },
      timeout_ms: null,
      env: {},
      ...task,
    })),
    ...more,
  };
}

export function assignmentOf(workflow: WorkflowDefinition, more: Partial<RunAssignment> = {}): RunAssignment {
  return {
    workflow_id: workflow.id,
    workflow_instance_id: crypto.randomUUID(),
    slice: 0,
    attempt: 1,
    trigger: "cli",
    scheduled_time_ms: null,
    created_at_ms: Date.now(),
    params: {},
    completed_tasks: [],
    workflow,
    ...more,
  };
}

/** What became of a run. */
export interface Outcome {
  readonly end: RunEnd;
  readonly reports: readonly TaskReport[];
  readonly runReports: readonly RunReport[];
  readonly lines: readonly LogLine[];
  /** Statuses of a task in order. */
  statuses(task: string): string[];
  /** The last report of a task. */
  last(task: string): TaskReport;
  /** What a task's log says, `LEVEL text` a line. */
  log(task: string): string[];
}

/** What {@link Bench} may be told. */
export interface BenchOptions {
  readonly slots?: number;
  readonly graceMs?: number;
  readonly clock?: Clock;
  readonly environment?: Record<string, string | undefined>;
  readonly outboxLimitBytes?: number;
  readonly directory?: string;
  readonly foreignMounts?: ForeignMounts;
  /** Instead of those of the mounts. */
  readonly paths?: TaskPaths;
  readonly openFiles?: number;
  readonly keptOutputsBytes?: number;
  readonly cgroups?: Cgroups;
  readonly random?: () => number;
  /** Who has the files of runs; nobody by default. */
  readonly blobs?: RunBlobs;
}

export class Bench implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "cdktr-agent-"));
  readonly outbox: Outbox;
  readonly context: AgentContext;
  readonly #own: Record<string, string | undefined>;

  constructor(options: BenchOptions = {}) {
    this.#own = options.environment ?? process.env;
    this.outbox = Outbox.open({
      directory: join(this.directory, "data"),
      agentId: "bench",
      limitBytes: options.outboxLimitBytes,
    });
    this.context = {
      outbox: this.outbox,
      slots: new TaskSlots(options.slots ?? 8),
      clock: options.clock ?? systemClock,
      environment: inheritedEnvironment(options.environment ?? process.env),
      directory: options.directory ?? this.directory,
      openFiles: options.openFiles,
      paths:
        options.paths ?? new TaskPaths(options.foreignMounts ?? new ForeignMounts(["/", process.execPath])),
      graceMs: options.graceMs ?? 5000,
      bootId: bootId(),
      liveTasks: new Set(),
      endedTasks: new Map(),
      survivors: new Survivors(() => {}),
      files: new TaskFiles(join(this.directory, "data")),
      users: new UserPlaces(join(this.directory, "data")),
      cgroups: options.cgroups ?? new Cgroups(),
      directories: new RunDirectories(join(this.directory, "data"), options.clock ?? systemClock),
      ...(options.keptOutputsBytes === undefined ? {} : { keptOutputsBytes: options.keptOutputsBytes }),
      ...(options.random === undefined ? {} : { random: options.random }),
      ...(options.blobs === undefined ? {} : { blobs: options.blobs }),
    };
  }

  /** A run that is about to begin. */
  prepare(assignment: RunAssignment): SliceRun {
    const runDirectory = this.context.directories.of(assignment);
    return new SliceRun({
      ...this.context,
      assignment,
      variables: runVariables(assignment, this.outbox.streamId, runDirectory.path),
      runDirectory,
      ...(assignment.workflow.secrets === undefined ? {} : { secrets: this.secretsOf(assignment) }),
    });
  }

  /** The secrets of a run. */
  secretsOf(assignment: RunAssignment): RunSecrets {
    const { environment, directory, paths } = this.context;
    return new RunSecrets(assignment, { own: this.#own, environment, directory, paths });
  }

  /** Executes a run to its end. */
  async run(
    tasks: Readonly<Record<string, TaskSpec>>,
    workflow: Partial<WorkflowDefinition> = {},
    assignment: Partial<RunAssignment> = {},
  ): Promise<Outcome> {
    const given = assignmentOf(workflowOf(tasks, workflow), assignment);
    const run = this.prepare(given);
    run.start();
    return this.outcome(given, await run.over);
  }

  /** What is known of a run by now. */
  outcome(assignment: RunAssignment, end: RunEnd): Outcome {
    const id = assignment.workflow_instance_id;
    const all = this.outbox.reports(0, 1_000_000).filter((report) => report.workflow_instance_id === id);
    const reports = all.filter((report) => report.kind === "task");
    const lines = allLines(this.outbox).filter((line) => line.workflow_instance_id === id);
    const of = (task: string) => reports.filter((report) => report.task_id === task);
    return {
      end,
      reports,
      runReports: all.filter((report) => report.kind === "run"),
      lines,
      statuses: (task) => of(task).map((report) => report.status),
      last: (task) => {
        const report = of(task).at(-1);
        if (report === undefined) throw new Error(`no report of task ${task}`);
        return report;
      },
      log: (task) =>
        lines.filter((line) => line.task_name === task).map((line) => `${line.level} ${line.payload}`),
    };
  }

  /** Whether a task has made a file of that name. */
  has(name: string): boolean {
    return existsSync(join(this.directory, name));
  }

  [Symbol.dispose](): void {
    this.context.paths.close();
    this.context.directories.close();
    this.outbox.close();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Every line that an outbox holds, in order; checks that the numbers are without gaps. */
export function allLines(outbox: Outbox): LogLine[] {
  outbox.flush();
  const reader = new LogLineReader();
  const lines: LogLine[] = [];
  let after = outbox.firstLogSeq - 1;
  for (let frames = outbox.frames(after); frames.length > 0; frames = outbox.frames(after)) {
    for (const { first, last, frame } of frames) {
      const batch = decodeLogBatch(new TextDecoder().decode(frame));
      if (first !== after + 1 || batch.first_seq !== first || batch.lines.length !== last - first + 1) {
        throw new Error(`frame ${first}..${last} after ${after} holds ${batch.lines.length} lines`);
      }
      for (const line of batch.lines) lines.push(reader.decode(line));
      after = last;
    }
  }
  return lines;
}

/** Waits for something to become true that announces itself in no other way, such as the end of a foreign process. */
export async function until(isTrue: () => boolean | Promise<boolean>, what: string): Promise<void> {
  await eventually(what, isTrue);
}

/** A clock on which `ms` are over as soon as `isDue` says so; any other time passes as usual. */
export function clockWith(ms: number, isDue: () => boolean): Clock {
  return {
    ...systemClock,
    after(wanted, ring) {
      if (wanted !== ms) return systemClock.after(wanted, ring);
      let isOff = false;
      void until(() => isOff || isDue(), "the time is over").then(() => isOff || ring());
      return () => {
        isOff = true;
      };
    },
  };
}

/** A flag of the kernel's for a process, see proc(5). */
const PF_EXITING = 4;

/** Whether a process is there and not merely a zombie. */
export function isRunning(pid: number): boolean {
  try {
    const [, state = "", flags = ""] =
      /^\d+ \(.*\) (\S)(?: \S+){5} (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
    // One that exits has closed its files, and may be there for another moment.
    return !"ZX".includes(state) && (Number(flags) & PF_EXITING) === 0;
  } catch {
    return false;
  }
}
