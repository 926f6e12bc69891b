/** Tests of pools, priorities and the listed queue that every implementation of the operational store must pass. */
import { describe, expect } from "bun:test";
import type {
  OperationalStore,
  OperationalTx,
  RunRecord,
  UnitOfWork,
} from "../../src/storage/operational/store.ts";
import { agentRecord, pendingRun } from "./operational-support.ts";

type Given = (what: string, body: (state: { readonly store: OperationalStore }) => Promise<void>) => void;

const NEEDS = '2+pool {"pool":{"db":2}}';

async function runOf(tx: OperationalTx, id: string): Promise<RunRecord> {
  const run = await tx.getRun(id);
  if (run === null) throw new Error(`${id} is not there`);
  return run;
}

/** A split run with a slice that takes slots. */
const create = (id: string, slots = 2, over: Partial<RunRecord> = {}): UnitOfWork<void> => {
  return async (tx) => {
    await tx.createRun(pendingRun(id, { queued: false, revision: 1, ...over }), "{}", []);
    const slice = { slice: 1, tasks: ["load"], needs: NEEDS, pools: JSON.stringify({ db: slots }) };
    await tx.addSlices(await runOf(tx, id), [slice], 1000);
  };
};

/** An agent gets what waits longest. */
const claim: UnitOfWork<unknown> = async (tx) => {
  const to = { agent_id: "agent", session_id: "s", fetch_id: crypto.randomUUID(), isHeld: true };
  return tx.claim({ ...to, assigned_at_ms: 2000, offer_ms: 60_000, needs: NEEDS });
};

/** What changes a state, for the tests in which statements fail. */
export const poolChanges: readonly UnitOfWork<unknown>[] = [
  (tx) => tx.setPool("db", 4, "ops", 1000),
  create("of a pool"),
  async (tx) => tx.setPriority(await runOf(tx, "of a pool"), 8, (needs) => `p8 ${needs}`),
];

/** Defines the tests. @param given defines one */
export function describePools(name: string, given: Given): void {
  describe(`${name}: pools`, () => {
    given("have the size that a command says, until it is taken back", async ({ store }) => {
      const set = (size: number | null, by: string | null) =>
        store.transact((tx) => tx.setPool("db", size, by, 1000));
      const pools = () => store.read((tx) => tx.listPools());
      expect(await set(null, null)).toBe(false);
      expect(await set(4, "ops")).toBe(true);
      expect(await set(4, "ops")).toBe(false);
      expect(await pools()).toEqual([
        { name: "db", size: 4, file_size: null, own_size: 4, changed_by: "ops", changed_at_ms: 1000 },
      ]);
      expect(await set(0, null)).toBe(true);
      expect(await pools()).toMatchObject([{ size: 0, changed_by: null }]);
      expect(await set(null, null)).toBe(true);
      expect(await pools()).toEqual([]);
    });

    given("are used by open leases, and by nothing else", async ({ store }) => {
      const used = async () => Object.fromEntries(await store.read((tx) => tx.poolUse()));
      await store.transact((tx) => tx.registerAgent(agentRecord("agent", { protocol: 2 }), null, 60_000));
      await store.transact(create("a"));
      await store.transact(create("b", 1));
      expect(await used()).toEqual({});
      expect(await store.read((tx) => tx.queuedNeeds())).toEqual([{ needs: NEEDS, slices: 2 }]);
      await store.transact(claim);
      await store.transact(claim);
      expect(await used()).toEqual({ db: 3 });
      expect(await store.read((tx) => tx.poolHolders())).toEqual([
        {
          pool: "db",
          slots: 2,
          workflow_id: "flow",
          workflow_instance_id: "a",
          slice: 1,
          tasks: ["load"],
          agent_id: "agent",
          since_ms: 2000,
        },
        expect.objectContaining({ workflow_instance_id: "b", slots: 1 }),
      ]);
      expect(await store.read((tx) => tx.queuedNeeds())).toEqual([]);
      // As an older cdktr does, which knows no slices: the lease alone ends.
      await store.transact(async (tx) => {
        const attempt = await tx.getAttempt({ workflow_instance_id: "a", slice: 1, attempt: 1 });
        if (attempt === null) throw new Error("it has no attempt");
        await tx.transitionLease(attempt, { lease: "REVOKED", status: "CRASHED", finished_at_ms: 3000 });
      });
      expect(await used()).toEqual({ db: 1 });
    });

    given(
      "a priority changes what waits of a run and what will wait, and no other run",
      async ({ store }) => {
        await store.transact(create("a"));
        await store.transact(create("b"));
        await store.transact((tx) => tx.createRun(pendingRun("whole"), "{}", []));
        const at = (needs: string) => `p8 ${needs === "" ? "1 {}" : needs}`;
        for (const id of ["a", "whole"])
          await store.transact(async (tx) => tx.setPriority(await runOf(tx, id), 8, at));
        const entries = await store.read((tx) => tx.queueEntries(10));
        expect(entries.map((each) => [each.workflow_instance_id, each.priority, each.needs])).toEqual([
          ["a", 8, `p8 ${NEEDS}`],
          ["b", 5, NEEDS],
          ["whole", 8, "p8 1 {}"],
        ]);
        expect(await store.read((tx) => runOf(tx, "a"))).toMatchObject({ priority: 8, needs: "" });
        expect(await store.read((tx) => tx.queueEntries(1))).toHaveLength(3);
      },
    );

    given(
      "a priority of a run that an agent has counts if it goes back into the queue",
      async ({ store }) => {
        await store.transact((tx) => tx.registerAgent(agentRecord("agent"), null, 60_000));
        await store.transact((tx) => tx.createRun(pendingRun("whole"), "{}", []));
        const to = { agent_id: "agent", session_id: "s", fetch_id: "f", isHeld: true, needs: "" };
        await store.transact((tx) => tx.claim({ ...to, assigned_at_ms: 2000, offer_ms: 60_000 }));
        await store.transact(async (tx) => tx.setPriority(await runOf(tx, "whole"), 8, () => "p8 1 {}"));
        await store.transact(async (tx) => {
          const run = await runOf(tx, "whole");
          await tx.requeueRun(
            await tx.transitionRun(run, { status: "CRASHED", status_at_ms: 3000, error: "lost" }),
          );
        });
        const [entry] = await store.read((tx) => tx.queueEntries(10));
        expect(entry).toMatchObject({ workflow_instance_id: "whole", priority: 8, needs: "p8 1 {}" });
      },
    );

    given("a slice that goes back into the queue has waited since it first came", async ({ store }) => {
      await store.transact((tx) => tx.registerAgent(agentRecord("agent", { protocol: 2 }), null, 60_000));
      await store.transact(create("a"));
      await store.transact(claim);
      await store.transact(async (tx) => {
        const [attempt] = await tx.listAttempts("a", 1);
        const slice = await tx.getSlice("a", 1);
        if (attempt === undefined || slice === null) throw new Error("it has no attempt");
        await tx.transitionLease(attempt, { lease: "REVOKED", status: "CRASHED", finished_at_ms: 9000 });
        await tx.requeueSlice(slice, 1, 9000);
      });
      expect(await store.read((tx) => tx.queueHeads())).toMatchObject([{ slice: 1, since_ms: 1000 }]);
    });
  });
}
