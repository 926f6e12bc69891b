import { expect, test } from "bun:test";
import { EventHub } from "../../src/event-hub.ts";
import { Housekeeping } from "../../src/principal/housekeeping.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { pendingRun, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

test("once a minute lost agents and runs that are over are forgotten, also after a failure", async () => {
  await using stores = new TestStores();
  const clock = new ManualClock();
  const store = await stores.open("data", clock);
  const events: PrincipalEvents = new EventHub();
  let forgotten = 0;
  events.on("runs forgotten", () => forgotten++);
  const lostBefore: number[] = [];
  const housekeeping = new Housekeeping({
    store,
    agents: {
      forgetLost: async (beforeMs) => {
        lostBefore.push(beforeMs);
        if (lostBefore.length === 1) throw new Error("the disk is full");
      },
    },
    clock,
    log: silent,
    keptRuns: 1,
    events,
  });
  const minute = async () => {
    const tidied = housekeeping.signals.next("tidied");
    clock.advance(MINUTE);
    await tidied;
  };
  await housekeeping.start();
  await store.transact(async (tx) => {
    for (const id of ["old", "new"]) {
      const over = { status: "COMPLETED" as const, queued: false, finished_at_ms: 2000 };
      await tx.createRun(pendingRun(id, over), "{}", []);
    }
  });
  await store.ackStatuses((await store.takeStatuses(0, 10)).at(-1)?.id ?? 0);
  const kept = () =>
    store.read(async (tx) => (await tx.listRuns({ limit: 10 })).map((run) => run.workflow_instance_id));

  await minute();
  expect([forgotten, await kept()]).toEqual([0, ["new", "old"]]);
  await minute();
  expect([forgotten, await kept()]).toEqual([1, ["new"]]);
  // There is nothing more to forget.
  await minute();
  expect(forgotten).toBe(1);
  expect(lostBefore).toEqual([MINUTE - DAY, 2 * MINUTE - DAY, 3 * MINUTE - DAY]);

  await housekeeping.stop();
  clock.advance(10 * MINUTE);
  expect([lostBefore.length, clock.alarms]).toEqual([3, 0]);
});
