/**
 * All changes of runs, their attempts, leases and task runs. Every method is part of a unit of work; the store enforces the transition
 * tables.
 */
import type { Clock } from "../../clock.ts";
import type { TaskReport } from "../../contract/messages.ts";
import { LEASE_TRANSITIONS, type LeaseState } from "../../storage/operational/lease-state.ts";
import type {
  AttemptName,
  AttemptRecord,
  OperationalTx,
  RunRecord,
  RunStep,
  TaskRunRecord,
} from "../../storage/operational/store.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { MAX_RUN_ATTEMPTS } from "../../workflow/run-state.ts";
import { canTransition, isTerminal, type RunStatus } from "../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../workflow/task-state.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Definitions } from "./definitions.ts";

/** What {@link RunChanges} needs. */
export interface RunChangesOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly definitions: Definitions;
  /** Called in the unit of work when a run waits for an agent, so that it can be assigned in the same commit. */
  readonly queue: { queued(tx: OperationalTx): void };
  /** Called in the unit of work when a run ends. */
  readonly followUps: { ending(tx: OperationalTx, run: RunRecord): Promise<void> };
}

/** A run to be created. */
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
  readonly trigger_depth: number;
  readonly tasks_total: number;
  /** Tasks that need not run again; copied from the run that this one retries. */
  readonly carried: readonly TaskRunRecord[];
}

/** What is known of an agent's clock when a report comes. */
export interface ReportedClock {
  /** The latest time that the agent gave together with this report; by default this report's. */
  readonly latest_ms?: number;
  /** By how much it is ahead of the principal's according to heartbeats; 0 if they do not tell. */
  readonly ahead_ms?: number;
}

/** An agent's report about an attempt. */
export interface RunWord extends ReportedClock {
  readonly agent_id: string;
  readonly stream_id: string | null;
  readonly workflow_instance_id: string;
  readonly slice: number;
  readonly attempt: number;
  readonly status: RunStatus;
  /** By the agent's clock. */
  readonly timestamp_ms: number;
  readonly error: string | null;
  readonly log_seq: number;
}

/** An agent's report about a task run. */
export type TaskWord = Omit<TaskReport, "kind" | "seq" | "workflow_id"> &
  ReportedClock & { readonly agent_id: string };

/**
 * The result of a report. `applied`: it counts, or was known. `over`: the agent ended this attempt itself before. `fenced`: the attempt
 * does not belong to the agent (any more). `illegal`: the current status does not allow it.
 */
export type Outcome = "applied" | "over" | "fenced" | "illegal";

/** The time of a report by the principal's clock, and the error of the agent's clock. */
interface ReportTime {
  readonly at_ms: number;
  readonly offset_ms: number;
}

/** An active attempt with its run. */
interface Held {
  readonly run: RunRecord;
  readonly attempt: AttemptRecord;
}

/** Changes runs. */
export class RunChanges {
  readonly #o: RunChangesOptions;

  constructor(options: RunChangesOptions) {
    this.#o = options;
  }

  /** Creates a run, which then waits for an agent. */
  async create(tx: OperationalTx, fresh: NewRun): Promise<RunRecord> {
    const { carried, definition, ...fields } = fresh;
    const now = this.#o.clock.now();
    const run: RunRecord = {
      ...fields,
      created_at_ms: now,
      status: "PENDING",
      attempt: 1,
      crashed_attempts: 0,
      queued: true,
      needs: "",
      revision: 0,
      agent_id: null,
      agents: 0,
      cancel_requested_at_ms: null,
      timed_out_at_ms: null,
      deadline_ms: null,
      tasks_done: carried.length,
      started_at_ms: null,
      finished_at_ms: null,
      status_at_ms: now,
      error: null,
      log_stream_id: null,
      log_seq: 0,
    };
    await tx.createRun(
      run,
      definition,
      carried.map((task) => ({ ...task, workflow_instance_id: run.workflow_instance_id, attempt: 0 })),
    );
    this.#o.queue.queued(tx);
    this.#written(tx);
    return run;
  }

  /** Applies a report about an attempt. */
  async hearRun(tx: OperationalTx, word: RunWord): Promise<Outcome> {
    const held = await this.#openLease(tx, word);
    if (typeof held === "string") return held;
    const time = this.#timeOf(held, word);
    const at = time.at_ms;
    switch (word.status) {
      case "RUNNING":
        await this.#confirm(tx, held, time);
        return "applied";
      case "COMPLETED":
      case "FAILED":
      case "CANCELLED": {
        const { run, attempt } = await this.#confirm(tx, held, time);
        await this.#closeTasks(
          tx,
          held,
          word.status === "CANCELLED" ? "CANCELLED" : "CRASHED",
          `the run ended ${word.status}, and its agent did not report how this task ended`,
        );
        const { status, error, stream_id: log_stream_id, log_seq } = word;
        await this.#end(tx, run, attempt, "RELEASED", at, { status, error, log_stream_id, log_seq });
        return "applied";
      }
      case "CRASHED": {
        const { run, attempt } = await this.#confirm(tx, held, time);
        await this.crash(tx, run, attempt, word.error ?? "the agent gave the attempt up", "REVOKED");
        return "applied";
      }
      default:
        return "illegal";
    }
  }

  /** Applies a report about a task run. */
  async hearTask(tx: OperationalTx, word: TaskWord): Promise<Outcome> {
    const held = await this.#openLease(tx, word);
    if (typeof held === "string") return held;
    const known = await tx.getTaskRun(word.workflow_instance_id, word.task_instance_id);
    const time = this.#timeOf(held, word);
    const at = time.at_ms;
    const task = known ?? (await this.#newTask(tx, held.run, word, at));
    if (task.slice !== word.slice || task.attempt !== word.attempt || task.task_id !== word.task_id)
      return "illegal";
    if (isTerminal(TASK_TRANSITIONS, task.status)) return task.status === word.status ? "applied" : "illegal";
    if (task.status === word.status && known !== null) return "applied";
    // A report in between was lost with a disk: accept the current one if it could have been reached.
    const isSkipped =
      task.status !== word.status && !canTransition(TASK_TRANSITIONS, task.status, word.status);
    if (isSkipped && (task.status !== "PENDING" || !canTransition(TASK_TRANSITIONS, "RUNNING", word.status)))
      return "illegal";
    await this.#confirm(tx, held, time);
    const from = known?.status ?? null;
    const running = isSkipped ? await this.#setTask(tx, held, task, from, at, { status: "RUNNING" }) : null;
    await this.#setTask(tx, held, running ?? task, running?.status ?? from, at, {
      status: word.status,
      task_attempt: word.task_attempt,
      exit_code: word.exit_code,
      signal: word.signal,
      error: word.error,
      cpu_ms: word.cpu_ms,
      max_rss_kb: word.max_rss_kb,
      outputs: word.outputs === null ? null : JSON.stringify(word.outputs),
    });
    return "applied";
  }

  /**
   * Ends an attempt that its agent will not end. The run goes back to the queue as the next attempt, unless it was cancelled, must not
   * run again, or has crashed too often.
   * @param lease EXPIRED for an offer that was never confirmed: it does not count as a crash
   * @returns the resulting run
   */
  async crash(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord,
    reason: string,
    lease: "REVOKED" | "EXPIRED",
  ): Promise<RunRecord> {
    const wasConfirmed = attempt.lease === "HELD";
    const now = this.#o.clock.now();
    const isCancelled = run.cancel_requested_at_ms !== null;
    const status = isCancelled ? "CANCELLED" : "CRASHED";
    await this.#closeTasks(tx, { run, attempt }, status, reason);
    if (isCancelled) return this.#end(tx, run, attempt, lease, now, { status, error: reason });
    const crashed_attempts = run.crashed_attempts + (wasConfirmed ? 1 : 0);
    const definition = await this.#o.definitions.of(tx, run);
    const tookTwo = wasConfirmed && isLoss(reason) && (await this.#lostOthers(tx, attempt));
    const again =
      definition !== null &&
      (!wasConfirmed || (crashed_attempts < MAX_RUN_ATTEMPTS && definition.failover !== "never" && !tookTwo));
    const error =
      definition === null
        ? `${reason}, and the stored definition is damaged`
        : tookTwo && definition.failover !== "never"
          ? `${reason}; two agents in a row were lost while they had this run, so it is not given to a third`
          : reason;
    const step = { status, error, crashed_attempts } as const;
    if (!again) return this.#end(tx, run, attempt, lease, now, step);
    await tx.transitionLease(attempt, { lease, status, finished_at_ms: now, error: reason });
    const status_at_ms = Math.max(run.status_at_ms, now);
    // The next attempt goes through the state machine again.
    const queued = await tx.requeueRun(await tx.transitionRun(run, { ...step, status_at_ms }));
    this.#o.queue.queued(tx);
    this.#written(tx);
    return queued;
  }

  /** Whether an earlier attempt of the run was confirmed by another agent that was lost with it. */
  async #lostOthers(tx: OperationalTx, attempt: AttemptRecord): Promise<boolean> {
    const attempts = await tx.listAttempts(attempt.workflow_instance_id);
    return attempts.some(
      (other) =>
        other.attempt < attempt.attempt &&
        other.agent_id !== attempt.agent_id &&
        other.started_at_ms !== null &&
        isLoss(other.error),
    );
  }

  /** Cancels a run; if it is running, its agent gets the order and ends it. */
  async cancel(tx: OperationalTx, run: RunRecord): Promise<void> {
    const now = this.#o.clock.now();
    const attempt = await tx.getAttempt({ ...run, slice: 0 });
    const asked = await tx.requestCancel(run, now);
    if (run.status === "RUNNING" && attempt?.session_id != null) {
      tx.afterCommit(() => this.#o.events.emit("orders changed", attempt.agent_id));
      return;
    }
    // Nobody executes it, or only an agent that cannot be reached with orders.
    const lease = attempt !== null && !isTerminal(LEASE_TRANSITIONS, attempt.lease) ? attempt : null;
    if (lease !== null) {
      await this.#closeTasks(tx, { run: asked, attempt: lease }, "CANCELLED", "the run was cancelled");
      tx.afterCommit(() => this.#o.events.emit("orders changed", lease.agent_id));
    }
    await this.#end(tx, asked, lease, "REVOKED", now, { status: "CANCELLED", error: "cancelled" });
  }

  /**
   * Called when a firing of a workflow is due: drops earlier firings that are still queued.
   * @returns how many were dropped
   */
  async dropWaitingFirings(
    tx: OperationalTx,
    { id, catchup }: Pick<WorkflowDefinition, "id" | "catchup">,
    dueMs: number,
  ): Promise<number> {
    if (catchup === "all") return 0;
    const waiting = await tx.waitingFirings(id, dueMs, MAX_DROPPED);
    const due = new Date(dueMs).toISOString();
    const error = `no agent took it before the next firing was due, at ${due} (catchup: ${catchup})`;
    for (const run of waiting) {
      await this.#end(tx, run, null, "REVOKED", this.#o.clock.now(), { status: "SKIPPED", error });
    }
    return waiting.length;
  }

  /** The attempt of a report with its run, if the agent may report on it. */
  async #openLease(
    tx: OperationalTx,
    word: AttemptName & { readonly agent_id: string },
  ): Promise<Held | "over" | "fenced"> {
    const attempt = await tx.getAttempt(word);
    if (attempt === null || attempt.agent_id !== word.agent_id) return "fenced";
    if (attempt.lease === "RELEASED") return "over";
    if (isTerminal(LEASE_TRANSITIONS, attempt.lease)) return "fenced";
    const run = await tx.getRun(word.workflow_instance_id);
    return run === null ? "fenced" : { run, attempt };
  }

  /**
   * When a report was made, by the principal's clock. An attempt begins after its assignment, and everything in a report happened before
   * its arrival. If the times contradict that, the agent's clock is wrong by at least the difference, which is then added to the times of
   * all reports of the attempt, so that durations are right.
   */
  #timeOf(
    { run, attempt }: Held,
    { timestamp_ms, latest_ms = timestamp_ms, ahead_ms = 0 }: ReportedClock & { timestamp_ms: number },
  ): ReportTime {
    const now = this.#o.clock.now();
    const told = timestamp_ms - ahead_ms;
    if (attempt.lease === "OFFERED") {
      const isPossible = ahead_ms !== 0 && attempt.assigned_at_ms <= told && latest_ms - ahead_ms <= now;
      const least = Math.min(now - latest_ms, Math.max(0, attempt.assigned_at_ms - timestamp_ms));
      const offset_ms = Math.round(isPossible ? -ahead_ms : least);
      return { at_ms: timestamp_ms + offset_ms, offset_ms };
    }
    const { clock_offset_ms: offset_ms } = attempt;
    const corrected = timestamp_ms + offset_ms;
    // The agent's clock may have been corrected in the meantime.
    const possible = [corrected, told, timestamp_ms].find((at) => run.status_at_ms <= at && at <= now);
    return { at_ms: Math.round(possible ?? Math.min(corrected, now)), offset_ms };
  }

  async #confirm(tx: OperationalTx, held: Held, time: ReportTime): Promise<Held> {
    const { run, attempt } = held;
    if (attempt.lease === "HELD") return held;
    const status = "RUNNING";
    const status_at_ms = Math.max(run.status_at_ms, time.at_ms);
    this.#written(tx);
    const compared = { agentId: attempt.agent_id, offsetMs: time.offset_ms };
    tx.afterCommit(() => this.#o.events.emit("agent clock compared", compared));
    return {
      attempt: await tx.transitionLease(attempt, {
        lease: "HELD",
        status,
        clock_offset_ms: time.offset_ms,
        started_at_ms: status_at_ms,
      }),
      run: await tx.transitionRun(run, {
        status,
        status_at_ms,
        started_at_ms: run.started_at_ms ?? status_at_ms,
        error: null,
      }),
    };
  }

  /** Ends a run, and its newest attempt if there is one. */
  async #end(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord | null,
    lease: LeaseState,
    at: number,
    step: Omit<RunStep, "status_at_ms">,
  ): Promise<RunRecord> {
    const status_at_ms = Math.max(run.status_at_ms, at);
    if (attempt !== null) {
      const { status, error } = step;
      await tx.transitionLease(attempt, { lease, status, finished_at_ms: status_at_ms, error });
    }
    const ended = await tx.transitionRun(run, { ...step, status_at_ms, finished_at_ms: status_at_ms });
    this.#written(tx);
    await this.#o.followUps.ending(tx, ended);
    tx.afterCommit(() => this.#o.events.emit("run ended", ended));
    return ended;
  }

  /** Ends what an attempt leaves unfinished. */
  async #closeTasks(
    tx: OperationalTx,
    held: Held,
    status: "CRASHED" | "CANCELLED",
    error: string,
  ): Promise<void> {
    for (const task of await tx.listTaskRuns(held.attempt.workflow_instance_id)) {
      if (task.attempt !== held.attempt.attempt || isTerminal(TASK_TRANSITIONS, task.status)) continue;
      await this.#setTask(tx, held, task, task.status, this.#o.clock.now(), { status, error });
    }
  }

  async #newTask(tx: OperationalTx, run: RunRecord, word: TaskWord, at: number): Promise<TaskRunRecord> {
    const definition = await this.#o.definitions.of(tx, run);
    return {
      workflow_instance_id: word.workflow_instance_id,
      task_instance_id: word.task_instance_id,
      task_id: word.task_id,
      task_name: definition?.tasks.find((task) => task.id === word.task_id)?.name ?? word.task_id,
      slice: word.slice,
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
      status_at_ms: at,
      outputs: null,
    };
  }

  /** @param from the task's status in the store; null when it has none */
  async #setTask(
    tx: OperationalTx,
    { run, attempt }: Held,
    task: TaskRunRecord,
    from: RunStatus | null,
    at: number,
    change: Partial<TaskRunRecord> & { readonly status: RunStatus },
  ): Promise<TaskRunRecord> {
    const status_at_ms = Math.max(task.status_at_ms, at);
    const next: TaskRunRecord = {
      ...task,
      ...change,
      status_at_ms,
      started_at_ms: task.started_at_ms ?? (change.status === "RUNNING" ? status_at_ms : null),
      finished_at_ms: isTerminal(TASK_TRANSITIONS, change.status) ? status_at_ms : null,
    };
    await tx.transitionTask(next, from, { workflow_id: run.workflow_id, agent_id: attempt.agent_id });
    this.#written(tx);
    return next;
  }

  #written(tx: OperationalTx): void {
    tx.afterCommit(() => this.#o.events.emit("statuses written"));
  }
}

/** Maximum number of firings to drop at once, because other units of work wait. Later firings drop the rest. */
const MAX_DROPPED = 500;

/** The reason of an attempt whose agent is lost. */
export function agentLost(seconds: number): string {
  return `${AGENT_LOST}: silent for ${seconds} s`;
}

const AGENT_LOST = "agent lost";

function isLoss(reason: string | null): boolean {
  return reason?.startsWith(AGENT_LOST) === true;
}
