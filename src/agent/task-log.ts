import type { Clock } from "../clock.ts";
import { encodeLogHead, encodeLogLines, type LogHead, type LogLevel } from "../contract/log-line.ts";
import { escapeControls } from "./line-text.ts";

/** Where encoded lines go. */
export interface LineSink {
  /** Adds `count` encoded log lines, joined by line feeds. */
  addLines(text: string, count: number): void;
  /** Undefined when there is room for more lines; otherwise waits until there is. */
  room(): Promise<void> | undefined;
}

/** The log of one task run: what its process writes, and what the agent has to say about it. */
export class TaskLog {
  readonly #sink: LineSink;
  readonly #head: string;
  readonly #clock: Clock;
  #lastMs = 0;

  constructor(sink: LineSink, head: LogHead, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
    this.#head = encodeLogHead(head, escapeControls);
  }

  /** Adds payloads that hold no control characters. Within a task run, time does not go backwards. */
  write(level: LogLevel, payloads: readonly string[]): void {
    if (payloads.length === 0) return;
    this.#lastMs = Math.max(this.#lastMs, this.#clock.now());
    this.#sink.addLines(encodeLogLines(this.#head, this.#lastMs, level, payloads), payloads.length);
  }

  /** Adds what the agent says. */
  remark(level: LogLevel, text: string): void {
    this.write(level, text.split("\n").map(escapeControls));
  }

  /** Undefined when there is room for more lines; otherwise waits until there is. */
  room(): Promise<void> | undefined {
    return this.#sink.room();
  }
}
