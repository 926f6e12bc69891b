/** The parts of a principal that limit runs, wired as in a real one, with the faults that the model test must find. */
import { EventHub } from "../../src/event-hub.ts";
import { StandingOrders } from "../../src/principal/agents/standing-orders.ts";
import { BackfillRunner } from "../../src/principal/backfills/backfill-runner.ts";
import { Backfills } from "../../src/principal/backfills/backfills.ts";
import { Installation } from "../../src/principal/installation.ts";
import { withPriority } from "../../src/principal/limits/needs.ts";
import { Pauses } from "../../src/principal/limits/pauses.ts";
import { Pausing } from "../../src/principal/limits/pausing.ts";
import { LongPolls } from "../../src/principal/long-polls.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { Dispatcher } from "../../src/principal/runs/dispatcher.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../src/principal/runs/run-queue.ts";
import { RunService } from "../../src/principal/runs/run-service.ts";
import { Waits } from "../../src/principal/runs/waits.ts";
import type { StoredDefinition } from "../../src/principal/runs/workflow-source.ts";
import type { OperationalStore } from "../../src/storage/operational/store.ts";
import { type PrincipalParts, WAIT_MS } from "../principal/agent-posts.ts";
import { silent } from "../storage/operational-support.ts";
import { RepeatingStore } from "../storage/repeating-store.ts";
import type { ManualClock } from "../support/manual-clock.ts";
import { type Fault, faulty } from "./faults.ts";

/** What {@link LimitedPrincipal} needs. */
interface LimitedPrincipalOptions {
  readonly clock: ManualClock;
  readonly store: OperationalStore;
  /** Whether units of work are repeated. */
  readonly repeats: boolean;
  readonly flow: (id: string) => StoredDefinition | undefined;
  readonly fault: Fault | null;
  /** How much waiting outweighs one step of priority, ms; by default what is usual. */
  readonly ageingMs?: number | undefined;
}

/** A principal without its doors. */
export class LimitedPrincipal {
  readonly parts: PrincipalParts;
  readonly runs: RunService;
  readonly backfills: Backfills;
  /** It makes runs when it is told to. */
  readonly backfillRunner: BackfillRunner;
  readonly #clock: ManualClock;
  readonly #queue = new RunQueue();
  readonly #pausing: Pausing;
  /** Whether a step of a commit has failed, so that a sweep has to do its work. */
  #isDue = false;

  constructor({ clock, store: plain, repeats, flow, fault, ageingMs }: LimitedPrincipalOptions) {
    const events: PrincipalEvents = new EventHub();
    const sound = repeats ? new RepeatingStore(plain) : plain;
    const store = fault?.tx === undefined ? sound : faulty(sound, fault.tx);
    const definitions = new Definitions();
    const progress = new ProgressOfRuns(definitions);
    const polls = new LongPolls(clock);
    const workflows = {
      load: async () => {},
      get: flow,
      ids: () => [],
      isAwaited: () => false,
      calendars: new Map(),
      invalidFiles: [],
      directoryOf: () => undefined,
      refused: () => {},
      fired: () => {},
    };
    const base = { store, clock, events, polls, definitions, progress, workflows, log: silent };
    this.#clock = clock;
    const queue = this.#queue;
    const pauses = new Pauses({ clock, events, definitions });
    const changes = new RunChanges({ ...base, queue, followUps: { ending: async () => {} }, pauses });
    fault?.changes?.(changes);
    const dispatcher = new Dispatcher({ ...base, changes, queue, offerMs: WAIT_MS, ageingMs });
    const logs = {
      position: () => ({ received: 0, durable: 0 }),
      locate: async () => true,
      agentHoldsFrom: () => {},
      flush: async () => {},
    };
    const installation = new Installation(store);
    const orders = new StandingOrders({ store, logs, principalId: "principal", installation });
    events.on("admission due", () => {
      this.#isDue = true;
    });
    this.parts = { plain, store, changes, dispatcher, orders, events };
    const old = {
      findRun: async () => null,
      findItems: async () => [],
      findOutputs: async () => new Map(),
      listRuns: async () => [],
    };
    this.runs = new RunService({
      ...base,
      changes,
      queue,
      waits: new Waits(definitions, clock),
      old,
      bundles: { pack: async () => null },
      pauses,
    });
    const history = { findFirings: async () => [], findRun: async () => null };
    this.backfills = new Backfills({ ...base, history, zone: "UTC" });
    this.backfillRunner = new BackfillRunner({
      ...base,
      changes,
      history,
      bundles: { pack: async () => null },
      pauses,
    });
    this.#pausing = new Pausing({
      ...base,
      pauses,
      queue,
      goOn: (tx, run) => changes.admission.enter(tx, run),
      missed: {
        pack: async () => null,
        create: (tx, event, packed) => this.runs.createMissed(tx, event, packed),
      },
    });
  }

  async start(): Promise<void> {
    await this.#pausing.start();
    await this.parts.dispatcher.start();
    await this.#sweep();
  }

  async stop(): Promise<void> {
    await this.parts.dispatcher.stop();
    await this.#pausing.stop();
  }

  /** What a sweep finds to do, although everything was done when it should have been. */
  sweep(): Promise<number> {
    return this.#sweep();
  }

  /** Does what could not be done in a commit. */
  async mend(): Promise<void> {
    if (this.#isDue) await this.#sweep();
  }

  #sweep(): Promise<number> {
    this.#isDue = false;
    return this.parts.changes.admission.sweep(this.parts.store);
  }

  async pause(workflow_id: string): Promise<void> {
    await this.#pausing.pauseWorkflow({ workflow_id }, null);
  }

  async resume(workflowId: string): Promise<void> {
    await this.#pausing.resumeWorkflow(workflowId);
  }

  /** Sets the size of a pool. */
  async resize(pool: string, size: number): Promise<void> {
    const { store } = this.parts;
    await store.transact(async (tx) => {
      await tx.setPool(pool, size, null, this.#clock.now());
      this.#queue.queued(tx);
    });
  }

  async prioritize(id: string, priority: number): Promise<void> {
    await this.parts.store.transact(async (tx) => {
      const run = await tx.getRun(id);
      if (run === null || run.finished_at_ms !== null) return;
      await tx.setPriority(run, priority, (needs) => withPriority(needs, priority));
      this.parts.changes.admission.freed(tx, run);
      this.#queue.queued(tx);
    });
  }
}
