import { describe, expect, test } from "bun:test";
import type { Reprocess } from "../../../src/principal/backfills/plan.ts";
import { RUN_TRANSITIONS } from "../../../src/workflow/run-state.ts";
import { isTerminal } from "../../../src/workflow/status.ts";
import { TestStores } from "../../storage/operational-support.ts";
import { LONG } from "../../support/long.ts";
import { BackfillWorld } from "./backfill-world.ts";

/** Numbers from a seed (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const MEMORY = "/dev/shm";

/** How many runs each firing has had that were not SKIPPED, and how many of them are not over. */
async function byFiring(world: BackfillWorld): Promise<ReadonlyMap<number, { runs: number; open: number }>> {
  const counts = new Map<number, { runs: number; open: number }>();
  for (const { scheduled_time_ms: at, status, trigger } of await world.all()) {
    if (trigger === "retry") continue;
    const count = counts.get(at) ?? { runs: 0, open: 0 };
    counts.set(at, count);
    if (status !== "SKIPPED") count.runs++;
    if (!isTerminal(RUN_TRANSITIONS, status)) count.open++;
  }
  return counts;
}

async function open(): Promise<{ world: BackfillWorld; [Symbol.asyncDispose](): Promise<void> }> {
  const stores = new TestStores(MEMORY);
  const world = await BackfillWorld.open(stores, () => 0.5);
  return { world, [Symbol.asyncDispose]: () => stores[Symbol.asyncDispose]() };
}

const stateOf = async ({ backfills }: BackfillWorld, backfill_id: string) =>
  (await backfills.get({ backfill_id, limit: 100 })).backfill;

describe("a backfill", () => {
  test("makes what its dry run says, as many runs at once as it may", async () => {
    await using given = await open();
    const { world } = given;
    await world.fire(2);
    await world.end("COMPLETED", 0);
    await world.fire(4);
    const scope = { workflow_id: "etl", from: "2025-01-01", to: "2025-01-05", reverse: false, params: {} };
    const plan = await world.backfills.plan({ ...scope, reprocess: "none", limit: 100 });
    expect(plan).toMatchObject({ total: 5, next: null });
    const days = (list: typeof plan.firings) =>
      list.map(({ scheduled_time_ms }) => new Date(scheduled_time_ms).getUTCDate());
    expect(days(plan.firings.filter(({ present }) => present !== undefined))).toEqual([2, 4]);
    const id = await world.create(5, "none", 2, false);
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({ state: "ACTIVE", active: 2, present: 2, by_status: {} });
    await world.settle();
    const { backfill, firings } = await world.backfills.get({ backfill_id: id, limit: 100 });
    expect(backfill).toMatchObject({
      state: "DONE",
      active: 0,
      present: 2,
      by_status: { COMPLETED: 3 },
      left_ms: null,
    });
    const made = firings.filter(({ outcome }) => outcome === "COMPLETED");
    expect(made.map(({ scheduled_time_ms }) => scheduled_time_ms)).toEqual(
      plan.firings
        .filter(({ present }) => present === undefined)
        .map(({ scheduled_time_ms }) => scheduled_time_ms),
    );
  });

  test("has the calendar of the moment in which it was created, and entries with parameters", async () => {
    await using given = await open();
    const { world } = given;
    world.change(
      'cron: "0 2 * * *"',
      'cron: [{cron: "0 2 * * *", calendar: workdays}, {cron: "0 2 * * MON", params: {day: "2000-01-01"}}]',
    );
    // From Wednesday to Tuesday.
    const id = await world.create(7, "none", 10, false);
    await world.die();
    await world.settle();
    const { backfill, firings } = await world.backfills.get({ backfill_id: id, limit: 100 });
    expect(backfill).toMatchObject({ state: "DONE", total: 6, by_status: { COMPLETED: 6 } });
    expect(firings.map(({ scheduled_time_ms }) => new Date(scheduled_time_ms).getUTCDate())).toEqual([
      1, 2, 3, 6, 6, 7,
    ]);
    world.change('cron: "0 2 * * *"', 'cron: {cron: "0 2 * * *", calendar: workday}');
    const refused = world.create(7, "none", 10, false).catch((error: Error) => error.message);
    expect(await refused).toBe(
      'There is no calendar "workday": did you mean "workdays"? Workflow etl has a schedule on its days.',
    );
  });

  test("pages of a plan are the whole plan", async () => {
    await using given = await open();
    const { backfills } = given.world;
    for (const reverse of [false, true]) {
      const scope = { workflow_id: "etl", from: "2025-01-01", to: "2025-01-07", reverse, params: {} };
      const all = await backfills.plan({ ...scope, reprocess: "none", limit: 100 });
      const pages: (typeof all.firings)[] = [];
      for (let after: typeof all.next | undefined; after !== null; ) {
        const page = await backfills.plan({
          ...scope,
          reprocess: "none",
          limit: 3,
          ...(after === undefined ? {} : { after }),
        });
        pages.push(page.firings);
        after = page.next;
      }
      expect(pages.flat()).toEqual(all.firings);
      expect(pages.map(({ length }) => length)).toEqual([3, 3, 1]);
    }
  });

  test("knows runs that only the history has", async () => {
    await using given = await open();
    const { world } = given;
    await world.fire(1);
    await world.end("COMPLETED", 0);
    await world.forget(0, "forget keys");
    const id = await world.create(2, "none", 3, false);
    await world.settle();
    expect(await stateOf(world, id)).toMatchObject({ present: 1, by_status: { COMPLETED: 1 } });
  });

  test.each(["before", "after"] as const)(
    "sees a run that is forgotten just %s the history is asked",
    async (when) => {
      await using given = await open();
      const { world } = given;
      await world.fire(1);
      await world.end("FAILED", 0);
      const id = await world.create(1, "failed", 3, false);
      world.asked = { [when]: () => world.forget(0, "forget keys") };
      await world.runner.pass();
      expect(await stateOf(world, id)).toMatchObject({ active: 1, present: 0 });
    },
  );

  test("takes a run that ends and is forgotten while it asks for what it is", async () => {
    await using given = await open();
    const { world } = given;
    await world.fire(1);
    const id = await world.create(1, "failed", 3, false);
    world.asked = {
      after: async () => {
        await world.end("COMPLETED", 0);
        await world.forget(0, "forget keys");
      },
    };
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({ active: 0, present: 1 });
  });

  test("takes a run that is made, ends and is forgotten after it has looked ahead", async () => {
    await using given = await open();
    const { world } = given;
    const id = await world.create(2, "failed", 1, false);
    await world.runner.pass();
    await world.fire(2);
    await world.end("COMPLETED", 1);
    await world.forget(0, "forget keys");
    await world.end("COMPLETED", 0);
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({ active: 0, present: 1, by_status: { COMPLETED: 1 } });
  });

  test("asks the history once for many firings", async () => {
    await using given = await open();
    const { world } = given;
    await world.create(20, "none", 1, false);
    world.questions = 0;
    await world.settle();
    expect((await world.all()).length).toBe(20);
    expect(world.questions).toBe(1);
  });

  test("a firing whose run nobody knows any more has had one all the same", async () => {
    await using given = await open();
    const { world } = given;
    await world.fire(1);
    await world.end("COMPLETED", 0);
    await world.forget(0);
    world.forgetHistory();
    const scope = { workflow_id: "etl", from: "2025-01-01", to: "2025-01-01", reverse: false, params: {} };
    const { firings } = await world.backfills.plan({ ...scope, reprocess: "none", limit: 10 });
    expect(firings.map(({ present }) => present)).toEqual([{ workflow_instance_id: expect.any(String) }]);
    const id = await world.create(1, "none", 3, false);
    await world.settle();
    expect(await stateOf(world, id)).toMatchObject({ present: 1, by_status: {} });
  });

  test("the scheduler does not make a firing that a backfill has made", async () => {
    await using given = await open();
    const { world } = given;
    await world.create(2, "none", 3, false);
    await world.runner.pass();
    await world.fire(1);
    await world.fire(2);
    expect((await world.all()).map(({ trigger }) => trigger)).toEqual(["backfill", "backfill"]);
  });

  test("waits for the history, says so, and goes on by itself", async () => {
    await using given = await open();
    const { world } = given;
    const id = await world.create(1, "none", 3, false);
    world.isHistoryUp = false;
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({
      state: "ACTIVE",
      active: 0,
      note: "The history is not available (It is away): which firings have run already cannot be told.",
    });
    world.isHistoryUp = true;
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({ active: 1, note: null });
  });

  test("waits while its workflow is paused, and says so", async () => {
    await using given = await open();
    const { world } = given;
    world.pause = "workflow etl is paused since 2025-02-01T00:00:00Z by ops: migration";
    const id = await world.create(1, "none", 3, false);
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({
      state: "ACTIVE",
      active: 0,
      note: "Workflow etl is paused since 2025-02-01T00:00:00Z by ops: migration.",
    });
    world.pause = null;
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({ active: 1, note: null });
  });

  test("does not need the history if all firings run", async () => {
    await using given = await open();
    const { world } = given;
    world.isHistoryUp = false;
    const id = await world.create(1, "all", 3, false);
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({ active: 1, note: null });
  });

  test.each<[what: string, (world: BackfillWorld, isSo: boolean) => void, note: string]>([
    [
      "its workflow is gone",
      (world, isSo) => {
        world.isLoaded = !isSo;
      },
      "Workflow etl is not loaded any more: its file is gone or invalid.",
    ],
    [
      "its parameters do not fit any more",
      (world) => world.demand(),
      'workflow "etl": missing parameter "region"',
    ],
  ])("pauses itself when %s", async (_, change, note) => {
    await using given = await open();
    const { world } = given;
    const id = await world.create(3, "none", 1, false);
    await world.runner.pass();
    change(world, true);
    await world.end("COMPLETED", 0);
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({
      state: "PAUSED",
      note,
      active: 0,
      by_status: { COMPLETED: 1 },
    });
    change(world, false);
    await world.backfills.change({ backfill_id: id, to: "ACTIVE" });
    expect(await stateOf(world, id)).toMatchObject({ state: "ACTIVE", note: null });
  });

  test("a paused one makes no further runs, and goes on where it was", async () => {
    await using given = await open();
    const { world } = given;
    const id = await world.create(3, "none", 1, false);
    await world.runner.pass();
    await world.backfills.change({ backfill_id: id, to: "PAUSED" });
    await world.end("COMPLETED", 0);
    await world.runner.pass();
    await world.die();
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({
      state: "PAUSED",
      active: 0,
      by_status: { COMPLETED: 1 },
    });
    await world.settle();
    expect(await stateOf(world, id)).toMatchObject({ state: "DONE", by_status: { COMPLETED: 3 } });
  });

  test("a cancelled one makes none, and its runs are cancelled, also by the next principal", async () => {
    await using given = await open();
    const { world } = given;
    const id = await world.create(5, "none", 2, false);
    await world.runner.pass();
    expect(await world.backfills.change({ backfill_id: id, to: "CANCELLED" })).toMatchObject({
      state: "CANCELLED",
      active: 2,
      finished_at_ms: null,
    });
    await world.die();
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({
      state: "CANCELLED",
      active: 0,
      by_status: { CANCELLED: 2 },
    });
    expect((await stateOf(world, id)).finished_at_ms).not.toBe(null);
    const refused = await world.backfills
      .change({ backfill_id: id, to: "ACTIVE" })
      .catch((error: Error) => error.message);
    expect(refused).toBe(`Backfill ${id} of etl is over already: CANCELLED.`);
    // Again: it is cancelled.
    await world.backfills.change({ backfill_id: id, to: "CANCELLED" });
  });

  for (const [what, change] of [
    ["are being stopped because they take too long", (tx, run) => tx.recordTimeout(run, 1)],
    ["are in hooks that are being stopped", (tx, run) => tx.stopHooks(run)],
  ] satisfies [string, Parameters<BackfillWorld["toOpen"]>[0]][])
    test(`a cancelled one waits for runs that ${what}`, async () => {
      await using given = await open();
      const { world } = given;
      // Agents get its runs in parts.
      world.change('only: {run: "true"}', 'a: {run: "true", pool: few}\n  b: {run: "true", pool: few}');
      const id = await world.create(5, "none", 2, false);
      await world.runner.pass();
      await world.toOpen(change);
      await world.backfills.change({ backfill_id: id, to: "CANCELLED" });
      await world.runner.pass();
      expect(world.cancels).toBe(0);
      expect(await stateOf(world, id)).toMatchObject({ state: "CANCELLED", active: 2, finished_at_ms: null });
    });

  test("ends firings whose runs an older cdktr has ended", async () => {
    await using given = await open();
    const { world } = given;
    const id = await world.create(1, "none", 1, false);
    await world.runner.pass();
    await world.endUnheard();
    await world.die();
    await world.runner.pass();
    expect(await stateOf(world, id)).toMatchObject({ state: "DONE", by_status: { FAILED: 1 } });
  });
});

describe("what cannot be backfilled", () => {
  test.each<[what: string, scope: object, message: string]>([
    ["no such workflow", { workflow_id: "elt" }, 'There is no workflow "elt": did you mean "etl"?'],
    [
      "to come",
      { from: "2025-03-02" },
      "The time from 2025-03-02 on is still to come: the schedule fires then by itself.",
    ],
    [
      "upside down",
      { from: "2025-01-02", to: "2025-01-01" },
      "2025-01-02, where the backfill is to begin, is after 2025-01-01, where it is to end.",
    ],
    [
      "no firing",
      { from: "2025-01-01T03:00:00Z", to: "2025-01-01T04:00:00Z" },
      "There is no firing of etl from 2025-01-01T03:00:00Z to 2025-01-01T04:00:00Z.",
    ],
    [
      "parameters that do not fit",
      { params: { dya: "1" } },
      'workflow "etl": unknown parameter "dya" (did you mean "day"?)',
    ],
  ])("%s", async (_, scope, message) => {
    await using given = await open();
    const asked = {
      workflow_id: "etl",
      from: "2025-01-01",
      reverse: false,
      reprocess: "none",
      params: {},
      ...scope,
    } as const;
    const planned = given.world.backfills.plan({ ...asked, limit: 10 });
    expect(await planned.catch((error: Error) => error.message)).toBe(message);
    const created = given.world.backfills.create({ ...asked, max_active: 1 }, null);
    expect(await created.catch((error: Error) => error.message)).toBe(message);
  });

  test("while the history is away", async () => {
    await using given = await open();
    given.world.isHistoryUp = false;
    const refused = given.world.create(1, "none", 1, false).catch((error: Error) => error.message);
    expect(await refused).toBe(
      "The history is not available (It is away): which firings have run already cannot be told.",
    );
  });

  test("more than 100 at once", async () => {
    await using given = await open();
    for (let n = 0; n < 100; n++) await given.world.create(1, "all", 1, false);
    const refused = given.world.create(1, "all", 1, false).catch((error: Error) => error.message);
    expect(await refused).toBe("100 backfills are not over yet: at most 100 at once.");
  });
});

describe("whatever happens, and whenever the principal dies", () => {
  const seeds = Array.from({ length: LONG ? 400 : 12 }, (_, n) => n + 1);

  test.each(seeds)("each firing has one run (seed %p)", async (seed) => {
    await using stores = new TestStores(MEMORY);
    const random = numbers(seed);
    const world = await BackfillWorld.open(stores, random);
    const below = (n: number) => Math.floor(random() * n);
    const backfills: { id: string; days: number; most: number }[] = [];
    const plans = 1 + below(3);
    for (let n = 0; n < 80; n++) {
      if (backfills.length < plans && random() < 0.1) {
        world.isHistoryUp = true;
        const [days, most] = [1 + below(10), 1 + below(4)];
        backfills.push({ id: await world.create(days, "none", most, random() < 0.5), days, most });
      }
      await world.step();
      for (const { id, most } of backfills)
        expect(
          (await world.backfills.get({ backfill_id: id, limit: 0 })).backfill.active,
        ).toBeLessThanOrEqual(most);
    }
    await world.settle();
    const counts = await byFiring(world);
    for (const [at, { runs, open }] of counts)
      expect([new Date(at).toISOString(), runs, open]).toEqual([new Date(at).toISOString(), 1, 0]);
    for (const { id, days } of backfills) {
      const { backfill, firings } = await world.backfills.get({ backfill_id: id, limit: 100 });
      expect([backfill.state, backfill.note, backfill.total, firings.length]).toEqual([
        "DONE",
        null,
        days,
        days,
      ]);
      for (const firing of firings) {
        expect(firing.outcome).not.toBe(null);
        expect(counts.get(firing.scheduled_time_ms)?.runs).toBe(1);
      }
    }
  });

  test.each(seeds)(
    "no firing has two runs at once, also if they are to run again (seed %p)",
    async (seed) => {
      await using stores = new TestStores(MEMORY);
      const random = numbers(seed + 1000);
      const world = await BackfillWorld.open(stores, random);
      const below = (n: number) => Math.floor(random() * n);
      let made = 0;
      for (let n = 0; n < 60; n++) {
        if (made < 3 && random() < 0.1) {
          world.isHistoryUp = true;
          const reprocess = (["none", "failed", "all"] as const)[below(3)] as Reprocess;
          await world.create(1 + below(8), reprocess, 1 + below(4), random() < 0.5);
          made++;
        }
        await world.step();
        for (const [, { open }] of await byFiring(world)) expect(open).toBeLessThanOrEqual(1);
      }
      await world.settle();
      const { length } = await world.backfills.list({ open: true, limit: 100 });
      expect(length).toBe(0);
    },
  );
});
