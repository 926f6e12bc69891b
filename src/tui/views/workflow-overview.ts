/** A workflow's description, schedule and tasks. */

import { tookMs } from "../../contract/took.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { wrapWords } from "../../terminal/text.ts";
import { dependencyText } from "../../workflow/conditions.ts";
import { hookTasks } from "../../workflow/hooks.ts";
import type { TaskDefinition } from "../../workflow/model.ts";
import { paramRulesText } from "../../workflow/param-types.ts";
import { entryFacts, entryInWords } from "../../workflow/schedule-words.ts";
import { schedulesOf } from "../../workflow/schedules.ts";
import { itemsText, whenText } from "../../workflow/task-words.ts";
import { dateTime, duration, moment, until } from "../format.ts";
import { HISTORY, runsByWorkflow } from "../lists/workflow-rows.ts";
import { pauseText } from "../overlays/ask.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN, RED, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { statusSpans } from "../status-look.ts";
import { drawLines } from "./lines.ts";
import { command } from "./run-tasks.ts";
import { sparkline } from "./spark.ts";

export function drawOverview(region: Region, state: State, id: string): void {
  drawLines(
    region,
    overviewLines(state, id, region.width),
    state.scroll[`workflow:${id}:overview`] ?? 0,
    `workflow:${id}:overview`,
  );
}

function overviewLines(state: State, id: string, width: number): Span[][] {
  const workflow = state.data.workflows?.find((one) => one.id === id);
  if (workflow === undefined) {
    return [[[state.data.workflows === null ? "Loading …" : `The workflow ${id} no longer exists.`, DIM]]];
  }
  const lines: Span[][] = [
    [[workflow.name, BOLD]],
    [
      [workflow.id, CYAN],
      [`  ${workflow.path}`, DIM],
    ],
  ];
  if (workflow.error !== null) {
    lines.push([]);
    lines.push([["✗ The file is invalid; the last valid version stays in use:", RED | BOLD]]);
    for (const line of wrapWords(workflow.error, width)) lines.push([[line, RED]]);
  }
  const problems = [...(workflow.trigger_problems ?? [])];
  if (workflow.refused != null) {
    const { trigger, timestamp_ms, message } = workflow.refused;
    problems.push(`A firing (${trigger}) was refused ${moment(timestamp_ms, state.now)}: ${message}`);
  }
  for (const problem of problems) {
    lines.push([]);
    for (const line of wrapWords(`✗ ${problem}`, width)) lines.push([[line, RED]]);
  }
  if (workflow.description !== null) {
    lines.push([]);
    for (const line of wrapWords(workflow.description.trim(), width)) lines.push([[line, PLAIN]]);
  }
  if (workflow.paused !== undefined) {
    lines.push([]);
    for (const line of wrapWords(`‖ ${pauseText(workflow.paused, state.now)}`, width))
      lines.push([[line, YELLOW]]);
  }
  lines.push([], [["Schedule", BOLD]]);
  lines.push(...scheduleLines(state, workflow));
  const params = Object.entries(workflow.params);
  if (params.length > 0) {
    lines.push([], [["Parameters", BOLD]]);
    for (const [name, param] of params) {
      const { description, default: text, default_template: byDefault = text } = param;
      const rules = paramRulesText(param);
      lines.push([
        [`  ${name}`, CYAN],
        [
          byDefault === null ? " (required)" : ` = ${JSON.stringify(byDefault)}`,
          byDefault === null ? BOLD : PLAIN,
        ],
        [rules === "" ? "" : `  ${rules}`, DIM],
        [description === null ? "" : `  ${description}`, DIM],
      ]);
    }
  }
  const runs = runsByWorkflow(state.data.runs).get(id) ?? [];
  lines.push([], [["Last runs  ", BOLD], ...sparkline(runs, HISTORY, state.now)]);
  if (runs.length === 0) lines.push([["  It has not run yet; t triggers it.", DIM]]);
  for (const run of runs.slice(0, 5)) {
    const ms = tookMs(run, state.now);
    const took = ms === null ? "" : duration(ms);
    lines.push([
      ["  ", PLAIN],
      ...statusSpans(run.status).map(([text, style]): Span => [text.padEnd(12), style]),
      [`${moment(run.created_at_ms, state.now).padEnd(17)} ${took.padEnd(7)} ${run.trigger}`, DIM],
    ]);
  }
  const definition = state.data.workflowDetails.get(id)?.definition;
  lines.push([], [[`Tasks (${workflow.tasks})`, BOLD]]);
  for (const task of definition?.tasks ?? []) lines.push(...taskLines(task, width));
  const hooks = definition === undefined ? [] : hookTasks(definition);
  if (hooks.length > 0) lines.push([], [["Hooks, when all tasks are over", BOLD]]);
  for (const hook of hooks) lines.push(...taskLines(hook, width));
  const outputs = Object.entries(definition?.outputs ?? {});
  if (outputs.length > 0) lines.push([], [["Outputs", BOLD]]);
  for (const [name, text] of outputs) {
    lines.push([
      [`  ${name}`, CYAN],
      [` = ${printable(text)}`, DIM],
    ]);
  }
  const problem = state.data.detailErrors.get(`workflow ${id}`);
  if (problem !== undefined) lines.push([[`  ${problem}`, RED]]);
  return lines;
}

function scheduleLines(state: State, workflow: NonNullable<State["data"]["workflows"]>[number]): Span[][] {
  const entries = schedulesOf(workflow);
  if (entries.length === 0) return [[["  None: it runs only when triggered.", DIM]]];
  const lines: Span[][] = entries.flatMap((entry) => {
    const facts = entryFacts(workflow.id, entry, "latest", dateTime);
    return [
      [
        [`  ${entryInWords(entry, workflow.schedule_timezone)}`, PLAIN] as const,
        [`  ${entry.cron}`, DIM] as const,
      ],
      ...(workflow.schedules === undefined || facts.length === 0
        ? []
        : [[[`    ${printable(facts.join(", "))}`, DIM] as const]]),
    ];
  });
  if (workflow.start_time !== null && workflow.schedules === undefined)
    lines.push([[`  not before ${workflow.start_time}`, DIM]]);
  const { next_firing_ms } = workflow;
  const firings = state.data.workflowDetails.get(workflow.id)?.next_firings_ms ?? [];
  const coming = firings.filter((firing) => firing > state.now);
  if (coming.length === 0 && next_firing_ms != null) coming.push(next_firing_ms);
  for (const [i, next] of coming.entries()) {
    lines.push([
      [i === 0 ? "  next " : "       ", DIM],
      [dateTime(next), PLAIN],
      [i === 0 ? `  ${until(next - state.now)}` : "", CYAN],
    ]);
  }
  return lines;
}

/** `every 30s until exit_code == 0, 120 times at most`. */
function repeatText({ every_ms, until: condition, max_attempts, timeout_ms }: RepeatPolicy): string {
  const limits = [
    max_attempts === undefined ? "" : `, ${max_attempts} times at most`,
    timeout_ms === undefined ? "" : `, for ${duration(timeout_ms)} at most`,
  ];
  return `every ${duration(every_ms)} until ${whenText({ when: condition }) ?? ""}${limits.join("")}`;
}

type RepeatPolicy = NonNullable<TaskDefinition["repeat"]>;

function taskLines(task: TaskDefinition, width: number): Span[][] {
  const after = task.depends.map((other) => dependencyText(task, other));
  const first: Span[] = [
    [`  ${task.id}`, CYAN],
    [task.depends.length === 0 ? "" : `  after ${after.join(", ")}`, DIM],
  ];
  const extras: string[] = [];
  const attempts = task.retry.templates?.max_attempts;
  const timeout = task.templates?.timeout;
  if (attempts !== undefined) extras.push(`${attempts} attempts`);
  else if (task.retry.max_attempts > 1) extras.push(`${task.retry.max_attempts} attempts`);
  if (timeout !== undefined) extras.push(`timeout ${timeout}`);
  else if (task.timeout_ms !== null) extras.push(`timeout ${duration(task.timeout_ms)}`);
  if (task.allow_failure !== undefined) extras.push("may fail");
  if (extras.length > 0) first.push([`  ${extras.join(", ")}`, DIM]);
  const lines: Span[][] = [first];
  const items = itemsText(task);
  const detail = (word: string, text: string) =>
    lines.push([
      [`    ${word} `, CYAN],
      [printable(text), PLAIN],
    ]);
  if (items !== null) {
    const most = task.max_parallel === undefined ? "" : `, ${task.max_parallel} at once`;
    detail(
      "for each",
      `${items}${most}${task.fail_fast === true ? ", the first failure cancels the others" : ""}`,
    );
  }
  const when = whenText(task);
  if (when !== null) detail("when", when);
  if (task.repeat !== undefined) detail("repeat", repeatText(task.repeat));
  if (width > 40) lines.push([[`    $ ${command(task)}`, DIM]]);
  return lines;
}
