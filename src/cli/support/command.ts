/**
 * What a command is here: a citty definition, and beside it what its help and the strict reading of its
 * arguments (see argv.ts) need to know.
 */
import { type ArgsDef, type CommandDef, defineCommand } from "citty";
import { UsageError } from "../../errors.ts";

/** A line of a command's EXAMPLES section. */
export interface Example {
  /** As typed, beginning with `cdktr`. */
  readonly command: string;
  readonly does: string;
}

/** What an argument names, for completion in the shell. */
export type Completed =
  | "workflow"
  | "run"
  | "agent"
  | "key"
  | "token"
  | "access"
  | "topic"
  | "shell"
  | "role"
  | "file"
  | "directory";

/** What a command says beyond its citty definition. */
export interface CommandExtras {
  /** Paragraphs of the help, after the description. */
  readonly details?: string;
  readonly examples?: readonly Example[];
  /** Options that may be given several times; read them with {@link repeated}. */
  readonly repeatable?: readonly string[];
  /** Options that the help does not show. */
  readonly hidden?: readonly string[];
  /** Name of any number of further positional arguments, which land in `args._`. */
  readonly rest?: string;
  /** What those are. */
  readonly restDescription?: string;
  /** What a shell completes for an argument or an option: its name to what it names. */
  readonly completes?: Readonly<Record<string, Completed>>;
  /** What an exit status means, where that is more than what it means everywhere; null for one that does not occur. */
  readonly exit?: Readonly<Record<number, string | null>>;
  /** The page of the manual that says more: `cdktr docs TOPIC`. Commands of a group have that of the group. */
  readonly topic?: string;
  /** Commands to know beside those of the same group, without `cdktr`: `runs list`. */
  readonly see?: readonly string[];
}

/** A citty command with its extras; the extras of one that has none are absent. */
// biome-ignore lint/suspicious/noExplicitAny: citty's own SubCommandsDef needs it, CommandDef being contravariant in its arguments
export type Command = CommandDef<any> & { readonly extras?: CommandExtras };

/** Defines a command. */
export function command<const T extends ArgsDef = ArgsDef>(
  definition: CommandDef<T> & { readonly extras?: CommandExtras },
): CommandDef<T> & { readonly extras: CommandExtras } {
  return Object.assign(defineCommand<T>(definition), { extras: definition.extras ?? {} });
}

/** A command that is imported when it is needed; its one-line description is here, so that help costs no import. */
export interface LazyCommand {
  (): Promise<Command>;
  readonly description: string;
}

/** Makes a {@link LazyCommand} of an import whose default export is a command. */
export function lazy(description: string, load: () => Promise<{ readonly default: Command }>): LazyCommand {
  return Object.assign(async () => (await load()).default, { description });
}

/** A command that only groups others, such as `cdktr runs`. */
export function group(
  description: string,
  subCommands: Record<string, LazyCommand>,
  extras: CommandExtras = {},
): Command {
  return command({ meta: { description }, subCommands, extras });
}

/** All values of a repeatable option, in order. `rawArgs` is what the command's `run` gets from citty. */
export function repeated(rawArgs: readonly string[], name: string): string[] {
  const prefix = `--${name}=`;
  const end = rawArgs.indexOf("--");
  const options = end === -1 ? rawArgs : rawArgs.slice(0, end);
  return options.filter((arg) => arg.startsWith(prefix)).map((arg) => arg.slice(prefix.length));
}

/**
 * Reads `k=v` values of a repeatable option into a record; a later one wins.
 * @throws UsageError for one without `=` or with an empty key
 */
export function keyValues(values: readonly string[], flag: string): Record<string, string> {
  const record: Record<string, string> = {};
  for (const value of values) {
    const at = value.indexOf("=");
    if (at < 1) {
      throw new UsageError(`${flag} ${value}: expected ${flag} KEY=VALUE.`, {
        hint: `For example: ${flag} region=eu`,
      });
    }
    record[value.slice(0, at)] = value.slice(at + 1);
  }
  return record;
}

/**
 * Reads a whole number; undefined when the option was not given.
 * @throws UsageError when it is none, or out of bounds
 */
export function wholeNumber(
  text: string | undefined,
  flag: string,
  bounds: { readonly min?: number; readonly max?: number } = {},
): number | undefined {
  if (text === undefined) return undefined;
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = bounds;
  const number = Number(text);
  if (!/^[+-]?\d+$/.test(text) || number < min || number > max) {
    const range = bounds.max === undefined ? `at least ${min}` : `from ${min} to ${max}`;
    throw new UsageError(`${flag} ${text}: expected a whole number, ${range}.`);
  }
  return number;
}
