/** Conditions on how another task ended: the words that files have for them under `depends`, and the statuses that they accept. */
import { z } from "zod";
import { didYouMean } from "../terminal/did-you-mean.ts";
import { Field, list, Parts, type Problem, scalar } from "./field.ts";
import { anyText } from "./scalars.ts";
import { RUN_STATUSES, type RunStatus } from "./status.ts";

/** What each word accepts. A task that was lost with its agent has failed, for whoever handles failures. */
const ACCEPTED = {
  completed: ["COMPLETED"],
  failed: ["FAILED", "CRASHED"],
  skipped: ["SKIPPED"],
  ended: ["COMPLETED", "FAILED", "CRASHED", "SKIPPED", "CANCELLED"],
} as const satisfies Readonly<Record<string, readonly RunStatus[]>>;

type Word = keyof typeof ACCEPTED;
const WORDS = Object.keys(ACCEPTED) as Word[];

/** Words of other tools. */
const OTHER_WORDS: Readonly<Record<string, Word>> = {
  success: "completed",
  succeeded: "completed",
  successful: "completed",
  ok: "completed",
  complete: "completed",
  failure: "failed",
  failing: "failed",
  error: "failed",
  crashed: "failed",
  skip: "skipped",
  always: "ended",
  any: "ended",
  done: "ended",
  finished: "ended",
  all_done: "ended",
  cancelled: "ended",
};

const ALL_WORDS = `${WORDS.slice(0, -1).join(", ")} or ${WORDS.at(-1)}`;
const HELP = `write ${ALL_WORDS}`;

function helpFor(text: string): string {
  const lower = text.trim().toLowerCase();
  const meant = Object.hasOwn(ACCEPTED, lower) ? lower : OTHER_WORDS[lower];
  return meant === undefined ? (didYouMean(lower, WORDS) ?? HELP) : `write ${meant}`;
}

const word = () =>
  scalar<Word>(
    z.enum(WORDS),
    { type: "string", enum: WORDS },
    (text, refuse) =>
      Object.hasOwn(ACCEPTED, text)
        ? (text as Word)
        : refuse("E033", `"${text}" is not a condition`, helpFor(text)),
    { noun: "a condition", help: HELP },
  );

/** One word, or a list of them: the statuses that are accepted. */
function condition(): Field<RunStatus[]> {
  const one = word();
  const several = list(one, { unique: true });
  const file = z.union([
    one.file.transform((each) => statusesOf([each])),
    several.file.transform((words, ctx) => {
      if (words.length > 0) return statusesOf(words);
      const problem: Problem = { code: "E033", message: "has no condition", help: HELP };
      ctx.addIssue({ code: "custom", message: problem.message, params: { problem } });
      return z.NEVER;
    }),
  ]);
  const stored = z.array(z.string()) as unknown as z.ZodType<RunStatus[]>;
  return new Field(file, stored, { noun: `${ALL_WORDS}, or a list of these`, help: HELP, entry: one });
}

function statusesOf(words: readonly Word[]): RunStatus[] {
  const accepted = new Set<RunStatus>(words.flatMap((each) => ACCEPTED[each]));
  return RUN_STATUSES.filter((status) => accepted.has(status));
}

/**
 * The tasks that must be over first: a list of those that must complete, or a mapping from each to its condition. The stored form has
 * their ids, as ever, and under `accepts` the statuses of those whose condition is another one.
 */
export function dependencies(): Field<string[]> {
  const ids = list(anyText(), { unique: true });
  const each = condition();
  const mapping = z.record(z.string(), each.file).transform((conditions) => {
    const others = Object.entries(conditions).filter(([, accepted]) => accepted.join() !== "COMPLETED");
    const depends = Object.keys(conditions);
    return others.length === 0 ? depends : new Parts({ depends, accepts: Object.fromEntries(others) });
  });
  const file = z.union([ids.file, mapping]) as unknown as z.ZodType<string[]>;
  return new Field(file, ids.stored, { entry: each, listEntry: anyText() });
}

const COMPLETED: ReadonlySet<RunStatus> = new Set(["COMPLETED"]);

/** The statuses of a task that one that depends on it accepts. @param other the id of the former */
export function acceptedBy(
  task: { readonly accepts?: Readonly<Record<string, readonly RunStatus[]>> | undefined },
  other: string,
): ReadonlySet<RunStatus> {
  const accepted = task.accepts;
  return accepted !== undefined && Object.hasOwn(accepted, other) ? new Set(accepted[other]) : COMPLETED;
}

/** A dependency for people: its id, and the condition if that is not `completed`. */
export function dependencyText(
  task: { readonly accepts?: Readonly<Record<string, readonly RunStatus[]>> | undefined },
  other: string,
): string {
  const accepted = acceptedBy(task, other);
  if (accepted === COMPLETED) return other;
  if (ACCEPTED.ended.every((status) => accepted.has(status))) return `${other} (ended)`;
  const words = WORDS.filter((each) => ACCEPTED[each].every((status) => accepted.has(status)));
  return `${other} (${words.join(" or ")})`;
}
