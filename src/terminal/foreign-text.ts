/**
 * Makes text from files, programs and users safe for a terminal: it cannot move the cursor, change colours or the title, or end a line.
 * Everything that prints such text uses one of these functions.
 */

/** Escape sequences: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC) even if truncated, and short ones. */
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?/g;
const COLOR = /^\x1b\[[\d;:]*m$/;
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;
const CONTROLS = /[\x00-\x1f\x7f-\x9f]/g;
const CONTROLS_BUT_TAB = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/;
const CONTROLS_BUT_TAB_AND_ESC = /[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]/g;
const CONTROLS_BUT_TAB_AND_LF = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;
/** Control characters, line separators, and characters that change the text direction. */
const CONTROLS_AND_DIRECTIONS =
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]/g;

/** `text` on one line: without escape sequences, each control character (including newlines and tabs) as a space. */
export function plainText(text: string): string {
  if (!CONTROL.test(text)) return text;
  return withoutEscapes(text).replace(CONTROLS, " ");
}

/** A line of a program's output, where its content matters: tabs as four spaces, other control characters as `·`. */
export function printable(text: string): string {
  if (!CONTROL.test(text)) return text;
  return withoutEscapes(text).replaceAll("\t", "    ").replace(CONTROLS, "·");
}

/** A line of a program's output as a terminal would show it: tabs are kept, and colours (SGR) if `colors` is on. */
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

/** A quotation of the same length: control characters and those that change the text direction become `�`. */
export function quotedText(text: string): string {
  return text.replace(CONTROLS_AND_DIRECTIONS, "\ufffd");
}

/** Lines of text: tabs and newlines are kept, other control characters become `�`. */
export function messageText(text: string): string {
  return text.replace(CONTROLS_BUT_TAB_AND_LF, "\ufffd");
}

/** Lines of text: tabs and newlines are kept, other control characters become `\x1b`, so that they can be read. */
export function escapedText(text: string): string {
  return text.replace(
    CONTROLS_BUT_TAB_AND_LF,
    (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`,
  );
}

function withoutEscapes(text: string): string {
  return Bun.stripANSI(text).replace(ESCAPES, "");
}
