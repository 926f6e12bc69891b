/** A run whose expressions can be evaluated. */
import type { Compiled } from "../../../src/workflow/expressions/compiled.ts";
import type { ScopeValues } from "../../../src/workflow/expressions/source.ts";
import type { TaskResult } from "../../../src/workflow/expressions.ts";
import { expressionsOf } from "../../../src/workflow/expressions.ts";
import type { Place } from "../../../src/workflow/field.ts";
import type { WorkflowDefinition } from "../../../src/workflow/model.ts";
import { definitionOf } from "../support.ts";

/** Parameters of every type, a task with a dash in its id, one that declares its outputs, and one that is not upstream of `load`. */
const FILE = `
params:
  region: eu
  day: "2026-11-27"
  days: "7"
  full: "false"
env: {BUCKET: "s3://\${{ params.region }}-data", PLAIN: plain}
tasks:
  extract: {config: !Subprocess {cmd: ls}}
  "my-task": {config: !Subprocess {cmd: ls}}
  check: {depends: [extract], config: !Subprocess {cmd: ls}}
  load: {depends: [check, "my-task"], config: !Subprocess {cmd: ls}}
  other: {config: !Subprocess {cmd: ls}}
`;

/** Types that parameters get here as if the file had them, and outputs that a task declares. */
const TYPES: Readonly<Record<string, string>> = {
  days: "int",
  full: "bool",
  ratio: "number",
  tables: "json",
  day: "date",
};

export const WORKFLOW: WorkflowDefinition = (() => {
  const definition = definitionOf(FILE);
  const params = Object.fromEntries(
    [...Object.keys(definition.params), "ratio", "tables"].map((name) => [
      name,
      { description: null, default: null, ...(TYPES[name] === undefined ? {} : { type: TYPES[name] }) },
    ]),
  );
  const tasks = definition.tasks.map((task) =>
    task.id === "check"
      ? { ...task, outputs: ["rows", "files"] }
      : task.id === "load"
        ? { ...task, foreach: "x" }
        : task,
  );
  return { ...definition, params, tasks } as WorkflowDefinition;
})();

const RESULTS: Readonly<Record<string, TaskResult>> = {
  extract: {
    status: "COMPLETED",
    outputs: {
      rows: "17",
      count: 17,
      ratio: 0.5,
      ok: true,
      none: null,
      "a-b": "dashed",
      list: [3, 1, 2],
      deep: { a: { b: [10, 20] } },
      text: '{"x": 1}',
    },
  },
  "my-task": { status: "SKIPPED", outputs: null, error: 'the expression said "no"' },
  check: { status: "COMPLETED", outputs: { rows: "5", files: ["a.csv", "b.csv"] } },
};

/** What the run of {@link WORKFLOW} knows. */
export const VALUES: ScopeValues = {
  facts: {
    params: {
      region: "eu",
      day: "2026-11-27",
      days: "7",
      full: "false",
      ratio: "0.25",
      tables: '["orders",{"name":"x"}]',
    },
    run: {
      id: "0191-run",
      workflow_id: "etl.daily",
      attempt: 2,
      trigger: "cron",
      scheduled_time_ms: Date.UTC(2026, 10, 27, 2, 30),
      created_at_ms: Date.UTC(2026, 10, 27, 2, 30, 1, 500),
    },
    event: { path: "/data/in/a b.csv", "x-id": "7" },
    env: WORKFLOW.env,
    agents: [
      { id: "web-1", host: "one", labels: { host: "one", role: "web", cores: "8" } },
      { id: "web-2", host: "two", labels: { host: "two", role: "web", cores: "2" } },
      { id: "db-1", host: "two", labels: { host: "two", role: "db", cores: "2" } },
    ],
  },
  results: (id) => RESULTS[id],
  item: { key: "orders", index: 3, value: { name: "orders", size: 12 } },
};

/** Compiles an expression of the task `load`, unless another task or place is given. */
export function compiled(text: string, place: Place = "start", task: string | null = "load"): Compiled {
  return expressionsOf(WORKFLOW).compile(text, place, task);
}
