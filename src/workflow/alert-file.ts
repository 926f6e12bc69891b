/** Alert files: a query over the history that is evaluated at intervals, each row of whose result is an alert. */

import { z } from "zod";
import type { RegularFile } from "../host/regular-file.ts";
import { type Diagnostic, type Finding, fileDiagnostic } from "./diagnostic.ts";
import { checkExpressionsOf, hasExpressions } from "./expressions.ts";
import { Block, expression, oneOf, scalar, templated, type ValueOf } from "./field.ts";
import { findingsOfIssues, placeOf } from "./issues.ts";
import { toldChannels } from "./notify.ts";
import { checkTagsAndNames, parseText } from "./parse.ts";
import { anyText, duration, filled, name, text, whole } from "./scalars.ts";
import type { Located } from "./yaml-tree.ts";

/** The directory of alert files, below the workflow directory. */
const DIRECTORY = "alerts/";
/** The key that makes a file there an alert file: no workflow has it. */
const MARK = /^(?:query|"query"|'query')[ \t]*:/m;

/** The most rows of a result that are looked at. */
export const MAX_ALERT_ROWS = 1000;
/** The most alert files of a workflow directory that are evaluated. */
export const MAX_ALERT_FILES = 200;
/** The longest statement, in characters. */
const LONGEST_QUERY = 64 * 1024;

const SECOND = 1000;
const MINUTE = 60 * SECOND;

const query = () =>
  scalar(
    z.string(),
    { type: "string", minLength: 1, maxLength: LONGEST_QUERY },
    (value, refuse) => {
      if (value.trim() === "") return refuse("E015", "is empty", "write a SELECT statement");
      if (value.includes("\0")) return refuse("E015", "contains a NUL character");
      return value.length > LONGEST_QUERY
        ? refuse("E015", `is longer than ${LONGEST_QUERY} characters`)
        : value;
    },
    { noun: "a SELECT statement", help: "such as SELECT workflow_id FROM workflow_runs WHERE …" },
  );

/** The keys of an alert file. */
export const AlertFile = new Block(
  {
    name: name().sparse().describe("The name in messages; by default that of the file"),
    description: anyText()
      .sparse()
      .describe("What it is for, and what to do about it: it is part of messages"),
    query: query().describe("One SELECT statement over the history; each row of its result is an alert"),
    every: duration(10 * SECOND)
      .default(5 * MINUTE)
      .as("every_ms")
      .describe("How often it is evaluated: at least 10s"),
    key: filled().sparse().describe("The column that says which alert a row is; by default the first one"),
    when: expression("bool", "row")
      .sparse()
      .describe("Which rows count: an expression over row.COLUMN; by default all"),
    for: duration(0)
      .default(0)
      .as("for_ms")
      .describe("How long a row must be there, at each evaluation, before it is an alert"),
    to: toldChannels()
      .sparse()
      .describe("Channels that are told, besides those of notify in _cdktr.yml for query"),
    severity: oneOf("warning", "critical").default("warning").describe("How bad it is: part of messages"),
    summary: templated(text(), "string")
      .at("row")
      .sparse()
      .describe("The alert in one line, with row.COLUMN; by default the name and the key"),
    timeout: duration(SECOND, 5 * MINUTE)
      .default(30 * SECOND)
      .as("timeout_ms")
      .describe("The query is stopped after this time: at most 5m"),
    limit: whole(1, MAX_ALERT_ROWS)
      .default(100)
      .describe("The most alerts of this file at once; further rows are counted only"),
  },
  "Alerts from a query over the history",
);

/** What an alert file says. */
export type AlertQuery = ValueOf<typeof AlertFile> & {
  /** Relative to the workflow directory. */
  readonly path: string;
};

/** What an alert file says, or what is wrong with it. */
export type AlertFileResult =
  | { readonly ok: true; readonly alert: AlertQuery; readonly warnings: readonly Diagnostic[] }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

/** Whether the file at a path, relative to the workflow directory, may be an alert file. */
export function isAlertPath(path: string): boolean {
  return path.startsWith(DIRECTORY);
}

/** Whether a file below the directory of alerts is an alert file by its text, and so no workflow. */
export function isAlertText(text: string): boolean {
  return MARK.test(text);
}

/** Whether a file that was read is an alert file. @param path relative to the workflow directory */
export function isAlertFile(path: string, file: RegularFile): boolean {
  return isAlertPath(path) && file.kind === "file" && isAlertText(new TextDecoder().decode(file.bytes));
}

/**
 * Parses the text of an alert file, like that of a workflow file. Never throws.
 * @param path relative to the workflow directory
 * @param shown its name in messages
 */
export function parseAlert(source: string, path: string, shown = path): AlertFileResult {
  const result = parseText(source, shown, "write a query", checkAlert);
  if (!result.ok) return result;
  return { ok: true, alert: { ...result.value, path }, warnings: result.warnings };
}

/** Reads what {@link JSON.stringify} made of an alert file, also of one of another version. @returns undefined when it is damaged */
export function readAlert(path: string, json: string): AlertQuery | undefined {
  try {
    return { ...AlertFile.stored.parse(JSON.parse(json)), path };
  } catch {
    // The file is read anew.
    return undefined;
  }
}

/** The finding for a file beyond {@link MAX_ALERT_FILES}. */
export function tooManyAlertFiles(path: string): Diagnostic {
  const message = `there are more than ${MAX_ALERT_FILES} alert files; this one is not evaluated`;
  return fileDiagnostic(
    path,
    "E125",
    message,
    "let one query find what several look for: each row is an alert",
  );
}

/** Words of other tools for keys of alert files. */
const WORDS: Readonly<Record<string, string>> = {
  sql: "query",
  statement: "query",
  select: "query",
  interval: "every",
  period: "every",
  frequency: "every",
  schedule: "every",
  cron: "every",
  condition: "when",
  if: "when",
  filter: "when",
  where: "when",
  channels: "to",
  channel: "to",
  notify: "to",
  receivers: "to",
  duration: "for",
  pending: "for",
  message: "summary",
  title: "summary",
  subject: "summary",
  level: "severity",
  priority: "severity",
  id: "key",
  group_by: "key",
  max_rows: "limit",
  max: "limit",
};

function checkAlert(
  root: Located,
  source: string,
): { value: ValueOf<typeof AlertFile> | null; findings: Finding[] } {
  if (typeof root.value !== "object" || root.value === null || Array.isArray(root.value)) {
    const message = "an alert file must be a mapping";
    const finding: Finding = { code: "E012", message, help: 'start it with "query:"', ...placeOf(root, []) };
    return { value: null, findings: [finding] };
  }
  const findings = [
    ...checkTagsAndNames(root, AlertFile),
    ...(hasExpressions(source) ? checkExpressionsOf(AlertFile, root, source) : []),
  ];
  const keys = AlertFile.keys(undefined);
  const foreign = new Set<string>();
  for (const key of root.children.keys()) {
    const word = String(key);
    const meant = Object.hasOwn(keys, word) || !Object.hasOwn(WORDS, word) ? undefined : WORDS[word];
    if (meant === undefined) continue;
    foreign.add(word);
    const help = meant === "every" ? `write every: 5m` : `it is called "${meant}" here`;
    findings.push({ code: "E010", message: `unknown key "${word}"`, help, ...placeOf(root, [word]) });
  }
  const checked = AlertFile.file.safeParse(root.value);
  if (checked.success) return { value: checked.data, findings };
  const issues = checked.error.issues.flatMap((issue) => {
    if (issue.code !== "unrecognized_keys" || issue.path.length > 0) return issue;
    const others = issue.keys.filter((key) => !foreign.has(key));
    return others.length === 0 ? [] : { ...issue, keys: others };
  });
  findings.push(...findingsOfIssues(issues, root, AlertFile));
  return { value: null, findings };
}
