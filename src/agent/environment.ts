/** The environment of tasks. Later layers win: agent, workflow, task, then what cdktr itself says. */
import { systemClock } from "../clock.ts";
import type { RunAssignment } from "../contract/messages.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import { paramVariable } from "../workflow/params.ts";

/** The variable that marks every process of a task, and by which what is left of one is found. */
export const TASK_MARKER = "CDKTR_TASK_INSTANCE_ID";
/** The variable that marks every process of an agent, with the id of its outbox's stream. */
export const AGENT_MARKER = "CDKTR_AGENT_STREAM_ID";

/** Settings of cdktr that hold secrets: no task sees them. */
const SECRET = /^CDKTR_.*(KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL)/;
/** Variables of a task: an agent that was itself started by a task does not pass them on. */
const OF_A_TASK =
  /^CDKTR_(PARAM_.*|WORKFLOW_ID|WORKFLOW_INSTANCE_ID|TASK_ID|TASK_INSTANCE_ID|ATTEMPT|RUN_ATTEMPT|SCHEDULED_TIME|AGENT_STREAM_ID)$/;

type Environment = Record<string, string>;

/** What tasks inherit from the agent. */
export function inheritedEnvironment(own: Readonly<Record<string, string | undefined>>): Environment {
  const environment: Environment = {};
  for (const [name, value] of Object.entries(own)) {
    if (value !== undefined && !SECRET.test(name) && !OF_A_TASK.test(name)) environment[name] = value;
  }
  return environment;
}

/** What all tasks of an attempt have from cdktr; it wins over everything that the workflow says. */
export function runVariables(assignment: RunAssignment, streamId: string): Environment {
  const variables: Environment = {};
  for (const [name, value] of Object.entries(assignment.params)) {
    variables[paramVariable(name).replace(/[^A-Z0-9_]/g, "_")] = value;
  }
  const scheduled = assignment.scheduled_time_ms ?? assignment.created_at_ms ?? systemClock.now();
  return {
    ...variables,
    CDKTR_WORKFLOW_ID: assignment.workflow_id,
    CDKTR_WORKFLOW_INSTANCE_ID: assignment.workflow_instance_id,
    CDKTR_RUN_ATTEMPT: String(assignment.attempt),
    CDKTR_SCHEDULED_TIME: new Date(scheduled).toISOString(),
    [AGENT_MARKER]: streamId,
  };
}

/** The environment of one try of a task. */
export function taskEnvironment(
  layers: { inherited: Environment; workflow: Environment; run: Environment },
  task: TaskDefinition,
  instanceId: string,
  attempt: number,
): Environment {
  return {
    ...layers.inherited,
    ...layers.workflow,
    ...task.env,
    ...layers.run,
    CDKTR_TASK_ID: task.id,
    [TASK_MARKER]: instanceId,
    CDKTR_ATTEMPT: String(attempt),
  };
}
