/** When alerts are raised and resolved, and which channels are told. Every unit of work is done twice, as a database may. */
import { describe, expect, test } from "bun:test";
import { EventHub } from "../../../src/event-hub.ts";
import { Alerts } from "../../../src/principal/alerts/alerts.ts";
import type { NewAlert } from "../../../src/principal/alerts/new-alert.ts";
import type { PrincipalEvents } from "../../../src/principal/principal-events.ts";
import type { OperationalStore, RunRecord } from "../../../src/storage/operational/store.ts";
import type { NotifyRule } from "../../../src/workflow/notify.ts";
import type { RunStatus } from "../../../src/workflow/status.ts";
import { pendingRun, silent, TestStores } from "../../storage/operational-support.ts";
import { RepeatingStore } from "../../storage/repeating-store.ts";
import { ManualClock } from "../../support/manual-clock.ts";

/** The part of a principal that is about alerts. */
class World implements AsyncDisposable {
  readonly stores = new TestStores();
  readonly clock = new ManualClock();
  /** Who is told of loaded workflows, and of others. */
  readonly rules = new Map<string, readonly NotifyRule[]>();
  root: readonly NotifyRule[] = [];
  store!: OperationalStore;
  alerts!: Alerts;
  events!: PrincipalEvents;
  wakes = 0;

  static async create(...rules: NotifyRule[]): Promise<World> {
    const world = new World();
    world.clock.advance(1_000_000);
    world.rules.set("flow", rules);
    await world.start(await world.stores.open());
    return world;
  }

  async start(store: OperationalStore): Promise<void> {
    this.store = new RepeatingStore(store);
    this.events = new EventHub();
    this.events.on("alerts changed", () => {
      this.wakes++;
    });
    const { store: own, clock, events } = this;
    const definitions = { of: async () => ({ notify: [{ to: ["former"] }] }) };
    this.alerts = new Alerts({ store: own, clock, events, definitions, log: silent });
    const { rules } = this;
    const ofRoot = () => this.root;
    this.alerts.follow({
      notifyOf: (id) => rules.get(id),
      get notify() {
        return ofRoot();
      },
      groupMsOf: () => 60_000,
    });
    await this.alerts.start();
  }

  /** A run of the workflow ends like this. */
  async end(id: string, status: RunStatus, over: Partial<RunRecord> = {}): Promise<void> {
    const run = pendingRun(id, {
      ...over,
      status,
      status_at_ms: this.clock.now(),
      finished_at_ms: this.clock.now(),
    });
    await this.store.transact((tx) => this.alerts.ended(tx, run));
  }

  /** What was raised, oldest first, with the channels that are told. */
  async told(): Promise<string[]> {
    return this.store.read(async (tx) => {
      const alerts = (await tx.listAlerts({ which: "all", limit: 100 })).reverse();
      const deliveries = await tx.deliveriesOf(alerts.map(({ alert_id }) => alert_id));
      return alerts.map(({ alert_id, subject, resolved_at_ms }) => {
        const to = deliveries
          .filter((delivery) => delivery.alert_id === alert_id)
          .map(({ channel, about }) => (about === "resolved" ? `${channel} (over)` : channel));
        return `${subject}${resolved_at_ms === null ? " (open)" : ""} → ${to.join(", ")}`;
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stores[Symbol.asyncDispose]();
  }
}

const late = (over: Partial<NewAlert> = {}): NewAlert => ({
  kind: "late",
  key: "late flow run-1 max_duration",
  workflow_id: "flow",
  workflow_instance_id: "run-1",
  subject: "flow is late",
  facts: { rule: "max_duration" },
  at_ms: 1_000_000,
  ...over,
});

describe("the end of a run", () => {
  test("each failure is told, and the run that completes after one, but no other", async () => {
    await using world = await World.create({ to: ["ops"] });
    await world.end("run-1", "COMPLETED");
    await world.end("run-2", "FAILED");
    await world.end("run-3", "CRASHED");
    await world.end("run-4", "CANCELLED");
    await world.end("run-5", "SKIPPED");
    await world.end("run-6", "COMPLETED");
    await world.end("run-7", "COMPLETED");
    expect(await world.told()).toEqual([
      "flow failed → ops",
      "flow crashed, 2 times in a row → ops",
      "flow recovered after 2 failures in a row → ops",
    ]);
  });

  test("a rule may wait for failures in a row, and tells recovery only if it told a failure", async () => {
    await using world = await World.create(
      { on: ["failed", "recovered"], to: ["ops"], after_failures: 3 },
      { on: ["failed"], to: ["log", "ops"] },
    );
    await world.end("run-1", "FAILED");
    await world.end("run-2", "COMPLETED");
    for (const id of ["run-3", "run-4", "run-5", "run-6"]) await world.end(id, "FAILED");
    await world.end("run-7", "COMPLETED");
    expect(await world.told()).toEqual([
      "flow failed → log, ops",
      "flow failed → log, ops",
      "flow failed, 2 times in a row → log, ops",
      "flow failed, 3 times in a row → ops, log",
      "flow failed, 4 times in a row → ops, log",
      "flow recovered after 4 failures in a row → ops",
    ]);
  });

  test("failures in a row are counted over a restart", async () => {
    await using world = await World.create({ to: ["ops"], after_failures: 2 });
    await world.end("run-1", "FAILED");
    await world.start(await world.stores.reopen());
    await world.end("run-2", "FAILED");
    expect(await world.told()).toEqual(["flow failed, 2 times in a row → ops"]);
  });

  test("runs of a backfill are told each for itself, and do not count", async () => {
    await using world = await World.create({ to: ["ops"] }, { to: ["later"], after_failures: 2 });
    const backfill_id = "backfill";
    await world.end("run-1", "FAILED", { backfill_id });
    await world.end("run-2", "FAILED", { backfill_id });
    await world.end("run-3", "COMPLETED", { backfill_id });
    await world.end("run-4", "COMPLETED");
    expect(await world.told()).toEqual(["flow failed → ops", "flow failed → ops"]);
  });

  test("the rules of the file as it is now count; without one, those that the run had; nobody is told with []", async () => {
    await using world = await World.create();
    await world.end("run-1", "FAILED");
    expect(await world.told()).toEqual([]);
    world.rules.delete("flow");
    await world.end("run-2", "FAILED");
    expect(await world.told()).toEqual(["flow failed → former"]);
  });

  test("a workflow about which nobody is told costs no statement", async () => {
    await using world = await World.create({ on: ["late"], to: ["ops"] });
    const plain = await world.stores.open("plain");
    await plain.transact(async (tx) => {
      const before = world.stores.statements;
      await world.alerts.ended(tx, pendingRun("run-1", { status: "FAILED" }));
      await world.alerts.ended(tx, pendingRun("run-2", { status: "COMPLETED" }));
      await world.alerts.resolve(tx, "waiting run-1 ask", 1);
      expect(world.stores.statements).toBe(before);
    });
  });

  test("facts name the failed tasks and what the run was", async () => {
    await using world = await World.create({ to: ["ops"] });
    await world.end("run-1", "FAILED", { error: "task a failed", started_at_ms: 999_000, agent_id: "one" });
    const [alert] = await world.store.read((tx) => tx.listAlerts({ which: "all", limit: 1 }));
    expect(JSON.parse(alert?.facts ?? "")).toEqual({
      workflow_name: "Flow",
      status: "FAILED",
      error: "task a failed",
      trigger: "cli",
      attempt: 1,
      agent_id: "one",
      created_at_ms: 1000,
      started_at_ms: 999_000,
      finished_at_ms: 1_000_000,
      duration_ms: 1000,
      failures: 1,
      failed_tasks: [],
    });
  });
});

describe("what lasts", () => {
  test("is open once, is resolved once, and who was told is told that it is over", async () => {
    await using world = await World.create({ on: ["late"], to: ["ops"] });
    const raise = () => world.store.transact((tx) => world.alerts.raise(tx, late({ to: ["chat", "ops"] })));
    expect(await raise()).toBe(true);
    expect(await raise()).toBe(false);
    expect(await world.told()).toEqual(["flow is late (open) → ops, chat"]);
    const resolve = () =>
      world.store.transact((tx) => world.alerts.resolve(tx, "late flow run-1 max_duration", 1_000_500));
    // The rules have changed in between.
    world.rules.set("flow", []);
    expect(await resolve()).toBe(true);
    expect(await resolve()).toBe(false);
    expect(await world.told()).toEqual(["flow is late → ops, chat, ops (over), chat (over)"]);
    expect(await raise()).toBe(true);
    expect(world.wakes).toBe(3);
  });

  test("is known after a restart, and ends with its run", async () => {
    await using world = await World.create();
    await world.store.transact(async (tx) => {
      await world.alerts.raise(tx, late());
      await world.alerts.raise(tx, late({ kind: "missed", key: "missed flow", workflow_instance_id: null }));
      await world.alerts.raise(tx, late({ key: "late flow run-2 rule", workflow_instance_id: "run-2" }));
    });
    await world.start(await world.stores.reopen());
    expect(world.alerts.openOf("missed")).toEqual(["missed flow"]);
    await world.end("run-1", "CANCELLED");
    const open = await world.store.read((tx) => tx.openAlerts());
    expect(open.map(({ key }) => key)).toEqual(["late flow run-2 rule", "missed flow"]);
  });

  test("raised again in the commit that resolved it, it is open", async () => {
    await using world = await World.create();
    await world.store.transact((tx) => world.alerts.raise(tx, late()));
    await Promise.all([
      world.store.transact((tx) => world.alerts.resolve(tx, late().key, 2)),
      world.store.transact((tx) => world.alerts.raise(tx, late())),
    ]);
    expect(await world.store.transact((tx) => world.alerts.resolve(tx, late().key, 3))).toBe(true);
  });

  test("is not raised if nobody asks for it", async () => {
    await using world = await World.create({ on: ["failed"], to: ["ops"] });
    const raise = (over: Partial<NewAlert>) =>
      world.store.transact((tx) => world.alerts.raise(tx, late(over)));
    expect(await raise({ kind: "waiting", key: "waiting run-1 ask" })).toBe(false);
    expect(await raise({ kind: "agent_lost", key: "agent_lost a", workflow_id: null })).toBe(false);
    world.root = [{ on: ["agent_lost"], to: ["ops"] }];
    expect(await raise({ kind: "agent_lost", key: "agent_lost a", workflow_id: null })).toBe(true);
  });

  test("a firing that was refused is told to whom the workflow directory names", async () => {
    await using world = await World.create({ to: ["ops"] });
    world.root = [{ on: ["dead_letter"], to: ["admin"] }];
    const refused = { workflowId: "flow", trigger: "cron", message: 'parameter "day" must be given' };
    world.events.emit("firing refused", refused);
    // It is in the next commit.
    await world.store.transact(async () => {});
    expect(await world.told()).toEqual(["A firing of flow (cron) was refused → admin"]);
  });

  test("a subject is one line, whatever it is made of", async () => {
    await using world = await World.create({ to: ["ops"] });
    await world.store.transact((tx) => world.alerts.raise(tx, late({ subject: "a\r\nBcc: x\u0007\u2028b" })));
    expect(await world.told()).toEqual(["a Bcc: x b (open) → ops"]);
  });
});
