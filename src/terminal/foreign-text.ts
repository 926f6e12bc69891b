/**
 * Text that comes from files, programs and users, made safe for a terminal: it cannot move the cursor, change colours or
 * the title, or end a line. Everything that prints such text goes through one of these functions.
 */

/** Escape sequences: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC) also when they are cut off, and short ones. */
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?/g;
const COLOR = /^\x1b\[[\d;:]*m$/;
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;
const CONTROLS = /[\x00-\x1f\x7f-\x9f]/g;
const CONTROLS_BUT_TAB = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/;
const CONTROLS_BUT_TAB_AND_ESC = /[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]/g;
const CONTROLS_BUT_TAB_AND_LF = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
/** Controls, line separators, and characters that turn the direction of text around. */
const CONTROLS_AND_DIRECTIONS =
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]/g;

/** `text` on one line: without escape sequences, each control character (line feeds and tabs too) as a space. */
export function plainText(text: string): string {
  if (!CONTROL.test(text)) return text;
  return withoutEscapes(text).replace(CONTROLS, " ");
}

/** A line of a program's output, where it matters what was in it: tabs as four spaces, other control characters as `·`. */
export function printable(text: string): string {
  if (!CONTROL.test(text)) return text;
  return withoutEscapes(text).replaceAll("\t", "    ").replace(CONTROLS, "·");
}

/** A line of a program's output as it would look on a terminal: tabs stay, and colours (SGR) where `colors` is on. */
export function outputText(text: string, colors: boolean): string {
  if (!CONTROLS_BUT_TAB.test(text)) return text;
  let colored = false;
  const safe = text
    .replace(ESCAPES, (sequence) => {
      if (!colors || !COLOR.test(sequence)) return "";
      colored = true;
      return sequence;
    })
    .replace(CONTROLS_BUT_TAB_AND_ESC, "");
  return colored ? `${safe}\x1b[0m` : safe;
}

/** A quotation that keeps its length: control characters and those that turn the direction of text are `�`. */
export function quotedText(text: string): string {
  return text.replace(CONTROLS_AND_DIRECTIONS, "\ufffd");
}

/** Lines of text, where tabs and line feeds stay; other control characters are `�`. */
export function messageText(text: string): string {
  return text.replace(CONTROLS_BUT_TAB_AND_LF, "\ufffd");
}

/** Lines of text, where tabs and line feeds stay; other control characters as `\x1b`, so that they can be read. */
export function escapedText(text: string): string {
  return text.replace(
    CONTROLS_BUT_TAB_AND_LF,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

function withoutEscapes(text: string): string {
  return Bun.stripANSI(text).replace(ESCAPES, "");
}
