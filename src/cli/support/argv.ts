/**
 * Reads the command line strictly and passes citty one that it cannot misread. On its own, citty ignores unknown options and
 * surplus arguments, keeps only the last of a repeated option, takes a value that begins with `--no-` for a negated flag, and
 * loses options that come before the subcommand. Here every option becomes a single word (`--name=value`, `--name`,
 * `--no-name`), and every positional argument comes after `--`.
 */
import type { ArgDef, ArgsDef } from "citty";
import { UsageError } from "../../errors.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import type { Command, LazyCommand } from "./command.ts";
import { GLOBAL_ARGS } from "./globals.ts";

/** The parsed command line. */
export interface Invocation {
  readonly command: Command;
  /** The group that contains the command; undefined for the root. */
  readonly group: Command | undefined;
  /** The words that name the command: `["cdktr", "runs", "list"]`. */
  readonly path: readonly string[];
  /** Arguments for citty's `runCommand`. */
  readonly rawArgs: string[];
  /** Only the help of the command is requested. */
  readonly help: boolean;
  readonly version: boolean;
  /** `--no-color` was given. */
  readonly plain: boolean;
}

/** The declaration of an option. */
export interface Option {
  readonly name: string;
  readonly definition: ArgDef;
}

interface Given {
  readonly option: Option;
  readonly value: string | boolean;
}

/**
 * Finds the command and checks its arguments.
 * @param argv without the program itself
 * @throws UsageError saying what is wrong and what was probably meant
 */
export async function readCommandLine(root: Command, argv: readonly string[]): Promise<Invocation> {
  const path = [(await resolve(root.meta))?.name ?? "cdktr"];
  const given: Given[] = [];
  let command = root;
  let group: Command | undefined;
  let index = 0;
  let help = false;
  let version = false;
  const globals = optionTable(GLOBAL_ARGS);

  for (let subCommands = await subCommandsOf(command); subCommands !== undefined; ) {
    const word = argv[index];
    if (word === undefined) break;
    if (isOptionWord(word)) {
      const read = readOption(argv, index, globals, path);
      if (read.given.some(({ option }) => option.name === "help")) help = true;
      else if (read.given.some(({ option }) => option.name === "version")) version = true;
      else given.push(...read.given);
      index = read.next;
      continue;
    }
    const next = Object.hasOwn(subCommands, word) ? subCommands[word] : undefined;
    if (next === undefined) {
      if (help) break;
      throw new UsageError(`'${path.join(" ")} ${word}' is not a command.`, {
        hint:
          didYouMean(word, Object.keys(subCommands)) ??
          `Commands: ${Object.keys(subCommands).join(", ")}. See '${path.join(" ")} --help'.`,
      });
    }
    group = command;
    command = typeof next === "function" ? await next() : next;
    path.push(word);
    index++;
    subCommands = await subCommandsOf(command);
  }

  const isGroup = (await subCommandsOf(command)) !== undefined;
  const args: ArgsDef = { ...(await resolve(command.args)) };
  const plain = () => given.some(({ option, value }) => option.name === "color" && value === false);
  if (version || isGroup) return { command, group, path, rawArgs: [], help, version, plain: plain() };

  const options = optionTable({ ...pick(GLOBAL_ARGS, ["color", "help"]), ...args });
  for (const { option } of given) {
    if (!options.has(`--${option.name}`)) {
      throw new UsageError(`'${path.join(" ")}' has no option --${option.name}.`, {
        hint: `See '${path.join(" ")} --help'.`,
      });
    }
  }
  const positionals: string[] = [];
  while (index < argv.length) {
    const word = argv[index] ?? "";
    if (word === "--") {
      positionals.push(...argv.slice(index + 1));
      break;
    }
    if (!isOptionWord(word)) {
      positionals.push(word);
      index++;
      continue;
    }
    const read = readOption(argv, index, options, path);
    given.push(...read.given);
    index = read.next;
  }
  if (given.some(({ option, value }) => option.name === "help" && value === true)) help = true;
  if (help) return { command, group, path, rawArgs: [], help, version, plain: plain() };

  checkPositionals(command, args, positionals, path);
  for (const [name, definition] of Object.entries(args)) {
    if (definition.type === "positional" || definition.required !== true) continue;
    if (!given.some(({ option }) => option.name === name)) {
      throw new UsageError(`'${path.join(" ")}' needs --${name}.`, {
        hint: `See '${path.join(" ")} --help'.`,
      });
    }
  }
  const words = given
    .filter(({ option }) => Object.hasOwn(args, option.name))
    .map(({ option: { name }, value }) =>
      typeof value === "string" ? `--${name}=${value}` : value ? `--${name}` : `--no-${name}`,
    );
  return { command, group, path, rawArgs: [...words, "--", ...positionals], help, version, plain: plain() };
}

/** The commands of a group, by name; undefined for a command that runs. */
export async function subCommandsOf(
  command: Command,
): Promise<Record<string, Command | LazyCommand> | undefined> {
  const subCommands = (await resolve(command.subCommands)) as
    | Record<string, Command | LazyCommand>
    | undefined;
  return subCommands === undefined || Object.keys(subCommands).length === 0 ? undefined : subCommands;
}

/** Resolves citty's `Resolvable`. */
export async function resolve<T>(value: T | Promise<T> | (() => T) | (() => Promise<T>)): Promise<T> {
  return typeof value === "function" ? (value as () => T | Promise<T>)() : value;
}

/** Whether a word is an option rather than a value, `-`, `--` or a negative number. */
export function isOptionWord(word: string): boolean {
  return word.length > 1 && word.startsWith("-") && word !== "--" && !/^-\d/.test(word);
}

/** Options by spelling: `--name` and `-n`. */
export function optionTable(args: ArgsDef): Map<string, Option> {
  const table = new Map<string, Option>();
  for (const [name, definition] of Object.entries(args)) {
    if (definition.type === "positional") continue;
    const option = { name, definition };
    table.set(`--${name}`, option);
    const aliases = "alias" in definition ? definition.alias : undefined;
    for (const alias of aliases === undefined ? [] : [aliases].flat()) {
      table.set(alias.length === 1 ? `-${alias}` : `--${alias}`, option);
    }
  }
  return table;
}

/** Reads the option at `index`; `next` is where reading continues. */
function readOption(
  argv: readonly string[],
  index: number,
  options: ReadonlyMap<string, Option>,
  path: readonly string[],
): { given: Given[]; next: number } {
  const word = argv[index] ?? "";
  if (!word.startsWith("--")) return readShort(argv, index, options, path);
  const equals = word.indexOf("=");
  const flag = equals === -1 ? word : word.slice(0, equals);
  const inline = equals === -1 ? undefined : word.slice(equals + 1);
  const option = options.get(flag);
  if (option === undefined) {
    const negated = flag.startsWith("--no-") ? options.get(`--${flag.slice(5)}`) : undefined;
    if (negated?.definition.type === "boolean" && inline === undefined) {
      return { given: [{ option: negated, value: false }], next: index + 1 };
    }
    throw unknownOption(flag, options, path);
  }
  if (option.definition.type === "boolean") {
    if (inline !== undefined && inline !== "true" && inline !== "false") {
      throw new UsageError(`${flag}=${inline}: ${flag} takes no value.`, {
        hint: `Write ${flag}, or --no-${option.name}.`,
      });
    }
    return { given: [{ option, value: inline !== "false" }], next: index + 1 };
  }
  return withValue(option, flag, inline, argv, index, options);
}

/** `-n 5`, `-n5`, `-n=5`, and clustered booleans. */
function readShort(
  argv: readonly string[],
  index: number,
  options: ReadonlyMap<string, Option>,
  path: readonly string[],
): { given: Given[]; next: number } {
  const word = argv[index] ?? "";
  const given: Given[] = [];
  for (let at = 1; at < word.length; at++) {
    const flag = `-${word[at]}`;
    const option = options.get(flag);
    if (option === undefined) throw unknownOption(at === 1 ? word : flag, options, path);
    if (option.definition.type === "boolean") {
      given.push({ option, value: true });
      continue;
    }
    const attached = word.slice(at + 1);
    const inline = attached === "" ? undefined : attached.startsWith("=") ? attached.slice(1) : attached;
    const read = withValue(option, flag, inline, argv, index, options);
    return { given: [...given, ...read.given], next: read.next };
  }
  return { given, next: index + 1 };
}

function withValue(
  option: Option,
  flag: string,
  inline: string | undefined,
  argv: readonly string[],
  index: number,
  options: ReadonlyMap<string, Option>,
): { given: Given[]; next: number } {
  const following = argv[index + 1];
  const value = inline ?? following;
  const isFlag = (word: string) => word === "--" || options.has(word.split("=", 1)[0] ?? word);
  if (value === undefined || (inline === undefined && isFlag(value))) {
    throw new UsageError(`${flag} needs a value.`, {
      hint: value === undefined ? undefined : `If '${value}' is the value, write ${flag}=${value}.`,
    });
  }
  checkNotEmpty(flag, value);
  return {
    given: [{ option, value: checkChoice(option, flag, value) }],
    next: index + (inline === undefined ? 2 : 1),
  };
}

/** An empty value usually comes from an unset variable in a script, so it must not mean "all" or "any". */
function checkNotEmpty(name: string, value: string): void {
  if (value.trim() !== "") return;
  throw new UsageError(`${name} is empty.`, { hint: "A variable of a script may not be set." });
}

/** The value of an option with a fixed set of values, in the spelling of the set. */
function checkChoice(option: Option, flag: string, value: string): string {
  const choices = "options" in option.definition ? option.definition.options : undefined;
  if (choices === undefined) return value;
  const found = choices.find((choice) => choice.toLowerCase() === value.toLowerCase());
  if (found !== undefined) return found;
  const near = didYouMean(value, choices);
  throw new UsageError(`${flag} ${value}: expected one of ${choices.join(", ")}.`, { hint: near });
}

function unknownOption(
  flag: string,
  options: ReadonlyMap<string, Option>,
  path: readonly string[],
): UsageError {
  const long = [...options.keys()].filter((key) => key.startsWith("--"));
  if (flag.startsWith("--no-")) {
    long.push(...[...options.values()].filter(isBoolean).map(({ name }) => `--no-${name}`));
  }
  return new UsageError(`'${path.join(" ")}' has no option ${flag}.`, {
    hint: didYouMean(flag, long) ?? `See '${path.join(" ")} --help'.`,
  });
}

function isBoolean({ definition }: Option): boolean {
  return definition.type === "boolean";
}

function checkPositionals(
  command: Command,
  args: ArgsDef,
  positionals: readonly string[],
  path: readonly string[],
): void {
  const declared = Object.entries(args).filter(([, definition]) => definition.type === "positional");
  const missing = declared
    .slice(positionals.length)
    .find(([, definition]) => definition.required !== false && definition.default === undefined);
  if (missing !== undefined) {
    const name = missing[0].toUpperCase();
    throw new UsageError(`'${path.join(" ")}' needs ${name}.`, { hint: `See '${path.join(" ")} --help'.` });
  }
  for (const [index, [name]] of declared.entries()) {
    const value = positionals[index];
    if (value !== undefined) checkNotEmpty(name.toUpperCase(), value);
  }
  const surplus = positionals[declared.length];
  if (surplus === undefined || command.extras === undefined || command.extras.rest !== undefined) return;
  throw new UsageError(`'${path.join(" ")}' takes no further argument '${surplus}'.`, {
    hint: `See '${path.join(" ")} --help'. An argument with spaces needs quotes.`,
  });
}

function didYouMean(word: string, candidates: Iterable<string>): string | undefined {
  const near = nearest(word, candidates);
  return near === undefined ? undefined : `Did you mean '${near}'?`;
}

function pick(args: ArgsDef, names: readonly string[]): ArgsDef {
  return Object.fromEntries(Object.entries(args).filter(([name]) => names.includes(name)));
}
