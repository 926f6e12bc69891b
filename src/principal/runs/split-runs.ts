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
  WaitRecord,
} from "../../storage/operational/store.ts";
import {
  type Decision,
  type RunFinish,
  type Stop,
  stopReason,
  type TaskEnd,
} from "../../workflow/decisions.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { Placement } from "../../workflow/placement.ts";
import type { PlanNode } from "../../workflow/plan.ts";
import type { Progress } from "../../workflow/progress.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isPoll, nextSlices } from "../../workflow/slices.ts";
import { canTransition, isTerminal } from "../../workflow/status.ts";
import { type Ending, isEnding } from "../../workflow/task-state.ts";
import type { Alerts } from "../alerts/alerts.ts";
import { questionAlert, questionKey } from "../alerts/run-alerts.ts";
import { needsOfSlice } from "../limits/needs.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { stopChildRun, type WaitEnd } from "./child-runs.ts";
import type { Definitions } from "./definitions.ts";
import { type CancelDecision, FanOuts } from "./fan-outs.ts";
import { isResting, LostSlices } from "./lost-slices.ts";
import { placed } from "./placing.ts";
import {
  isTold,
  keepWithin,
  type ProgressOfRuns,
  publishedByItems,
  type RunProgress,
} from "./progress-of-runs.ts";
import { endWhenDue, waitOf } from "./run-kinds.ts";
import { faultOfResult } from "./run-outputs.ts";
import { limited, newNodeRun, type RunWriting } from "./run-writing.ts";
import { stopOf } from "./stopped.ts";

/** How those tasks of a slice end whose end its agent did not report. */
export interface Leftover {
  readonly status: "CANCELLED" | "CRASHED";
  readonly error: string;
}

/** What an agent says of a task. */
type TaskWord = Pick<TaskReport, "task_id" | "item" | "status" | "error" | "outputs" | "is_allowed">;

/** What {@link SplitRuns} needs. */
export interface SplitRunsOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly definitions: Definitions;
  readonly progress: ProgressOfRuns;
  readonly writing: RunWriting;
  /** Tells those who are to know that a task waits for a person. By default nobody is told. */
  readonly alerts?: Pick<Alerts, "raise" | "resolve">;
}

/** Why a task ends whose agent contradicts itself. */
const NO_TRY = "its agent reported that it waits for its next try, but nothing about a try";

/** Changes split runs. */
export class SplitRuns {
  readonly #o: SplitRunsOptions;
  readonly #progress: ProgressOfRuns;
  readonly #fanOuts: FanOuts;
  readonly #lost: LostSlices;

  constructor(options: SplitRunsOptions) {
    this.#o = options;
    this.#progress = options.progress;
    this.#fanOuts = new FanOuts(options);
    this.#lost = new LostSlices({
      ...options,
      fanOuts: this.#fanOuts,
      advance: (tx, run, at, tell) => this.#advance(tx, run, at, tell),
    });
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

  /** Whether a slice is a task that polls: each attempt at it is a try. */
  async polls(tx: OperationalTx, run: RunRecord, slice: SliceRecord): Promise<boolean> {
    const plan = await this.#o.definitions.planOf(tx, run);
    return plan !== null && isPoll(plan, slice);
  }

  /** An agent reports about a task. If it is over, what depends on it starts or is skipped, although its slice goes on. */
  async reported(
    tx: OperationalTx,
    run: RunRecord,
    { task_id, item, status, error, outputs, is_allowed: isAllowed = false }: TaskWord,
    at: number,
  ): Promise<void> {
    if (!isTold(status)) return;
    const plan = await this.#o.definitions.planOf(tx, run);
    const isRead = plan?.decidedBy.has(task_id) === true;
    // Otherwise it is enough to know when the slice is over.
    if (item === undefined) {
      if (plan?.dependents(task_id).length === 0 && !isRead) return;
    } else {
      const { maxParallel = null, failFast = false } = plan?.node(task_id)?.fanOut ?? {};
      if (maxParallel === null && !failFast && !isRead) return;
    }
    // Its agent reports what each item has published, once.
    const isOfItems = isRead && item === undefined && plan?.node(task_id)?.fanOut !== undefined;
    const published = isOfItems ? await publishedByItems(tx, run, task_id) : outputs;
    const end = { status, isAllowed, ...(isRead ? { error, outputs: published } : {}) };
    const id = nodeId(task_id, item?.key ?? null);
    await this.#advance(tx, run, at, (progress, of) => {
      if (isRead && status === "COMPLETED" && outputs !== null)
        keepWithin(of, Buffer.byteLength(JSON.stringify(outputs)));
      return progress.ended(id, end);
    });
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
    if (slice.damage !== undefined) {
      await tx.endSlice(slice);
      this.#freed(tx, slice);
      return this.crash(tx, run, at, slice.damage);
    }
    const ends = await this.#close(tx, run, attempt, slice, at, left);
    await tx.endSlice(slice);
    this.#freed(tx, slice);
    this.#o.writing.touched(tx, id);
    return this.#advance(tx, run, at, (progress) =>
      [...ends].flatMap(([task, end]) => progress.ended(task, end)),
    );
  }

  /** See {@link LostSlices.requeue}. */
  requeue(...args: Parameters<LostSlices["requeue"]>): Promise<RunRecord> {
    return this.#lost.requeue(...args);
  }

  /**
   * Cancels a run that is not over. One that is being stopped because it takes too long ends as that. If only its hooks are not over, those
   * are stopped; the run ends as it would have. But the hooks of a run that was cancelled are not stopped by a repeated request.
   * @param hooks it is meant to stop them
   */
  async cancel(tx: OperationalTx, run: RunRecord, hooks = false): Promise<void> {
    if (await this.isInHooks(tx, run)) {
      if (hooks || run.cancel_requested_at_ms === null) await this.#stopHooks(tx, run);
      return;
    }
    if (run.timed_out_at_ms !== null) return;
    const asked = await tx.requestCancel(run, this.#o.clock.now());
    await this.#stop(tx, asked, "cancelled", null);
  }

  /** Whether all tasks of a run but hooks are over. */
  async isInHooks(tx: OperationalTx, run: RunRecord): Promise<boolean> {
    const plan = await this.#o.definitions.planOf(tx, run);
    if (plan?.hasHooks !== true) return false;
    const at = await this.#progress.of(tx, run);
    return at !== null && at.progress.outcome !== null;
  }

  async #stopHooks(tx: OperationalTx, run: RunRecord): Promise<void> {
    if (run.hooks_stopped) return;
    const stopped = await tx.stopHooks(run);
    const { withdrawn } = await this.#withdraw(tx, stopped, stopReason("cancelled"));
    await this.#advance(tx, stopped, this.#o.clock.now(), (progress) => [
      ...progress.stopHooks(),
      ...progress.released(withdrawn),
    ]);
  }

  /** Stops a run that takes longer than it may. */
  async timeOut(tx: OperationalTx, run: RunRecord, error: string): Promise<void> {
    await this.#stop(tx, await tx.recordTimeout(run, this.#o.clock.now()), "timed out", error);
  }

  /** Takes everything away from agents and from the queue: the run ends now, whatever the machine thinks. */
  async abandon(tx: OperationalTx, run: RunRecord, left: Leftover): Promise<void> {
    const now = this.#o.clock.now();
    for (const { task } of await tx.listWaits(run.workflow_instance_id))
      await this.#endWait(tx, run, task, now, left);
    for (const slice of await tx.listSlices(run.workflow_instance_id, "open")) {
      const attempt = slice.state === "LEASED" ? await tx.getAttempt(slice) : null;
      if (attempt !== null) {
        await this.#revoke(tx, attempt, left);
        await this.#close(tx, run, attempt, slice, now, left);
        this.#freed(tx, slice);
      }
      await tx.endSlice(slice);
    }
    this.#forget(tx, run);
  }

  /** What is not executed by anybody is over at once; agents that execute something get the order to stop. */
  async #stop(tx: OperationalTx, run: RunRecord, kind: Stop, error: string | null): Promise<void> {
    const { withdrawn, resting } = await this.#withdraw(tx, run, stopReason(kind));
    await this.#advance(tx, run, this.#o.clock.now(), (progress) => {
      for (const task of resting) progress.waits(task);
      return [...progress.stop(kind, error), ...progress.released(withdrawn)];
    });
  }

  /**
   * Ends slices that no agent executes; agents that execute one get the order to stop. Returns the tasks of the former, and those among
   * them that are between two tries: they have begun, and their slices end with them.
   */
  async #withdraw(
    tx: OperationalTx,
    run: RunRecord,
    error: string,
  ): Promise<{ readonly withdrawn: readonly string[]; readonly resting: readonly string[] }> {
    const plan = await this.#o.definitions.planOf(tx, run);
    const withdrawn: string[] = [];
    const resting: string[] = [];
    for (const slice of await tx.listSlices(run.workflow_instance_id, "open")) {
      // It ends with its task, which the machine must still find asleep.
      if (slice.state === "ASLEEP") continue;
      const attempt = slice.state === "LEASED" ? await tx.getAttempt(slice) : null;
      if (attempt !== null) this.#orders(tx, attempt);
      if (attempt?.lease === "HELD") continue;
      if (attempt !== null) await this.#revoke(tx, attempt, { status: "CANCELLED", error });
      this.#freed(tx, slice);
      if (await isResting(tx, plan, slice)) {
        await tx.sleepSlice(slice);
        resting.push(...slice.tasks);
        continue;
      }
      await tx.endSlice(slice);
      withdrawn.push(...slice.tasks);
    }
    return { withdrawn, resting };
  }

  /** An agent does not have a slice any more, and so the slots that it had are free. */
  #freed(tx: OperationalTx, { pools }: SliceRecord): void {
    if (pools !== null) this.#o.writing.freed(tx);
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
      const node = nodeId(task.task_id, task.item_key);
      if (ends.get(node)?.status === "COMPLETED") continue;
      if (task.status === "COMPLETED") ends.set(node, { status: task.status });
      else if (isOfThis)
        ends.set(
          node,
          isEnding(task.status)
            ? { status: task.status, error: task.error, isAllowed: task.allowed === 1 }
            : { status, error },
        );
    }
    const silent = slice.tasks.filter((task) => !ends.has(task));
    const progress = silent.length === 0 ? undefined : (await this.#progress.of(tx, run))?.progress;
    for (const task of silent) {
      const fresh = newNodeRun(run, task, progress?.node(task), attempt, at);
      await writing.setTask(tx, run, attempt.agent_id, fresh, null, at, { status, error });
      ends.set(task, { status, error });
    }
    return ends;
  }

  /** Tells the machine of a run what has happened, and carries out what it decides. */
  async #advance(
    tx: OperationalTx,
    run: RunRecord,
    at: number,
    tell: (progress: Progress, of: RunProgress) => readonly Decision[],
  ): Promise<RunRecord> {
    const changed = await this.#progress.change(tx, run);
    if (changed === null) {
      const isRead = (await this.#o.definitions.planOf(tx, run)) !== null;
      const damage = isRead ? "what is stored of its tasks is damaged" : "the stored definition is damaged";
      return this.crash(tx, run, at, run.damage ?? damage);
    }
    const decisions = [...changed.at.decisions, ...tell(changed.at.progress, changed.at)];
    return this.#carryOut(tx, changed.run, changed.at, decisions, at);
  }

  /** Ends a run that cannot go on. */
  async crash(tx: OperationalTx, run: RunRecord, at: number, error: string): Promise<RunRecord> {
    await this.abandon(tx, run, { status: "CRASHED", error });
    return this.#o.writing.end(tx, run, at, { status: "CRASHED", error });
  }

  async #carryOut(
    tx: OperationalTx,
    run: RunRecord,
    of: RunProgress,
    decisions: readonly Decision[],
    at: number,
  ): Promise<RunRecord> {
    const { plan, progress } = of;
    let hasReady = false;
    let present = run;
    const left = [...decisions];
    const cancelled: CancelDecision[] = [];
    // The list grows while it is read.
    for (const decision of left) {
      switch (decision.kind) {
        case "start":
          if (progress.node(decision.task)?.isPlaced === true)
            left.push(...(await this.#place(tx, present, of, decision.task, at)));
          hasReady ||= progress.status(decision.task) === "undecided";
          break;
        case "expand":
          // An agent expands those that are in a slice as a whole.
          if (plan.node(decision.task)?.fanOut?.isShared !== true) hasReady = true;
          else left.push(...(await this.#fanOuts.expand(tx, run, of, decision.task, at)));
          break;
        case "wait":
          present = await this.#wait(tx, present, of, decision.task, at, left);
          break;
        case "skip": {
          const { task: id, status, reason: error, isAllowed } = decision;
          const node = progress.node(id);
          const change = { status, error, allowed: isAllowed ? 1 : 0 } as const;
          const hasRow = node?.waits !== undefined || node?.polls === true;
          if (hasRow && (await this.#endWait(tx, run, id, at, change))) break;
          const task = newNodeRun(run, id, node, { slice: 0, attempt: run.attempt }, at);
          await this.#o.writing.setTask(tx, run, null, task, null, at, change);
          break;
        }
        case "end":
          await this.#fanOuts.end(tx, run, of, decision, at);
          break;
        case "cancel": {
          const { task, reason: error } = decision;
          const node = progress.node(task);
          if (node?.waits === "run") {
            const status = stopOf(run) === "timed out" ? "FAILED" : "CANCELLED";
            const stop = { status, error } as const;
            await stopChildRun(tx, run, task, stop, at, this.#o.events);
          } else if (node?.waits !== undefined) {
            const end = { status: "CANCELLED", error } as const;
            if (await this.#endWait(tx, run, task, at, end)) left.push(...progress.ended(task, end));
          } else if (node?.hook === undefined) {
            // Whoever executes a hook gets its order to stop.
            cancelled.push(decision);
          }
          break;
        }
        case "conclude":
          left.push(...progress.concluded(await faultOfResult(tx, run, of.definition)));
          break;
        case "finish":
          break;
      }
      if (decision === left.at(-1) && cancelled.length > 0)
        left.push(...(await this.#fanOuts.cancel(tx, run, of, cancelled.splice(0), at)));
    }
    if (hasReady) {
      let number = await tx.lastSlice(run.workflow_instance_id);
      const room = await this.#fanOuts.room(tx, progress);
      const placementOf = (node: PlanNode): Placement => of.placements.get(node.id) ?? node.placement;
      const slices = nextSlices(plan, progress, room, placementOf).map(
        ({ tasks, placement, protocol, usesStore }) => {
          progress.assigned(tasks);
          const is_hook = tasks.every((task) => plan.node(task)?.hook !== undefined);
          const needs = needsOfSlice(placement, protocol, usesStore, present.priority);
          const pools = placement.pool === undefined ? null : JSON.stringify(placement.pool);
          return { slice: ++number, tasks, needs, is_hook, pools };
        },
      );
      await tx.addSlices(run, slices, this.#o.clock.now());
      // The time limit of a run is about its tasks.
      if (present.deadline_ms !== null && slices.some((slice) => slice.is_hook))
        present = await tx.limitRun(present, null);
      this.#o.writing.queued(tx);
    }
    if (progress.finish === null) return present;
    // An agent may still have to say that it has nothing more to do.
    const open = await tx.listSlices(run.workflow_instance_id, "open");
    return open.length > 0 ? present : this.#finish(tx, present, progress.finish, at);
  }

  /** Computes where a task may run that is ready. Returns what is decided then. */
  async #place(
    tx: OperationalTx,
    run: RunRecord,
    of: RunProgress,
    taskId: string,
    at: number,
  ): Promise<Decision[]> {
    const { definition, progress, placements } = of;
    const task = allTasks(definition).find(({ id }) => id === taskId);
    const node = progress.node(taskId);
    if (task === undefined || node === undefined) return [];
    const found = placed(run, of, task);
    if (!("fail" in found)) {
      placements.set(taskId, found);
      return [];
    }
    const error = found.fail;
    const isAllowed = node.allowsFailure === true;
    const row = newNodeRun(run, taskId, node, { slice: 0, attempt: run.attempt }, at);
    const end = { status: "FAILED", error, allowed: isAllowed ? 1 : 0 } as const;
    await this.#o.writing.setTask(tx, run, null, row, null, at, end);
    return progress.ended(taskId, { status: "FAILED", error, isAllowed, isUnstarted: true });
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
    return this.#o.writing.end(tx, await this.#begun(tx, run, at), at, step);
  }

  /**
   * A task that polls waits for its next try, and so the attempt at its slice is over. In a run that is being stopped, the slice is over.
   */
  async sleeps(tx: OperationalTx, run: RunRecord, attempt: AttemptRecord, at: number): Promise<RunRecord> {
    const { workflow_instance_id } = run;
    const stop = stopOf(run);
    if (stop !== null)
      return this.sliceOver(tx, run, attempt, at, { status: "CANCELLED", error: stopReason(stop) });
    const slice = await tx.getSlice(workflow_instance_id, attempt.slice);
    const [task] = await tx.listOpenTasks(workflow_instance_id, attempt.slice);
    if (slice === null || task === undefined || !(await this.polls(tx, run, slice)))
      return this.sliceOver(tx, run, attempt, at, { status: "CRASHED", error: NO_TRY });
    await tx.sleepSlice(slice);
    this.#freed(tx, slice);
    const { task_id, task_instance_id } = task;
    const definition = await this.#o.definitions.of(tx, run);
    const { every_ms = 0 } = definition?.tasks.find(({ id }) => id === task_id)?.repeat ?? {};
    const due_ms = task.due_ms ?? at + every_ms;
    // The report of that was lost with a disk.
    if (task.status !== "WAITING")
      await this.#o.writing.setTask(tx, run, attempt.agent_id, task, task.status, at, {
        status: "WAITING",
        due_ms,
      });
    const wait = {
      kind: "poll",
      due_ms,
      data: "{}",
      since_ms: at,
    } as const;
    await tx.addWait({ ...wait, workflow_instance_id, task: task_id, task_instance_id });
    tx.afterCommit(() => this.#o.events.emit("wait added", due_ms));
    return this.#advance(tx, run, at, (progress) => {
      progress.waits(task_id);
      return [];
    });
  }

  /** The next try of a task that polls is due: its slice waits for an agent again. */
  async #wake(tx: OperationalTx, run: RunRecord, wait: WaitRecord, at: number): Promise<void> {
    const { workflow_instance_id: id, task } = wait;
    await tx.endWait(id, task);
    const going = wait.task_instance_id === null ? null : await tx.getTaskRun(id, wait.task_instance_id);
    const slice = going === null ? null : await tx.getSlice(id, going.slice);
    if (slice?.state !== "ASLEEP") return;
    // First: a machine that has to be built must see the slice as it was.
    const present = await this.#advance(tx, run, at, (progress) => {
      progress.assigned([task]);
      return [];
    });
    if (isTerminal(RUN_TRANSITIONS, present.status)) return;
    await tx.wakeSlice(slice, at);
    this.#o.writing.touched(tx, id);
    this.#o.writing.queued(tx);
  }

  /** A run begins without an agent. */
  async #begun(tx: OperationalTx, run: RunRecord, at: number): Promise<RunRecord> {
    return this.#o.writing.begin(tx, run, Math.max(run.status_at_ms, at));
  }

  /** A task begins to wait for what no agent has to do with, unless it does so already. */
  async #wait(
    tx: OperationalTx,
    run: RunRecord,
    of: RunProgress,
    taskId: string,
    at: number,
    decisions: Decision[],
  ): Promise<RunRecord> {
    const { workflow_instance_id } = run;
    const { definition, progress } = of;
    const node = progress.node(taskId);
    if ((await tx.getWait(workflow_instance_id, taskId)) !== null) return run;
    const begun = run.status === "PENDING" ? await this.#begun(tx, run, at) : run;
    const fresh = newNodeRun(begun, taskId, node, { slice: 0, attempt: begun.attempt }, at);
    const task = { ...fresh, started_at_ms: at };
    const wait = await waitOf(tx, begun, of, taskId, at);
    if ("error" in wait) {
      const { error } = wait;
      const isAllowed = node?.allowsFailure === true;
      const end = { status: "FAILED", error, allowed: isAllowed ? 1 : 0 } as const;
      await this.#o.writing.setTask(tx, begun, null, fresh, null, at, end);
      decisions.push(...progress.ended(taskId, { status: "FAILED", error, isAllowed, isUnstarted: true }));
      return begun;
    }
    const { due_ms } = wait;
    // What is due of a child run is not the end of the task.
    const until = wait.kind === "run" ? null : due_ms;
    await this.#o.writing.setTask(tx, begun, null, task, null, at, { status: "WAITING", due_ms: until });
    const { task_instance_id } = task;
    await tx.addWait({ ...wait, workflow_instance_id, task: taskId, task_instance_id, since_ms: at });
    if (wait.kind === "person") await this.#o.alerts?.raise(tx, questionAlert(begun, taskId, wait, at));
    if (due_ms !== null) tx.afterCommit(() => this.#o.events.emit("wait added", due_ms));
    return limited(tx, begun, definition.timeout_ms, this.#o.events);
  }

  /** Ends the task run of a task that waits, also between two of its tries. Returns whether there is one. */
  async #endWait(
    tx: OperationalTx,
    run: RunRecord,
    taskId: string,
    at: number,
    end: Pick<TaskRunRecord, "error"> &
      Partial<Pick<TaskRunRecord, "outputs" | "allowed">> & { readonly status: Ending },
  ): Promise<boolean> {
    const { workflow_instance_id: id } = run;
    const wait = await tx.getWait(id, taskId);
    if (wait !== null) await tx.endWait(id, taskId);
    if (wait?.kind === "person") await this.#o.alerts?.resolve(tx, questionKey(run, taskId), at);
    // One whose next try waits for an agent has no wait any more.
    const task =
      wait?.task_instance_id == null
        ? (await tx.listOpenTasks(id)).find((open) => nodeId(open.task_id, open.item_key) === taskId)
        : await tx.getTaskRun(id, wait.task_instance_id);
    if (task?.status !== "WAITING") return false;
    const slice = task.slice === 0 ? null : await tx.getSlice(id, task.slice);
    if (slice?.state === "ASLEEP") await tx.endSlice(slice);
    await this.#o.writing.setTask(tx, run, null, task, task.status, at, end);
    return true;
  }

  /** The time for which a task waits has come: it is over, or its next try is due. */
  async due(tx: OperationalTx, run: RunRecord, wait: WaitRecord): Promise<void> {
    if (wait.kind === "poll") return this.#wake(tx, run, wait, this.#o.clock.now());
    const end = endWhenDue(wait);
    if (end !== null) await this.waited(tx, run, wait.task, end);
  }

  /** What a task waits for is over, and so is the task. */
  async waited(tx: OperationalTx, run: RunRecord, task: string, end: WaitEnd): Promise<void> {
    const at = this.#o.clock.now();
    const { status, error, outputs: json = null } = end;
    const node = (await this.#progress.of(tx, run))?.progress.node(task);
    const isAllowed = status === "FAILED" && node?.allowsFailure === true;
    const change = { status, error, outputs: json, allowed: isAllowed ? 1 : 0 } as const;
    if (!(await this.#endWait(tx, run, task, at, change))) return;
    await this.#advance(tx, run, at, (progress, of) => {
      const isRead = of.plan.decidedBy.has(node?.item?.task ?? task);
      if (isRead && json !== null) keepWithin(of, Buffer.byteLength(json));
      const outputs = json === null ? null : JSON.parse(json);
      // As after a restart: nothing of it is on an agent, so it begins anew when what it needs does.
      const isUnstarted = status === "FAILED";
      return progress.ended(task, { status, isAllowed, isUnstarted, error, ...(isRead ? { outputs } : {}) });
    });
  }

  #forget(tx: OperationalTx, run: RunRecord): void {
    tx.afterCommit(() => this.#progress.forget(run.workflow_instance_id));
  }
}
