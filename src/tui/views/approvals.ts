/** The tasks that wait for a person. */
import type { ApprovalSummary } from "../../contract/messages.ts";
import { formLines, nameOfApproval } from "../../contract/run-approvals.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { wrapWords } from "../../terminal/text.ts";
import { age, moment, until } from "../format.ts";
import { approvalId, approvalRows } from "../lists/approval-rows.ts";
import { selectedOf } from "../lists/list-ids.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawFilterLine } from "./filter-line.ts";
import { drawTable } from "./table.ts";

/** Rows for the whole question. */
const QUESTION = 9;

export function drawApprovals(region: Region, state: State): void {
  const list = state.lists.approvals;
  const lower = region.height > 16 ? QUESTION : 0;
  const body = drawFilterLine(region.sub(0, 0, region.width, region.height - lower), state, "approvals", []);
  const rows = approvalRows(state, list);
  drawTable<ApprovalSummary>(body, {
    name: "approvals",
    rows,
    list,
    id: approvalId,
    empty: emptyText(state, list?.filter ?? ""),
    columns: [
      { title: "WORKFLOW", width: 12, grow: 1, cell: (one) => [[one.workflow_id, PLAIN]] },
      { title: "TASK", width: 10, grow: 1, cell: (one) => [[printable(nameOfApproval(one)), PLAIN]] },
      { title: "RUN", width: 8, cell: (one) => [[one.workflow_instance_id.slice(0, 8), DIM]] },
      {
        title: "WAITS",
        width: 5,
        align: "right",
        cell: ({ since_ms }) => [[age(state.now - since_ms), PLAIN]],
      },
      { title: "OTHERWISE", width: 15, from: 72, cell: (one) => [[otherwise(one, state.now), DIM]] },
      { title: "TRIGGERED BY", width: 12, from: 96, cell: (one) => [[one.triggered_by ?? "–", DIM]] },
      {
        title: "ASKS",
        width: 16,
        grow: 3,
        cell: ({ message, refusal }) => [
          [printable(message.replace(/\s+/g, " ")), refusal === undefined ? PLAIN : DIM],
        ],
      },
    ],
  });
  if (lower === 0) return;
  const detail = region.sub(0, region.height - lower, region.width, lower);
  detail.rule(0);
  const selected = selectedOf(state, "approvals");
  const approval = rows.find((one) => approvalId(one) === selected);
  if (approval === undefined) return;
  for (const [y, line] of questionLines(approval, detail.width - 2, state.now)
    .slice(0, lower - 1)
    .entries())
    detail.spans(1, y + 1, line, detail.width - 2);
}

/** What happens if nobody answers: `rejected in 2h`. */
function otherwise({ due_ms, on_timeout }: ApprovalSummary, now: number): string {
  if (due_ms === null) return "waits";
  return `${on_timeout === "approve" ? "approved" : "rejected"} ${until(due_ms - now)}`;
}

function questionLines(approval: ApprovalSummary, columns: number, now: number): Span[][] {
  const { workflow_id, workflow_instance_id, triggered_by, since_ms, due_ms, refusal, message, form } =
    approval;
  const lines: Span[][] = [
    [
      [nameOfApproval(approval), CYAN | BOLD],
      [` of ${workflow_id}, run ${workflow_instance_id}, since ${moment(since_ms, now)}`, DIM],
      [triggered_by === null ? "" : `, triggered by ${triggered_by}`, DIM],
      [due_ms === null ? "" : `; ${otherwise(approval, now)} if nobody answers`, YELLOW],
    ],
  ];
  if (refusal !== undefined)
    for (const line of wrapWords(printable(refusal), columns)) lines.push([[line, YELLOW]]);
  for (const part of message.trim().split("\n"))
    for (const line of wrapWords(printable(part), columns)) lines.push([[line, PLAIN]]);
  for (const line of formLines(form)) lines.push([[`  ${printable(line)}`, DIM]]);
  return lines;
}

function emptyText(state: State, filter: string): string {
  if (state.data.approvalsMissing !== null) return state.data.approvalsMissing;
  if (state.data.approvals === null) return "Loading …";
  if (filter !== "") return `No approval matches "${filter}". Esc clears the filter.`;
  return "Nothing waits for a person.";
}
