/** Colour, only where a person looks: on a terminal, without NO_COLOR and --no-color. */

import { fstatSync } from "node:fs";

/** Major number of /dev/null and its like. */
const MEMORY_DEVICES = 1;

/** Wraps text in a colour or leaves it as it is. */
export type Paint = (text: string) => string;

/** The colours in use on one stream. */
export interface Style {
  readonly enabled: boolean;
  readonly bold: Paint;
  readonly dim: Paint;
  readonly underline: Paint;
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
  readonly blue: Paint;
  readonly magenta: Paint;
  readonly cyan: Paint;
}

let forbidden = false;

/** Applies `--no-color`, for this process and for those it starts. */
export function forbidColor(): void {
  forbidden = true;
  process.env.NO_COLOR = "1";
}

/** The colours for a stream, decided when it is asked for. */
export function styleFor(stream: "stdout" | "stderr"): Style {
  return makeStyle(!forbidden && !process.env.NO_COLOR && process.env.TERM !== "dumb" && isTerminal(stream));
}

/** Colours that are on or off. */
export function makeStyle(enabled: boolean): Style {
  const paint =
    (on: number, off: number): Paint =>
    (text) =>
      enabled && text !== "" ? `\x1b[${on}m${text}\x1b[${off}m` : text;
  return {
    enabled,
    bold: paint(1, 22),
    dim: paint(2, 22),
    underline: paint(4, 24),
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

/** Columns of the terminal; 80 when there is none, so that text is wrapped the same way everywhere. */
export function terminalWidth(): number {
  for (const stream of ["stdout", "stderr"] as const) {
    if (isTerminal(stream) && process[stream].columns) return process[stream].columns;
  }
  return 80;
}
