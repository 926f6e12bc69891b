/** A log: its lines, filters, search and follow state. */

import { fit, pad, width, wrapHard } from "../../terminal/text.ts";
import { clockMs } from "../format.ts";
import type { ShownLine } from "../logs/log-buffer.ts";
import { finder } from "../logs/log-buffer.ts";
import { type LogView, sourceName } from "../logs/log-view.ts";
import type { Region, Span } from "../screen/canvas.ts";
import {
  BLUE,
  BOLD,
  CYAN,
  DIM,
  GREEN,
  INVERSE,
  MAGENTA,
  PLAIN,
  RED,
  type Style,
  YELLOW,
} from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawScrollbar } from "./table.ts";

const LONGEST_TASK = 14;
const TASK_COLOURS: readonly Style[] = [CYAN, GREEN, MAGENTA, BLUE, YELLOW];

export function drawLog(region: Region, state: State): void {
  const { log } = state;
  drawStatus(region, log);
  const body = region.sub(0, 1, region.width, region.height - 1);
  const { shown } = log.buffer;
  if (shown.length === 0) {
    drawEmpty(body, log);
    body.canvas.report("log", { top: 0, height: body.height });
    return;
  }
  const widest = widestNames(log);
  const columns: Columns = {
    all: body.width - 1,
    workflow: log.source.kind === "all" ? Math.min(24, Math.floor(region.width / 5), widest.workflow) : 0,
    task: Math.min(LONGEST_TASK, widest.task),
  };
  const rows = (line: ShownLine, index: number) => lineRows(log, line, index, columns);
  const top = log.follow ? lastPage(log, body.height, rows) : Math.min(log.top, shown.length - 1);
  let y = 0;
  let index = top;
  for (; index < shown.length && y < body.height; index++) {
    const line = shown[index];
    if (line === undefined) break;
    for (const spans of rows(line, index)) {
      if (y >= body.height) break;
      body.spans(0, y, spans, body.width - 1);
      if (index === log.match) body.sub(0, y, body.width - 1, 1).restyle(0, BOLD);
      y++;
    }
  }
  body.canvas.report("log", { top, height: Math.max(1, log.wrap ? index - top : body.height) });
  drawScrollbar(body.sub(body.width - 1, 0, 1, body.height), top, body.height, shown.length);
}

/** The first line of the last page, so that the newest line is at the bottom. */
function lastPage(log: LogView, height: number, rows: (line: ShownLine, index: number) => Span[][]): number {
  const { shown } = log.buffer;
  if (!log.wrap) return Math.max(0, shown.length - height);
  let left = height;
  for (let index = shown.length - 1; index >= 0; index--) {
    const line = shown[index];
    if (line === undefined) return 0;
    left -= rows(line, index).length;
    if (left < 0) return Math.min(index + 1, shown.length - 1);
  }
  return 0;
}

/** Column widths of the parts of a line. */
interface Columns {
  readonly all: number;
  /** 0: the workflow is not shown. */
  readonly workflow: number;
  readonly task: number;
}

const counted = new WeakMap<object, { size: number; workflow: number; task: number }>();

/** The longest names among the lines in memory, updated as lines arrive. */
function widestNames(log: LogView): { workflow: number; task: number } {
  const { shown } = log.buffer;
  let known = counted.get(log.buffer);
  if (known === undefined || known.size > shown.length) known = { size: 0, workflow: 1, task: 1 };
  let { workflow, task } = known;
  for (let i = known.size; i < shown.length; i++) {
    workflow = Math.max(workflow, width(shown[i]?.workflow_id ?? ""));
    task = Math.max(task, width(shown[i]?.task_name ?? ""));
  }
  counted.set(log.buffer, { size: shown.length, workflow, task });
  return { workflow, task };
}

/** The screen rows of a line: one, or several when it is wrapped. */
function lineRows(log: LogView, line: ShownLine, index: number, columns: Columns): Span[][] {
  const head: Span[] = [];
  if (log.timestamps) head.push([`${clockMs(line.timestamp_ms)} `, DIM]);
  if (columns.workflow > 0) head.push([`${pad(line.workflow_id, columns.workflow)} `, DIM]);
  head.push([`${pad(line.task_name, columns.task)} `, taskColour(line.task_name)]);
  head.push(levelSpan(line));
  const taken = head.reduce((sum, [text]) => sum + width(text), 0);
  const space = Math.max(10, columns.all - taken);
  const style = line.level === "ERROR" ? RED : line.level === "WARN" ? YELLOW : PLAIN;
  if (!log.wrap) {
    const text = log.left > 0 ? cutLeft(line.text, log.left) : line.text;
    return [[...head, ...marked(fit(text, space), style, log, index)]];
  }
  const blank: Span = [" ".repeat(taken), PLAIN];
  return wrapHard(line.text, space).map((part, i) => [
    ...(i === 0 ? head : [blank]),
    ...marked(part, style, log, index),
  ]);
}

function levelSpan(line: ShownLine): Span {
  switch (line.level) {
    case "ERROR":
      return ["E ", RED | BOLD];
    case "WARN":
      return ["W ", YELLOW | BOLD];
    case "DEBUG":
      return ["D ", DIM];
    default:
      return ["  ", PLAIN];
  }
}

/** Text with search matches highlighted. */
function marked(text: string, style: Style, log: LogView, index: number): Span[] {
  const { search } = log.buffer;
  if (search === "") return [[text, style]];
  const find = finder(search);
  const spans: Span[] = [];
  let rest = text;
  for (let at = find(rest); at !== -1; at = find(rest)) {
    if (at > 0) spans.push([rest.slice(0, at), style]);
    const look = index === log.match ? BOLD | INVERSE | YELLOW : INVERSE | YELLOW;
    spans.push([rest.slice(at, at + search.length), look]);
    rest = rest.slice(at + search.length);
  }
  if (rest !== "") spans.push([rest, style]);
  return spans;
}

function cutLeft(text: string, columns: number): string {
  const rows = wrapHard(text, columns);
  return rows.slice(1).join("");
}

function taskColour(name: string): Style {
  let sum = 0;
  for (let i = 0; i < name.length; i++) sum = (sum * 31 + name.charCodeAt(i)) >>> 0;
  return TASK_COLOURS[sum % TASK_COLOURS.length] ?? CYAN;
}

/** Columns from which the status line has the whole id of a run. */
const WITH_WHOLE_ID = 110;

/** The status line above the log. */
function drawStatus(region: Region, log: LogView): void {
  const { buffer } = log;
  const { filter, shown, matches, search } = buffer;
  const left: Span[] = [
    log.follow ? [" ▼ following ", BOLD | GREEN] : [" ‖ paused ", BOLD | YELLOW],
    // The tabs have the whole id of the run; here it leaves room for the filters.
    [sourceName(log.source).replace(region.width < WITH_WHOLE_ID ? /(?<=run \S{8})\S+$/ : "", ""), PLAIN],
  ];
  const chips: string[] = [];
  if (filter.task !== null) chips.push(`task=${filter.task}`);
  if (filter.level !== "DEBUG") chips.push(`≥${filter.level}`);
  if (filter.text !== "") chips.push(`contains "${filter.text}"`);
  if (chips.length > 0) left.push([`  ${chips.join("  ")}`, BOLD | CYAN]);
  if (log.left > 0) left.push([`  ← ${log.left}`, DIM]);
  if (log.warning !== null) left.push([`  ${log.warning}`, RED]);
  const right: string[] = [];
  if (search !== "") {
    const at = log.match === null ? 0 : matches.indexOf(log.match) + 1;
    const where = log.olderThere ? "not in the loaded lines" : "not found";
    right.push(matches.length === 0 ? `"${search}" ${where}` : `"${search}" ${at}/${matches.length}`);
  }
  if (log.status === "loading") right.push("loading …");
  if (log.status === "failed") right.push("not loaded");
  const total = shown.length === buffer.size ? "" : ` of ${buffer.size.toLocaleString("en")}`;
  right.push(`${shown.length.toLocaleString("en")}${total} lines`);
  if (log.olderThere) right.push(log.loadingOlder ? "loading older ones …" : "older ones not loaded");
  const text = right.join("  ");
  region.textRight(0, text, search !== "" && matches.length === 0 ? YELLOW : DIM, 1);
  region.spans(0, 0, left, Math.max(0, region.width - width(text) - 3));
}

function drawEmpty(region: Region, log: LogView): void {
  const { buffer } = log;
  const text =
    log.status === "loading"
      ? "Loading …"
      : buffer.size > 0
        ? "No line matches the filters. F clears them."
        : log.source.kind === "run"
          ? "This run has not printed anything."
          : "Nothing has been printed recently. New lines appear here as they are written.";
  region.text(1, 1, text, DIM);
}
