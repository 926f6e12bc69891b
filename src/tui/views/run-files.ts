/** The files that the tasks of a run left. */
import type { RunDetails } from "../../contract/messages.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { count, kibibytes } from "../format.ts";
import { type FileRow, fileRows } from "../lists/file-rows.ts";
import type { Region } from "../screen/canvas.ts";
import { DIM, PLAIN } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawFilterLine } from "./filter-line.ts";
import { drawTable } from "./table.ts";

export function drawFiles(region: Region, run: RunDetails, state: State, name: string): void {
  const body = drawFilterLine(region, state, name, []);
  drawTable<FileRow>(body, {
    name,
    rows: fileRows(state, run),
    list: state.lists[name],
    id: (row) => row.id,
    empty: emptyText(state, run, state.lists[name]?.filter ?? ""),
    columns: [
      { title: "TASK", width: 14, grow: 1, cell: ({ task }) => [[printable(task), PLAIN]] },
      { title: "FILE", width: 20, grow: 3, cell: ({ file }) => [[printable(file.path), PLAIN]] },
      { title: "SIZE", width: 11, align: "right", cell: ({ file }) => [[sizeText(file.bytes), DIM]] },
    ],
  });
}

/** `812 bytes`, `43M`. */
function sizeText(bytes: number): string {
  return bytes < 10_000 ? count(bytes, "byte") : kibibytes(bytes / 1024);
}

function emptyText(state: State, run: RunDetails, filter: string): string {
  const known = state.data.files.get(run.workflow_instance_id);
  if (known === undefined) return "Loading …";
  if (known.error !== null) return known.error;
  if (filter !== "") return `No file matches "${filter}". Esc clears the filter.`;
  return "No task of this run has left files: they do it in the directory CDKTR_ARTIFACTS.";
}
