/** A page that is a list, with what is to be said of the selected row below it. */

import { selectedOf } from "../lists/list-ids.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawFilterLine } from "./filter-line.ts";
import { type Column, drawTable } from "./table.ts";

/** Below this height, in rows, there is no room for what is said of a row. */
const LEAST_HEIGHT = 16;

/** A row of such a list, or a heading in it. */
interface DetailedRow {
  readonly kind: string;
  readonly id: string;
  /** Of a heading. */
  readonly text?: string;
}

/**
 * Draws it.
 * @param height of the page, rows; `region` may be a part of it
 * @param rowsBelow for the line between, and what is said
 */
export function drawDetailedList<T extends DetailedRow>(
  region: Region,
  state: State,
  page: {
    readonly name: "queue" | "alerts";
    readonly rows: readonly T[];
    readonly columns: readonly Column<T>[];
    readonly empty: string;
    readonly height: number;
    readonly rowsBelow: number;
    readonly about: (row: T, width: number) => readonly Span[][];
  },
): void {
  const { name, rows, columns, empty, about } = page;
  const lower = page.height > LEAST_HEIGHT ? page.rowsBelow : 0;
  const upper = region.sub(0, 0, region.width, region.height - lower);
  drawTable<T>(drawFilterLine(upper, state, name, []), {
    name,
    rows,
    list: state.lists[name],
    id: (row) => row.id,
    remark: (row) => (row.kind === "heading" ? [[row.text ?? "", BOLD | CYAN]] : null),
    empty,
    columns,
  });
  if (lower === 0) return;
  const detail = region.sub(0, region.height - lower, region.width, lower);
  detail.rule(0);
  const selected = selectedOf(state, name);
  const row = rows.find(({ id }) => id === selected);
  const width = detail.width - 2;
  const lines = row === undefined ? [] : about(row, width);
  for (const [y, line] of lines.slice(0, lower - 1).entries()) detail.spans(1, y + 1, line, width);
}
