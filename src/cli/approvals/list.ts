import type { ApprovalSummary } from "../../contract/messages.ts";
import { nameOfApproval } from "../../contract/run-approvals.ts";
import { command, wholeNumber } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatRelative } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { findRun } from "../support/run-id.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { renderTable } from "../support/table.ts";
import { tellUnknownWorkflow } from "../support/unknown-names.ts";

export default command({
  meta: { name: "list", description: "List the tasks that wait for a person" },
  args: {
    limit: {
      type: "string",
      alias: "n",
      valueHint: "N",
      default: "100",
      description: "Maximum number of tasks",
    },
    workflow: { type: "string", alias: "w", valueHint: "ID", description: "Only runs of this workflow" },
    run: { type: "string", valueHint: "RUN", description: "Only this run" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "The oldest first, with what each asks. 'cdktr runs why RUN' shows what is to be filled in, and the command that answers.",
    see: ["runs why"],
    completes: { workflow: "workflow", run: "approval" },
    examples: [
      { command: "cdktr approvals list", does: "everything that waits" },
      { command: "cdktr approvals list --workflow deploy --json", does: "of one workflow, for a program" },
    ],
  },
  async run({ args }) {
    const limit = wholeNumber(args.limit, "--limit", { min: 1, max: 1000 });
    const approvals = await withPrincipal(args, async (connection) => {
      const { client } = connection;
      const run = args.run === undefined ? undefined : await findRun(connection, args.run);
      const found = await client.listApprovals({
        limit,
        ...(args.workflow === undefined ? {} : { workflow_id: args.workflow }),
        ...(run === undefined ? {} : { workflow_instance_id: run.workflow_instance_id }),
      });
      if (found.length > 0 || args.json) return found;
      say("Nothing waits for a person.");
      await tellUnknownWorkflow(client, args.workflow);
      return found;
    });
    if (args.json) return printJson(approvals);
    if (approvals.length === 0) return;
    for (const line of approvalTable(approvals, principalNow())) await printLine(line);
  },
});

function approvalTable(approvals: readonly ApprovalSummary[], now: number): string[] {
  return renderTable<ApprovalSummary>(
    [
      {
        title: "RUN",
        value: (approval) => approval.workflow_instance_id,
        short: (approval) => approval.workflow_instance_id.slice(0, 13),
      },
      { title: "WORKFLOW", value: ({ workflow_id }) => workflow_id, flexible: true },
      { title: "TASK", value: nameOfApproval, flexible: true },
      { title: "SINCE", value: ({ since_ms }) => formatRelative(since_ms, now) },
      ...(approvals.some(({ due_ms }) => due_ms !== null)
        ? [{ title: "IF NOBODY ANSWERS", value: (approval: ApprovalSummary) => ending(approval, now) }]
        : []),
      ...(approvals.some(({ triggered_by }) => triggered_by !== null)
        ? [
            {
              title: "TRIGGERED BY",
              value: ({ triggered_by }: ApprovalSummary) => triggered_by ?? "-",
              dispensable: true,
            },
          ]
        : []),
      { title: "ASKS", value: ({ message }) => message, flexible: true },
    ],
    approvals,
  );
}

/** What becomes of it if nobody answers. */
function ending({ due_ms, on_timeout }: ApprovalSummary, now: number): string {
  if (due_ms === null) return "-";
  return `${on_timeout === "approve" ? "approved" : "rejected"} ${formatRelative(due_ms, now)}`;
}
