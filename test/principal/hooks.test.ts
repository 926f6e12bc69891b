/** Hooks: what agents are given when all tasks of a run are over, and that the end of the run does not depend on it. */
import { describe, expect, test } from "bun:test";
import type { RunAssignment, RunDetails } from "../../src/contract/messages.ts";
import { type FakeAgent, required, type TestOptions, TestPrincipal } from "./support.ts";

const HOOKS = ["on_success", "on_failure", "on_cancel", "on_exit"] as const;

/** A workflow of a task `a` and one after it, `b`, with hooks. */
function workflow(hooks: readonly string[], ...top: string[]): string {
  const config = '{config: !Subprocess {cmd: "true"}';
  return [
    ...top,
    "tasks:",
    `  a: ${config}}`,
    `  b: ${config}, depends: [a]}`,
    "hooks:",
    ...hooks.map((hook) => `  ${hook}: ${config}}`),
    "",
  ].join("\n");
}

function principal(hooks: readonly string[], options: TestOptions & { top?: string[] } = {}) {
  const { top = [], ...rest } = options;
  return new TestPrincipal({ workflows: { "w.yml": workflow(hooks, ...top) }, ...rest }).start();
}

const NEW = { protocol: 3 };

async function trigger(cluster: TestPrincipal): Promise<string> {
  return (await cluster.client().runTask("w", { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

async function given(agent: FakeAgent): Promise<RunAssignment> {
  return required(await agent.fetch());
}

const statusesOf = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map(({ task_id, status }) => [task_id, status]));

/** The agent's part of the run, `a` and `b`, ends so. */
async function tasksEnd(agent: FakeAgent, status: "COMPLETED" | "FAILED"): Promise<void> {
  const slice = await given(agent);
  expect(slice).toMatchObject({ slice: 1, tasks: ["a", "b"] });
  expect(slice.run).toBeUndefined();
  expect(slice.workflow.hooks).toBeUndefined();
  if (status === "COMPLETED") return agent.execute(slice);
  await agent.send(
    agent.runReport(slice, "RUNNING"),
    agent.taskReport(slice, "a", "RUNNING"),
    agent.taskReport(slice, "a", "FAILED"),
    agent.taskReport(slice, "b", "SKIPPED"),
    agent.runReport(slice, "FAILED", "failed: a"),
  );
}

describe("hooks", () => {
  test.each([false, true])(
    "know that the outputs of the workflow cannot be computed (restart: %p)",
    async (restarts) => {
      const top = ['outputs: {n: "${{ tasks.a.outputs.n }}"}'];
      await using cluster = await principal(HOOKS, { top });
      const id = await trigger(cluster);
      let agent = await cluster.agent("x", NEW);
      await tasksEnd(agent, "COMPLETED");
      if (restarts) {
        await cluster.stop();
        await cluster.start();
        const { sessionId, streamId, seq } = agent;
        agent = await cluster.agent("x", { ...NEW, sessionId, streamId });
        agent.seq = seq;
      }
      const hooks = await given(agent);
      const error = 'output "n": tasks.a.outputs.n has no value: "a" published no "n"';
      expect(hooks).toMatchObject({
        tasks: ["on_failure", "on_exit"],
        run: { status: "FAILED", failed_tasks: [] },
      });
      await agent.execute(hooks);
      const run = await cluster.client().waitRun(id, 10_000);
      expect([run.status, run.error, hooks.run?.error]).toEqual(["FAILED", error, error]);
    },
  );

  test("run when all tasks are over, by how those ended, and know it", async () => {
    await using cluster = await principal(HOOKS);
    const id = await trigger(cluster);
    const agent = await cluster.agent("x", NEW);
    await tasksEnd(agent, "FAILED");
    const hooks = await given(agent);
    expect(hooks).toMatchObject({
      slice: 2,
      tasks: ["on_failure", "on_exit"],
      run: { status: "FAILED", error: "failed: a", failed_tasks: ["a"] },
      is_confirmed: true,
    });
    expect(hooks.workflow.tasks.map((task) => [task.id, task.name, task.timeout_ms])).toEqual([
      ["on_failure", "on_failure", 300_000],
      ["on_exit", "on_exit", 300_000],
    ]);
    const during = await cluster.client().getRun(id);
    expect(during).toMatchObject({ status: "RUNNING", tasks_total: 6, tasks_done: 4 });
    await agent.execute(hooks);
    const run = await cluster.client().getRun(id);
    expect(run).toMatchObject({ status: "FAILED", error: "failed: a", tasks_done: 6 });
    expect(statusesOf(run)).toEqual({
      a: "FAILED",
      b: "SKIPPED",
      on_success: "SKIPPED",
      on_failure: "COMPLETED",
      on_cancel: "SKIPPED",
      on_exit: "COMPLETED",
    });
    expect(run.tasks.filter(({ hook }) => hook === true)).toHaveLength(4);
    expect(run.tasks.find(({ task_id }) => task_id === "on_success")?.error).toBe("the run FAILED");
  });

  test("that fail change no status", async () => {
    await using cluster = await principal(["on_success"]);
    const id = await trigger(cluster);
    const agent = await cluster.agent("x", NEW);
    await tasksEnd(agent, "COMPLETED");
    const hook = await given(agent);
    expect(hook.run).toEqual({ status: "COMPLETED", error: null, failed_tasks: [] });
    await agent.send(
      agent.runReport(hook, "RUNNING"),
      agent.taskReport(hook, "on_success", "RUNNING"),
      agent.taskReport(hook, "on_success", "FAILED"),
      agent.runReport(hook, "FAILED", "failed: on_success"),
    );
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "COMPLETED", error: null });
    expect(statusesOf(run)).toEqual({ a: "COMPLETED", b: "COMPLETED", on_success: "FAILED" });
  });

  test("wait for an agent that knows them; nobody else of the run does", async () => {
    await using cluster = await principal(["on_exit"]);
    const id = await trigger(cluster);
    const old = await cluster.agent("old", { protocol: 2 });
    await old.execute(await given(old));
    expect(await old.fetch(0)).toBeNull();
    expect((await cluster.client().getRun(id)).waits).toMatchObject([
      { slice: 2, tasks: ["on_exit"], kind: "version" },
    ]);
    const agent = await cluster.agent("new", NEW);
    await agent.execute(await given(agent));
    expect((await cluster.client().waitRun(id, 10_000)).status).toBe("COMPLETED");
  });

  test("for a cancel run when the agent of the tasks cancels them by itself", async () => {
    await using cluster = await principal(["on_cancel", "on_exit"]);
    const id = await trigger(cluster);
    const agent = await cluster.agent("x", NEW);
    const slice = await given(agent);
    await agent.send(
      agent.runReport(slice, "RUNNING"),
      agent.taskReport(slice, "a", "RUNNING"),
      agent.taskReport(slice, "a", "CANCELLED"),
      agent.taskReport(slice, "b", "CANCELLED"),
      agent.runReport(slice, "CANCELLED"),
    );
    const hooks = await given(agent);
    expect(hooks).toMatchObject({ tasks: ["on_cancel", "on_exit"], run: { status: "CANCELLED" } });
    await agent.execute(hooks);
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run.status).toBe("CANCELLED");
    expect(statusesOf(run)).toMatchObject({ a: "CANCELLED", on_cancel: "COMPLETED", on_exit: "COMPLETED" });
  });

  test("run again in a retry, although they COMPLETED", async () => {
    await using cluster = await principal(["on_exit"]);
    const id = await trigger(cluster);
    const agent = await cluster.agent("x", NEW);
    await tasksEnd(agent, "FAILED");
    await agent.execute(await given(agent));
    expect((await cluster.client().waitRun(id, 10_000)).status).toBe("FAILED");
    const retry = await cluster.client().retryRun({ workflow_instance_id: id, dedupe_key: "again" });
    await tasksEnd(agent, "COMPLETED");
    const hook = await given(agent);
    expect(hook).toMatchObject({ tasks: ["on_exit"], run: { status: "COMPLETED" } });
    await agent.execute(hook);
    expect(await cluster.client().waitRun(retry.workflow_instance_id, 10_000)).toMatchObject({
      status: "COMPLETED",
      tasks_done: 3,
    });
  });

  test("are not about the time limit of the run", async () => {
    await using cluster = await principal(["on_failure"], { top: ['timeout: "400ms"'] });
    const id = await trigger(cluster);
    const agent = await cluster.agent("x", NEW);
    const slice = await given(agent);
    const { stop } = await agent.heartbeat([slice], 30_000);
    expect(stop).toMatchObject([{ slice: 1, reason: "timed out" }]);
    await agent.send(
      agent.taskReport(slice, "a", "FAILED"),
      agent.taskReport(slice, "b", "SKIPPED"),
      agent.runReport(slice, "FAILED", "timed out"),
    );
    const hook = await given(agent);
    expect(hook).toMatchObject({
      tasks: ["on_failure"],
      run: { status: "FAILED", error: "timed out after 400ms", failed_tasks: ["a"] },
      is_confirmed: true,
    });
    // Longer than the run itself may take.
    expect((await agent.heartbeat([hook], 700)).stop).toEqual([]);
    await agent.execute(hook);
    expect(await cluster.client().waitRun(id, 10_000)).toMatchObject({
      status: "FAILED",
      error: "timed out after 400ms",
    });
  });
});

describe("when a run with hooks is cancelled", () => {
  async function cancelled(cluster: TestPrincipal, agent: FakeAgent): Promise<string> {
    const id = await trigger(cluster);
    const slice = await given(agent);
    await agent.send(agent.taskReport(slice, "a", "RUNNING"));
    await cluster.client().cancelRun(id);
    expect((await agent.heartbeat([slice])).stop).toMatchObject([{ slice: 1, reason: "cancelled" }]);
    await agent.send(agent.taskReport(slice, "a", "CANCELLED"), agent.runReport(slice, "CANCELLED"));
    return id;
  }

  test("its hooks run, also if the request is repeated, and once more when their agent is lost", async () => {
    await using cluster = await principal(["on_cancel", "on_exit"]);
    const [x, y] = [await cluster.agent("x", NEW), await cluster.agent("y", NEW)];
    const id = await cancelled(cluster, x);
    const hooks = await given(x);
    expect(hooks).toMatchObject({
      tasks: ["on_cancel", "on_exit"],
      run: { status: "CANCELLED" },
      is_confirmed: true,
    });
    // The reply to the first request was lost.
    expect((await cluster.client().cancelRun(id)).status).toBe("RUNNING");
    expect((await x.heartbeat([hooks])).stop).toEqual([]);
    await x.send(x.taskReport(hooks, "on_cancel", "RUNNING"), x.taskReport(hooks, "on_cancel", "COMPLETED"));
    await x.heartbeat([hooks], 0, { state: "leaving" });
    const again = await given(y);
    expect(again).toMatchObject({
      slice: hooks.slice,
      attempt: 2,
      completed_tasks: ["on_cancel"],
      run: { status: "CANCELLED" },
    });
    await y.execute(again);
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "CANCELLED", error: "cancelled" });
    expect(statusesOf(run)).toMatchObject({ on_cancel: "COMPLETED", on_exit: "COMPLETED" });
  });

  test("before anybody had it, its hooks run all the same", async () => {
    await using cluster = await principal(["on_cancel"]);
    const id = await trigger(cluster);
    expect((await cluster.client().cancelRun(id)).status).toBe("PENDING");
    const agent = await cluster.agent("x", NEW);
    const hook = await given(agent);
    expect(hook).toMatchObject({ tasks: ["on_cancel"], run: { status: "CANCELLED" } });
    await agent.execute(hook);
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "CANCELLED", error: "cancelled" });
    expect(statusesOf(run)).toEqual({ a: "CANCELLED", b: "CANCELLED", on_cancel: "COMPLETED" });
  });

  test("once more, the hooks that run are stopped; its status stays", async () => {
    await using cluster = await principal(["on_cancel", "on_exit"]);
    const agent = await cluster.agent("x", NEW);
    const id = await cancelled(cluster, agent);
    const hooks = await given(agent);
    await agent.send(agent.taskReport(hooks, "on_exit", "RUNNING"));
    await cluster.client().cancelRun(id, { hooks: true });
    await cluster.client().cancelRun(id, { hooks: true });
    expect((await agent.heartbeat([hooks])).stop).toMatchObject([{ slice: 2, reason: "cancelled" }]);
    await agent.send(agent.taskReport(hooks, "on_exit", "CANCELLED"), agent.runReport(hooks, "CANCELLED"));
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run.status).toBe("CANCELLED");
    expect(statusesOf(run)).toMatchObject({ on_cancel: "CANCELLED", on_exit: "CANCELLED" });
  });

  test.each(["x is lost", "nobody has them"])(
    "in its hooks, when %s, the status is that of its tasks",
    async (which) => {
      await using cluster = await principal(["on_failure"]);
      const agent = await cluster.agent("x", NEW);
      const id = await trigger(cluster);
      await tasksEnd(agent, "FAILED");
      const hook = which === "nobody has them" ? null : await given(agent);
      await cluster.client().cancelRun(id);
      if (hook !== null) await agent.heartbeat([hook], 0, { state: "leaving" });
      const run = await cluster.client().waitRun(id, 10_000);
      expect(run).toMatchObject({ status: "FAILED", error: "failed: a" });
      expect(statusesOf(run)).toEqual({ a: "FAILED", b: "SKIPPED", on_failure: "CANCELLED" });
    },
  );
});

test("what a run with hooks has come to is read from the state after a restart", async () => {
  await using cluster = await principal(["on_failure", "on_exit"]);
  const x = await cluster.agent("x", NEW);
  const [first, second] = [await trigger(cluster), await trigger(cluster)];
  await tasksEnd(x, "FAILED");
  await tasksEnd(x, "FAILED");
  const hooks = await given(x);
  expect(hooks.workflow_instance_id).toBe(first);
  await cluster.client().cancelRun(first);
  await cluster.stop();
  await cluster.start();
  const { sessionId, streamId, seq } = x;
  const back = await cluster.agent("x", { ...NEW, sessionId, streamId });
  back.seq = seq;
  const others = await given(back);
  expect(others).toMatchObject({
    workflow_instance_id: second,
    tasks: ["on_failure", "on_exit"],
    run: { status: "FAILED", error: "failed: a", failed_tasks: ["a"] },
  });
  await back.execute(others);
  expect((await back.heartbeat([hooks])).stop).toMatchObject([{ slice: 2, reason: "cancelled" }]);
  await back.send(back.runReport(hooks, "CANCELLED"));
  for (const [id, hook] of [
    [first, "CANCELLED"],
    [second, "COMPLETED"],
  ] as const) {
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "FAILED", error: "failed: a" });
    expect(statusesOf(run)).toEqual({ a: "FAILED", b: "SKIPPED", on_failure: hook, on_exit: hook });
  }
});
