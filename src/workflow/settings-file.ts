/** The settings of a directory of workflow files: `_cdktr.yml`. */
import { hasAnyDay } from "./calendar.ts";
import type { ChannelSettings } from "./channels.ts";
import { checkChannels, hidingSecrets } from "./check-channels.ts";
import { checkNotify } from "./check-notify.ts";
import { type Diagnostic, type Finding, fileDiagnostic } from "./diagnostic.ts";
import { hasExpressions } from "./expressions.ts";
import { findingsOfIssues, placeOf } from "./issues.ts";
import { MAX_CALENDARS, MAX_POOLS } from "./limits.ts";
import { type Defaults, DirectorySettings, Workflow } from "./model.ts";
import type { NotifyRule } from "./notify.ts";
import { checkTagsAndNames, parseText } from "./parse.ts";
import type { CalendarSettings } from "./root-fields.ts";
import type { Located } from "./yaml-tree.ts";

/** Its possible names; the first one counts if both are there. */
export const SETTINGS_NAMES: readonly string[] = ["_cdktr.yml", "_cdktr.yaml"];

/** Whether a path is that of the settings of its directory, and so of no workflow. */
export function isSettingsFile(path: string): boolean {
  return SETTINGS_NAMES.includes(path.slice(path.lastIndexOf("/") + 1));
}

/** The ending of the names of calendar files. */
export const CALENDAR_ENDING = ".ics";

/** Whether a path is that of a calendar file. */
export function isCalendarFile(path: string): boolean {
  return path.endsWith(CALENDAR_ENDING);
}

/** The directory of a file; both are relative to the workflow directory, which is `""`. */
export function directoryOf(path: string): string {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
}

/** The directories whose settings apply to a file, outermost first. */
export function directoriesOf(path: string): string[] {
  const parts = path.split("/").slice(0, -1);
  return [...parts.keys(), parts.length].map((length) => parts.slice(0, length).join("/"));
}

/** What only the settings of the workflow directory itself have. */
const ROOT_KEYS: readonly string[] = ["pools", "calendars", "channels", "notify"];

/** What the settings of a directory say; all but the defaults is that of the workflow directory itself. */
export interface Settings {
  readonly defaults?: Defaults | undefined;
  readonly pools?: Readonly<Record<string, number>> | undefined;
  readonly calendars?: Readonly<Record<string, CalendarSettings>> | undefined;
  readonly channels?: Readonly<Record<string, ChannelSettings>> | undefined;
  readonly notify?: readonly NotifyRule[] | undefined;
}

/** What the settings of a directory say, or what is wrong with them. */
export type SettingsResult =
  | { readonly ok: true; readonly settings: Settings; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/**
 * Parses the text of a settings file, like a workflow file.
 * @param path for messages
 * @param isRoot whether it is that of the workflow directory itself
 */
export function parseSettings(text: string, path: string, isRoot: boolean): SettingsResult {
  const emptyHelp = "delete it, or write defaults: {} if there are none";
  const result = parseText(text, path, emptyHelp, (root) => checkSettings(root, isRoot));
  return result.ok ? { ok: true, settings: result.value, warnings: result.warnings } : result;
}

/** The finding for a second settings file of a directory. */
export function secondSettings(path: string, first: string): Diagnostic {
  const message = `the settings of this directory are in ${first}`;
  return fileDiagnostic(path, "E052", message, "delete one of the two files");
}

function checkSettings(root: Located, isRoot: boolean): { value: Settings | null; findings: Finding[] } {
  if (typeof root.value !== "object" || root.value === null || Array.isArray(root.value)) {
    const message = "the settings of a directory must be a mapping";
    const finding: Finding = {
      code: "E012",
      message,
      help: 'start it with "defaults:"',
      ...placeOf(root, []),
    };
    return { value: null, findings: [finding] };
  }
  const findings = [
    ...checkTagsAndNames(root, DirectorySettings),
    ...expressionsIn(root),
    ...checkChannels(root),
  ];
  const foreign = new Set<string>();
  for (const key of root.children.keys()) {
    const finding = (isRoot ? null : keyOfRoot(String(key), root)) ?? foreignKey(String(key), root);
    if (finding === null) continue;
    foreign.add(String(key));
    findings.push(finding);
  }
  const checked = DirectorySettings.file.safeParse(root.value);
  if (checked.success)
    return {
      value: checked.data,
      findings: hidingSecrets([...findings, ...(isRoot ? checkRoot(checked.data, root) : [])], root),
    };
  const issues = checked.error.issues.flatMap((issue) => {
    if (issue.code !== "unrecognized_keys" || issue.path.length > 0) return issue;
    const keys = issue.keys.filter((key) => !foreign.has(key));
    return keys.length === 0 ? [] : { ...issue, keys };
  });
  findings.push(...findingsOfIssues(issues, root, DirectorySettings));
  return { value: null, findings: hidingSecrets(findings, root) };
}

/** What is wrong with pools and calendars, all together. */
function checkRoot({ pools = {}, calendars = {}, notify, channels }: Settings, root: Located): Finding[] {
  const findings: Finding[] = checkNotify(notify, channels ?? {}).map(({ path, ...problem }) => ({
    ...problem,
    ...placeOf(root, path),
  }));
  const [poolCount, calendarCount] = [Object.keys(pools).length, Object.keys(calendars).length];
  if (poolCount > MAX_POOLS) {
    const message = `there are ${poolCount} pools; at most ${MAX_POOLS} are allowed`;
    findings.push({ code: "E094", message, ...placeOf(root, ["pools"]) });
  }
  if (calendarCount > MAX_CALENDARS) {
    const message = `there are ${calendarCount} calendars; at most ${MAX_CALENDARS} are allowed`;
    findings.push({ code: "E045", message, ...placeOf(root, ["calendars"]) });
  }
  for (const [name, { ics = [], ...spec }] of Object.entries(calendars)) {
    if (ics.some(({ as }) => as === "include") || hasAnyDay(spec)) continue;
    const message = `calendar "${name}" has no day at all`;
    const help = "exclude fewer days, or include some";
    findings.push({ code: "E045", message, help, ...placeOf(root, ["calendars", name]) });
  }
  return findings;
}

/** A key that only the settings of the workflow directory itself have. */
function keyOfRoot(key: string, root: Located): Finding | null {
  if (!ROOT_KEYS.includes(key)) return null;
  const message = `"${key}" belongs in _cdktr.yml of the workflow directory itself`;
  const help = key === "notify" ? `move it there, or below "defaults:"` : "move it there";
  return { code: "E092", message, help, ...placeOf(root, [key]) };
}

/** Expressions are about a workflow, and its parameters: they cannot be checked here. */
function expressionsIn(node: Located, key?: string | number): Finding[] {
  if (typeof node.value !== "string")
    return [...node.children].flatMap(([own, child]) => expressionsIn(child.node, key ?? own));
  if (!hasExpressions(node.value)) return [];
  const message = "expressions are not allowed in the settings of a directory";
  const help = ROOT_KEYS.includes(String(key))
    ? "write the value itself"
    : "write the default into the workflows that need it";
  return [{ code: "E064", message, help, start: node.start, end: node.end }];
}

/** A key of workflows, which has no place in settings. */
function foreignKey(key: string, root: Located): Finding | null {
  const ofSettings = DirectorySettings.keys(undefined);
  const ofDefaults = ofSettings.defaults?.keys(undefined) ?? {};
  if (Object.hasOwn(ofSettings, key)) return null;
  if (Object.hasOwn(ofDefaults, key)) {
    const message = `"${key}" does not belong here`;
    return { code: "E092", message, help: `write it below "defaults:"`, ...placeOf(root, [key]) };
  }
  if (!Object.hasOwn(Workflow.keys(undefined), key)) return null;
  const message = `this file holds settings of its directory, not a workflow: "${key}" does not belong here`;
  return { code: "E092", message, help: "give the file of a workflow another name", ...placeOf(root, [key]) };
}
