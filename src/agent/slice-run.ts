import type { RunAssignment, RunReport } from "../contract/messages.ts";
import type { Outputs } from "../contract/outputs.ts";
import { InvalidInputError } from "../errors.ts";
import { Timer } from "../timer.ts";
import type { TaskResult } from "../workflow/expressions.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import { neededBy, type Plan, planOf } from "../workflow/plan.ts";
import { type Decision, Progress, type RunFinish, type TaskEnd, timeoutText } from "../workflow/progress.ts";
import { factsOf } from "../workflow/run-facts.ts";
import type { RunStatus } from "../workflow/status.ts";
import { isEnding } from "../workflow/task-state.ts";
import { OutputsError } from "./parse-outputs.ts";
import { isSilentStop, type RunContext, type StopReason, type TaskOwner, TaskRun } from "./task-run.ts";

const KEPT_OUTPUTS_BYTES = 128 * 1024 * 1024;

/** How an attempt ended on this agent; null if the principal considers it over already and gets no report. */
export type RunEnd = RunFinish["status"] | null;

/**
 * Executes one attempt of a run, or of a slice of it: carries out what the machine of progress.ts decides about its tasks. Independent
 * tasks run in parallel. When a task does not complete, the tasks that depend on it, directly or transitively, are skipped; other
 * branches continue. The time limit of a run that is shared with other agents is watched by the principal.
 */
export class SliceRun implements TaskOwner {
  readonly #context: RunContext;
  readonly #progress: Progress;
  readonly #tasks = new Map<string, TaskRun>();
  readonly #plan: Plan;
  /** For each task, the number of those that need its results and are not over: until then its outputs are kept in memory. */
  readonly #readers = new Map<string, number>();
  /** Size of the outputs that are kept, in all and by task, bytes as JSON. */
  #keptBytes = 0;
  readonly #keptOf = new Map<string, number>();
  readonly #over = Promise.withResolvers<RunEnd>();
  #started = false;
  #stopped: StopReason | undefined;
  readonly #limit: Timer;
  /** Monotonic. */
  readonly #begunMs: number;

  /** @throws InvalidInputError when the tasks do not form a DAG, or need others whose results are missing */
  constructor(context: RunContext) {
    this.#context = context;
    this.#begunMs = context.clock.monotonic();
    this.#limit = new Timer(() => this.stop("run timed out"), context.clock);
    const { workflow, tasks } = context.assignment;
    const over = overBefore(context.assignment);
    this.#plan = planOf(workflow);
    this.#progress = new Progress(this.#plan, {
      facts: () => factsOf(context.assignment, workflow),
      over,
      ...(tasks === undefined ? {} : { tasks }),
    });
    const scope = new Set(tasks ?? workflow.tasks.map(({ id }) => id));
    for (const definition of workflow.tasks) {
      if (!scope.delete(definition.id) || over.has(definition.id)) continue;
      this.#tasks.set(definition.id, new TaskRun(definition, context, this));
      for (const id of this.#neededBy(definition.id)) this.#readers.set(id, (this.#readers.get(id) ?? 0) + 1);
    }
    const [unknown] = scope;
    if (unknown !== undefined) throw new InvalidInputError(`there is no task "${unknown}"`);
  }

  /** Whether it was told to start, so that tasks may have started. */
  get isStarted(): boolean {
    return this.#started;
  }

  /** Resolves when every task is over and the end of the attempt is in the outbox. */
  get over(): Promise<RunEnd> {
    return this.#over.promise;
  }

  /** Executes the tasks. An attempt that must be confirmed starts when the principal has the confirmation. */
  start(): void {
    if (this.#stopped !== undefined) return;
    this.#started = true;
    const { workflow, tasks, time_left_ms = workflow.timeout_ms } = this.#context.assignment;
    if (time_left_ms !== null && tasks === undefined) this.#limit.in(time_left_ms);
    if (time_left_ms === 0) this.stop("run timed out");
    else this.#carryOut(this.#progress.begin());
  }

  /** Stops the tasks; the attempt is over when its processes are. */
  stop(reason: StopReason): void {
    if (isSilentStop(this.#stopped) || (this.#stopped !== undefined && reason !== "superseded")) return;
    const first = this.#stopped === undefined;
    this.#stopped = reason;
    if (!first) return;
    this.#carryOut(
      reason === "run timed out"
        ? this.#progress.stop("timed out", timeoutText(this.#context.assignment.workflow))
        : this.#progress.stop("cancelled"),
    );
    for (const task of this.#tasks.values()) task.stop(reason);
  }

  inputsOf(task: TaskDefinition): ReadonlyMap<string, Outputs> {
    const results = Object.entries(this.#progress.results(task.depends));
    return new Map(results.flatMap(([id, { outputs }]) => (outputs === null ? [] : [[id, outputs]])));
  }

  resultOf(id: string): TaskResult | undefined {
    return this.#progress.results([id])[id];
  }

  taskOver({ status, outputs, definition, error, isAllowed }: TaskRun): void {
    if (!isEnding(status)) return;
    for (const id of this.#neededBy(definition.id)) {
      const left = (this.#readers.get(id) ?? 0) - 1;
      this.#readers.set(id, left);
      if (left > 0) continue;
      this.#progress.dropOutputs(id);
      this.#keptBytes -= this.#keptOf.get(id) ?? 0;
      this.#keptOf.delete(id);
    }
    const kept = this.#isNeeded(definition.id) ? outputs : null;
    this.#carryOut(this.#progress.ended(definition.id, { status, outputs: kept, error, isAllowed }));
  }

  keepOutputs({ id }: TaskDefinition, outputs: Outputs): void {
    if (!this.#isNeeded(id)) return;
    const limit = this.#context.keptOutputsBytes ?? KEPT_OUTPUTS_BYTES;
    const bytes = Buffer.byteLength(JSON.stringify(outputs));
    if (this.#keptBytes + bytes > limit) {
      throw new OutputsError(
        `what tasks of this run have published on this agent, and others of them still need, would exceed ${formatMiB(limit)}; pass large data on as files`,
      );
    }
    this.#keptBytes += bytes;
    this.#keptOf.set(id, bytes);
  }

  /** Whether a task that is not over needs the results of this one. */
  #isNeeded(id: string): boolean {
    return (this.#readers.get(id) ?? 0) > 0;
  }

  #neededBy(id: string): Iterable<string> {
    const node = this.#plan.node(id);
    return node === undefined ? [] : neededBy(node);
  }

  #carryOut(decisions: readonly Decision[]): void {
    for (const decision of decisions) {
      switch (decision.kind) {
        case "start":
          this.#tasks.get(decision.task)?.start();
          break;
        case "skip": {
          const task = this.#tasks.get(decision.task);
          if (this.#stopped !== undefined) task?.stop(this.#stopped);
          else if (decision.status === "FAILED") task?.fail(decision.reason, decision.isAllowed);
          else task?.skip(decision.reason);
          break;
        }
        case "finish":
          this.#end(decision);
          break;
        default:
          throw new Error(`no agent carries out the decision "${decision.kind}"`);
      }
    }
  }

  #end({ status, error, allowed }: RunFinish): void {
    this.#limit.cancel();
    this.#context.runDirectory.release(isSilentStop(this.#stopped) ? null : status);
    if (isSilentStop(this.#stopped)) {
      this.#over.resolve(null);
      return;
    }
    const { outbox, clock } = this.#context;
    const duration_ms = Math.round(clock.monotonic() - this.#begunMs);
    const allowed_failures = allowed > 0 ? { allowed_failures: allowed } : {};
    outbox.addReport({ ...runReport(this.#context, status, error), duration_ms, ...allowed_failures });
    this.#over.resolve(status);
  }
}

function formatMiB(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

/** What was over before this attempt. */
function overBefore({ completed_tasks, results = {} }: RunAssignment): Map<string, TaskEnd> {
  const over = new Map(completed_tasks.map((id): [string, TaskEnd] => [id, { status: "COMPLETED" }]));
  for (const [id, { status, outputs, error = null, is_allowed: isAllowed = false }] of Object.entries(
    results,
  ))
    over.set(id, { status, outputs, error, isAllowed });
  return over;
}

/** A report of the attempt's status. */
export function runReport(
  { assignment, clock }: Pick<RunContext, "assignment" | "clock">,
  status: RunStatus,
  error: string | null = null,
): Omit<RunReport, "seq" | "log_seq"> {
  return {
    kind: "run",
    workflow_id: assignment.workflow_id,
    workflow_instance_id: assignment.workflow_instance_id,
    slice: assignment.slice,
    attempt: assignment.attempt,
    status,
    timestamp_ms: clock.now(),
    error,
  };
}
