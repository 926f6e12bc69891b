/** What `runs why` says, of every kind of run. */
import { expect, test } from "bun:test";
import { explain, explanationLines } from "../../src/cli/support/run-why.ts";
import { makeStyle } from "../../src/cli/support/style.ts";
import type { RunDetails } from "../../src/contract/messages.ts";
import { NOW, RUN, SHARED, WAITING } from "../tui/fixtures.ts";

async function lines(run: RunDetails): Promise<string[]> {
  const why = await explain(run, async () => ["the last line"]);
  return explanationLines(run, why, NOW, makeStyle(false)).slice(1);
}

test("a run that waits as a whole", async () => {
  expect(await lines(WAITING)).toEqual([
    "",
    "It has waited for an agent for 1m 15s: all agents that are up are full: host-a 5/5, host-d 2/2.",
    "  See what they run: cdktr runs list --status running.",
  ]);
});

test("a run that its concurrency group holds", async () => {
  const { waits: _waits, waiting_slices: _slices, ...rest } = WAITING;
  const reason = 'group "eu" is full (max_runs: 1): held by run 01J of etl.daily since 2026-01-03T02:00:00Z';
  const hint = "To stop that run: cdktr runs cancel 01J";
  const holds = [{ kind: "group", reason, hint, since_ms: NOW - 75_000 }] as const;
  expect(await lines({ ...rest, hold: "group", group: "eu", holds: [...holds] })).toEqual([
    "",
    `It has waited for 1m 15s: ${reason}.`,
    `  ${hint}`,
  ]);
});

test("a run that waits again does not show the error of the attempt before", async () => {
  const why = await explain(WAITING, async () => []);
  const again = { ...WAITING, attempt: 2, error: "agent lost: silent for 30 s" };
  const text = explanationLines(again, why, NOW, makeStyle(false)).join("\n");
  expect(text).not.toContain("agent lost");
  expect(text).toContain("It has waited for an agent for");
});

test("a run that agents share: what waits, what is tried again, what waits for others, what crashed", async () => {
  const { definition } = SHARED;
  if (definition === null) throw new Error("no definition");
  const tasks = definition.tasks.map((task) => ({ ...task, retry: { ...task.retry, max_attempts: 3 } }));
  expect(await lines({ ...SHARED, definition: { ...definition, tasks } })).toEqual([
    "",
    "Slice 3 (returns) has waited for an agent for 38.0s: no agent that is up has zone=eu; the nearest is host-a, which has zone=a.",
    "  Start one: cdktr start agent --label zone=eu",
    "",
    "Task orders begins attempt 2 of 3 in 1m 30s.",
    "",
    "1 task waits for others:",
    "  load waits for orders, returns",
    "",
    "1 attempt CRASHED:",
    "  slice 2, attempt 1 on gpu-1: agent lost",
  ]);
});

test("thousands of slices that wait are told in a line", async () => {
  const [wait] = SHARED.waits ?? [];
  if (wait === undefined) throw new Error("nothing waits");
  const waits = Array.from({ length: 100 }, (_, i) => ({ ...wait, slice: i + 1, tasks: [`load${i + 1}`] }));
  const [, first] = await lines({ ...SHARED, waits, waiting_slices: 2000 });
  expect(first).toMatch(
    /^2000 slices \(load1, load2, load3, load4, load5 and 1995 more\) have waited for an agent for 38\.0s: no agent/,
  );
});

test("slices that are not named are attributed to a reason only if there is just one", async () => {
  const [wait] = SHARED.waits ?? [];
  if (wait === undefined) throw new Error("nothing waits");
  const other = { ...wait, slice: 9, tasks: ["other"], reason: "no agent is up", hint: null };
  const run = { ...SHARED, waits: [wait, other], waiting_slices: 1202 };
  const all = (await lines(run)).filter((line) => line.includes("waited"));
  expect(all).toEqual([
    expect.stringMatching(
      /^Slice 3 \(returns\) has waited for an agent for 38\.0s: no agent that is up has /,
    ),
    "Slice 9 (other) has waited for an agent for 38.0s: no agent is up.",
    "1200 more slices have waited for an agent for 38.0s: for one of these reasons.",
  ]);
  const why = await explain(run, async () => []);
  expect([why.waits.length, why.waiting_slices]).toEqual([2, 1202]);
});

test("tasks that could start wait for a place on the agent that has them", async () => {
  const tasks = RUN.tasks.filter(({ task_id }) => task_id === "extract");
  expect(await lines({ ...RUN, tasks })).toEqual([
    "",
    "1 task waits for others:",
    "  load waits for orders, customers, returns",
    "",
    "3 tasks wait for a free place on the agent: orders, customers, returns",
    "  CDKTR_AGENT_MAX_TASKS limits how many tasks an agent executes at once.",
  ]);
});

test("an agent that has not reported anything of what it was given is not said to be full", async () => {
  const [held] = RUN.attempts;
  if (held === undefined) throw new Error("no attempt");
  const hint =
    "  It may be executing as many tasks as it may (CDKTR_AGENT_MAX_TASKS), or not answer: cdktr agents list";
  const blocked = [
    "",
    "4 tasks wait for others:",
    "  orders waits for extract",
    "  customers waits for extract",
    "  returns waits for extract",
    "  load waits for orders, customers, returns",
  ];
  const given = { ...held, started_at_ms: NOW - 12_000 };
  expect(await lines({ ...RUN, tasks: [], attempts: [given] })).toEqual([
    ...blocked,
    "",
    "Agent host-a was given it 12.0s ago, and has not reported any task of it yet.",
    hint,
  ]);
  const slices = [
    { ...given, slice: 1 },
    { ...given, slice: 2, agent_id: "host-b", status: "PENDING" as const, started_at_ms: null },
  ];
  expect(await lines({ ...RUN, tasks: [], attempts: slices })).toEqual([
    ...blocked,
    "",
    "Agent host-a was given slice 1 12.0s ago, and has not reported any task of it yet.",
    "",
    "Agent host-b was given slice 2, and has not reported any task of it yet.",
    hint,
  ]);
  // Their items may be what the agents have, and those are not among the tasks.
  const [extract] = RUN.tasks;
  if (extract === undefined) throw new Error("no task");
  const items = { total: 2, by_status: { RUNNING: 2 } };
  const shared = {
    ...extract,
    slice: 0,
    attempt: 1,
    status: "RUNNING" as const,
    finished_at_ms: null,
    items,
  };
  const shown = await lines({ ...RUN, tasks: [shared], attempts: slices });
  expect(shown.filter((line) => line.includes("has not reported"))).toEqual([]);
  expect(shown).toContain("1 task is running:");
});

test("a fan-out is not said to run while none of its items does", async () => {
  const [extract] = RUN.tasks;
  if (extract === undefined) throw new Error("no task");
  const task = { ...extract, status: "RUNNING" as const, finished_at_ms: null };
  const waiting = { ...task, items: { total: 3, by_status: { COMPLETED: 1, WAITING: 2 } } };
  const shown = await lines({ ...RUN, status: "WAITING", tasks: [waiting] });
  expect(shown.join("\n")).toContain(
    `1 fan-out of which no item runs just now:\n  ${task.task_id}: 1 of 3 COMPLETED, 2 WAITING`,
  );
  expect(shown.filter((line) => line.includes("running"))).toEqual([]);
});

test("a run that failed: the tasks, their last lines, what was skipped, and what can be done", async () => {
  const [extract, orders] = RUN.tasks;
  if (extract === undefined || orders === undefined) throw new Error("no tasks");
  const load = {
    ...orders,
    task_id: "load",
    status: "SKIPPED" as const,
    error: '"orders", on which it depends, FAILED',
  };
  const run: RunDetails = { ...RUN, status: "FAILED", finished_at_ms: NOW, tasks: [extract, orders, load] };
  expect(await lines(run)).toEqual([
    "",
    "Task orders FAILED on host-a: exit status 3",
    "  │ the last line",
    "",
    "1 task was skipped:",
    '  load: "orders", on which it depends, FAILED',
    "",
    `Its log: cdktr logs query --run ${run.workflow_instance_id}`,
    `Again from the failed tasks: cdktr runs retry ${run.workflow_instance_id}`,
  ]);
});

test("an offered run, and one of a principal that gives no reasons", async () => {
  const pending: RunDetails = { ...RUN, status: "PENDING", tasks: [], attempts: [], definition: null };
  expect(await lines(pending)).toEqual([
    "",
    "Agent host-a has just been given it, and has not confirmed it yet.",
  ]);
  expect(await lines({ ...pending, agent_id: null })).toEqual([
    "",
    "The principal is too old to say why runs wait.",
  ]);
});
