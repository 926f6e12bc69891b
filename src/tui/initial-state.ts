/** The initial state. */
import { newLogView } from "./logs/log-view.ts";
import type { Connection, Data, PrincipalAddress, State } from "./state.ts";

/** Nothing is known about the principal yet. */
export function noData(): Data {
  return {
    info: null,
    aheadMs: 0,
    workflows: null,
    runs: null,
    agents: null,
    principals: null,
    events: [],
    eventsMissing: null,
    approvals: null,
    approvalsMissing: null,
    queue: null,
    queueMissing: null,
    forecast: null,
    forecastMissing: null,
    alerts: null,
    alertsMissing: null,
    runDetails: new Map(),
    items: new Map(),
    outputs: new Map(),
    files: new Map(),
    workflowDetails: new Map(),
    detailErrors: new Map(),
  };
}

/** A connection that was just started. */
export function newConnection(now: number): Connection {
  return { status: "connecting", since: now, latencyMs: null, lastDataMs: null, error: null };
}

/** The state of a UI that was just started. `now` in ms since the epoch. */
export function initialState(
  principals: readonly PrincipalAddress[],
  width: number,
  height: number,
  now: number,
): State {
  return {
    now,
    hostNow: now,
    width,
    height,
    principals,
    principal: 0,
    connection: newConnection(now),
    reader: null,
    data: noData(),
    tab: "workflows",
    pages: {
      workflows: [{ kind: "workflows" }],
      runs: [{ kind: "runs" }],
      logs: [{ kind: "logs", source: { kind: "all" } }],
      agents: [{ kind: "agents" }],
      activity: [{ kind: "activity" }],
      approvals: [{ kind: "approvals" }],
      queue: [{ kind: "queue" }],
      calendar: [{ kind: "calendar" }],
      alerts: [{ kind: "alerts" }],
    },
    lists: {},
    unfolded: new Set(),
    heights: {},
    scroll: {},
    calendarShiftMs: 0,
    log: newLogView({ kind: "all" }),
    overlay: null,
    toasts: [],
    quitting: false,
  };
}
