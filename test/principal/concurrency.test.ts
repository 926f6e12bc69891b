/** Concurrency groups: who is admitted, who waits, and who is dropped or cancelled for others. */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import { until } from "../support/until.ts";
import { type FakeAgent, failure, required, TestPrincipal } from "./support.ts";

const TASKS = 'tasks:\n  a: {config: !Subprocess {cmd: "true"}}\n';
const limited = (concurrency: string, more = "") => `concurrency: ${concurrency}\n${more}${TASKS}`;

async function trigger(
  cluster: TestPrincipal,
  id = "w",
  params: Record<string, string> = {},
): Promise<string> {
  const created = await cluster.client().runTask(id, { params, dedupe_key: crypto.randomUUID() });
  return created.workflow_instance_id;
}

const get = (cluster: TestPrincipal, id: string): Promise<RunDetails> => cluster.client().getRun(id);
const statusOf = async (cluster: TestPrincipal, id: string) => (await get(cluster, id)).status;

/** A cluster with an agent that has room for many runs. */
async function start(workflows: Record<string, string>): Promise<{
  cluster: TestPrincipal;
  agent: FakeAgent;
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const cluster = await new TestPrincipal({ workflows }).start();
  const agent = await cluster.agent("x", { protocol: 3 });
  return { cluster, agent, [Symbol.asyncDispose]: () => cluster[Symbol.asyncDispose]() };
}

test("runs of a workflow go one after the other, in the order of their triggers; the next begins in the commit that ends one", async () => {
  await using world = await start({ "w.yml": limited("1") });
  const { cluster, agent } = world;
  const ids = [await trigger(cluster), await trigger(cluster), await trigger(cluster)];
  expect(await get(cluster, required(ids[1]))).toMatchObject({
    status: "PENDING",
    hold: "group",
    group: "w",
  });
  const [hold] = required((await get(cluster, required(ids[2]))).holds);
  expect(hold).toMatchObject({
    kind: "group",
    reason: `workflow w runs already (max_runs: 1): run ${ids[0]}, which has not begun; 1 run waits before it`,
    hint: `To stop that run: cdktr runs cancel ${ids[0]}`,
  });
  for (const id of ids) {
    const run = required(await agent.fetch(20_000));
    expect(run.workflow_instance_id).toBe(id);
    expect(await agent.fetch(0)).toBeNull();
    await agent.execute(run);
    expect(await get(cluster, id)).toMatchObject({ status: "COMPLETED", group: "w" });
  }
});

test("a group is shared by workflows, and its name may be an expression", async () => {
  const group = (region: string) =>
    limited(`{group: "\${{ params.region }}", max_runs: 2}`, `params: {region: ${region}}\n`);
  await using world = await start({ "a.yml": group("eu"), "b.yml": group("us") });
  const { cluster, agent } = world;
  await trigger(cluster, "a");
  await trigger(cluster, "b", { region: "eu" });
  const third = await trigger(cluster, "b", { region: "eu" });
  const other = await trigger(cluster, "b");
  expect(await get(cluster, third)).toMatchObject({ hold: "group", group: "eu" });
  const begun = [
    required(await agent.fetch(20_000)),
    required(await agent.fetch(20_000)),
    required(await agent.fetch(20_000)),
  ];
  expect(begun.map(({ workflow_instance_id }) => workflow_instance_id)).toContain(other);
  expect(await agent.fetch(0)).toBeNull();
  await agent.execute(required(begun[0]));
  expect(required(await agent.fetch(20_000)).workflow_instance_id).toBe(third);
});

test("a name that has no value is refused, and nothing is left of the run", async () => {
  await using world = await start({
    "w.yml": limited(`{group: "\${{ params.region }}"}`, 'params: {region: ""}\n'),
    "p.yml": "tasks:\n  c: {config: !Workflow {workflow: w}}\n",
  });
  const { cluster } = world;
  const error = await failure(trigger(cluster));
  expect(error.message).toContain('workflow "w": concurrency.group has no value: params.region is empty');
  expect(await cluster.client().listRuns({ limit: 10 })).toEqual([]);
  const parent = await cluster.client().waitRun(await trigger(cluster, "p"), 20_000);
  expect(parent).toMatchObject({ status: "FAILED" });
  expect(parent.tasks[0]?.error).toContain("concurrency.group has no value");
});

describe("a run that finds its group full", () => {
  test("ends as SKIPPED with skip, and says which run it found", async () => {
    await using world = await start({
      "w.yml": limited("{on_conflict: skip}"),
      "g.yml": limited("{group: eu, on_conflict: skip}"),
    });
    const { cluster, agent } = world;
    const first = await trigger(cluster);
    const second = await trigger(cluster);
    expect(await get(cluster, second)).toMatchObject({
      status: "SKIPPED",
      error: `workflow w runs already (max_runs: 1): run ${first} (on_conflict: skip)`,
    });
    const holder = await trigger(cluster, "g");
    expect((await get(cluster, await trigger(cluster, "g"))).error).toBe(
      `group "eu" is full (max_runs: 1): run ${holder} holds it (on_conflict: skip)`,
    );
    await agent.execute(required(await agent.fetch(20_000)));
    expect(await statusOf(cluster, await trigger(cluster))).toBe("PENDING");
  });

  test("takes the place of those that wait with queue_latest, which say so", async () => {
    await using world = await start({ "w.yml": limited("{on_conflict: queue_latest}") });
    const { cluster, agent } = world;
    const ids = [
      await trigger(cluster),
      await trigger(cluster),
      await trigger(cluster),
      await trigger(cluster),
    ];
    const runs = await Promise.all(ids.map((id) => get(cluster, id)));
    expect(runs.map(({ status }) => status)).toEqual(["PENDING", "SKIPPED", "SKIPPED", "PENDING"]);
    expect(runs[1]?.error).toBe(
      `it still waited for workflow w when run ${ids[2]} came (on_conflict: queue_latest)`,
    );
    await agent.execute(required(await agent.fetch(20_000)));
    expect(required(await agent.fetch(20_000)).workflow_instance_id).toBe(required(ids[3]));
  });

  test("cancels what runs with cancel_running, and begins when that has stopped and its hooks are over", async () => {
    const hook = 'hooks:\n  on_cancel: {config: !Subprocess {cmd: "true"}}\n';
    await using world = await start({ "w.yml": limited("{on_conflict: cancel_running}", hook) });
    const { cluster, agent } = world;
    const first = await trigger(cluster);
    const run = required(await agent.fetch(20_000));
    await agent.send(agent.runReport(run, "RUNNING"), agent.taskReport(run, "a", "RUNNING"));
    const second = await trigger(cluster);
    const third = await trigger(cluster);
    expect(await get(cluster, second)).toMatchObject({ status: "SKIPPED" });
    expect(await get(cluster, third)).toMatchObject({ status: "PENDING", hold: "group" });
    expect(await agent.fetch(0)).toBeNull();
    await agent.send(agent.taskReport(run, "a", "CANCELLED"), agent.runReport(run, "CANCELLED"));
    const hookRun = required(await agent.fetch(20_000));
    expect(hookRun).toMatchObject({ workflow_instance_id: first, tasks: ["on_cancel"] });
    // A further run does not stop the hook.
    const fourth = await trigger(cluster);
    expect(await statusOf(cluster, third)).toBe("SKIPPED");
    await agent.execute(hookRun);
    expect(await get(cluster, first)).toMatchObject({
      status: "CANCELLED",
      error: `cancelled for run ${second} (on_conflict: cancel_running)`,
    });
    expect(required(await agent.fetch(20_000)).workflow_instance_id).toBe(fourth);
  });

  test("cancels at once what no agent has yet", async () => {
    await using world = await start({ "w.yml": limited("{on_conflict: cancel_running, max_runs: 2}") });
    const { cluster, agent } = world;
    const ids = [await trigger(cluster), await trigger(cluster), await trigger(cluster)];
    const runs = await Promise.all(ids.map((id) => get(cluster, id)));
    expect(runs.map(({ status }) => status)).toEqual(["CANCELLED", "PENDING", "PENDING"]);
    expect(runs.map(({ hold }) => hold)).toEqual([undefined, undefined, undefined]);
    const begun = [required(await agent.fetch(20_000)), required(await agent.fetch(20_000))];
    expect(begun.map(({ workflow_instance_id }) => workflow_instance_id)).toEqual(ids.slice(1));
  });
});

test("retries, runs that start later and runs of tasks count, and always wait for their place", async () => {
  await using world = await start({
    "w.yml": limited("{group: eu, on_conflict: skip}"),
    "p.yml": "tasks:\n  c: {config: !Workflow {workflow: w}}\n",
  });
  const { cluster, agent } = world;
  const failed = await trigger(cluster);
  await agent.execute(required(await agent.fetch(20_000)), "FAILED");
  expect(await statusOf(cluster, failed)).toBe("FAILED");
  const holder = await trigger(cluster);
  const held = required(await agent.fetch(20_000));
  expect(held.workflow_instance_id).toBe(holder);
  const retry = await cluster.client().retryRun({ workflow_instance_id: failed, dedupe_key: "1" });
  expect(await get(cluster, retry.workflow_instance_id)).toMatchObject({ hold: "group" });
  await trigger(cluster, "p");
  const later = await cluster.client().runTask("w", { start_in_ms: 1, dedupe_key: "later" });
  // It is not asked for by anybody when its time comes: it is SKIPPED.
  const skipped = await cluster.client().waitRun(later.workflow_instance_id, 20_000);
  expect(skipped).toMatchObject({ status: "SKIPPED" });
  await agent.execute(held);
  const second = required(await agent.fetch(20_000));
  expect(second.workflow_instance_id).toBe(retry.workflow_instance_id);
  expect(await agent.fetch(0)).toBeNull();
  await agent.execute(second);
  expect(required(await agent.fetch(20_000))).toMatchObject({ workflow_id: "w", trigger: "workflow" });
});

test("a run that is held can be cancelled, and survives a restart with its place in the order", async () => {
  await using world = await start({ "w.yml": limited("1") });
  const { cluster } = world;
  const [first, second, third] = [await trigger(cluster), await trigger(cluster), await trigger(cluster)];
  expect(await cluster.client().cancelRun(second)).toMatchObject({ status: "CANCELLED" });
  expect((await get(cluster, second)).hold).toBeUndefined();
  await cluster.stop();
  await cluster.start();
  const agent = await cluster.agent("y", { protocol: 3 });
  const run = required(await agent.fetch(20_000));
  expect(run.workflow_instance_id).toBe(first);
  expect(await agent.fetch(0)).toBeNull();
  await agent.execute(run);
  expect(required(await agent.fetch(20_000)).workflow_instance_id).toBe(third);
});

test("the next attempt of a run keeps its place", async () => {
  await using world = await start({ "w.yml": limited("1") });
  const { cluster, agent } = world;
  const first = await trigger(cluster);
  await trigger(cluster);
  const run = required(await agent.fetch(20_000));
  await agent.send(agent.runReport(run, "RUNNING"));
  await agent.heartbeat([run], 0, { state: "leaving" });
  const other = await cluster.agent("y", { protocol: 3 });
  expect(required(await other.fetch(20_000))).toMatchObject({ workflow_instance_id: first, attempt: 2 });
  expect(await other.fetch(0)).toBeNull();
});

describe("a run that waits for itself", () => {
  const parent = (concurrency: string) =>
    `concurrency: ${concurrency}\ntasks:\n  c: {config: !Workflow {workflow: child}}\n`;

  test("fails at once, and so does the task that has started it", async () => {
    await using world = await start({ "p.yml": parent("{group: eu}"), "child.yml": limited("{group: eu}") });
    const { cluster } = world;
    const id = await trigger(cluster, "p");
    const over = await cluster.client().waitRun(id, 20_000);
    expect(over.status).toBe("FAILED");
    const child = required(over.tasks[0]?.child).workflow_instance_id;
    expect(await get(cluster, child)).toMatchObject({
      status: "FAILED",
      error: `it would wait for itself: group "eu" (max_runs: 1) is held by run ${id}, which waits for it`,
    });
    expect(over.tasks[0]?.error).toContain("it would wait for itself");
  });

  test("does not fail as long as another one in the group can end", async () => {
    await using world = await start({
      "p.yml": parent("{group: eu, max_runs: 2}"),
      "w.yml": limited("{group: eu, max_runs: 2}"),
      "child.yml": limited("{group: eu, max_runs: 2}"),
    });
    const { cluster, agent } = world;
    await trigger(cluster, "w");
    const other = required(await agent.fetch(20_000));
    const id = await trigger(cluster, "p");
    const held = async () =>
      (await cluster.client().listRuns({ limit: 10 })).find(
        (run) => run.parent !== undefined && run.hold === "group",
      );
    while ((await held()) === undefined) await cluster.client().waitRun(id, 20);
    await agent.execute(other);
    await agent.execute(required(await agent.fetch(20_000)));
    expect((await cluster.client().waitRun(id, 20_000)).status).toBe("COMPLETED");
  });
});

test("a run that starts later has waited since then; one with room goes before those that have none", async () => {
  await using world = await start({
    "one.yml": limited("{group: eu, max_runs: 1}"),
    "many.yml": limited("{group: eu, max_runs: 3}"),
  });
  const { cluster, agent } = world;
  const later = await cluster.client().runTask("many", { start_in_ms: 1, dedupe_key: "later" });
  const started = await cluster.client().waitRun(later.workflow_instance_id, 100);
  await agent.execute(required(await agent.fetch(20_000)));
  expect(started.workflow_instance_id).toBe(later.workflow_instance_id);
  await trigger(cluster, "many");
  const blocked = await trigger(cluster, "one");
  const behind = await trigger(cluster, "many");
  // It has room, and somebody without room waits before it.
  expect([(await get(cluster, blocked)).hold, (await get(cluster, behind)).hold]).toEqual(["group", "group"]);
  expect((await get(cluster, behind)).holds?.[0]?.reason).toBe(
    'group "eu" (max_runs: 3): 1 run waits before it',
  );
  await agent.execute(required(await agent.fetch(20_000)));
  expect(required(await agent.fetch(20_000)).workflow_instance_id).toBe(blocked);
});

test("a run that a higher priority puts before one that has no room begins at once", async () => {
  const group = (max: number) => limited(`{group: eu, max_runs: ${max}}`);
  await using world = await start({ "a.yml": group(1), "b.yml": group(2) });
  const { cluster } = world;
  const ids = [await trigger(cluster, "a"), await trigger(cluster, "a"), await trigger(cluster, "b")];
  expect((await get(cluster, required(ids[2]))).hold).toBe("group");
  await cluster.client().setPriority(required(ids[2]), 9);
  expect((await get(cluster, required(ids[2]))).hold).toBeUndefined();
  expect((await get(cluster, required(ids[1]))).hold).toBe("group");
});

test("another max_runs in the file counts for those that wait, unless the group is another one", async () => {
  await using world = await start({ "w.yml": limited("1"), "g.yml": limited("{group: eu}") });
  const { cluster, agent } = world;
  const ids = [await trigger(cluster), await trigger(cluster), await trigger(cluster)];
  await trigger(cluster, "g");
  const other = await trigger(cluster, "g");
  cluster.write("g.yml", limited("{group: us, max_runs: 5}"));
  cluster.write("w.yml", limited("2"));
  await until(
    "the second is admitted",
    async () => (await get(cluster, required(ids[1]))).hold === undefined,
  );
  expect((await get(cluster, required(ids[2]))).hold).toBe("group");
  await until(
    "the other file is read",
    async () => (await trigger(cluster, "g", {}).then((id) => get(cluster, id))).group === "us",
  );
  expect(await get(cluster, other)).toMatchObject({ hold: "group", group: "eu" });
  await agent.execute(required(await agent.fetch(20_000)));
  expect((await get(cluster, required(ids[2]))).hold).toBeUndefined();
});

test("what an older cdktr has done with runs of a group: it left those that waited, and ended others", async () => {
  await using world = await start({ "w.yml": limited("1") });
  const { cluster } = world;
  const [holder, cancelled, next] = [await trigger(cluster), await trigger(cluster), await trigger(cluster)];
  await cluster.stop();
  // As it does: it knows nothing of the columns for groups. What waits for a place is not in its queue.
  const database = new Database(join(cluster.directory, "data", "state.db"));
  const queue = "SELECT workflow_instance_id AS id FROM runs WHERE queued = 1";
  expect(database.query(queue).all()).toEqual([{ id: holder }]);
  const end = database.query(
    "UPDATE runs SET status = ?, resting = 0, status_at_ms = ?, queued = 0, finished_at_ms = ? WHERE workflow_instance_id = ?",
  );
  end.run("COMPLETED", Date.now(), Date.now(), holder);
  end.run("CANCELLED", Date.now(), Date.now(), cancelled);
  database.close();
  await cluster.start();
  const agent = await cluster.agent("y", { protocol: 3 });
  expect(required(await agent.fetch(20_000)).workflow_instance_id).toBe(next);
  const left = await get(cluster, cancelled);
  expect([left.status, left.hold, left.holds]).toEqual(["CANCELLED", undefined, undefined]);
});

test("the runs of a backfill count, and wait for their place whatever on_conflict says", async () => {
  await using world = await start({ "w.yml": limited("{on_conflict: skip}", 'cron: "0 0 29 2 *"\n') });
  const { cluster, agent } = world;
  const scope = { workflow_id: "w", from: "2016-01-01", to: "2024-12-31", dedupe_key: "leap days" };
  await cluster.client().call("CREATEBACKFILL", scope);
  const listed = () => cluster.client().listRuns({ limit: 10 });
  await until("its runs are there", async () => (await listed()).length === 3);
  const holds = (await listed()).map(({ hold, trigger }) => `${trigger} ${hold ?? "admitted"}`);
  expect(holds.sort()).toEqual(["backfill admitted", "backfill group", "backfill group"]);
  expect(await statusOf(cluster, await trigger(cluster))).toBe("SKIPPED");
  for (let n = 0; n < 3; n++) {
    await agent.execute(required(await agent.fetch(20_000)));
    if (n < 2) expect((await listed()).filter(({ hold }) => hold === "group")).toHaveLength(1 - n);
  }
  const ends = (await listed()).map(({ status }) => status);
  expect(ends).toEqual(["SKIPPED", "COMPLETED", "COMPLETED", "COMPLETED"]);
});

test("a firing that still waits for its group when the next one is due follows catchup", async () => {
  const nightly = (catchup: string) => limited("1", `cron: "0 0 29 2 *"\ncatchup: ${catchup}\n`);
  await using world = await start({ "latest.yml": nightly("latest"), "all.yml": nightly("all") });
  const { cluster, agent } = world;
  const now = Date.now();
  const fire = async (id: string, scheduled_time_ms: number) => {
    const options = { trigger: "cron", scheduled_time_ms, dedupe_key: crypto.randomUUID() };
    return (await cluster.client().runTask(id, options)).workflow_instance_id;
  };
  for (const id of ["latest", "all"]) {
    await fire(id, now - 1000);
    // An agent has it: it is not dropped any more.
    await agent.send(agent.runReport(required(await agent.fetch(20_000)), "RUNNING"));
    const waiting = await fire(id, now);
    expect((await get(cluster, waiting)).hold).toBe("group");
    const due = now + 3_600_000;
    const next = await fire(id, due);
    const error = `it still waited for workflow ${id} when the next firing was due, at ${new Date(due).toISOString()} (catchup: latest)`;
    expect(await get(cluster, waiting)).toMatchObject(
      id === "latest" ? { status: "SKIPPED", error } : { status: "PENDING", hold: "group" },
    );
    expect(await get(cluster, next)).toMatchObject({ status: "PENDING", hold: "group" });
  }
});
