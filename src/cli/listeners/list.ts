import type { ListenerSummary } from "../../contract/messages.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatRelative } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "list", description: "List the listeners that report to the principal" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details:
      "The principal's own listeners (scheduler, webhook, file, workflow) and those of 'cdktr start listeners' and 'cdktr listen' on any host. A listener whose process is gone is marked lost after 30 s and forgotten after a day.",
    topic: "listeners",
    examples: [
      { command: "cdktr listeners list", does: "what triggers, and what waits" },
      {
        command: "cdktr listeners list --json | jq '.[] | select(.state != \"running\")'",
        does: "only those that are not working",
      },
    ],
  },
  async run({ args }) {
    const listeners = await withPrincipal(args, ({ client }) => client.call("LSLISTENERS", {}));
    if (args.json) return printJson(listeners);
    if (listeners.length === 0) {
      return say("No listeners: no workflow has a cron or an on:, and no 'cdktr listen' has reported.");
    }
    for (const line of listenerTable(listeners, principalNow())) await printLine(line);
  },
});

function listenerTable(listeners: readonly ListenerSummary[], now: number): string[] {
  const style = styleFor("stdout");
  const paint = {
    running: style.green,
    "backing off": style.yellow,
    stopped: style.dim,
    lost: style.red,
  };
  return renderTable<ListenerSummary>(
    [
      { title: "LISTENER", value: (listener) => listener.name, flexible: true },
      {
        title: "STATE",
        value: (listener) => listener.state,
        paint: (listener) => paint[listener.state],
      },
      { title: "TRIGGERS", value: (listener) => String(listener.fired), align: "right" },
      { title: "RUNS", value: (listener) => String(listener.delivered), align: "right" },
      { title: "WAITING", value: (listener) => String(listener.buffered), align: "right" },
      { title: "FAILED", value: (listener) => String(listener.failed), align: "right" },
      {
        title: "LAST",
        value: ({ last_trigger_ms: last }) => (last === null ? "-" : formatRelative(last, now)),
      },
      { title: "HOST", value: (listener) => listener.host, flexible: true, dispensable: true },
      { title: "PID", value: (listener) => String(listener.pid), align: "right", dispensable: true },
      { title: "ERROR", value: (listener) => listener.error ?? "", flexible: true },
    ],
    listeners,
  );
}
