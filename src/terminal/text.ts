/** Text measured in terminal columns, not characters. */

/** Created on first use: this takes milliseconds, which commands that print plain text do not need to spend. */
let segmenter: Intl.Segmenter | undefined;
/** ASCII, Latin, and the punctuation, arrows, lines and blocks used for drawing: one column each, no combining characters. */
const PLAIN_TEXT =
  /^[\x20-\x7e\xa1-\xac\xae-\u02ff\u2010-\u2027\u2030-\u205e\u2190-\u21ff\u2500-\u25fc\u2713\u2717]*$/;

/** The graphemes of a text (what a reader perceives as characters) with their positions. */
export function graphemes(text: string): Iterable<Intl.SegmentData> {
  segmenter ??= new Intl.Segmenter(undefined, { granularity: "grapheme" });
  return segmenter.segment(text);
}

/** A grapheme and its width: 1 or 2 columns. */
export type Glyph = readonly [text: string, columns: number];

/** Whether every character is one column wide and needs no special handling. */
export function isPlain(text: string): boolean {
  return PLAIN_TEXT.test(text);
}

/** The graphemes of a text that take up columns. */
export function* glyphs(text: string): Generator<Glyph> {
  if (isPlain(text)) {
    for (const char of text) yield [char, 1];
    return;
  }
  for (const { segment } of graphemes(text)) {
    const columns = Bun.stringWidth(segment);
    if (columns > 0) yield [segment, Math.min(2, columns)];
  }
}

/** Width of `text` in columns. */
export function width(text: string): number {
  return isPlain(text) ? text.length : Bun.stringWidth(text);
}

/** `text` truncated to `columns`, with an ellipsis if something was cut off. */
export function fit(text: string, columns: number): string {
  if (columns <= 0) return "";
  if (width(text) <= columns) return text;
  let used = 0;
  let kept = "";
  for (const [glyph, wide] of glyphs(text)) {
    if (used + wide > columns - 1) break;
    kept += glyph;
    used += wide;
  }
  return `${kept}…`;
}

/** `text` truncated or padded to exactly `columns`. */
export function pad(text: string, columns: number, align: "left" | "right" = "left"): string {
  return fill(fit(text, columns), columns, align);
}

/** `text` padded to at least `columns`. */
export function fill(text: string, columns: number, align: "left" | "right" = "left"): string {
  const space = " ".repeat(Math.max(0, columns - width(text)));
  return align === "left" ? text + space : space + text;
}

/** `text` wrapped into lines of at most `columns`; words stay whole where they fit. */
export function wrapWords(text: string, columns: number): string[] {
  const lines: string[] = [];
  for (const paragraph of text.split("\n")) {
    let line = "";
    for (const word of paragraph.split(" ")) {
      const joined = line === "" ? word : `${line} ${word}`;
      if (width(joined) <= columns) {
        line = joined;
        continue;
      }
      if (line !== "") lines.push(line);
      const pieces = wrapHard(word, columns);
      line = pieces.pop() ?? "";
      lines.push(...pieces);
    }
    lines.push(line);
  }
  return lines;
}

/** `text` wrapped between words into lines of at most `columns`; longer words overflow. May contain colours. */
export function wrapProse(text: string, columns: number): string[] {
  return Bun.wrapAnsi(text, columns, { hard: false, trim: true }).split("\n");
}

/** `text` split every `columns`, regardless of words. */
export function wrapHard(text: string, columns: number): string[] {
  if (columns <= 0) return [text];
  if (isPlain(text)) {
    if (text.length <= columns) return [text];
    const lines: string[] = [];
    for (let i = 0; i < text.length; i += columns) lines.push(text.slice(i, i + columns));
    return lines;
  }
  const lines: string[] = [];
  let line = "";
  let used = 0;
  for (const [glyph, wide] of glyphs(text)) {
    if (used + wide > columns) {
      lines.push(line);
      line = "";
      used = 0;
    }
    line += glyph;
    used += wide;
  }
  lines.push(line);
  return lines;
}
