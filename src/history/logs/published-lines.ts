/** Tracks which lines of each stream were published. */
import type { LogBatch } from "../../contract/log-line.ts";
import { dropOldest } from "../../recent.ts";

/** Number of streams to remember; for others the historian's position is used. */
const MAX_STREAMS = 10_000;

export class PublishedLines {
  /** Stream → number of its last published line; least recently used first. */
  readonly #last = new Map<string, number>();

  /** The lines of a stream up to `seq` were published by another process. */
  continueAfter(streamId: string, seq: number): void {
    const last = Math.max(seq, this.#last.get(streamId) ?? 0);
    this.#last.delete(streamId);
    this.#last.set(streamId, last);
    dropOldest(this.#last, MAX_STREAMS);
  }

  /**
   * Marks the new lines of a batch as published.
   * @param before the historian's position of the stream before the batch
   * @returns index of the first line to publish; the number of lines when there is none, also when an earlier batch is missing: that one
   *   will be sent again, and this one after it
   */
  advance(batch: LogBatch, before: { received: number; known: boolean }): number {
    const { stream_id, first_seq, lines } = batch;
    const remembered = this.#last.get(stream_id);
    // Lines that the historian has were published, by this principal or its predecessor.
    let last = Math.max(remembered ?? 0, before.received);
    // The history is not open yet and has no position: the stream continues here.
    if (remembered === undefined && !before.known && before.received === 0) last = first_seq - 1;
    const end = first_seq + lines.length - 1;
    if (first_seq > last + 1 || end <= last) return lines.length;
    this.continueAfter(stream_id, end);
    return last + 1 - first_seq;
  }
}
