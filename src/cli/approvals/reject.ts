import { answerApproval, answerArgs } from "../support/answer-approval.ts";
import { command } from "../support/command.ts";

export default command({
  meta: { name: "reject", description: "Reject what a task asks" },
  args: answerArgs,
  extras: {
    completes: { run: "approval" },
    details:
      "The task is FAILED, with who rejected it and the note as its error. What depends on it is skipped, unless the workflow says otherwise.",
    see: ["runs why"],
    examples: [
      { command: "cdktr approvals reject 0198c2a4 --note 'not on a Friday'", does: "with the reason" },
    ],
  },
  run: ({ args }) => answerApproval(args, "reject"),
});
