/** The `.env` of a project. */
import { parseEnv } from "node:util";
import { SETTINGS, type SettingName } from "../config.ts";
import { InvalidInputError } from "../errors.ts";

/** Settings with their values. */
export type DotenvValues = Partial<Record<SettingName, string>>;

const HEAD = `# Settings of this cdktr project: commands that run in this directory use them; variables of the environment and flags win.
# All there are: cdktr config list. Secrets do not belong here.
`;

/** A new file with these settings, each with its description. */
export function dotenvText(values: DotenvValues): string {
  return (
    HEAD +
    Object.entries(values)
      .map(([name, value]) => block(name as SettingName, value))
      .join("")
  );
}

/** Updates these settings in an existing file: their lines are changed, all others are kept. */
export function mergeDotenv(text: string, values: DotenvValues): string {
  const missing = new Map(Object.entries(values));
  const lines = text
    .replace(/\n$/, "")
    .split("\n")
    .map((line) => {
      const name = /^\s*(?:export\s+)?(\w+)\s*=/.exec(line)?.[1];
      const value = name === undefined ? undefined : values[name as SettingName];
      if (name === undefined || value === undefined) return line;
      missing.delete(name);
      return parseEnv(line)[name] === value ? line : assignment(name, value);
    });
  const added = [...missing].map(([name, value]) => block(name as SettingName, value)).join("");
  const merged = `${lines.join("\n")}\n${added}`;
  // A value over several lines may look like a setting; in that case the file is rewritten.
  const read = parseEnv(merged);
  return Object.entries(values).every(([name, value]) => read[name] === value) ? merged : dotenvText(values);
}

function block(name: SettingName, value: string): string {
  return `\n# ${SETTINGS[name].description}\n${assignment(name, value)}\n`;
}

function assignment(name: string, value: string): string {
  if (/^[\w./:@%+-]*$/.test(value)) return `${name}=${value}`;
  const quote = ["'", '"', "`"].find((mark) => !value.includes(mark));
  if (quote === undefined || /[\n\r]/.test(value) || (quote === '"' && value.includes("\\")))
    throw new InvalidInputError(`${JSON.stringify(value)} cannot be written into a .env file.`);
  return `${name}=${quote}${value}${quote}`;
}
