/** The help of a command: from its citty definition, its extras and its place in the tree. */
import type { ArgDef } from "citty";
import { resolve, subCommandsOf } from "./argv.ts";
import type { Command, LazyCommand } from "./command.ts";
import { GLOBAL_ARGS } from "./globals.ts";
import { makeStyle, type Style } from "./style.ts";

/** What {@link renderUsage} needs to know beside the command. */
export interface UsageOptions {
  readonly style?: Style;
  /** Columns. */
  readonly width?: number;
  /** Shown in the help of the root. */
  readonly version?: string;
}

/** The help text, with a line feed at the end. */
export async function renderUsage(
  command: Command,
  path: readonly string[],
  { style = makeStyle(false), width = 80, version }: UsageOptions = {},
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
  if (positionals.length > 0) {
    lines.push(title("ARGUMENTS"));
    lines.push(
      ...definitions(
        positionals.map(([key, arg]) => [key.toUpperCase(), arg.description ?? ""]),
        width,
        style,
      ),
      "",
    );
  }
  const shared = Object.entries(GLOBAL_ARGS).filter(([key]) => key === "help" || key === "color") as [
    string,
    ArgDef,
  ][];
  const root = path.length === 1 ? [["version", GLOBAL_ARGS.version] as [string, ArgDef]] : [];
  lines.push(title("OPTIONS"));
  lines.push(
    ...definitions(
      [...options, ...shared, ...root].map(([key, arg]) => describeOption(key, arg, extras.repeatable ?? [])),
      width,
      style,
    ),
    "",
  );
  if (extras.examples !== undefined && extras.examples.length > 0) {
    lines.push(title("EXAMPLES"));
    for (const example of extras.examples) {
      lines.push(...wrap(`# ${example.does}`, width, "  ").map(style.dim), `  ${example.command}`);
    }
    lines.push("");
  }
  if (subCommands !== undefined) {
    lines.push(`'${name} COMMAND --help' says more about a command.`);
  }
  if (extras.topic !== undefined) lines.push(`The manual says more: cdktr docs ${extras.topic}`);
  return `${lines.join("\n").trimEnd()}\n`;
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

/** Terms and what they mean, side by side where there is room. */
function definitions(entries: readonly [string, string][], width: number, style: Style): string[] {
  const widest = Math.min(30, Math.max(...entries.map(([term]) => Bun.stringWidth(term))));
  const column = 2 + widest + 2;
  return entries.flatMap(([term, meaning]) => {
    const lines = wrap(meaning, Math.max(20, width - column));
    const gap = " ".repeat(column);
    const own = `  ${style.cyan(term)}`;
    if (Bun.stringWidth(term) > widest) return [own, ...lines.map((line) => gap + line)];
    const [first = "", ...rest] = lines;
    const padding = " ".repeat(widest - Bun.stringWidth(term) + 2);
    return [`${own}${padding}${first}`, ...rest.map((line) => gap + line)];
  });
}

function wrap(text: string, width: number, indent = ""): string[] {
  if (text === "") return [];
  return Bun.wrapAnsi(text, Math.max(20, width - indent.length), { hard: false, trim: true })
    .split("\n")
    .map((line) => indent + line);
}
