/**
 * Changes split runs: each slice is executed by one agent, and the principal decides what comes next. Every method is part of a unit of
 * work.
 *
 * Each step first writes what has happened to slices, leases and tasks, then tells the machine of progress.ts and carries out its decisions
 * in the same unit of work: it queues further slices, skips tasks, or ends the run. A process that dies in between has done all of it or
 * nothing.
 */
import type { Clock } from "../../clock.ts";
import type { TaskReport } from "../../contract/messages.ts";
import type {
  AttemptRecord,
  OperationalTx,
  RunRecord,
  SliceRecord,
  TaskRunRecord,
} from "../../storage/operational/store.ts";
import {
  type Decision,
  type Progress,
  type RunFinish,
  type Stop,
  stopReason,
  type TaskEnd,
} from "../../workflow/progress.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { nextSlices } from "../../workflow/slices.ts";
import { canTransition } from "../../workflow/status.ts";
import { isEnding } from "../../workflow/task-state.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Definitions } from "./definitions.ts";
import { needsOfSlice } from "./needs.ts";
import { isTold, type ProgressOfRuns, type RunProgress } from "./progress-of-runs.ts";
import { newTaskRun, type RunWriting } from "./run-writing.ts";

/** How those tasks of a slice end whose end its agent did not report. */
export interface Leftover {
  readonly status: "CANCELLED" | "CRASHED";
  readonly error: string;
}

/** What an agent says of a task. */
type TaskWord = Pick<TaskReport, "task_id" | "status" | "error" | "outputs" | "is_allowed">;

/** What {@link SplitRuns} needs. */
export interface SplitRunsOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly definitions: Definitions;
  readonly progress: ProgressOfRuns;
  readonly writing: RunWriting;
}

/** Changes split runs. */
export class SplitRuns {
  readonly #o: SplitRunsOptions;
  readonly #progress: ProgressOfRuns;

  constructor(options: SplitRunsOptions) {
    this.#o = options;
    this.#progress = options.progress;
  }

  /** A run was created: queues its first slices. */
  async created(tx: OperationalTx, run: RunRecord): Promise<RunRecord> {
    return this.#advance(tx, run, this.#o.clock.now(), () => []);
  }

  /** The tasks of a slice. */
  async tasksOf(
    tx: OperationalTx,
    { workflow_instance_id, slice }: AttemptRecord,
  ): Promise<ReadonlySet<string>> {
    return new Set((await tx.getSlice(workflow_instance_id, slice))?.tasks);
  }

  /** An agent reports about a task. If it is over, what depends on it starts or is skipped, although its slice goes on. */
  async reported(
    tx: OperationalTx,
    run: RunRecord,
    { task_id, status, error, outputs, is_allowed: isAllowed = false }: TaskWord,
    at: number,
  ): Promise<void> {
    if (!isTold(status)) return;
    const plan = await this.#o.definitions.planOf(tx, run);
    // Otherwise it is enough to know when the slice is over.
    if (plan?.dependents(task_id).length === 0) return;
    const end = { status, isAllowed, ...(plan?.decidedBy.has(task_id) === true ? { error, outputs } : {}) };
    await this.#advance(tx, run, at, (progress) => progress.ended(task_id, end));
  }

  /** A slice is over, and so is its lease: what its tasks have become is final. */
  async sliceOver(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord,
    at: number,
    left: Leftover,
  ): Promise<RunRecord> {
    const { workflow_instance_id: id } = run;
    const slice = await tx.getSlice(id, attempt.slice);
    if (slice === null) return run;
    const ends = await this.#close(tx, run, attempt, slice, at, left);
    await tx.endSlice(slice);
    return this.#advance(tx, run, at, (progress) =>
      [...ends].flatMap(([task, end]) => progress.ended(task, end)),
    );
  }

  /**
   * Puts the slice of an attempt that crashed back into the queue. If no agent executes any other part of the run, the run crashes with it,
   * and waits again.
   */
  async requeue(
    tx: OperationalTx,
    run: RunRecord,
    slice: SliceRecord,
    crashedAttempts: number,
    reason: string,
  ): Promise<RunRecord> {
    const now = this.#o.clock.now();
    const { workflow_instance_id: id } = run;
    const open = await tx.listSlices(id, "open");
    let present = run;
    if (!open.some((other) => other.state === "LEASED" && other.slice !== slice.slice)) {
      const status_at_ms = Math.max(run.status_at_ms, now);
      present = await tx.requeueRun(
        await tx.transitionRun(run, { status: "CRASHED", status_at_ms, error: reason }),
      );
    }
    // First: a machine that has to be built must see the slice as it was.
    await this.#takeBack(tx, present, slice, now);
    await tx.requeueSlice(slice, crashedAttempts, now);
    this.#o.writing.queued(tx);
    return (await tx.getRun(id)) ?? present;
  }

  /** An attempt at a slice is lost: what did not complete in it is undecided again, and so is what was skipped because of that. */
  async #takeBack(tx: OperationalTx, run: RunRecord, { tasks }: SliceRecord, at: number): Promise<void> {
    const { workflow_instance_id: id } = run;
    const skipped = (await tx.listTaskStates(id)).filter(
      ({ slice, attempt, status }) =>
        slice === 0 && attempt > 0 && (status === "SKIPPED" || status === "FAILED"),
    );
    const undecided: string[] = [];
    await this.#advance(tx, run, at, (progress) => {
      const decisions = progress.released(tasks);
      progress.assigned(tasks);
      const again = new Set(decisions.flatMap((decision) => ("task" in decision ? [decision.task] : [])));
      for (const { task_id, task_instance_id, status } of skipped)
        if (again.has(task_id) || progress.status(task_id) !== status) undecided.push(task_instance_id);
      return decisions;
    });
    if (undecided.length > 0) await tx.withdrawTasks(id, undecided);
  }

  /** Cancels a run that is not over. One that is being stopped because it takes too long ends as that. */
  async cancel(tx: OperationalTx, run: RunRecord): Promise<void> {
    if (run.timed_out_at_ms !== null) return;
    const asked = await tx.requestCancel(run, this.#o.clock.now());
    await this.#stop(tx, asked, "cancelled", null);
  }

  /** Stops a run that takes longer than it may. */
  async timeOut(tx: OperationalTx, run: RunRecord, error: string): Promise<void> {
    await this.#stop(tx, await tx.recordTimeout(run, this.#o.clock.now()), "timed out", error);
  }

  /** Takes everything away from agents and from the queue: the run ends now, whatever the machine thinks. */
  async abandon(tx: OperationalTx, run: RunRecord, left: Leftover): Promise<void> {
    const now = this.#o.clock.now();
    for (const slice of await tx.listSlices(run.workflow_instance_id, "open")) {
      const attempt = slice.state === "LEASED" ? await tx.getAttempt(slice) : null;
      if (attempt !== null) {
        await this.#revoke(tx, attempt, left);
        await this.#close(tx, run, attempt, slice, now, left);
      }
      await tx.endSlice(slice);
    }
    this.#forget(tx, run);
  }

  /** What is not executed by anybody is over at once; agents that execute something get the order to stop. */
  async #stop(tx: OperationalTx, run: RunRecord, kind: Stop, error: string | null): Promise<void> {
    const withdrawn: string[] = [];
    for (const slice of await tx.listSlices(run.workflow_instance_id, "open")) {
      const attempt = slice.state === "LEASED" ? await tx.getAttempt(slice) : null;
      if (attempt !== null) this.#orders(tx, attempt);
      if (attempt?.lease === "HELD") continue;
      if (attempt !== null) await this.#revoke(tx, attempt, { status: "CANCELLED", error: stopReason(kind) });
      await tx.endSlice(slice);
      withdrawn.push(...slice.tasks);
    }
    await this.#advance(tx, run, this.#o.clock.now(), (progress) => [
      ...progress.stop(kind, error),
      ...progress.released(withdrawn),
    ]);
  }

  #orders(tx: OperationalTx, { agent_id }: AttemptRecord): void {
    tx.afterCommit(() => this.#o.events.emit("orders changed", agent_id));
  }

  async #revoke(tx: OperationalTx, attempt: AttemptRecord, { status, error }: Leftover): Promise<void> {
    const finished_at_ms = this.#o.clock.now();
    await tx.transitionLease(attempt, { lease: "REVOKED", status, finished_at_ms, error });
    this.#orders(tx, attempt);
  }

  /** Ends what an attempt at a slice leaves unfinished. Returns how its tasks ended. */
  async #close(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord,
    slice: SliceRecord,
    at: number,
    { status, error }: Leftover,
  ): Promise<Map<string, TaskEnd>> {
    const ends = new Map<string, TaskEnd>();
    const { writing } = this.#o;
    for (const task of await tx.listTaskStates(run.workflow_instance_id, slice.slice)) {
      const isOfThis = task.attempt === attempt.attempt;
      if (isOfThis && !isEnding(task.status)) {
        const record = { ...task, outputs: null };
        await writing.setTask(tx, run, attempt.agent_id, record, task.status, at, { status, error });
      }
      if (ends.get(task.task_id)?.status === "COMPLETED") continue;
      if (task.status === "COMPLETED") ends.set(task.task_id, { status: task.status });
      else if (isOfThis)
        ends.set(
          task.task_id,
          isEnding(task.status)
            ? { status: task.status, error: task.error, isAllowed: task.allowed === 1 }
            : { status, error },
        );
    }
    for (const task of slice.tasks) {
      if (ends.has(task)) continue;
      const fresh = await this.#taskRun(tx, run, task, attempt, at);
      await writing.setTask(tx, run, attempt.agent_id, fresh, null, at, { status, error });
      ends.set(task, { status, error });
    }
    return ends;
  }

  async #taskRun(
    tx: OperationalTx,
    run: RunRecord,
    task_id: string,
    { slice, attempt }: { slice: number; attempt: number },
    at: number,
  ): Promise<TaskRunRecord> {
    const plan = await this.#o.definitions.planOf(tx, run);
    return newTaskRun(
      {
        workflow_instance_id: run.workflow_instance_id,
        task_instance_id: crypto.randomUUID(),
        task_id,
        task_name: plan?.node(task_id)?.name ?? task_id,
        slice,
        attempt,
        task_attempt: 0,
      },
      at,
    );
  }

  /** Tells the machine of a run what has happened, and carries out what it decides. */
  async #advance(
    tx: OperationalTx,
    run: RunRecord,
    at: number,
    tell: (progress: Progress) => readonly Decision[],
  ): Promise<RunRecord> {
    const changed = await this.#progress.change(tx, run);
    if (changed === null) {
      const error = "the stored definition is damaged";
      await this.abandon(tx, run, { status: "CRASHED", error });
      return this.#o.writing.end(tx, run, at, { status: "CRASHED", error });
    }
    const decisions = [...changed.at.decisions, ...tell(changed.at.progress)];
    return this.#carryOut(tx, changed.run, changed.at, decisions, at);
  }

  async #carryOut(
    tx: OperationalTx,
    run: RunRecord,
    { plan, progress }: RunProgress,
    decisions: readonly Decision[],
    at: number,
  ): Promise<RunRecord> {
    let hasReady = false;
    for (const decision of decisions) {
      if (decision.kind === "start") hasReady = true;
      else if (decision.kind === "skip") {
        const task = await this.#taskRun(tx, run, decision.task, { slice: 0, attempt: run.attempt }, at);
        const { status, reason: error, isAllowed } = decision;
        const change = { status, error, allowed: isAllowed ? 1 : 0 } as const;
        await this.#o.writing.setTask(tx, run, null, task, null, at, change);
      } else if (decision.kind !== "finish")
        throw new Error(`the principal does not carry out the decision "${decision.kind}"`);
    }
    if (hasReady) {
      let number = await tx.lastSlice(run.workflow_instance_id);
      const slices = nextSlices(plan, progress).map(({ tasks, placement, protocol, usesStore }) => {
        progress.assigned(tasks);
        return { slice: ++number, tasks, needs: needsOfSlice(placement, protocol, usesStore) };
      });
      await tx.addSlices(run, slices, this.#o.clock.now());
      this.#o.writing.queued(tx);
    }
    if (progress.finish === null) return run;
    // An agent may still have to say that it has nothing more to do.
    const open = await tx.listSlices(run.workflow_instance_id, "open");
    return open.length > 0 ? run : this.#finish(tx, run, progress.finish, at);
  }

  async #finish(
    tx: OperationalTx,
    run: RunRecord,
    { status, error, allowed: allowed_failures }: RunFinish,
    at: number,
  ): Promise<RunRecord> {
    this.#forget(tx, run);
    const told = status === "CANCELLED" ? (error ?? "cancelled") : error;
    const step = { status, error: told, allowed_failures };
    if (canTransition(RUN_TRANSITIONS, run.status, status)) return this.#o.writing.end(tx, run, at, step);
    // Nothing of it was left to be executed.
    const status_at_ms = Math.max(run.status_at_ms, at);
    const begun = {
      status: "RUNNING",
      status_at_ms,
      started_at_ms: run.started_at_ms ?? status_at_ms,
    } as const;
    return this.#o.writing.end(tx, await tx.transitionRun(run, { ...begun, error: null }), at, step);
  }

  #forget(tx: OperationalTx, run: RunRecord): void {
    tx.afterCommit(() => this.#progress.forget(run.workflow_instance_id));
  }
}
