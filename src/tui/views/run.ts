/** A run: its graph, Gantt chart, tasks, log and details. */

import { allowedWord } from "../../contract/allowed-failures.ts";
import { triggerWord } from "../../contract/child-runs.ts";
import type { RunDetails } from "../../contract/messages.ts";
import { agentsWord } from "../../contract/run-agents.ts";
import { presentError, waitLines } from "../../contract/run-waits.ts";
import { tookMs } from "../../contract/took.ts";
import { fit, width } from "../../terminal/text.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { duration, moment } from "../format.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { noteOfTask, statusOfTask } from "../lists/run-tasks.ts";
import { taskRows } from "../lists/task-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN, RED, YELLOW } from "../screen/style.ts";
import { type Page, RUN_PANES, type State } from "../state.ts";
import { statusSpans } from "../status-look.ts";
import { drawFilterLine } from "./filter-line.ts";
import { drawGantt } from "./gantt.ts";
import { drawTaskGraph } from "./graph.ts";
import { drawLog } from "./log.ts";
import { drawPanes } from "./panes.ts";
import { drawRunDetails } from "./run-details.ts";
import { drawFiles } from "./run-files.ts";
import { drawOutputs } from "./run-outputs.ts";
import { drawTask, drawTaskTable } from "./run-tasks.ts";

/** Rows for the selected task's details below the graph, the Gantt chart and the table: more on tall screens, none on very low ones. */
const TASK_ROWS = 4;
const TALL_TASK_ROWS = 6;
const taskRowsOf = (height: number) => (height < 11 ? 0 : height < 28 ? TASK_ROWS : TALL_TASK_ROWS);
/** Columns that the tabs of the panes take. */
const BESIDE_TABS = 58;

export function drawRun(region: Region, state: State, page: Extract<Page, { kind: "run" }>): void {
  const run = state.data.runDetails.get(page.id);
  if (run === undefined) {
    const problem = state.data.detailErrors.get(`run ${page.id}`);
    region.spans(1, 1, [problem === undefined ? ["Loading …", DIM] : [problem, RED]]);
    return;
  }
  const panes = region.sub(0, 1, region.width, 1);
  region.spans(1, 0, headline(run, state.now, region.width), region.width - 2);
  drawPanes(panes, RUN_PANES, page.pane, 1);
  const lines = drawCause(region, panes, run);
  const body = region.sub(0, 2 + lines, region.width, region.height - 2 - lines);
  const name = `tasks:${page.id}`;
  const selected = selectedOf(state, name);
  switch (page.pane) {
    case "graph":
    case "gantt":
    case "tasks": {
      const list = state.lists[name];
      const filtered = drawFilterLine(body, state, name, []);
      const rows = taskRowsOf(body.height);
      const whole = filtered.sub(0, 0, filtered.width, filtered.height - rows);
      const upper = page.pane === "tasks" ? whole : whole.sub(1, 0, whole.width - 1, whole.height);
      if (page.pane === "gantt") drawGantt(upper, run, state, name, selected);
      else if (page.pane === "tasks") drawTaskTable(upper, run, state, name);
      else if (run.definition === null)
        upper.text(0, 0, "The definition of this old run is no longer stored.", DIM);
      else drawTaskGraph(upper, run.definition, statusOfTask(run), name, list, selected, noteOfTask(run));
      const row = taskRows(state, run).rows.find(({ id }) => id === selected);
      if (rows === 0) break;
      const lower = body.sub(0, body.height - rows, body.width, rows);
      lower.rule(0);
      if (row !== undefined) drawTask(lower.sub(1, 1, lower.width - 2, rows - 1), state, run, row);
      break;
    }
    case "outputs":
      drawOutputs(
        body,
        run,
        state,
        `outputs:${page.id}`,
        selectedOf(state, `outputs:${page.id}`),
        taskRowsOf(body.height),
      );
      break;
    case "files":
      drawFiles(body, run, state, `files:${page.id}`);
      break;
    case "log":
      drawLog(body, state);
      break;
    case "details":
      drawRunDetails(body.sub(1, 0, body.width - 1, body.height), run, state);
      break;
  }
}

/** Why it failed or waits: beside the tabs, or below them if there is too little room. Returns the number of lines below. */
function drawCause(region: Region, panes: Region, run: RunDetails): number {
  const [wait, ...others] = waitLines(run, 1);
  const more = others.length === 0 ? "" : ` for ${others.length + 1} reasons`;
  const cause = wait === undefined ? presentError(run) : `waits${more}: ${wait}`;
  if (cause === null) return 0;
  const style = wait === undefined ? RED : YELLOW;
  if (width(cause) <= panes.width - BESIDE_TABS) {
    panes.textRight(0, cause, style, 1);
    return 0;
  }
  region.text(1, 2, fit(cause, region.width - 2), style);
  return 1;
}

/** A one-line summary of the run. */
function headline(run: RunDetails, now: number, columns: number): Span[] {
  const took = tookMs(run, now);
  const agents = agentsWord(run);
  const allowed = allowedWord(run);
  const done = run.tasks.filter((task) =>
    ["COMPLETED", "FAILED", "SKIPPED", "CANCELLED", "CRASHED"].includes(task.status),
  );
  return [
    ...statusSpans(run.status),
    ["  ", PLAIN],
    [fit(run.workflow_id, Math.max(16, columns - 50)), BOLD],
    [
      `  ${done.length}/${run.definition === null ? run.tasks.length : allTasks(run.definition).length} tasks`,
      CYAN,
    ],
    [took === null ? "" : `  ${duration(took)}`, PLAIN],
    [`  ${triggerWord(run)}`, DIM],
    [allowed === null ? "" : `  ${allowed}`, YELLOW],
    [agents === null ? "" : `  on ${agents}`, DIM],
    [run.attempt > 1 ? `  attempt ${run.attempt}` : "", DIM],
    [`  ${moment(run.created_at_ms, now)}`, DIM],
  ];
}
