/**
 * Sits between stdin and terminal-kit. Over a slow connection an escape sequence arrives in pieces, and terminal-kit parses each
 * chunk on its own: half a sequence would become stray letters, and half a character would make it loop. This passes on one
 * complete key, character or sequence at a time, joins split ones, and separates pasted text from key presses.
 */
import { EventEmitter } from "node:events";
import type { Input } from "terminal-kit/lib/termkit.js";
import { Timer } from "../../timer.ts";

/** How long after a lone ESC to wait before it counts as the Esc key rather than the start of a sequence, ms. */
const ESCAPE_DELAY_MS = 25;

const ESC = 0x1b;
const PASTE_START = "\x1b[200~";
const PASTE_END = "\x1b[201~";
/** The longest sequence to wait for; anything longer is garbage. */
const LONGEST = 64;

/** The part of stdin that is used. */
export interface RawInput extends Input {
  readonly isTTY?: boolean;
}

/** A stdin for terminal-kit that emits whole keys. Emits `data` (Buffer) and `paste` (string). */
export class KeyInput extends EventEmitter implements Input {
  readonly #source: RawInput;
  readonly #delayMs: number;
  #rest: Buffer = Buffer.alloc(0);
  #pasted: Buffer | undefined;
  readonly #timer = new Timer(() => this.#giveUp());
  readonly #onData = (chunk: Buffer) => this.feed(chunk);

  constructor(source: RawInput, delayMs = ESCAPE_DELAY_MS) {
    super();
    this.#source = source;
    this.#delayMs = delayMs;
  }

  setRawMode(raw: boolean): void {
    this.#source.setRawMode(raw);
  }

  resume(): void {
    this.#source.removeListener("data", this.#onData);
    this.#source.on("data", this.#onData);
    this.#source.resume();
  }

  pause(): void {
    this.#source.removeListener("data", this.#onData);
    this.#source.pause();
  }

  /** Feeds bytes in. */
  feed(chunk: Buffer): void {
    this.#timer.cancel();
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    while (bytes.length > 0) {
      if (this.#pasted !== undefined) {
        const all = Buffer.concat([this.#pasted, bytes]);
        const end = all.indexOf(PASTE_END);
        if (end === -1) {
          this.#pasted = all;
          return;
        }
        this.#pasted = undefined;
        this.emit("paste", all.subarray(0, end).toString());
        bytes = all.subarray(end + PASTE_END.length);
        continue;
      }
      const length = tokenLength(bytes);
      if (length === 0) {
        this.#rest = Buffer.from(bytes);
        this.#timer.in(this.#delayMs);
        return;
      }
      const token = bytes.subarray(0, length);
      bytes = bytes.subarray(length);
      if (token.toString("latin1") === PASTE_START) this.#pasted = Buffer.alloc(0);
      else if (isText(token)) this.emit("data", token);
    }
  }

  /** Nothing more is coming: treats the pending bytes as complete. */
  #giveUp(): void {
    const rest = this.#rest;
    this.#rest = Buffer.alloc(0);
    if (rest[0] !== ESC) return;
    if (rest.length === 1) this.emit("data", rest);
    // `ESC [` and `ESC O` alone mean Alt with that key.
    else if (rest.length === 2) this.emit("data", rest);
  }
}

/** Length of the first key, character or sequence; 0 when more bytes are needed. */
function tokenLength(bytes: Buffer): number {
  const first = bytes[0] ?? 0;
  if (first === ESC) return sequenceLength(bytes);
  if (first < 0x80) return 1;
  const length = first >= 0xf8 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  for (let i = 1; i < length; i++) {
    const byte = bytes[i];
    if (byte === undefined) return 0;
    // The continuation is invalid, so the first byte is a stray byte.
    if (byte < 0x80 || byte >= 0xc0) return i;
  }
  return length;
}

function sequenceLength(bytes: Buffer): number {
  const second = bytes[1];
  if (second === undefined) return 0;
  // CSI: parameters, then a final byte from @ to ~. The Linux console's function keys are `ESC [ [ A`.
  if (second === 0x5b) {
    if (bytes[2] === 0x5b) return bytes.length < 4 ? 0 : 4;
    // Mouse reports of the old protocol have three bytes after the final one.
    if (bytes[2] === 0x4d) return bytes.length < 6 ? 0 : 6;
    for (let i = 2; i < bytes.length; i++) {
      const byte = bytes[i] ?? 0;
      if (byte >= 0x40 && byte <= 0x7e) return i + 1;
      if (byte < 0x20 || i > LONGEST) return i;
    }
    return 0;
  }
  if (second === 0x4f) return bytes.length < 3 ? 0 : 3;
  // Two Escs in a row are two keys.
  if (second === ESC) return 1;
  const rest = tokenLength(bytes.subarray(1));
  return rest === 0 ? 0 : 1 + rest;
}

/** Whether a token is a key or valid UTF-8; stray bytes are dropped. */
function isText(token: Buffer): boolean {
  const first = token[0] ?? 0;
  if (first < 0x80) return true;
  return !token.toString("utf8").includes("\ufffd");
}
