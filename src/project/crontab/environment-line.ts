/** `NAME = value` lines of a crontab, parsed with the state machine of load_env (env.c of ISC cron 4.1). */

export interface EnvironmentLine {
  readonly name: string;
  readonly value: string;
}

/**
 * Parses an environment line; undefined if it is not one (cron then takes it for a job). Name and value may be quoted with either
 * kind of quotes; spaces around `=` and at the end of an unquoted value are ignored; nothing is expanded.
 */
export function readEnvironmentLine(line: string): EnvironmentLine | undefined {
  const name = readWord(line.trimStart(), true);
  if (name === undefined || name.word === "") return undefined;
  const equals = /^\s*=\s*/.exec(name.rest);
  if (equals === null) return undefined;
  const after = name.rest.slice(equals[0].length);
  const value = readWord(after, false);
  if (value === undefined || value.rest.trim() !== "") return undefined;
  return { name: name.word, value: value.word };
}

/** A quoted or plain word; a plain name ends at a space or `=`, a plain value at the end of the line. */
function readWord(text: string, isName: boolean): { word: string; rest: string } | undefined {
  const quote = text[0];
  if (quote === '"' || quote === "'") {
    const end = text.indexOf(quote, 1);
    return end === -1 ? undefined : { word: text.slice(1, end), rest: text.slice(end + 1) };
  }
  if (!isName) return { word: text.trimEnd(), rest: "" };
  const end = text.search(/[\s=]/);
  return end === -1 ? undefined : { word: text.slice(0, end), rest: text.slice(end) };
}
