import { closeSync } from "node:fs";
import { readableBytes } from "./libc.ts";

/**
 * Reads a pipe to its end, a chunk at a time. It reads nothing while a chunk is being processed, so that a full outbox slows the
 * writer down (backpressure). Owns the descriptor.
 */
export class PipeReader {
  /** Resolves when the pipe has ended, or reading was stopped. */
  readonly ended: Promise<void>;
  readonly #fd: number;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #taking = false;
  #closed = false;

  /** @param take receives each chunk; its result is awaited */
  constructor(fd: number, take: (chunk: Uint8Array) => Promise<void> | undefined) {
    this.#fd = fd;
    this.#reader = Bun.file(fd).stream().getReader() as ReadableStreamDefaultReader<Uint8Array>;
    this.ended = this.#read(take);
  }

  /** Nothing is being processed, and the pipe is empty. */
  get idle(): boolean {
    // The number of a closed descriptor may belong to another file by now.
    return this.#closed || (!this.#taking && readableBytes(this.#fd) === 0);
  }

  /** Stops reading. */
  async giveUp(): Promise<void> {
    if (!this.#closed) await this.#reader.cancel().catch(() => {});
    await this.ended;
  }

  async #read(take: (chunk: Uint8Array) => Promise<void> | undefined): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (done) break;
        const taken = take(value);
        if (taken === undefined) continue;
        this.#taking = true;
        await taken;
        this.#taking = false;
      }
    } catch {
      // A pipe that cannot be read is treated as ended.
    } finally {
      this.#closed = true;
      closeSync(this.#fd);
    }
  }
}
