/** The environment of tasks. Later layers override earlier ones: agent, workflow, task, secrets, then cdktr's own variables. */
import { systemClock } from "../clock.ts";
import type { AssignedItem, RunAssignment } from "../contract/messages.ts";
import { contextOfTask, readTraceparent, writeTraceparent } from "../contract/trace-context.ts";
import { itemText } from "../workflow/fan-out.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import {
  type ITEM_VARIABLES,
  isItemVariable,
  isOwnVariable,
  OWN_VARIABLES,
  type OwnVariables,
  paramVariable,
} from "../workflow/own-variables.ts";

/** Marks every process of a task, so that leftovers can be found. */
export const TASK_MARKER = "CDKTR_TASK_INSTANCE_ID";
/** Marks every process of an agent with the id of its outbox's stream. */
export const AGENT_MARKER = "CDKTR_AGENT_STREAM_ID";

/** Settings of cdktr that hold secrets, and the credentials with which the principal exports traces and logs: no task sees them. */
const SECRET =
  /^(CDKTR_.*(KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL)|CDKTR_(STORE|HISTORY)_URL$|OTEL_EXPORTER_OTLP_([A-Z]+_)?HEADERS$)/;

/** Variables that a service manager sets for this process alone: its credentials, sockets and journal. */
const SERVICE =
  /^(CREDENTIALS_DIRECTORY|LISTEN_(PID|FDS|FDNAMES|PIDFDID)|INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET|WATCHDOG_(PID|USEC)|MAINPID|MANAGERPID|SYSTEMD_EXEC_PID|MEMORY_PRESSURE_(WATCH|WRITE))$/;

type Environment = Record<string, string>;

/**
 * What tasks inherit from the agent. An agent that was itself started by a task does not pass on that task's marker.
 * @param secret names and globs, separated by commas, of further variables that are not passed on
 */
export function inheritedEnvironment(
  own: Readonly<Record<string, string | undefined>>,
  secret = "",
): Environment {
  const globs = secret
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "")
    .map((name) => new Bun.Glob(name));
  const environment: Environment = {};
  for (const [name, value] of Object.entries(own)) {
    if (value === undefined || isWithheld(name) || globs.some((glob) => glob.match(name))) continue;
    environment[name] = value;
  }
  return environment;
}

function isWithheld(name: string): boolean {
  return SECRET.test(name) || SERVICE.test(name) || isOwnVariable(name) || isItemVariable(name);
}

/** An environment without the variables of these names. */
export function without(environment: Readonly<Environment>, names: readonly string[]): Environment {
  const left = { ...environment };
  for (const name of names) delete left[name];
  return left;
}

/**
 * cdktr's own variables for all tasks of an attempt; they override everything that the workflow sets.
 * @param directory the run's own
 */
export function runVariables(assignment: RunAssignment, streamId: string, directory: string): Environment {
  const variables: Environment = {};
  for (const [name, value] of Object.entries(assignment.params)) {
    variables[paramVariable(name).replace(/[^A-Z0-9_]/g, "_")] = value;
  }
  const scheduled = assignment.scheduled_time_ms ?? assignment.created_at_ms ?? systemClock.now();
  const own: OwnVariables<"run"> = {
    CDKTR_WORKFLOW_ID: assignment.workflow_id,
    CDKTR_WORKFLOW_INSTANCE_ID: assignment.workflow_instance_id,
    CDKTR_RUN_ATTEMPT: String(assignment.run_attempt ?? assignment.attempt),
    CDKTR_SCHEDULED_TIME: new Date(scheduled).toISOString(),
    CDKTR_RUN_DIRECTORY: directory,
    [AGENT_MARKER]: streamId,
  };
  return { ...variables, ...own, ...hookVariables(assignment) };
}

/** What hooks know of how the tasks of the run have ended. */
function hookVariables({ run }: RunAssignment): Environment {
  if (run === undefined) return {};
  const own: OwnVariables<"hook"> = {
    CDKTR_RUN_STATUS: run.status,
    CDKTR_RUN_ERROR: run.error ?? "",
    CDKTR_RUN_FAILED_TASKS: joined(run.failed_tasks),
  };
  return own;
}

/** Maximum length of a list of tasks in a variable: the kernel accepts no more than 128 KiB. */
const LONGEST_LIST = 64 * 1024;

/** The first of these ids that fit into a variable. */
function joined(ids: readonly string[]): string {
  const all = ids.join(" ");
  return all.length <= LONGEST_LIST ? all : all.slice(0, all.lastIndexOf(" ", LONGEST_LIST));
}

/** Names of cdktr's own variables that are set for each attempt of a task. */
export const TASK_VARIABLES = Object.keys(OWN_VARIABLES).filter(
  (name) => OWN_VARIABLES[name as keyof typeof OWN_VARIABLES].set === "task",
);

/**
 * The environment of one attempt of a task.
 * @param secrets its variables that hold secrets
 */
export function taskEnvironment(
  layers: { inherited: Environment; workflow: Environment; run: Environment },
  task: TaskDefinition,
  instanceId: string,
  attempt: number,
  files: { readonly output: string; readonly inputs: string; readonly artifacts: string },
  secrets: Readonly<Environment> = {},
): Environment {
  const own: OwnVariables<"task"> = {
    CDKTR_TASK_ID: task.id,
    [TASK_MARKER]: instanceId,
    CDKTR_ATTEMPT: String(attempt),
    CDKTR_OUTPUT: files.output,
    CDKTR_INPUTS: files.inputs,
    CDKTR_ARTIFACTS: files.artifacts,
  };
  return { ...layers.inherited, ...layers.workflow, ...task.env, ...secrets, ...layers.run, ...own };
}

/**
 * The variable with the trace that a task run is part of, which programs with OpenTelemetry know; what its environment says otherwise goes
 * before. Empty for a run without a trace.
 */
export function traceVariables({ trace }: Pick<RunAssignment, "trace">, instanceId: string): Environment {
  const run = trace === undefined ? undefined : readTraceparent(trace.traceparent);
  if (trace === undefined || run === undefined) return {};
  return { TRACEPARENT: writeTraceparent(trace.has_spans ? contextOfTask(run, instanceId) : run) };
}

/** cdktr's own variables for an item of a fan-out. */
export function itemVariables({ key, index, value }: AssignedItem): Environment {
  const variables: Record<keyof typeof ITEM_VARIABLES, string> = {
    CDKTR_ITEM: itemText(value),
    CDKTR_ITEM_KEY: key,
    CDKTR_ITEM_INDEX: String(index),
  };
  return variables;
}
