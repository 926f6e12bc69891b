/** Sets of exit codes: single ones and ranges, such as `[75, 100-110]`. */
import { z } from "zod";
import { type Field, list, scalar } from "./field.ts";

/** The first and the last exit code of a range. */
export type ExitCodes = readonly [from: number, to: number];

const HIGHEST = 255;
const HELP = `write numbers from 1 to ${HIGHEST}, or ranges such as 100-110`;

const exitCodeRange = (): Field<ExitCodes> =>
  scalar(
    z.tuple([z.number().int(), z.number().int()]).readonly(),
    {
      anyOf: [
        { type: "integer", minimum: 1, maximum: HIGHEST },
        { type: "string", pattern: "^\\d{1,3}( *- *\\d{1,3})?$" },
      ],
    },
    (value, refuse) => {
      const [, first, last = first] = /^(\d{1,3})(?: *- *(\d{1,3}))?$/.exec(value.trim()) ?? [];
      if (first === undefined) return refuse("E014", `"${value}" is not an exit code or a range`, HELP);
      const [from, to] = [Number(first), Number(last)];
      if (from === 0) return refuse("E014", "0 is the exit code of a task that COMPLETED", HELP);
      if (to > HIGHEST) return refuse("E014", `"${value}" is beyond ${HIGHEST}, the highest exit code`, HELP);
      return from <= to
        ? ([from, to] as const)
        : refuse("E014", `"${value}" ends before it begins`, `write ${to}-${from}`);
    },
    { noun: "an exit code or a range of them", write: (range) => textOf(range as ExitCodes) },
  );

/** A list of exit codes and ranges; at least one. */
export const exitCodes = (): Field<ExitCodes[]> => list(exitCodeRange(), { min: 1 });

/** Whether a code is in one of the ranges. */
export function hasExitCode(ranges: readonly ExitCodes[], code: number): boolean {
  return ranges.some(([from, to]) => from <= code && code <= to);
}

/** The ranges as they are written: `75, 100-110`. */
export function formatExitCodes(ranges: readonly ExitCodes[]): string {
  return ranges.map(textOf).join(", ");
}

function textOf([from, to]: ExitCodes): string {
  return from === to ? String(from) : `${from}-${to}`;
}
