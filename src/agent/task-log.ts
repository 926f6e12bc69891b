import type { Clock } from "../clock.ts";
import type { LogLevel } from "../contract/log-line.ts";
import { SEPARATOR } from "../contract/wire.ts";
import { escapeControls } from "./line-text.ts";

/** Where encoded lines go. */
export interface LineSink {
  /** Adds `count` encoded log lines, joined by line feeds. */
  addLines(text: string, count: number): void;
  /** Undefined when there is room for more lines; otherwise waits until there is. */
  room(): Promise<void> | undefined;
}

/** The columns that all lines of a task run share. */
export interface TaskLogHead {
  readonly workflow_id: string;
  readonly workflow_name: string;
  readonly workflow_instance_id: string;
  readonly task_name: string;
  readonly task_instance_id: string;
}

/** The log of one task run: what its process writes, and what the agent has to say about it. */
export class TaskLog {
  readonly #sink: LineSink;
  readonly #head: string;
  readonly #clock: Clock;
  #lastMs = 0;

  constructor(sink: LineSink, head: TaskLogHead, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
    this.#head = [
      head.workflow_id,
      head.workflow_name,
      head.workflow_instance_id,
      head.task_name,
      head.task_instance_id,
    ]
      .map(escapeControls)
      .join(SEPARATOR);
  }

  /** Adds payloads that hold no control characters. Within a task run, time does not go backwards. */
  write(level: LogLevel, payloads: readonly string[]): void {
    if (payloads.length === 0) return;
    this.#lastMs = Math.max(this.#lastMs, this.#clock.now());
    const before = `${this.#head}${SEPARATOR}${this.#lastMs}${SEPARATOR}${level}${SEPARATOR}`;
    this.#sink.addLines(before + payloads.join(`\n${before}`), payloads.length);
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
