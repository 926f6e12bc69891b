/**
 * Finds what time alone breaks of what is expected: one timer, for the next time at which something is due. It looks at the clock now and
 * then, because it may be set, or the host suspended, in the meantime. Nothing is done while nothing is expected.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import type { Calendar } from "../../workflow/calendar.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Expectations, ExpectingWorkflow } from "./expectations.ts";

/** Number of expectations that are judged, and of workflows that are compared with their files, in one commit: others wait for it. */
const BATCH = 100;
/** The longest time between two looks at the clock, ms. */
const LONGEST_SLEEP_MS = 1000;
/** The same while what was due before a start is not judged yet. */
const GRACE_LOOK_MS = 1000;
/** Delay after a failure. */
const RETRY_MS = 1000;
/** What agents have to tell after this process was suspended waits in its sockets: it is heard within this time, ms. */
const SUSPENDED_MS = 10_000;
/** A wall clock that moves by more than this against the monotonic one was set, ms. */
const SET_MS = 2000;
/** What is expected of a workflow is forgotten when its file has been away for so long, ms. */
const GONE_MS = 10 * 60_000;

/** What {@link ExpectationWatch} needs. */
export interface ExpectationWatchOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly events: PrincipalEvents;
  readonly expectations: Expectations;
  /** The workflows, see ../workflows/workflow-directory.ts. */
  readonly workflows: {
    definitions(): Iterable<ExpectingWorkflow>;
    readonly calendars: ReadonlyMap<string, Calendar>;
  };
  /**
   * How long after a start, or after this process was suspended, what was due before is not judged, ms: agents tell first what has
   * happened in the meantime, and schedules catch up.
   */
  readonly graceMs: number;
  /** The longest time between two looks at the clock, ms; 1 s by default. */
  readonly longestSleepMs?: number;
}

/** Watches the times at which something is due. */
export class ExpectationWatch extends BackgroundService<{ looked: undefined }> {
  readonly name = "expectations";
  readonly #o: ExpectationWatchOptions;
  readonly #timer = this.timer(() => this.#check());
  readonly #sweep = this.timer(() => this.#reconcile());
  /** When the next one is due: ms since the epoch, and by the monotonic clock; null for none. */
  #nextMs: number | null = null;
  #nextMonotonic: number | null = null;
  /** Until this time (monotonic), what was due before {@link #since} is not judged. */
  #graceEnds = 0;
  /** Ms since the epoch; infinite: nothing is judged, because agents may have something to tell about all of it. */
  #since = 0;
  /** Wall clock minus monotonic clock. */
  #offset = 0;
  /** Since when the files of workflows are away (monotonic). */
  readonly #away = new Map<string, number>();
  /** Workflows that may differ from what is stored of them. */
  readonly #stale = new Set<string>();
  #work: Promise<void> = Promise.resolve();
  #isReady = false;

  constructor(options: ExpectationWatchOptions) {
    super(options.clock);
    this.#o = options;
    const { events } = options;
    events.on("expectation added", ({ dueMs, leftMs }) => this.#added(dueMs, leftMs));
    events.on("workflows changed", () => this.#workflowsChanged());
    events.on("principal paused", () => this.#suspended());
  }

  /** What an older cdktr has left is removed, and what has changed while no principal ran is taken over, first. */
  protected async onStart(): Promise<void> {
    const { store, expectations, log } = this.#o;
    this.#offset = this.clock.now() - this.clock.monotonic();
    await expectations.load(store);
    this.#wait((await store.read((tx) => tx.openAttempts())).length > 0);
    try {
      await store.transact(async (tx) => {
        for (const row of await tx.expectationsOfEndedRuns()) await expectations.forget(tx, row);
      });
    } catch (error) {
      logFailure(log, "What is expected of former runs cannot be forgotten", error);
    }
    this.#isReady = true;
    this.#takeWorkflows(true);
    await this.#reconciled();
    this.#judgeSoon();
    await this.#work;
  }

  /** Looks at the clock, which it does by itself now and then. */
  look(): void {
    this.#check();
  }

  /** Resolves when everything that is due now has been judged. */
  settled(): Promise<void> {
    return this.#work;
  }

  /** This process was suspended. On a host that has too much to do, that happens all the time: something is judged in between. */
  #suspended(): void {
    const graceMs = Math.min(this.#o.graceMs, SUSPENDED_MS);
    if (this.clock.monotonic() >= this.#graceEnds + graceMs) this.#wait(true, graceMs);
  }

  /** @param hasAgents whether agents may have done something of which nobody has heard */
  #wait(hasAgents: boolean, graceMs = this.#o.graceMs): void {
    this.#graceEnds = this.clock.monotonic() + graceMs;
    this.#since = hasAgents ? Number.POSITIVE_INFINITY : this.clock.now();
  }

  #added(dueMs: number | undefined, leftMs: number | undefined): void {
    if (!this.#isReady) return;
    this.#isNext(dueMs, leftMs);
    this.#check();
  }

  #isNext(dueMs: number | undefined, leftMs: number | undefined): void {
    if (dueMs !== undefined) this.#nextMs = Math.min(dueMs, this.#nextMs ?? dueMs);
    if (leftMs !== undefined) {
      const at = this.clock.monotonic() + Math.max(0, leftMs);
      this.#nextMonotonic = Math.min(at, this.#nextMonotonic ?? at);
    }
  }

  #workflowsChanged(): void {
    if (this.#isReady && this.#takeWorkflows(false)) this.#reconcile();
  }

  /** @param all whether to compare all with what is stored. @returns whether something is to be compared */
  #takeWorkflows(all: boolean): boolean {
    const { workflows, expectations } = this.#o;
    const changed = expectations.workflowsAre(workflows.definitions(), workflows.calendars);
    for (const id of all ? expectations.workflows : changed) this.#stale.add(id);
    const now = this.clock.monotonic();
    for (const id of this.#away.keys()) if (expectations.isPlanned(id)) this.#away.delete(id);
    for (const id of expectations.workflows)
      if (!expectations.isPlanned(id) && !this.#away.has(id)) this.#away.set(id, now);
    if (this.#away.size > 0) this.#sweep.within(GONE_MS);
    return this.#stale.size > 0;
  }

  #reconcile(): void {
    this.#work = this.#work.then(() => this.#reconciled());
    this.track(this.#work);
  }

  /** Takes over what has changed. */
  async #reconciled(): Promise<void> {
    const { store, expectations, log } = this.#o;
    try {
      const now = this.clock.monotonic();
      for (const [id, since] of this.#away) if (now - since >= GONE_MS) this.#stale.add(id);
      while (this.#stale.size > 0 && !this.isStopping) {
        const some = [...this.#stale].slice(0, BATCH);
        await store.transact(async (tx) => {
          for (const id of some)
            await expectations.reconcile(tx, id, now - (this.#away.get(id) ?? now) >= GONE_MS);
        });
        for (const id of some) {
          this.#stale.delete(id);
          if (now - (this.#away.get(id) ?? now) >= GONE_MS) this.#away.delete(id);
        }
      }
      if (this.#away.size > 0) this.#sweep.within(GONE_MS);
    } catch (error) {
      logFailure(log, "What is expected of workflows cannot be changed", error);
      this.#sweep.in(RETRY_MS);
    }
  }

  /** Looks into the state if something is due, otherwise at the clock when it may be. @param isNew whether that may be due which was not before */
  #check(isNew = true): void {
    if (this.isStopping) return;
    const [wall, monotonic] = [this.clock.now(), this.clock.monotonic()];
    const moved = wall - monotonic - this.#offset;
    if (Math.abs(moved) > SET_MS) {
      this.#offset += moved;
      for (const id of this.#o.expectations.workflows) this.#stale.add(id);
      this.#reconcile();
    }
    const left = Math.min(
      this.#nextMs === null ? Number.POSITIVE_INFINITY : this.#nextMs - wall,
      this.#nextMonotonic === null ? Number.POSITIVE_INFINITY : this.#nextMonotonic - monotonic,
    );
    if (left === Number.POSITIVE_INFINITY) return;
    const grace = this.#graceEnds - monotonic;
    const isDue = left <= 0 && (grace <= 0 || (isNew && this.#since !== Number.POSITIVE_INFINITY));
    if (isDue) {
      this.#judgeSoon();
      return;
    }
    const longest = this.#o.longestSleepMs ?? LONGEST_SLEEP_MS;
    this.#timer.in(Math.min(left > 0 ? left : Math.min(grace, GRACE_LOOK_MS), longest));
  }

  #judgeSoon(): void {
    this.#work = this.#work.then(() => this.#judge());
    this.track(this.#work);
  }

  async #judge(): Promise<void> {
    const { store, expectations, log } = this.#o;
    if (this.isStopping) return;
    try {
      const hasGrace = this.clock.monotonic() < this.#graceEnds;
      if (!hasGrace || this.#since !== Number.POSITIVE_INFINITY) {
        const all = await store.read((tx) => tx.dueExpectations(this.clock.now(), BATCH));
        // Nobody runs what was begun before the start: what is due of runs was begun after it.
        const due = all.filter(
          ({ rule, due_ms }) => !hasGrace || rule === "max_duration" || due_ms >= this.#since,
        );
        if (due.length > 0)
          await store.transact(async (tx) => {
            for (const expectation of due) await expectations.judge(tx, expectation);
          });
      }
      // What is added while this is read is not forgotten.
      this.#nextMs = this.#nextMonotonic = null;
      const next = await store.read((tx) => tx.nextExpectation());
      const { due_ms, left_ms } = next;
      this.#isNext(due_ms ?? undefined, left_ms ?? undefined);
      this.#check(false);
    } catch (error) {
      logFailure(log, "What is expected of workflows and runs cannot be judged", error);
      this.#nextMs = 0;
      this.#timer.in(RETRY_MS);
    }
    this.signals.emit("looked");
  }
}
