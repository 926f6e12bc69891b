/** Sends events to PagerDuty (Events API v2), one for each alert. What is over closes its incident. */
import { hostname } from "node:os";
import type { PagerdutySettings, Severity } from "../../../workflow/channels.ts";
import type { ChannelSecrets } from "../channel-secrets.ts";
import { type AlertWithLog, TEST_KIND } from "../message.ts";
import { post } from "./http-post.ts";
import type { AlertForMessage, OutgoingMessage } from "./sender.ts";
import type { Transport } from "./transport.ts";

const EVENTS = "https://events.pagerduty.com/v2/enqueue";
/** As PagerDuty takes them, characters. */
const LONGEST_SUMMARY = 1024;
const LONGEST_KEY = 255;

/** How bad each kind is, unless the channel says something else. */
const SEVERITIES: Readonly<Record<string, Severity>> = {
  failed: "error",
  missed: "error",
  agent_lost: "error",
  dead_letter: "error",
  late: "warning",
  paused: "warning",
  query: "warning",
  waiting: "info",
  [TEST_KIND]: "info",
};

/** What {@link pagerdutyTransport} needs. */
export interface PagerdutyOptions {
  readonly secrets: ChannelSecrets;
  /** The id of this installation: incidents of several do not mix. */
  readonly installation: () => string;
}

export function pagerdutyTransport(settings: PagerdutySettings, options: PagerdutyOptions): Transport {
  return {
    async send({ json }, message, signal) {
      const key = await options.secrets.read("The routing_key of PagerDuty", settings.routing_key, signal);
      const url = settings.url ?? EVENTS;
      const alerts = json.alerts.map(({ log, ...alert }): AlertWithLog => ({ alert, log }));
      for (const each of alerts) {
        const event = { routing_key: key, ...eventOf(each, settings, options.installation()) };
        // An event that has arrived already has the same dedup_key: whoever sends it again opens no other incident.
        await post({ url, body: JSON.stringify(event), secrets: [key], signal });
        // A test leaves nothing open.
        const { routing_key, dedup_key } = event;
        const end = { routing_key, event_action: "resolve", dedup_key };
        if (each.alert.kind === TEST_KIND)
          await post({ url, body: JSON.stringify(end), secrets: [key], signal });
      }
      if (message.more > 0) {
        const event = { routing_key: key, ...moreOf(message, options.installation()) };
        await post({ url, body: JSON.stringify(event), secrets: [key], signal });
      }
    },
  };
}

function eventOf({ alert, log }: AlertWithLog, settings: PagerdutySettings, installation: string) {
  const { workflow_id, workflow_instance_id, kind, raised_at_ms, subject } = alert;
  const dedup_key = dedupKeyOf(alert, installation);
  if (alert.about === "resolved" || kind === "recovered") return { event_action: "resolve", dedup_key };
  return {
    event_action: "trigger",
    dedup_key,
    client: "cdktr",
    payload: {
      summary: clip(subject, LONGEST_SUMMARY),
      source: hostname(),
      severity: severityOf(alert, settings),
      timestamp: new Date(raised_at_ms).toISOString(),
      ...(workflow_id === null ? {} : { component: workflow_id }),
      class: kind,
      custom_details: {
        ...(workflow_instance_id === null ? {} : { run: workflow_instance_id }),
        ...alert.facts,
        ...(log === null ? {} : { log: log.lines.join("\n") }),
      },
    },
  };
}

/** A failure stays an incident until its workflow recovers, whichever run that is. */
function dedupKeyOf({ kind, key, workflow_id }: AlertForMessage, installation: string): string {
  const own =
    (kind === "failed" || kind === "recovered") && workflow_id !== null ? `failed ${workflow_id}` : key;
  const whole = `${installation}:${own}`;
  if (whole.length <= LONGEST_KEY) return whole;
  return `${installation}:${new Bun.CryptoHasher("sha256").update(own).digest("hex")}`;
}

function severityOf({ kind, facts }: AlertForMessage, { severity = {} }: PagerdutySettings): Severity {
  const said = severity[kind] ?? severity.all;
  if (said !== undefined) return said;
  // That of an alert file.
  if (facts.severity === "critical" || facts.severity === "warning") return facts.severity;
  return SEVERITIES[kind] ?? "error";
}

function moreOf({ id, more, alerts }: OutgoingMessage, installation: string) {
  return {
    event_action: "trigger",
    dedup_key: `${installation}:more ${id}`,
    client: "cdktr",
    payload: {
      summary: `${more} more alerts: cdktr alerts list`,
      source: hostname(),
      severity: "warning",
      timestamp: new Date(alerts[0]?.raised_at_ms ?? 0).toISOString(),
    },
  };
}

function clip(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).toWellFormed()}…`;
}
