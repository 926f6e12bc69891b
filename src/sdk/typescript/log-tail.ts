/** The live log: lines as the principal publishes them. */
import type { LogLine } from "../../protocol/log-frames.ts";
import { LogSubscription, type LogSubscriptionOptions } from "../../protocol/log-subscription.ts";

/** What a tail needs. */
export interface LogTailOptions extends LogSubscriptionOptions {
  /** Ends the iteration. */
  readonly signal: AbortSignal | undefined;
}

/**
 * An async iterable over the live log; it reconnects by itself. Publishing waits for nobody: lines of a time in which there
 * was no connection are only in the history.
 */
export class LogTail implements AsyncIterable<LogLine> {
  readonly #subscription: LogSubscription;

  constructor({ signal, ...options }: LogTailOptions) {
    this.#subscription = new LogSubscription(options);
    if (signal?.aborted) this.close();
    else signal?.addEventListener("abort", () => this.close(), { once: true });
  }

  /** Resolves when every line from now on will come, or after `timeoutMs`; it is connected to later all the same. */
  async connect(timeoutMs: number): Promise<void> {
    await this.#subscription.connect(timeoutMs);
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
