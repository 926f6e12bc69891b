/**
 * Makes text from files, programs and users safe for a terminal: it cannot move the cursor, change colours or the title, or end a line.
 * Everything that prints such text uses one of these functions.
 */

/** Escape sequences: control sequences (CSI), strings (OSC, DCS, SOS, PM, APC) even if truncated, and short ones. */
const ESCAPES = /\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?/g;
const COLOR = /^\x1b\[[\d;:]*m$/;
/** Invisible characters that change how surrounding text looks: direction marks, zero-width characters, tags. */
const UNSEEN_SET =
  "\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}";
/** The same, and joiners next to ASCII, where they join nothing; emoji and several scripts need them elsewhere. */
const UNSEEN = new RegExp(
  `[${UNSEEN_SET}]|(?<=^|[\\x00-\\x7f])[\\u200c\\u200d]|[\\u200c\\u200d](?=$|[\\x00-\\x7f])`,
  "gu",
);
/** A quick check: most text contains nothing to replace. */
const SUSPICIOUS = new RegExp(`[\\x00-\\x1f\\x7f-\\x9f\\u200c\\u200d${UNSEEN_SET}]`, "u");
const CONTROLS = /[\x00-\x1f\x7f-\x9f]/g;
const CONTROLS_BUT_TAB_AND_ESC = /[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]/g;
const CONTROLS_BUT_TAB_AND_LF = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/** `text` on one line: without escape sequences, each control character (including newlines and tabs) as a space. */
export function plainText(text: string): string {
  if (!SUSPICIOUS.test(text)) return text;
  return visible(withoutEscapes(text).replace(CONTROLS, " "));
}

/** A line of a program's output, where its content matters: tabs as four spaces, other control characters as `·`. */
export function printable(text: string): string {
  if (!SUSPICIOUS.test(text)) return text;
  return visible(withoutEscapes(text).replaceAll("\t", "    ").replace(CONTROLS, "·"));
}

/** A line of a program's output as a terminal would show it: tabs are kept, and colours (SGR) if `colors` is on. */
export function outputText(text: string, colors: boolean): string {
  if (!SUSPICIOUS.test(text)) return text;
  let colored = false;
  const safe = text
    .replace(ESCAPES, (sequence) => {
      if (!colors || !COLOR.test(sequence)) return "";
      colored = true;
      return sequence;
    })
    .replace(CONTROLS_BUT_TAB_AND_ESC, "");
  return colored ? `${visible(safe)}\x1b[0m` : visible(safe);
}

/** A quotation of the same length: control and invisible characters become `�`. */
export function quotedText(text: string): string {
  return text.replace(CONTROLS, "\ufffd").replace(UNSEEN, (char) => "\ufffd".repeat(char.length));
}

/** Lines of text: tabs and newlines are kept, other control characters become `�`. */
export function messageText(text: string): string {
  if (!SUSPICIOUS.test(text)) return text;
  return visible(text.replace(CONTROLS_BUT_TAB_AND_LF, "\ufffd"));
}

/** Lines of text: tabs and newlines are kept, other control characters become `\x1b`, so that they can be read. */
export function escapedText(text: string): string {
  if (!SUSPICIOUS.test(text)) return text;
  return visible(
    text.replace(CONTROLS_BUT_TAB_AND_LF, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`),
  );
}

/** JSON text for terminals: control and invisible characters are escaped, as in `\u202e`. */
export function escapedJson(json: string): string {
  if (!SUSPICIOUS.test(json)) return json;
  return json.replace(/[\x7f-\x9f]/g, jsonEscape).replace(UNSEEN, jsonEscape);
}

/** The last filter before a terminal, for composed and coloured text: of all control sequences, only colours, tabs and newlines pass. */
export function terminalText(text: string): string {
  if (!SUSPICIOUS.test(text)) return text;
  const safe = text.replace(ESCAPES, (sequence) => (COLOR.test(sequence) ? sequence : ""));
  return visible(safe.replace(/[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]/g, "\ufffd"));
}

/** Foreign text, shortened and made safe for terminals and field separators. */
export function quote(text: string): string {
  const short = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  return JSON.stringify(messageText(short));
}

/** Text with invisible characters written as `<U+202E>`. */
function visible(text: string): string {
  return text.replace(
    UNSEEN,
    (char) => `<U+${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}>`,
  );
}

function jsonEscape(char: string): string {
  return Array.from(
    { length: char.length },
    (_, i) => `\\u${char.charCodeAt(i).toString(16).padStart(4, "0")}`,
  ).join("");
}

function withoutEscapes(text: string): string {
  return Bun.stripANSI(text).replace(ESCAPES, "");
}
