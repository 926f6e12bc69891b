/** Checks what the kinds of tasks demand of their configs. */
import type { Finding } from "./diagnostic.ts";
import { hookTasks } from "./hooks.ts";
import { type IssuePath, nodeAt, placeOf } from "./issues.ts";
import { factsOf } from "./kinds/index.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";
import type { Located } from "./yaml-tree.ts";

/** Checks the configs of the tasks and hooks of a file. */
export function checkKinds(file: Pick<WorkflowDefinition, "tasks" | "hooks">, root: Located): Finding[] {
  return [
    ...file.tasks.flatMap((task) => checkKind(task, ["tasks", task.id], root)),
    ...hookTasks(file).flatMap((hook) => checkKind(hook, ["hooks", hook.id], root)),
  ];
}

function checkKind(
  { id, config }: Pick<TaskDefinition, "id" | "config">,
  path: IssuePath,
  root: Located,
): Finding[] {
  const findings: Finding[] = [];
  if (nodeAt(root, [...path, "repeat"]) !== null) findings.push(...checkRepeat(id, config, path, root));
  const { demands, waitsFor } = factsOf(config);
  const demand = demands?.(config) ?? null;
  if (demand !== null) {
    const { message, help } = demand;
    const place = placeOf(root, [...path, "config"]);
    findings.push({ code: "E014", message: `!${config.type} of task "${id}" ${message}`, help, ...place });
  }
  if (waitsFor === undefined) return findings;
  if (path[0] === "hooks") {
    const help = "a hook runs on an agent: use another kind";
    const place = placeOf(root, [...path, "config"]);
    findings.push({ code: "E014", message: `a hook cannot be !${config.type}`, help, ...place });
  }
  return findings;
}

/** What a task that repeats cannot have as well. */
const NOT_WITH_REPEAT: Readonly<Record<string, string>> = {
  retry: "repeat.max_attempts limits the tries",
  foreach: "repeat a task after the fan-out, or one that does all of it",
  matrix: "repeat a task after the fan-out, or one that does all of it",
};

function checkRepeat(
  id: string,
  { type }: Pick<TaskDefinition["config"], "type">,
  path: IssuePath,
  root: Located,
): Finding[] {
  const others = Object.entries(NOT_WITH_REPEAT).filter(([key]) => nodeAt(root, [...path, key]) !== null);
  const findings = others.map(([key, help]): Finding => {
    const message = `"repeat" and "${key}" of task "${id}" exclude each other`;
    return { code: "E014", message, help, ...placeOf(root, [...path, "repeat"]) };
  });
  if (type === "Http") {
    const help = "repeat a script, such as run: curl --fail URL";
    const message = `a task of kind !Http has no "repeat"`;
    findings.push({ code: "E014", message, help, ...placeOf(root, [...path, "repeat"]) });
  }
  return findings;
}
