/**
 * Changes runs, their attempts, leases and task runs; nothing else does. Every method is part of a unit of work; the store enforces the
 * transition tables. For split runs this file handles only leases and task runs, and hands everything else to {@link SplitRuns}.
 */
import { LEASE_TRANSITIONS, type LeaseState } from "../../storage/operational/lease-state.ts";
import type {
  AttemptName,
  AttemptRecord,
  OperationalTx,
  QueueHead,
  RunRecord,
  RunStep,
  TaskRunRecord,
  TaskRunState,
  WaitRecord,
} from "../../storage/operational/store.ts";
import { timeoutText } from "../../workflow/decisions.ts";
import { groupText } from "../../workflow/group.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { Plan } from "../../workflow/plan.ts";
import { MAX_RUN_ATTEMPTS, RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { canTransition, isTerminal, type RunStatus } from "../../workflow/status.ts";
import { isEnding, TASK_TRANSITIONS } from "../../workflow/task-state.ts";
import type { Alerts } from "../alerts/alerts.ts";
import type { Expectations } from "../alerts/expectations.ts";
import { Admission, type AdmissionOptions } from "../limits/admission.ts";
import { needsOfWhole } from "../limits/needs.ts";
import type { Pauses } from "../limits/pauses.ts";
import { BegunRuns } from "./begun-runs.ts";
import { ChildRuns, type ChildRunsOptions, type WaitEnd } from "./child-runs.ts";
import { disturbedTasks } from "./disturbed.ts";
import {
  type Heard,
  Hearing,
  type Held,
  learn,
  type Outcome,
  type RunWord,
  type TaskWord,
} from "./hearing.ts";
import type { NewRun } from "./new-run.ts";
import type { ProgressOfRuns } from "./progress-of-runs.ts";
import { type ReportTime, timeOf } from "./report-time.ts";
import { RunCreation } from "./run-creation.ts";
import { limited, newTaskRun, RunWriting, type RunWritingOptions } from "./run-writing.ts";
import { type Leftover, SplitRuns } from "./split-runs.ts";
import { stopOf } from "./stopped.ts";

/** What {@link RunChanges} needs. */
export interface RunChangesOptions
  extends Omit<RunWritingOptions, "childEnded" | "freed" | "pauses" | "alerts" | "expectations"> {
  /** The pauses of workflows; by default none. */
  readonly pauses?: AdmissionOptions["pauses"] & RunWritingOptions["pauses"] & Pick<Pauses, "requeued">;
  /** Tells those who are to know; by default nobody is told. */
  readonly alerts?: Pick<Alerts, "ended" | "raise" | "resolve">;
  /** What is expected of runs; by default nothing. */
  readonly expectations?: Pick<Expectations, "created" | "started" | "ended">;
  readonly progress: ProgressOfRuns;
  /** The workflows that tasks can run. */
  readonly workflows: ChildRunsOptions["workflows"];
  /** Packs their files. */
  readonly bundles?: ChildRunsOptions["bundles"];
  readonly tracing?: ChildRunsOptions["tracing"];
}

/** What became of a run, or of a slice, after its attempt crashed. */
interface AfterCrash {
  readonly run: RunRecord;
  /** Whether it waits for an agent again. */
  readonly isQueued: boolean;
}

/** Changes runs. */
export class RunChanges {
  readonly #o: RunChangesOptions;
  readonly #writing: RunWriting;
  readonly #progress: ProgressOfRuns;
  readonly #split: SplitRuns;
  readonly #children: ChildRuns;
  readonly #creation: RunCreation;
  readonly #begunRuns: BegunRuns;
  /** Decides which runs enter the queue. */
  readonly admission: Admission;

  constructor(options: RunChangesOptions) {
    this.#o = options;
    this.#children = new ChildRuns({
      ...options,
      create: (tx, run) => this.create(tx, run),
      cancel: (tx, run) => this.cancel(tx, run),
      end: (tx, parent, task, end) => this.#split.waited(tx, parent, task, end),
    });
    this.#writing = new RunWriting({
      ...options,
      childEnded: (tx, run) => this.#children.ended(tx, run),
      freed: (tx, run) => this.admission.freed(tx, run),
    });
    this.admission = new Admission({
      ...options,
      place: (plan, priority, isPlain) => this.#creation.placeOf(plan, priority, isPlain),
      queued: (tx) => this.#writing.queued(tx),
      begin: (tx, run) => this.#split.created(tx, run),
      end: (tx, run, step) => this.#writing.end(tx, run, options.clock.now(), step),
      cancelFor: async (tx, run, reason) => this.cancel(tx, await tx.noteCancelReason(run, reason)),
      isInHooks: (tx, run) => this.#split.isInHooks(tx, run),
    });
    this.#progress = options.progress;
    this.#split = new SplitRuns({ ...options, progress: this.#progress, writing: this.#writing });
    const { admission } = this;
    this.#creation = new RunCreation({ ...options, admission, writing: this.#writing, split: this.#split });
    this.#begunRuns = new BegunRuns({ ...options, creation: this.#creation });
  }

  /** Creates a run, which then waits for its time, if it has one, or for an agent: as a whole if one can have all of it. */
  create(tx: OperationalTx, fresh: NewRun): Promise<RunRecord> {
    return this.#creation.create(tx, fresh);
  }

  /** Called before {@link due}, outside a unit of work: reads what that needs. */
  async prepare(wait: WaitRecord): Promise<void> {
    if (wait.kind === "run") await this.#children.prepare(wait);
  }

  /** What something waits for has come: the time of a run, which waits for an agent from now on, or that of a task. */
  async due(tx: OperationalTx, wait: WaitRecord): Promise<void> {
    const { workflow_instance_id: id, task } = wait;
    const run = await tx.getRun(id);
    if (run === null || isTerminal(RUN_TRANSITIONS, run.status)) return tx.endWait(id, task);
    if (wait.kind !== "start") {
      try {
        return await (wait.kind === "run" ? this.#children : this.#split).due(tx, run, wait);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
        const damage = `what is stored of what "${task}" waits for is damaged`;
        return void (await this.#split.crash(tx, run, this.#o.clock.now(), damage));
      }
    }
    await tx.endWait(id, task);
    if (run.start_at_ms !== null) await this.#creation.started(tx, run);
  }

  /** What a task waited for has come, and the task is over. */
  async answered(tx: OperationalTx, run: RunRecord, wait: WaitRecord, end: WaitEnd): Promise<void> {
    await this.#split.waited(tx, run, wait.task, end);
  }

  /**
   * Whether the agent that is given this may start it at once, without confirming it first: the lease is held in the commit that creates
   * it. The tasks may have started whenever the agent is lost afterwards, so runs that must not run again are confirmed first, and so are
   * those of agents that cannot ask for the same assignment again.
   */
  async startsAtOnce(
    tx: OperationalTx,
    of: Pick<QueueHead, "definition_hash">,
    to: Pick<AttemptRecord, "session_id" | "fetch_id">,
  ): Promise<boolean> {
    if (to.session_id === null || to.fetch_id === null) return false;
    const definition = await this.#o.definitions.of(tx, of);
    return definition !== null && definition.failover !== "never";
  }

  /** An agent was given this. */
  async given(tx: OperationalTx, held: Held): Promise<Held> {
    return held.attempt.lease === "HELD" ? this.#begin(tx, held) : held;
  }

  /**
   * Gives runs that any agent may have, although their definition asks for something else, what it asks for. One that has begun as a whole
   * stays whole.
   * @returns whether there may be more than `limit` of them
   */
  async place(tx: OperationalTx, definition_hash: string, limit: number): Promise<boolean> {
    const plan = await this.#o.definitions.planOf(tx, { definition_hash });
    if (plan === null || (await this.#placeWhole(tx, definition_hash, plan))) return false;
    const runs = await tx.plainRuns(definition_hash, limit);
    for (const run of runs) {
      await this.#split.created(tx, await tx.splitRun(run, this.#progress.newRevision()));
    }
    return runs.length === limit;
  }

  /** Returns whether the plan is that of a whole run. */
  async #placeWhole(tx: OperationalTx, definitionHash: string, plan: Plan): Promise<boolean> {
    const needs = plan.isWhole ? needsOfWhole(plan) : "";
    if (needs !== "") await tx.placeRuns(definitionHash, needs);
    return plan.isWhole;
  }

  /** Applies a report about an attempt. */
  async hearRun(tx: OperationalTx, word: RunWord, hearing = new Hearing()): Promise<Outcome> {
    const outcome = await this.#hearRun(tx, word, hearing.of(word));
    if (word.status !== "RUNNING") hearing.forget(word);
    return outcome;
  }

  async #hearRun(tx: OperationalTx, word: RunWord, heard: Heard): Promise<Outcome> {
    if (word.begun !== undefined) await this.#begunRuns.begun(tx, word);
    const held = await this.#openLease(tx, word, heard);
    if (typeof held === "string") return held;
    const time = timeOf(held, word, this.#o.clock.now());
    const at = time.at_ms;
    switch (word.status) {
      case "RUNNING":
        learn(heard, await this.#confirm(tx, held, time));
        return "applied";
      case "COMPLETED":
      case "FAILED":
      case "CANCELLED": {
        const { run, attempt } = await this.#confirm(tx, held, time);
        const left = word.status === "CANCELLED" ? "CANCELLED" : "CRASHED";
        const silence = `the run ended ${word.status}, and its agent did not report how this task ended`;
        if (attempt.slice > 0) {
          await this.#sliceOver(tx, { run, attempt }, word, at, { status: left, error: silence });
          return "applied";
        }
        await this.#closeTasks(tx, held, left, silence);
        const { status, error, stream_id: log_stream_id, log_seq, allowed_failures = 0 } = word;
        // A run that had another attempt before began on another clock.
        const isAll = run.started_at_ms === attempt.started_at_ms;
        const duration_ms = isAll ? (word.duration_ms ?? null) : null;
        const step = { status, error, log_stream_id, log_seq, duration_ms, allowed_failures };
        await this.#end(tx, run, attempt, "RELEASED", at, step);
        return "applied";
      }
      case "WAITING": {
        if (held.attempt.slice === 0) return "illegal";
        const { run, attempt } = await this.#confirm(tx, held, time);
        const { stream_id: log_stream_id, log_seq } = word;
        const finished_at_ms = Math.max(attempt.started_at_ms ?? 0, at);
        const step = {
          lease: "RELEASED",
          status: "COMPLETED",
          finished_at_ms,
          log_stream_id,
          log_seq,
        } as const;
        await tx.transitionLease(attempt, step);
        await this.#split.sleeps(tx, run, attempt, at);
        return "applied";
      }
      case "CRASHED": {
        const { run, attempt } = await this.#confirm(tx, held, time);
        await this.crash(tx, run, attempt, word.error ?? "the agent gave the attempt up", "REVOKED");
        return "applied";
      }
      default:
        return "illegal";
    }
  }

  /** Applies a report about a task run. */
  async hearTask(tx: OperationalTx, word: TaskWord, hearing = new Hearing()): Promise<Outcome> {
    const heard = hearing.of(word);
    const held = await this.#openLease(tx, word, heard);
    if (typeof held === "string") return held;
    const known =
      heard.tasks.get(word.task_instance_id) ??
      (await tx.getTaskRun(word.workflow_instance_id, word.task_instance_id));
    const now = this.#o.clock.now();
    const begun_ms = known === null && isEnding(word.status) ? word.began_at_ms : undefined;
    const first = timeOf(held, begun_ms === undefined ? word : { ...word, timestamp_ms: begun_ms }, now);
    const itemKey = word.item?.key ?? null;
    if (known === null && word.slice > 0) {
      heard.slice ??= await this.#split.tasksOf(tx, held.attempt);
      // A fan-out that is in the slice as a whole is expanded by its agent.
      if (!heard.slice.has(word.task_id) && !heard.slice.has(nodeId(word.task_id, itemKey))) return "illegal";
    }
    const task = known ?? (await this.#newTask(tx, held.run, word, first.at_ms));
    if (task.slice !== word.slice || task.attempt !== word.attempt) return "illegal";
    if (task.task_id !== word.task_id || task.item_key !== itemKey) return "illegal";
    if (isTerminal(TASK_TRANSITIONS, task.status)) return task.status === word.status ? "applied" : "illegal";
    if (task.status === word.status && known !== null) return "applied";
    // A report in between was lost with a disk: accept the current one if it could have been reached.
    const isSkipped =
      task.status !== word.status && !canTransition(TASK_TRANSITIONS, task.status, word.status);
    if (isSkipped && (task.status !== "PENDING" || !canTransition(TASK_TRANSITIONS, "RUNNING", word.status)))
      return "illegal";
    let confirmed = await this.#confirm(tx, held, first);
    let at = first.at_ms;
    if (begun_ms !== undefined) {
      // As if a report of its own had told of the begin.
      const time = timeOf(confirmed, word, now);
      confirmed = await this.#confirm(tx, confirmed, time);
      at = time.at_ms;
    }
    const { run, attempt } = confirmed;
    const from = known?.status ?? null;
    const { artifacts } = word.status === "COMPLETED" ? word : {};
    const change: Partial<TaskRunRecord> & { readonly status: RunStatus } = {
      status: word.status,
      task_attempt: word.task_attempt,
      exit_code: word.exit_code,
      signal: word.signal,
      error: word.error,
      cpu_ms: word.cpu_ms,
      max_rss_kb: word.max_rss_kb,
      outputs: word.outputs === null ? null : JSON.stringify(word.outputs),
      duration_ms: word.duration_ms ?? null,
      due_ms: word.next_try_ms === undefined ? null : at + word.next_try_ms,
      allowed: word.is_allowed === true ? 1 : 0,
      items_total: word.items_total ?? task.items_total,
    };
    const files = artifacts && JSON.stringify(artifacts.files);
    let next: TaskRunRecord;
    if (known === null && (isSkipped || begun_ms !== undefined)) {
      next = await this.#writing.setWholeTask(
        tx,
        run,
        attempt.agent_id,
        task,
        first.at_ms,
        at,
        change,
        files,
      );
    } else {
      const running = isSkipped ? await this.#setTask(tx, held, task, from, at, { status: "RUNNING" }) : null;
      next = await this.#setTask(tx, held, running ?? task, running?.status ?? from, at, change, files);
    }
    if (artifacts !== undefined && files !== undefined) {
      const { workflow_instance_id, task_id, item_key, item_index, task_instance_id } = next;
      const { hash, bytes } = artifacts;
      const of = { workflow_instance_id, task_id, item_key, item_index, task_instance_id };
      await tx.putArtifacts({ ...of, hash, bytes, files });
    }
    heard.tasks.set(word.task_instance_id, next);
    const done = itemKey === null && isTerminal(TASK_TRANSITIONS, next.status) ? 1 : 0;
    learn(heard, { attempt, run: { ...run, tasks_done: run.tasks_done + done } });
    if (word.slice > 0) await this.#split.reported(tx, run, word, at);
    return "applied";
  }

  /**
   * Ends an attempt that its agent will not end. The run, or the slice, goes back to the queue as the next attempt, unless the run was
   * cancelled or timed out, or it must not run again, or has crashed too often.
   * @param lease EXPIRED for an offer that was never confirmed: it does not count as a crash
   */
  async crash(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord,
    reason: string,
    lease: "REVOKED" | "EXPIRED",
  ): Promise<AfterCrash> {
    const slice = attempt.slice === 0 ? null : await tx.getSlice(run.workflow_instance_id, attempt.slice);
    const wasHeld = attempt.lease === "HELD";
    const now = this.#o.clock.now();
    const stop = stopOf(run, slice?.is_hook);
    const status = stop === "cancelled" ? "CANCELLED" : "CRASHED";
    const step = { status, error: reason } as const;
    if (stop !== null) {
      await this.#closeTasks(tx, { run, attempt }, status, reason);
      const ended = await this.#give(tx, { run, attempt }, lease, now, step);
      return { run: ended, isQueued: false };
    }
    const crashed_attempts = (slice ?? run).crashed_attempts + (wasHeld ? 1 : 0);
    const definition = await this.#o.definitions.of(tx, run);
    const tookTwo = wasHeld && isLoss(reason) && (await this.#lostOthers(tx, attempt));
    const damage =
      definition === null ? "the stored definition is damaged" : (run.damage ?? slice?.damage ?? null);
    const again =
      definition !== null &&
      damage === null &&
      (!wasHeld || (crashed_attempts < MAX_RUN_ATTEMPTS && definition.failover !== "never" && !tookTwo));
    const error =
      damage !== null
        ? `${reason}, and ${damage}`
        : tookTwo && definition?.failover !== "never"
          ? `${reason}; two agents in a row were lost while they had this run, so it is not given to a third`
          : reason;
    const isTry = again && slice !== null && (await this.#split.polls(tx, run, slice));
    if (!isTry) await this.#closeTasks(tx, { run, attempt }, status, reason);
    if (!again) {
      const ended = await this.#give(tx, { run, attempt }, lease, now, { status, error, crashed_attempts });
      return { run: ended, isQueued: false };
    }
    await tx.transitionLease(attempt, { lease, status, finished_at_ms: now, error: reason });
    if (slice !== null)
      return {
        run: await this.#split.requeue(tx, run, slice, crashed_attempts, error, isTry),
        isQueued: true,
      };
    const status_at_ms = Math.max(run.status_at_ms, now);
    // The next attempt goes through the state machine again.
    const crashed = await tx.transitionRun(run, { status, error, crashed_attempts, status_at_ms });
    const plan = await this.#o.definitions.planOf(tx, run);
    // Before what is done is counted.
    if (plan !== null) await tx.forgetCompleted(attempt, await disturbedTasks(tx, plan, attempt));
    const queued = await tx.requeueRun(crashed);
    // An older cdktr may have given it to its agent.
    if (queued.needs === "" && plan !== null) await this.#placeWhole(tx, run.definition_hash, plan);
    await this.#o.pauses?.requeued(tx, queued);
    this.#writing.queued(tx);
    // Its agent watched its time limit until now.
    if (queued.deadline_ms !== null) tx.afterCommit(() => this.#o.events.emit("run limited", 0));
    return { run: queued, isQueued: true };
  }

  /** Ends a run, or a slice, that no agent can execute. */
  async giveUp(tx: OperationalTx, { run, attempt }: Held, reason: string): Promise<void> {
    await this.#give(tx, { run, attempt }, "REVOKED", this.#o.clock.now(), {
      status: "CRASHED",
      error: reason,
    });
  }

  /** Gives up a run, or a slice, whose attempt crashed. */
  async #give(
    tx: OperationalTx,
    { run, attempt }: Held,
    lease: LeaseState,
    at: number,
    step: Pick<RunStep, "error" | "crashed_attempts"> & { readonly status: "CANCELLED" | "CRASHED" },
  ): Promise<RunRecord> {
    if (attempt.slice === 0) return this.#end(tx, run, attempt, lease, at, step);
    const { status, error } = step;
    await tx.transitionLease(attempt, { lease, status, finished_at_ms: at, error });
    return this.#split.sliceOver(tx, run, attempt, at, { status, error: error ?? "it crashed" });
  }

  /** Whether an earlier attempt, since one that its agent ended, was held by another agent that was lost with it. */
  async #lostOthers(tx: OperationalTx, attempt: AttemptRecord): Promise<boolean> {
    const attempts = await tx.listAttempts(attempt.workflow_instance_id, attempt.slice);
    const ended = attempts.findLastIndex(({ lease }) => lease === "RELEASED");
    return attempts
      .slice(ended + 1)
      .some(
        (other) =>
          other.attempt < attempt.attempt &&
          other.agent_id !== attempt.agent_id &&
          other.started_at_ms !== null &&
          isLoss(other.error),
      );
  }

  /**
   * Cancels a run; agents that execute it, or part of it, are ordered to stop and end it.
   * @param hooks whether to stop the hooks of one whose tasks were cancelled before
   */
  async cancel(tx: OperationalTx, run: RunRecord, hooks = false): Promise<void> {
    if (run.revision > 0) return this.#split.cancel(tx, run, hooks);
    if (run.start_at_ms !== null) await tx.endWait(run.workflow_instance_id, "");
    const now = this.#o.clock.now();
    const attempt = await tx.getAttempt({ ...run, slice: 0 });
    const asked = await tx.requestCancel(run, now);
    if (run.status === "RUNNING" && attempt?.session_id != null) {
      tx.afterCommit(() => this.#o.events.emit("orders changed", attempt.agent_id));
      return;
    }
    // Nobody executes it, or only an agent that cannot be reached with orders.
    const lease = attempt !== null && !isTerminal(LEASE_TRANSITIONS, attempt.lease) ? attempt : null;
    if (lease !== null) {
      await this.#closeTasks(tx, { run: asked, attempt: lease }, "CANCELLED", "the run was cancelled");
      tx.afterCommit(() => this.#o.events.emit("orders changed", lease.agent_id));
    }
    await this.#end(tx, asked, lease, "REVOKED", now, { status: "CANCELLED", error: "cancelled" });
  }

  /**
   * A run has taken longer than it may, and no single agent sees that: it is split, so agents that execute part of it get the order to stop,
   * or it waits for its next attempt.
   */
  async timeOut(tx: OperationalTx, run: RunRecord): Promise<void> {
    const definition = await this.#o.definitions.of(tx, run);
    const error = timeoutText({ timeout_ms: definition?.timeout_ms ?? null });
    if (run.revision > 0) await this.#split.timeOut(tx, run, error);
    else await this.#end(tx, run, null, "REVOKED", this.#o.clock.now(), { status: "FAILED", error });
  }

  /**
   * Called when a firing of a workflow is due: drops earlier firings of the same schedule that are still queued, or wait for their group.
   * @param of its `schedule` is the key of the entry that fires; undefined for a workflow with one schedule
   * @returns how many were dropped
   */
  async dropWaitingFirings(
    tx: OperationalTx,
    {
      id,
      catchup,
      schedule = null,
    }: Pick<WorkflowDefinition, "id" | "catchup"> & { schedule?: string | null },
    dueMs: number,
  ): Promise<number> {
    if (catchup === "all") return 0;
    const waiting = await tx.waitingFirings(id, dueMs, MAX_DROPPED, schedule);
    const due = new Date(dueMs).toISOString();
    for (const run of waiting) {
      const error =
        run.hold === "group"
          ? `it still waited for ${groupText(run.group_key ?? "")} when the next firing was due, at ${due} (catchup: ${catchup})`
          : `no agent took it before the next firing was due, at ${due} (catchup: ${catchup})`;
      if (run.revision > 0) await this.#split.abandon(tx, run, { status: "CANCELLED", error });
      await this.#end(tx, run, null, "REVOKED", this.#o.clock.now(), { status: "SKIPPED", error });
    }
    return waiting.length;
  }

  /** The attempt of a report with its run, if the agent may report on it. */
  async #openLease(
    tx: OperationalTx,
    word: AttemptName & { readonly agent_id: string },
    heard: Heard,
  ): Promise<Held | "over" | "fenced"> {
    if (heard.held?.attempt.agent_id === word.agent_id) return heard.held;
    const attempt = await tx.getAttempt(word);
    if (attempt === null || attempt.agent_id !== word.agent_id) return "fenced";
    if (attempt.lease === "RELEASED") return "over";
    if (isTerminal(LEASE_TRANSITIONS, attempt.lease)) return "fenced";
    const run = await tx.getRun(word.workflow_instance_id);
    return run === null ? "fenced" : learn(heard, { run, attempt });
  }

  /** The agent has the run. */
  async #confirm(tx: OperationalTx, held: Held, { offset_ms, at_ms }: ReportTime): Promise<Held> {
    const { attempt } = held;
    if (attempt.lease === "HELD" && attempt.clock_offset_ms === offset_ms) return held;
    const compared = { agentId: attempt.agent_id, offsetMs: offset_ms };
    tx.afterCommit(() => this.#o.events.emit("agent clock compared", compared));
    if (attempt.lease === "OFFERED") return this.#hold(tx, held, { offset_ms, at_ms });
    return { ...held, attempt: await tx.correctClock(attempt, offset_ms) };
  }

  async #hold(tx: OperationalTx, { run, attempt }: Held, time: ReportTime): Promise<Held> {
    const confirmed = await tx.transitionLease(attempt, {
      lease: "HELD",
      status: "RUNNING",
      clock_offset_ms: time.offset_ms,
      started_at_ms: Math.max(run.status_at_ms, time.at_ms),
    });
    return this.#begin(tx, { run, attempt: confirmed });
  }

  /** The lease is held: the run begins. */
  async #begin(tx: OperationalTx, { run, attempt }: Held): Promise<Held> {
    // Another slice of it may be running already.
    if (run.status === "RUNNING") return { attempt, run };
    const running = await this.#writing.begin(tx, run, attempt.started_at_ms ?? run.status_at_ms);
    return { attempt, run: await this.#limit(tx, running, attempt) };
  }

  /** The time limit of a run begins with its first start; later attempts have what is left of it. It is not about hooks. */
  async #limit(tx: OperationalTx, run: RunRecord, { slice }: AttemptRecord): Promise<RunRecord> {
    if (run.deadline_ms !== null) return run;
    const limit = (await this.#o.definitions.of(tx, run))?.timeout_ms ?? null;
    if (limit === null) return run;
    if (slice > 0 && (await tx.getSlice(run.workflow_instance_id, slice))?.is_hook === true) return run;
    return limited(tx, run, limit, this.#o.events);
  }

  /** An agent says that a slice is over. */
  async #sliceOver(
    tx: OperationalTx,
    { run, attempt }: Held,
    word: RunWord,
    at: number,
    left: Leftover,
  ): Promise<void> {
    const { status, error, stream_id: log_stream_id, log_seq } = word;
    const finished_at_ms = Math.max(attempt.started_at_ms ?? 0, at);
    const isOfHooks = (await tx.getSlice(run.workflow_instance_id, attempt.slice))?.is_hook === true;
    // Nobody asked for it: whoever stopped the agent's part wants the run stopped. The run must know before its tasks are over.
    const isForAll = status === "CANCELLED" && !isOfHooks && !isAnyStopped(run);
    if (isForAll) await this.#split.cancel(tx, run);
    const present = isForAll ? ((await tx.getRun(run.workflow_instance_id)) ?? run) : run;
    const step = { lease: "RELEASED", status, finished_at_ms, error, log_stream_id, log_seq } as const;
    await tx.transitionLease(attempt, step);
    const next = await this.#split.sliceOver(tx, present, attempt, at, left);
    if (status !== "CANCELLED" || isTerminal(RUN_TRANSITIONS, next.status)) return;
    if (!isAnyStopped(next)) await this.#split.cancel(tx, next);
  }

  /** Ends a run, and its newest attempt if there is one. */
  async #end(
    tx: OperationalTx,
    run: RunRecord,
    attempt: AttemptRecord | null,
    lease: LeaseState,
    at: number,
    step: Omit<RunStep, "status_at_ms">,
  ): Promise<RunRecord> {
    if (attempt !== null) {
      const { status, error } = step;
      const finished_at_ms = Math.max(run.status_at_ms, at);
      await tx.transitionLease(attempt, { lease, status, finished_at_ms, error });
    }
    return this.#writing.end(tx, run, at, step);
  }

  /** Ends what an attempt leaves unfinished. */
  async #closeTasks(
    tx: OperationalTx,
    { run, attempt }: Held,
    status: "CRASHED" | "CANCELLED",
    error: string,
  ): Promise<void> {
    const of = attempt.slice === 0 ? undefined : attempt.slice;
    for (const state of await tx.listOpenTasks(attempt.workflow_instance_id, of)) {
      if (state.attempt !== attempt.attempt) continue;
      const task = { ...state, outputs: null };
      await this.#setTask(tx, { run, attempt }, task, task.status, this.#o.clock.now(), { status, error });
    }
  }

  async #newTask(tx: OperationalTx, run: RunRecord, word: TaskWord, at: number): Promise<TaskRunRecord> {
    const plan = await this.#o.definitions.planOf(tx, run);
    return newTaskRun(
      {
        workflow_instance_id: word.workflow_instance_id,
        task_instance_id: word.task_instance_id,
        task_id: word.task_id,
        task_name: plan?.node(word.task_id)?.name ?? word.task_id,
        slice: word.slice,
        attempt: word.attempt,
        task_attempt: word.task_attempt,
        item_key: word.item?.key ?? null,
        item_index: word.item?.index ?? null,
      },
      at,
    );
  }

  #setTask(
    tx: OperationalTx,
    { run, attempt }: Held,
    task: TaskRunState,
    from: RunStatus | null,
    at: number,
    change: Partial<TaskRunRecord> & { readonly status: RunStatus },
    artifacts?: string,
  ): Promise<TaskRunRecord> {
    return this.#writing.setTask(tx, run, attempt.agent_id, task, from, at, change, artifacts);
  }
}

/** Maximum number of firings to drop at once, because other units of work wait. Later firings drop the rest. */
const MAX_DROPPED = 500;

/** The reason of an attempt whose agent is lost. */
export function agentLost(seconds: number): string {
  return `${AGENT_LOST}: silent for ${seconds} s`;
}

const AGENT_LOST = "agent lost";

function isLoss(reason: string | null): boolean {
  return reason?.startsWith(AGENT_LOST) === true;
}

/** Whether its tasks, or its hooks, are being stopped. */
function isAnyStopped(run: RunRecord): boolean {
  return stopOf(run) !== null || stopOf(run, true) !== null;
}
