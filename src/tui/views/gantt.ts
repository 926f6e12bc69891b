/** The Gantt chart of a run. */

import type { RunDetails } from "../../contract/messages.ts";
import { isShared } from "../../contract/run-agents.ts";
import { waitsOf } from "../../contract/run-waits.ts";
import { tookMs } from "../../contract/took.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { fit, pad, width } from "../../terminal/text.ts";
import { duration } from "../format.ts";
import { tasksOf } from "../lists/run-tasks.ts";
import { taskRows } from "../lists/task-rows.ts";
import type { Region } from "../screen/canvas.ts";
import { BOLD, DIM, INVERSE, PLAIN, UNDERLINE, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { STATUS_LOOK, statusSymbol } from "../status-look.ts";
import { dueWord, plainName, runOf } from "./run-tasks.ts";
import { drawScrollbar, keepInSight } from "./table.ts";

const LONGEST_NAME = 24;
const TIME = 7;
const LONGEST_AGENT = 20;
/** Columns from which the agents of the tasks are shown. */
const WITH_AGENTS = 76;

export function drawGantt(
  region: Region,
  run: RunDetails,
  state: State,
  name: string,
  selected: string | null,
): void {
  const { now } = state;
  const { rows, ids } = taskRows(state, run);
  const height = Math.max(0, region.height - 1);
  const top = keepInSight(
    state.lists[name]?.top ?? 0,
    selected === null ? -1 : ids.indexOf(selected),
    height,
    rows.length,
  );
  region.canvas.report(name, { top, height });
  const inSight = rows.slice(top, top + height);
  const hasFanOut = rows.some((row) => row.kind !== "task" || row.fold !== null);
  const starts = tasksOf(run).flatMap(({ run: task }) =>
    task?.started_at_ms == null ? [] : [task.started_at_ms],
  );
  const begin = Math.min(run.started_at_ms ?? now, ...starts);
  const end = Math.max(begin + 1, run.finished_at_ms ?? now);
  const labels = inSight.map((row) => plainName(row, hasFanOut));
  // As wide as all tasks need, so that the chart does not jump while it is scrolled.
  const widest = Math.max(
    4,
    ...tasksOf(run).map(({ id }) => width(id) + (hasFanOut ? 2 : 0)),
    ...labels.map(width),
  );
  const names = Math.min(LONGEST_NAME, widest);
  const left = names + 4;
  const shared = isShared(run) && region.width >= WITH_AGENTS;
  const agents = shared
    ? Math.min(LONGEST_AGENT, Math.max(5, ...inSight.map((row) => width(runOf(row)?.agent_id ?? ""))))
    : 0;
  const columns = Math.max(4, region.width - left - TIME - 2 - (shared ? agents + 2 : 0));
  drawAxis(region, left, columns, end - begin);
  const right = left + columns + 1 + TIME + 2;
  if (shared) region.text(right, 0, pad("AGENT", agents), BOLD | UNDERLINE);
  const waiting = new Set(waitsOf(run).flatMap((wait) => wait.tasks));
  for (const [y, row] of inSight.entries()) {
    const execution = runOf(row);
    const mark = row.id === selected ? INVERSE : PLAIN;
    region.hit(0, y + 1, region.width, 1, { kind: "row", list: name, id: row.id });
    if (row.kind === "note") {
      region.text(2, y + 1, fit(labels[y] ?? "", region.width - 4), YELLOW | mark);
      continue;
    }
    const status = execution?.status ?? "PENDING";
    const [symbol, style] = statusSymbol(status);
    if (row.kind === "task" || row.item !== undefined) region.text(0, y + 1, symbol, style);
    region.text(2, y + 1, pad(labels[y] ?? "", names), (status === "RUNNING" ? BOLD : PLAIN) | mark);
    const due = row.task.definition === null ? null : dueWord(row.task.definition, execution, now);
    if (execution?.started_at_ms == null) {
      const isWaiting = row.kind === "task" && waiting.has(row.id);
      const word = due ?? (isWaiting ? "waits for an agent" : null);
      if (word !== null) region.text(left, y + 1, fit(word, columns), YELLOW);
      else if (execution?.status === "SKIPPED")
        region.text(left, y + 1, fit(printable(execution.error ?? ""), columns), DIM);
      continue;
    }
    const at = (ms: number) => Math.round(((ms - begin) / (end - begin)) * columns);
    const from = Math.max(0, Math.min(columns - 1, at(execution.started_at_ms)));
    const ms = tookMs(execution, now) ?? 0;
    const to = Math.max(from + 1, Math.min(columns, at(execution.started_at_ms + ms)));
    region.text(left, y + 1, "·".repeat(columns), DIM);
    region.text(left + from, y + 1, "█".repeat(to - from), STATUS_LOOK[status].style);
    // It waits now: its last try is not what the bar is about.
    if (due !== null) region.text(left, y + 1, fit(`${due} `, columns), YELLOW);
    region.text(left + columns + 1, y + 1, pad(duration(ms), TIME, "right"));
    if (shared) region.text(right, y + 1, fit(execution.agent_id ?? "", agents), DIM);
  }
  drawScrollbar(region.sub(region.width - 1, 1, 1, height), top, height, rows.length);
}

/** The time axis along the top. */
function drawAxis(region: Region, left: number, columns: number, span: number): void {
  region.rule(0, UNDERLINE, " ");
  region.text(0, 0, "TASK", BOLD | UNDERLINE);
  const marks = Math.max(1, Math.floor(columns / 14));
  for (let i = 0; i <= marks; i++) {
    const label = i === 0 ? "0" : duration((span * i) / marks);
    const x = Math.round((columns * i) / marks);
    region.text(left + (i === 0 ? 0 : x - width(label)), 0, label, DIM | UNDERLINE);
  }
}
