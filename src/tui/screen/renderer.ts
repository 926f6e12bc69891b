/** Turns a canvas into what the terminal must be told: only the cells that differ from what it shows. */
import { toAscii } from "./ascii.ts";
import type { Canvas } from "./canvas.ts";
import { sgr } from "./style.ts";

/** What the terminal can show. */
export interface Abilities {
  readonly colour: boolean;
  readonly unicode: boolean;
}

/** Characters whose width terminals disagree about: after one of them the cursor is placed anew. */
const UNCERTAIN = /[\u{200d}\u{fe0f}\p{Extended_Pictographic}\p{Regional_Indicator}\p{M}]/u;

/** An unchanged stretch up to this long is drawn again rather than jumped over: the jump costs as many bytes. */
const BRIDGE = 4;

/** Knows what the terminal shows now. */
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

  /** The bytes that make the terminal show `canvas`; "" when it does already. */
  render(canvas: Canvas): string {
    const { width, height, chars, styles } = canvas;
    const whole = width !== this.#width || height !== this.#height;
    let body = whole ? "\x1b[0m\x1b[H\x1b[2J" : "";
    let style = whole ? 0 : -1;
    for (let y = 0; y < height; y++) {
      const start = y * width;
      let drawn = 0;
      // Column of the terminal's cursor in this row, -1 when it is not known to be in it.
      let at = -1;
      for (let x = 0; x < width; x++) {
        const cell = start + x;
        const same = whole
          ? chars[cell] === " " && styles[cell] === 0
          : chars[cell] === this.#chars[cell] && styles[cell] === this.#styles[cell];
        if (same) continue;
        // A wide character is one thing: it is drawn from its first half.
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
          // The last column leaves some terminals' cursor in doubt as well.
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
    // Synchronized output: terminals that know it show the frame at once, the others ignore it.
    const hide = before === null ? "" : "\x1b[?25l";
    const show = cursor === null ? "" : `\x1b[${cursor.y + 1};${cursor.x + 1}H\x1b[?25h`;
    return `\x1b[?2026h${hide}${body}${body === "" ? "" : "\x1b[0m"}${show}\x1b[?2026l`;
  }
}
