/** Converts offsets in a source text to lines, columns and excerpts of lines. */

/** A position for people: lines and columns start at 1; a column is one character (code point). */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** An excerpt of a source line around a range, short enough to show. */
export interface Excerpt {
  /** At most `EXCERPT_LENGTH` characters, plus `…` where it was cut. */
  readonly text: string;
  /** Offset of the range in `text`. */
  readonly start: number;
  /** End of the range in `text`: on the same line, at least one character further. */
  readonly end: number;
}

const EXCERPT_LENGTH = 160;

/** A source text with an index of its lines. Offsets are those of JavaScript strings. */
export class SourceText {
  readonly text: string;
  /** Offset of the start of each line. */
  readonly #starts: number[] = [0];

  constructor(text: string) {
    this.text = text;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) this.#starts.push(at + 1);
  }

  /** Index of the line that contains `offset`, by binary search. */
  #lineIndex(offset: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Line and column of an offset; offsets beyond the end count as the end. */
  position(offset: number): Position {
    const at = Math.min(Math.max(0, offset), this.text.length);
    const line = this.#lineIndex(at);
    return { line: line + 1, column: countCharacters(this.text, this.#starts[line] ?? 0, at) + 1 };
  }

  /** The line of `start`, shortened around the range if it is long. A range over several lines ends with its first one. */
  excerpt(start: number, end: number): Excerpt {
    const from = Math.min(Math.max(0, start), this.text.length);
    const lineIndex = this.#lineIndex(from);
    const lineStart = this.#starts[lineIndex] ?? 0;
    const nextLine = this.#starts[lineIndex + 1];
    const lineEnd = nextLine === undefined ? this.text.length : nextLine - 1;
    let line = this.text.slice(lineStart, lineEnd);
    if (line.endsWith("\r")) line = line.slice(0, -1);

    let low = Math.min(from - lineStart, line.length);
    let high = Math.max(low + 1, Math.min(end - lineStart, line.length));
    let cutLeft = 0;
    if (line.length > EXCERPT_LENGTH) {
      cutLeft = Math.max(0, Math.min(low - EXCERPT_LENGTH / 2, line.length - EXCERPT_LENGTH));
      if (isLowSurrogate(line, cutLeft)) cutLeft -= 1;
      let cutRight = cutLeft + EXCERPT_LENGTH;
      if (isLowSurrogate(line, cutRight)) cutRight += 1;
      const left = cutLeft > 0 ? "…" : "";
      const right = cutRight < line.length ? "…" : "";
      line = left + line.slice(cutLeft, cutRight) + right;
      cutLeft -= left.length;
      high = Math.min(high, cutRight);
    }
    low -= cutLeft;
    high = Math.max(low + 1, high - cutLeft);
    return { text: line, start: low, end: high };
  }
}

function isLowSurrogate(text: string, index: number): boolean {
  const unit = text.charCodeAt(index);
  return unit >= 0xdc00 && unit <= 0xdfff;
}

/** Counts code points without building an array of them. */
function countCharacters(text: string, from: number, to: number): number {
  let count = 0;
  for (let index = from; index < to; index++) if (index === from || !isLowSurrogate(text, index)) count += 1;
  return count;
}
