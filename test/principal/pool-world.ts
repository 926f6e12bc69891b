/** A principal's store, changes of runs and dispatcher, all real, with agents that do at once what a test tells them. */
import { EventHub } from "../../src/event-hub.ts";
import { applyReports } from "../../src/principal/agents/agent-reports.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { Dispatcher } from "../../src/principal/runs/dispatcher.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../src/principal/runs/run-queue.ts";
import type { AgentRecord, OperationalStore, OperationalTx } from "../../src/storage/operational/store.ts";
import { allTasks } from "../../src/workflow/hooks.ts";
import type { WorkflowDefinition } from "../../src/workflow/model.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { agentRecord, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { NO_WORKFLOWS } from "./no-workflows.ts";

/** What an agent executes. */
export interface Work {
  readonly agent: string;
  readonly run: string;
  readonly slice: number;
  readonly attempt: number;
  readonly tasks: readonly string[];
}

const OFFER_MS = 1_000_000_000;

/** A world of a single unit of work after the other: nothing in it waits for time. */
export class PoolWorld implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly #stores = new TestStores();
  readonly #definitions = new Definitions();
  readonly #events: PrincipalEvents = new EventHub();
  readonly #parsed = new Map<string, WorkflowDefinition>();
  readonly #room = new Map<string, number>();
  readonly #seqs = new Map<string, number>();
  readonly queue = new RunQueue();
  #fetches = 0;
  #opened: { store: OperationalStore; changes: RunChanges; dispatcher: Dispatcher } | undefined;
  /** What agents execute, oldest first. */
  readonly working: Work[] = [];
  /** The runs whose tasks have begun, in order, as `RUN TASK`. */
  readonly begun: string[] = [];

  /** @param ageingMs see limits/order.ts */
  static async open(ageingMs?: number): Promise<PoolWorld> {
    const world = new PoolWorld();
    // Not the beginning of time: what waits for long began before.
    world.clock.advance(100 * 3_600_000);
    const store = await world.#stores.open("data", world.clock);
    const base = {
      store,
      clock: world.clock,
      definitions: world.#definitions,
      events: world.#events,
      progress: new ProgressOfRuns(world.#definitions),
      queue: world.queue,
    };
    const changes = new RunChanges({
      workflows: NO_WORKFLOWS,
      ...base,
      followUps: { ending: async () => {} },
    });
    const dispatcher = new Dispatcher({
      ...base,
      changes,
      log: silent,
      offerMs: OFFER_MS,
      ...(ageingMs === undefined ? {} : { ageingMs }),
    });
    world.#opened = { store, changes, dispatcher };
    await dispatcher.start();
    return world;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#opened?.dispatcher.stop();
    await this.#stores[Symbol.asyncDispose]();
  }

  get #it() {
    if (this.#opened === undefined) throw new Error("the world is not open");
    return this.#opened;
  }

  get store(): OperationalStore {
    return this.#it.store;
  }

  get changes(): RunChanges {
    return this.#it.changes;
  }

  /** Sets the size of a pool as a command does. */
  async pool(name: string, size: number | null): Promise<void> {
    await this.#change(async (tx) => {
      await tx.setPool(name, size, null, this.clock.now());
      this.queue.queued(tx);
    });
  }

  async agent(id: string, capacity: number, over: Partial<AgentRecord> = {}): Promise<void> {
    const record = agentRecord(id, { protocol: 4, max_concurrent_workflows: capacity, ...over });
    await this.#change((tx) => tx.registerAgent(record, null, OFFER_MS));
    this.#room.set(id, capacity);
    await this.settle();
  }

  /** Creates a run. */
  async create(id: string, text: string, priority?: number): Promise<void> {
    let definition = this.#parsed.get(text);
    if (definition === undefined) {
      const parsed = parseWorkflow(text, { path: "w.yml", id: "w" });
      if (!parsed.ok) throw new Error(parsed.diagnostics.map(({ message }) => message).join("\n"));
      definition = parsed.definition;
      this.#parsed.set(text, definition);
    }
    const json = JSON.stringify(definition);
    const level = priority ?? definition.priority;
    await this.#change(async (tx) => {
      await this.changes.create(tx, {
        workflow_instance_id: id,
        workflow_id: "w",
        workflow_name: "w",
        definition_hash: `${Bun.hash(json)}`,
        definition: json,
        params: {},
        trigger: "api",
        scheduled_time_ms: null,
        retry_of: null,
        trigger_depth: 0,
        tasks_total: definition === undefined ? 0 : allTasks(definition).length,
        carried: [],
        ...(level === undefined ? {} : { priority: level }),
      });
    });
  }

  /** Changes something, and lets agents take what they can take then. */
  async #change(work: (tx: OperationalTx) => Promise<unknown>): Promise<void> {
    await this.store.transact(async (tx) => void (await work(tx)));
    await this.settle();
  }

  change(work: (tx: OperationalTx, changes: RunChanges) => Promise<unknown>): Promise<void> {
    return this.#change((tx) => work(tx, this.changes));
  }

  /** Agents with room ask for work until none is given any. */
  async settle(): Promise<void> {
    for (let isGiven = true; isGiven; ) {
      isGiven = false;
      for (const [id, room] of this.#room) {
        const busy = this.working.filter(({ agent }) => agent === id).length;
        if (busy >= room) continue;
        const fetchId = `f${this.#fetches++}`;
        const given = await this.#it.dispatcher.fetch({ agentId: id, sessionId: "s", fetchId, waitMs: 0 });
        if (given === null) continue;
        isGiven = true;
        const { workflow_instance_id: run, slice = 0, attempt, workflow } = given;
        const stored = slice === 0 ? null : await this.store.read((tx) => tx.getSlice(run, slice));
        const ids = stored?.tasks ?? workflow.tasks.map((task) => task.id);
        this.working.push({ agent: id, run, slice, attempt, tasks: ids });
        this.begun.push(...ids.map((task) => `${run} ${task}`));
      }
    }
  }

  /** What is executed of a run, or of all. */
  at(run: string): Work {
    const work = this.working.find((each) => each.run === run);
    if (work === undefined) throw new Error(`nothing of ${run} is executed`);
    return work;
  }

  /** An agent is done with its work. */
  async end(work: Work, status: "COMPLETED" | "FAILED" | "WAITING" = "COMPLETED"): Promise<void> {
    this.#gone(work);
    const { agent, run, slice, attempt, tasks } = work;
    const of = {
      workflow_id: "w",
      workflow_instance_id: run,
      slice,
      attempt,
      timestamp_ms: this.clock.now(),
    };
    const usage = { signal: null, error: null, cpu_ms: 1, max_rss_kb: 1, outputs: null };
    const seq = this.#seqs.get(agent) ?? 0;
    const end =
      status === "FAILED" ? ({ status, exit_code: 1 } as const) : ({ status, exit_code: 0 } as const);
    const bodies = tasks.flatMap((id) => {
      const [, task_id = id, key] = /^([^[]+)\[(.*)\]$/.exec(id) ?? [];
      const item = key === undefined ? {} : { item: { key, index: Number(key) } };
      const task = {
        ...of,
        ...item,
        ...usage,
        kind: "task",
        task_id,
        task_instance_id: `${run} ${id} ${attempt}`,
      };
      const running = { ...task, task_attempt: 1, status: "RUNNING", exit_code: null };
      return [running, { ...task, task_attempt: 1, ...end }];
    });
    const whole = { ...of, kind: "run", status, error: null, log_seq: 0 };
    const reports = [...bodies, whole].map((report, n) => ({ ...report, seq: seq + n + 1 }));
    this.#seqs.set(agent, seq + reports.length);
    await this.#change(async (tx) => {
      const before = (await tx.getStream(agent))?.seq ?? null;
      const batch = { agent_id: agent, session_id: "s", stream_id: agent, reports } as unknown as Parameters<
        typeof applyReports
      >[1];
      const context = { changes: this.changes, log: silent, before, nowMs: this.clock.now(), aheadMs: 0 };
      await applyReports(tx, batch, context);
    });
  }

  /** An agent is lost with its work, and comes back without it. */
  async lose(work: Work): Promise<void> {
    this.#gone(work);
    await this.#change(async (tx) => {
      const run = await tx.getRun(work.run);
      const attempt = await tx.getAttempt({ workflow_instance_id: work.run, ...work });
      if (run === null || attempt === null) throw new Error("there is no such attempt");
      await this.changes.crash(tx, run, attempt, "it was lost", "REVOKED");
    });
  }

  #gone(work: Work): void {
    this.working.splice(this.working.indexOf(work), 1);
  }

  /** Slots of a pool that are taken. */
  async used(pool: string): Promise<number> {
    return (await this.store.read((tx) => tx.poolUse())).get(pool) ?? 0;
  }

  async status(run: string): Promise<string | undefined> {
    return (await this.store.read((tx) => tx.getRun(run)))?.status;
  }
}
