/** The operations of clients on runs: trigger, cancel, retry, get, wait. */

import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type {
  ItemCounts,
  ItemSummary,
  ListItems,
  ListRuns,
  RetryRun,
  RunAttempt,
  RunDetails,
  RunSummary,
  RunTaskOptions,
  TaskRunSummary,
} from "../../contract/messages.ts";
import { MAX_OUTPUTS_TOGETHER_BYTES } from "../../contract/outputs.ts";
import { SHORTEST_PREFIX } from "../../contract/run-id.ts";
import { tookMs } from "../../contract/took.ts";
import { InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";
import {
  type AttemptRecord,
  type ListedRun,
  type MovedOutputs,
  type OperationalStore,
  type OperationalTx,
  type RecentStatus,
  type RunRecord,
  type SliceRecord,
  StoreUnavailableError,
  type TaskRunState,
} from "../../storage/operational/store.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { eventFor } from "../../workflow/expressions.ts";
import { aggregate } from "../../workflow/fan-out.ts";
import { allTasks, isHook } from "../../workflow/hooks.ts";
import type { RetryPolicy, WorkflowDefinition } from "../../workflow/model.ts";
import { resolveParams } from "../../workflow/params.ts";
import { retryDelayMs } from "../../workflow/retry.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal, type RunStatus } from "../../workflow/status.ts";
import { undisturbedTasks } from "../../workflow/undisturbed.ts";
import type { LongPolls } from "../long-polls.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { notVisible, thereIsNoWorkflow } from "../unknown-name.ts";
import { stillNeeded } from "./assignments.ts";
import { nameOf } from "./attempt-name.ts";
import type { Definitions } from "./definitions.ts";
import type { RunChanges } from "./run-changes.ts";
import { isBeforeStart, isForAgent, named, type Waits } from "./waits.ts";

/** Number of finished runs to keep in the operational state; older ones are only in the history. */
export const KEPT_RUNS = 10_000;

/** A definition as stored with a run. */
export interface StoredDefinition {
  readonly definition: WorkflowDefinition;
  readonly json: string;
  readonly hash: string;
}

/** The source of definitions. */
export interface WorkflowSource {
  /** Reads the file of a workflow if that has not been done since the start, because there are many. */
  load(workflowId: string): Promise<void>;
  get(workflowId: string): StoredDefinition | undefined;
  ids(): Iterable<string>;
  /** Whether it was there when the principal ran last, but its file is not visible yet. */
  isAwaited(workflowId: string): boolean;
  /** Files that are currently invalid. */
  readonly invalidFiles: readonly { readonly path: string }[];
  /** Called when a firing was refused. Nobody may see the reply, because no user sent the request. */
  refused(workflowId: string, trigger: string, message: string): void;
  /** Called when a firing became a run. */
  fired(workflowId: string): void;
}

/** Numbers of unfinished runs, and of those that wait for an agent. */
interface RunCounts {
  readonly pending: number;
  readonly running: number;
  readonly queued: number;
}

/** Runs that are no longer in the operational state. */
export interface OldRuns {
  findRun(runId: string, outputs: boolean): Promise<Omit<RunDetails, "definition"> | null>;
  /** What task runs published, as JSON, by their ids; null if that is too much for a message. */
  findOutputs(taskInstanceIds: readonly string[]): Promise<ReadonlyMap<string, string> | null>;
  /** Newest first; with `beforeMs` only those created before it. */
  listRuns(filter: ListRuns, beforeMs?: number): Promise<RunSummary[]>;
}

/** Outputs of these task instances are needed, and are only in the history. */
class OutputsMovedError extends Error {
  readonly taskInstanceIds: readonly string[];

  constructor(taskInstanceIds: readonly string[]) {
    super("outputs are only in the history");
    this.taskInstanceIds = taskInstanceIds;
  }
}

/** Serves clients. */
export class RunService {
  readonly #store: OperationalStore;
  readonly #changes: RunChanges;
  readonly #waits: Waits;
  readonly #definitions: Definitions;
  readonly #workflows: WorkflowSource;
  readonly #polls: LongPolls;
  readonly #clock: Clock;
  readonly #old: OldRuns;
  readonly #dropped: RateLimitedWarning;
  #counts: RunCounts = { pending: 0, running: 0, queued: 0 };
  /** Undefined until someone asks for more runs than are kept here. */
  #olderRunsExist: boolean | undefined;
  /** The question for it that waits for the history's answer. */
  #askingForOlder: Promise<boolean> | undefined;

  constructor(options: {
    store: OperationalStore;
    changes: RunChanges;
    waits: Waits;
    definitions: Definitions;
    events: PrincipalEvents;
    workflows: WorkflowSource;
    polls: LongPolls;
    clock: Clock;
    old: OldRuns;
    log: ConsolaInstance;
  }) {
    this.#store = options.store;
    this.#changes = options.changes;
    this.#waits = options.waits;
    this.#definitions = options.definitions;
    this.#workflows = options.workflows;
    this.#polls = options.polls;
    this.#clock = options.clock;
    this.#old = options.old;
    this.#dropped = new RateLimitedWarning(options.log);
    options.events.on("run ended", (run) => this.#polls.wake(topicOf(run.workflow_instance_id)));
    options.events.on("runs forgotten", () => {
      this.#olderRunsExist = true;
    });
  }

  /**
   * Triggers a workflow; resolves when the run is on disk. The same `dedupe_key` gives the same run.
   * @throws NotFoundError when there is no such workflow, UnprocessableError while its file is awaited
   * @throws InvalidInputError for parameters that do not fit it
   */
  async trigger(workflowId: string, options: RunTaskOptions): Promise<string> {
    try {
      await this.#workflows.load(workflowId);
      return await this.#trigger(workflowId, options);
    } catch (error) {
      if (error instanceof InvalidInputError && isFiring(options.trigger)) {
        this.#workflows.refused(workflowId, options.trigger, error.message);
      }
      throw error;
    }
  }

  #trigger(workflowId: string, options: RunTaskOptions): Promise<string> {
    return this.#once("RUNTASK", workflowId, options.dedupe_key, async (tx, runId) => {
      const stored = this.#workflows.get(workflowId);
      if (stored === undefined) throw this.#unknownWorkflow(workflowId);
      const firedMs = options.trigger === "cron" ? options.scheduled_time_ms : null;
      const start_at_ms = firedMs === null ? this.#startOf(options) : null;
      // Before the new run, whose status is then the workflow's latest.
      if (firedMs !== null) await this.#dropWaiting(tx, stored.definition, firedMs);
      await this.#changes.create(tx, {
        workflow_instance_id: runId,
        workflow_id: workflowId,
        workflow_name: stored.definition.name,
        definition_hash: stored.hash,
        definition: stored.json,
        params: resolveParams(stored.definition, options.params, {
          workflow_instance_id: runId,
          workflow_id: workflowId,
          attempt: 1,
          trigger: options.trigger,
          scheduled_time_ms: options.scheduled_time_ms,
          created_at_ms: this.#clock.now(),
          event: options.event,
        }),
        event: eventFor(stored.definition, options.event),
        trigger: options.trigger,
        scheduled_time_ms: start_at_ms ?? options.scheduled_time_ms,
        retry_of: null,
        trigger_depth: options.trigger_depth,
        start_at_ms,
        tasks_total: allTasks(stored.definition).length,
        carried: [],
      });
      if (firedMs !== null) await tx.moveSchedule(workflowId, firedMs, this.#clock.now());
      if (isFiring(options.trigger)) tx.afterCommit(() => this.#workflows.fired(workflowId));
    });
  }

  /** When a run that is triggered now starts, ms since the epoch; null for at once. */
  #startOf({ start_at_ms, start_in_ms }: RunTaskOptions): number | null {
    const now = this.#clock.now();
    const start = start_at_ms ?? (start_in_ms === undefined ? now : now + start_in_ms);
    return start > now ? Math.round(start) : null;
  }

  /**
   * Retries a finished run, from the tasks that did not complete or from the beginning.
   * @throws UnprocessableError when it is not over, or needs outputs that cannot be read from the history
   */
  async retry(retry: RetryRun): Promise<string> {
    const { workflow_instance_id: id } = await this.#find(retry.workflow_instance_id, "retried");
    const restored = new Map<string, string>();
    for (;;) {
      try {
        return await this.#retry(id, retry, restored);
      } catch (error) {
        if (!(error instanceof OutputsMovedError)) throw error;
        for (const [task, outputs] of await this.#restoreOutputs(id, error.taskInstanceIds))
          restored.set(task, outputs);
      }
    }
  }

  /**
   * @param restored outputs from the history, by task instance
   * @throws OutputsMovedError when more are needed
   */
  #retry(id: string, retry: RetryRun, restored: ReadonlyMap<string, string>): Promise<string> {
    return this.#once("RETRYRUN", id, retry.dedupe_key, async (tx, runId) => {
      const run = await tx.getRun(id);
      if (run === null) throw unknownRun(id);
      if (!isTerminal(RUN_TRANSITIONS, run.status)) {
        throw new UnprocessableError(`Run ${id} is ${run.status}: only a run that is over can be retried.`, {
          hint: `Cancel it first: cdktr runs cancel ${id}`,
        });
      }
      if (run.status === "COMPLETED" && !retry.from_start) {
        throw new UnprocessableError(`Run ${id} COMPLETED: there is no failed task to retry.`, {
          hint: `To run it from the beginning: cdktr runs retry ${id} --from-start`,
        });
      }
      const definition = await tx.getDefinition(run.definition_hash);
      if (definition === null) throw unknownRun(id);
      const tasks = retry.from_start ? [] : await tx.listTaskRuns(id);
      const plan = await this.#definitions.planOf(tx, run);
      const undisturbed = plan === null ? null : undisturbedTasks(plan, endsOf(tasks));
      const isKept = (task: string): boolean => undisturbed?.has(task) ?? true;
      const done = tasks.filter(({ status, task_id }) => status === "COMPLETED" && isKept(task_id));
      const carried = newestOf(done.filter(({ item_key }) => item_key === null));
      const items = done.filter(({ item_key }) => item_key !== null);
      const lacking = await this.#lackingOutputs(tx, run, carried, items);
      const missing = lacking.filter((task) => !restored.has(task));
      if (missing.length > 0) throw new OutputsMovedError(missing);
      await this.#changes.create(tx, {
        workflow_instance_id: runId,
        workflow_id: run.workflow_id,
        workflow_name: run.workflow_name,
        definition_hash: run.definition_hash,
        definition,
        params: run.params,
        event: run.event,
        trigger: "retry",
        scheduled_time_ms: run.scheduled_time_ms,
        retry_of: id,
        trigger_depth: run.trigger_depth,
        tasks_total: run.tasks_total,
        carried: carried.map((task) => ({
          ...task,
          outputs: task.outputs ?? restored.get(task.task_instance_id) ?? null,
        })),
        items_of: items.length === 0 ? null : id,
        fan_outs: [...new Set(items.map(({ task_id }) => task_id))],
        item_outputs: restored,
      });
    });
  }

  /** The task instances among those carried over whose outputs a retry needs, but only the history has. */
  async #lackingOutputs(
    tx: OperationalTx,
    run: RunRecord,
    carried: readonly TaskRunState[],
    items: readonly TaskRunState[],
  ): Promise<string[]> {
    if (carried.length + items.length === 0) return [];
    const moved = new Set(
      (await tx.movedOutputs(run.workflow_instance_id)).map((task) => task.task_instance_id),
    );
    if (moved.size === 0) return [];
    const plan = await this.#definitions.planOf(tx, run);
    const done = carried.map(({ task_id }) => task_id);
    const nodes = plan?.nodes ?? [];
    // Items of a fan-out that did not complete as a whole are read together with those that run again.
    const open = nodes.filter(({ id, fanOut }) => fanOut !== undefined && !done.includes(id));
    const still = plan === null ? [] : stillNeeded(nodes, done, plan.readAtEnd);
    const needed = new Set([...still, ...open.map(({ id }) => id)]);
    return [...carried, ...items].flatMap(({ task_id, task_instance_id }) =>
      needed.has(task_id) && moved.has(task_instance_id) ? [task_instance_id] : [],
    );
  }

  /** @throws UnprocessableError */
  async #restoreOutputs(
    id: string,
    taskInstanceIds: readonly string[],
  ): Promise<ReadonlyMap<string, string>> {
    const cannot = (why: string, cause?: unknown) =>
      new UnprocessableError(
        `Run ${id} cannot be retried from the tasks that failed: what earlier tasks published is only in the history, ${why}.`,
        { cause, hint: `To run it from the beginning: cdktr runs retry ${id} --from-start` },
      );
    let found: ReadonlyMap<string, string> | null;
    try {
      found = await this.#old.findOutputs(taskInstanceIds);
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      throw cannot(`which is not available (${error.message})`, error);
    }
    if (found === null) throw cannot("and too large for a retry");
    if (taskInstanceIds.some((task) => !found.has(task))) throw cannot("which does not have it any more");
    return found;
  }

  /**
   * Cancels a run: at once when it is waiting, through its agent when it is running.
   * @param hooks whether to stop the hooks of one whose tasks were cancelled before
   * @throws UnprocessableError when it is over
   */
  async cancel(runId: string, hooks: boolean): Promise<RunDetails> {
    const { workflow_instance_id: id } = await this.#find(runId, "cancelled");
    return this.#store.transact(async (tx) => {
      const run = await tx.getRun(id);
      if (run === null) throw unknownRun(id);
      if (run.status === "CANCELLED") return this.#details(tx, run);
      if (isTerminal(RUN_TRANSITIONS, run.status)) {
        throw new UnprocessableError(`Run ${id} is over already: ${run.status}.`);
      }
      await this.#changes.cancel(tx, run, hooks);
      return this.#details(tx, (await tx.getRun(id)) ?? run);
    });
  }

  /**
   * The current state of a run.
   * @param outputs whether to read what its tasks published, too
   * @throws NotFoundError when nothing is known about it
   */
  async get(runId: string, outputs: boolean): Promise<RunDetails> {
    const found = await this.#store.read(async (tx) => {
      const run = await this.#lookUp(tx, runId);
      if (run === null) return null;
      const details = await this.#details(tx, run);
      if (!outputs) return { details, moved: [] };
      return {
        details: await withOutputs(tx, details),
        moved: await tx.movedOutputs(run.workflow_instance_id),
      };
    });
    if (found === null) return this.#fromHistory(runId, outputs);
    return this.#withMoved(found.details, found.moved);
  }

  /** The run with what its tasks published that only the history has. */
  async #withMoved(run: RunDetails, moved: readonly MovedOutputs[]): Promise<RunDetails> {
    if (moved.length === 0 || run.outputs_left_out === true) return run;
    const leftOut = {
      ...run,
      tasks: run.tasks.map(({ outputs: _, ...task }) => task),
      outputs_left_out: true,
    };
    let found: ReadonlyMap<string, string> | null;
    try {
      found = await this.#old.findOutputs(moved.map((task) => task.task_instance_id));
    } catch (error) {
      if (error instanceof UnprocessableError) return leftOut;
      throw error;
    }
    if (found === null) return leftOut;
    let bytes = 0;
    const tasks = run.tasks.map((task) => {
      const json = found.get(task.task_instance_id);
      bytes += Buffer.byteLength(json ?? JSON.stringify(task.outputs ?? ""));
      return json === undefined ? task : { ...task, outputs: JSON.parse(json) };
    });
    return bytes > MAX_OUTPUTS_TOGETHER_BYTES ? leftOut : { ...run, tasks };
  }

  /** The run when it is over, or its state after `waitMs`. */
  async wait(runId: string, waitMs: number): Promise<RunDetails> {
    const deadline = this.#clock.monotonic() + waitMs;
    const present = await this.#store.read((tx) => this.#lookUp(tx, runId));
    const id = present?.workflow_instance_id ?? runId;
    for (;;) {
      const ticket = this.#polls.ticket(topicOf(id));
      const left = deadline - this.#clock.monotonic();
      // What is wrong with the state is told below.
      const isUnderWay = left > 0 && (await this.#isUnderWay(id).catch(() => false));
      if (!isUnderWay) ticket.drop();
      if (!isUnderWay || (await ticket.wait(left)) === "closed") return this.get(id, false);
    }
  }

  /** Whether somebody waits for the end of a run. */
  isAwaited(runId: string): boolean {
    return this.#polls.isAwaited(topicOf(runId));
  }

  async #isUnderWay(id: string): Promise<boolean> {
    const run = await this.#store.read((tx) => tx.getRun(id));
    return run !== null && !isTerminal(RUN_TRANSITIONS, run.status);
  }

  /**
   * Newest first; beyond those in the operational state, the history is queried.
   * @throws UnprocessableError when that is not available, and the list must be complete
   */
  async list(filter: ListRuns): Promise<RunSummary[]> {
    const runs = (await this.#store.read((tx) => tx.listRuns(filter))).map(summaryOf);
    if (runs.length >= filter.limit) return runs;
    return [...runs, ...(await this.#olderRuns(filter))].slice(0, filter.limit);
  }

  /**
   * A page of the items of a fan-out.
   * @throws NotFoundError when nothing is known about the run, UnprocessableError when only the history has it
   */
  async items({ workflow_instance_id, task_id, outputs, ...page }: ListItems): Promise<ItemSummary[]> {
    const { workflow_instance_id: id } = await this.#find(workflow_instance_id, "listed item by item");
    return this.#store.read(async (tx) => {
      const attempts = await tx.listAttempts(id);
      const summaryOfTask = summarizer(new Map(attempts.map((attempt) => [nameOf(attempt), attempt])), null);
      const items = await tx.listItems(id, task_id, {
        limit: page.limit,
        status: page.status,
        afterIndex: page.after_index,
      });
      const first = items[0]?.item_index;
      const published =
        outputs && first != null
          ? await tx.itemOutputs(id, [task_id], MAX_OUTPUTS_TOGETHER_BYTES, first - 1)
          : [];
      const byIndex = new Map(published.map((item) => [item.item_index, item.outputs]));
      const summaries: ItemSummary[] = [];
      let bytes = 0;
      for (const item of items) {
        const json = byIndex.get(item.item_index ?? -1);
        bytes += json === undefined ? 0 : Buffer.byteLength(json);
        if (bytes > MAX_OUTPUTS_TOGETHER_BYTES && summaries.length > 0) break;
        summaries.push({
          ...summaryOfTask(item),
          item_key: item.item_key ?? "",
          item_index: item.item_index ?? 0,
          ...(json === undefined ? {} : { outputs: JSON.parse(json) }),
        });
      }
      return summaries;
    });
  }

  recentStatuses(limit: number): Promise<RecentStatus[]> {
    return this.#store.read((tx) => tx.recentStatuses(limit));
  }

  async counts(): Promise<RunCounts> {
    this.#counts = await this.#store.read((tx) => tx.countRuns());
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
    return this.#store.read(async (tx) => {
      const run = await tx.getRun(runId);
      if (run?.finished_at_ms == null) return [];
      const ends = new Map<string, { agentId: string | null; seq: number }>();
      const parts = run.revision === 0 ? [run] : await tx.listAttempts(runId);
      for (const { log_stream_id: id, log_seq, agent_id: agentId } of parts)
        if (id !== null) ends.set(id, { agentId, seq: Math.max(log_seq, ends.get(id)?.seq ?? 0) });
      return [...ends].map(([streamId, end]) => ({ streamId, ...end }));
    });
  }

  /** The run created under an idempotency key; `make` creates it the first time. */
  #once(
    verb: string,
    subject: string,
    key: string | undefined,
    make: (tx: OperationalTx, runId: string) => Promise<void>,
  ): Promise<string> {
    const fresh = crypto.randomUUID();
    return this.#store.transact(async (tx) => {
      const id =
        key === undefined ? fresh : await tx.claimKey(`${verb} ${subject} ${key}`, fresh, this.#clock.now());
      if (id === fresh) await make(tx, id);
      return id;
    });
  }

  /**
   * The history can be read: finds out whether it has runs that the state does not have. Later lists need not ask it if it has none, also
   * while it does not answer.
   */
  async historyOpened(): Promise<void> {
    try {
      if (this.#olderRunsExist === undefined) await this.#olderRuns({ limit: 1 });
    } catch {
      // The first list tries again.
    }
  }

  /** Runs that only the history knows. */
  async #olderRuns(filter: ListRuns): Promise<RunSummary[]> {
    if (this.#olderRunsExist === false) return [];
    // An older run may have ended just now.
    const oldest = await this.#store.read((tx) => tx.oldestFinishedMs(KEPT_RUNS));
    const before = oldest ?? this.#clock.now();
    let older: RunSummary[];
    try {
      this.#olderRunsExist ??= await this.#askForOlder(before);
      const { id_prefix: prefix } = filter;
      older = this.#olderRunsExist
        ? await this.#old.listRuns(filter, prefix === undefined ? before : undefined)
        : [];
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      if (filter.complete !== true) return [];
      throw away("Older runs may be missing: the history is not available", error);
    }
    return this.#store.read(async (tx) => {
      const unknown: RunSummary[] = [];
      for (const run of older) if ((await tx.getRun(run.workflow_instance_id)) === null) unknown.push(run);
      return unknown;
    });
  }

  #askForOlder(beforeMs: number): Promise<boolean> {
    this.#askingForOlder ??= this.#old
      .listRuns({ limit: 1 }, beforeMs)
      .then((found) => found.length > 0)
      .finally(() => {
        this.#askingForOlder = undefined;
      });
    return this.#askingForOlder;
  }

  async #fromHistory(runId: string, outputs: boolean): Promise<RunDetails> {
    let old: Omit<RunDetails, "definition"> | null;
    try {
      old = await this.#old.findRun(runId, outputs);
      if (old === null && runId.length >= SHORTEST_PREFIX) {
        const found = await this.#old.listRuns({ limit: 2, id_prefix: runId.toLowerCase() });
        const id = onlyOne(runId, found)?.workflow_instance_id;
        old = id === undefined ? null : await this.#old.findRun(id, outputs);
      }
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      throw away(`Run ${quote(runId)} is not among the newest, and the history is not available`, error);
    }
    if (old === null) throw unknownRun(runId);
    return { ...old, definition: null };
  }

  /** A run of which everything is known. @param done what is to be done with it */
  async #find(runId: string, done: string): Promise<RunRecord> {
    const run = await this.#store.read((tx) => this.#lookUp(tx, runId));
    if (run !== null) return run;
    const { workflow_instance_id: id, workflow_id, status } = await this.#fromHistory(runId, false);
    throw new UnprocessableError(
      `Run ${id} of ${workflow_id} (${status}) is only in the history, where definitions are not kept: it cannot be ${done}.`,
      {
        hint: `'cdktr runs show ${id}' shows its parameters; 'cdktr run ${workflow_id}' triggers a new run.`,
      },
    );
  }

  /** Finds a run by its id, or by a prefix that is long enough. */
  async #lookUp(tx: OperationalTx, runId: string): Promise<RunRecord | null> {
    const exact = await tx.getRun(runId);
    if (exact !== null || runId.length < SHORTEST_PREFIX) return exact;
    return onlyOne(runId, await tx.findRuns(runId.toLowerCase(), 2)) ?? null;
  }

  async #details(tx: OperationalTx, run: RunRecord): Promise<RunDetails> {
    const attempts = await tx.listAttempts(run.workflow_instance_id);
    const leases = new Map(attempts.map((attempt) => [nameOf(attempt), attempt]));
    const slices = run.revision === 0 ? [] : await tx.listSlices(run.workflow_instance_id, "all");
    const tasks = await tx.listTasks(run.workflow_instance_id);
    const items = await itemsOf(tx, tasks);
    const definition = await this.#definitions.of(tx, run);
    const waits = (await this.#waits.of(tx, run)).filter(isForAgent);
    return {
      ...summaryOf(run),
      workflow_name: run.workflow_name,
      scheduled_time_ms: run.scheduled_time_ms,
      params: { ...run.params },
      error: run.error,
      retry_of: run.retry_of,
      ...(run.outputs === null ? {} : { outputs: JSON.parse(run.outputs) }),
      attempts: attemptsOf(run, attempts),
      tasks: tasksOf(run, slices, tasks).map(summarizer(leases, definition, items)),
      ...(waits.length === 0
        ? {}
        : {
            waits: named(waits).map((wait) => ({ ...wait, tasks: [...wait.tasks] })),
            waiting_slices: waits.length,
          }),
      definition,
    };
  }

  /** Ends the firings before this one that no agent has taken, unless the workflow keeps them. */
  async #dropWaiting(tx: OperationalTx, workflow: WorkflowDefinition, dueMs: number): Promise<void> {
    const dropped = await this.#changes.dropWaitingFirings(tx, workflow, dueMs);
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
    if (this.#workflows.isAwaited(workflowId)) return new UnprocessableError(notVisible(workflowId));
    return new NotFoundError(
      thereIsNoWorkflow(workflowId, this.#workflows.ids(), this.#workflows.invalidFiles),
    );
  }
}

/** Whether a run is triggered by an event, not by a user who reads the reply. */
function isFiring(trigger: string): boolean {
  return trigger === "cron" || trigger === "workflow" || trigger.startsWith("listener:");
}

function topicOf(runId: string): string {
  return `run ${runId}`;
}

/** How long a run or a task run took; null until it has ended. */
function durationOf(ended: Parameters<typeof tookMs>[0]): number | null {
  return ended.finished_at_ms === null ? null : tookMs(ended, ended.finished_at_ms);
}

/** The run that was found by the beginning of its id. @throws InvalidInputError when there are several */
function onlyOne<T>(prefix: string, [found, another]: readonly T[]): T | undefined {
  if (another === undefined) return found;
  throw new InvalidInputError(`More than one run begins with ${quote(prefix)}; give a longer prefix.`);
}

function away(what: string, error: UnprocessableError): UnprocessableError {
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  return new UnprocessableError(`${what}: ${error.message}`, { cause: error, ...hint });
}

function unknownRun(runId: string): NotFoundError {
  return new NotFoundError(`There is no run ${quote(runId)}.`);
}

function summaryOf(run: ListedRun): RunSummary {
  return {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    status: run.status,
    trigger: run.trigger,
    agent_id: run.agent_id,
    ...(run.revision === 0 ? {} : { agents: run.agents }),
    attempt: run.attempt,
    created_at_ms: run.created_at_ms,
    ...(isBeforeStart(run) ? { start_at_ms: run.start_at_ms } : {}),
    started_at_ms: run.started_at_ms,
    finished_at_ms: run.finished_at_ms,
    duration_ms: durationOf(run),
    tasks_total: run.tasks_total,
    tasks_done: run.tasks_done,
    ...(run.allowed_failures === 0 ? {} : { allowed_failures: run.allowed_failures }),
  };
}

/** The attempts that were assigned; for a whole run also the newest one if it is waiting or was never assigned. */
function attemptsOf(run: RunRecord, attempts: readonly AttemptRecord[]): RunAttempt[] {
  const told: RunAttempt[] = attempts.map((attempt) => ({
    slice: attempt.slice,
    attempt: attempt.attempt,
    agent_id: attempt.agent_id,
    status: attempt.status,
    started_at_ms: attempt.started_at_ms,
    finished_at_ms: attempt.finished_at_ms,
    error: attempt.error,
  }));
  if (run.revision === 0 && told.at(-1)?.attempt !== run.attempt) {
    told.push({
      slice: 0,
      attempt: run.attempt,
      agent_id: null,
      status: run.status,
      started_at_ms: null,
      finished_at_ms: run.finished_at_ms,
      error: null,
    });
  }
  return told;
}

/** The tasks of the newest attempt, preceded by those that completed in an earlier one. */
function tasksOf(
  run: RunRecord,
  slices: readonly SliceRecord[],
  tasks: readonly TaskRunState[],
): TaskRunState[] {
  const newest = new Map(slices.map(({ slice, attempt }) => [slice, attempt]));
  const isPresent = ({ slice, attempt }: TaskRunState) =>
    run.revision === 0 ? attempt === run.attempt : slice === 0 ? attempt > 0 : attempt === newest.get(slice);
  const present = tasks.filter(isPresent);
  const named = new Set(present.map((task) => task.task_id));
  const carried = tasks.filter(
    (task) => !isPresent(task) && task.status === "COMPLETED" && !named.has(task.task_id),
  );
  return [...newestOf(carried), ...present];
}

/** The run with what its tasks published, or marked as having published too much for a reply. */
async function withOutputs(tx: OperationalTx, run: RunDetails): Promise<RunDetails> {
  const tasks: TaskRunSummary[] = [];
  let bytes = 0;
  for (const task of run.tasks) {
    const found =
      task.status === "COMPLETED" ? await tx.outputsOf(run.workflow_instance_id, [task.task_id]) : undefined;
    const items =
      task.items === undefined
        ? []
        : await tx.itemOutputs(run.workflow_instance_id, [task.task_id], MAX_OUTPUTS_TOGETHER_BYTES);
    const json = found?.get(task.task_id);
    bytes += [json ?? "", ...items.map((item) => item.outputs)].reduce(
      (sum, text) => sum + Buffer.byteLength(text),
      0,
    );
    if (bytes > MAX_OUTPUTS_TOGETHER_BYTES) return { ...run, outputs_left_out: true };
    const outputs =
      task.items === undefined
        ? json && JSON.parse(json)
        : aggregate(
            task.items.total,
            items.map((item) => ({ index: item.item_index, outputs: JSON.parse(item.outputs) })),
          );
    tasks.push(outputs == null ? task : { ...task, outputs });
  }
  return { ...run, tasks };
}

/** The items of the fan-outs among these tasks. */
async function itemsOf(
  tx: OperationalTx,
  tasks: readonly TaskRunState[],
): Promise<ReadonlyMap<string, ItemCounts>> {
  const counts = new Map<string, { total: number; by_status: Partial<Record<RunStatus, number>> }>();
  for (const { task_id, items_total } of tasks)
    if (items_total !== null) counts.set(task_id, { total: items_total, by_status: {} });
  const [first] = tasks;
  if (first === undefined || counts.size === 0) return counts;
  for (const { task_id, status, items } of await tx.countItems(first.workflow_instance_id)) {
    const of = counts.get(task_id);
    if (of !== undefined) of.by_status[status] = items;
  }
  return counts;
}

/** How tasks ended: in the attempt in which they COMPLETED, or else in the newest. */
function endsOf(tasks: readonly TaskRunState[]): Parameters<typeof undisturbedTasks>[1] {
  const whole = tasks.filter(({ item_key }) => item_key === null);
  const ends = newestOf([...whole, ...whole.filter(({ status }) => status === "COMPLETED")]);
  const byId = new Map(
    ends.map(({ task_id, status, allowed }) => [task_id, { status, isAllowed: allowed === 1 }]),
  );
  return (id) => byId.get(id);
}

/** The newest task run of each task. */
function newestOf<T extends TaskRunState>(tasks: readonly T[]): T[] {
  return [...new Map(tasks.map((task) => [task.task_id, task])).values()];
}

/** Makes summaries of task runs, each with the agent that has its attempt and, between two tries, with the time of the next one. */
function summarizer(
  leases: ReadonlyMap<string, AttemptRecord>,
  definition: WorkflowDefinition | null,
  items: ReadonlyMap<string, ItemCounts> = new Map(),
): (task: TaskRunState) => TaskRunSummary {
  const known = definition === null ? [] : allTasks(definition);
  const policies = new Map(known.map(({ id, retry }) => [id, retry]));
  return (record) => {
    const {
      workflow_instance_id: _run,
      task_name: _name,
      status_at_ms: _at,
      due_ms,
      allowed,
      item_key: _key,
      item_index: _index,
      items_total: _total,
      ...task
    } = record;
    const counts = record.item_key === null ? items.get(task.task_id) : undefined;
    const due = task.status === "WAITING" ? (due_ms ?? dueBy(policies.get(task.task_id), record)) : null;
    return {
      ...task,
      duration_ms: durationOf(task),
      agent_id: leases.get(nameOf(record))?.agent_id ?? null,
      ...(due === null ? {} : { next_attempt_ms: due }),
      ...(allowed === 0 ? {} : { is_allowed: true }),
      ...(counts === undefined ? {} : { items: counts }),
      ...(definition !== null && isHook(definition, task.task_id) ? { hook: true } : {}),
    };
  };
}

/** When the next try begins, of a task whose agent does not say so. */
function dueBy(policy: RetryPolicy | undefined, { task_attempt, status_at_ms }: TaskRunState): number | null {
  const delay = policy === undefined ? null : retryDelayMs(policy, task_attempt);
  return delay === null ? null : status_at_ms + delay;
}
