/** Where cdktr's own log goes. It may lose messages, and says later how many; it never ends or holds up the process. */

/** The part of a stream that the log needs. */
export interface LogStream {
  write(text: string, done: (error?: Error | null) => void): unknown;
  on(event: "error", listener: () => void): unknown;
}

/** How much may wait for a reader that has stopped reading, in characters. */
const MOST_PENDING = 1024 * 1024;

/**
 * Writes messages to a stream whose reader may go away (EPIPE), stop reading, or be a file on a full disk (ENOSPC). A message that
 * cannot be written is counted, and the count is told with the next one that can.
 */
export class LogOutput {
  readonly #stream: LogStream;
  readonly #lossText: (lost: number) => string;
  #pending = 0;
  #lost = 0;
  /** Whether a message about the loss is on its way. */
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
    // What was written last may be half a line.
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

  /** Resolves when everything is written, or after `timeoutMs`: a reader may never take it. */
  async drain(timeoutMs: number): Promise<void> {
    if (this.#pending === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, timeoutMs);
    this.#drained.push(resolve);
    await promise;
    clearTimeout(timer);
  }
}
