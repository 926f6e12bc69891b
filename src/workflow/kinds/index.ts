/** The kinds of tasks; a new one needs a file here and an entry in `KINDS`. */
import { z } from "zod";
import { Field, type ValueOf } from "../field.ts";
import { TAG_KEY } from "../yaml-tree.ts";
import { Approval } from "./approval.ts";
import { BunProgram } from "./bun.ts";
import { Http } from "./http.ts";
import type { KindFacts } from "./kind.ts";
import { Shell } from "./shell.ts";
import { Subprocess } from "./subprocess.ts";
import { UvPython } from "./uv-python.ts";
import { Wait } from "./wait.ts";
import { ChildWorkflow } from "./workflow.ts";

const KINDS = {
  Subprocess,
  UvPython,
  Shell,
  Bun: BunProgram,
  Http,
  Wait,
  Workflow: ChildWorkflow,
  Approval,
} as const;
type Tag = keyof typeof KINDS;

/** The possible tags of a task's config. */
export const TASK_TAGS = Object.keys(KINDS) as Tag[];

/** The config of a task. */
export type TaskConfig = { [T in Tag]: ValueOf<(typeof KINDS)[T]> }[Tag];

/** A kind that only a newer version knows: it is passed on, but cannot be executed here. */
const newerKind = z.looseObject({ type: z.string().refine((type) => !Object.hasOwn(KINDS, type)) });

type Options = [z.core.$ZodTypeDiscriminable, ...z.core.$ZodTypeDiscriminable[]];
const optionsOf = (form: "file" | "stored") =>
  Object.values(KINDS).map((each) => each[form]) as unknown as Options;

/** The mapping under `config:`; its tag selects the kind. */
export const taskConfig = new Field<TaskConfig>(
  z.discriminatedUnion(TAG_KEY, optionsOf("file")) as unknown as z.ZodType<TaskConfig>,
  z.union([z.discriminatedUnion("type", optionsOf("stored")), newerKind]) as unknown as z.ZodType<TaskConfig>,
  { kinds: KINDS },
);

/** The description of a config's kind; for an unknown kind, just its tag. */
export function factsOf(config: TaskConfig): KindFacts<TaskConfig> {
  const kind = Object.hasOwn(KINDS, config.type) ? KINDS[config.type] : undefined;
  return (kind?.facts as KindFacts<TaskConfig> | undefined) ?? { command: ({ type }) => [`!${type}`] };
}

/** What is to be checked in a config with this tag, see {@link KindFacts}. */
export function checksOf(
  tag: string | undefined,
): Pick<KindFacts<TaskConfig>, "scripts" | "eitherOf" | "publishes"> | undefined {
  return tag !== undefined && Object.hasOwn(KINDS, tag) ? KINDS[tag as Tag].facts : undefined;
}

/** The script of a task if its file has it inline; null if it has none. */
export function scriptTextOf(config: TaskConfig): string | null {
  for (const key of checksOf(config.type)?.scripts?.keys ?? []) {
    const text = (config as Readonly<Record<string, unknown>>)[key];
    if (typeof text === "string" && text !== "") return text;
  }
  return null;
}

/**
 * The kind that a config without a tag probably is: the one with the most keys that no other kind has, on a tie the later one; without such
 * keys, the one whose first key it has.
 */
export function likelyTag(keys: readonly string[]): Tag | null {
  const ownersOf = (key: string) => TASK_TAGS.filter((tag) => Object.hasOwn(KINDS[tag].keys(tag), key));
  const telling = keys
    .map(ownersOf)
    .filter((owners) => owners.length === 1)
    .flat();
  const count = (tag: Tag) => telling.filter((one) => one === tag).length;
  const [likely] = [...TASK_TAGS].reverse().sort((a, b) => count(b) - count(a));
  if (likely !== undefined && count(likely) > 0) return likely;
  const firstKey = (tag: Tag) => Object.keys(KINDS[tag].keys(tag)).find((key) => key !== TAG_KEY) ?? "";
  return TASK_TAGS.find((tag) => keys.includes(firstKey(tag))) ?? null;
}
