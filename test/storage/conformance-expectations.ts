/** Tests of expectations that every implementation of the operational store must pass. */
import { describe, expect, test } from "bun:test";
import type { ExpectationRecord } from "../../src/storage/operational/expectations.ts";
import { IllegalTransitionError } from "../../src/storage/operational/legal.ts";
import { StateConflictError, StoreUnavailableError } from "../../src/storage/operational/store.ts";
import type { StoreUnderTest } from "./conformance.ts";
import { pendingRun } from "./operational-support.ts";

const row = (over: Partial<ExpectationRecord> = {}): ExpectationRecord => ({
  workflow_id: "flow",
  rule: "finish_by",
  key: "",
  due_ms: 1000,
  state: "OPEN",
  data: "{}",
  ...over,
});
const start = (key: string, over: Partial<ExpectationRecord> = {}) =>
  row({ rule: "start_within", key, data: '{"limit_ms":500}', ...over });

/** Defines the tests of a store. */
export function describeExpectations(name: string, make: () => Promise<StoreUnderTest>): void {
  const given = (what: string, body: (state: StoreUnderTest) => Promise<void>) =>
    test(what, async () => {
      await using state = await make();
      await body(state);
    });

  describe(`${name}: expectations`, () => {
    given("are there until they are over, also after a restart", async (state) => {
      await state.store.transact(async (tx) => {
        await tx.putExpectation(row());
        await tx.putExpectation(row({ due_ms: 2000 }));
        await tx.putExpectation(row({ workflow_id: "other", state: "RAISED" }));
        await tx.putExpectation(start("run"));
        await tx.putExpectation(start("late", { state: "RAISED" }));
        await tx.putExpectation(row({ rule: "resumed", state: "HELD" }));
      });
      const store = await state.reopen();
      const known = await store.read(async (tx) => ({
        listed: (await tx.listExpectations()).map(({ workflow_id, rule, key }) => [workflow_id, rule, key]),
        workflows: (await tx.expectedWorkflows()).sort(),
        flow: await tx.expectationsOf("flow"),
        run: (await tx.expectationsOf("flow", "run")).map(({ rule }) => rule).sort(),
        resumed: (await tx.getExpectation({ workflow_id: "flow", rule: "resumed", key: "" }))?.due_ms,
      }));
      expect(known).toEqual({
        listed: [
          ["flow", "finish_by", ""],
          ["flow", "resumed", ""],
          ["flow", "start_within", "late"],
          ["other", "finish_by", ""],
        ],
        workflows: ["flow", "other"],
        flow: [row({ due_ms: 2000 })],
        run: ["finish_by", "start_within"],
        resumed: 1000,
      });
      await store.transact((tx) => tx.dropExpectation(row()));
      expect(await store.read((tx) => tx.getExpectation(row()))).toBeNull();
    });

    given("change from the state in which they were read, as their table allows", async ({ store }) => {
      await store.transact((tx) => tx.putExpectation(row()));
      const raised = await store.transact((tx) => tx.changeExpectation(row(), { state: "RAISED" }));
      expect(raised).toEqual(row({ state: "RAISED" }));
      const conflict = store.transact((tx) => tx.changeExpectation(row(), { due_ms: 5 }));
      await expect(conflict).rejects.toBeInstanceOf(StateConflictError);
      const held = await store.transact((tx) => tx.changeExpectation(raised, { state: "HELD" }));
      const illegal = store.transact((tx) => tx.changeExpectation(held, { state: "RAISED" }));
      await expect(illegal).rejects.toBeInstanceOf(IllegalTransitionError);
      expect(await store.read((tx) => tx.getExpectation(row()))).toEqual(row({ state: "HELD" }));
    });

    given("are due by the wall clock; max_duration by the clock of the store", async ({ store }) => {
      const limited = row({ rule: "max_duration", key: "run" });
      await store.transact(async (tx) => {
        await tx.putExpectation(row({ due_ms: 3000 }));
        await tx.putExpectation(start("a", { due_ms: 2000 }));
        await tx.putExpectation(start("b", { due_ms: 1000, state: "HELD" }));
        await tx.putExpectation(limited, 3_600_000);
      });
      const due = (nowMs: number) =>
        store.read(async (tx) =>
          (await tx.dueExpectations(nowMs, 10)).map(({ rule, key }) => `${rule} ${key}`),
        );
      expect(await due(1999)).toEqual([]);
      expect(await due(2000)).toEqual(["start_within a"]);
      // However far the wall clock is.
      expect(await due(8e15)).toEqual(["start_within a", "finish_by "]);
      const next = await store.read((tx) => tx.nextExpectation());
      expect(next.due_ms).toBe(2000);
      expect(next.left_ms).toBeGreaterThan(3_000_000);
      expect(next.left_ms).toBeLessThanOrEqual(3_600_000);
      await store.transact((tx) => tx.putExpectation(limited, -1));
      expect(await due(0)).toEqual(["max_duration run"]);
      await store.transact(async (tx) => {
        for (const each of await tx.dueExpectations(8e15, 10)) await tx.dropExpectation(each);
      });
      expect(await store.read((tx) => tx.nextExpectation())).toEqual({ due_ms: null, left_ms: null });
    });

    given("of starts are held and released together", async ({ store }) => {
      const states = () =>
        store.read(async (tx) =>
          [
            await tx.getExpectation(start("a")),
            await tx.getExpectation(start("late")),
            await tx.getExpectation(start("other", { workflow_id: "other" })),
          ].map((each) => [each?.state, each?.due_ms]),
        );
      await store.transact(async (tx) => {
        await tx.putExpectation(start("a"));
        await tx.putExpectation(start("late", { state: "RAISED" }));
        await tx.putExpectation(start("other", { workflow_id: "other" }));
        await tx.holdStarts("flow");
      });
      expect(await states()).toEqual([
        ["HELD", 1000],
        ["RAISED", 1000],
        ["OPEN", 1000],
      ]);
      await store.transact((tx) => tx.releaseStarts("flow", 7000));
      expect(await states()).toEqual([
        ["OPEN", 7500],
        ["RAISED", 1000],
        ["OPEN", 1000],
      ]);
    });

    given("of runs that are over are found, and so is the newest open run", async ({ store }) => {
      await store.transact(async (tx) => {
        await tx.createRun(pendingRun("old", { created_at_ms: 5000, scheduled_time_ms: 100 }), "{}", []);
        await tx.createRun(pendingRun("new", { created_at_ms: 6000, scheduled_time_ms: 200 }), "{}", []);
        await tx.createRun(pendingRun("plain", { created_at_ms: 150 }), "{}", []);
        await tx.createRun(pendingRun("over"), "{}", []);
        const run = await tx.getRun("over");
        if (run === null) throw new Error("it is not there");
        const end = { status: "CANCELLED", status_at_ms: 9000, finished_at_ms: 9000, error: null } as const;
        await tx.transitionRun(run, end);
        for (const key of ["old", "over", "gone"]) await tx.putExpectation(start(key));
        await tx.putExpectation(row());
      });
      const found = await store.read(async (tx) => ({
        ended: (await tx.expectationsOfEndedRuns()).map(({ key }) => key).sort(),
        newest: (await tx.newestOpenRun("flow", 0))?.workflow_instance_id,
        later: (await tx.newestOpenRun("flow", 160))?.workflow_instance_id,
        none: await tx.newestOpenRun("flow", 201),
        other: await tx.newestOpenRun("other", 0),
      }));
      expect(found).toEqual({
        ended: ["gone", "over"],
        newest: "plain",
        later: "new",
        none: null,
        other: null,
      });
    });

    given("that cannot be written change nothing", async (state) => {
      state.failStatement(3);
      const put = state.store.transact(async (tx) => {
        await tx.putExpectation(row());
        await tx.putExpectation(start("a"));
      });
      await expect(put).rejects.toBeInstanceOf(StoreUnavailableError);
      state.failStatement(null);
      expect(await state.store.read((tx) => tx.listExpectations())).toEqual([]);
    });
  });
}
