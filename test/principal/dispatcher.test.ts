import { describe, expect, test } from "bun:test";
import { AsyncLocalStorage } from "node:async_hooks";
import { EventHub } from "../../src/event-hub.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { Dispatcher } from "../../src/principal/runs/dispatcher.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../src/principal/runs/run-queue.ts";
import type { OperationalStore } from "../../src/storage/operational/store.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { agentRecord, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { NO_WORKFLOWS } from "./no-workflows.ts";
import { workflowText } from "./support.ts";

const WAIT_MS = 60_000;

function dispatcherOf(store: OperationalStore, clock: ManualClock, events: PrincipalEvents) {
  const queue = new RunQueue();
  const definitions = new Definitions();
  const base = { store, clock, events, queue, definitions, progress: new ProgressOfRuns(definitions) };
  const changes = new RunChanges({ workflows: NO_WORKFLOWS, ...base, followUps: { ending: async () => {} } });
  return { changes, dispatcher: new Dispatcher({ ...base, changes, log: silent, offerMs: 10_000 }) };
}

/** A dispatcher with an agent whose request waits. `during` happens after the run was assigned, before that is committed. */
async function assignWhile(
  during: (the: { clock: ManualClock; events: PrincipalEvents; dispatcher: Dispatcher }) => void,
) {
  await using stores = new TestStores();
  const clock = new ManualClock();
  const store = await stores.open("data", clock);
  const events: PrincipalEvents = new EventHub();
  const { dispatcher, changes } = dispatcherOf(store, clock, events);
  await dispatcher.start();
  await store.transact((tx) => tx.registerAgent(agentRecord("agent"), null, 10_000));
  const fetched = dispatcher.fetch({ agentId: "agent", sessionId: "s", fetchId: "f", waitMs: WAIT_MS });
  // Its first look finds no run.
  await store.transact(async () => {});
  const parsed = parseWorkflow(workflowText(), { path: "w.yml", id: "w" });
  if (!parsed.ok) throw new Error("the workflow is invalid");
  const { definition } = parsed;
  // What happens meanwhile is no part of the unit of work.
  const outside = AsyncLocalStorage.snapshot();
  await store.transact(async (tx) => {
    await changes.create(tx, {
      workflow_instance_id: "run",
      workflow_id: "w",
      workflow_name: definition.name,
      definition_hash: "hash",
      definition: JSON.stringify(definition),
      params: {},
      trigger: "api",
      scheduled_time_ms: null,
      retry_of: null,
      trigger_depth: 0,
      tasks_total: 1,
      carried: [],
    });
    tx.beforeCommit({
      work: async () => outside(() => during({ clock, events, dispatcher })),
      failed: () => {},
    });
  });
  const assignment = await fetched;
  await dispatcher.stop();
  return assignment?.workflow_instance_id;
}

describe("a run that is on its way to the disk for a request", () => {
  test("is given to it although its time is up meanwhile", async () => {
    expect(await assignWhile(({ clock }) => clock.advance(WAIT_MS))).toBe("run");
  });

  test("is given to it although its agent is told to take nothing new meanwhile", async () => {
    expect(await assignWhile(({ events }) => events.emit("agent dismissed", "agent"))).toBe("run");
  });

  test("is given to it although the principal is told to stop meanwhile", async () => {
    expect(await assignWhile(({ dispatcher }) => void dispatcher.stop())).toBe("run");
  });
});

test("a request whose time is up gets nothing, and so does one that comes after the stop", async () => {
  await using stores = new TestStores();
  const clock = new ManualClock();
  const store = await stores.open("data", clock);
  const { dispatcher } = dispatcherOf(store, clock, new EventHub());
  await dispatcher.start();
  const request = { agentId: "agent", sessionId: "s", fetchId: null, waitMs: WAIT_MS };
  const first = dispatcher.fetch(request);
  const second = dispatcher.fetch({ ...request, waitMs: 2 * WAIT_MS });
  // Their first look finds no run.
  await store.transact(async () => {});
  clock.advance(WAIT_MS);
  expect(await first).toBeNull();
  await dispatcher.stop();
  expect([await second, await dispatcher.fetch(request)]).toEqual([null, null]);
  expect(clock.alarms).toBe(0);
});
