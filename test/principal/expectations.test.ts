/** What is expected of workflows and runs: when it is late or missed, what keeps it, and what restarts, pauses and clocks do to it. */

import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { ExpectationWorld, FLOW, GRACE_MS } from "../model/expectations-world.ts";
import { LONG } from "../support/long.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const ms = (text: string): number => Date.parse(`${text}Z`);
const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : undefined;
const START = ms("2026-11-20T00:00:00");

const file = (expected: string, more = "") =>
  `${more}\nexpect: ${expected}\ntasks: {a: {config: !Subprocess {cmd: "true"}}}\n`;

/** `missed finish_by 11-21T06:00:00 → 11-21T07:00:00`, without the workflow. */
async function told(world: ExpectationWorld): Promise<string[]> {
  const time = (at: number) => new Date(at).toISOString().slice(5, 19);
  return (await world.told()).map(
    ({ key, at, over }) =>
      `${key.replace(` ${FLOW} `, " ")} ${time(at)} → ${over === null ? "open" : time(over)}`,
  );
}

async function worldOf(text: string, repeats = true): Promise<ExpectationWorld> {
  const world = new ExpectationWorld(text, START, repeats, MEMORY);
  await world.start();
  return world;
}

describe("start_within", () => {
  const TEXT = file("{start_within: 10m}", 'cron: "0 2 * * *"');

  test("counts from the time in the schedule, and is over when the run starts", async () => {
    await using world = await worldOf(TEXT);
    await world.until(START + 2 * HOUR + 5_000);
    await world.create("run", { trigger: "cron", scheduled_time_ms: START + 2 * HOUR });
    await world.until(START + 2 * HOUR + 10 * MINUTE - 1);
    expect(await told(world)).toEqual([]);
    await world.until(START + 2 * HOUR + 10 * MINUTE);
    expect(await told(world)).toEqual(["late run start_within 11-20T02:10:00 → open"]);
    await world.until(START + 3 * HOUR);
    expect(await world.take()).toBe("run");
    expect(await told(world)).toEqual(["late run start_within 11-20T02:10:00 → 11-20T03:00:00"]);
    await world.end("run", "COMPLETED");
    expect((await world.rows()).stored).toEqual([]);
  });

  test("nothing is told of a run that starts in time, or is cancelled before", async () => {
    await using world = await worldOf(TEXT);
    await world.create("one");
    await world.take();
    await world.create("other");
    await world.until(START + 9 * MINUTE);
    await world.cancel("other");
    await world.until(START + DAY);
    expect(await told(world)).toEqual([]);
  });

  test("a run that starts later counts from then; one of a backfill does not count", async () => {
    await using world = await worldOf(TEXT);
    await world.create("later", { start_at_ms: START + 5 * HOUR, scheduled_time_ms: START + 5 * HOUR });
    await world.create("old", { trigger: "backfill", scheduled_time_ms: START - DAY, backfill_id: "b" });
    await world.until(START + 5 * HOUR + 9 * MINUTE);
    expect(await told(world)).toEqual([]);
    await world.until(START + 5 * HOUR + 11 * MINUTE);
    expect(await told(world)).toEqual(["late later start_within 11-20T05:10:00 → open"]);
  });

  test("a pause holds it; afterwards it has all of its time, also what was missed in the pause", async () => {
    await using world = await worldOf(TEXT);
    await world.create("one");
    await world.until(START + 5 * MINUTE);
    await world.pause();
    await world.create("two");
    await world.until(START + 5 * HOUR);
    expect(await told(world)).toEqual([]);
    await world.resume();
    await world.create("missed", { trigger: "cron", scheduled_time_ms: START + 2 * HOUR });
    await world.start();
    await world.until(START + 5 * HOUR + 9 * MINUTE);
    expect(await told(world)).toEqual([]);
    await world.until(START + 5 * HOUR + 11 * MINUTE);
    expect(await told(world)).toEqual([
      "late missed start_within 11-20T05:10:00 → open",
      "late one start_within 11-20T05:10:00 → open",
      "late two start_within 11-20T05:10:00 → open",
    ]);
  });
});

describe("max_duration", () => {
  const TEXT = file("{max_duration: 2h}");

  test("counts from the first start of a run, over all its attempts, to its end", async () => {
    await using world = await worldOf(TEXT);
    await world.create("run");
    await world.until(START + 3 * HOUR);
    await world.take();
    await world.until(START + 4 * HOUR);
    await world.end("run", "CRASHED");
    await world.until(START + 4.5 * HOUR);
    await world.take();
    await world.until(START + 5 * HOUR);
    expect(await told(world)).toEqual(["late run max_duration 11-20T05:00:00 → open"]);
    await world.until(START + 6 * HOUR);
    await world.end("run", "FAILED");
    expect(await told(world)).toEqual(["late run max_duration 11-20T05:00:00 → 11-20T06:00:00"]);
  });

  test("a wall clock that is set does not move it, and neither does a restart", async () => {
    await using world = await worldOf(TEXT);
    await world.create("run");
    await world.take();
    await world.until(START + HOUR);
    await world.set(5 * HOUR);
    await world.until(START + 6.5 * HOUR);
    expect(await told(world)).toEqual([]);
    await world.start();
    await world.until(START + 6.5 * HOUR + GRACE_MS);
    expect(await told(world)).toEqual([]);
    await world.until(START + 7 * HOUR);
    expect(await told(world)).toEqual(["late run max_duration 11-20T02:00:00 → open"]);
  });

  test("what an agent did while no principal ran is judged by its own times", async () => {
    await using world = await worldOf(TEXT);
    for (const id of ["quick", "slow"]) {
      await world.create(id);
      await world.take();
    }
    await world.until(START + HOUR);
    await world.kill();
    await world.until(START + 8 * HOUR);
    await world.start();
    await world.end("quick", "COMPLETED", START + 1.9 * HOUR);
    await world.end("slow", "COMPLETED", START + 2.1 * HOUR);
    expect(await told(world)).toEqual(["late slow max_duration 11-20T02:00:00 → 11-20T02:06:00"]);
  });
});

describe("finish_by", () => {
  const TEXT = file('{finish_by: "06:00"}', 'cron: "0 2 * * *"');
  const two = (day: number) => START + day * DAY + 2 * HOUR;
  const six = (day: number) => START + day * DAY + 6 * HOUR;
  const nightly = (world: ExpectationWorld, id: string, day: number) =>
    world.create(id, { trigger: "cron", scheduled_time_ms: two(day) });

  test("a run that completes in time; a run that is under way; none", async () => {
    await using world = await worldOf(TEXT);
    await world.until(two(0));
    await nightly(world, "a", 0);
    await world.take();
    await world.until(two(0) + HOUR);
    await world.end("a", "COMPLETED");
    await world.until(two(1));
    expect(await told(world)).toEqual([]);
    await nightly(world, "b", 1);
    await world.take();
    await world.until(six(1) + HOUR);
    expect(await told(world)).toEqual(["late b finish_by 11-21T06:00:00 → open"]);
    await world.end("b", "COMPLETED");
    await world.until(six(2));
    expect(await told(world)).toEqual([
      "late b finish_by 11-21T06:00:00 → 11-21T07:00:00",
      "missed finish_by 11-22T06:00:00 → open",
    ]);
    // Once, not once a day.
    await world.until(six(5));
    expect((await told(world)).length).toBe(2);
    // Any later run will do.
    await world.create("c");
    await world.take();
    await world.end("c", "COMPLETED");
    expect((await told(world)).at(-1)).toBe("missed finish_by 11-22T06:00:00 → 11-25T06:00:00");
  });

  test("a failure is missed when its time comes; a retry, or a run by hand, keeps it", async () => {
    await using world = await worldOf(TEXT);
    await world.until(two(0));
    await nightly(world, "a", 0);
    await world.take();
    await world.end("a", "FAILED");
    await world.until(six(0) - MINUTE);
    await world.create("retry", { trigger: "retry", scheduled_time_ms: two(0), retry_of: "a" });
    await world.take();
    await world.end("retry", "COMPLETED");
    await world.until(two(1));
    await nightly(world, "b", 1);
    await world.take();
    await world.end("b", "FAILED");
    await world.until(six(1));
    expect(await told(world)).toEqual(["missed finish_by 11-21T06:00:00 → open"]);
  });

  test("a late run that fails: it is missed, unless another one is under way", async () => {
    await using world = await worldOf(TEXT);
    await world.until(two(0));
    await nightly(world, "a", 0);
    await world.take();
    await world.until(six(0) + HOUR);
    await world.create("b");
    await world.end("a", "FAILED");
    await world.until(six(0) + 2 * HOUR);
    await world.cancel("b");
    await world.until(six(0) + 3 * HOUR);
    await world.create("c");
    await world.take();
    await world.end("c", "COMPLETED");
    expect(await told(world)).toEqual([
      "late a finish_by 11-20T06:00:00 → 11-20T07:00:00",
      "late b finish_by 11-20T06:00:00 → 11-20T08:00:00",
      "missed finish_by 11-20T06:00:00 → 11-20T09:00:00",
    ]);
  });

  test("a run of an earlier day keeps nothing, one of the evening before the window neither", async () => {
    await using world = await worldOf(TEXT);
    await world.until(two(1));
    await world.create("old", { trigger: "backfill", scheduled_time_ms: two(-1), backfill_id: "b" });
    await world.create("new", { trigger: "backfill", scheduled_time_ms: two(1), backfill_id: "b" });
    await world.take();
    await world.end("old", "COMPLETED");
    await world.until(six(1));
    expect(await told(world)).toEqual(["missed finish_by 11-20T06:00:00 → open"]);
    await world.take();
    await world.end("new", "COMPLETED");
    expect(await told(world)).toEqual(["missed finish_by 11-20T06:00:00 → 11-21T06:00:00"]);
  });

  test("a principal that is down for days tells it once, with the time of the last one", async () => {
    await using world = await worldOf(TEXT);
    await world.until(two(0) - HOUR);
    await world.kill();
    await world.until(six(3) + HOUR);
    await world.start();
    await world.until(six(3) + HOUR + GRACE_MS - 1);
    expect(await told(world)).toEqual([]);
    await world.until(six(3) + HOUR + GRACE_MS);
    expect(await told(world)).toEqual(["missed finish_by 11-23T06:00:00 → open"]);
    await world.start();
    await world.until(six(3) + 5 * HOUR);
    expect((await told(world)).length).toBe(1);
  });

  test("a run that completed in time while no principal ran", async () => {
    await using world = await worldOf(TEXT);
    await world.until(two(0));
    await nightly(world, "a", 0);
    await world.take();
    await world.kill();
    await world.until(six(0) + HOUR);
    await world.start();
    await world.end("a", "COMPLETED", six(0) - MINUTE);
    await world.until(six(0) + 2 * HOUR);
    expect(await told(world)).toEqual([]);
  });

  test("nothing is missed in a pause, and what was missed is over with it", async () => {
    await using world = await worldOf(TEXT);
    await world.until(six(0) + HOUR);
    expect(await told(world)).toEqual(["missed finish_by 11-20T06:00:00 → open"]);
    await world.pause();
    expect(await told(world)).toEqual(["missed finish_by 11-20T06:00:00 → 11-20T07:00:00"]);
    await world.until(two(3) + HOUR);
    await world.resume();
    await world.until(six(4) - 1);
    expect((await told(world)).length).toBe(1);
    await world.until(six(4));
    expect((await told(world)).at(-1)).toBe("missed finish_by 11-24T06:00:00 → open");
  });

  test("a clock that is set back tells nothing twice; one that was far ahead does no harm", async () => {
    await using world = await worldOf(TEXT);
    await world.until(six(0) + MINUTE);
    await world.create("a");
    await world.take();
    await world.end("a", "COMPLETED");
    await world.set(-2 * HOUR);
    await world.until(six(0) + HOUR);
    expect(await told(world)).toEqual(["missed finish_by 11-20T06:00:00 → 11-20T06:01:00"]);
    await world.set(365 * DAY);
    await world.until(six(365) + HOUR + MINUTE);
    const ahead = await told(world);
    expect(ahead.length).toBe(2);
    await world.set(-365 * DAY);
    await world.create("b");
    await world.take();
    await world.end("b", "COMPLETED");
    await world.until(six(1));
    expect((await told(world)).filter((line) => line.includes("11-21T06:00:00"))).toEqual([
      "missed finish_by 11-21T06:00:00 → open",
    ]);
  });
});

describe("at_least_every", () => {
  const TEXT = file("{at_least_every: 26h}");

  test("counts from when it was first expected, then from each run that completed", async () => {
    await using world = await worldOf(TEXT);
    await world.until(START + 20 * HOUR);
    await world.create("a");
    await world.take();
    await world.end("a", "COMPLETED");
    await world.until(START + 40 * HOUR);
    await world.create("b");
    await world.take();
    await world.end("b", "FAILED");
    expect(await told(world)).toEqual([]);
    await world.until(START + 46 * HOUR);
    expect(await told(world)).toEqual(["missed at_least_every 11-21T22:00:00 → open"]);
    await world.until(START + 100 * HOUR);
    await world.create("c");
    await world.take();
    await world.end("c", "COMPLETED");
    await world.until(START + 126 * HOUR - 1);
    expect(await told(world)).toEqual(["missed at_least_every 11-21T22:00:00 → 11-24T04:00:00"]);
    await world.until(START + 126 * HOUR);
    expect((await told(world)).at(-1)).toBe("missed at_least_every 11-25T06:00:00 → open");
  });

  test("runs of backfills do not count; a pause starts it anew", async () => {
    await using world = await worldOf(TEXT);
    await world.until(START + 25 * HOUR);
    await world.create("old", { trigger: "backfill", scheduled_time_ms: START, backfill_id: "b" });
    await world.take();
    await world.end("old", "COMPLETED");
    await world.until(START + 26 * HOUR);
    expect(await told(world)).toEqual(["missed at_least_every 11-21T02:00:00 → open"]);
    await world.pause();
    await world.until(START + 200 * HOUR);
    await world.start();
    await world.resume();
    await world.until(START + 226 * HOUR - 1);
    expect(await told(world)).toEqual(["missed at_least_every 11-21T02:00:00 → 11-21T02:00:00"]);
    await world.until(START + 226 * HOUR);
    expect((await told(world)).length).toBe(2);
  });

  test("another period counts from the same time", async () => {
    await using world = await worldOf(TEXT);
    await world.until(START + 20 * HOUR);
    await world.change(file("{at_least_every: 10h}"));
    expect(await told(world)).toEqual(["missed at_least_every 11-20T10:00:00 → open"]);
    await world.change(file("{at_least_every: 30h}"));
    expect(await told(world)).toEqual(["missed at_least_every 11-20T10:00:00 → 11-20T20:00:00"]);
    await world.until(START + 30 * HOUR);
    expect((await told(world)).at(-1)).toBe("missed at_least_every 11-21T06:00:00 → open");
  });
});

describe("the file", () => {
  test("what it does not expect any more is forgotten, and what was missed is over", async () => {
    await using world = await worldOf(file('{at_least_every: 1h, finish_by: "06:00"}', 'cron: "0 5 * * *"'));
    await world.until(START + 2 * HOUR);
    expect((await told(world)).length).toBe(1);
    await world.change(file('{finish_by: "06:00"}', 'cron: "0 5 * * *"'));
    expect(await told(world)).toEqual(["missed at_least_every 11-20T01:00:00 → 11-20T02:00:00"]);
    await world.change('cron: "0 5 * * *"\ntasks: {a: {config: !Subprocess {cmd: "true"}}}\n');
    const { stored, known } = await world.rows();
    expect(stored).toEqual([]);
    expect(known).toEqual([]);
  });

  test("nothing is left of a workflow that was paused once, when it does not say when its runs start any more", async () => {
    await using world = await worldOf(file("{start_within: 10m}"));
    await world.pause();
    await world.resume();
    expect(await world.kept()).toEqual([FLOW, FLOW]);
    await world.change('cron: "0 5 * * *"\ntasks: {a: {config: !Subprocess {cmd: "true"}}}\n');
    expect(await world.kept()).toEqual([]);
  });

  test("a file that is away for a while loses nothing; one that is gone is forgotten", async () => {
    await using world = await worldOf(file("{at_least_every: 1h}"));
    await world.until(START + 50 * MINUTE);
    await world.change(null);
    await world.until(START + 55 * MINUTE);
    await world.change(file("{at_least_every: 1h}"));
    await world.until(START + HOUR);
    expect(await told(world)).toEqual(["missed at_least_every 11-20T01:00:00 → open"]);
    await world.change(null);
    await world.until(START + HOUR + 10 * MINUTE);
    expect(await told(world)).toEqual(["missed at_least_every 11-20T01:00:00 → 11-20T01:10:00"]);
    expect((await world.rows()).stored).toEqual([]);
  });

  test("another time of day counts from the next day on that it can", async () => {
    await using world = await worldOf(file('{finish_by: "06:00"}', 'cron: "0 2 * * *"'));
    await world.until(START + 3 * HOUR);
    await world.create("a", { trigger: "cron", scheduled_time_ms: START + 2 * HOUR });
    await world.take();
    await world.end("a", "COMPLETED");
    // It is kept already.
    await world.change(file('{finish_by: "08:00"}', 'cron: "0 2 * * *"'));
    await world.until(START + DAY + 8 * HOUR);
    expect(await told(world)).toEqual(["missed finish_by 11-21T08:00:00 → open"]);
  });
});

test("a principal that is suspended again and again judges in between", async () => {
  await using world = await worldOf(file("{at_least_every: 1h}"));
  await world.until(START + HOUR - 1);
  // Agents tell first what they did.
  world.suspend();
  await world.until(START + HOUR + 9_000);
  expect(await told(world)).toEqual([]);
  for (let at = START + HOUR + 9_000; at < START + HOUR + 12_000; at += 500) {
    world.suspend();
    await world.until(at + 500);
  }
  expect(await told(world)).toEqual(["missed at_least_every 11-20T01:00:00 → open"]);
});

describe("failures", () => {
  const TEXT = file(
    '{start_within: 10m, max_duration: 2h, finish_by: "06:00", at_least_every: 5h}',
    'cron: "0 2 * * *"',
  );

  /** A day in which everything is late or missed, and settled. @param failing the statement that fails, of the whole day; null for none */
  async function day(failing: number | null): Promise<{ lines: string[]; statements: number }> {
    await using world = await worldOf(TEXT, false);
    const before = world.stores.statements;
    if (failing !== null) world.stores.failStatement(failing);
    // Whoever asks asks again.
    const again = async (work: () => Promise<unknown>) => work().catch(work);
    await world.until(START + 2 * HOUR);
    await again(() => world.create("a", { trigger: "cron", scheduled_time_ms: START + 2 * HOUR }));
    await world.until(START + 3 * HOUR);
    await again(() => world.take());
    await world.until(START + 7 * HOUR);
    await again(() => world.end("a", "FAILED", START + 7 * HOUR));
    await again(() => world.create("b"));
    await again(() => world.take());
    await again(() => world.end("b", "COMPLETED", START + 7 * HOUR + 1));
    await again(() => world.pause());
    await again(() => world.resume());
    await world.until(START + 8 * HOUR);
    world.stores.failStatement(null);
    const statements = world.stores.statements - before;
    return { lines: await told(world), statements };
  }

  test("a statement that fails, whichever it is, loses nothing and repeats nothing", async () => {
    const sound = await day(null);
    expect(sound.lines).toEqual([
      "late a start_within 11-20T02:10:00 → 11-20T03:00:00",
      "late a max_duration 11-20T05:00:00 → 11-20T07:00:00",
      "missed at_least_every 11-20T05:00:00 → 11-20T07:00:00",
      "late a finish_by 11-20T06:00:00 → 11-20T07:00:00",
      "missed finish_by 11-20T06:00:00 → 11-20T07:00:00",
    ]);
    expect(sound.statements).toBeLessThan(400);
    for (let n = 1; n <= sound.statements; n += LONG ? 1 : 17)
      expect([n, ...(await day(n)).lines]).toEqual([n, ...sound.lines]);
  });

  test("runs of workflows of which nobody expects anything cost no statement more", async () => {
    const cost = async (text: string, expects: boolean) => {
      await using world = new ExpectationWorld(text, START, false, MEMORY);
      world.isWired = expects;
      await world.start();
      const before = world.stores.statements;
      await world.create("a", { trigger: "cron", scheduled_time_ms: START });
      await world.take();
      await world.end("a", "COMPLETED");
      await world.pause();
      await world.resume();
      await world.until(START + DAY);
      return world.stores.statements - before;
    };
    const plain = 'cron: "0 2 * * *"\ntasks: {a: {config: !Subprocess {cmd: "true"}}}\n';
    expect(await cost(plain, true)).toBe(await cost(plain, false));
    expect(await cost(file("{max_duration: 2h}"), true)).toBeGreaterThan(await cost(plain, false));
  });
});
