/** Tasks that are tried again until a condition holds: between two tries nobody has them. */
import { expect, test } from "bun:test";
import type { AgentReport, RunAssignment, RunDetails } from "../../src/contract/messages.ts";
import { type FakeAgent, required, TestPrincipal } from "./support.ts";

const POLL = `repeat: {every: 100ms, until: "\${{ exit_code == 0 }}"}, run: "true"`;
const TEXT = `tasks:\n  poll: {${POLL}}\n  after: {depends: [poll], run: "true"}\n`;

async function trigger(cluster: TestPrincipal, id = "w"): Promise<string> {
  return (await cluster.client().runTask(id, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

const statusesOf = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map(({ task_id, status }) => [task_id, status]));

/** One try of the task run, which ends so. */
async function tries(
  agent: FakeAgent,
  run: RunAssignment,
  status: "WAITING" | "COMPLETED",
  next_try_ms = 100,
): Promise<void> {
  const going = run.continues?.poll;
  const report = (to: "RUNNING" | "WAITING" | "COMPLETED"): AgentReport => {
    const made = agent.taskReport(run, "poll", to, (going?.task_attempt ?? 0) + 1);
    const id = going === undefined ? {} : { task_instance_id: going.task_instance_id };
    return { ...made, ...id, ...(to === "WAITING" ? { next_try_ms } : {}) };
  };
  await agent.send(agent.runReport(run, "RUNNING"), report("RUNNING"), report(status));
  await agent.send(agent.runReport(run, status));
}

test("each try may be on another agent, with the same task run; a restart in between changes nothing", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": TEXT } }).start();
  const id = await trigger(cluster);
  const x = await cluster.agent("x", { protocol: 3 });
  const first = required(await x.fetch());
  expect(first).toMatchObject({ tasks: ["poll"], attempt: 1 });
  expect(first.continues).toBeUndefined();
  await tries(x, first, "WAITING", 1500);
  const waiting = await cluster.client().getRun(id);
  expect(statusesOf(waiting)).toEqual({ poll: "WAITING" });
  expect((await cluster.client().registeredAgents()).map((each) => each.running_workflows)).toEqual([0]);
  await cluster.stop();
  await cluster.start();
  const y = await cluster.agent("y", { protocol: 3 });
  const second = required(await y.fetch(20_000));
  const { task_instance_id = "" } = waiting.tasks[0] ?? {};
  expect(second).toMatchObject({ attempt: 2, continues: { poll: { task_instance_id, task_attempt: 1 } } });
  await tries(y, second, "WAITING");
  const third = required(await y.fetch(20_000));
  expect(third).toMatchObject({ attempt: 3, continues: { poll: { task_instance_id, task_attempt: 2 } } });
  await tries(y, third, "COMPLETED");
  await y.execute(required(await y.fetch()));
  const run = await cluster.client().waitRun(id, 10_000);
  expect(run.status).toBe("COMPLETED");
  expect(run.tasks.map(({ task_id, task_attempt }) => [task_id, task_attempt])).toEqual([
    ["poll", 3],
    ["after", 1],
  ]);
});

test("its run ends it at once: CANCELLED when it is cancelled, FAILED when it times out", async () => {
  const workflows = { "w.yml": TEXT, "late.yml": `timeout: 500ms\n${TEXT}` };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await trigger(cluster);
  await tries(agent, required(await agent.fetch()), "WAITING", 3_600_000);
  expect(await cluster.client().cancelRun(id)).toMatchObject({ status: "CANCELLED" });
  const cancelled = await cluster.client().getRun(id);
  expect(statusesOf(cancelled)).toEqual({ poll: "CANCELLED", after: "CANCELLED" });
  const late = await trigger(cluster, "late");
  await tries(agent, required(await agent.fetch()), "WAITING", 3_600_000);
  const run = await cluster.client().waitRun(late, 10_000);
  expect(run).toMatchObject({ status: "FAILED", error: "timed out after 500ms" });
  expect(statusesOf(run)).toEqual({ poll: "FAILED", after: "SKIPPED" });
  expect(await agent.fetch(0)).toBeNull();
});

test("a try that ends when its run is cancelled already does not wait for the next one", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": TEXT } }).start();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await trigger(cluster);
  const first = required(await agent.fetch());
  await agent.send(agent.runReport(first, "RUNNING"), agent.taskReport(first, "poll", "RUNNING"));
  await cluster.client().cancelRun(id);
  await agent.send({ ...agent.taskReport(first, "poll", "WAITING"), next_try_ms: 100 });
  await agent.send(agent.runReport(first, "WAITING"));
  const run = await cluster.client().waitRun(id, 10_000);
  expect(run.status).toBe("CANCELLED");
  expect(statusesOf(run)).toEqual({ poll: "CANCELLED", after: "CANCELLED" });
});

test("an agent that is lost in a try: the tries begin anew on another one", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": TEXT } }).start();
  const [x, y] = [await cluster.agent("x", { protocol: 3 }), await cluster.agent("y", { protocol: 3 })];
  const id = await trigger(cluster);
  await tries(x, required(await x.fetch()), "WAITING");
  const second = required(await x.fetch(20_000));
  await x.send(x.runReport(second, "RUNNING"));
  await x.heartbeat([second], 0, { state: "leaving" });
  const third = required(await y.fetch(20_000));
  expect([third.attempt, third.continues]).toEqual([3, undefined]);
  await tries(y, third, "COMPLETED");
  await y.execute(required(await y.fetch()));
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.tasks_done]).toEqual(["COMPLETED", 2]);
});

test("agents that do not know it do not get it, and its run is never whole", async () => {
  const text = `tasks: {poll: {${POLL}}}\n`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  await trigger(cluster);
  const older = await cluster.agent("older", { protocol: 2 });
  expect(await older.fetch(0)).toBeNull();
  const agent = await cluster.agent("x", { protocol: 3 });
  expect(required(await agent.fetch())).toMatchObject({ slice: 1, tasks: ["poll"] });
});
