/**
 * Finds out which runs rest: nothing of them runs, and something waits for its next try, a time or a person. They are told as WAITING, and
 * the history gets a row whenever that changes. It follows the commits that change tasks: a run of which nothing waits costs nothing. The
 * runs with tasks that wait are known from the state at a start; an older cdktr may have left some as resting that do not rest.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";

/** The shortest time between two looks, ms: a run may have thousands of items that change. */
const INTERVAL_MS = 250;
/** A run rests when nothing has changed for this long, ms: after a shorter wait its status would only flicker. */
const SHORT_MS = 500;
/** Delay after a failure, ms. */
const RETRY_MS = 1000;

/** What {@link RestWatch} needs. */
export interface RestWatchOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly events: PrincipalEvents;
}

/** Watches runs with tasks that wait. */
export class RestWatch extends BackgroundService<{ looked: undefined }> {
  readonly name = "rest watch";
  readonly #o: RestWatchOptions;
  readonly #timer = this.timer(() => this.track(this.#look()));
  /** Runs with tasks that wait, as far as is known. */
  readonly #waiting = new Set<string>();
  /** Those to look at. */
  readonly #touched = new Set<string>();
  /** When to look at runs again that have only just begun to wait (monotonic), in the order of these times. */
  readonly #later = new Map<string, number>();
  /** When it looked last (monotonic). */
  #lookedAt = Number.NEGATIVE_INFINITY;
  #isKnown = false;
  #isLooking = false;

  constructor(options: RestWatchOptions) {
    super(options.clock);
    this.#o = options;
    options.events.on("run touched", (id) => {
      this.#waiting.add(id);
      this.#touched.add(id);
      this.#schedule();
    });
  }

  /** Whether something of a run waits: what changes in it may make it rest, or go on. */
  mayRest(runId: string): boolean {
    return this.#waiting.has(runId);
  }

  protected onStart(): void {
    this.#isKnown = false;
    this.#timer.in(0);
  }

  #schedule(): void {
    if (this.#isLooking || this.isStopping) return;
    this.#timer.by(Math.max(this.clock.monotonic(), this.#lookedAt + INTERVAL_MS));
  }

  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#isLooking = true;
    const now = this.clock.monotonic();
    for (const [id, at] of this.#later) if (at <= now) this.#touched.add(id);
    const ids = [...this.#touched];
    this.#touched.clear();
    for (const id of ids) this.#later.delete(id);
    try {
      if (!this.#isKnown) {
        ids.push(...(await this.#o.store.read((tx) => tx.runsThatMayRest())));
        this.#isKnown = true;
      }
      for (let id = ids[0]; id !== undefined && !this.isStopping; id = ids[0]) {
        await this.#update(id);
        ids.shift();
      }
    } catch (error) {
      logFailure(this.#o.log, "Which runs wait cannot be recorded", error);
      for (const id of ids) this.#touched.add(id);
      this.#isLooking = false;
      this.#timer.in(RETRY_MS);
      return;
    }
    this.#lookedAt = this.clock.monotonic();
    this.#isLooking = false;
    if (this.#touched.size > 0) this.#schedule();
    for (const at of this.#later.values()) {
      this.#timer.by(at);
      break;
    }
    this.signals.emit("looked");
  }

  async #update(id: string): Promise<void> {
    this.#waiting.add(id);
    const { store, events } = this.#o;
    const { waits, left } = await store.transact(async (tx) => {
      const run = await tx.getRun(id);
      if (run === null || run.finished_at_ms !== null) return { waits: false, left: 0 };
      const { waiting, since_ms, busy } = await tx.restOf(id);
      const now = this.clock.now();
      const rests = waiting > 0 && busy === 0;
      // Agents' clocks may be ahead.
      const left = rests && !run.resting ? Math.min(SHORT_MS, (since_ms ?? now) + SHORT_MS - now) : 0;
      const resting = rests && left <= 0;
      if (run.status === "RUNNING" && run.resting !== resting) {
        await tx.restRun(run, resting, now);
        tx.afterCommit(() => events.emit("statuses written"));
      }
      return { waits: waiting > 0, left };
    });
    if (left > 0) this.#later.set(id, this.clock.monotonic() + left);
    if (!waits && !this.#touched.has(id)) this.#waiting.delete(id);
  }
}
