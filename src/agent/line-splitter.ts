import { cutLength, decodeLoosely, isPlainText, payloadText } from "./line-text.ts";

/** Maximum length of a line, bytes; longer lines are split. */
export const MAX_LINE_BYTES = 64 * 1024;
/** Minimum interval between snapshots of a line that is rewritten with carriage returns, ms. */
export const REWRITE_SNAPSHOT_MS = 1000;

const LF = 10;
const CR = 13;
const NOTHING = new Uint8Array(0);

/**
 * Splits a stream of bytes into lines, as payloads of log lines. Lines end with LF or CR LF. For a line that is rewritten with CR (a
 * progress bar), the final state is kept, plus one snapshot per second while it changes.
 */
export class LineSplitter {
  /** Bytes after the last LF; for a rewritten line its current state. */
  #rest: Uint8Array = NOTHING;
  /** The line in `#rest` has contained a CR. */
  #rewritten = false;
  /** `#rest` may have content that no snapshot has shown. */
  #isNew = false;
  /** The last snapshot of that line. */
  #shown: string | undefined;
  /** When that line began, or was last shown. */
  #since = 0;

  /**
   * Adds the next bytes.
   * @param nowMs when they were read, on any monotonic clock
   * @returns the lines that are now complete
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

  /** Returns what is left at the end of the stream, as a line. */
  end(): string[] {
    return this.#rest.length === 0 ? [] : this.#finish(NOTHING);
  }

  /** When {@link snapshot} will have something to show, on the clock of `push`; undefined if there is nothing to wait for. */
  get snapshotDueMs(): number | undefined {
    if (!this.#rewritten || !this.#isNew || this.#rest.length === 0) return undefined;
    return this.#since + REWRITE_SNAPSHOT_MS;
  }

  /** The state of the line being rewritten, if a snapshot is due and differs from the last one. */
  snapshot(nowMs: number): string[] {
    const due = this.snapshotDueMs;
    if (due === undefined || nowMs < due) return [];
    this.#isNew = false;
    return this.#show(this.#rest, nowMs);
  }

  /** Fast path: plain text without special characters. */
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
      // One by one: spreading would overflow the stack for the amount that a hostile task can print.
      for (const line of this.#finish(end === -1 ? head.subarray(start) : head.subarray(start, end)))
        lines.push(line);
      if (end === -1) return lines;
      start = end + 1;
    }
  }

  /** Finishes the line that `#rest` began. */
  #finish(tail: Uint8Array): string[] {
    const bytes = this.#rest.length === 0 ? tail : concat(this.#rest, tail);
    const shown = this.#shown;
    this.#rest = NOTHING;
    this.#rewritten = false;
    this.#shown = undefined;
    let last: Uint8Array;
    let end = bytes.length;
    // The last visible state; an empty one after a CR is the end of the line, not a state.
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
      // A trailing CR may be the first half of CR LF, so this is not a rewritten line yet.
      this.#rewritten ||= rest.indexOf(CR) < rest.length - 1;
      rest = state;
      this.#isNew = true;
      if (this.#rewritten && complete.length > 0 && nowMs >= this.#since + REWRITE_SNAPSHOT_MS) {
        lines.push(...this.#show(complete, nowMs));
        // An incomplete state is shown once it stops changing.
        this.#isNew = state.at(-1) !== CR;
      }
    }
    while (rest.length > MAX_LINE_BYTES) {
      const length = cutLength(rest, MAX_LINE_BYTES);
      lines.push(payloadText(rest.subarray(0, length)));
      rest = rest.subarray(length);
    }
    // Copied, so that the rest neither keeps the read buffer alive nor changes with it.
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

/** The current state of a rewritten line (with its terminating CR, if any), and its last complete state. */
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
