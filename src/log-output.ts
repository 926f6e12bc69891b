/** The destination of cdktr's own log. It may drop messages, which it reports later, but it never ends or blocks the process. */
import { isDoneWithin } from "./timer.ts";

/** The part of a stream that the log needs. */
export interface LogStream {
  write(text: string, done: (error?: Error | null) => void): unknown;
  on(event: "error", listener: () => void): unknown;
}

/** Maximum number of characters that wait for a reader that has stopped reading. */
const MOST_PENDING = 1024 * 1024;

/**
 * Writes messages to a stream whose reader may exit (EPIPE) or stop reading, or which is a file on a full disk (ENOSPC). Messages that
 * cannot be written are counted, and the count is reported before the next message that can be written.
 */
export class LogOutput {
  readonly #stream: LogStream;
  readonly #lossText: (lost: number) => string;
  #pending = 0;
  #lost = 0;
  /** Whether a message about the loss is being written. */
  #isTelling = false;
  #drained: (() => void)[] = [];

  /** @param lossText the message about lost messages, ending with a newline */
  constructor(stream: LogStream, lossText: (lost: number) => string) {
    this.#stream = stream;
    this.#lossText = lossText;
    // Without a listener, the error would be an uncaught exception.
    stream.on("error", () => {});
  }

  /** Writes one message, which ends with a newline. */
  write(message: string): void {
    if (this.#pending + message.length > MOST_PENDING) {
      this.#lost++;
      return;
    }
    const told = this.#isTelling ? 0 : this.#lost;
    // The last write may have ended in the middle of a line.
    const text = told > 0 ? `\n${this.#lossText(told)}${message}` : message;
    if (told > 0) this.#isTelling = true;
    this.#pending += text.length;
    this.#stream.write(text, (error) => {
      this.#pending -= text.length;
      if (told > 0) this.#isTelling = false;
      if (error) this.#lost++;
      else this.#lost -= told;
      if (this.#pending === 0) for (const resolve of this.#drained.splice(0)) resolve();
    });
  }

  /** Resolves when everything is written, or after `timeoutMs`, because a reader may never continue. */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#pending === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#drained.push(resolve);
    await isDoneWithin(timeoutMs, promise);
  }
}
