/**
 * Every change of a run, an attempt, a lease or a task run happens here, by the tables of transitions, together with
 * the row that the history gets of it. All methods are parts of a unit of work.
 */
import type { Clock } from "../../clock.ts";
import type { TaskReport } from "../../contract/messages.ts";
import { CdktrError } from "../../errors.ts";
import type {
  AttemptRecord,
  LeaseState,
  OperationalTx,
  RunRecord,
  TaskRunRecord,
} from "../../storage/operational.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { MAX_RUN_ATTEMPTS, RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { canTransition, isTerminal, type RunStatus, type Transitions } from "../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../workflow/task-state.ts";
import { LEASE_TRANSITIONS } from "./lease-state.ts";

/** Who is told of changes. */
export interface RunEvents {
  /** A run waits for an agent; called inside the unit of work, so that it can be assigned in the same commit. */
  queued(): void;
  /** An attempt was offered to an agent, and is on disk. The run had waited for one so long, ms. */
  offered(attempt: AttemptRecord, waitedMs: number): void;
  /** A lease is no longer OFFERED, on disk. */
  settled(attempt: AttemptRecord): void;
  /** A run ends: part of the unit of work that ends it. */
  ending(tx: OperationalTx, run: Readonly<RunRecord>): Promise<void>;
  /** A run is over, on disk. */
  ended(run: RunRecord): void;
  /** An agent has new orders to get. */
  orders(agentId: string): void;
  /** The outbox has new rows, on disk. */
  statusWritten(): void;
}

/** A run to be made. */
export interface NewRun {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  readonly workflow_name: string;
  readonly definition_hash: string;
  /** JSON of the definition. */
  readonly definition: string;
  readonly params: Readonly<Record<string, string>>;
  readonly trigger: string;
  readonly scheduled_time_ms: number | null;
  readonly retry_of: string | null;
  readonly tasks_total: number;
  /** Tasks that need not run again; copied from the run that this one retries. */
  readonly carried: readonly TaskRunRecord[];
}

/** What an agent says of an attempt. */
export interface RunWord {
  readonly agent_id: string;
  readonly stream_id: string | null;
  readonly workflow_instance_id: string;
  readonly attempt: number;
  readonly status: RunStatus;
  readonly timestamp_ms: number;
  readonly error: string | null;
  readonly log_seq: number;
}

/** What an agent says of a task run. */
export type TaskWord = Omit<TaskReport, "kind" | "seq" | "workflow_id"> & { readonly agent_id: string };

/**
 * What became of an agent's word. `applied`: it counts, or was known. `over`: the agent ended this attempt itself before.
 * `fenced`: the attempt does not belong to the agent (any more). `illegal`: the present status does not allow it.
 */
export type Outcome = "applied" | "over" | "fenced" | "illegal";

/** A status that may not follow the present one. */
class IllegalTransitionError extends CdktrError {}

/** Changes runs. */
export class RunChanges {
  readonly #clock: Clock;
  readonly #events: RunEvents;
  readonly #definitions = new Map<string, WorkflowDefinition>();

  constructor(clock: Clock, events: RunEvents) {
    this.#clock = clock;
    this.#events = events;
  }

  /** The definition of a run. */
  async definitionOf(
    tx: OperationalTx,
    run: Pick<RunRecord, "definition_hash">,
  ): Promise<WorkflowDefinition> {
    const known = this.#definitions.get(run.definition_hash);
    if (known !== undefined) return known;
    const json = await tx.getDefinition(run.definition_hash);
    if (json === null)
      throw new CdktrError(`Internal error: definition ${run.definition_hash} is not stored.`);
    const definition = JSON.parse(json) as WorkflowDefinition;
    if (this.#definitions.size >= KEPT_DEFINITIONS) this.#definitions.clear();
    this.#definitions.set(run.definition_hash, definition);
    return definition;
  }

  /** Makes a run that waits for an agent. */
  async create(tx: OperationalTx, fresh: NewRun): Promise<RunRecord> {
    const { carried, definition, ...fields } = fresh;
    const now = this.#clock.now();
    const run: RunRecord = {
      ...fields,
      created_at_ms: now,
      status: "PENDING",
      attempt: 1,
      crashed_attempts: 0,
      queued: true,
      agent_id: null,
      cancel_requested_at_ms: null,
      tasks_done: carried.length,
      started_at_ms: null,
      finished_at_ms: null,
      status_at_ms: now,
      error: null,
      log_stream_id: null,
      log_seq: 0,
    };
    await tx.putDefinition(run.definition_hash, definition);
    await tx.insertRun(run);
    for (const task of carried) {
      await tx.saveTaskRun({ ...task, workflow_instance_id: run.workflow_instance_id, attempt: 0 });
    }
    await this.#writeRunStatus(tx, run);
    this.#events.queued();
    return run;
  }

  /** Gives a run that waits to an agent. */
  async assign(
    tx: OperationalTx,
    run: RunRecord,
    to: { agentId: string; sessionId: string | null; fetchId: string | null },
  ): Promise<AttemptRecord> {
    const attempt: AttemptRecord = {
      workflow_instance_id: run.workflow_instance_id,
      attempt: run.attempt,
      agent_id: to.agentId,
      session_id: to.sessionId,
      fetch_id: to.fetchId,
      assigned_at_ms: this.#clock.now(),
      lease: "OFFERED",
      status: run.status,
      started_at_ms: null,
      finished_at_ms: null,
      error: null,
    };
    // The newest status row is the one with which it was queued.
    const waitedMs = attempt.assigned_at_ms - run.status_at_ms;
    run.queued = false;
    run.agent_id = to.agentId;
    await tx.saveRun(run);
    await tx.insertAttempt(attempt);
    tx.afterCommit(() => this.#events.offered(attempt, waitedMs));
    return attempt;
  }

  /** Applies what an agent says of an attempt. */
  async hearRun(tx: OperationalTx, word: RunWord): Promise<Outcome> {
    const held = await this.#openLease(tx, word);
    if (typeof held === "string") return held;
    const { run, attempt } = held;
    switch (word.status) {
      case "RUNNING":
        await this.#confirm(tx, run, attempt, word.timestamp_ms);
        return "applied";
      case "COMPLETED":
      case "FAILED":
      case "CANCELLED":
        await this.#confirm(tx, run, attempt, word.timestamp_ms);
        await this.#closeTasks(
          tx,
          run,
          attempt,
          word.status === "CANCELLED" ? "CANCELLED" : "CRASHED",
          `the run ended ${word.status}, and its agent did not say how this task ended`,
        );
        run.log_stream_id = word.stream_id;
        run.log_seq = word.log_seq;
        await this.#end(tx, run, attempt, "RELEASED", word.status, word.timestamp_ms, word.error);
        return "applied";
      case "CRASHED":
        await this.#confirm(tx, run, attempt, word.timestamp_ms);
        await this.crash(tx, run, attempt, word.error ?? "the agent gave the attempt up", "REVOKED");
        return "applied";
      default:
        return "illegal";
    }
  }

  /** Applies what an agent says of a task run. */
  async hearTask(tx: OperationalTx, word: TaskWord): Promise<Outcome> {
    const held = await this.#openLease(tx, word);
    if (typeof held === "string") return held;
    const { run, attempt } = held;
    const known = await tx.getTaskRun(word.workflow_instance_id, word.task_instance_id);
    const fresh = known === null;
    const task = known ?? (await this.#newTask(tx, run, word));
    if (task.attempt !== word.attempt || task.task_id !== word.task_id) return "illegal";
    if (isTerminal(TASK_TRANSITIONS, task.status)) return task.status === word.status ? "applied" : "illegal";
    if (task.status === word.status && !fresh) return "applied";
    await this.#confirm(tx, run, attempt, word.timestamp_ms);
    if (task.status !== word.status && !canTransition(TASK_TRANSITIONS, task.status, word.status)) {
      // A word in between was lost with a disk: what the agent says now is true all the same, when it could have come to it.
      if (task.status !== "PENDING" || !canTransition(TASK_TRANSITIONS, "RUNNING", word.status))
        return "illegal";
      await this.#setTaskStatus(tx, run, attempt, task, "RUNNING", word.timestamp_ms);
    }
    task.task_attempt = word.task_attempt;
    task.exit_code = word.exit_code;
    task.signal = word.signal;
    task.error = word.error;
    task.cpu_ms = word.cpu_ms;
    task.max_rss_kb = word.max_rss_kb;
    await this.#setTaskStatus(tx, run, attempt, task, word.status, word.timestamp_ms);
    return "applied";
  }

  /**
   * Ends an attempt that its agent will not end. The run goes back to the queue as the next attempt, unless it was cancelled,
   * must not run again, or has crashed too often.
   * @param lease EXPIRED for an offer that nobody confirmed: it does not count as a crash
   */
  async crash(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord,
    reason: string,
    lease: "REVOKED" | "EXPIRED",
  ): Promise<void> {
    const confirmed = attempt.lease === "HELD";
    const now = this.#clock.now();
    if (run.cancel_requested_at_ms !== null) {
      await this.#closeTasks(tx, run, attempt, "CANCELLED", reason);
      await this.#end(tx, run, attempt, lease, "CANCELLED", now, reason);
      return;
    }
    await this.#closeTasks(tx, run, attempt, "CRASHED", reason);
    if (confirmed) run.crashed_attempts++;
    const again =
      !confirmed ||
      (run.crashed_attempts < MAX_RUN_ATTEMPTS && (await this.definitionOf(tx, run)).failover !== "never");
    if (!again) {
      await this.#end(tx, run, attempt, lease, "CRASHED", now, reason);
      return;
    }
    this.#closeLease(tx, attempt, lease);
    this.#setStatus(attempt, "CRASHED");
    attempt.finished_at_ms = now;
    attempt.error = reason;
    await tx.saveAttempt(attempt);
    this.#setStatus(run, "CRASHED");
    run.status_at_ms = Math.max(run.status_at_ms, now);
    run.error = reason;
    await this.#writeRunStatus(tx, run);
    // The next attempt: another pass through the machine.
    run.status = "PENDING";
    run.attempt++;
    run.queued = true;
    run.agent_id = null;
    run.tasks_done = (await completedTasks(tx, run.workflow_instance_id)).size;
    await tx.saveRun(run);
    await this.#writeRunStatus(tx, { ...run, error: null });
    this.#events.queued();
  }

  /** Ends a run by order of a person; one that runs is ended by its agent, who gets the order. */
  async cancel(tx: OperationalTx, run: RunRecord): Promise<void> {
    const now = this.#clock.now();
    run.cancel_requested_at_ms ??= now;
    const attempt = await tx.getAttempt(run.workflow_instance_id, run.attempt);
    if (run.status === "RUNNING" && attempt?.session_id != null) {
      await tx.saveRun(run);
      tx.afterCommit(() => this.#events.orders(attempt.agent_id));
      return;
    }
    // Nobody runs it, or an agent that cannot be told.
    const lease = attempt !== null && !isTerminal(LEASE_TRANSITIONS, attempt.lease) ? attempt : null;
    if (lease !== null) {
      await this.#closeTasks(tx, run, lease, "CANCELLED", "the run was cancelled");
      tx.afterCommit(() => this.#events.orders(lease.agent_id));
    }
    await this.#end(tx, run, lease, "REVOKED", "CANCELLED", now, "cancelled");
  }

  /** The attempt a word is about, with its run, if the agent may speak about it. */
  async #openLease(
    tx: OperationalTx,
    word: { agent_id: string; workflow_instance_id: string; attempt: number },
  ): Promise<{ run: RunRecord; attempt: AttemptRecord } | "over" | "fenced"> {
    const attempt = await tx.getAttempt(word.workflow_instance_id, word.attempt);
    if (attempt === null || attempt.agent_id !== word.agent_id) return "fenced";
    if (attempt.lease === "RELEASED") return "over";
    if (isTerminal(LEASE_TRANSITIONS, attempt.lease)) return "fenced";
    const run = await tx.getRun(word.workflow_instance_id);
    return run === null ? "fenced" : { run, attempt };
  }

  async #confirm(tx: OperationalTx, run: RunRecord, attempt: AttemptRecord, at: number): Promise<void> {
    if (attempt.lease === "HELD") return;
    this.#setLease(attempt, "HELD");
    this.#setStatus(attempt, "RUNNING");
    run.status_at_ms = Math.max(run.status_at_ms, at);
    attempt.started_at_ms = run.status_at_ms;
    await tx.saveAttempt(attempt);
    this.#setStatus(run, "RUNNING");
    run.started_at_ms ??= run.status_at_ms;
    run.error = null;
    await tx.saveRun(run);
    await this.#writeRunStatus(tx, run);
    tx.afterCommit(() => this.#events.settled(attempt));
  }

  /** The end of a run, and of its newest attempt when there was one. */
  async #end(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord | null,
    lease: LeaseState,
    status: RunStatus,
    at: number,
    error: string | null,
  ): Promise<void> {
    this.#setStatus(run, status);
    run.status_at_ms = Math.max(run.status_at_ms, at);
    run.finished_at_ms = run.status_at_ms;
    run.queued = false;
    run.error = error;
    if (attempt !== null) {
      this.#closeLease(tx, attempt, lease);
      this.#setStatus(attempt, status);
      attempt.finished_at_ms = run.status_at_ms;
      attempt.error = error;
      await tx.saveAttempt(attempt);
    }
    await tx.saveRun(run);
    await this.#writeRunStatus(tx, run);
    await this.#events.ending(tx, run);
    tx.afterCommit(() => this.#events.ended(run));
  }

  /** Ends what an attempt leaves unfinished. */
  async #closeTasks(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord,
    status: "CRASHED" | "CANCELLED",
    reason: string,
  ): Promise<void> {
    for (const task of await tx.listTaskRuns(attempt.workflow_instance_id)) {
      if (task.attempt !== attempt.attempt || isTerminal(TASK_TRANSITIONS, task.status)) continue;
      task.error = reason;
      await this.#setTaskStatus(tx, run, attempt, task, status, this.#clock.now());
    }
  }

  async #newTask(tx: OperationalTx, run: RunRecord, word: TaskWord): Promise<TaskRunRecord> {
    const definition = await this.definitionOf(tx, run);
    return {
      workflow_instance_id: word.workflow_instance_id,
      task_instance_id: word.task_instance_id,
      task_id: word.task_id,
      task_name: definition.tasks.find((task) => task.id === word.task_id)?.name ?? word.task_id,
      attempt: word.attempt,
      task_attempt: word.task_attempt,
      status: "PENDING",
      exit_code: null,
      signal: null,
      error: null,
      cpu_ms: null,
      max_rss_kb: null,
      started_at_ms: null,
      finished_at_ms: null,
      status_at_ms: word.timestamp_ms,
    };
  }

  async #setTaskStatus(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord,
    task: TaskRunRecord,
    status: RunStatus,
    at: number,
  ): Promise<void> {
    // PENDING is where a task run begins: saying so is no transition.
    if (task.status !== status) check(TASK_TRANSITIONS, "task run", task.status, status);
    task.status = status;
    task.status_at_ms = Math.max(task.status_at_ms, at);
    if (status === "RUNNING") task.started_at_ms ??= task.status_at_ms;
    if (isTerminal(TASK_TRANSITIONS, status)) {
      task.finished_at_ms = task.status_at_ms;
      run.tasks_done++;
      await tx.saveRun(run);
    }
    await tx.saveTaskRun(task);
    await tx.appendTaskStatus({
      task_id: task.task_id,
      task_instance_id: task.task_instance_id,
      workflow_instance_id: task.workflow_instance_id,
      status,
      timestamp_ms: task.status_at_ms,
      workflow_id: run.workflow_id,
      task_name: task.task_name,
      attempt: task.attempt,
      task_attempt: task.task_attempt,
      agent_id: attempt.agent_id,
      exit_code: task.exit_code,
      signal: task.signal,
      error: task.error,
      cpu_ms: task.cpu_ms,
      max_rss_kb: task.max_rss_kb,
    });
    tx.afterCommit(() => this.#events.statusWritten());
  }

  async #writeRunStatus(tx: OperationalTx, run: RunRecord): Promise<void> {
    await tx.appendRunStatus({
      workflow_id: run.workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      status: run.status,
      timestamp_ms: run.status_at_ms,
      workflow_name: run.workflow_name,
      trigger: run.trigger,
      attempt: run.attempt,
      agent_id: run.agent_id,
      scheduled_time_ms: run.scheduled_time_ms,
      created_at_ms: run.created_at_ms,
      params: JSON.stringify(run.params),
      error: run.error,
      retry_of: run.retry_of,
    });
    tx.afterCommit(() => this.#events.statusWritten());
  }

  #setStatus(subject: { status: RunStatus }, status: RunStatus): void {
    check(RUN_TRANSITIONS, "run", subject.status, status);
    subject.status = status;
  }

  #setLease(attempt: AttemptRecord, lease: LeaseState): void {
    check(LEASE_TRANSITIONS, "lease", attempt.lease, lease);
    attempt.lease = lease;
  }

  #closeLease(tx: OperationalTx, attempt: AttemptRecord, lease: LeaseState): void {
    this.#setLease(attempt, lease);
    tx.afterCommit(() => this.#events.settled(attempt));
  }
}

/** The tasks of a run that completed, in whichever attempt: they do not run again. */
export async function completedTasks(tx: OperationalTx, runId: string): Promise<Set<string>> {
  const tasks = await tx.listTaskRuns(runId);
  return new Set(tasks.filter((task) => task.status === "COMPLETED").map((task) => task.task_id));
}

/** Definitions kept parsed. */
const KEPT_DEFINITIONS = 500;

function check<S extends string>(table: Transitions<S>, what: string, from: S, to: S): void {
  if (!canTransition(table, from, to)) {
    throw new IllegalTransitionError(`Internal error: a ${what} that is ${from} cannot become ${to}.`);
  }
}
