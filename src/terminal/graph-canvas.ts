/** A grid of terminal cells for boxes, lines and text; lines join to the right box characters. */
import { glyphs } from "./text.ts";

/** Directions in which a line leaves a cell. */
export const UP = 1;
const RIGHT = 2;
export const DOWN = 4;
const LEFT = 8;

/** A piece of a line of the drawing. */
export interface GraphSpan {
  readonly text: string;
  /** The task whose label this is; null for lines and blanks. */
  readonly task: string | null;
}

/** One line of the drawing, without trailing blanks. */
export type GraphLine = readonly GraphSpan[];

/** By the sum of the directions. Edges have round corners, boxes sharp ones. */
const EDGES = [" ", "╵", "╶", "╰", "╷", "│", "╭", "├", "╴", "╯", "─", "┴", "╮", "┤", "┬", "┼"];
const BORDERS = [" ", "╵", "╶", "└", "╷", "│", "┌", "├", "╴", "┘", "─", "┴", "┐", "┤", "┬", "┼"];

interface Cell {
  directions: number;
  /** Owner of the line: lines of different owners cross, lines of the same owner join. */
  owner: number;
  isBorder: boolean;
  /** Text instead of a line; empty for the second column of a wide character. */
  text: string | null;
  task: string | null;
}

const BORDER_OWNER = -1;

/** The grid; it grows downwards as needed. */
export class Canvas {
  readonly #rows: (Cell | undefined)[][] = [];

  /** Draws a line from one cell to another in the same row or column, inclusive. */
  line(fromX: number, fromY: number, toX: number, toY: number, owner: number): void {
    if (fromY === toY) {
      const [left, right] = fromX < toX ? [fromX, toX] : [toX, fromX];
      for (let x = left; x < right; x++) {
        this.#join(x, fromY, RIGHT, owner);
        this.#join(x + 1, fromY, LEFT, owner);
      }
      return;
    }
    const [top, bottom] = fromY < toY ? [fromY, toY] : [toY, fromY];
    for (let y = top; y < bottom; y++) {
      this.#join(fromX, y, DOWN, owner);
      this.#join(fromX, y + 1, UP, owner);
    }
  }

  /** Adds a direction to one cell, for example where a line enters a border. */
  join(x: number, y: number, direction: number, owner: number): void {
    this.#join(x, y, direction, owner);
  }

  /** Draws the border of a box. */
  box(x: number, y: number, width: number, height: number): void {
    const [right, bottom] = [x + width - 1, y + height - 1];
    this.line(x, y, right, y, BORDER_OWNER);
    this.line(x, bottom, right, bottom, BORDER_OWNER);
    this.line(x, y, x, bottom, BORDER_OWNER);
    this.line(right, y, right, bottom, BORDER_OWNER);
  }

  /** Writes text, which must not contain control characters. */
  text(x: number, y: number, text: string, task: string | null): void {
    let at = x;
    for (const [glyph, width] of glyphs(text)) {
      this.#set(at, y, { directions: 0, owner: 0, isBorder: false, text: glyph, task });
      for (let more = 1; more < width; more++) {
        this.#set(at + more, y, { directions: 0, owner: 0, isBorder: false, text: "", task });
      }
      at += width;
    }
  }

  /** The drawing, line by line. */
  lines(): GraphLine[] {
    return this.#rows.map((row) => {
      const spans: { text: string; task: string | null }[] = [];
      for (let x = 0; x < row.length; x++) {
        const cell = row[x];
        const text = cell === undefined ? " " : (cell.text ?? this.#glyph(cell));
        const task = cell?.task ?? null;
        const last = spans.at(-1);
        if (last !== undefined && last.task === task) last.text += text;
        else spans.push({ text, task });
      }
      const last = spans.at(-1);
      if (last !== undefined && last.task === null) last.text = last.text.trimEnd();
      return spans.filter((span) => span.text !== "");
    });
  }

  #glyph(cell: Cell): string {
    return (cell.isBorder ? BORDERS : EDGES)[cell.directions] ?? " ";
  }

  #set(x: number, y: number, cell: Cell): void {
    for (let missing = this.#rows.length; missing <= y; missing++) this.#rows.push([]);
    const row = this.#rows[y];
    if (row !== undefined) row[x] = cell;
  }

  #join(x: number, y: number, direction: number, owner: number): void {
    const cell = this.#rows[y]?.[x];
    if (cell === undefined) {
      this.#set(x, y, {
        directions: direction,
        owner,
        isBorder: owner === BORDER_OWNER,
        text: null,
        task: null,
      });
    } else if (cell.owner === owner || cell.isBorder) {
      cell.directions |= direction;
    } else if ((direction & (UP | DOWN)) !== 0) {
      // Two edges cross without meeting: the vertical one is drawn on top, so that it does not look like a junction.
      cell.directions = (cell.directions & (UP | DOWN)) | direction;
      cell.owner = owner;
    }
  }
}
