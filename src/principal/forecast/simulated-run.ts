/** The runs of a simulation, and the firings that make them. */
import type { ForecastOutcome, ForecastWait } from "../../contract/messages.ts";
import type { GroupOfRun } from "../../workflow/group.ts";
import type { Gauge } from "./gauge.ts";
import type { ExpectedEntry, ExpectedWorkflow, Part } from "./simulation-input.ts";

/** A firing and what becomes of it. */
export interface Draft {
  readonly workflow: SimulatedWorkflow;
  readonly schedule: ExpectedEntry;
  /** The time in the schedule. */
  readonly at_ms: number;
  readonly waits: ForecastWait[];
  outcome: ForecastOutcome;
  note: string | null;
  /** Its run, once there is one. */
  run: SimulatedRun | null;
}

/** A workflow in the simulation. */
export interface SimulatedWorkflow {
  readonly input: ExpectedWorkflow;
  /** Its place in the order of ids. */
  readonly index: number;
  readonly running: Set<SimulatedRun>;
  /** Runs of firings that no agent has taken, by the number of their schedule. */
  readonly waiting: Map<number, SimulatedRun[]>;
  /** Firings that wait for the end of its pause. */
  readonly missed: Map<number, Draft[]>;
  parts: readonly Part[] | undefined;
  /** Absent if nothing of it is told. */
  readonly told: { readonly gauge: Gauge; readonly starts: number[] } | undefined;
  firings: number;
}

/** What a part that is under way holds. */
export interface Holding {
  /** The place of its agent in the list. */
  readonly agent: number;
  readonly slots: Readonly<Record<string, number>>;
}

/** A run. */
export class SimulatedRun {
  /** Its place in the order in which runs come. */
  readonly seq: number;
  readonly workflow: SimulatedWorkflow;
  readonly parts: readonly Part[];
  readonly priority: number;
  readonly group: GroupOfRun | null;
  /** Absent for one that is there already. */
  readonly draft: Draft | null;
  /** Its id; null for one of the forecast. */
  readonly id: string | null;
  readonly at_ms: number;
  /** Since when it counts as waiting. */
  readonly since_ms: number;
  /** The number of its schedule; -1 if it has none. */
  readonly entry: number;
  readonly holdings = new Set<Holding>();
  /** Runs of its workflow that were under way when it started. */
  overlaps: readonly SimulatedRun[] = [];
  /** By part: how many of those that it waits for have not come so far. */
  readonly missing: number[];
  partsOver = 0;
  startedMs: number | null = null;
  endedMs: number | null = null;

  constructor(of: {
    seq: number;
    workflow: SimulatedWorkflow;
    parts: readonly Part[];
    priority: number;
    group: GroupOfRun | null;
    draft: Draft | null;
    id: string | null;
    at_ms: number;
    since_ms: number;
    entry: number;
  }) {
    this.seq = of.seq;
    this.workflow = of.workflow;
    this.parts = of.parts;
    this.priority = of.priority;
    this.group = of.group;
    this.draft = of.draft;
    this.id = of.id;
    this.at_ms = of.at_ms;
    this.since_ms = of.since_ms;
    this.entry = of.entry;
    this.missing = of.parts.map(({ after }) => after.length);
  }

  get isOver(): boolean {
    return this.endedMs !== null;
  }

  waited(kind: ForecastWait["kind"], name: string | null, forMs: number): void {
    if (forMs <= 0 || this.draft === null) return;
    const { waits } = this.draft;
    const known = waits.findIndex((wait) => wait.kind === kind && wait.name === name);
    const before = waits[known]?.for_ms ?? 0;
    waits.splice(known === -1 ? waits.length : known, known === -1 ? 0 : 1, {
      kind,
      name,
      for_ms: before + forMs,
    });
  }
}
