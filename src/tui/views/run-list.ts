/** The live table of runs: all of them, or those of one workflow. */

import type { RunSummary } from "../../contract/messages.ts";
import { agentsWord } from "../../contract/run-agents.ts";
import { tookMs } from "../../contract/took.ts";
import { isOpen } from "../feeds/merge-runs.ts";
import { duration, moment, until } from "../format.ts";
import { RUN_SORTS, runRows } from "../lists/run-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { DIM, PLAIN } from "../screen/style.ts";
import type { State } from "../state.ts";
import { STATUS_LOOK, statusSpans } from "../status-look.ts";
import { drawFilterLine } from "./filter-line.ts";
import { progressBar } from "./spark.ts";
import { type Column, drawTable } from "./table.ts";

/** Draws the table of the list `name`; with `workflowId`, only that workflow's runs. */
export function drawRunTable(region: Region, state: State, name: string, workflowId: string | null): void {
  const list = state.lists[name];
  const body = drawFilterLine(region, state, name, RUN_SORTS);
  const filter = list?.filter ?? "";
  drawTable(body, {
    name,
    columns: columns(state.now, workflowId === null),
    rows: runRows(state, list, workflowId),
    list,
    id: (run) => run.workflow_instance_id,
    empty:
      state.data.runs === null
        ? "Loading …"
        : filter !== ""
          ? `No run matches "${filter}". Esc clears the filter.`
          : "No runs yet. t on a workflow triggers one.",
  });
}

const WIDE = 104;

function columns(now: number, withWorkflow: boolean): Column<RunSummary>[] {
  const all: (Column<RunSummary> | null)[] = [
    { title: "STATUS", width: 11, cell: (run) => statusSpans(run.status) },
    withWorkflow
      ? { title: "WORKFLOW", width: 14, grow: 3, cell: (run) => [[run.workflow_id, PLAIN]] }
      : null,
    { title: "TRIGGER", width: 8, cell: (run) => [[run.trigger, DIM]] },
    {
      title: "AGENT",
      width: 8,
      grow: 2,
      from: withWorkflow ? 90 : 70,
      cell: (run) => [[agentsWord(run) ?? "–", DIM]],
    },
    { title: "CREATED", width: 16, cell: (run) => [[moment(run.created_at_ms, now), PLAIN]] },
    {
      title: "TIME",
      width: 6,
      align: "right",
      cell: (run) => {
        const ms = tookMs(run, now);
        return ms === null ? [["–", DIM]] : [[duration(ms), PLAIN]];
      },
    },
    { title: "TASKS", width: 12, cell: (run) => progress(run, now) },
    {
      title: "TRY",
      width: 3,
      align: "right",
      from: 90,
      cell: (run) => [[String(run.attempt), run.attempt > 1 ? STATUS_LOOK.WAITING.style : DIM]],
    },
    { title: "RUN", width: 8, grow: 1, from: WIDE, cell: (run) => [[run.workflow_instance_id, DIM]] },
  ];
  return all.filter((column) => column !== null);
}

function progress(run: RunSummary, now: number): Span[] {
  if (run.start_at_ms !== undefined)
    return [[`starts ${until(run.start_at_ms - now)}`, STATUS_LOOK.WAITING.style]];
  if (run.hold !== undefined)
    return [[run.hold === "pause" ? "‖ paused" : "◷ held", STATUS_LOOK.WAITING.style]];
  const { tasks_total: total, tasks_done: done } = run;
  if (total === undefined || done === undefined || total === 0) return [["–", DIM]];
  const text = `${done}/${total}`;
  if (!isOpen(run)) return [[text, DIM]];
  const columns = Math.max(2, 12 - text.length - 1);
  return [...progressBar(done / total, columns, STATUS_LOOK[run.status].style), [` ${text}`, DIM]];
}
