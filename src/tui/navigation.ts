/** Navigation between tabs, pages and rows. */
import { taskOfRow } from "./lists/task-rows.ts";
import type { ListState, Page, RunPane, State, Tab, WorkflowPane } from "./state.ts";

/** The current page. */
export function currentPage(state: State): Page {
  return state.pages[state.tab].at(-1) ?? { kind: "workflows" };
}

/** Switches to a tab; choosing the current tab returns to its first page. */
export function showTab(state: State, tab: Tab): void {
  if (state.tab === tab) state.pages[tab].splice(1);
  state.tab = tab;
}

/** Opens a page on top of the current one. */
export function openPage(state: State, page: Page): void {
  const pages = state.pages[state.tab];
  if (JSON.stringify(pages.at(-1)) !== JSON.stringify(page)) pages.push(page);
}

/** Goes back one page; false when there is none. */
export function closePage(state: State): boolean {
  const pages = state.pages[state.tab];
  if (pages.length < 2) return false;
  pages.pop();
  return true;
}

/** Switches to another pane of the open run or workflow. */
export function showPane(state: State, pane: RunPane | WorkflowPane): void {
  const pages = state.pages[state.tab];
  const page = pages.at(-1);
  if (page?.kind === "run") pages[pages.length - 1] = { ...page, pane: pane as RunPane };
  if (page?.kind === "workflow") pages[pages.length - 1] = { ...page, pane: pane as WorkflowPane };
}

/** Opens a run in the runs tab. */
export function openRun(state: State, id: string, pane: RunPane = "graph"): void {
  openPage(state, { kind: "run", id, pane });
}

/** The state of a list, created on first use. */
export function listState(state: State, name: string): ListState {
  let list = state.lists[name];
  if (list === undefined) {
    list = { selected: null, index: 0, top: 0, filter: "", sort: 0, reverse: false };
    state.lists[name] = list;
  }
  return list;
}

/** Name of the list that the arrow keys act on, or null when the page has none. */
export function activeList(state: State): string | null {
  const page = currentPage(state);
  switch (page.kind) {
    case "workflows":
    case "runs":
    case "agents":
    case "activity":
    case "approvals":
    case "queue":
    case "calendar":
    case "alerts":
      return page.kind;
    case "workflow":
      return page.pane === "runs" ? `runs:${page.id}` : page.pane === "graph" ? `graph:${page.id}` : null;
    case "run":
      if (page.pane === "log" || page.pane === "details") return null;
      if (page.pane === "outputs" || page.pane === "files") return `${page.pane}:${page.id}`;
      return `tasks:${page.id}`;
    case "logs":
      return null;
  }
}

/** Key under which the scroll offset of the current page is stored. */
export function scrollName(state: State): string {
  const page = currentPage(state);
  return "pane" in page ? `${page.kind}:${page.id}:${page.pane}` : page.kind;
}

/** Index of the selected row, or the nearest index if the row is gone. */
export function selectedIndex<T>(
  list: Readonly<ListState> | undefined,
  rows: readonly T[],
  idOf: (row: T) => string,
): number {
  if (rows.length === 0) return -1;
  if (list === undefined) return 0;
  const near = Math.min(Math.max(0, list.index), rows.length - 1);
  const { selected } = list;
  const there = rows[near];
  // Usually the row has not moved, so thousands of rows need not be searched.
  if (selected === null || (there !== undefined && idOf(there) === selected)) return near;
  const find = (id: string) => rows.findIndex((row) => idOf(row) === id);
  const found = find(selected);
  if (found !== -1) return found;
  // An item that is out of sight, because it is folded or in the graph: its fan-out.
  const task = taskOfRow(selected);
  const above = task === selected ? -1 : find(task);
  return above === -1 ? near : above;
}

/** Moves the selection by `step` rows. */
export function moveSelection(state: State, name: string, ids: readonly string[], step: number): void {
  const list = listState(state, name);
  const from = selectedIndex(list, ids, (id) => id);
  selectRow(list, ids, from + step);
}

/** Selects the row at `index`, or the nearest existing one. */
export function selectRow(list: ListState, ids: readonly string[], index: number): void {
  list.index = Math.min(Math.max(0, index), Math.max(0, ids.length - 1));
  list.selected = ids[list.index] ?? null;
}
