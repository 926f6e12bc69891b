/** Keys that answer what waits for a person, in their list and in a run. */
import type { ApprovalSummary } from "../../contract/messages.ts";
import { approvalId, approvalOf, approvalRows } from "../lists/approval-rows.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { taskRows } from "../lists/task-rows.ts";
import { currentPage, openRun } from "../navigation.ts";
import { askAnswer } from "../overlays/ask.ts";
import { PANES_WITH_TASKS, type State } from "../state.ts";
import type { Binding } from "./binding.ts";

/** The selected approval: that of the list, or of the selected task or item. */
function selectedApproval(state: State): ApprovalSummary | undefined {
  const page = currentPage(state);
  if (page.kind === "approvals") {
    const selected = selectedOf(state, "approvals");
    return approvalRows(state, state.lists.approvals).find((one) => approvalId(one) === selected);
  }
  if (page.kind !== "run" || !PANES_WITH_TASKS.includes(page.pane)) return undefined;
  const run = state.data.runDetails.get(page.id);
  const selected = selectedOf(state, `tasks:${page.id}`);
  const row = run === undefined ? undefined : taskRows(state, run).rows.find(({ id }) => id === selected);
  if (row === undefined || row.kind === "note") return undefined;
  return approvalOf(
    state,
    page.id,
    row.task.id,
    row.kind === "item" ? (row.item?.item_key ?? "") : undefined,
  );
}

function answer(state: State, approves: boolean): void {
  const approval = selectedApproval(state);
  if (approval !== undefined) askAnswer(state, approval, approves);
}

/** The keys that answer. */
export const answerKeys: readonly Binding[] = [
  {
    keys: ["A"],
    label: "A",
    help: "approve what waits for a person, with its form",
    footer: "approve",
    when: (state) => selectedApproval(state) !== undefined,
    run: (state) => answer(state, true),
  },
  {
    keys: ["R"],
    label: "R",
    help: "reject what waits for a person",
    footer: "reject",
    when: (state) => selectedApproval(state) !== undefined,
    run: (state) => answer(state, false),
  },
];

export const approvalKeys: readonly Binding[] = [
  ...answerKeys,
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "its run",
    footer: "its run",
    run(state) {
      const approval = selectedApproval(state);
      if (approval !== undefined) openRun(state, approval.workflow_instance_id);
    },
  },
];
