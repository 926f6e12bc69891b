/**
 * Makes the runs of backfills: of each as many as may be under way at once, in the order of its plan. What it has done is in the operational
 * state, a few firings in one commit with their runs: whenever the principal dies, the next one goes on behind the last firing that is done
 * with. Nothing is done while no backfill is open.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { CdktrError, errorMessage, InvalidInputError, UnprocessableError } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import {
  type BackfillFiring,
  type BackfillRecord,
  type OperationalStore,
  type OperationalTx,
  StateConflictError,
  StoreUnavailableError,
} from "../../storage/operational/store.ts";
import { eventFor } from "../../workflow/expressions.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { DEFAULT_PRIORITY } from "../../workflow/limits.ts";
import { resolveParams } from "../../workflow/params.ts";
import { type Bundles, bundleFor, FilesChangedError, type Packed } from "../blobs/bundles.ts";
import type { Pauses } from "../limits/pauses.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { NewRun } from "../runs/new-run.ts";
import type { RunChanges } from "../runs/run-changes.ts";
import type { OldRuns } from "../runs/run-finder.ts";
import type { StoredDefinition, WorkflowSource } from "../runs/workflow-source.ts";
import { away } from "./backfills.ts";
import { type FiringHistory, type KnownRuns, knownRuns, presentRuns } from "./firing-runs.ts";
import { type Plan, thawed } from "./frozen-plan.ts";
import {
  keyOfFiring,
  type PlanCursor,
  type PlannedFiring,
  planBackfill,
  presentRun,
  type Reprocess,
  runsOfFiring,
  take,
} from "./plan.ts";

/**
 * How many firings are looked at together: the history is asked once for them, and that is believed for a while, ms. In one commit at most as
 * many are decided about, because others wait for it.
 */
const AHEAD = 200;
const BELIEVED_MS = 10_000;
/** The most runs that are created or cancelled in one commit. */
const MOST_RUNS_AT_ONCE = 50;
/** How long something that heals by itself is given before it is tried again, ms. */
const RETRY_MS = 5000;
/** How long backfills are kept after their end, ms. */
const KEPT_MS = 90 * 24 * 3_600_000;
/** How much lower than that of the workflow the priority of its runs is. */
const PRIORITY_STEP = 3;

/** What {@link BackfillRunner} needs. */
export interface BackfillRunnerOptions {
  readonly store: OperationalStore;
  readonly changes: Pick<RunChanges, "create" | "cancel">;
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly log: ConsolaInstance;
  readonly workflows: Pick<WorkflowSource, "load" | "get" | "isAwaited">;
  readonly bundles: Pick<Bundles, "pack">;
  readonly history: FiringHistory & Pick<OldRuns, "findRun">;
  /** The pauses of workflows; by default none. */
  readonly pauses?: Pick<Pauses, "reasonAt">;
}

/** What came of a look at a backfill. */
type Look =
  /** There may be more to do at once. */
  | "again"
  /** Something has to happen first, which is told. */
  | "waits"
  /** Something is in its way that may be gone by itself. */
  | "stuck";

/** The next firings of a backfill, and what is known of their runs. */
interface Ahead {
  /** The cursor to which they belong. */
  readonly after: PlanCursor | null;
  readonly firings: readonly PlannedFiring[];
  readonly known: KnownRuns;
  /** When the history was asked (monotonic). */
  readonly askedAt: number;
}

/** Makes the runs of backfills. */
export class BackfillRunner extends BackgroundService<{ looked: undefined }> {
  readonly name = "backfills";
  readonly #o: BackfillRunnerOptions;
  /** The plans of open backfills. */
  readonly #plans = new Map<string, Plan>();
  readonly #ahead = new Map<string, Ahead>();
  readonly #timer = this.timer(() => this.#look());
  /** Whether it has been started, and is not told to stop. */
  #isUp = false;
  #looking: Promise<void> | undefined;
  #again = false;

  constructor(options: BackfillRunnerOptions) {
    super(options.clock);
    this.#o = options;
    const { events } = options;
    events.on("backfill changed", () => this.#look());
    events.on("workflow resumed", () => this.#look());
    // What was made since the history was asked may be among them.
    events.on("runs forgotten", () => this.#ahead.clear());
    events.on("run ended", ({ backfill_id }) => {
      if (backfill_id !== null) this.#look();
    });
  }

  /** It goes on where the last principal has ended. The start does not wait for that: the history may not be there yet. */
  protected override onStart(): void {
    this.#isUp = true;
    this.#timer.in(0);
  }

  protected override onStop(): void {
    this.#isUp = false;
  }

  /** Looks at all open backfills, once more if it is looking at them now. */
  #look(): void {
    this.#again = true;
    if (this.#looking !== undefined || !this.#isUp || this.isStopping) return;
    this.#looking = this.#lookAtAll().finally(() => {
      this.#looking = undefined;
    });
    this.track(this.#looking);
  }

  async #lookAtAll(): Promise<void> {
    while (this.#again && !this.isStopping) {
      this.#again = false;
      await this.pass();
    }
  }

  /** Does what can be done now; never rejects. Public for tests, which do nothing else with it meanwhile. */
  async pass(): Promise<void> {
    let isStuck = false;
    try {
      const open = await this.#o.store.read((tx) => tx.listBackfills({ limit: 1000, open: true }));
      for (const id of this.#plans.keys())
        if (!open.some(({ backfill_id }) => backfill_id === id)) this.#forget(id);
      // The oldest first, each a little at a time.
      let left = open.reverse();
      while (left.length > 0 && !this.isStopping) {
        const busy: BackfillRecord[] = [];
        for (const backfill of left) {
          const look = await this.#step(backfill);
          if (look === "again") busy.push(backfill);
          else if (look === "stuck") isStuck = true;
          if (this.isStopping) break;
        }
        left = busy;
      }
      if (open.length === 0) await this.#clear();
    } catch (error) {
      if (!this.isStopping) logFailure(this.#o.log, "Backfills cannot go on", error);
      isStuck = true;
    }
    if (isStuck) this.#timer.in(RETRY_MS);
    this.signals.emit("looked");
  }

  #forget(id: string): void {
    this.#plans.delete(id);
    this.#ahead.delete(id);
  }

  /** Removes those that were over long ago. */
  async #clear(): Promise<void> {
    const before = this.clock.now() - KEPT_MS;
    while (!this.isStopping && (await this.#o.store.transact((tx) => tx.forgetBackfills(before))));
  }

  async #step({ backfill_id: id }: BackfillRecord): Promise<Look> {
    const { store } = this.#o;
    const [backfill] = await store.read((tx) => tx.findBackfills(id, 1));
    if (backfill === undefined || backfill.finished_at_ms !== null) return "waits";
    try {
      await this.#hearUntold(backfill);
      switch (backfill.state) {
        case "ACTIVE":
          return await this.#advance(backfill);
        case "CANCELLED":
          return await this.#cancelRuns(backfill);
        default:
          return "waits";
      }
    } catch (error) {
      // Somebody has changed it meanwhile.
      if (error instanceof StateConflictError || error instanceof FilesChangedError) return "again";
      if (error instanceof StoreUnavailableError || !(error instanceof CdktrError)) throw error;
      return this.#note(backfill, error);
    }
  }

  /** Ends firings whose runs are over without its knowledge: an older cdktr ended them. */
  async #hearUntold({ backfill_id: id }: BackfillRecord): Promise<void> {
    if (this.#plans.has(id)) return;
    const { store, history } = this.#o;
    const untold = await store.read((tx) => tx.untoldFirings(id, AHEAD));
    for (const { workflow_instance_id: run, scheduled_time_ms, status } of untold) {
      if (run === null) continue;
      const old = status === null ? ((await history.findRun(run, false))?.status ?? "CRASHED") : status;
      await store.transact((tx) =>
        tx.endFiring({ backfill_id: id, scheduled_time_ms, workflow_instance_id: run, status: old }),
      );
    }
  }

  /** Writes why a backfill does not go on. What nobody but a person can change pauses it. */
  async #note(backfill: BackfillRecord, error: CdktrError): Promise<Look> {
    const isForPeople = error instanceof InvalidInputError || error instanceof PausedError;
    const note = errorMessage(error);
    if (backfill.note !== note || isForPeople) {
      await this.#o.store.transact(async (tx) => {
        const [present] = await tx.findBackfills(backfill.backfill_id, 1);
        if (present?.state !== "ACTIVE") return;
        await tx.changeBackfill(present, { note, ...(isForPeople ? { state: "PAUSED" } : {}) });
      });
      const { workflow_id, backfill_id: id } = backfill;
      if (isForPeople)
        this.#o.log.warn(
          `Backfill ${id} of ${workflow_id} is paused: ${note} To go on: cdktr backfills resume ${id}`,
        );
    }
    return isForPeople || error instanceof WorkflowPausedError ? "waits" : "stuck";
  }

  /** Decides about the next firings, and makes runs of them. */
  async #advance(backfill: BackfillRecord): Promise<Look> {
    const { backfill_id: id, workflow_id, max_active, cursor_ms, cursor_entry } = backfill;
    const { store, bundles } = this.#o;
    const active = await store.read((tx) => tx.countBackfillRuns(id));
    const room = Math.min(max_active - active, MOST_RUNS_AT_ONCE);
    if (room <= 0) return "waits";
    const plan = this.#planOf(backfill);
    const after =
      cursor_ms === null || cursor_entry === null ? null : { at_ms: cursor_ms, entry: cursor_entry };
    const believed = this.#believed(id, after);
    const firings = believed?.firings ?? take(planBackfill(plan.entries, backfill.is_reverse, after), AHEAD);
    if (firings.length === 0) return active > 0 ? "waits" : this.#end(backfill);
    const pause = (await store.read(async (tx) => this.#o.pauses?.reasonAt(tx, workflow_id))) ?? null;
    if (pause !== null) throw new WorkflowPausedError(`W${pause.slice(1)}.`);
    const stored = await this.#definitionOf(workflow_id);
    const ahead = believed ?? (await this.#askAhead(backfill, after, firings));
    const packed = await bundles.pack(workflow_id);
    // Unless it is committed, they are looked at again.
    this.#ahead.delete(id);
    const done = await store.transact((tx) => this.#decide(tx, backfill, ahead, { plan, stored, packed }));
    const last = firings[done - 1];
    if (last !== undefined && done < firings.length) {
      const next = { at_ms: last.atMs, entry: last.planned.key };
      this.#ahead.set(id, { ...ahead, after: next, firings: firings.slice(done) });
    }
    return "again";
  }

  /** What is known of the firings behind the cursor, if it is still to be believed. */
  #believed(id: string, after: PlanCursor | null): Ahead | undefined {
    const ahead = this.#ahead.get(id);
    if (ahead === undefined || this.clock.monotonic() - ahead.askedAt > BELIEVED_MS) return undefined;
    return ahead.after?.at_ms === after?.at_ms && ahead.after?.entry === after?.entry ? ahead : undefined;
  }

  async #askAhead(
    { workflow_id, reprocess }: BackfillRecord,
    after: PlanCursor | null,
    firings: readonly PlannedFiring[],
  ): Promise<Ahead> {
    const askedAt = this.clock.monotonic();
    const history = reprocess === "all" ? null : this.#o.history;
    const known = await knownRuns(this.#o.store, history, workflow_id, timesOf(firings)).catch((error) => {
      throw away(error);
    });
    return { after, firings, known, askedAt };
  }

  /** The unit of work of {@link #advance}: how many firings it is done with; none if what it is to rest on is not so any more. */
  async #decide(
    tx: OperationalTx,
    backfill: BackfillRecord,
    { firings, known }: Ahead,
    of: { readonly plan: Plan; readonly stored: StoredDefinition; readonly packed: Packed | null },
  ): Promise<number> {
    const { backfill_id: id, workflow_id } = backfill;
    const { plan, stored, packed } = of;
    const [present] = await tx.findBackfills(id, 1);
    if (present?.state !== "ACTIVE" || present.cursor_ms !== backfill.cursor_ms) return 0;
    if (present.cursor_entry !== backfill.cursor_entry) return 0;
    const runs = await presentRuns(tx, known, workflow_id, timesOf(firings));
    if (runs === null) return 0;
    const active = await tx.countBackfillRuns(id);
    const room = Math.min(backfill.max_active - active, MOST_RUNS_AT_ONCE);
    const made: NewRun[] = [];
    const rows: BackfillFiring[] = [];
    let last: PlannedFiring | undefined;
    for (const firing of firings) {
      const { atMs, planned } = firing;
      const row = { scheduled_time_ms: atMs, entry: planned.key };
      const mine = runsOfFiring(firing, runs, plan.entries);
      const reprocess = backfill.reprocess as Reprocess;
      const there = presentRun(reprocess, mine);
      if (there !== null)
        rows.push({ ...row, workflow_instance_id: there.workflow_instance_id, outcome: "PRESENT" });
      else {
        if (made.length >= room) break;
        const runId = crypto.randomUUID();
        // From now on the scheduler does not make it.
        const first = await tx.claimKey(keyOfFiring(workflow_id, firing), runId, this.clock.now());
        const isUnknown = first !== runId && !mine.some((run) => run.workflow_instance_id === first);
        if (isUnknown && reprocess === "none") {
          rows.push({ ...row, workflow_instance_id: first, outcome: "PRESENT" });
        } else {
          made.push(this.#newRun(backfill, firing, runId, stored, packed));
          rows.push({ ...row, workflow_instance_id: runId, outcome: null });
        }
      }
      last = firing;
    }
    if (last === undefined) return 0;
    await tx.addFirings(id, rows);
    for (const run of made) await this.#o.changes.create(tx, run);
    await tx.changeBackfill(present, { cursor_ms: last.atMs, cursor_entry: last.planned.key, note: null });
    return rows.length;
  }

  #newRun(
    backfill: BackfillRecord,
    { atMs, planned }: PlannedFiring,
    workflow_instance_id: string,
    { definition, hash, json }: StoredDefinition,
    packed: Packed | null,
  ): NewRun {
    const { backfill_id, workflow_id, actor, params } = backfill;
    const of = { workflow_instance_id, workflow_id, trigger: "backfill", scheduled_time_ms: atMs };
    const given = { ...planned.entry.params, ...params };
    return {
      ...of,
      workflow_name: definition.name,
      definition_hash: hash,
      definition: json,
      params: resolveParams(definition, given, {
        ...of,
        attempt: 1,
        created_at_ms: this.clock.now(),
        event: undefined,
      }),
      event: eventFor(definition, undefined),
      retry_of: null,
      actor,
      trigger_depth: 0,
      tasks_total: allTasks(definition).length,
      bundle: bundleFor(definition, packed),
      carried: [],
      backfill_id,
      schedule: definition.cron === null ? planned.key : null,
      priority: backfill.priority ?? Math.max(0, (definition.priority ?? DEFAULT_PRIORITY) - PRIORITY_STEP),
    };
  }

  #planOf(backfill: BackfillRecord): Plan {
    const known = this.#plans.get(backfill.backfill_id);
    if (known !== undefined) return known;
    try {
      const plan = thawed(backfill);
      this.#plans.set(backfill.backfill_id, plan);
      return plan;
    } catch {
      throw new PausedError("What is stored of its plan is damaged. Cancel it, and create another one.");
    }
  }

  async #definitionOf(workflowId: string): Promise<StoredDefinition> {
    const { workflows } = this.#o;
    await workflows.load(workflowId);
    const stored = workflows.get(workflowId);
    if (stored !== undefined) return stored;
    if (workflows.isAwaited(workflowId))
      throw new UnprocessableError(`The file of workflow ${workflowId} is not visible now.`);
    throw new PausedError(`Workflow ${workflowId} is not loaded any more: its file is gone or invalid.`);
  }

  /** All of its firings are done with, and so are its runs. */
  async #end(backfill: BackfillRecord): Promise<Look> {
    await this.#o.store.transact(async (tx) => {
      if ((await tx.countBackfillRuns(backfill.backfill_id)) > 0) return;
      const to = { state: "DONE", note: null, finished_at_ms: this.clock.now() } as const;
      await tx.changeBackfill(backfill, to);
    });
    this.#forget(backfill.backfill_id);
    return "waits";
  }

  /** Cancels the runs of one that was cancelled, which is over when they are. */
  async #cancelRuns(backfill: BackfillRecord): Promise<Look> {
    const { store, changes } = this.#o;
    const id = backfill.backfill_id;
    return store.transact(async (tx): Promise<Look> => {
      const runs = await tx.backfillRuns(id, MOST_RUNS_AT_ONCE);
      const reason = `backfill ${id} was cancelled`;
      for (const run of runs) await changes.cancel(tx, await tx.noteCancelReason(run, reason));
      if (runs.length > 0) return "again";
      if ((await tx.countBackfillRuns(id)) === 0)
        await tx.changeBackfill(backfill, { finished_at_ms: this.clock.now() });
      return "waits";
    });
  }
}

function timesOf(firings: readonly PlannedFiring[]): number[] {
  return [...new Set(firings.map(({ atMs }) => atMs))];
}

/** Its workflow is paused: it goes on when that is resumed. */
class WorkflowPausedError extends CdktrError {}

/** A backfill cannot go on until somebody does something about it. */
class PausedError extends CdktrError {}
