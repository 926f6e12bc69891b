/** The parts of a principal that keep what is expected, wired as in a real one, with a clock that a test moves. */
import type { Clock } from "../../src/clock.ts";
import { EventHub } from "../../src/event-hub.ts";
import { Alerts } from "../../src/principal/alerts/alerts.ts";
import { ExpectationWatch } from "../../src/principal/alerts/expectation-watch.ts";
import { Expectations } from "../../src/principal/alerts/expectations.ts";
import { Pauses } from "../../src/principal/limits/pauses.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import type { NewRun } from "../../src/principal/runs/new-run.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { Waits } from "../../src/principal/runs/waits.ts";
import type { ExpectationRecord } from "../../src/storage/operational/expectations.ts";
import type { OperationalStore, OperationalTx } from "../../src/storage/operational/store.ts";
import type { Calendar } from "../../src/workflow/calendar.ts";
import type { WorkflowDefinition } from "../../src/workflow/model.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { NO_WORKFLOWS } from "../principal/no-workflows.ts";
import { agentRecord, silent, TestStores } from "../storage/operational-support.ts";
import { RepeatingStore } from "../storage/repeating-store.ts";
import { definitionOf } from "../workflow/support.ts";

/** How long nothing is judged after a start, ms. */
export const GRACE_MS = 30_000;
/** The only workflow. */
export const FLOW = "test";

/** A clock whose alarms ring one after the other, and whose wall time can be set. */
class SteppedClock implements Clock {
  #monotonic = 0;
  #wall: number;
  readonly #alarms = new Set<{ readonly at: number; readonly ring: () => void }>();

  constructor(wall: number) {
    this.#wall = wall;
  }

  now(): number {
    return this.#wall + this.#monotonic;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  sinceBoot(): number {
    return this.#monotonic;
  }

  after(ms: number, ring: () => void): () => void {
    const alarm = { at: this.#monotonic + Math.max(0, ms), ring };
    this.#alarms.add(alarm);
    return () => this.#alarms.delete(alarm);
  }

  /** Sets the wall clock. */
  set(byMs: number): void {
    this.#wall += byMs;
  }

  /** Rings the next alarm up to a time (monotonic), or moves there. @returns whether one rang */
  step(until: number): boolean {
    let next: { readonly at: number; readonly ring: () => void } | undefined;
    for (const alarm of this.#alarms)
      if (alarm.at <= until && (next === undefined || alarm.at < next.at)) next = alarm;
    this.#monotonic = Math.max(this.#monotonic, next?.at ?? until);
    if (next === undefined) return false;
    this.#alarms.delete(next);
    next.ring();
    return true;
  }
}

/** An alert as the tests compare it; times are ms since the epoch. */
export interface Told {
  readonly key: string;
  readonly at: number;
  readonly over: number | null;
}

/** The world of one workflow. */
export class ExpectationWorld implements AsyncDisposable {
  readonly clock: SteppedClock;
  readonly stores: TestStores;
  readonly #repeats: boolean;
  definition: WorkflowDefinition;
  calendars: ReadonlyMap<string, Calendar> = new Map();
  /** Whether there is anything that keeps expectations. */
  isWired = true;
  /** Whether its file is there. */
  isThere = true;
  #plain: OperationalStore | undefined;
  #parts:
    | {
        store: OperationalStore;
        events: PrincipalEvents;
        expectations: Expectations;
        watch: ExpectationWatch;
        pauses: Pauses;
        changes: RunChanges;
      }
    | undefined;

  /** @param text the file @param startMs the time at which it begins @param repeats whether units of work are repeated */
  constructor(text: string, startMs: number, repeats = false, directory?: string) {
    this.definition = definitionOf(text);
    this.clock = new SteppedClock(startMs);
    this.stores = directory === undefined ? new TestStores() : new TestStores(directory);
    this.#repeats = repeats;
  }

  /** A principal starts, after the one before was killed. */
  async start(): Promise<void> {
    await this.#parts?.watch.stop();
    if (this.#plain !== undefined) await this.#plain.stop();
    this.#plain = await this.stores.open("data", this.clock);
    const { clock } = this;
    const store = this.#repeats ? new RepeatingStore(this.#plain) : this.#plain;
    const events: PrincipalEvents = new EventHub();
    const definitions = new Definitions();
    const alerts = new Alerts({ store, clock, events, definitions, log: silent });
    const waits = new Waits(definitions, clock);
    const expectations = new Expectations({ clock, events, definitions, alerts, waits, zone: "UTC" });
    const wired = this.isWired ? { expectations } : {};
    const pauses = new Pauses({ clock, events, definitions, alerts, ...wired });
    const base = { store, clock, events, definitions, alerts, log: silent };
    const changes = new RunChanges({
      ...base,
      ...wired,
      workflows: NO_WORKFLOWS,
      progress: new ProgressOfRuns(definitions),
      queue: { queued: () => {} },
      followUps: { ending: async () => {} },
      pauses,
    });
    const world = this;
    const watch = new ExpectationWatch({
      ...base,
      expectations,
      workflows: {
        definitions: () => (world.isThere ? [world.definition] : []),
        get calendars() {
          return world.calendars;
        },
      },
      graceMs: GRACE_MS,
      // Nobody sets this clock, or suspends this host, without telling.
      longestSleepMs: 7 * 86_400_000,
    });
    await alerts.start();
    await pauses.load(store);
    await store.transact(async (tx) => {
      if ((await tx.getAgent("agent")) === null) await tx.registerAgent(agentRecord("agent"), null, 1e12);
    });
    await watch.start();
    this.#parts = { store, events, expectations, watch, pauses, changes };
    await this.#settled();
  }

  /** It is killed. */
  async kill(): Promise<void> {
    await this.#parts?.watch.stop();
    this.#parts = undefined;
  }

  get #running() {
    if (this.#parts === undefined) throw new Error("no principal runs");
    return this.#parts;
  }

  /** Time goes by. */
  async until(wallMs: number): Promise<void> {
    const end = this.clock.monotonic() + wallMs - this.clock.now();
    while (this.clock.step(end)) await this.#settled();
  }

  /** The process notices that it was suspended. */
  suspend(): void {
    this.#running.events.emit("principal paused", 6000);
  }

  /** The wall clock is set, and somebody notices. */
  async set(byMs: number): Promise<void> {
    this.clock.set(byMs);
    this.#parts?.watch.look();
    await this.#settled();
  }

  /** The file has changed. */
  async change(text: string | null): Promise<void> {
    this.isThere = text !== null;
    if (text !== null) this.definition = definitionOf(text);
    this.#running.events.emit("workflows changed");
    await this.#settled();
  }

  async #settled(): Promise<void> {
    if (this.#parts === undefined) return;
    const { watch } = this.#parts;
    for (let work: Promise<void> | undefined; work !== watch.settled(); ) {
      work = watch.settled();
      await work;
    }
  }

  async #do<T>(work: (tx: OperationalTx) => Promise<T>): Promise<T> {
    const result = await this.#running.store.transact(work);
    await this.#settled();
    return result;
  }

  /** A run is created. */
  async create(id: string, over: Partial<NewRun> = {}): Promise<void> {
    await this.#do((tx) =>
      this.#running.changes.create(tx, {
        workflow_instance_id: id,
        workflow_id: FLOW,
        workflow_name: "Flow",
        definition_hash: Bun.hash(JSON.stringify(this.definition)).toString(16),
        definition: JSON.stringify(this.definition),
        params: {},
        trigger: "cli",
        scheduled_time_ms: null,
        retry_of: null,
        trigger_depth: 0,
        tasks_total: 1,
        carried: [],
        ...over,
      }),
    );
  }

  /** The agent takes what waits longest. @returns its id; null for nothing */
  async take(): Promise<string | null> {
    return this.#do(async (tx) => {
      const to = { agent_id: "agent", session_id: "s", fetch_id: null, offer_ms: 1000, isHeld: true };
      const claim = await tx.claim({ ...to, assigned_at_ms: this.clock.now() });
      if (typeof claim === "string") return null;
      await this.#running.changes.given(tx, claim);
      return claim.run.workflow_instance_id;
    });
  }

  /** The agent tells, now, that a run has ended. @param atMs when that was, ms since the epoch */
  async end(id: string, status: RunStatus, atMs = this.clock.now()): Promise<void> {
    await this.#do(async (tx) => {
      const run = await tx.getRun(id);
      const outcome = await this.#running.changes.hearRun(tx, {
        agent_id: "agent",
        workflow_instance_id: id,
        slice: 0,
        attempt: run?.attempt ?? 1,
        timestamp_ms: atMs,
        error: status === "COMPLETED" ? null : "it failed",
        stream_id: "stream",
        status,
        log_seq: 0,
      });
      if (outcome !== "applied") throw new Error(`the report of ${id} is ${outcome}`);
    });
  }

  /** Somebody cancels a run that waits. */
  async cancel(id: string): Promise<void> {
    await this.#do(async (tx) => {
      const run = await tx.getRun(id);
      if (run !== null) await this.#running.changes.cancel(tx, run);
    });
  }

  async pause(): Promise<void> {
    const pause = { workflow_id: FLOW, paused_at_ms: this.clock.now(), paused_by: null, reason: null };
    await this.#do((tx) => this.#running.pauses.set(tx, { ...pause, is_auto: false, until_ms: null }));
  }

  async resume(): Promise<void> {
    await this.#do(async (tx) => {
      const { pauses, changes } = this.#running;
      await pauses.end(tx, FLOW);
      await tx.unparkQueued(FLOW, 1000);
      for (const run of await tx.pausedRuns(FLOW, 1000)) await changes.admission.enter(tx, run);
    });
  }

  /** All alerts that there ever were, in order. */
  async told(): Promise<Told[]> {
    const all = await this.#running.store.read((tx) => tx.listAlerts({ which: "all", limit: 100_000 }));
    return all
      .filter(({ kind }) => kind === "late" || kind === "missed")
      .map(({ key, raised_at_ms: at, resolved_at_ms: over }) => ({ key, at, over }))
      .sort((a, b) => a.at - b.at || (a.key < b.key ? -1 : 1));
  }

  /** What is in the state of expectations, and what the principal knows of it. */
  async rows(): Promise<{ stored: ExpectationRecord[]; known: ExpectationRecord[] }> {
    const stored = await this.#running.store.read((tx) => tx.listExpectations());
    return {
      stored: stored.filter(({ rule }) => rule !== "resumed"),
      known: this.#running.expectations.of(FLOW),
    };
  }

  /** The workflows of which anything is kept, in the state and by the principal. */
  async kept(): Promise<string[]> {
    const { store, expectations } = this.#running;
    return [...(await store.read((tx) => tx.expectedWorkflows())), ...expectations.workflows];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts?.watch.stop();
    await this.stores[Symbol.asyncDispose]();
  }
}
