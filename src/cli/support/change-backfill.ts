/** What pausing, resuming and cancelling a backfill have in common. */
import type { BackfillSummary } from "../../contract/messages.ts";
import { backfillArg, backfillId, leftOf, requireBackfills } from "./backfill-text.ts";
import { withPrincipal } from "./connect.ts";
import { plural } from "./format.ts";
import { jsonArg, principalArg } from "./globals.ts";
import { say } from "./report.ts";
import { printJson } from "./stdout.ts";

export const changeArgs = { ...backfillArg, ...jsonArg, ...principalArg } as const;

/** Changes the state of a backfill, and says what follows. @throws UnprocessableError when it is over */
export async function changeBackfill(
  args: {
    readonly backfill: string;
    readonly json?: boolean | undefined;
    readonly principal?: string | undefined;
  },
  to: "ACTIVE" | "PAUSED" | "CANCELLED",
): Promise<void> {
  const backfill_id = backfillId(args.backfill);
  const { backfill } = await withPrincipal(args, (connection) => {
    requireBackfills(connection);
    return connection.client.call("CHANGEBACKFILL", { backfill_id, to });
  });
  if (args.json) return printJson(backfill);
  say(`Backfill ${backfill.backfill_id} of ${backfill.workflow_id} ${whatFollows(backfill)}`);
}

function whatFollows(backfill: BackfillSummary): string {
  const { state, active } = backfill;
  const left = leftOf(backfill);
  const running = `${plural(active, "run")} ${active === 1 ? "goes" : "go"} on`;
  switch (state) {
    case "PAUSED":
      return active === 0 ? "is paused." : `is paused: ${running}.`;
    case "CANCELLED":
      return `is cancelled${active === 0 ? "" : `: ${plural(active, "run")} ${active === 1 ? "is" : "are"} being cancelled`}.`;
    default:
      return `goes on: ${plural(left, "firing")} ${left === 1 ? "is" : "are"} left.`;
  }
}
