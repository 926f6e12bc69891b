import type { RunReport } from "../contract/messages.ts";
import type { Outputs } from "../contract/outputs.ts";
import { Timer } from "../timer.ts";
import { buildDag, type Dag } from "../workflow/dag.ts";
import { formatDuration } from "../workflow/duration.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import type { RunStatus } from "../workflow/status.ts";
import { isSilentStop, type RunContext, type StopReason, type TaskOwner, TaskRun } from "./task-run.ts";

/** How an attempt ended on this agent; null if the principal considers it over already and gets no report. */
export type RunEnd = "COMPLETED" | "FAILED" | "CANCELLED" | null;

/**
 * Executes one attempt of a run: its tasks in the order of the graph, independent ones in parallel. When a task does not complete, the
 * tasks that depend on it, directly or transitively, are skipped; other branches continue.
 */
export class DagRun implements TaskOwner {
  readonly #context: RunContext;
  readonly #dag: Dag;
  readonly #tasks = new Map<string, TaskRun>();
  /** What tasks have published, here and elsewhere. */
  readonly #outputs = new Map<string, Outputs>();
  /** Number of dependencies not completed yet, for each task that has not started. */
  readonly #missing = new Map<string, number>();
  readonly #over = Promise.withResolvers<RunEnd>();
  #open: number;
  #started = false;
  #ended = false;
  #stopped: StopReason | undefined;
  readonly #limit: Timer;

  /** @throws InvalidInputError when the tasks do not form a DAG */
  constructor(context: RunContext) {
    this.#context = context;
    this.#limit = new Timer(() => this.stop("run timed out"), context.clock);
    const { workflow, completed_tasks, results = {} } = context.assignment;
    for (const [id, { outputs }] of Object.entries(results))
      if (outputs !== null) this.#outputs.set(id, outputs);
    this.#dag = buildDag(workflow.tasks);
    const completed = new Set(completed_tasks);
    for (const definition of workflow.tasks) {
      if (completed.has(definition.id)) continue;
      this.#tasks.set(definition.id, new TaskRun(definition, context, this));
      this.#missing.set(
        definition.id,
        this.#dag.dependencies(definition.id).filter((id) => !completed.has(id)).length,
      );
    }
    this.#open = this.#tasks.size;
  }

  /** Whether the principal has confirmed the attempt, so that tasks may have started. */
  get isStarted(): boolean {
    return this.#started;
  }

  /** Resolves when every task is over and the end of the attempt is in the outbox. */
  get over(): Promise<RunEnd> {
    return this.#over.promise;
  }

  /** Executes the tasks; call it after the principal has confirmed the attempt. */
  start(): void {
    if (this.#stopped !== undefined) return;
    this.#started = true;
    const limit = this.#context.assignment.workflow.timeout_ms;
    if (limit !== null) this.#limit.in(limit);
    if (this.#open === 0) this.#end();
    for (const id of this.#dag.order) {
      if (this.#missing.get(id) === 0) this.#tasks.get(id)?.start();
    }
  }

  /** Stops the tasks; the attempt is over when its processes are. */
  stop(reason: StopReason): void {
    if (isSilentStop(this.#stopped) || (this.#stopped !== undefined && reason !== "superseded")) return;
    const first = this.#stopped === undefined;
    this.#stopped = reason;
    if (!first) return;
    if (this.#open === 0) this.#end();
    for (const task of this.#tasks.values()) task.stop(reason);
  }

  inputsOf(task: TaskDefinition): ReadonlyMap<string, Outputs> {
    const inputs = new Map<string, Outputs>();
    for (const id of task.depends) {
      const outputs = this.#outputs.get(id);
      if (outputs !== undefined) inputs.set(id, outputs);
    }
    return inputs;
  }

  taskOver(task: TaskRun): void {
    const id = task.definition.id;
    this.#open--;
    if (task.outputs !== null) this.#outputs.set(id, task.outputs);
    if (task.status === "COMPLETED") {
      for (const dependent of this.#dag.dependents(id)) {
        const missing = (this.#missing.get(dependent) ?? 0) - 1;
        this.#missing.set(dependent, missing);
        if (missing === 0 && this.#stopped === undefined) this.#tasks.get(dependent)?.start();
      }
    } else if (this.#stopped === undefined && task.status === "FAILED") {
      for (const dependent of this.#dag.descendants(id)) {
        const run = this.#tasks.get(dependent);
        if (run !== undefined && !run.isOver) run.skip(`"${id}", on which it depends, ${task.status}`);
      }
    }
    if (this.#open === 0) this.#end();
  }

  #end(): void {
    // The last failure skips all remaining tasks, each of which would in turn count as the last one.
    if (this.#ended) return;
    this.#ended = true;
    this.#limit.cancel();
    const { assignment, outbox } = this.#context;
    if (isSilentStop(this.#stopped)) {
      this.#over.resolve(null);
      return;
    }
    const failed = [...this.#tasks.values()].filter((task) => task.status === "FAILED");
    let status: Exclude<RunEnd, null> = failed.length > 0 ? "FAILED" : "COMPLETED";
    let error: string | null = null;
    if (this.#stopped === "cancelled") {
      status = "CANCELLED";
    } else if (this.#stopped === "run timed out") {
      status = "FAILED";
      error = `timed out after ${formatDuration(assignment.workflow.timeout_ms ?? 0)}`;
    } else if (failed.length > 0) {
      const names = failed.slice(0, 10).map((task) => task.definition.id);
      const more = failed.length - names.length;
      error = `failed: ${names.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
    }
    outbox.addReport(runReport(this.#context, status, error));
    this.#over.resolve(status);
  }
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
