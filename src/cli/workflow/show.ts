import type { WorkflowDetails, WorkflowSummary } from "../../contract/messages.ts";
import { plainText, quote } from "../../terminal/foreign-text.ts";
import { dependencyText } from "../../workflow/conditions.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { formatExitCodes } from "../../workflow/exit-codes.ts";
import { EXPECT_RULES, ruleInWords } from "../../workflow/expect.ts";
import { hookTasks } from "../../workflow/hooks.ts";
import { factsOf, scriptTextOf } from "../../workflow/kinds/index.ts";
import type { TaskDefinition, TriggerDefinitions, WorkflowDefinition } from "../../workflow/model.ts";
import { paramRulesText, paramsSchema } from "../../workflow/param-types.ts";
import { planOf } from "../../workflow/plan.ts";
import { entryFacts, entryInWords } from "../../workflow/schedule-words.ts";
import { schedulesOf } from "../../workflow/schedules.ts";
import type { SecretSource } from "../../workflow/secrets.ts";
import { expectedSlices, type NextSlice } from "../../workflow/slices.ts";
import { itemsText, whenText } from "../../workflow/task-words.ts";
import { aftersOf, filesOf, webhooksOf } from "../../workflow/triggers.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatInstant, formatRelative, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { printJson, printLine, writeStdout } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";
import { brokenOf, pauseOfWorkflow, problemsOf, sayStateError, summaryJson } from "./list.ts";

export default command({
  meta: { name: "show", description: "Show a workflow: schedule, parameters, tasks" },
  args: {
    id: {
      type: "positional",
      required: true,
      description: "The workflow's id, as shown by 'cdktr workflow list'",
    },
    source: { type: "boolean", description: "Print the YAML file in use" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    see: ["runs list"],
    completes: { id: "workflow" },
    examples: [
      { command: "cdktr workflow show etl.daily", does: "what it does and when" },
      { command: "cdktr workflow show etl.daily --source", does: "its file, as the principal has it" },
    ],
  },
  async run({ args }) {
    const details = await withPrincipal(args, ({ client, info }) => {
      sayStateError(info);
      return client.getWorkflow(args.id);
    });
    const now = principalNow();
    if (args.json) {
      return printJson({
        ...summaryJson(details.summary),
        definition: details.definition,
        source: details.source,
        params_schema: paramsSchema(details.definition.params),
      });
    }
    if (args.source) return writeStdout(details.source);
    await printWorkflow(details, now);
  },
});

const SHOWN_FIRINGS = 3;

async function printWorkflow(
  { summary, definition, next_firings_ms, notify: inherited }: WorkflowDetails,
  now: number,
): Promise<void> {
  const style = styleFor("stdout");
  const fact = async (label: string, value: string | null): Promise<void> => {
    if (value !== null) await printLine(`${style.dim(label.padEnd(13))}${value}`);
  };
  const { cron, timezone, start_time_ms, timeout_ms } = definition;
  await fact("Workflow", `${style.bold(definition.id)} (${plainText(definition.name)})`);
  await fact("Description", definition.description === null ? null : plainText(definition.description));
  await fact("File", plainText(summary.path));
  const paused = pauseOfWorkflow(summary);
  await fact("Paused", paused === null ? null : style.yellow(paused.replace(/^paused /, "")));
  if (cron !== null) {
    const zone = timezone ?? summary.schedule_timezone;
    await fact("Cron", zone === undefined ? cron : `${cron} (${zone})`);
    await fact("Not before", start_time_ms === null ? null : formatInstant(start_time_ms));
  }
  for (const [n, entry] of (definition.schedules ?? []).entries()) {
    const facts = entryFacts(definition.id, entry, "latest", formatInstant);
    const text = `${entry.cron}  ${[entryInWords(entry, summary.schedule_timezone), ...facts].join(", ")}`;
    await fact(n === 0 ? "Cron" : "", plainText(text));
  }
  if (schedulesOf(definition).length > 0) {
    const firings = next_firings_ms?.slice(0, SHOWN_FIRINGS);
    await fact(
      paused === null ? "Next" : "If resumed",
      firings?.length === 0
        ? "never"
        : (firings?.map((firing) => `${formatInstant(firing)} (${formatRelative(firing, now)})`).join(", ") ??
            null),
    );
  }
  if (cron !== null) await fact("Late firings", CATCHUP[definition.catchup]);
  for (const [label, value] of triggerFacts(definition.on)) await fact(label, plainText(value));
  for (const broken of brokenOf(summary)) {
    const [label = "", ...rest] = broken.split(" ");
    await fact(`${label[0]?.toUpperCase()}${label.slice(1)}`, style.yellow(rest.join(" ")));
  }
  for (const problem of problemsOf({ ...summary, error: null }, now)) {
    await fact("Problem", style.yellow(plainText(problem)));
  }
  await fact("At once", concurrencyFact(definition));
  await fact("Runs on", definition.runs_on === undefined ? null : plainText(labelsText(definition.runs_on)));
  await fact("Placement", placementFact(definition));
  await fact("Agent dies", FAILOVER[definition.failover]);
  await fact("Auto pause", autoPauseFact(definition));
  await fact("Keeps", retentionFact(definition));
  for (const [n, line] of expectFacts(summary, definition, now).entries())
    await fact(n === 0 ? "Expects" : "", plainText(line));
  for (const [n, rule] of (definition.notify ?? inherited ?? []).entries())
    await fact(n === 0 ? "Tells" : "", plainText(tellsText(rule)));
  await fact("Timeout", timeout_ms === null ? null : formatDuration(timeout_ms));
  await fact("Environment", environment(definition.env));
  const secrets = Object.entries(definition.secrets ?? {}).map(
    ([name, source]) => `${name}: ${whereIs(source)}`,
  );
  await fact("Secrets", secrets.length === 0 ? null : plainText(secrets.join(", ")));
  const outputs = Object.keys(definition.outputs ?? {});
  await fact("Outputs", outputs.length === 0 ? null : plainText(outputs.join(", ")));

  const params = Object.entries(definition.params);
  if (params.length > 0) {
    await printLine(`\n${style.bold("PARAMETERS")}`);
    const lines = renderTable(
      [
        { title: "NAME", value: ([name]: (typeof params)[number]) => name },
        ...(params.some(([, param]) => paramRulesText(param) !== "")
          ? [
              {
                title: "VALUE",
                value: ([, param]: (typeof params)[number]) => paramRulesText(param) || "string",
                flexible: true,
              },
            ]
          : []),
        {
          title: "DEFAULT",
          value: ([, param]) => param.default ?? param.default_template ?? "(must be given)",
          flexible: true,
        },
        { title: "DESCRIPTION", value: ([, param]) => param.description ?? "", flexible: true },
      ],
      params,
      { indent: 2 },
    );
    for (const line of lines) await printLine(line);
  }
  await printLine(`\n${style.bold("TASKS")}`);
  for (const line of taskTable(definition.tasks)) await printLine(line);
  const hooks = hookTasks(definition);
  if (hooks.length > 0) {
    await printLine(`\n${style.bold("HOOKS")}`);
    for (const line of taskTable(hooks)) await printLine(line);
  }
  if (summary.error !== null) {
    await printLine(
      `\n${style.yellow("The current file is invalid; this is the last valid version, which is in use:")}`,
    );
    for (const line of summary.error.split("\n")) await printLine(`  ${plainText(line)}`);
  }
}

function autoPauseFact({ auto_pause }: WorkflowDefinition): string | null {
  if (auto_pause === undefined) return null;
  const { after_failures: n } = auto_pause;
  return n === 1 ? "after a failure" : `after ${n} failures in a row`;
}

/** What is kept of its history. */
function retentionFact({ retention }: WorkflowDefinition): string | null {
  const { days, runs } = retention ?? {};
  const newest = typeof runs === "number" ? `the newest ${plural(runs, "run")}` : null;
  const young = typeof days === "number" ? `the last ${plural(days, "day")}` : null;
  if (newest === null) return young === null ? null : `runs of ${young}`;
  return young === null ? newest : `${newest}, as far as they are of ${young}`;
}

/** What is expected of it, and by when. */
function expectFacts(summary: WorkflowSummary, { expect }: WorkflowDefinition, now: number): string[] {
  if (expect === undefined) return [];
  return EXPECT_RULES.flatMap((rule) => {
    const words = ruleInWords(rule, expect, summary.schedule_timezone);
    if (words === null) return [];
    const open = summary.expectations?.find((each) => each.rule === rule && each.state === "open");
    const next =
      open?.due_ms == null
        ? ""
        : `, next by ${formatInstant(open.due_ms)} (${formatRelative(open.due_ms, now)})`;
    return [`${words}${next}`];
  });
}

/** Who is told about what. */
function tellsText({ on, to, after_failures = 1 }: NonNullable<WorkflowDetails["notify"]>[number]): string {
  const after = after_failures === 1 ? "" : `, after ${after_failures} failures in a row`;
  return `${to.join(", ")}: ${on?.join(", ") ?? "everything"}${after}`;
}

/** Where a secret is. */
function whereIs({ file, env, command, store }: SecretSource): string {
  if (file !== undefined) return `file ${file}`;
  if (env !== undefined) return `variable ${env} of the agent`;
  if (command !== undefined) return `command ${command.join(" ")}`;
  return store === undefined
    ? "somewhere that only a newer cdktr knows"
    : `${store} of the principal's store`;
}

const MOST_SLICES = 8;

/** Which tasks go to which agents; nothing when one agent gets them all. */
function placementFact(definition: WorkflowDefinition): string | null {
  if (definition.placement === "spread") return "spread: each ready task goes to the agent with most room";
  // Where hooks run is said with them: they come last, and not all of them run.
  const { hooks: _, ...tasks } = definition;
  const plan = planOf(tasks);
  if (plan.isWhole) return null;
  const slices = expectedSlices(plan);
  const shown = slices.slice(0, MOST_SLICES).map(sliceText);
  return plainText([...shown, ...(slices.length > shown.length ? ["…"] : [])].join(" → "));
}

function sliceText({ tasks, placement }: NextSlice): string {
  const [first = "", ...others] = tasks;
  const names = others.length > 3 ? `${first} and ${others.length} more` : tasks.join(", ");
  return `${names} on ${labelsText(placement.runs_on)}`;
}

function labelsText(labels: Readonly<Record<string, string>>): string {
  const entries = Object.entries(labels);
  return entries.length === 0 ? "any agent" : entries.map(([label, value]) => `${label}=${value}`).join(" ");
}

/** Its triggers other than cron. */
function triggerFacts(on: TriggerDefinitions | undefined): [label: string, value: string][] {
  const facts: [string, string][] = [];
  for (const { method, path, secret } of webhooksOf(on)) {
    facts.push([
      "On webhook",
      `${method} ${path}, ${secret === "none" ? "not signed" : `signed (${secret})`}`,
    ]);
  }
  for (const { glob, events, settle_ms, catchup } of filesOf(on)) {
    const missed = catchup === "all" ? "" : ", nothing that happened while it was down";
    facts.push(["On file", `${glob} ${events.join(", ")}, quiet for ${formatDuration(settle_ms)}${missed}`]);
  }
  for (const { id, status } of aftersOf(on)) facts.push(["After", `${id} ${status.join(", ")}`]);
  return facts;
}

const CATCHUP = {
  none: "dropped, if the principal was down or no agent took it before the next",
  latest: "only the latest runs, if the principal was down or no agent took it before the next",
  all: "all run, if the principal was down or until an agent takes them",
} as const;

/** How many runs may run at once, and what a further one does. */
function concurrencyFact({ concurrency }: WorkflowDefinition): string | null {
  if (concurrency === undefined) return null;
  const { group, max_runs, on_conflict } = concurrency;
  const whose = group === undefined ? "" : ` of group ${quote(group)}`;
  return `${plural(max_runs, "run")}${whose}; a further one ${ON_CONFLICT[on_conflict] ?? "waits"}`;
}

const ON_CONFLICT: Readonly<Record<string, string>> = {
  queue: "waits",
  queue_latest: "waits, instead of those that wait",
  skip: "is SKIPPED",
  cancel_running: "cancels the oldest",
};

const FAILOVER = {
  rerun: "the run goes to another agent",
  never: "the run ends as CRASHED",
} as const;

function environment(env: Readonly<Record<string, string>>): string | null {
  const entries = Object.entries(env);
  return entries.length === 0
    ? null
    : entries.map(([name, value]) => plainText(`${name}=${value}`)).join(" ");
}

/** What a file says of a key, also where an expression is. */
function triesText({ retry }: TaskDefinition): string {
  return retry.templates?.max_attempts ?? String(retry.max_attempts);
}

function timeoutText({ templates, timeout_ms }: TaskDefinition): string {
  return templates?.timeout ?? (timeout_ms === null ? "-" : formatDuration(timeout_ms));
}

function taskTable(tasks: readonly TaskDefinition[]): string[] {
  return renderTable<TaskDefinition>(
    [
      { title: "TASK", value: (task) => task.id },
      { title: "NAME", value: (task) => task.name, flexible: true },
      { title: "DEPENDS ON", value: dependsText, flexible: true },
      ...(tasks.some((task) => task.foreach !== undefined || task.matrix !== undefined)
        ? [{ title: "FOR EACH", value: (task: TaskDefinition) => itemsText(task) ?? "-", flexible: true }]
        : []),
      ...(tasks.some((task) => task.when !== undefined)
        ? [{ title: "WHEN", value: (task: TaskDefinition) => whenText(task) ?? "-", flexible: true }]
        : []),
      ...(tasks.some((task) => task.runs_on !== undefined)
        ? [{ title: "RUNS ON", value: (task: TaskDefinition) => runsOnText(task), flexible: true }]
        : []),
      { title: "TYPE", value: (task) => task.config.type },
      { title: "RUNS", value: commandOf, flexible: true },
      { title: "TRIES", value: triesText, align: "right" },
      {
        title: "TIMEOUT",
        value: timeoutText,
        align: "right",
      },
      ...(tasks.some((task) => task.allow_failure !== undefined)
        ? [{ title: "MAY FAIL", value: allowedText }]
        : []),
    ],
    tasks,
    { indent: 2 },
  );
}

/** Which failures of a task are allowed. */
function allowedText({ allow_failure: allowed }: TaskDefinition): string {
  if (allowed === undefined) return "-";
  return allowed === true ? "yes" : `exit ${formatExitCodes(allowed.exit_codes)}`;
}

function dependsText(task: TaskDefinition): string {
  return task.depends.map((other) => dependencyText(task, other)).join(", ") || "-";
}

function runsOnText({ runs_on }: TaskDefinition): string {
  return runs_on === undefined ? "-" : labelsText(runs_on);
}

/** The command of a task for display; arguments with blanks are quoted. */
function commandOf({ config }: TaskDefinition): string {
  const script = scriptTextOf(config);
  if (script !== null) return script.trim().replace(/\s*\n\s*/g, " ↵ ");
  const words = factsOf(config).command(config);
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(" ");
}
