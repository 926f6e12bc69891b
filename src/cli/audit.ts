import type { AuditEntry, AuditPage, ListAudit } from "../contract/messages.ts";
import { ALERTS_SINCE } from "../contract/version.ts";
import { UnprocessableError, UsageError } from "../errors.ts";
import { plainText } from "../terminal/foreign-text.ts";
import { command, wholeNumber } from "./support/command.ts";
import { type Connection, principalNow, withPrincipal } from "./support/connect.ts";
import { formatInstant } from "./support/format.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { readStretch } from "./support/log-filter.ts";
import { say } from "./support/report.ts";
import { onStopSignals } from "./support/signals.ts";
import { flushStdout, jsonLine, printJson, printLine } from "./support/stdout.ts";
import { type Style, styleFor } from "./support/style.ts";
import { renderTable } from "./support/table.ts";

/** How long a request waits for further rows, ms. */
const WAIT_MS = 30_000;
/** Rows that are asked for at once while they are followed. */
const MOST_AT_ONCE = 10_000;

export default command({
  meta: { name: "audit", description: "Who did what: changes, and requests that were refused" },
  args: {
    last: {
      type: "string",
      valueHint: "SPAN",
      description: "Only the most recent time span, such as 1h or 7d",
    },
    since: {
      type: "string",
      valueHint: "TIME",
      description: "Only from this time on: RFC 3339, '2h ago' or ms since 1970",
    },
    until: { type: "string", valueHint: "TIME", description: "Only up to this time, in the same formats" },
    actor: { type: "string", valueHint: "NAME", description: "Only what this key or user did" },
    action: {
      type: "string",
      valueHint: "ACTION",
      description: "Only this action, such as run.cancel, or 'run.*' for all of runs",
    },
    subject: {
      type: "string",
      valueHint: "NAME",
      description: "Only what was done to this workflow, run, pool, secret or key; * stands for anything",
    },
    refused: { type: "boolean", description: "Only what was refused" },
    limit: { type: "string", alias: "n", valueHint: "N", default: "100", description: "Only the newest N" },
    follow: { type: "boolean", alias: "f", description: "Go on with what is done from now on, until Ctrl-C" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    topic: "audit",
    see: ["keys list", "db query"],
    completes: { actor: "key" },
    details:
      "The oldest first. Each change is recorded in the commit that makes it; what is refused is recorded too. With --json it prints an array, with --follow an object on a line of its own for each row.",
    examples: [
      { command: "cdktr audit --last 7d", does: "the week" },
      { command: "cdktr audit --action 'run.*' --subject etl.daily", does: "who triggered a workflow" },
      { command: "cdktr audit --actor deploy-bot --refused", does: "what a key was not allowed to do" },
      { command: "cdktr audit -f -n 0", does: "follow along" },
      { command: "cdktr audit --last 1d --json | jq '.[] | .actor'", does: "for a program" },
    ],
  },
  async run({ args }) {
    const limit = wholeNumber(args.limit, "-n", { min: 0, max: MOST_AT_ONCE }) ?? 0;
    if (args.follow && args.until !== undefined)
      throw new UsageError("--follow and --until cannot be combined: what is done from now on has no end.");
    readStretch(args, Date.now());
    await withPrincipal(args, async (connection) => {
      const { version } = connection.info.protocol;
      if (version < ALERTS_SINCE)
        throw new UnprocessableError(
          `The principal (cdktr ${connection.info.version}) does not record who does what.`,
          { hint: "Upgrade the principal." },
        );
      const list = {
        ...readStretch(args, principalNow()),
        ...(args.actor === undefined ? {} : { actor: args.actor }),
        ...(args.action === undefined ? {} : { action: args.action }),
        ...(args.subject === undefined ? {} : { subject: args.subject }),
        ...(args.refused ? { refused: true } : {}),
      };
      const isJson = args.json ?? false;
      if (args.follow) return follow(connection, list, limit, isJson);
      const page = limit === 0 ? NONE : await ask(connection, { ...list, limit });
      if (isJson) return printJson(page.rows.map(withDetail));
      if (page.rows.length === 0) say("Nothing that matches was recorded.");
      else for (const line of auditTable(page.rows, styleFor("stdout"))) await printLine(line);
      if (page.more) say(`There is more: these are the newest ${limit} (-n).`);
    });
  },
});

type List = Partial<ListAudit>;

const NONE: Pick<AuditPage, "rows" | "more"> = { rows: [], more: false };

async function ask({ client, patiently }: Connection, list: List, signal?: AbortSignal): Promise<AuditPage> {
  const page = await patiently((options) =>
    client.listAudit(list, signal === undefined ? options : { ...options, signal }),
  );
  if (page.warning !== null) say(`warning: ${page.warning}`);
  return page;
}

/** Prints the newest rows, and then each further one, until a signal comes. */
async function follow(connection: Connection, list: List, limit: number, isJson: boolean): Promise<void> {
  const stop = new AbortController();
  const off = onStopSignals(() => stop.abort());
  const style = styleFor("stdout");
  const show = async (rows: readonly AuditEntry[]) => {
    for (const row of rows) await printLine(isJson ? jsonLine(withDetail(row)) : auditLine(row, style));
    await flushStdout();
  };
  try {
    // All, so that it is known which ones of the last time were there.
    let page = await ask(connection, { ...list, limit: MOST_AT_ONCE }, stop.signal);
    await show(limit === 0 ? [] : page.rows.slice(-limit));
    const seen = new Seen(page.rows);
    for (;;) {
      const since_ms = seen.last ?? list.since_ms;
      const next = {
        ...list,
        ...(since_ms === undefined ? {} : { since_ms }),
        limit: MOST_AT_ONCE,
        revision: page.revision,
        wait_ms: WAIT_MS,
      };
      page = await ask(connection, next, stop.signal);
      await show(seen.newIn(page.rows));
      if (page.more) say("warning: more was done than can be followed; 'cdktr audit --since' shows it.");
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    off();
  }
}

/** The rows of the last time that was shown: those that are asked for next begin with them. */
class Seen {
  last: number | undefined;
  #rows = new Map<string, number>();

  constructor(rows: readonly AuditEntry[]) {
    this.newIn(rows);
  }

  newIn(rows: readonly AuditEntry[]): AuditEntry[] {
    const known = this.#rows;
    const fresh: AuditEntry[] = [];
    for (const row of rows) {
      const text = JSON.stringify(row);
      const times = known.get(text) ?? 0;
      if (times > 0) known.set(text, times - 1);
      else fresh.push(row);
    }
    const last = rows.at(-1)?.timestamp_ms ?? this.last;
    this.last = last;
    this.#rows = new Map();
    for (const row of rows) {
      if (row.timestamp_ms !== last) continue;
      const text = JSON.stringify(row);
      this.#rows.set(text, (this.#rows.get(text) ?? 0) + 1);
    }
    return fresh;
  }
}

/** For programs, with its particulars as an object. */
function withDetail(row: AuditEntry) {
  return { ...row, detail: row.detail === null ? null : JSON.parse(row.detail) };
}

function auditTable(rows: readonly AuditEntry[], style: Style): string[] {
  return renderTable<AuditEntry>(
    [
      { title: "TIME", value: ({ timestamp_ms }) => formatInstant(timestamp_ms) },
      { title: "WHO", value: ({ actor }) => actor ?? "-" },
      ...(rows.some(({ source }) => source !== null && source !== "local")
        ? [{ title: "FROM", value: ({ source }: AuditEntry) => source ?? "-" }]
        : []),
      { title: "DID", value: ({ action }) => action },
      { title: "TO", value: ({ subject }) => subject ?? "-", flexible: true, least: 13 },
      {
        title: "PARTICULARS",
        value: particulars,
        paint: ({ outcome }) => (outcome === "done" ? (text) => text : style.red),
        flexible: true,
        below: true,
      },
    ],
    rows,
  );
}

function auditLine(row: AuditEntry, style: Style): string {
  const { timestamp_ms, actor, source, action, subject, outcome } = row;
  const from = source === null || source === "local" ? "" : ` (${source})`;
  const text = particulars(row);
  return [
    formatInstant(timestamp_ms),
    `${plainText(actor ?? "-")}${from}`,
    action,
    plainText(subject ?? "-"),
    outcome === "done" ? plainText(text) : style.red(plainText(text)),
  ]
    .join("  ")
    .trimEnd();
}

/** `refused: …`, or `trigger=cli params={"day":"1"}`. */
function particulars({ detail, outcome }: AuditEntry): string {
  if (outcome !== "done") return outcome;
  return Object.entries(detail === null ? {} : JSON.parse(detail))
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
}
