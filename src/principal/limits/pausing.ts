/**
 * Pauses and resumes workflows. All that follows a pause, or its end, is in the state: what one commit does not do of it, a later one does,
 * also after a restart.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { PauseWorkflow, RunCreated, WorkflowPaused, WorkflowResumed } from "../../contract/messages.ts";
import { pausedText, pauseText, resumeCommand } from "../../contract/pauses.ts";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import type { MissedEvent, PauseRecord } from "../../storage/operational/pauses.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { type Audit, unaudited } from "../audit/audit.ts";
import { FilesChangedError, type Packed } from "../blobs/bundles.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { thereIsNoWorkflow } from "../unknown-name.ts";
import { PARKED_AT_ONCE, type Pauses, pauseOf } from "./pauses.ts";

/** Missed events that become runs in one commit. */
const EVENTS_AT_ONCE = 100;
/** How often it is looked for what a pause, or its end, has left undone, ms. */
const SWEEP_MS = 60_000;
/** The longest time between two looks at the clock, ms: it may be set, or the host suspended. */
const LONGEST_SLEEP_MS = 1000;
/** What is known of a workflow whose file is gone is kept this long, ms. */
const KEPT_STATES_MS = 90 * 86_400_000;

/** What {@link Pausing} needs. */
export interface PausingOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly events: PrincipalEvents;
  readonly pauses: Pauses;
  /** Something waits for an agent. */
  readonly queue: { queued(tx: OperationalTx): void };
  /** The workflows, see ../runs/workflow-source.ts. */
  readonly workflows: {
    load(workflowId: string): Promise<void>;
    get(workflowId: string): unknown;
    ids(): Iterable<string>;
    isAwaited(workflowId: string): boolean;
    readonly invalidFiles: Parameters<typeof thereIsNoWorkflow>[2];
  };
  /** The firings of a workflow's schedules that were missed, and how many of them run now; undefined without a schedule. */
  readonly missedFirings?: (workflowId: string, sinceMs: number) => WorkflowResumed["firings"];
  /** A run that was held goes on. Part of a unit of work. */
  readonly goOn: (tx: OperationalTx, run: RunRecord) => Promise<RunRecord>;
  /** Makes the runs of missed events. */
  readonly missed: {
    /** Outside a unit of work: packs the files of the workflow. */
    pack(workflowId: string): Promise<Packed | null>;
    /**
     * Part of a unit of work. What cannot become a run is told.
     * @throws FilesChangedError when the files have to be packed again
     */
    create(
      tx: OperationalTx,
      event: MissedEvent,
      packed: Packed | null,
    ): Promise<"made" | "refused" | "later">;
  };
}

/** The reason of a pause that somebody changes without giving one. Since when it is says nothing of them if it began by itself. */
function reasonBefore({ is_auto, reason }: PauseRecord): string | null {
  if (!is_auto) return reason;
  return `it had paused itself${reason === null ? "" : ` after ${reason}`}`;
}

/** What goes on. */
interface Released {
  /** Number of runs that were held. */
  readonly runs: number;
  /** Number of missed events that are runs now. */
  readonly events: number;
}

/** The service. */
export class Pausing extends BackgroundService<{ swept: undefined }> {
  readonly name = "pauses";
  readonly #o: PausingOptions;
  readonly #end = this.timer(() => this.#endDue());
  readonly #sweep = this.timer(() => this.track(this.sweep()));
  #sweeping: Promise<void> | undefined;

  constructor(options: PausingOptions) {
    super(options.clock);
    this.#o = options;
    options.events.on("workflow paused", (pause) => {
      const told = `Workflow ${pause.workflow_id} is ${pausedText(pauseOf(pause))}. To go on: ${resumeCommand(pause.workflow_id)}`;
      if (pause.is_auto) options.log.warn(told);
      else options.log.info(told);
      this.#arm();
      // What one commit did not park.
      if (pause.is_auto && !this.isStopping) this.track(this.#park(pause.workflow_id).catch(() => {}));
    });
    options.events.on("workflow resumed", (id) => options.log.info(`Workflow ${id} goes on`));
  }

  /** Pauses whose time came while no principal ran end first, and what was left undone is done. */
  protected async onStart(): Promise<void> {
    await this.#o.pauses.load(this.#o.store);
    await this.sweep();
    await this.#o.store
      .transact((tx) => tx.forgetWorkflowStates(this.clock.now() - KEPT_STATES_MS))
      .catch((error) =>
        logFailure(this.#o.log, "What is known of former workflows cannot be forgotten", error),
      );
    this.#sweep.every(SWEEP_MS);
  }

  /**
   * Pauses a workflow, or changes its pause.
   * @param actor who asks for it; null for nobody
   * @throws NotFoundError when there is no such workflow, InvalidInputError for a time that has passed
   */
  async pauseWorkflow(
    { workflow_id: id, reason, ...end }: PauseWorkflow,
    actor: string | null,
    audit: Audit = unaudited,
  ): Promise<WorkflowPaused> {
    const { store, clock, pauses, workflows } = this.#o;
    const now = clock.now();
    const until_ms = end.until_ms ?? (end.for_ms === undefined ? null : now + end.for_ms);
    if (until_ms !== null && until_ms <= now)
      throw new InvalidInputError("The time at which the pause should end has passed.", {
        hint: `To end a pause: ${resumeCommand(id)}`,
      });
    await workflows.load(id);
    const { former, pause } = await store.transact(async (tx) => {
      const former = await tx.getPause(id);
      if (former === null && workflows.get(id) === undefined && !workflows.isAwaited(id))
        throw new NotFoundError(thereIsNoWorkflow(id, workflows.ids(), workflows.invalidFiles));
      const pause: PauseRecord = {
        workflow_id: id,
        // Not before what was done just before in the same commit.
        paused_at_ms: former?.paused_at_ms ?? clock.now(),
        paused_by: actor,
        reason: reason ?? (former === null ? null : reasonBefore(former)),
        is_auto: false,
        until_ms,
      };
      await pauses.set(tx, pause);
      await audit(tx);
      return { former, pause };
    });
    await this.#park(id);
    const { held, parked, begun } = await store.read((tx) => tx.countPaused(id));
    return {
      workflow_id: id,
      paused: pauseOf(pause),
      was_paused: former !== null,
      held_runs: held + parked,
      begun_runs: begun,
    };
  }

  /** Resumes a workflow: what was held goes on, and what was missed follows its `catchup`. */
  async resumeWorkflow(id: string, audit: Audit = unaudited): Promise<WorkflowResumed> {
    const { pauses, workflows, missedFirings } = this.#o;
    await workflows.load(id);
    if (pauses.of(id) === null && workflows.get(id) === undefined && !workflows.isAwaited(id))
      throw new NotFoundError(thereIsNoWorkflow(id, workflows.ids(), workflows.invalidFiles));
    const paused = pauses.of(id);
    const firings = paused === null ? undefined : missedFirings?.(id, paused.paused_at_ms);
    let wasPaused = false;
    const { runs, events } = await this.#release(id, async (tx) => {
      wasPaused = await pauses.end(tx, id);
      if (wasPaused) await audit(tx);
    });
    return {
      workflow_id: id,
      was_paused: wasPaused,
      held_runs: runs,
      event_runs: events,
      ...(wasPaused && firings !== undefined ? { firings } : {}),
    };
  }

  /**
   * What whoever triggers or retries a run should know about a pause.
   * @param workflowId if it is known
   */
  async about(runId: string, workflowId?: string): Promise<Pick<RunCreated, "notes" | "missed">> {
    const { store, pauses } = this.#o;
    const isPaused = workflowId === undefined ? !pauses.isEmpty : pauses.of(workflowId) !== null;
    if (!isPaused) return {};
    const run = await store.read((tx) => tx.getRun(runId));
    if (run === null) return { missed: "paused" };
    const pause = run.hold === "pause" ? pauses.of(run.workflow_id) : null;
    if (pause === null) return {};
    const text = pauseText(run.workflow_id, pauseOf(pause));
    return {
      notes: [
        `${text[0]?.toUpperCase()}${text.slice(1)}. This run waits until it is resumed: ${resumeCommand(run.workflow_id)}`,
      ],
    };
  }

  /** Does what earlier commits have left undone of pauses and of their ends. Never rejects. */
  async sweep(): Promise<void> {
    this.#sweeping ??= this.#sweepOnce().finally(() => {
      this.#sweeping = undefined;
    });
    await this.#sweeping;
  }

  async #sweepOnce(): Promise<void> {
    const { store, log, pauses } = this.#o;
    try {
      await this.#endOverdue();
      for (const { workflow_id: id } of pauses.all()) await this.#park(id);
      const resting = await store.read((tx) => tx.workflowsAtRest());
      for (const id of resting) if (pauses.of(id) === null && !this.isStopping) await this.#release(id);
    } catch (error) {
      logFailure(log, "What follows pauses of workflows cannot be done", error);
    }
    this.#arm();
    this.signals.emit("swept");
  }

  /** Keeps all runs of a paused workflow that have not begun from agents. */
  async #park(id: string): Promise<void> {
    const { store, pauses } = this.#o;
    for (let parked = PARKED_AT_ONCE; parked >= PARKED_AT_ONCE && !this.isStopping; )
      parked = await store.transact(async (tx) =>
        (await pauses.at(tx, id)) === null ? 0 : tx.parkQueued(id, PARKED_AT_ONCE),
      );
  }

  /**
   * Lets go on what was held, and makes runs of missed events, in commits of a bounded size.
   * @param first done in the first of them
   */
  async #release(
    id: string,
    first: (tx: OperationalTx) => Promise<void> = async () => {},
  ): Promise<Released> {
    const { store } = this.#o;
    const waiting = async (tx: OperationalTx) => {
      const { held, parked } = await tx.countPaused(id);
      return held + parked;
    };
    let { before, isMore } = await store.transact(async (tx) => {
      await first(tx);
      const before = await waiting(tx);
      return { before, isMore: before > 0 && (await this.#releaseRuns(tx, id)) };
    });
    while (isMore && !this.isStopping) isMore = await store.transact((tx) => this.#releaseRuns(tx, id));
    const runs = before === 0 ? 0 : Math.max(before - (await store.read(waiting)), 0);
    return { runs, events: await this.#makeMissed(id) };
  }

  /**
   * Lets runs go on that were held. Part of a unit of work.
   * @returns whether more may be held. What cannot go on is left to the next sweep
   */
  async #releaseRuns(tx: OperationalTx, id: string): Promise<boolean> {
    const { pauses, queue, goOn } = this.#o;
    if ((await pauses.at(tx, id)) !== null) return false;
    const parked = await tx.unparkQueued(id, PARKED_AT_ONCE);
    const held = await tx.pausedRuns(id, PARKED_AT_ONCE - parked);
    let went = parked;
    for (const run of held) if ((await goOn(tx, run)).hold !== "pause") went++;
    queue.queued(tx);
    return went > 0 && parked + held.length === PARKED_AT_ONCE;
  }

  /** Makes runs of the events that a workflow has missed. What fails stays for later. Returns how many there are. */
  async #makeMissed(id: string): Promise<number> {
    const { store, pauses, missed, log } = this.#o;
    let made = 0;
    try {
      for (;;) {
        const [event] = await store.read((tx) => tx.missedEvents(id, 1));
        if (event === undefined || pauses.of(id) !== null || this.isStopping) return made;
        const packed = await missed.pack(id);
        try {
          const did = await store.transact(async (tx) => this.#makeRuns(tx, id, packed));
          made += did.made;
          if (!did.isMore) return made;
        } catch (error) {
          if (!(error instanceof FilesChangedError)) throw error;
        }
      }
    } catch (error) {
      logFailure(log, `Events that workflow ${id} missed while it was paused cannot become runs now`, error);
      return made;
    }
  }

  /** Part of a unit of work. */
  async #makeRuns(
    tx: OperationalTx,
    id: string,
    packed: Packed | null,
  ): Promise<{ made: number; isMore: boolean }> {
    let made = 0;
    if ((await this.#o.pauses.at(tx, id)) !== null) return { made, isMore: false };
    const waiting = await tx.missedEvents(id, EVENTS_AT_ONCE);
    for (const event of waiting) {
      const outcome = await this.#o.missed.create(tx, event, packed);
      if (outcome === "later") return { made, isMore: false };
      await tx.dropMissedEvent(event);
      if (outcome === "made") made++;
    }
    return { made, isMore: waiting.length === EVENTS_AT_ONCE };
  }

  /** Ends pauses whose time has come. */
  async #endOverdue(): Promise<void> {
    const { pauses } = this.#o;
    for (const { workflow_id: id } of this.#overdue()) {
      if (this.isStopping) return;
      await this.#release(id, async (tx) => {
        const pause = await tx.getPause(id);
        if (pause?.until_ms != null && pause.until_ms <= this.clock.now()) await pauses.end(tx, id);
      });
    }
  }

  #overdue(): PauseRecord[] {
    const now = this.clock.now();
    return this.#o.pauses.all().filter(({ until_ms }) => until_ms !== null && until_ms <= now);
  }

  #endDue(): void {
    if (this.#overdue().length > 0) this.track(this.sweep());
    else this.#arm();
  }

  /** Looks at the clock when the next pause may be over. */
  #arm(): void {
    this.#end.cancel();
    const ends = this.#o.pauses.all().flatMap(({ until_ms }) => until_ms ?? []);
    if (ends.length === 0) return;
    const left = Math.min(...ends) - this.clock.now();
    this.#end.in(Math.min(Math.max(left, 1), LONGEST_SLEEP_MS));
  }
}
