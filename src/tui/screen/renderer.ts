/** Turns a canvas into terminal output, emitting only the cells that have changed. */
import { toAscii } from "./ascii.ts";
import type { Canvas } from "./canvas.ts";
import { sgr } from "./style.ts";

/** Capabilities of the terminal. */
export interface Abilities {
  readonly colour: boolean;
  readonly unicode: boolean;
}

/** Characters on whose width terminals disagree: the cursor is repositioned after each of them. */
const UNCERTAIN = /[\u{200d}\u{fe0f}\p{Extended_Pictographic}\p{Regional_Indicator}\p{M}]/u;

/** Unchanged stretches up to this length are redrawn rather than skipped: a cursor jump takes as many bytes. */
const BRIDGE = 4;

/** Tracks what the terminal currently shows. */
export class Renderer {
  #chars: string[] = [];
  #styles = new Int32Array(0);
  #width = 0;
  #height = 0;
  #cursor: { x: number; y: number } | null = null;

  constructor(readonly abilities: Abilities) {}

  /** Forgets what the terminal shows: the next frame draws every cell. */
  invalidate(): void {
    this.#width = 0;
    this.#height = 0;
  }

  /** The bytes that make the terminal show `canvas`; "" when nothing has changed. */
  render(canvas: Canvas): string {
    const { width, height, chars, styles } = canvas;
    const whole = width !== this.#width || height !== this.#height;
    let body = whole ? "\x1b[0m\x1b[H\x1b[2J" : "";
    let style = whole ? 0 : -1;
    for (let y = 0; y < height; y++) {
      const start = y * width;
      let drawn = 0;
      // Column of the terminal's cursor in this row, -1 if it may be elsewhere.
      let at = -1;
      for (let x = 0; x < width; x++) {
        const cell = start + x;
        const same = whole
          ? chars[cell] === " " && styles[cell] === 0
          : chars[cell] === this.#chars[cell] && styles[cell] === this.#styles[cell];
        if (same) continue;
        // A wide character must be drawn from its first half.
        const from = chars[cell] === "" && x > 0 ? x - 1 : x;
        if (from < drawn) continue;
        let next = at >= 0 && from - at <= BRIDGE ? at : from;
        if (next !== at) body += `\x1b[${y + 1};${next + 1}H`;
        while (next <= from) {
          const char = chars[start + next] ?? " ";
          const wanted = styles[start + next] ?? 0;
          if (wanted !== style) {
            body += sgr(wanted, this.abilities.colour);
            style = wanted;
          }
          body += this.abilities.unicode ? char : toAscii(char);
          next += next + 1 < width && chars[start + next + 1] === "" ? 2 : 1;
          // After the last column, the cursor position of some terminals is undefined too.
          at = next >= width || UNCERTAIN.test(char) ? -1 : next;
        }
        drawn = next;
      }
    }
    this.#chars = chars.slice();
    this.#styles = styles.slice();
    this.#width = width;
    this.#height = height;
    return this.#finish(body, canvas);
  }

  #finish(body: string, canvas: Canvas): string {
    const { cursor } = canvas;
    const moved = cursor?.x !== this.#cursor?.x || cursor?.y !== this.#cursor?.y;
    const before = this.#cursor;
    this.#cursor = cursor;
    if (body === "" && !moved) return "";
    // Synchronized output: terminals that support it show the frame at once, others ignore it.
    const hide = before === null ? "" : "\x1b[?25l";
    const show = cursor === null ? "" : `\x1b[${cursor.y + 1};${cursor.x + 1}H\x1b[?25h`;
    return `\x1b[?2026h${hide}${body}${body === "" ? "" : "\x1b[0m"}${show}\x1b[?2026l`;
  }
}
