/** Creates runs, and lets those begin that start later. Every method is part of a unit of work. */
import type { Clock } from "../../clock.ts";
import type { AttemptRecord, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import type { Plan } from "../../workflow/plan.ts";
import type { Expectations } from "../alerts/expectations.ts";
import type { Admission } from "../limits/admission.ts";
import { groupOfRun } from "../limits/group-of-run.ts";
import { needsOfWhole } from "../limits/needs.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Definitions } from "./definitions.ts";
import { limitsOf, type NewRun } from "./new-run.ts";
import type { ProgressOfRuns } from "./progress-of-runs.ts";
import { newNodeRun, type RunWriting } from "./run-writing.ts";
import type { SplitRuns } from "./split-runs.ts";
import { startNote } from "./waits.ts";

/** What {@link RunCreation} needs. */
interface RunCreationOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly definitions: Definitions;
  readonly progress: ProgressOfRuns;
  readonly writing: RunWriting;
  readonly split: SplitRuns;
  readonly admission: Admission;
  readonly expectations?: Pick<Expectations, "created">;
}

/** Creates runs. */
export class RunCreation {
  readonly #o: RunCreationOptions;

  constructor(options: RunCreationOptions) {
    this.#o = options;
  }

  /** Creates a run, which then waits for its time, if it has one, or for an agent: as a whole if one can have all of it. */
  async create(tx: OperationalTx, fresh: NewRun): Promise<RunRecord> {
    const { carried, definition, items_of = null, skipped = [], bundle = null, start_at_ms = null } = fresh;
    const { begun } = fresh;
    const now = begun?.at_ms ?? this.#o.clock.now();
    const parsed = this.#o.definitions.ofText(fresh.definition_hash, definition);
    const plan = parsed?.plan ?? null;
    const limits = limitsOf(fresh, groupOfRun(fresh, parsed?.definition ?? null, now));
    const { workflow_id } = fresh;
    // An agent that gets all of it knows of those that COMPLETED only.
    const isPlain = skipped.length === 0 && carried.every(({ status }) => status === "COMPLETED");
    const isAdmitted =
      begun === undefined &&
      start_at_ms === null &&
      !this.#o.admission.concerns({ workflow_id, group_key: limits.group_key });
    const place = isAdmitted ? this.placeOf(plan, limits.priority, isPlain) : NOWHERE;
    // Field by field: thousands may be created at a time, and copies of such large objects would take a third of it.
    const run: RunRecord = {
      workflow_instance_id: fresh.workflow_instance_id,
      workflow_id,
      workflow_name: fresh.workflow_name,
      definition_hash: fresh.definition_hash,
      params: fresh.params,
      event: fresh.event ?? null,
      trigger: fresh.trigger,
      scheduled_time_ms: fresh.scheduled_time_ms,
      retry_of: fresh.retry_of,
      from_start: fresh.from_start ?? false,
      actor: fresh.actor ?? null,
      trigger_depth: fresh.trigger_depth,
      parent_run: fresh.parent_run ?? null,
      parent_task: fresh.parent_task ?? null,
      depth: fresh.depth ?? 0,
      tasks_total: fresh.tasks_total,
      hold: limits.hold,
      group_key: limits.group_key,
      group_max: limits.group_max,
      on_conflict: limits.on_conflict,
      admitted: limits.admitted,
      priority: limits.priority,
      rank_ms: limits.rank_ms,
      schedule: limits.schedule,
      backfill_id: limits.backfill_id,
      cancel_reason: limits.cancel_reason,
      traceparent: fresh.traceparent ?? null,
      start_at_ms,
      created_at_ms: now,
      status: "PENDING",
      attempt: 1,
      crashed_attempts: 0,
      queued: place.queued,
      needs: place.needs,
      revision: place.revision,
      agent_id: begun?.agent_id ?? null,
      agents: begun === undefined ? 0 : 1,
      cancel_requested_at_ms: null,
      timed_out_at_ms: null,
      deadline_ms: null,
      hooks_stopped: false,
      resting: false,
      tasks_done: carried.length,
      allowed_failures: 0,
      outputs: null,
      started_at_ms: null,
      finished_at_ms: null,
      duration_ms: null,
      status_at_ms: now,
      error: null,
      log_stream_id: null,
      log_seq: 0,
    };
    await tx.createRun(
      run,
      definition,
      carried.map((task) => ({
        ...task,
        workflow_instance_id: run.workflow_instance_id,
        slice: 0,
        attempt: 0,
      })),
    );
    await this.#o.expectations?.created(tx, run, parsed?.definition.expect);
    if (bundle !== null) {
      await tx.addBlob(bundle.hash, bundle.bytes, now);
      await tx.referToBlob(run.workflow_instance_id, "bundle", "", bundle.hash);
    }
    if (items_of !== null) {
      const { fan_outs = [], not_items = [], item_outputs = new Map() } = fresh;
      await tx.carryItems(items_of, run.workflow_instance_id, fan_outs, not_items);
      await tx.restoreOutputs(run.workflow_instance_id, item_outputs);
    }
    if (run.retry_of !== null && (carried.length > 0 || items_of !== null))
      await tx.carryArtifacts(run.retry_of, run.workflow_instance_id);
    if (start_at_ms !== null) {
      await this.#startsAt(tx, run, start_at_ms);
      return run;
    }
    if (begun !== undefined) {
      await tx.addOffer(offerOf(run, begun));
      return run;
    }
    for (const { task, reason: error } of skipped) {
      const row = newNodeRun(run, task, plan?.node(task), { slice: 0, attempt: run.attempt }, now);
      await this.#o.writing.setTask(tx, run, null, row, null, now, { status: "SKIPPED", error });
    }
    if (!isAdmitted) return this.#o.admission.enter(tx, run);
    this.#o.writing.queued(tx);
    return place.queued ? run : this.#o.split.created(tx, run);
  }

  /** It is not queued before its time. */
  async #startsAt(tx: OperationalTx, run: RunRecord, due_ms: number): Promise<void> {
    const { workflow_instance_id, created_at_ms: since_ms } = run;
    const wait = { task: "", task_instance_id: null, kind: "start", data: "{}" } as const;
    await tx.addWait({ ...wait, workflow_instance_id, due_ms, since_ms });
    await tx.noteReason(workflow_instance_id, startNote(due_ms), since_ms);
    this.#o.writing.written(tx);
    tx.afterCommit(() => this.#o.events.emit("wait added", due_ms));
  }

  /** The time of a run has come: it waits for an agent from now on. */
  async started(tx: OperationalTx, run: RunRecord): Promise<void> {
    const isAdmitted = !this.#o.admission.concerns(run);
    const place = isAdmitted
      ? this.placeOf(await this.#o.definitions.planOf(tx, run), run.priority)
      : NOWHERE;
    const started = await tx.startRun(run, place, this.#o.clock.now());
    if (!isAdmitted) return void (await this.#o.admission.enter(tx, started));
    this.#o.writing.queued(tx);
    if (!place.queued) await this.#o.split.created(tx, started);
  }

  /** How a run waits for agents. One whose definition is damaged ends when an agent gets it. */
  placeOf(
    plan: Plan | null,
    priority: number,
    isPlain = true,
  ): Pick<RunRecord, "queued" | "needs" | "revision"> {
    if (plan === null) return { queued: true, needs: "", revision: 0 };
    if (plan.isWhole && isPlain) return { queued: true, needs: needsOfWhole(plan, priority), revision: 0 };
    return { queued: false, needs: "", revision: this.#o.progress.newRevision() };
  }
}

/** The offer of a run to the process that has begun it. The report that it has, in the same unit of work, confirms it. */
function offerOf(
  { workflow_instance_id, attempt }: RunRecord,
  { agent_id, session_id, at_ms }: NonNullable<NewRun["begun"]>,
): AttemptRecord {
  return {
    workflow_instance_id,
    slice: 0,
    attempt,
    agent_id,
    session_id,
    fetch_id: null,
    assigned_at_ms: at_ms,
    clock_offset_ms: 0,
    deadline_ms: null,
    lease: "OFFERED",
    status: "PENDING",
    started_at_ms: null,
    finished_at_ms: null,
    error: null,
    log_stream_id: null,
    log_seq: 0,
  };
}

/** Of a run that no agent is offered yet. */
const NOWHERE = { queued: false, needs: "", revision: 0 } as const;
