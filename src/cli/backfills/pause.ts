import { changeArgs, changeBackfill } from "../support/change-backfill.ts";
import { command } from "../support/command.ts";

export default command({
  meta: { name: "pause", description: "Make no further runs of a backfill for now" },
  args: changeArgs,
  extras: {
    completes: { backfill: "backfill" },
    details: "Its runs that are under way go on.",
    examples: [{ command: "cdktr backfills pause 0198c2a4", does: "stop after the runs that are under way" }],
  },
  run: ({ args }) => changeBackfill(args, "PAUSED"),
});
