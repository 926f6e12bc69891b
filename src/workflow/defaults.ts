/**
 * Defaults of tasks: those of a workflow, and those of the directories that its file is in. They become part of the definition when the
 * file is read, so a run keeps the ones that it was created with. What is said nearest to the task counts: the task itself, its workflow,
 * the directory, the directory above it, and so on.
 */
import { nodeAt } from "./issues.ts";
import { factsOf } from "./kinds/index.ts";
import { Defaults, type TaskConfig, type TaskDefinition, type WorkflowDefinition } from "./model.ts";
import type { Located } from "./yaml-tree.ts";

/** The keys of tasks that have defaults, as files and as stored definitions name them. */
const OF_TASKS = [
  ["retry", "retry"],
  ["timeout", "timeout_ms"],
  ["grace", "grace_ms"],
  ["background", "background"],
] as const;

/** Both; where both say something, the inner one counts. */
export function mergeDefaults(
  outer: Defaults | undefined,
  inner: Defaults | undefined,
): Defaults | undefined {
  if (outer === undefined || inner === undefined) return outer ?? inner;
  const { env: outerEnv, templates: outerTemplates, ...others } = outer;
  const { env, templates, ...nearer } = inner;
  const shell = inner.shell ?? outer.shell;
  const working_directory = inner.working_directory ?? outer.working_directory;
  const merged: Defaults = { ...others, ...nearer, shell, working_directory };
  if (outerEnv !== undefined || env !== undefined) merged.env = { ...outerEnv, ...env };
  for (const key of Object.keys(templates ?? {}))
    if (!(storedKey(key) in nearer)) delete merged[storedKey(key)];
  const kept = Object.entries(outerTemplates ?? {}).filter(([key]) => !(storedKey(key) in nearer));
  if (kept.length > 0 || templates !== undefined)
    merged.templates = { ...Object.fromEntries(kept), ...templates };
  return merged;
}

function storedKey(key: string): (typeof OF_TASKS)[number][1] {
  return OF_TASKS.find(([written]) => written === key)?.[1] ?? "retry";
}

type Content = Pick<WorkflowDefinition, "tasks" | "env" | "runs_on" | "notify">;

/**
 * What a file says, with the defaults of its own and of its directory in the place of what it leaves out.
 * @param root the values of the file, which has no mistakes
 * @param ofDirectory the defaults of its directory
 */
export function withDefaults<C extends Content>(
  content: C,
  root: Located,
  ofDirectory: Defaults | undefined,
): C {
  const own = nodeAt(root, ["defaults"])?.value ?? null;
  const defaults = mergeDefaults(ofDirectory, own === null ? undefined : Defaults.file.parse(own));
  if (defaults === undefined) return content;
  const { env, runs_on, notify } = defaults;
  return {
    ...content,
    env: { ...env, ...content.env },
    tasks: content.tasks.map((task) => taskWith(defaults, task, nodeAt(root, ["tasks", task.id]))),
    ...(runs_on === undefined || content.runs_on !== undefined ? {} : { runs_on }),
    ...(notify === undefined || content.notify !== undefined ? {} : { notify }),
  };
}

function taskWith(defaults: Defaults, task: TaskDefinition, node: Located | null): TaskDefinition {
  const config = configWith(defaults, task.config);
  const { ignores = [] } = factsOf(config);
  const left = OF_TASKS.filter(
    ([key, stored]) =>
      !ignores.includes(key) &&
      (defaults[stored] !== undefined || defaults.templates?.[key] !== undefined) &&
      isLeftOut(node?.children.get(key)?.node),
  );
  if (left.length === 0) return config === task.config ? task : { ...task, config };
  const given = Object.fromEntries(
    left.flatMap(([, stored]) => (defaults[stored] === undefined ? [] : [[stored, defaults[stored]]])),
  );
  const templates = left.flatMap(([key]) => {
    const template = defaults.templates?.[key];
    return template === undefined ? [] : [[key, template]];
  });
  const filled: TaskDefinition = { ...task, config, ...given };
  return templates.length === 0
    ? filled
    : { ...filled, templates: { ...task.templates, ...Object.fromEntries(templates) } };
}

function configWith({ shell, working_directory }: Defaults, config: TaskConfig): TaskConfig {
  let filled = config;
  if (shell !== null && filled.type === "Shell" && filled.shell === null) filled = { ...filled, shell };
  if (working_directory !== null && "working_directory" in filled && filled.working_directory === null)
    filled = { ...filled, working_directory };
  return filled;
}

function isLeftOut(node: Located | undefined): boolean {
  return node === undefined || node.value === null;
}
