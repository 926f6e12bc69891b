/** Workflows that are paused when they keep failing. */
import { z } from "zod";
import { Block, Field, scalar, type ValueOf } from "./field.ts";

/** The most failures in a row that can be asked for. */
const MOST_FAILURES = 1000;

const failures = () =>
  scalar(
    z.number().int().min(1),
    { type: "integer", minimum: 1, maximum: MOST_FAILURES },
    (value, refuse) => {
      if (!/^[+-]?\d{1,15}$/.test(value)) return refuse("E012", `must be a whole number, not "${value}"`);
      const number = Number(value);
      if (number === 0) return refuse("E014", "is 0", "to pause it now: cdktr workflow pause ID");
      if (number < 1) return refuse("E014", "must be at least 1");
      return number > MOST_FAILURES ? refuse("E014", `must be at most ${MOST_FAILURES}`) : number;
    },
    { noun: "a whole number" },
  );

const Mapping = new Block({
  after_failures: failures().describe("How many of its runs in a row have to fail"),
});

type AutoPause = ValueOf<typeof Mapping>;

/** A mapping, or the number of failures alone. */
export function autoPause(): Field<AutoPause | undefined> {
  const file = z.union([
    failures().file.transform((after_failures): AutoPause => ({ after_failures })),
    Mapping.file,
  ]) as unknown as z.ZodType<AutoPause>;
  return new Field(file, Mapping.stored as unknown as z.ZodType<AutoPause>, {
    ...Mapping.traits,
    noun: "a whole number or {after_failures: N}",
  }).sparse();
}
