import { brokenText, isBroken } from "../../contract/expectations.ts";
import type { PrincipalInfo, WorkflowSummary } from "../../contract/messages.ts";
import { pausedText } from "../../contract/pauses.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { schedulesOf } from "../../workflow/schedules.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatInstant, formatRelative, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "list", description: "List the workflows" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details:
      "A workflow marked ! has a problem, which is printed below the table: its file is no longer valid (the last valid version stays in use), a trigger can never work, or its latest firing was refused. One marked LATE or MISSED has not done what 'expect' in its file says.",
    examples: [
      { command: "cdktr workflow list", does: "what there is, and when it runs next" },
      { command: "cdktr workflow list --json | jq -r '.[].workflow_id'", does: "the ids, for a program" },
    ],
  },
  async run({ args }) {
    const { workflows, invalid } = await withPrincipal(args, async ({ client, info }) => {
      sayStateError(info);
      return {
        workflows: Object.values(await client.listWorkflows()),
        invalid: info.invalid_workflow_files,
      };
    });
    const now = principalNow();
    if (args.json) return printJson(workflows.map(summaryJson));
    for (const line of workflows.length === 0 ? [] : workflowTable(workflows, now)) await printLine(line);
    if (workflows.length === 0) say("No workflows.");
    for (const workflow of workflows) {
      const paused = pauseOfWorkflow(workflow);
      if (paused !== null) say(`${workflow.id}: ${paused}`);
      for (const broken of brokenOf(workflow)) say(`${workflow.id}: ${broken}`);
      for (const problem of problemsOf(workflow, now)) say(`${workflow.id}: ${plainText(problem)}`);
    }
    if (invalid.length === 0) return;
    say(`${plural(invalid.length, "file")} in the workflow directory cannot be used:`);
    for (const { path, waiting = 0 } of invalid) {
      const wait = waiting === 0 ? "" : ` (${plural(waiting, "workflow")} below it not loaded)`;
      say(`  ${plainText(path)}${wait}`);
    }
    say("'cdktr workflow validate' on the principal's host shows what is wrong.");
  },
});

/** Says what is missing while the principal cannot read its state. */
export function sayStateError({ state_error }: PrincipalInfo): void {
  if (state_error == null) return;
  const { yellow } = styleFor("stderr");
  say(
    `${yellow("warning:")} ${state_error} Definitions are current; how far schedules have come (schedule_cursor_ms) is as it was read last.`,
  );
}

/** A workflow with the field names of the contract. */
export function summaryJson({ id, ...rest }: WorkflowSummary) {
  return { workflow_id: id, ...rest };
}

/** Why a workflow does nothing now; nothing for one that is not paused. */
export function pauseOfWorkflow({ paused }: WorkflowSummary): string | null {
  return paused === undefined ? null : plainText(pausedText(paused, formatInstant));
}

/** What is late or missed of a workflow, as sentences. */
export function brokenOf({ expectations = [] }: WorkflowSummary): string[] {
  return expectations.filter(isBroken).map((each) => plainText(brokenText(each, formatInstant)));
}

/** What keeps a workflow, or one of its triggers, from working. */
export function problemsOf(workflow: WorkflowSummary, now: number): string[] {
  const { error, trigger_problems = [], refused } = workflow;
  return [
    ...(error === null
      ? []
      : [`the file is invalid, its last valid version stays in use: ${firstLine(error)}`]),
    ...trigger_problems,
    ...(refused == null
      ? []
      : [
          `a firing (${refused.trigger}) was refused ${formatRelative(refused.timestamp_ms, now)}: ${refused.message}`,
        ]),
  ];
}

function isSound({ error, trigger_problems = [], refused }: WorkflowSummary): boolean {
  return error === null && trigger_problems.length === 0 && refused == null;
}

/** What stands behind the id of a workflow that needs somebody. */
function marksOf(workflow: WorkflowSummary): string[] {
  const broken = new Set(
    (workflow.expectations ?? []).filter(isBroken).map(({ state }) => state.toUpperCase()),
  );
  return [...(isSound(workflow) ? [] : ["!"]), ...broken];
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}

/** Its triggers other than cron. */
function triggerKinds({ on }: WorkflowSummary): string[] {
  return on === undefined ? [] : TRIGGERS.filter((kind) => on[kind] != null);
}

const TRIGGERS = ["webhook", "file", "workflow"] as const;

/** Its schedule, or the first of several and the number of the others. */
function cronText(workflow: WorkflowSummary): string {
  const [first, ...others] = schedulesOf(workflow);
  if (first === undefined) return "-";
  const { cron, timezone } = first;
  const more = others.length === 0 ? "" : ` +${others.length}`;
  return `${cron}${timezone === null ? "" : ` (${timezone})`}${more}`;
}

function workflowTable(workflows: readonly WorkflowSummary[], now: number): string[] {
  const style = styleFor("stdout");
  return renderTable<WorkflowSummary>(
    [
      {
        title: "WORKFLOW",
        value: (workflow) => [workflow.id, ...marksOf(workflow)].join(" "),
        paint: (workflow) => (marksOf(workflow).length === 0 ? (text) => text : style.yellow),
      },
      { title: "NAME", value: (workflow) => workflow.name, flexible: true, dispensable: true },
      { title: "TASKS", value: (workflow) => String(workflow.tasks), align: "right", dispensable: true },
      {
        title: "CRON",
        value: (workflow) => cronText(workflow),
        flexible: true,
      },
      { title: "ON", value: (workflow) => triggerKinds(workflow).join(" ") || "-" },
      {
        title: "NEXT",
        value: ({ next_firing_ms: next, paused }) =>
          paused !== undefined
            ? "paused"
            : next == null
              ? "-"
              : `${formatInstant(next)} (${formatRelative(next, now)})`,
        short: ({ next_firing_ms: next, paused }) =>
          paused !== undefined ? "paused" : next == null ? "-" : formatRelative(next, now),
      },
    ],
    workflows,
  );
}
