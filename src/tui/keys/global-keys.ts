/** Keys that work on every page. */

import type { Effects } from "../effects.ts";
import { activeList, closePage, currentPage, listState, showPane, showTab } from "../navigation.ts";
import { choosePrincipal } from "../overlays/ask.ts";
import { newEditor } from "../overlays/line-editor.ts";
import { RUN_PANES, type State, TABS, WORKFLOW_PANES } from "../state.ts";
import type { Binding } from "./binding.ts";

function stepTab(state: State, step: number): void {
  const next = TABS[(TABS.indexOf(state.tab) + step + TABS.length) % TABS.length];
  if (next !== undefined) state.tab = next;
}

function stepPane(state: State, step: number): void {
  const page = currentPage(state);
  if (page.kind !== "run" && page.kind !== "workflow") {
    stepTab(state, step);
    return;
  }
  const panes: readonly string[] = page.kind === "run" ? RUN_PANES : WORKFLOW_PANES;
  const next = panes[(panes.indexOf(page.pane) + step + panes.length) % panes.length];
  if (next !== undefined) showPane(state, next as typeof page.pane);
}

/** Clears a filter first; otherwise goes back one page. */
function back(state: State): boolean {
  const name = activeList(state);
  const list = name === null ? undefined : state.lists[name];
  if (name !== null && list !== undefined && list.filter !== "") {
    listState(state, name).filter = "";
    return true;
  }
  return closePage(state);
}

export const globalKeys: readonly Binding[] = [
  {
    keys: ["?", "F1"],
    label: "?",
    help: "this help",
    footer: "help",
    run(state) {
      state.overlay = { kind: "help", top: 0 };
    },
  },
  {
    keys: [":"],
    label: ":",
    help: "command line (Tab completes)",
    footer: "command",
    run(state) {
      state.overlay = { kind: "command", editor: newEditor(), error: null };
    },
  },
  {
    keys: ["ESCAPE", "BACKSPACE"],
    label: "Esc",
    help: "clear the filter, go back",
    footer: "back",
    run(state) {
      back(state);
    },
  },
  {
    keys: ["q"],
    label: "q",
    help: "go back; on the first page, quit",
    run(state) {
      if (back(state)) return;
      state.overlay = {
        kind: "confirm",
        title: "Quit?",
        lines: ["Workflows and agents continue without the terminal UI."],
        action: { kind: "quit" },
      };
    },
  },
  ...TABS.map(
    (tab, i): Binding => ({
      keys: [String(i + 1)],
      label: String(i + 1),
      help: `tab ${tab.charAt(0).toUpperCase()}${tab.slice(1)}`,
      run: (state) => showTab(state, tab),
    }),
  ),
  { keys: ["TAB"], label: "Tab", help: "next tab", run: (state) => stepTab(state, 1) },
  { keys: ["SHIFT_TAB"], label: "Shift-Tab", help: "previous tab", run: (state) => stepTab(state, -1) },
  { keys: ["RIGHT", "l"], label: "→ l", help: "next pane, or tab", run: (state) => stepPane(state, 1) },
  { keys: ["LEFT", "h"], label: "← h", help: "previous pane, or tab", run: (state) => stepPane(state, -1) },
  { keys: ["p", "P"], label: "p", help: "switch between principals", run: (state) => choosePrincipal(state) },
  {
    keys: ["r", "F5"],
    label: "r",
    help: "refresh everything now",
    run: (_state: State, effects: Effects) => effects.refresh(),
  },
  { keys: ["CTRL_L"], label: "^L", help: "redraw the screen", run: (_state, effects) => effects.redraw() },
  {
    keys: ["CTRL_Z"],
    label: "^Z",
    help: "suspend (fg brings it back)",
    run: (_state, effects) => effects.suspend(),
  },
  {
    keys: ["CTRL_C"],
    label: "^C",
    help: "quit",
    run(state) {
      state.quitting = true;
    },
  },
];
