/** What a forecast is computed from. Plain data and pure functions: no store, no clock. */
import type { Calendar } from "../../workflow/calendar.ts";
import type { GroupOfRun } from "../../workflow/group.ts";
import type { Entry } from "../../workflow/schedules.ts";
import type { AgentRoom } from "../runs/wait-reasons.ts";

/** A part of a run that an agent has at once, or something that no agent has to do with. */
export interface Part {
  /** Parts, by their places in the list, that must have gone on for so long, ms: what it needs of them is over then. */
  readonly after: readonly { readonly part: number; readonly ms: number }[];
  readonly duration_ms: number;
  /** What an agent must have, as in the queue; null: no agent takes it. */
  readonly needs: string | null;
  /** It is the whole run, which keeps its place in the queue from its beginning; others stand behind what has come before they are ready. */
  readonly isWhole?: boolean;
}

/** What a workflow's runs are expected to take. */
export interface Expected {
  /** The median; null if it is not known. */
  readonly p50_ms: number | null;
  readonly p90_ms: number | null;
  /** Number of runs that this rests on. */
  readonly runs: number;
}

/** A schedule of a workflow. */
export interface ExpectedEntry {
  readonly entry: Entry;
  /** IANA name of the zone in which it is evaluated. */
  readonly zone: string;
  /** Its jitter, ms. */
  readonly offset_ms: number;
}

/** A workflow. */
export interface ExpectedWorkflow {
  readonly id: string;
  readonly entries: readonly ExpectedEntry[];
  readonly expected: Expected;
  readonly priority: number;
  /** Paused: until then, ms since the epoch; null: until somebody resumes it. Undefined if it is not paused. */
  readonly paused_until_ms?: number | null | undefined;
  /** The parts of its runs, from the beginning. Asked when the first of its runs is made. */
  parts(): readonly Part[];
  /** The group of a firing; a text says why it has none. */
  groupOf(entry: Entry, atMs: number): GroupOfRun | { readonly fail: string } | null;
}

/** A lease that is held now. */
export interface PresentLease {
  readonly agent_id: string;
  /** Slots of pools. */
  readonly slots: Readonly<Record<string, number>>;
}

/** A run that is there already and not over. */
export interface PresentRun {
  readonly id: string;
  readonly workflow_id: string;
  readonly priority: number;
  readonly group: GroupOfRun | null;
  /** Since when it counts as waiting, ms since the epoch. */
  readonly since_ms: number;
  /** The time in the schedule, or when it was made. */
  readonly at_ms: number;
  /** `later`: it starts at `start_ms`; `group`: it waits for a place; `paused`: it waits for its workflow. */
  readonly state: "running" | "queued" | "group" | "later" | "paused";
  readonly start_ms?: number;
  /** Of a running one: when it is expected to end, and what it holds until then. */
  readonly ends_ms?: number;
  readonly leases?: readonly PresentLease[];
  /** Of others. */
  readonly parts: readonly Part[];
}

/** See the fields. */
export interface ForecastInput {
  readonly now_ms: number;
  readonly from_ms: number;
  readonly to_ms: number;
  readonly workflows: readonly ExpectedWorkflow[];
  readonly calendars: ReadonlyMap<string, Calendar>;
  /** Those that are up. */
  readonly agents: readonly AgentRoom[];
  /** Sizes. */
  readonly pools: ReadonlyMap<string, number>;
  /** In the order in which they came. */
  readonly runs: readonly PresentRun[];
  /** Of these only firings are told; undefined for all. */
  readonly told?: ReadonlySet<string> | undefined;
  /** Maximum number of firings that are told, and that are simulated. */
  readonly limit: number;
  readonly most: number;
  readonly givesSecrets: boolean;
}
