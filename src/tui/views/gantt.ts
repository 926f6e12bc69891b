/** The Gantt chart of a run. */

import type { RunDetails } from "../../contract/messages.ts";
import { isShared } from "../../contract/run-agents.ts";
import { tookMs } from "../../contract/took.ts";
import { fit, pad, width } from "../../terminal/text.ts";
import { duration } from "../format.ts";
import { tasksOf } from "../lists/run-tasks.ts";
import type { Region } from "../screen/canvas.ts";
import { BOLD, DIM, INVERSE, PLAIN, UNDERLINE, YELLOW } from "../screen/style.ts";
import type { ListState } from "../state.ts";
import { STATUS_LOOK, statusSymbol } from "../status-look.ts";
import { drawScrollbar, keepInSight } from "./table.ts";

const LONGEST_NAME = 24;
const TIME = 7;
const LONGEST_AGENT = 20;
/** Columns from which the agents of the tasks are shown. */
const WITH_AGENTS = 76;

export function drawGantt(
  region: Region,
  run: RunDetails,
  now: number,
  name: string,
  list: Readonly<ListState> | undefined,
  selected: string | null,
): void {
  const tasks = tasksOf(run);
  const starts = tasks.flatMap(({ run: task }) => (task?.started_at_ms == null ? [] : [task.started_at_ms]));
  const begin = Math.min(run.started_at_ms ?? now, ...starts);
  const end = Math.max(begin + 1, run.finished_at_ms ?? now);
  const names = Math.min(LONGEST_NAME, Math.max(4, ...tasks.map((task) => width(task.id))));
  const left = names + 4;
  const shared = isShared(run) && region.width >= WITH_AGENTS;
  const agents = shared
    ? Math.min(LONGEST_AGENT, Math.max(5, ...tasks.map(({ run: task }) => width(task?.agent_id ?? ""))))
    : 0;
  const columns = Math.max(4, region.width - left - TIME - 2 - (shared ? agents + 2 : 0));
  drawAxis(region, left, columns, end - begin);
  const right = left + columns + 1 + TIME + 2;
  if (shared) region.text(right, 0, pad("AGENT", agents), BOLD | UNDERLINE);
  const waiting = new Set(run.waits?.flatMap((wait) => wait.tasks));
  const height = Math.max(0, region.height - 1);
  const index = tasks.findIndex((task) => task.id === selected);
  const top = keepInSight(list?.top ?? 0, index, height, tasks.length);
  region.canvas.report(name, { top, height });
  for (let y = 0; y < height; y++) {
    const task = tasks[top + y];
    if (task === undefined) break;
    const { id, run: execution } = task;
    const status = execution?.status ?? "PENDING";
    const mark = id === selected ? INVERSE : PLAIN;
    const [symbol, style] = statusSymbol(status);
    region.text(0, y + 1, symbol, style);
    region.text(2, y + 1, pad(id, names), (status === "RUNNING" ? BOLD : PLAIN) | mark);
    region.hit(0, y + 1, region.width, 1, { kind: "row", list: name, id: id });
    if (execution?.started_at_ms == null) {
      if (waiting.has(id)) region.text(left, y + 1, fit("waits for an agent", columns), YELLOW);
      continue;
    }
    const at = (ms: number) => Math.round(((ms - begin) / (end - begin)) * columns);
    const from = Math.min(columns - 1, at(execution.started_at_ms));
    const ms = tookMs(execution, now) ?? 0;
    const to = Math.max(from + 1, Math.min(columns, at(execution.started_at_ms + ms)));
    region.text(left, y + 1, "·".repeat(columns), DIM);
    region.text(left + from, y + 1, "█".repeat(to - from), STATUS_LOOK[status].style);
    region.text(left + columns + 1, y + 1, pad(duration(ms), TIME, "right"));
    if (shared) region.text(right, y + 1, fit(execution.agent_id ?? "", agents), DIM);
  }
  drawScrollbar(region.sub(region.width - 1, 1, 1, height), top, height, tasks.length);
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
