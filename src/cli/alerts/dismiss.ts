import { UsageError } from "../../errors.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "dismiss", description: "Do not tell channels what waits for them, or was given up" },
  args: {
    alert: { type: "positional", required: false, description: "The alert's id or a prefix of it" },
    channel: { type: "string", valueHint: "NAME", description: "Only what is for this channel" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "For a channel that was removed or will never work, and for what nobody wants to hear any more. The alerts themselves stay in the list and in the history, where it is noted that these messages were dropped.",
    see: ["alerts list", "alerts retry"],
    completes: { alert: "alert", channel: "channel" },
    examples: [
      { command: "cdktr alerts dismiss 0d9f6c1e", does: "all messages about one alert" },
      {
        command: "cdktr alerts dismiss --channel old-pager",
        does: "all that waits for a channel that is gone",
      },
    ],
  },
  async run({ args }) {
    const { alert, channel, json } = args;
    if (alert === undefined && channel === undefined)
      throw new UsageError("Give the id of an alert, or --channel NAME.", {
        hint: "'cdktr alerts list' shows the alerts, 'cdktr alerts channels' what waits for each channel.",
      });
    const dismissed = await withPrincipal(args, ({ client }) =>
      client.call("DISMISSALERT", {
        ...(alert === undefined ? {} : { alert_id: alert }),
        ...(channel === undefined ? {} : { channel }),
      }),
    );
    if (json) return printJson(dismissed);
    const { deliveries } = dismissed;
    say(
      deliveries === 0
        ? "Nothing waits, and nothing was given up."
        : `${plural(deliveries, "message is", "messages are")} not sent.`,
    );
  },
});
