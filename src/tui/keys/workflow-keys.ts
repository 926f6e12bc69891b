/** Keys in the list of workflows and in a workflow. */
import { workflowInFocus } from "../lists/list-ids.ts";
import { openPage, showPane } from "../navigation.ts";
import { askPause, askTrigger } from "../overlays/ask.ts";
import type { State } from "../state.ts";
import { addToast } from "../toast.ts";
import type { Binding } from "./binding.ts";

function withWorkflow(state: State, use: (id: string) => void): void {
  const id = workflowInFocus(state);
  if (id === null) addToast(state, "No workflow is selected.");
  else use(id);
}

const common: readonly Binding[] = [
  {
    keys: ["t"],
    label: "t",
    help: "trigger the workflow",
    footer: "trigger",
    run: (state) => withWorkflow(state, (id) => askTrigger(state, id)),
  },
  {
    keys: ["Z"],
    label: "Z",
    help: "pause it, or resume it",
    footer: "pause",
    run: (state) => withWorkflow(state, (id) => askPause(state, id)),
  },
  {
    keys: ["L"],
    label: "L",
    help: "its log (all runs)",
    footer: "log",
    run: (state) =>
      withWorkflow(state, (id) =>
        openPage(state, { kind: "logs", source: { kind: "workflow", workflowId: id } }),
      ),
  },
  {
    keys: ["y"],
    label: "y",
    help: "copy the id",
    run: (state, effects) => withWorkflow(state, (id) => effects.copy(id, id)),
  },
];

export const workflowListKeys: readonly Binding[] = [
  {
    keys: ["ENTER", "KP_ENTER"],
    label: "Enter",
    help: "open the workflow",
    footer: "open",
    run: (state) => withWorkflow(state, (id) => openPage(state, { kind: "workflow", id, pane: "overview" })),
  },
  ...common,
  {
    keys: ["R"],
    label: "R",
    help: "its runs",
    footer: "runs",
    run: (state) => withWorkflow(state, (id) => openPage(state, { kind: "workflow", id, pane: "runs" })),
  },
  {
    keys: ["e"],
    label: "e",
    help: "its source",
    run: (state) => withWorkflow(state, (id) => openPage(state, { kind: "workflow", id, pane: "source" })),
  },
];

export const workflowKeys: readonly Binding[] = [
  ...common,
  { keys: ["o"], label: "o", help: "overview", run: (state) => showPane(state, "overview") },
  {
    keys: ["d"],
    label: "d",
    help: "graph of the tasks",
    footer: "graph",
    run: (state) => showPane(state, "graph"),
  },
  { keys: ["e"], label: "e", help: "source", footer: "source", run: (state) => showPane(state, "source") },
  { keys: ["R"], label: "R", help: "runs", footer: "runs", run: (state) => showPane(state, "runs") },
];
