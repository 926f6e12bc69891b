/**
 * Paused workflows: their schedules and events make no runs, and runs that people ask for are held. A pause ends when somebody resumes the
 * workflow, or at its time; the workflow's file may be gone. Its states:
 *
 *   running ── pause, or failures in a row ──▶ paused ── resume, or its time ──▶ running
 */
import type { Clock } from "../../clock.ts";
import { type Pause, RunTaskOptions } from "../../contract/messages.ts";
import { pauseText } from "../../contract/pauses.ts";
import { UnprocessableError } from "../../errors.ts";
import type { PauseRecord } from "../../storage/operational/pauses.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { alertKey } from "../../workflow/alert-kinds.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { Alerts } from "../alerts/alerts.ts";
import type { Expectations } from "../alerts/expectations.ts";
import type { PrincipalEvents } from "../principal-events.ts";

/** How many missed events of a workflow are kept, by its `catchup`. */
const KEPT_EVENTS = { none: 0, latest: 1, all: 100 } as const;

/** Runs and slices that are parked in one commit: others must not wait for it for long. */
export const PARKED_AT_ONCE = 500;

/** What an event came with that is missed. */
interface MissedOptions {
  readonly options: RunTaskOptions;
  readonly actor: string | null;
}

/** What {@link Pauses} needs. */
interface PausesOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  /** Tells those who are to know that a workflow was paused because it keeps failing. By default nobody is told. */
  readonly alerts?: Pick<Alerts, "raise" | "resolve">;
  /** What is expected of workflows that are not paused; by default nothing. */
  readonly expectations?: Pick<Expectations, "paused" | "resumed">;
  /** The definitions of runs. */
  readonly definitions: {
    of(tx: OperationalTx, run: RunRecord): Promise<Pick<WorkflowDefinition, "auto_pause"> | null>;
  };
}

/** Knows which workflows are paused. Workflows that are not cost nothing. */
export class Pauses {
  readonly #o: PausesOptions;
  /** As of the last commit; null while a change is about to be committed. Whoever is not in it is not paused. */
  readonly #known = new Map<string, PauseRecord | null>();

  constructor(options: PausesOptions) {
    this.#o = options;
  }

  /** Reads the pauses; called before anything else. */
  async load(store: OperationalStore): Promise<void> {
    const pauses = await store.read((tx) => tx.listPauses());
    this.#known.clear();
    for (const pause of pauses) this.#known.set(pause.workflow_id, pause);
  }

  /** The pause of a workflow as of the last commit; null if it is not paused. */
  of(workflowId: string): PauseRecord | null {
    return this.#known.get(workflowId) ?? null;
  }

  /** Whether no workflow is paused. */
  get isEmpty(): boolean {
    return this.#known.size === 0;
  }

  /** All of them, as of the last commit. */
  all(): PauseRecord[] {
    return [...this.#known.values()].filter((pause) => pause !== null);
  }

  /** The pause of a workflow within a unit of work. */
  async at(tx: OperationalTx, workflowId: string): Promise<PauseRecord | null> {
    return this.#known.has(workflowId) ? tx.getPause(workflowId) : null;
  }

  /** Whether a workflow is paused, or about to be: whoever asks has to look into the state. */
  mayHold(workflowId: string): boolean {
    return this.#known.has(workflowId);
  }

  /** What is written about a run of a workflow that its pause holds; null if it is not paused. Part of a unit of work. */
  async reasonAt(tx: OperationalTx, workflowId: string): Promise<string | null> {
    const pause = await this.at(tx, workflowId);
    return pause === null ? null : pauseText(workflowId, pauseOf(pause));
  }

  /** Pauses a workflow, or changes its pause, and keeps runs that have not begun from agents. Part of a unit of work. */
  async set(tx: OperationalTx, pause: PauseRecord): Promise<void> {
    const { workflow_id: id } = pause;
    this.#changes(id);
    await tx.setPause(pause, this.#o.clock.now());
    await tx.parkQueued(id, PARKED_AT_ONCE);
    await this.#o.expectations?.paused(tx, id, this.#o.clock.now());
    tx.afterCommit(() => {
      this.#known.set(id, pause);
      this.#o.events.emit("workflow paused", pause);
    });
  }

  /** Ends a pause. Part of a unit of work. Returns whether there was one. */
  async end(tx: OperationalTx, workflowId: string): Promise<boolean> {
    this.#changes(workflowId);
    const now = this.#o.clock.now();
    const wasPaused = await tx.endPause(workflowId, now);
    await this.#o.alerts?.resolve(tx, alertKey("paused", workflowId), now);
    if (wasPaused) await this.#o.expectations?.resumed(tx, workflowId, now);
    tx.afterCommit(() => {
      this.#known.delete(workflowId);
      if (wasPaused) this.#o.events.emit("workflow resumed", workflowId);
    });
    return wasPaused;
  }

  /**
   * An event wants to run a workflow: if that is paused, the event is kept as its `catchup` says. Part of a unit of work.
   * @param runId the run that the event becomes if it is not forgotten
   * @returns whether it is missed
   * @throws UnprocessableError for a firing of a schedule, which is judged anew when the workflow goes on
   */
  async miss(
    tx: OperationalTx,
    { id, catchup }: Pick<WorkflowDefinition, "id" | "catchup">,
    runId: string,
    missed: MissedOptions,
  ): Promise<boolean> {
    if ((await this.at(tx, id)) === null) return false;
    const { trigger } = missed.options;
    if (trigger === "cron") throw new UnprocessableError(`Workflow ${id} is paused.`);
    const event = {
      workflow_id: id,
      workflow_instance_id: runId,
      trigger,
      options: JSON.stringify(missed),
      at_ms: this.#o.clock.now(),
    };
    await tx.addMissedEvent(event, KEPT_EVENTS[catchup]);
    return true;
  }

  /** A run is in the queue again. If nobody has begun it, as after an offer that expired, its workflow's pause holds it. Part of a unit of work. */
  async requeued(tx: OperationalTx, { workflow_id: id, started_at_ms }: RunRecord): Promise<void> {
    if (started_at_ms === null && (await this.at(tx, id)) !== null) await tx.parkQueued(id, PARKED_AT_ONCE);
  }

  /** A run is over: pauses its workflow if that wants it after so many failures in a row. Part of the unit of work that ends it. */
  async ended(tx: OperationalTx, run: RunRecord): Promise<void> {
    const hasFailed = run.status === "FAILED" || run.status === "CRASHED";
    if (!hasFailed && run.status !== "COMPLETED") return;
    const { auto_pause } = (await this.#o.definitions.of(tx, run)) ?? {};
    if (auto_pause === undefined || run.backfill_id !== null) return;
    const { workflow_id } = run;
    const now = this.#o.clock.now();
    const failures = await tx.countFailure(workflow_id, hasFailed, now);
    if (failures < auto_pause.after_failures || (await tx.getPause(workflow_id)) !== null) return;
    const reason = failures === 1 ? "a failure" : `${failures} failures in a row`;
    const pause = { workflow_id, paused_at_ms: now, paused_by: null, reason, is_auto: true, until_ms: null };
    await this.set(tx, pause);
    await this.#o.alerts?.raise(tx, {
      kind: "paused",
      key: alertKey("paused", workflow_id),
      workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      subject: `${workflow_id} was paused after ${reason}`,
      facts: { workflow_name: run.workflow_name, failures, error: run.error },
      at_ms: now,
    });
  }

  /** Until it is committed, or not, whoever asks has to look into the state. */
  #changes(workflowId: string): void {
    if (!this.#known.has(workflowId)) this.#known.set(workflowId, null);
  }
}

/** What is stored of a missed event; null if it is damaged. */
export function readMissed(text: string): MissedOptions | null {
  try {
    const { options, actor } = JSON.parse(text);
    const checked = RunTaskOptions.safeParse(options);
    return checked.success
      ? { options: checked.data, actor: typeof actor === "string" ? actor : null }
      : null;
  } catch {
    return null;
  }
}

/** A pause as clients are told of it. */
export function pauseOf({ paused_at_ms, paused_by, reason, until_ms, is_auto }: PauseRecord): Pause {
  return { at_ms: paused_at_ms, by: paused_by, reason, until_ms, auto: is_auto };
}
