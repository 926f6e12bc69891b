import type { Clock } from "../clock.ts";
import { encodeLogHead, encodeLogLines, type LogHead, type LogLevel } from "../contract/log-line.ts";
import { escapeControls } from "./line-text.ts";

/** Receives encoded lines. */
export interface LineSink {
  /** Adds `count` encoded log lines, joined by newlines. */
  addLines(text: string, count: number): void;
  /** Backpressure: undefined when there is space for more lines; otherwise resolves when there is. */
  room(): Promise<void> | undefined;
}

/** The log of one task run: the output of its process, and messages of the agent about it. */
export class TaskLog {
  readonly #sink: LineSink;
  readonly #head: string;
  readonly #clock: Clock;
  readonly #mask: (text: string) => string;
  #lastMs = 0;

  /** @param mask hides the secrets in messages of the agent */
  constructor(sink: LineSink, head: LogHead, clock: Clock, mask: (text: string) => string = (text) => text) {
    this.#sink = sink;
    this.#mask = mask;
    this.#clock = clock;
    this.#head = encodeLogHead(head, escapeControls);
  }

  /** Adds payloads without control characters. Timestamps never decrease within a task run. */
  write(level: LogLevel, payloads: readonly string[]): void {
    if (payloads.length === 0) return;
    this.#lastMs = Math.max(this.#lastMs, this.#clock.now());
    this.#sink.addLines(encodeLogLines(this.#head, this.#lastMs, level, payloads), payloads.length);
  }

  /** Adds a message of the agent. */
  remark(level: LogLevel, text: string): void {
    this.write(level, this.#mask(text).split("\n").map(escapeControls));
  }

  /** Backpressure: undefined when there is space for more lines; otherwise resolves when there is. */
  room(): Promise<void> | undefined {
    return this.#sink.room();
  }
}
