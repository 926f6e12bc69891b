/** Hints for filters that match nothing. */
import type { SearchLogs } from "../../contract/messages.ts";
import { NotFoundError } from "../../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../../protocol/client.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { say } from "./report.ts";

/** Maximum number of ids and names of tasks in a hint. */
const SHOWN_NAMES = 8;

/** Tells the user when a filter without results names a workflow that the principal does not have; it may be a former one. */
export async function tellUnknownWorkflow(client: PrincipalClient, id: string | undefined): Promise<void> {
  sayProblem(await unknownWorkflow(client, id));
}

/** Tells the user when a search of the log without results names a workflow or a task that does not exist. */
export async function tellUnknownNames(client: PrincipalClient, search: SearchLogs): Promise<void> {
  if (search.workflow_instance_id === undefined) {
    const problem = await unknownWorkflow(client, search.workflow_id);
    if (problem !== undefined) return sayProblem(problem);
  }
  sayProblem(await unknownTask(client, search));
}

/**
 * Refuses to wait for lines that never come: of a workflow that does not exist and never printed anything, or of a task that its run
 * does not have. A task that may come with the next version of the workflow is waited for; the user is told.
 * @throws NotFoundError
 */
export async function refuseUnknownNames(client: PrincipalClient, search: SearchLogs): Promise<void> {
  if (search.workflow_instance_id === undefined) {
    const workflow = await unknownWorkflow(client, search.workflow_id);
    if (workflow !== undefined && (await hasNoLines(client, { workflow_id: search.workflow_id })))
      throw workflow;
  }
  const task = await unknownTask(client, search);
  if (task === undefined) return;
  if (search.workflow_instance_id !== undefined) throw task;
  sayProblem(task);
  say("Waiting for its lines in case there is such a task later.");
}

function sayProblem(problem: NotFoundError | undefined): void {
  if (problem !== undefined)
    say(problem.hint === undefined ? problem.message : `${problem.message} ${problem.hint}`);
}

/** Unknown is only what the history does not have either; if it cannot be read, that remains open. */
async function hasNoLines(client: PrincipalClient, search: SearchLogs): Promise<boolean> {
  const lines = await client.searchLogs({ ...search, limit: 1 }).catch(() => undefined);
  return lines !== undefined && lines.rows.length === 0 && lines.warning === null;
}

async function unknownWorkflow(
  client: PrincipalClient,
  id: string | undefined,
): Promise<NotFoundError | undefined> {
  if (id === undefined) return undefined;
  const known = Object.keys(await client.listWorkflows());
  if (known.includes(id)) return undefined;
  const near = nearest(id, known);
  return new NotFoundError(`There is no workflow '${id}' now.`, {
    hint: near === undefined ? "'cdktr workflow list' shows the workflows." : `Did you mean '${near}'?`,
  });
}

async function unknownTask(
  client: PrincipalClient,
  { task, workflow_id, workflow_instance_id }: SearchLogs,
): Promise<NotFoundError | undefined> {
  if (task === undefined) return undefined;
  const { names, taskRuns } = await tasksOf(client, workflow_id, workflow_instance_id);
  // Items of fan-outs are called load[orders].
  if (names.has(task) || names.has(task.replace(/\[.*\]$/s, "")) || taskRuns.has(task)) return undefined;
  if (!(await hasNoLines(client, { workflow_id, workflow_instance_id, task }))) return undefined;
  if (names.size === 0)
    return new NotFoundError(`No line of a task '${task}' is in the history.`, {
      hint: "'cdktr workflow show ID' shows the tasks of a workflow.",
    });
  const owner =
    workflow_instance_id === undefined ? `Workflow '${workflow_id}'` : `Run ${workflow_instance_id}`;
  const near = nearest(task, names);
  const shown = [...names].slice(0, SHOWN_NAMES).join(", ");
  return new NotFoundError(`${owner} has no task '${task}'.`, {
    hint:
      near === undefined
        ? `Its tasks: ${shown}${names.size > SHOWN_NAMES ? ", …" : ""}.`
        : `Did you mean '${near}'?`,
  });
}

/** Ids and names of the tasks of a run, or of a workflow; none if they are not known. */
async function tasksOf(
  client: PrincipalClient,
  workflowId: string | undefined,
  runId: string | undefined,
): Promise<{ readonly names: ReadonlySet<string>; readonly taskRuns: ReadonlySet<string> }> {
  try {
    if (runId !== undefined) {
      const { definition, tasks } = await client.getRun(runId);
      return {
        names: namesOf(
          definition === null ? tasks.map(({ task_id: id }) => ({ id, name: id })) : allTasks(definition),
        ),
        taskRuns: new Set(tasks.map((run) => run.task_instance_id)),
      };
    }
    const workflow = workflowId === undefined ? undefined : await client.getWorkflow(workflowId);
    return {
      names: namesOf(workflow === undefined ? [] : allTasks(workflow.definition)),
      taskRuns: new Set(),
    };
  } catch (error) {
    if (error instanceof RequestRefusedError) return { names: new Set(), taskRuns: new Set() };
    throw error;
  }
}

function namesOf(tasks: readonly { readonly id: string; readonly name: string }[]): ReadonlySet<string> {
  return new Set([...tasks.map(({ id }) => id), ...tasks.map(({ name }) => name)]);
}
