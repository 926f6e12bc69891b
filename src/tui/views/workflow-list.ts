/** The list of workflows; on wide screens with details of the selected one. */
import { invalidFileText } from "../../contract/invalid-file.ts";
import type { WorkflowSummary } from "../../contract/messages.ts";
import { moment, until } from "../format.ts";
import { unmetOf } from "../lists/alert-rows.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { HISTORY, WORKFLOW_SORTS, type WorkflowRow, workflowRows } from "../lists/workflow-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, DIM, PLAIN, RED, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { statusSpans } from "../status-look.ts";
import { drawFilterLine } from "./filter-line.ts";
import { sparkline } from "./spark.ts";
import { type Column, drawTable } from "./table.ts";
import { drawOverview } from "./workflow-overview.ts";

/** Minimum width for showing the details next to the list. */
const WITH_DETAILS = 130;

export function drawWorkflows(region: Region, state: State): void {
  const list = state.lists.workflows;
  const beside = region.width >= WITH_DETAILS;
  const left = beside ? region.sub(0, 0, Math.floor(region.width * 0.58), region.height) : region;
  const body = drawFilterLine(left, state, "workflows", WORKFLOW_SORTS);
  const broken = state.data.info?.invalid_workflow_files ?? [];
  const notices = Math.min(broken.length, body.height > 12 ? 2 : 0);
  drawTable(body.sub(0, 0, body.width, body.height - notices), {
    name: "workflows",
    columns: columns(state),
    rows: workflowRows(state, list),
    list,
    id: (row) => row.workflow.id,
    empty: emptyText(state, list?.filter ?? ""),
  });
  broken.slice(0, notices).forEach((file, i) => {
    const y = body.height - notices + i;
    body.spans(0, y, [
      ["✗ ", RED | BOLD],
      [invalidFileText(file), RED],
    ]);
  });
  if (!beside) return;
  const right = region.sub(left.width, 0, region.width - left.width, region.height);
  for (let y = 0; y < right.height; y++) right.text(0, y, "│", DIM);
  const id = selectedOf(state, "workflows");
  if (id !== null) drawOverview(right.sub(2, 0, right.width - 2, right.height), state, id);
}

function emptyText(state: State, filter: string): string {
  if (state.data.workflows === null) return state.connection.status === "lost" ? "" : "Loading …";
  if (filter !== "") return `No workflow matches "${filter}". Esc clears the filter.`;
  return "No workflows yet.\n\nPut a YAML file into the principal's workflow directory;\nit appears here at once. See cdktr docs workflows.";
}

function troubleOf({ error, trigger_problems = [], refused }: WorkflowSummary): string {
  if (error !== null) return " ✗ file invalid";
  return trigger_problems.length > 0 || refused != null ? " ✗ problem" : "";
}

/** What `expect` of a workflow does not find: ` ! late`. */
function unmetSpans(state: State, workflowId: string): Span[] {
  return unmetOf(state, workflowId).map(
    (kind): Span => [` ! ${kind}`, (kind === "missed" ? RED : YELLOW) | BOLD],
  );
}

function columns(state: State): Column<WorkflowRow>[] {
  const { now } = state;
  return [
    {
      title: "WORKFLOW",
      width: 16,
      grow: 3,
      cell: ({ workflow }) => [
        [workflow.paused === undefined ? "" : "‖ ", YELLOW | BOLD],
        [workflow.id, PLAIN],
        [troubleOf(workflow), RED],
        ...unmetSpans(state, workflow.id),
      ],
    },
    { title: "NAME", width: 10, grow: 2, from: 100, cell: ({ workflow }) => [[workflow.name, DIM]] },
    {
      title: "LAST RUN",
      width: 11,
      cell: ({ lastRuns: [last] }) => (last === undefined ? [["never ran", DIM]] : statusSpans(last.status)),
    },
    {
      title: "WHEN",
      width: 16,
      from: 90,
      cell: ({ lastRuns: [last] }) => (last === undefined ? [] : [[moment(last.created_at_ms, now), DIM]]),
    },
    {
      title: "NEXT",
      width: 8,
      align: "right",
      cell: ({ next, workflow }) =>
        workflow.paused !== undefined
          ? [["paused", YELLOW]]
          : next === null
            ? [["–", DIM]]
            : [[until(next - now), next - now < 60_000 ? YELLOW : PLAIN]],
    },
    { title: "HISTORY", width: HISTORY, cell: ({ lastRuns }) => sparkline(lastRuns, HISTORY, now) },
  ];
}
