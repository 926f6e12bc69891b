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
};
/** Columns from which all tabs have names, and all but the last; on narrower screens only the current one has. */
const WITH_NAMES = 70;
const WITH_MOST_NAMES = 56;
/** Columns from which approvals have a tab although nothing waits for a person. */
const WITH_EMPTY = 96;

/** One line: the principal and its connection, runs, agents, the time. */
export function drawHeader(region: Region, state: State): void {
  const { data } = state;
  const address = state.principals[state.principal];
  const named = address === undefined ? "" : hostAndPort(address.host, address.port);
  const several = state.principals.length > 1 ? `[${state.principal + 1}/${state.principals.length}] ` : "";
  const hasName = address !== undefined && address.name !== named;
  const left: Span[] = [
    [" cdktr ", BOLD | INVERSE],
    [" ", PLAIN],
    ...connectionSpans(state),
    [hasName ? ` ${address.name} ` : " ", BOLD],
    [several, CYAN],
    [named, hasName ? DIM : BOLD],
    // Shown only when it differs from the version of this UI.
    [data.info === null || data.info.version === VERSION ? "" : ` cdktr ${data.info.version}`, YELLOW],
  ];
  const right: Span[] = [];
  if (data.info !== null && data.agents !== null) {
    const counts = runCounts(data.runs, Math.floor(state.now / 60_000));
    // To the principal, a run that rests is running.
    const running = Math.max(0, data.info.runs.running - counts.waiting);
    const queued = data.info.runs.pending;
    const counted = (status: AgentSummary["status"]) =>
      data.agents?.filter((agent) => agent.status === status).length ?? 0;
    const [up, draining, lost] = [counted("UP"), counted("DRAINING"), counted("LOST")];
    const wide = region.width >= 100;
    right.push(
      [`▶ ${running}`, running > 0 ? CYAN : DIM],
      [wide ? " running  " : " run ", DIM],
      ...waitingSpans(counts.waiting, wide),
      [`○ ${queued}`, queued > 0 ? YELLOW : DIM],
      [wide ? " queued  " : " que ", DIM],
      [`✗ ${counts.failed}`, counts.failed > 0 ? RED | BOLD : DIM],
      [wide ? " failed/1h │ " : " fail │ ", DIM],
      [wide ? "agents " : "", DIM],
      [`${up} up`, up > 0 ? GREEN : YELLOW],
      [draining > 0 ? ` ${draining} ${wide ? "draining" : "drain"}` : "", YELLOW],
      [lost > 0 ? ` ${lost} lost` : "", RED | BOLD],
      [" │ ", DIM],
    );
  }
  right.push([clock(state.now), PLAIN], [" ", PLAIN]);
  const space = right.reduce((sum, [text]) => sum + width(text), 0);
  region.spans(0, 0, left, Math.max(20, region.width - space - 1));
  region.spans(Math.max(21, region.width - space), 0, right);
}

function connectionSpans(state: State): Span[] {
  const { status, since, latencyMs } = state.connection;
  switch (status) {
    case "connected": {
      const latency =
        latencyMs === null ? "" : ` ${latencyMs < 10 ? latencyMs.toFixed(1) : Math.round(latencyMs)}ms`;
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

/** Runs in which nothing runs and something waits; nothing is said of none. */
function waitingSpans(waiting: number, wide: boolean): Span[] {
  if (waiting === 0) return [];
  return [
    [`◷ ${waiting}`, YELLOW],
    [wide ? " waiting  " : " wait ", DIM],
  ];
}

/** The tabs, and the name of the current page on the right. */
export function drawTabs(region: Region, state: State): void {
  let x = 0;
  TABS.forEach((tab, i) => {
    const from = tab === "approvals" ? WITH_NAMES : WITH_MOST_NAMES;
    const asked = tab === "approvals" ? (state.data.approvals?.length ?? 0) : 0;
    if (tab === "approvals" && asked === 0 && state.tab !== tab && region.width < WITH_EMPTY) return;
    const isNamed = region.width >= from || state.tab === tab;
    const label = isNamed ? ` ${i + 1} ${TITLES[tab]} ` : ` ${i + 1} `;
    const style = state.tab === tab ? BOLD | INVERSE : PLAIN;
    const badge = asked === 0 ? "" : `${asked} `;
    region.text(x, 0, label, style);
    // What waits for a person is seen on every page.
    region.text(x + label.length, 0, badge, style | YELLOW | BOLD);
    const columns = label.length + badge.length;
    region.hit(x, 0, columns, 1, { kind: "tab", index: i });
    x += columns;
  });
  const { info } = state.data;
  const away = info !== null && !info.history.available;
  const trouble =
    info?.state_error ?? (away ? `history unavailable: ${info.history.error ?? "not available"}` : undefined);
  const note = trouble === undefined ? pageNote(state) : `✗ ${trouble}`;
  const space = region.width - x - 2;
  if (space > 4) region.textRight(0, fit(note, space), trouble === undefined ? DIM : RED | BOLD, 1);
}

function pageNote(state: State): string {
  const page = currentPage(state);
  switch (page.kind) {
    case "workflows": {
      const broken = state.data.info?.invalid_workflow_files.length ?? 0;
      const known = count(state.data.workflows?.length ?? 0, "workflow");
      return broken === 0 ? known : `${known}, ${count(broken, "invalid file")}`;
    }
    case "runs":
      return count(state.data.runs?.length ?? 0, "run");
    case "approvals":
      return "";
    case "workflow":
      return page.id;
    case "run":
      return page.id;
    default:
      return "";
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
