/** `FORECAST`: collects what a forecast is computed from, and computes it without holding up anything else. */
import type { Clock } from "../../clock.ts";
import type { AskForecast, Forecast } from "../../contract/messages.ts";
import { MOST_FORECAST_FIRINGS, MOST_FORECAST_MS } from "../../contract/messages.ts";
import { errorMessage, InvalidInputError, NotFoundError } from "../../errors.ts";
import { isTimezone } from "../../host/timezones.ts";
import { dropOldest } from "../../recent.ts";
import { PARKED, PARKED_ANY } from "../../storage/operational/pauses.ts";
import type { ListedRun, OperationalStore } from "../../storage/operational/store.ts";
import { inTurns } from "../../timer.ts";
import type { Calendar } from "../../workflow/calendar.ts";
import { firingContext } from "../../workflow/firings.ts";
import { groupOf } from "../../workflow/group.ts";
import { hasExpressions } from "../../workflow/has-expressions.ts";
import { isRequired, resolveParams } from "../../workflow/params.ts";
import { schedulesOf } from "../../workflow/schedules.ts";
import type { HistoryAccess } from "../history/history-access.ts";
import { readNeeds } from "../limits/needs.ts";
import type { AgentRoom } from "../runs/wait-reasons.ts";
import { thereIsNoWorkflow } from "../unknown-name.ts";
import type { WorkflowHead } from "../workflows/loaded-workflow.ts";
import type { WorkflowDirectory } from "../workflows/workflow-directory.ts";
import { Beats } from "./beats.ts";
import { type Durations, KnownDurations } from "./durations.ts";
import { outlineOf, partsOf, type RunOutline } from "./expected-parts.ts";
import { forecastInSteps } from "./simulate.ts";
import type { ExpectedWorkflow, ForecastInput, PresentLease, PresentRun } from "./simulation-input.ts";

/** What forecasts need. */
interface ForecastsOptions {
  readonly store: OperationalStore;
  readonly workflows: Pick<WorkflowDirectory, "peek" | "ids" | "invalidFiles" | "definitions">;
  readonly history: Pick<HistoryAccess, "query">;
  readonly clock: Clock;
  /** IANA name of the zone for schedules without one. */
  readonly zone: string;
  readonly calendars: () => ReadonlyMap<string, Calendar>;
  /** Whether agents get secrets of the principal's store. */
  readonly givesSecrets: boolean;
}

const DAY_MS = 86_400_000;
/** Runs that are not over are read up to this number of each status. */
const MOST_PRESENT = 5000;
/** Number of outlines of definitions that are kept. */
const KEPT_OUTLINES = 200_000;
/** A run that takes longer than nine of ten is expected to take this part of its time longer. */
const LONGER = 0.1;

/** A workflow that fires in the time of a forecast, or runs. */
interface Considered {
  readonly head: WorkflowHead;
  readonly entries: ExpectedWorkflow["entries"];
  readonly outline: RunOutline;
}

/** Computes forecasts, one at a time. */
export class Forecasts {
  readonly #o: ForecastsOptions;
  readonly #durations: KnownDurations;
  readonly #outlines = new Map<string, { readonly head: WorkflowHead; readonly outline: RunOutline }>();
  #last: Promise<unknown> = Promise.resolve();
  /** Those that are computed or wait for that, by what was asked: a client that repeats its question, because it got no answer yet, gets that. */
  readonly #open = new Map<string, Promise<Forecast>>();

  constructor(options: ForecastsOptions) {
    this.#o = options;
    this.#durations = new KnownDurations(options.history, options.clock);
  }

  /**
   * @throws InvalidInputError if the time makes no sense
   * @throws NotFoundError if there is no such workflow
   */
  of(request: AskForecast): Promise<Forecast> {
    const asked = JSON.stringify(request);
    const open = this.#open.get(asked);
    if (open !== undefined) return open;
    const next = this.#last.then(() => this.#compute(request)).finally(() => this.#open.delete(asked));
    this.#open.set(asked, next);
    this.#last = next.catch(() => {});
    return next;
  }

  async #compute({ from_ms, to_ms, workflow_ids, limit }: AskForecast): Promise<Forecast> {
    const now_ms = this.#o.clock.now();
    const from = from_ms ?? now_ms;
    const to = to_ms ?? from + DAY_MS;
    if (to <= from) throw new InvalidInputError("The end of a forecast must be after its beginning.");
    if (to <= now_ms) throw new InvalidInputError("A forecast is of the time to come, and this is over.");
    if (to - now_ms > MOST_FORECAST_MS)
      throw new InvalidInputError("A forecast reaches at most 366 days ahead.");
    for (const id of workflow_ids ?? []) {
      if (this.#o.workflows.peek(id) !== undefined) continue;
      throw new NotFoundError(thereIsNoWorkflow(id, this.#o.workflows.ids(), this.#o.workflows.invalidFiles));
    }
    const state = await this.#state();
    const calendars = this.#o.calendars();
    const considered = await this.#considered(
      now_ms,
      to,
      calendars,
      new Set(state.runs.map((run) => run.workflow_id)),
    );
    const split = considered.flatMap(({ head, outline }) => (typeof outline === "string" ? [] : [head.id]));
    const durations = await this.#durations.read(split);
    const workflows: ExpectedWorkflow[] = [];
    await inTurns(considered, (each) => {
      const pause = state.pauses.get(each.head.id);
      workflows.push(this.#expected(each, durations, pause));
    });
    const partsById = new Map(workflows.map((workflow) => [workflow.id, workflow]));
    const input: ForecastInput = {
      now_ms,
      from_ms: from,
      to_ms: to,
      workflows,
      calendars,
      agents: state.agents,
      pools: state.pools,
      runs: state.runs.map((run) =>
        presentRun(run, partsById.get(run.workflow_id), state.leases, durations, now_ms),
      ),
      told: workflow_ids === undefined || workflow_ids.length === 0 ? undefined : new Set(workflow_ids),
      limit,
      most: MOST_FORECAST_FIRINGS,
      givesSecrets: this.#o.givesSecrets,
    };
    let forecast: Forecast | undefined;
    const steps = (function* () {
      forecast = yield* forecastInSteps(input);
    })();
    await inTurns(steps, () => {});
    if (forecast === undefined) throw new Error("the simulation has no result");
    return { ...forecast, warning: durations.warning };
  }

  /** What there is now. */
  #state() {
    return this.#o.store.read(async (tx) => {
      const leases = new Map<string, PresentLease[]>();
      const slots = new Map<string, Record<string, number>>();
      for (const { workflow_instance_id, slice, pool, slots: count } of await tx.poolHolders()) {
        const key = `${workflow_instance_id} ${slice}`;
        slots.set(key, { ...slots.get(key), [pool]: count });
      }
      for (const { workflow_instance_id, slice, agent_id } of await tx.openAttempts()) {
        const lease = { agent_id, slots: slots.get(`${workflow_instance_id} ${slice}`) ?? {} };
        const known = leases.get(workflow_instance_id);
        if (known === undefined) leases.set(workflow_instance_id, [lease]);
        else known.push(lease);
      }
      const agents: AgentRoom[] = (await tx.listAgents())
        .filter(({ status }) => status === "UP")
        .map(({ agent_id, labels, version, protocol, max_concurrent_workflows }) => ({
          agent_id,
          status: "UP",
          labels,
          version,
          protocol,
          leases: 0,
          max_leases: max_concurrent_workflows,
        }));
      const running = await tx.listRuns({ status: "RUNNING", limit: MOST_PRESENT });
      const pending = await tx.listRuns({ status: "PENDING", limit: MOST_PRESENT });
      return {
        leases,
        agents,
        pools: new Map((await tx.listPools()).map(({ name, size }) => [name, size])),
        pauses: new Map((await tx.listPauses()).map(({ workflow_id, until_ms }) => [workflow_id, until_ms])),
        // Oldest first.
        runs: [...running.reverse(), ...pending.reverse()],
      };
    });
  }

  /** The workflows that matter: those that fire until `toMs`, and those that run. */
  async #considered(
    nowMs: number,
    toMs: number,
    calendars: ReadonlyMap<string, Calendar>,
    running: ReadonlySet<string>,
  ): Promise<Considered[]> {
    const beats = new Beats(nowMs, calendars);
    const considered: Considered[] = [];
    await inTurns([...this.#o.workflows.definitions()], (head) => {
      const entries = schedulesOf(head).flatMap((entry) => {
        const { zone, offsetMs } = firingContext(head.id, entry, this.#o.zone, calendars);
        return isTimezone(zone) ? [{ entry, zone, offset_ms: offsetMs }] : [];
      });
      const fires = entries.some(({ entry, zone, offset_ms }) => {
        const first = beats.cursor(entry, zone, offset_ms).next();
        return first !== null && first.at_ms < toMs;
      });
      if (fires || running.has(head.id)) considered.push({ head, entries, outline: this.#outlineOf(head) });
    });
    return considered;
  }

  #outlineOf(head: WorkflowHead): RunOutline {
    const known = this.#outlines.get(head.id);
    if (known?.head === head) return known.outline;
    const outline = this.#newOutline(head);
    this.#outlines.delete(head.id);
    this.#outlines.set(head.id, { head, outline });
    dropOldest(this.#outlines, KEPT_OUTLINES);
    return outline;
  }

  #newOutline(head: WorkflowHead): RunOutline {
    const definition = this.#o.workflows.peek(head.id);
    try {
      return definition === undefined ? [] : outlineOf(definition, priorityOf(head));
    } catch {
      // What an older cdktr has stored may lack something: any agent can have such a run.
      return "";
    }
  }

  #expected(
    { head, entries, outline }: Considered,
    durations: Durations,
    pausedUntilMs: number | null | undefined,
  ): ExpectedWorkflow {
    const expected = durations.ofWorkflow(head.id);
    return {
      id: head.id,
      entries,
      expected,
      priority: priorityOf(head),
      ...(pausedUntilMs === undefined ? {} : { paused_until_ms: pausedUntilMs }),
      parts: () => partsOf(outline, expected.p50_ms, (task) => durations.ofTask(head.id, task)),
      groupOf: groupsOf(head),
    };
  }
}

/** Gives the group of each firing of a workflow, or why it is refused. */
function groupsOf(head: WorkflowHead): ExpectedWorkflow["groupOf"] {
  const { concurrency } = head;
  const isRequiring = Object.values(head.params).some(isRequired);
  // Neither parameters nor the name of a group read tasks.
  const workflow = { ...head, tasks: [] };
  return ({ params = {} }, atMs) => {
    const isChecked = isRequiring || Object.keys(params).length > 0;
    const isComputed = concurrency?.group !== undefined && hasExpressions(concurrency.group);
    if (concurrency === undefined && !isChecked) return null;
    const run = {
      workflow_instance_id: "",
      workflow_id: head.id,
      attempt: 1,
      trigger: "cron",
      scheduled_time_ms: atMs,
      created_at_ms: atMs,
    };
    try {
      const resolved = isChecked || isComputed ? resolveParams(workflow, params, run) : {};
      return groupOf(workflow, { ...run, params: resolved });
    } catch (error) {
      return { fail: errorMessage(error) };
    }
  };
}

function priorityOf(head: WorkflowHead): number {
  return head.priority ?? 5;
}

/** A run that is not over, as the simulation begins with it. */
function presentRun(
  run: ListedRun,
  workflow: ExpectedWorkflow | undefined,
  leases: ReadonlyMap<string, readonly PresentLease[]>,
  durations: Durations,
  nowMs: number,
): PresentRun {
  const { workflow_instance_id: id, workflow_id, group_key, group_max, on_conflict } = run;
  const held = leases.get(id) ?? [];
  const isRunning = run.status === "RUNNING" || held.length > 0;
  const own = workflow?.parts();
  const whole = [
    {
      after: [],
      duration_ms: durations.ofWorkflow(workflow_id).p50_ms ?? 0,
      needs: unparked(run.needs),
      isWhole: run.revision === 0,
    },
  ];
  const started = run.started_at_ms ?? nowMs;
  return {
    id,
    workflow_id,
    priority: run.priority,
    group:
      group_key == null
        ? null
        : { key: group_key, max: group_max ?? Number.POSITIVE_INFINITY, on_conflict: on_conflict ?? "queue" },
    since_ms: run.rank_ms ?? run.created_at_ms,
    at_ms: run.scheduled_time_ms ?? run.started_at_ms ?? run.created_at_ms,
    state: isRunning ? "running" : stateOf(run),
    ...(run.start_at_ms === null ? {} : { start_ms: run.start_at_ms }),
    ends_ms: endOf(started, durations.ofWorkflow(workflow_id), nowMs),
    leases: held,
    parts: run.revision === 0 || own === undefined || own.length === 0 ? whole : own,
  };
}

/** The needs of a run once its workflow is not paused any more. */
function unparked(needs: string): string {
  if (!needs.startsWith(PARKED)) return needs;
  const own = needs.slice(PARKED.length);
  return own === PARKED_ANY ? "" : own;
}

function stateOf({ hold, start_at_ms, needs }: ListedRun): PresentRun["state"] {
  if (hold === "pause" || readNeeds(needs).isPaused) return "paused";
  if (hold === "group") return "group";
  return start_at_ms === null ? "queued" : "later";
}

/** When a run that goes on is expected to end. */
function endOf(
  startedMs: number,
  { p50_ms, p90_ms }: ReturnType<Durations["ofWorkflow"]>,
  nowMs: number,
): number {
  if (p50_ms === null || p90_ms === null) return nowMs;
  const elapsed = nowMs - startedMs;
  if (elapsed < p50_ms) return startedMs + p50_ms;
  return elapsed < p90_ms ? startedMs + p90_ms : nowMs + elapsed * LONGER;
}
