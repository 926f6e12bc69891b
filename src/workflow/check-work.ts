/** Checks what the tasks of a workflow file do: that each has exactly one of `run` and `config`, and that no expression is in a script. */
import type { Finding } from "./diagnostic.ts";
import { HOOKS } from "./hooks.ts";
import { nodeAt } from "./issues.ts";
import { checksOf } from "./kinds/index.ts";
import { meaningOf, type WordPlace } from "./vocabulary.ts";
import type { Located, LocatedChild } from "./yaml-tree.ts";

/** Checks the tasks as far as they can be read, whatever else is wrong with the file. @param text of the file, in which the nodes are */
export function checkWork(root: Located, text: string): Finding[] {
  const findings: Finding[] = [];
  for (const key of ["tasks", "hooks"]) {
    const tasks = nodeAt(root, [key]);
    if (tasks === null || !isMapping(tasks.value)) continue;
    for (const [id, task] of tasks.children) {
      if (!isMapping(task.node.value) || task.node.broken === true) continue;
      if (key === "hooks" && !HOOK_IDS.has(String(id))) continue;
      findings.push(...checkTask(String(id), task, text));
    }
  }
  return findings;
}

const HOOK_IDS: ReadonlySet<string> = new Set(HOOKS);

function checkTask(id: string, task: LocatedChild, text: string): Finding[] {
  const findings: Finding[] = [];
  const keys = task.node.children;
  const run = keys.get("run");
  const config = keys.get("config");
  const placeOf = ({ key, node }: LocatedChild) => key ?? node;
  const has = (child: LocatedChild | undefined) => child !== undefined && child.node.value !== null;
  if (run === undefined && config === undefined && !isSaidOtherwise(task.node, "task", ["run", "config"])) {
    const help = "write run: echo hello, or config: !Subprocess with a cmd";
    findings.push({
      code: "E011",
      message: `task "${id}" says neither "run" nor "config"`,
      help,
      ...placeOf(task),
    });
  }
  if (run !== undefined && config !== undefined) {
    const help = "keep one; run: is short for config: !Shell";
    findings.push({
      code: "E014",
      message: `task "${id}" has both "run" and "config"`,
      help,
      ...placeOf(run),
    });
  } else {
    for (const [key, child, help] of [
      ["run", run, "such as run: echo hello"],
      ["config", config, "say what the task does: config: !Subprocess, with its cmd on the next line"],
    ] as const)
      if (child !== undefined && child.node.value === null && child.node.broken !== true)
        findings.push({
          code: "E011",
          message: `"${key}" of task "${id}" has no value`,
          help,
          ...placeOf(child),
        });
  }
  const shell = keys.get("shell");
  if (shell !== undefined && has(shell) && run === undefined) {
    const help = "remove it, or write run:";
    findings.push({ code: "W002", message: '"shell" has no effect without run', help, ...placeOf(shell) });
  }
  const directory = keys.get("working_directory");
  if (directory !== undefined && has(directory) && has(config?.node.children.get("working_directory"))) {
    const message = `task "${id}" and its config both have "working_directory"`;
    findings.push({ code: "E014", message, help: "keep one", ...placeOf(directory) });
  }
  if (run !== undefined) {
    const values = { shell: textOf(shell) };
    findings.push(...inScript("run", run, () => checksOf("Shell")?.scripts?.variable(values), text));
  }
  const tag = config?.node.tag?.name;
  const { scripts, eitherOf } = checksOf(tag) ?? {};
  if (config === undefined) return findings;
  if (eitherOf !== undefined && isMapping(config.node.value)) {
    const [one, other] = eitherOf;
    const given = eitherOf.filter((key) => has(config.node.children.get(key)));
    const say = (message: string, help: string) =>
      findings.push({ code: "E014", message, help, ...placeOf(config) });
    if (given.length === 2) say(`!${tag} has both "${one}" and "${other}"`, "keep one");
    else if (given.length === 0 && !isSaidOtherwise(config.node, "config", eitherOf))
      say(
        `!${tag} needs "${one}" or "${other}"`,
        `write ${other}: | and the program below it, or ${one}: FILE`,
      );
  }
  for (const key of scripts?.keys ?? []) {
    const script = config.node.children.get(key);
    const values = { shell: textOf(config.node.children.get("shell")) };
    if (script !== undefined) findings.push(...inScript(key, script, () => scripts?.variable(values), text));
  }
  return findings;
}

/** Whether a word of another tool stands for what is missing: it is reported, and explained, as an unknown key. */
function isSaidOtherwise({ children }: Located, place: WordPlace, missing: readonly string[]): boolean {
  return [...children].some(([word, { node }]) => {
    const meant = meaningOf(place, String(word), missing, node.value)?.key;
    return meant != null && missing.includes(meant);
  });
}

/** Of an expression: `$${{` is the text `${{`. */
const OPENING = /(?<!\$)\$\{\{/;
const EXPRESSION = /(?<!\$)\$\{\{.{0,60}?\}\}/;
/** As other tools write it: secrets are in no expression here. */
const SECRET = /^\$\{\{\s*secrets\.(\w+)\s*\}\}$/;

/** An expression would be replaced by a value, which an interpreter would take for a part of the script. */
function inScript(
  key: string,
  { key: place, node }: LocatedChild,
  variable: () => string | undefined,
  text: string,
): Finding[] {
  const script = node.value;
  if (typeof script !== "string") return [];
  // Without positions, in plain YAML, there are no tags.
  const mark = place === null ? -1 : text.slice(place.end, node.start).search(/!(?=\s)/);
  if (place !== null && mark >= 0) {
    const start = place.end + mark;
    const message = `"!" at the start of "${key}" is a tag in YAML, and would be lost`;
    const help = `write ${key}: | and the script on the next line, indented: nothing in it is special to YAML then`;
    return [{ code: "E021", message, help, start, end: start + 1 }];
  }
  if (!OPENING.test(script)) return [];
  const expression = EXPRESSION.exec(script)?.[0] ?? "${{ … }}";
  const secret = SECRET.exec(expression)?.[1];
  // The value may be written in another way than it reads: in quotes, or in lines that are indented.
  const start = node.start + (OPENING.exec(text.slice(node.start, node.end))?.index ?? Number.NaN);
  const isThere = !Number.isNaN(start);
  const length = text.startsWith(expression, start) ? expression.length : "${{".length;
  return [
    {
      code: "E060",
      message: `an expression inside "${key}" would become part of the script`,
      help:
        secret === undefined
          ? `put it under env: (NAME: ${expression}) and write ${variable() ?? "$NAME"}`
          : `declare secrets: [${secret}] at the task, and write ${(variable() ?? "$NAME").replace("NAME", secret)}`,
      ...(isThere ? { start, end: start + length } : (place ?? node)),
    },
  ];
}

function textOf(child: LocatedChild | undefined): string | null {
  return typeof child?.node.value === "string" ? child.node.value : null;
}

function isMapping(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
