/**
 * Writes into the history why a run waits, as a row with the run's status whenever that changes; for a split run also which slices wait for
 * what. A run is looked at when it has waited for a moment, so that runs that are assigned at once cost nothing; then the queue is looked
 * at every few seconds, as long as something is in it. What was written last is in the operational state: a restart repeats no row.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type {
  NotedReason,
  OperationalStore,
  OperationalTx,
  RunNote,
} from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { areAlike, noteOf, type Waits } from "./waits.ts";

/** How long something waits before its reason is written, ms. */
const GRACE_MS = 2000;
/** Time between two looks at the queue, ms, and the shortest time between two rows of a run. */
const INTERVAL_MS = 5000;
/** Time between two looks while something has just come, ms. */
const SHORT_INTERVAL_MS = 1000;
/** How much of the queue is looked at, from its beginning. */
const LOOKED_AT = 1000;
/** Runs per commit: other units of work wait for it. */
const BATCH = 100;
/** If more slices than this wait in a run for the same reasons as before, which ones they are is written no more often than this, ms. */
const MANY_SLICES = 20;
const MANY_INTERVAL_MS = 60_000;

/** What {@link WaitWatch} needs. */
export interface WaitWatchOptions {
  readonly store: OperationalStore;
  readonly waits: Waits;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly events: PrincipalEvents;
}

/** Watches the queue. */
export class WaitWatch extends BackgroundService<{ looked: undefined }> {
  readonly name = "wait watch";
  readonly #o: WaitWatchOptions;
  readonly #timer = this.timer(() => this.track(this.#look()));
  /** When rows of runs were written last (monotonic), for those of the last {@link MANY_INTERVAL_MS}. */
  readonly #written = new Map<string, number>();

  constructor(options: WaitWatchOptions) {
    super(options.clock);
    this.#o = options;
    options.events.on("statuses written", () => this.#timer.by(this.clock.monotonic() + GRACE_MS));
  }

  protected onStart(): void {
    this.#timer.within(GRACE_MS);
  }

  async #look(): Promise<void> {
    try {
      const { queued, noted } = await this.#o.store.read(async (tx) => ({
        queued: await tx.queuedRuns(LOOKED_AT),
        noted: await tx.notedReasons(),
      }));
      const now = this.clock.monotonic();
      for (const [id, at] of this.#written) if (at <= now - MANY_INTERVAL_MS) this.#written.delete(id);
      const all = new Set([...queued, ...noted.map((note) => note.workflow_instance_id)]);
      const runs = [...all].filter((id) => !this.#hasWritten(id, INTERVAL_MS));
      let isYoung = false;
      for (let from = 0; from < runs.length && !this.isStopping; from += BATCH) {
        isYoung = (await this.#update(runs.slice(from, from + BATCH), noted)) || isYoung;
      }
      if (queued.length > 0 || runs.length < all.size)
        this.#timer.in(isYoung ? SHORT_INTERVAL_MS : INTERVAL_MS);
    } catch (error) {
      logFailure(this.#o.log, "Why runs wait cannot be recorded", error);
      this.#timer.in(INTERVAL_MS);
    }
    this.signals.emit("looked");
  }

  /** Returns whether some of them have not waited for long enough. */
  async #update(runIds: readonly string[], noted: readonly NotedReason[]): Promise<boolean> {
    const known = new Map(noted.map((note) => [note.workflow_instance_id, note]));
    const { changes, isYoung } = await this.#o.store.read((tx) => this.#changes(tx, runIds, known));
    if (changes.length === 0) return isYoung;
    // Decided again: some of them may have been assigned in the meantime.
    await this.#o.store.transact(async (tx) => {
      const ids = changes.map((change) => change.id);
      const now = this.clock.now();
      const again = await this.#changes(tx, ids, known);
      for (const { id, note } of again.changes) await tx.noteReason(id, note, now);
      tx.afterCommit(() => {
        for (const { id } of again.changes) this.#written.set(id, this.clock.monotonic());
        this.#o.events.emit("statuses written");
      });
    });
    return isYoung;
  }

  async #changes(
    tx: OperationalTx,
    runIds: readonly string[],
    known: ReadonlyMap<string, NotedReason>,
  ): Promise<{ changes: { id: string; note: RunNote | null }[]; isYoung: boolean }> {
    let isYoung = false;
    const changes: { id: string; note: RunNote | null }[] = [];
    const reasonOf = await this.#o.waits.reasons(tx);
    const before = this.clock.now() - GRACE_MS;
    for (const id of runIds) {
      const former = known.get(id);
      const run = await tx.getRun(id);
      const waits = run === null ? [] : await this.#o.waits.why(tx, run, reasonOf);
      isYoung ||= waits.some(({ kind, since_ms }) => kind !== "ready" && since_ms > before);
      const told = waits.filter(({ kind, since_ms }) => kind !== "ready" && since_ms <= before);
      // Slices that have just come, or are about to be assigned, do not change the reason.
      if (waits.length > 0 && told.length === 0) continue;
      const note = waits.length === 0 ? null : noteOf(told);
      if (former === undefined) {
        if (note !== null) changes.push({ id, note });
        continue;
      }
      const isOfNow = former.status === run?.status && former.attempt === run.attempt;
      const isSame = former.reason === note?.reason && former.waits === note.waits;
      // If very many slices wait, some are assigned and others become ready all the time.
      const isAlike =
        note !== null &&
        told.length > MANY_SLICES &&
        this.#hasWritten(id, MANY_INTERVAL_MS) &&
        areAlike(former, note);
      if (!isOfNow || !(isSame || isAlike)) changes.push({ id, note });
    }
    return { changes, isYoung };
  }

  /** Whether a row of a run was written within the last so many ms. */
  #hasWritten(id: string, withinMs: number): boolean {
    const at = this.#written.get(id);
    return at !== undefined && at > this.clock.monotonic() - withinMs;
  }
}
