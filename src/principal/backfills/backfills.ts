/** The operations of clients on backfills: plan, create, list, get, change. What they do is done by {@link BackfillRunner}. */

import type { Clock } from "../../clock.ts";
import type { HistoricFiring } from "../../contract/history.ts";
import type {
  BackfillDetails,
  BackfillPlan,
  BackfillSummary,
  ChangeBackfill,
  CreateBackfill,
  GetBackfill,
  ListBackfills,
  PlanBackfill,
} from "../../contract/messages.ts";
import { SHORTEST_PREFIX } from "../../contract/run-id.ts";
import { InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import { dropOldest } from "../../recent.ts";
import { BACKFILL_TRANSITIONS } from "../../storage/operational/backfill-state.ts";
import type { BackfillRecord, OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { inTurns } from "../../timer.ts";
import type { Calendar } from "../../workflow/calendar.ts";
import { MAX_BACKFILL_FIRINGS, MAX_OPEN_BACKFILLS } from "../../workflow/limits.ts";
import { resolveParams } from "../../workflow/params.ts";
import { canTransition } from "../../workflow/status.ts";
import { type Audit, unaudited } from "../audit/audit.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { once } from "../runs/once.ts";
import type { StoredDefinition, WorkflowSource } from "../runs/workflow-source.ts";
import { notVisible, thereIsNo, thereIsNoWorkflow } from "../unknown-name.ts";
import { backfillSummary } from "./backfill-views.ts";
import { type FiringHistory, knownRuns, presentRuns } from "./firing-runs.ts";
import { frozen, type Plan, planFor, thawed } from "./frozen-plan.ts";
import {
  keyOfFiring,
  type PlannedFiring,
  planBackfill,
  presentRun,
  type Reprocess,
  runsOfFiring,
  take,
  upTo,
} from "./plan.ts";

/** What {@link Backfills} needs. */
interface BackfillsOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly workflows: WorkflowSource & { readonly calendars: ReadonlyMap<string, Calendar> };
  readonly history: FiringHistory;
  /** IANA name of the zone for schedules without one. */
  readonly zone: string;
}

/** Number of backfills that are over and remembered. */
const MOST_KNOWN = 1000;

type Scope = Pick<CreateBackfill, "workflow_id" | "from" | "to" | "reverse" | "params">;

/** Serves clients. */
export class Backfills {
  readonly #o: BackfillsOptions;
  /** Backfills that are over: nothing of them changes, and their firings, which may be many, need not be counted again. */
  readonly #over = new Map<string, BackfillSummary>();
  /** Resolves when the plans are counted that came before. */
  #counting: Promise<unknown> = Promise.resolve();

  constructor(options: BackfillsOptions) {
    this.#o = options;
  }

  /**
   * What a backfill would do now, page by page.
   * @throws NotFoundError, InvalidInputError for what cannot be backfilled
   * @throws UnprocessableError when nobody knows which firings have run already
   */
  async plan(request: PlanBackfill): Promise<BackfillPlan> {
    const { workflow_id, reprocess, after, limit } = request;
    const { plan, total } = await this.#planned(request, after === undefined);
    const firings = take(
      planBackfill(
        plan.entries,
        request.reverse,
        after === undefined ? null : { at_ms: after.scheduled_time_ms, entry: after.entry },
      ),
      limit,
    );
    const known = await this.#known(workflow_id, reprocess, firings);
    const verdicts = await this.#o.store.read((tx) => verdictsOf(tx, request, plan, firings, known));
    const last = firings.length < limit ? undefined : firings.at(-1);
    return {
      workflow_id,
      ...(total === null ? {} : { total }),
      firings: firings.map(({ atMs, planned }, index) => {
        const present = verdicts[index] ?? null;
        return {
          scheduled_time_ms: atMs,
          entry: planned.key,
          timezone: planned.zone,
          ...(planned.entry.params === undefined ? {} : { params: { ...planned.entry.params } }),
          ...(present === null ? {} : { present }),
        };
      }),
      next: last === undefined ? null : { scheduled_time_ms: last.atMs, entry: last.planned.key },
    };
  }

  /**
   * Creates a backfill; resolves when it is on disk. The same `dedupe_key` gives the same one.
   * @param actor who creates it; null for nobody
   * @throws as {@link plan} does; UnprocessableError when there are too many
   */
  async create(
    request: CreateBackfill,
    actor: string | null,
    audit: Audit = unaudited,
  ): Promise<BackfillSummary> {
    const { workflow_id, reprocess } = request;
    const { plan, total, stored } = await this.#planned(request, true);
    // Nothing is begun of which nobody knows what is to be done.
    const [first] = take(planBackfill(plan.entries, request.reverse), 1);
    await this.#known(workflow_id, reprocess, first === undefined ? [] : [first]);
    const id = await once(this.#o, "CREATEBACKFILL", workflow_id, request.dedupe_key, async (tx, fresh) => {
      const open = await tx.listBackfills({ limit: MAX_OPEN_BACKFILLS, open: true });
      if (open.length >= MAX_OPEN_BACKFILLS)
        throw new UnprocessableError(
          `${open.length} backfills are not over yet: at most ${MAX_OPEN_BACKFILLS} at once.`,
          {
            hint: "'cdktr backfills list' shows them; 'cdktr backfills cancel ID' ends one.",
          },
        );
      await audit(tx, { detail: { backfill_id: fresh, total } });
      await tx.addBackfill({
        backfill_id: fresh,
        workflow_id,
        definition_hash: stored.hash,
        ...frozen(plan),
        from_ms: Math.min(...plan.entries.map(({ fromMs }) => fromMs)),
        to_ms: Math.max(...plan.entries.map(({ toMs }) => toMs)),
        is_reverse: request.reverse,
        reprocess,
        max_active: request.max_active,
        priority: request.priority ?? null,
        params: request.params,
        actor,
        state: "ACTIVE",
        cursor_ms: null,
        cursor_entry: null,
        total: total ?? 0,
        note: null,
        created_at_ms: this.#o.clock.now(),
        finished_at_ms: null,
      });
      this.#changed(tx);
    });
    return this.#o.store.read(async (tx) => this.#summary(tx, await theBackfill(tx, id)));
  }

  /** Newest first. */
  list({ workflow_id, open, limit }: ListBackfills): Promise<BackfillSummary[]> {
    return this.#o.store.read(async (tx) => {
      const found = await tx.listBackfills({
        limit,
        open,
        ...(workflow_id === undefined ? {} : { workflow_id }),
      });
      const summaries: BackfillSummary[] = [];
      for (const backfill of found) summaries.push(await this.#summary(tx, backfill));
      return summaries;
    });
  }

  /** @throws NotFoundError, InvalidInputError when there is none, or more than one */
  get({ backfill_id, outcome, after, limit }: GetBackfill): Promise<BackfillDetails> {
    return this.#o.store.read(async (tx) => {
      const backfill = await theBackfill(tx, backfill_id);
      const firings = await tx.listFirings(backfill.backfill_id, {
        limit,
        ...(outcome === undefined ? {} : { outcome: outcome === "OPEN" ? null : outcome }),
        ...(after === undefined ? {} : { after }),
      });
      const last = limit === 0 || firings.length < limit ? undefined : firings.at(-1);
      const present = this.#o.workflows.get(backfill.workflow_id);
      return {
        backfill: await this.#summary(tx, backfill),
        entries: entriesOf(backfill).map(({ key, entry, zone }) => ({
          entry: key,
          cron: entry.cron,
          timezone: zone,
          ...(entry.params === undefined ? {} : { params: { ...entry.params } }),
        })),
        is_changed: present !== undefined && present.hash !== backfill.definition_hash,
        firings,
        next: last === undefined ? null : { scheduled_time_ms: last.scheduled_time_ms, entry: last.entry },
      };
    });
  }

  /**
   * Pauses, resumes or cancels a backfill.
   * @throws NotFoundError, InvalidInputError when there is none, or more than one; UnprocessableError when it is over
   */
  change({ backfill_id, to }: ChangeBackfill, audit: Audit = unaudited): Promise<BackfillSummary> {
    return this.#o.store.transact(async (tx) => {
      const backfill = await theBackfill(tx, backfill_id);
      if (backfill.state === to) return this.#summary(tx, backfill);
      if (!canTransition(BACKFILL_TRANSITIONS, backfill.state, to))
        throw new UnprocessableError(
          `Backfill ${backfill.backfill_id} of ${backfill.workflow_id} is over already: ${backfill.state}.`,
        );
      await audit(tx, { subject: backfill.backfill_id, detail: { workflow_id: backfill.workflow_id } });
      const changed = await tx.changeBackfill(backfill, { state: to, note: null });
      this.#changed(tx);
      return this.#summary(tx, changed);
    });
  }

  async #summary(tx: OperationalTx, backfill: BackfillRecord): Promise<BackfillSummary> {
    const known = this.#over.get(backfill.backfill_id);
    if (known !== undefined) return known;
    const definition = this.#o.workflows.get(backfill.workflow_id)?.definition;
    const summary = await backfillSummary(tx, backfill, definition?.concurrency?.max_runs);
    if (backfill.finished_at_ms !== null) {
      this.#over.set(backfill.backfill_id, summary);
      dropOldest(this.#over, MOST_KNOWN);
    }
    return summary;
  }

  #changed(tx: OperationalTx): void {
    tx.afterCommit(() => this.#o.events.emit("backfill changed"));
  }

  /** The plan for a request. @param isCounted whether its firings are counted, too */
  async #planned(
    scope: Scope,
    isCounted: boolean,
  ): Promise<{ plan: Plan; total: number | null; stored: StoredDefinition }> {
    const { workflow_id, from, to, params } = scope;
    const { workflows, zone } = this.#o;
    const nowMs = this.#o.clock.now();
    await workflows.load(workflow_id);
    const stored = workflows.get(workflow_id);
    if (stored === undefined) {
      if (workflows.isAwaited(workflow_id)) throw new UnprocessableError(notVisible(workflow_id));
      throw new NotFoundError(thereIsNoWorkflow(workflow_id, workflows.ids(), workflows.invalidFiles));
    }
    const plan = planFor(stored.definition, { from, to }, { zone, calendars: workflows.calendars, nowMs });
    for (const { entry, calendar } of plan.entries)
      if (entry.calendar !== undefined && calendar === null)
        throw new InvalidInputError(
          `${thereIsNo("calendar", entry.calendar, workflows.calendars.keys())} Workflow ${workflow_id} has a schedule on its days.`,
          { hint: "Calendars are in _cdktr.yml of the workflow directory." },
        );
    if (plan.entries.length === 0)
      throw new InvalidInputError(`Workflow ${workflow_id} has no schedule: there is nothing to backfill.`, {
        hint: `To run it for a day of your choice, give it a parameter: cdktr run ${workflow_id} -P NAME=VALUE`,
      });
    if (plan.entries.every(({ fromMs }) => fromMs > nowMs))
      throw new InvalidInputError(
        `The time from ${from} on is still to come: the schedule fires then by itself.`,
      );
    if (to !== undefined && plan.entries.every(({ fromMs, toMs }) => fromMs > toMs))
      throw new InvalidInputError(
        `${from}, where the backfill is to begin, is after ${to}, where it is to end.`,
      );
    const [first] = take(planBackfill(plan.entries, scope.reverse), 1);
    if (first === undefined) throw new InvalidInputError(noFiring(workflow_id, plan));
    // All mistakes are told now, and not by the first run.
    resolveParams(
      stored.definition,
      { ...first.planned.entry.params, ...params },
      {
        workflow_instance_id: "",
        workflow_id,
        attempt: 1,
        trigger: "backfill",
        scheduled_time_ms: first.atMs,
        created_at_ms: nowMs,
        event: undefined,
      },
    );
    if (!isCounted) return { plan, total: null, stored };
    const total = await this.#count(plan);
    if (total > MAX_BACKFILL_FIRINGS)
      throw new InvalidInputError(
        `Workflow ${workflow_id} has more than ${MAX_BACKFILL_FIRINGS.toLocaleString("en")} firings from ${plan.from} to ${plan.to}: a backfill has at most that many.`,
        { hint: "Split the time, and create a backfill for each part." },
      );
    return { plan, total, stored };
  }

  /** The number of firings, or one more than there may be. Many take seconds: one plan is counted after the other. */
  #count({ entries }: Plan): Promise<number> {
    const counted = this.#counting.then(async () => {
      let total = 0;
      await inTurns(upTo(planBackfill(entries, false), MAX_BACKFILL_FIRINGS + 1), () => total++);
      return total;
    });
    this.#counting = counted.catch(() => {});
    return counted;
  }

  /** The runs that firings have had. @throws UnprocessableError */
  async #known(workflowId: string, reprocess: Reprocess, firings: readonly PlannedFiring[]) {
    const { store, history } = this.#o;
    const times = [...new Set(firings.map(({ atMs }) => atMs))];
    for (;;) {
      const known = await knownRuns(store, reprocess === "all" ? null : history, workflowId, times).catch(
        (error) => {
          throw away(error);
        },
      );
      const runs = await store.read((tx) => presentRuns(tx, known, workflowId, times));
      if (runs !== null) return runs;
    }
  }
}

/** The run because of which each firing makes none; null for those that make one. Part of a unit of work. */
async function verdictsOf(
  tx: OperationalTx,
  { workflow_id, reprocess }: PlanBackfill,
  { entries }: Plan,
  firings: readonly PlannedFiring[],
  known: readonly HistoricFiring[],
): Promise<(BackfillPlan["firings"][number]["present"] | null)[]> {
  const verdicts: (BackfillPlan["firings"][number]["present"] | null)[] = [];
  for (const firing of firings) {
    const mine = runsOfFiring(firing, known, entries);
    const present = presentRun(reprocess, mine);
    if (present !== null) {
      const { workflow_instance_id, status } = present;
      verdicts.push({ workflow_instance_id, status });
      continue;
    }
    const holder = reprocess === "none" ? await tx.keyHolder(keyOfFiring(workflow_id, firing)) : null;
    const isUnknown = holder !== null && !mine.some((run) => run.workflow_instance_id === holder);
    verdicts.push(isUnknown ? { workflow_instance_id: holder } : null);
  }
  return verdicts;
}

/** The schedule of a backfill; nothing if what is stored is damaged. */
function entriesOf(backfill: BackfillRecord): Plan["entries"] {
  try {
    return thawed(backfill).entries;
  } catch {
    return [];
  }
}

/** Without the history nobody knows what has run. */
export function away(error: unknown): unknown {
  if (!(error instanceof UnprocessableError)) return error;
  return new UnprocessableError(
    `The history is not available (${error.message.replace(/\.$/, "")}): which firings have run already cannot be told.`,
    { cause: error, hint: "Try again later, or run all of them again: --reprocess all" },
  );
}

function noFiring(workflowId: string, { from, to, entries }: Plan): string {
  const [only] = entries;
  const start = entries.length === 1 ? (only?.entry.start_time_ms ?? null) : null;
  const why =
    start !== null && only !== undefined && start > only.toMs
      ? `: its start_time is ${new Date(start).toISOString()}`
      : "";
  return `There is no firing of ${workflowId} from ${from} to ${to}${why}.`;
}

/**
 * The backfill with this id, or the only one whose id begins so. Part of a unit of work.
 * @throws NotFoundError, InvalidInputError
 */
async function theBackfill(tx: OperationalTx, idOrPrefix: string): Promise<BackfillRecord> {
  const [found, another] = await tx.findBackfills(idOrPrefix.toLowerCase(), 2);
  if (found === undefined || (found.backfill_id !== idOrPrefix && idOrPrefix.length < SHORTEST_PREFIX))
    throw new NotFoundError(`There is no backfill ${quote(idOrPrefix)}.`, {
      hint: "'cdktr backfills list' shows the backfills.",
    });
  if (another === undefined) return found;
  throw new InvalidInputError(
    `More than one backfill begins with ${quote(idOrPrefix)}; give a longer prefix.`,
  );
}
