/** What a run and its tasks published. */
import type { RunDetails } from "../../contract/messages.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { wrapHard } from "../../terminal/text.ts";
import { type OutputRow, outputLines, outputRows, outputText } from "../lists/output-rows.ts";
import type { Region } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawFilterLine } from "./filter-line.ts";
import { drawTable } from "./table.ts";

/** Of a value in the table only the beginning is in sight. */
const BEGINNING = 500;

/** Draws the table, and below it the beginning of the selected value. @param below rows for that */
export function drawOutputs(
  region: Region,
  run: RunDetails,
  state: State,
  name: string,
  selected: string | null,
  below: number,
): void {
  const body = drawFilterLine(region, state, name, []);
  const rows = outputRows(state, run);
  drawTable<OutputRow>(body.sub(0, 0, body.width, body.height - below), {
    name,
    rows,
    list: state.lists[name],
    id: (row) => row.id,
    empty: emptyText(state, run, name),
    columns: [
      {
        title: "TASK",
        width: 14,
        grow: 1,
        cell: ({ task }) => [[task ?? "the run", task === null ? BOLD : PLAIN]],
      },
      { title: "OUTPUT", width: 12, grow: 1, cell: (row) => [[printable(row.name), CYAN]] },
      {
        title: "VALUE",
        width: 20,
        grow: 4,
        cell: ({ value }) => [[printable(outputText(value).slice(0, BEGINNING)), PLAIN]],
      },
    ],
  });
  if (below === 0) return;
  const lower = region.sub(0, region.height - below, region.width, below);
  lower.rule(0);
  const row = rows.find(({ id }) => id === selected);
  if (row === undefined) return;
  const lines = outputLines(row.value)
    .slice(0, BEGINNING * below)
    .split("\n");
  const wrapped = lines.flatMap((line) => wrapHard(printable(line), lower.width - 2));
  for (let y = 1; y < below; y++) lower.text(1, y, wrapped[y - 1] ?? "");
  if (wrapped.length > below - 1) lower.textRight(0, " Enter shows all of it ", DIM, 1);
}

function emptyText(state: State, run: RunDetails, name: string): string {
  const filter = state.lists[name]?.filter ?? "";
  const known = state.data.outputs.get(run.workflow_instance_id);
  if (filter !== "") return `No output matches "${filter}". Esc clears the filter.`;
  if (known === undefined) return "Loading …";
  if (known.leftOut)
    return "The outputs are left out: they have more than 8 MiB together, or only the history has them.\n\ncdktr db query reads them there, from task_runs.";
  const items = run.tasks.some((task) => task.items !== undefined)
    ? "\n\nItems have their own: select one among the tasks, and press o."
    : "";
  return `Nothing has been published yet: tasks do it in the file CDKTR_OUTPUT.${items}`;
}
