/** Prints what tasks print, in order and with backpressure, while they run. */
import { type LogLine, LogLineReader } from "../../contract/log-line.ts";
import { BrokenPipe, flushStdout } from "./stdout.ts";

/** Lines that wait to be printed, characters: more of them, and the tasks that print wait. */
const MOST_WAITING = 1024 * 1024;

/** Takes the encoded lines of tasks. When nobody reads what is printed any more, the tasks go on: their work is not about that. */
export class TaskOutput {
  readonly #print: (line: LogLine) => Promise<void>;
  readonly #reader = new LogLineReader();
  #waiting: string[] = [];
  #waitingChars = 0;
  #printing: Promise<void> | undefined;
  /** Nobody reads any more. */
  #isDeaf = false;

  /** @param print prints a line; it may stay in the buffer of stdout */
  constructor(print: (line: LogLine) => Promise<void>) {
    this.#print = print;
  }

  /** Adds encoded log lines, joined by line feeds. */
  addLines(text: string): void {
    if (this.#isDeaf) return;
    this.#waiting.push(text);
    this.#waitingChars += text.length;
    this.#printing ??= this.#printAll().finally(() => {
      this.#printing = undefined;
    });
  }

  /** Backpressure: undefined when there is space for more lines; otherwise resolves when there is. */
  room(): Promise<void> | undefined {
    return this.#waitingChars > MOST_WAITING ? this.#printing : undefined;
  }

  /** Resolves when everything has been printed. */
  async drained(): Promise<void> {
    while (this.#printing !== undefined) await this.#printing;
  }

  async #printAll(): Promise<void> {
    try {
      for (let texts = this.#take(); texts.length > 0; texts = this.#take()) {
        for (const text of texts)
          for (const line of text.split("\n")) await this.#print(this.#reader.decode(line));
        await flushStdout();
      }
    } catch (error) {
      if (!(error instanceof BrokenPipe)) throw error;
      this.#isDeaf = true;
      this.#take();
    }
  }

  #take(): string[] {
    const texts = this.#waiting;
    this.#waiting = [];
    this.#waitingChars = 0;
    return texts;
  }
}
