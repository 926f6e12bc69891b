/** Tests of concurrency groups that every implementation of the operational store must pass. */
import { describe, expect } from "bun:test";
import {
  type OperationalStore,
  type OperationalTx,
  type RunRecord,
  StateConflictError,
  type UnitOfWork,
} from "../../src/storage/operational/store.ts";
import { pendingRun } from "./operational-support.ts";

type Given = (what: string, body: (state: { readonly store: OperationalStore }) => Promise<void>) => void;

const NOTE = { reason: "the group is full", waits: null };
const WHOLE = { queued: true, needs: "", revision: 0 };

/** A run of the group `g eu` that is not queued yet. */
const create = (id: string, over: Partial<RunRecord> = {}): UnitOfWork<void> => {
  const group = { group_key: "g eu", group_max: 1, on_conflict: "queue" } as const;
  return (tx) => tx.createRun(pendingRun(id, { queued: false, ...group, ...over }), "{}", []);
};

async function runOf(tx: OperationalTx, id: string): Promise<RunRecord> {
  const run = await tx.getRun(id);
  if (run === null) throw new Error(`${id} is not there`);
  return run;
}

const hold = (id: string): UnitOfWork<RunRecord> => {
  return async (tx) => tx.holdRun(await runOf(tx, id), "group", NOTE, 2000);
};
const admit = (id: string): UnitOfWork<RunRecord> => {
  return async (tx) => tx.admitRun(await runOf(tx, id), WHOLE, 3000);
};
const end = (id: string): UnitOfWork<RunRecord> => {
  const step = { status: "CANCELLED", status_at_ms: 4000, finished_at_ms: 4000, error: null } as const;
  return async (tx) => tx.transitionRun(await runOf(tx, id), step);
};

/** What changes a state, for the tests in which statements fail. */
export const groupChanges: readonly UnitOfWork<unknown>[] = [
  create("of a group"),
  hold("of a group"),
  admit("of a group"),
];

/** Defines the tests. @param given defines one */
export function describeGroups(name: string, given: Given): void {
  describe(`${name}: concurrency groups`, () => {
    given("count who has a place until that is over, and know who waits", async ({ store }) => {
      const state = () => store.read((tx) => tx.groupState("g eu"));
      expect(await state()).toEqual({ running: 0, isAwaited: false });
      await store.transact(create("a"));
      await store.transact(create("b"));
      // One that was only created has no place, and waits for none.
      expect(await state()).toEqual({ running: 0, isAwaited: false });
      await store.transact(admit("a"));
      await store.transact(hold("b"));
      expect(await state()).toEqual({ running: 1, isAwaited: true });
      expect(await store.read((tx) => tx.groupState("g us"))).toEqual({ running: 0, isAwaited: false });
      expect(await store.read((tx) => tx.groupHolders("g eu", 10))).toMatchObject([
        { workflow_instance_id: "a" },
      ]);
      expect(await store.read((tx) => tx.countHeld())).toEqual({ group: 1, pause: 0 });
      await store.transact(end("a"));
      expect(await state()).toEqual({ running: 0, isAwaited: true });
      await store.transact(end("b"));
      expect(await state()).toEqual({ running: 0, isAwaited: false });
      expect(await store.read((tx) => tx.groupHeld("g eu", 10))).toEqual([]);
      expect(await store.read((tx) => tx.countHeld())).toEqual({ group: 0, pause: 0 });
    });

    given(
      "keep those that wait out of the queue, with a row that says why, until they are admitted",
      async ({ store }) => {
        await store.transact(create("a"));
        expect(await store.transact(hold("a"))).toMatchObject({
          hold: "group",
          admitted: false,
          queued: false,
        });
        expect(await store.read((tx) => tx.queueHeads())).toEqual([]);
        expect(await store.read((tx) => tx.queuedRuns(10))).toEqual([]);
        // Nobody looks at it again and again.
        expect(await store.read((tx) => tx.notedReasons())).toEqual([]);
        const admitted = await store.transact(admit("a"));
        expect(admitted).toMatchObject({ hold: null, admitted: true, queued: true, status_at_ms: 3000 });
        expect(await store.read((tx) => runOf(tx, "a"))).toEqual(admitted);
        expect(await store.read((tx) => tx.queuedRuns(10))).toEqual(["a"]);
        const rows = (await store.takeStatuses(0, 10)).map(
          ({ row }) => row as { reason?: string | null; status: string },
        );
        expect(rows.map(({ status, reason }) => [status, reason])).toEqual([
          ["PENDING", null],
          ["PENDING", NOTE.reason],
          ["PENDING", null],
        ]);
      },
    );

    given(
      "write no row for one that is admitted at once; one without a group has no place",
      async ({ store }) => {
        await store.transact(create("a"));
        await store.transact(create("plain", { group_key: null, group_max: null, on_conflict: null }));
        expect(await store.transact(admit("a"))).toMatchObject({ admitted: true, status_at_ms: 1000 });
        expect(await store.transact(admit("plain"))).toMatchObject({ admitted: false, queued: true });
        expect(await store.takeStatuses(0, 10)).toHaveLength(2);
      },
    );

    given(
      "have an order: by the time that a run has waited and its priority, then by creation",
      async ({ store }) => {
        const runs: readonly [string, Partial<RunRecord>][] = [
          ["first", {}],
          ["second", {}],
          ["late", { created_at_ms: 2_000_000 }],
          ["important", { created_at_ms: 2_000_000, priority: 9 }],
          ["again", { created_at_ms: 2_000_000, rank_ms: 500 }],
          ["last", { on_conflict: "queue_latest", created_at_ms: 9_000_000 }],
        ];
        for (const [id, over] of runs) {
          await store.transact(create(id, over));
          await store.transact(hold(id));
        }
        const order = ["important", "again", "first", "second", "late", "last"];
        const held = await store.read((tx) => tx.groupHeld("g eu", 10));
        expect(held.map((run) => run.workflow_instance_id)).toEqual(order);
        expect(
          (await store.read((tx) => tx.groupHeld("g eu", 2))).map((run) => run.workflow_instance_id),
        ).toEqual(order.slice(0, 2));
        const latest = await store.read((tx) => tx.groupHeld("g eu", 10, "queue_latest"));
        expect(latest).toMatchObject([
          { workflow_instance_id: "last", on_conflict: "queue_latest", group_max: 1 },
        ]);
        for (const [n, id] of order.entries())
          expect(await store.read(async (tx) => tx.heldBefore(await runOf(tx, id)))).toBe(n);
      },
    );

    given("are listed as long as somebody waits, in pages", async ({ store }) => {
      for (const [id, group_key] of [
        ["a", "g eu"],
        ["b", "g us"],
        ["c", "w etl"],
        ["d", "g eu"],
      ] as const) {
        await store.transact(create(id, { group_key }));
        await store.transact(hold(id));
      }
      expect(await store.read((tx) => tx.heldGroups("", 2))).toEqual(["g eu", "g us"]);
      expect(await store.read((tx) => tx.heldGroups("g us", 2))).toEqual(["w etl"]);
      await store.transact(end("c"));
      expect(await store.read((tx) => tx.heldGroups("g us", 2))).toEqual([]);
    });

    given("change what those that wait do when their workflow says something else", async ({ store }) => {
      const runs: readonly [string, Partial<RunRecord>][] = [
        ["a", {}],
        ["retry", { retry_of: "x" }],
        ["other", { definition_hash: "other" }],
        ["us", { group_key: "g us" }],
      ];
      for (const [id, over] of runs) {
        await store.transact(create(id, over));
        await store.transact(hold(id));
      }
      const { workflow_id, definition_hash } = await store.read((tx) => runOf(tx, "a"));
      const before = { workflow_id, definition_hash, group_max: 1, on_conflict: "queue" };
      const versions = () => store.read((tx) => tx.heldVersions("g eu"));
      expect((await versions()).map((held) => ({ ...held }))).toEqual(
        [before, { ...before, definition_hash: "other" }].sort((a, b) =>
          a.definition_hash < b.definition_hash ? -1 : 1,
        ) as never,
      );
      const to = { max: 3, on_conflict: "skip" } as const;
      await store.transact((tx) => tx.changeHeld("g eu", { workflow_id, definition_hash }, to));
      const now = await store.read((tx) => Promise.all(runs.map(([id]) => runOf(tx, id))));
      expect(now.map(({ group_max, on_conflict }) => [group_max, on_conflict])).toEqual([
        [3, "skip"],
        [3, "queue"],
        [1, "queue"],
        [1, "queue"],
      ]);
    });

    given("know the runs of tasks that wait, and who has a place and waits for a run", async ({ store }) => {
      await store.transact(create("parent"));
      await store.transact(admit("parent"));
      await store.transact(create("other"));
      await store.transact(hold("other"));
      expect(await store.read((tx) => tx.groupsOfHeldChildren())).toEqual([]);
      await store.transact(create("child", { parent_run: "parent", parent_task: "c" }));
      await store.transact(hold("child"));
      expect(await store.read((tx) => tx.groupsOfHeldChildren())).toEqual(["g eu"]);
      const wait = {
        workflow_instance_id: "parent",
        task_instance_id: null,
        kind: "run",
        due_ms: null,
        since_ms: 1,
      } as const;
      await store.transact((tx) => tx.addWait({ ...wait, task: "c", data: '{"child":"child"}' }));
      await store.transact((tx) => tx.addWait({ ...wait, task: "d", data: "damaged" }));
      await store.transact((tx) => tx.addWait({ ...wait, task: "e", data: "{}" }));
      expect(await store.read((tx) => tx.waitingHolders("g eu"))).toEqual([{ id: "parent", child: "child" }]);
      await store.transact(end("parent"));
      expect(await store.read((tx) => tx.waitingHolders("g eu"))).toEqual([]);
    });

    given("hold and admit only what is as it was read, and has not begun", async ({ store }) => {
      await store.transact(create("a"));
      const read = await store.read((tx) => runOf(tx, "a"));
      await store.transact(admit("a"));
      const refused = async (work: UnitOfWork<unknown>) => {
        const error = await store.transact(work).then(
          () => null,
          (thrown: unknown) => thrown,
        );
        expect(error).toBeInstanceOf(StateConflictError);
      };
      await refused((tx) => tx.admitRun(read, WHOLE, 4000));
      await refused((tx) => tx.holdRun(read, "group", NOTE, 4000));
      await refused(hold("a"));
      await store.transact(end("a"));
      await refused(hold("a"));
      await refused(async (tx) => tx.noteCancelReason(await runOf(tx, "a"), "late"));
      await store.transact(create("b"));
      await store.transact(async (tx) => tx.noteCancelReason(await runOf(tx, "b"), "for another one"));
      expect((await store.read((tx) => runOf(tx, "b"))).cancel_reason).toBe("for another one");
    });
  });
}
