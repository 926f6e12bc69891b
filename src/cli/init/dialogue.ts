/** The interactive dialogue: asks the open questions, shows the plan, resolves conflicts, and carries it out. */
import { CdktrError } from "../../errors.ts";
import { lineDiff } from "../../project/line-diff.ts";
import type { Decision, PlannedFile } from "../../project/plan.ts";
import { recover } from "../../project/staging.ts";
import { onStopSignals } from "../support/signals.ts";
import { makeStyle, styleFor } from "../support/style.ts";
import { ask } from "./ask.ts";
import { completeAnswers } from "./complete.ts";
import type { Given } from "./given.ts";
import { Cancelled, cancel, confirm, intro, outro, select, show, tell } from "./prompts.ts";
import { type Done, finishProject, Interrupted, type Plan, planOf, writeProject } from "./set-up.ts";
import { crontabLines, doneLines, nextLines, planLines } from "./show.ts";

/** Maximum number of rows of a diff to show. */
const DIFF_ROWS = 40;
/** Maximum number of untranslated crontab lines to show with their reasons. */
const LEFT_SHOWN = 4;

/** Flags that are not answers. */
export interface Wants {
  readonly joinToken: boolean | undefined;
  readonly force: boolean;
  readonly dryRun: boolean;
}

/**
 * Runs the dialogue.
 * @returns the exit status
 */
export async function runDialogue(flags: Given, wants: Wants): Promise<number> {
  const leaveSignals = restoreTerminalOnSignals();
  intro(styleFor("stdout").bold("cdktr init"));
  try {
    return await converse(flags, wants, leaveSignals);
  } catch (error) {
    if (!(error instanceof Cancelled)) throw error;
    cancel(error.message);
    return 1;
  }
}

async function converse(flags: Given, wants: Wants, leaveSignals: () => void): Promise<number> {
  let previous: Given = {};
  for (;;) {
    const given = await ask(flags, previous, (directory) => {
      if (!wants.dryRun && recover(directory))
        tell("An earlier set-up was interrupted while writing; it has been completed.", "warn");
    });
    let plan: Plan;
    try {
      const answers = await completeAnswers(given);
      const canJoin = answers.kind === "principal" && answers.keys;
      plan = planOf(answers, given.token ?? undefined, canJoin && (wants.joinToken ?? false));
    } catch (error) {
      // A problem that no question could foresee; the answers are kept for another round.
      await offerChange(error);
      previous = given;
      continue;
    }
    const decisions = decisionsByFlag(plan, wants.force);
    const crontab = crontabLines(plan.answers, LEFT_SHOWN);
    if (crontab.length > 0) show("Crontab", crontab);
    show(`This will be written to ${plan.answers.directory}`, planLines(plan, decisions));
    for (const file of plan.files) {
      if (file.state === "differs" && !decisions.has(file.path)) decisions.set(file.path, await decide(file));
    }
    if (wants.dryRun) {
      outro("Nothing was written: --dry-run.");
      return 0;
    }
    const go = await select(
      "Write it?",
      [
        { value: "write", label: "Yes, write it" },
        {
          value: "change",
          label: "No, change the answers",
          hint: "the questions are asked again, with your answers as defaults",
        },
        { value: "leave", label: "No, quit", hint: "nothing is written" },
      ],
      "write",
    );
    if (go === "leave") throw new Cancelled();
    previous = given;
    if (go === "change") continue;
    plan = await withJoinToken(plan, wants);
    if (plan.token !== undefined) tell("Joining the principal …", "step");
    let written: readonly PlannedFile[];
    // From here on, writing handles signals itself.
    leaveSignals();
    try {
      written = await writeProject(plan, decisions);
    } catch (error) {
      await offerChange(error);
      continue;
    }
    if (plan.answers.service !== undefined) tell("Setting up the service …", "step");
    const done = await finishProject(plan, written);
    tell(doneLines(plan, done).join("\n"), "success");
    tellToken(done);
    show("Next", nextLines(done, styleFor("stdout").dim));
    outro("The manual: cdktr docs getting-started");
    return 0;
  }
}

/**
 * Explains what blocks a plan, and asks whether to change the answers.
 * @throws Cancelled when the user declines; rethrows anything that is not a fault of the plan
 */
async function offerChange(error: unknown): Promise<void> {
  if (!(error instanceof CdktrError) || error instanceof Interrupted) throw error;
  tell([error.message, error.hint].filter(Boolean).join("\n"), "warn");
  if (!(await confirm("Nothing was written. Change the answers?", true))) throw new Cancelled();
}

async function withJoinToken(plan: Plan, { joinToken }: Wants): Promise<Plan> {
  const { answers } = plan;
  if (answers.kind !== "principal" || !answers.keys || joinToken !== undefined) return plan;
  const wanted = await confirm("Print a join token at the end, for an agent on another host?", false);
  return { ...plan, joinToken: wanted };
}

function tellToken({ joinToken }: Done): void {
  if (joinToken === undefined) return;
  tell(
    "On the other host, within the hour, run this with the line below as TOKEN (it is a secret):\n  cdktr init DIR --join TOKEN",
    "info",
  );
  // Without a frame, so that it can be copied.
  process.stdout.write(`${joinToken}\n`);
}

function decisionsByFlag({ files }: Plan, force: boolean): Map<string, Decision> {
  return new Map(
    force ? files.filter(({ state }) => state === "differs").map(({ path }) => [path, "overwrite"]) : [],
  );
}

/** Asks what to do with an existing file that differs. */
async function decide(file: PlannedFile): Promise<Decision> {
  for (;;) {
    const answer = await select(
      `${file.path} already exists and differs`,
      [
        { value: "keep", label: "Keep it" },
        { value: "overwrite", label: "Overwrite it" },
        { value: "diff", label: "Show the difference" },
      ],
      "keep",
    );
    if (answer !== "diff") return answer;
    const { enabled } = styleFor("stdout");
    const { red, green, dim } = makeStyle(enabled);
    const paints = { "-": red, "+": green, " ": dim, "…": dim };
    const rows = lineDiff(file.current ?? "", file.text).map(({ sign, text }) =>
      paints[sign](`${sign} ${text}`.trimEnd()),
    );
    const more = rows.length > DIFF_ROWS ? [dim(`… and ${rows.length - DIFF_ROWS} more lines`)] : [];
    show(`${file.path}: - current, + new`, [...rows.slice(0, DIFF_ROWS), ...more]);
  }
}

/**
 * Restores the terminal when a signal arrives during a question: without this it would stay raw and without a cursor.
 * @returns removes the handlers
 */
function restoreTerminalOnSignals(): () => void {
  return onStopSignals(() => {
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
    process.stdout.write("\x1b[?25h\n");
    process.exit(1);
  });
}
