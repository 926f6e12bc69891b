/** How much of a workflow's history is kept. */
import { z } from "zod";
import { Block, Field, type Problem, scalar, type ValueOf } from "./field.ts";

/** The most days, a century, and the most runs that can be kept. */
const MOST_DAYS = 36_500;
const MOST_RUNS = 10_000_000;

const most = (maximum: number, what: string) =>
  scalar(
    z.number().int().min(1),
    { type: "integer", minimum: 1, maximum },
    (text, refuse) => {
      const help = "to keep everything, leave it out";
      const number = /^\+?\d{1,15}$/.test(text.trim()) ? Number(text) : Number.NaN;
      if (Number.isNaN(number)) return refuse("E130", `must be a whole number of ${what}, not "${text}"`);
      if (number < 1) return refuse("E130", "must be at least 1", help);
      return number > maximum ? refuse("E130", `must be at most ${maximum}`, help) : number;
    },
    { noun: "a whole number" },
  );

const Mapping = new Block({
  days: most(MOST_DAYS, "days").optional().describe("Runs that ended longer ago are deleted"),
  runs: most(MOST_RUNS, "runs").optional().describe("How many runs are kept, the newest"),
});

type Retention = ValueOf<typeof Mapping>;

function notEmpty(value: object, ctx: z.RefinementCtx<unknown>): void {
  if (Object.values(value).some((one) => one !== null) || ctx.issues.length > 0) return;
  const help = "to keep everything, remove it; otherwise write days, runs or both";
  const problem: Problem = { code: "E130", message: "is empty", help };
  ctx.addIssue({ code: "custom", message: problem.message, params: { problem } });
}

/** A mapping with one of the keys at least. */
export function retention(): Field<Retention | undefined> {
  return new Field(
    Mapping.file.superRefine(notEmpty) as unknown as z.ZodType<Retention>,
    Mapping.stored as unknown as z.ZodType<Retention>,
    {
      ...Mapping.traits,
      noun: "a mapping such as {days: 90, runs: 1000}",
    },
  ).sparse();
}
