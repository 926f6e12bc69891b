/** The live log: lines as the principal publishes them. */
import type { LogLine } from "../../contract/log-line.ts";
import type { LogSubscription } from "../../protocol/log-subscription.ts";

/**
 * An async iterable over the live log; it reconnects by itself. Publishing waits for nobody: lines of a time in which there
 * was no connection are only in the history.
 */
export class LogTail implements AsyncIterable<LogLine> {
  readonly #subscription: LogSubscription;

  /** @param signal ends the iteration */
  constructor(subscription: LogSubscription, signal?: AbortSignal) {
    this.#subscription = subscription;
    if (signal?.aborted) this.close();
    else signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<LogLine> {
    try {
      for await (const { lines } of this.#subscription.batches()) yield* lines;
    } finally {
      this.close();
    }
  }

  /** Ends the iteration. */
  close(): void {
    this.#subscription.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
