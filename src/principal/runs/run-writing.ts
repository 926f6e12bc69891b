/** Writes runs and task runs and announces the change, which all changes of runs have in common. Every method is part of a unit of work. */
import type { Clock } from "../../clock.ts";
import type {
  OperationalTx,
  RunRecord,
  RunStep,
  TaskRunRecord,
  TaskRunState,
} from "../../storage/operational/store.ts";
import type { PlanNode } from "../../workflow/plan.ts";
import { isTerminal, type RunStatus } from "../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../workflow/task-state.ts";
import type { Alerts } from "../alerts/alerts.ts";
import type { Expectations } from "../alerts/expectations.ts";
import type { Pauses } from "../limits/pauses.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Definitions } from "./definitions.ts";
import { outputsOfRun } from "./run-outputs.ts";
import type { RunQueue } from "./run-queue.ts";

/** What {@link RunWriting} needs. */
export interface RunWritingOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly queue: Pick<RunQueue, "queued">;
  readonly definitions: Definitions;
  /** Says whether something of a run waits; by default of none. */
  readonly rests?: { mayRest(runId: string): boolean };
  /** Called in the unit of work when a run ends. */
  readonly followUps: { ending(tx: OperationalTx, run: RunRecord): Promise<void> };
  /** Called in the unit of work when a run ends: counts failures in a row. By default nobody does. */
  readonly pauses?: Pick<Pauses, "ended">;
  /** Called in the unit of work when a run ends: tells those who are to know. By default nobody is told. */
  readonly alerts?: Pick<Alerts, "ended">;
  /** Called in the unit of work when a run starts for the first time, and when it ends. By default nobody expects anything. */
  readonly expectations?: Pick<Expectations, "started" | "ended">;
  /** Called in the unit of work when a run ends that another one has started. */
  readonly childEnded: (tx: OperationalTx, run: RunRecord) => Promise<void>;
  /** Called in the unit of work when a run ends: its place in its concurrency group is free. */
  readonly freed: (tx: OperationalTx, run: RunRecord) => void;
}

/** Writes runs and task runs. */
export class RunWriting {
  readonly #o: RunWritingOptions;

  constructor(options: RunWritingOptions) {
    this.#o = options;
  }

  /** Something waits for an agent. */
  queued(tx: OperationalTx): void {
    this.#o.queue.queued(tx);
    this.written(tx);
  }

  /** Something that others wait for is free: slots of a pool. */
  freed(tx: OperationalTx): void {
    this.#o.queue.queued(tx);
  }

  /** A run begins: with an agent, or without one. A further attempt of it goes on. */
  async begin(tx: OperationalTx, run: RunRecord, status_at_ms: number): Promise<RunRecord> {
    this.written(tx);
    const started_at_ms = run.started_at_ms ?? status_at_ms;
    const running = await tx.transitionRun(run, {
      status: "RUNNING",
      status_at_ms,
      started_at_ms,
      error: null,
    });
    if (run.started_at_ms === null) await this.#o.expectations?.started(tx, running);
    return running;
  }

  /** Ends a run. */
  async end(
    tx: OperationalTx,
    run: RunRecord,
    at: number,
    step: Omit<RunStep, "status_at_ms">,
  ): Promise<RunRecord> {
    const status_at_ms = Math.max(run.status_at_ms, at);
    const result =
      step.status === "COMPLETED"
        ? await this.#resultOf(tx, run, step)
        : step.status === "CANCELLED" && run.cancel_reason !== null
          ? { ...step, error: run.cancel_reason }
          : step;
    const ended = await tx.transitionRun(run, { ...result, status_at_ms, finished_at_ms: status_at_ms });
    this.written(tx);
    await this.#o.followUps.ending(tx, ended);
    this.#o.freed(tx, ended);
    if (ended.backfill_id !== null) await tx.endFiring(ended);
    await this.#o.pauses?.ended(tx, ended);
    await this.#o.expectations?.ended(tx, ended);
    await this.#o.alerts?.ended(tx, ended);
    if (ended.parent_run !== null) await this.#o.childEnded(tx, ended);
    tx.afterCommit(() => this.#o.events.emit("run ended", ended));
    return ended;
  }

  /** The end of a run whose tasks have completed: with the outputs of its workflow, or FAILED if they cannot be computed. */
  async #resultOf(
    tx: OperationalTx,
    run: RunRecord,
    step: Omit<RunStep, "status_at_ms">,
  ): Promise<Omit<RunStep, "status_at_ms">> {
    const definition = await this.#o.definitions.of(tx, run);
    const result = definition === null ? null : await outputsOfRun(tx, run, definition);
    if (result === null) return step;
    return "error" in result ? { ...step, status: "FAILED", error: result.error } : { ...step, ...result };
  }

  /**
   * Changes a task run.
   * @param agentId the agent that executes it; null for none
   * @param from the task's status in the store; null when it has none
   */
  async setTask(
    tx: OperationalTx,
    { workflow_id }: Pick<RunRecord, "workflow_id">,
    agentId: string | null,
    task: TaskRunState,
    from: RunStatus | null,
    at: number,
    change: Partial<TaskRunRecord> & { readonly status: RunStatus },
    artifacts?: string,
  ): Promise<TaskRunRecord> {
    const next = changed(task, at, change);
    await tx.transitionTask(next, from, { workflow_id, agent_id: agentId, artifacts });
    this.written(tx);
    const { workflow_instance_id: id } = task;
    if (change.status === "WAITING") tx.afterCommit(() => this.#o.events.emit("run touched", id));
    else this.touched(tx, id);
    return next;
  }

  /**
   * Writes a task run that nobody knew, and that has begun and ended.
   * @param begunAt when it was RUNNING, ms since the epoch
   */
  async setWholeTask(
    tx: OperationalTx,
    { workflow_id }: Pick<RunRecord, "workflow_id">,
    agentId: string | null,
    task: TaskRunRecord,
    begunAt: number,
    at: number,
    change: Partial<TaskRunRecord> & { readonly status: RunStatus },
    artifacts?: string,
  ): Promise<TaskRunRecord> {
    const begun = changed(task, begunAt, { status: "RUNNING" });
    const ended = changed(begun, at, change);
    await tx.wholeTask(begun, ended, { workflow_id, agent_id: agentId, artifacts });
    this.written(tx);
    this.touched(tx, task.workflow_instance_id);
    return ended;
  }

  /** Something of a run runs, or does not run any more. Of no importance unless something of it waits. */
  touched(tx: OperationalTx, runId: string): void {
    if (this.#o.rests?.mayRest(runId) === true)
      tx.afterCommit(() => this.#o.events.emit("run touched", runId));
  }

  /** There are new rows for the history. */
  written(tx: OperationalTx): void {
    tx.afterCommit(() => this.#o.events.emit("statuses written"));
  }
}

/** A task run after a change. @param at ms since the epoch; no status is older than the one before it */
function changed(
  task: TaskRunState,
  at: number,
  change: Partial<TaskRunRecord> & { readonly status: RunStatus },
): TaskRunRecord {
  const status_at_ms = Math.max(task.status_at_ms, at);
  return {
    outputs: null,
    ...task,
    due_ms: null,
    ...change,
    status_at_ms,
    started_at_ms: task.started_at_ms ?? (change.status === "RUNNING" ? status_at_ms : null),
    finished_at_ms: isTerminal(TASK_TRANSITIONS, change.status) ? status_at_ms : null,
  };
}

/** A task run of a task, or of an item of a fan-out, of which nothing is known yet. @param id that of the node */
export function newNodeRun(
  { workflow_instance_id }: Pick<RunRecord, "workflow_instance_id">,
  id: string,
  node: PlanNode | undefined,
  { slice, attempt }: Pick<TaskRunRecord, "slice" | "attempt">,
  at: number,
): TaskRunRecord {
  const task = {
    workflow_instance_id,
    task_instance_id: crypto.randomUUID(),
    task_id: node?.item?.task ?? id,
    task_name: node?.name ?? id,
    slice,
    attempt,
    task_attempt: 0,
    item_key: node?.item?.key ?? null,
    item_index: node?.item?.index ?? null,
  };
  return newTaskRun(task, at);
}

/**
 * Starts the time limit of a run, which counts from its first start, unless it has one already.
 * @param limit ms; null for none
 */
export async function limited(
  tx: OperationalTx,
  run: RunRecord,
  limit: number | null,
  events: PrincipalEvents,
): Promise<RunRecord> {
  if (limit === null || run.deadline_ms !== null) return run;
  if (run.revision > 0) tx.afterCommit(() => events.emit("run limited", limit));
  return tx.limitRun(run, limit);
}

/** A task run of which nothing is known yet. */
export function newTaskRun(
  task: Pick<
    TaskRunRecord,
    | "workflow_instance_id"
    | "task_instance_id"
    | "task_id"
    | "task_name"
    | "slice"
    | "attempt"
    | "task_attempt"
  > &
    Partial<Pick<TaskRunRecord, "item_key" | "item_index">>,
  at: number,
): TaskRunRecord {
  return {
    ...task,
    status: "PENDING",
    exit_code: null,
    signal: null,
    error: null,
    cpu_ms: null,
    max_rss_kb: null,
    started_at_ms: null,
    finished_at_ms: null,
    duration_ms: null,
    status_at_ms: at,
    due_ms: null,
    allowed: 0,
    item_key: task.item_key ?? null,
    item_index: task.item_index ?? null,
    items_total: null,
    outputs: null,
  };
}
