/** `cdktr run FILE.yml`: runs a workflow file here and now, in this terminal, without a principal. */
import { resolve } from "node:path";
import { automaticLabels } from "../../agent/labels.ts";
import { LocalHost } from "../../agent/local/local-host.ts";
import { LocalRun } from "../../agent/local/local-run.ts";
import { endAbandoned } from "../../agent/local/private-place.ts";
import type { RunDetails } from "../../contract/messages.ts";
import { UsageError } from "../../errors.ts";
import { END_LOCAL_RUN, selfCommand } from "../../host/self.ts";
import { drainLog, setLogLevel } from "../../log.ts";
import { hasExpressions } from "../../workflow/expressions.ts";
import { allTasks } from "../../workflow/hooks.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { resolveParams } from "../../workflow/params.ts";
import { lacking, placementOf } from "../../workflow/placement.ts";
import { workflowIdOrNull } from "../../workflow/workflow-id.ts";
import { settings } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { RunLogText } from "../support/log-text.ts";
import { say } from "../support/report.ts";
import { runOutcomeJson, statusLine, taskTable } from "../support/run-report.ts";
import { onStopSignals } from "../support/signals.ts";
import { BrokenPipe, jsonLine, printJson, printLine } from "../support/stdout.ts";
import { isTerminal, styleFor } from "../support/style.ts";
import { TaskOutput } from "../support/task-output.ts";
import { placeOfFile } from "../support/workflow-file.ts";
import { terminalAsker } from "./asker.ts";
import { loadWithOthers } from "./local-files.ts";

/** The options of `cdktr run`, as far as they concern a file. */
interface FileOptions {
  readonly at?: string | undefined;
  readonly in?: string | undefined;
  readonly priority?: string | undefined;
  readonly principal?: string | undefined;
  readonly wait?: boolean | undefined;
  readonly follow?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/**
 * Runs a file.
 * @returns the exit status: 0, or 1 when the run did not complete
 * @throws UsageError for options that are about a principal
 * @throws NotFoundError, InvalidInputError when the file cannot be run, or the parameters do not fit
 */
export async function runFile(
  path: string,
  params: Readonly<Record<string, string>>,
  options: FileOptions,
): Promise<number> {
  refuseOptions(path, options);
  const config = settings(undefined).values;
  setLogLevel(config.CDKTR_LOG_LEVEL === "INFO" ? "WARN" : config.CDKTR_LOG_LEVEL);
  const { definition, directory, workflows } = loadWithOthers(
    placeOfFile(path, resolve(config.CDKTR_WORKFLOW_DIR)),
  );
  const workflow_instance_id = Bun.randomUUIDv7();
  const created_at_ms = Date.now();
  const about = {
    definition,
    directory,
    workflows,
    trigger: "cli",
    workflow_instance_id,
    created_at_ms,
    params: resolveParams(definition, params, {
      workflow_instance_id,
      workflow_id: definition.id,
      attempt: 1,
      trigger: "cli",
      scheduled_time_ms: null,
      created_at_ms,
    }),
  } as const;
  for (const each of workflows.values()) warnOfLabels(each.definition);
  warnOfLimits(definition);
  const output = outputOf(definition, formOf(options));
  await endAbandoned();
  const host = new LocalHost({
    config,
    output: output ?? SILENT,
    cleaner: [...selfCommand(), END_LOCAL_RUN],
  });
  const person = terminalAsker();
  const ignoreSignals = onStopSignals((count) => {
    if (count === 1) {
      tell(options, "Cancelling: tasks get SIGTERM, then hooks run. Ctrl-C again kills what runs then.");
      host.cancel();
    } else {
      if (count === 2)
        tell(options, "Killing what runs. Hooks that have not begun still run; Ctrl-C kills them too.");
      host.cancel();
      void host.kill();
    }
  });
  let details: RunDetails;
  try {
    await host.start();
    const run = new LocalRun(host, { ...about, ...(person === undefined ? {} : { asker: person.asker }) });
    tell(options, `${definition.id}: ${plural(definition.tasks.length, "task")}, run here. Ctrl-C cancels.`);
    run.start();
    details = await run.over;
    await host.idle;
    await host.sweep();
    await output?.drained();
  } finally {
    person?.close();
    await host.close();
    ignoreSignals();
  }
  await printOutcome(details, options).catch((error) => {
    if (!(error instanceof BrokenPipe)) throw error;
  });
  await drainLog();
  return details.status === "COMPLETED" ? 0 : 1;
}

/** As of a run of a principal: its end alone with `--wait` or `--json`, unless `--follow` asks for the lines, too. */
function formOf({ wait, follow, json }: FileOptions): "text" | "json" | "none" {
  if (json) return follow ? "json" : "none";
  return wait && !follow ? "none" : "text";
}

function tell({ json }: FileOptions, text: string): void {
  if (!json && isTerminal("stderr")) say(styleFor("stderr").dim(text));
}

async function printOutcome(run: RunDetails, { json }: FileOptions): Promise<void> {
  if (json) return printJson(runOutcomeJson(run));
  const now = Date.now();
  await printLine(statusLine(run, now, styleFor("stdout"), false));
  for (const line of taskTable(run, now)) await printLine(line);
}

/** @throws UsageError */
function refuseOptions(path: string, { at, in: span, priority, principal }: FileOptions): void {
  const options = { "--at": at, "--in": span, "--priority": priority, "--principal": principal };
  const [given] = Object.entries(options).flatMap(([option, value]) => (value === undefined ? [] : [option]));
  if (given === undefined) return;
  const id = workflowIdOrNull(path.replace(/^(\.?\/)+/, ""));
  throw new UsageError(
    `${given} needs a workflow of a principal, and ${path} is a file, which is run here and now.`,
    {
      hint: `Give the id of the workflow${id === null ? "" : `, such as ${id}`}: 'cdktr workflow list' shows them.`,
    },
  );
}

/** Says what of a file is about the runs of a principal. */
function warnOfLimits(definition: WorkflowDefinition): void {
  const limits = [
    ...(definition.concurrency === undefined ? [] : ["concurrency"]),
    ...([definition, ...allTasks(definition)].some(({ pool }) => pool !== undefined) ? ["pool"] : []),
  ];
  if (limits.length === 0) return;
  const [subject, verb] = [limits.join(" and "), limits.length === 1 ? "limits" : "limit"];
  say(
    `${styleFor("stderr").yellow("warning:")} ${subject} ${verb} what a principal runs; this runs here now.`,
  );
}

/** Says which tasks would run elsewhere. */
function warnOfLabels(definition: WorkflowDefinition): void {
  const here = automaticLabels();
  for (const task of allTasks(definition)) {
    const lacks = lacking(here, placementOf(definition, task).runs_on).filter(
      ({ value }) => !hasExpressions(value),
    );
    if (lacks.length === 0) continue;
    const labels = lacks.map(({ label, value }) => `${label}=${value}`).join(" and ");
    say(
      `${styleFor("stderr").yellow("warning:")} ${task.id} is for agents with ${labels}; it runs here now.`,
    );
  }
}

/** Prints what tasks print. */
function outputOf(definition: WorkflowDefinition, form: "text" | "json" | "none"): TaskOutput | undefined {
  if (form === "none") return undefined;
  const text = new RunLogText();
  text.expect(allTasks(definition).map((task) => task.name));
  return new TaskOutput((line) => printLine(form === "json" ? jsonLine(line) : text.format(line)));
}

/** What tasks print is not printed. */
const SILENT = { addLines() {}, room: () => undefined };
