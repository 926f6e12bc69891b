/** Parses the text of a workflow file into its definition, or a list of everything that is wrong with it. */

import { nearest } from "../terminal/did-you-mean.ts";
import { checkExpect } from "./check-expect.ts";
import { checkFanOuts } from "./check-fan-outs.ts";
import { checkHooks } from "./check-hooks.ts";
import { checkKinds } from "./check-kinds.ts";
import { checkRequired, readJsonDefaults, readJsonOfSchedules, readJsonParams } from "./check-params.ts";
import { checkPlacement } from "./check-placement.ts";
import { checkRetries } from "./check-retries.ts";
import { checkSchedules } from "./check-schedules.ts";
import { checkSecrets, unusedSecrets } from "./check-secrets.ts";
import { checkReachable, checkTasks } from "./check-tasks.ts";
import { checkTemplatesOfOthers } from "./check-templates-of-others.ts";
import { checkOfferedParams, checkTriggers } from "./check-triggers.ts";
import { checkWork } from "./check-work.ts";
import { withDefaults } from "./defaults.ts";
import { type Diagnostic, type Finding, fileDiagnostic, locate } from "./diagnostic.ts";
import { withSchedules } from "./entry-fields.ts";
import { checkExpressions } from "./expressions.ts";
import type { AnyField, ValueOf } from "./field.ts";
import { hasExpressions } from "./has-expressions.ts";
import { hookTasks } from "./hooks.ts";
import { findingsOfIssues, type IssuePath, nodeAt, placeOf } from "./issues.ts";
import { factsOf, likelyTag, TASK_TAGS } from "./kinds/index.ts";
import { type Defaults, identified, type TaskConfig, Workflow, type WorkflowDefinition } from "./model.ts";
import { readPlainYaml } from "./plain-yaml.ts";
import { SourceText } from "./source-text.ts";
import { type Located, readYaml, TAG_KEY } from "./yaml-tree.ts";

/** Maximum size of a file, in bytes of UTF-8. */
export const MAX_FILE_BYTES = 1024 * 1024;

/** Further problems are only counted: locating each takes time, and so many are never read. */
const MAX_DIAGNOSTICS = 200;

/** The version of the language of a file whose texts may hold expressions. */
const LANGUAGE = 2;

type FileContent = ValueOf<typeof Workflow>;

/** The result of parsing a workflow file. */
export type ParseResult =
  | { readonly ok: true; readonly definition: WorkflowDefinition; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** The origin of a text. */
export interface ParseSource {
  /** For messages. */
  readonly path: string;
  /** Derived from the path. */
  readonly id: string;
  /** The defaults of its directory. */
  readonly defaults?: Defaults | undefined;
}

/**
 * Parses and checks the text of a workflow file. Never throws: all problems are returned as diagnostics, in the order of the text. If the
 * text is not YAML, only its syntax errors are returned. Warnings are among the errors; beyond 200 the rest is counted (`E099`).
 */
export function parseWorkflow(text: string, source: ParseSource): ParseResult {
  const result = parseText(text, source.path, "a workflow needs at least one task", (root, body) =>
    checkValues(root, body, source),
  );
  if (!result.ok) return result;
  return { ok: true, definition: result.value, warnings: result.warnings };
}

/** What a text says, or what is wrong with it. */
type TextResult<T> =
  | { readonly ok: true; readonly value: T; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** Everything that is checked in the values of a file; the value is null if they do not fit the schema. */
interface CheckedValues<T> {
  readonly value: T | null;
  readonly findings: readonly Finding[];
}

/**
 * Parses a text and checks it, see {@link parseWorkflow}.
 * @param emptyHelp what to do about a file that is empty
 * @param check called with the values of the text, perhaps twice: at first without their positions
 */
export function parseText<T>(
  text: string,
  path: string,
  emptyHelp: string,
  check: (root: Located, text: string) => CheckedValues<T>,
): TextResult<T> {
  const body = text.startsWith("\ufeff") ? text.slice(1) : text;
  const fail = (findings: readonly Finding[]): TextResult<T> => {
    const all = unique(findings);
    const diagnostics = locate(all.slice(0, MAX_DIAGNOSTICS), new SourceText(body), path);
    const more = all.length - diagnostics.length;
    if (more > 0) diagnostics.push(fileDiagnostic(path, "E099", `and ${more} more problems`));
    return { ok: false, diagnostics };
  };

  const unreadable = rawFindings(body);
  if (unreadable.length > 0) return fail(unreadable);
  // Positions are needed for problems only, and take most of the time.
  const plain = readPlainYaml(body);
  const quick = plain && check(plain, body);
  if (quick?.value != null && quick.findings.length === 0)
    return { ok: true, value: quick.value, warnings: [] };

  const { root, findings } = readYaml(body);
  if (root === null || root.value === null) {
    if (findings.length > 0) return fail(findings);
    return fail([{ code: "E006", message: "the file is empty", help: emptyHelp, start: 0, end: 0 }]);
  }
  const checked = check(root, body);
  const all = [...findings, ...checked.findings];
  if (checked.value === null || all.some((finding) => finding.code.startsWith("E"))) return fail(all);
  return { ok: true, value: checked.value, warnings: locate(unique(all), new SourceText(body), path) };
}

function checkValues(
  root: Located,
  text: string,
  { id, defaults }: ParseSource,
): CheckedValues<WorkflowDefinition> {
  const quotedJson = readJsonDefaults(root);
  readJsonParams(root);
  readJsonOfSchedules(root);
  const expressions = hasExpressions(text)
    ? checkExpressions(root, text, Object.keys(defaults?.env ?? {}))
    : undefined;
  const findings = [
    ...checkTagsAndNames(root, Workflow),
    ...checkTasks(root),
    ...checkSecrets(root),
    ...checkWork(root, text),
    ...checkHooks(root),
    ...checkTriggers(root, id),
    ...checkRequired(root),
    ...checkTemplatesOfOthers(text, root),
    ...quotedJson,
    ...(expressions?.findings ?? []),
  ];
  const checked = Workflow.file.safeParse(root.value);
  if (!checked.success) {
    const hasNoTasks = findings.some((finding) => finding.code === "E013");
    const issues = checked.error.issues.filter((issue) => !(hasNoTasks && issue.path.join() === "tasks"));
    findings.push(...findingsOfIssues(issues, root, Workflow));
    return { value: null, findings: withoutConsequences(findings) };
  }
  findings.push(
    ...checkEffects(checked.data, root),
    ...checkPlacement(checked.data, root),
    ...checkKinds(checked.data, root),
    ...checkRetries(checked.data.tasks, root),
    ...checkReachable(checked.data.tasks, root),
    ...checkFanOuts(checked.data, root),
    ...checkRetries(hookTasks(checked.data), root, "hooks"),
    ...checkSchedules(checked.data, root),
    ...checkExpect(checked.data, root),
    ...checkOfferedParams(checked.data, root),
  );
  const tasks = inOrder(checked.data.tasks, root);
  const content = withSchedules(checked.data);
  const file = expressions?.hasTemplates === true ? { ...content, language: LANGUAGE } : content;
  const definition = identified(id, withDefaults({ ...file, tasks }, root, defaults));
  return { value: definition, findings: withoutConsequences(findings) };
}

/** Without what is said about a value that must not be an expression in the first place. */
function withoutConsequences(findings: readonly Finding[]): readonly Finding[] {
  const refused = findings.filter(({ code }) => code === "E064");
  if (refused.length === 0) return findings;
  return findings.filter(
    (finding) =>
      finding.code === "E064" ||
      !refused.some(({ start, end }) => finding.start >= start && finding.end <= end),
  );
}

const CONTROL_CHARACTER = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/;

/** Checks that are possible before the text is parsed as YAML. */
function rawFindings(text: string): Finding[] {
  if (text.length > MAX_FILE_BYTES || Buffer.byteLength(text) > MAX_FILE_BYTES) return [tooLarge()];
  const findings: Finding[] = [];
  if (!CONTROL_CHARACTER.test(text)) return findings;
  for (const match of text.matchAll(new RegExp(CONTROL_CHARACTER, "g"))) {
    const code = match[0].charCodeAt(0).toString(16).padStart(2, "0");
    const message = `there is a control character (0x${code}) here`;
    const help = `remove it; in a double-quoted string it can be written as "\\x${code}"`;
    findings.push({ code: "E009", message, help, start: match.index, end: match.index + 1 });
    if (findings.length >= 20) break;
  }
  return findings;
}

/** The finding for a file beyond `MAX_FILE_BYTES`. */
export function tooLarge(): Finding {
  const help = "move data and scripts to files of their own";
  return { code: "E005", message: "the file is larger than 1 MiB", help, start: 0, end: 1 };
}

/**
 * Checks tags (each config must have a known one, nothing else may have any; wrong ones are removed from the values) and user-defined
 * names: ids of tasks, environment variables, parameters.
 */
export function checkTagsAndNames(root: Located, schema: AnyField): Finding[] {
  const tags: Finding[] = [];
  const names: Finding[] = [];
  const visit = (node: Located, field: AnyField | undefined, way: Way): void => {
    const tag = checkTag(node, field, way, root);
    if (tag !== null) tags.push(tag);
    const check = isMapping(node.value) ? field?.traits.names?.() : undefined;
    for (const [key, child] of node.children) {
      const problem = check?.(String(key)) ?? null;
      if (problem !== null) names.push({ ...problem, ...(child.key ?? child.node) });
      const inner = field?.child(key, node.tag?.name);
      // What is below an unknown key is not looked at.
      if (inner !== undefined) visit(child.node, inner, { key, parent: way });
    }
  };
  visit(root, schema, null);
  return [...tags, ...names];
}

/** The keys from a value up to the root: a path that costs nothing unless it is needed. */
type Way = { readonly key: string | number; readonly parent: Way } | null;

function pathOf(way: Way): IssuePath {
  return way === null ? [] : [...pathOf(way.parent), way.key];
}

function checkTag(node: Located, field: AnyField | undefined, way: Way, root: Located): Finding | null {
  if (node.tag === null && field?.traits.kinds === undefined) return null;
  const kinds = TASK_TAGS.map((tag) => `!${tag}`);
  if (node.tag !== null) {
    const { name, ...range } = node.tag;
    if (field?.traits.kinds === undefined) {
      delete (node.value as Record<string, unknown>)[TAG_KEY];
      const help = "a tag is only allowed on the mapping under config: of a task";
      return { code: "E021", message: `the tag !${name} is not allowed here`, help, ...range };
    }
    if (kinds.includes(`!${name}`)) return null;
    const near = nearest(name, TASK_TAGS);
    const help = near === undefined ? `the kinds are ${listed(kinds, "and")}` : `did you mean "!${near}"?`;
    return { code: "E021", message: `unknown kind of task !${name}`, help, ...range };
  }
  if (field?.traits.kinds === undefined || !isMapping(node.value)) return null;
  const likely = likelyTag(Object.keys(node.value));
  const help =
    likely === null
      ? `add the kind of the task as a tag: ${listed(kinds, "or")}`
      : `write "config: !${likely}", or the tag alone on the next line`;
  const path = pathOf(way);
  const message = `config of task "${String(path.at(-2))}" has no tag`;
  return { code: "E020", message, help, ...placeOf(root, path) };
}

function listed(words: readonly string[], joint: string): string {
  return `${words.slice(0, -1).join(", ")} ${joint} ${words.at(-1)}`;
}

/** Warns about keys that are valid but have no effect. */
function checkEffects(file: FileContent, root: Located): Finding[] {
  const findings: Finding[] = [];
  const warn = (path: IssuePath, message: string, help: string): void => {
    findings.push({ code: "W002", message, help, ...placeOf(root, path) });
  };
  if (file.cron === null && file.schedules === undefined) {
    for (const key of ["timezone", "start_time", "catchup"]) {
      if (isMapping(root.value) && root.value[key] !== undefined && root.value[key] !== null) {
        warn([key], `"${key}" has no effect without cron`, "add a cron, or remove it");
      }
    }
  }
  for (const name of unusedSecrets({ secrets: file.secrets, tasks: [...file.tasks, ...hookTasks(file)] }))
    warn(
      ["secrets", name],
      `the secret "${name}" has no effect: no task uses it`,
      "add it to secrets of a task, or remove it",
    );
  const checkConfig = (path: IssuePath, config: TaskConfig): void => {
    for (const key of factsOf(config).ignores ?? [])
      if ((nodeAt(root, [...path, key])?.value ?? null) !== null)
        warn([...path, key], `"${key}" has no effect on !${config.type}`, "remove it");
    const found = factsOf(config).noEffect?.(config) ?? null;
    if (found === null) return;
    warn([...path, "config", found.key], `"${found.key}" has no effect ${found.where}`, found.help);
  };
  for (const { id, config } of file.tasks) checkConfig(["tasks", id], config);
  for (const { id, config } of hookTasks(file)) checkConfig(["hooks", id], config);
  return findings;
}

/** Restores the order of the file: a JavaScript object puts numeric ids first. */
function inOrder(tasks: FileContent["tasks"], root: Located): FileContent["tasks"] {
  const places = new Map(
    [...(nodeAt(root, ["tasks"])?.children.keys() ?? [])].map((id, n) => [String(id), n]),
  );
  return tasks.toSorted((a, b) => (places.get(a.id) ?? 0) - (places.get(b.id) ?? 0));
}

/** Sorts by position and removes duplicates: with aliases, the same place may be visited more than once. */
function unique(findings: readonly Finding[]): Finding[] {
  const seen = new Set<string>();
  const ordered = [...findings].sort((a, b) => a.start - b.start);
  const keyOf = ({ start, code, message }: Finding) => `${start} ${code} ${message}`;
  return ordered.filter((finding) => !seen.has(keyOf(finding)) && seen.add(keyOf(finding)));
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
