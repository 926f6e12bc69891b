/**
 * The scheduler: an event listener whose events are the firings of cron expressions. It speaks to the principal as any
 * other client does. While no workflow has a schedule it only waits for the workflows to change.
 */
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import type { WorkflowSummary } from "../protocol/messages.ts";
import type { Service } from "../service.ts";
import { nextFiring, type Schedule } from "../workflow/schedule.ts";
import { EventListener } from "./event-listener.ts";
import { type Catchup, firingsDue, firingsToRun } from "./missed-firings.ts";
import { PriorityQueue } from "./priority-queue.ts";

/** What the scheduler needs. */
export interface SchedulerOptions {
  /** It is closed when the scheduler stops. */
  readonly client: PrincipalClient;
  readonly log: ConsolaInstance;
  /** The longest sleep while something is scheduled: a jump of the clock is noticed within it. */
  readonly pollMs: number;
  /** The longest time between two looks at the workflows; changes are heard of at once. */
  readonly refreshMs: number;
  readonly clock?: Clock;
}

/** A workflow with a schedule. */
interface Scheduled {
  readonly id: string;
  readonly schedule: Schedule;
  readonly catchup: Catchup;
  /** Changes with the schedule. */
  readonly key: string;
  /** Up to here firings have been dealt with. */
  handledMs: number;
  /** The place in the queue that counts; others are left over from before. */
  place: symbol;
  /** Firings that are not runs yet, oldest first. */
  pending: number[];
  sending: boolean;
  gone: boolean;
}

/** A firing this late was not missed: the machine was busy. */
const GRACE_MS = 60_000;
/** Pauses between attempts to reach the principal, ms: they double. */
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 10_000;
/** A clock that goes back by more than this has been set. */
const BACKWARDS_MS = 1000;
/** The longest long poll that the principal grants. */
const LONGEST_POLL_MS = 60_000;

/** Runs workflows on time. */
export class Scheduler extends EventListener implements Service {
  override readonly name = "scheduler";
  readonly #clock: Clock;
  readonly #log: ConsolaInstance;
  readonly #pollMs: number;
  readonly #refreshMs: number;
  readonly #scheduled = new Map<string, Scheduled>();
  readonly #queue = new PriorityQueue<{ entry: Scheduled; place: symbol }>();
  readonly #stop = new AbortController();
  readonly #sending = new Set<Promise<void>>();
  readonly #refused = new Map<string, string>();
  #timer: Timer | undefined;
  #lastNow = 0;
  #listening: Promise<void> = Promise.resolve();

  constructor(options: SchedulerOptions) {
    super(options.client);
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log;
    this.#pollMs = options.pollMs;
    this.#refreshMs = Math.min(options.refreshMs, LONGEST_POLL_MS);
  }

  protected override get trigger(): string {
    return "cron";
  }

  /** Begins to listen; does not wait for the principal. */
  async start(): Promise<void> {
    this.#listening = this.startListening();
  }

  async stop(): Promise<void> {
    this.#stop.abort(new Error("the scheduler stops"));
    clearTimeout(this.#timer);
    await this.#listening;
    await Promise.all(this.#sending);
    await this.client.close();
  }

  /** Follows the workflows until the scheduler is stopped. */
  async startListening(): Promise<void> {
    const { signal } = this.#stop;
    let revision: string | undefined;
    let retryMs = FIRST_RETRY_MS;
    while (!signal.aborted) {
      try {
        const wait_ms = revision === undefined ? 0 : this.#refreshMs;
        const present = await this.client.watchWorkflows({ revision, wait_ms }, { signal });
        if (present !== revision) this.#take(await this.client.listWorkflows({ signal }));
        revision = present;
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (signal.aborted) return;
        this.#log.debug(`The workflows cannot be asked for: ${errorMessage(error)}`);
        await this.#sleep(retryMs);
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
      }
    }
  }

  /** Takes over the schedules as they are now. */
  #take(workflows: Readonly<Record<string, WorkflowSummary>>): void {
    const before = this.#scheduled.size;
    for (const [id, entry] of this.#scheduled) {
      if (workflows[id]?.cron != null) continue;
      this.#forget(entry);
    }
    for (const workflow of Object.values(workflows)) {
      if (workflow.cron === null) continue;
      try {
        this.#schedule(workflow);
      } catch (error) {
        this.#log.error(`Workflow ${workflow.id} cannot be scheduled: ${errorMessage(error)}`);
      }
    }
    if (this.#scheduled.size !== before) {
      this.#log.info(
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
    this.#refused.delete(entry.id);
  }

  #schedule(workflow: WorkflowSummary): void {
    const { id, cron, timezone, start_time_ms, catchup } = workflow;
    const key = JSON.stringify([cron, timezone, start_time_ms, catchup]);
    const known = this.#scheduled.get(id);
    if (known?.key === key) return;
    if (known !== undefined) this.#forget(known);
    const now = this.#clock.now();
    const entry: Scheduled = {
      id,
      schedule: { cron, timezone, start_time_ms },
      catchup,
      key,
      // A cursor in the future was set by a clock that was wrong.
      handledMs: Math.min(workflow.schedule_cursor_ms ?? now, now),
      place: Symbol(),
      pending: [],
      sending: false,
      gone: false,
    };
    this.#scheduled.set(id, entry);
    this.#fire(entry, now, 0);
  }

  /** Queues what is due of an entry up to now, and its next firing. */
  #fire(entry: Scheduled, now: number, graceMs: number): void {
    const due = firingsDue(entry.schedule, entry.handledMs, now);
    const run = firingsToRun(due, entry.catchup, now, graceMs);
    const missed = due.filter((at) => now - at > graceMs);
    if (missed.length > 0) this.#tellMissed(entry, missed, run);
    entry.handledMs = now;
    entry.pending.push(...run);
    if (entry.pending.length > 0 && !entry.sending) this.#send(entry);
    const next = nextFiring(entry.schedule, now);
    entry.place = Symbol();
    if (next === null) return;
    this.#log.debug(`Workflow ${entry.id} fires next at ${new Date(next).toISOString()}`);
    this.#queue.push(next, { entry, place: entry.place });
  }

  #tellMissed(entry: Scheduled, missed: readonly number[], run: readonly number[]): void {
    const first = new Date(missed[0] ?? 0).toISOString();
    const last = new Date(missed.at(-1) ?? 0).toISOString();
    const span =
      missed.length === 1 ? `the firing of ${first}` : `${missed.length} firings, ${first} to ${last},`;
    const caughtUp = run.filter((at) => missed.includes(at)).length;
    this.#log.warn(
      `Workflow ${entry.id}: ${span} missed; catchup is "${entry.catchup}": ${caughtUp === 0 ? "none" : caughtUp} of them run${caughtUp === 1 ? "s" : ""} now.`,
    );
  }

  /** Sleeps until the next firing, but never long. */
  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#stop.signal.aborted) return;
    const next = this.#peek();
    if (next === undefined) return;
    this.#lastNow = this.#clock.now();
    const wait = Math.min(Math.max(next - this.#lastNow, 1), this.#pollMs);
    this.#timer = setTimeout(() => this.#wake(), wait);
  }

  #wake(): void {
    const now = this.#clock.now();
    if (now < this.#lastNow - BACKWARDS_MS) {
      this.#log.warn(
        `The clock was set back by ${Math.round((this.#lastNow - now) / 1000)} s; schedules go on from there.`,
      );
      this.#restart(now);
    }
    for (let next = this.#peek(); next !== undefined && next <= now; next = this.#peek()) {
      const entry = this.#queue.pop()?.item.entry;
      if (entry !== undefined) this.#fire(entry, now, GRACE_MS);
    }
    this.#arm();
  }

  /** The number of the first place that still counts. */
  #peek(): number | undefined {
    for (let first = this.#queue.peek(); first !== undefined; first = this.#queue.peek()) {
      const { entry, place } = first.item;
      if (!entry.gone && entry.place === place) return first.priority;
      this.#queue.pop();
    }
    return undefined;
  }

  /** Firings are counted anew from `now`; those that were runs already make no second one: their keys are known. */
  #restart(now: number): void {
    this.#queue.clear();
    for (const entry of this.#scheduled.values()) {
      entry.handledMs = now;
      this.#fire(entry, now, GRACE_MS);
    }
  }

  #send(entry: Scheduled): void {
    const sending = this.#sendAll(entry);
    this.#sending.add(sending);
    void sending.finally(() => this.#sending.delete(sending));
  }

  /** Makes runs of the pending firings, oldest first, for as long as it takes. */
  async #sendAll(entry: Scheduled): Promise<void> {
    entry.sending = true;
    let retryMs = FIRST_RETRY_MS;
    for (;;) {
      const at = entry.pending[0];
      if (at === undefined || entry.gone || this.#stop.signal.aborted) break;
      try {
        await this.runWorkflow(
          entry.id,
          { dedupeKey: `cron:${entry.id}:${at}`, scheduledTimeMs: at },
          { signal: this.#stop.signal },
        );
        entry.pending.shift();
        this.#refused.delete(entry.id);
        retryMs = FIRST_RETRY_MS;
      } catch (error) {
        if (this.#stop.signal.aborted) break;
        if (error instanceof RequestRefusedError) {
          entry.pending.shift();
          this.#tellRefused(entry.id, error.message);
          continue;
        }
        if (retryMs === FIRST_RETRY_MS)
          this.#log.warn(`Workflow ${entry.id} cannot be triggered now: ${errorMessage(error)}`);
        await this.#sleep(retryMs);
        retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
        entry.pending = firingsToRun(entry.pending, entry.catchup, this.#clock.now(), GRACE_MS);
      }
    }
    entry.sending = false;
  }

  /** The same refusal is told once. */
  #tellRefused(id: string, message: string): void {
    if (this.#refused.get(id) === message) return;
    this.#refused.set(id, message);
    this.#log.error(`Workflow ${id} fired, but cannot run: ${message}`);
  }

  #sleep(ms: number): Promise<void> {
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      if (signal.aborted) return resolve();
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done, { once: true });
    });
  }
}
