/** `concurrency`: how many runs of a group may run at once, and what a further one does. */
import { z } from "zod";
import { didYouMean } from "../terminal/did-you-mean.ts";
import { Block, Field, scalar, templated, type ValueOf } from "./field.ts";
import { MAX_GROUP_BYTES, MAX_RUNS_OF_GROUP } from "./limits.ts";

const POLICIES = ["queue", "queue_latest", "skip", "cancel_running"] as const;
/** What a run does when its group is full. */
export type OnConflict = (typeof POLICIES)[number];

/** What other tools call it. */
const OTHER_WORDS: Readonly<Record<string, string>> = {
  allow: "remove concurrency: without it, any number of runs may run at once",
  parallel: "remove concurrency: without it, any number of runs may run at once",
  forbid: "did you mean skip?",
  replace: "did you mean cancel_running?",
  cancel: "did you mean cancel_running?",
  cancel_other: "did you mean cancel_running?",
  "cancel-in-progress": "did you mean cancel_running?",
  terminate: "did you mean cancel_running?",
  wait: "did you mean queue?",
  enqueue: "did you mean queue?",
  buffer: "did you mean queue?",
  latest: "did you mean queue_latest?",
};

const onConflict = () =>
  scalar(z.string() as unknown as z.ZodType<OnConflict>, { enum: [...POLICIES] }, (text, refuse) => {
    const policy = POLICIES.find((each) => each === text);
    if (policy !== undefined) return policy;
    const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
    const names = POLICIES.map((each) => `"${each}"`);
    return refuse(
      "E093",
      `must be ${names.slice(0, -1).join(", ")} or ${names.at(-1)}, not "${shown}"`,
      OTHER_WORDS[text.toLowerCase()] ?? didYouMean(text, POLICIES),
    );
  });

/** @param isAlone whether it stands in place of the mapping */
const maxRuns = (isAlone = false) =>
  scalar(
    z.number().int().min(1),
    { type: "integer", minimum: 1, maximum: MAX_RUNS_OF_GROUP },
    (text, refuse) => {
      const number = /^[+-]?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
      if (number >= 1 && number <= MAX_RUNS_OF_GROUP) return number;
      const shown = text.length > 60 ? `${text.slice(0, 60)}…` : text;
      return refuse(
        "E093",
        `must be a whole number from 1 to ${MAX_RUNS_OF_GROUP}, not "${shown}"`,
        number === 0
          ? "to stop a workflow: cdktr workflow pause ID"
          : isAlone && Number.isNaN(number)
            ? `a group has a name: concurrency: {group: ${shown}}`
            : undefined,
      );
    },
    { noun: "a whole number" },
  );

const groupName = () =>
  scalar(z.string(), { type: ["string", "number", "boolean"], minLength: 1 }, (text, refuse) => {
    const problem = problemOfGroup(text);
    return problem === null ? text.trim() : refuse("E093", problem);
  });

/** What is wrong with the name of a group; null if nothing is. */
export function problemOfGroup(name: string): string | null {
  if (name.trim() === "") return "is empty";
  if (/[\x00-\x1f\x7f]/.test(name)) return "contains a control character or a line break";
  return Buffer.byteLength(name.trim()) > MAX_GROUP_BYTES ? `is longer than ${MAX_GROUP_BYTES} bytes` : null;
}

const Limit = new Block({
  group: templated(groupName(), "string")
    .at("group")
    .sparse()
    .describe("Runs of all workflows with this group count together; by default, those of this workflow"),
  max_runs: maxRuns().default(1).describe("Maximum number of runs of the group at once"),
  on_conflict: onConflict()
    .default("queue")
    .describe(
      "What a run does that finds the group full: it waits (queue), waits instead of those that wait already (queue_latest), ends as SKIPPED (skip), or cancels those that run (cancel_running)",
    ),
});

/** The limit of a workflow, as it is stored. */
export type Concurrency = ValueOf<typeof Limit>;

/** A mapping, or the number of runs alone. */
export function concurrency(): Field<Concurrency | undefined> {
  const short = maxRuns(true).file.transform((max_runs): Concurrency => ({ max_runs, on_conflict: "queue" }));
  const file = z.union([short, Limit.file]) as unknown as z.ZodType<Concurrency>;
  return new Field(file, Limit.stored, {
    ...Limit.traits,
    noun: "a number of runs, or a mapping",
  })
    .help("such as concurrency: 1, or concurrency: {group: warehouse, max_runs: 2}")
    .sparse();
}
