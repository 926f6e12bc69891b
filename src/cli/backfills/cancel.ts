import { changeArgs, changeBackfill } from "../support/change-backfill.ts";
import { command } from "../support/command.ts";

export default command({
  meta: { name: "cancel", description: "End a backfill, and cancel its runs" },
  args: changeArgs,
  extras: {
    completes: { backfill: "backfill" },
    details:
      "It makes no further runs, and those that are not over are cancelled. Runs that are over stay as they are.",
    examples: [{ command: "cdktr backfills cancel 0198c2a4", does: "end it" }],
  },
  run: ({ args }) => changeBackfill(args, "CANCELLED"),
});
