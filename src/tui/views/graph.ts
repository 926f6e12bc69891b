/** The task graph of a workflow, or of a run with the status of each task. */
import { graphLines } from "../../terminal/graph.ts";
import { width } from "../../terminal/text.ts";
import { buildDag } from "../../workflow/dag.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { CYAN, DIM, INVERSE, PLAIN, type Style } from "../screen/style.ts";
import type { ListState } from "../state.ts";
import { STATUS_LOOK } from "../status-look.ts";
import { drawLines } from "./lines.ts";
import { keepInSight } from "./table.ts";

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
  const lines = graphLines(tasks, { width: Math.max(20, region.width - 2) });
  const at = lines.findIndex((line) => line.some((span) => span.task === selected));
  const columns = Math.max(0, ...lines.map((line) => line.reduce((sum, span) => sum + width(span.text), 0)));
  const margin = Math.max(0, Math.floor((region.width - 2 - columns) / 2));
  const spans = lines.map((line): Span[] => [
    [" ".repeat(margin), PLAIN],
    ...line.map(({ text, task }): Span => [text, task === null ? DIM : taskStyle(task, statusOf, selected)]),
  ]);
  // Keep the whole box of the selected task visible.
  const low = keepInSight(list?.top ?? 0, Math.max(0, at - 2), region.height, lines.length);
  const top = keepInSight(low, Math.min(lines.length - 1, at + 2), region.height, lines.length);
  drawLines(region, spans, top, name);
  lines.slice(top, top + region.height).forEach((line, y) => {
    let x = margin;
    for (const { text, task } of line) {
      const wide = width(text);
      if (task !== null) region.hit(x, y, wide, 1, { kind: "row", list: name, id: task });
      x += wide;
    }
  });
}

function taskStyle(
  task: string,
  statusOf: ((task: string) => RunStatus) | null,
  selected: string | null,
): Style {
  const style = statusOf === null ? CYAN : STATUS_LOOK[statusOf(task)].style;
  return task === selected ? style | INVERSE : style;
}
