/** The tasks that wait for a person. */
import type { ApprovalSummary } from "../../contract/messages.ts";
import { nameOfApproval } from "../../contract/run-approvals.ts";
import { memo } from "../memo.ts";
import type { ListState, State } from "../state.ts";
import { matcher } from "./filter.ts";

const NONE: readonly ApprovalSummary[] = [];

const compute = memo((approvals: readonly ApprovalSummary[], filter: string): readonly ApprovalSummary[] => {
  const matches = matcher(filter);
  return approvals.filter((one) =>
    matches(
      `${one.workflow_id} ${one.workflow_instance_id} ${nameOfApproval(one)} ${one.triggered_by ?? ""} ${one.message}`,
    ),
  );
});

/** Those that the filter leaves, the oldest first. */
export function approvalRows(
  state: State,
  list: Readonly<ListState> | undefined,
): readonly ApprovalSummary[] {
  return compute(state.data.approvals ?? NONE, list?.filter ?? "");
}

/** The id of a row. */
export function approvalId(approval: ApprovalSummary): string {
  return `${approval.workflow_instance_id} ${nameOfApproval(approval)}`;
}

/** The approval of a task of a run, or of an item, if it waits for one. */
export function approvalOf(
  state: State,
  runId: string,
  taskId: string,
  itemKey: string | undefined,
): ApprovalSummary | undefined {
  const isIt = (one: ApprovalSummary) =>
    one.workflow_instance_id === runId && one.task_id === taskId && one.item_key === itemKey;
  // The list also says whether whoever asks may answer.
  return state.data.approvals?.find(isIt) ?? state.data.runDetails.get(runId)?.approvals?.find(isIt);
}
