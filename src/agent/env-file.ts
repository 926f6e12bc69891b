/** The file named by `env_file` of a task: environment variables, read anew for each try, on the host where the task runs. */
import { resolve } from "node:path";
import { readRegularFile } from "../host/regular-file.ts";
import { CannotStartError } from "./executors/index.ts";
import { expandHome } from "./executors/paths.ts";

type Environment = Readonly<Record<string, string>>;

/** What a task takes from its `env_file`. Plain JSON. */
export interface EnvFile {
  /** As the task names it. */
  readonly name: string;
  /** Absolute. */
  readonly path: string;
  /** Names of the variables that override those of the file: the task's own, and those of cdktr. */
  readonly overridden: readonly string[];
}

/** The kernel would refuse more in any case. */
const MAX_BYTES = 1024 * 1024;

const ASSIGNMENT = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=[ \t]*/;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

/**
 * @param directory the working directory of the task, to which the name is relative
 */
export function envFileOf(
  name: string,
  directory: string,
  environment: Environment,
  overridden: readonly string[],
): EnvFile {
  return { name, path: resolve(directory, expandHome(name, environment)), overridden };
}

/**
 * The environment together with the variables of a file.
 * @throws CannotStartError when it cannot be read, or something in it is not NAME=VALUE
 */
export function withEnvFile(environment: Environment, file: EnvFile): Record<string, string> {
  const { name, path, overridden } = file;
  const hint = `It is ${path}: a relative env_file is relative to the working directory of the task.`;
  const cannot = (why: string) => new CannotStartError(`env_file ${name} ${why}.`, { hint });
  const read = readRegularFile(path, MAX_BYTES);
  switch (read.kind) {
    case "file":
      break;
    case "directory":
      throw cannot("is a directory");
    case "other":
      throw cannot("is not a regular file");
    case "too large":
      throw cannot(`has more than ${MAX_BYTES} bytes`);
    case "failed":
      throw cannot(
        read.code === "ENOENT" || read.code === "ENOTDIR"
          ? "does not exist"
          : `cannot be read: ${read.code === "EACCES" ? "permission denied" : read.message}`,
      );
  }
  const variables = parseEnvFile(read.bytes, (line, what) => {
    throw new CannotStartError(`env_file ${name}, line ${line}: ${what}.`, { hint: `It is ${path}.` });
  });
  const merged: Record<string, string> = { ...environment };
  const own = new Set(overridden);
  for (const [variable, value] of variables) if (!own.has(variable)) merged[variable] = value;
  return merged;
}

/**
 * Reads lines `NAME=VALUE`, also after `export`. A value may be in quotes, over several lines: nothing in single quotes means anything, in
 * double quotes `\n`, `\r`, `\t` and a backslash before any other character do. Without quotes it ends at the end of the line, or at ` #`.
 * Variables are not expanded: values are data. The last value of a name counts.
 * @param refuse is told the first mistake, with its line from 1; must throw
 */
function parseEnvFile(
  bytes: Uint8Array,
  refuse: (line: number, what: string) => never,
): ReadonlyMap<string, string> {
  const variables = new Map<string, string>();
  const text = decode(bytes, refuse)
    .replace(/^\ufeff/, "")
    .replaceAll("\r\n", "\n");
  let line = 0;
  for (let at = 0; at < text.length; ) {
    line++;
    const end = endOfLine(text, at);
    const found = ASSIGNMENT.exec(text.slice(at, end));
    const [, name = ""] = found ?? [];
    if (found === null) {
      const rest = text.slice(at, end).trim();
      if (rest !== "" && !rest.startsWith("#")) refuse(line, "write NAME=VALUE");
      at = end + 1;
      continue;
    }
    const start = at + found[0].length;
    const quote = text[start] ?? "";
    if (quote !== '"' && quote !== "'") {
      variables.set(
        name,
        text
          .slice(start, end)
          .replace(/(^|\s)#.*$/s, "")
          .trim(),
      );
      at = end + 1;
    } else {
      const close = endOfQuoted(text, start + 1, quote);
      if (close < 0) refuse(line, `the value of ${name} has no closing ${quote}`);
      const rest = endOfLine(text, close);
      if (!/^\s*(#.*)?$/.test(text.slice(close + 1, rest)))
        refuse(line, `nothing may follow the closing ${quote} of ${name}`);
      const value = text.slice(start + 1, close);
      variables.set(name, quote === "'" ? value : unescaped(value));
      line += value.split("\n").length - 1;
      at = rest + 1;
    }
    if (variables.get(name)?.includes("\0")) refuse(line, `the value of ${name} contains a NUL character`);
  }
  return variables;
}

function decode(bytes: Uint8Array, refuse: (line: number, what: string) => never): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return refuse(1, "the file is not UTF-8");
  }
}

function endOfLine(text: string, at: number): number {
  const end = text.indexOf("\n", at);
  return end < 0 ? text.length : end;
}

/** Where the quote is that ends a value; -1 if there is none. */
function endOfQuoted(text: string, start: number, quote: string): number {
  for (let at = start; at < text.length; at++) {
    if (text[at] === quote) return at;
    if (quote === '"' && text[at] === "\\") at++;
  }
  return -1;
}

function unescaped(value: string): string {
  return value.replace(/\\(.)/gs, (_, character: string) => ESCAPES[character] ?? character);
}
