/** Converts zod's issues to findings: what is wrong in words, and where in the text. */
import type { z } from "zod";
import { didYouMean } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import type { AnyField, Problem } from "./field.ts";
import { type Meaning, meaningOf, type WordPlace } from "./vocabulary.ts";
import { type Located, type Range, TAG_KEY } from "./yaml-tree.ts";

/** The path from the root to a value. */
export type IssuePath = readonly (string | number)[];

/** The value at a path, or null when there is none. */
export function nodeAt(root: Located, path: IssuePath): Located | null {
  let node: Located | undefined = root;
  for (const key of path) node = node?.children.get(key)?.node;
  return node ?? null;
}

/** The range to point at for a path: its key, or (in a list) the value itself; for a missing value, its parent. */
export function placeOf(root: Located, path: IssuePath): Range {
  for (let length = path.length; length > 0; length--) {
    const parent = nodeAt(root, path.slice(0, length - 1));
    const child = parent?.children.get(path[length - 1] ?? "");
    if (child !== undefined) return child.key ?? child.node;
  }
  return { start: root.start, end: root.start + 1 };
}

/** The findings for the issues of a value that was parsed from `root` with `schema`. */
export function findingsOfIssues(
  issues: readonly z.core.$ZodIssue[],
  root: Located,
  schema: AnyField,
): Finding[] {
  return findingsBelow([], issues, root, schema);
}

/** The findings for issues whose paths begin at a value. */
function findingsBelow(
  path: IssuePath,
  issues: readonly z.core.$ZodIssue[],
  root: Located,
  schema: AnyField,
): Finding[] {
  const all = issues.map((issue) => ({
    issue,
    at: placed([...path, ...(issue.path as IssuePath)], root, schema),
  }));
  const meant = new Set(all.flatMap(({ issue, at }) => meantKeys(issue, at)));
  return all
    .filter(({ issue, at: { node, path } }) => !isMissing(issue, node) || !meant.has(path.join("\n")))
    .flatMap(({ issue, at }) => findingsOf(issue, at));
}

function isMissing(issue: z.core.$ZodIssue, node: Located | null): boolean {
  return node === null && issue.code === "invalid_type";
}

/** The keys that unknown ones of a mapping stand for: they are not missing as well. */
function meantKeys(issue: z.core.$ZodIssue, at: Place): string[] {
  if (issue.code !== "unrecognized_keys") return [];
  return issue.keys.flatMap((word) => {
    const key = meaning(word, at)?.key ?? null;
    return key === null ? [] : [[...at.path, key].join("\n")];
  });
}

/** What a foreign word means in a mapping. */
function meaning(word: string, { path, field, node }: Place): Meaning | null {
  const place = wordPlace(path);
  if (place === null) return null;
  const known = Object.keys(field?.keys(node?.tag?.name) ?? {});
  const value = node?.children.get(word)?.node.value;
  // Otherwise a hook is a task.
  const otherwise = place === "hook" ? meaningOf("task", word, known, value) : null;
  return meaningOf(place, word, known, value) ?? otherwise;
}

function wordPlace(path: IssuePath): WordPlace | null {
  const [first, , third] = path;
  if (path.length === 0) return "workflow";
  if (path.length === 1) {
    if (first === "on" || first === "hooks") return first;
    if (first === "cron") return "schedule";
    if (first === "concurrency") return first;
    return first === "defaults" ? "task" : null;
  }
  if (first === "defaults") return path.length === 2 && path[1] === "retry" ? "retry" : null;
  if (path.length === 2) {
    if (first === "hooks") return "hook";
    if (first === "cron") return "schedule";
    return first === "tasks" ? "task" : first === "params" ? "param" : null;
  }
  if (path.length !== 3 || (first !== "tasks" && first !== "hooks")) return null;
  return third === "config" || third === "retry" ? third : null;
}

/** A place in the file: its value, and its declared field. */
interface Place {
  readonly path: IssuePath;
  readonly root: Located;
  readonly schema: AnyField;
  readonly node: Located | null;
  readonly field: AnyField | undefined;
  /** Points at the value, so that the caret is under what is wrong; at its key if the value spans several lines. */
  readonly range: Range;
}

function placed(path: IssuePath, root: Located, schema: AnyField): Place {
  const node = nodeAt(root, path);
  let field: AnyField | undefined = schema;
  for (const [n, key] of path.entries()) field = field?.child(key, nodeAt(root, path.slice(0, n))?.tag?.name);
  const isScalar = node !== null && node.value !== null && typeof node.value !== "object";
  return { path, root, schema, node, field, range: isScalar ? node : placeOf(root, path) };
}

function findingsOf(issue: z.core.$ZodIssue, at: Place): Finding[] {
  const { path, node } = at;
  // Problems with tags have been reported already.
  if (path.at(-1) === TAG_KEY || node?.broken === true) return [];
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = Object.keys(at.field?.keys(node?.tag?.name) ?? {}).filter((key) => key !== TAG_KEY);
      const place = containerName(path);
      return issue.keys
        .filter((key) => key !== TAG_KEY)
        .map((key) => ({
          code: "E010",
          message: `unknown key "${key}"${place === "" ? "" : ` in ${place}`}`,
          help:
            meaning(key, at)?.help ??
            didYouMean(key, known) ??
            `the keys allowed here are ${known.join(", ")}`,
          ...placeOf(at.root, [...path, key]),
        }));
    }
    case "invalid_type":
      return [wrongType(issue.expected, at)];
    case "invalid_union":
      return unionFindings(issue, at);
    case "invalid_value": {
      const choices = issue.values.map(String);
      const wanted = oneOf(choices.map((choice) => `"${choice}"`));
      const message = `${subjectName(path)} must be ${wanted}, not ${valueName(node)}`;
      const help = typeof node?.value === "string" ? didYouMean(node.value, choices) : undefined;
      return [{ code: "E014", message, help, ...at.range }];
    }
    case "too_small": {
      if (issue.origin !== "array") break;
      const help = "write at least one entry, or remove it";
      return [{ code: "E014", message: `${subjectName(path)} is empty`, help, ...at.range }];
    }
    case "custom": {
      const problem = issue.params?.problem as Problem | undefined;
      if (problem !== undefined) return [problemFinding(problem, at)];
      break;
    }
    default:
  }
  return [{ code: "E014", message: `${subjectName(path)}: ${issue.message}`, ...at.range }];
}

function problemFinding({ code, message, help, start, end }: Problem, { path, node, range }: Place): Finding {
  const joint = /^(is|has|must|contains|never|does)\b/.test(message) ? " " : ": ";
  const inside =
    start !== undefined && end !== undefined && node?.textStart != null
      ? { start: node.textStart + start, end: node.textStart + end }
      : range;
  return { code, message: `${subjectName(path)}${joint}${message}`, help, ...inside };
}

/** The branch of a union that was probably meant; undefined when none fits. */
function unionFindings(issue: Extract<z.core.$ZodIssue, { code: "invalid_union" }>, at: Place): Finding[] {
  const { path, root, schema } = at;
  if (at.node === null) return [wrongType("string", at)];
  const others = at.field?.traits.template === undefined ? issue.errors : issue.errors.slice(0, -1);
  // Whoever does not write a template means the other form.
  const meant = others.filter((branch) => {
    if (others.length === 1) return true;
    const [first] = branch;
    return first !== undefined && !isOtherForm(first, at.node);
  });
  const [only] = meant;
  if (meant.length === 1 && only !== undefined) return findingsBelow(path, only, root, schema);
  const expected = issue.errors.flatMap(([inner]) =>
    inner?.code === "invalid_type" && inner.expected !== "null" ? [typeName(inner.expected)] : [],
  );
  const { noun = oneOf(expected), help } = at.field?.traits ?? {};
  const message = `${subjectName(path)} must be ${noun}, not ${valueName(at.node)}`;
  return [{ code: "E012", message, help: listHelp(expected, at.node) ?? help, ...at.range }];
}

/** Whether an issue only says that a value has another form than this one: a mapping instead of a text. */
function isOtherForm(issue: z.core.$ZodIssue, node: Located | null): boolean {
  if (issue.path.length > 0) return false;
  if (issue.code === "invalid_union")
    return issue.errors.every(([first]) => first !== undefined && isOtherForm(first, node));
  // One of several words.
  if (issue.code === "invalid_value") return typeof node?.value === "object";
  return issue.code === "invalid_type";
}

/** What to write for someone who wrote a text where a list may stand. */
function listHelp(expected: readonly string[], node: Located | null): string | undefined {
  const isList = expected.includes(LIST) && typeof node?.value === "string";
  return isList ? `write a list: ["${node.value}"]` : undefined;
}

function wrongType(expected: string, { path, root, node, field, range }: Place): Finding {
  const key = path.at(-1);
  if (path.length === 0) {
    const message = `a workflow file must be a mapping, not ${valueName(node)}`;
    return { code: "E012", message, help: 'start it with "tasks:"', ...range };
  }
  const { help, noun = typeName(expected) } = field?.traits ?? {};
  if (node === null) {
    const place = containerName(path.slice(0, -1));
    const message = `"${String(key)}" is missing${place === "" ? "" : ` in ${place}`}`;
    return { code: "E011", message, help, ...placeOf(root, path) };
  }
  if (node.value === null) {
    const message = `${subjectName(path)} has no value`;
    return typeof key === "number" || path.at(-2) === "env"
      ? { code: "E012", message, help: 'write "" for an empty string', ...range }
      : { code: "E011", message, help, ...range };
  }
  return {
    code: "E012",
    message: `${subjectName(path)} must be ${noun}, not ${valueName(node)}`,
    help: listHelp([typeName(expected)], node) ?? help,
    ...range,
  };
}

const LIST = "a list";

function typeName(expected: string): string {
  switch (expected) {
    case "string":
      return "a string";
    case "array":
      return LIST;
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

/** The name of a mapping in "unknown key … in …"; nothing for the file itself. */
function containerName(path: IssuePath): string {
  if (path.length === 0) return "";
  if (path.length === 2 && (path[0] === "tasks" || path[0] === "params")) return subjectName(path);
  const [own, rest] = [path.at(-1), path.slice(0, -1)];
  const outer = containerName(rest);
  const name = typeof own === "number" ? `entry ${own + 1}` : String(own);
  return outer === "" ? name : `${name} of ${outer}`;
}

/** The name of a value at the start of a message. */
export function subjectName(path: IssuePath): string {
  const key = path.at(-1);
  if (key === undefined) return "the file";
  if (typeof key === "number") return `entry ${key + 1} of ${subjectName(path.slice(0, -1))}`;
  if (path.length === 2 && path[0] === "tasks") return `task "${key}"`;
  if (path.length === 2 && path[0] === "params") return `parameter "${key}"`;
  const outer = containerName(path.slice(0, -1));
  if (outer === "") return `"${key}"`;
  return `"${key}" ${outer.startsWith("task ") || outer.startsWith("parameter ") ? "of" : "in"} ${outer}`;
}
