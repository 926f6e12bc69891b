/** Many waits that are over at once. */
import { expect, test } from "bun:test";
import { createConsola } from "consola";
import { systemClock } from "../../src/clock.ts";
import { EventHub } from "../../src/event-hub.ts";
import { DueWatch } from "../../src/principal/runs/due-watch.ts";
import type { RunChanges } from "../../src/principal/runs/run-changes.ts";
import type { OperationalTx, WaitRecord } from "../../src/storage/operational/store.ts";
import { TestStores } from "../storage/operational-support.ts";

test("are ended in one commit, also those beside one that cannot go on, which is tried again", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const wait = (task: string): WaitRecord => ({
    workflow_instance_id: "run",
    task,
    task_instance_id: null,
    kind: "time",
    due_ms: 0,
    data: "{}",
    since_ms: 0,
  });
  await store.transact(async (tx) => {
    for (let n = 0; n < 30; n++) await tx.addWait(wait(`t${n}`));
  });
  let failures = 0;
  const changes: Pick<RunChanges, "due" | "prepare"> = {
    async prepare() {},
    async due(tx: OperationalTx, { workflow_instance_id, task }: WaitRecord) {
      if (task === "t7" && ++failures === 1) throw new Error("not now");
      await tx.endWait(workflow_instance_id, task);
    },
  };
  const watch = new DueWatch({
    store,
    changes: changes as RunChanges,
    clock: systemClock,
    log: createConsola({ reporters: [] }),
    events: new EventHub(),
  });
  const before = stores.commits;
  const again = watch.signals.until("looked", () => failures === 2);
  await watch.start();
  expect(stores.commits - before).toBe(1);
  expect(await store.read((tx) => tx.listWaits("run"))).toEqual([wait("t7")]);
  await again;
  expect(await store.read((tx) => tx.listWaits("run"))).toEqual([]);
  await watch.stop();
});
