/**
 * Which agents can execute a task. Every agent knows the keys of the table below; whatever else a task has, also what only a newer cdktr
 * knows, is for agents that know the second version of the language.
 */
import type { TaskConfig } from "./kinds/index.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";

/** The protocol version of an agent that every task can be given to. */
const FIRST = 1;
/** The protocol version since which an agent knows the second version of the language. */
const LANGUAGE = 3;

/** The protocol version of an agent that can be given a hook: it has to pass on how the run ended. */
export const PROTOCOL_OF_HOOKS = LANGUAGE;

/** The stored keys of a task that every agent knows, or that no agent needs to know. */
const OF_TASKS: ReadonlySet<string> = new Set([
  "id",
  "name",
  "description",
  "depends",
  "config",
  "retry",
  "timeout_ms",
  "background",
  "runs_on",
  "pool",
  "env",
]);
const OF_RETRIES: ReadonlySet<string> = new Set(["max_attempts", "delay_ms", "backoff"]);
const OF_CONFIGS: Readonly<Record<string, ReadonlySet<string>>> = {
  Subprocess: new Set(["type", "cmd", "args", "working_directory"]),
  UvPython: new Set([
    "type",
    "script_path",
    "args",
    "packages",
    "is_uv_project",
    "working_directory",
    "uv_path",
  ]),
};

/** The protocol version that an agent must speak to execute this task. */
export function protocolOf(
  workflow: Pick<WorkflowDefinition, "language" | "files">,
  task: TaskDefinition,
): number {
  const isKnown =
    workflow.language === undefined &&
    workflow.files === undefined &&
    hasOnly(task, OF_TASKS) &&
    hasOnly(task.retry, OF_RETRIES) &&
    isKnownConfig(task.config);
  return isKnown ? FIRST : LANGUAGE;
}

function isKnownConfig(config: TaskConfig): boolean {
  const keys = Object.hasOwn(OF_CONFIGS, config.type) ? OF_CONFIGS[config.type] : undefined;
  return keys !== undefined && hasOnly(config, keys);
}

function hasOnly(value: object, keys: ReadonlySet<string>): boolean {
  return Object.entries(value).every(([key, given]) => given === undefined || keys.has(key));
}
