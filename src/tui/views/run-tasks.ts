/** The tasks of a run: as a table, and one of them in detail. */

import { allowedSuffix } from "../../contract/allowed-failures.ts";
import { childWord } from "../../contract/child-runs.ts";
import { itemsWord } from "../../contract/item-counts.ts";
import type { ItemCounts, ItemSummary, RunDetails, TaskRunSummary } from "../../contract/messages.ts";
import { isShared } from "../../contract/run-agents.ts";
import { waitsOf } from "../../contract/run-waits.ts";
import { tookMs } from "../../contract/took.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { fit, width, wrapWords } from "../../terminal/text.ts";
import { dependencyText } from "../../workflow/conditions.ts";
import { factsOf, scriptTextOf } from "../../workflow/kinds/index.ts";
import type { TaskDefinition } from "../../workflow/model.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { duration, kibibytes, moment, until } from "../format.ts";
import { approvalOf } from "../lists/approval-rows.ts";
import { itemsOver } from "../lists/run-tasks.ts";
import { type TaskRow, taskRows } from "../lists/task-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN, RED, type Style, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { STATUS_LOOK, statusSpans } from "../status-look.ts";
import { type Column, drawTable } from "./table.ts";

/** How a task run ended, in a few words. */
function ending(task: TaskRunSummary | undefined): string {
  if (task === undefined) return "";
  if (task.signal !== null) return task.signal;
  return task.exit_code === null ? "" : String(task.exit_code);
}

/** Its status; a failure that is allowed is not shown as alarming. */
function taskStatus(task: TaskRunSummary | undefined): Span[] {
  const spans = statusSpans(task?.status ?? "PENDING");
  return task?.is_allowed === true ? spans.map(([text]): Span => [text, YELLOW]) : spans;
}

export function drawTaskTable(region: Region, run: RunDetails, state: State, name: string): void {
  const cell = (text: string, style = PLAIN): Span[] => [[text, style]];
  const { rows } = taskRows(state, run);
  const hasFanOut = rows.some((row) => row.kind !== "task" || row.fold !== null);
  const agent: Column<TaskRow> = {
    title: "AGENT",
    width: 8,
    grow: 1,
    cell: (row) => cell(runOf(row)?.agent_id ?? "–", DIM),
  };
  const column = (cellOf: (execution: TaskRunSummary | undefined) => Span[]) => (row: TaskRow) =>
    cellOf(runOf(row));
  const filter = state.lists[name]?.filter ?? "";
  drawTable<TaskRow>(region, {
    name,
    rows,
    list: state.lists[name],
    id: (row) => row.id,
    remark: (row) => (row.kind === "note" ? nameSpans(row, hasFanOut) : null),
    empty: filter === "" ? "" : `No task and no item matches "${filter}". Esc clears the filter.`,
    columns: [
      { title: "TASK", width: hasFanOut ? 20 : 12, grow: 2, cell: (row) => nameSpans(row, hasFanOut) },
      { title: "STATUS", width: 11, cell: rowStatus },
      ...(isShared(run) ? [agent] : []),
      {
        title: "TIME",
        width: 6,
        align: "right",
        cell: column((task) => {
          const ms = task === undefined ? null : tookMs(task, state.now);
          return cell(ms === null ? "–" : duration(ms), ms === null ? DIM : PLAIN);
        }),
      },
      {
        title: "EXIT",
        width: 7,
        align: "right",
        cell: column((task) => cell(ending(task), (task?.exit_code ?? 0) === 0 ? PLAIN : RED | BOLD)),
      },
      {
        title: "TRY",
        width: 3,
        align: "right",
        cell: column((task) => cell(String(task?.task_attempt ?? 0), DIM)),
      },
      {
        title: "CPU",
        width: 6,
        from: 70,
        align: "right",
        cell: column((task) => cell(task?.cpu_ms == null ? "–" : duration(task.cpu_ms), DIM)),
      },
      {
        title: "MEMORY",
        width: 6,
        from: 84,
        align: "right",
        cell: column((task) => cell(task?.max_rss_kb == null ? "–" : kibibytes(task.max_rss_kb), DIM)),
      },
      { title: "COMMAND", width: 10, grow: 3, cell: (row) => remark(row, run, state) },
    ],
  });
}

/** The task run of a row. */
export function runOf(row: TaskRow): TaskRunSummary | undefined {
  return row.kind === "item" ? row.item : row.task.run;
}

function rowStatus(row: TaskRow): Span[] {
  return isUnknown(row) ? [["…", DIM]] : taskStatus(runOf(row));
}

/** `▸ load 312/5,000`, and below it `[orders]`. */
function nameSpans(row: TaskRow, hasFanOut: boolean): Span[] {
  const name: Span = [plainName(row, hasFanOut), row.kind === "note" ? YELLOW : isUnknown(row) ? DIM : PLAIN];
  return row.kind === "task" ? [name, ...itemSpans(row.task.run)] : [name];
}

/** The name of a row, with what shows where it belongs. @param hasFanOut whether tasks are moved in for the marks of those that fold */
export function plainName(row: TaskRow, hasFanOut: boolean): string {
  switch (row.kind) {
    case "note":
      return `    ${printable(row.text)}`;
    case "item":
      return `    ${row.item === undefined ? `#${row.index}` : itemLabel(row.item)}`;
    case "task":
      return `${hasFanOut ? (row.fold === null ? "  " : row.fold === "open" ? "▾ " : "▸ ") : ""}${row.task.id}`;
  }
}

/** Whether a row stands for an item that has not begun, or is not known yet. */
function isUnknown(row: TaskRow): boolean {
  return row.kind === "item" && row.item === undefined;
}

function itemLabel({ item_key }: ItemSummary): string {
  return `[${printable(item_key)}]`;
}

/** The last column: the command, what comes instead of it, or a fan-out's progress. */
function remark(row: TaskRow, run: RunDetails, state: State): Span[] {
  if (row.kind === "note") return [];
  const { now } = state;
  const execution = runOf(row);
  const { definition } = row.task;
  if (execution?.status === "SKIPPED" || (row.kind === "item" && execution?.error != null))
    return [[printable(execution.error ?? ""), DIM]];
  const itemKey = row.kind === "item" ? (row.item?.item_key ?? "") : undefined;
  const approval = approvalOf(state, run.workflow_instance_id, row.task.id, itemKey);
  if (approval !== undefined) return [[`asks: ${printable(approval.message.replace(/\s+/g, " "))}`, YELLOW]];
  const due = definition === null ? null : dueWord(definition, execution, now);
  if (due !== null) return [[due, YELLOW]];
  if (execution?.child !== undefined)
    return [[childWord(execution.child), STATUS_LOOK[execution.child.status].style]];
  if (row.kind === "item") return [];
  if (execution?.items !== undefined && execution.items.total > 0) return itemsBar(execution.items);
  return [[definition === null ? "" : command(definition), DIM]];
}

const BAR = 10;
/** In the order in which the parts of the bar follow each other. */
const PARTS: readonly RunStatus[] = [
  "COMPLETED",
  "SKIPPED",
  "CANCELLED",
  "FAILED",
  "CRASHED",
  "RUNNING",
  "WAITING",
];

/** A bar with a part for each status, and the numbers. */
function itemsBar({ total, by_status }: ItemCounts): Span[] {
  const spans: Span[] = [];
  let items = 0;
  let drawn = 0;
  for (const status of PARTS) {
    const count = by_status[status] ?? 0;
    if (count === 0) continue;
    items += count;
    // What is there is seen, even if it is little.
    const end = Math.min(BAR, Math.max(drawn + 1, Math.floor((items / total) * BAR)));
    spans.push(["█".repeat(end - drawn), STATUS_LOOK[status].style]);
    drawn = end;
  }
  spans.push(["░".repeat(BAR - drawn), DIM]);
  const failed = (by_status.FAILED ?? 0) + (by_status.CRASHED ?? 0);
  const running = by_status.RUNNING ?? 0;
  const word = (n: number) => n.toLocaleString("en");
  if (failed > 0) spans.push([` ${word(failed)} failed`, RED | BOLD]);
  if (running > 0) spans.push([` ${word(running)} running`, CYAN]);
  const waiting = by_status.WAITING ?? 0;
  if (waiting > 0) spans.push([` ${word(waiting)} waiting`, YELLOW]);
  return spans;
}

/** How many items of a fan-out are over, red if some of them failed; nothing for any other task. */
function itemSpans(task: TaskRunSummary | undefined): Span[] {
  if (task?.items === undefined) return [];
  const { FAILED = 0, CRASHED = 0 } = task.items.by_status;
  return [[` ${itemsOver(task.items)}`, FAILED + CRASHED > 0 ? RED : DIM]];
}

/** When a task that waits goes on, such as `next attempt in 12s`; null if it does not wait, or nobody knows. */
export function dueWord(
  definition: TaskDefinition,
  execution: TaskRunSummary | undefined,
  now: number,
): string | null {
  if (execution?.status !== "WAITING" || execution.next_attempt_ms == null) return null;
  const isPause = factsOf(definition.config).waitsFor === "time";
  const what = isPause ? "over" : definition.repeat === undefined ? "next attempt" : "asks again";
  return `${what} ${until(execution.next_attempt_ms - now)}, at ${moment(execution.next_attempt_ms, now)}`;
}

/** The command of a task as it would be typed. */
export function command({ config }: TaskDefinition): string {
  const facts = factsOf(config);
  const runner = facts.runner?.(config) ?? [];
  const script = scriptTextOf(config);
  const words = [...runner, ...facts.command(config)];
  const line =
    script === null
      ? words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`)).join(" ")
      : [...runner, script.trim()].join(" ");
  return printable(line.replace(/\s*\n\s*/g, " ↵ "));
}

/** The selected task, or item, in at least three rows: long reasons take those that are left. */
export function drawTask(region: Region, state: State, run: RunDetails, row: TaskRow): void {
  if (row.kind === "note") return;
  const { now } = state;
  const { definition, id } = row.task;
  const execution = runOf(row);
  const ms = execution === undefined ? null : tookMs(execution, now);
  const facts: string[] = [];
  if (ms !== null) facts.push(duration(ms));
  if (execution?.child !== undefined)
    facts.push(`run ${childWord(execution.child)} ${execution.child.status}`);
  if (execution?.items !== undefined) facts.push(itemsWord(execution.items));
  if (execution?.exit_code != null) facts.push(`exit ${execution.exit_code}`);
  if (execution?.signal != null) facts.push(execution.signal);
  if (execution !== undefined && execution.task_attempt > 1) facts.push(attemptWord(definition, execution));
  const due = definition === null ? null : dueWord(definition, execution, now);
  if (due !== null) facts.push(due);
  if (execution?.agent_id != null) facts.push(`on ${execution.agent_id}`);
  if (execution?.cpu_ms != null) facts.push(`CPU ${duration(execution.cpu_ms)}`);
  if (execution?.max_rss_kb != null) facts.push(`memory ${kibibytes(execution.max_rss_kb)}`);
  if (execution?.started_at_ms != null) facts.push(`started ${moment(execution.started_at_ms, now)}`);
  const name =
    row.kind === "task" ? id : `${id}${row.item === undefined ? ` #${row.index}` : itemLabel(row.item)}`;
  region.spans(0, 0, [
    ...rowStatus(row),
    [execution === undefined ? "" : allowedSuffix(execution), YELLOW],
    [`  ${name}`, CYAN | BOLD],
    [definition === null || definition.name === id ? "" : `  ${definition.name}`, PLAIN],
    [
      definition === null || definition.depends.length === 0
        ? ""
        : `  after ${definition.depends.map((other) => dependencyText(definition, other)).join(", ")}`,
      DIM,
    ],
  ]);
  region.spans(0, 1, [[definition === null ? "" : `$ ${command(definition)}`, DIM]]);
  const wait = waitsOf(run).find(({ tasks }) => tasks.includes(id));
  if (wait !== undefined && execution === undefined) {
    // It has not run: a long reason may take the place of its command.
    drawReason(
      region,
      `Waits for ${wait.kind === "pool" ? "a pool" : "an agent"}: ${wait.reason}.`,
      YELLOW,
      0,
    );
    return;
  }
  const words = facts.join(" · ");
  region.spans(0, 2, [[words, PLAIN]]);
  const itemKey = row.kind === "item" ? (row.item?.item_key ?? "") : undefined;
  const approval = approvalOf(state, run.workflow_instance_id, id, itemKey);
  if (approval !== undefined) {
    const how = approval.refusal ?? "A approves, R rejects";
    const asked = printable(approval.message.replace(/\s+/g, " ").trim());
    drawReason(region, `Asks: ${asked} (${how})`, YELLOW, words === "" ? 0 : width(words) + 2);
    return;
  }
  if (execution?.error == null) return;
  const isCalm = execution.status === "SKIPPED" || execution.is_allowed === true;
  drawReason(region, printable(execution.error), isCalm ? YELLOW : RED, words === "" ? 0 : width(words) + 2);
}

/** A reason: in the row of the facts if there is room beside them, else in the rows below it, or in place of the command. */
function drawReason(region: Region, text: string, style: Style, beside: number): void {
  if (beside > 0 && beside + width(text) <= region.width) {
    region.text(beside, 2, text, style);
    return;
  }
  const [first, last] = beside === 0 ? [1, region.height] : region.height > 3 ? [3, region.height] : [1, 2];
  const lines = wrapWords(text, region.width).slice(0, last - first);
  for (const [i, line] of lines.entries()) {
    // The last one ends with the panel, so that a short one leaves the command where it is.
    const y = last - lines.length + i;
    region.sub(0, y, region.width, 1).clear();
    const isCut = i === lines.length - 1 && wrapWords(text, region.width).length > lines.length;
    region.text(0, y, isCut ? fit(`${line} …`, region.width) : line, style);
  }
}

function attemptWord(definition: TaskDefinition | null, { task_attempt }: TaskRunSummary): string {
  const most =
    definition?.repeat === undefined ? definition?.retry.max_attempts : definition.repeat.max_attempts;
  return `attempt ${task_attempt}${most == null ? "" : ` of ${most}`}`;
}
