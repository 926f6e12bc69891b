/** What a message says, from the facts of its alerts: a subject, a text, the same as HTML, and JSON. Pure. */
import { outputText, plainText } from "../../terminal/foreign-text.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { aheadMs } from "../../workflow/expressions/dates.ts";
import { type FailedTask, failedTasksOf, type LogTail, nameOfTask } from "./log-tail.ts";
import type { AlertForMessage, Fact, OutgoingMessage } from "./senders/sender.ts";

/** A message as it is written. */
export interface ComposedMessage {
  /** One line. */
  readonly subject: string;
  readonly text: string;
  /** A whole page. */
  readonly html: string;
  /** For programs, see the manual: fields are only ever added. */
  readonly json: MessageJson;
}

/** A message for programs. */
interface MessageJson {
  readonly version: 1;
  readonly message_id: string;
  readonly channel: string;
  readonly created_at_ms: number;
  readonly subject: string;
  readonly text: string;
  readonly alerts: readonly AlertJson[];
  /** Alerts beyond those. */
  readonly more: number;
}

interface AlertJson extends AlertForMessage {
  readonly log: LogTail | null;
  /** What to type to see more. */
  readonly commands: readonly string[];
}

/** An alert with the end of the log that it is about. */
export interface AlertWithLog {
  readonly alert: AlertForMessage;
  readonly log: LogTail | null;
}

/** What is sent to see whether it arrives. */
export const TEST_KIND = "test";

/** The longest subject, and the longest value of a fact, characters. */
const LONGEST_SUBJECT = 150;
const LONGEST_VALUE = 1000;
/** The most failed tasks, and the most alerts that are listed before their particulars. */
const MOST_TASKS = 10;
/** The most entries of a fact that is a mapping. */
const MOST_ENTRIES = 20;

/** @param zone IANA name of the zone in which times are written */
export function compose(
  message: OutgoingMessage,
  alerts: readonly AlertWithLog[],
  zone: string,
): ComposedMessage {
  const subject = subjectOf(message);
  const parts = alerts.map((each) => partOf(each, zone));
  const text = textOf(message, subject, parts);
  return {
    subject,
    text,
    html: htmlOf(message, subject, parts),
    json: {
      version: 1,
      message_id: message.id,
      channel: message.channel,
      created_at_ms: message.created_at_ms,
      subject,
      text,
      alerts: alerts.map(({ alert, log }) => ({ ...alert, log, commands: commandsFor(alert) })),
      more: message.more,
    },
  };
}

/** What there is to read about an alert. */
interface Part {
  readonly title: string;
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly tasks: readonly string[];
  readonly log: { readonly title: string; readonly lines: readonly string[] } | null;
  readonly commands: readonly string[];
}

function subjectOf({ alerts, more }: OutgoingMessage): string {
  const [only] = alerts;
  if (alerts.length === 1 && more === 0 && only !== undefined)
    return clip(`[cdktr] ${titleOf(only)}`, LONGEST_SUBJECT);
  const kinds = Map.groupBy(alerts, ({ kind, about }) => (about === "resolved" ? "over" : wordOf(kind)));
  const counts = [...kinds].map(([word, { length }]) => `${length} ${word}`);
  const others = more === 0 ? [] : [`${more} more`];
  return clip(
    `[cdktr] ${alerts.length + more} alerts: ${[...counts, ...others].join(", ")}`,
    LONGEST_SUBJECT,
  );
}

function titleOf({ about, subject }: AlertForMessage): string {
  const line = plainText(subject).replace(/\s+/g, " ").trim();
  return about === "resolved" ? `over: ${line}` : line;
}

/** A kind as a word of a sentence. */
function wordOf(kind: string): string {
  return plainText(kind).replaceAll("_", " ");
}

function partOf({ alert, log }: AlertWithLog, zone: string): Part {
  const tasks = alert.about === "raised" ? failedTasksOf(alert) : [];
  const shown = tasks.slice(0, MOST_TASKS).map(lineOfTask);
  if (tasks.length > MOST_TASKS || alert.facts.more_failed_tasks === true) shown.push("… and more");
  return {
    title: titleOf(alert),
    facts: factsOf(alert, zone),
    tasks: shown,
    log: log === null ? null : logOf(log),
    commands: commandsFor(alert),
  };
}

function lineOfTask(task: FailedTask): string {
  const how =
    task.exit_code !== null
      ? `exit status ${task.exit_code}`
      : task.signal !== null
        ? `ended by ${task.signal}`
        : task.status.toLowerCase();
  const why =
    task.error?.startsWith(how) === true ? task.error.slice(how.length).replace(/^[:\s]+/, "") : task.error;
  return oneLine(`${nameOfTask(task)} (${how})${why === null || why === "" ? "" : `: ${why}`}`);
}

function logOf({ task, lines, problem }: LogTail) {
  const whose = task === null ? "the run" : `task ${plainText(task)}`;
  const shown = lines.map((line) => clip(outputText(line.replaceAll("\t", "    "), false), LONGEST_VALUE));
  const count = shown.length === 1 ? "line" : `${shown.length} lines`;
  if (problem === null)
    return shown.length === 0 ? null : { title: `Last ${count} of the log of ${whose}`, lines: shown };
  const title =
    shown.length === 0 ? `Log of ${whose}: not available` : `Last ${count} of the log of ${whose}`;
  return { title: `${title} (${oneLine(problem)})`, lines: shown };
}

/** What is told about an alert in each case; its facts come after that. */
function factsOf(alert: AlertForMessage, zone: string): [string, string][] {
  const rows: [string, string][] = [];
  const { workflow_id, workflow_instance_id, raised_at_ms, resolved_at_ms, about, facts } = alert;
  if (workflow_id !== null) rows.push(["workflow", oneLine(withName(workflow_id, facts.workflow_name))]);
  if (workflow_instance_id !== null) rows.push(["run", oneLine(workflow_instance_id)]);
  // Events are over as they are raised.
  rows.push([resolved_at_ms === raised_at_ms ? "at" : "since", timeText(raised_at_ms, zone)]);
  if (about === "resolved" && resolved_at_ms !== null) {
    rows.push(["over", timeText(resolved_at_ms, zone)]);
    rows.push(["lasted", durationText(resolved_at_ms - raised_at_ms)]);
  }
  for (const [name, value] of Object.entries(facts)) {
    if (value === undefined || value === null || value === "" || isToldElsewhere(name, alert)) continue;
    rows.push(...rowsOf(name, value, zone));
  }
  return rows;
}

/** A fact as a row; a mapping, such as the row of a query, as one for each of its entries. */
function rowsOf(name: string, value: Fact, zone: string): [string, string][] {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return [[oneLine(labelOf(name)), valueText(name, value, zone)]];
  const entries = Object.entries(value).flatMap(([inner, each]): [string, string][] =>
    each === undefined || each === null ? [] : [[oneLine(inner), valueText(inner, each, zone)]],
  );
  if (entries.length <= MOST_ENTRIES) return entries;
  return [...entries.slice(0, MOST_ENTRIES), ["…", `${entries.length - MOST_ENTRIES} more`]];
}

/** Facts that are told elsewhere in a message, or follow from others. */
function isToldElsewhere(name: string, alert: AlertForMessage): boolean {
  const { kind, facts } = alert;
  const isOfEnd = kind === "failed" || kind === "recovered";
  switch (name) {
    case "workflow_name":
    case "failed_tasks":
    case "more_failed_tasks":
      return true;
    case "failures":
      return facts.failures === 1;
    case "status":
      return isOfEnd && facts.status !== "CRASHED";
    case "created_at_ms":
    case "finished_at_ms":
      return isOfEnd && typeof facts.started_at_ms === "number";
    case "error":
      return isOfEnd && facts.status === "FAILED" && failedTasksOf(alert).length > 0;
    default:
      return false;
  }
}

const LABELS: Readonly<Record<string, string>> = {
  agent_id: "agent",
  task_id: "task",
  duration_ms: "took",
  failures: "failures in a row",
  actor: "by",
  due_ms: "due",
  on_timeout: "without an answer",
};

function labelOf(name: string): string {
  if (Object.hasOwn(LABELS, name)) return LABELS[name] ?? name;
  return name.replace(/_(at_)?ms$/, "").replaceAll("_", " ");
}

function valueText(name: string, value: Fact, zone: string): string {
  if (typeof value === "number" && name.endsWith("_ms"))
    return value < FIRST_INSTANT_MS ? durationText(value) : timeText(value, zone);
  if (Array.isArray(value) && value.every((each) => typeof each === "string"))
    return oneLine(value.join("; "));
  return oneLine(typeof value === "string" ? value : JSON.stringify(value));
}

/** Numbers of ms below this one are times between two instants; others are instants. 1973. */
const FIRST_INSTANT_MS = 100_000_000_000;

function withName(id: string, name: Fact | undefined): string {
  return typeof name === "string" && name !== "" && name !== id ? `${id} (${name})` : id;
}

/** What to type to look further. Ids are plain words, so that they can be pasted. */
function commandsFor({
  facts,
  kind,
  about,
  workflow_id,
  workflow_instance_id: run,
  alert_id,
}: AlertForMessage): string[] {
  const safe = (word: string) => /^[A-Za-z0-9_][A-Za-z0-9_.@:+-]*$/.test(word);
  if (run !== null && safe(run)) {
    const commands = [`cdktr runs show ${run}`, `cdktr logs query --run ${run}`];
    if (kind !== "waiting" || about !== "raised") return commands;
    const task = typeof facts.task_id === "string" && safe(facts.task_id) ? ` ${facts.task_id}` : "";
    return [`cdktr approvals approve ${run}${task}`, `cdktr approvals reject ${run}${task}`, ...commands];
  }
  if (workflow_id !== null && safe(workflow_id))
    return [`cdktr workflow show ${workflow_id}`, `cdktr runs list --workflow ${workflow_id}`];
  if (kind === TEST_KIND) return ["cdktr docs channels"];
  if (kind === "agent_lost") return ["cdktr agents list"];
  return safe(alert_id) ? [`cdktr alerts show ${alert_id}`] : [];
}

/** Local time with its zone: `2026-11-27 06:00:00 Europe/London`. */
function timeText(ms: number, zone: string): string {
  const local = new Date(ms + aheadMs(ms, zone));
  return Number.isNaN(local.getTime())
    ? String(ms)
    : `${local.toISOString().slice(0, 19).replace("T", " ")} ${zone}`;
}

function durationText(ms: number): string {
  return formatDuration(ms < 10_000 ? Math.max(0, Math.round(ms)) : Math.round(ms / 1000) * 1000);
}

function oneLine(text: string): string {
  return clip(plainText(text).replace(/\s+/g, " ").trim(), LONGEST_VALUE);
}

function clip(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).toWellFormed()}…`;
}

// ---------------------------------------------------------------- text

function textOf({ more }: OutgoingMessage, subject: string, parts: readonly Part[]): string {
  const [only] = parts;
  const blocks: string[] = [];
  if (parts.length > 1 || more > 0 || only === undefined)
    blocks.push(
      [subject.replace(/^\[cdktr\] /, ""), "", ...parts.map(({ title }) => `  - ${title}`)].join("\n"),
    );
  for (const part of parts) blocks.push(textOfPart(part));
  if (more > 0) blocks.push(`… and ${more} more: cdktr alerts list --all`);
  return `${blocks.join("\n\n\n")}\n`;
}

function textOfPart({ title, facts, tasks, log, commands }: Part): string {
  const width = Math.max(...facts.map(([name]) => name.length));
  const blocks = [title, facts.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join("\n")];
  if (tasks.length > 0) blocks.push(`${failedTitle(tasks)}\n${tasks.map((task) => `  ${task}`).join("\n")}`);
  if (log !== null)
    blocks.push(
      [log.lines.length === 0 ? log.title : `${log.title}:`, ...log.lines.map((line) => `  | ${line}`)].join(
        "\n",
      ),
    );
  if (commands.length > 0)
    blocks.push(["To look further:", ...commands.map((each) => `  ${each}`)].join("\n"));
  return blocks.join("\n\n");
}

function failedTitle(tasks: readonly string[]): string {
  return tasks.length === 1 ? "Failed task:" : "Failed tasks:";
}

// ---------------------------------------------------------------- HTML

const BODY = "font: 14px/1.45 system-ui, sans-serif; color: #1c1c1c";
const CELL = "padding: 1px 14px 1px 0; vertical-align: top";
const CODE =
  "font: 12px/1.4 ui-monospace, monospace; background: #f4f4f4; padding: 8px 10px; white-space: pre-wrap; margin: 6px 0";

function htmlOf({ more }: OutgoingMessage, subject: string, parts: readonly Part[]): string {
  const head = subject.replace(/^\[cdktr\] /, "");
  const list =
    parts.length > 1 || more > 0
      ? `<h2>${escaped(head)}</h2><ul>${parts.map(({ title }) => `<li>${escaped(title)}</li>`).join("")}</ul>`
      : "";
  const rest = more > 0 ? `<p>… and ${more} more: <code>cdktr alerts list --all</code></p>` : "";
  return `<!DOCTYPE html><html><head><meta charset="utf-8"><title>${escaped(head)}</title></head><body style="${BODY}">${list}${parts.map(htmlOfPart).join("")}${rest}</body></html>\n`;
}

function htmlOfPart({ title, facts, tasks, log, commands }: Part): string {
  const rows = facts.map(
    ([name, value]) =>
      `<tr><td style="${CELL}; color: #666">${escaped(name)}</td><td style="${CELL}">${escaped(value)}</td></tr>`,
  );
  const blocks = [`<h3>${escaped(title)}</h3><table cellspacing="0">${rows.join("")}</table>`];
  if (tasks.length > 0)
    blocks.push(
      `<p>${failedTitle(tasks)}</p><ul>${tasks.map((task) => `<li>${escaped(task)}</li>`).join("")}</ul>`,
    );
  if (log !== null) {
    blocks.push(`<p>${escaped(log.title)}${log.lines.length === 0 ? "" : ":"}</p>`);
    if (log.lines.length > 0) blocks.push(`<pre style="${CODE}">${log.lines.map(escaped).join("\n")}</pre>`);
  }
  if (commands.length > 0)
    blocks.push(`<p>To look further:</p><pre style="${CODE}">${commands.map(escaped).join("\n")}</pre>`);
  return blocks.join("");
}

function escaped(text: string): string {
  return Bun.escapeHTML(text);
}
