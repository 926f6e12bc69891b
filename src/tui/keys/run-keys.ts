/** Keys in lists of runs and in a run. */

import { basename } from "node:path";
import { itemName, nodeId } from "../../workflow/item-id.ts";
import type { Effects } from "../effects.ts";
import { type FileRow, fileRows } from "../lists/file-rows.ts";
import { runInFocus, selectedOf, workflowOfRun } from "../lists/list-ids.ts";
import { type OutputRow, outputLines, outputRows, outputText } from "../lists/output-rows.ts";
import { taskRows } from "../lists/task-rows.ts";
import { NO_FILTER } from "../logs/log-buffer.ts";
import { newLogView } from "../logs/log-view.ts";
import { currentPage, listState, openPage, openRun, showPane } from "../navigation.ts";
import {
  askCancel,
  askRetry,
  askRetryOptions,
  askTrigger,
  cancelProblem,
  retryProblem,
} from "../overlays/ask.ts";
import { newEditor } from "../overlays/line-editor.ts";
import { PANES_WITH_TASKS, type State } from "../state.ts";
import { addToast } from "../toast.ts";
import { answerKeys } from "./approval-keys.ts";
import type { Binding } from "./binding.ts";
import { foldKeys } from "./fold-keys.ts";

function withRun(state: State, use: (id: string) => void): void {
  const id = runInFocus(state);
  if (id === null) addToast(state, "No run is selected.");
  else use(id);
}

/** The selected task of the open run, `load`, or item, `load[orders]`. */
function selectedNode(state: State): string | null {
  const page = currentPage(state);
  if (page.kind !== "run" || !PANES_WITH_TASKS.includes(page.pane)) return null;
  const run = state.data.runDetails.get(page.id);
  const selected = selectedOf(state, `tasks:${page.id}`);
  const row = run === undefined ? undefined : taskRows(state, run).rows.find(({ id }) => id === selected);
  if (row === undefined || row.task.run?.hook === true) return null;
  return row.kind === "item" && row.item !== undefined ? nodeId(row.task.id, row.item.item_key) : row.task.id;
}

/** Whether a run is focused and satisfies `test`. */
function inFocus(state: State, test: (id: string) => boolean): boolean {
  const id = runInFocus(state);
  return id !== null && test(id);
}

const common: readonly Binding[] = [
  {
    keys: ["c"],
    label: "c",
    help: "cancel the run",
    footer: "cancel",
    offered: (state) => inFocus(state, (id) => cancelProblem(state, id) === null),
    run: (state) => withRun(state, (id) => askCancel(state, id)),
  },
  {
    keys: ["x"],
    label: "x",
    help: "retry from the failed tasks",
    footer: "retry",
    offered: (state) => inFocus(state, (id) => retryProblem(state, id) === null),
    run: (state) => withRun(state, (id) => askRetry(state, id, false)),
  },
  {
    keys: ["X"],
    label: "X",
    help: "run it again from the start",
    offered: (state) => inFocus(state, (id) => retryProblem(state, id) === null),
    run: (state) => withRun(state, (id) => askRetry(state, id, true)),
  },
  {
    keys: ["E"],
    label: "E",
    help: "retry: choose the start, definition, parameters",
    offered: (state) => inFocus(state, (id) => retryProblem(state, id) === null),
    run: (state) => withRun(state, (id) => askRetryOptions(state, id, selectedNode(state))),
  },
  {
    keys: ["t"],
    label: "t",
    help: "trigger its workflow again",
    run: (state) =>
      withRun(state, (id) => {
        const workflowId = workflowOfRun(state, id);
        if (workflowId !== null) askTrigger(state, workflowId);
      }),
  },
  {
    keys: ["w"],
    label: "w",
    help: "its workflow",
    run: (state) =>
      withRun(state, (id) => {
        const workflowId = workflowOfRun(state, id);
        if (workflowId !== null) openPage(state, { kind: "workflow", id: workflowId, pane: "overview" });
      }),
  },
  {
    keys: ["u"],
    label: "u",
    help: "the run that has started it",
    footer: "parent",
    when: (state) => parentOf(state) !== undefined,
    run(state) {
      const parent = parentOf(state);
      if (parent !== undefined) openRun(state, parent);
    },
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the run's id",
    run: (state, effects) => withRun(state, (id) => effects.copy(id, id)),
  },
];

export const runListKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "open the run",
    footer: "open",
    run: (state) => withRun(state, (id) => openRun(state, id)),
  },
  {
    keys: ["L"],
    label: "L",
    help: "its log",
    footer: "log",
    run: (state) => withRun(state, (id) => openRun(state, id, "log")),
  },
  ...common,
];

/** Shows the log of the selected task, or item. */
function openTaskLog(state: State): void {
  const page = currentPage(state);
  if (page.kind !== "run" || !PANES_WITH_TASKS.includes(page.pane)) return;
  const selected = selectedOf(state, `tasks:${page.id}`);
  const run = state.data.runDetails.get(page.id);
  if (selected === null || run === undefined) return;
  const row = taskRows(state, run).rows.find(({ id }) => id === selected);
  if (row === undefined || row.kind === "note") return;
  const taskName = row.task.definition?.name;
  if (taskName === undefined) return;
  if (row.kind === "item" && row.item === undefined) {
    addToast(state, "This item has not begun.");
    return;
  }
  const name = row.kind === "item" ? itemName(taskName, row.item?.item_key ?? "") : taskName;
  const source = { kind: "run", workflowId: run.workflow_id, runId: page.id } as const;
  if (state.log.source.kind !== "run" || state.log.source.runId !== page.id) state.log = newLogView(source);
  state.log.buffer.setFilter({ ...NO_FILTER, task: name });
  state.log.match = null;
  state.log.follow = true;
  showPane(state, "log");
}

/** The outputs of what is selected: of a task, or at once those of an item. */
function openOutputs(state: State, effects: Effects): void {
  const page = currentPage(state);
  if (page.kind !== "run") return;
  const run = state.data.runDetails.get(page.id);
  const selected = selectedOf(state, `tasks:${page.id}`);
  const row = run === undefined ? undefined : taskRows(state, run).rows.find(({ id }) => id === selected);
  const isTable = page.pane === "tasks" || page.pane === "gantt";
  if (isTable && row?.kind === "item") {
    effects.showItemOutputs(page.id, row.task.id, row.index);
    return;
  }
  const first =
    run === undefined ? undefined : outputRows(state, run).find(({ task }) => task === row?.task.id);
  if (first !== undefined && page.pane !== "log") listState(state, `outputs:${page.id}`).selected = first.id;
  showPane(state, "outputs");
}

/** The selected output. */
function selectedOutput(state: State): OutputRow | undefined {
  const page = currentPage(state);
  if (page.kind !== "run" || page.pane !== "outputs") return undefined;
  const run = state.data.runDetails.get(page.id);
  const selected = selectedOf(state, `outputs:${page.id}`);
  return run === undefined ? undefined : outputRows(state, run).find(({ id }) => id === selected);
}

/** Keys in the outputs of a run. */
export const outputKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "the whole value",
    footer: "value",
    run(state) {
      const row = selectedOutput(state);
      if (row === undefined) return;
      const title = `${row.task ?? "run"}.${row.name}`;
      state.overlay = { kind: "text", title, text: outputLines(row.value), top: 0 };
    },
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the value",
    footer: "copy",
    run(state, effects) {
      const row = selectedOutput(state);
      if (row !== undefined) effects.copy(outputText(row.value), row.name);
    },
  },
];

/** The run that the selected task, or item, has started. */
function selectedChild(state: State): string | undefined {
  const page = currentPage(state);
  if (page.kind !== "run" || !PANES_WITH_TASKS.includes(page.pane)) return undefined;
  const run = state.data.runDetails.get(page.id);
  const selected = selectedOf(state, `tasks:${page.id}`);
  const row = run === undefined ? undefined : taskRows(state, run).rows.find(({ id }) => id === selected);
  if (row === undefined || row.kind === "note") return undefined;
  return (row.kind === "item" ? row.item : row.task.run)?.child?.workflow_instance_id;
}

/** The run that has started the one in focus. */
function parentOf(state: State): string | undefined {
  const id = runInFocus(state);
  const run = state.data.runs?.find((one) => one.workflow_instance_id === id);
  return (run ?? state.data.runDetails.get(id ?? ""))?.parent?.workflow_instance_id;
}

/** The selected file. */
function selectedFile(state: State): FileRow | undefined {
  const page = currentPage(state);
  if (page.kind !== "run" || page.pane !== "files") return undefined;
  const selected = selectedOf(state, `files:${page.id}`);
  return fileRows(state, { workflow_instance_id: page.id }).find(({ id }) => id === selected);
}

/** Keys in the files of a run. */
export const fileKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "look at the file",
    footer: "look",
    run(state, effects) {
      const file = selectedFile(state);
      if (file !== undefined) effects.showFile(file);
    },
  },
  {
    keys: ["S"],
    label: "S",
    help: "save the file here",
    footer: "save",
    run(state) {
      const row = selectedFile(state);
      if (row === undefined) return;
      const editor = newEditor(basename(row.file.path));
      state.overlay = { kind: "prompt", purpose: { save: row }, label: "Save as", editor, error: null };
    },
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the file's name",
    run(state, effects) {
      const row = selectedFile(state);
      if (row !== undefined) effects.copy(row.file.path, row.file.path);
    },
  },
];

export const runKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "the run that the selected task has started",
    footer: "its run",
    when: (state) => selectedChild(state) !== undefined,
    run(state) {
      const child = selectedChild(state);
      if (child !== undefined) openRun(state, child);
    },
  },
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "log of the selected task",
    footer: "task log",
    run: openTaskLog,
  },
  ...answerKeys,
  ...foldKeys,
  { keys: ["L"], label: "L", help: "log of the run", footer: "log", run: (state) => showPane(state, "log") },
  ...common,
  { keys: ["d"], label: "d", help: "graph", run: (state) => showPane(state, "graph") },
  { keys: ["b"], label: "b", help: "Gantt chart", run: (state) => showPane(state, "gantt") },
  { keys: ["a"], label: "a", help: "table of tasks", run: (state) => showPane(state, "tasks") },
  {
    keys: ["o"],
    label: "o",
    help: "outputs of the task, the item or the run",
    run: openOutputs,
  },
  { keys: ["F"], label: "F", help: "files that tasks left", run: (state) => showPane(state, "files") },
  { keys: ["i"], label: "i", help: "details", run: (state) => showPane(state, "details") },
];
