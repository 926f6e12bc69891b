/** Tasks that run another workflow as a run of its own. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import type { OperationalStore, UnitOfWork } from "../../src/storage/operational/store.ts";
import { RepeatingStore } from "../storage/repeating-store.ts";
import { type FakeAgent, required, TestPrincipal } from "./support.ts";

const RUN = '{config: !Subprocess {cmd: "true"}';

async function trigger(
  cluster: TestPrincipal,
  id = "w",
  params: Record<string, string> = {},
): Promise<string> {
  const created = await cluster.client().runTask(id, { params, dedupe_key: crypto.randomUUID() });
  return created.workflow_instance_id;
}

const statusesOf = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map(({ task_id, status }) => [task_id, status]));
const taskOf = (run: RunDetails, id: string) => required(run.tasks.find(({ task_id }) => task_id === id));

/** The run after its `count`th child exists. */
async function withChild(cluster: TestPrincipal, id: string, task = "child"): Promise<RunDetails> {
  for (;;) {
    const run = await cluster.client().getRun(id);
    const { child, status } = run.tasks.find(({ task_id }) => task_id === task) ?? {};
    if (child !== undefined || (status !== undefined && status !== "WAITING")) return run;
    await cluster.client().waitRun(id, 20);
  }
}

/** Executes the next run or slice; its tasks end so. */
async function execute(agent: FakeAgent, status: "COMPLETED" | "FAILED" = "COMPLETED", outputs?: object) {
  const run = required(await agent.fetch(20_000));
  const tasks = run.tasks ?? run.workflow.tasks.map(({ id }) => id);
  for (const task of tasks.filter((each) => !run.completed_tasks.includes(each))) {
    const began = agent.taskReport(run, task, "RUNNING");
    await agent.send(began);
    agent.seq = began.seq;
    const end = agent.taskReport(run, task, status);
    await agent.send(outputs === undefined ? end : { ...end, outputs: outputs as Record<string, unknown> });
    agent.seq = end.seq;
  }
  const error = status === "FAILED" ? `failed: ${tasks.join(", ")}` : null;
  const over = agent.runReport(run, status, error);
  await agent.send(over);
  return run;
}

test("a task runs another workflow, waits for it without an agent, and gets its outputs", async () => {
  const workflows = {
    "w.yml": `params: {day: monday}
outputs: {rows: "\${{ tasks.child.outputs.rows }}"}
tasks:
  child: {config: !Workflow {workflow: etl.load, params: {day: "\${{ params.day }}", tables: [a, 2]}}}
  after: ${RUN}, depends: [child]}
`,
    "etl/load.yml": `params: {day: {required: true}, tables: {type: json, default: []}}
outputs: {rows: "\${{ tasks.a.outputs.rows }}"}
tasks:
  a: ${RUN}}
`,
  };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const id = await trigger(cluster, "w", { day: "tuesday" });
  const agent = await cluster.agent("x", { protocol: 3 });
  const begun = await withChild(cluster, id);
  expect(begun).toMatchObject({ status: "RUNNING", agent_id: null });
  const { child } = taskOf(begun, "child");
  expect(child).toEqual({
    workflow_id: "etl.load",
    workflow_instance_id: expect.any(String),
    status: "PENDING",
    tasks_total: 1,
    tasks_done: 0,
  });
  expect(taskOf(begun, "child")).toMatchObject({ status: "WAITING", agent_id: null });
  expect(taskOf(begun, "child").next_attempt_ms).toBeUndefined();
  const childId = required(child).workflow_instance_id;
  expect(await cluster.client().getRun(childId)).toMatchObject({
    trigger: "workflow",
    parent: { workflow_instance_id: id, task_id: "child" },
    params: { day: "tuesday", tables: '["a",2]' },
  });
  const run = await execute(agent, "COMPLETED", { rows: 7 });
  expect(run.workflow_instance_id).toBe(childId);
  expect(await cluster.client().getRun(childId)).toMatchObject({ status: "COMPLETED", outputs: { rows: 7 } });
  await execute(agent);
  const over = await cluster.client().waitRun(id, 20_000);
  expect(over).toMatchObject({ status: "COMPLETED", outputs: { rows: 7 }, tasks_done: 2 });
  expect(taskOf(over, "child").child).toMatchObject({ status: "COMPLETED", tasks_done: 1 });
  const listed = await cluster.client().listRuns({ limit: 10 });
  expect(listed.map(({ parent }) => parent?.task_id)).toEqual(["child", undefined]);
  const sql = "SELECT workflow_id, parent_run, parent_task FROM workflow_runs WHERE parent_run IS NOT NULL";
  expect((await cluster.client().queryDatabase({ sql })).rows).toEqual([["etl.load", id, "child"]]);
});

/** A parent whose task `child` has these further keys, and a child of one task. */
const family = (keys = "", config = "", ...top: string[]) => ({
  "w.yml": [
    ...top,
    "tasks:",
    `  child: {${keys === "" ? "" : `${keys}, `}config: !Workflow {workflow: load${config === "" ? "" : `, ${config}`}}}`,
    `  after: ${RUN}, depends: [child]}`,
    "",
  ].join("\n"),
  "load.yml": `params: {day: monday}\ntasks:\n  a: ${RUN}}\n  b: ${RUN}, depends: [a]}\n`,
});

test("the failure of a child is that of its task; a retry of the parent goes on in it", async () => {
  await using cluster = await new TestPrincipal({ workflows: family() }).start();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await trigger(cluster);
  const first = required(await agent.fetch(20_000));
  await agent.send(agent.taskReport(first, "a", "RUNNING"), agent.taskReport(first, "a", "COMPLETED"));
  const why = { ...agent.taskReport(first, "b", "FAILED"), exit_code: 3, error: "exit status 3" };
  await agent.send(
    { ...agent.taskReport(first, "b", "RUNNING"), seq: why.seq },
    { ...why, seq: ++agent.seq },
  );
  await agent.send(agent.runReport(first, "FAILED", "failed: b"));
  const failed = await cluster.client().waitRun(id, 20_000);
  expect(failed).toMatchObject({ status: "FAILED", error: "failed: child" });
  expect(statusesOf(failed)).toEqual({ child: "FAILED", after: "SKIPPED" });
  const childId = first.workflow_instance_id;
  expect(taskOf(failed, "child").error).toBe(`run ${childId} of load FAILED: failed: b (exit status 3)`);

  const again = await cluster.client().retryRun({ workflow_instance_id: id, dedupe_key: "1" });
  const second = required(await agent.fetch(20_000));
  expect(second).toMatchObject({ workflow_id: "load", completed_tasks: ["a"], trigger: "workflow" });
  expect(await cluster.client().getRun(second.workflow_instance_id)).toMatchObject({
    retry_of: childId,
    parent: { workflow_instance_id: again.workflow_instance_id, task_id: "child" },
  });
  await agent.execute(second);
  // The child has completed; what follows it fails. A retry keeps the child.
  await execute(agent, "FAILED");
  expect((await cluster.client().waitRun(again.workflow_instance_id, 20_000)).status).toBe("FAILED");
  const third = await cluster
    .client()
    .retryRun({ workflow_instance_id: again.workflow_instance_id, dedupe_key: "2" });
  expect(await execute(agent)).toMatchObject({ workflow_id: "w", completed_tasks: ["child"] });
  const over = await cluster.client().waitRun(third.workflow_instance_id, 20_000);
  expect(over.status).toBe("COMPLETED");
  expect(taskOf(over, "child").child?.workflow_instance_id).toBe(second.workflow_instance_id);
  // From its beginning: the child is a new one.
  const fresh = await cluster
    .client()
    .retryRun({ workflow_instance_id: id, from_start: true, dedupe_key: "3" });
  const new_ = required(await agent.fetch(20_000));
  expect(new_).toMatchObject({ workflow_id: "load", completed_tasks: [] });
  expect((await cluster.client().getRun(new_.workflow_instance_id)).retry_of).toBeNull();
  await agent.execute(new_);
  await execute(agent);
  expect((await cluster.client().waitRun(fresh.workflow_instance_id, 20_000)).status).toBe("COMPLETED");
});

test("a cancel goes down, also to a child that an agent executes; one of the child fails its task", async () => {
  await using cluster = await new TestPrincipal({ workflows: family() }).start();
  const waiting = await trigger(cluster);
  await withChild(cluster, waiting);
  await cluster.client().cancelRun(waiting);
  const ended = await cluster.client().waitRun(waiting, 20_000);
  expect(ended).toMatchObject({ status: "CANCELLED" });
  expect(statusesOf(ended)).toEqual({ child: "CANCELLED", after: "CANCELLED" });
  expect(taskOf(ended, "child")).toMatchObject({
    error: "the run was cancelled",
    child: { status: "CANCELLED" },
  });

  const agent = await cluster.agent("x", { protocol: 3 });
  const running = await trigger(cluster);
  const run = required(await agent.fetch(20_000));
  await agent.send(agent.runReport(run, "RUNNING"));
  expect(await cluster.client().cancelRun(running)).toMatchObject({ status: "RUNNING" });
  const orders = await agent.heartbeat([run], 20_000);
  expect(orders.stop).toMatchObject([{ workflow_instance_id: run.workflow_instance_id }]);
  expect((await cluster.client().getRun(running)).status).toBe("RUNNING");
  await agent.send(agent.runReport(run, "CANCELLED"));
  expect((await cluster.client().waitRun(running, 20_000)).status).toBe("CANCELLED");

  const other = await trigger(cluster);
  const child = required(taskOf(await withChild(cluster, other), "child").child).workflow_instance_id;
  await cluster.client().cancelRun(child);
  const failed = await cluster.client().waitRun(other, 20_000);
  expect(failed).toMatchObject({ status: "FAILED", error: "failed: child" });
  expect(taskOf(failed, "child").error).toBe(`run ${child} of load was cancelled`);
});

test("time limits of the task and of the run stop the child", async () => {
  const late = family("timeout: 200ms")["w.yml"];
  const overdue = family("", "", "timeout: 200ms")["w.yml"];
  const workflows = { ...family(), "late.yml": late, "overdue.yml": overdue };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const [a, b] = [await trigger(cluster, "late"), await trigger(cluster, "overdue")];
  const first = await cluster.client().waitRun(a, 20_000);
  expect(first).toMatchObject({ status: "FAILED", error: "failed: child" });
  expect(taskOf(first, "child")).toMatchObject({
    error: "timed out after 200ms",
    child: { status: "CANCELLED" },
  });
  const second = await cluster.client().waitRun(b, 20_000);
  expect(second).toMatchObject({ status: "FAILED", error: "timed out after 200ms" });
  expect(statusesOf(second)).toEqual({ child: "FAILED", after: "SKIPPED" });
  const { error, child } = taskOf(second, "child");
  expect(error).toBe("the run timed out");
  // On a slow host its time may be up before the child is created.
  expect(["CANCELLED", undefined]).toContain(child?.status);
});

test("with wait: false the task is over when the run is queued; failover is that of the task", async () => {
  const workflows = family("", "wait: false, failover: never, params: {day: friday}");
  await using cluster = await new TestPrincipal({ workflows }).start();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await trigger(cluster);
  const [one, two] = [required(await agent.fetch(20_000)), required(await agent.fetch(20_000))];
  const [child, after] = one.workflow_id === "load" ? [one, two] : [two, one];
  expect(child).toMatchObject({ params: { day: "friday" }, workflow: { failover: "never" } });
  expect(after).toMatchObject({ workflow_id: "w", completed_tasks: ["child"] });
  await agent.execute(after);
  const over = await cluster.client().waitRun(id, 20_000);
  expect(over.status).toBe("COMPLETED");
  expect(taskOf(over, "child").child?.status).toBe("PENDING");
  const details = await cluster.client().getRun(id, { outputs: true });
  expect(taskOf(details, "child").outputs).toEqual({ workflow_instance_id: child.workflow_instance_id });
  await cluster.client().cancelRun(child.workflow_instance_id);
});

test("a child that cannot be created, or lacks an output, fails its task", async () => {
  const task = (id: string, config: string, more = "") => `  ${id}: {${more}config: !Workflow {${config}}}\n`;
  const workflows = {
    "w.yml": `tasks:\n${[
      task("unknown", "workflow: laod"),
      task("params", "workflow: load, params: {days: x, region: asia}"),
      task("declared", "workflow: quick", "outputs: [rows], "),
      task("circle", "workflow: circle"),
    ].join("")}`,
    "load.yml": `params: {day: {required: true}, days: {type: int, default: 1}, region: {enum: [eu], default: eu}}\ntasks: {a: ${RUN}}}\n`,
    "quick.yml": "tasks: {a: {config: !Wait {for: 1ms}}}\n",
    "circle.yml": "tasks: {again: {config: !Workflow {workflow: circle}}}\n",
  };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const run = await cluster.client().waitRun(await trigger(cluster), 30_000);
  const { child } = taskOf(run, "declared");
  expect(
    Object.fromEntries(run.tasks.map(({ task_id, error }) => [task_id, error?.replace(/run \S+/g, "run …")])),
  ).toEqual({
    unknown: 'There is no workflow "laod": did you mean "load"?',
    params:
      'workflow "load": parameter "days" must be a whole number, not "x"; parameter "region" must be one of eu, not "asia"; missing parameter "day"',
    declared: 'run … of quick COMPLETED, but its workflow has no output "rows", which the task declares',
    circle:
      "run … of circle FAILED: failed: again (run … of circle, again: 10 runs are nested already, the most that are allowed: do workflows run … other in a circle?)",
  });
  expect(child?.status).toBe("COMPLETED");
  const nested = await cluster.client().listRuns({ limit: 50, workflow_id: "circle" });
  expect(nested).toHaveLength(10);
  const deepest = await cluster.client().getRun(required(nested[0]).workflow_instance_id);
  expect(taskOf(deepest, "again").error).toBe(
    "10 runs are nested already, the most that are allowed: do workflows run each other in a circle?",
  );
});

test("each item of a fan-out may be a run; the first failure cancels the others", async () => {
  const workflows = {
    "w.yml": `tasks:
  all:
    foreach: ["1", "2", "3", "4"]
    key: "n\${{ item }}"
    max_parallel: 3
    fail_fast: true
    config: !Workflow {workflow: load, params: {day: "\${{ item }}"}}
`,
    "load.yml": `params: {day: ""}\ntasks: {a: ${RUN}}}\n`,
  };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const id = await trigger(cluster);
  const agent = await cluster.agent("x", { protocol: 3 });
  const first = await execute(agent);
  expect(first.params).toEqual({ day: "1" });
  const failed = await execute(agent, "FAILED");
  expect(failed.params).toEqual({ day: "2" });
  const over = await cluster.client().waitRun(id, 20_000);
  expect(over).toMatchObject({ status: "FAILED", error: "failed: all" });
  const items = await cluster.client().listItems({ workflow_instance_id: id, task_id: "all" });
  expect(items.map(({ item_key, status, child }) => [item_key, status, child?.status])).toEqual([
    ["n1", "COMPLETED", "COMPLETED"],
    ["n2", "FAILED", "FAILED"],
    ["n3", "CANCELLED", "CANCELLED"],
    // It may have begun before.
    ["n4", "CANCELLED", items[3]?.child?.status],
  ]);
  expect(["CANCELLED", undefined]).toContain(items[3]?.child?.status);
  expect(required(items[2]).error).toBe('"all[n2]" FAILED (fail_fast)');
  expect(await cluster.client().getRun(first.workflow_instance_id)).toMatchObject({
    parent: { workflow_instance_id: id, task_id: "all[n1]" },
  });
});

test("100 children at once: each is created once, and tells its end", async () => {
  const workflows = {
    "w.yml": `params: {n: {type: json, default: []}}
tasks:
  all: {foreach: "\${{ params.n }}", config: !Workflow {workflow: quick, params: {n: "\${{ item }}"}}}
`,
    "quick.yml": "params: {n: ''}\ntasks: {a: {config: !Wait {for: 1ms}}}\n",
  };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const n = JSON.stringify(Array.from({ length: 100 }, (_, i) => i));
  const run = await cluster.client().waitRun(await trigger(cluster, "w", { n }), 30_000);
  expect(run).toMatchObject({
    status: "COMPLETED",
    tasks: [{ items: { total: 100, by_status: { COMPLETED: 100 } } }],
  });
  const children = await cluster.client().listRuns({ limit: 1000, workflow_id: "quick" });
  expect(children).toHaveLength(100);
  expect(new Set(children.map(({ parent }) => parent?.task_id)).size).toBe(100);
});

/** A store in which nothing becomes due while it is held: a principal that dies then has not done what was to be done. */
class HeldStore extends RepeatingStore {
  readonly #isHeld: () => boolean;

  constructor(store: OperationalStore, isHeld: () => boolean) {
    super(store);
    this.#isHeld = isHeld;
  }

  override read<T>(work: UnitOfWork<T>): Promise<T> {
    return super.read((tx) =>
      work(this.#isHeld() ? { ...tx, dueWaits: async () => [], nextDueWait: async () => null } : tx),
    );
  }
}

test("a principal that died between two steps goes on with the next one: a run to be created, or to be stopped", async () => {
  let isHeld = true;
  const wrapStore = (store: OperationalStore) => new HeldStore(store, () => isHeld);
  await using cluster = await new TestPrincipal({ workflows: family(), wrapStore }).start();
  const restart = async (held: boolean) => {
    await cluster.stop();
    isHeld = held;
    await cluster.start();
  };
  const [id, early] = [await trigger(cluster), await trigger(cluster)];
  await cluster.client().cancelRun(early);
  expect(statusesOf(await cluster.client().getRun(id))).toEqual({ child: "WAITING" });
  await restart(false);
  const { child } = taskOf(await withChild(cluster, id), "child");
  // It was cancelled before its child was created.
  const never = await cluster.client().waitRun(early, 20_000);
  expect(never.status).toBe("CANCELLED");
  expect(taskOf(never, "child").child).toBeUndefined();
  await restart(true);
  await cluster.client().cancelRun(id);
  expect((await cluster.client().getRun(required(child).workflow_instance_id)).status).toBe("PENDING");
  await restart(false);
  const over = await cluster.client().waitRun(id, 20_000);
  expect(over.status).toBe("CANCELLED");
  expect(taskOf(over, "child").child).toMatchObject({ ...child, status: "CANCELLED" });
  expect(await cluster.client().listRuns({ limit: 10, workflow_id: "load" })).toHaveLength(1);
});

test("what an older cdktr has ended without telling the parent is told at the next start", async () => {
  await using cluster = await new TestPrincipal({ workflows: family() }).start();
  const [told, lost] = [await trigger(cluster), await trigger(cluster)];
  const [one, two] = [await withChild(cluster, told), await withChild(cluster, lost)].map((run) =>
    required(taskOf(run, "child").child?.workflow_instance_id),
  );
  await cluster.stop();
  const state = new Database(join(cluster.directory, "data", "state.db"));
  state.run(
    "UPDATE runs SET status = 'FAILED', error = 'failed: b', queued = 0, finished_at_ms = status_at_ms WHERE workflow_instance_id = ?",
    [required(one)],
  );
  state.run("DELETE FROM runs WHERE workflow_instance_id = ?", [required(two)]);
  state.close();
  await cluster.start();
  const ends = await Promise.all([told, lost].map((id) => cluster.client().waitRun(id, 20_000)));
  expect(ends.map((run) => taskOf(run, "child").error)).toEqual([
    `run ${one} of load FAILED: failed: b`,
    `nothing is known of its run ${two} any more`,
  ]);
});
