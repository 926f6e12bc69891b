/** Replacements for terminals without Unicode (`--ascii`). */
import { width } from "../../terminal/text.ts";

const TABLE: ReadonlyMap<string, string> = new Map(
  Object.entries({
    "-": "─━╌┄—–═",
    "|": "│┃║┆▏▎",
    "+": "┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛",
    "#": "█▓▆▇▅▉▊▋▌",
    "=": "▒▄▃",
    ".": "░▁▂…·",
    v: "✓▼▾↓",
    x: "✗⊘■",
    "*": "●◉•",
    o: "○◌◔◷",
    "!": "‼",
    ">": "▶▸►→▷❯»",
    "<": "◀◂←",
    "^": "▲▴↑",
  }).flatMap(([ascii, glyphs]) => [...glyphs].map((glyph) => [glyph, ascii] as const)),
);

/** An ASCII character of the same width as `glyph`. */
export function toAscii(glyph: string): string {
  if (glyph.length === 1 && glyph.charCodeAt(0) < 0x7f) return glyph;
  return TABLE.get(glyph) ?? "?".repeat(Math.max(1, Math.min(2, width(glyph))));
}
