import { UsageError } from "../errors.ts";
import { KINDS } from "../project/answers.ts";
import { leftLines } from "../project/crontab/import-crontab.ts";
import type { Decision } from "../project/plan.ts";
import { recover } from "../project/staging.ts";
import { completeAnswers } from "./init/complete.ts";
import { type Given, givenOf } from "./init/given.ts";
import { type Done, type Plan, planOf, setUp } from "./init/set-up.ts";
import { crontabLines, doneLines, nextLines, planLines } from "./init/show.ts";
import { command, keyValues, repeated } from "./support/command.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { joinTokenOf } from "./support/join-token.ts";
import { say } from "./support/report.ts";
import { printJson, printLine } from "./support/stdout.ts";
import { isTerminal, styleFor } from "./support/style.ts";

/** Lines of a crontab that are shown with why they were left; the report has them all. */
const LEFT_SHOWN = 10;

export default command({
  meta: { name: "init", description: "Set up a project: settings, workflows, keys, a service" },
  args: {
    dir: { type: "positional", required: false, description: "Directory of the project; made when missing" },
    yes: { type: "boolean", alias: "y", description: "Ask nothing: what no flag says is the default" },
    kind: {
      type: "enum",
      options: [...KINDS],
      valueHint: "KIND",
      description: "try: one machine; principal: for agents of other hosts; agent: for a principal elsewhere",
    },
    "workflow-dir": {
      type: "string",
      valueHint: "DIR",
      description: "Directory of the workflow files, inside the project (workflows)",
    },
    host: {
      type: "string",
      valueHint: "ADDRESS",
      description: "principal: address to listen on (127.0.0.1)",
    },
    port: {
      type: "string",
      alias: "p",
      valueHint: "N",
      description: "Port of the API (the first three that are free, from 5561)",
    },
    "logs-listening-port": {
      type: "string",
      valueHint: "N",
      description: "Port for the agents' log lines (the next one)",
    },
    "logs-publishing-port": {
      type: "string",
      valueHint: "N",
      description: "Port of the live log (the one after that)",
    },
    keys: {
      type: "boolean",
      description:
        "Make keys: everything is encrypted, and only who has one gets in (off loopback by default; --no-keys)",
    },
    "join-token": {
      type: "boolean",
      description: "principal: print a join token for an agent on another host",
    },
    agent: {
      type: "boolean",
      description: "principal: run an agent beside it (by default; --no-agent)",
    },
    example: {
      type: "boolean",
      description: "Write an example workflow (by default where there are none yet; --no-example)",
    },
    "import-crontab": {
      type: "string",
      valueHint: "FILE",
      description: "Make workflows of the jobs of a crontab: a file, - for stdin, own for that of this user",
    },
    "crontab-format": {
      type: "enum",
      options: ["auto", "user", "system"],
      valueHint: "FORMAT",
      description: "Whether it has a column for the user (auto: by its place and content)",
    },
    "crontab-user": {
      type: "string",
      valueHint: "USER",
      description: "Whose jobs are imported (else this user's)",
    },
    service: {
      type: "boolean",
      description: "Make it a service of systemd, started now and at each boot",
    },
    user: { type: "boolean", description: "With --service: one of this user, without root" },
    "run-as": {
      type: "string",
      valueHint: "USER",
      description: "With --service: whom it runs as (cdktr; with imported jobs, their user)",
    },
    join: {
      type: "string",
      valueHint: "TOKEN",
      description: "agent: get a key with a token of 'cdktr join-token create'; - reads it from stdin",
    },
    "max-concurrent-workflows": { type: "string", valueHint: "N", description: "agent: runs at once (5)" },
    label: { type: "string", valueHint: "K=V", description: "agent: what it is or has, as others see it" },
    force: { type: "boolean", description: "Overwrite files that differ; without it --yes keeps them" },
    "dry-run": { type: "boolean", description: "Show what would be written, and write nothing" },
    ...principalArg,
    ...jsonArg,
  },
  extras: {
    repeatable: ["label"],
    completes: { dir: "directory", "workflow-dir": "directory", "import-crontab": "file" },
    details: `On a terminal it asks what no flag has said, shows what it will write, and writes when you agree: everything at once, or, when it
      is interrupted at whatever moment, nothing. A file that is there is never overwritten without asking. A crontab is only read.

      Elsewhere (scripts, --json) there is nobody to ask: then --yes is needed.`,
    topic: "getting-started",
    examples: [
      { command: "cdktr init", does: "asks, then makes a project" },
      { command: "cdktr init demo --yes", does: "a project to try cdktr with, without questions" },
      { command: "cdktr init /srv/cdktr --yes --import-crontab own", does: "your crontab as workflows" },
      {
        command: "cdktr init /srv/cdktr --yes --host 10.0.0.5 --service",
        does: "a principal for agents of other hosts, with keys, as a service",
      },
      {
        command: "cdktr init . --yes --join - < token.txt",
        does: "an agent for it, on another host",
      },
    ],
  },
  async run({ args, rawArgs }) {
    const yes = args.yes ?? false;
    const json = args.json ?? false;
    const dryRun = args["dry-run"] ?? false;
    if (args.join === "-" && args["import-crontab"] === "-")
      throw new UsageError("--join - and --import-crontab - cannot both read stdin.");
    const isDialogue = !yes && !json && isTerminal("stdin") && isTerminal("stdout");
    if (!isDialogue && !yes) refuseSilently(json);
    const token = await joinTokenOf(args.join);
    const labels = keyValues(repeated(rawArgs, "label"), "--label");
    const flags = { ...args, ...(args.yes || args.dir !== undefined ? { dir: args.dir ?? "." } : {}) };
    const given = givenOf(flags, { token, labels, joinToken: args["join-token"] ?? false, yes });
    const wants = { joinToken: args["join-token"], force: args.force ?? false, dryRun };
    if (isDialogue) {
      const { runDialogue } = await import("./init/dialogue.ts");
      return runDialogue(given, wants);
    }
    return runScript(given, { ...wants, json });
  },
});

function refuseSilently(json: boolean): never {
  throw new UsageError(
    json
      ? "'cdktr init --json' asks no questions: it needs --yes."
      : "'cdktr init' asks questions, and there is no terminal to ask them on.",
    {
      hint: `With --yes every question has an answer: cdktr init DIR --yes [--kind try|principal|agent]
  agent needs --principal HOST:PORT or --join TOKEN; all else has defaults, see 'cdktr init --help'.`,
    },
  );
}

/** Without questions. */
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
  const answers = await completeAnswers(given);
  if (!dryRun && recover(answers.directory))
    say("An earlier set-up was interrupted while it wrote; it was completed.");
  const joinToken = wants.joinToken ?? false;
  if (joinToken && (answers.kind === "agent" || !answers.keys))
    throw new UsageError("--join-token needs a principal with keys.", {
      hint: "Add --keys, or leave it out.",
    });
  const plan = planOf(answers, given.token ?? undefined, joinToken);
  const decisions = new Map<string, Decision>(
    plan.files
      .filter(({ state }) => state === "differs")
      .map(({ path }) => [path, force ? "overwrite" : "keep"]),
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

/** What `--json` prints. */
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
