/** Answers what a task asks a person. */
import type { ArgsDef } from "citty";
import type { ApprovalSummary, RunDetails } from "../../contract/messages.ts";
import { nameOfApproval } from "../../contract/run-approvals.ts";
import { PrincipalUnreachableError } from "../../errors.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { withPrincipal } from "./connect.ts";
import { jsonArg, principalArg } from "./globals.ts";
import { say } from "./report.ts";
import { findRun, runArg } from "./run-id.ts";
import { printJson } from "./stdout.ts";

/** Safe to repeat when no reply comes, because an answer carries an idempotency key. */
const ATTEMPTS = 5;

/** The arguments of both commands. */
export const answerArgs = {
  ...runArg,
  task: {
    type: "positional",
    required: false,
    description: "The task that asks, or an item such as load[eu]; needed if several do",
  },
  note: { type: "string", valueHint: "TEXT", description: "Why; it is kept with the answer" },
  ...jsonArg,
  ...principalArg,
} as const satisfies ArgsDef;

interface AnswerArgs {
  readonly run: string;
  readonly task?: string | undefined;
  readonly note?: string | undefined;
  readonly json?: boolean | undefined;
  readonly principal?: string | undefined;
}

/** Answers, and says so. @param complete gives the values of the form, as texts; what is asked is undefined if it is not known */
export async function answerApproval(
  args: AnswerArgs,
  answer: "approve" | "reject",
  complete?: (asked: ApprovalSummary | undefined) => Promise<Readonly<Record<string, string>>>,
): Promise<void> {
  const dedupeKey = `cli-${crypto.randomUUID()}`;
  await withPrincipal(args, async (connection) => {
    const { client } = connection;
    const run = await findRun(connection, args.run);
    const { workflow_instance_id } = run;
    const asked = approvalIn(run, args.task);
    const params = (await complete?.(asked)) ?? {};
    const request = {
      workflow_instance_id,
      ...(args.task === undefined ? {} : { task_id: args.task }),
      answer,
      params,
      note: args.note ?? "",
      dedupe_key: dedupeKey,
    };
    let answered: Awaited<ReturnType<typeof client.answerApproval>>;
    try {
      answered = await client.answerApproval(request, { attempts: ATTEMPTS });
    } catch (error) {
      if (!(error instanceof PrincipalUnreachableError)) throw error;
      throw new PrincipalUnreachableError(
        `The principal at ${client.address} stopped answering: it is unknown whether the answer counts.`,
        { hint: `When it is back: cdktr runs why ${workflow_instance_id}`, cause: error },
      );
    }
    if (args.json) return printJson(answered);
    const what = answered.status === "COMPLETED" ? "approved" : "rejected";
    say(
      `Task ${plainText(nameOfApproval(answered))} of run ${workflow_instance_id} of ${plainText(run.workflow_id)} is ${what}.`,
    );
  });
}

/** What is meant, as far as it is known to wait. */
function approvalIn({ approvals = [] }: RunDetails, task: string | undefined): ApprovalSummary | undefined {
  const meant = approvals.filter((each) => task === undefined || nameOfApproval(each) === task);
  return meant.length === 1 ? meant[0] : undefined;
}
