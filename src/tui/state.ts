/**
 * The whole state of the terminal UI in one plain object. Feeds and key actions change it (through the functions in neighbouring
 * files); views only read it. Arrays and maps from the principal are replaced, never mutated, so that derived data can be
 * memoized on their identity.
 */
import type {
  ActivityEvent,
  AgentSummary,
  AlertQueryStatus,
  AlertSummary,
  ApprovalSummary,
  ArtifactsSummary,
  BackfillSummary,
  ChannelSummary,
  Forecast,
  ItemSummary,
  PoolSummary,
  PrincipalInfo,
  PrincipalSummary,
  Queue,
  RunDetails,
  RunSummary,
  WorkflowDetails,
  WorkflowSummary,
} from "../contract/messages.ts";
import type { Address } from "../protocol/members.ts";
import type { LogSource, LogView } from "./logs/log-view.ts";
import type { Overlay } from "./overlays/overlay.ts";

/** A principal that can be shown. */
export interface PrincipalAddress {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Where the other members of its installation are. */
  readonly others?: readonly Address[];
  /** Its key, if it is not the usual one. */
  readonly keyFile?: string;
}

/** The state of the connection. Times are ms since the epoch, by this host's clock. */
export interface Connection {
  readonly status: "connecting" | "connected" | "lost";
  /** When the connection entered this state. */
  readonly since: number;
  /** Round trip of the last request, ms. */
  readonly latencyMs: number | null;
  /** When data last arrived; null if never. */
  readonly lastDataMs: number | null;
  readonly error: string | null;
}

export const TABS = [
  "workflows",
  "runs",
  "logs",
  "agents",
  "activity",
  "approvals",
  "queue",
  "calendar",
  "alerts",
] as const;
export type Tab = (typeof TABS)[number];

export const WORKFLOW_PANES = ["overview", "graph", "source", "runs"] as const;
export type WorkflowPane = (typeof WORKFLOW_PANES)[number];
export const RUN_PANES = ["graph", "gantt", "tasks", "log", "outputs", "files", "details"] as const;
export type RunPane = (typeof RUN_PANES)[number];
/** Those in which a task can be selected. */
export const PANES_WITH_TASKS: readonly RunPane[] = ["graph", "gantt", "tasks"];

/** The content of the screen below the tabs. */
export type Page =
  | { readonly kind: "workflows" }
  | { readonly kind: "workflow"; readonly id: string; readonly pane: WorkflowPane }
  | { readonly kind: "runs" }
  | { readonly kind: "run"; readonly id: string; readonly pane: RunPane }
  | { readonly kind: "logs"; readonly source: LogSource }
  | { readonly kind: "agents" }
  | { readonly kind: "activity" }
  | { readonly kind: "approvals" }
  | { readonly kind: "queue" }
  | { readonly kind: "calendar" }
  | { readonly kind: "alerts" };

/** Position in a list. */
export interface ListState {
  /** Id of the selected row; it stays selected when rows move. */
  selected: string | null;
  /** Its last index, so that the selection stays near when the row disappears. */
  index: number;
  top: number;
  filter: string;
  /** Index into the list's sort orders. */
  sort: number;
  reverse: boolean;
}

/** A short message that disappears by itself. */
export interface Toast {
  readonly text: string;
  readonly kind: "info" | "good" | "bad";
  readonly until: number;
}

/** What has been read of the items of a fan-out: there may be 50,000, so it is what the screen shows, and a little more. */
export interface FanOutItems {
  /** Pages of those that have begun, by number: page n has the places from n × {@link ITEMS_PER_PAGE} on. */
  readonly pages: ReadonlyMap<number, readonly ItemSummary[]>;
  /** The pages that were read while the run was under way. */
  readonly open: ReadonlySet<number>;
  /** The first ones that a filter leaves; null if nobody asked. */
  readonly found: {
    readonly filter: string;
    readonly items: readonly ItemSummary[];
    readonly hasMore: boolean;
    /** Whether the run was under way then. */
    readonly isOpen: boolean;
  } | null;
  /** Why they cannot be listed. */
  readonly error: string | null;
}

/** Items of a fan-out that are read at once. */
export const ITEMS_PER_PAGE = 200;

/** What a run and its tasks published. */
export interface RunOutputs {
  /** Tells the state of the run in which they were read. */
  readonly asOf: string;
  readonly tasks: readonly { readonly id: string; readonly outputs: Readonly<Record<string, unknown>> }[];
  /** The principal left those of the tasks out: there are too many. */
  readonly leftOut: boolean;
}

/** The files that the tasks of a run left. */
export interface RunFiles {
  /** Tells the state of the run in which they were listed. */
  readonly asOf: string;
  readonly artifacts: readonly ArtifactsSummary[];
  /** Why they cannot be listed. */
  readonly error: string | null;
}

/** The queue with what runs wait for. */
export interface QueueData {
  readonly queue: Queue;
  readonly pools: readonly PoolSummary[];
  /** Those that are not over, the newest first. */
  readonly backfills: readonly BackfillSummary[];
}

/** Alerts, and who is told of them. */
export interface AlertData {
  /** Those that are open, the newest first. */
  readonly alerts: readonly AlertSummary[];
  /** Those of which a message was given up; as the channels and the alert files, read while their page is shown. */
  readonly dead: readonly AlertSummary[];
  readonly channels: readonly ChannelSummary[];
  readonly queries: readonly AlertQueryStatus[];
}

/** What is known about the current principal. Cleared when another is chosen. */
export interface Data {
  info: PrincipalInfo | null;
  /** By how much its clock is ahead of this host's, ms. */
  aheadMs: number;
  workflows: readonly WorkflowSummary[] | null;
  /** Newest first. */
  runs: readonly RunSummary[] | null;
  agents: readonly AgentSummary[] | null;
  /** The principals of the installation; null while that is not known, and for one that is the only one. */
  principals: readonly PrincipalSummary[] | null;
  /** Oldest first. */
  events: readonly ActivityEvent[];
  /** Why events are not available, on a principal that does not record them. */
  eventsMissing: string | null;
  /** What waits for a person, the oldest first. */
  approvals: readonly ApprovalSummary[] | null;
  /** Why that is not known, on a principal that does not know approvals. */
  approvalsMissing: string | null;
  /** What waits for agents, and for what. */
  queue: QueueData | null;
  /** Why that is not known, on a principal that does not know queues. */
  queueMissing: string | null;
  /** What the schedules will do in the time that the calendar shows. */
  forecast: Forecast | null;
  forecastMissing: string | null;
  alerts: AlertData | null;
  /** Why they are not known, on a principal that does not know alerts. */
  alertsMissing: string | null;
  /** Runs that have been opened, by id. */
  runDetails: ReadonlyMap<string, RunDetails>;
  /** The items of fan-outs, by {@link fanOutName}. */
  items: ReadonlyMap<string, FanOutItems>;
  /** Outputs of runs whose outputs have been looked at, by id. */
  outputs: ReadonlyMap<string, RunOutputs>;
  /** Files of runs whose files have been looked at, by id. */
  files: ReadonlyMap<string, RunFiles>;
  workflowDetails: ReadonlyMap<string, WorkflowDetails>;
  /** Errors by subject, "run ID" or "workflow ID". */
  detailErrors: ReadonlyMap<string, string>;
}

export interface State {
  /**
   * The principal's wall clock, ms since the epoch: everything that it did, and will do, is told by that. It advances with ticks, so that
   * a frame shows a single time.
   */
  now: number;
  /** The wall clock of this host, ms since the epoch. */
  hostNow: number;
  width: number;
  height: number;
  principals: readonly PrincipalAddress[];
  /** Index of the current one. */
  principal: number;
  connection: Connection;
  /** The name of the key, if it may only read. */
  reader: string | null;
  data: Data;
  tab: Tab;
  /** Each tab's stack of pages, the current one last. */
  pages: Record<Tab, Page[]>;
  lists: Record<string, ListState>;
  /** The fan-outs whose items are shown, by {@link fanOutName}. */
  unfolded: ReadonlySet<string>;
  /** Visible rows of lists and texts as last drawn, by name. */
  heights: Record<string, number>;
  /** Scroll offsets of content longer than the screen, by name. */
  scroll: Record<string, number>;
  /** How much later than now the calendar begins, ms. */
  calendarShiftMs: number;
  log: LogView;
  overlay: Overlay | null;
  toasts: readonly Toast[];
  quitting: boolean;
}

/** How a fan-out of a run is called in maps of the state. */
export function fanOutName(runId: string, taskId: string): string {
  return `${runId} ${taskId}`;
}
