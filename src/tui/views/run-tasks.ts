/** The tasks of a run: as a table, and one of them in detail. */

import { allowedSuffix } from "../../contract/allowed-failures.ts";
import { itemsWord } from "../../contract/item-counts.ts";
import type { RunDetails, TaskRunSummary } from "../../contract/messages.ts";
import { isShared } from "../../contract/run-agents.ts";
import { tookMs } from "../../contract/took.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { wrapWords } from "../../terminal/text.ts";
import { dependencyText } from "../../workflow/conditions.ts";
import { factsOf, scriptTextOf } from "../../workflow/kinds/index.ts";
import type { TaskDefinition } from "../../workflow/model.ts";
import { duration, kibibytes, moment, until } from "../format.ts";
import { type TaskOfRun, tasksOf } from "../lists/run-tasks.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN, RED, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { statusSpans } from "../status-look.ts";
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
  const agent: Column<TaskOfRun> = {
    title: "AGENT",
    width: 8,
    grow: 1,
    cell: ({ run: task }) => cell(task?.agent_id ?? "–", DIM),
  };
  drawTable<TaskOfRun>(region, {
    name,
    rows: tasksOf(run),
    list: state.lists[name],
    id: (task) => task.id,
    empty: "",
    columns: [
      { title: "TASK", width: 12, grow: 2, cell: (task) => [[task.id, PLAIN], ...itemSpans(task.run)] },
      { title: "STATUS", width: 11, cell: ({ run: task }) => taskStatus(task) },
      ...(isShared(run) ? [agent] : []),
      {
        title: "TIME",
        width: 6,
        align: "right",
        cell: ({ run: task }) => {
          const ms = task === undefined ? null : tookMs(task, state.now);
          return cell(ms === null ? "–" : duration(ms), ms === null ? DIM : PLAIN);
        },
      },
      {
        title: "EXIT",
        width: 7,
        align: "right",
        cell: ({ run: task }) => cell(ending(task), (task?.exit_code ?? 0) === 0 ? PLAIN : RED | BOLD),
      },
      {
        title: "TRY",
        width: 3,
        align: "right",
        cell: ({ run: task }) => cell(String(task?.task_attempt ?? 0), DIM),
      },
      {
        title: "CPU",
        width: 6,
        from: 70,
        align: "right",
        cell: ({ run: task }) => cell(task?.cpu_ms == null ? "–" : duration(task.cpu_ms), DIM),
      },
      {
        title: "MEMORY",
        width: 6,
        align: "right",
        cell: ({ run: task }) => cell(task?.max_rss_kb == null ? "–" : kibibytes(task.max_rss_kb), DIM),
      },
      {
        title: "COMMAND",
        width: 10,
        grow: 3,
        // What has not run has a reason instead.
        cell: ({ definition, run: task }) =>
          cell(
            task?.status === "SKIPPED" ? (task.error ?? "") : definition === null ? "" : command(definition),
            DIM,
          ),
      },
    ],
  });
}

/** How many items of a fan-out are over, red if some of them failed; nothing for any other task. */
function itemSpans(task: TaskRunSummary | undefined): Span[] {
  if (task?.items === undefined) return [];
  const { total, by_status } = task.items;
  const { PENDING = 0, RUNNING = 0, WAITING = 0, ...ended } = by_status;
  const over = Object.values(ended).reduce((sum, count) => sum + count, 0);
  const style = (by_status.FAILED ?? 0) + (by_status.CRASHED ?? 0) > 0 ? RED : DIM;
  return [[` ${over.toLocaleString("en")}/${total.toLocaleString("en")}`, style]];
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

/** One task in three rows. */
export function drawTask(region: Region, run: RunDetails, id: string, now: number): void {
  const task = tasksOf(run).find((one) => one.id === id);
  if (task === undefined) return;
  const { definition, run: execution } = task;
  const ms = execution === undefined ? null : tookMs(execution, now);
  const facts: string[] = [];
  if (ms !== null) facts.push(duration(ms));
  if (execution?.items !== undefined) facts.push(itemsWord(execution.items));
  if (execution?.exit_code != null) facts.push(`exit ${execution.exit_code}`);
  if (execution?.signal != null) facts.push(execution.signal);
  if (execution !== undefined && execution.task_attempt > 1) {
    facts.push(
      `attempt ${execution.task_attempt}${definition === null ? "" : ` of ${definition.retry.max_attempts}`}`,
    );
  }
  if (execution?.status === "WAITING" && execution.next_attempt_ms != null) {
    const isPause = definition !== null && factsOf(definition.config).waitsFor !== undefined;
    facts.push(`${isPause ? "over" : "next attempt"} ${until(execution.next_attempt_ms - now)}`);
  }
  if (execution?.agent_id != null) facts.push(`on ${execution.agent_id}`);
  if (execution?.cpu_ms != null) facts.push(`CPU ${duration(execution.cpu_ms)}`);
  if (execution?.max_rss_kb != null) facts.push(`memory ${kibibytes(execution.max_rss_kb)}`);
  if (execution?.started_at_ms != null) facts.push(`started ${moment(execution.started_at_ms, now)}`);
  region.spans(0, 0, [
    ...taskStatus(execution),
    [execution === undefined ? "" : allowedSuffix(execution), YELLOW],
    [`  ${id}`, CYAN | BOLD],
    [definition === null || definition.name === id ? "" : `  ${definition.name}`, PLAIN],
    [
      definition === null || definition.depends.length === 0
        ? ""
        : `  after ${definition.depends.map((other) => dependencyText(definition, other)).join(", ")}`,
      DIM,
    ],
  ]);
  region.spans(0, 1, [[definition === null ? "" : `$ ${command(definition)}`, DIM]]);
  const wait = run.waits?.find(({ tasks }) => tasks.includes(id));
  if (wait !== undefined && execution === undefined) {
    // It has not run: a long reason may take the place of its command.
    const lines = wrapWords(`Waits for an agent: ${wait.reason}.`, region.width).slice(0, 2);
    for (const [i, line] of lines.entries()) {
      region.sub(0, 3 - lines.length + i, region.width, 1).clear();
      region.spans(0, 3 - lines.length + i, [[line, YELLOW]]);
    }
    return;
  }
  region.spans(0, 2, [
    [facts.join(" · "), PLAIN],
    [
      execution?.error == null ? "" : `${facts.length > 0 ? "  " : ""}${execution.error}`,
      execution?.status === "SKIPPED" || execution?.is_allowed === true ? YELLOW : RED,
    ],
  ]);
}
