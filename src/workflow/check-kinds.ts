/** Checks what the kinds of tasks demand of their configs. */
import type { Finding } from "./diagnostic.ts";
import { hookTasks } from "./hooks.ts";
import { type IssuePath, placeOf } from "./issues.ts";
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
