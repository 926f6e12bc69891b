/** Aligned columns. Widths are measured in terminal cells, so wide and combining characters line up. */
import { plainText } from "../../terminal/foreign-text.ts";
import { fit, pad, width as widthOf, wrapWords } from "../../terminal/text.ts";
import { isTerminal, type Paint, type Style, styleFor, terminalWidth } from "./style.ts";

export interface Column<T> {
  readonly title: string;
  /** The cell's text; control characters are removed. */
  readonly value: (row: T) => string;
  readonly align?: "left" | "right";
  /** Colours the padded cell. */
  readonly paint?: (row: T) => Paint;
  /** May shrink when the terminal is too narrow, to `least` cells. */
  readonly flexible?: boolean;
  readonly least?: number;
  /** When the terminal is too narrow for the whole table, the cells stand below their rows instead, wrapped. */
  readonly below?: boolean;
  /** Minimum width that still identifies the row. */
  readonly short?: (row: T) => string;
  /** Dropped when shrinking is not enough; the last such column first. */
  readonly dispensable?: boolean;
}

/** Options of {@link renderTable}; the defaults are those of stdout. */
export interface TableOptions {
  readonly style?: Style;
  /** Maximum cells per line; undefined for no limit. */
  readonly width?: number | undefined;
  /** Indentation of each line. */
  readonly indent?: number;
}

const GAP = "  ";
const LEAST_FLEXIBLE = 8;

/** The table as lines, with a header. */
export function renderTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  options: TableOptions = {},
): string[] {
  const limit = "width" in options ? options.width : isTerminal("stdout") ? terminalWidth() : undefined;
  const room = limit === undefined ? undefined : limit - (options.indent ?? 0);
  if (room !== undefined && columns.some(({ below }) => below) && totalOf(fullWidths(columns, rows)) > room)
    return renderBelow(columns, rows, { ...options, width: limit });
  let fitting = columns;
  if (room !== undefined && leastWidth(fitting, rows) > room) {
    fitting = fitting.map(({ short, ...column }) =>
      short === undefined ? column : { ...column, value: short },
    );
  }
  while (room !== undefined && leastWidth(fitting, rows) > room) {
    const given = fitting.findLastIndex(({ dispensable }) => dispensable);
    if (given === -1) break;
    fitting = fitting.toSpliced(given, 1);
  }
  return renderColumns(fitting, rows, { ...options, width: limit });
}

/** The table without the columns whose cells stand below the rows, and those cells. */
function renderBelow<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  options: TableOptions & { readonly width: number | undefined },
): string[] {
  const style = options.style ?? styleFor("stdout");
  const indent = " ".repeat((options.indent ?? 0) + 2);
  const [title = "", ...lines] = renderTable(
    columns.filter(({ below }) => !below),
    rows,
    options,
  );
  const cells = columns.filter(({ below }) => below);
  return [
    title,
    ...rows.flatMap((row, r) => [
      lines[r] ?? "",
      ...cells
        .flatMap(({ value }) => wrapWords(plainText(value(row)), (options.width ?? 0) - indent.length))
        .filter((line) => line !== "")
        .map((line) => style.dim(indent + line)),
    ]),
  ];
}

/** The widths of the columns if there is room for everything. */
function fullWidths<T>(columns: readonly Column<T>[], rows: readonly T[]): number[] {
  return columns.map(({ title, value }) =>
    rows.reduce((most, row) => Math.max(most, widthOf(plainText(value(row)))), widthOf(title)),
  );
}

function totalOf(widths: readonly number[]): number {
  return widths.reduce((sum, width) => sum + width, 0) + GAP.length * (widths.length - 1);
}

/** The minimum width of the table, with all flexible columns at their minimum. */
function leastWidth<T>(columns: readonly Column<T>[], rows: readonly T[]): number {
  const widths = fullWidths(columns, rows);
  return totalOf(columns.map((column, i) => Math.min(widths[i] ?? 0, leastOf(column))));
}

function leastOf<T>({ flexible, least = LEAST_FLEXIBLE }: Column<T>): number {
  return flexible ? least : Number.POSITIVE_INFINITY;
}

function renderColumns<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  options: TableOptions & { readonly width: number | undefined },
): string[] {
  const style = options.style ?? styleFor("stdout");
  const limit = options.width;
  const indent = " ".repeat(options.indent ?? 0);
  const cells = rows.map((row) => columns.map((column) => plainText(column.value(row))));
  const widths = columns.map((column, i) =>
    cells.reduce((widest, row) => Math.max(widest, widthOf(row[i] ?? "")), widthOf(column.title)),
  );
  if (limit !== undefined) shrink(columns, widths, limit - indent.length);
  const line = (texts: readonly string[], paint: (i: number) => Paint) =>
    (
      indent +
      texts
        .map((text, i) => {
          const { align = "left" } = columns[i] ?? {};
          const isOpen = i === texts.length - 1 && align === "left";
          return paint(i)(isOpen ? fit(text, widths[i] ?? 0) : pad(text, widths[i] ?? 0, align));
        })
        .join(GAP)
    ).trimEnd();
  return [
    line(
      columns.map((column) => plainText(column.title)),
      () => style.dim,
    ),
    ...rows.map((row, r) => line(cells[r] ?? [], (i) => columns[i]?.paint?.(row) ?? ((text) => text))),
  ];
}

/** Shrinks the flexible columns, the widest first; then, if that is not enough, all of them. */
function shrink<T>(columns: readonly Column<T>[], widths: number[], limit: number): void {
  let excess = totalOf(widths) - limit;
  while (excess > 0) {
    let widest = -1;
    for (const [i, column] of columns.entries()) {
      const width = widths[i] ?? 0;
      if (width > leastOf(column) && (widest === -1 || width > (widths[widest] ?? 0))) widest = i;
    }
    if (widest === -1) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
    excess--;
  }
  // Rather cut off than wrapped by the terminal, where no column would stand under its title.
  for (; excess > 0; excess--) {
    const widest = widths.indexOf(Math.max(...widths));
    if ((widths[widest] ?? 0) <= 1) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}
