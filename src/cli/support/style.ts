/** Colours, only on a terminal and without NO_COLOR and --no-color. */

import { fstatSync } from "node:fs";

/** Major device number of /dev/null and similar devices. */
const MEMORY_DEVICES = 1;

/** Wraps text in a colour, or returns it unchanged. */
export type Paint = (text: string) => string;

/** The colours of one stream. */
export interface Style {
  readonly enabled: boolean;
  readonly bold: Paint;
  readonly dim: Paint;
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
  readonly blue: Paint;
  readonly magenta: Paint;
  readonly cyan: Paint;
}

let forbidden = false;

/** Applies `--no-color` to this process and its children. */
export function forbidColor(): void {
  forbidden = true;
  process.env.NO_COLOR = "1";
}

/** The colours for a stream, determined on access. */
export function styleFor(stream: "stdout" | "stderr"): Style {
  return makeStyle(!forbidden && !process.env.NO_COLOR && process.env.TERM !== "dumb" && isTerminal(stream));
}

export function makeStyle(enabled: boolean): Style {
  const paint =
    (on: number, off: number): Paint =>
    (text) =>
      enabled && text !== "" ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  return {
    enabled,
    bold: paint(1, 22),
    dim: paint(2, 22),
    red: paint(31, 39),
    green: paint(32, 39),
    yellow: paint(33, 39),
    blue: paint(34, 39),
    magenta: paint(35, 39),
    cyan: paint(36, 39),
  };
}

/** Whether a stream is a terminal. */
export function isTerminal(stream: "stdout" | "stderr" | "stdin"): boolean {
  return mayBeTerminal(stream) && process[stream].isTTY === true;
}

/** Rules out pipes, files and /dev/null without touching the stream itself, which takes 20 ms to load. */
function mayBeTerminal(stream: "stdout" | "stderr" | "stdin"): boolean {
  try {
    const stat = fstatSync({ stdin: 0, stdout: 1, stderr: 2 }[stream]);
    return stat.isCharacterDevice() && stat.rdev >> 8 !== MEMORY_DEVICES;
  } catch {
    return false;
  }
}

/** Columns of the terminal; 80 without one, so that text wraps the same way everywhere. */
export function terminalWidth(): number {
  for (const stream of ["stdout", "stderr"] as const) {
    if (isTerminal(stream) && process[stream].columns) return process[stream].columns;
  }
  return 80;
}
