/** The task graph of a workflow, or of a run with the status of each task. */

import { type GraphLine, type GraphSpan, graphLines } from "../../terminal/graph.ts";
import { firstFolded } from "../../terminal/graph-fold.ts";
import { width } from "../../terminal/text.ts";
import { buildDag } from "../../workflow/dag.ts";
import { hookTasks } from "../../workflow/hooks.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { CYAN, DIM, INVERSE, PLAIN, type Style } from "../screen/style.ts";
import type { ListState } from "../state.ts";
import { STATUS_LOOK } from "../status-look.ts";
import { drawLines } from "./lines.ts";
import { keepInSight } from "./table.ts";

let last: { readonly key: string; readonly lines: readonly GraphLine[] } | undefined;

/** The lines of the former frame if nothing has changed: a large graph takes a while. */
function sameLines(key: string, make: () => readonly GraphLine[]): readonly GraphLine[] {
  if (last?.key !== key) last = { key, lines: make() };
  return last.lines;
}

/** Draws the graph with the selected task visible; `name` is the list of tasks. @param noteOf what is said beside a task */
export function drawTaskGraph(
  region: Region,
  definition: WorkflowDefinition,
  statusOf: ((task: string) => RunStatus) | null,
  name: string,
  list: Readonly<ListState> | undefined,
  selected: string | null,
  noteOf: (task: string) => string | null = () => null,
): void {
  const dag = buildDag(definition.tasks);
  const tasks = definition.tasks.map(({ id, depends }) => {
    return {
      id,
      depends,
      depth: dag.depth(id),
      symbol: statusOf === null ? undefined : STATUS_LOOK[statusOf(id)].symbol,
      note: noteOf(id) ?? undefined,
    };
  });
  const keep = worthShowing(definition, statusOf, selected);
  const columns = Math.max(20, region.width - 2);
  const drawn = sameLines(JSON.stringify([tasks, keep, columns]), () =>
    graphLines(tasks, {
      width: columns,
      fold: { keep, labelOf: (ids, rows) => foldLabel(ids, rows, statusOf) },
    }),
  );
  // They run when all others are over: they are below the graph.
  const hooks = hookTasks(definition).flatMap(({ id }): GraphSpan[] => [
    { text: "  ", task: null },
    { text: statusOf === null ? id : `${STATUS_LOOK[statusOf(id)].symbol} ${id}`, task: id },
  ]);
  const lines: readonly GraphLine[] =
    hooks.length === 0 ? drawn : [...drawn, [], [{ text: "hooks:", task: null }, ...hooks]];
  const at = lines.findIndex((line) => line.some((span) => span.task === selected));
  const used = Math.max(0, ...lines.map((line) => line.reduce((sum, span) => sum + width(span.text), 0)));
  const margin = Math.max(0, Math.floor((region.width - 2 - used) / 2));
  const spans = lines.map((line): Span[] => [
    [" ".repeat(margin), PLAIN],
    ...line.map(({ text, task }): Span => {
      if (task === null) return [text, DIM];
      return [text, firstFolded(task) === null ? taskStyle(task, statusOf, selected) : PLAIN];
    }),
  ]);
  // Keep the whole box of the selected task visible.
  const low = keepInSight(list?.top ?? 0, Math.max(0, at - 2), region.height, lines.length);
  const top = keepInSight(low, Math.min(lines.length - 1, at + 2), region.height, lines.length);
  drawLines(region, spans, top, name);
  lines.slice(top, top + region.height).forEach((line, y) => {
    let x = margin;
    for (const { text, task } of line) {
      const wide = width(text);
      if (task !== null)
        region.hit(x, y, wide, 1, { kind: "row", list: name, id: firstFolded(task) ?? task });
      x += wide;
    }
  });
}

/** The statuses of what is worth a box of its own in a graph that is folded: what is alarming, and what is under way. */
const ALARMING: readonly RunStatus[] = ["FAILED", "CRASHED"];
const UNDER_WAY: readonly RunStatus[] = ["RUNNING", "WAITING"];
/** In the order in which they are counted. */
const COUNTED: readonly RunStatus[] = [
  ...ALARMING,
  ...UNDER_WAY,
  "PENDING",
  "COMPLETED",
  "SKIPPED",
  "CANCELLED",
];
/** Neighbours of the selected task above it, and below it. */
const NEIGHBOURS = 3;

/** The selected task, failed ones, those beside the selected one, and those under way: the most important first. */
function worthShowing(
  { tasks }: WorkflowDefinition,
  statusOf: ((task: string) => RunStatus) | null,
  selected: string | null,
): string[] {
  const chosen = tasks.find(({ id }) => id === selected);
  const having = (statuses: readonly RunStatus[]) =>
    statuses.flatMap((status) => tasks.filter(({ id }) => statusOf?.(id) === status).map(({ id }) => id));
  const after = tasks.filter(({ depends }) => selected !== null && depends.includes(selected));
  const near = [
    ...(chosen?.depends ?? []).slice(0, NEIGHBOURS),
    ...after.slice(0, NEIGHBOURS).map(({ id }) => id),
  ];
  const own = chosen === undefined ? [] : [chosen.id];
  return [...new Set([...own, ...having(ALARMING).slice(0, 8), ...near, ...having(UNDER_WAY)])];
}

/** `+37 ✓30 ○7`, or `+37 in 4 rows`. */
function foldLabel(
  ids: readonly string[],
  rows: number,
  statusOf: ((task: string) => RunStatus) | null,
): string {
  const counts = new Map<RunStatus, number>();
  for (const id of statusOf === null ? [] : ids) {
    const status = statusOf?.(id) ?? "PENDING";
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  const words = COUNTED.filter((status) => counts.has(status))
    .map((status) => ` ${STATUS_LOOK[status].symbol}${counts.get(status)}`)
    .join("");
  return `+${ids.length}${rows > 1 ? ` in ${rows} rows` : ""}${words}`;
}

function taskStyle(
  task: string,
  statusOf: ((task: string) => RunStatus) | null,
  selected: string | null,
): Style {
  const style = statusOf === null ? CYAN : STATUS_LOOK[statusOf(task)].style;
  return task === selected ? style | INVERSE : style;
}
