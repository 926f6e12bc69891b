/** Colours for a line of YAML. */
import type { Span } from "./screen/canvas.ts";
import { CYAN, DIM, GREEN, MAGENTA, PLAIN } from "./screen/style.ts";

const PATTERNS: readonly [RegExp, number][] = [
  [/^\s+/y, PLAIN],
  [/#.*/y, DIM],
  [/- /y, DIM],
  [/[\w.-]+(?=:(\s|$))/y, CYAN],
  [/![\w.]+/y, MAGENTA],
  [/"(?:[^"\\]|\\.)*"?|'[^']*'?/y, GREEN],
  [/[[\]{},:|>&*]/y, DIM],
  [/\s+/y, PLAIN],
  [/[^\s"'#[\]{},:|>&*]+/y, PLAIN],
];

/** Splits the line into coloured spans. */
export function highlightYaml(line: string): Span[] {
  const spans: Span[] = [];
  let at = 0;
  while (at < line.length) {
    let matched = line.charAt(at);
    let style: number = PLAIN;
    for (const [pattern, look] of PATTERNS) {
      pattern.lastIndex = at;
      const found = pattern.exec(line)?.[0];
      if (found !== undefined && found !== "") {
        matched = found;
        style = look;
        break;
      }
    }
    spans.push([matched, style]);
    at += matched.length;
  }
  return spans;
}
