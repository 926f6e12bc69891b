/** The workflows as clients see them. */
import type { Clock } from "../../clock.ts";
import type { WorkflowDetails, WorkflowResumed, WorkflowSummary } from "../../contract/messages.ts";
import type { DeclaredWorkflow } from "../../events/declared/declaration-source.ts";
import { isTimezone } from "../../host/timezones.ts";
import type { ExpectationRecord } from "../../storage/operational/expectations.ts";
import type { PauseRecord } from "../../storage/operational/pauses.ts";
import { inTurns } from "../../timer.ts";
import type { Calendar } from "../../workflow/calendar.ts";
import {
  type FiringContext,
  firingContext,
  firingsBetween,
  nextFiring,
  previousFiring,
} from "../../workflow/firings.ts";
import { firingsDue, firingsToRun } from "../../workflow/missed.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { type Entry, entryKey, type Scheduled, schedulesOf } from "../../workflow/schedules.ts";
import { expectationView } from "../alerts/expectation-views.ts";
import { pauseOf } from "../limits/pauses.ts";
import { type LoadedWorkflow, textsOf, type WorkflowFacts } from "./loaded-workflow.ts";
import type { StoredWorkflows } from "./stored-workflows.ts";

/** The firings around a time. */
interface FiringsAround {
  readonly fromMs: number;
  readonly next: number | null;
  readonly previous: number | null;
}

const NO_FIRINGS: FiringsAround = { fromMs: 0, next: null, previous: null };

/** Maximum number of upcoming firings in the details of a workflow, and how far ahead they may be. */
const SHOWN_FIRINGS = 5;
const YEARS_AHEAD_MS = 5 * 366 * 86_400_000;

type Refusal = NonNullable<WorkflowSummary["refused"]>;

/** What the views need. */
interface WorkflowViewsOptions {
  /** The workflows in use, by id. */
  readonly workflows: ReadonlyMap<string, LoadedWorkflow>;
  readonly stored: StoredWorkflows;
  readonly clock: Clock;
  /** IANA name of the zone for schedules without one. */
  readonly zone: string;
  /** Those that can be used, by name; another map whenever one of them changes. */
  readonly calendars: () => ReadonlyMap<string, Calendar>;
  readonly pauses?: PausesOfViews | undefined;
  readonly expectations?: ExpectationsOfViews | undefined;
}

/** What is expected of workflows. */
export interface ExpectationsOfViews {
  of(workflowId: string): readonly ExpectationRecord[];
}

/** Which workflows are paused. */
export interface PausesOfViews {
  of(workflowId: string): PauseRecord | null;
}

/** Makes summaries and details, with the firings and refusals of each workflow. */
export class WorkflowViews {
  readonly #o: WorkflowViewsOptions;
  /** Refused firings, with the hash of the file that they belong to. */
  readonly #refused = new Map<string, { sourceHash: string; firing: Refusal }>();
  /** What {@link declared} has made, by what it was made of. */
  readonly #declared = new WeakMap<WorkflowFacts, DeclaredWorkflow>();
  /** The firings around the time of the last request, by schedule, because thousands of workflows are listed at once. */
  readonly #around = new Map<string, FiringsAround>();
  /** The calendars with which they were computed. */
  #aroundWith: ReadonlyMap<string, Calendar> | undefined;

  constructor(options: WorkflowViewsOptions) {
    this.#o = options;
  }

  /** Shows a refused firing until the file changes or a firing becomes a run. @returns whether that is new */
  refused(workflowId: string, trigger: string, message: string): boolean {
    const workflow = this.#o.workflows.get(workflowId);
    if (workflow === undefined || this.#refusal(workflow)?.message === message) return false;
    const firing = { trigger, timestamp_ms: this.#o.clock.now(), message };
    this.#refused.set(workflowId, { sourceHash: workflow.facts.source_hash, firing });
    return true;
  }

  /** Its last firing was not refused, or it is gone. @returns whether one was refused before */
  forgetRefusal(workflowId: string): boolean {
    return this.#refused.delete(workflowId);
  }

  /** All workflows by id. @param graphOf makes their `dag` */
  async summaries(
    graphOf?: (definition: WorkflowDefinition) => Readonly<Record<string, unknown>>,
  ): Promise<Record<string, WorkflowSummary>> {
    const all = [...this.#o.workflows].sort(([a], [b]) => (a < b ? -1 : 1));
    const summaries: Record<string, WorkflowSummary> = {};
    await inTurns(all, ([id, workflow]) => {
      const summary = this.#summary(workflow);
      // The tasks are what a valid file had, so they are not checked again.
      const definition = () => JSON.parse(textsOf(workflow).json) as WorkflowDefinition;
      summaries[id] = graphOf === undefined ? summary : { ...summary, dag: graphOf(definition()) };
    });
    return summaries;
  }

  /**
   * The workflows that declare a trigger, as listeners need them; what is in memory already is not copied. One that has not changed is the
   * same object as before, also if its schedules have come further.
   */
  async declared(): Promise<DeclaredWorkflow[]> {
    const declared: DeclaredWorkflow[] = [];
    await inTurns([...this.#o.workflows], ([id, workflow]) => {
      const { cron, schedules, on } = workflow.facts.head;
      if (cron === null && schedules === undefined && on === undefined) return;
      const known = this.#declared.get(workflow.facts);
      const pause = this.#o.pauses?.of(id) ?? undefined;
      const calendars = schedules?.some(({ calendar }) => calendar !== undefined)
        ? this.#o.calendars()
        : undefined;
      const isSame = known !== undefined && known.paused === pause && known.calendars === calendars;
      const made = isSame ? known : this.#declare(workflow, pause, calendars);
      this.#declared.set(workflow.facts, made);
      declared.push(made);
    });
    return declared;
  }

  #declare(
    workflow: LoadedWorkflow,
    paused: PauseRecord | undefined,
    calendars: ReadonlyMap<string, Calendar> | undefined,
  ): DeclaredWorkflow {
    const { head } = workflow.facts;
    const { id, cron, timezone, start_time_ms, catchup, schedules, params, on } = head;
    return {
      id,
      cron,
      timezone,
      start_time_ms,
      catchup,
      schedule_cursor_ms: this.#o.stored.positions.cursorOf(head),
      schedule_timezone: this.#zoneOf(workflow),
      params,
      ...(schedules === undefined
        ? {}
        : { schedules, schedule_positions: this.#o.stored.positions.entriesOf(id) }),
      ...(on === undefined ? {} : { on }),
      ...readsEvent(workflow),
      ...(paused === undefined ? {} : { paused }),
      ...(calendars === undefined ? {} : { calendars }),
    };
  }

  /** A workflow with its definition. @param find looks for it after all that takes time */
  async details(
    find: () => { workflow: LoadedWorkflow; definition: WorkflowDefinition } | undefined,
  ): Promise<WorkflowDetails | undefined> {
    const found = find();
    if (found === undefined) return undefined;
    const { workflow, definition } = found;
    const now = this.#o.clock.now();
    return {
      summary: this.#summary(workflow),
      definition,
      source: textsOf(workflow).source,
      next_firings_ms: this.#nextFirings(definition, now),
    };
  }

  /** The firings that the schedules of a workflow have missed since a time, and how many of them run now; undefined without a schedule. */
  missedFirings(workflow: LoadedWorkflow, sinceMs: number): WorkflowResumed["firings"] {
    const { head } = workflow.facts;
    const { positions } = this.#o.stored;
    const entries = this.#entriesOf(head);
    if (entries.length === 0) return undefined;
    const now = this.#o.clock.now();
    const all = entries.map(({ entry, context }) => {
      const position =
        head.schedules === undefined
          ? positions.cursorOf(head)
          : positions.entriesOf(head.id)?.get(entryKey(entry));
      const handledMs = position == null ? sinceMs : Math.max(sinceMs, position + context.offsetMs);
      const due = firingsDue(entry, context, handledMs, now);
      return { due, ...firingsToRun(due, entry.catchup, entry.catchup_window_ms, now, 0) };
    });
    const catchups = new Set(entries.map(({ entry }) => entry.catchup));
    const [catchup] = catchups;
    return {
      missed: all.reduce((sum, { due }) => sum + due.length, 0),
      run: all.reduce((sum, { run }) => sum + run.length, 0),
      ...(catchups.size === 1 && catchup !== undefined ? { catchup } : {}),
    };
  }

  #summary(workflow: LoadedWorkflow): WorkflowSummary {
    const { facts, path, error, triggerProblems } = workflow;
    const { head } = facts;
    const firings = this.#firingsAround(workflow);
    return {
      id: head.id,
      name: head.name,
      description: head.description,
      path,
      cron: head.cron,
      timezone: head.timezone,
      start_time: facts.start_time,
      start_time_ms: head.start_time_ms,
      catchup: head.catchup,
      schedule_cursor_ms: this.#o.stored.positions.cursorOf(head),
      ...(head.schedules === undefined ? {} : { schedules: head.schedules }),
      params: head.params,
      ...(head.on === undefined ? {} : { on: head.on }),
      ...readsEvent(workflow),
      tasks: facts.tasks,
      ...this.#paused(head.id),
      ...this.#expected(head.id),
      error,
      trigger_problems: triggerProblems.map(({ message }) => message),
      ...(head.cron === null && head.schedules === undefined
        ? {}
        : { schedule_timezone: this.#zoneOf(workflow) }),
      next_firing_ms: firings.next,
      previous_firing_ms: firings.previous,
      refused: this.#refusal(workflow),
    };
  }

  #paused(workflowId: string): Pick<WorkflowSummary, "paused"> {
    const pause = this.#o.pauses?.of(workflowId) ?? null;
    return pause === null ? {} : { paused: pauseOf(pause) };
  }

  #expected(workflowId: string): Pick<WorkflowSummary, "expectations"> {
    const all = this.#o.expectations?.of(workflowId) ?? [];
    return all.length === 0 ? {} : { expectations: all.map(expectationView) };
  }

  #refusal({ facts }: LoadedWorkflow): Refusal | null {
    const known = this.#refused.get(facts.head.id);
    return known?.sourceHash === facts.source_hash ? known.firing : null;
  }

  #nextFirings(workflow: Scheduled & { readonly id: string }, now: number): number[] {
    const all = this.#entriesOf(workflow).flatMap(({ entry, context }) =>
      firingsBetween(entry, context, now, now + YEARS_AHEAD_MS, SHOWN_FIRINGS),
    );
    return [...new Set(all)].sort((a, b) => a - b).slice(0, SHOWN_FIRINGS);
  }

  #firingsAround({ facts: { head } }: LoadedWorkflow): FiringsAround {
    const entries = this.#entriesOf(head);
    if (entries.length === 0) return NO_FIRINGS;
    const now = this.#o.clock.now();
    const key = JSON.stringify(entries.map(({ entry, context }) => [entry, context.zone, context.offsetMs]));
    if (this.#aroundWith !== this.#o.calendars()) this.#around.clear();
    this.#aroundWith = this.#o.calendars();
    const known = this.#around.get(key);
    if (known !== undefined && now >= known.fromMs && now < (known.next ?? Infinity)) return known;
    const around: { fromMs: number; next: number | null; previous: number | null } = {
      ...NO_FIRINGS,
      fromMs: now,
    };
    for (const { entry, context } of entries) {
      const [next, previous] = [nextFiring(entry, context, now), previousFiring(entry, context, now)];
      if (next !== null) around.next = Math.min(around.next ?? next, next);
      if (previous !== null) around.previous = Math.max(around.previous ?? previous, previous);
    }
    if (this.#around.size > this.#o.workflows.size) this.#around.clear();
    this.#around.set(key, around);
    return around;
  }

  /** The entries of a workflow that can fire here: a version that another system accepted may use a zone that is unknown. */
  #entriesOf(workflow: Scheduled & { readonly id: string }): { entry: Entry; context: FiringContext }[] {
    return schedulesOf(workflow)
      .map((entry) => ({
        entry,
        context: firingContext(workflow.id, entry, this.#o.zone, this.#o.calendars()),
      }))
      .filter(({ context }) => isTimezone(context.zone));
  }

  #zoneOf({ facts }: LoadedWorkflow): string {
    return facts.head.timezone ?? this.#o.zone;
  }
}

/** The names that the expressions of a workflow read of its event; nothing for most. */
function readsEvent({ facts }: LoadedWorkflow): Pick<WorkflowSummary, "reads_event"> {
  const { reads_event: names } = facts;
  return names === undefined ? {} : { reads_event: names === null ? null : [...names] };
}
