import type { AlertSummary } from "../../contract/messages.ts";
import { UsageError } from "../../errors.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { KINDS_OF_ALERTS } from "../../workflow/alert-kinds.ts";
import { command, wholeNumber } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatRelative } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";
import { tellUnknownWorkflow } from "../support/unknown-names.ts";

export default command({
  meta: { name: "list", description: "List alerts, and whether those who are to know were told" },
  args: {
    open: { type: "boolean", description: "Only those that are not over" },
    dead: { type: "boolean", description: "Only those that a channel could not be told of" },
    kind: { type: "string", alias: "k", valueHint: "KIND", description: "Only this kind, such as failed" },
    workflow: { type: "string", alias: "w", valueHint: "ID", description: "Only those of this workflow" },
    limit: {
      type: "string",
      alias: "n",
      valueHint: "N",
      default: "30",
      description: "Maximum number of alerts",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "The newest first. Alerts about which nobody is told are listed only if they are late, missed or of a query. Those of the last 30 days are known; the table alert_log of the history has all of them.",
    see: ["audit", "runs list"],
    completes: { workflow: "workflow" },
    examples: [
      { command: "cdktr alerts list --open", does: "what needs somebody now" },
      { command: "cdktr alerts list --dead", does: "what could not be delivered" },
      { command: "cdktr alerts list --workflow etl.daily --kind failed --json", does: "for a program" },
    ],
  },
  async run({ args }) {
    const limit = wholeNumber(args.limit, "--limit", { min: 1, max: 1000 });
    if (args.open && args.dead)
      throw new UsageError("--open and --dead cannot be used together.", {
        hint: "Without either, all alerts are listed.",
      });
    const { kind } = args;
    if (kind !== undefined && !KINDS_OF_ALERTS.some((each) => each === kind)) {
      const near = nearest(kind, KINDS_OF_ALERTS);
      throw new UsageError(`There is no kind of alert '${kind}'.`, {
        hint: near === undefined ? `The kinds are ${KINDS_OF_ALERTS.join(", ")}.` : `Did you mean '${near}'?`,
      });
    }
    const alerts = await withPrincipal(args, async ({ client }) => {
      const found = await client.call("LSALERTS", {
        which: args.open ? "open" : args.dead ? "dead" : "all",
        ...(limit === undefined ? {} : { limit }),
        ...(kind === undefined ? {} : { kind }),
        ...(args.workflow === undefined ? {} : { workflow_id: args.workflow }),
      });
      if (found.length > 0 || args.json) return found;
      say(args.open ? "No alert is open." : args.dead ? "Every alert was told." : "No alerts.");
      await tellUnknownWorkflow(client, args.workflow);
      return found;
    });
    if (args.json) return printJson(alerts);
    if (alerts.length === 0) return;
    for (const line of alertTable(alerts, principalNow())) await printLine(line);
  },
});

function alertTable(alerts: readonly AlertSummary[], now: number): string[] {
  const style = styleFor("stdout");
  return renderTable<AlertSummary>(
    [
      { title: "ALERT", value: ({ alert_id }) => alert_id.slice(0, 8) },
      { title: "KIND", value: ({ kind }) => kind },
      { title: "RAISED", value: ({ raised_at_ms }) => formatRelative(raised_at_ms, now) },
      {
        title: "OVER",
        value: (alert) => overText(alert, now),
        paint: ({ resolved_at_ms }) => (resolved_at_ms === null ? style.yellow : (text) => text),
      },
      {
        title: "TOLD",
        value: toldText,
        paint: ({ deliveries }) =>
          deliveries.some(({ state }) => state === "DEAD") ? style.red : (text) => text,
        flexible: true,
        least: 12,
      },
      { title: "WHAT", value: ({ subject }) => subject, flexible: true, least: 20 },
    ],
    alerts,
  );
}

function overText({ raised_at_ms, resolved_at_ms }: AlertSummary, now: number): string {
  if (resolved_at_ms === null) return "open";
  return resolved_at_ms === raised_at_ms ? "-" : formatRelative(resolved_at_ms, now);
}

/** Who was told, and who was not. */
function toldText({ deliveries }: Pick<AlertSummary, "deliveries">): string {
  const names = (...states: string[]) => [
    ...new Set(deliveries.filter(({ state }) => states.includes(state)).map(({ channel }) => channel)),
  ];
  const dead = names("DEAD");
  const waiting = names("PENDING", "SENDING").filter((name) => !dead.includes(name));
  const sent = names("SENT").filter((name) => !dead.includes(name) && !waiting.includes(name));
  const parts = [
    ...sent,
    ...waiting.map((name) => `${name} (waits)`),
    ...dead.map((name) => `${name} (not told)`),
  ];
  return parts.length === 0 ? "nobody" : parts.join(", ");
}
