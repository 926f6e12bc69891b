/** Who is told about what: the key `notify` of a workflow, of the defaults of a directory, and of the workflow directory itself. */
import { z } from "zod";
import { nearest } from "../terminal/did-you-mean.ts";
import { ALERT_KINDS, type AlertKind, KINDS_OF_ALERTS, KINDS_OF_WORKFLOWS } from "./alert-kinds.ts";
import { CHANNEL_NAME } from "./channels.ts";
import { Block, Field, scalar, type ValueOf } from "./field.ts";
import { whole } from "./scalars.ts";

/** The most failures in a row that a rule waits for. */
const MOST_FAILURES = 1000;

const shown = (text: string) => JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);

/** A kind of alerts. @param kinds those that may be named here */
const kind = (kinds: readonly AlertKind[]) =>
  scalar(z.string() as unknown as z.ZodType<AlertKind>, { enum: [...kinds] }, (text, refuse) => {
    const word = text.trim();
    const found = kinds.find((one) => one === word);
    if (found !== undefined) return found;
    if (Object.hasOwn(ALERT_KINDS, word))
      return refuse(
        "E110",
        `"${word}" belongs to no workflow`,
        "write it under notify of _cdktr.yml in the workflow directory itself",
      );
    const near = nearest(word, kinds);
    const help = near === undefined ? `write one of ${kinds.join(", ")}` : `did you mean "${near}"?`;
    return refuse("E110", `there is no kind of alert ${shown(word)}`, help);
  });

const channelName = () =>
  scalar(z.string(), { pattern: CHANNEL_NAME.source }, (text, refuse) => {
    const name = text.trim();
    return CHANNEL_NAME.test(name)
      ? name
      : refuse(
          "E111",
          `${shown(name)} is not a valid name for a channel`,
          "channels are in _cdktr.yml of the workflow directory",
        );
  });

/** One word, or a list of at least one; stored as a list without duplicates. */
function words<T>(one: Field<T>, noun: string, help: string): Field<T[]> {
  const unique = (values: T[]) => [...new Set(values)];
  const file = z.union([one.file.transform((value) => [value]), z.array(one.file).min(1).transform(unique)]);
  return new Field(file as unknown as z.ZodType<T[]>, z.array(one.stored), { noun, help, listEntry: one });
}

/** The channels that are told of something. */
export const toldChannels = () =>
  words(channelName(), "the name of a channel, or a list of names", "such as to: [ops]");

const ruleOf = (kinds: readonly AlertKind[]) =>
  new Block({
    on: words(kind(kinds), "a kind of alerts, or a list of kinds", "such as [failed, recovered]")
      .sparse()
      .describe(`What is told: ${kinds.join(", ")}; by default all of these`),
    to: toldChannels().describe("The channels that are told, see cdktr docs alerts"),
    after_failures: whole(1, MOST_FAILURES)
      .sparse()
      .describe("Failures in a row before failed is told, and then recovered; by default 1"),
  });

const RULE = ruleOf(KINDS_OF_WORKFLOWS);

/** Who is told about what. */
export type NotifyRule = ValueOf<typeof RULE>;

const HELP = "such as {on: [failed, recovered], to: [ops]}, or the name of a channel for all alerts";

/** One rule, or a list of rules; stored as a list. The name of a channel is a rule that tells it everything. */
function rules(block: Field<NotifyRule>): Field<NotifyRule[] | undefined> {
  const short = channelName().file.transform((name): NotifyRule => ({ to: [name] }));
  const forms = [short, block.file] as const;
  const noun = "{on: …, to: …}, or the name of a channel";
  const rule = new Field(z.union(forms) as unknown as z.ZodType<NotifyRule>, block.stored, {
    ...block.traits,
    noun,
    help: HELP,
  });
  const alone = forms.map((form) => (form as z.ZodType<NotifyRule>).transform((value) => [value]));
  const file = z.union([...alone, z.array(rule.file)]);
  return new Field(file as unknown as z.ZodType<NotifyRule[]>, z.array(block.stored), {
    ...block.traits,
    noun: `${noun}, or a list of these`,
    help: `${HELP}; [] for nobody`,
    listEntry: rule,
  }).sparse();
}

/** The key of workflows and of the defaults of directories. */
export const notify = () => rules(RULE);

/** The key of the workflow directory itself: it may also name what belongs to no workflow. */
export const notifyOfRoot = () => rules(ruleOf(KINDS_OF_ALERTS) as unknown as Field<NotifyRule>);

/** The failures in a row from which on a rule tells `failed`, and then `recovered`. */
export function failuresOf({ after_failures = 1 }: NotifyRule): number {
  return after_failures;
}

/** Whether a rule is about a kind. */
export function isAbout({ on }: NotifyRule, kind: AlertKind): boolean {
  return on === undefined || on.includes(kind);
}

/** The channels that are told of a kind, each once. @param applies which rules count; by default all */
export function channelsFor(
  rules: readonly NotifyRule[],
  kind: AlertKind,
  applies: (rule: NotifyRule) => boolean = () => true,
): string[] {
  const told = rules.filter((rule) => isAbout(rule, kind) && applies(rule));
  return [...new Set(told.flatMap(({ to }) => to))];
}
