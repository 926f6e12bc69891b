import type { ChannelSummary } from "../../contract/messages.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatRelative } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "channels", description: "List the channels, and whether they work" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details:
      "WAITING: what is to be sent. DEAD: what was given up, see 'cdktr alerts list --dead'. LAST SENT: when a message arrived, of those of the last 30 days.",
    see: ["alerts test", "alerts retry"],
    examples: [
      { command: "cdktr alerts channels", does: "where alerts go, and whether they arrive" },
      {
        command: "cdktr alerts channels --json | jq '.[] | select(.error != null)'",
        does: "those that fail, for a program",
      },
    ],
  },
  async run({ args }) {
    const channels = await withPrincipal(args, ({ client }) => client.call("LSCHANNELS", {}));
    if (args.json) return printJson(channels);
    if (channels.length === 0)
      return say("No channels. They are made with channels: in _cdktr.yml, see 'cdktr docs alerts'.");
    for (const line of channelTable(channels, principalNow())) await printLine(line);
  },
});

function channelTable(channels: readonly ChannelSummary[], now: number): string[] {
  const style = styleFor("stdout");
  const plain = (text: string) => text;
  return renderTable<ChannelSummary>(
    [
      { title: "CHANNEL", value: ({ channel }) => channel },
      {
        title: "KIND",
        value: ({ kind, exists }) => kind ?? (exists ? "unknown" : "not there"),
        paint: ({ exists }) => (exists ? plain : style.red),
      },
      {
        title: "WAITING",
        value: ({ pending, next_ms }) =>
          pending === 0 || next_ms === null || next_ms <= now
            ? String(pending)
            : `${pending}, next ${formatRelative(next_ms, now)}`,
      },
      {
        title: "DEAD",
        value: ({ dead }) => String(dead),
        align: "right",
        paint: ({ dead }) => (dead === 0 ? plain : style.red),
      },
      {
        title: "LAST SENT",
        value: ({ last_sent_ms }) => (last_sent_ms === null ? "-" : formatRelative(last_sent_ms, now)),
      },
      { title: "ERROR", value: ({ error }) => error ?? "-", flexible: true, below: true },
    ],
    channels,
  );
}
