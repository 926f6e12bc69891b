/** From zod's issues to findings: what is wrong in words, and where in the text. */
import type { z } from "zod";
import { didYouMean } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import type { Problem } from "./file-schema.ts";
import { type Located, TAG_KEY } from "./yaml-tree.ts";

/** The way from the root to a value. */
export type IssuePath = readonly (string | number)[];

interface Range {
  readonly start: number;
  readonly end: number;
}

/** The value at a path, or null when there is none. */
export function nodeAt(root: Located, path: IssuePath): Located | null {
  let node: Located | undefined = root;
  for (const key of path) node = node?.children.get(key)?.node;
  return node ?? null;
}

/** Where to point at for what is at a path: its key, or (in a list) itself; for what is not there, its parent. */
export function placeOf(root: Located, path: IssuePath): Range {
  for (let length = path.length; length > 0; length--) {
    const parent = nodeAt(root, path.slice(0, length - 1));
    const child = parent?.children.get(path[length - 1] ?? "");
    if (child !== undefined) return child.key ?? child.node;
  }
  return { start: root.start, end: root.start + 1 };
}

/** The findings for the issues of a value read from `root`. */
export function findingsOfIssues(issues: readonly z.core.$ZodIssue[], root: Located): Finding[] {
  return issues.flatMap((issue) => findingsOf(issue, issue.path as IssuePath, root));
}

function findingsOf(issue: z.core.$ZodIssue, path: IssuePath, root: Located): Finding[] {
  // What is wrong with tags is known already.
  if (path.at(-1) === TAG_KEY) return [];
  const node = nodeAt(root, path);
  if (node?.broken === true) return [];
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = issue.message.split(" ").filter((key) => key !== TAG_KEY);
      const place = containerName(path);
      return issue.keys
        .filter((key) => key !== TAG_KEY)
        .map((key) => ({
          code: "E010",
          message: `unknown key "${key}"${place === "" ? "" : ` in ${place}`}`,
          help: didYouMean(key, known) ?? `the keys here are ${known.join(", ")}`,
          ...placeOf(root, [...path, key]),
        }));
    }
    case "invalid_type":
      return [wrongType(issue.expected, path, node, root)];
    case "invalid_union":
      return unionFindings(issue, path, node, root);
    case "invalid_value": {
      const choices = issue.values.map(String);
      return [
        {
          code: "E014",
          message: `${subjectName(path)} must be ${oneOf(choices.map((choice) => `"${choice}"`))}, not ${valueName(node)}`,
          help: didYouMean(String(node?.value ?? ""), choices),
          ...valueRange(root, path, node),
        },
      ];
    }
    case "custom": {
      const problem = issue.params?.problem as Problem | undefined;
      if (problem !== undefined) return [problemFinding(problem, path, node, root)];
      break;
    }
    default:
  }
  return [
    { code: "E014", message: `${subjectName(path)}: ${issue.message}`, ...valueRange(root, path, node) },
  ];
}

function problemFinding(problem: Problem, path: IssuePath, node: Located | null, root: Located): Finding {
  const joint = /^(is|has|must|contains|never)\b/.test(problem.message) ? " " : ": ";
  let range = valueRange(root, path, node);
  if (problem.start !== undefined && problem.end !== undefined && node?.textStart != null) {
    range = { start: node.textStart + problem.start, end: node.textStart + problem.end };
  }
  return {
    code: problem.code,
    message: `${subjectName(path)}${joint}${problem.message}`,
    help: problem.help,
    ...range,
  };
}

/** The branch of a union that was meant, or that none fits. */
function unionFindings(
  issue: Extract<z.core.$ZodIssue, { code: "invalid_union" }>,
  path: IssuePath,
  node: Located | null,
  root: Located,
): Finding[] {
  const meant = issue.errors.filter((branch) => {
    const [first] = branch;
    return first !== undefined && !(first.code === "invalid_type" && first.path.length === 0);
  });
  const [only] = meant;
  if (meant.length === 1 && only !== undefined) {
    return only.flatMap((inner) => findingsOf(inner, [...path, ...(inner.path as IssuePath)], root));
  }
  const expected = issue.errors
    .map((branch) => branch[0])
    .filter((inner) => inner?.code === "invalid_type" && inner.expected !== "null")
    .map((inner) => typeName(inner?.code === "invalid_type" ? inner.expected : ""));
  return [
    {
      code: "E012",
      message: `${subjectName(path)} must be ${oneOf(expected)}, not ${valueName(node)}`,
      ...valueRange(root, path, node),
    },
  ];
}

function wrongType(expected: string, path: IssuePath, node: Located | null, root: Located): Finding {
  const key = path.at(-1);
  if (path.length === 0) {
    return {
      code: "E012",
      message: `a workflow file must be a mapping, not ${valueName(node)}`,
      help: 'start it with "name:" and "tasks:"',
      ...valueRange(root, path, node),
    };
  }
  const help = HELP.get(key);
  const range = placeOf(root, path);
  if (node === null) {
    const place = containerName(path.slice(0, -1));
    const inside = place === "" ? "" : ` in ${place}`;
    return { code: "E011", message: `"${String(key)}" is missing${inside}`, help, ...range };
  }
  if (node.value === null) {
    if (typeof key === "number" || path.at(-2) === "env") {
      return {
        code: "E012",
        message: `${subjectName(path)} has no value`,
        help: 'write "" for an empty text',
        ...range,
      };
    }
    return { code: "E011", message: `${subjectName(path)} has no value`, help, ...range };
  }
  return {
    code: "E012",
    message: `${subjectName(path)} must be ${NOUNS.get(key) ?? typeName(expected)}, not ${valueName(node)}`,
    help: expected === "array" && typeof node.value === "string" ? `write a list: ["${node.value}"]` : help,
    ...valueRange(root, path, node),
  };
}

/** The value itself, so that the caret stands under what is wrong; its key when the value goes over several lines. */
function valueRange(root: Located, path: IssuePath, node: Located | null): Range {
  if (node === null || node.value === null || typeof node.value === "object") return placeOf(root, path);
  return node;
}

/** What scalars with a meaning of their own are called. */
const NOUNS = new Map<unknown, string>(
  Object.entries({
    timeout: "a duration",
    delay: "a duration",
    max_attempts: "a whole number",
    backoff: 'a number, "constant" or "exponential"',
    is_uv_project: "true or false",
    cron: "a cron expression",
    start_time: "a date and time",
    timezone: "the name of a time zone",
  }),
);

const HELP = new Map<unknown, string>(
  Object.entries({
    timeout: 'such as "90s", "5m" or "1h30m"',
    delay: 'such as "10s" or "5m"',
    start_time: "such as 2025-01-20T02:00:00+00:00",
    cron: 'such as "0 2 * * *", each day at two',
    timezone: "such as Europe/London",
    tasks: "add at least one task",
    config: "say what the task does: config: !Subprocess, with its cmd on the next line",
    retry: 'such as {max_attempts: 3, delay: "10s", backoff: exponential}',
  }),
);

function typeName(expected: string): string {
  switch (expected) {
    case "string":
      return "a text";
    case "array":
      return "a list";
    case "object":
    case "record":
      return "a mapping";
    default:
      return `a ${expected}`;
  }
}

function valueName(node: Located | null): string {
  const value = node?.value;
  if (value === null || value === undefined) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  const text = String(value);
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

function oneOf(choices: readonly string[]): string {
  return choices.length < 2 ? choices.join("") : `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
}

/** What a mapping is called in "unknown key … in …"; nothing for the file itself. */
function containerName(path: IssuePath): string {
  if (path.length === 0) return "";
  if (path.length === 2 && (path[0] === "tasks" || path[0] === "params")) return subjectName(path);
  const [own, rest] = [path.at(-1), path.slice(0, -1)];
  const outer = containerName(rest);
  return outer === "" ? String(own) : `${own} of ${outer}`;
}

/** What a value is called at the start of a message. */
function subjectName(path: IssuePath): string {
  const key = path.at(-1);
  if (key === undefined) return "the file";
  if (typeof key === "number") return `entry ${key + 1} of ${subjectName(path.slice(0, -1))}`;
  if (path.length === 2 && path[0] === "tasks") return `task "${key}"`;
  if (path.length === 2 && path[0] === "params") return `parameter "${key}"`;
  const outer = containerName(path.slice(0, -1));
  if (outer === "") return `"${key}"`;
  return `"${key}" ${outer.startsWith("task ") || outer.startsWith("parameter ") ? "of" : "in"} ${outer}`;
}
