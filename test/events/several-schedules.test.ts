/** The scheduler with entries, pauses and calendars, on a clock that is moved by hand and without a principal. */
import { describe, expect, test } from "bun:test";
import { Beats, type Follower } from "../../src/events/beats.ts";
import type { DeclaredWorkflow } from "../../src/events/declared/declaration-source.ts";
import type { TriggerRequest } from "../../src/events/event-listener.ts";
import { Scheduler } from "../../src/events/scheduler.ts";
import { PrincipalClient, RequestRefusedError } from "../../src/protocol/client.ts";
import { turn } from "../../src/timer.ts";
import { calendarOf } from "../../src/workflow/calendar.ts";
import { firingContext } from "../../src/workflow/firings.ts";
import { jitterOf } from "../../src/workflow/jitter.ts";
import { type Entry, entryKey } from "../../src/workflow/schedules.ts";
import { LogBook } from "../principal/support.ts";
import { ManualClock } from "../support/manual-clock.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const entry = (cron: string, more: Partial<Entry> = {}): Entry => ({
  cron,
  timezone: null,
  start_time_ms: null,
  catchup: "latest",
  ...more,
});

/** A workflow as the principal declares it. */
function declared(id: string, schedules: readonly Entry[], more: Partial<DeclaredWorkflow> = {}) {
  const none = { cron: null, timezone: null, start_time_ms: null, catchup: "latest", params: {} } as const;
  return {
    id,
    ...none,
    schedule_cursor_ms: null,
    schedule_timezone: "UTC",
    schedules: [...schedules],
    ...more,
  };
}

class OpenScheduler extends Scheduler {
  override take(workflows: readonly DeclaredWorkflow[]): Promise<void> {
    return super.take(workflows);
  }
}

/** A scheduler, and what it delivers, as `HH:MM:SS workflow params`. */
class World {
  readonly clock = new ManualClock();
  readonly book = new LogBook();
  readonly delivered: string[] = [];
  readonly requests: TriggerRequest[] = [];
  readonly prepared: string[] = [];
  /** Undefined, or why a firing cannot become a run. */
  fails: (request: TriggerRequest) => Error | undefined = () => undefined;
  #running = new AbortController();
  #scheduler = this.#made();

  #made(): OpenScheduler {
    const scheduler = new OpenScheduler({ log: this.book.log, pollMs: HOUR, clock: this.clock });
    const { signal } = this.#running;
    const deliver = async (request: TriggerRequest) => {
      signal.throwIfAborted();
      const failure = this.fails(request);
      if (failure !== undefined) throw failure;
      this.requests.push(request);
      const { workflowId, params } = request;
      const values = Object.values(params).join();
      this.delivered.push(`${timeOf(request.scheduledTimeMs ?? 0)} ${workflowId} ${values}`.trimEnd());
      return { workflow_instance_id: "run", dedupe_key: request.dedupeKey, buffered: false };
    };
    const client = new PrincipalClient({ host: "127.0.0.1", port: 1, timeoutMs: 1 });
    scheduler.attach({
      client,
      signal,
      delivery: { deliver, prepare: (ids) => void this.prepared.push(...ids) },
    });
    return scheduler;
  }

  /** Another process begins. */
  restart(): void {
    this.#running.abort();
    this.#running = new AbortController();
    this.#scheduler = this.#made();
  }

  async take(...workflows: DeclaredWorkflow[]): Promise<void> {
    await this.#scheduler.take(workflows);
    await turn();
  }

  async advance(ms: number): Promise<void> {
    this.clock.advance(ms);
    await turn();
  }

  /** What was delivered since the last call. */
  get news(): string[] {
    return this.delivered.splice(0);
  }
}

const timeOf = (ms: number) => new Date(ms).toISOString().slice(11, 19);

describe("entries of one workflow", () => {
  test("fire each for itself, with its parameters; what they share makes one key", async () => {
    const world = new World();
    const every = entry("0 * * * *");
    await world.take(
      declared("a", [
        entry("0 */2 * * *", { params: { full: "true" } }),
        every,
        entry("0 */2 * * *"),
        entry("30 1 * * *", { end_time_ms: DAY }),
      ]),
    );
    await world.advance(2 * HOUR);
    expect(world.news.sort()).toEqual([
      "01:00:00 a",
      "01:30:00 a",
      "02:00:00 a",
      "02:00:00 a",
      "02:00:00 a true",
    ]);
    const atTwo = world.requests.filter(({ scheduledTimeMs }) => scheduledTimeMs === 2 * HOUR);
    expect(new Set(atTwo.map(({ dedupeKey }) => dedupeKey)).size).toBe(2);
    expect(new Set(atTwo.map(({ schedule }) => schedule)).size).toBe(3);
    expect(atTwo.map(({ schedule }) => schedule)).toContain(entryKey(every));
    // The last entry has ended.
    await world.advance(DAY);
    expect(world.news.filter((line) => line.startsWith("01:30"))).toEqual([]);
  });

  test("have positions of their own: what one missed is made up for although the other has gone on", async () => {
    const world = new World();
    const [hourly, half] = [entry("0 * * * *"), entry("30 * * * *")];
    const at = (a: number, b: number) =>
      declared("a", [hourly, half], {
        schedule_positions: new Map([
          [entryKey(hourly), a],
          [entryKey(half), b],
        ]),
      });
    world.clock.advance(3 * HOUR);
    // As after a crash between two runs: the one of 02:30 was made, that of 03:00 was not.
    await world.take(at(2 * HOUR, 2.5 * HOUR));
    expect(world.news).toEqual(["03:00:00 a"]);
    world.restart();
    await world.take(at(3 * HOUR, 1.5 * HOUR));
    expect(world.news).toEqual(["02:30:00 a"]);
  });

  test("an edit of one leaves the others where they are, also in a list of one more", async () => {
    const world = new World();
    const kept = entry("0 * * * *", { catchup: "all" });
    const first = declared("a", [kept, entry("30 * * * *")]);
    await world.take(first);
    await world.advance(1.25 * HOUR);
    expect(world.news).toEqual(["00:30:00 a", "01:00:00 a"]);
    await world.take(declared("a", [entry("45 * * * *"), kept, entry("20 1 * * *")]));
    await world.advance(HOUR);
    expect(world.news).toEqual(["01:20:00 a", "01:45:00 a", "02:00:00 a"]);
    // The same object is passed over, and what is gone fires no more.
    const other = declared("b", [entry("0 3 * * *")]);
    await world.take(other);
    await world.take(other);
    await world.advance(2 * HOUR);
    expect(world.news).toEqual(["03:00:00 b"]);
  });
});

describe("what is not safe", () => {
  test("is tried again, in order, and the rest of the firings goes on", async () => {
    const world = new World();
    world.fails = ({ workflowId }) => (workflowId === "a" ? new Error("the disk is full") : undefined);
    await world.take(
      declared("a", [entry("*/20 * * * *", { catchup: "all" })]),
      declared("b", [entry("*/20 * * * *")]),
    );
    await world.advance(HOUR);
    expect(world.news).toEqual(["00:20:00 b", "00:40:00 b", "01:00:00 b"]);
    expect(world.book.count(/Workflow a cannot be triggered now: the disk is full/)).toBe(1);
    world.fails = () => undefined;
    await world.advance(1000);
    expect(world.news).toEqual(["00:20:00 a", "00:40:00 a", "01:00:00 a"]);
    await world.advance(20 * MINUTE);
    expect(world.news.sort()).toEqual(["01:20:00 a", "01:20:00 b"]);
  });

  test("follows catchup when it is too late then", async () => {
    const world = new World();
    world.fails = () => new Error("the disk is full");
    await world.take(
      declared("none", [entry("0 * * * *", { catchup: "none" })]),
      declared("latest", [entry("0 * * * *")]),
    );
    await world.advance(3.5 * HOUR);
    world.fails = () => undefined;
    await world.advance(1000);
    expect(world.news).toEqual(["03:00:00 latest"]);
  });

  test("is not tried again when it was refused", async () => {
    const world = new World();
    let refusals = 0;
    world.fails = () => {
      refusals++;
      return new RequestRefusedError("it needs parameters");
    };
    await world.take(declared("a", [entry("0 * * * *")]));
    await world.advance(HOUR + 10 * MINUTE);
    expect(refusals).toBe(1);
  });
});

describe("a pause", () => {
  for (const [catchup, made] of [
    ["none", []],
    ["latest", ["03:00:00 a"]],
    ["all", ["01:00:00 a", "02:00:00 a", "03:00:00 a"]],
  ] as const) {
    test(`moves no position: with catchup ${catchup} it makes up for ${made.length} of 3 firings`, async () => {
      const world = new World();
      const schedules = [entry("0 * * * *", { catchup })];
      await world.take(declared("a", schedules));
      await world.advance(30 * MINUTE);
      await world.take(declared("a", schedules, { paused: {} }));
      await world.advance(3 * HOUR);
      expect(world.news).toEqual([]);
      await world.take(declared("a", schedules));
      expect(world.news).toEqual([...made]);
      await world.advance(HOUR);
      expect(world.news).toEqual(["04:00:00 a"]);
    });
  }

  test("that meets a firing keeps it, also over a restart", async () => {
    const world = new World();
    const schedules = [entry("0 * * * *")];
    world.fails = () => new Error("Workflow a is paused.");
    await world.take(declared("a", schedules));
    await world.advance(HOUR);
    await world.take(declared("a", schedules, { paused: {} }));
    world.fails = () => undefined;
    await world.advance(HOUR / 2);
    expect(world.news).toEqual([]);
    await world.take(declared("a", schedules));
    expect(world.news).toEqual(["01:00:00 a"]);
    world.restart();
    const positions = new Map([[entryKey(schedules[0] ?? entry("")), 0]]);
    await world.take(declared("a", schedules, { paused: {}, schedule_positions: positions }));
    expect(world.news).toEqual([]);
    await world.take(declared("a", schedules, { schedule_positions: positions }));
    expect(world.news).toEqual(["01:00:00 a"]);
  });
});

describe("times", () => {
  test("jitter shifts firings, not their scheduled times, and a restart shifts nothing", async () => {
    const world = new World();
    const jittered = entry("0 * * * *", { jitter_ms: 30 * MINUTE });
    const shift = jitterOf("a", 30 * MINUTE);
    expect(shift).toBeGreaterThan(MINUTE);
    await world.take(declared("a", [jittered]));
    await world.advance(HOUR + shift - 1);
    expect(world.news).toEqual([]);
    await world.advance(1);
    expect(world.news).toEqual(["01:00:00 a"]);
    world.restart();
    const positions = new Map([[entryKey(jittered), HOUR]]);
    await world.take(declared("a", [jittered], { schedule_positions: positions }));
    await world.advance(HOUR - 1);
    expect(world.news).toEqual([]);
    await world.advance(1);
    expect(world.news).toEqual(["02:00:00 a"]);
  });

  test("a catchup window drops what is older", async () => {
    const world = new World();
    const late = entry("0 * * * *", { catchup: "all", catchup_window_ms: 90 * MINUTE });
    const positions = new Map([[entryKey(late), 0]]);
    world.clock.advance(4 * HOUR + 10 * MINUTE);
    await world.take(declared("a", [late], { schedule_positions: positions }));
    expect(world.news).toEqual(["03:00:00 a", "04:00:00 a"]);
  });

  test("a calendar that changes counts at once; without it, nothing fires", async () => {
    const world = new World();
    const schedules = [entry("0 12 * * *", { calendar: "days" })];
    const on = (items: readonly string[]) => ({
      calendars: new Map([["days", calendarOf({ include: items })]]),
    });
    await world.take(declared("a", schedules));
    await world.advance(DAY);
    expect(world.news).toEqual([]);
    // 1970-01-02 is a Friday.
    await world.take(declared("a", schedules, on(["SAT"])));
    await world.advance(DAY);
    expect(world.news).toEqual([]);
    await world.take(declared("a", schedules, on(["SAT", "SUN"])));
    await world.advance(2 * DAY);
    expect(world.news).toEqual(["12:00:00 a", "12:00:00 a"]);
  });

  test("a text that becomes a list goes on where it was", async () => {
    const world = new World();
    await world.take(declared("a", [], { schedules: undefined, cron: "0 * * * *", schedule_cursor_ms: 0 }));
    await world.advance(HOUR);
    expect(world.requests[0]?.schedule).toBeUndefined();
    const hourly = entry("0 * * * *");
    const positions = new Map([[entryKey(hourly), HOUR]]);
    await world.take(declared("a", [hourly, entry("5 * * * *")], { schedule_positions: positions }));
    await world.advance(HOUR + 5 * MINUTE);
    expect(world.news).toEqual(["01:00:00 a", "01:05:00 a", "02:00:00 a", "02:05:00 a"]);
  });
});

test("workflows that fire soon are prepared, once", async () => {
  const world = new World();
  await world.take(declared("a", [entry("0 * * * *")]), declared("b", [entry("30 * * * *")]));
  expect(world.prepared).toEqual([]);
  await world.advance(30 * MINUTE);
  expect(world.prepared).toEqual(["b"]);
  await world.advance(30 * MINUTE);
  expect(world.prepared).toEqual(["b", "a"]);
});

describe("beats", () => {
  const follower = (id: string, one: Entry): Follower => {
    const context = firingContext(id, one, "UTC", new Map());
    return { id, slot: null, entry: one, context, handledMs: 0, isBehind: false, beat: null };
  };

  test("100,000 entries with three expressions are three beats, and each is taken once", () => {
    const beats = new Beats();
    const expressions = ["0 * * * *", "30 * * * *", "0 0 1 * *"].map((cron) => entry(cron));
    const followers = Array.from({ length: 100_000 }, (_, n) =>
      follower(`w${n}`, expressions[n % 3] ?? entry("* * * * *")),
    );
    for (const each of followers) beats.follow(each, 0);
    expect(beats.size).toBe(3);
    expect(beats.nextMs).toBe(30 * MINUTE);
    const taken = beats.take(30 * MINUTE);
    expect([taken?.due, taken?.beat.followers.size]).toEqual([[30 * MINUTE], 33_333]);
    expect(beats.take(30 * MINUTE)).toBeUndefined();
    for (const each of followers) beats.leave(each);
    expect([beats.size, beats.nextMs]).toEqual([0, undefined]);
  });

  test("of many missed firings only the newest hundred are due", () => {
    const beats = new Beats();
    beats.follow(follower("a", entry("* * * * * *")), 0);
    const due = beats.take(HOUR)?.due ?? [];
    expect([due.length, due[0], due.at(-1)]).toEqual([100, HOUR - 99_000, HOUR]);
    expect(beats.nextMs).toBe(HOUR + 1000);
  });
});

describe("a clock that is set back", () => {
  test("does not make a pause forget what it has missed", async () => {
    const world = new World();
    const schedules = [entry("0 * * * *", { catchup: "all" })];
    await world.take(declared("a", schedules, { paused: {} }));
    await world.advance(3 * HOUR + MINUTE);
    await world.take(declared("a", schedules, { paused: {} }));
    await world.advance(-2000);
    await world.take(declared("a", schedules));
    expect(world.book.count(/The clock was set back by 2 s/)).toBe(1);
    expect(world.news).toEqual(["01:00:00 a", "02:00:00 a", "03:00:00 a"]);
  });

  test("keeps firings that could not become runs", async () => {
    const world = new World();
    const schedules = [entry("0 * * * *")];
    world.fails = () => new Error("the disk is full");
    await world.take(declared("a", schedules));
    await world.advance(HOUR + 30_000);
    await world.advance(-2000);
    await world.take(declared("a", schedules), declared("b", schedules));
    expect(world.book.count(/The clock was set back by 2 s/)).toBe(1);
    world.fails = () => undefined;
    await world.advance(HOUR / 2);
    expect(world.news).toEqual(["01:00:00 a"]);
    await world.advance(HOUR / 2);
    expect(world.news).toEqual(["02:00:00 a", "02:00:00 b"]);
  });

  test("makes what comes a second time a second time, under the same key, and skips nothing after that", async () => {
    const world = new World();
    const schedules = [entry("0 * * * *")];
    await world.take(declared("a", schedules));
    await world.advance(2 * HOUR);
    expect(world.news).toEqual(["01:00:00 a", "02:00:00 a"]);
    await world.advance(-HOUR - MINUTE);
    await world.take(declared("a", schedules), declared("b", schedules));
    await world.advance(2 * MINUTE);
    expect(world.news).toEqual(["01:00:00 a", "01:00:00 b"]);
    expect(
      new Set(world.requests.filter(({ workflowId }) => workflowId === "a").map((one) => one.dedupeKey)).size,
    ).toBe(2);
    await world.advance(HOUR);
    expect(world.news).toEqual(["02:00:00 a", "02:00:00 b"]);
  });
});

test("a calendar that changes while thousands of schedules fire makes none of them miss its time", async () => {
  const world = new World();
  const schedules = [entry("0 * * * *", { calendar: "days", catchup: "none" })];
  const calendars = () => new Map([["days", calendarOf({})]]);
  const positions = new Map([[entryKey(schedules[0] ?? entry("")), 0]]);
  const all = (more: object) =>
    ["a", "b"].map((id) => declared(id, schedules, { ...more, schedule_positions: positions }));
  await world.take(...all({ calendars: calendars() }));
  await world.advance(HOUR - 1000);
  const [a, b] = all({ calendars: calendars() });
  if (a === undefined || b === undefined) throw new Error("there are two");
  // The time comes when only the first of them has been looked at.
  const late = Object.defineProperty({ ...b }, "schedules", {
    enumerable: true,
    get: () => {
      if (world.clock.now() < HOUR) world.clock.advance(2000);
      return schedules;
    },
  });
  await world.take(a, late);
  expect(world.news.sort()).toEqual(["01:00:00 a", "01:00:00 b"]);
  await world.advance(HOUR);
  expect(world.news.sort()).toEqual(["02:00:00 a", "02:00:00 b"]);
});
