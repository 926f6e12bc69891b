import { closeSync, readSync } from "node:fs";
import { Timer } from "../timer.ts";
import { readableBytes, stateOfPipe } from "./libc.ts";

/** What a pipe holds by default, bytes. */
const CHUNK_BYTES = 64 * 1024;
/** The most chunks that are read at a time without a stream: somebody may still write. */
const MOST_CHUNKS = 16;
/** How long until a stream that could not be opened is tried again, ms. */
const AGAIN_MS = 50;

/** For one read at a time, whose result is taken at once. */
const buffer = new Uint8Array(CHUNK_BYTES);

/**
 * Reads a pipe to its end, a chunk at a time. It reads nothing while a chunk is being processed, so that a full outbox slows the
 * writer down (backpressure). Owns the descriptor.
 */
export class PipeReader {
  readonly #fd: number;
  readonly #take: (chunk: Uint8Array) => Promise<void> | undefined;
  readonly #end: () => void;
  readonly #ended = Promise.withResolvers<void>();
  readonly #again = new Timer(() => this.begin());
  /** Absent until {@link begin}. */
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #taking = false;
  #closed = false;

  /**
   * @param take receives each chunk, which it does not keep; its result is awaited
   * @param end called once, after the last chunk
   */
  constructor(fd: number, take: (chunk: Uint8Array) => Promise<void> | undefined, end: () => void) {
    this.#fd = fd;
    this.#take = take;
    this.#end = end;
  }

  /** Resolves when the pipe has ended, or reading was stopped; by then `end` has been called. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Nothing is being processed, and the pipe is empty. */
  get idle(): boolean {
    // The number of a closed descriptor may belong to another file by now.
    return this.#closed || (!this.#taking && readableBytes(this.#fd) === 0);
  }

  /** Reads what is written from now on as it comes. */
  begin(): void {
    if (this.#closed || this.#reader !== undefined) return;
    try {
      this.#reader = Bun.file(this.#fd).stream().getReader() as ReadableStreamDefaultReader<Uint8Array>;
    } catch {
      // A stream needs a descriptor of its own, and the process may have none left. A full pipe would block the task meanwhile.
      void this.#readWithoutStream();
      return;
    }
    void this.#read(this.#reader);
  }

  /** Reads what is there, then tries again to open a stream. */
  async #readWithoutStream(): Promise<void> {
    try {
      for (let left = MOST_CHUNKS; left > 0 && !this.#closed; left--) {
        const state = stateOfPipe(this.#fd);
        if (state === "open") break;
        if (state === "ended") this.#close();
        else await this.#process(buffer.subarray(0, readSync(this.#fd, buffer)));
      }
    } catch {
      // As in #read.
      this.#close();
    }
    if (!this.#closed) this.#again.in(AGAIN_MS);
  }

  async #process(chunk: Uint8Array): Promise<void> {
    const taken = this.#take(chunk);
    if (taken === undefined) return;
    this.#taking = true;
    await taken;
    this.#taking = false;
  }

  /**
   * Unless it has begun, reads at once what is there, whether or not there is room for it. A stream would need several turns of the event
   * loop to find out that the pipe has ended.
   * @returns whether the pipe has ended
   */
  readNow(): boolean {
    try {
      for (let left = MOST_CHUNKS; left > 0 && !this.#closed && this.#reader === undefined; left--) {
        const state = stateOfPipe(this.#fd);
        if (state === "open") break;
        if (state === "ended") this.#close();
        else void this.#take(buffer.subarray(0, readSync(this.#fd, buffer)));
      }
    } catch {
      // As in #read.
      this.#close();
    }
    return this.#closed;
  }

  /** Stops reading. */
  async giveUp(): Promise<void> {
    if (this.#reader === undefined) this.#close();
    else if (!this.#closed) await this.#reader.cancel().catch(() => {});
    await this.ended;
  }

  async #read(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        await this.#process(value);
      }
    } catch {
      // A pipe that cannot be read is treated as ended.
    } finally {
      this.#close();
    }
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#again.cancel();
    closeSync(this.#fd);
    this.#end();
    this.#ended.resolve();
  }
}
