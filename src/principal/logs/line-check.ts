/** Whether log lines are such, without taking each apart. */

import { decodeLogLine } from "../../contract/log-line.ts";
import { SEPARATOR } from "../../contract/wire.ts";
import { InvalidInputError } from "../../errors.ts";

const LEVELS: ReadonlySet<string> = new Set(["DEBUG", "INFO", "WARN", "ERROR"]);

/** Checks the lines of one batch in order. Neighbours mostly agree in their first five fields, which are then looked at once. */
export class LineCheck {
  #prefix = "";

  /** Null when the line is one, else what is wrong with it. */
  check(line: string): string | null {
    if (this.#prefix === "" || !line.startsWith(this.#prefix)) {
      let end = 0;
      for (let field = 1; field <= 5; field++) {
        end = line.indexOf(SEPARATOR, end) + 1;
        if (end === 0) return `A log line needs 8 fields; this one has ${field}.`;
      }
      this.#prefix = line.slice(0, end);
    }
    const timeEnd = line.indexOf(SEPARATOR, this.#prefix.length);
    if (timeEnd === -1) return "A log line needs 8 fields; this one has 6.";
    const time = line.slice(this.#prefix.length, timeEnd);
    if (!/^\d{1,15}$/.test(time)) {
      return `A log line has the time "${time.slice(0, 40)}", which is no number of ms.`;
    }
    const levelEnd = line.indexOf(SEPARATOR, timeEnd + 1);
    if (levelEnd === -1) return "A log line needs 8 fields; this one has 7.";
    const level = line.slice(timeEnd + 1, levelEnd);
    return LEVELS.has(level) ? null : `A log line has the unknown level "${level.slice(0, 40)}".`;
  }
}

/**
 * A line that was delivered by itself, as agents did that do not number their lines. Line feeds in its text make several of it.
 * @throws InvalidInputError when it is none
 */
export function splitSingleLine(text: string): readonly string[] {
  const { payload } = decodeLogLine(text);
  const head = text.slice(0, text.length - payload.length);
  if (head.includes("\n")) throw new InvalidInputError("A field of a log line has a line feed.");
  const lines = payload.split("\n").map((part) => head + part);
  const wrong = new LineCheck().check(lines[0] ?? "");
  if (wrong !== null) throw new InvalidInputError(wrong);
  return lines;
}
