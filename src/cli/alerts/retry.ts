import { UsageError } from "../../errors.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "retry", description: "Tell channels again what they could not be told" },
  args: {
    alert: { type: "positional", required: false, description: "The alert's id or a prefix of it" },
    "all-dead": { type: "boolean", description: "All alerts that a channel could not be told of" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "For messages that were given up. Those that wait are sent by themselves, as soon as their channel works or is changed in _cdktr.yml.",
    see: ["alerts list"],
    completes: { alert: "alert" },
    examples: [
      { command: "cdktr alerts retry 0d9f6c1e", does: "one alert" },
      { command: "cdktr alerts retry --all-dead", does: "everything, once the channel works again" },
    ],
  },
  async run({ args }) {
    const { alert, "all-dead": all, json } = args;
    if ((alert === undefined) !== (all === true))
      throw new UsageError("Give the id of an alert, or --all-dead.", {
        hint: "'cdktr alerts list --dead' shows what could not be told.",
      });
    const retried = await withPrincipal(args, ({ client }) =>
      client.call("RETRYALERT", alert === undefined ? {} : { alert_id: alert }),
    );
    if (json) return printJson(retried);
    const { deliveries } = retried;
    say(
      deliveries === 0
        ? "There is nothing that was given up."
        : `${plural(deliveries, "message is", "messages are")} sent again. 'cdktr alerts channels' shows how that goes.`,
    );
  },
});
