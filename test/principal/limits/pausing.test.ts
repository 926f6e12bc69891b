/** Pauses of workflows: what they hold, what is missed, when they end; and that a principal that dies at any statement loses and repeats nothing. */
import { describe, expect, test } from "bun:test";
import { EventHub } from "../../../src/event-hub.ts";
import { Pauses } from "../../../src/principal/limits/pauses.ts";
import { Pausing } from "../../../src/principal/limits/pausing.ts";
import type { PrincipalEvents } from "../../../src/principal/principal-events.ts";
import { Definitions } from "../../../src/principal/runs/definitions.ts";
import type { PauseRecord } from "../../../src/storage/operational/pauses.ts";
import {
  type OperationalStore,
  type OperationalTx,
  type RunRecord,
  StoreUnavailableError,
} from "../../../src/storage/operational/store.ts";
import { parseWorkflow } from "../../../src/workflow/parse.ts";
import { pendingRun, silent, TestStores } from "../../storage/operational-support.ts";
import { RepeatingStore } from "../../storage/repeating-store.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** JSON of a definition, which is paused after so many failures. */
function definitionWith(failures?: number): string {
  const top = failures === undefined ? "" : `auto_pause: ${failures}\n`;
  const parsed = parseWorkflow(`${top}tasks: {a: {run: "true"}}\n`, { path: "flow.yml", id: "flow" });
  if (!parsed.ok) throw new Error("the workflow is invalid");
  return JSON.stringify(parsed.definition);
}

const PLAIN = definitionWith();

/** A principal's part that is about pauses. */
class World implements AsyncDisposable {
  readonly stores = new TestStores();
  readonly clock = new ManualClock();
  /** Workflows whose files are there. */
  readonly files = new Set(["flow", "other"]);
  /** Events that became runs. */
  readonly made: string[] = [];
  readonly later = new Set<string>();
  plain!: OperationalStore;
  store!: OperationalStore;
  events!: PrincipalEvents;
  pauses!: Pauses;
  pausing!: Pausing;

  static async create(): Promise<World> {
    const world = new World();
    world.clock.advance(1_000_000);
    await world.start();
    return world;
  }

  /** A principal starts, after the one before was killed. */
  async start(): Promise<void> {
    await this.pausing?.stop();
    this.plain = this.plain === undefined ? await this.stores.open() : await this.stores.reopen();
    this.store = new RepeatingStore(this.plain);
    this.events = new EventHub();
    this.pauses = new Pauses({ clock: this.clock, events: this.events, definitions: new Definitions() });
    this.pausing = new Pausing({
      store: this.store,
      clock: this.clock,
      log: silent,
      events: this.events,
      pauses: this.pauses,
      queue: { queued: () => {} },
      workflows: {
        load: async () => {},
        get: (id) => (this.files.has(id) ? ({} as never) : undefined),
        ids: () => this.files,
        isAwaited: () => false,
        invalidFiles: [],
      },
      goOn: (tx, run) => this.#goOn(tx, run),
      missed: {
        pack: async () => null,
        create: async (tx, event) => {
          const { workflow_instance_id: id } = event;
          if (this.later.has(id)) return "later";
          if (event.options === "bad") return "refused";
          await tx.createRun(pendingRun(id, { trigger: event.trigger }), "{}", []);
          tx.afterCommit(() => this.made.push(id));
          return "made";
        },
      },
    });
    await this.pausing.start();
  }

  #goOn(tx: OperationalTx, run: RunRecord): Promise<RunRecord> {
    const since = Math.max(run.status_at_ms, this.clock.now());
    // In place of an admission: what has gone on is over, in the order in which it went on.
    return tx.transitionRun(run, {
      status: "CANCELLED",
      status_at_ms: since,
      finished_at_ms: since,
      error: "went on",
    });
  }

  create(id: string, over: Partial<RunRecord> = {}): Promise<void> {
    return this.store.transact((tx) => tx.createRun(pendingRun(id, over), PLAIN, []));
  }

  /** A person asks for a run. */
  ask(id: string, workflow_id = "flow"): Promise<void> {
    return this.store.transact(async (tx) => {
      const isPaused = (await this.pauses.at(tx, workflow_id)) !== null;
      const over = isPaused ? ({ queued: false, hold: "pause" } as const) : {};
      await tx.createRun(pendingRun(id, { workflow_id, ...over }), PLAIN, []);
    });
  }

  /** An event happens. Returns whether it was missed. */
  happen(id: string, catchup: "none" | "latest" | "all", trigger = "listener:door"): Promise<boolean> {
    const options = { params: {}, trigger, scheduled_time_ms: null, trigger_depth: 0 };
    return this.store.transact((tx) =>
      this.pauses.miss(tx, { id: "flow", catchup }, id, { options, actor: null }),
    );
  }

  /** What is in the queue for agents. */
  queue(): Promise<string[]> {
    return this.store.read(async (tx) => {
      const heads = await tx.queueHeads("");
      return heads.length === 0 ? [] : heads.map(({ workflow_instance_id: id }) => id);
    });
  }

  /** How a run is: held, parked, queued, or gone on. */
  async stateOf(id: string): Promise<string> {
    const run = await this.store.read((tx) => tx.getRun(id));
    if (run === null) return "none";
    if (run.hold !== null) return "held";
    if (run.error === "went on") return "gone on";
    return run.needs.startsWith("paused:") ? "parked" : run.queued ? "queued" : run.status;
  }

  async statesOf(...ids: string[]): Promise<string[]> {
    return Promise.all(ids.map((id) => this.stateOf(id)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pausing.stop();
    await this.stores[Symbol.asyncDispose]();
  }
}

const pause = (world: World, more: object = {}) =>
  world.pausing.pauseWorkflow({ workflow_id: "flow", ...more }, "ops");

describe("a pause", () => {
  test("holds what has not begun, and says how much that is", async () => {
    await using world = await World.create();
    await world.create("queued");
    await world.create("running", { queued: false, status: "RUNNING", started_at_ms: 1000, agent_id: "a" });
    await world.create("other", { workflow_id: "other" });
    expect(await pause(world, { reason: "migration" })).toEqual({
      workflow_id: "flow",
      paused: { at_ms: 1_000_000, by: "ops", reason: "migration", until_ms: null, auto: false },
      was_paused: false,
      held_runs: 1,
      begun_runs: 1,
    });
    await world.ask("asked");
    await world.ask("asked-other", "other");
    expect(await world.statesOf("queued", "running", "other", "asked", "asked-other")).toEqual([
      "parked",
      "RUNNING",
      "queued",
      "held",
      "queued",
    ]);
    expect(await world.pausing.resumeWorkflow("flow")).toEqual({
      workflow_id: "flow",
      was_paused: true,
      held_runs: 2,
      event_runs: 0,
    });
    expect(await world.statesOf("queued", "asked")).toEqual(["queued", "gone on"]);
  });

  test("of a workflow that is paused already gets another end, and keeps its reason and its beginning", async () => {
    await using world = await World.create();
    await pause(world, { reason: "migration", until_ms: 5_000_000 });
    world.clock.advance(1000);
    const again = await world.pausing.pauseWorkflow({ workflow_id: "flow" }, "another");
    expect(again.was_paused).toBe(true);
    expect(again.paused).toEqual({
      at_ms: 1_000_000,
      by: "another",
      reason: "migration",
      until_ms: null,
      auto: false,
    });
    const third = await pause(world, { reason: "still", for_ms: 500 });
    expect(third.paused).toMatchObject({ reason: "still", until_ms: 1_001_500 });
  });

  test("of an unknown workflow, or with an end that has passed, is refused", async () => {
    await using world = await World.create();
    const unknown = world.pausing.pauseWorkflow({ workflow_id: "flwo" }, null);
    await expect(unknown).rejects.toThrow('There is no workflow "flwo": did you mean "flow"?');
    await expect(world.pausing.resumeWorkflow("flwo")).rejects.toThrow("There is no workflow");
    await expect(pause(world, { until_ms: 1_000_000 })).rejects.toThrow(
      "The time at which the pause should end has passed.",
    );
    expect(world.pauses.isEmpty).toBe(true);
  });

  test("outlives the file of the workflow, and can be ended without it", async () => {
    await using world = await World.create();
    await pause(world);
    world.files.delete("flow");
    await world.start();
    expect(world.pauses.of("flow")).not.toBeNull();
    expect((await pause(world, { reason: "gone" })).was_paused).toBe(true);
    world.files.add("flow");
    await world.ask("asked");
    expect(await world.stateOf("asked")).toBe("held");
    world.files.delete("flow");
    expect(await world.pausing.resumeWorkflow("flow")).toMatchObject({ was_paused: true, held_runs: 1 });
    await expect(world.pausing.resumeWorkflow("flow")).rejects.toThrow("There is no workflow");
  });

  test("counts at once for units of work of the same commit, and so does its end", async () => {
    await using world = await World.create();
    const set: PauseRecord = {
      workflow_id: "flow",
      paused_at_ms: 1,
      paused_by: null,
      reason: null,
      is_auto: false,
      until_ms: null,
    };
    const before = world.stores.commits;
    world.store = world.plain;
    const [, , missed] = await Promise.all([
      world.plain.transact((tx) => world.pauses.set(tx, set)),
      world.ask("same-commit"),
      world.happen("event", "all"),
    ]);
    expect(world.stores.commits - before).toBe(1);
    expect(await world.stateOf("same-commit")).toBe("held");
    expect(missed).toBe(true);
    await Promise.all([world.plain.transact((tx) => world.pauses.end(tx, "flow")), world.ask("after")]);
    expect(world.stores.commits - before).toBe(2);
    expect(await world.stateOf("after")).toBe("queued");
    await world.pausing.sweep();
    expect(await world.statesOf("same-commit", "event")).toEqual(["gone on", "queued"]);
  });

  test("ends at its time, also if that came while no principal ran", async () => {
    await using world = await World.create();
    await pause(world, { for_ms: 10_000 });
    await world.ask("first");
    world.clock.advance(9999);
    expect(await world.stateOf("first")).toBe("held");
    const resumed = world.pausing.signals.until("swept", () => world.pauses.isEmpty);
    world.clock.advance(1);
    await resumed;
    expect(await world.stateOf("first")).toBe("gone on");
    await pause(world, { for_ms: 10_000 });
    await world.ask("second");
    await world.pausing.stop();
    world.clock.advance(20_000);
    await world.start();
    expect(world.pauses.isEmpty).toBe(true);
    expect(await world.stateOf("second")).toBe("gone on");
    // Nothing is left to ring but the sweep.
    expect(world.clock.alarms).toBe(1);
  });

  test("that was prolonged does not end at its first time", async () => {
    await using world = await World.create();
    await pause(world, { for_ms: 10_000 });
    await pause(world, { for_ms: 60_000 });
    const looked = world.pausing.signals.until("swept", () => true);
    world.clock.advance(59_000);
    await world.pausing.sweep();
    await looked;
    expect(world.pauses.of("flow")).not.toBeNull();
    const resumed = world.pausing.signals.until("swept", () => world.pauses.isEmpty);
    world.clock.advance(1000);
    await resumed;
  });

  test("parks and lets go any number of runs, in commits of a bounded size", async () => {
    await using world = await World.create();
    await world.plain.transact(async (tx) => {
      for (let n = 0; n < 1203; n++) await tx.createRun(pendingRun(`run-${n}`), "{}", []);
    });
    expect((await pause(world)).held_runs).toBe(1203);
    await world.plain.transact(async (tx) => {
      for (let n = 0; n < 600; n++)
        await tx.createRun(pendingRun(`held-${n}`, { queued: false, hold: "pause" }), "{}", []);
    });
    const before = world.stores.commits;
    expect((await world.pausing.resumeWorkflow("flow")).held_runs).toBe(1803);
    expect(world.stores.commits - before).toBeGreaterThan(3);
    expect(await world.statesOf("run-0", "run-1202", "held-0", "held-599")).toEqual([
      "queued",
      "queued",
      "gone on",
      "gone on",
    ]);
  });

  test("catches what slipped back into the queue, such as an offer that nobody confirmed", async () => {
    await using world = await World.create();
    await pause(world);
    await world.create("late");
    expect(await world.stateOf("late")).toBe("queued");
    await world.pausing.sweep();
    expect(await world.stateOf("late")).toBe("parked");
  });
});

describe("what happens to a paused workflow", () => {
  const KEPT = { none: [], latest: ["e3"], all: ["e1", "e2", "e3"] } as const;
  for (const [catchup, kept] of Object.entries(KEPT))
    test(`follows its catchup: ${catchup}`, async () => {
      await using world = await World.create();
      expect(await world.happen("before", "all")).toBe(false);
      await pause(world);
      for (const id of ["e1", "e2", "e3"])
        expect(await world.happen(id, catchup as keyof typeof KEPT)).toBe(true);
      await world.start();
      const { event_runs } = await world.pausing.resumeWorkflow("flow");
      expect(event_runs).toBe(kept.length);
      expect(world.made).toEqual([...kept]);
      // They are made once.
      await world.pausing.sweep();
      await world.start();
      expect(world.made).toEqual([...kept]);
    });

  test("a firing of a schedule is refused: it is judged anew when the workflow goes on", async () => {
    await using world = await World.create();
    await pause(world);
    await expect(world.happen("firing", "all", "cron")).rejects.toThrow("Workflow flow is paused.");
  });

  test("an event that cannot become a run does not hold up the others; one that cannot yet is kept", async () => {
    await using world = await World.create();
    await pause(world);
    for (const id of ["e1", "e2", "e3"]) await world.happen(id, "all");
    await world.plain.transact(async (tx) => {
      const [first] = await tx.missedEvents("flow", 1);
      if (first === undefined) throw new Error("there is no event");
      await tx.dropMissedEvent(first);
      await tx.addMissedEvent({ ...first, options: "bad" }, 100);
    });
    world.later.add("e3");
    expect((await world.pausing.resumeWorkflow("flow")).event_runs).toBe(1);
    expect(world.made).toEqual(["e2"]);
    world.later.clear();
    await world.pausing.sweep();
    expect(world.made).toEqual(["e2", "e3"]);
  });
});

describe("failures in a row", () => {
  /** A run ends. */
  const end = (world: World, status: RunRecord["status"], failures?: number, over: Partial<RunRecord> = {}) =>
    world.store.transact(async (tx) => {
      const definition_hash = `after ${failures}`;
      const run = pendingRun(crypto.randomUUID(), { status, queued: false, definition_hash, ...over });
      await tx.createRun(run, definitionWith(failures), []);
      await world.pauses.ended(tx, run);
    });

  test("pause a workflow that wants it; after that they are counted anew", async () => {
    await using world = await World.create();
    for (const status of ["FAILED", "CRASHED"] as const) await end(world, status, 3);
    expect(world.pauses.isEmpty).toBe(true);
    await world.create("queued");
    await end(world, "FAILED", 3);
    expect(world.pauses.of("flow")).toEqual({
      workflow_id: "flow",
      paused_at_ms: 1_000_000,
      paused_by: null,
      reason: "3 failures in a row",
      is_auto: true,
      until_ms: null,
    });
    expect(await world.stateOf("queued")).toBe("parked");
    await end(world, "FAILED", 3);
    await world.pausing.resumeWorkflow("flow");
    for (let n = 0; n < 2; n++) await end(world, "FAILED", 3);
    expect(world.pauses.isEmpty).toBe(true);
    await end(world, "FAILED", 3);
    expect(world.pauses.of("flow")?.reason).toBe("3 failures in a row");
  });

  test("are interrupted by a run that COMPLETED, and by no other", async () => {
    await using world = await World.create();
    for (const status of [
      "FAILED",
      "FAILED",
      "COMPLETED",
      "FAILED",
      "CANCELLED",
      "SKIPPED",
      "CRASHED",
    ] as const)
      await end(world, status, 3);
    expect(world.pauses.isEmpty).toBe(true);
    await end(world, "FAILED", 3, { backfill_id: "backfill" });
    await end(world, "COMPLETED", 3, { backfill_id: "backfill" });
    expect(world.pauses.isEmpty).toBe(true);
    await end(world, "FAILED", 3, { retry_of: "x" });
    expect(world.pauses.of("flow")?.is_auto).toBe(true);
    // Whoever keeps it paused did not pause it then.
    await pause(world, {});
    expect(world.pauses.of("flow")).toMatchObject({
      reason: "it had paused itself after 3 failures in a row",
      is_auto: false,
    });
  });

  test("do not touch a pause of somebody, and cost nothing without auto_pause", async () => {
    await using world = await World.create();
    await pause(world, { reason: "mine" });
    await end(world, "FAILED", 1);
    expect(world.pauses.of("flow")).toMatchObject({ reason: "mine", is_auto: false });
    await end(world, "FAILED", undefined);
    await world.store.read(async (tx) => {
      const run = pendingRun("plain", { status: "FAILED", definition_hash: "after undefined" });
      await world.pauses.ended(tx, run);
      const before = world.stores.statements;
      await world.pauses.ended(tx, run);
      expect(world.stores.statements).toBe(before);
    });
  });
});

test("a principal that dies at any statement of a pause or a resume loses and repeats nothing", async () => {
  // The n-th statement is the last one that is done of a life.
  for (let n = 1, isOver = false; !isOver; n++) {
    await using world = await World.create();
    await world.create("q1");
    await world.create("q2");
    world.stores.failStatement(n);
    const paused = await pause(world, { reason: "migration" }).catch((error: unknown) => error);
    world.stores.failStatement(null);
    if (paused instanceof Error) expect(paused).toBeInstanceOf(StoreUnavailableError);
    await world.start();
    const isPaused = world.pauses.of("flow") !== null;
    if (!(paused instanceof Error)) expect(isPaused).toBe(true);
    expect(await world.statesOf("q1", "q2")).toEqual(isPaused ? ["parked", "parked"] : ["queued", "queued"]);
    // Whoever got an error asks again.
    await pause(world, { reason: "migration" });
    await world.ask("h1");
    await world.ask("h2");
    await world.happen("e1", "all");
    await world.happen("e2", "all");
    world.made.length = 0;
    world.stores.failStatement(n);
    const resumed = await world.pausing.resumeWorkflow("flow").catch((error: unknown) => error);
    isOver =
      !(resumed instanceof Error) &&
      !(paused instanceof Error) &&
      (resumed as { event_runs: number }).event_runs === 2;
    world.stores.failStatement(null);
    await world.start();
    const states = await world.statesOf("q1", "q2", "h1", "h2");
    if (world.pauses.of("flow") === null) {
      expect(states).toEqual(["queued", "queued", "gone on", "gone on"]);
      expect(await world.statesOf("e1", "e2")).toEqual(["queued", "queued"]);
    } else {
      expect(states).toEqual(["parked", "parked", "held", "held"]);
      expect(await world.statesOf("e1", "e2")).toEqual(["none", "none"]);
      await world.pausing.resumeWorkflow("flow");
    }
    await world.pausing.sweep();
    expect(await world.statesOf("q1", "q2", "h1", "h2", "e1", "e2")).toEqual([
      "queued",
      "queued",
      "gone on",
      "gone on",
      "queued",
      "queued",
    ]);
    expect(world.made).toEqual(["e1", "e2"]);
  }
});
