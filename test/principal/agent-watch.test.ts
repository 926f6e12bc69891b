import { expect, test } from "bun:test";
import { AgentContacts } from "../../src/principal/agents/agent-contacts.ts";
import { AgentWatch } from "../../src/principal/agents/agent-watch.ts";
import { agentRecord, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";

const TIMEOUT_MS = 20_000;

/**
 * A watch and a store with a clock that the test controls; `names` are agents that have registered.
 * @param aliveMs how long they still had by the clock of the principal before
 */
async function watching(stores: TestStores, names: readonly string[], aliveMs = TIMEOUT_MS) {
  const clock = new ManualClock();
  const store = await stores.open("data", clock);
  const contacts = new AgentContacts(clock, TIMEOUT_MS);
  const lost: string[] = [];
  const open = (name: string) => contacts.open(name, "s");
  for (const name of names) {
    await store.transact((tx) => tx.registerAgent(agentRecord(name), null, aliveMs));
    open(name);
  }
  const watch = new AgentWatch({
    store,
    contacts,
    clock,
    log: silent,
    heartbeatTimeoutMs: TIMEOUT_MS,
    pauses: { check: () => {} },
    lose: async ({ agent_id }) => {
      await store.transact(async (tx) => {
        const agent = await tx.getAgent(agent_id);
        if (agent !== null) await tx.transitionAgent(agent, "LOST");
        lost.push(`${agent_id} at ${clock.now()}`);
      });
    },
  });
  await watch.start();
  return {
    store,
    watch,
    lost,
    hear: (name: string) => {
      open(name);
    },
    /** Lets time go by, a second at a time; `each` says what happens in a second. */
    async pass(seconds: number, each: () => void = () => {}): Promise<void> {
      for (let second = 0; second < seconds; second++) {
        each();
        const looked = watch.signals.next("looked");
        const before = clock.alarms;
        clock.advance(1000);
        if (clock.alarms < before) await looked;
      }
    },
    left: () => store.read((tx) => tx.nextDueAgent()),
  };
}

test("an agent is lost when its deadline passes, to the millisecond, and another that is heard of is not", async () => {
  await using stores = new TestStores();
  const { watch, lost, hear, pass } = await watching(stores, ["silent", "alive"]);
  await pass(60, () => hear("alive"));
  expect(lost).toEqual(["silent at 20000"]);
  await pass(60);
  expect(lost).toEqual(["silent at 20000", "alive at 79000"]);
  await watch.stop();
});

test("heartbeats cost no write of their own: rows follow, before their deadline and many in one commit", async () => {
  await using stores = new TestStores();
  const names = Array.from({ length: 50 }, (_, i) => `agent-${i}`);
  const { watch, lost, hear, pass, left } = await watching(stores, names);
  const before = stores.commits;
  await pass(100, () => {
    for (const name of names) hear(name);
  });
  expect(lost).toEqual([]);
  expect(stores.commits - before).toBeLessThanOrEqual(100 / 10);
  expect(stores.commits - before).toBeGreaterThan(3);
  expect(await left()).toBeGreaterThan(0);
  await watch.stop();
});

test("after a start, all agents have the same time, whatever the clock of the principal before said", async () => {
  await using stores = new TestStores();
  const { watch, lost, hear, pass } = await watching(stores, ["silent", "alive"], 3 * 365 * 86_400_000);
  await pass(60, () => hear("alive"));
  expect(lost).toEqual(["silent at 20000"]);
  await watch.stop();
});

test("agents go on being watched when the disk failed for a while", async () => {
  await using stores = new TestStores();
  const { watch, lost, hear, pass } = await watching(stores, ["silent", "alive"]);
  stores.failStatement(1);
  await pass(16, () => hear("alive"));
  stores.failStatement(1);
  await pass(20, () => hear("alive"));
  expect(lost).toEqual([expect.stringMatching(/^silent at 2[01]/)]);
  await watch.stop();
});
