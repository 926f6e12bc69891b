/**
 * Decides which runs enter the queue: pauses of workflows, and concurrency groups.
 *
 *   create ──▶ start? ──▶ pause? ──▶ group? ──▶ queued ──▶ RUNNING
 *                │ time      │ resume    │ place              all before it: PENDING
 *                └───────────┴───────────┴──▶ SKIPPED, CANCELLED, FAILED
 *
 * A run has a place of its group from its admission until it is over, hooks and further attempts included. Places are counted, never
 * kept, in the unit of work that admits. When a run of a group ends, those that wait get its place in the same commit; a sweep does that
 * for what could not be done then. Every method but {@link Admission.sweep} is part of a unit of work.
 */
import type { Clock } from "../../clock.ts";
import type {
  CommitStep,
  OperationalStore,
  OperationalTx,
  RunRecord,
} from "../../storage/operational/store.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { Plan } from "../../workflow/plan.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { decideConflict, type Entry, hasRoom, nextAdmissions } from "./decide.ts";
import { cancelledReason, fullReason, replacedReason, skippedReason, stuckReason } from "./hold-reasons.ts";
import type { Pauses } from "./pauses.ts";
import { stuckRun } from "./stuck.ts";
import { waitingRuns } from "./waiting-runs.ts";

/** How a run waits for agents. */
type Place = Pick<RunRecord, "queued" | "needs" | "revision">;

/** What {@link Admission} needs. */
export interface AdmissionOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly definitions: {
    of(tx: OperationalTx, run: Pick<RunRecord, "definition_hash">): Promise<WorkflowDefinition | null>;
    planOf(tx: OperationalTx, run: Pick<RunRecord, "definition_hash">): Promise<Plan | null>;
  };
  /** The pauses of workflows; by default none. */
  readonly pauses?: Pick<Pauses, "mayHold" | "reasonAt">;
  /** The workflows as their files are now. */
  readonly workflows: { get(id: string): { readonly definition: WorkflowDefinition } | undefined };
  /** How a run with this plan waits. @param isPlain whether an agent that gets all of it knows of what is done */
  readonly place: (plan: Plan | null, priority: number, isPlain: boolean) => Place;
  /** A run waits for agents from now on. */
  readonly queued: (tx: OperationalTx) => void;
  /** A split run begins: queues its first slices. */
  readonly begin: (tx: OperationalTx, run: RunRecord) => Promise<RunRecord>;
  /** Ends a run that has not begun. */
  readonly end: (
    tx: OperationalTx,
    run: RunRecord,
    step: Pick<RunRecord, "error"> & { readonly status: "SKIPPED" | "FAILED" },
  ) => Promise<RunRecord>;
  /** Cancels a run; its hooks are not stopped. */
  readonly cancelFor: (tx: OperationalTx, run: RunRecord, reason: string) => Promise<void>;
  /** Whether only hooks of a run are left. */
  readonly isInHooks: (tx: OperationalTx, run: RunRecord) => Promise<boolean>;
}

/** The most runs of a group that one commit admits, or finds paused, when another run ends: other units of work wait. */
const BATCH = 100;
/** Maximum number of groups that the sweep looks at in one commit. */
const GROUPS = 100;
/** Maximum number of runs of a group that one that arrives replaces or cancels. */
const MANY = 10_000;

/** Lets runs into the queue. */
export class Admission {
  readonly #o: AdmissionOptions;
  /** The steps that units of work have requested, by group. */
  readonly #steps = new Map<string, CommitStep>();
  /** Ends runs that wait for themselves. */
  readonly #unstick: CommitStep = {
    work: (tx) => this.#endStuck(tx),
    failed: (error) => this.#o.events.emit("admission due", error),
  };

  constructor(options: AdmissionOptions) {
    this.#o = options;
  }

  /** Whether a run cannot simply be queued when it is created. */
  concerns({ workflow_id, group_key }: Pick<RunRecord, "workflow_id" | "group_key">): boolean {
    return group_key !== null || this.#o.pauses?.mayHold(workflow_id) === true;
  }

  /** A run that is not queued yet was created, or its time has come, or its workflow goes on after a pause. */
  async enter(tx: OperationalTx, run: RunRecord): Promise<RunRecord> {
    const paused = await this.#pausedReason(tx, run);
    if (paused !== null) return this.#hold(tx, run, "pause", paused);
    const { group_key: key, group_max: max, on_conflict } = run;
    if (key === null || max === null || on_conflict === null) return this.#admit(tx, run);
    const state = await tx.groupState(key);
    if (hasRoom(state, max)) return this.#admit(tx, run);
    const group = { key, max };
    const { outcome, skip, cancel } = await this.#decide(tx, key, { max, on_conflict });
    if (outcome === "skipped") {
      const [holder] = await tx.groupHolders(key, 1);
      const error = skippedReason(group, holder?.workflow_instance_id ?? null);
      return this.#o.end(tx, run, { status: "SKIPPED", error });
    }
    const held = await this.#hold(tx, run, "group", fullReason(group));
    // It may go before those that wait, which have no room because their max_runs is smaller.
    if (state.running < max) this.freed(tx, run);
    const { workflow_instance_id: id } = run;
    for await (const other of unfinished(tx, skip)) {
      const error = replacedReason(group, id, on_conflict);
      await this.#o.end(tx, other, { status: "SKIPPED", error });
    }
    for await (const other of unfinished(tx, cancel)) await this.#o.cancelFor(tx, other, cancelledReason(id));
    return held;
  }

  /** A run is over. */
  freed(tx: OperationalTx, { group_key }: RunRecord): void {
    if (group_key !== null) tx.beforeCommit(this.#stepOf(group_key));
  }

  /**
   * Admits whoever could be admitted, as the files of the workflows are now; not part of a unit of work.
   * @returns how many there were: none, unless something has failed before, or an older cdktr has ended runs
   */
  async sweep(store: OperationalStore): Promise<number> {
    let admitted = 0;
    const failures: unknown[] = [];
    for (let after = ""; ; ) {
      const keys = await store.read((tx) => tx.heldGroups(after, GROUPS));
      // A group that cannot go on does not hold up the others.
      const settled = await Promise.allSettled(
        keys.map((key) => store.transact((tx) => this.#settle(tx, key))),
      );
      for (const each of settled) {
        if (each.status === "fulfilled") admitted += each.value;
        else failures.push(each.reason);
      }
      after = keys.at(-1) ?? "";
      if (keys.length < GROUPS) break;
    }
    await store.transact((tx) => this.#endStuck(tx));
    if (failures.length > 0) throw failures[0];
    return admitted;
  }

  /** Does what a sweep does for a group. */
  async #settle(tx: OperationalTx, key: string): Promise<number> {
    for (const held of await tx.heldVersions(key)) {
      const now = this.#present(held.workflow_id);
      if (now === undefined) continue;
      const { max_runs: max, on_conflict, group } = now;
      if (held.group_max === max && held.on_conflict === on_conflict) continue;
      // What counts for another group does not count for this one.
      const before = (await this.#o.definitions.of(tx, held))?.concurrency;
      if (before === undefined || before.group !== group) continue;
      await tx.changeHeld(key, held, { max, on_conflict });
    }
    return this.#admitNext(tx, key);
  }

  /** What the file of a workflow says now; undefined if that is not known. */
  #present(workflowId: string): WorkflowDefinition["concurrency"] {
    try {
      return this.#o.workflows.get(workflowId)?.definition.concurrency;
    } catch {
      // What is stored of it is damaged: what its runs say goes on to count.
      return undefined;
    }
  }

  /** What is written about a run whose workflow is paused; null if it is not. */
  async #pausedReason(tx: OperationalTx, { workflow_id }: RunRecord): Promise<string | null> {
    return (await this.#o.pauses?.reasonAt(tx, workflow_id)) ?? null;
  }

  /** What becomes of a run that finds no room. */
  async #decide(
    tx: OperationalTx,
    key: string,
    arriving: { readonly max: number; readonly on_conflict: NonNullable<RunRecord["on_conflict"]> },
  ): Promise<Entry> {
    const { on_conflict } = arriving;
    if (on_conflict === "queue" || on_conflict === "skip")
      return decideConflict({ holders: [], held: [] }, arriving);
    const held = (await tx.groupHeld(key, MANY, on_conflict)).map((run) => ({
      id: run.workflow_instance_id,
      max: run.group_max,
      on_conflict: run.on_conflict,
    }));
    if (on_conflict === "queue_latest") return decideConflict({ holders: [], held }, arriving);
    const holders: { id: string; isEnding: boolean }[] = [];
    for (const { workflow_instance_id: id, cancel_requested_at_ms, revision } of await tx.groupHolders(
      key,
      MANY,
    )) {
      const run = cancel_requested_at_ms === null && revision > 0 ? await tx.getRun(id) : null;
      const isInHooks = run !== null && (await this.#o.isInHooks(tx, run));
      holders.push({ id, isEnding: cancel_requested_at_ms !== null || isInHooks });
    }
    return decideConflict({ holders, held }, arriving);
  }

  async #hold(
    tx: OperationalTx,
    run: RunRecord,
    hold: "pause" | "group",
    reason: string,
  ): Promise<RunRecord> {
    const held = await tx.holdRun(run, hold, { reason, waits: null }, this.#o.clock.now());
    if (hold === "group") tx.beforeCommit(this.#unstick);
    tx.afterCommit(() => {
      this.#o.events.emit("statuses written");
      this.#o.events.emit("run held");
    });
    return held;
  }

  async #admit(tx: OperationalTx, run: RunRecord): Promise<RunRecord> {
    const plan = await this.#o.definitions.planOf(tx, run);
    const place = this.#o.place(plan, run.priority, await isPlain(tx, run));
    const admitted = await tx.admitRun(run, place, this.#o.clock.now());
    this.#o.queued(tx);
    return place.queued ? admitted : this.#o.begin(tx, admitted);
  }

  #stepOf(key: string): CommitStep {
    const known = this.#steps.get(key);
    if (known !== undefined) return known;
    const step: CommitStep = {
      work: async (tx) => {
        // Whoever ends from now on requests another one.
        this.#steps.delete(key);
        await this.#admitNext(tx, key);
      },
      failed: (error) => {
        this.#steps.delete(key);
        this.#o.events.emit("admission due", error);
      },
    };
    this.#steps.set(key, step);
    return step;
  }

  /** Admits those that wait for a group, in their order, as far as it has room; of many, the first. Returns how many. */
  async #admitNext(tx: OperationalTx, key: string): Promise<number> {
    let admitted = 0;
    for (let left = BATCH; left > 0; ) {
      const { running, isAwaited } = await tx.groupState(key);
      if (!isAwaited) return admitted;
      const held = await tx.groupHeld(key, left);
      const maxes = held.map(({ group_max }) => ({ max: group_max }));
      const next = held.slice(0, nextAdmissions(running, maxes));
      if (next.length === 0) return admitted;
      let free = next.length;
      const ids = next.map((each) => each.workflow_instance_id);
      for await (const run of unfinished(tx, ids)) {
        const paused = await this.#pausedReason(tx, run);
        if (paused !== null) await this.#hold(tx, run, "pause", paused);
        else {
          await this.#admit(tx, run);
          admitted++;
          free--;
        }
      }
      left -= next.length;
      // Others get the places of those whose workflow is paused.
      if (free === 0 && left > 0) return admitted;
    }
    // There may be more: later, because others wait for this commit.
    tx.afterCommit(() => this.#o.events.emit("admission due", null));
    return admitted;
  }

  /** Fails runs that wait for a place that is never free, because whoever has it waits for them. */
  async #endStuck(tx: OperationalTx): Promise<void> {
    for (;;) {
      const { groups, others } = await waitingRuns(tx);
      const stuck = stuckRun(groups, others);
      const run = stuck === null ? null : await tx.getRun(stuck.id);
      if (stuck === null || run === null || run.group_key === null || run.group_max === null) return;
      const error = stuckReason({ key: run.group_key, max: run.group_max }, stuck.holder);
      await this.#o.end(tx, run, { status: "FAILED", error });
    }
  }
}

/** Those of these runs that are not over, each read when it is its turn: what was done with one may have changed the next. */
async function* unfinished(tx: OperationalTx, ids: readonly string[]): AsyncGenerator<RunRecord> {
  for (const id of ids) {
    const run = await tx.getRun(id);
    if (run !== null && run.finished_at_ms === null) yield run;
  }
}

/** Whether whatever is done already of a run that has not begun, because it is a retry, has COMPLETED. */
async function isPlain(tx: OperationalTx, run: RunRecord): Promise<boolean> {
  if (run.retry_of === null) return true;
  return (await tx.listTasks(run.workflow_instance_id)).every(({ status }) => status === "COMPLETED");
}
