/** Derives names for imported jobs from the program that does the work. */

/** Programs that only start another one: the next word after the options is examined instead. */
const STARTERS = new Set(
  "sudo doas nice ionice env nohup time exec setsid chronic cronic stdbuf command eatmydata systemd-cat run-one".split(
    " ",
  ),
);
/** Programs that run a script. */
const INTERPRETERS = new Set(
  "sh bash dash zsh ksh python python2 python3 perl ruby node php Rscript java uv uvx npx bun deno".split(
    " ",
  ),
);
/** Starters with one argument of their own before the program. */
const WITH_ARGUMENT = new Set(["timeout", "flock", "lockf", "lockfile-run", "setlock", "taskset", "chrt"]);
/** Options of starters that take a value. */
const OPTIONS_WITH_VALUE = /^-(?:u|n|c|g|k|s|w|E|p|C)$/;
/** Parts of a command that only prepare: the next part is examined instead. */
const PREPARING = new Set([
  "cd",
  "test",
  "[",
  "[[",
  ".",
  "source",
  "sleep",
  "umask",
  "export",
  "set",
  "mkdir",
  "if",
  "ulimit",
  ":",
  "true",
]);
const LONGEST = 40;

/** A file name, without extension, for a command: lower case letters, digits, `-` and `_`. */
export function jobName(command: string): string {
  for (const part of command.split(/&&|\|\||[;|\n]/)) {
    const name = cleaned(programOf(part));
    if (name !== "") return name;
  }
  return "job";
}

/** The program that a simple command runs; empty if it only prepares. */
function programOf(part: string): string {
  const words = part.match(/"[^"]*"|'[^']*'|[^\s"']+/g) ?? [];
  let afterStarter = false;
  let takesValues = false;
  for (let i = 0; i < words.length; i++) {
    const word = (words[i] ?? "").replace(/^["'({]+|["')}]+$/g, "");
    const redirection = /^\d*[<>]+&?/.exec(word)?.[0];
    if (redirection === word && word !== "") i++;
    if (word === "" || redirection !== undefined || /^\w+=/.test(word)) continue;
    if (afterStarter && word.startsWith("-")) {
      if (word === "-c") return jobName((words[i + 1] ?? "").replace(/^["']|["']$/g, ""));
      if (takesValues && OPTIONS_WITH_VALUE.test(word)) i++;
      continue;
    }
    if (!afterStarter && /^(then|do|else|!)$/.test(word)) continue;
    const base = word.slice(word.lastIndexOf("/") + 1);
    if (PREPARING.has(base)) return "";
    if (STARTERS.has(base) || INTERPRETERS.has(base) || WITH_ARGUMENT.has(base)) {
      afterStarter = true;
      takesValues = !INTERPRETERS.has(base);
      if (WITH_ARGUMENT.has(base)) while (++i < words.length && (words[i] ?? "").startsWith("-")) {}
      continue;
    }
    return base;
  }
  return "";
}

function cleaned(base: string): string {
  return base
    .replace(/\.(sh|bash|py|pl|rb|js|ts|php|R|jar)$/i, "")
    .normalize("NFKD")
    .replace(/[\u0300-\u036f]/g, "")
    .toLowerCase()
    .replace(/[^a-z0-9_-]+/g, "-")
    .replace(/^[-_]+|[-_]+$/g, "")
    .slice(0, LONGEST)
    .replace(/[-_]+$/, "");
}

/** Hands out unique names: the second `backup` is `backup-2`. */
export class UniqueNames {
  readonly #taken = new Set<string>();

  take(wanted: string): string {
    for (let number = 1; ; number++) {
      const name = number === 1 ? wanted : `${wanted}-${number}`;
      if (this.#taken.has(name)) continue;
      this.#taken.add(name);
      return name;
    }
  }
}
