/**
 * The fan-outs of split runs whose items may go to different agents: the principal computes the items, and slices are made of those. Every
 * method is part of a unit of work.
 */
import type { Clock } from "../../clock.ts";
import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import type { Decision } from "../../workflow/decisions.ts";
import { expandItems } from "../../workflow/fan-out.ts";
import type { Progress } from "../../workflow/progress.ts";
import { factsOf } from "../../workflow/run-facts.ts";
import { isEnding } from "../../workflow/task-state.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { placedItems } from "./placing.ts";
import { machineItems, type ProgressOfRuns, type RunProgress } from "./progress-of-runs.ts";
import { newNodeRun, type RunWriting } from "./run-writing.ts";

/** A decision to stop a task that was started. */
export type CancelDecision = Decision & { readonly kind: "cancel" };

/** What {@link FanOuts} needs. */
interface FanOutsOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly progress: ProgressOfRuns;
  readonly writing: RunWriting;
}

/** Carries out what is decided about fan-outs. */
export class FanOuts {
  readonly #o: FanOutsOptions;

  constructor(options: FanOutsOptions) {
    this.#o = options;
  }

  /** Computes the items of a fan-out. Returns what is decided then. */
  async expand(
    tx: OperationalTx,
    run: RunRecord,
    of: RunProgress,
    task: string,
    at: number,
  ): Promise<Decision[]> {
    const { definition, progress, items, agents } = of;
    // A slice that was lost has it again.
    if (progress.status(task) !== "undecided") return [];
    const found = definition.tasks.find(({ id }) => id === task);
    const node = progress.node(task);
    if (found === undefined || node === undefined) return [];
    const results = (id: string) => progress.results([id])[id];
    const facts = factsOf(run, definition, agents.up);
    const expanded = expandItems(definition, found, results, facts);
    const expansion =
      "fail" in expanded || node.isPlaced !== true
        ? expanded
        : placedItems(definition, found, expanded.items, { facts, results });
    const row = newNodeRun(run, task, node, { slice: 0, attempt: run.attempt }, at);
    if ("fail" in expansion) {
      const error = expansion.fail;
      const isAllowed = node.allowsFailure === true;
      const failed = { status: "FAILED", error, allowed: isAllowed ? 1 : 0 } as const;
      await this.#o.writing.setTask(tx, run, null, row, null, at, failed);
      return progress.ended(task, { status: "FAILED", error, isAllowed, isUnstarted: true });
    }
    items.set(task, expansion.items);
    await tx.putFanOut(run.workflow_instance_id, task, JSON.stringify(expansion.items));
    await this.#o.writing.setTask(tx, run, null, row, null, at, {
      status: "RUNNING",
      task_attempt: 1,
      items_total: expansion.items.length,
    });
    return progress.expanded(task, machineItems(definition, expansion.items));
  }

  /** A fan-out is over, perhaps for the second time if the machine was built again. */
  async end(
    tx: OperationalTx,
    run: RunRecord,
    { progress, items }: RunProgress,
    { task, status, error, isAllowed }: Decision & { readonly kind: "end" },
    at: number,
  ): Promise<void> {
    const rows = (await tx.listTasks(run.workflow_instance_id)).filter(({ task_id }) => task_id === task);
    const last = rows.at(-1);
    if (last !== undefined && isEnding(last.status) && last.status === status) return;
    const isOpen = last !== undefined && !isEnding(last.status);
    const row = isOpen
      ? { ...last, outputs: null }
      : newNodeRun(run, task, progress.node(task), { slice: 0, attempt: run.attempt }, at);
    const items_total = items.get(task)?.length ?? 0;
    const change = { status, error, allowed: isAllowed ? 1 : 0, items_total } as const;
    await this.#o.writing.setTask(tx, run, null, row, isOpen ? last.status : null, at, change);
  }

  /**
   * Items are to be stopped because another one has failed. Agents that execute some get the order; those that nobody executes are over at
   * once. Returns what is decided then.
   */
  async cancel(
    tx: OperationalTx,
    run: RunRecord,
    { progress }: RunProgress,
    cancelled: readonly CancelDecision[],
    at: number,
  ): Promise<Decision[]> {
    const { workflow_instance_id: id } = run;
    const reasons = new Map(cancelled.map(({ task, reason }) => [task, reason]));
    const fanOuts = new Set(cancelled.flatMap(({ task }) => progress.node(task)?.item?.task ?? []));
    for (const task of fanOuts) await tx.cutFanOut(id, task, true);
    const unattended = new Set(reasons.keys());
    for (const slice of await tx.listSlices(id, "open")) {
      const hit = slice.tasks.filter((task) => reasons.has(task));
      if (hit.length === 0) continue;
      if (slice.state !== "LEASED") {
        await tx.endSlice(slice);
        continue;
      }
      for (const task of hit) unattended.delete(task);
      const attempt = await tx.getAttempt(slice);
      if (attempt !== null) tx.afterCommit(() => this.#o.events.emit("orders changed", attempt.agent_id));
    }
    const decisions: Decision[] = [];
    for (const task of unattended) {
      const error = reasons.get(task) ?? "";
      const row = newNodeRun(run, task, progress.node(task), { slice: 0, attempt: run.attempt }, at);
      await this.#o.writing.setTask(tx, run, null, row, null, at, { status: "CANCELLED", error });
      decisions.push(...progress.ended(task, { status: "CANCELLED", error }));
    }
    return decisions;
  }

  /** A slice was lost, and with it perhaps the item for whose failure others are cancelled. */
  async takenBack(tx: OperationalTx, run: RunRecord): Promise<void> {
    const { workflow_instance_id: id } = run;
    for (const { task_id, is_cut } of await tx.fanOutsOf(id)) {
      if (!is_cut) continue;
      const at = await this.#o.progress.of(tx, (await tx.getRun(id)) ?? run);
      if (at?.progress.isCut(task_id) === false) await tx.cutFanOut(id, task_id, false);
    }
  }

  /** How many slices agents could take now: only counted if there are items to be divided into slices. */
  async room(tx: OperationalTx, progress: Progress): Promise<number> {
    if (progress.ready.every(({ item }) => item === undefined)) return 1;
    const leases = new Map<string, number>();
    for (const { agent_id } of await tx.openAttempts()) leases.set(agent_id, (leases.get(agent_id) ?? 0) + 1);
    let room = 0;
    for (const { agent_id, status, max_concurrent_workflows: places } of await tx.listAgents())
      if (status === "UP") room += Math.max(0, places - (leases.get(agent_id) ?? 0));
    return Math.max(1, room);
  }
}
