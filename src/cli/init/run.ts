/** `cdktr init`: interactive, or unattended for scripts. */
import { join } from "node:path";
import { UsageError } from "../../errors.ts";
import type { Answers } from "../../project/answers.ts";
import { leftLines } from "../../project/crontab/import-crontab.ts";
import type { Decision } from "../../project/plan.ts";
import { recover } from "../../project/staging.ts";
import { joinTokenOf } from "../support/join-token.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { isTerminal, styleFor } from "../support/style.ts";
import { completeAnswers, foreignDataDirectory } from "./complete.ts";
import { type Given, givenOf, type InitFlags } from "./given.ts";
import { type Done, type Plan, planOf, setUp } from "./set-up.ts";
import { crontabLines, doneLines, nextLines, planLines } from "./show.ts";

/** Maximum number of untranslated crontab lines to show with their reasons; the report has all of them. */
const LEFT_SHOWN = 10;

/** The command line of `cdktr init`. */
export interface InitArgs extends InitFlags {
  readonly yes?: boolean | undefined;
  readonly json?: boolean | undefined;
  readonly "dry-run"?: boolean | undefined;
  readonly force?: boolean | undefined;
  readonly join?: string | undefined;
  readonly "join-token"?: boolean | undefined;
}

/**
 * Runs the command.
 * @returns the exit status
 * @throws UsageError when questions are needed but there is no terminal
 */
export async function runInit(args: InitArgs, labels: Record<string, string>): Promise<number> {
  const yes = args.yes ?? false;
  const json = args.json ?? false;
  const dryRun = args["dry-run"] ?? false;
  if (args.join === "-" && args["import-crontab"] === "-")
    throw new UsageError("--join - and --import-crontab - cannot both read stdin.");
  const isDialogue = !yes && !json && isTerminal("stdin") && isTerminal("stdout");
  if (!isDialogue && !yes) refuseSilently(json);
  const token = await joinTokenOf(args.join);
  const flags = { ...args, ...(args.yes || args.dir !== undefined ? { dir: args.dir ?? "." } : {}) };
  const given = givenOf(flags, { token, labels, joinToken: args["join-token"] ?? false, yes });
  const wants = { joinToken: args["join-token"], force: args.force ?? false, dryRun };
  if (isDialogue) {
    const { runDialogue } = await import("./dialogue.ts");
    return runDialogue(given, wants);
  }
  return runScript(given, { ...wants, json });
}

function refuseSilently(json: boolean): never {
  throw new UsageError(
    json
      ? "'cdktr init --json' asks no questions: it needs --yes."
      : "'cdktr init' asks questions, but there is no terminal to ask them on.",
    {
      hint: `With --yes every question has an answer: cdktr init DIR --yes [--kind try|principal|agent]
  agent needs --principal HOST:PORT or --join TOKEN; all else has defaults, see 'cdktr init --help'.`,
    },
  );
}

/** Nobody is asked whether the environment means this project too. */
function refuseForeignData(answers: Answers): void {
  const foreign = foreignDataDirectory(answers);
  if (foreign === undefined) return;
  throw new UsageError(
    `CDKTR_APP_DATA_DIRECTORY in the environment is ${foreign}, outside of the project ${answers.directory}: nothing was written.`,
    {
      hint: `Unset it to keep the data inside: env -u CDKTR_APP_DATA_DIRECTORY cdktr init …
  To mean it, write it into ${join(answers.directory, ".env")} first: CDKTR_APP_DATA_DIRECTORY=${foreign}`,
    },
  );
}

/** Runs without questions. */
async function runScript(
  given: Given,
  wants: {
    readonly joinToken: boolean | undefined;
    readonly force: boolean;
    readonly dryRun: boolean;
    readonly json: boolean;
  },
): Promise<number> {
  const { force, dryRun, json } = wants;
  if (!dryRun && recover(given.directory ?? process.cwd()))
    say("An earlier set-up was interrupted while writing; it has been completed.");
  const answers = await completeAnswers(given);
  const joinToken = wants.joinToken ?? false;
  if (joinToken && (answers.kind === "agent" || !answers.keys))
    throw new UsageError("--join-token needs a principal with keys.", {
      hint: "Add --keys, or omit --join-token.",
    });
  const plan = planOf(answers, given.token ?? undefined, joinToken);
  const decisions = new Map<string, Decision>(
    plan.files
      .filter(({ state }) => state === "differs")
      .map(({ path, isExtended = false }) => [path, force || isExtended ? "overwrite" : "keep"]),
  );
  if (!json) {
    for (const line of planLines(plan, decisions, dryRun)) say(line);
    for (const line of crontabLines(answers, LEFT_SHOWN)) say(line);
  }
  if (dryRun) {
    if (json) await printJson(outcome(plan, decisions, undefined));
    else say("Nothing was written.");
    return 0;
  }
  refuseForeignData(answers);
  const done = await setUp(plan, decisions);
  if (json) await printJson(outcome(plan, decisions, done));
  else {
    for (const line of doneLines(plan, done)) say(line);
    say("Next:");
    for (const line of nextLines(done, styleFor("stderr").dim)) say(`  ${line}`);
    if (done.joinToken !== undefined) {
      say("On the other host, within the hour: cdktr init DIR --join TOKEN, where TOKEN is");
      await printLine(done.joinToken);
    }
  }
  return 0;
}

/** The output of `--json`. */
function outcome(plan: Plan, decisions: ReadonlyMap<string, Decision>, done: Done | undefined) {
  const { answers } = plan;
  const fate = ({ path, state }: Plan["files"][number]) => {
    if (state === "same") return "unchanged";
    if (state === "new") return done === undefined ? "new" : "written";
    return decisions.get(path) === "overwrite" ? "overwritten" : "kept";
  };
  const imported = answers.kind === "agent" ? undefined : answers.crontab?.imported;
  return {
    directory: answers.directory,
    kind: answers.kind,
    dry_run: done === undefined,
    files: plan.files.map((file) => ({
      path: file.path,
      action: fate(file),
      mode: file.mode.toString(8).padStart(4, "0"),
    })),
    actions: plan.actions,
    crontab:
      imported === undefined
        ? null
        : {
            source: imported.source,
            notes: imported.notes,
            jobs: imported.workflows.map(({ file, line, disabled }) => ({ file, line, disabled })),
            not_translated: leftLines(imported).map(({ number, text, detail }) => ({
              line: number,
              text,
              reason: detail,
            })),
          },
    next: (done?.next ?? []).map(({ command: typed, does }) => ({ command: typed, does })),
    ...(done?.joinToken === undefined ? {} : { join_token: done.joinToken }),
  };
}
