/** Generates the workflow file for a job of a crontab. */
import { quoted, yamlComment, yamlScalar } from "../yaml-text.ts";
import type { CronCommand } from "./command-text.ts";

/** The content of a job's workflow file. */
export interface ImportedJob {
  readonly name: string;
  /** The comments above the job. */
  readonly comments: readonly string[];
  /** At least one, each of five fields; also for a job that was commented out and does not fire. */
  readonly expressions: readonly string[];
  readonly disabled: boolean;
  readonly timezone: string | undefined;
  readonly shell: string;
  readonly env: ReadonlyMap<string, string>;
  readonly home: string;
  readonly command: CronCommand;
  /** The channel that is told when it fails; undefined for none. */
  readonly channel: string | undefined;
  readonly notes: readonly string[];
  /** Origin: number and text of the line. */
  readonly line: { readonly number: number; readonly text: string };
  readonly source: string;
}

/** Pipes input into a program: $0 is the shell, $1 the input, $2 the command. */
const WITH_INPUT = `printf %s "$1" | exec "$0" -c "$2"`;
const LONGEST_NAME = 100;

/** The text of a workflow file; `schemaPath` is the path to the schema, relative to the file. */
export function workflowText(job: ImportedJob, schemaPath: string): string {
  const { command, input } = job.command;
  const head = [
    `# yaml-language-server: $schema=${schemaPath}`,
    yamlComment(`Line ${job.line.number} of ${job.source}:`),
    yamlComment(`  ${job.line.text.trim()}`),
    ...job.notes.map((note) => yamlComment(note)),
    `name: ${yamlScalar(titleOf(job))}`,
  ];
  if (job.comments.length > 0) head.push(`description: ${quoted(job.comments.join("\n"))}`);
  if (job.disabled) {
    head.push("# It was commented out. Remove the # to let it fire again:");
  }
  // As with cron: a missed firing is not caught up, and a job whose host died is not restarted.
  const [only = "", ...others] = job.expressions;
  const firing =
    others.length === 0
      ? [`cron: ${quoted(only)}`]
      : ["cron:", ...job.expressions.map((expression) => `  - ${quoted(expression)}`)];
  if (job.timezone !== undefined) firing.push(`timezone: ${yamlScalar(job.timezone)}`);
  firing.push("catchup: none");
  head.push(...firing.map((line) => (job.disabled ? `# ${line}` : line)), "failover: never");
  if (job.channel !== undefined) head.push(`notify: [{on: [failed, recovered], to: [${job.channel}]}]`);
  if (job.env.size > 0) {
    head.push("env:");
    for (const [name, value] of job.env) head.push(`  ${name}: ${quoted(value)}`);
  }
  const withInput = input !== undefined && input !== "";
  const args = withInput ? ["-c", WITH_INPUT, job.shell, input, command] : ["-c", command];
  return `${[
    ...head,
    "tasks:",
    "  job:",
    `    name: ${yamlScalar(titleOf(job))}`,
    // As in cron, background processes of the command belong to the job.
    "    background: wait",
    "    config: !Subprocess",
    `      cmd: ${yamlScalar(withInput ? "/bin/sh" : job.shell)}`,
    "      args:",
    ...args.map((arg) => `        - ${quoted(arg)}`),
    `      working_directory: ${yamlScalar(job.home)}`,
  ].join("\n")}\n`;
}

/** The comment above the job if it is one short line, otherwise the name of its file. */
function titleOf({ comments, name }: ImportedJob): string {
  const [only = ""] = comments;
  const title = only.replace(/[:.\s]+$/, "").trim();
  const isFit =
    comments.length === 1 &&
    title.length <= LONGEST_NAME &&
    /\w/.test(title) &&
    !/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(title);
  return isFit ? title : name;
}
