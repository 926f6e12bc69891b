import type { ApprovalSummary } from "../../contract/messages.ts";
import { formLines } from "../../contract/run-approvals.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { readParam } from "../../workflow/param-types.ts";
import { isRequired } from "../../workflow/params.ts";
import { answerApproval, answerArgs } from "../support/answer-approval.ts";
import { command, keyValues, repeated } from "../support/command.ts";
import { say } from "../support/report.ts";

export default command({
  meta: { name: "approve", description: "Approve what a task asks" },
  args: {
    ...answerArgs,
    param: { type: "string", alias: "P", valueHint: "K=V", description: "A value of the form" },
  },
  extras: {
    completes: { run: "approval" },
    repeatable: ["param"],
    details:
      "The task is COMPLETED, and the run goes on. The values of the form, the note and who approved are outputs of the task. At a terminal it asks for values that have no default and were not given. A task is answered once: whoever comes second is told so.",
    see: ["runs why"],
    examples: [
      { command: "cdktr approvals approve 0198c2a4", does: "the only task of this run that asks" },
      {
        command: "cdktr approvals approve 0198c2a4 deploy -P percent=10 --note 'as discussed'",
        does: "one of several, with a value of its form",
      },
    ],
  },
  run({ args, rawArgs }) {
    const params = keyValues(repeated(rawArgs, "param"), "-P");
    return answerApproval(args, "approve", (asked) => completed(asked, params));
  },
});

/** The values with those that a person at a terminal is asked for: what has no default and was not given. */
async function completed(
  asked: ApprovalSummary | undefined,
  given: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> {
  const missing = Object.entries(asked?.form ?? {}).filter(
    ([name, field]) => isRequired(field) && !Object.hasOwn(given, name),
  );
  if (asked === undefined || missing.length === 0) return given;
  if (process.stdin.isTTY !== true || process.stderr.isTTY !== true || process.stdout.isTTY !== true)
    return given;
  say(plainText(asked.message));
  const { text } = await import("../init/prompts.ts");
  const values: Record<string, string> = { ...given };
  for (const [name, field] of missing) {
    const [line = name] = formLines({ [name]: field });
    values[name] = await text({
      message: plainText(line),
      initial: "",
      mayBeEmpty: readParam(field, "").ok,
      check: (value) => {
        const read = readParam(field, value);
        return read.ok ? undefined : `It must ${read.problem.must}.`;
      },
    });
  }
  return values;
}
