/** The metrics of alerts and of their deliveries. */
import type { Exposition } from "../../metrics/exposition.ts";
import type { ChannelCounts } from "../../storage/operational/alerts.ts";
import { KINDS_OF_ALERTS } from "../../workflow/alert-kinds.ts";
import type { SentCounts } from "../alerts/deliveries.ts";

/** What there is of them. */
export interface AlertCounts {
  /** Open alerts by kind; kinds without any may be missing. */
  readonly open: ReadonlyMap<string, number>;
  readonly deliveries: readonly ChannelCounts[];
  /** Since the start, by channel. */
  readonly messages: ReadonlyMap<string, SentCounts>;
}

/** Adds them to a page. */
export function addAlerts(page: Exposition, { open, deliveries, messages }: AlertCounts): void {
  const kinds = new Set<string>([...KINDS_OF_ALERTS, ...open.keys()]);
  page.gauge(
    "cdktr_alerts_open",
    "Alerts that are not over, by kind.",
    [...kinds].map((kind) => [{ kind }, open.get(kind) ?? 0]),
  );
  page.gauge(
    "cdktr_deliveries",
    "Alerts that a channel is to be told of, and those that it could not be told of, for good.",
    deliveries.flatMap(({ channel, pending, dead }) => [
      [{ channel, state: "pending" }, pending],
      [{ channel, state: "dead" }, dead],
    ]),
  );
  page.counter(
    "cdktr_messages_total",
    "Messages to channels since the principal started, by whether they arrived.",
    [...messages].flatMap(([channel, { sent, failed }]) => [
      [{ channel, outcome: "sent" }, sent],
      [{ channel, outcome: "failed" }, failed],
    ]),
  );
}
