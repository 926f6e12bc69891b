/** What channels are sent, when, and what happens when that fails. The clock is moved by hand; the operational state is real. */
import { describe, expect, test } from "bun:test";
import { EventHub } from "../../../src/event-hub.ts";
import { Alerts } from "../../../src/principal/alerts/alerts.ts";
import { Deliveries } from "../../../src/principal/alerts/deliveries.ts";
import { type OutgoingMessage, SendError } from "../../../src/principal/alerts/senders/sender.ts";
import type { PrincipalEvents } from "../../../src/principal/principal-events.ts";
import type { OperationalStore } from "../../../src/storage/operational/store.ts";
import type { NotifyRule } from "../../../src/workflow/notify.ts";
import { silent, TestStores } from "../../storage/operational-support.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** A channel whose messages are kept, and that fails when it is told to. */
class TestChannel {
  readonly messages: OutgoingMessage[] = [];
  /** How the next messages end; they arrive when it is empty. */
  readonly ends: (Error | Promise<void>)[] = [];
  groupMs = 0;
  limit = { messages: 1000, per_ms: 1000 };
  mostAlerts: number | undefined;
  readonly sender = {
    send: async (message: OutgoingMessage, signal: AbortSignal): Promise<void> => {
      this.messages.push(message);
      this.signals.push(signal);
      const end = this.ends.shift();
      if (end instanceof Error) throw end;
      await end;
    },
  };
  readonly signals: AbortSignal[] = [];

  /** Subjects of the alerts of each message. */
  get told(): string[] {
    return this.messages.map(({ alerts, more }) => {
      const each = alerts.map(({ subject, about }) => (about === "raised" ? subject : `${subject} (over)`));
      return `${each.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
    });
  }
}

/** The part of a principal that is about alerts. */
class World implements AsyncDisposable {
  readonly stores = new TestStores();
  readonly clock = new ManualClock();
  readonly channels = new Map<string, TestChannel>();
  root: NotifyRule[] = [{ on: ["dead_letter"], to: ["ops", "chat"] }];
  store!: OperationalStore;
  events!: PrincipalEvents;
  alerts!: Alerts;
  deliveries!: Deliveries;

  static async create(...channels: string[]): Promise<World> {
    const world = new World();
    world.clock.advance(1_000_000_000);
    for (const name of channels) world.channels.set(name, new TestChannel());
    world.store = await world.stores.open();
    await world.start();
    return world;
  }

  /** A principal starts. */
  async start(): Promise<void> {
    const { store, clock, channels } = this;
    this.events = new EventHub();
    const definitions = { of: async () => null };
    const root = () => this.root;
    this.alerts = new Alerts({ store, clock, events: this.events, definitions, log: silent });
    this.alerts.follow({
      notifyOf: () => [{ to: ["ops"] }],
      get notify() {
        return root();
      },
      groupMsOf: (name) => channels.get(name)?.groupMs ?? 0,
    });
    await this.alerts.start();
    const base = { store, clock, events: this.events, alerts: this.alerts, channels, log: silent };
    this.deliveries = new Deliveries({ ...base, random: () => 0.5 });
    await this.deliveries.start();
  }

  /** The principal is killed, and another one starts. */
  async restart(): Promise<void> {
    this.store = await this.stores.reopen();
    await this.start();
  }

  channel(name = "ops"): TestChannel {
    const channel = this.channels.get(name);
    if (channel === undefined) throw new Error(`no channel ${name}`);
    return channel;
  }

  /** A condition arises. */
  async raise(subject: string, ...to: string[]): Promise<void> {
    const alert = {
      kind: "late",
      key: `late ${subject}`,
      workflow_id: `flow.${subject}`,
      workflow_instance_id: null,
      subject,
      facts: {},
      at_ms: this.clock.now(),
      to,
    } as const;
    await this.store.transact((tx) => this.alerts.raise(tx, alert));
  }

  async resolve(subject: string): Promise<void> {
    await this.store.transact((tx) => this.alerts.resolve(tx, `late ${subject}`, this.clock.now()));
  }

  /** Time goes by, and what follows is done. */
  async advance(ms: number): Promise<void> {
    await this.idle();
    this.clock.advance(ms);
    await this.idle();
  }

  /** Resolves when nothing is under way, and nothing is due. */
  async idle(): Promise<void> {
    const idle = this.deliveries.signals.next("looked", (sending) => sending === 0);
    this.events.emit("alerts changed");
    await idle;
  }

  /** The states of all deliveries. */
  async states(): Promise<string[]> {
    return this.store.read(async (tx) => {
      const alerts = (await tx.listAlerts({ which: "all", limit: 1000 })).reverse();
      const rows = await tx.deliveriesOf(alerts.map(({ alert_id }) => alert_id));
      return rows.map(({ alert_id, channel, state, attempts, error }) => {
        const subject = alerts.find((alert) => alert.alert_id === alert_id)?.subject;
        return `${subject} → ${channel}: ${state} ${attempts}${error === null ? "" : ` ${error}`}`;
      });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.deliveries.stop();
    await this.stores[Symbol.asyncDispose]();
  }
}

describe("messages", () => {
  test("tell what was raised, at once where alerts are not collected, and are sent once", async () => {
    await using world = await World.create("ops");
    await world.raise("a");
    await world.idle();
    await world.advance(DAY);
    const ops = world.channel();
    expect(ops.told).toEqual(["a"]);
    expect(ops.messages[0]).toMatchObject({
      channel: "ops",
      more: 0,
      created_at_ms: 1_000_000_000,
      alerts: [
        {
          kind: "late",
          key: "late a",
          about: "raised",
          workflow_id: "flow.a",
          facts: {},
          resolved_at_ms: null,
        },
      ],
    });
    expect(await world.states()).toEqual(["a → ops: SENT 1"]);
  });

  test("collect what comes within the time of the channel, with its end", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.groupMs = MINUTE;
    await world.raise("a");
    await world.advance(MINUTE - 1000);
    await world.raise("b");
    await world.resolve("a");
    expect(ops.told).toEqual([]);
    await world.advance(1000);
    expect(ops.told).toEqual(["a, b, a (over)"]);
    await world.raise("c");
    await world.advance(MINUTE);
    expect(ops.told).toEqual(["a, b, a (over)", "c"]);
  });

  test("name a hundred alerts, and count the others", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.groupMs = MINUTE;
    for (let n = 0; n < 312; n++) await world.raise(`${n}`);
    await world.advance(MINUTE);
    expect(ops.messages).toHaveLength(1);
    expect(ops.messages[0]?.alerts).toHaveLength(100);
    expect(ops.messages[0]?.more).toBe(212);
    expect((await world.states()).filter((state) => !state.endsWith("SENT 1"))).toEqual([]);
  });

  test("of a channel that tells each alert are as many as it takes", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.groupMs = MINUTE;
    ops.mostAlerts = 30;
    for (let n = 0; n < 70; n++) await world.raise(`${n}`);
    await world.advance(MINUTE);
    expect(ops.messages.map(({ alerts, more }) => [alerts.length, more])).toEqual([
      [30, 0],
      [30, 0],
      [10, 0],
    ]);
    expect(ops.told.join(", ").split(", ")).toEqual(Array.from({ length: 70 }, (_, n) => `${n}`));
  });

  test("beyond the limit of a channel are merged, also after a restart", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.limit = { messages: 2, per_ms: 60 * MINUTE };
    for (const name of ["a", "b", "c"]) {
      await world.raise(name);
      await world.advance(MINUTE);
    }
    expect(ops.told).toEqual(["a", "b"]);
    await world.deliveries.stop();
    await world.restart();
    await world.raise("d");
    const now = world.clock.now();
    // The first message left with "a", three minutes ago.
    expect(world.deliveries.sendsAt("ops", now)).toBe(now + 57 * MINUTE);
    expect(world.deliveries.sendsAt("chat", now - 5)).toBe(now - 5);
    await world.advance(56 * MINUTE);
    expect(ops.told).toEqual(["a", "b"]);
    await world.advance(MINUTE);
    expect(ops.told).toEqual(["a", "b", "c, d"]);
  });

  test("of one channel do not wait for another", async () => {
    await using world = await World.create("ops", "chat");
    const stuck = Promise.withResolvers<void>();
    world.channel("ops").ends.push(stuck.promise);
    const sent = world.deliveries.signals.next("settled", ({ channel }) => channel === "chat");
    await world.raise("a", "chat");
    await sent;
    await world.raise("b", "chat");
    await world.deliveries.signals.next("settled", ({ channel }) => channel === "chat");
    expect(world.channel("chat").told).toEqual(["a", "b"]);
    expect(world.channel("ops").told).toEqual(["a"]);
    stuck.resolve();
    await world.idle();
    expect(world.channel("ops").told).toEqual(["a", "b"]);
  });
});

describe("a channel that fails", () => {
  test("is tried again with the same message, later and later; others wait, and go as soon as it works", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.ends.push(new SendError("no route"), new SendError("no route"), new Error("odd"));
    await world.raise("a");
    await world.advance(0);
    await world.raise("b");
    await world.advance(9999);
    expect(ops.told).toEqual(["a"]);
    expect(await world.states()).toEqual(["a → ops: PENDING 1 no route", "b → ops: PENDING 0"]);
    await world.advance(1);
    // What is due first goes first.
    expect(ops.told).toEqual(["a", "b"]);
    await world.advance(10_000);
    expect(ops.told).toEqual(["a", "b", "a"]);
    await world.advance(20_000);
    // b arrived, and so did a, without its delay.
    expect(ops.told).toEqual(["a", "b", "a", "b", "a"]);
    expect(ops.messages[0]?.id).toBe(ops.messages[2]?.id ?? "");
    expect(new Set(ops.messages.map(({ id }) => id)).size).toBe(2);
    expect(await world.states()).toEqual(["a → ops: SENT 3", "b → ops: SENT 2"]);
  });

  test("is not told that something is over before it was told of it; alerts of other workflows do not wait for that", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.ends.push(new SendError("no route"), new SendError("no route"), new SendError("no route"));
    await world.raise("a");
    await world.idle();
    await world.resolve("a");
    await world.advance(10_000);
    expect(ops.told).toEqual(["a", "a"]);
    await world.raise("b");
    await world.advance(20_000);
    expect(ops.told).toEqual(["a", "a", "b"]);
    await world.advance(10_000);
    await world.advance(10_000);
    expect(ops.told).toEqual(["a", "a", "b", "a", "a (over)", "b"]);
  });

  test("is given up after a day, and other channels are told, but not about that", async () => {
    await using world = await World.create("ops", "chat");
    const [ops, chat] = [world.channel("ops"), world.channel("chat")];
    for (let n = 0; n < 200; n++) ops.ends.push(new SendError("no route"));
    await world.raise("a");
    for (let quarters = 1; quarters < 24 * 4; quarters++) await world.advance(15 * MINUTE);
    expect(await world.states()).toContain(`a → ops: PENDING ${ops.messages.length} no route`);
    chat.ends.push(new SendError("gone", { isPermanent: true }));
    await world.advance(15 * MINUTE);
    await world.idle();
    expect(chat.told).toEqual(["Channel ops could not be told of an alert"]);
    expect(chat.messages[0]?.alerts[0]).toMatchObject({
      kind: "dead_letter",
      facts: { channel: "ops", error: "no route", alerts: ["a"], count: 1 },
    });
    expect((await world.states()).map((state) => state.replace(/DEAD \d+/, "DEAD"))).toEqual([
      "a → ops: DEAD no route",
      "Channel ops could not be told of an alert → chat: DEAD gone",
    ]);
  });

  test("a message that is refused for good is given up at once, and the next one is sent", async () => {
    await using world = await World.create("ops");
    world.root = [];
    const ops = world.channel();
    ops.ends.push(new SendError("refused", { isPermanent: true, hint: "Look." }));
    await world.raise("a");
    await world.idle();
    await world.raise("b");
    await world.idle();
    expect(await world.states()).toEqual(["a → ops: DEAD 1 refused Look.", "b → ops: SENT 1"]);
    expect(await world.store.transact((tx) => tx.retryDeliveries(null, world.clock.now()))).toBe(1);
    await world.idle();
    expect(ops.told).toEqual(["a", "b", "a"]);
  });

  test("a channel that is not there waits until it is", async () => {
    await using world = await World.create();
    await world.raise("a");
    await world.idle();
    expect(await world.states()).toEqual(['a → ops: PENDING 1 There is no channel "ops" in _cdktr.yml.']);
    world.channels.set("ops", new TestChannel());
    world.events.emit("workflows changed");
    await world.deliveries.signals.next("settled");
    expect(world.channel().told).toEqual(["a"]);
  });

  test("a receiver says when to come back", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.ends.push(new SendError("busy", { retryAfterMs: 60_000 }));
    await world.raise("a");
    await world.idle();
    await world.advance(59_999);
    expect(ops.told).toEqual(["a"]);
    await world.advance(1);
    expect(ops.told).toEqual(["a", "a"]);
  });

  test("one that never answers has failed after two minutes", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.ends.push(new Promise(() => {}));
    const sent = world.deliveries.signals.next("settled");
    await world.raise("a");
    await world.store.transact(async () => {});
    while (ops.messages.length === 0) await new Promise((resolve) => setImmediate(resolve));
    world.clock.advance(120_000);
    expect(await sent).toEqual({ channel: "ops", outcome: "PENDING" });
    expect(ops.signals[0]?.aborted).toBe(true);
    expect(await world.states()).toEqual(["a → ops: PENDING 1 It took longer than 120 s."]);
  });

  test("a clock that was set back by some hours holds nothing up", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    await world.store.transact(async (tx) => {
      const alert = {
        alert_id: "a",
        kind: "late",
        key: "late a",
        workflow_id: null,
        workflow_instance_id: null,
      };
      await tx.raiseAlert({
        ...alert,
        subject: "a",
        facts: "damaged",
        raised_at_ms: 1,
        resolved_at_ms: null,
      });
      const due_ms = world.clock.now() + 3 * 60 * MINUTE;
      await tx.addDelivery({ alert_id: "a", channel: "ops", about: "raised", created_at_ms: due_ms, due_ms });
    });
    await world.idle();
    expect(ops.told).toEqual(["a"]);
  });
});

describe("a principal that", () => {
  test("is killed while it sends, sends again: the same message", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    ops.ends.push(new Promise(() => {}));
    await world.raise("a");
    while (ops.messages.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await world.restart();
    await world.idle();
    expect(ops.told).toEqual(["a", "a"]);
    expect(ops.messages[0]?.id).toBe(ops.messages[1]?.id ?? "");
    expect(await world.states()).toEqual(["a → ops: SENT 2"]);
  });

  test("cannot write that it has sent does not send again", async () => {
    await using world = await World.create("ops");
    const ops = world.channel();
    const arrives = Promise.withResolvers<void>();
    ops.ends.push(arrives.promise);
    await world.raise("a");
    while (ops.messages.length === 0) await new Promise((resolve) => setImmediate(resolve));
    world.stores.failStatement(1);
    arrives.resolve();
    let isSettled = false;
    void world.deliveries.signals.next("settled").then(() => {
      isSettled = true;
    });
    while (!isSettled) {
      await new Promise((resolve) => setImmediate(resolve));
      world.clock.advance(1000);
    }
    await world.advance(DAY);
    expect(ops.told).toEqual(["a"]);
    expect(await world.states()).toEqual(["a → ops: SENT 1"]);
  });

  test("stops lets messages on their way arrive, for a while", async () => {
    await using world = await World.create("ops", "chat");
    const arrives = Promise.withResolvers<void>();
    world.channel("ops").ends.push(arrives.promise);
    world.channel("chat").ends.push(new Promise(() => {}));
    await world.raise("a", "chat");
    while (world.channel("chat").messages.length + world.channel("ops").messages.length < 2)
      await new Promise((resolve) => setImmediate(resolve));
    const settled = world.deliveries.signals.next("settled");
    const stopped = world.deliveries.stop();
    arrives.resolve();
    await settled;
    world.clock.advance(5000);
    await stopped;
    expect(await world.states()).toEqual([
      "a → ops: SENT 1",
      "a → chat: PENDING 1 The principal was stopped meanwhile.",
    ]);
    await world.restart();
    await world.idle();
    expect(world.channel("chat").told).toEqual(["a", "a"]);
  });
});
