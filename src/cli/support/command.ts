/** A command: its citty definition plus what its help and the strict argument parser (see argv.ts) need. */
import { type ArgsDef, type CommandDef, defineCommand } from "citty";
import { UsageError } from "../../errors.ts";

/** A line of the EXAMPLES section. */
interface Example {
  /** The command line, beginning with `cdktr`. */
  readonly command: string;
  readonly does: string;
}

/** What an argument names, for shell completion. */
export type Completed =
  | "workflow"
  | "run"
  | "approval"
  | "backfill"
  | "agent"
  | "pool"
  | "alert"
  | "channel"
  | "key"
  | "token"
  | "access"
  | "topic"
  | "shell"
  | "role"
  | "file"
  | "directory";

/** Properties of a command that citty does not know. */
export interface CommandExtras {
  /** Paragraphs of the help that follow the description. */
  readonly details?: string;
  readonly examples?: readonly Example[];
  /** Options that may be repeated; read them with {@link repeated}. */
  readonly repeatable?: readonly string[];
  /** Options that the help does not list. */
  readonly hidden?: readonly string[];
  /** Name of the remaining positional arguments, which end up in `args._`. */
  readonly rest?: string;
  /** Description of the remaining arguments. */
  readonly restDescription?: string;
  /** What a shell completes: name of an argument or option to the kind of thing it names. */
  readonly completes?: Readonly<Record<string, Completed>>;
  /** Exit statuses with a meaning beyond the general one; null for one that does not occur. */
  readonly exit?: Readonly<Record<number, string | null>>;
  /** The page of the manual with more: `cdktr docs TOPIC`. Commands of a group inherit the group's. */
  readonly topic?: string;
  /** Related commands outside the group, without `cdktr`: `runs list`. */
  readonly see?: readonly string[];
}

/** A citty command with its extras, if any. */
// biome-ignore lint/suspicious/noExplicitAny: citty's own SubCommandsDef needs it, CommandDef being contravariant in its arguments
export type Command = CommandDef<any> & { readonly extras?: CommandExtras };

export function command<const T extends ArgsDef = ArgsDef>(
  definition: CommandDef<T> & { readonly extras?: CommandExtras },
): CommandDef<T> & { readonly extras: CommandExtras } {
  return Object.assign(defineCommand<T>(definition), { extras: definition.extras ?? {} });
}

/** A command that is imported when it is needed. Its one-line description is here, so that printing help needs no import. */
export interface LazyCommand {
  (): Promise<Command>;
  readonly description: string;
}

/** Makes a {@link LazyCommand} from an import whose default export is a command. */
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

/** All values of a repeatable option, in order. `rawArgs` is what citty passes to the command's `run`. */
export function repeated(rawArgs: readonly string[], name: string): string[] {
  const prefix = `--${name}=`;
  const end = rawArgs.indexOf("--");
  const options = end === -1 ? rawArgs : rawArgs.slice(0, end);
  return options.filter((arg) => arg.startsWith(prefix)).map((arg) => arg.slice(prefix.length));
}

/**
 * Reads the `k=v` values of a repeatable option into a record; the last one wins.
 * @throws UsageError for a value without `=` or with an empty key
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
 * @throws UsageError when it is not a whole number or out of bounds
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
