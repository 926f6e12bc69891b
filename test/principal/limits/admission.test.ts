/** How much one commit does for those that wait for a group. What it decides is tested with a principal, see ../concurrency.test.ts. */
import { expect, test } from "bun:test";
import { EventHub } from "../../../src/event-hub.ts";
import { Admission } from "../../../src/principal/limits/admission.ts";
import type { PrincipalEvents } from "../../../src/principal/principal-events.ts";
import type { OperationalStore } from "../../../src/storage/operational/store.ts";
import { pendingRun, TestStores } from "../../storage/operational-support.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const GROUP = { group_key: "g eu", group_max: 1, on_conflict: "queue" } as const;

/** Numbers of the runs that are held, by what holds them. */
async function held(store: OperationalStore): Promise<Record<string, number>> {
  const runs = await store.read((tx) => tx.listRuns({ limit: 1000 }));
  const by = Map.groupBy(runs, ({ hold }) => hold ?? "nothing");
  return Object.fromEntries([...by].map(([hold, some]) => [hold, some.length]));
}

test("a place that is free is offered to many whose workflow is paused in several commits", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const events: PrincipalEvents = new EventHub();
  const due: unknown[] = [];
  events.on("admission due", (error) => due.push(error));
  const admission = new Admission({
    clock: new ManualClock(),
    events,
    definitions: { of: async () => null, planOf: async () => null },
    pauses: {
      mayHold: () => true,
      reasonAt: async (_tx, id) => (id === "paused" ? "workflow paused is paused" : null),
    },
    workflows: { get: () => undefined },
    place: () => ({ queued: true, needs: "", revision: 0 }),
    queued: () => {},
    begin: async (_tx, run) => run,
    end: async (_tx, run) => run,
    cancelFor: async () => {},
    isInHooks: async () => false,
  });
  await store.transact(async (tx) => {
    for (let n = 0; n < 251; n++) {
      const workflow_id = n < 250 ? "paused" : "flow";
      const run = pendingRun(`run-${n}`, { ...GROUP, workflow_id, queued: false, created_at_ms: n });
      await tx.createRun(run, "{}", []);
      await tx.holdRun(run, "group", { reason: "the group is full", waits: null }, n);
    }
  });
  await store.transact(async (tx) => admission.freed(tx, pendingRun("over", GROUP)));
  expect(await held(store)).toEqual({ pause: 100, group: 151 });
  expect(due).toEqual([null]);
  expect([await admission.sweep(store), await admission.sweep(store)]).toEqual([0, 1]);
  expect(await held(store)).toEqual({ pause: 250, nothing: 1 });
  expect(due).toEqual([null, null]);
});
