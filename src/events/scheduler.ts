/**
 * The scheduler: an event listener whose events are the firings of cron expressions. It talks to the principal like any other client.
 * While no workflow has a schedule it only waits for changes of the workflows.
 */
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { pulse } from "../host/pulse.ts";
import { RequestRefusedError } from "../protocol/client.ts";
import { inTurns, Timer } from "../timer.ts";
import { type FiringContext, firingContext, nextFiring } from "../workflow/firings.ts";
import { firingsDue, firingsToRun } from "../workflow/missed.ts";
import { type Entry, schedulesOf } from "../workflow/schedules.ts";
import type { DeclaredWorkflow } from "./declared/declaration-source.ts";
import { DeclaredListener } from "./declared/declared-listener.ts";
import type { WorkflowFeed } from "./declared/workflow-feed.ts";
import { PriorityQueue } from "./priority-queue.ts";

/** What the scheduler needs. */
export interface SchedulerOptions {
  readonly log: ConsolaInstance;
  /** Maximum sleep while something is scheduled, ms: a clock jump is noticed within it, if the process does not say so itself. */
  readonly pollMs: number;
  readonly clock?: Clock;
  /** Where it gets the workflows from; by default it reads them itself. */
  readonly feed?: WorkflowFeed;
}

/** A workflow with a schedule. */
interface Scheduled {
  readonly id: string;
  readonly schedule: Entry;
  readonly context: FiringContext;
  /** Changes with the schedule. */
  readonly key: string;
  /** Firings up to this time have been handled. */
  handledMs: number;
  /** The current position in the queue; other positions are stale. */
  place: symbol;
  gone: boolean;
}

/** A firing this late was not missed: the machine was just busy. */
const GRACE_MS = 60_000;
/** The zone of schedules of a principal that does not name its own. */
const HERE = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const NO_CALENDARS = new Map<string, never>();
/** Maximum sleep while the process says when its clock is set, ms. */
const LONGEST_SLEEP_MS = 60_000;
/** Retry delay for a firing that could not be made safe, ms. */
const RETRY_MS = 1000;
/** A clock that goes back by more than this was set back. */
const BACKWARDS_MS = 1000;

/** Runs workflows on schedule. */
export class Scheduler extends DeclaredListener {
  override readonly name = "scheduler";
  readonly #clock: Clock;
  readonly #pollMs: number;
  readonly #scheduled = new Map<string, Scheduled>();
  readonly #queue = new PriorityQueue<{ entry: Scheduled; place: symbol }>();
  /** Failures of a workflow's firings that were already logged. */
  readonly #said = new Map<string, string>();
  readonly #timer: Timer;
  /** What {@link #now} gave last. */
  #lastNow = 0;

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

  protected override async take(workflows: readonly DeclaredWorkflow[]): Promise<void> {
    const before = this.#scheduled.size;
    const wanted = workflows.filter((workflow) => workflow.cron !== null);
    const ids = new Set(wanted.map((workflow) => workflow.id));
    for (const entry of this.#scheduled.values()) if (!ids.has(entry.id)) this.#forget(entry);
    await inTurns(wanted, (workflow) => {
      if (this.signal.aborted) return;
      try {
        this.#schedule(workflow);
      } catch (error) {
        this.log.error(`Workflow ${workflow.id} cannot be scheduled: ${errorMessage(error)}`);
      }
    });
    if (this.#scheduled.size !== before) {
      this.log.info(
        this.#scheduled.size === 0
          ? "No workflow has a schedule"
          : `${this.#scheduled.size} workflow${this.#scheduled.size === 1 ? " has a schedule" : "s have schedules"}`,
      );
    }
    this.#arm();
  }

  #forget(entry: Scheduled): void {
    entry.gone = true;
    this.#scheduled.delete(entry.id);
    this.#said.delete(entry.id);
  }

  #schedule(workflow: DeclaredWorkflow): void {
    const { id, schedule_cursor_ms } = workflow;
    const [schedule] = schedulesOf(workflow);
    if (schedule === undefined) return;
    const context = firingContext(id, schedule, workflow.schedule_timezone ?? HERE, NO_CALENDARS);
    const key = JSON.stringify([schedule, context.zone]);
    const known = this.#scheduled.get(id);
    if (known?.key === key) return;
    if (known !== undefined) this.#forget(known);
    const now = this.#now();
    const entry: Scheduled = {
      id,
      schedule,
      context,
      key,
      // A cursor in the future was set by a wrong clock.
      handledMs: Math.min(schedule_cursor_ms ?? now, now),
      place: Symbol(),
      gone: false,
    };
    this.#scheduled.set(id, entry);
    this.#fire(entry, now, 0);
  }

  /** Runs the firings of an entry that are due, and queues its next one. */
  #fire(entry: Scheduled, now: number, graceMs: number): void {
    const { schedule, context } = entry;
    const due = firingsDue(schedule, context, entry.handledMs, now);
    const { run } = firingsToRun(due, schedule.catchup, schedule.catchup_window_ms, now, graceMs);
    const missed = due.filter((at) => now - at > graceMs);
    if (missed.length > 0 && !this.#said.has(entry.id)) this.#tellMissed(entry, missed, run);
    entry.handledMs = now;
    for (const at of run) void this.#run(entry, at);
    const next = nextFiring(schedule, context, now);
    if (next !== null) this.log.debug(`Workflow ${entry.id} fires next at ${new Date(next).toISOString()}`);
    this.#enqueue(entry, next);
  }

  #enqueue(entry: Scheduled, at: number | null): void {
    entry.place = Symbol();
    if (at !== null) this.#queue.push(at, { entry, place: entry.place });
  }

  #tellMissed(entry: Scheduled, missed: readonly number[], run: readonly number[]): void {
    const first = new Date(missed[0] ?? 0).toISOString();
    const last = new Date(missed.at(-1) ?? 0).toISOString();
    const span =
      missed.length === 1 ? `the firing of ${first}` : `${missed.length} firings, ${first} to ${last},`;
    const caughtUp = run.filter((at) => missed.includes(at)).length;
    this.log.warn(
      `Workflow ${entry.id}: ${span} missed; catchup is "${entry.schedule.catchup}": ${caughtUp === 0 ? "none" : caughtUp} of them run${caughtUp === 1 ? "s" : ""} now.`,
    );
  }

  async #run(entry: Scheduled, at: number): Promise<void> {
    try {
      await this.runWorkflow(entry.id, {
        dedupeKey: `cron:${entry.id}:${at}`,
        scheduledTimeMs: at,
        // Firings that wait for the principal count as missed in the end.
        late: { afterMs: GRACE_MS, keep: entry.schedule.catchup },
      });
      this.#said.delete(entry.id);
    } catch (error) {
      if (this.signal.aborted || entry.gone) return;
      if (error instanceof RequestRefusedError) {
        // The principal has logged it, and shows it with the workflow.
        this.log.debug(`Workflow ${entry.id} fired but cannot run: ${error.message}`);
        return;
      }
      this.#sayOnce(entry.id, `Workflow ${entry.id} cannot be triggered now: ${errorMessage(error)}`);
      // It is not safe anywhere: it counts as missed, and is caught up soon.
      entry.handledMs = Math.min(entry.handledMs, at - 1);
      this.#enqueue(entry, this.#now() + RETRY_MS);
      this.#arm();
    }
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
    const next = this.#peek();
    const isTold = this.#clock === systemClock && pulse.isBeating;
    const longestMs = isTold ? Math.max(this.#pollMs, LONGEST_SLEEP_MS) : this.#pollMs;
    if (next !== undefined) this.#timer.in(Math.min(Math.max(next - now, 1), longestMs));
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
    for (let next = this.#peek(); next !== undefined && next <= now; next = this.#peek()) {
      const entry = this.#queue.pop()?.item.entry;
      if (entry !== undefined) this.#fire(entry, now, GRACE_MS);
    }
    this.#arm();
  }

  /** The time of the first position that is not stale. */
  #peek(): number | undefined {
    for (let first = this.#queue.peek(); first !== undefined; first = this.#queue.peek()) {
      const { entry, place } = first.item;
      if (!entry.gone && entry.place === place) return first.priority;
      this.#queue.pop();
    }
    return undefined;
  }

  /** Restarts counting firings from `now`; those that already became runs are not repeated, because their keys are known. */
  #restart(now: number): void {
    this.#queue.clear();
    for (const entry of this.#scheduled.values()) {
      entry.handledMs = now;
      this.#fire(entry, now, GRACE_MS);
    }
  }
}
