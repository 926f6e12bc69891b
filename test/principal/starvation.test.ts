/**
 * Nothing starves: under a load of the highest priority that is more than agents or pools can take, whatever waits begins when that is over
 * which goes before it: what came before, and what came within 90 minutes after it. Without ageing it does not.
 */
import { describe, expect, test } from "bun:test";
import { PoolWorld, type Work } from "./pool-world.ts";

const MINUTE = 60_000;
/** How long a task takes, and the time between two tasks of the highest priority, minutes: three come while two can be done. */
const SERVICE = 10;
const BETWEEN = 10 / 3;
const PLACES = 2;
const HOURS = 5;
/** The time between two of the lowest priority, minutes. */
const LOW_BETWEEN = 15;

interface Load {
  readonly high: string;
  readonly low: string;
  /** How many light tasks one of the low ones takes the place of. */
  readonly weight: number;
}

/** When each run came and began, minutes; those that have not begun are missing. */
async function play({ high, low }: Load, ageingMs?: number) {
  await using world = await PoolWorld.open(ageingMs);
  await world.pool("db", PLACES);
  await world.agent("agent", PLACES);
  const [came, began] = [new Map<string, number>(), new Map<string, number>()];
  const ends = new Map<Work, number>();
  let seen = 0;
  const look = (now: number): void => {
    for (const work of world.working) if (!ends.has(work)) ends.set(work, now + SERVICE);
    for (const name of world.begun.slice(seen)) began.set(name.split(" ")[0] ?? "", now);
    seen = world.begun.length;
  };
  for (let now = 0, highs = 0, lows = 0; now < HOURS * 60; now++) {
    for (const [work, end] of [...ends]) {
      if (end > now) continue;
      ends.delete(work);
      await world.end(work);
      look(now);
    }
    for (; highs * BETWEEN <= now; highs++) {
      came.set(`high-${highs}`, now);
      await world.create(`high-${highs}`, high);
      look(now);
    }
    if (lows * LOW_BETWEEN <= now) {
      came.set(`low-${lows}`, now);
      await world.create(`low-${lows++}`, low);
      look(now);
    }
    world.clock.advance(MINUTE);
  }
  return { came, began };
}

/** The low ones that should have begun within the time and have not, or have begun too late. */
async function starved(load: Load, ageingMs?: number): Promise<string[]> {
  const { came, began } = await play(load, ageingMs);
  return [...came].flatMap(([run, at]) => {
    if (!run.startsWith("low")) return [];
    let before = 0;
    for (const [other, time] of came) {
      if (other === run) continue;
      if (other.startsWith("high") ? time <= at + 90 : time <= at)
        before += other.startsWith("high") ? 1 : load.weight;
    }
    // What goes before it is done by then, and what has begun is over.
    const latest = Math.max(at, (before * SERVICE) / PLACES) + 2 * SERVICE;
    const start = began.get(run) ?? Number.POSITIVE_INFINITY;
    return latest < HOURS * 60 && start > latest ? [`${run}: ${start} > ${latest}`] : [];
  });
}

const LOADS: Readonly<Record<string, Load>> = {
  "an agent": {
    high: "priority: 9\ntasks: {t: {run: ls}}\n",
    low: "priority: 0\ntasks: {t: {run: ls}}\n",
    weight: 1,
  },
  "all slots of a pool": {
    high: "priority: 9\ntasks: {t: {run: ls, pool: db}}\n",
    low: `priority: 0\ntasks: {t: {run: ls, pool: {db: ${PLACES}}}}\n`,
    weight: PLACES,
  },
};

describe("the lowest priority under a load of the highest that is half more than can be done", () => {
  for (const [what, load] of Object.entries(LOADS)) {
    test(`gets ${what} in time`, async () => {
      expect(await starved(load)).toEqual([]);
    });

    test(`waits for ${what} for ever if waiting does not count`, async () => {
      expect((await starved(load, 0)).length).toBeGreaterThan(3);
    });
  }
});
