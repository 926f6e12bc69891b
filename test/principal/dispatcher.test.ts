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

describe("several runs at once", () => {
  /** A dispatcher with runs in its queue, named by their workflow and a number. */
  async function queued(stores: TestStores, ...ids: string[]) {
    const clock = new ManualClock();
    const store = await stores.open("data", clock);
    const { dispatcher, changes } = dispatcherOf(store, clock, new EventHub());
    await dispatcher.start();
    for (const agent of ["agent", "other"])
      await store.transact((tx) => tx.registerAgent(agentRecord(agent), null, 10_000));
    const parsed = parseWorkflow(workflowText(), { path: "w.yml", id: "w" });
    if (!parsed.ok) throw new Error("the workflow is invalid");
    const { definition } = parsed;
    for (const id of ids)
      await store.transact((tx) =>
        changes.create(tx, {
          workflow_instance_id: id,
          workflow_id: id.slice(0, 1),
          workflow_name: definition.name,
          definition_hash: id.slice(0, 1),
          definition: JSON.stringify({ ...definition, id: id.slice(0, 1) }),
          params: { which: id },
          trigger: "api",
          scheduled_time_ms: null,
          retry_of: null,
          trigger_depth: 0,
          tasks_total: 1,
          carried: [],
        }),
      );
    const fetch = async (fetchId: string, most?: number, agentId = "agent") => {
      const got = await dispatcher.fetch({
        agentId,
        sessionId: "s",
        fetchId,
        waitMs: 0,
        ...(most === undefined ? {} : { most }),
      });
      const runs = got === null ? [] : [got, ...(got.others ?? [])];
      return {
        runs: runs.map(({ params }) => params.which),
        confirmed: runs.every((run) => run.is_confirmed === true && run.attempt === 1),
        workflow: got?.workflow.id,
        hasMore: got?.has_more ?? false,
      };
    };
    return { store, dispatcher, fetch };
  }

  test("are of one workflow, the oldest first, and as many as the agent takes; others are not overtaken", async () => {
    await using stores = new TestStores();
    const { dispatcher, fetch } = await queued(stores, "a1", "a2", "a3", "a4", "b1", "a5");
    const first = { runs: ["a1", "a2", "a3"], confirmed: true, workflow: "a", hasMore: true };
    expect(await fetch("one", 3)).toEqual(first);
    expect(await fetch("two", 9)).toMatchObject({ runs: ["a4"], hasMore: true });
    // An agent that does not say takes one.
    expect(await fetch("three")).toMatchObject({ runs: ["b1"], workflow: "b", hasMore: true });
    expect(await fetch("four", 9)).toMatchObject({ runs: ["a5"], hasMore: false });
    expect(await fetch("five", 9)).toMatchObject({ runs: [] });
    await dispatcher.stop();
  });

  test("come again if the reply got lost, and nobody else gets them", async () => {
    await using stores = new TestStores();
    const { store, dispatcher, fetch } = await queued(stores, "a1", "a2", "a3");
    expect((await fetch("one", 2)).runs).toEqual(["a1", "a2"]);
    // Also if it has less room by now: it must know what it has.
    expect(await fetch("one", 1)).toMatchObject({ runs: ["a1", "a2"], confirmed: true });
    expect((await fetch("one", 2, "other")).runs).toEqual(["a3"]);
    const held = await store.read((tx) => tx.openAttempts());
    expect(held.map(({ agent_id, fetch_id }) => [agent_id, fetch_id]).sort()).toEqual([
      ["agent", "one"],
      ["agent", "one.1"],
      ["other", "one"],
    ]);
    await dispatcher.stop();
  });

  test("are shared among all agents that wait: each has its turn before anyone gets another one", async () => {
    await using stores = new TestStores();
    const { store, dispatcher, fetch } = await queued(stores, "a1", "a2", "a3", "a4", "a5");
    // Both wait when runs are assigned.
    const [one, two] = await Promise.all([fetch("one", 9), fetch("two", 9, "other")]);
    expect([one.runs, two.runs]).toEqual([
      ["a1", "a3", "a5"],
      ["a2", "a4"],
    ]);
    expect(await store.read((tx) => tx.queueHeads())).toEqual([]);
    await dispatcher.stop();
  });
});
