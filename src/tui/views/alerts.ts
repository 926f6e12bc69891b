/** Alerts: what is wrong now, what nobody could be told, the channels, the alert files. */
import type { AlertSummary, ChannelSummary } from "../../contract/messages.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { wrapWords } from "../../terminal/text.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { age, count, moment, until } from "../format.ts";
import { type AlertRow, alertRows } from "../lists/alert-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, GREEN, PLAIN, RED, type Style, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawDetailedList } from "./detailed-list.ts";
import type { Column } from "./table.ts";

/** Rows for what is to be said of the selected row. */
const DETAIL = 6;

export function drawAlerts(region: Region, state: State): void {
  const list = state.lists.alerts;
  drawDetailedList(region, state, {
    name: "alerts",
    rows: alertRows(state, list),
    columns: columns(state.now),
    empty: emptyText(state, list?.filter ?? ""),
    height: region.height,
    rowsBelow: DETAIL,
    about: (row, width) => detailLines(row, width, state.now),
  });
}

function columns(now: number): Column<AlertRow>[] {
  return [
    { title: "", width: 1, cell: (row) => [lookOf(row)] },
    { title: "KIND", width: 10, cell: (row) => [[kindOf(row), DIM]] },
    { title: "ABOUT", width: 12, grow: 2, cell: (row) => [[aboutOf(row), PLAIN]] },
    { title: "SINCE", width: 5, align: "right", cell: (row) => [[sinceOf(row, now), DIM]] },
    { title: "WHAT", width: 20, grow: 5, cell: whatOf },
    { title: "TOLD", width: 12, grow: 1, from: 90, cell: toldOf },
  ];
}

function lookOf(row: AlertRow): Span {
  switch (row.kind) {
    case "alert":
      return ["●", row.isCritical ? RED | BOLD : YELLOW];
    case "dead":
      return ["✗", RED];
    case "channel":
      return isWorking(row.channel) ? ["✓", GREEN] : ["✗", RED];
    case "query":
      return (row.query.error ?? row.query.problem) === null ? ["✓", GREEN] : ["✗", RED];
    default:
      return ["", PLAIN];
  }
}

function kindOf(row: AlertRow): string {
  if (row.kind === "alert" || row.kind === "dead") return row.alert.kind.replaceAll("_", " ");
  if (row.kind === "channel") return row.channel.kind ?? "unknown";
  return row.kind === "query" ? row.query.severity : "";
}

function aboutOf(row: AlertRow): string {
  if (row.kind === "alert" || row.kind === "dead") return printable(subjectOf(row.alert));
  if (row.kind === "channel") return printable(row.channel.channel);
  return row.kind === "query" ? printable(row.query.file) : "";
}

/** What an alert is about: its workflow, or else what its key names. */
function subjectOf({ workflow_id, kind, key }: AlertSummary): string {
  return workflow_id ?? key.slice(kind.length + 1);
}

function sinceOf(row: AlertRow, now: number): string {
  if (row.kind === "alert" || row.kind === "dead") return age(now - row.alert.raised_at_ms);
  const at =
    row.kind === "channel"
      ? row.channel.last_sent_ms
      : row.kind === "query"
        ? row.query.evaluated_at_ms
        : null;
  return at === null ? "" : age(now - at);
}

function whatOf(row: AlertRow): Span[] {
  switch (row.kind) {
    case "alert":
      return [[printable(row.alert.subject), PLAIN]];
    case "dead": {
      const given = row.alert.deliveries.filter(({ state }) => state === "DEAD");
      const text = given.map(({ channel, error }) => `${channel}: ${error ?? "given up"}`).join("; ");
      return [[printable(text), RED]];
    }
    case "channel":
      return channelSpans(row.channel);
    case "query": {
      const { error, problem, rows, raised, pending } = row.query;
      if (error !== null || problem !== null) return [[printable(error ?? problem ?? ""), RED]];
      const waiting = pending === 0 ? "" : `, ${pending} not yet`;
      return [
        [`${count(rows, "row")}, `, DIM],
        [count(raised, "alert"), raised > 0 ? YELLOW : DIM],
        [waiting, DIM],
      ];
    }
    default:
      return [];
  }
}

/** Whether there is nothing to be said against it. */
function isWorking({ exists, kind, error, dead }: ChannelSummary): boolean {
  return exists && kind !== null && error === null && dead === 0;
}

function channelSpans(channel: ChannelSummary): Span[] {
  const { exists, kind, pending, dead, error, last_sent_ms } = channel;
  const spans: Span[] = [];
  if (!exists) spans.push(["it is not in _cdktr.yml", RED]);
  else if (kind === null) spans.push(["this principal does not know its kind", RED]);
  else if (error !== null) spans.push([printable(error), RED]);
  else spans.push([last_sent_ms === null ? "nothing sent yet" : "works", DIM]);
  if (pending > 0) spans.push([`  ${pending} to send`, YELLOW]);
  if (dead > 0) spans.push([`  ${dead} given up`, RED]);
  return spans;
}

/** How the channels that are told of it stand: `✓ ops ◷ chat ✗ pager`. */
function toldOf(row: AlertRow): Span[] {
  if (row.kind === "query") return [[printable(row.query.to.join(" ")), DIM]];
  if (row.kind !== "alert" && row.kind !== "dead") return [];
  const told = new Map<string, Span>();
  for (const { channel, about, state } of row.alert.deliveries)
    if (about === "raised") told.set(channel, DELIVERED[state] ?? ["·", DIM]);
  if (told.size === 0) return [["nobody", DIM]];
  return [...told].flatMap(([channel, [glyph, style]]): Span[] => [
    [`${glyph} `, style],
    [`${printable(channel)} `, PLAIN],
  ]);
}

/** The states of a delivery. */
const DELIVERED: Readonly<Record<string, readonly [string, Style]>> = {
  PENDING: ["◷", YELLOW],
  SENDING: ["◷", CYAN],
  SENT: ["✓", GREEN],
  DEAD: ["✗", RED],
};

function detailLines(row: AlertRow, columns: number, now: number): Span[][] {
  const lines: Span[][] = [];
  const add = (text: string, style: Style = PLAIN) => {
    for (const line of wrapWords(printable(text), columns)) lines.push([[line, style]]);
  };
  switch (row.kind) {
    case "heading":
      add(row.text);
      break;
    case "alert":
    case "dead": {
      const { alert } = row;
      const run = alert.workflow_instance_id === null ? "" : `, run ${alert.workflow_instance_id}`;
      add(`${alert.key}${run}, since ${moment(alert.raised_at_ms, now)}`, DIM);
      add(alert.subject, row.kind === "alert" && row.isCritical ? RED : YELLOW);
      for (const { channel, state, attempts, error, due_ms } of alert.deliveries) {
        const again = state === "PENDING" && due_ms !== null ? `, again ${until(due_ms - now)}` : "";
        if (error !== null)
          add(`${channel}: ${error} (${count(attempts, "attempt")}${again})`, state === "DEAD" ? RED : DIM);
      }
      break;
    }
    case "channel": {
      const { channel, kind, last_sent_ms, next_ms, error } = row.channel;
      add(`Channel ${channel}${kind === null ? "" : ` (${kind})`}`, DIM);
      const next = next_ms === null ? "" : ` It sends next ${until(next_ms - now)}.`;
      const last =
        last_sent_ms === null
          ? "Nothing was sent yet."
          : `A message arrived at ${moment(last_sent_ms, now)}.`;
      add(`${last}${next}`);
      if (error !== null) add(error, RED);
      break;
    }
    case "query": {
      const { file, name, every_ms, evaluated_at_ms, next_ms, error, problem } = row.query;
      add(name === file ? file : `${name}, ${file}`, DIM);
      const last =
        evaluated_at_ms === null ? "not evaluated yet" : `evaluated at ${moment(evaluated_at_ms, now)}`;
      const next = next_ms === null ? "" : `, next ${until(next_ms - now)}`;
      add(`Every ${formatDuration(every_ms)}: ${last}${next}`);
      for (const text of [error, problem]) if (text !== null) add(text, RED);
    }
  }
  return lines;
}

function emptyText({ data }: State, filter: string): string {
  if (data.alertsMissing !== null) return data.alertsMissing;
  if (data.alerts === null) return "Loading …";
  if (filter !== "") return `No alert matches "${filter}". Esc clears the filter.`;
  return "Nothing is wrong that anybody has asked to be told of.\n\nSee cdktr docs alerts.";
}
