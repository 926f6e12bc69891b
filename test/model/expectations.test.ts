/**
 * A month in fast-forward, with the real classes and a real state: what is late and missed is told exactly when the definition says, over
 * changes of clocks, pauses, and principals that are killed or down for a day. A second model says what has to be told.
 */

import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { LONG } from "../support/long.ts";
import { randomNumbers } from "../workflow/support.ts";
import { firingsOf, type Plan, Reference } from "./expectations-reference.ts";
import { ExpectationWorld, GRACE_MS } from "./expectations-world.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SEEDS = LONG ? 2000 : 4;
const SHARED = "/dev/shm";
const DIRECTORY = existsSync(SHARED) ? SHARED : undefined;

/** Something that happens. */
interface Happening {
  readonly at: number;
  readonly what: () => Promise<void>;
}

/** A month of one workflow. */
class Month {
  readonly #random: () => number;
  readonly #queue: Happening[] = [];
  readonly log: string[] = [];
  readonly plan: Plan;
  readonly #start: number;
  readonly #end: number;
  readonly #world: ExpectationWorld;
  readonly #reference: Reference;
  #isUp = true;
  #isPaused = false;
  /** A firing that nobody made a run of yet. */
  #missed: number | null = null;
  /** What ended while no principal ran. */
  readonly #reports: { id: string; status: "COMPLETED" | "FAILED"; at: number }[] = [];
  /** What the agent has, or has ended without telling. */
  readonly #running = new Set<string>();
  #count = 0;
  #steps = 0;

  constructor(seed: number) {
    this.#random = randomNumbers(seed);
    const of = <T>(...values: readonly T[]): T => values[this.#below(values.length)] as T;
    this.plan = {
      zone: of("Europe/London", "Europe/London", "America/New_York", "UTC"),
      fires: of<Plan["fires"]>(
        { at: this.#below(24 * 60), weekdays: false },
        { at: 90, weekdays: false },
        { at: this.#below(24 * 60), weekdays: true },
        { minute: this.#below(60) },
        null,
      ),
      startWithin: of(null, 10 * MINUTE, 2 * HOUR),
      maxDuration: of(null, 30 * MINUTE, 5 * HOUR),
      finishBy: of(null, 90, this.#below(24 * 60), this.#below(24 * 60)),
      atLeastEvery: of(null, 26 * HOUR, 75 * MINUTE),
    };
    this.#start = Date.parse(of("2026-03-05T12:00Z", "2026-03-15T03:00Z", "2026-10-15T20:00Z"));
    this.#end = this.#start + 31 * DAY;
    this.#world = new ExpectationWorld(textOf(this.plan), this.#start, seed % 3 === 0, DIRECTORY);
    this.#reference = new Reference(this.plan, this.#start, this.#end, GRACE_MS);
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  /** A duration that is no whole number of seconds. */
  #about(ms: number): number {
    return Math.floor((this.#random() * 2 * ms) / 1000) * 1000 + 1 + this.#below(998);
  }

  #later(at: number, what: () => Promise<void>): void {
    if (at < this.#end) this.#queue.push({ at, what });
  }

  async play(): Promise<{ told: unknown; expected: unknown }> {
    await using world = this.#world;
    await world.start();
    for (const at of firingsOf(this.plan, this.#start, this.#end))
      this.#later(at + this.#below(900), () => this.#fire(at));
    for (let at = this.#start + this.#about(3 * DAY); at < this.#end; at += this.#about(4 * DAY))
      this.#trouble(at);
    for (let at = this.#start + this.#about(2 * DAY); at < this.#end; at += this.#about(3 * DAY))
      this.#later(at, () => this.#create(null, this.#random() < 0.2 ? "backfill" : "cli"));
    while (this.#queue.length > 0) {
      const next = this.#queue.reduce((first, one) => (one.at < first.at ? one : first));
      this.#queue.splice(this.#queue.indexOf(next), 1);
      await this.#pass(next.at);
      await next.what();
      // What is wrong is told near to its cause.
      if (this.#isUp && ++this.#steps % 20 === 0)
        expect({ log: this.log.slice(-12), ...(await this.#compared()) }).toMatchObject({ isSame: true });
    }
    if (!this.#isUp) await this.#up();
    await this.#pass(this.#end + DAY);
    return { told: await world.told(), expected: this.#reference.all() };
  }

  async #compared() {
    const [told, expected] = [await this.#world.told(), this.#reference.all()];
    const isSame = JSON.stringify(told) === JSON.stringify(expected);
    if (isSame) return { isSame };
    const lines = (all: typeof told) => all.map((one) => JSON.stringify(one));
    return {
      isSame,
      plan: this.plan,
      told: lines(told).filter((line) => !lines(expected).includes(line)),
      expected: lines(expected).filter((line) => !lines(told).includes(line)),
    };
  }

  async #pass(to: number): Promise<void> {
    await this.#world.until(to);
    if (this.#isUp) this.#reference.pass(to);
  }

  #say(what: string): void {
    this.log.push(`${new Date(this.#world.clock.now()).toISOString()} ${what}`);
  }

  async #fire(at: number): Promise<void> {
    if (!this.#isUp || this.#isPaused) this.#missed = at;
    else if (this.#random() > 0.04) await this.#create(at, "cron");
  }

  async #create(time: number | null, trigger: "cron" | "cli" | "backfill"): Promise<void> {
    if (!this.#isUp) return;
    const id = `r${++this.#count}`;
    const now = this.#world.clock.now();
    const scheduled = trigger === "backfill" ? now - this.#below(2 * DAY) : time;
    this.#say(`create ${id} ${trigger} ${scheduled === null ? "" : new Date(scheduled).toISOString()}`);
    await this.#world.create(id, {
      trigger,
      scheduled_time_ms: scheduled,
      ...(trigger === "backfill" ? { backfill_id: "b" } : {}),
    });
    this.#reference.create(id, now, scheduled, trigger);
    this.#later(now + this.#about(this.#random() < 0.8 ? 2 * MINUTE : 3 * HOUR), () => this.#take());
  }

  /** The agent takes what waits longest. */
  async #take(): Promise<void> {
    const now = this.#world.clock.now();
    const id = this.#isUp ? await this.#world.take() : null;
    if (id === null) {
      if (!this.#isUp || this.#isPaused) this.#later(now + HOUR + 1, () => this.#take());
      return;
    }
    this.#say(`take ${id}`);
    this.#running.add(id);
    this.#reference.start(id, now);
    const status = this.#random() < 0.85 ? "COMPLETED" : "FAILED";
    const ms = this.#random() < 0.7 ? 20 * MINUTE : this.#random() < 0.8 ? 4 * HOUR : 20 * HOUR;
    this.#later(now + this.#about(ms), () => this.#end_(id, status));
  }

  async #end_(id: string, status: "COMPLETED" | "FAILED"): Promise<void> {
    const at = this.#world.clock.now();
    this.#say(`end ${id} ${status}`);
    if (!this.#isUp) return void this.#reports.push({ id, status, at });
    this.#running.delete(id);
    await this.#world.end(id, status);
    this.#reference.end(id, status, at);
  }

  /** A pause, a restart, or a principal that is down for long. */
  #trouble(at: number): void {
    const kind = this.#random();
    if (kind < 0.35) {
      this.#later(at, () => this.#pause());
      this.#later(at + this.#about(DAY), () => this.#resume());
    } else if (kind < 0.55) {
      this.#later(at, async () => {
        await this.#down();
        await this.#up();
      });
    } else {
      this.#later(at, () => this.#down());
      this.#later(at + this.#about(kind < 0.75 ? 3 * HOUR : 1.5 * DAY), () => this.#up());
    }
  }

  async #pause(): Promise<void> {
    if (!this.#isUp || this.#isPaused) return;
    // What nobody has looked at yet after a start is looked at first.
    await this.#pass(this.#world.clock.now() + GRACE_MS);
    this.#isPaused = true;
    this.#say("pause");
    await this.#world.pause();
    this.#reference.pause(this.#world.clock.now());
  }

  async #resume(): Promise<void> {
    if (!this.#isPaused) return;
    if (!this.#isUp) return this.#later(this.#world.clock.now() + HOUR + 7, () => this.#resume());
    this.#isPaused = false;
    this.#say("resume");
    await this.#world.resume();
    this.#reference.resume(this.#world.clock.now());
    await this.#catchUp();
  }

  async #down(): Promise<void> {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#say("down");
    await this.#world.kill();
    this.#reference.down();
  }

  async #up(): Promise<void> {
    if (this.#isUp) return;
    this.#isUp = true;
    this.#say("up");
    await this.#world.start();
    const now = this.#world.clock.now();
    this.#reference.up(now, now + GRACE_MS, this.#running.size > 0);
    for (const { id, status, at } of this.#reports.splice(0)) {
      this.#running.delete(id);
      await this.#world.end(id, status, at);
      this.#reference.end(id, status, at);
    }
    if (!this.#isPaused) await this.#catchUp();
  }

  /** The latest firing that was missed becomes a run. */
  async #catchUp(): Promise<void> {
    if (this.#missed !== null) await this.#create(this.#missed, "cron");
    this.#missed = null;
  }
}

function textOf({ zone, fires, startWithin, maxDuration, finishBy, atLeastEvery }: Plan): string {
  const time = (minutes: number) =>
    `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
  const cron =
    fires === null
      ? ""
      : "minute" in fires
        ? `cron: "${fires.minute} * * * *"\n`
        : `cron: "${fires.at % 60} ${Math.floor(fires.at / 60)} * * ${fires.weekdays ? "MON-FRI" : "*"}"\n`;
  const rules = [
    startWithin === null ? [] : [`start_within: ${startWithin / MINUTE}m`],
    maxDuration === null ? [] : [`max_duration: ${maxDuration / MINUTE}m`],
    finishBy === null ? [] : [`finish_by: {time: "${time(finishBy)}", timezone: ${zone}}`],
    atLeastEvery === null ? [] : [`at_least_every: ${atLeastEvery / MINUTE}m`],
  ].flat();
  const expected = rules.length === 0 ? "" : `expect: {${rules.join(", ")}}\n`;
  return `timezone: ${zone}\n${cron}${expected}tasks: {a: {config: !Subprocess {cmd: "true"}}}\n`;
}

for (let seed = 1; seed <= SEEDS; seed++) {
  test(`a month in fast-forward, seed ${seed}`, async () => {
    const { told, expected } = await new Month(seed).play();
    expect(told).toEqual(expected);
  }, 600_000);
}
