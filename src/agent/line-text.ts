/** Converts bytes of a task's output to text that is safe in a log frame and on a terminal, and still readable. */
import { isUtf8 } from "node:buffer";

/** Colours (SGR) and "erase": they carry no information in a log. */
const DECORATION = /\x1b\[[0-9;:]*[mK]/g;
/** C0 without tab, DEL and C1. Each could end a field or a line of a frame, or control the terminal of a reader. */
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f-\x9f]/;
const CONTROLS = new RegExp(CONTROL.source, "g");

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Whether decoded text can be used as it is. U+FFFD indicates invalid UTF-8; a carriage return needs closer inspection. */
export function isPlainText(text: string): boolean {
  return !NOT_PLAIN.test(text);
}
const NOT_PLAIN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffd]/;

/** Lossy decoding: invalid sequences become U+FFFD. */
export function decodeLoosely(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/**
 * Bytes of one line as a payload: colour codes are removed, other control characters and invalid UTF-8 become `\xNN`.
 */
export function payloadText(bytes: Uint8Array): string {
  const text = isUtf8(bytes) ? decoder.decode(bytes) : decodeEscaping(bytes);
  return escapeControls(text);
}

/** Text without colour codes; other control characters (including newlines) as `\xNN`. */
export function escapeControls(text: string): string {
  if (!CONTROL.test(text)) return text;
  return text.replace(DECORATION, "").replace(CONTROLS, (character) => hex(character.charCodeAt(0)));
}

function hex(byte: number): string {
  return `\\x${byte.toString(16).padStart(2, "0")}`;
}

/** Decodes UTF-8; each byte that is not part of a valid sequence becomes `\xNN`. */
function decodeEscaping(bytes: Uint8Array): string {
  let text = "";
  let validFrom = 0;
  let index = 0;
  while (index < bytes.length) {
    const length = sequenceLength(bytes, index);
    if (length > 0) {
      index += length;
      continue;
    }
    if (validFrom < index) text += decoder.decode(bytes.subarray(validFrom, index));
    text += hex(bytes[index] ?? 0);
    index += 1;
    validFrom = index;
  }
  return validFrom < bytes.length ? text + decoder.decode(bytes.subarray(validFrom)) : text;
}

/** Length of the well-formed sequence (Unicode, table 3-7) at `index`, or 0. */
function sequenceLength(bytes: Uint8Array, index: number): number {
  const first = bytes[index] ?? 0;
  if (first < 0x80) return 1;
  const length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || index + length > bytes.length) return 0;
  const second = bytes[index + 1] ?? 0;
  const lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
  const highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
  if (second < lowest || second > highest) return 0;
  for (let next = index + 2; next < index + length; next++) {
    if (((bytes[next] ?? 0) & 0xc0) !== 0x80) return 0;
  }
  return length;
}

/** The largest length up to `limit` that does not split a UTF-8 character. */
export function cutLength(bytes: Uint8Array, limit: number): number {
  for (let length = limit; length > limit - 4 && length > 0; length--) {
    if (((bytes[length] ?? 0) & 0xc0) !== 0x80) return length;
  }
  return limit;
}
