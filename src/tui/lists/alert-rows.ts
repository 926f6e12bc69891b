/** The rows of the alerts: open ones, dead letters, channels, alert files. */
import type { AlertQueryStatus, AlertSummary, ChannelSummary } from "../../contract/messages.ts";
import { count } from "../format.ts";
import { memo } from "../memo.ts";
import type { AlertData, ListState, State } from "../state.ts";
import { matcher } from "./filter.ts";

export type AlertRow =
  | { readonly kind: "heading"; readonly id: string; readonly text: string }
  /** `isCritical`: somebody should look at once. */
  | {
      readonly kind: "alert";
      readonly id: string;
      readonly alert: AlertSummary;
      readonly isCritical: boolean;
    }
  /** An alert of which a message was given up. */
  | { readonly kind: "dead"; readonly id: string; readonly alert: AlertSummary }
  | { readonly kind: "channel"; readonly id: string; readonly channel: ChannelSummary }
  | { readonly kind: "query"; readonly id: string; readonly query: AlertQueryStatus };

const NOTHING: readonly AlertRow[] = [];

const compute = memo((data: AlertData, filter: string): readonly AlertRow[] => {
  const matches = matcher(filter);
  const { alerts, dead, channels, queries } = data;
  const isShown = (alert: AlertSummary) =>
    matches(`${alert.kind} ${alert.workflow_id ?? ""} ${alert.subject} ${alert.key}`);
  const open = alerts.filter(isShown);
  const given = dead.filter(isShown);
  const named = channels.filter(({ channel, kind }) => matches(`${channel} ${kind ?? ""} channel`));
  const files = queries.filter(({ file, name }) => matches(`${file} ${name} query`));
  const severe = queries.filter(({ severity }) => severity === "critical");
  const isCritical = ({ kind, key }: AlertSummary) =>
    ["missed", "agent_lost"].includes(kind) ||
    (kind === "query" &&
      severe.some(({ file }) => key === `query ${file}` || key.startsWith(`query ${file} `)));
  const rows: AlertRow[] = open.map((alert) => ({
    kind: "alert",
    id: `alert ${alert.alert_id}`,
    alert,
    isCritical: isCritical(alert),
  }));
  const part = (id: string, text: string, below: readonly AlertRow[]) => {
    if (below.length > 0) rows.push({ kind: "heading", id: `heading ${id}`, text }, ...below);
  };
  part(
    "dead",
    `${count(given.length, "alert")} with a message that was given up`,
    given.map((alert) => ({ kind: "dead", id: `dead ${alert.alert_id}`, alert })),
  );
  part(
    "channels",
    count(named.length, "channel"),
    named.map((channel) => ({ kind: "channel", id: `channel ${channel.channel}`, channel })),
  );
  part(
    "queries",
    count(files.length, "alert file"),
    files.map((query) => ({ kind: "query", id: `query ${query.file}`, query })),
  );
  return rows;
});

/** The rows that the filter leaves. */
export function alertRows(state: State, list: Readonly<ListState> | undefined): readonly AlertRow[] {
  return state.data.alerts === null ? NOTHING : compute(state.data.alerts, list?.filter ?? "");
}

/** The alert of a row; null if it is about none. */
export function alertOfRow(row: AlertRow | undefined): AlertSummary | null {
  return row?.kind === "alert" || row?.kind === "dead" ? row.alert : null;
}

/** The conditions of the expectations of a workflow that are not met: `late`, `missed`. */
export function unmetOf(state: State, workflowId: string): readonly ("late" | "missed")[] {
  const { alerts = [] } = state.data.alerts ?? {};
  return unmet(alerts).get(workflowId) ?? NONE_UNMET;
}

const NONE_UNMET: readonly never[] = [];

const unmet = memo((alerts: readonly AlertSummary[]) => {
  const found = new Map<string, ("late" | "missed")[]>();
  for (const { kind, workflow_id: id } of alerts) {
    if (id === null || (kind !== "late" && kind !== "missed")) continue;
    const known = found.get(id) ?? [];
    if (!known.includes(kind)) found.set(id, [...known, kind]);
  }
  return found;
});
