/** Text as a terminal counts it: columns, not characters. */

const segmenter = new Intl.Segmenter(undefined, { granularity: "grapheme" });
/** ASCII, Latin, and the punctuation, arrows, lines and blocks that this UI draws with: one column each, nothing combines. */
const PLAIN_TEXT =
  /^[\x20-\x7e\xa1-\xac\xae-\u02ff\u2010-\u2027\u2030-\u205e\u2190-\u21ff\u2500-\u25fc\u2713\u2717]*$/;
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;
const CONTROLS = /[\x00-\x1f\x7f-\x9f]/g;

/** A grapheme and the columns it takes: 1 or 2. */
export type Glyph = readonly [text: string, columns: number];

/** Whether every character is one column wide and nothing needs care. */
export function isPlain(text: string): boolean {
  return PLAIN_TEXT.test(text);
}

/** The graphemes of a text that take up columns. */
export function* glyphs(text: string): Generator<Glyph> {
  if (isPlain(text)) {
    for (const char of text) yield [char, 1];
    return;
  }
  for (const { segment } of segmenter.segment(text)) {
    const columns = Bun.stringWidth(segment);
    if (columns > 0) yield [segment, Math.min(2, columns)];
  }
}

/** Columns that `text` takes. */
export function width(text: string): number {
  return isPlain(text) ? text.length : Bun.stringWidth(text);
}

/** `text` cut to `columns`, with an ellipsis where something was cut off. */
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

/** `text` cut or filled with spaces to exactly `columns`. */
export function pad(text: string, columns: number, align: "left" | "right" = "left"): string {
  const cut = fit(text, columns);
  const space = " ".repeat(Math.max(0, columns - width(cut)));
  return align === "left" ? cut + space : space + cut;
}

/** Output of a program made harmless: no escape sequences, tabs as spaces, other control characters as `·`. */
export function printable(text: string): string {
  if (!CONTROL.test(text)) return text;
  return Bun.stripANSI(text).replace(/\t/g, "    ").replace(CONTROLS, "·");
}

/** `text` broken into lines of at most `columns`; words stay whole where they fit. */
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

/** `text` broken at every `columns`, wherever that is. */
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
