/** Changes of the reason why a run waits, as rows for the history. */
import { expect, test } from "bun:test";
import type { RunStatusRow } from "../../src/contract/history-rows.ts";
import { EventHub } from "../../src/event-hub.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { WaitWatch } from "../../src/principal/runs/wait-watch.ts";
import { Waits } from "../../src/principal/runs/waits.ts";
import type { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { agentRecord, pendingRun, silent, TestStores } from "../storage/operational-support.ts";
import { RepeatingStore } from "../storage/repeating-store.ts";
import { ManualClock } from "../support/manual-clock.ts";

const claimant = (agent_id: string) => ({
  agent_id,
  session_id: "s",
  fetch_id: null,
  assigned_at_ms: 1,
  offer_ms: 10_000,
});

async function watching(stores: TestStores, clock = new ManualClock(), name = "data") {
  const store = await stores.open(name, clock);
  const events: PrincipalEvents = new EventHub();
  const watch = new WaitWatch({
    store: new RepeatingStore(store),
    waits: new Waits(new Definitions(), clock),
    clock,
    log: silent,
    events,
  });
  await watch.start();
  return {
    clock,
    store,
    watch,
    /** Lets time go by; resolves when the look that is due then is over. */
    async look(ms: number): Promise<void> {
      const looked = watch.signals.next("looked");
      clock.advance(ms);
      await looked;
    },
    wake: () => events.emit("statuses written"),
  };
}

async function create(store: SqliteOperationalStore, clock: ManualClock, ...ids: string[]): Promise<void> {
  const now = clock.now();
  await store.transact(async (tx) => {
    for (const id of ids) {
      await tx.createRun(pendingRun(id, { created_at_ms: now, status_at_ms: now }), "{}", []);
    }
  });
}

async function rows(store: SqliteOperationalStore, id: string): Promise<(string | number | null)[][]> {
  const taken = await store.takeStatuses(0, 10_000);
  return taken
    .map(({ row }) => row as RunStatusRow)
    .filter((row) => row.workflow_instance_id === id)
    .map(({ status, attempt, timestamp_ms, reason = null }) => [status, attempt, timestamp_ms, reason]);
}

test("a reason is written after two seconds, and again when it changes", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look } = await watching(stores);
  await create(store, clock, "run-1");
  await look(2000);
  await look(5000);
  expect(await rows(store, "run-1")).toEqual([
    ["PENDING", 1, 0, null],
    ["PENDING", 1, 2000, "no agent is up"],
  ]);
  await store.transact((tx) => tx.registerAgent(agentRecord("a"), null, 60_000));
  await create(store, clock, "run-2");
  await store.transact((tx) => tx.claim(claimant("a")));
  await look(5000);
  // It was offered to the agent, which has not confirmed it.
  expect(await rows(store, "run-1")).toEqual([
    ["PENDING", 1, 0, null],
    ["PENDING", 1, 2000, "no agent is up"],
    ["PENDING", 1, 12_000, null],
  ]);
  expect(await rows(store, "run-2")).toEqual([
    ["PENDING", 1, 7000, null],
    ["PENDING", 1, 12_000, "the only agent that is up is full: a 1/1"],
  ]);
  await watch.stop();
});

test("a run that has started gets no row without a reason: that of its new status has none", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look } = await watching(stores);
  await create(store, clock, "run-1");
  await look(2000);
  await store.transact(async (tx) => {
    await tx.registerAgent(agentRecord("a"), null, 60_000);
    const claim = await tx.claim(claimant("a"));
    if (typeof claim === "string") throw new Error(claim);
    await tx.transitionRun(claim.run, { status: "RUNNING", status_at_ms: 4000, error: null });
  });
  await look(5000);
  expect(await rows(store, "run-1")).toEqual([
    ["PENDING", 1, 0, null],
    ["PENDING", 1, 2000, "no agent is up"],
    ["RUNNING", 1, 4000, null],
  ]);
  expect(await store.read((tx) => tx.notedReasons())).toEqual([]);
  await watch.stop();
});

test("a run that is taken at once costs nothing, and with an empty queue nothing is looked at", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look, wake } = await watching(stores);
  await store.transact((tx) => tx.registerAgent(agentRecord("a"), null, 60_000));
  await create(store, clock, "run-1");
  wake();
  await store.transact((tx) => tx.claim(claimant("a")));
  const before = stores.commits;
  await look(2000);
  expect(stores.commits).toBe(before);
  expect(await rows(store, "run-1")).toHaveLength(1);
  expect(clock.alarms).toBe(0);
  wake();
  expect(clock.alarms).toBe(1);
  await watch.stop();
});

test("a run gets at most one row in five seconds, and none is forgotten", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look, wake } = await watching(stores);
  await create(store, clock, "run-1");
  await look(2000);
  await store.transact(async (tx) => {
    await tx.registerAgent(agentRecord("a"), null, 60_000);
    await tx.claim(claimant("a"));
  });
  await create(store, clock, "run-2");
  wake();
  await look(2000);
  await look(5000);
  expect((await rows(store, "run-1")).slice(1)).toEqual([
    ["PENDING", 1, 2000, "no agent is up"],
    ["PENDING", 1, 9000, null],
  ]);
  expect((await rows(store, "run-2")).slice(1)).toEqual([
    ["PENDING", 1, 4000, "the only agent that is up is full: a 1/1"],
  ]);
  expect(clock.alarms).toBe(1);
  await watch.stop();
});

test("what an agent can take next keeps its reason; a restart repeats none", async () => {
  await using stores = new TestStores();
  const first = await watching(stores);
  await create(first.store, first.clock, "run-1");
  await first.look(2000);
  await first.watch.stop();
  await first.store.stop();
  const second = await watching(stores, first.clock);
  await second.look(2000);
  await second.store.transact((tx) => tx.registerAgent(agentRecord("a"), null, 60_000));
  await second.look(5000);
  expect(await rows(second.store, "run-1")).toEqual([
    ["PENDING", 1, 0, null],
    ["PENDING", 1, 2000, "no agent is up"],
  ]);
  await second.watch.stop();
});

test("the next attempt says again why it waits", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look } = await watching(stores);
  await create(store, clock, "run-1");
  await look(2000);
  await store.transact(async (tx) => {
    const run = await tx.getRun("run-1");
    if (run === null) throw new Error("no run");
    const crashed = await tx.transitionRun(run, { status: "CRASHED", status_at_ms: 3000, error: "lost" });
    await tx.requeueRun(crashed);
  });
  await look(5000);
  expect(await rows(store, "run-1")).toEqual([
    ["PENDING", 1, 0, null],
    ["PENDING", 1, 2000, "no agent is up"],
    ["CRASHED", 1, 3000, null],
    ["PENDING", 2, 3000, null],
    ["PENDING", 2, 7000, "no agent is up"],
  ]);
  await watch.stop();
});

/** A run of two slices and more, with the needs of each. */
async function createSplit(store: SqliteOperationalStore, clock: ManualClock, needs: readonly string[]) {
  const now = clock.now();
  const run = pendingRun("split", { created_at_ms: now, status_at_ms: now, queued: false, revision: 1 });
  await store.transact(async (tx) => {
    await tx.createRun(run, "{}", []);
    const slices = needs.map((need, n) => ({ slice: n + 1, tasks: [`t${n + 1}`], needs: need }));
    await tx.addSlices(run, slices, now);
  });
}

const inZone = (zone: string) => `2 {"runs_on":{"zone":"${zone}"}}`;

/** The reasons in the rows of the run, and which slices wait for which. */
async function told(store: SqliteOperationalStore): Promise<unknown[]> {
  const taken = await store.takeStatuses(0, 10_000);
  return taken
    .map(({ row }) => row as RunStatusRow)
    .slice(1)
    .map(({ reason, waits }) => [reason, JSON.parse(waits ?? "null")]);
}

test("rows of a split run say which slices and tasks wait for what", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look } = await watching(stores);
  await store.transact((tx) => tx.registerAgent(agentRecord("a", { protocol: 2 }), null, 60_000));
  await createSplit(store, clock, [inZone("eu"), inZone("us"), inZone("us")]);
  await look(2000);
  const [eu, us] = ["eu", "us"].map((zone) => `no agent that is up has zone=${zone}`);
  expect(await told(store)).toEqual([
    [
      `Slice 1 (t1): ${eu}; 2 slices (t2, t3): ${us}`,
      [
        { reason: eu, slices: [1], tasks: ["t1"] },
        { reason: us, slices: [2, 3], tasks: ["t2", "t3"] },
      ],
    ],
  ]);
  const labels = { zone: "us" };
  await store.transact(async (tx) => {
    await tx.registerAgent(
      agentRecord("us", { protocol: 2, labels, max_concurrent_workflows: 2 }),
      null,
      60_000,
    );
    for (let n = 0; n < 2; n++) await tx.claim({ ...claimant("us"), needs: inZone("us") });
  });
  await look(5000);
  expect((await told(store)).slice(1)).toEqual([
    [
      `Slice 1 (t1): ${eu}; the nearest is us, which has zone=us`,
      [{ reason: `${eu}; the nearest is us, which has zone=us`, slices: [1], tasks: ["t1"] }],
    ],
  ]);
  await watch.stop();
});

test("which of very many slices wait for the same is written once in a minute", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look } = await watching(stores);
  const full = agentRecord("a", { protocol: 2, max_concurrent_workflows: 1 });
  await store.transact((tx) => tx.registerAgent(full, null, 600_000));
  await createSplit(
    store,
    clock,
    Array.from({ length: 200 }, () => "2 {}"),
  );
  await store.transact((tx) => tx.claim({ ...claimant("a"), needs: "2 {}" }));
  await look(2000);
  const reason = "the only agent that is up is full: a 1/1";
  const next = async () => {
    await store.transact(async (tx) => {
      const [slice] = await tx.listSlices("split", "open");
      const attempt = slice === undefined ? null : await tx.getAttempt(slice);
      if (slice === undefined || attempt === null) throw new Error("nothing is leased");
      await tx.transitionLease(attempt, { lease: "REVOKED", status: "CANCELLED" });
      await tx.endSlice(slice);
      await tx.claim({ ...claimant("a"), needs: "2 {}" });
    });
  };
  expect(await told(store)).toMatchObject([
    [`199 slices (t2, t3, t4, t5, t6 and 194 more): ${reason}`, [{}]],
  ]);
  for (let looks = 0; looks < 11; looks++) {
    await next();
    await look(5000);
  }
  expect(await told(store)).toHaveLength(1);
  await look(5000);
  const [, row] = (await told(store)) as [string, { slices: number[]; more_tasks: number }[]][];
  expect(row?.[0]).toStartWith("188 slices (t13, ");
  expect(row?.[1][0]?.slices).toEqual(Array.from({ length: 188 }, (_, n) => n + 13));
  expect(row?.[1][0]?.more_tasks).toBe(88);
  await watch.stop();
});

test("only the beginning of a long queue gets reasons", async () => {
  await using stores = new TestStores();
  const { clock, store, watch, look } = await watching(stores);
  const ids = Array.from({ length: 1200 }, (_, i) => `run-${i}`);
  await create(store, clock, ...ids);
  await look(2000);
  expect(await store.read((tx) => tx.notedReasons())).toHaveLength(1000);
  expect(await rows(store, "run-999")).toHaveLength(2);
  expect(await rows(store, "run-1000")).toHaveLength(1);
  await watch.stop();
});
