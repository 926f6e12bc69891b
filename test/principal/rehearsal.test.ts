import { expect, test } from "bun:test";
import { EventHub } from "../../src/event-hub.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Rehearsal } from "../../src/principal/rehearsal.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../src/principal/runs/run-queue.ts";
import { pendingRun, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { NO_WORKFLOWS } from "./no-workflows.ts";

test("a rehearsal gets to its end, leaves nothing, and nobody hears of it", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const definitions = new Definitions();
  const events: PrincipalEvents = new EventHub();
  const heard: string[] = [];
  events.on("run ended", ({ workflow_instance_id: id }) => heard.push(id));
  events.on("statuses written", () => heard.push("statuses"));
  const base = { clock: new ManualClock(), definitions, events, progress: new ProgressOfRuns(definitions) };
  const followUps = { ending: async () => {} };
  const changes = new RunChanges({ workflows: NO_WORKFLOWS, ...base, followUps, queue: new RunQueue() });
  await store.transact((tx) => tx.createRun(pendingRun("waiting"), "{}", []));
  const rehearsal = new Rehearsal({ ...base, store, changes, log: silent });
  const content = async () => ({
    statuses: await store.takeStatuses(0, 100),
    ...(await store.read(async (tx) => ({
      runs: await tx.listRuns({ limit: 10 }),
      agents: await tx.listAgents(),
      attempts: await tx.openAttempts(),
      queue: await tx.queueHeads(),
      definition: await tx.getDefinition("rehearsal"),
    }))),
  });
  const before = await content();
  await rehearsal.start();
  const over = rehearsal.signals.next("rehearsed");
  base.clock.advance(1000);
  expect(await over).toBe(true);
  expect(await content()).toEqual(before);
  expect(heard).toEqual([]);

  // A disk that fails is told when somebody waits for it.
  stores.failStatement(10);
  expect(await rehearsal.rehearse()).toBe(false);
  stores.failStatement(null);
  expect(await content()).toEqual(before);
  await rehearsal.stop();
});
