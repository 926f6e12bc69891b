/** Tasks that wait for a time: the principal carries them out, and no agent is held. */
import { expect, test } from "bun:test";
import { createConsola } from "consola";
import type { RunDetails } from "../../src/contract/messages.ts";
import { EventHub } from "../../src/event-hub.ts";
import { DueWatch, type DueWatchOptions } from "../../src/principal/runs/due-watch.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { required, TestPrincipal } from "./support.ts";

const RUN = '{config: !Subprocess {cmd: "true"}';
/** A task `a`, a wait after it, and `b` after that. */
const workflow = (wait: string, ...top: string[]) =>
  [
    ...top,
    "tasks:",
    `  a: ${RUN}}`,
    `  pause: {depends: [a], config: !Wait {${wait}}}`,
    `  b: ${RUN}, depends: [pause]}`,
    "",
  ].join("\n");

async function trigger(cluster: TestPrincipal, id = "w"): Promise<string> {
  return (await cluster.client().runTask(id, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

const statusesOf = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map(({ task_id, status }) => [task_id, status]));

test("what follows a wait starts when its time has come; until then nothing is held, over a restart too", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": workflow("for: 1500ms") } }).start();
  const id = await trigger(cluster);
  const agent = await cluster.agent("x");
  // Agents that know slices are enough: none of them sees the wait.
  const newer = await cluster.agent("y", { protocol: 2 });
  expect(await agent.fetch(0)).toBeNull();
  const first = required(await newer.fetch());
  expect(first.tasks).toEqual(["a"]);
  await newer.execute(first);
  const waiting = await cluster.client().getRun(id);
  expect(statusesOf(waiting)).toEqual({ a: "COMPLETED", pause: "WAITING" });
  const pause = waiting.tasks.find(({ task_id }) => task_id === "pause");
  expect(pause).toMatchObject({ agent_id: null, next_attempt_ms: (pause?.started_at_ms ?? 0) + 1500 });
  expect((await cluster.client().registeredAgents()).map((each) => each.running_workflows)).toEqual([0, 0]);
  await cluster.stop();
  await cluster.start();
  const { sessionId, streamId, seq } = newer;
  const back = await cluster.agent("y", { protocol: 2, sessionId, streamId });
  back.seq = seq;
  const next = required(await back.fetch(20_000));
  expect(next).toMatchObject({ tasks: ["b"], completed_tasks: ["pause", "a"] });
  await back.execute(next);
  const run = await cluster.client().waitRun(id, 10_000);
  expect(run).toMatchObject({ status: "COMPLETED", tasks_done: 3 });
  const over = run.tasks.find(({ task_id }) => task_id === "pause");
  expect(over?.finished_at_ms).toBeGreaterThanOrEqual(pause?.next_attempt_ms ?? Infinity);
});

test("a run of waits alone needs no agent; a time that has passed is over at once", async () => {
  const text =
    "tasks:\n  a: {config: !Wait {for: 200ms}}\n  b: {depends: [a], config: !Wait {until: 2020-01-01T00:00:00Z}}\n";
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const id = await trigger(cluster);
  expect((await cluster.client().getRun(id)).status).toBe("RUNNING");
  const run = await cluster.client().waitRun(id, 10_000);
  expect(run).toMatchObject({ status: "COMPLETED", agent_id: null, tasks_done: 2 });
  expect(run.duration_ms).toBeGreaterThanOrEqual(200);
});

test("a wait ends with its run: CANCELLED when it is cancelled, FAILED when it times out", async () => {
  const workflows = { "w.yml": workflow("for: 1h"), "late.yml": workflow("for: 1h", 'timeout: "500ms"') };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const agent = await cluster.agent("x", { protocol: 2 });
  const id = await trigger(cluster);
  await agent.execute(required(await agent.fetch()));
  expect(await cluster.client().cancelRun(id)).toMatchObject({ status: "CANCELLED" });
  const cancelled = await cluster.client().getRun(id);
  expect(statusesOf(cancelled)).toEqual({ a: "COMPLETED", pause: "CANCELLED", b: "CANCELLED" });
  const late = await trigger(cluster, "late");
  await agent.execute(required(await agent.fetch()));
  const run = await cluster.client().waitRun(late, 10_000);
  expect(run).toMatchObject({ status: "FAILED", error: "timed out after 500ms" });
  expect(statusesOf(run)).toEqual({ a: "COMPLETED", pause: "FAILED", b: "SKIPPED" });
});

test("a retry does not wait again", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": workflow("for: 100ms") } }).start();
  const agent = await cluster.agent("x", { protocol: 2 });
  const id = await trigger(cluster);
  await agent.execute(required(await agent.fetch()));
  const b = required(await agent.fetch(20_000));
  await agent.send(
    agent.runReport(b, "RUNNING"),
    agent.taskReport(b, "b", "RUNNING"),
    agent.taskReport(b, "b", "FAILED"),
    agent.runReport(b, "FAILED", "failed: b"),
  );
  expect((await cluster.client().waitRun(id, 10_000)).status).toBe("FAILED");
  await cluster.client().retryRun({ workflow_instance_id: id, dedupe_key: "again" });
  const again = required(await agent.fetch());
  expect(again).toMatchObject({ tasks: ["b"], completed_tasks: ["pause", "a"] });
});

test("a run of which a part waits goes on when the agent of another part is lost", async () => {
  const text = `tasks:\n  a: ${RUN}}\n  pause: {config: !Wait {for: 300ms}}\n  b: ${RUN}, depends: [a, pause]}\n`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const [x, y] = [await cluster.agent("x", { protocol: 2 }), await cluster.agent("y", { protocol: 2 })];
  const id = await trigger(cluster);
  const first = required(await x.fetch());
  expect(first.tasks).toEqual(["a"]);
  await x.send(x.taskReport(first, "a", "RUNNING"));
  await x.heartbeat([first], 0, { state: "leaving" });
  await y.execute(required(await y.fetch()));
  const last = required(await y.fetch(20_000));
  expect(last.tasks).toEqual(["b"]);
  await y.execute(last);
  expect((await cluster.client().waitRun(id, 10_000)).status).toBe("COMPLETED");
});

test("how long a task waits may be an expression; one without a value fails the task", async () => {
  const text = `params: {wait: 300ms}
tasks:
  a: ${RUN}}
  given: {depends: [a], config: !Wait {for: "\${{ params.wait }}"}}
  published: {depends: [a], config: !Wait {until: "\${{ tasks.a.outputs.time }}"}}
  unknown: {depends: [a], config: !Wait {for: "\${{ tasks.a.outputs.span }}"}}
  wrong: {depends: [a], config: !Wait {for: "\${{ tasks.a.outputs.time }}"}}
`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await trigger(cluster);
  const slice = required(await agent.fetch());
  expect(slice.tasks).toEqual(["a"]);
  const done = agent.taskReport(slice, "a", "COMPLETED");
  const time = new Date(Date.now() + 500).toISOString();
  await agent.send({ ...agent.taskReport(slice, "a", "RUNNING"), seq: done.seq });
  await agent.send({ ...done, seq: done.seq + 1, outputs: { time } });
  agent.seq = done.seq + 1;
  await agent.send(agent.runReport(slice, "COMPLETED"));
  const run = await cluster.client().waitRun(id, 10_000);
  expect(statusesOf(run)).toEqual({
    a: "COMPLETED",
    given: "COMPLETED",
    published: "COMPLETED",
    unknown: "FAILED",
    wrong: "FAILED",
  });
  const of = (task: string) => run.tasks.find(({ task_id }) => task_id === task);
  expect(of("published")?.finished_at_ms).toBeGreaterThanOrEqual(Date.parse(time));
  expect(of("unknown")?.error).toBe('for: tasks.a.outputs.span has no value: "a" published no "span"');
  expect(of("wrong")?.error).toStartWith("for: ");
});

test("each item of a fan-out may wait for its own time", async () => {
  const text = `tasks:
  pause: {foreach: [100ms, 300ms], max_parallel: 1, config: !Wait {for: "\${{ item }}"}}
`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const run = await cluster.client().waitRun(await trigger(cluster), 10_000);
  expect(run).toMatchObject({
    status: "COMPLETED",
    tasks: [{ items: { total: 2, by_status: { COMPLETED: 2 } } }],
  });
  // One after the other.
  expect(run.duration_ms).toBeGreaterThanOrEqual(400);
});

test("a wait that cannot be ended does not hold up those after it, and is tried again", async () => {
  const clock = new ManualClock();
  const waits = new Set(["broken", "sound"]);
  const tried: string[] = [];
  const tx = {
    dueWaits: async () => [...waits].map((task) => ({ workflow_instance_id: "r", task })),
    nextDueWait: async () => null,
    waitsForEndedRuns: async () => [],
    getWait: async (_run: string, task: string) => ({ workflow_instance_id: "r", task }),
  };
  const perform = <T>(work: (given: typeof tx) => Promise<T>) => work(tx);
  const changes = {
    prepare: async () => {},
    async due(_tx: unknown, { task }: { task: string }) {
      tried.push(task);
      if (task === "broken" && tried.length < 3) throw new Error("broken");
      waits.delete(task);
    },
  };
  const watch = new DueWatch({
    store: { read: perform, transact: perform },
    changes,
    clock,
    log: createConsola({ level: -999 }),
    events: new EventHub(),
  } as unknown as DueWatchOptions);
  await watch.start();
  expect(tried).toEqual(["broken", "sound"]);
  const looked = watch.signals.next("looked");
  clock.advance(1000);
  await looked;
  expect(tried).toEqual(["broken", "sound", "broken"]);
  expect(waits.size).toBe(0);
  await watch.stop();
});

test("a run whose agents are full says how much of the queue goes before it", async () => {
  const plain = `tasks:\n  a: ${RUN}}\n`;
  const workflows = { "w.yml": plain, "urgent.yml": `priority: 9\n${plain}` };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const agent = await cluster.agent("x", { capacity: 1 });
  await trigger(cluster);
  required(await agent.fetch());
  const ids = [
    await trigger(cluster),
    await trigger(cluster),
    await trigger(cluster),
    await trigger(cluster, "urgent"),
  ];
  const reasons = [];
  for (const id of ids) reasons.push((await cluster.client().getRun(id)).waits?.map(({ reason }) => reason));
  const full = "the only agent that is up is full: x 1/1";
  expect(reasons).toEqual([
    [`${full}; 1 waits before it`],
    [`${full}; 2 wait before it`],
    [`${full}; 3 wait before it`],
    [full],
  ]);
});
