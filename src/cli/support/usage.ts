/** The help of a command, made from its citty definition, its extras and its place in the tree. */
import { join } from "node:path";
import type { ArgDef } from "citty";
import { fill, width as widthOf, wrapProse } from "../../terminal/text.ts";
import { resolve, subCommandsOf } from "./argv.ts";
import type { Command, CommandExtras, LazyCommand } from "./command.ts";
import { GLOBAL_ARGS } from "./globals.ts";
import { makeStyle, type Style } from "./style.ts";

const NO_BREAK = "\u00a0";
/** How a description refers to the setting that an option overrides. */
const ELSE_SETTING = "(else CDKTR_";

/** What {@link renderUsage} needs besides the command. */
export interface UsageOptions {
  readonly style?: Style;
  /** Columns. */
  readonly width?: number;
  /** Shown in the help of the root. */
  readonly version?: string;
  /** The group that the command belongs to. */
  readonly group?: Command;
}

/** The help text, with a trailing newline. */
export async function renderUsage(
  command: Command,
  path: readonly string[],
  { style = makeStyle(false), width = 80, version, group }: UsageOptions = {},
): Promise<string> {
  const name = path.join(" ");
  const extras = command.extras ?? {};
  const args = Object.entries((await resolve(command.args)) ?? {}) as [string, ArgDef][];
  const positionals = args.filter(([, arg]) => arg.type === "positional");
  const options = args.filter(([key, arg]) => arg.type !== "positional" && !extras.hidden?.includes(key));
  const subCommands = await subCommandsOf(command);
  const title = (text: string) => style.bold(text);
  const lines: string[] = [];

  const description = (await resolve(command.meta))?.description ?? "";
  if (version !== undefined) lines.push(`${style.bold(name)} ${version}`);
  lines.push(...wrap(description, width), "");

  const usage = [
    name,
    ...(subCommands === undefined ? [] : ["COMMAND"]),
    ...(options.length === 0 ? [] : ["[OPTIONS]"]),
    ...positionals.map(([key, arg]) => (isRequired(arg) ? key.toUpperCase() : `[${key.toUpperCase()}]`)),
    ...(extras.rest === undefined ? [] : [`[${extras.rest}...]`]),
  ];
  lines.push(title("USAGE"), `  ${usage.join(" ")}`, "");

  if (extras.details !== undefined) {
    for (const paragraph of extras.details.trim().split(/\n\s*\n/)) {
      lines.push(...wrap(paragraph.replace(/\s+/g, " "), width), "");
    }
  }
  if (subCommands !== undefined) {
    lines.push(title("COMMANDS"));
    lines.push(...definitions(await describe(subCommands), width, style), "");
  }
  const named: [string, string][] = positionals.map(([key, arg]) => [
    key.toUpperCase(),
    arg.description ?? "",
  ]);
  if (extras.rest !== undefined) named.push([`${extras.rest}...`, extras.restDescription ?? ""]);
  if (named.length > 0) {
    lines.push(title("ARGUMENTS"));
    lines.push(...definitions(named, width, style), "");
  }
  const shared = Object.entries(GLOBAL_ARGS).filter(([key]) => key === "help" || key === "color") as [
    string,
    ArgDef,
  ][];
  const root = path.length === 1 ? [["version", GLOBAL_ARGS.version] as [string, ArgDef]] : [];
  lines.push(title("OPTIONS"));
  const described = [...options, ...shared, ...root].map(([key, arg]) =>
    describeOption(key, arg, extras.repeatable ?? []),
  );
  lines.push(...definitions(await withDefaults(described), width, style), "");
  if (extras.examples !== undefined && extras.examples.length > 0) {
    lines.push(title("EXAMPLES"));
    for (const example of extras.examples) {
      lines.push(...wrap(`# ${example.does}`, width, "  ").map(style.dim), `  ${example.command}`);
    }
    lines.push("");
  }
  if (subCommands === undefined || path.length === 1) {
    lines.push(title("EXIT STATUS"));
    lines.push(...definitions(exits(extras.exit, path.length === 1, named, options), width, style), "");
  }
  const also = await seeAlso(path, extras, group);
  if (also.length > 0) {
    lines.push(title("SEE ALSO"));
    lines.push(...wrap(also.join(", "), width - 2, "  "), "");
  }
  if (subCommands !== undefined) lines.push(`'${name} COMMAND --help' describes a command.`);
  return `${lines.join("\n").trimEnd()}\n`;
}

/** The exit statuses that the command can end with. */
function exits(
  own: CommandExtras["exit"],
  isRoot: boolean,
  named: readonly unknown[],
  options: readonly (readonly [string, ArgDef])[],
): [string, string][] {
  const has = (...names: string[]) => options.some(([name]) => names.includes(name));
  const table: Record<number, string | null> = {
    0: "Done",
    1: "The command failed, or is not possible now",
    2: "Wrong usage, or an invalid setting",
  };
  if (isRoot || has("principal")) table[3] = "The principal cannot be reached";
  if (isRoot || named.length > 0 || has("workflow", "run")) table[4] = "Not found, or invalid input";
  return Object.entries({ ...table, ...own }).flatMap(([status, text]) =>
    text === null ? [] : [[status, text] as [string, string]],
  );
}

/** The page of the manual, the other commands of the group, and the related commands. */
async function seeAlso(
  path: readonly string[],
  extras: CommandExtras,
  group: Command | undefined,
): Promise<string[]> {
  const topic = extras.topic ?? group?.extras?.topic;
  const siblings =
    group === undefined || path.length < 3 ? [] : Object.keys((await subCommandsOf(group)) ?? {});
  const own = path.at(-1);
  const commands = [
    ...siblings.filter((name) => name !== own).map((name) => [...path.slice(0, -1), name].join(" ")),
    ...(extras.see ?? []).map((words) => `cdktr ${words}`),
    ...(topic === undefined ? [] : [`cdktr docs ${topic}`]),
  ];
  // Keep a command on one line.
  return [...new Set(commands)].map((words) => words.replaceAll(" ", NO_BREAK));
}

async function describe(subCommands: Record<string, Command | LazyCommand>): Promise<[string, string][]> {
  return Promise.all(
    Object.entries(subCommands).map(async ([name, command]): Promise<[string, string]> => {
      if (typeof command === "function") return [name, command.description];
      return [name, (await resolve(command.meta))?.description ?? ""];
    }),
  );
}

function isRequired(arg: ArgDef): boolean {
  return arg.required !== false && arg.default === undefined;
}

function describeOption(name: string, arg: ArgDef, repeatable: readonly string[]): [string, string] {
  const aliases = "alias" in arg && arg.alias !== undefined ? [arg.alias].flat() : [];
  const short = aliases.filter((alias) => alias.length === 1).map((alias) => `-${alias}`);
  const negative = arg.type === "boolean" && arg.default === true;
  const names = [...short, negative ? `--no-${name}` : `--${name}`].join(", ");
  const choices = "options" in arg ? arg.options : undefined;
  const value =
    arg.type === "boolean"
      ? ""
      : ` ${arg.valueHint ?? (choices === undefined ? name.toUpperCase() : "WORD")}`;
  const notes = [
    choices === undefined ? "" : `(${choices.join(", ")})`,
    arg.type !== "boolean" && arg.default !== undefined ? `(default ${arg.default})` : "",
    repeatable.includes(name) ? "(may be repeated)" : "",
    arg.required === true ? "(required)" : "",
  ].filter((note) => note !== "");
  const description = negative && "negativeDescription" in arg ? arg.negativeDescription : arg.description;
  return [`${short.length === 0 ? "    " : ""}${names}${value}`, [description ?? "", ...notes].join(" ")];
}

/** Terms and their descriptions, side by side if there is enough room. */
function definitions(entries: readonly [string, string][], width: number, style: Style): string[] {
  // On a narrow terminal the description goes below the term.
  const most = width < 60 ? 6 : 30;
  const widest = Math.min(most, Math.max(...entries.map(([term]) => widthOf(term))));
  const column = 2 + widest + 2;
  return entries.flatMap(([term, meaning]) => {
    const lines = wrap(meaning, Math.max(20, width - column));
    const gap = " ".repeat(column);
    const own = `  ${style.cyan(term)}`;
    if (widthOf(term) > widest) return [own, ...lines.map((line) => gap + line)];
    const [first = "", ...rest] = lines;
    return [fill(own, column) + first, ...rest.map((line) => gap + line)];
  });
}

/** Turns `(else CDKTR_X)` into `(else CDKTR_X, default 5)`. The table of settings is only loaded when it is needed. */
async function withDefaults(described: readonly [string, string][]): Promise<[string, string][]> {
  if (!described.some(([, text]) => text.includes(ELSE_SETTING))) return [...described];
  const { SETTINGS } = await import("../../config.ts");
  const defaultOf = (name: string): string => {
    const spec = (SETTINGS as Record<string, { default: unknown } | undefined>)[name];
    if (spec === undefined) throw new Error(`${name} is not a setting`);
    const dataDirectory = join("~", ".cdktr");
    if (name === "CDKTR_APP_DATA_DIRECTORY") return dataDirectory;
    const value =
      typeof spec.default === "function"
        ? spec.default({ CDKTR_APP_DATA_DIRECTORY: dataDirectory })
        : spec.default;
    return String(value);
  };
  return described.map(([term, text]) => [
    term,
    text.replace(/\(else (CDKTR_\w+)(?: and (CDKTR_\w+))?\)/g, (_, one: string, two?: string) =>
      two === undefined
        ? `(else ${one}, default ${defaultOf(one)})`
        : `(else ${one} and ${two}, default ${defaultOf(one)}:${defaultOf(two)})`,
    ),
  ]);
}

function wrap(text: string, width: number, indent = ""): string[] {
  if (text === "") return [];
  return wrapProse(text, Math.max(20, width - indent.length)).map(
    (line) => indent + line.replaceAll(NO_BREAK, " "),
  );
}
