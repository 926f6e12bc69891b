/** What is told about runs. */
import type { OperationalTx, RunRecord, WaitRecord } from "../../storage/operational/store.ts";
import { alertKey } from "../../workflow/alert-kinds.ts";
import type { Question } from "../../workflow/answers.ts";
import type { NewAlert } from "./new-alert.ts";
import type { Fact } from "./senders/sender.ts";

/** The most failed tasks that are told. */
const MOST_TASKS = 10;

/** What happened, in one line. @param inARow failures in a row, with this run or before it */
export function subjectOfRun(run: RunRecord, inARow: number): string {
  const { workflow_id, status } = run;
  if (status === "COMPLETED")
    return inARow === 1
      ? `${workflow_id} recovered after a failure`
      : `${workflow_id} recovered after ${inARow} failures in a row`;
  const what = status === "CRASHED" ? "crashed" : "failed";
  return inARow === 1 ? `${workflow_id} ${what}` : `${workflow_id} ${what}, ${inARow} times in a row`;
}

/** The particulars of a run for messages. Times are ms since the epoch. Part of the unit of work that ends it. */
export async function factsOfRun(
  tx: OperationalTx,
  run: RunRecord,
  inARow: number,
): Promise<Readonly<Record<string, Fact | undefined>>> {
  const { workflow_name, status, error, trigger, attempt, agent_id, actor, retry_of } = run;
  const { created_at_ms, scheduled_time_ms, started_at_ms, finished_at_ms, duration_ms, parent_run } = run;
  const tasks =
    status === "COMPLETED" ? [] : await tx.failedTasksOf(run.workflow_instance_id, MOST_TASKS + 1);
  return {
    workflow_name,
    status,
    error,
    trigger,
    actor: actor ?? undefined,
    attempt,
    agent_id: agent_id ?? undefined,
    retry_of: retry_of ?? undefined,
    parent_run: parent_run ?? undefined,
    created_at_ms,
    scheduled_time_ms: scheduled_time_ms ?? undefined,
    started_at_ms: started_at_ms ?? undefined,
    finished_at_ms: finished_at_ms ?? undefined,
    duration_ms:
      duration_ms ??
      (started_at_ms === null || finished_at_ms === null ? undefined : finished_at_ms - started_at_ms),
    failures: inARow,
    failed_tasks: tasks.slice(0, MOST_TASKS).map((task) => ({ ...task })),
    more_failed_tasks: tasks.length > MOST_TASKS ? true : undefined,
  };
}

/** The key of the alert about a task that waits for a person. @param node id of the task, with the key of its item */
export function questionKey({ workflow_instance_id }: RunRecord, node: string): string {
  return alertKey("waiting", workflow_instance_id, node);
}

/** A task waits for a person. */
export function questionAlert(
  run: RunRecord,
  node: string,
  { data, due_ms }: Pick<WaitRecord, "data" | "due_ms">,
  at_ms: number,
): NewAlert {
  const { message, on_timeout } = JSON.parse(data) as Question;
  const { workflow_id, workflow_instance_id, workflow_name, trigger, actor } = run;
  return {
    kind: "waiting",
    key: questionKey(run, node),
    workflow_id,
    workflow_instance_id,
    subject: `${workflow_id} waits for an approval: ${node}`,
    facts: {
      workflow_name,
      task_id: node,
      message,
      due_ms: due_ms ?? undefined,
      on_timeout: due_ms === null ? undefined : on_timeout,
      trigger,
      actor: actor ?? undefined,
      started_at_ms: run.started_at_ms ?? undefined,
    },
    at_ms,
  };
}
