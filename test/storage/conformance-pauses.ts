/** Tests of pauses that every implementation of the operational store must pass. */
import { describe, expect, test } from "bun:test";
import { type MissedEvent, PARKED, type PauseRecord } from "../../src/storage/operational/pauses.ts";
import {
  type OperationalStore,
  type OperationalTx,
  type RunRecord,
  StoreUnavailableError,
  type UnitOfWork,
} from "../../src/storage/operational/store.ts";
import type { StoreUnderTest } from "./conformance.ts";
import { agentRecord, pendingRun } from "./operational-support.ts";

const pause = (workflow_id: string, over: Partial<PauseRecord> = {}): PauseRecord => ({
  workflow_id,
  paused_at_ms: 1000,
  paused_by: "ops",
  reason: "migration",
  is_auto: false,
  until_ms: null,
  ...over,
});

const event = (workflow_id: string, n: number): MissedEvent => ({
  workflow_id,
  workflow_instance_id: `event-${n}`,
  trigger: "listener:door",
  options: `{"n":${n}}`,
  at_ms: n,
});

const create =
  (id: string, over: Partial<RunRecord> = {}): UnitOfWork<void> =>
  (tx) =>
    tx.createRun(pendingRun(id, over), "{}", []);

const HELD = { queued: false, hold: "pause" } as const;

/** What the queue has to give away, by needs. */
async function queueOf(tx: OperationalTx): Promise<string[]> {
  const heads = await tx.queueHeads();
  return heads.map(({ needs, workflow_instance_id, slice }) => `${workflow_instance_id}/${slice} ${needs}`);
}

async function claimed(tx: OperationalTx, needs: string): Promise<string> {
  const to = { agent_id: "a", session_id: "s", fetch_id: null, assigned_at_ms: 2000, offer_ms: 60_000 };
  const claim = await tx.claim({ ...to, needs });
  return typeof claim === "string" ? claim : claim.run.workflow_instance_id;
}

/** Everything of pauses that can be read. */
async function stateOf(store: OperationalStore): Promise<unknown> {
  return store.read(async (tx) => ({
    pauses: await tx.listPauses(),
    queue: await queueOf(tx),
    missed: await tx.missedEvents("flow", 1000),
    resting: (await tx.workflowsAtRest()).sort(),
    all: await tx.countAllPaused(),
    held: (await tx.pausedRuns("flow", 100)).map((run) => run.workflow_instance_id),
  }));
}

/** Defines the tests of a store. */
export function describePauses(name: string, make: () => Promise<StoreUnderTest>): void {
  const given = (what: string, body: (state: StoreUnderTest) => Promise<void>) =>
    test(what, async () => {
      await using state = await make();
      await body(state);
    });

  describe(`${name}: pauses`, () => {
    given("are there until they are ended, also after a restart", async (state) => {
      const other = pause("other", { is_auto: true, until_ms: 9000, reason: null, paused_by: null });
      await state.store.transact(async (tx) => {
        await tx.setPause(pause("flow"), 1000);
        await tx.setPause(other, 1000);
        await tx.setPause(pause("flow", { reason: "another" }), 2000);
      });
      const store = await state.reopen();
      expect(await store.read((tx) => tx.listPauses())).toEqual([
        pause("flow", { reason: "another" }),
        other,
      ]);
      expect(await store.transact((tx) => tx.endPause("flow", 3000))).toBe(true);
      expect(await store.transact((tx) => tx.endPause("flow", 3000))).toBe(false);
      expect(await store.transact((tx) => tx.endPause("nobody", 3000))).toBe(false);
      expect(await store.read(async (tx) => [await tx.getPause("flow"), await tx.getPause("other")])).toEqual(
        [null, other],
      );
    });

    given("failures in a row are counted for each workflow, until one has not failed", async ({ store }) => {
      const count = (id: string, hasFailed: boolean) =>
        store.transact((tx) => tx.countFailure(id, hasFailed, 1));
      expect(await count("flow", false)).toBe(0);
      expect(await count("flow", true)).toBe(1);
      expect(await count("flow", true)).toBe(2);
      expect(await count("other", true)).toBe(1);
      expect(await count("flow", false)).toBe(0);
      expect(await count("flow", true)).toBe(1);
      // A pause keeps the number, its end does not.
      await store.transact((tx) => tx.setPause(pause("flow"), 2));
      expect(await count("flow", true)).toBe(2);
      await store.transact((tx) => tx.endPause("flow", 3));
      expect(await count("flow", true)).toBe(1);
    });

    given("what has not begun is parked, and nobody gets it; what has begun goes on", async ({ store }) => {
      const split = { queued: false, revision: 7 };
      await store.transact(async (tx) => {
        await tx.registerAgent(agentRecord("a"), null, 60_000);
        await create("plain")(tx);
        await create("placed", { needs: '2 {"runs_on":{"zone":"eu"}}' })(tx);
        await create("other", { workflow_id: "other" })(tx);
        await create("again", { attempt: 2, started_at_ms: 500 })(tx);
        await create("offered", { queued: false, agent_id: "a" })(tx);
        const run = pendingRun("split", split);
        await tx.createRun(run, "{}", []);
        await tx.addSlices(run, [{ slice: 1, tasks: ["a"], needs: "2 {}" }], 1000);
        const shared = pendingRun("shared", { ...split, agent_id: "a", agents: 1 });
        await tx.createRun(shared, "{}", []);
        await tx.addSlices(shared, [{ slice: 1, tasks: ["a"], needs: "2 {}" }], 1000);
        const begun = pendingRun("begun", { ...split, status: "RUNNING", started_at_ms: 500 });
        await tx.createRun(begun, "{}", []);
        await tx.addSlices(begun, [{ slice: 1, tasks: ["a"], needs: "2 {}" }], 1000);
      });
      const before = await store.read(queueOf);
      expect(await store.transact((tx) => tx.parkQueued("flow", 100))).toBe(3);
      expect(await store.transact((tx) => tx.parkQueued("flow", 100))).toBe(0);
      expect(await store.read((tx) => tx.countPaused("flow"))).toEqual({ held: 0, parked: 3, begun: 4 });
      expect(await store.read((tx) => tx.countAllPaused())).toBe(3);
      expect(await store.read((tx) => tx.workflowsAtRest())).toEqual(["flow"]);
      expect(new Set(await store.read(queueOf))).toEqual(
        new Set([
          "other/0 ",
          "shared/1 2 {}",
          `plain/0 ${PARKED}1 {}`,
          `placed/0 ${PARKED}2 {"runs_on":{"zone":"eu"}}`,
          `split/1 ${PARKED}2 {}`,
        ]),
      );
      expect(await store.transact((tx) => claimed(tx, ""))).toBe("other");
      expect(await store.transact((tx) => claimed(tx, ""))).toBe("again");
      expect(await store.transact((tx) => claimed(tx, ""))).toBe("empty");
      expect(await store.transact((tx) => tx.unparkQueued("other", 100))).toBe(0);
      expect(await store.transact((tx) => tx.unparkQueued("flow", 2))).toBe(2);
      expect(await store.transact((tx) => tx.unparkQueued("flow", 2))).toBe(1);
      expect(await store.transact((tx) => tx.unparkQueued("flow", 2))).toBe(0);
      expect(await store.read(queueOf)).toEqual(before.filter((entry) => !/^(again|other)/.test(entry)));
      expect(await store.read((tx) => tx.countPaused("flow"))).toEqual({ held: 0, parked: 0, begun: 4 });
    });

    given("is done a piece at a time", async ({ store }) => {
      await store.transact(async (tx) => {
        for (let n = 0; n < 5; n++) await create(`run-${n}`)(tx);
        const run = pendingRun("split", { queued: false, revision: 7 });
        await tx.createRun(run, "{}", []);
        const slices = [1, 2, 3].map((slice) => ({ slice, tasks: [`t${slice}`], needs: "2 {}" }));
        await tx.addSlices(run, slices, 1000);
      });
      const pieces: number[] = [];
      const park = () => store.transact((tx) => tx.parkQueued("flow", 3));
      for (let piece = await park(); piece > 0; piece = await park()) pieces.push(piece);
      expect(pieces).toEqual([3, 3, 2]);
      expect(await store.read((tx) => tx.countPaused("flow"))).toEqual({ held: 0, parked: 6, begun: 0 });
    });

    given("held runs go on by their rank; those that are over are none", async ({ store }) => {
      await store.transact(async (tx) => {
        await create("first", HELD)(tx);
        await create("second", { ...HELD, created_at_ms: 2000 })(tx);
        await create("urgent", { ...HELD, created_at_ms: 3000, priority: 6 })(tx);
        await create("older", { ...HELD, created_at_ms: 3000, rank_ms: 500 })(tx);
        await create("other", { ...HELD, workflow_id: "other" })(tx);
        await create("over", HELD)(tx);
        const over = await tx.getRun("over");
        if (over === null) throw new Error("the run is gone");
        const step = { status: "CANCELLED", status_at_ms: 4000, finished_at_ms: 4000, error: null } as const;
        await tx.transitionRun(over, step);
      });
      const order = await store.read((tx) => tx.pausedRuns("flow", 3));
      expect(order.map((run) => run.workflow_instance_id)).toEqual(["urgent", "older", "first"]);
      expect(order.every(({ hold }) => hold === "pause")).toBe(true);
      expect(await store.read((tx) => tx.countPaused("flow"))).toEqual({ held: 4, parked: 0, begun: 0 });
      expect(await store.read((tx) => tx.countAllPaused())).toBe(5);
      expect(await store.read((tx) => tx.workflowsAtRest())).toEqual(["flow", "other"]);
      expect(await store.read(queueOf)).toEqual([]);
    });

    given("of the events that were missed the newest are kept", async ({ store }) => {
      const add = (n: number, keep: number, id = "flow") =>
        store.transact((tx) => tx.addMissedEvent(event(id, n), keep));
      expect(await add(1, 0)).toBe(1);
      expect(await add(2, 1)).toBe(0);
      expect(await add(3, 1)).toBe(1);
      expect(await add(4, 100)).toBe(0);
      expect(await add(5, 100, "other")).toBe(0);
      expect(await store.read((tx) => tx.missedEvents("flow", 10))).toEqual([
        event("flow", 3),
        event("flow", 4),
      ]);
      expect(await store.read((tx) => tx.missedEvents("flow", 1))).toEqual([event("flow", 3)]);
      expect(await store.read((tx) => tx.workflowsAtRest())).toEqual(["flow", "other"]);
      await store.transact((tx) => tx.dropMissedEvent(event("flow", 3)));
      await store.transact((tx) => tx.dropMissedEvent(event("flow", 4)));
      expect(await store.read((tx) => tx.workflowsAtRest())).toEqual(["other"]);
    });

    given(
      "of a workflow without a file are kept, what else is known of it is not for ever",
      async ({ store }) => {
        await store.transact(async (tx) => {
          await tx.setPause(pause("paused"), 1000);
          await tx.countFailure("failed", true, 1000);
          await tx.countFailure("late", true, 3000);
          await tx.countFailure("loaded", true, 1000);
          const texts = Uint8Array.of(0);
          const version = { path: "loaded.yml", fingerprint: "", facts: "{}", texts };
          await tx.putWorkflowVersion({ workflow_id: "loaded", ...version });
          await tx.forgetWorkflowStates(2000);
        });
        const count = (id: string) => store.transact((tx) => tx.countFailure(id, true, 4000));
        expect([await count("failed"), await count("late"), await count("loaded")]).toEqual([1, 2, 2]);
        expect(await store.read((tx) => tx.getPause("paused"))).not.toBeNull();
      },
    );

    test("all or nothing of each unit is done, whichever of its statements fails", async () => {
      const units: readonly UnitOfWork<unknown>[] = [
        async (tx) => {
          await create("queued")(tx);
          await create("held", HELD)(tx);
          const run = pendingRun("split", { queued: false, revision: 7 });
          await tx.createRun(run, "{}", []);
          await tx.addSlices(run, [{ slice: 1, tasks: ["a"], needs: "2 {}" }], 1000);
        },
        async (tx) => {
          await tx.setPause(pause("flow"), 1000);
          await tx.parkQueued("flow", 100);
        },
        (tx) => tx.addMissedEvent(event("flow", 1), 1),
        (tx) => tx.addMissedEvent(event("flow", 2), 1),
        (tx) => tx.countFailure("flow", true, 2),
        async (tx) => {
          await tx.endPause("flow", 2000);
          await tx.unparkQueued("flow", 100);
        },
        (tx) => tx.dropMissedEvent(event("flow", 2)),
        (tx) => tx.forgetWorkflowStates(3000),
      ];
      const expected: unknown[] = [];
      await using whole = await make();
      for (const unit of units) {
        expected.push(await stateOf(whole.store));
        await whole.store.transact(unit);
      }
      expected.push(await stateOf(whole.store));
      await using state = await make();
      for (const [n, unit] of units.entries()) {
        for (let statement = 1; ; statement++) {
          state.failStatement(statement);
          const failure = await state.store.transact(unit).catch((error: unknown) => error);
          state.failStatement(null);
          if (!(failure instanceof StoreUnavailableError)) break;
          expect(await stateOf(state.store)).toEqual(expected[n]);
        }
        expect(await stateOf(state.store)).toEqual(expected[n + 1]);
      }
    });
  });
}
