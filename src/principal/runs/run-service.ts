/** The operations of clients on runs: trigger, cancel, retry, get, wait. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { isFiring } from "../../contract/firing.ts";
import { followedRun } from "../../contract/follow-ups.ts";
import type {
  ItemSummary,
  ListItems,
  ListRuns,
  RetryRun,
  RunDetails,
  RunRetried,
  RunSummary,
  RunTaskOptions,
} from "../../contract/messages.ts";
import { MAX_OUTPUTS_TOGETHER_BYTES } from "../../contract/outputs.ts";
import { cleanTraceparent } from "../../contract/trace-context.ts";
import { errorMessage, InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";
import type { MissedEvent } from "../../storage/operational/pauses.ts";
import {
  type OperationalStore,
  type OperationalTx,
  type RecentStatus,
  type RunRecord,
  StoreUnavailableError,
} from "../../storage/operational/store.ts";
import { eventFor } from "../../workflow/expressions.ts";
import { allTasks } from "../../workflow/hooks.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { resolveParams } from "../../workflow/params.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { entryOf } from "../../workflow/schedules.ts";
import { isTerminal } from "../../workflow/status.ts";
import { type Audit, unaudited } from "../audit/audit.ts";
import { type Bundles, bundleFor, FilesChangedError, type Packed } from "../blobs/bundles.ts";
import { withPriority } from "../limits/needs.ts";
import { type Pauses, readMissed } from "../limits/pauses.ts";
import type { LongPolls } from "../long-polls.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Tracing } from "../telemetry/tracing.ts";
import { notVisible, thereIsNoWorkflow } from "../unknown-name.ts";
import { nameOf } from "./attempt-name.ts";
import type { Definitions } from "./definitions.ts";
import { once } from "./once.ts";
import type { RunChanges } from "./run-changes.ts";
import {
  childrenOf,
  detailsOf,
  summarizer,
  summaryOf,
  withMovedOutputs,
  withOutputs,
} from "./run-details.ts";
import { lookUpRun, type OldRuns, RunFinder, unknownRun } from "./run-finder.ts";
import type { RunQueue } from "./run-queue.ts";
import { RunRetries } from "./run-retries.ts";
import type { Waits } from "./waits.ts";
import type { Fired, StoredDefinition, WorkflowSource } from "./workflow-source.ts";

/** Numbers of unfinished runs, and of those that wait for an agent. */
interface RunCounts {
  readonly pending: number;
  readonly running: number;
  readonly queued: number;
}

/** What {@link RunService} needs. */
interface RunServiceOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly queue: Pick<RunQueue, "queued">;
  readonly waits: Waits;
  readonly definitions: Definitions;
  readonly events: PrincipalEvents;
  readonly workflows: WorkflowSource;
  readonly polls: LongPolls;
  readonly clock: Clock;
  readonly old: OldRuns;
  readonly bundles: Pick<Bundles, "pack">;
  /** By default no workflow is ever paused. */
  readonly pauses?: Pick<Pauses, "miss">;
  /** The traces of runs; by default there are none. */
  readonly tracing?: Pick<Tracing, "ofChild">;
  readonly log: ConsolaInstance;
}

/** Serves clients. */
export class RunService {
  readonly #o: RunServiceOptions;
  readonly #finder: RunFinder;
  readonly #retries: RunRetries;
  readonly #dropped: RateLimitedWarning;
  #counts: RunCounts = { pending: 0, running: 0, queued: 0 };

  constructor(options: RunServiceOptions) {
    this.#o = options;
    this.#finder = new RunFinder(options);
    this.#retries = new RunRetries({ ...options, finder: this.#finder });
    this.#dropped = new RateLimitedWarning(options.log);
    options.events.on("run ended", (run) => options.polls.wake(topicOf(run.workflow_instance_id)));
    options.events.on("runs forgotten", () => this.#finder.forgotten());
  }

  /**
   * Triggers a workflow; resolves when the run is on disk. The same `dedupe_key` gives the same run.
   * @throws NotFoundError when there is no such workflow, UnprocessableError while its file is awaited
   * @param actor who triggers it; null for nobody
   * @throws InvalidInputError for parameters that do not fit it
   */
  async trigger(
    workflowId: string,
    options: RunTaskOptions,
    actor: string | null = null,
    audit: Audit = unaudited,
  ): Promise<string> {
    try {
      await this.#o.workflows.load(workflowId);
      return await this.#trigger(workflowId, options, actor, audit);
    } catch (error) {
      if (error instanceof InvalidInputError && isFiring(options.trigger)) {
        this.#o.workflows.refused(workflowId, options.trigger, error.message);
      }
      throw error;
    }
  }

  /** A workflow is about to be triggered: reads what that needs. */
  prepare(workflowId: string): void {
    const stored = this.#o.workflows.get(workflowId);
    if (stored !== undefined) this.#o.definitions.ofText(stored.hash, stored.json);
  }

  async #trigger(
    workflowId: string,
    options: RunTaskOptions,
    actor: string | null,
    audit: Audit,
  ): Promise<string> {
    for (;;) {
      try {
        // What goes wrong with the files matters only if there is no run yet.
        return await this.#create(workflowId, options, actor, await this.#o.bundles.pack(workflowId), audit);
      } catch (error) {
        if (!(error instanceof FilesChangedError)) throw error;
      }
    }
  }

  #create(
    workflowId: string,
    options: RunTaskOptions,
    actor: string | null,
    packed: Packed | null,
    audit: Audit,
  ): Promise<string> {
    const { pauses } = this.#o;
    const firedMs = options.trigger === "cron" ? options.scheduled_time_ms : null;
    const make = async (tx: OperationalTx, runId: string) => {
      const stored = this.#o.workflows.get(workflowId);
      if (stored === undefined) throw this.#unknownWorkflow(workflowId);
      await audit(tx, { detail: { workflow_instance_id: runId } });
      if (isFiring(options.trigger) && (await pauses?.miss(tx, stored.definition, runId, { options, actor })))
        return;
      await this.#make(tx, stored, runId, options, actor, packed);
    };
    // Another entry may have fired at the same time, with the same parameters: this one has come as far.
    const again = async (tx: OperationalTx) => {
      const stored = this.#o.workflows.get(workflowId);
      if (stored !== undefined && firedMs !== null)
        await this.#dropWaiting(tx, stored.definition, firedMs, options.schedule);
      await this.#move(tx, workflowId, options);
    };
    return once(
      this.#o,
      "RUNTASK",
      workflowId,
      options.dedupe_key,
      make,
      firedMs === null ? undefined : again,
    );
  }

  /** Makes the run of an event that a paused workflow has missed, see ../limits/pausing.ts. Part of a unit of work. */
  async createMissed(
    tx: OperationalTx,
    { workflow_id: id, workflow_instance_id: runId, trigger, options: text }: MissedEvent,
    packed: Packed | null,
  ): Promise<"made" | "refused" | "later"> {
    const { workflows } = this.#o;
    const stored = workflows.get(id);
    const refuse = (why: string) => {
      tx.afterCommit(() => workflows.refused(id, trigger, why));
      return "refused" as const;
    };
    if (stored === undefined) return workflows.isAwaited(id) ? "later" : refuse("the workflow is gone");
    const missed = readMissed(text);
    if (missed === null) return refuse("what is stored of an event that it missed is damaged");
    try {
      await this.#make(tx, stored, runId, missed.options, missed.actor, packed);
      return "made";
    } catch (error) {
      if (error instanceof InvalidInputError) return refuse(error.message);
      if (error !== packed?.error) throw error;
      refuse(errorMessage(error));
      return "later";
    }
  }

  /** Part of a unit of work. */
  async #make(
    tx: OperationalTx,
    stored: StoredDefinition,
    runId: string,
    options: RunTaskOptions,
    actor: string | null,
    packed: Packed | null,
  ): Promise<void> {
    const { definition, hash, json } = stored;
    const bundle = bundleFor(definition, packed);
    const firedMs = options.trigger === "cron" ? options.scheduled_time_ms : null;
    const start_at_ms = firedMs === null ? this.#startOf(options) : null;
    // Before the new run, whose status is then the workflow's latest.
    if (firedMs !== null) await this.#dropWaiting(tx, definition, firedMs, options.schedule);
    const before = await runBefore(tx, definition.id, options);
    await this.#o.changes.create(tx, {
      workflow_instance_id: runId,
      workflow_id: definition.id,
      workflow_name: definition.name,
      definition_hash: hash,
      definition: json,
      params: resolveParams(definition, options.params, {
        workflow_instance_id: runId,
        workflow_id: definition.id,
        attempt: 1,
        trigger: options.trigger,
        scheduled_time_ms: options.scheduled_time_ms,
        created_at_ms: this.#o.clock.now(),
        event: options.event,
      }),
      event: eventFor(definition, options.event),
      trigger: options.trigger,
      scheduled_time_ms: start_at_ms ?? options.scheduled_time_ms,
      retry_of: null,
      actor: actor ?? before?.actor ?? null,
      trigger_depth: options.trigger_depth,
      traceparent:
        cleanTraceparent(options.traceparent) ??
        (before === null ? null : (this.#o.tracing?.ofChild(before, null) ?? null)),
      priority: options.priority ?? definition.priority,
      start_at_ms,
      schedule: firedMs === null ? null : (options.schedule ?? null),
      tasks_total: allTasks(definition).length,
      bundle,
      carried: [],
    });
    await this.#move(tx, definition.id, options);
  }

  /** A firing has become a run, of this request or of another: its schedule has come as far. Part of a unit of work. */
  async #move(
    tx: OperationalTx,
    workflowId: string,
    { trigger, scheduled_time_ms, schedule }: RunTaskOptions,
  ): Promise<void> {
    let firing: Fired | undefined;
    if (trigger === "cron" && scheduled_time_ms !== null) {
      firing = { firedMs: scheduled_time_ms, nowMs: this.#o.clock.now(), entry: schedule ?? null };
      await tx.moveSchedule(workflowId, firing.firedMs, firing.nowMs, firing.entry);
    }
    if (isFiring(trigger)) tx.afterCommit(() => this.#o.workflows.fired(workflowId, firing));
  }

  /** When a run that is triggered now starts, ms since the epoch; null for at once. */
  #startOf({ start_at_ms, start_in_ms }: RunTaskOptions): number | null {
    const now = this.#o.clock.now();
    const start = start_at_ms ?? (start_in_ms === undefined ? now : now + start_in_ms);
    return start > now ? Math.round(start) : null;
  }

  /** See {@link RunRetries.retry}. */
  retry(retry: RetryRun, actor: string | null = null, audit: Audit = unaudited): Promise<RunRetried> {
    return this.#retries.retry(retry, actor, audit);
  }

  /** See {@link RunFinder.historyOpened}. */
  historyOpened(): Promise<void> {
    return this.#finder.historyOpened();
  }

  /**
   * Cancels a run: at once when it is waiting, through its agent when it is running.
   * @param hooks whether to stop the hooks of one whose tasks were cancelled before
   * @throws UnprocessableError when it is over
   */
  async cancel(runId: string, hooks: boolean, audit: Audit = unaudited): Promise<RunDetails> {
    const { workflow_instance_id: id } = await this.#finder.find(runId, "cancelled");
    return this.#o.store.transact(async (tx) => {
      const run = await tx.getRun(id);
      if (run === null) throw unknownRun(id);
      if (run.status === "CANCELLED") return detailsOf(tx, run, this.#o);
      if (isTerminal(RUN_TRANSITIONS, run.status)) {
        throw new UnprocessableError(`Run ${id} is over already: ${run.status}.`);
      }
      // Whoever asks again asks for nothing new.
      if (run.cancel_requested_at_ms === null || hooks)
        await audit(tx, { subject: id, detail: { workflow_id: run.workflow_id } });
      await this.#o.changes.cancel(tx, run, hooks);
      return detailsOf(tx, (await tx.getRun(id)) ?? run, this.#o);
    });
  }

  /**
   * Changes the priority of a run, and of what waits of it.
   * @throws UnprocessableError when it is over
   */
  async setPriority(runId: string, priority: number, audit: Audit = unaudited): Promise<RunDetails> {
    const { workflow_instance_id: id } = await this.#finder.find(runId, "changed");
    return this.#o.store.transact(async (tx) => {
      const run = await tx.getRun(id);
      if (run === null) throw unknownRun(id);
      if (isTerminal(RUN_TRANSITIONS, run.status))
        throw new UnprocessableError(`Run ${id} is over already: ${run.status}.`);
      if (run.priority === priority) return detailsOf(tx, run, this.#o);
      await audit(tx, { subject: id, detail: { before: run.priority, workflow_id: run.workflow_id } });
      const changed = await tx.setPriority(run, priority, (needs) => withPriority(needs, priority));
      // Another one may be the first now that waits for the group.
      if (run.hold === "group") this.#o.changes.admission.freed(tx, run);
      this.#o.queue.queued(tx);
      return detailsOf(tx, changed, this.#o);
    });
  }

  /**
   * The current state of a run.
   * @param outputs whether to read what its tasks published, too
   * @throws NotFoundError when nothing is known about it
   */
  async get(runId: string, outputs: boolean): Promise<RunDetails> {
    const found = await this.#o.store.read(async (tx) => {
      const run = await lookUpRun(tx, runId);
      if (run === null) return null;
      const details = await detailsOf(tx, run, this.#o);
      if (!outputs) return { details, moved: [] };
      return {
        details: await withOutputs(tx, details),
        moved: await tx.movedOutputs(run.workflow_instance_id),
      };
    });
    if (found === null) return this.#finder.fromHistory(runId, outputs);
    return withMovedOutputs(found.details, found.moved, this.#o.old);
  }

  /** The run when it is over, or its state after `waitMs`. */
  async wait(runId: string, waitMs: number): Promise<RunDetails> {
    const deadline = this.#o.clock.monotonic() + waitMs;
    const present = await this.#o.store.read((tx) => lookUpRun(tx, runId));
    const id = present?.workflow_instance_id ?? runId;
    for (;;) {
      const ticket = this.#o.polls.ticket(topicOf(id));
      const left = deadline - this.#o.clock.monotonic();
      // What is wrong with the state is told below.
      const isUnderWay = left > 0 && (await this.#isUnderWay(id).catch(() => false));
      if (!isUnderWay) ticket.drop();
      if (!isUnderWay || (await ticket.wait(left)) === "closed") return this.get(id, false);
    }
  }

  /** Whether somebody waits for the end of a run. */
  isAwaited(runId: string): boolean {
    return this.#o.polls.isAwaited(topicOf(runId));
  }

  async #isUnderWay(id: string): Promise<boolean> {
    const run = await this.#o.store.read((tx) => tx.getRun(id));
    return run !== null && !isTerminal(RUN_TRANSITIONS, run.status);
  }

  /**
   * Newest first; beyond those in the operational state, the history is queried.
   * @throws UnprocessableError when that is not available, and the list must be complete
   */
  async list(filter: ListRuns): Promise<RunSummary[]> {
    const runs = (await this.#o.store.read((tx) => tx.listRuns(filter))).map(summaryOf);
    if (runs.length >= filter.limit) return runs;
    return [...runs, ...(await this.#finder.olderRuns(filter))].slice(0, filter.limit);
  }

  /**
   * A page of the items of a fan-out.
   * @throws NotFoundError when nothing is known about the run, UnprocessableError when only the history has it, which is not available
   */
  async items(list: ListItems): Promise<ItemSummary[]> {
    const { workflow_instance_id, task_id, outputs, ...page } = list;
    const known = await this.#o.store.read((tx) => lookUpRun(tx, workflow_instance_id));
    if (known === null) return this.#finder.itemsFromHistory(list);
    const { workflow_instance_id: id } = known;
    return this.#o.store.read(async (tx) => {
      const attempts = await tx.listAttempts(id);
      const summaryOfTask = summarizer(new Map(attempts.map((attempt) => [nameOf(attempt), attempt])), null);
      const items = await tx.listItems(id, task_id, {
        limit: page.limit,
        status: page.status,
        afterIndex: page.after_index,
        beforeIndex: page.before_index,
        words: page.words,
      });
      const first = items[0]?.item_index;
      const published =
        outputs && first != null
          ? await tx.itemOutputs(id, [task_id], MAX_OUTPUTS_TOGETHER_BYTES, first - 1)
          : [];
      const run = await tx.getRun(id);
      const definition = run === null ? null : await this.#o.definitions.of(tx, run);
      const childOf = await childrenOf(tx, id, definition, items);
      const byIndex = new Map(published.map((item) => [item.item_index, item.outputs]));
      const summaries: ItemSummary[] = [];
      let bytes = 0;
      for (const item of items) {
        const json = byIndex.get(item.item_index ?? -1);
        bytes += json === undefined ? 0 : Buffer.byteLength(json);
        if (bytes > MAX_OUTPUTS_TOGETHER_BYTES && summaries.length > 0) break;
        summaries.push({
          ...summaryOfTask(item),
          ...childOf(item),
          item_key: item.item_key ?? "",
          item_index: item.item_index ?? 0,
          ...(json === undefined ? {} : { outputs: JSON.parse(json) }),
        });
      }
      return summaries;
    });
  }

  recentStatuses(limit: number): Promise<RecentStatus[]> {
    return this.#o.store.read((tx) => tx.recentStatuses(limit));
  }

  async counts(): Promise<RunCounts> {
    this.#counts = await this.#o.store.read((tx) => tx.countRuns());
    return this.#counts;
  }

  /** While the state cannot be read: as it was read last, and why. */
  async knownCounts(): Promise<RunCounts & { readonly error: string | null }> {
    try {
      return { ...(await this.counts()), error: null };
    } catch (error) {
      if (!(error instanceof StoreUnavailableError)) throw error;
      return { ...this.#counts, error: error.message };
    }
  }

  /** The ends of the log of a finished run: agents' streams, and the last line in each; none while it runs, or when they are unknown. */
  async logEnds(runId: string): Promise<{ streamId: string; agentId: string | null; seq: number }[]> {
    return this.#o.store.read(async (tx) => {
      const run = await tx.getRun(runId);
      if (run?.finished_at_ms == null) return [];
      const ends = new Map<string, { agentId: string | null; seq: number }>();
      const parts = run.revision === 0 ? [run] : await tx.listAttempts(runId);
      for (const { log_stream_id: id, log_seq, agent_id: agentId } of parts)
        if (id !== null) ends.set(id, { agentId, seq: Math.max(log_seq, ends.get(id)?.seq ?? 0) });
      return [...ends].map(([streamId, end]) => ({ streamId, ...end }));
    });
  }

  /** Ends the firings before this one that no agent has taken, unless the workflow keeps them. */
  async #dropWaiting(
    tx: OperationalTx,
    workflow: WorkflowDefinition,
    dueMs: number,
    schedule: string | undefined,
  ): Promise<void> {
    const { id, catchup } = workflow;
    const entry = schedule === undefined ? { catchup } : entryOf(workflow, schedule);
    if (entry === undefined) return;
    const dropped = await this.#o.changes.dropWaitingFirings(tx, { id, ...entry, schedule }, dueMs);
    if (dropped === 0) return;
    const what = (count: number) => (count === 1 ? "A firing" : `${count} firings`);
    tx.afterCommit(() =>
      this.#dropped.warn(
        dropped,
        (count) =>
          `${what(count)} that no agent took before the next one was due ${count === 1 ? "was" : "were"} dropped, as catchup says; the last was of workflow ${workflow.id}. Is an agent up that has room for more? See 'cdktr agents list' and 'cdktr runs list --status skipped'.`,
      ),
    );
  }

  #unknownWorkflow(workflowId: string): NotFoundError | UnprocessableError {
    if (this.#o.workflows.isAwaited(workflowId)) return new UnprocessableError(notVisible(workflowId));
    return new NotFoundError(
      thereIsNoWorkflow(workflowId, this.#o.workflows.ids(), this.#o.workflows.invalidFiles),
    );
  }
}

/** The run that this one follows, if the principal itself triggers it for that; null for none. */
async function runBefore(
  tx: OperationalTx,
  workflowId: string,
  { trigger, dedupe_key }: RunTaskOptions,
): Promise<RunRecord | null> {
  const followed = trigger === "workflow" ? followedRun(workflowId, dedupe_key) : null;
  return followed === null ? null : tx.getRun(followed);
}

function topicOf(runId: string): string {
  return `run ${runId}`;
}
