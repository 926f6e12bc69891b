/** The key `priority` of a workflow: whose runs go first when agents or slots of pools are short. */
import { z } from "zod";
import { type Field, scalar } from "./field.ts";
import { DEFAULT_PRIORITY, HIGHEST_PRIORITY } from "./limits.ts";

/** A priority. */
export const priority = (): Field<number> =>
  scalar(
    z.number().int().min(0),
    { type: "integer", minimum: 0, maximum: HIGHEST_PRIORITY },
    (value, refuse) =>
      /^[0-9]$/.test(value)
        ? Number(value)
        : refuse(
            "E095",
            `must be a whole number from 0 to ${HIGHEST_PRIORITY}, not "${value}"`,
            `${HIGHEST_PRIORITY} goes first, ${DEFAULT_PRIORITY} is the default`,
          ),
    { noun: `a whole number from 0 to ${HIGHEST_PRIORITY}` },
  );
