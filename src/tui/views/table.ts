/** A table with a selected row: columns share the width, and less important ones are dropped when it is narrow. */

import { pad, width as textWidth } from "../../terminal/text.ts";
import { selectedIndex } from "../navigation.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, DIM, INVERSE, PLAIN, UNDERLINE } from "../screen/style.ts";
import type { ListState } from "../state.ts";

export interface Column<T> {
  readonly title: string;
  /** Width in columns; a share of the remaining width when `grow` is set. */
  readonly width: number;
  readonly grow?: number;
  readonly align?: "right";
  /** Shown only if the table is at least this many columns wide. */
  readonly from?: number;
  cell(row: T): readonly Span[];
}

export interface Table<T> {
  readonly name: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly list: Readonly<ListState> | undefined;
  id(row: T): string;
  /** A row that is one text over all columns; null for the others. */
  remark?(row: T): readonly Span[] | null;
  /** Text shown when there are no rows. */
  readonly empty: string;
}

/** Draws the table; records the list's position on the canvas. */
export function drawTable<T>(region: Region, table: Table<T>): void {
  const { rows, list } = table;
  const columns = fitColumns(table.columns, region.width - 1);
  let x = 0;
  for (const { column, width } of columns) {
    region.text(x, 0, pad(column.title, width, column.align), BOLD | UNDERLINE);
    x += width;
    if (x < region.width) region.text(x, 0, " ", UNDERLINE);
    x++;
  }
  if (x < region.width) region.text(x, 0, " ".repeat(region.width - x), UNDERLINE);
  const height = Math.max(0, region.height - 1);
  const index = selectedIndex(list, rows, table.id);
  const top = keepInSight(list?.top ?? 0, index, height, rows.length);
  region.canvas.report(table.name, { top, height });
  if (rows.length === 0) {
    table.empty.split("\n").forEach((line, i) => {
      region.text(1, 2 + i, line, DIM);
    });
    return;
  }
  for (let y = 0; y < height; y++) {
    const row = rows[top + y];
    if (row === undefined) break;
    const remark = table.remark?.(row) ?? null;
    if (remark === null) drawRow(region, y + 1, row, columns);
    else region.spans(0, y + 1, remark, region.width - 1);
    region.hit(0, y + 1, region.width, 1, { kind: "row", list: table.name, id: table.id(row) });
    // Use one style for the whole selected row: colours under it would look patchy.
    if (top + y === index) region.sub(0, y + 1, region.width - 1, 1).paint(0, INVERSE);
  }
  drawScrollbar(region.sub(region.width - 1, 1, 1, height), top, height, rows.length);
  region.hit(0, 0, region.width, 1, { kind: "scroll", list: table.name });
}

function drawRow<T>(
  region: Region,
  y: number,
  row: T,
  columns: readonly { column: Column<T>; width: number }[],
): void {
  let x = 0;
  for (const { column, width } of columns) {
    const spans = column.cell(row);
    let at = x;
    if (column.align === "right") {
      const used = spans.reduce((sum, [text]) => sum + textWidth(text), 0);
      at += Math.max(0, width - used);
    }
    region.spans(at, y, spans, x + width - at);
    x += width + 1;
  }
}

/** The scroll position that makes `index` visible with the least movement. */
export function keepInSight(top: number, index: number, height: number, total: number): number {
  const last = Math.max(0, total - height);
  if (index < 0) return Math.min(Math.max(0, top), last);
  const lowest = Math.max(0, index - height + 1);
  return Math.min(Math.max(lowest, Math.min(top, index)), last);
}

/** A scroll bar; nothing when everything is visible. */
export function drawScrollbar(region: Region, top: number, height: number, total: number): void {
  if (total <= height || region.height < 2) return;
  const size = Math.max(1, Math.round((height / total) * region.height));
  const at = Math.round((top / Math.max(1, total - height)) * (region.height - size));
  for (let y = 0; y < region.height; y++) {
    const inside = y >= at && y < at + size;
    region.text(0, y, inside ? "┃" : "│", inside ? PLAIN : DIM);
  }
}

function fitColumns<T>(all: readonly Column<T>[], total: number): { column: Column<T>; width: number }[] {
  const columns = all.filter((column) => total >= (column.from ?? 0));
  const gaps = Math.max(0, columns.length - 1);
  const fixed = columns.reduce((sum, column) => sum + column.width, 0);
  const shares = columns.reduce((sum, column) => sum + (column.grow ?? 0), 0);
  let left = Math.max(0, total - gaps - fixed);
  let sharesLeft = shares;
  return columns.map((column) => {
    const grow = column.grow ?? 0;
    const extra = grow === 0 ? 0 : Math.floor((left * grow) / sharesLeft);
    left -= extra;
    sharesLeft -= grow;
    return { column, width: column.width + extra };
  });
}
