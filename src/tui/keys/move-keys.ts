/** Keys that move the selection in a list or scroll a text. */
import { listIds } from "../lists/list-ids.ts";
import { RUN_SORTS } from "../lists/run-rows.ts";
import { WORKFLOW_SORTS } from "../lists/workflow-rows.ts";
import { activeList, listState, moveSelection, scrollName, selectRow } from "../navigation.ts";
import { newEditor } from "../overlays/line-editor.ts";
import type { State } from "../state.ts";
import type { Binding } from "./binding.ts";

/** Moves the selection of the page's list by rows or pages. */
function move(state: State, rows: number, pages = 0): void {
  const name = activeList(state);
  if (name === null) return;
  const height = Math.max(1, (state.heights[name] ?? 10) - 1);
  moveSelection(state, name, listIds(state, name), rows + pages * height);
}

function edge(state: State, end: "first" | "last"): void {
  const name = activeList(state);
  if (name === null) return;
  const ids = listIds(state, name);
  selectRow(listState(state, name), ids, end === "first" ? 0 : ids.length - 1);
}

function scroll(state: State, rows: number, pages = 0): void {
  const name = scrollName(state);
  const height = Math.max(1, (state.heights[name] ?? 10) - 1);
  state.scroll[name] = Math.max(0, (state.scroll[name] ?? 0) + rows + pages * height);
}

/** Sort orders of the lists that have more than one. */
function sortsOf(name: string | null): readonly string[] {
  if (name === null) return [];
  if (name === "workflows") return WORKFLOW_SORTS;
  return name === "runs" || name.startsWith("runs:") ? RUN_SORTS : [];
}

/** Lists that can be filtered. */
function isFilterable(name: string | null): boolean {
  return name !== null && !name.startsWith("graph:");
}

export const listKeys: readonly Binding[] = [
  { keys: ["UP", "k"], label: "↑ k", help: "up", run: (state) => move(state, -1) },
  { keys: ["DOWN", "j"], label: "↓ j", help: "down", run: (state) => move(state, 1) },
  { keys: ["PAGE_UP", "CTRL_U"], label: "PgUp ^U", help: "a page up", run: (state) => move(state, 0, -1) },
  { keys: ["PAGE_DOWN", "CTRL_D"], label: "PgDn ^D", help: "a page down", run: (state) => move(state, 0, 1) },
  { keys: ["HOME", "g"], label: "Home g", help: "to the first", run: (state) => edge(state, "first") },
  { keys: ["END", "G"], label: "End G", help: "to the last", run: (state) => edge(state, "last") },
  {
    keys: ["/"],
    label: "/",
    help: "filter the list as you type; Esc clears it",
    footer: "filter",
    when: (state) => isFilterable(activeList(state)),
    run(state) {
      const name = activeList(state);
      if (name === null) return;
      const { filter } = listState(state, name);
      state.overlay = { kind: "filter", list: name, editor: newEditor(filter), before: filter };
    },
  },
  {
    keys: ["s"],
    label: "s",
    help: "next sort order",
    when: (state) => sortsOf(activeList(state)).length > 0,
    run(state) {
      const name = activeList(state);
      if (name === null) return;
      const list = listState(state, name);
      list.sort = (list.sort + 1) % Math.max(1, sortsOf(name).length);
    },
  },
  {
    keys: ["S"],
    label: "S",
    help: "reverse the order",
    when: (state) => sortsOf(activeList(state)).length > 0,
    run(state) {
      const name = activeList(state);
      if (name === null) return;
      const list = listState(state, name);
      list.reverse = !list.reverse;
    },
  },
];

export const scrollKeys: readonly Binding[] = [
  { keys: ["UP", "k"], label: "↑ k", help: "up", run: (state) => scroll(state, -1) },
  { keys: ["DOWN", "j"], label: "↓ j", help: "down", run: (state) => scroll(state, 1) },
  { keys: ["PAGE_UP", "CTRL_U"], label: "PgUp ^U", help: "a page up", run: (state) => scroll(state, 0, -1) },
  {
    keys: ["PAGE_DOWN", "CTRL_D", " "],
    label: "PgDn ^D",
    help: "a page down",
    run: (state) => scroll(state, 0, 1),
  },
  {
    keys: ["HOME", "g"],
    label: "Home g",
    help: "to the top",
    run(state) {
      state.scroll[scrollName(state)] = 0;
    },
  },
  {
    keys: ["END", "G"],
    label: "End G",
    help: "to the end",
    run(state) {
      state.scroll[scrollName(state)] = 1_000_000;
    },
  },
];
