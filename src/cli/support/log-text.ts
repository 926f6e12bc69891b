/** Formats log lines. */
import type { LogLevel, LogLine } from "../../contract/log-line.ts";
import { outputText, plainText } from "../../terminal/foreign-text.ts";
import { fill, pad, width } from "../../terminal/text.ts";
import { formatClock, formatInstant } from "./format.ts";
import { type Paint, type Style, styleFor } from "./style.ts";

const WIDEST_TASK = 28;

/**
 * Formats the lines of one run: `14:03:07.250 extract │ 1042 rows`, with `!` before the bar for stderr. Each task has its own colour.
 */
export class RunLogText {
  readonly #style: Style;
  readonly #paints: Paint[];
  readonly #taskPaints = new Map<string, Paint>();
  #width = 4;

  constructor(style: Style = styleFor("stdout")) {
    this.#style = style;
    this.#paints = [style.cyan, style.green, style.magenta, style.blue, style.yellow];
  }

  /** Widens the column for the names in advance, so that it does not grow while lines are printed. */
  expect(taskNames: Iterable<string>): void {
    for (const name of taskNames) {
      this.#width = Math.min(WIDEST_TASK, Math.max(this.#width, width(plainText(name))));
    }
  }

  /** The text of a line, without newline. */
  format(line: LogLine): string {
    const style = this.#style;
    const bad = line.level === "ERROR";
    const time = style.dim(formatClock(line.timestamp_ms));
    const name = this.#taskName(line.task_name);
    const bar = bad ? style.red("!│") : style.dim(" │");
    const payload = outputText(line.payload, style.enabled);
    return `${time} ${name}${bar} ${bad && payload === line.payload ? style.red(payload) : payload}`;
  }

  #taskName(name: string): string {
    let paint = this.#taskPaints.get(name);
    if (paint === undefined) {
      paint = this.#paints[this.#taskPaints.size % this.#paints.length] ?? this.#style.cyan;
      this.#taskPaints.set(name, paint);
    }
    this.expect([name]);
    return paint(pad(plainText(name), this.#width));
  }
}

/** Formats lines of any runs: date, time, level, task; with `verbose` also workflow, run and task run. */
export class LogText {
  readonly #style: Style;
  readonly #verbose: boolean;
  #width = 4;

  constructor(verbose: boolean, style: Style = styleFor("stdout")) {
    this.#verbose = verbose;
    this.#style = style;
  }

  /** Widens the column for lines that are about to be printed. */
  expect(lines: Iterable<LogLine>): void {
    const widest = this.#verbose ? 160 : WIDEST_TASK;
    for (const line of lines) {
      this.#width = Math.max(this.#width, Math.min(width(this.#names(line)), widest));
    }
  }

  /** The text of a line, without newline. */
  format(line: LogLine): string {
    const style = this.#style;
    const time = `${formatInstant(line.timestamp_ms)}${formatClock(line.timestamp_ms).slice(8)}`;
    const level = this.#levelPaint(line.level)(line.level.padEnd(5));
    const names = this.#names(line);
    this.expect([line]);
    return `${style.dim(time)} ${level} ${style.cyan(fill(names, this.#width))} ${style.dim("│")} ${outputText(line.payload, style.enabled)}`;
  }

  #names(line: LogLine): string {
    const task = plainText(line.task_name);
    if (!this.#verbose) return task;
    return `${plainText(line.workflow_id)} (${plainText(line.workflow_name)}) ${line.workflow_instance_id} ${task} ${line.task_instance_id}`;
  }

  #levelPaint(level: LogLevel): Paint {
    if (level === "ERROR") return this.#style.red;
    if (level === "WARN") return this.#style.yellow;
    if (level === "DEBUG") return this.#style.dim;
    return (text) => text;
  }
}
