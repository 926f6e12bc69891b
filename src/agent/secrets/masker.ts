import { Patterns } from "./patterns.ts";
import type { Spellings } from "./spellings.ts";

const MASK = Buffer.from("***");
const LF = 10;
const CR = 13;
/**
 * How much of a breakable spelling must have been read before a line break within it is passed over: programs break longer lines, and the
 * end of any other line would be held back.
 */
const SHORTEST_BROKEN = 16;

const NOTHING = new Uint8Array(0);

/** What to look for, prepared. */
export class Sought {
  readonly exact: Patterns;
  readonly breakable: Patterns;

  constructor(spellings: readonly Spellings[]) {
    this.exact = new Patterns(spellings.flatMap(({ exact }) => exact));
    this.breakable = new Patterns(spellings.flatMap(({ breakable }) => breakable));
  }

  /** A text with `***` in the place of each secret. */
  mask(text: string): string {
    const masker = new Masker(() => this);
    const bytes = Buffer.from(text);
    const parts = [masker.push(bytes), masker.end()];
    return Buffer.concat(parts).equals(bytes) ? text : Buffer.concat(parts).toString();
  }
}

/** A range of what is held back that belongs to a secret. */
interface Found {
  start: number;
  /** Exclusive. */
  end: number;
  /** Whether its mask has been passed on already. */
  isMasked: boolean;
}

/**
 * Replaces secrets in a stream of bytes with `***`, however the stream is cut into chunks. Holds back what may be the beginning of one until
 * more comes, or the stream ends.
 */
export class Masker {
  readonly #latest: () => Sought | undefined;
  #sought: Sought | undefined;
  /** What was read and not passed on. */
  #held: Uint8Array = NOTHING;
  /** Ranges in `#held`, in order; they do not overlap. */
  #found: Found[] = [];
  #exact = 0;
  #breakable = 0;
  /** Where the last line break is, in `#held`; negative if it was before. */
  #lastBreak = -1;

  /** @param sought what to look for as of now; it may grow while the stream is read */
  constructor(sought: () => Sought | undefined) {
    this.#latest = sought;
  }

  /** Adds bytes. Returns those that can be passed on; they may be the same array. */
  push(chunk: Uint8Array): Uint8Array {
    const sought = this.#latest();
    if (sought === undefined) return chunk;
    let from = this.#held.length;
    if (sought !== this.#sought) {
      this.#sought = sought;
      this.#exact = 0;
      this.#breakable = 0;
      // Whatever else was found is found again.
      this.#found = this.#found.filter(({ isMasked }) => isMasked);
      from = 0;
    }
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    for (let at = from; at < bytes.length; at++) this.#read(sought, bytes, at);
    const held = Math.max(
      sought.exact.open(this.#exact),
      this.#lengthOf(bytes, bytes.length, sought.breakable.open(this.#breakable)),
    );
    return this.#pass(bytes, bytes.length - held);
  }

  /** Returns what was held back at the end of the stream. */
  end(): Uint8Array {
    this.#sought = undefined;
    return this.#pass(this.#held, this.#held.length);
  }

  #read(sought: Sought, bytes: Uint8Array, at: number): void {
    const byte = bytes[at] ?? 0;
    this.#exact = sought.exact.next(this.#exact, byte);
    const exact = sought.exact.matched(this.#exact);
    if (exact > 0) this.#add(at + 1 - exact, at + 1);
    if (byte === LF || byte === CR) {
      this.#lastBreak = at;
      if (sought.breakable.depth(this.#breakable) < SHORTEST_BROKEN) this.#breakable = 0;
      return;
    }
    this.#breakable = sought.breakable.next(this.#breakable, byte);
    const breakable = sought.breakable.matched(this.#breakable);
    if (breakable > 0) this.#add(at + 1 - this.#lengthOf(bytes, at + 1, breakable), at + 1);
  }

  /** Adds a range that begins before the end of the last one or after it; those that it overlaps become part of it. */
  #add(start: number, end: number): void {
    const found: Found = { start, end, isMasked: false };
    let last = this.#found.at(-1);
    while (last !== undefined && last.end > found.start) {
      found.start = Math.min(found.start, last.start);
      found.end = Math.max(found.end, last.end);
      found.isMasked ||= last.isMasked;
      this.#found.pop();
      last = this.#found.at(-1);
    }
    this.#found.push(found);
  }

  /** Length of the shortest range before `end` that has `count` bytes without its line breaks. */
  #lengthOf(bytes: Uint8Array, end: number, count: number): number {
    if (this.#lastBreak < end - count) return count;
    let at = end;
    for (let left = count; left > 0; at--) {
      const byte = bytes[at - 1];
      if (byte !== LF && byte !== CR) left--;
    }
    return end - at;
  }

  /** Passes on everything before `until`. */
  #pass(bytes: Uint8Array, until: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let at = 0;
    for (const found of this.#found) {
      if (found.start >= until) break;
      if (found.start > at) parts.push(bytes.subarray(at, found.start));
      if (!found.isMasked) parts.push(MASK);
      found.isMasked = true;
      at = Math.min(found.end, until);
    }
    if (at < until) parts.push(bytes.subarray(at, until));
    // Copied, because the caller uses the array of a chunk again.
    this.#held = until === bytes.length ? NOTHING : new Uint8Array(bytes.subarray(until));
    this.#lastBreak -= until;
    this.#found = this.#found
      .filter(({ end }) => end > until)
      .map(({ start, end, isMasked }) => ({ start: Math.max(0, start - until), end: end - until, isMasked }));
    const [only = NOTHING] = parts;
    return parts.length < 2 ? only : Buffer.concat(parts);
  }
}
