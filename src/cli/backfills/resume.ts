import { changeArgs, changeBackfill } from "../support/change-backfill.ts";
import { command } from "../support/command.ts";

export default command({
  meta: { name: "resume", description: "Go on with a backfill that is paused" },
  args: changeArgs,
  extras: {
    completes: { backfill: "backfill" },
    details:
      "It goes on behind the last firing that it is done with. One that paused itself because something was wrong tries again.",
    examples: [{ command: "cdktr backfills resume 0198c2a4", does: "go on where it was" }],
  },
  run: ({ args }) => changeBackfill(args, "ACTIVE"),
});
