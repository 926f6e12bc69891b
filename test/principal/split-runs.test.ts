/** Runs that several agents share: what agents are given, and what the principal makes of what they report, or do not. */
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/clock.ts";
import type { RunAssignment, RunDetails } from "../../src/contract/messages.ts";
import { EventHub } from "../../src/event-hub.ts";
import { Assignments } from "../../src/principal/runs/assignments.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../src/principal/runs/run-queue.ts";
import type { OperationalStore, OperationalTx } from "../../src/storage/operational/store.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { agentRecord, TestStores } from "../storage/operational-support.ts";
import { NO_WORKFLOWS } from "./no-workflows.ts";
import { type FakeAgent, required, type TestOptions, TestPrincipal } from "./support.ts";

/** A task of a test's workflow: its dependencies, and the value of the label `zone` that it needs. */
interface Task {
  readonly after?: readonly string[];
  readonly zone?: string;
}

function workflow(tasks: Readonly<Record<string, Task>>, ...top: string[]): string {
  const lines = Object.entries(tasks).flatMap(([id, { after = [], zone }]) => [
    `  ${id}:`,
    `    name: Task ${id}`,
    `    depends: ${JSON.stringify(after)}`,
    ...(zone === undefined ? [] : [`    runs_on: {zone: ${zone}}`]),
    "    config:",
    "      !Subprocess",
    '      cmd: "true"',
  ]);
  return ["name: Split", ...top, "tasks:", ...lines, ""].join("\n");
}

/** A principal with one workflow. */
function principal(tasks: Readonly<Record<string, Task>>, options: TestOptions & { top?: string[] } = {}) {
  const { top = [], ...rest } = options;
  return new TestPrincipal({ workflows: { "w.yml": workflow(tasks, ...top) }, ...rest }).start();
}

const inZone = (zone: string) => ({ protocol: 2, labels: { zone } });

/** The process of agent x registers with a principal that has been restarted. */
async function comeBack(cluster: TestPrincipal, { sessionId, streamId, seq }: FakeAgent): Promise<FakeAgent> {
  const back = await cluster.agent("x", { ...inZone("x"), sessionId, streamId });
  back.seq = seq;
  return back;
}

async function trigger(cluster: TestPrincipal, id = "w"): Promise<string> {
  const run = await cluster.client().runTask(id, { dedupe_key: crypto.randomUUID() });
  return run.workflow_instance_id;
}

/** What an agent is given now. */
async function given(agent: FakeAgent): Promise<RunAssignment> {
  return required(await agent.fetch());
}

const tasksOf = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map((task) => [task.task_id, [task.status, task.agent_id]]));

/** The rows that the history has of a run, in order: status and attempt. */
async function historyOf(cluster: TestPrincipal, id: string): Promise<unknown[][]> {
  const sql = `SELECT status::VARCHAR, attempt FROM workflow_run_status WHERE workflow_instance_id = '${id}' AND reason IS NULL ORDER BY rowid`;
  return (await cluster.client().queryDatabase({ sql })).rows;
}

/** Agents must confirm what they are given before it counts as theirs. */
const CONFIRMED = { top: ["failover: never"] };

const CHAIN = { a: { zone: "x" }, b: { after: ["a"], zone: "y" }, c: { after: ["b"], zone: "x" } };
const FORK = { a: { zone: "x" }, b: { zone: "y" }, c: { after: ["a", "b"], zone: "x" } };

describe("a whole run that needs labels", () => {
  const tasks = { a: { zone: "x" }, b: { after: ["a"], zone: "x" } };

  test("waits for an agent that has them, holds nothing up meanwhile, and stays one agent's", async () => {
    const workflows = { "w.yml": workflow(tasks), "plain.yml": workflow({ only: {} }) };
    await using cluster = await new TestPrincipal({ workflows }).start();
    const first = await trigger(cluster);
    const second = await trigger(cluster, "plain");
    const elsewhere = await cluster.agent("elsewhere", inZone("y"));
    expect((await given(elsewhere)).workflow_instance_id).toBe(second);
    expect(await elsewhere.fetch(0)).toBeNull();
    // It has the label, but is too old to know what is asked of it.
    const old = await cluster.agent("old", { ...inZone("x"), protocol: 1 });
    expect(await old.fetch(0)).toBeNull();
    const agent = await cluster.agent("agent", inZone("x"));
    const run = await given(agent);
    expect(run).toMatchObject({ workflow_instance_id: first, slice: 0, attempt: 1 });
    expect(run.tasks).toBeUndefined();
    await agent.execute(run);
    expect(await cluster.client().getRun(first)).toMatchObject({ status: "COMPLETED", tasks_done: 2 });
  });

  test("goes to a request that waits as soon as it is triggered, past those that cannot have it", async () => {
    await using cluster = await principal(tasks);
    const agents = [await cluster.agent("first", inZone("y")), await cluster.agent("second", inZone("x"))];
    const [none, some] = [agents[0]?.fetch(700), agents[1]?.fetch()];
    const id = await trigger(cluster);
    expect((await some)?.workflow_instance_id).toBe(id);
    expect(await none).toBeNull();
  });
});

describe("the time limit of a whole run", () => {
  test("counts from its first start: the next attempt has what is left", async () => {
    await using cluster = await principal({ a: {} }, { top: ['timeout: "1h"'] });
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", { protocol: 2 }), await cluster.agent("y", { protocol: 2 })];
    const first = await given(x);
    expect(first.time_left_ms).toBeUndefined();
    await x.send(x.runReport(first, "RUNNING"), x.runReport(first, "CRASHED", "handed over"));
    const second = await given(y);
    expect(second).toMatchObject({ workflow_instance_id: id, attempt: 2 });
    expect(second.time_left_ms).toBeWithin(0, 3_600_000);
    await y.execute(second);
    expect(await cluster.client().getRun(id)).toMatchObject({ status: "COMPLETED" });
  });

  test("ends it while it waits for its next attempt", async () => {
    await using cluster = await principal({ a: {} }, { top: ['timeout: "2s"'] });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", { protocol: 2 });
    const first = await given(x);
    await x.send(x.runReport(first, "RUNNING"));
    await x.heartbeat([first], 0, { state: "leaving" });
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "FAILED", attempt: 2, error: "timed out after 2s" });
    expect(await (await cluster.agent("y", { protocol: 2 })).fetch(0)).toBeNull();
  });
});

describe("a split run", () => {
  test("goes from agent to agent, with the results of what was before", async () => {
    await using cluster = await principal(CHAIN);
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    expect(await y.fetch(0)).toBeNull();
    const a = await given(x);
    expect(a).toMatchObject({ slice: 1, attempt: 1, tasks: ["a"], completed_tasks: [], results: {} });
    expect(a.workflow.tasks.map((task) => task.id)).toEqual(["a"]);
    const waiting = y.fetch();
    const done = { ...x.taskReport(a, "a", "COMPLETED"), outputs: { rows: 3 } };
    await x.send(x.runReport(a, "RUNNING"), { ...x.taskReport(a, "a", "RUNNING"), seq: done.seq + 2 });
    expect(await cluster.client().getRun(id)).toMatchObject({ status: "RUNNING", tasks_done: 0 });
    await x.send({ ...done, seq: x.seq + 2 });
    // The slice of b is ready although the one of a has not been ended.
    const b = required(await waiting);
    expect(b).toMatchObject({
      slice: 2,
      attempt: 1,
      tasks: ["b"],
      completed_tasks: ["a"],
      results: { a: { status: "COMPLETED", outputs: { rows: 3 } } },
    });
    expect(b.workflow.tasks.map(({ id: task, depends }) => [task, depends])).toEqual([
      ["a", []],
      ["b", ["a"]],
    ]);
    x.seq += 2;
    await x.send(x.runReport(a, "COMPLETED"));
    expect((await cluster.client().getRun(id)).status).toBe("RUNNING");
    await y.execute(b);
    const c = await given(x);
    expect(c).toMatchObject({ slice: 3, tasks: ["c"], completed_tasks: ["b"] });
    const end = cluster.client().waitRun(id, 10_000);
    await x.execute(c);
    const run = await end;
    expect(run).toMatchObject({ status: "COMPLETED", attempt: 1, error: null, tasks_done: 3 });
    expect(tasksOf(run)).toEqual({ a: ["COMPLETED", "x"], b: ["COMPLETED", "y"], c: ["COMPLETED", "x"] });
    expect(
      run.attempts.map(({ slice, attempt, agent_id, status }) => [slice, attempt, agent_id, status]),
    ).toEqual([
      [1, 1, "x", "COMPLETED"],
      [2, 1, "y", "COMPLETED"],
      [3, 1, "x", "COMPLETED"],
    ]);
    expect(await historyOf(cluster, id)).toEqual([
      ["PENDING", 1],
      ["RUNNING", 1],
      ["COMPLETED", 1],
    ]);
    expect((await x.heartbeat([])).stop).toEqual([]);
    const sql = "SELECT task_id, slice, outputs FROM task_runs ORDER BY task_id";
    expect((await cluster.client().queryDatabase({ sql })).rows).toEqual([
      ["a", 1, '{"rows":3}'],
      ["b", 2, null],
      ["c", 3, null],
    ]);
  });

  test("keeps tasks together that can be, and prefers an agent that knows the run", async () => {
    const tasks = {
      a: {},
      b: { after: ["a"] },
      far: { after: ["a"], zone: "y" },
      c: { after: ["b", "far"] },
      d: { after: ["c"] },
    };
    await using cluster = await principal(tasks);
    await trigger(cluster);
    const known = await cluster.agent("known", { protocol: 2 });
    const ab = await given(known);
    expect(ab.tasks).toEqual(["a", "b"]);
    await known.execute(ab);
    const y = await cluster.agent("y", inZone("y"));
    const other = await cluster.agent("other", { protocol: 2 });
    const far = await given(y);
    const [first, second] = [other.fetch(700), known.fetch()];
    await y.execute(far);
    expect((await second)?.tasks).toEqual(["c", "d"]);
    expect(await first).toBeNull();
  });

  test("is no affair of agents that do not know slices", async () => {
    await using cluster = await principal({ a: {}, b: {} }, { top: ["placement: spread"] });
    await trigger(cluster);
    expect(await (await cluster.agent("old")).fetch(0)).toBeNull();
    expect((await given(await cluster.agent("new", { protocol: 2 }))).tasks).toEqual(["a"]);
  });

  test("skips what depends on a task that failed, as soon as that is known, and fails", async () => {
    await using cluster = await principal({ ...FORK, d: { after: ["c"] }, e: { after: ["b"] } });
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const [a, b] = [await given(x), await given(y)];
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"), x.taskReport(a, "a", "FAILED"));
    const known = { a: ["FAILED", "x"], c: ["SKIPPED", null], d: ["SKIPPED", null] };
    expect(tasksOf(await cluster.client().getRun(id))).toEqual(known);
    await x.send(x.runReport(a, "FAILED", "failed: a"));
    expect(tasksOf(await cluster.client().getRun(id))).toEqual(known);
    await y.execute(b);
    await x.execute(await given(x));
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "FAILED", error: "failed: a", tasks_done: 5 });
    expect(run.tasks.find((task) => task.task_id === "d")?.error).toBe('"a", on which it depends, FAILED');
  });

  test("ends what an agent does not report, also for what depends on it", async () => {
    await using cluster = await principal(CHAIN);
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"), x.runReport(a, "COMPLETED"));
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "CRASHED", error: "crashed: a" });
    expect(tasksOf(run)).toEqual({ a: ["CRASHED", "x"], b: ["SKIPPED", null], c: ["SKIPPED", null] });
  });

  test("takes no report on a task that is not in the slice, and each only once", async () => {
    await using cluster = await principal(FORK);
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const [a, b] = [await given(x), await given(y)];
    const reports = () => [
      x.runReport(a, "RUNNING"),
      x.taskReport(a, "a", "RUNNING"),
      x.taskReport(a, "a", "COMPLETED"),
    ];
    await x.send(...reports(), x.taskReport(a, "b", "COMPLETED"));
    await cluster.book.waitFor(/does not fit its state/);
    // Again, with new numbers.
    await x.send(...reports(), x.runReport(a, "COMPLETED"), x.runReport(a, "COMPLETED"));
    await x.send(...reports(), x.runReport(a, "FAILED"));
    // And about another agent's slice.
    const orders = await x.send(x.runReport(b, "COMPLETED"), x.taskReport(b, "b", "COMPLETED"));
    expect(orders.stop).toEqual([{ workflow_instance_id: id, slice: 2, attempt: 1, reason: "superseded" }]);
    expect(await cluster.client().getRun(id)).toMatchObject({ status: "RUNNING", tasks_done: 1 });
    await y.execute(b);
    const c = await given(x);
    await x.execute(c);
    expect(await cluster.client().waitRun(id, 10_000)).toMatchObject({ status: "COMPLETED", tasks_done: 3 });
  });

  test("is given to who has most room, if it spreads", async () => {
    const tasks = Object.fromEntries(["a", "b", "c", "d", "e"].map((id) => [id, {}]));
    await using cluster = await principal(tasks, { top: ["placement: spread"] });
    const small = await cluster.agent("small", { protocol: 2, capacity: 2 });
    const large = await cluster.agent("large", { protocol: 2, capacity: 4 });
    const fetched = [small, large, small, large, large].map(async (agent) => [
      agent.id,
      (await given(agent)).tasks,
    ]);
    await trigger(cluster);
    const byAgent = Object.groupBy(await Promise.all(fetched), ([agent]) => String(agent));
    // 4 and 3 places are more than 2; from then on it is equal.
    expect(byAgent.large?.map(([, own]) => own)).toEqual(expect.arrayContaining([["a"], ["b"]]));
    expect(byAgent.small).toHaveLength(2);
  });

  test("whose definition is damaged ends, and so does what agents have of it", async () => {
    await using cluster = await principal(FORK, { leaseTimeoutMs: 400 });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"));
    await cluster.stop();
    const { Database } = await import("bun:sqlite");
    const state = new Database(`${cluster.directory}/data/state.db`);
    state.run("UPDATE definitions SET definition = '{'");
    state.close();
    await cluster.start();
    const again = cluster.client();
    const back = await comeBack(cluster, x);
    await back.send(
      back.taskReport(a, "a", "RUNNING"),
      back.taskReport(a, "a", "COMPLETED"),
      back.runReport(a, "COMPLETED"),
    );
    expect(await again.waitRun(id, 10_000)).toMatchObject({ status: "CRASHED" });
    expect(await back.fetch(0)).toBeNull();
  });
});

describe("what handled a failure elsewhere", () => {
  const part = (zone: string, rest = "") => `{runs_on: {zone: ${zone}}, ${rest}run: "true"}`;
  const handlers = {
    "a task": part("y", "depends: {a: failed}, "),
    "a fan-out of the principal": "{depends: {a: failed}, foreach: [1, 2], config: !Wait {for: 1ms}}",
    "a wait": "{depends: {a: failed}, config: !Wait {for: 1ms}}",
  };
  const cases = Object.keys(handlers).flatMap((what) =>
    (["COMPLETED", "FAILED"] as const).flatMap((again) =>
      [true, false].map((isBuilt) => ({ what, again, isBuilt })),
    ),
  );

  test.each(cases)(
    "and the failure is tried again: $what, $again then (machine built again: $isBuilt)",
    async ({ what, again, isBuilt }) => {
      const text = [
        "tasks:",
        `  a: ${part("x")}`,
        `  slow: ${part("x", "depends: {a: ended}, ")}`,
        `  h: ${handlers[what as keyof typeof handlers]}`,
        `  after: ${part("y", "depends: [h], ")}`,
        "",
      ].join("\n");
      const wrapStore = isBuilt ? {} : { wrapStore: (store: OperationalStore) => store };
      await using cluster = await new TestPrincipal({ workflows: { "w.yml": text }, ...wrapStore }).start();
      const id = await trigger(cluster);
      const asks = (zone: string) => ({ protocol: 3, labels: { zone }, capacity: 4 });
      const x = await cluster.agent("x", asks("x"));
      const y = await cluster.agent("y", asks("y"));
      const first = await given(x);
      await x.send(
        x.runReport(first, "RUNNING"),
        x.taskReport(first, "a", "RUNNING"),
        x.taskReport(first, "a", "FAILED"),
      );
      /** The handler, and what comes after it. */
      const handle = async () => y.execute(await given(y));
      await handle();
      const statuses = async () =>
        Object.fromEntries(
          (await cluster.client().getRun(id)).tasks.map(({ task_id, status }) => [task_id, status]),
        );
      expect(await statuses()).toMatchObject({ a: "FAILED", h: "COMPLETED", after: "COMPLETED" });
      await x.heartbeat([first], 0, { state: "leaving" });
      expect(await statuses()).not.toHaveProperty("h");
      expect(await statuses()).not.toHaveProperty("after");
      const z = await cluster.agent("z", asks("x"));
      const second = await given(z);
      await z.send(
        z.runReport(second, "RUNNING"),
        z.taskReport(second, "a", "RUNNING"),
        z.taskReport(second, "a", again),
      );
      if (again === "FAILED") await handle();
      await z.send(
        z.taskReport(second, "slow", "RUNNING"),
        z.taskReport(second, "slow", "COMPLETED"),
        z.runReport(second, again),
      );
      const run = await cluster.client().waitRun(id, 10_000);
      const end = again === "FAILED" ? "COMPLETED" : "SKIPPED";
      expect([run.status, await statuses()]).toEqual([
        again,
        { a: again, slow: "COMPLETED", h: end, after: end },
      ]);
      expect(run.tasks_done).toBe(4);
    },
  );
});

describe("what tasks have published", () => {
  const asks = (zone: string) => ({ protocol: 3, labels: { zone } });
  const task = (zone: string, rest = "") =>
    `{runs_on: {zone: ${zone}}, ${rest}config: !Subprocess {cmd: "true"}}`;

  test.each(["", "when: '${{ tasks.a.outputs.n == 7 }}', "])(
    "and is damaged in the store, ends its run and holds up no others: %p",
    async (condition) => {
      const bad = `tasks:\n  a: ${task("x")}\n  b: ${task("y", `depends: [a], ${condition}`)}\n`;
      const workflows = { "bad.yml": bad, "good.yml": `tasks:\n  c: ${task("y")}\n` };
      await using cluster = await new TestPrincipal({ workflows }).start();
      const id = await trigger(cluster, "bad");
      const x = await cluster.agent("x", asks("x"));
      const first = await given(x);
      await x.send(
        x.runReport(first, "RUNNING"),
        x.taskReport(first, "a", "RUNNING"),
        { ...x.taskReport(first, "a", "COMPLETED"), outputs: { n: 7 } },
        x.runReport(first, "COMPLETED"),
      );
      const good = await trigger(cluster, "good");
      await cluster.stop();
      const { Database } = await import("bun:sqlite");
      const state = new Database(`${cluster.directory}/data/state.db`);
      state.run("UPDATE task_runs SET outputs = '{' WHERE task_id = 'a'");
      state.close();
      await cluster.start();
      const y = await cluster.agent("y", asks("y"));
      expect(await y.fetch()).toBeNull();
      expect((await given(y)).workflow_instance_id).toBe(good);
      const ended = await cluster.client().waitRun(id, 10_000);
      expect(ended.status).toBe("CRASHED");
      const error = ended.tasks.find(({ task_id }) => task_id === "b")?.error;
      expect(`${ended.error} ${error}`).toContain("damaged");
    },
  );

  test.each([
    [31, "in one go", "COMPLETED"],
    [31, "with a restart of the principal", "COMPLETED"],
    [33, "in one go", "FAILED"],
    [33, "with a restart of the principal", "FAILED"],
  ])("is kept for conditions up to 8 MiB in a run (%p times 256 KiB, %s)", async (count, how, status) => {
    const ids = Array.from({ length: count }, (_, i) => `a${i}`);
    // What the error names is read last.
    const condition = ids
      .toReversed()
      .map((a) => `tasks.${a}.outputs.v != ""`)
      .join(" && ");
    const all = [...ids, "last"];
    const text = [
      "tasks:",
      ...all.map((a) => `  ${a}: ${task("x")}`),
      `  b: ${task("y", `depends: [${all.join(", ")}], when: '\${{ ${condition} }}', `)}`,
      "",
    ].join("\n");
    await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
    const id = await trigger(cluster);
    let x = await cluster.agent("x", asks("x"));
    const slice = await given(x);
    await x.send(x.runReport(slice, "RUNNING"));
    const outputs = { v: "v".repeat(256 * 1024 - 100) };
    for (const a of ids)
      await x.send(x.taskReport(slice, a, "RUNNING"), { ...x.taskReport(slice, a, "COMPLETED"), outputs });
    if (how !== "in one go") {
      await cluster.stop();
      await cluster.start();
      const { sessionId, streamId, seq } = x;
      x = await cluster.agent("x", { ...asks("x"), sessionId, streamId });
      x.seq = seq;
    }
    await x.send(
      x.taskReport(slice, "last", "RUNNING"),
      x.taskReport(slice, "last", "COMPLETED"),
      x.runReport(slice, "COMPLETED"),
    );
    if (status === "COMPLETED") {
      const y = await cluster.agent("y", asks("y"));
      await y.execute(await given(y));
    }
    const ended = await cluster.client().waitRun(id, 10_000);
    const b = ended.tasks.find(({ task_id }) => task_id === "b");
    expect(b?.status).toBe(status as RunStatus);
    expect(b?.error ?? null).toBe(
      status === "COMPLETED"
        ? null
        : 'when: the outputs of "a0" cannot be read: the outputs that conditions and lists of this run may read have more than 8 MiB together; pass large data on as files',
    );
  });

  test.each(["in one go", "with a restart of the principal"])(
    "is known to conditions elsewhere, also of a fan-out that its agent expands (%s)",
    async (how) => {
      const text = [
        "tasks:",
        `  fan: ${task("x", "foreach: [a, b], ")}`,
        `  last: ${task("x", "depends: [fan], ")}`,
        `  b: ${task("y", "depends: [fan], when: '${{ tasks.fan.outputs.v == [1, 2] }}', ")}`,
        "",
      ].join("\n");
      // A machine that is built again each time would know more.
      const wrapStore = (store: OperationalStore) => store;
      await using cluster = await new TestPrincipal({ workflows: { "w.yml": text }, wrapStore }).start();
      const id = await trigger(cluster);
      let x = await cluster.agent("x", asks("x"));
      const slice = await given(x);
      expect(slice.tasks).toEqual(["fan", "last"]);
      await x.send(x.runReport(slice, "RUNNING"), {
        ...x.taskReport(slice, "fan", "RUNNING"),
        items_total: 2,
      });
      for (const [index, key] of ["0", "1"].entries()) {
        const of = { item: { key, index }, task_instance_id: `${id}-${key}` };
        await x.send(
          { ...x.taskReport(slice, "fan", "RUNNING"), ...of },
          { ...x.taskReport(slice, "fan", "COMPLETED"), ...of, outputs: { v: index + 1 } },
        );
      }
      if (how !== "in one go") {
        await cluster.stop();
        await cluster.start();
        const { sessionId, streamId, seq } = x;
        x = await cluster.agent("x", { ...asks("x"), sessionId, streamId });
        x.seq = seq;
      }
      await x.send(
        { ...x.taskReport(slice, "fan", "COMPLETED"), items_total: 2 },
        x.taskReport(slice, "last", "RUNNING"),
        x.taskReport(slice, "last", "COMPLETED"),
        x.runReport(slice, "COMPLETED"),
      );
      const y = await cluster.agent("y", asks("y"));
      const second = await y.fetch(0);
      if (second !== null) await y.execute(second);
      const ended = await cluster.client().waitRun(id, 10_000);
      const b = ended.tasks.find(({ task_id }) => task_id === "b");
      expect([b?.status, b?.error]).toEqual(["COMPLETED", null]);
    },
  );

  test.each(["in one go", "with a restart of the principal"])(
    "is kept for conditions up to 8 MiB in a run, also of the items of a fan-out (%s)",
    async (how) => {
      const items = Array.from({ length: 34 }, (_, i) => `"${i}"`).join(", ");
      const text = [
        "placement: spread",
        "tasks:",
        `  fan: ${task("x", `foreach: [${items}], `)}`,
        `  b: ${task("y", "depends: [fan], when: '${{ tasks.fan.outputs.v[0] != \"\" }}', ")}`,
        "",
      ].join("\n");
      await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
      const id = await trigger(cluster);
      let x = await cluster.agent("x", { ...asks("x"), capacity: 4 });
      const outputs = { v: "v".repeat(256 * 1024 - 100) };
      for (let left = 34; left > 0; ) {
        const slice = await given(x);
        await x.send(x.runReport(slice, "RUNNING"));
        for (const { key, index } of slice.items?.fan ?? []) {
          const of = { item: { key, index }, task_instance_id: `${id}-${key}` };
          await x.send(
            { ...x.taskReport(slice, "fan", "RUNNING"), ...of },
            { ...x.taskReport(slice, "fan", "COMPLETED"), ...of, outputs },
          );
          left--;
          if (left !== 1 || how === "in one go") continue;
          await cluster.stop();
          await cluster.start();
          const { sessionId, streamId, seq } = x;
          x = await cluster.agent("x", { ...asks("x"), sessionId, streamId });
          x.seq = seq;
        }
        await x.send(x.runReport(slice, "COMPLETED"));
      }
      const ended = await cluster.client().waitRun(id, 10_000);
      const b = ended.tasks.find(({ task_id }) => task_id === "b");
      expect(b?.error).toStartWith('when: the outputs of "fan" cannot be read: the outputs that conditions');
    },
  );
});

describe("when an agent is lost with a slice", () => {
  const QUICK = { config: { CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: 1000 } };

  test("only that slice runs again, without what had completed; the others go on", async () => {
    const tasks = {
      a1: { zone: "x" },
      a2: { zone: "x", after: ["a1"] },
      b: { zone: "y" },
      c: { after: ["a2", "b"], zone: "y" },
    };
    await using cluster = await principal(tasks);
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const [a, b] = [await given(x), await given(y)];
    expect(a.tasks).toEqual(["a1", "a2"]);
    await y.send(y.runReport(b, "RUNNING"), y.taskReport(b, "b", "RUNNING"));
    await x.send(
      x.runReport(a, "RUNNING"),
      x.taskReport(a, "a1", "RUNNING"),
      x.taskReport(a, "a1", "COMPLETED"),
    );
    await x.send(x.taskReport(a, "a2", "RUNNING"));
    // It leaves with what it has.
    await x.heartbeat([a], 0, { state: "leaving" });
    const present = await cluster.client().getRun(id);
    expect(present).toMatchObject({ status: "RUNNING", tasks_done: 1 });
    const x2 = await cluster.agent("x2", inZone("x"));
    const again = await given(x2);
    expect(again).toMatchObject({ slice: 1, attempt: 2, tasks: ["a1", "a2"], completed_tasks: ["a1"] });
    // What the first one says late changes nothing.
    const late = await x
      .send(x.taskReport(a, "a2", "COMPLETED"), x.runReport(a, "COMPLETED"))
      .catch(() => null);
    expect(late?.stop ?? []).not.toContainEqual(expect.objectContaining({ reason: "cancelled" }));
    await x2.execute(again);
    await y.send(y.taskReport(b, "b", "COMPLETED"), y.runReport(b, "COMPLETED"));
    await y.execute(await given(y));
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "COMPLETED", attempt: 2, tasks_done: 4 });
    expect(tasksOf(run)).toEqual({
      a1: ["COMPLETED", "x"],
      a2: ["COMPLETED", "x2"],
      b: ["COMPLETED", "y"],
      c: ["COMPLETED", "y"],
    });
    expect(run.attempts.map(({ slice, attempt, status }) => [slice, attempt, status])).toEqual([
      [1, 1, "CRASHED"],
      [1, 2, "COMPLETED"],
      [2, 1, "COMPLETED"],
      [3, 1, "COMPLETED"],
    ]);
  });

  test.each(["at once", "after a restart of the principal"])(
    "what was skipped because of a task that failed in it is undecided again (%s)",
    async (when) => {
      const tasks = {
        a: { zone: "x" },
        long: { zone: "x" },
        b: { zone: "y" },
        c: { after: ["a"], zone: "y" },
        d: { after: ["c"], zone: "z" },
        e: { after: ["a", "b"], zone: "z" },
      };
      await using cluster = await principal(tasks);
      const id = await trigger(cluster);
      const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
      const [first, b] = [await given(x), await given(y)];
      await x.send(
        x.runReport(first, "RUNNING"),
        x.taskReport(first, "a", "RUNNING"),
        x.taskReport(first, "a", "FAILED"),
        x.taskReport(first, "long", "RUNNING"),
      );
      const skipped = { c: ["SKIPPED", null], d: ["SKIPPED", null], e: ["SKIPPED", null] };
      expect(await cluster.client().getRun(id)).toMatchObject({ status: "RUNNING", tasks_done: 4 });
      expect(tasksOf(await cluster.client().getRun(id))).toMatchObject(skipped);
      let [lost, other] = [x, y];
      if (when !== "at once") {
        await cluster.stop();
        await cluster.start();
        lost = await comeBack(cluster, x);
        other = await cluster.agent("y", { ...inZone("y"), sessionId: y.sessionId, streamId: y.streamId });
        other.seq = y.seq;
      }
      await other.heartbeat([b]);
      await lost.heartbeat([first], 0, { state: "leaving" });
      const present = await cluster.client().getRun(id);
      expect(present).toMatchObject({ status: "RUNNING", tasks_done: 0 });
      expect(tasksOf(present)).toEqual({});
      await other.execute(b);
      const x2 = await cluster.agent("x2", inZone("x"));
      const again = await given(x2);
      expect(again).toMatchObject({ slice: 1, attempt: 2, tasks: ["a", "long"], completed_tasks: [] });
      await x2.execute(again);
      await other.execute(await given(other));
      const z = await cluster.agent("z", inZone("z"));
      for (const _ of ["d", "e"]) await z.execute(await given(z));
      const run = await cluster.client().waitRun(id, 10_000);
      expect(run).toMatchObject({ status: "COMPLETED", tasks_done: 6 });
      expect(run.tasks).toHaveLength(6);
      // The history knows of both.
      const sql = "SELECT status::VARCHAR FROM task_runs WHERE task_id = 'c' ORDER BY created_at_ms";
      expect((await cluster.client().queryDatabase({ sql })).rows).toEqual([["SKIPPED"], ["COMPLETED"]]);
    },
  );

  test.each(["at once", "after a restart of the principal"])(
    "so is what failed because its condition could not be computed, and what it decides by comes with the reports (%s)",
    async (when) => {
      const text = [
        "tasks:",
        '  a: {runs_on: {zone: x}, config: !Subprocess {cmd: "true"}}',
        '  long: {runs_on: {zone: x}, config: !Subprocess {cmd: "true"}}',
        "  b:",
        "    depends: {a: ended}",
        "    when: ${{ tasks.a.outputs.n == 7 }}",
        "    allow_failure: true",
        "    runs_on: {zone: y}",
        '    config: !Subprocess {cmd: "true"}',
        '  c: {depends: {b: failed}, runs_on: {zone: y}, config: !Subprocess {cmd: "true"}}',
        "",
      ].join("\n");
      await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
      const id = await trigger(cluster);
      const asks = (zone: string) => ({ protocol: 3, labels: { zone } });
      const x = await cluster.agent("x", asks("x"));
      const first = await given(x);
      await x.send(
        x.runReport(first, "RUNNING"),
        x.taskReport(first, "a", "RUNNING"),
        { ...x.taskReport(first, "a", "FAILED"), error: "exit status 3" },
        x.taskReport(first, "long", "RUNNING"),
      );
      const failed = (await cluster.client().getRun(id)).tasks.find(({ task_id }) => task_id === "b");
      expect(failed).toMatchObject({ status: "FAILED", is_allowed: true, agent_id: null });
      expect(failed?.error).toStartWith("when: tasks.a.outputs.n has no value");
      let lost = x;
      if (when !== "at once") {
        await cluster.stop();
        await cluster.start();
        lost = await cluster.agent("x", { ...asks("x"), sessionId: x.sessionId, streamId: x.streamId });
        lost.seq = x.seq;
      }
      await lost.heartbeat([first], 0, { state: "leaving" });
      const present = await cluster.client().getRun(id);
      expect(present.tasks.map(({ task_id, status }) => `${task_id} ${status}`)).toEqual([]);
      const x2 = await cluster.agent("x2", asks("x"));
      const again = await given(x2);
      expect(again).toMatchObject({ slice: 1, attempt: 2, tasks: ["a", "long"] });
      await x2.send(x2.runReport(again, "RUNNING"), x2.taskReport(again, "a", "RUNNING"), {
        ...x2.taskReport(again, "a", "COMPLETED"),
        outputs: { n: 7 },
      });
      const y = await cluster.agent("y", asks("y"));
      const next = await given(y);
      // Nobody had taken the slice of the task that was to follow the failure.
      expect(next).toMatchObject({ slice: 3, tasks: ["b", "c"] });
      expect(next.results).toEqual({ a: { status: "COMPLETED", outputs: { n: 7 } } });
      await y.send(
        y.runReport(next, "RUNNING"),
        y.taskReport(next, "b", "RUNNING"),
        y.taskReport(next, "b", "COMPLETED"),
        y.taskReport(next, "c", "SKIPPED"),
        y.runReport(next, "COMPLETED"),
      );
      await x2.send(
        x2.taskReport(again, "long", "RUNNING"),
        x2.taskReport(again, "long", "COMPLETED"),
        x2.runReport(again, "COMPLETED"),
      );
      const run = await cluster.client().waitRun(id, 10_000);
      expect(run).toMatchObject({ status: "COMPLETED", tasks_done: 4 });
      expect(run.allowed_failures).toBeUndefined();
      expect(tasksOf(run)).toEqual({
        a: ["COMPLETED", "x2"],
        long: ["COMPLETED", "x2"],
        b: ["COMPLETED", "y"],
        c: ["SKIPPED", "y"],
      });
    },
  );

  test("a task on which nothing depends is not run again either", async () => {
    await using cluster = await principal({ leaf: { zone: "x" }, b: { zone: "x" }, far: { zone: "y" } });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const slice = await given(x);
    const leaf = x.taskReport(slice, "leaf", "COMPLETED");
    await x.send(x.runReport(slice, "RUNNING"), { ...leaf, seq: x.seq + 1 });
    x.seq++;
    await x.heartbeat([slice], 0, { state: "leaving" });
    const next = await given(await cluster.agent("x2", inZone("x")));
    expect(next).toMatchObject({ slice: 1, attempt: 2, completed_tasks: ["leaf"] });
    expect((await cluster.client().getRun(id)).tasks_done).toBe(1);
  });

  test("the run waits again if nobody else has any of it", async () => {
    await using cluster = await principal(CHAIN, QUICK);
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    await cluster.book.waitFor(/Agent x is lost/);
    expect(await cluster.client().getRun(id)).toMatchObject({ status: "PENDING", attempt: 2 });
    const x2 = await cluster.agent("x2", inZone("x"));
    const again = await given(x2);
    expect(again).toMatchObject({ slice: 1, attempt: 2 });
    await x2.send(x2.runReport(again, "RUNNING"));
    expect(await historyOf(cluster, id)).toEqual([
      ["PENDING", 1],
      ["RUNNING", 1],
      ["CRASHED", 1],
      ["PENDING", 2],
      ["RUNNING", 2],
    ]);
  });

  test("and it must not run again, the rest of the run goes on, and it ends CRASHED", async () => {
    await using cluster = await principal(
      { a: { zone: "x" }, b: { zone: "y" }, c: { after: ["b"], zone: "y" }, d: { after: ["a"] } },
      { top: ["failover: never"] },
    );
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const [a, bc] = [await given(x), await given(y)];
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    await y.send(y.runReport(bc, "RUNNING"));
    await x.heartbeat([a], 0, { state: "leaving" });
    expect((await cluster.client().getRun(id)).status).toBe("RUNNING");
    await y.execute(bc);
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "CRASHED", error: "crashed: a", attempt: 1 });
    expect(tasksOf(run)).toEqual({
      a: ["CRASHED", "x"],
      b: ["COMPLETED", "y"],
      c: ["COMPLETED", "y"],
      d: ["SKIPPED", null],
    });
  });

  test("three times, or two agents in a row, it is given up; each slice counts for itself", async () => {
    await using cluster = await principal(FORK);
    const id = await trigger(cluster);
    const y = await cluster.agent("y", inZone("y"));
    const b = await given(y);
    await y.send(y.runReport(b, "RUNNING"));
    for (let attempt = 1; attempt <= 3; attempt++) {
      const x = await cluster.agent(`x${attempt}`, inZone("x"));
      const a = await given(x);
      expect(a).toMatchObject({ slice: 1, attempt });
      await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
      await x.heartbeat([a], 0, { state: "leaving" });
    }
    await y.execute(b);
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "CRASHED", error: "crashed: a", attempt: 3 });
    expect(tasksOf(run)).toEqual({ a: ["CRASHED", "x3"], b: ["COMPLETED", "y"], c: ["SKIPPED", null] });
  });

  test("an offer that nobody confirms is made again, and does not count", async () => {
    await using cluster = await principal(CHAIN, { ...CONFIRMED, leaseTimeoutMs: 300 });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    for (let attempt = 1; attempt <= 4; attempt++) expect((await given(x)).attempt).toBe(attempt);
    const last = await given(x);
    await x.send(x.runReport(last, "RUNNING"));
    expect(await cluster.client().getRun(id)).toMatchObject({ status: "RUNNING", attempt: 5 });
  });

  test("that it no longer mentions, it is given to another one", async () => {
    await using cluster = await principal(FORK, QUICK);
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"));
    let status: RunStatus = "RUNNING";
    while (status === "RUNNING") {
      await x.heartbeat([], 20);
      status = (await cluster.client().getRun(id)).status;
    }
    expect(status).toBe("PENDING");
    expect((await x.heartbeat([a])).stop).toEqual([
      { workflow_instance_id: id, slice: 1, attempt: 1, reason: "superseded" },
    ]);
    expect(await given(x)).toMatchObject({ slice: 1, attempt: 2 });
  });
});

describe("stopping a split run", () => {
  const WIDE = { a: { zone: "x" }, b: { zone: "y" }, c: { zone: "z" }, d: { after: ["a", "b", "c"] } };

  test("by cancelling it orders those who have confirmed to stop, and ends the rest at once", async () => {
    await using cluster = await principal(WIDE, CONFIRMED);
    const id = await trigger(cluster);
    const client = cluster.client();
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const [a, b] = [await given(x), await given(y)];
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    const orders = x.heartbeat([a], 30_000);
    expect((await client.cancelRun(id)).status).toBe("RUNNING");
    expect((await orders).stop).toEqual([
      { workflow_instance_id: id, slice: 1, attempt: 1, reason: "cancelled" },
    ]);
    expect(tasksOf(await client.getRun(id))).toEqual({
      a: ["RUNNING", "x"],
      b: ["CANCELLED", null],
      c: ["CANCELLED", null],
      d: ["CANCELLED", null],
    });
    expect(await (await cluster.agent("z", inZone("z"))).fetch(0)).toBeNull();
    expect((await y.send(y.runReport(b, "RUNNING"))).stop).toEqual([
      { workflow_instance_id: id, slice: 2, attempt: 1, reason: "cancelled" },
    ]);
    // Again, which is no news.
    await client.cancelRun(id);
    await x.send(x.taskReport(a, "a", "CANCELLED"), x.runReport(a, "CANCELLED"));
    expect(await client.waitRun(id, 10_000)).toMatchObject({ status: "CANCELLED", tasks_done: 4 });
    expect((await x.heartbeat([])).stop).toEqual([]);
  });

  test("by cancelling it ends it when the last agent that has some of it is lost", async () => {
    await using cluster = await principal(FORK);
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    await cluster.client().cancelRun(id);
    await x.heartbeat([a], 0, { state: "leaving" });
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "CANCELLED", attempt: 1 });
    expect(tasksOf(run).a).toEqual(["CANCELLED", "x"]);
  });

  test("that nobody has taken ends it at once", async () => {
    await using cluster = await principal(FORK);
    const id = await trigger(cluster);
    expect(await cluster.client().cancelRun(id)).toMatchObject({ status: "CANCELLED", error: "cancelled" });
    expect(await (await cluster.agent("x", inZone("x"))).fetch(0)).toBeNull();
  });

  test("an agent that cancels its part by itself cancels the run", async () => {
    await using cluster = await principal(FORK);
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const [a, b] = [await given(x), await given(y)];
    await y.send(y.runReport(b, "RUNNING"));
    await x.send(x.runReport(a, "RUNNING"), x.runReport(a, "CANCELLED"));
    expect((await y.heartbeat([b])).stop).toEqual([
      { workflow_instance_id: id, slice: 2, attempt: 1, reason: "cancelled" },
    ]);
    await y.send(y.runReport(b, "CANCELLED"));
    expect((await cluster.client().waitRun(id, 10_000)).status).toBe("CANCELLED");
  });

  test("that takes too long does the same, and it has FAILED", async () => {
    // Its deadline comes before those of offers.
    await using cluster = await principal(WIDE, {
      top: [...CONFIRMED.top, 'timeout: "300ms"'],
      leaseTimeoutMs: 120_000,
    });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    // Nobody has begun with it: its time has not begun.
    expect((await cluster.client().waitRun(id, 500)).status).toBe("PENDING");
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    const { stop } = await x.heartbeat([a], 30_000);
    expect(stop).toEqual([{ workflow_instance_id: id, slice: 1, attempt: 1, reason: "timed out" }]);
    await cluster.client().cancelRun(id);
    expect((await x.heartbeat([a])).stop).toEqual(stop);
    await x.send(x.taskReport(a, "a", "FAILED"), x.runReport(a, "FAILED", "the run timed out"));
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "FAILED", error: "timed out after 300ms" });
    expect(tasksOf(run)).toEqual({
      a: ["FAILED", "x"],
      b: ["SKIPPED", null],
      c: ["SKIPPED", null],
      d: ["SKIPPED", null],
    });
  });

  test("counts its time from its first start, also while it waits for an agent again", async () => {
    await using cluster = await principal(FORK, { top: ['timeout: "2s"'], leaseTimeoutMs: 120_000 });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    await x.heartbeat([a], 0, { state: "leaving" });
    // No agent is left.
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "FAILED", attempt: 2, error: "timed out after 2s" });
    expect(await historyOf(cluster, id)).toEqual([
      ["PENDING", 1],
      ["RUNNING", 1],
      ["CRASHED", 1],
      ["PENDING", 2],
      ["FAILED", 2],
    ]);
  });

  test("counts its time over a restart of the principal", async () => {
    await using cluster = await principal(FORK, { top: ['timeout: "2s"'] });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    await cluster.stop();
    await cluster.start();
    const back = await comeBack(cluster, x);
    const orders = await back.heartbeat([a], 30_000);
    expect(orders.stop).toMatchObject([{ reason: "timed out" }]);
    await back.send(back.runReport(a, "FAILED"));
    expect(await cluster.client().waitRun(id, 10_000)).toMatchObject({ status: "FAILED" });
  });
});

describe("over a restart of the principal, a split run", () => {
  test("goes on where it was: what is leased, what waits, and what is not ready yet", async () => {
    await using cluster = await principal({ ...FORK, d: { after: ["c"], zone: "y" } });
    const id = await trigger(cluster);
    const x = await cluster.agent("x", inZone("x"));
    const a = await given(x);
    await x.send(x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING"));
    await cluster.stop();
    await cluster.start();
    const back = await comeBack(cluster, x);
    expect((await back.heartbeat([a])).stop).toEqual([]);
    await back.send(back.taskReport(a, "a", "COMPLETED"), back.runReport(a, "COMPLETED"));
    const y = await cluster.agent("y", inZone("y"));
    await y.execute(await given(y));
    await cluster.stop();
    await cluster.start();
    const x2 = await cluster.agent("x2", inZone("x"));
    const c = await given(x2);
    expect(c).toMatchObject({ slice: 3, tasks: ["c"], completed_tasks: ["a", "b"] });
    await x2.execute(c);
    const y2 = await cluster.agent("y2", inZone("y"));
    await y2.execute(await given(y2));
    expect(await cluster.client().waitRun(id, 10_000)).toMatchObject({ status: "COMPLETED", tasks_done: 4 });
  });
});

describe("after an older cdktr, which knows no labels, has queued runs", () => {
  /** What an older cdktr makes of a run that waits. */
  async function queuedByOlder(cluster: TestPrincipal, id: string): Promise<void> {
    await cluster.stop();
    const { Database } = await import("bun:sqlite");
    using state = new Database(`${cluster.directory}/data/state.db`);
    state.run("UPDATE runs SET queued = 1, needs = '', revision = 0 WHERE workflow_instance_id = ?", [id]);
    state.run("DELETE FROM slices WHERE workflow_instance_id = ?", [id]);
  }

  test("a whole run goes to an agent with the labels again", async () => {
    await using cluster = await principal({ a: { zone: "x" }, b: { after: ["a"], zone: "x" } });
    const id = await trigger(cluster);
    await queuedByOlder(cluster, id);
    await cluster.start();
    expect(await (await cluster.agent("y", inZone("y"))).fetch(0)).toBeNull();
    expect(await given(await cluster.agent("x", inZone("x")))).toMatchObject({ workflow_instance_id: id });
  });

  test("one that agents shall share is split again", async () => {
    await using cluster = await principal(CHAIN);
    const id = await trigger(cluster);
    await queuedByOlder(cluster, id);
    await cluster.start();
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    expect(await y.fetch(0)).toBeNull();
    for (const agent of [x, y, x]) await agent.execute(await given(agent));
    const run = await cluster.client().waitRun(id, 10_000);
    expect(run).toMatchObject({ status: "COMPLETED", tasks_done: 3, agents: 2 });
    expect(tasksOf(run)).toEqual({ a: ["COMPLETED", "x"], b: ["COMPLETED", "y"], c: ["COMPLETED", "x"] });
  });
});

describe("a retry of a split run", () => {
  test("does not repeat what completed, and has its results", async () => {
    await using cluster = await principal(CHAIN);
    const client = cluster.client();
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const a = await given(x);
    const running = [x.runReport(a, "RUNNING"), x.taskReport(a, "a", "RUNNING")];
    const completed = { ...x.taskReport(a, "a", "COMPLETED"), outputs: { file: "f" } };
    await x.send(...running, completed, x.runReport(a, "COMPLETED"));
    const b = await given(y);
    await y.send(y.runReport(b, "RUNNING"), y.taskReport(b, "b", "RUNNING"), y.taskReport(b, "b", "FAILED"));
    await y.send(y.runReport(b, "FAILED"));
    expect((await client.waitRun(id, 10_000)).status).toBe("FAILED");
    const retry = await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
    const again = await given(y);
    expect(again).toMatchObject({
      ...retry,
      slice: 1,
      attempt: 1,
      tasks: ["b"],
      completed_tasks: ["a"],
      results: { a: { status: "COMPLETED", outputs: { file: "f" } } },
    });
    await y.execute(again);
    await x.execute(await given(x));
    const run = await client.waitRun(retry.workflow_instance_id, 10_000);
    expect(run).toMatchObject({ status: "COMPLETED", tasks_done: 3, retry_of: id });
    expect(run.tasks.map((task) => task.task_id).sort()).toEqual(["a", "b", "c"]);
  });

  test("of which nothing is left to do is over at once", async () => {
    await using cluster = await principal(
      { a: { zone: "x" }, b: { zone: "y" } },
      { top: ['timeout: "300ms"'] },
    );
    const client = cluster.client();
    const id = await trigger(cluster);
    const [x, y] = [await cluster.agent("x", inZone("x")), await cluster.agent("y", inZone("y"))];
    const [a, b] = [await given(x), await given(y)];
    await x.execute(a);
    await y.send(y.runReport(b, "RUNNING"), y.taskReport(b, "b", "RUNNING"));
    await y.heartbeat([b], 30_000);
    await y.send(y.taskReport(b, "b", "COMPLETED"), y.runReport(b, "FAILED"));
    expect((await client.waitRun(id, 10_000)).status).toBe("FAILED");
    const retry = await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
    expect(await client.waitRun(retry.workflow_instance_id, 10_000)).toMatchObject({ status: "COMPLETED" });
    expect(await historyOf(cluster, retry.workflow_instance_id)).toEqual([
      ["PENDING", 1],
      ["RUNNING", 1],
      ["COMPLETED", 1],
    ]);
  });
});

test("results that are too large for a message end the tasks that need them, and hold nothing up", async () => {
  const ids = Array.from({ length: 34 }, (_, i) => `t${i}`);
  const tasks = Object.fromEntries(ids.map((id) => [id, {}]));
  await using cluster = await principal({
    ...tasks,
    all: { after: ids, zone: "x" },
    one: { after: ["t0"], zone: "x" },
  });
  const id = await trigger(cluster);
  const agent = await cluster.agent("agent", { protocol: 2 });
  const part = await given(agent);
  expect(part.tasks).toEqual(ids);
  const outputs = { text: "x".repeat(250 * 1024) };
  const x = await cluster.agent("x", inZone("x"));
  await agent.send(agent.runReport(part, "RUNNING"));
  for (const task of ids)
    await agent.send(agent.taskReport(part, task, "RUNNING"), {
      ...agent.taskReport(part, task, "COMPLETED"),
      outputs,
    });
  await agent.send(agent.runReport(part, "COMPLETED"));
  const one = await given(x);
  expect(one.tasks).toEqual(["one"]);
  await x.execute(one);
  expect(await x.fetch(0)).toBeNull();
  const run = await cluster.client().waitRun(id, 10_000);
  expect(run).toMatchObject({ status: "CRASHED", error: "crashed: all" });
  expect(run.tasks.find((task) => task.task_id === "all")?.error).toMatch(/larger than 8 MiB together/);
  expect(run.outputs_left_out).toBeUndefined();
  const whole = await cluster.client().getRun(id, { outputs: true });
  expect(whole).toEqual({ ...run, outputs_left_out: true });
});

test.each([0, 1])(
  "results that no task needs any more do not count: slice %i can be given again, and the run retried",
  async (slice) => {
    const ids = Array.from({ length: 34 }, (_, i) => `t${i}`);
    const tasks = Object.fromEntries(ids.map((id) => [id, {}]));
    const elsewhere: Readonly<Record<string, Task>> = slice === 0 ? {} : { far: { zone: "x" } };
    await using cluster = await principal({ ...tasks, last: { after: ["t0"] }, ...elsewhere });
    const client = cluster.client();
    const id = await trigger(cluster);
    const agent = await cluster.agent("agent", { protocol: 2 });
    const first = await given(agent);
    expect(first.slice).toBe(slice);
    const outputs = { text: "x".repeat(250 * 1024) };
    await agent.send(agent.runReport(first, "RUNNING"));
    for (const task of ids)
      await agent.send(agent.taskReport(first, task, "RUNNING"), {
        ...agent.taskReport(first, task, "COMPLETED"),
        outputs,
      });
    await agent.send(agent.runReport(first, "CRASHED", "the agent is lost"));
    const needed = { t0: { status: "COMPLETED" as const, outputs } };
    const second = await given(agent);
    expect({ ...second, completed_tasks: second.completed_tasks.toSorted() }).toMatchObject({
      workflow_instance_id: id,
      slice,
      attempt: 2,
      completed_tasks: ids.toSorted(),
    });
    expect(second.results).toEqual(needed);
    await agent.send(
      agent.runReport(second, "RUNNING"),
      agent.taskReport(second, "last", "RUNNING"),
      agent.taskReport(second, "last", "FAILED"),
      agent.runReport(second, "FAILED"),
    );
    if (slice > 0) {
      const x = await cluster.agent("x", inZone("x"));
      await x.execute(await given(x));
    }
    expect((await client.waitRun(id, 10_000)).status).toBe("FAILED");
    await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
    expect((await given(agent)).results).toEqual(needed);
  },
);

test("a task of a run with thousands of slices costs as much as one of a run with hundreds", async () => {
  const [few, many] = [await costOf(100), await costOf(1000)];
  expect(many.statements).toBeLessThan(few.statements * 1.05);
  expect(many.bytes).toBeLessThan(few.bytes * 1.1);
});

/** What a task costs on the way through the store, if the run has so many. */
async function costOf(tasks: number): Promise<{ statements: number; bytes: number }> {
  await using stores = new TestStores();
  const store = await stores.open();
  const definitions = new Definitions();
  const progress = new ProgressOfRuns(definitions);
  const queue = new RunQueue();
  const ending = { ending: async () => {} };
  const shared = { clock: systemClock, events: new EventHub(), definitions, progress, queue };
  const changes = new RunChanges({ workflows: NO_WORKFLOWS, ...shared, followUps: ending });
  const assignments = new Assignments({ definitions, progress, secretVariables: () => [] });
  const layers = Object.fromEntries(
    Array.from({ length: tasks }, (_, i) => [`t${1000 + i}`, { after: i < 10 ? [] : [`t${990 + i}`] }]),
  );
  const parsed = parseWorkflow(workflow(layers, "placement: spread"), { path: "w.yml", id: "w" });
  if (!parsed.ok) throw new Error("the workflow is invalid");
  const { definition } = parsed;
  const run = { workflow_instance_id: "run", workflow_id: "w", workflow_name: "W", definition_hash: "hash" };
  const trigger = { params: {}, trigger: "api", scheduled_time_ms: null, retry_of: null, trigger_depth: 0 };
  await store.transact(async (tx) => {
    await tx.registerAgent(agentRecord("a", { protocol: 2 }), null, 60_000);
    const whole = { definition: JSON.stringify(definition), tasks_total: tasks, carried: [] };
    await changes.create(tx, { ...run, ...trigger, ...whole });
  });
  const before = stores.statements;
  let bytes = 0;
  const execute = async (tx: OperationalTx, task: number) => {
    const [head] = await tx.queueHeads();
    const to = { agent_id: "a", session_id: "s", fetch_id: `${task}`, assigned_at_ms: 1, offer_ms: 1000 };
    const claim = await tx.claim({ ...to, needs: required(head).needs });
    if (typeof claim === "string") throw new Error(claim);
    const assignment = required(await assignments.of(tx, claim));
    bytes += JSON.stringify(assignment).length;
    const { slice, attempt } = claim.attempt;
    const of = { agent_id: "a", workflow_instance_id: "run", slice, attempt, timestamp_ms: 1, error: null };
    const [task_id = ""] = assignment.tasks ?? [];
    const usage = { exit_code: null, signal: null, cpu_ms: null, max_rss_kb: null, outputs: null };
    await changes.hearRun(tx, { ...of, stream_id: "x", status: "RUNNING", log_seq: 0 });
    for (const status of ["RUNNING", "COMPLETED"] as const)
      await changes.hearTask(tx, {
        ...of,
        ...usage,
        task_id,
        task_instance_id: `${task}`,
        task_attempt: 1,
        status,
      });
    await changes.hearRun(tx, { ...of, stream_id: "x", status: "COMPLETED", log_seq: 0 });
  };
  for (let task = 0; task < tasks; task += 50) {
    await store.transact(async (tx) => {
      for (let i = task; i < task + 50; i++) await execute(tx, i);
    });
  }
  expect((await store.read((tx) => tx.getRun("run")))?.status).toBe("COMPLETED");
  return { statements: (stores.statements - before) / tasks, bytes: bytes / tasks };
}

test("a firing that no agent took any part of is dropped when the next one is due; one that was begun is not", async () => {
  await using cluster = await principal(FORK, { top: ['cron: "0 0 1 1 *"', "catchup: none"] });
  const client = cluster.client();
  const fire = async (minutes: number) => {
    const scheduled_time_ms = Date.now() + minutes * 60_000;
    const run = { trigger: "cron", scheduled_time_ms, dedupe_key: `cron ${minutes}` };
    return (await client.runTask("w", run)).workflow_instance_id;
  };
  const begun = await fire(1);
  const x = await cluster.agent("x", inZone("x"));
  await given(x);
  const untaken = await fire(2);
  await fire(3);
  expect((await client.getRun(begun)).status).toBe("RUNNING");
  expect((await client.getRun(untaken)).status).toBe("SKIPPED");
  const y = await cluster.agent("y", inZone("y"));
  expect((await given(y)).workflow_instance_id).toBe(begun);
});
