import { expect, test } from "bun:test";
import { allTasks, hookTasks, isHook } from "../../src/workflow/hooks.ts";
import { Workflow } from "../../src/workflow/model.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { expectedSlices } from "../../src/workflow/slices.ts";
import { definitionOf, diagnosticsOf } from "./support.ts";

const TASK = "tasks: {a: {config: !Subprocess {cmd: ls}}}\n";
const withHooks = (hooks: string) => definitionOf(`${TASK}hooks: ${hooks}\n`);

test("a hook is a task with a time limit of its own, named like its key", () => {
  const workflow = withHooks(
    "{on_exit: {config: !Subprocess {cmd: rm}, retry: {max_attempts: 2}, runs_on: {a: b}}}",
  );
  expect(workflow.hooks).toEqual({
    on_exit: {
      name: "on_exit",
      description: null,
      config: { type: "Subprocess", cmd: "rm", args: [], working_directory: null },
      retry: { max_attempts: 2, delay_ms: 1000, backoff: 1 },
      timeout_ms: 300_000,
      runs_on: { a: "b" },
      env: {},
    },
  });
  expect(hookTasks(workflow)).toMatchObject([{ id: "on_exit", depends: [] }]);
  expect(allTasks(workflow).map(({ id }) => id)).toEqual(["a", "on_exit"]);
  expect([isHook(workflow, "on_exit"), isHook(workflow, "on_failure"), isHook(workflow, "a")]).toEqual([
    true,
    false,
    false,
  ]);
});

test("the time limit of a hook may be an expression", () => {
  const limit = "${{ params.limit }}";
  const { hooks } = definitionOf(
    `params: {limit: 1s}\n${TASK}hooks: {on_exit: {timeout: '${limit}', config: !Subprocess {cmd: rm}}}\n`,
  );
  expect(hooks?.on_exit).toMatchObject({ timeout_ms: 300_000, templates: { timeout: limit } });
});

test("only a workflow with hooks is split for them", () => {
  const plain = definitionOf(TASK);
  expect(plain.hooks).toBeUndefined();
  expect(allTasks(plain)).toBe(plain.tasks);
  expect(planOf(plain)).toMatchObject({ isWhole: true, hasHooks: false, protocol: 1 });
  const plan = planOf(
    withHooks("{on_exit: {config: !Subprocess {cmd: rm}}, on_failure: {config: !Subprocess {cmd: ls}}}"),
  );
  expect(plan).toMatchObject({ isWhole: false, hasHooks: true });
  expect(plan.nodes.map(({ id, hook, protocol }) => [id, hook, protocol])).toEqual([
    ["a", undefined, 1],
    ["on_failure", "on_failure", 3],
    ["on_exit", "on_exit", 3],
  ]);
  // The tasks are for any agent, although the hooks are not.
  expect(expectedSlices(plan).map(({ tasks, protocol }) => [tasks, protocol])).toEqual([
    [["a"], 1],
    [["on_exit"], 3],
  ]);
});

test("a hook has exactly the keys that make sense for it", () => {
  const hook = Workflow.traits.keys?.hooks?.traits.keys?.on_exit;
  expect(Object.keys(hook?.traits.keys ?? {}).sort()).toEqual([
    "background",
    "config",
    "description",
    "env",
    "env_file",
    "grace",
    "limits",
    "name",
    "pool",
    "retry",
    "run",
    "runs_on",
    "secrets",
    "shell",
    "stdin",
    "timeout",
    "user",
    "working_directory",
  ]);
});

test("mistakes in a hook are found as in a task", () => {
  const found = diagnosticsOf(
    `${TASK}hooks: {on_exit: {config: !UvPython {script_path: x, is_uv_project: true, packages: [y]}, runs_on: {arch: amd64}}}\n`,
  );
  expect(found.map(({ code, message }) => [code, message])).toEqual([
    ["W002", '"packages" has no effect in a uv project'],
    ["W007", "no agent has arch=amd64: the arch of an agent is x64 or arm64"],
  ]);
  expect(diagnosticsOf(`${TASK}hooks: {on_exit: {timeout: 5m}}\n`)).toMatchObject([
    { code: "E011", message: 'task "on_exit" says neither "run" nor "config"' },
  ]);
});

test("expressions of a hook may read the end of the run and every task; those of a task may not", () => {
  const file = (hook: string, task = "ls") =>
    `tasks: {a: {config: !Subprocess {cmd: ls, args: ["${task}"]}}}\nhooks: {on_exit: {env: {X: "${hook}"}, run: ls}}\n`;
  const workflow = definitionOf(file("${{ run.status }} ${{ run.failed_tasks }} ${{ tasks.a.error }}"));
  expect(planOf(workflow).node("on_exit")?.reads).toEqual(new Set(["a"]));
  expect(diagnosticsOf(file("${{ tasks.b.status }}"))).toMatchObject([
    { code: "E063", message: 'there is no task "b"' },
  ]);
  expect(diagnosticsOf(file("x", "${{ run.status }}"))).toMatchObject([{ code: "E063" }]);
});
