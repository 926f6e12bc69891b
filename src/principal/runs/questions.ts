/** What people are asked, as clients are told. */
import type { ApprovalSummary } from "../../contract/messages.ts";
import type { OperationalTx, RunRecord, TaskRunState, WaitRecord } from "../../storage/operational/store.ts";
import type { Question } from "../../workflow/answers.ts";

/** What of a run waits for a person. Part of a unit of work. @param limit the most that are returned */
export async function approvalsOf(
  tx: OperationalTx,
  run: RunRecord,
  limit = 100,
): Promise<ApprovalSummary[]> {
  const waits = personal(await tx.listWaits(run.workflow_instance_id)).slice(0, limit);
  const summaries: ApprovalSummary[] = [];
  for (const wait of waits) {
    const question = readable(wait);
    if (question !== null) summaries.push(await summaryOf(tx, run, wait, question));
  }
  return summaries;
}

/** What is asked; null if what is stored of it is damaged, which must not hide what others are asked. */
export function readable({ data }: Pick<WaitRecord, "data">): Question | null {
  try {
    return JSON.parse(data);
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

/** What is asked, as clients are told. Part of a unit of work. */
export async function summaryOf(
  tx: OperationalTx,
  run: RunRecord,
  { task, task_instance_id, since_ms, due_ms }: WaitRecord,
  { message, form, on_timeout, roles, four_eyes }: Question,
): Promise<ApprovalSummary> {
  const record =
    task_instance_id === null ? null : await tx.getTaskRun(run.workflow_instance_id, task_instance_id);
  return {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    ...(record === null ? { task_id: task } : nameOfTask(record)),
    task_instance_id: task_instance_id ?? "",
    message,
    form: { ...form },
    since_ms,
    due_ms,
    on_timeout,
    ...(roles === undefined ? {} : { roles: [...roles] }),
    four_eyes: four_eyes === true,
    triggered_by: run.actor,
  };
}

/** The task, and the item, of a task run. */
export function nameOfTask({ task_id, item_key }: Pick<TaskRunState, "task_id" | "item_key">): {
  task_id: string;
  item_key?: string;
} {
  return item_key === null ? { task_id } : { task_id, item_key };
}

/** Those of these waits that are for a person, oldest first. */
export function personal(waits: readonly WaitRecord[]): WaitRecord[] {
  return waits.filter(({ kind }) => kind === "person").sort((a, b) => a.since_ms - b.since_ms);
}
