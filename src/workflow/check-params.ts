/** Checks what a workflow file says about its parameters: rules that fit the type, and defaults that follow them. */

import type { Finding } from "./diagnostic.ts";
import type { Problem } from "./field.ts";
import { hasExpressions } from "./has-expressions.ts";
import { type IssuePath, nodeAt, placeOf } from "./issues.ts";
import { type ParamRules, paramPatternFault, readParam, typeFacts } from "./param-types.ts";
import { type Located, TAG_KEY } from "./yaml-tree.ts";

/** A parameter as it is read from a file. */
interface FileParam extends ParamRules {
  readonly default: string | null;
}

/** Reports a problem of the value at a path below the parameter. */
type Report = (path: (string | number)[], problem: Problem) => void;

/** The parameter with its values in the spelling of its type. */
export function checkedParam<P extends FileParam>(param: P, report: Report): P {
  const { type = "string", enum: choices, min, max } = param;
  const { noun, read, compare, hasChoices } = typeFacts(type);
  const spelled: { -readonly [K in keyof FileParam]: FileParam[K] } = { ...param };
  const refuse = (path: (string | number)[], message: string, help?: string): void =>
    report(path, { code: "E072", message, help });

  if (choices !== undefined) {
    if (!hasChoices) refuse(["enum"], `has no effect: its type is ${type}`, "remove it");
    spelled.enum = choices.map((choice, n) => {
      const value = read(choice);
      if (value === null && hasChoices) refuse(["enum", n], `is not ${noun}: ${quoted(choice)}`);
      return value ?? choice;
    });
  }
  if (param.pattern !== undefined) {
    const fault = type === "string" ? paramPatternFault(param.pattern) : null;
    if (fault !== null) refuse(["pattern"], fault);
    if (type !== "string") refuse(["pattern"], `has no effect: its type is ${type}`, "remove it");
  }
  for (const [key, limit] of [
    ["min", min],
    ["max", max],
  ] as const) {
    if (limit === undefined) continue;
    const value = read(limit);
    if (compare === undefined) refuse([key], `has no effect: its type is ${type}`, "remove it");
    else if (value === null) refuse([key], `is not ${noun}: ${quoted(limit)}`);
    else spelled[key] = value;
  }
  if (compare !== undefined && spelled.min !== undefined && spelled.max !== undefined) {
    const isEmpty =
      read(spelled.min) !== null && read(spelled.max) !== null && compare(spelled.min, spelled.max) > 0;
    if (isEmpty) refuse(["min"], `is larger than its max, ${spelled.max}: ${quoted(spelled.min)}`);
  }
  if (param.default !== null && !hasExpressions(param.default)) {
    const value = readParam(spelled, param.default);
    if (value.ok) spelled.default = value.text;
    else {
      const { is, must, help } = value.problem;
      const choice = must.startsWith("be one of ")
        ? `its choices are ${must.slice("be one of ".length)}`
        : undefined;
      report(["default"], {
        code: "E071",
        message: `${is}: ${quoted(param.default)}`,
        help: help ?? choice,
      });
    }
  }
  return { ...param, ...spelled };
}

/** The parameters of a file, and the fields of its forms, which are written as parameters are. */
function* paramsIn(
  root: Located,
): Iterable<{ path: IssuePath; name: string | number; node: Located; noun: string }> {
  const within = function* (path: IssuePath, noun: string) {
    for (const [name, { node }] of nodeAt(root, path)?.children ?? [])
      yield { path: [...path, name], name, node, noun };
  };
  yield* within(["params"], "parameter");
  for (const id of nodeAt(root, ["tasks"])?.children.keys() ?? [])
    yield* within(["tasks", id, "config", "form"], "field");
}

/** Whether `required` agrees with the default. It is not stored: a parameter without a default is required. */
export function checkRequired(root: Located): Finding[] {
  const findings: Finding[] = [];
  for (const { path: parameter, name, node, noun } of paramsIn(root)) {
    const required = node.children.get("required")?.node.value;
    const hasDefault = (node.children.get("default")?.node.value ?? null) !== null;
    const path: IssuePath = [...parameter, "required"];
    const subject = `"required" of ${noun} "${name}"`;
    if (required === "true" && hasDefault) {
      const help = "remove one of them: whoever gives no value gets the default";
      findings.push({
        code: "E072",
        message: `${subject} contradicts its default`,
        help,
        ...placeOf(root, path),
      });
    } else if (required === "false" && !hasDefault) {
      const message = `${subject} is false, but the ${noun} has no default`;
      const help = 'give it one, such as default: ""';
      findings.push({ code: "E072", message, help, ...placeOf(root, path) });
    }
  }
  return findings;
}

/**
 * Puts JSON text in the place of the defaults of parameters of type json, which are written as YAML. As in YAML 1.2, an unquoted `5`, `true`
 * or `null` is a number, a truth value or nothing, and everything else is a string.
 * @returns warnings of strings that were meant otherwise
 */
export function readJsonDefaults(root: Located): Finding[] {
  const findings: Finding[] = [];
  for (const { name, node, noun } of paramsIn(root)) {
    const value = node.children.get("default")?.node;
    const isTemplate = typeof value?.value === "string" && hasExpressions(value.value);
    if (
      value === undefined ||
      value.value === null ||
      isTemplate ||
      node.children.get("type")?.node.value !== "json"
    )
      continue;
    (node.value as Record<string, unknown>).default = jsonOf(value);
    if (value.isQuoted !== true || typeof value.value !== "string" || !/^\s*[[{]/.test(value.value)) continue;
    findings.push({
      code: "W015",
      message: `the default of ${noun} "${name}" is a string, because it is in quotes: ${quoted(value.value)}`,
      help: "remove the quotes for a list or a mapping",
      start: value.start,
      end: value.end,
    });
  }
  return findings;
}

/** The same for the lists and mappings that tasks pass on to other workflows. One with an expression in it stays: it would not be JSON. */
export function readJsonParams(root: Located): void {
  for (const { node } of nodeAt(root, ["tasks"])?.children.values() ?? []) {
    const config = node.children.get("config")?.node;
    if ((config?.value as Record<string, unknown> | null | undefined)?.[TAG_KEY] !== "Workflow") continue;
    const params = config?.children.get("params")?.node;
    for (const [name, { node: param }] of params?.children ?? []) {
      if (typeof param.value !== "object" || param.value === null) continue;
      const json = jsonOf(param);
      if (!hasExpressions(json)) (params?.value as Record<string, unknown>)[String(name)] = json;
    }
  }
}

/** The same for the values of parameters of type json in entries of `cron`. */
export function readJsonOfSchedules(root: Located): void {
  const cron = nodeAt(root, ["cron"]);
  if (cron === null || typeof cron.value !== "object" || cron.value === null) return;
  const entries = Array.isArray(cron.value) ? [...cron.children.values()].map(({ node }) => node) : [cron];
  for (const entry of entries) {
    const params = entry.children.get("params")?.node;
    for (const [name, { node }] of params?.children ?? []) {
      const type = nodeAt(root, ["params", name, "type"])?.value;
      if (type === "json" && node.value !== null)
        (params?.value as Record<string, unknown>)[String(name)] = jsonOf(node);
    }
  }
}

function jsonOf({ value, children, isQuoted }: Located): string {
  if (value === null) return "null";
  if (typeof value === "string") return isQuoted === true ? JSON.stringify(value) : jsonOfPlain(value);
  const inner = [...children].map(([key, { node }]) => [JSON.stringify(String(key)), jsonOf(node)] as const);
  if (Array.isArray(value)) return `[${inner.map(([, json]) => json).join(",")}]`;
  return `{${inner.map(([key, json]) => `${key}:${json}`).join(",")}}`;
}

/** The JSON of an unquoted scalar, by the core schema of YAML 1.2. */
function jsonOfPlain(text: string): string {
  if (/^(true|True|TRUE|false|False|FALSE)$/.test(text)) return text.toLowerCase();
  if (/^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text)) return text;
  if (/^[+-]?\d+$/.test(text)) return String(BigInt(text.replace(/^\+/, "")));
  if (/^0x[0-9a-fA-F]+$|^0o[0-7]+$/.test(text)) return String(BigInt(text));
  if (/^[+-]?(\.\d+|\d+(\.\d*)?)([eE][+-]?\d+)?$/.test(text)) return String(Number(text));
  return JSON.stringify(text);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60).toWellFormed()}…` : text);
}
