/** The cells of a screen, and rectangular regions into which views draw. Content that does not fit is clipped, never wrapped. */

import { fit, glyphs, isPlain, width } from "../../terminal/text.ts";
import { colourless, DIM, PLAIN, type Style } from "./style.ts";

/** A piece of styled text. */
export type Span = readonly [text: string, style: Style];

/** What a click on a rectangle does; the names are those of the mouse table in keys/mouse.ts. */
export type Target =
  | { readonly kind: "tab"; readonly index: number }
  | { readonly kind: "row"; readonly list: string; readonly id: string }
  | { readonly kind: "key"; readonly key: string }
  | { readonly kind: "scroll"; readonly list: string };

interface Hit {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly target: Target;
}

/** The scroll position of a list or text, and its number of visible rows. */
export interface Report {
  readonly top: number;
  readonly height: number;
}

/** A grid of cells. The second cell of a wide character holds "". */
export class Canvas {
  readonly chars: string[];
  readonly styles: Int32Array;
  /** Position of the cursor, if it is shown. */
  cursor: { x: number; y: number } | null = null;
  /** Positions of lists and texts as drawn, by name: the starting point for the next key press. */
  readonly reports = new Map<string, Report>();
  readonly #hits: Hit[] = [];

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.chars = new Array<string>(width * height).fill(" ");
    this.styles = new Int32Array(width * height);
  }

  report(name: string, report: Report): void {
    this.reports.set(name, report);
  }

  /** The whole canvas as a region. */
  get all(): Region {
    return new Region(this, 0, 0, this.width, this.height);
  }

  /** The topmost click target at a cell. */
  targetAt(x: number, y: number): Target | undefined {
    return this.#hits.findLast(
      (hit) => x >= hit.x && x < hit.x + hit.width && y >= hit.y && y < hit.y + hit.height,
    )?.target;
  }

  addHit(hit: Hit): void {
    this.#hits.push(hit);
  }

  /** Sets a cell; if this overwrites half of a wide character, the other half becomes blank. */
  set(x: number, y: number, char: string, columns: number, style: Style): void {
    const at = y * this.width + x;
    if (this.chars[at] === "" && x > 0) this.chars[at - 1] = " ";
    const end = at + columns;
    if (x + columns < this.width && this.chars[end] === "") this.chars[end] = " ";
    this.chars[at] = char;
    this.styles[at] = style;
    if (columns === 2) {
      this.chars[at + 1] = "";
      this.styles[at + 1] = style;
    }
  }

  /** The text of a row, without trailing spaces. */
  row(y: number): string {
    return this.chars
      .slice(y * this.width, (y + 1) * this.width)
      .join("")
      .trimEnd();
  }

  /** The text of the screen. */
  toString(): string {
    return Array.from({ length: this.height }, (_, y) => this.row(y)).join("\n");
  }
}

/** A rectangle of a canvas with its own coordinates. */
export class Region {
  constructor(
    readonly canvas: Canvas,
    readonly left: number,
    readonly top: number,
    readonly width: number,
    readonly height: number,
  ) {}

  /** A rectangle within this one, clipped to it. */
  sub(x: number, y: number, width: number, height: number): Region {
    const left = Math.min(Math.max(0, x), this.width);
    const top = Math.min(Math.max(0, y), this.height);
    return new Region(
      this.canvas,
      this.left + left,
      this.top + top,
      Math.max(0, Math.min(width, this.width - left)),
      Math.max(0, Math.min(height, this.height - top)),
    );
  }

  /** Draws text and returns the column after it, whether or not it fits. */
  text(x: number, y: number, text: string, style: Style = PLAIN): number {
    if (y < 0 || y >= this.height) return x + width(text);
    const { canvas } = this;
    const row = this.top + y;
    let column = x;
    if (isPlain(text)) {
      for (let i = 0; i < text.length; i++, column++) {
        if (column >= 0 && column < this.width) canvas.set(this.left + column, row, text.charAt(i), 1, style);
      }
      return column;
    }
    for (const [glyph, columns] of glyphs(text)) {
      if (column >= 0 && column + columns <= this.width) {
        canvas.set(this.left + column, row, glyph, columns, style);
      } else if (columns === 2 && column >= 0 && column < this.width) {
        canvas.set(this.left + column, row, " ", 1, style);
      }
      column += columns;
    }
    return column;
  }

  /** Draws spans one after the other, truncated with an ellipsis at `columns`; returns the column after them. */
  spans(
    x: number,
    y: number,
    spans: readonly Span[],
    columns = this.width - x,
    extra: Style = PLAIN,
  ): number {
    let at = x;
    const end = x + columns;
    for (const [text, style] of spans) {
      if (at >= end) break;
      at = this.text(at, y, fit(text, end - at), style | extra);
    }
    return at;
  }

  /** Draws right-aligned text, `margin` columns from the right edge. */
  textRight(y: number, text: string, style: Style = PLAIN, margin = 0): void {
    this.text(Math.max(0, this.width - margin - width(text)), y, text, style);
  }

  /** Fills a row with one character. */
  rule(y: number, style: Style = DIM, char = "─"): void {
    this.text(0, y, char.repeat(this.width), style);
  }

  clear(style: Style = PLAIN): void {
    const blank = " ".repeat(this.width);
    for (let y = 0; y < this.height; y++) this.text(0, y, blank, style);
  }

  /** Applies one style to a row that has been drawn. */
  paint(y: number, style: Style): void {
    if (y < 0 || y >= this.height) return;
    const start = (this.top + y) * this.canvas.width + this.left;
    this.canvas.styles.fill(style, start, start + this.width);
  }

  /** Adds attributes to a row that has been drawn; drops its colours when `keepColour` is false. */
  restyle(y: number, style: Style, keepColour = true): void {
    if (y < 0 || y >= this.height) return;
    const { styles } = this.canvas;
    const start = (this.top + y) * this.canvas.width + this.left;
    for (let at = start; at < start + this.width; at++) {
      const current = styles[at] ?? PLAIN;
      styles[at] = (keepColour ? current : colourless(current)) | style;
    }
  }

  /** Draws a frame around the region's edge and returns the region inside it. */
  frame(title: string, style: Style): Region {
    const { width: w, height: h } = this;
    if (w < 2 || h < 2) return this.sub(0, 0, 0, 0);
    this.text(0, 0, `╭${"─".repeat(w - 2)}╮`, style);
    for (let y = 1; y < h - 1; y++) {
      this.text(0, y, "│", style);
      this.text(w - 1, y, "│", style);
    }
    this.text(0, h - 1, `╰${"─".repeat(w - 2)}╯`, style);
    if (title !== "") this.text(2, 0, fit(` ${title} `, w - 4), style);
    return this.sub(1, 1, w - 2, h - 2);
  }

  /** Makes a rectangle clickable. */
  hit(x: number, y: number, columns: number, rows: number, target: Target): void {
    const area = this.sub(x, y, columns, rows);
    if (area.width > 0 && area.height > 0) {
      this.canvas.addHit({ x: area.left, y: area.top, width: area.width, height: area.height, target });
    }
  }

  /** Places the terminal's cursor in the region. */
  cursor(x: number, y: number): void {
    if (x >= 0 && x < this.width && y >= 0 && y < this.height) {
      this.canvas.cursor = { x: this.left + x, y: this.top + y };
    }
  }
}
