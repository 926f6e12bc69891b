/**
 * Slices whose attempt is lost: they go back into the queue, and what is known of their tasks, and of those that depend on these, is taken
 * back. Every method is part of a unit of work.
 */
import type { Clock } from "../../clock.ts";
import type { OperationalTx, RunRecord, SliceRecord } from "../../storage/operational/store.ts";
import type { Decision } from "../../workflow/decisions.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { Plan } from "../../workflow/plan.ts";
import type { Progress } from "../../workflow/progress.ts";
import { isPoll } from "../../workflow/slices.ts";
import { isEnding } from "../../workflow/task-state.ts";
import type { Definitions } from "./definitions.ts";
import { disturbedTasks } from "./disturbed.ts";
import type { FanOuts } from "./fan-outs.ts";
import type { ProgressOfRuns } from "./progress-of-runs.ts";
import type { RunWriting } from "./run-writing.ts";

/** What {@link LostSlices} needs. */
interface LostSlicesOptions {
  readonly clock: Clock;
  readonly definitions: Definitions;
  readonly progress: ProgressOfRuns;
  readonly writing: RunWriting;
  readonly fanOuts: FanOuts;
  /** Tells the machine of a run what has happened, and carries out what it decides. */
  advance(
    tx: OperationalTx,
    run: RunRecord,
    at: number,
    tell: (progress: Progress) => readonly Decision[],
  ): Promise<RunRecord>;
}

/** Whether a slice that nobody executes is a task that polls, and that has begun. */
export async function isResting(tx: OperationalTx, plan: Plan | null, slice: SliceRecord): Promise<boolean> {
  if (plan === null || !isPoll(plan, slice)) return false;
  const tasks = await tx.listOpenTasks(slice.workflow_instance_id, slice.slice);
  return tasks.some(({ status }) => status === "WAITING");
}

/** Takes back what lost slices have done. */
export class LostSlices {
  readonly #o: LostSlicesOptions;

  constructor(options: LostSlicesOptions) {
    this.#o = options;
  }

  /**
   * Puts the slice of an attempt that crashed back into the queue. If no agent executes any other part of the run, the run crashes with it,
   * and waits again.
   * @param isTry it was a try of a task that polls, which goes on with the next one
   */
  async requeue(
    tx: OperationalTx,
    run: RunRecord,
    slice: SliceRecord,
    crashedAttempts: number,
    reason: string,
    isTry: boolean,
  ): Promise<RunRecord> {
    const now = this.#o.clock.now();
    if (isTry) {
      for (const task of await tx.listOpenTasks(slice.workflow_instance_id, slice.slice))
        if (task.status !== "WAITING")
          await this.#o.writing.setTask(tx, run, null, task, task.status, now, {
            status: "WAITING",
            error: reason,
          });
    }
    const { workflow_instance_id: id } = run;
    const open = await tx.listSlices(id, "open");
    let present = run;
    if (!open.some((other) => other.state === "LEASED" && other.slice !== slice.slice)) {
      const status_at_ms = Math.max(run.status_at_ms, now);
      present = await tx.requeueRun(
        await tx.transitionRun(run, { status: "CRASHED", status_at_ms, error: reason }),
      );
    }
    const disturbed = await this.#disturbed(tx, present, slice);
    const scope = new Set(slice.tasks);
    const elsewhere = new Set(disturbed.filter((task) => !scope.has(task)));
    const ended = elsewhere.size === 0 ? [] : await tx.listTaskStates(id);
    const gone = ended.filter(({ task_id, status }) => elsewhere.has(task_id) && isEnding(status));
    // First: a machine that has to be built must see the slice as it was.
    await this.#takeBack(tx, present, slice, now, new Set(disturbed));
    await tx.forgetCompleted(slice, disturbed);
    // Those that were skipped once more have another task run now.
    await tx.forgetTasks(
      id,
      [...elsewhere],
      gone.map((task) => task.task_instance_id),
    );
    await tx.requeueSlice(slice, crashedAttempts, now, isTry ? crashedAttempts + 1 : undefined);
    this.#o.writing.queued(tx);
    return (await tx.getRun(id)) ?? present;
  }

  /** The tasks that an attempt at a slice disturbs that is lost; of other slices, if no agent has them. */
  async #disturbed(tx: OperationalTx, run: RunRecord, slice: SliceRecord): Promise<string[]> {
    const at = await this.#o.progress.of(tx, run);
    if (at === null) return [];
    const { plan, progress } = at;
    const others = (await tx.listSlices(run.workflow_instance_id, "open")).filter(
      (other) => other.slice !== slice.slice && other.state !== "QUEUED",
    );
    const taken = new Set(
      others.flatMap(({ tasks }) => tasks.map((task) => progress.node(task)?.item?.task ?? task)),
    );
    const isOver = (task: string) => {
      const status = progress.status(task);
      return status !== "undecided" && status !== "assigned" && !taken.has(task);
    };
    return disturbedTasks(tx, plan, slice, new Set(slice.tasks), isOver);
  }

  /**
   * An attempt at a slice is lost: what did not complete in it is undecided again, and what COMPLETED only because of that, as `disturbed`
   * says. So is what was skipped because of that, or waits for an agent because of that.
   */
  async #takeBack(
    tx: OperationalTx,
    run: RunRecord,
    { slice, tasks }: SliceRecord,
    at: number,
    disturbed: ReadonlySet<string>,
  ): Promise<void> {
    const { workflow_instance_id: id } = run;
    const plan = await this.#o.definitions.planOf(tx, run);
    const waiting: SliceRecord[] = [];
    for (const other of await tx.listSlices(id, "open")) {
      if (other.state !== "QUEUED" || other.slice === slice) continue;
      // What has begun goes on, as if an agent had it.
      if (!(await isResting(tx, plan, other))) waiting.push(other);
    }
    const withdrawn: SliceRecord[] = [];
    const withoutAgent = (await tx.listTaskStates(id)).filter(
      ({ slice, attempt, status }) =>
        slice === 0 && attempt > 0 && isEnding(status) && status !== "COMPLETED",
    );
    const undecided: string[] = [];
    await this.#o.advance(tx, run, at, (progress) => {
      const decisions = progress.requeued(tasks, disturbed);
      // Who follows a failure must not start before it is known whether it fails again.
      for (const other of waiting) {
        const among = new Set(other.tasks);
        if (other.tasks.every((task) => progress.isMet(task, among))) continue;
        withdrawn.push(other);
        decisions.push(...progress.released(other.tasks));
      }
      const again = new Set(decisions.flatMap((decision) => ("task" in decision ? [decision.task] : [])));
      for (const { task_id, item_key, task_instance_id, status } of withoutAgent) {
        const node = nodeId(task_id, item_key);
        if (progress.node(node) === undefined) continue;
        if (again.has(node) || progress.status(node) !== status) undecided.push(task_instance_id);
      }
      return decisions;
    });
    await this.#o.fanOuts.takenBack(tx, run);
    for (const other of withdrawn) await tx.endSlice(other);
    if (undecided.length > 0) await tx.withdrawTasks(id, undecided);
  }
}
