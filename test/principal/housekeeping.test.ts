import { expect, test } from "bun:test";
import { systemClock } from "../../src/clock.ts";
import { EventHub } from "../../src/event-hub.ts";
import { Housekeeping } from "../../src/principal/housekeeping.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { newTaskRun } from "../../src/principal/runs/run-writing.ts";
import type { OperationalTx } from "../../src/storage/operational/store.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { pendingRun, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { workflowText } from "./support.ts";

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
    definitions: new Definitions(),
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

test("runs that the history does not keep are forgotten a few at a time, if they are over", async () => {
  await using stores = new TestStores();
  const store = await stores.open("data", new ManualClock());
  const events: PrincipalEvents = new EventHub();
  let steps = 0;
  events.on("runs forgotten", () => steps++);
  const housekeeping = new Housekeeping({
    store,
    agents: { forgetLost: async () => {} },
    clock: new ManualClock(),
    log: silent,
    definitions: new Definitions(),
    events,
  });
  const ids = Array.from({ length: 450 }, (_, n) => `run-${n}`);
  await store.transact(async (tx) => {
    const over = { status: "COMPLETED" as const, queued: false, finished_at_ms: 2000 };
    for (const id of ids) await tx.createRun(pendingRun(id, over), "{}", []);
    await tx.createRun(pendingRun("open", {}), "{}", []);
  });
  await store.ackStatuses((await store.takeStatuses(0, 1000)).at(-1)?.id ?? 0);
  await housekeeping.forgetRuns([...ids, "open", "unknown"]);
  const kept = await store.read((tx) => tx.listRuns({ limit: 10 }));
  expect(kept.map((run) => run.workflow_instance_id)).toEqual(["open"]);
  expect(steps).toBe(3);
});

test("outputs beyond the limit are moved: of finished runs first, then those that no task of an unfinished one needs", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const parsed = parseWorkflow(workflowText({ tasks: ["a", "b", "c"] }), { path: "w.yml", id: "w" });
  const definition = JSON.stringify(parsed.ok ? parsed.definition : null);
  const outputs = JSON.stringify({ text: "x".repeat(1000) });
  const publish = (run: string, task: string) => async (tx: OperationalTx) => {
    const running = {
      ...newTaskRun(
        {
          workflow_instance_id: run,
          task_instance_id: `${run}-${task}`,
          task_id: task,
          task_name: task,
          slice: 0,
          attempt: 1,
          task_attempt: 1,
        },
        1000,
      ),
      status: "RUNNING",
    } as const;
    await tx.transitionTask(running, null, { workflow_id: "w", agent_id: "a" });
    await tx.transitionTask({ ...running, status: "COMPLETED", outputs }, "RUNNING", {
      workflow_id: "w",
      agent_id: "a",
    });
  };
  // c still needs what b published; nobody needs what a did.
  const runs = { open: {}, old: { finished_at_ms: 2000 }, new: { finished_at_ms: 2000 } };
  for (const [id, over] of Object.entries(runs)) {
    await store.transact(async (tx) => {
      await tx.createRun(pendingRun(id, { definition_hash: "w", queued: false, ...over }), definition, []);
      for (const task of ["a", "b"]) await publish(id, task)(tx);
    });
  }
  await store.ackStatuses((await store.takeStatuses(0, 100)).at(-1)?.id ?? 0);
  const left = () =>
    store.read(async (tx) => {
      const found: string[] = [];
      for (const id of Object.keys(runs))
        for (const task of (await tx.outputsOf(id, ["a", "b"])).keys()) found.push(`${id} ${task}`);
      return found;
    });
  const tidy = (keptOutputsBytes: number) =>
    new Housekeeping({
      store,
      agents: { forgetLost: async () => {} },
      clock: systemClock,
      log: silent,
      definitions: new Definitions(),
      keptOutputsBytes,
      events: new EventHub(),
    }).tidy();
  await tidy(6 * outputs.length);
  expect(await left()).toHaveLength(6);
  await tidy(5 * outputs.length);
  expect(await left()).toEqual(["open a", "open b", "new a", "new b"]);
  await tidy(0);
  expect(await left()).toEqual(["open b"]);
});
