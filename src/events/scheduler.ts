/**
 * The scheduler: an event listener whose events are the firings of cron expressions. While no workflow has a schedule it only waits for
 * changes of the workflows.
 */
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { pulse } from "../host/pulse.ts";
import { RequestRefusedError } from "../protocol/client.ts";
import { inTurns, Timer } from "../timer.ts";
import type { Calendar } from "../workflow/calendar.ts";
import { type FiringContext, firingContext } from "../workflow/firings.ts";
import { firingsToRun } from "../workflow/missed.ts";
import { type Entry, entryKey, firingKey, hasSchedule, schedulesOf } from "../workflow/schedules.ts";
import { type Beat, Beats, beatKey, type Follower } from "./beats.ts";
import type { DeclaredWorkflow } from "./declared/declaration-source.ts";
import { DeclaredListener } from "./declared/declared-listener.ts";
import type { WorkflowFeed } from "./declared/workflow-feed.ts";

/** What the scheduler needs. */
export interface SchedulerOptions {
  readonly log: ConsolaInstance;
  /** Maximum sleep while something is scheduled, ms: a clock jump is noticed within it, if the process does not say so itself. */
  readonly pollMs: number;
  readonly clock?: Clock;
  /** Where it gets the workflows from; by default it reads them itself. */
  readonly feed?: WorkflowFeed;
}

/** A workflow with schedules. */
interface Scheduled {
  /** As it was declared when it was scheduled. */
  workflow: DeclaredWorkflow;
  followers: readonly Follower[];
  /** The last {@link Scheduler.take} that had it. */
  seen: number;
}

/** A firing this late was not missed: the machine was just busy. */
const GRACE_MS = 60_000;
/** The zone of schedules of a principal that does not name its own. */
const HERE = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const NO_CALENDARS: ReadonlyMap<string, Calendar> = new Map();
/** Maximum sleep while the process says when its clock is set, ms. */
const LONGEST_SLEEP_MS = 60_000;
/** Retry delay for firings that could not be made safe, ms. */
const RETRY_MS = 1000;
/** A clock that goes back by more than this was set back. */
const BACKWARDS_MS = 1000;
/** How long before a firing its workflows are prepared, ms, and how many at most. */
const AHEAD_MS = 2000;
const MOST_PREPARED = 2000;
/** The level of the log from which on each next firing is logged. */
const DEBUG = 4;

/** Runs workflows on schedule. */
export class Scheduler extends DeclaredListener {
  override readonly name = "scheduler";
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #scheduled = new Map<string, Scheduled>();
  readonly #beats = new Beats();
  /** Entries with firings that could not be made safe, and when they are tried again, ms since the epoch. */
  readonly #behind = new Set<Follower>();
  #retryMs: number | undefined;
  /** Failures of a workflow's firings that were already logged. */
  readonly #said = new Map<string, string>();
  readonly #timer: Timer;
  /** What {@link #now} gave last. */
  #lastNow = 0;
  #takes = 0;
  /** The time up to which firings are prepared. */
  #preparedMs = 0;

  constructor(options: SchedulerOptions) {
    super(options.log, options.feed);
    this.#clock = options.clock ?? systemClock;
    this.#pollMs = options.pollMs;
    this.#timer = new Timer(
      () => this.#wake(),
      this.#clock,
      () => !this.signal.aborted,
    );
  }

  protected override get trigger(): string {
    return "cron";
  }

  override async startListening(): Promise<void> {
    const end = this.#clock === systemClock ? pulse.on("clock set", () => this.#wake()) : () => {};
    try {
      await super.startListening();
    } finally {
      end();
      this.#timer.cancel();
    }
  }

  /** Applies what has changed: workflows that are the same objects as before are passed over. */
  protected override async take(workflows: readonly DeclaredWorkflow[]): Promise<void> {
    const before = this.#scheduled.size;
    const take = ++this.#takes;
    await inTurns(workflows, (workflow) => {
      if (this.signal.aborted || !hasSchedule(workflow)) return;
      const known = this.#scheduled.get(workflow.id);
      if (known !== undefined) known.seen = take;
      if (known?.workflow === workflow) return;
      try {
        this.#schedule(workflow, known, take);
      } catch (error) {
        this.log.error(`Workflow ${workflow.id} cannot be scheduled: ${errorMessage(error)}`);
      }
    });
    if (this.signal.aborted) return;
    for (const [id, { seen, followers }] of this.#scheduled) {
      if (seen === take) continue;
      for (const follower of followers) this.#leave(follower);
      this.#scheduled.delete(id);
      this.#said.delete(id);
    }
    if (this.#scheduled.size !== before) {
      this.log.info(
        this.#scheduled.size === 0
          ? "No workflow has a schedule"
          : `${this.#scheduled.size} workflow${this.#scheduled.size === 1 ? " has a schedule" : "s have schedules"}`,
      );
    }
    this.#arm();
  }

  #leave(follower: Follower): void {
    this.#behind.delete(follower);
    this.#beats.leave(follower);
  }

  /** Schedules a workflow that is new, or has changed: entries with the same times go on where they are. */
  #schedule(workflow: DeclaredWorkflow, known: Scheduled | undefined, take: number): void {
    const { id } = workflow;
    const now = this.#now();
    const former = new Set(known?.followers);
    const wasPaused = known?.workflow.paused !== undefined;
    const followers = schedulesOf(workflow).map((entry): Follower => {
      const context = firingContext(
        id,
        entry,
        workflow.schedule_timezone ?? HERE,
        workflow.calendars ?? NO_CALENDARS,
      );
      const slot = workflow.schedules === undefined ? null : entryKey(entry);
      const same = [...former].find((other) => isSame(other, slot, entry, context));
      if (same !== undefined) {
        former.delete(same);
        same.entry = entry;
        return same;
      }
      const position =
        (slot === null ? workflow.schedule_cursor_ms : workflow.schedule_positions?.get(slot)) ?? now;
      // A position in the future was set by a wrong clock.
      const handledMs = Math.min(position, now) + context.offsetMs;
      return { id, slot, entry, context, handledMs, isBehind: false, beat: null };
    });
    for (const follower of former) this.#leave(follower);
    if (known === undefined) this.#scheduled.set(id, { workflow, followers, seen: take });
    else Object.assign(known, { workflow, followers });
    // While many others are looked at, the time of one may come.
    const graceMs = known !== undefined && !wasPaused ? GRACE_MS : 0;
    for (const follower of followers) {
      // A pause moves no position: what it makes a workflow miss is judged when it goes on.
      if (workflow.paused !== undefined) this.#leave(follower);
      else if (follower.beat === null) {
        this.#beats.follow(follower, now);
        this.#catchUp(follower, now, graceMs);
      }
    }
  }

  /** Runs the firings of one entry that are due, and were not handled. */
  #catchUp(follower: Follower, now: number, graceMs: number): void {
    this.#fire(follower, this.#beats.dueOf(follower, now), now, graceMs);
    if (follower.beat !== null) this.#tellNext(follower, follower.beat);
  }

  /** @param due oldest first */
  #fire(follower: Follower, due: readonly number[], now: number, graceMs: number): void {
    const { entry, id } = follower;
    const { run } = firingsToRun(due, entry.catchup, entry.catchup_window_ms, now, graceMs);
    const missed = due.filter((at) => now - at > graceMs);
    if (missed.length > 0 && !this.#said.has(id)) this.#tellMissed(follower, missed, run);
    follower.handledMs = Math.max(follower.handledMs, now);
    follower.isBehind = false;
    if (run.length > 0) void this.#run(follower, run);
  }

  #tellNext({ id }: Follower, { nextMs }: Beat): void {
    if (nextMs !== null && this.log.level >= DEBUG)
      this.log.debug(`Workflow ${id} fires next at ${new Date(nextMs).toISOString()}`);
  }

  #tellMissed({ id, entry }: Follower, missed: readonly number[], run: readonly number[]): void {
    const first = new Date(missed[0] ?? 0).toISOString();
    const last = new Date(missed.at(-1) ?? 0).toISOString();
    const span =
      missed.length === 1 ? `the firing of ${first}` : `${missed.length} firings, ${first} to ${last},`;
    const caughtUp = run.filter((at) => missed.includes(at)).length;
    this.log.warn(
      `Workflow ${id}: ${span} missed; catchup is "${entry.catchup}": ${caughtUp === 0 ? "none" : caughtUp} of them run${caughtUp === 1 ? "s" : ""} now.`,
    );
  }

  /** Makes runs of firings, in their order: what is not safe stays due. */
  async #run(follower: Follower, firings: readonly number[]): Promise<void> {
    const { id, slot, entry } = follower;
    const { offsetMs } = follower.context;
    for (const at of firings) {
      const scheduledTimeMs = at - offsetMs;
      try {
        await this.runWorkflow(id, {
          dedupeKey: firingKey(id, entry, scheduledTimeMs),
          scheduledTimeMs,
          ...(entry.params === undefined ? {} : { params: entry.params }),
          ...(slot === null ? {} : { schedule: slot }),
          // Firings that wait for the principal count as missed in the end.
          late: { afterMs: GRACE_MS + offsetMs, keep: entry.catchup },
        });
        this.#said.delete(id);
      } catch (error) {
        if (this.signal.aborted) return;
        if (error instanceof RequestRefusedError) {
          // The principal has logged it, and shows it with the workflow.
          this.log.debug(`Workflow ${id} fired but cannot run: ${error.message}`);
          continue;
        }
        this.#failed(follower, at, error);
        return;
      }
    }
  }

  /** A firing is not safe anywhere: it counts as missed, and is caught up soon. */
  #failed(follower: Follower, at: number, error: unknown): void {
    follower.handledMs = Math.min(follower.handledMs, at - 1);
    follower.isBehind = true;
    if (follower.beat === null) return;
    this.#sayOnce(follower.id, `Workflow ${follower.id} cannot be triggered now: ${errorMessage(error)}`);
    this.#behind.add(follower);
    this.#retryMs ??= this.#now() + RETRY_MS;
    this.#arm();
  }

  #sayOnce(id: string, message: string): void {
    if (this.#said.get(id) === message) return;
    this.#said.set(id, message);
    this.log.error(message);
  }

  /** Sleeps until the next firing, but never for long. */
  #arm(): void {
    this.#timer.cancel();
    const now = this.#now();
    const { nextMs } = this.#beats;
    const next = Math.min(nextMs ?? Number.POSITIVE_INFINITY, this.#retryMs ?? Number.POSITIVE_INFINITY);
    if (next === Number.POSITIVE_INFINITY) return;
    const isTold = this.#clock === systemClock && pulse.isBeating;
    const longestMs = isTold ? Math.max(this.#pollMs, LONGEST_SLEEP_MS) : this.#pollMs;
    this.#prepare(now);
    const wakeMs = next - AHEAD_MS > now && this.delivery?.prepare !== undefined ? next - AHEAD_MS : next;
    this.#timer.in(Math.min(Math.max(wakeMs - now, 1), longestMs));
  }

  /** Has the workflows prepared that fire soon. */
  #prepare(now: number): void {
    const { delivery } = this;
    if (delivery?.prepare === undefined) return;
    const until = now + AHEAD_MS;
    const ids = new Set<string>();
    for (const beat of this.#beats.upTo(until)) {
      if (beat.nextMs === null || beat.nextMs <= this.#preparedMs) continue;
      for (const { id } of beat.followers) {
        if (ids.size >= MOST_PREPARED) break;
        ids.add(id);
      }
    }
    this.#preparedMs = until;
    if (ids.size > 0) delivery.prepare([...ids]);
  }

  /** The time. Whoever reads the clock first after it was set back notices: it may be set between any two readings. */
  #now(): number {
    const before = this.#lastNow;
    const now = this.#clock.now();
    this.#lastNow = now;
    if (now < before - BACKWARDS_MS) {
      this.log.warn(
        `The clock was set back by ${Math.round((before - now) / 1000)} s; schedules continue from there.`,
      );
      this.#restart(now);
    }
    return now;
  }

  #wake(): void {
    const now = this.#now();
    for (let taken = this.#beats.take(now); taken !== undefined; taken = this.#beats.take(now)) {
      const { beat, due } = taken;
      for (const follower of beat.followers) {
        if (follower.isBehind) continue;
        const [first = 0] = due;
        const own = follower.handledMs < first ? due : due.filter((at) => at > follower.handledMs);
        this.#fire(follower, own, now, GRACE_MS);
        this.#tellNext(follower, beat);
      }
    }
    if (this.#retryMs !== undefined && this.#retryMs <= now) {
      this.#retryMs = undefined;
      const behind = [...this.#behind];
      this.#behind.clear();
      for (const follower of behind) this.#catchUp(follower, now, GRACE_MS);
    }
    this.#arm();
  }

  /**
   * Restarts counting firings from `now`; those that already became runs are not repeated, because their keys are known. What could not be
   * made safe, and what a pause made a workflow miss, is still due.
   */
  #restart(now: number): void {
    this.#beats.restart(now);
    this.#retryMs = this.#behind.size > 0 ? now + RETRY_MS : undefined;
    this.#preparedMs = 0;
    for (const { followers } of this.#scheduled.values()) {
      for (const follower of followers) {
        follower.handledMs = Math.min(follower.handledMs, now);
        if (follower.beat !== null) this.#tellNext(follower, follower.beat);
      }
    }
  }
}

/** Whether an entry goes on where another one is: it fires at the same times, and its position is kept under the same key. */
function isSame(follower: Follower, key: string | null, other: Entry, context: FiringContext): boolean {
  if (follower.slot !== key || follower.context.calendar !== context.calendar) return false;
  return beatKey(follower.entry, follower.context) === beatKey(other, context);
}
