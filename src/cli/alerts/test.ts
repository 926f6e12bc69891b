import { randomUUID } from "node:crypto";
import { CdktrError, UsageError } from "../../errors.ts";
import { CHANNEL_NAME } from "../../workflow/channels.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { formatDuration } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

/** How long one request waits for the end, ms. */
const WAIT_MS = 10_000;

export default command({
  meta: { name: "test", description: "Send a message to a channel now, and say whether it arrived" },
  args: {
    channel: { type: "positional", required: true, description: "Its name in _cdktr.yml" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "The principal sends it as it sends alerts, but at once and only once, and waits for the answer of the mail server, the web server or the program. Exit status 1 if it could not be sent.",
    topic: "channels",
    completes: { channel: "channel" },
    examples: [{ command: "cdktr alerts test ops", does: "does mail of channel ops arrive?" }],
  },
  async run({ args: { channel, json, ...args } }) {
    if (!CHANNEL_NAME.test(channel))
      throw new UsageError(`'${channel}' is not a name of a channel.`, {
        hint: "Use letters, digits, _, - and ., at most 100.",
      });
    const tested = await withPrincipal(args, async ({ client }) => {
      const test_id = randomUUID();
      for (;;) {
        const now = await client.call("TESTCHANNEL", { channel, test_id, wait_ms: WAIT_MS });
        if (now.state !== "SENDING") return now;
      }
    });
    if (json) {
      await printJson(tested);
      return tested.state === "SENT" ? 0 : 1;
    }
    if (tested.state === "SENT") {
      say(
        `Channel ${channel} (${tested.kind ?? "?"}) took the message in ${formatDuration(tested.took_ms)}.`,
      );
      return 0;
    }
    const after = tested.permanent
      ? "Alerts that fail like this are given up at once."
      : "Alerts that fail like this are sent again later, for a day.";
    throw new CdktrError(tested.error ?? "It could not be sent.", {
      hint: [tested.hint, after].filter((part) => part !== null).join(" "),
    });
  },
});
