/**
 * The environment variables that cdktr sets for tasks: when each is set (once per attempt of a run, or per attempt of a task) and its
 * value, in the words of the manual. A workflow's `env` must not set them, because its values would be overwritten.
 */
export const OWN_VARIABLES = {
  CDKTR_WORKFLOW_ID: { set: "run", holds: "id of the workflow" },
  CDKTR_WORKFLOW_INSTANCE_ID: { set: "run", holds: "id of the run" },
  CDKTR_TASK_ID: { set: "task", holds: "id of the task" },
  CDKTR_TASK_INSTANCE_ID: { set: "task", holds: "id of the task run" },
  CDKTR_ATTEMPT: { set: "task", holds: "attempt of the task, 1 for the first" },
  CDKTR_RUN_ATTEMPT: {
    set: "run",
    holds: "attempt of the run, or of its slice, 1 for the first; increases when an agent died",
  },
  CDKTR_SCHEDULED_TIME: {
    set: "run",
    holds: "the scheduled time, or when the run was triggered (RFC 3339, UTC)",
  },
  CDKTR_OUTPUT: {
    set: "task",
    holds: "a file for what the task publishes, see below; it does not exist yet",
  },
  CDKTR_INPUTS: {
    set: "task",
    holds: "a directory with what its dependencies have published, see below; it exists if there is anything",
  },
  CDKTR_ARTIFACTS: {
    set: "task",
    holds:
      "a directory for files that are kept with the run, see cdktr docs files; it exists for tasks that are scripts",
  },
  CDKTR_RUN_DIRECTORY: {
    set: "run",
    holds: "the run's own directory on this agent, see above; it exists once a task has started there",
  },
  CDKTR_AGENT_STREAM_ID: { set: "run", holds: "marks every process that the agent started" },
  CDKTR_RUN_STATUS: {
    set: "hook",
    holds: "in hooks: how the tasks of the run have ended: COMPLETED, FAILED, CRASHED or CANCELLED",
  },
  CDKTR_RUN_ERROR: {
    set: "hook",
    holds: "in hooks: why the run did not complete; empty if it COMPLETED",
  },
  CDKTR_RUN_FAILED_TASKS: {
    set: "hook",
    holds: "in hooks: the ids of the tasks that failed, separated by spaces",
  },
} as const;

/** The variables that it sets beside those for the items of fan-outs. Elsewhere they belong to the user. */
export const ITEM_VARIABLES = {
  CDKTR_ITEM: "the item: text as it is, anything else as JSON",
  CDKTR_ITEM_KEY: "key of the item",
  CDKTR_ITEM_INDEX: "place of the item, 0 for the first",
} as const;

/** Whether cdktr sets this environment variable for the items of fan-outs. */
export function isItemVariable(name: string): boolean {
  return Object.hasOwn(ITEM_VARIABLES, name);
}

/** Computes the value of each variable that is set for a run, for a task, or for a hook. */
export type OwnVariables<When extends "run" | "task" | "hook"> = {
  [N in keyof typeof OWN_VARIABLES as (typeof OWN_VARIABLES)[N]["set"] extends When ? N : never]: string;
};

const PARAM_PREFIX = "CDKTR_PARAM_";

/** The environment variable that holds a parameter: `day` is in `CDKTR_PARAM_DAY`. */
export function paramVariable(name: string): string {
  return `${PARAM_PREFIX}${name.toUpperCase()}`;
}

/** Whether cdktr itself sets this environment variable. Users may set settings, such as `CDKTR_PRINCIPAL_HOST`. */
export function isOwnVariable(name: string): boolean {
  return Object.hasOwn(OWN_VARIABLES, name) || name.startsWith(PARAM_PREFIX);
}

/** Whether the `env` of a workflow must not set a variable: tasks would not see it. Only hooks do not see those that are set for hooks. */
export function isReservedVariable(name: string): boolean {
  return isOwnVariable(name) && !HOOK_VARIABLES.has(name);
}

const HOOK_VARIABLES: ReadonlySet<string> = new Set(
  Object.entries(OWN_VARIABLES).flatMap(([name, { set }]) => (set === "hook" ? [name] : [])),
);
