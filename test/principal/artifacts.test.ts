/** What tasks leave as files, as far as the principal is concerned: who may send and read what, and who is told of it. */
import { expect, test } from "bun:test";
import type { RunAssignment } from "../../src/contract/messages.ts";
import type { RequestFor } from "../../src/contract/verbs.ts";
import { FakeAgent, failure, required, TestPrincipal } from "./support.ts";

const WORKFLOW = `tasks:
  a: {run: "true"}
  b: {run: "true", depends: [a]}
`;
const CONTENT = Buffer.from("an archive, as far as the principal knows");
const HASH = new Bun.CryptoHasher("sha256").update(CONTENT).digest("hex");
const FILES = [{ path: "x", bytes: 1, offset: 512 }];
const LEFT = { hash: HASH, bytes: CONTENT.length, files: FILES };

async function start() {
  const cluster = await new TestPrincipal({ workflows: { "w.yml": WORKFLOW } }).start();
  const agent = await cluster.agent("agent-1", { protocol: 3 });
  return { cluster, agent };
}

async function trigger(cluster: TestPrincipal): Promise<string> {
  return (await cluster.client().runTask("w", { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

/** Sends what a task has left. */
function write(agent: FakeAgent, run: RunAssignment, more: Partial<RequestFor<"WRITEBLOB">> = {}) {
  const { workflow_instance_id, slice, attempt } = run;
  return agent.client.call("WRITEBLOB", {
    agent_id: agent.id,
    workflow_instance_id,
    slice,
    attempt,
    task_instance_id: "t",
    hash: HASH,
    bytes: CONTENT.length,
    offset: 0,
    data: CONTENT.toString("base64"),
    ...more,
  });
}

const fetchBlob = (agent: FakeAgent, { workflow_instance_id, slice, attempt }: RunAssignment, hash = HASH) =>
  agent.client.call("FETCHBLOB", {
    agent_id: agent.id,
    workflow_instance_id,
    slice,
    attempt,
    hash,
    offset: 0,
  });

/** The task `a` has COMPLETED and left files; `b` runs. */
async function leaves(agent: FakeAgent): Promise<RunAssignment> {
  const run = required(await agent.fetch());
  await write(agent, run);
  await agent.send(agent.runReport(run, "RUNNING"), agent.taskReport(run, "a", "RUNNING"), {
    ...agent.taskReport(run, "a", "COMPLETED"),
    artifacts: LEFT,
  });
  return run;
}

test("what a task has left is listed and read by clients, of its run only", async () => {
  const { cluster, agent } = await start();
  await using _ = cluster;
  const [id, other] = [await trigger(cluster), await trigger(cluster)];
  const run = await leaves(agent);
  expect(run.workflow_instance_id).toBe(id);
  const client = cluster.client();
  const listed = await client.call("LSARTIFACTS", { workflow_instance_id: id });
  expect(listed).toMatchObject([{ task_id: "a", item_key: null, ...LEFT }]);
  expect(await client.call("LSARTIFACTS", { workflow_instance_id: other })).toEqual([]);
  const whole = await client.call("READBLOB", { workflow_instance_id: id, hash: HASH, offset: 0 });
  expect(whole).toEqual({ data: CONTENT.toString("base64"), next: null });
  const piece = await client.call("READBLOB", { workflow_instance_id: id, hash: HASH, offset: 3, length: 7 });
  expect(piece).toEqual({ data: Buffer.from("archive").toString("base64"), next: 10 });
  const foreign = failure(client.call("READBLOB", { workflow_instance_id: other, hash: HASH, offset: 0 }));
  expect((await foreign).message).toContain(`Run ${other} does not refer to this file.`);
});

test("items of a fan-out are listed in their order, whichever was ready first", async () => {
  await using cluster = await new TestPrincipal({
    workflows: { "w.yml": 'tasks:\n  each: {run: "true", foreach: [x, y]}\n' },
  }).start();
  const agent = await cluster.agent("agent-1", { protocol: 3 });
  const id = await trigger(cluster);
  const run = required(await agent.fetch());
  await write(agent, run);
  const item = (index: number) => ({
    ...agent.taskReport(run, "each", "COMPLETED"),
    task_instance_id: `item-${index}`,
    item: { key: String(index), index },
    artifacts: LEFT,
  });
  await agent.send(
    agent.runReport(run, "RUNNING"),
    { ...agent.taskReport(run, "each", "RUNNING"), items_total: 2 },
    item(1),
    item(0),
  );
  const listed = await cluster.client().call("LSARTIFACTS", { workflow_instance_id: id });
  expect(listed.map(({ item_key }) => item_key)).toEqual(["0", "1"]);
});

test("only who has an attempt at the run sends and fetches its files", async () => {
  const { cluster, agent } = await start();
  await using _ = cluster;
  await trigger(cluster);
  const run = await leaves(agent);
  expect((await fetchBlob(agent, run)).data).toBe(CONTENT.toString("base64"));
  const stranger = await cluster.agent("agent-2", { protocol: 3 });
  const belongs = "does not belong to agent agent-2 (any more)";
  expect((await failure(fetchBlob(stranger, run))).message).toContain(belongs);
  expect((await failure(write(stranger, run))).message).toContain(belongs);
  expect((await failure(fetchBlob(agent, run, "0".repeat(64)))).message).toContain(
    "does not refer to this file",
  );
  await agent.send(agent.runReport(run, "COMPLETED"));
  expect((await failure(write(agent, run))).message).toContain("does not belong to agent agent-1 (any more)");
});

test("a run may leave so much, all of its tasks together; who asks before is told before", async () => {
  const { cluster, agent } = await start();
  await using _ = cluster;
  await trigger(cluster);
  const run = await leaves(agent);
  const MIB = 1024 * 1024;
  const asked = (bytes: number) => write(agent, run, { task_instance_id: "t2", hash: null, bytes, data: "" });
  expect(await asked(255 * MIB)).toEqual({ next: 0 });
  expect((await failure(asked(256 * MIB))).message).toBe(
    "they have 256 MiB, other tasks of its run have left 1 MiB, and a run may keep 256 MiB (CDKTR_ARTIFACTS_LIMIT_MB)",
  );
  // What is not what its hash says is not taken.
  const wrong = await failure(write(agent, run, { hash: "f".repeat(64) }));
  expect(wrong.message).toContain("what came is not what its hash says");
});

test("whoever goes on with the run, after the loss of its agent or in a retry, is told what is there", async () => {
  const { cluster, agent } = await start();
  await using _ = cluster;
  const id = await trigger(cluster);
  const run = await leaves(agent);
  expect(run.artifacts).toBeUndefined();
  const told = [{ task_id: "a", item_key: null, hash: HASH, bytes: CONTENT.length }];
  // The process of the agent is gone, and another one is there.
  const second = new FakeAgent(agent.client, agent.id, { protocol: 3, streamId: agent.streamId });
  await agent.heartbeat([], 0, { state: "leaving" });
  await second.register();
  const again = required(await second.fetch());
  expect(again).toMatchObject({
    workflow_instance_id: id,
    attempt: 2,
    completed_tasks: ["a"],
    artifacts: told,
  });
  expect((await fetchBlob(second, again)).next).toBeNull();
  second.seq = agent.seq;
  await second.send(
    second.runReport(again, "RUNNING"),
    second.taskReport(again, "b", "RUNNING"),
    second.taskReport(again, "b", "FAILED"),
    second.runReport(again, "FAILED", "b failed"),
  );
  const { workflow_instance_id: retried } = await cluster
    .client()
    .retryRun({ workflow_instance_id: id, dedupe_key: "again" });
  const third = required(await second.fetch());
  expect(third).toMatchObject({ workflow_instance_id: retried, completed_tasks: ["a"], artifacts: told });
  expect((await fetchBlob(second, third)).next).toBeNull();
  expect(await cluster.client().call("LSARTIFACTS", { workflow_instance_id: retried })).toHaveLength(1);
});

test("through tasks that no agent executes, a task has what those before them have published and left; also in a retry", async () => {
  const gated = `tasks:
  a: {run: "true"}
  other: {run: "true"}
  go: {depends: [a], config: !Approval {message: Go on?}}
  pause: {depends: [go], config: !Wait {for: 1ms}}
  b: {run: "true", depends: [pause]}
`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": gated } }).start();
  const agent = await cluster.agent("agent-1", { protocol: 3 });
  const client = cluster.client();
  const id = await trigger(cluster);
  const run = required(await agent.fetch());
  expect(run.tasks).toEqual(["a", "other"]);
  await write(agent, run);
  await agent.send(
    agent.runReport(run, "RUNNING"),
    agent.taskReport(run, "a", "RUNNING"),
    { ...agent.taskReport(run, "a", "COMPLETED"), artifacts: LEFT, outputs: { n: 1 } },
    agent.taskReport(run, "other", "COMPLETED"),
    agent.runReport(run, "COMPLETED"),
  );
  await client.answerApproval({ workflow_instance_id: id, answer: "approve", dedupe_key: "yes" });
  const told = (given: RunAssignment) => {
    expect(given).toMatchObject({
      tasks: ["b"],
      results: { a: { status: "COMPLETED", outputs: { n: 1 } }, go: { status: "COMPLETED" } },
      artifacts: [{ task_id: "a", item_key: null, hash: HASH, bytes: CONTENT.length }],
    });
    expect(given.workflow.tasks.map((task) => [task.id, task.depends]).sort()).toEqual([
      ["a", []],
      ["b", ["pause"]],
      ["go", ["a"]],
      ["pause", ["go"]],
    ]);
  };
  const after = required(await agent.fetch());
  told(after);
  await agent.send(
    agent.runReport(after, "RUNNING"),
    agent.taskReport(after, "b", "RUNNING"),
    agent.taskReport(after, "b", "FAILED"),
    agent.runReport(after, "FAILED", "b failed"),
  );
  await client.retryRun({ workflow_instance_id: id, dedupe_key: "again" });
  told(required(await agent.fetch()));
});
