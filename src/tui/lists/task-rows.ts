/**
 * The rows of a run's tasks: each task, and below a fan-out that is unfolded its items. There is a row for each item, also for those that
 * have not been read; what a filter leaves is asked of the principal.
 */
import type { ItemSummary, RunDetails } from "../../contract/messages.ts";
import { memo } from "../memo.ts";
import { type FanOutItems, fanOutName, ITEMS_PER_PAGE, type ListState, type State } from "../state.ts";
import { matcher } from "./filter.ts";
import { type TaskOfRun, tasksOf } from "./run-tasks.ts";

/** A row of the tasks of a run. */
export type TaskRow =
  | {
      readonly kind: "task";
      readonly id: string;
      readonly task: TaskOfRun;
      readonly fold: "open" | "closed" | null;
    }
  | {
      readonly kind: "item";
      readonly id: string;
      readonly task: TaskOfRun;
      readonly index: number;
      /** Undefined if it has not begun, or has not been read. */
      readonly item: ItemSummary | undefined;
    }
  /** A remark in place of items. */
  | { readonly kind: "note"; readonly id: string; readonly task: TaskOfRun; readonly text: string };

export interface TaskRows {
  readonly rows: readonly TaskRow[];
  readonly ids: readonly string[];
}

/** Between the id of a fan-out and the place of an item, in the id of its row. */
const BELOW = "\t";

/** The id of the task to which a row belongs. */
export function taskOfRow(rowId: string): string {
  const at = rowId.indexOf(BELOW);
  return at === -1 ? rowId : rowId.slice(0, at);
}

/** Whether a row is below a fan-out. */
export function isBelow(rowId: string): boolean {
  return rowId.includes(BELOW);
}

/** Whether the items of a task can be shown. */
export function isFanOut(task: TaskOfRun): boolean {
  return (task.run?.items?.total ?? 0) > 0;
}

/** The words of a filter that the principal understands. */
export function filterWords(filter: string): string[] {
  return filter.split(/\s+/).filter((word) => word !== "" && word !== "!");
}

const compute = memo(
  (
    run: RunDetails,
    unfolded: ReadonlySet<string>,
    items: ReadonlyMap<string, FanOutItems>,
    filter: string,
  ): TaskRows => {
    const rows: TaskRow[] = [];
    const matches = matcher(filter);
    const words = filterWords(filter);
    for (const task of tasksOf(run)) {
      const name = fanOutName(run.workflow_instance_id, task.id);
      const below: TaskRow[] = [];
      const known = items.get(name);
      const isOpen = isFanOut(task) && (words.length > 0 || unfolded.has(name));
      if (isOpen) {
        if (words.length > 0) addFound(below, task, known, filter, matches);
        else addAll(below, task, known);
      }
      const fits = words.length === 0 || matches(`${task.id} ${task.run?.status ?? "PENDING"}`);
      if (!fits && below.length === 0) continue;
      const fold = !isFanOut(task)
        ? null
        : isOpen && (words.length === 0 || below.length > 0)
          ? "open"
          : "closed";
      rows.push({ kind: "task", id: task.id, task, fold });
      for (const row of below) rows.push(row);
    }
    return { rows, ids: rows.map(({ id }) => id) };
  },
);

function addAll(rows: TaskRow[], task: TaskOfRun, known: FanOutItems | undefined): void {
  if (known?.error != null) {
    rows.push(note(task, known.error));
    return;
  }
  const total = task.run?.items?.total ?? 0;
  for (let first = 0; first < total; first += ITEMS_PER_PAGE) {
    const page = known?.pages.get(first / ITEMS_PER_PAGE);
    let next = 0;
    for (let index = first; index < Math.min(total, first + ITEMS_PER_PAGE); index++) {
      const item = page?.[next]?.item_index === index ? page[next++] : undefined;
      rows.push({ kind: "item", id: `${task.id}${BELOW}${index}`, task, index, item });
    }
  }
}

function addFound(
  rows: TaskRow[],
  task: TaskOfRun,
  known: FanOutItems | undefined,
  filter: string,
  matches: (text: string) => boolean,
): void {
  const found = known?.found;
  // Until the principal has answered, what it said about the former filter is of use.
  for (const item of found?.items ?? []) {
    if (!matches(`${task.id}[${item.item_key}] ${item.status}`)) continue;
    rows.push({
      kind: "item",
      id: `${task.id}${BELOW}${item.item_index}`,
      task,
      index: item.item_index,
      item,
    });
  }
  if (known?.error != null) rows.push(note(task, known.error));
  else if (found?.hasMore === true && found.filter === filter)
    rows.push(
      note(task, `more than ${found.items.length.toLocaleString("en")} items match: filter for more words`),
    );
}

const note = (task: TaskOfRun, text: string): TaskRow => ({
  kind: "note",
  id: `${task.id}${BELOW}note`,
  task,
  text,
});

/** The rows of an open run with the filter of its list. */
export function taskRows(state: State, run: RunDetails): TaskRows {
  const filter = state.lists[`tasks:${run.workflow_instance_id}`]?.filter ?? "";
  return compute(run, state.unfolded, state.data.items, filter);
}

/** A part of a fan-out's items that the screen needs. */
export interface WantedItems {
  readonly runId: string;
  readonly taskId: string;
  /** A page, or what a filter leaves. */
  readonly part: number | string;
}

/** What has to be read for the rows in sight, and a page before and after them. */
export function wantedItems(
  state: State,
  run: RunDetails,
  list: Readonly<ListState> | undefined,
): WantedItems[] {
  const runId = run.workflow_instance_id;
  const filter = list?.filter ?? "";
  if (filterWords(filter).length > 0) {
    return tasksOf(run)
      .filter(isFanOut)
      .map(({ id }) => ({ runId, taskId: id, part: filter }));
  }
  const { rows } = taskRows(state, run);
  const height = state.heights[`tasks:${runId}`] ?? state.height;
  const top = list?.top ?? 0;
  const wanted = new Map<string, WantedItems>();
  // The selection may be elsewhere: the next frame goes there.
  const places = [top, top + height, list?.index ?? 0];
  for (const place of places) {
    for (const row of rows.slice(Math.max(0, place - height), place + height)) {
      if (row.kind !== "item") continue;
      const page = Math.floor(row.index / ITEMS_PER_PAGE);
      wanted.set(`${row.task.id} ${page}`, { runId, taskId: row.task.id, part: page });
    }
  }
  return [...wanted.values()];
}
