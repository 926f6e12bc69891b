/** The frame around every page: header, tabs, key hints, messages. */

import { VERSION } from "../../build-facts.ts";
import type { AgentSummary } from "../../contract/messages.ts";
import { fit, width } from "../../terminal/text.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import { age, clock, count } from "../format.ts";
import type { Binding } from "../keys/binding.ts";
import { bindingsFor } from "../keys/bindings.ts";
import { globalKeys } from "../keys/global-keys.ts";
import { runCounts } from "../lists/run-rows.ts";
import { currentPage } from "../navigation.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, GREEN, INVERSE, PLAIN, RED, YELLOW } from "../screen/style.ts";
import { type State, TABS, type Tab } from "../state.ts";

const TITLES: Readonly<Record<Tab, string>> = {
  workflows: "Workflows",
  runs: "Runs",
  logs: "Logs",
  agents: "Agents",
  activity: "Activity",
  approvals: "Approvals",
  queue: "Queue",
  calendar: "Calendar",
  alerts: "Alerts",
};
/** Columns from which approvals have a tab although nothing waits for a person. */
const WITH_EMPTY = 96;

/** One line: the principal and its connection, runs, agents, the time. */
export function drawHeader(region: Region, state: State): void {
  const columns = (spans: readonly Span[]) => spans.reduce((sum, [text]) => sum + width(text), 0);
  // The address is never cut: what says less gives way.
  const lengths = region.width >= 100 ? LENGTHS : LENGTHS.slice(1);
  const sides = lengths.map((length) => ({
    left: headerLeft(state, length),
    right: headerRight(state, length),
  }));
  const fitting =
    sides.find(({ left, right }) => columns(left) + columns(right) < region.width) ?? sides.at(-1);
  if (fitting === undefined) return;
  const { left, right } = fitting;
  const space = columns(right);
  region.spans(0, 0, left, Math.max(20, region.width - space - 1));
  region.spans(Math.max(21, region.width - space), 0, right);
}

/** How long the words of the header are: from whole ones to symbols alone. */
const LENGTHS = ["long", "short", "none"] as const;
type Length = (typeof LENGTHS)[number];

/** The principal and its connection. */
function headerLeft(state: State, length: Length): Span[] {
  const { info } = state.data;
  const address = state.principals[state.principal];
  const given = address === undefined ? "" : hostAndPort(address.host, address.port);
  const named =
    info?.member === undefined
      ? given
      : `${hostAndPort(info.host, info.api_port)} (${info.member}, one of ${info.members?.length ?? 1})`;
  const several = state.principals.length > 1 ? `[${state.principal + 1}/${state.principals.length}] ` : "";
  const hasName = address !== undefined && address.name !== given;
  return [
    [" cdktr ", BOLD | INVERSE],
    [" ", PLAIN],
    ...connectionSpans(state, length),
    [hasName ? ` ${address.name} ` : " ", BOLD],
    [several, CYAN],
    [named, hasName ? DIM : BOLD],
    // Shown only when it differs from the version of this UI.
    [info === null || info.version === VERSION ? "" : ` cdktr ${info.version}`, YELLOW],
  ];
}

/** Runs, agents, the time. */
function headerRight(state: State, length: Length): Span[] {
  const { data } = state;
  const right: Span[] = [];
  const word = (long: string, short: string): Span => [
    length === "long" ? ` ${long}  ` : length === "short" ? ` ${short} ` : " ",
    DIM,
  ];
  if (data.info !== null && data.agents !== null) {
    const counts = runCounts(data.runs, Math.floor(state.now / 60_000));
    // To the principal, a run that rests is running.
    const running = Math.max(0, data.info.runs.running - counts.waiting);
    const queued = data.info.runs.pending;
    const counted = (status: AgentSummary["status"]) =>
      data.agents?.filter((agent) => agent.status === status).length ?? 0;
    const [up, draining, lost] = [counted("UP"), counted("DRAINING"), counted("LOST")];
    const waiting: Span[] =
      counts.waiting === 0 ? [] : [[`◷ ${counts.waiting}`, YELLOW], word("waiting", "wait")];
    right.push(
      [`▶ ${running}`, running > 0 ? CYAN : DIM],
      word("running", "run"),
      ...waiting,
      [`○ ${queued}`, queued > 0 ? YELLOW : DIM],
      word("queued", "que"),
      [`✗ ${counts.failed}`, counts.failed > 0 ? RED | BOLD : DIM],
      [length === "long" ? " failed/1h │ " : length === "short" ? " fail │ " : " │ ", DIM],
      [length === "long" ? "agents " : "", DIM],
      [`${up} up`, up > 0 ? GREEN : YELLOW],
      [draining > 0 ? ` ${draining} ${length === "long" ? "draining" : "drain"}` : "", YELLOW],
      [lost > 0 ? ` ${lost} lost` : "", RED | BOLD],
      [" │ ", DIM],
    );
  }
  right.push([clock(state.now), PLAIN], [" ", PLAIN]);
  return right;
}

function connectionSpans(state: State, length: Length): Span[] {
  const { status, since, latencyMs } = state.connection;
  switch (status) {
    case "connected": {
      const latency =
        latencyMs === null || length === "none"
          ? ""
          : ` ${latencyMs < 10 ? latencyMs.toFixed(1) : Math.round(latencyMs)}ms`;
      return [
        ["●", GREEN],
        [latency, DIM],
      ];
    }
    case "connecting":
      return [["◷ connecting", YELLOW]];
    case "lost":
      return [[`✗ ${age(state.hostNow - since)}`, RED | BOLD]];
  }
}

/** The first tabs keep their names as long as they fit. */
const ALWAYS_NAMED = 5;
/** Columns of the tabs line that are kept for what is wrong, and for the name of what is shown. */
const FOR_TROUBLE = 30;
const FOR_NAME = 20;

/** The tabs, and the name of the current page on the right. */
export function drawTabs(region: Region, state: State): void {
  const { info } = state.data;
  const away = info !== null && !info.history.available;
  const trouble =
    info?.state_error ?? (away ? `history unavailable: ${info.history.error ?? "not available"}` : undefined);
  const { text, kept } =
    trouble === undefined ? pageNote(state) : { text: `✗ ${trouble}`, kept: FOR_TROUBLE };
  const counts: Partial<Record<Tab, number>> = {
    approvals: state.data.approvals?.length ?? 0,
    alerts: state.data.alerts?.alerts.length ?? 0,
  };
  const shortened = new Set<Tab>();
  const badge = (tab: Tab) => {
    const number = counts[tab] ?? 0;
    return number === 0 ? "" : shortened.has(tab) ? ` ${number}` : `${number} `;
  };
  const tabs = [...TABS.entries()].filter(
    ([, tab]) =>
      tab !== "approvals" || counts.approvals !== 0 || state.tab === tab || region.width >= WITH_EMPTY,
  );
  const named = (tab: Tab, number: number) => ` ${number + 1} ${TITLES[tab]} `;
  const columns = () =>
    tabs.reduce(
      (sum, [i, tab]) => sum + (shortened.has(tab) ? 2 : named(tab, i).length) + badge(tab).length,
      0,
    );
  // The last ones lose their names first, the current one never.
  for (const [i, tab] of tabs.toReversed()) {
    // What is said of the page takes the place of the last names only.
    const space = region.width - (i < ALWAYS_NAMED ? 0 : Math.min(width(text), kept) + 2);
    if (columns() <= space) break;
    if (tab !== state.tab) shortened.add(tab);
  }
  let x = 0;
  for (const [i, tab] of tabs) {
    const label = shortened.has(tab) ? ` ${i + 1}` : named(tab, i);
    const style = state.tab === tab ? BOLD | INVERSE : PLAIN;
    region.text(x, 0, label, style);
    // What waits for a person, and what is wrong, is seen on every page.
    region.text(x + label.length, 0, badge(tab), style | YELLOW | BOLD);
    const taken = label.length + badge(tab).length;
    region.hit(x, 0, taken, 1, { kind: "tab", index: i });
    x += taken;
  }
  const space = region.width - x - 2;
  if (space >= width(text) || (kept > 0 && space > 4))
    region.textRight(0, fit(text, space), trouble === undefined ? DIM : RED | BOLD, 1);
}

/** What is said of the page, and how many columns are kept for it: a mere number gives way to the names of tabs. */
function pageNote(state: State): { text: string; kept: number } {
  const page = currentPage(state);
  const { data } = state;
  switch (page.kind) {
    case "workflows": {
      const broken = data.info?.invalid_workflow_files.length ?? 0;
      const known = count(data.workflows?.length ?? 0, "workflow");
      return { text: broken === 0 ? known : `${known}, ${count(broken, "invalid file")}`, kept: 0 };
    }
    case "runs":
      return { text: count(data.runs?.length ?? 0, "run"), kept: 0 };
    case "workflow":
    case "run":
      return { text: page.id, kept: FOR_NAME };
    default:
      return { text: "", kept: 0 };
  }
}

/** A one-row banner that the principal does not answer, and how old the shown data is. */
export function drawLost(region: Region, state: State): void {
  const { lastDataMs, error, since } = state.connection;
  const shown = lastDataMs === null ? "" : ` · showing the state of ${age(state.hostNow - lastDataMs)} ago`;
  const text = ` No answer; reconnecting since ${clock(since)}${shown}`;
  const why = error === null || region.width < 100 ? "" : `  (${error})`;
  region.text(0, 0, fit(text + why, region.width).padEnd(region.width), BOLD | INVERSE | YELLOW);
}

/** The keys of the current page; global keys on the right. */
export function drawFooter(region: Region, state: State): void {
  const bindings = bindingsFor(state).filter(
    ({ footer, offered, keys }, i, all) =>
      footer !== undefined &&
      (offered?.(state) ?? true) &&
      all.findIndex((other) => keys.some((key) => other.keys.includes(key))) === i,
  );
  const everywhere = bindings.filter((binding) => globalKeys.includes(binding));
  const space = everywhere.reduce((sum, binding) => sum + footerWidth(binding) + 2, 0);
  const end = region.width - space;
  let x = 1;
  for (const binding of bindings) {
    if (everywhere.includes(binding)) continue;
    if (x + footerWidth(binding) > end) break;
    x = drawKey(region, x, binding);
  }
  x = end + 1;
  for (const binding of everywhere) x = drawKey(region, x, binding);
}

function footerWidth(binding: Binding): number {
  return width(binding.label) + 1 + width(binding.footer ?? "");
}

function drawKey(region: Region, x: number, binding: Binding): number {
  const after = region.text(x, 0, binding.label, BOLD);
  region.text(after + 1, 0, binding.footer ?? "", DIM);
  region.hit(x, 0, footerWidth(binding), 1, { kind: "key", key: binding.keys[0] ?? "" });
  return x + footerWidth(binding) + 2;
}

/** Messages at the lower right, the newest at the bottom. */
export function drawToasts(region: Region, state: State): void {
  const toasts = state.toasts.filter((toast) => toast.until > state.hostNow).slice(-3);
  toasts.forEach((toast, i) => {
    const style = { info: PLAIN, good: GREEN, bad: RED }[toast.kind] | BOLD | INVERSE;
    const text = ` ${fit(toast.text, region.width - 4)} `;
    region.textRight(region.height - toasts.length + i, text, style, 1);
  });
}

/** Shown when the screen is too small for anything else. */
export function drawTooSmall(region: Region): void {
  const lines = ["cdktr needs 40×10", `this is ${region.width}×${region.height}`];
  lines.forEach((line, y) => {
    region.text(0, y, line);
  });
}
