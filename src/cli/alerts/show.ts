import type { AlertDetails } from "../../contract/messages.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { formatDuration, formatInstant, formatRelative, plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";

/** The argument that names an alert. */
const alertArg = {
  alert: { type: "positional", required: true, description: "The alert's id or a prefix of it" },
} as const;

export default command({
  meta: { name: "show", description: "Show an alert: what happened, and who was told when" },
  args: { ...alertArg, ...jsonArg, ...principalArg },
  extras: {
    see: ["runs show", "logs query"],
    completes: { alert: "alert" },
    examples: [
      { command: "cdktr alerts show 0d9f6c1e", does: "one of those that 'cdktr alerts list' shows" },
      { command: "cdktr alerts show 0d9f6c1e --json | jq .facts", does: "its particulars, for a program" },
    ],
  },
  async run({ args: { alert: id, json, ...args } }) {
    const alert = await withPrincipal(args, ({ client }) => client.call("GETALERT", { alert_id: id }));
    if (json) return printJson(alert);
    await printAlert(alert, principalNow());
  },
});

async function printAlert(alert: AlertDetails, now: number): Promise<void> {
  const style = styleFor("stdout");
  const fact = async (label: string, value: string | null): Promise<void> => {
    if (value !== null) await printLine(`${style.dim(label.padEnd(13))}${value}`);
  };
  const at = (ms: number) => `${formatInstant(ms)} (${formatRelative(ms, now)})`;
  const { raised_at_ms: raised, resolved_at_ms: resolved, workflow_instance_id: run } = alert;
  await printLine(style.bold(plainText(alert.subject)));
  await fact("Alert", alert.alert_id);
  await fact("Kind", alert.kind);
  await fact("Raised", at(raised));
  await fact("Over", resolved === null ? style.yellow("no") : resolved === raised ? null : at(resolved));
  await fact("Workflow", alert.workflow_id && plainText(alert.workflow_id));
  await fact("Run", run && plainText(run));
  for (const [label, value] of factLines(alert.facts)) await fact(label, plainText(value));
  for (const [n, delivery] of alert.deliveries.entries()) {
    const { channel, about, state, attempts, due_ms, error, changed_at_ms } = delivery;
    const what = about === "resolved" ? `${channel}, that it is over` : channel;
    const tries = attempts > 1 ? ` after ${attempts} attempts` : "";
    const how = {
      SENT: `told ${formatRelative(changed_at_ms, now)}${tries}`,
      SENDING: "is being told",
      PENDING:
        due_ms === null
          ? "waits"
          : `waits, ${attempts === 0 ? "" : `${plural(attempts, "attempt")} failed, `}next ${due_ms <= now ? "at once" : formatRelative(due_ms, now)}`,
      DEAD: `given up ${formatRelative(changed_at_ms, now)}${tries}`,
    }[state];
    const why = error === null || state === "SENT" ? "" : `: ${plainText(error)}`;
    const text = `${what}: ${how ?? state}${why}`;
    await fact(n === 0 ? "Told" : "", state === "DEAD" ? style.red(text) : text);
  }
  if (alert.deliveries.length === 0) await fact("Told", "nobody");
  if (run !== null) {
    await printLine("");
    await printLine(style.dim(`cdktr runs show ${plainText(run)}`));
    await printLine(style.dim(`cdktr logs query --run ${plainText(run)}`));
  }
}

/** The particulars that say something to people, by label. */
function factLines(facts: AlertDetails["facts"]): [label: string, value: string][] {
  const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : null);
  const lines: [string, string | null][] = [
    ["Error", text(facts.error)],
    ["Question", text(facts.message)],
    ["Rule", text(facts.rule)],
    ["Agent", text(facts.agent_id)],
    ["Trigger", text(facts.trigger)],
    ["Took", typeof facts.duration_ms === "number" ? formatDuration(facts.duration_ms) : null],
  ];
  const tasks = Array.isArray(facts.failed_tasks) ? facts.failed_tasks : [];
  for (const [n, task] of tasks.entries()) lines.push([n === 0 ? "Failed" : "", failedText(task)]);
  return lines.filter((line): line is [string, string] => line[1] !== null);
}

function failedText(task: unknown): string | null {
  if (typeof task !== "object" || task === null) return null;
  const { task_id, item_key, error, exit_code } = task as Record<string, unknown>;
  const name = typeof item_key === "string" ? `${task_id}[${item_key}]` : String(task_id);
  const why = typeof error === "string" ? error : exit_code === null ? "" : `exit status ${exit_code}`;
  return why === "" ? name : `${name}: ${why}`;
}
