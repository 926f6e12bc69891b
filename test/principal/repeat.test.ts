/** Tasks that are tried again until a condition holds: between two tries nobody has them. */
import { expect, test } from "bun:test";
import type { AgentReport, RunAssignment, RunDetails } from "../../src/contract/messages.ts";
import { until } from "../support/until.ts";
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

/** Says that its process ends. */
async function leaves(agent: FakeAgent, run: RunAssignment): Promise<void> {
  await agent.heartbeat([run], 0, { state: "leaving" });
}

test("an agent that is lost in a try: that one has failed, and the next one goes on with the same task run", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": TEXT } }).start();
  const id = await trigger(cluster);
  const x = await cluster.agent("x", { protocol: 3 });
  await tries(x, required(await x.fetch()), "WAITING");
  const waiting = await cluster.client().getRun(id);
  const { task_instance_id = "", started_at_ms } = waiting.tasks[0] ?? {};
  const second = required(await x.fetch(20_000));
  await x.send(x.runReport(second, "RUNNING"));
  await x.send({ ...x.taskReport(second, "poll", "RUNNING", 2), task_instance_id });
  await leaves(x, second);
  const lost = await cluster.client().getRun(id);
  expect(lost.tasks[0]).toMatchObject({ status: "WAITING", task_attempt: 2, started_at_ms });
  const y = await cluster.agent("y", { protocol: 3 });
  const third = required(await y.fetch(20_000));
  expect(third).toMatchObject({ attempt: 3, continues: { poll: { task_instance_id, task_attempt: 2 } } });
  // Lost before the try has begun.
  await y.send(y.runReport(third, "RUNNING"));
  await cluster.stop();
  await cluster.start();
  const again = await cluster.agent("y", { protocol: 3, sessionId: y.sessionId, streamId: y.streamId });
  again.seq = y.seq;
  await leaves(again, third);
  const z = await cluster.agent("z", { protocol: 3 });
  const fourth = required(await z.fetch(20_000));
  expect(fourth).toMatchObject({ attempt: 4, continues: { poll: { task_instance_id, task_attempt: 2 } } });
  await tries(z, fourth, "COMPLETED");
  await z.execute(required(await z.fetch()));
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.tasks_done]).toEqual(["COMPLETED", 2]);
  expect(run.tasks[0]).toMatchObject({ task_attempt: 3, started_at_ms });
});

test("a run that is cancelled while the next try waits for an agent", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": TEXT } }).start();
  const id = await trigger(cluster);
  const agent = await cluster.agent("x", { protocol: 3 });
  await tries(agent, required(await agent.fetch()), "WAITING", 1);
  await until("the next try waits", async () => (await cluster.client().getRun(id)).waits !== undefined);
  await cluster.client().cancelRun(id);
  const run = await cluster.client().waitRun(id, 20_000);
  expect(run.status).toBe("CANCELLED");
  expect(statusesOf(run)).toEqual({ poll: "CANCELLED", after: "CANCELLED" });
});

test("agents may be lost again and again, as long as tries end in between", async () => {
  const text = `tasks: {poll: {${POLL}}}\n`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const id = await trigger(cluster);
  for (const name of ["a", "b", "c", "d"]) {
    const agent = await cluster.agent(name, { protocol: 3 });
    await tries(agent, required(await agent.fetch(20_000)), "WAITING");
    const next = required(await agent.fetch(20_000));
    await agent.send(agent.runReport(next, "RUNNING"));
    await leaves(agent, next);
  }
  const last = await cluster.agent("last", { protocol: 3 });
  await tries(last, required(await last.fetch(20_000)), "COMPLETED");
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.tasks_done, run.tasks[0]?.task_attempt]).toEqual(["COMPLETED", 1, 5]);
});

test("tries are no attempts of the run, and leave no record each", async () => {
  const text = `tasks: {poll: {${POLL}}}\n`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const id = await trigger(cluster);
  const agent = await cluster.agent("x", { protocol: 3 });
  for (let n = 1; n <= 5; n++) {
    const given = required(await agent.fetch(20_000));
    expect([given.attempt, given.run_attempt ?? given.attempt]).toEqual([n, 1]);
    await tries(agent, given, n === 5 ? "COMPLETED" : "WAITING", 1);
  }
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.attempt, run.tasks[0]?.task_attempt]).toEqual(["COMPLETED", 1, 5]);
  expect(run.attempts.map(({ attempt }) => attempt)).toEqual([4, 5]);
});

test("its agent says that it waits, but not that the task does: the next try comes all the same", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": TEXT } }).start();
  await trigger(cluster);
  const agent = await cluster.agent("x", { protocol: 3 });
  const first = required(await agent.fetch());
  await agent.send(agent.runReport(first, "RUNNING"), agent.taskReport(first, "poll", "RUNNING"));
  await agent.send(agent.runReport(first, "WAITING"));
  expect(required(await agent.fetch(20_000))).toMatchObject({ continues: { poll: { task_attempt: 1 } } });
});

test.each([
  ["of a poll of which it said nothing else", "w", "poll"],
  ["of a task that is not tried again", "plain", "a"],
])("its agent says that it waits, %s: the run crashes and says why", async (_what, workflow, task) => {
  const workflows = {
    "w.yml": TEXT,
    "plain.yml": `tasks: {a: {run: "true"}, b: {config: !Wait {for: 1ms}}}\n`,
  };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const id = await trigger(cluster, workflow);
  const agent = await cluster.agent("x", { protocol: 3 });
  const first = required(await agent.fetch());
  await agent.send(agent.runReport(first, "RUNNING"), agent.runReport(first, "WAITING"));
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.tasks.find(({ task_id }) => task_id === task)?.error]).toEqual([
    "CRASHED",
    "its agent reported that it waits for its next try, but nothing about a try",
  ]);
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
