/** Describes the plan and its outcome. */
import { posix } from "node:path";
import { parseEnv } from "node:util";
import { type Answers, IMPORT_DIRECTORY, REPORT_PATH } from "../../project/answers.ts";
import { leftLines } from "../../project/crontab/import-crontab.ts";
import { shortPath } from "../../project/next-steps.ts";
import type { Decision, PlannedFile } from "../../project/plan.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { fit } from "../../terminal/text.ts";
import { plural } from "../support/format.ts";
import type { Paint } from "../support/style.ts";
import type { Done, Plan } from "./set-up.ts";

/** Width of the column of paths. */
const PATH_WIDTH = 30;
/** Maximum number of imported workflows to list by name. */
const FEW = 5;

/** The plan: one line for each file and each action. */
export function planLines(plan: Plan, decisions: ReadonlyMap<string, Decision>, all = false): string[] {
  const { answers, files, actions } = plan;
  const imported = importDirectory(answers);
  const many = files.filter(
    ({ path, state }) => imported !== undefined && path.startsWith(imported) && state === "new",
  );
  const collapsed = new Set(all || many.length <= FEW ? [] : many);
  const lines = files.filter((file) => !collapsed.has(file)).map((file) => fileLine(file, decisions));
  if (collapsed.size > 0)
    lines.push(line("+", `${imported}*.yml`, `${plural(collapsed.size, "workflow")} of the crontab`));
  return [...lines, ...actions.map((action) => `* ${action}`)];
}

function fileLine(file: PlannedFile, decisions: ReadonlyMap<string, Decision>): string {
  switch (file.state) {
    case "new":
      return line("+", file.path, file.what);
    case "same":
      return line("=", file.path, "exists already, unchanged");
    case "differs": {
      const decision = decisions.get(file.path);
      if (file.isExtended && decision === "overwrite")
        return line("!", file.path, "will be extended; what it has stays");
      const fate = { keep: "kept", overwrite: "will be OVERWRITTEN" } as const;
      return line(
        "!",
        file.path,
        `differs: ${decision === undefined ? "you will be asked" : fate[decision]}`,
      );
    }
  }
}

function line(sign: string, path: string, what: string): string {
  return `${sign} ${path.padEnd(PATH_WIDTH)} ${what}`;
}

function importDirectory(answers: Answers): string | undefined {
  if (answers.kind === "agent" || answers.crontab === undefined) return undefined;
  return `${posix.join(answers.workflowDirectory, IMPORT_DIRECTORY)}/`;
}

/** The result of the crontab import: a summary, then the first lines that were not translated, with the reasons. */
export function crontabLines(answers: Answers, most: number): string[] {
  if (answers.kind === "agent" || answers.crontab === undefined) return [];
  const { imported } = answers.crontab;
  const left = leftLines(imported);
  const disabled = imported.workflows.filter((workflow) => workflow.disabled).length;
  const jobs = imported.workflows.length - disabled;
  const lines = [
    `${plural(jobs, "job")} of ${imported.source}${disabled === 0 ? "" : `, ${disabled} more that ${disabled === 1 ? "is" : "are"} commented out and will not fire`}.`,
  ];
  if (left.length > 0) lines.push(`${plural(left.length, "line")} cannot be translated:`);
  for (const { number, text, detail } of left.slice(0, most)) {
    lines.push(`  ${number}: ${fit(plainText(text.trim()), 60)}`, `     ${detail}`);
  }
  if (left.length > most) lines.push(`  … and ${left.length - most} more, all in ${REPORT_PATH}`);
  lines.push(...imported.notes);
  if (jobs > 0) lines.push("The crontab is not changed: remove the jobs from it, or they run twice.");
  return lines;
}

/** A line or two about what was done. */
export function doneLines(plan: Plan, done: Done): string[] {
  const where = shortPath(plan.answers.directory, process.cwd());
  const lines = [
    `${plural(done.written.length, "file")} written to ${where === "." ? "this directory" : where}.`,
  ];
  if (done.kept.length > 0) lines.push(`Kept unchanged: ${done.kept.join(", ")}.`);
  for (const path of done.kept) {
    if (path === ".env")
      lines.push("So not all chosen settings are effective: see 'cdktr config list' there.");
  }
  for (const name of overridden(plan)) {
    lines.push(`${name} is set to a different value in this shell, which overrides .env: unset it.`);
  }
  return lines;
}

/** Settings of `.env` that the environment overrides. */
function overridden({ files }: Plan): string[] {
  const dotenv = files.find(({ path }) => path === ".env");
  const settings = Object.entries(parseEnv(dotenv?.text ?? ""));
  return settings.flatMap(([name, value]) => {
    const own = name.startsWith("CDKTR_") ? process.env[name] : undefined;
    return own === undefined || own === "" || own === value ? [] : [name];
  });
}

/** The next commands, each under a line that says what it does. */
export function nextLines({ next }: Done, paint: Paint): string[] {
  return next.flatMap(({ command, does }) => [paint(`# ${does}`), command]);
}
