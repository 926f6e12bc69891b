/** Tests of backfills that every implementation of the operational store must pass. */
import { describe, expect, test } from "bun:test";
import { IllegalTransitionError } from "../../src/storage/operational/legal.ts";
import {
  type BackfillRecord,
  type OperationalStore,
  type OperationalTx,
  StateConflictError,
  StoreUnavailableError,
  type UnitOfWork,
} from "../../src/storage/operational/store.ts";
import type { StoreUnderTest } from "./conformance.ts";
import { pendingRun } from "./operational-support.ts";

function backfill(id: string, over: Partial<BackfillRecord> = {}): BackfillRecord {
  return {
    backfill_id: id,
    workflow_id: "flow",
    definition_hash: "hash",
    entries: "{}",
    calendars: null,
    from_ms: 1000,
    to_ms: 9000,
    is_reverse: false,
    reprocess: "none",
    max_active: 3,
    priority: null,
    params: { region: "eu" },
    actor: "ada",
    state: "ACTIVE",
    cursor_ms: null,
    cursor_entry: null,
    total: 5,
    note: null,
    created_at_ms: 100,
    finished_at_ms: null,
    ...over,
  };
}

const firing = (scheduled_time_ms: number, run: string | null, entry = "e") => ({
  scheduled_time_ms,
  entry,
  workflow_instance_id: run,
  outcome: run === null ? ("PRESENT" as const) : null,
});

const run = (id: string, scheduled_time_ms: number, backfill_id: string | null = "one") =>
  pendingRun(id, { trigger: "backfill", scheduled_time_ms, backfill_id });

async function theOne(tx: OperationalTx, id = "one"): Promise<BackfillRecord> {
  const [found] = await tx.findBackfills(id, 1);
  if (found === undefined) throw new Error(`${id} is not there`);
  return found;
}

async function end(
  tx: OperationalTx,
  id: string,
  status: "FAILED" | "CANCELLED" = "CANCELLED",
): Promise<void> {
  const found = await tx.getRun(id);
  if (found === null) throw new Error(`${id} is not there`);
  await tx.endFiring(
    await tx.transitionRun(found, { status, status_at_ms: 5000, finished_at_ms: 5000, error: "e" }),
  );
}

/** Everything about backfills that is stored. */
function contentOf(store: OperationalStore): Promise<unknown> {
  return store.read(async (tx) => {
    const backfills = await tx.listBackfills({ limit: 100 });
    const content: unknown[] = [];
    for (const each of backfills) {
      const { backfill_id: id } = each;
      content.push(each, await tx.listFirings(id, { limit: 100 }), await tx.countBackfillRuns(id));
    }
    return content;
  });
}

/** Together these units use every intention that changes something. */
const LIFE: readonly UnitOfWork<unknown>[] = [
  (tx) => tx.addBackfill(backfill("one")),
  async (tx) => {
    await tx.addFirings("one", [firing(1000, "a"), firing(2000, "b"), firing(3000, null)]);
    await tx.createRun(run("a", 1000), "{}", []);
    await tx.createRun(run("b", 2000), "{}", []);
    await tx.changeBackfill(await theOne(tx), { cursor_ms: 3000, cursor_entry: "e" });
  },
  (tx) => end(tx, "a", "FAILED"),
  async (tx) => tx.changeBackfill(await theOne(tx), { state: "PAUSED", note: "gone" }),
  async (tx) => tx.changeBackfill(await theOne(tx), { state: "CANCELLED", note: null }),
  (tx) => end(tx, "b"),
  async (tx) => tx.changeBackfill(await theOne(tx), { finished_at_ms: 6000 }),
  (tx) => tx.forgetBackfills(6001),
];

/** Defines the tests of a store. */
export function describeBackfills(name: string, make: () => Promise<StoreUnderTest>): void {
  const given = (what: string, body: (state: StoreUnderTest) => Promise<void>) =>
    test(what, async () => {
      await using state = await make();
      await body(state);
    });

  describe(`${name}: backfills`, () => {
    given("one is found by its id and by the beginning of it, and outlives a restart", async (state) => {
      const records = [
        backfill("abc1"),
        backfill("abc2", { priority: 0, is_reverse: true, calendars: "{}" }),
      ];
      for (const record of records) await state.store.transact((tx) => tx.addBackfill(record));
      const store = await state.reopen();
      const find = (id: string) => store.read((tx) => tx.findBackfills(id, 5));
      expect(await find("abc1")).toEqual([records[0] as BackfillRecord]);
      expect((await find("abc")).sort((a, b) => (a.backfill_id < b.backfill_id ? -1 : 1))).toEqual(records);
      expect(await find("abd")).toEqual([]);
      expect(await store.read((tx) => tx.findBackfills("abc", 1))).toHaveLength(1);
    });

    given("they are listed newest first, all or those that are not over", async ({ store }) => {
      await store.transact(async (tx) => {
        await tx.addBackfill(backfill("one"));
        await tx.addBackfill(backfill("two", { workflow_id: "other" }));
        await tx.addBackfill(backfill("three", { state: "DONE", finished_at_ms: 500 }));
      });
      const list = async (filter: { limit: number; open?: boolean; workflow_id?: string }) =>
        (await store.read((tx) => tx.listBackfills(filter))).map(({ backfill_id }) => backfill_id);
      expect(await list({ limit: 10 })).toEqual(["three", "two", "one"]);
      expect(await list({ limit: 2 })).toEqual(["three", "two"]);
      expect(await list({ limit: 10, open: true })).toEqual(["two", "one"]);
      expect(await list({ limit: 10, open: true, workflow_id: "flow" })).toEqual(["one"]);
      expect(await list({ limit: 10, workflow_id: "flow" })).toEqual(["three", "one"]);
    });

    given("a change of one that has another state or cursor is a conflict", async ({ store }) => {
      await store.transact((tx) => tx.addBackfill(backfill("one")));
      const read = await store.read((tx) => theOne(tx));
      await store.transact((tx) => tx.changeBackfill(read, { cursor_ms: 1000, cursor_entry: "e" }));
      const late = (to: Parameters<OperationalTx["changeBackfill"]>[1]) =>
        store.transact((tx) => tx.changeBackfill(read, to)).catch((error: unknown) => error);
      expect(await late({ cursor_ms: 2000, cursor_entry: "e" })).toBeInstanceOf(StateConflictError);
      expect(await late({ state: "DONE" })).toBeInstanceOf(StateConflictError);
      const now = await store.transact(async (tx) => tx.changeBackfill(await theOne(tx), { state: "DONE" }));
      expect(now).toEqual(backfill("one", { cursor_ms: 1000, cursor_entry: "e", state: "DONE" }));
      const again = store.transact((tx) => tx.changeBackfill(now, { state: "ACTIVE" }));
      expect(await again.catch((error: unknown) => error)).toBeInstanceOf(IllegalTransitionError);
    });

    given("firings end with their runs, once, and only those of the backfill", async ({ store }) => {
      await store.transact(async (tx) => {
        for (const id of ["one", "two"]) await tx.addBackfill(backfill(id));
        await tx.addFirings("one", [firing(1000, "a"), firing(1000, "b", "f"), firing(2000, null)]);
        await tx.addFirings("two", [firing(1000, "c")]);
        await tx.createRun(run("a", 1000), "{}", []);
        await tx.createRun(run("b", 1000), "{}", []);
        await tx.createRun(run("c", 1000, "two"), "{}", []);
      });
      await store.transact((tx) => end(tx, "a", "FAILED"));
      // Late, or twice: it has ended.
      const told = { ...run("a", 1000), status: "CANCELLED" } as const;
      await store.transact((tx) => tx.endFiring(told));
      const list = (filter: object = {}) =>
        store.read((tx) => tx.listFirings("one", { limit: 10, ...filter }));
      expect((await list()).map(({ workflow_instance_id: id, outcome }) => [id, outcome])).toEqual([
        ["a", "FAILED"],
        ["b", null],
        [null, "PRESENT"],
      ]);
      expect(await list({ outcome: null })).toEqual([firing(1000, "b", "f")]);
      expect(await list({ outcome: "PRESENT" })).toEqual([firing(2000, null)]);
      expect(await list({ after: { scheduled_time_ms: 1000, entry: "e" } })).toHaveLength(2);
      expect(await list({ after: { scheduled_time_ms: 2000, entry: "e" } })).toEqual([]);
      expect(await list({ limit: 1 })).toHaveLength(1);
      const counts = await store.read((tx) => tx.countFirings("one"));
      expect(new Map(counts.map(({ outcome, firings }) => [outcome, firings]))).toEqual(
        new Map([
          [null, 1],
          ["FAILED", 1],
          ["PRESENT", 1],
        ] as const),
      );
      expect(await store.read((tx) => tx.countBackfillRuns("one"))).toBe(1);
      expect(await store.read((tx) => tx.countBackfillRuns("two"))).toBe(1);
    });

    given("its runs that are not over, without those that are to be cancelled", async ({ store }) => {
      await store.transact(async (tx) => {
        for (const id of ["a", "b", "c"]) await tx.createRun(run(id, 1000), "{}", []);
        await tx.createRun(run("d", 1000, null), "{}", []);
        await end(tx, "a");
        const b = await tx.getRun("b");
        if (b !== null) await tx.requestCancel(b, 3000);
      });
      const runs = await store.read((tx) => tx.backfillRuns("one", 10));
      expect(runs.map((each) => each.workflow_instance_id)).toEqual(["c"]);
      expect(await store.read((tx) => tx.countBackfillRuns("one"))).toBe(2);
    });

    given("firings whose runs ended unheard", async ({ store }) => {
      await store.transact(async (tx) => {
        await tx.addBackfill(backfill("one"));
        await tx.addFirings("one", [firing(1000, "a"), firing(2000, "b"), firing(3000, "gone")]);
        for (const [id, at] of [
          ["a", 1000],
          ["b", 2000],
        ] as const)
          await tx.createRun(run(id, at), "{}", []);
        const a = await tx.getRun("a");
        // As an older cdktr does.
        if (a !== null)
          await tx.transitionRun(a, { status: "SKIPPED", status_at_ms: 1, finished_at_ms: 1, error: null });
      });
      const untold = await store.read((tx) => tx.untoldFirings("one", 10));
      expect(untold.map((each) => [each.workflow_instance_id, each.status])).toEqual([
        ["a", "SKIPPED"],
        ["gone", null],
      ]);
    });

    given("the runs of a workflow at some times, and how long they take", async ({ store }) => {
      await store.transact(async (tx) => {
        for (const [id, at] of [
          ["a", 1000],
          ["b", 2000],
          ["c", 3000],
        ] as const)
          await tx.createRun(run(id, at), "{}", []);
        await tx.createRun({ ...run("d", 1000), workflow_id: "other" }, "{}", []);
        await tx.createRun(pendingRun("e"), "{}", []);
        for (const [id, ms] of [
          ["a", 10],
          ["b", 30],
          ["c", 20],
        ] as const) {
          const found = await tx.getRun(id);
          if (found === null) continue;
          const running = {
            status: "RUNNING",
            status_at_ms: 1000,
            started_at_ms: 1000,
            error: null,
          } as const;
          const over = {
            status: "COMPLETED",
            status_at_ms: 2000,
            finished_at_ms: 2000,
            error: null,
          } as const;
          await tx.transitionRun(await tx.transitionRun(found, running), { ...over, duration_ms: ms });
        }
      });
      const at = await store.read((tx) => tx.runsAt("flow", [1000, 3000, 5000]));
      expect(at.map((each) => each.workflow_instance_id).sort()).toEqual(["a", "c"]);
      expect(await store.read((tx) => tx.runsAt("flow", []))).toEqual([]);
      expect(await store.read((tx) => tx.keyHolder("key"))).toBe(null);
      await store.transact((tx) => tx.claimKey("key", "a", 1));
      expect(await store.read((tx) => tx.keyHolder("key"))).toBe("a");
      expect(await store.read((tx) => tx.medianDuration("flow", 20))).toBe(20);
      expect(await store.read((tx) => tx.medianDuration("flow", 1))).toBe(20);
      expect(await store.read((tx) => tx.medianDuration("other", 20))).toBe(null);
      const ends = (among: number, backfill_id = "one") =>
        store.read((tx) => tx.endsOfBackfill({ backfill_id, workflow_id: "flow" }, among));
      expect(await ends(20)).toEqual([2000, 2000, 2000]);
      expect(await ends(2)).toEqual([2000, 2000]);
      expect(await ends(20, "two")).toEqual([]);
    });

    given("those that were over long ago are forgotten, with their firings", async ({ store }) => {
      await store.transact(async (tx) => {
        await tx.addBackfill(backfill("old", { state: "DONE", finished_at_ms: 500 }));
        await tx.addBackfill(backfill("new", { state: "DONE", finished_at_ms: 1500 }));
        await tx.addBackfill(backfill("open"));
        const many = Array.from({ length: 1200 }, (_, n) => firing(n, null));
        for (const id of ["old", "new", "open"]) await tx.addFirings(id, many);
      });
      while (await store.transact((tx) => tx.forgetBackfills(1000)));
      const left = await store.read((tx) => tx.listBackfills({ limit: 10 }));
      expect(left.map(({ backfill_id }) => backfill_id)).toEqual(["open", "new"]);
      const count = (id: string) => store.read((tx) => tx.countFirings(id));
      expect(await count("old")).toEqual([]);
      expect(await count("new")).toEqual([{ outcome: "PRESENT", firings: 1200 }]);
    });

    given("each step happens as a whole or not at all, whichever statement fails", async (state) => {
      for (const unit of LIFE) {
        const before = await contentOf(state.store);
        for (let n = 1; ; n++) {
          state.failStatement(n);
          const failed = await state.store.transact(unit).then(
            () => null,
            (error: unknown) => error,
          );
          state.failStatement(null);
          if (failed === null) break;
          expect(failed).toBeInstanceOf(StoreUnavailableError);
          expect(await contentOf(state.store)).toEqual(before);
        }
        expect(await contentOf(state.store)).not.toEqual(before);
      }
      expect(await contentOf(state.store)).toEqual([]);
    });
  });
}
