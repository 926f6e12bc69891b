/** JSON in the operational state that is damaged: it ends the run that it belongs to, and holds up no other. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { type FakeAgent, required, TestPrincipal } from "./support.ts";

const SPLIT = `tasks:
  a: {runs_on: {zone: x}, run: "true"}
  b: {runs_on: {zone: y}, depends: [a], run: "true"}
hooks:
  on_exit: {run: "true"}
`;

async function trigger(cluster: TestPrincipal, id: string): Promise<string> {
  return (await cluster.client().runTask(id, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

/** Changes the state while no principal runs. */
async function damage(cluster: TestPrincipal, ...statements: string[]): Promise<void> {
  await cluster.stop();
  const state = new Database(`${cluster.directory}/data/state.db`);
  for (const statement of statements) expect(state.run(statement).changes).toBeGreaterThan(0);
  state.close();
  await cluster.start();
}

const agentIn = (cluster: TestPrincipal, zone: string, of: Partial<FakeAgent> = {}) =>
  cluster.agent(zone, { ...of, protocol: 3, labels: { zone } });

test.each([
  ["a whole run", "UPDATE runs SET params = '{'", "the stored parameters are damaged"],
  ["a whole run", "UPDATE runs SET event = '{'", "the stored event is damaged"],
  ["a split run", "UPDATE runs SET event = '7'", "the stored event is damaged"],
  ["a split run", "UPDATE slices SET tasks = '{}'", "what is stored of slice 1 is damaged"],
])("%s that waits for an agent: %s", async (kind, statement, error) => {
  const workflows = { "whole.yml": `tasks: {a: {run: "true"}}\n`, "split.yml": SPLIT };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const id = await trigger(cluster, kind === "a whole run" ? "whole" : "split");
  await damage(cluster, statement);
  const good = await trigger(cluster, "whole");
  const agent = await agentIn(cluster, "x");
  expect(await agent.fetch()).toBeNull();
  const next = required(await agent.fetch());
  expect(next.workflow_instance_id).toBe(good);
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.error]).toEqual(["CRASHED", error]);
  await agent.execute(next);
  expect((await cluster.client().waitRun(good, 10_000)).status).toBe("COMPLETED");
  await cluster.stop();
  const state = new Database(`${cluster.directory}/data/state.db`);
  expect(state.query("SELECT count(*) AS n FROM slices WHERE state <> 'OVER'").get()).toEqual({ n: 0 });
  state.close();
});

test("a run whose agent has part of it: it ends when the agent is lost", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "split.yml": SPLIT } }).start();
  const id = await trigger(cluster, "split");
  const x = await agentIn(cluster, "x");
  const slice = required(await x.fetch());
  await x.send(x.runReport(slice, "RUNNING"));
  await damage(cluster, "UPDATE slices SET tasks = '['");
  const { sessionId, streamId, seq } = x;
  const back = await agentIn(cluster, "x", { sessionId, streamId });
  back.seq = seq;
  await back.heartbeat([slice], 0, { state: "leaving" });
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.error]).toEqual(["CRASHED", "what is stored of slice 1 is damaged"]);
});

test("a run that polls: its next try does not come", async () => {
  const workflows = {
    "poll.yml": `tasks:\n  poll: {run: "true", repeat: {every: 100ms, until: "\${{ exit_code == 0 }}"}}\n`,
  };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const id = await trigger(cluster, "poll");
  const agent = await agentIn(cluster, "x");
  const slice = required(await agent.fetch());
  const { task_instance_id } = agent.taskReport(slice, "poll", "RUNNING");
  await agent.send(agent.runReport(slice, "RUNNING"), agent.taskReport(slice, "poll", "RUNNING"));
  await agent.send({
    ...agent.taskReport(slice, "poll", "WAITING"),
    next_try_ms: 3_600_000,
    task_instance_id,
  });
  await agent.send(agent.runReport(slice, "WAITING"));
  await damage(cluster, "UPDATE slices SET tasks = '['", "UPDATE waits SET due_ms = 0, data = '['");
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.error]).toEqual(["CRASHED", "what is stored of its tasks is damaged"]);
});

test.each([
  ["a person", "config: !Approval {message: Go on?, timeout: 1h}"],
  ["a run", "config: !Workflow {workflow: w}"],
])("a task that waits for %s", async (_what, config) => {
  const workflows = {
    "w.yml": `tasks: {a: {run: "true"}}\n`,
    "waits.yml": `tasks: {a: {${config}}}\nhooks: {on_exit: {run: "true"}}\n`,
  };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const id = await trigger(cluster, "waits");
  await damage(cluster, "UPDATE waits SET due_ms = 0, data = '{'");
  const run = await cluster.client().waitRun(id, 10_000);
  expect([run.status, run.error]).toEqual(["CRASHED", 'what is stored of what "a" waits for is damaged']);
});

test("a run cannot be retried without its parameters", async () => {
  await using cluster = await new TestPrincipal({
    workflows: { "w.yml": `tasks: {a: {run: "true"}}\n` },
  }).start();
  const id = await trigger(cluster, "w");
  await cluster.client().cancelRun(id);
  await damage(cluster, "UPDATE runs SET params = '{'");
  const retry = cluster.client().retryRun({ workflow_instance_id: id, from_start: true, dedupe_key: "k" });
  const message = `Run ${id} cannot be retried: the stored parameters are damaged.`;
  await expect(retry).rejects.toThrow(message);
});
