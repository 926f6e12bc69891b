/**
 * Backfills of one workflow beside its schedule, on a real store: the scheduler fires late, runs end or are retried by chance, old runs are
 * forgotten and only the history has them, statements fail, and the principal dies between any two commits.
 */
import type { HistoricFiring } from "../../../src/contract/history.ts";
import { HistoryUnavailableError } from "../../../src/contract/history.ts";
import type { RunStatusRow } from "../../../src/contract/history-rows.ts";
import { EventHub } from "../../../src/event-hub.ts";
import { BackfillRunner } from "../../../src/principal/backfills/backfill-runner.ts";
import { Backfills } from "../../../src/principal/backfills/backfills.ts";
import type { Reprocess } from "../../../src/principal/backfills/plan.ts";
import { LongPolls } from "../../../src/principal/long-polls.ts";
import type { PrincipalEvents } from "../../../src/principal/principal-events.ts";
import { Definitions } from "../../../src/principal/runs/definitions.ts";
import { ProgressOfRuns } from "../../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../../src/principal/runs/run-queue.ts";
import { RunService } from "../../../src/principal/runs/run-service.ts";
import { Waits } from "../../../src/principal/runs/waits.ts";
import type { StoredDefinition } from "../../../src/principal/runs/workflow-source.ts";
import {
  type OperationalStore,
  type OperationalTx,
  type RunRecord,
  StoreUnavailableError,
} from "../../../src/storage/operational/store.ts";
import { calendarOf } from "../../../src/workflow/calendar.ts";
import { parseWorkflow } from "../../../src/workflow/parse.ts";
import { RUN_TRANSITIONS } from "../../../src/workflow/run-state.ts";
import { firingKey } from "../../../src/workflow/schedules.ts";
import { isTerminal, type RunStatus } from "../../../src/workflow/status.ts";
import { silent, type TestStores } from "../../storage/operational-support.ts";
import { RepeatingStore } from "../../storage/repeating-store.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const DAY_MS = 86_400_000;
const FIRST = Date.parse("2025-01-01T02:00:00Z");
/** The time of day when everything happens. */
const NOW = Date.parse("2025-03-01T00:00:00Z");

const TEXT = `
cron: "0 2 * * *"
timezone: UTC
params:
  day: {type: date, default: '\${{ date(run.scheduled_time, "%Y-%m-%d", "UTC") }}'}
tasks:
  only: {run: "true"}
`;

/** More than any test has. */
const MOST_CANCELS = 1000;

/** A run as it was seen last. */
type Seen = HistoricFiring;

/** A world. */
export class BackfillWorld {
  readonly #random: () => number;
  readonly #stores: TestStores;
  readonly #clock = new ManualClock();
  /** Whatever the history was told, by run. */
  readonly #history = new Map<string, Seen>();
  #stored: StoredDefinition;
  #taken = 0;
  #store!: OperationalStore;
  #events!: PrincipalEvents;
  #service!: RunService;
  #changes!: RunChanges;
  /** Whether the history answers. */
  isHistoryUp = true;
  /** Called when the history is asked, before and after it looks. */
  asked: { before?: () => Promise<void>; after?: () => Promise<void> } = {};
  /** What is said of the pause of the workflow. */
  pause: string | null = null;
  /** How often it was asked. */
  questions = 0;
  /** Whether the workflow is loaded. */
  isLoaded = true;
  /** How often the runner has cancelled a run. */
  cancels = 0;
  backfills!: Backfills;
  runner!: BackfillRunner;

  private constructor(stores: TestStores, random: () => number) {
    this.#stores = stores;
    this.#random = random;
    this.#clock.advance(NOW);
    const parsed = parseWorkflow(TEXT, { path: "etl.yml", id: "etl" });
    if (!parsed.ok) throw new Error("the workflow is invalid");
    const { definition } = parsed;
    this.#stored = { definition, json: JSON.stringify(definition), hash: "hash" };
  }

  static async open(stores: TestStores, random: () => number = Math.random): Promise<BackfillWorld> {
    const world = new BackfillWorld(stores, random);
    await world.#live(await stores.open("data", world.#clock));
    return world;
  }

  /** The principal dies, and another one starts on what is on disk. */
  async die(): Promise<void> {
    this.#stores.failStatement(null);
    await this.#live(await this.#stores.reopen());
  }

  async #live(plain: OperationalStore): Promise<void> {
    const store = this.#random() < 0.2 ? new RepeatingStore(plain) : plain;
    const definitions = new Definitions();
    const events: PrincipalEvents = new EventHub();
    this.#events = events;
    const clock = this.#clock;
    const workflows = {
      load: async () => {},
      get: (id: string) => (id === "etl" && this.isLoaded ? this.#stored : undefined),
      directoryOf: () => undefined,
      ids: () => ["etl"],
      isAwaited: () => false,
      calendars: new Map([["workdays", calendarOf({ include: ["MON-FRI"] })]]),
      invalidFiles: [],
      refused: () => {},
      fired: () => {},
    };
    const bundles = { pack: async () => null };
    const base = { store, clock, events, definitions, workflows, bundles, log: silent };
    const queue = new RunQueue();
    const changes = new RunChanges({
      ...base,
      progress: new ProgressOfRuns(definitions),
      queue,
      followUps: { ending: async () => {} },
    });
    const history = {
      findFirings: async (workflow: string, times: readonly number[]) => {
        this.questions++;
        const { before, after } = this.asked;
        this.asked = {};
        await before?.();
        if (!this.isHistoryUp) throw new HistoryUnavailableError("It is away.");
        const found = [...this.#history.values()].filter(
          (run) => workflow === "etl" && times.includes(run.scheduled_time_ms),
        );
        await after?.();
        return found;
      },
      findRun: async () => null,
    };
    this.#store = store;
    this.#changes = changes;
    this.#service = new RunService({
      ...base,
      changes,
      queue,
      waits: new Waits(definitions, clock, false),
      polls: new LongPolls(),
      old: {
        ...history,
        findItems: async () => [],
        findOutputs: async () => null,
        listRuns: async () => [],
      },
    });
    this.backfills = new Backfills({ ...base, history, zone: "UTC" });
    this.runner = new BackfillRunner({
      ...base,
      changes: {
        create: (tx, run) => changes.create(tx, run),
        cancel: (tx, run, hooks) => {
          // It would do nothing else for ever.
          if (++this.cancels > MOST_CANCELS) throw new Error("too many runs are cancelled");
          return changes.cancel(tx, run, hooks);
        },
      },
      history,
      pauses: { reasonAt: async () => this.pause },
    });
  }

  /** Creates a backfill of the days from 1 to `days`. */
  async create(days: number, reprocess: Reprocess, max_active: number, reverse: boolean): Promise<string> {
    const to = new Date(FIRST + (days - 1) * DAY_MS).toISOString().slice(0, 10);
    const { backfill_id } = await this.backfills.create(
      { workflow_id: "etl", from: "2025-01-01", to, reprocess, max_active, reverse, params: {} },
      null,
    );
    return backfill_id;
  }

  /** The scheduler makes a firing that is late, as it does: it repeats its request until it is answered. */
  async fire(day: number): Promise<void> {
    const at = FIRST + (day - 1) * DAY_MS;
    await this.#service.trigger("etl", {
      params: {},
      trigger: "cron",
      scheduled_time_ms: at,
      dedupe_key: firingKey("etl", {}, at),
      trigger_depth: 0,
    });
  }

  /** Ends the run that was made first, or another one, as agents do. */
  async end(status: RunStatus, index: number): Promise<void> {
    const open = (await this.#runs()).filter((run) => !isTerminal(RUN_TRANSITIONS, run.status));
    const chosen = open[index % Math.max(1, open.length)];
    if (chosen === undefined) return;
    await this.#store.transact(async (tx) => {
      const run = await tx.getRun(chosen.workflow_instance_id);
      if (run === null) return;
      if (status === "CANCELLED") return this.#changes.cancel(tx, run);
      const at = this.#clock.now();
      const running = { status: "RUNNING", status_at_ms: at, started_at_ms: at, error: null } as const;
      const over = { status, status_at_ms: at, finished_at_ms: at, error: null } as const;
      await tx.endFiring(await tx.transitionRun(await tx.transitionRun(run, running), over));
    });
  }

  /** Does something to all runs that are not over. */
  async toOpen(change: (tx: OperationalTx, run: RunRecord) => Promise<unknown>): Promise<void> {
    for (const { workflow_instance_id, status } of await this.#runs()) {
      if (isTerminal(RUN_TRANSITIONS, status)) continue;
      await this.#store.transact(async (tx) => {
        const run = await tx.getRun(workflow_instance_id);
        if (run !== null) await change(tx, run);
      });
    }
  }

  /** Somebody retries a run that failed. */
  async retry(index: number): Promise<void> {
    const failed = (await this.#runs()).filter((run) => run.status === "FAILED");
    const chosen = failed[index % Math.max(1, failed.length)];
    if (chosen === undefined) return;
    await this.#service.retry({ workflow_instance_id: chosen.workflow_instance_id, from_start: true });
  }

  /** A change of the definition: from now on there is a parameter that must be given. */
  demand(): void {
    this.change("params:", "params:\n  region: {required: true}");
  }

  /** A change of the file. */
  change(from: string, to: string): void {
    const parsed = parseWorkflow(TEXT.replace(from, to), { path: "etl.yml", id: "etl" });
    if (!parsed.ok) throw new Error("the workflow is invalid");
    const { definition } = parsed;
    this.#stored = { definition, json: JSON.stringify(definition), hash: "another hash" };
  }

  /** The history takes what there is; then runs that are over are forgotten, but for the newest. */
  async forget(keepRuns: number, keys: "keep keys" | "forget keys" = "keep keys"): Promise<void> {
    const rows = await this.#store.takeStatuses(this.#taken, 10_000);
    for (const { id, row } of rows) {
      this.#learn(row as RunStatusRow);
      this.#taken = id;
    }
    await this.#store.ackStatuses(this.#taken);
    const step = { keepRuns, olderThanMs: keys === "keep keys" ? 0 : NOW + 1, followUpsOlderThanMs: 0 };
    for (let more = true; more; ) {
      const forgotten = await this.#store.transact((tx) => tx.forget(step));
      if (forgotten.runs > 0) this.#events.emit("runs forgotten");
      more = forgotten.more;
    }
  }

  #learn(row: RunStatusRow): void {
    const { workflow_instance_id, status, trigger, scheduled_time_ms, created_at_ms, retry_of } = row;
    if (scheduled_time_ms === null) return;
    this.#history.set(workflow_instance_id, {
      workflow_instance_id,
      status,
      trigger: trigger ?? "",
      scheduled_time_ms,
      created_at_ms,
      retry_of,
      schedule: row.schedule ?? null,
      params: JSON.parse(row.params),
    });
  }

  async #runs() {
    return (await this.#store.read((tx) => tx.listRuns({ limit: 10_000 }))).reverse();
  }

  /** Days of the history are lost. */
  forgetHistory(): void {
    this.#history.clear();
  }

  /** As {@link end}, by a principal that knows no backfills. */
  async endUnheard(): Promise<void> {
    const [chosen] = await this.#runs();
    await this.#store.transact(async (tx) => {
      const run = chosen === undefined ? null : await tx.getRun(chosen.workflow_instance_id);
      const at = this.#clock.now();
      const over = { status: "FAILED", status_at_ms: at, finished_at_ms: at, error: null } as const;
      if (run !== null) await tx.transitionRun(run, over);
    });
  }

  /** All runs there have ever been, with the backfill that made them. */
  async all(): Promise<
    readonly Pick<Seen, "workflow_instance_id" | "status" | "trigger" | "scheduled_time_ms">[]
  > {
    const runs = new Map<
      string,
      Pick<Seen, "workflow_instance_id" | "status" | "trigger" | "scheduled_time_ms">
    >(this.#history);
    for (const run of await this.#runs())
      runs.set(run.workflow_instance_id, { ...run, scheduled_time_ms: run.scheduled_time_ms ?? 0 });
    return [...runs.values()];
  }

  /** Does one of the things that can happen, or dies of it. */
  async step(): Promise<void> {
    const random = this.#random;
    const dies = random() < 0.25;
    if (dies) this.#stores.failStatement(1 + Math.floor(random() * 40));
    try {
      await this.#deed(random());
    } catch (error) {
      if (!(error instanceof StoreUnavailableError || error instanceof HistoryUnavailableError)) throw error;
    }
    if (dies) await this.die();
  }

  async #deed(which: number): Promise<void> {
    const below = (n: number) => Math.floor(this.#random() * n);
    if (which < 0.35) return this.runner.pass();
    if (which < 0.5) return this.fire(1 + below(10));
    if (which < 0.7)
      return this.end((["COMPLETED", "FAILED", "CANCELLED"] as const)[below(3)] ?? "FAILED", below(9));
    if (which < 0.75) return this.retry(below(9));
    if (which < 0.85) return this.forget(below(6));
    if (which < 0.9) {
      this.isHistoryUp = !this.isHistoryUp;
      return;
    }
    const open = (await this.backfills.list({ open: true, limit: 100 })).filter(
      ({ state }) => state !== "CANCELLED",
    );
    const chosen = open[below(Math.max(1, open.length))];
    if (chosen === undefined || which > 0.97) return;
    await this.backfills.change({
      backfill_id: chosen.backfill_id,
      to: chosen.state === "ACTIVE" ? "PAUSED" : "ACTIVE",
    });
  }

  /** Everything goes well from now on: whatever is under way ends. */
  async settle(): Promise<void> {
    await this.die();
    this.isHistoryUp = true;
    for (const { backfill_id, state } of await this.backfills.list({ open: true, limit: 100 }))
      if (state === "PAUSED") await this.backfills.change({ backfill_id, to: "ACTIVE" });
    for (let n = 0; n < 1000; n++) {
      await this.runner.pass();
      const open = (await this.#runs()).filter((run) => !isTerminal(RUN_TRANSITIONS, run.status));
      if (open.length === 0) break;
      await this.end("COMPLETED", 0);
    }
    await this.runner.pass();
  }
}
