import { expect, test } from "bun:test";
import { ClockSkew } from "../../src/principal/agents/clock-skew.ts";
import { until } from "../support/until.ts";
import { FakeAgent, TestPrincipal } from "./support.ts";

const HOUR = 3_600_000;

test("a clock differs if three heartbeats in a row say so; one that was long on its way does not", () => {
  const skew = new ClockSkew();
  const heard = (ahead: number) => skew.heard(1_000_000 + ahead, 1_000_000);
  expect([heard(0), heard(-37_000), heard(-30_000), skew.aheadMs]).toEqual([false, false, false, 0]);
  expect([heard(-HOUR), skew.aheadMs]).toEqual([true, -30_000]);
  expect([heard(-HOUR), heard(-HOUR - 50), skew.aheadMs]).toEqual([false, false, -HOUR]);
  expect([heard(10), skew.aheadMs]).toEqual([true, 0]);
});

test("what an agent has measured counts at once, until heartbeats say otherwise", () => {
  const skew = new ClockSkew();
  expect([skew.measured(HOUR), skew.aheadMs]).toEqual([true, HOUR]);
  expect([skew.measured(2 * HOUR), skew.aheadMs]).toEqual([false, 2 * HOUR]);
  const heard = (ahead: number) => skew.heard(1_000_000 + ahead, 1_000_000);
  expect([heard(0), heard(0), skew.aheadMs]).toEqual([false, false, 2 * HOUR]);
  expect([heard(0), skew.aheadMs]).toEqual([true, 0]);
  expect([skew.measured(2000), skew.aheadMs]).toEqual([false, 0]);
});

test("an agent that registers with a clock that is an hour ahead is warned of at once, and its next process is not", async () => {
  await using cluster = await new TestPrincipal({ workflows: {} }).start();
  const compared: number[] = [];
  const { streamId } = await cluster.agent("early");
  const register = async (clock_ahead_ms: number) => {
    await new FakeAgent(cluster.client(), "early", { streamId }).register([], { clock_ahead_ms });
    compared.push((await cluster.client().registeredAgents())[0]?.clock_ahead_ms ?? 0);
  };
  await register(HOUR);
  expect(cluster.book.count(/The clock of agent early is 1h ahead of the principal's/)).toBe(1);
  await register(20);
  expect(compared).toEqual([HOUR, 0]);
});

test("an agent whose clock is an hour behind is warned of, and listed so", async () => {
  await using cluster = await new TestPrincipal({ workflows: {} }).start();
  const agent = await cluster.agent("late");
  const beat = () =>
    cluster.client().call("AGENTHEARTBEAT", {
      agent_id: "late",
      session_id: agent.sessionId,
      wait_ms: 0,
      running: [],
      running_tasks: 0,
      now_ms: Date.now() - HOUR,
    });
  for (let i = 0; i < 3; i++) await beat();
  await cluster.book.waitFor(/The clock of agent late is 1h behind the principal's/);
  await until("it is listed", async () => {
    const [listed] = await cluster.client().registeredAgents();
    return Math.abs((listed?.clock_ahead_ms ?? 0) + HOUR) < 60_000;
  });
});
