/** Finds what a valid workflow declares and nobody uses: parameters and outputs. Told by `cdktr workflow validate --strict` only. */
import { type Diagnostic, type Finding, locate } from "./diagnostic.ts";
import { expressionsOf } from "./expressions.ts";
import { allTasks } from "./hooks.ts";
import { placeOf } from "./issues.ts";
import { scriptTextOf } from "./kinds/index.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";
import { paramVariable } from "./own-variables.ts";
import { planOf } from "./plan.ts";
import { SourceText } from "./source-text.ts";
import { readYaml } from "./yaml-tree.ts";

/**
 * What nobody uses. A program in a file of its own may read parameters and outputs in its own way, and is given the benefit of the doubt.
 * @param source the text of its file
 * @param path for messages
 */
export function unusedIn(definition: WorkflowDefinition, source: string, path: string): Diagnostic[] {
  const body = source.startsWith("\ufeff") ? source.slice(1) : source;
  const { root } = readYaml(body);
  if (root === null) return [];
  const findings: Finding[] = [
    ...unusedParams(definition).map((name) => ({
      code: "W008" as const,
      message: `the parameter "${name}" is used nowhere`,
      help: `remove it, or read it: \${{ params.${name} }} in an expression, $${paramVariable(name)} in a script`,
      ...placeOf(root, ["params", name]),
    })),
    ...unreadOutputs(definition).map(({ task, output, index }) => ({
      code: "W011" as const,
      message: `the output "${output}" of task "${task}" is read by nobody`,
      help: `remove it from outputs, or read it: \${{ tasks.${task}.outputs.${output} }}`,
      ...placeOf(root, ["tasks", task, "outputs", index]),
    })),
  ];
  return locate(findings, new SourceText(body), path);
}

function unusedParams(definition: WorkflowDefinition): string[] {
  const names = Object.keys(definition.params);
  const tasks = allTasks(definition);
  if (names.length === 0 || tasks.some(runsFile)) return [];
  const read = readsOf(definition).filter(({ root }) => root === "params");
  if (read.some(({ name }) => name === null)) return [];
  const text = JSON.stringify(tasks);
  return names.filter(
    (name) => !read.some((each) => each.name === name) && !text.includes(paramVariable(name)),
  );
}

interface Unread {
  readonly task: string;
  readonly output: string;
  /** Its place in the list. */
  readonly index: number;
}

function unreadOutputs(definition: WorkflowDefinition): Unread[] {
  const declaring = definition.tasks.filter(({ outputs }) => outputs !== undefined);
  if (declaring.length === 0) return [];
  const read = readsOf(definition).filter(({ root, part }) => root === "tasks" && part === "outputs");
  const isRead = (task: string, output: string): boolean =>
    read.some((each) => each.name === task && (each.output === null || each.output === output));
  const plan = planOf(definition);
  return declaring.flatMap(({ id, outputs = [] }) => {
    const dependents = definition.tasks.filter(
      (task) => task.depends.includes(id) || plan.node(task.id)?.through?.has(id) === true,
    );
    if (dependents.some((task) => runsFile(task) || JSON.stringify(task).includes("CDKTR_INPUTS"))) return [];
    return outputs.flatMap((output, index) => (isRead(id, output) ? [] : [{ task: id, output, index }]));
  });
}

function readsOf(definition: WorkflowDefinition) {
  const hasSome =
    definition.language !== undefined ||
    Object.values(definition.params).some((param) => param.default_template !== undefined);
  return hasSome ? expressionsOf(definition).reads : [];
}

/** Kinds of tasks that are programs. */
const PROGRAMS: ReadonlySet<string> = new Set(["Subprocess", "UvPython", "Bun"]);
const SHELLS = /(^|\/)(ba|da|z|k)?sh$/;

/** Whether a task is a program in a file of its own, so that nobody can see here what it reads. */
function runsFile({ config }: TaskDefinition): boolean {
  if (!PROGRAMS.has(config.type) || scriptTextOf(config) !== null) return false;
  return config.type !== "Subprocess" || !SHELLS.test(config.cmd) || !config.args.includes("-c");
}
