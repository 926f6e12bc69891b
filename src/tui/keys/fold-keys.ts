/** Keys that show and hide the items of fan-outs. */
import { selectedOf } from "../lists/list-ids.ts";
import { tasksOf } from "../lists/run-tasks.ts";
import { isBelow, isFanOut, taskOfRow, taskRows } from "../lists/task-rows.ts";
import { currentPage, listState, selectRow, showPane } from "../navigation.ts";
import { fanOutName, PANES_WITH_TASKS, type State } from "../state.ts";
import { addToast } from "../toast.ts";
import type { Binding } from "./binding.ts";

interface Selected {
  readonly runId: string;
  readonly rowId: string;
  /** The fan-out that is selected, or of which an item is. */
  readonly fanOut: string | null;
  readonly isOpen: boolean;
}

/** The selected row of the open run's tasks. */
function selected(state: State): Selected | null {
  const page = currentPage(state);
  if (page.kind !== "run" || !PANES_WITH_TASKS.includes(page.pane)) return null;
  const run = state.data.runDetails.get(page.id);
  const rowId = selectedOf(state, `tasks:${page.id}`);
  if (run === undefined || rowId === null) return null;
  const task = tasksOf(run).find(({ id }) => id === taskOfRow(rowId));
  const fanOut = task !== undefined && isFanOut(task) ? task.id : null;
  const isOpen = fanOut !== null && state.unfolded.has(fanOutName(page.id, fanOut));
  return { runId: page.id, rowId, fanOut, isOpen };
}

/** Whether the rows of the current page have items below fan-outs. */
function hasRows(state: State): boolean {
  const page = currentPage(state);
  return page.kind === "run" && (page.pane === "tasks" || page.pane === "gantt");
}

function fold(state: State, { runId, fanOut }: Selected, open: boolean): void {
  if (fanOut === null) return;
  const unfolded = new Set(state.unfolded);
  if (open) unfolded.add(fanOutName(runId, fanOut));
  else unfolded.delete(fanOutName(runId, fanOut));
  state.unfolded = unfolded;
  const run = state.data.runDetails.get(runId);
  if (open || run === undefined) return;
  const { ids } = taskRows(state, run);
  selectRow(listState(state, `tasks:${runId}`), ids, ids.indexOf(fanOut));
}

export const foldKeys: readonly Binding[] = [
  {
    keys: [" "],
    label: "Space",
    help: "show or hide the items of the fan-out",
    footer: "items",
    offered: (state) => selected(state)?.fanOut != null,
    when: (state) => selected(state) !== null,
    run(state) {
      const now = selected(state);
      if (now === null) return;
      if (now.fanOut === null) addToast(state, "This task is not a fan-out, or its items are not known yet.");
      else if (hasRows(state)) fold(state, now, !now.isOpen);
      else {
        showPane(state, "tasks");
        fold(state, now, true);
      }
    },
  },
  {
    keys: ["RIGHT", "l"],
    label: "→ l",
    help: "show the items of the fan-out",
    when(state) {
      const now = hasRows(state) ? selected(state) : null;
      return now !== null && now.fanOut !== null && !now.isOpen;
    },
    run(state) {
      const now = selected(state);
      if (now !== null) fold(state, now, true);
    },
  },
  {
    keys: ["LEFT", "h"],
    label: "← h",
    help: "hide the items of the fan-out",
    when(state) {
      const now = hasRows(state) ? selected(state) : null;
      return now !== null && now.fanOut !== null && (now.isOpen || isBelow(now.rowId));
    },
    run(state) {
      const now = selected(state);
      if (now !== null) fold(state, now, false);
    },
  },
];
