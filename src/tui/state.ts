/**
 * Everything the terminal UI knows, in one plain object. Feeds and key actions change it (through the functions beside
 * this file); views only read it. Arrays and maps from the principal are replaced, never changed in place, so that what is
 * derived from them can be kept as long as they are the same.
 */
import type {
  ActivityEvent,
  AgentSummary,
  PrincipalInfo,
  RunDetails,
  RunSummary,
  WorkflowDetails,
  WorkflowSummary,
} from "../contract/messages.ts";
import type { LogSource, LogView } from "./logs/log-view.ts";
import type { Overlay } from "./overlays/overlay.ts";

/** A principal that can be shown. */
export interface PrincipalAddress {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** The key with which it is reached, when that is not the usual one. */
  readonly keyFile?: string;
}

/** How the principal answers. Times are ms since the epoch. */
export interface Connection {
  readonly status: "connecting" | "connected" | "lost";
  /** Since when it is so. */
  readonly since: number;
  /** Round trip of the last request, ms. */
  readonly latencyMs: number | null;
  /** When data came last; null when none ever came. */
  readonly lastDataMs: number | null;
  readonly error: string | null;
}

export const TABS = ["workflows", "runs", "logs", "agents", "activity"] as const;
export type Tab = (typeof TABS)[number];

export const WORKFLOW_PANES = ["overview", "graph", "source", "runs"] as const;
export type WorkflowPane = (typeof WORKFLOW_PANES)[number];
export const RUN_PANES = ["graph", "gantt", "tasks", "log", "details"] as const;
export type RunPane = (typeof RUN_PANES)[number];

/** What fills the screen below the tabs. */
export type Page =
  | { readonly kind: "workflows" }
  | { readonly kind: "workflow"; readonly id: string; readonly pane: WorkflowPane }
  | { readonly kind: "runs" }
  | { readonly kind: "run"; readonly id: string; readonly pane: RunPane }
  | { readonly kind: "logs"; readonly source: LogSource }
  | { readonly kind: "agents" }
  | { readonly kind: "activity" };

/** Where a list stands. */
export interface ListState {
  /** Id of the selected row; rows may move and it stays the same one. */
  selected: string | null;
  /** Where it was last, so that the selection stays near when its row disappears. */
  index: number;
  top: number;
  filter: string;
  /** Index into the list's sort orders. */
  sort: number;
  reverse: boolean;
}

/** A short message that goes by itself. */
export interface Toast {
  readonly text: string;
  readonly kind: "info" | "good" | "bad";
  readonly until: number;
}

/** What is known of the principal that is shown. Emptied when another is chosen. */
export interface Data {
  info: PrincipalInfo | null;
  workflows: readonly WorkflowSummary[] | null;
  /** Newest first. */
  runs: readonly RunSummary[] | null;
  agents: readonly AgentSummary[] | null;
  /** Oldest first. */
  events: readonly ActivityEvent[];
  /** Why the events are not there, for a principal that does not keep them. */
  eventsMissing: string | null;
  /** Runs that have been opened, by id. */
  runDetails: ReadonlyMap<string, RunDetails>;
  workflowDetails: ReadonlyMap<string, WorkflowDetails>;
  /** What could not be read, by "run ID" or "workflow ID". */
  detailErrors: ReadonlyMap<string, string>;
}

export interface State {
  /** Wall clock, ms since the epoch; moves with ticks, so that a frame shows one time. */
  now: number;
  width: number;
  height: number;
  principals: readonly PrincipalAddress[];
  /** Index of the one that is shown. */
  principal: number;
  connection: Connection;
  data: Data;
  tab: Tab;
  /** Each tab's pages, the shown one last. */
  pages: Record<Tab, Page[]>;
  lists: Record<string, ListState>;
  /** Rows that lists and texts had when they were last drawn, by name. */
  heights: Record<string, number>;
  /** Scroll offsets of what is longer than the screen, by name. */
  scroll: Record<string, number>;
  log: LogView;
  overlay: Overlay | null;
  toasts: readonly Toast[];
  quitting: boolean;
}
