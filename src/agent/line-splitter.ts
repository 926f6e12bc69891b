import { cutLength, decodeLoosely, isPlainText, payloadText } from "./line-text.ts";

/** The longest line, bytes; what is longer is cut into several. */
export const MAX_LINE_BYTES = 64 * 1024;
/** A line that is rewritten with carriage returns shows its state at most this often, ms. */
export const REWRITE_SNAPSHOT_MS = 1000;

const LF = 10;
const CR = 13;
const NOTHING = new Uint8Array(0);

/**
 * Cuts a stream of bytes into lines, as payloads of log lines. Lines end at LF or CR LF. Of a line that is rewritten
 * with CR (a progress bar) its last state is kept, and while it goes on a snapshot a second.
 */
export class LineSplitter {
  /** What came after the last LF; of a rewritten line its current state. */
  #rest: Uint8Array = NOTHING;
  /** The line that `#rest` belongs to has seen a CR. */
  #rewritten = false;
  /** `#rest` may have something that no snapshot has shown. */
  #isNew = false;
  /** The last snapshot of that line. */
  #shown: string | undefined;
  /** When that line began, or was shown last. */
  #since = 0;

  /**
   * Takes the next bytes.
   * @param nowMs when they were read; any clock that does not go backwards
   * @returns the lines that are complete now
   */
  push(chunk: Uint8Array, nowMs: number): string[] {
    const end = chunk.lastIndexOf(LF);
    if (end === -1) return this.#extend(chunk, nowMs);
    const head = chunk.subarray(0, end);
    const lines = this.#plain(head) ?? this.#lineByLine(head);
    const rest = chunk.subarray(end + 1);
    if (rest.length > 0) lines.push(...this.#extend(rest, nowMs));
    return lines;
  }

  /** What is left at the end of the stream, as a line. */
  end(): string[] {
    return this.#rest.length === 0 ? [] : this.#finish(NOTHING);
  }

  /** When {@link snapshot} has something to show, in the terms of `push`; undefined while there is nothing to wait for. */
  get snapshotDueMs(): number | undefined {
    if (!this.#rewritten || !this.#isNew || this.#rest.length === 0) return undefined;
    return this.#since + REWRITE_SNAPSHOT_MS;
  }

  /** The state of the line that is being rewritten, if it is due and new. */
  snapshot(nowMs: number): string[] {
    const due = this.snapshotDueMs;
    if (due === undefined || nowMs < due) return [];
    this.#isNew = false;
    return this.#show(this.#rest, nowMs);
  }

  /** The quick way: everything is text without surprises. */
  #plain(head: Uint8Array): string[] | undefined {
    if (this.#rewritten) return undefined;
    const bytes = this.#rest.length === 0 ? head : concat(this.#rest, head);
    const text = decodeLoosely(bytes);
    if (!isPlainText(text)) return undefined;
    const lines = text.split("\n");
    // A line of n characters has at most 3 n bytes.
    if (bytes.length > MAX_LINE_BYTES && lines.some((line) => line.length * 3 > MAX_LINE_BYTES))
      return undefined;
    this.#rest = NOTHING;
    return lines;
  }

  /** @param head complete lines, without the LF of the last one */
  #lineByLine(head: Uint8Array): string[] {
    const lines: string[] = [];
    let start = 0;
    for (;;) {
      const end = head.indexOf(LF, start);
      // One at a time: spreading would overflow the stack for what a hostile task can print.
      for (const line of this.#finish(end === -1 ? head.subarray(start) : head.subarray(start, end)))
        lines.push(line);
      if (end === -1) return lines;
      start = end + 1;
    }
  }

  /** Ends the line that `#rest` began. */
  #finish(tail: Uint8Array): string[] {
    const bytes = this.#rest.length === 0 ? tail : concat(this.#rest, tail);
    const shown = this.#shown;
    this.#rest = NOTHING;
    this.#rewritten = false;
    this.#shown = undefined;
    let last: Uint8Array;
    let end = bytes.length;
    // The last state that shows something; what a CR left empty is the end of a line, not a state.
    for (;;) {
      const start = end === 0 ? 0 : bytes.lastIndexOf(CR, end - 1) + 1;
      last = bytes.subarray(start, end);
      if (last.length > 0 || start === 0) break;
      end = start - 1;
    }
    const lines = cut(last);
    return shown !== undefined && lines.length === 1 && lines[0] === shown ? [] : lines;
  }

  /** Adds bytes without LF. */
  #extend(bytes: Uint8Array, nowMs: number): string[] {
    const begins = this.#rest.length === 0 && !this.#rewritten;
    if (begins) this.#since = nowMs;
    let rest = concat(this.#rest, bytes);
    const lines: string[] = [];
    if (this.#rewritten || bytes.includes(CR)) {
      const { state, complete } = lastState(rest);
      // A single CR at the end may be the first half of CR LF: not a rewritten line yet.
      this.#rewritten ||= rest.indexOf(CR) < rest.length - 1;
      rest = state;
      this.#isNew = true;
      if (this.#rewritten && complete.length > 0 && nowMs >= this.#since + REWRITE_SNAPSHOT_MS) {
        lines.push(...this.#show(complete, nowMs));
        // A state that is not complete is shown when it stands still.
        this.#isNew = state.at(-1) !== CR;
      }
    }
    while (rest.length > MAX_LINE_BYTES) {
      const length = cutLength(rest, MAX_LINE_BYTES);
      lines.push(payloadText(rest.subarray(0, length)));
      rest = rest.subarray(length);
    }
    // A copy: what was read must not be kept alive, or changed, by what is left of it.
    this.#rest = rest.slice();
    return lines;
  }

  #show(state: Uint8Array, nowMs: number): string[] {
    const text = payloadText(stripTrailingCr(state));
    this.#since = nowMs;
    if (text === "" || text === this.#shown) return [];
    this.#shown = text;
    return [text];
  }
}

/** The state that a rewritten line has (with the CR that ends it, if it came), and the last one that is complete. */
function lastState(bytes: Uint8Array): { state: Uint8Array; complete: Uint8Array } {
  const body = stripTrailingCr(bytes);
  const start = body.lastIndexOf(CR) + 1;
  if (body.length < bytes.length) {
    const complete = body.subarray(start);
    return { state: bytes.subarray(start, body.length + 1), complete };
  }
  const before = stripTrailingCr(body.subarray(0, start));
  return { state: body.subarray(start), complete: before.subarray(before.lastIndexOf(CR) + 1) };
}

function stripTrailingCr(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === CR) end--;
  return bytes.subarray(0, end);
}

function cut(line: Uint8Array): string[] {
  const pieces: string[] = [];
  let rest = line;
  while (rest.length > MAX_LINE_BYTES) {
    const length = cutLength(rest, MAX_LINE_BYTES);
    pieces.push(payloadText(rest.subarray(0, length)));
    rest = rest.subarray(length);
  }
  pieces.push(payloadText(rest));
  return pieces;
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  if (first.length === 0) return second;
  if (second.length === 0) return first;
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
