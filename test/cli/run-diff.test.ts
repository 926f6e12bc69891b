/** What `runs diff` says. */
import { expect, test } from "bun:test";
import { compareRuns, diffLines, firstDifference } from "../../src/cli/support/run-diff.ts";
import { makeStyle } from "../../src/cli/support/style.ts";
import type { LogLine } from "../../src/contract/log-line.ts";
import type { RunDetails } from "../../src/contract/messages.ts";
import { NOW, SHARED } from "../tui/fixtures.ts";

const line = (payload: string, level: LogLine["level"] = "INFO"): LogLine => ({
  workflow_id: "a",
  workflow_name: "a",
  workflow_instance_id: "r",
  task_name: "t",
  task_instance_id: "t1",
  timestamp_ms: NOW,
  level,
  payload,
});

test("numbers, times and ids do not count unless they are asked for", () => {
  const then = [line("read 10 rows in 1.5 s at 10:02:03"), line("id 0198c2a4-0000-7000-8000-0123456789ab")];
  const now = [line("read 12 rows in 2.25 s at 11:02:03"), line("id 0198c2a4-1111-7000-8000-0123456789ff")];
  expect(firstDifference(then, now, false)).toBeNull();
  expect(firstDifference(then, now, true)).toEqual({
    line: 1,
    stream: "stdout",
    other: "read 10 rows in 1.5 s at 10:02:03",
    run: "read 12 rows in 2.25 s at 11:02:03",
  });
});

test("the two streams are compared apart: stderr first, whatever the order in which they arrived", () => {
  const then = [line("a"), line("warning", "ERROR"), line("b")];
  const now = [line("warning", "ERROR"), line("a"), line("b")];
  expect(firstDifference(then, now, false)).toBeNull();
  expect(firstDifference(then, [...now, line("failed", "ERROR")], false)).toEqual({
    line: 2,
    stream: "stderr",
    other: null,
    run: "failed",
  });
});

test("file, parameters, status, agent and duration", async () => {
  const { definition, tasks } = SHARED;
  const [first, ...others] = tasks;
  if (definition === null || first === undefined) throw new Error("no tasks");
  const before: RunDetails = {
    ...SHARED,
    workflow_instance_id: "0197",
    status: "COMPLETED",
    params: { ...SHARED.params, day: "monday" },
    definition: { ...definition, description: "as it was" },
    tasks: [{ ...first, status: "COMPLETED", duration_ms: 1000, agent_id: "host-b" }, ...others],
  };
  const run: RunDetails = {
    ...SHARED,
    params: { ...SHARED.params, day: "tuesday\nand more" },
    definition: { ...definition, description: "as it is" },
    tasks: [{ ...first, status: "FAILED", exit_code: 3, duration_ms: 61_000, agent_id: "host-a" }, ...others],
  };
  const diff = await compareRuns(run, before, async () => [], { isExact: false, now: NOW });
  expect(diff.params).toEqual([{ name: "day", other: "monday", run: "tuesday\nand more" }]);
  expect(diff.definition).toEqual([{ name: "description", other: "as it was", run: "as it is" }]);
  expect(diffLines(diff, NOW, makeStyle(false)).slice(2)).toEqual([
    "",
    "PARAMETERS",
    "  day",
    "    - monday",
    "    + tuesday (2 lines)",
    "",
    "FILE",
    "  description",
    "    - as it was",
    "    + as it is",
    "",
    "TASKS",
    `  ${first.task_id}: COMPLETED → FAILED, exit status ${first.exit_code} → exit status 3, agent host-b → agent host-a, 1.0s → 1m 1s`,
  ]);
});

test("runs that do not differ say so; a definition that is not known is said too", async () => {
  const options = { isExact: false, now: NOW };
  const other = { ...SHARED, workflow_instance_id: "0197" };
  const same = await compareRuns(SHARED, other, async () => [line("x")], options);
  expect(diffLines(same, NOW, makeStyle(false)).at(-1)).toBe(
    "They do not differ: same file, same parameters, same agents, same output.",
  );
  const unknown = await compareRuns(SHARED, { ...other, definition: null }, async () => [], options);
  expect(diffLines(unknown, NOW, makeStyle(false)).slice(2)).toEqual([
    "",
    "FILE",
    "  The definition of one of them is not known any more.",
  ]);
});

test("what was not compared is told, and not taken for the same", async () => {
  const [first] = SHARED.tasks;
  if (first === undefined) throw new Error("no tasks");
  const ran = { ...first, status: "COMPLETED" as const, started_at_ms: NOW, items: undefined };
  const many = Array.from({ length: 52 }, (_, n) => ({
    ...ran,
    task_id: `t${n}`,
    task_instance_id: `t${n}`,
  }));
  const of = (tasks: RunDetails["tasks"]) => ({ ...SHARED, tasks });
  const last = async (tasks: RunDetails["tasks"]) => {
    const diff = await compareRuns(of(tasks), of(tasks), async () => [], { isExact: false, now: NOW });
    return diffLines(diff, NOW, makeStyle(false)).at(-1);
  };
  expect(await last(many)).toBe(
    "They do not differ: same file, same parameters, same agents; what 2 tasks printed was not compared.",
  );
  expect(await last(many.slice(0, 50))).toBe(
    "They do not differ: same file, same parameters, same agents, same output.",
  );
});
