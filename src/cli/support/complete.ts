/**
 * Completes a partial command line. The candidates come from the same command tree that runs the commands, so a shell offers
 * exactly what this executable has; ids of workflows, runs and agents are requested from the principal.
 */
import type { ArgDef, ArgsDef } from "citty";
import { isOptionWord, type Option, optionTable, resolve, subCommandsOf } from "./argv.ts";
import type { Command, Completed, LazyCommand } from "./command.ts";
import { GLOBAL_ARGS } from "./globals.ts";

/** A candidate for the next word. */
export interface Candidate {
  readonly value: string;
  /** One-line description; "" for none. */
  readonly about: string;
}

/** What a shell offers: words, or files or directories, which it completes itself. */
export interface Completion {
  readonly kind: "words" | "files" | "directories";
  readonly candidates: readonly Candidate[];
}

/** Lists names that only a running system knows. */
export type NameSource = (
  what: Exclude<Completed, "file" | "directory">,
  principal: string | undefined,
) => Promise<readonly Candidate[]>;

/** The state of parsing a partial line. */
interface Position {
  readonly command: Command;
  readonly isGroup: boolean;
  /** The options that are allowed here, by spelling. */
  readonly options: ReadonlyMap<string, Option>;
  readonly positionals: readonly string[];
  /** The option whose value is being typed. */
  readonly open: Option | undefined;
  /** `--` has been seen, so only arguments may follow. */
  readonly isClosed: boolean;
  /** The value of `--principal`. */
  readonly principal: string | undefined;
}

/**
 * Completes the last of `words`.
 * @param words the words after the program's name; the last one is incomplete and may be empty
 */
export async function complete(
  root: Command,
  words: readonly string[],
  names: NameSource,
): Promise<Completion> {
  const current = words.at(-1) ?? "";
  const before = words.slice(0, -1);
  if (before[0] === "help") before.shift();
  const position = await follow(root, before);
  const principal = position.principal;
  const ask = (what: Completed | undefined, typed: string) => named(what, typed, principal, names);

  if (position.open !== undefined) return valuesOf(position.command, position.open, current, ask);
  if (!position.isClosed && isOptionWord(current)) {
    const equals = current.indexOf("=");
    const option = equals === -1 ? undefined : position.options.get(current.slice(0, equals));
    if (option === undefined) return startingWith(optionNames(position), current);
    const { kind, candidates } = await valuesOf(position.command, option, current.slice(equals + 1), ask);
    const flag = current.slice(0, equals + 1);
    // The script itself completes paths after the "=".
    return { kind, candidates: candidates.map(({ value, about }) => ({ value: flag + value, about })) };
  }
  if (!position.isClosed && current === "-") return startingWith(optionNames(position), current);
  if (position.isGroup) {
    return startingWith(await commandNames(position.command, position.command === root), current);
  }
  return ask(await positionalAt(position), current);
}

/** Parses the words before the incomplete one like the command line does, but tolerates errors. */
async function follow(root: Command, words: readonly string[]): Promise<Position> {
  let command = root;
  let subCommands = await subCommandsOf(root);
  let options = optionTable(GLOBAL_ARGS);
  let open: Option | undefined;
  let isClosed = false;
  let principal: string | undefined;
  const positionals: string[] = [];
  for (const word of words) {
    if (open !== undefined) {
      if (open.name === "principal") principal = word;
      open = undefined;
    } else if (!isClosed && word === "--") isClosed = true;
    else if (!isClosed && isOptionWord(word)) {
      const equals = word.indexOf("=");
      const option = options.get(equals === -1 ? word : word.slice(0, equals));
      if (option === undefined || option.definition.type === "boolean") continue;
      if (equals === -1) open = option;
      else if (option.name === "principal") principal = word.slice(equals + 1);
    } else if (subCommands !== undefined) {
      const next: Command | LazyCommand | undefined = Object.hasOwn(subCommands, word)
        ? subCommands[word]
        : undefined;
      if (next === undefined) continue;
      command = typeof next === "function" ? await next() : next;
      subCommands = await subCommandsOf(command);
      const own: ArgsDef = { ...(await resolve(command.args)) };
      options = optionTable(subCommands === undefined ? { ...everywhere(), ...own } : GLOBAL_ARGS);
    } else positionals.push(word);
  }
  return { command, isGroup: subCommands !== undefined, options, positionals, open, isClosed, principal };
}

function everywhere(): ArgsDef {
  const { color, help } = GLOBAL_ARGS;
  return { color, help };
}

async function commandNames(command: Command, isRoot: boolean): Promise<Candidate[]> {
  const subCommands = (await subCommandsOf(command)) ?? {};
  const names: Candidate[] = [];
  for (const [value, sub] of Object.entries(subCommands)) {
    const about =
      typeof sub === "function" ? sub.description : ((await resolve(sub.meta))?.description ?? "");
    names.push({ value, about });
  }
  return isRoot ? [...names, { value: "help", about: "Show help" }] : names;
}

function optionNames({ options, command }: Position): Candidate[] {
  const hidden = command.extras?.hidden ?? [];
  const names: Candidate[] = [];
  for (const [written, { name, definition }] of options) {
    if (written !== `--${name}` || hidden.includes(name)) continue;
    const negative = "negativeDescription" in definition ? definition.negativeDescription : undefined;
    if (negative === undefined) names.push({ value: written, about: definition.description ?? "" });
    else names.push({ value: `--no-${name}`, about: negative });
  }
  return names;
}

type Ask = (what: Completed | undefined, typed: string) => Promise<Completion>;

async function valuesOf(command: Command, option: Option, typed: string, ask: Ask): Promise<Completion> {
  const { definition, name } = option;
  const choices = "options" in definition ? definition.options : undefined;
  if (choices !== undefined) {
    const values = choices.map((value) => ({ value: String(value), about: "" }));
    return startingWith(values, typed);
  }
  return ask(command.extras?.completes?.[name] ?? pathOf(definition), typed);
}

/** What the value hint of an option in the help says about its kind. */
function pathOf(definition: ArgDef): Completed | undefined {
  const hint = "valueHint" in definition ? definition.valueHint : undefined;
  if (hint === "DIR") return "directory";
  return hint === "FILE" ? "file" : undefined;
}

/** What the current argument names; the remaining arguments of a command are of the same kind as the first of them. */
async function positionalAt({ command, positionals }: Position): Promise<Completed | undefined> {
  const args: ArgsDef = { ...(await resolve(command.args)) };
  const declared = Object.entries(args).filter(([, { type }]) => type === "positional");
  const completes = command.extras?.completes ?? {};
  const rest = command.extras?.rest?.toLowerCase();
  const name = declared[positionals.length]?.[0] ?? rest;
  if (name === undefined) return undefined;
  return completes[name];
}

async function named(
  what: Completed | undefined,
  typed: string,
  principal: string | undefined,
  names: NameSource,
): Promise<Completion> {
  if (what === "file") return { kind: "files", candidates: [] };
  if (what === "directory") return { kind: "directories", candidates: [] };
  return startingWith(what === undefined ? [] : await names(what, principal), typed);
}

function startingWith(candidates: readonly Candidate[], typed: string): Completion {
  const wanted = typed.toLowerCase();
  return {
    kind: "words",
    candidates: candidates.filter(({ value }) => value.toLowerCase().startsWith(wanted)),
  };
}
