/** When the archive is worked on, and how a request of an operator goes on. */
import { expect, test } from "bun:test";
import { createConsola } from "consola";
import { ArchiveKeeper, type KeeperOptions } from "../../../src/history/archive-keeper.ts";
import type { Archive } from "../../../src/history/database/archive.ts";
import { turn } from "../../../src/timer.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { DAY, NOW } from "./archive-support.ts";

/** A clock whose wall time can be set. */
class WallClock extends ManualClock {
  aheadMs = NOW;

  override now(): number {
    return super.now() + this.aheadMs;
  }
}

const TEN_MINUTES = 600_000;

function keeper(archive: Partial<Archive>, options: Partial<KeeperOptions> = {}) {
  const clock = new WallClock();
  const passes: number[] = [];
  const keeper = new ArchiveKeeper({
    withArchive: (work) =>
      work({
        facts: async () => ({ passed_at_ms: null }),
        plan: async () => [],
        passed: async (nowMs: number) => void passes.push(nowMs),
        ...archive,
      } as Archive),
    historyKeepDays: 90,
    archiveKeepDays: null,
    retentions: async () => [],
    forget: async () => {},
    log: createConsola({ level: -999 }),
    clock,
    ...options,
  });
  return { keeper, clock, passes };
}

test("a clock that was ahead for years when everything was done does not keep it from being done again", async () => {
  const { keeper: it, clock, passes } = keeper({});
  clock.aheadMs = NOW + 3650 * DAY;
  await it.start();
  const pass = async () => {
    const before = passes.length;
    clock.advance(TEN_MINUTES);
    // It rests between its steps.
    while (passes.length === before) {
      await turn();
      clock.advance(1);
    }
  };
  await pass();
  clock.aheadMs = NOW;
  await pass();
  expect(passes.map((at) => at < NOW + DAY)).toEqual([false, true]);
  await it.stop();
});

test("a day before 1970 is as good as its first one", async () => {
  const cuts: number[] = [];
  const { keeper: it, clock } = keeper({
    plan: async (cutMs) => {
      cuts.push(cutMs);
      return [];
    },
  });
  expect((await it.step({ dry_run: true, before_ms: -DAY * 3650 })).before).toBe("1970-01-01");
  // A clock that is not set yet.
  clock.aheadMs = 0;
  expect((await it.step({ dry_run: true })).before).toBe("1970-01-01");
  expect(cuts).toEqual([0, 0]);
});

test("a trial tells all runs that would be deleted, however many there are", async () => {
  const asked: (number | undefined)[] = [];
  const rules = ["a", "b"].map((workflow_id) => ({ workflow_id, days: 1, runs: null }));
  const { keeper: it } = keeper(
    {
      removeRuns: async ({ workflow_id }, _, trial) => {
        asked.push(trial?.skipped);
        const left = { a: 4500, b: 1 }[workflow_id] ?? 0;
        const runs = Math.min(2000, left - (trial?.skipped ?? 0));
        const more = (trial?.skipped ?? 0) + runs < left;
        return { removed: [{ subject: workflow_id, runs, parts: [] }], more };
      },
    },
    { historyKeepDays: null, retentions: async () => rules },
  );
  const told: unknown[] = [];
  for (let after: string | undefined, first = true; first || after !== undefined; first = false) {
    const { items, next } = await it.step({ dry_run: true, after });
    told.push(...items.map(({ subject, runs }) => [subject, runs]));
    after = next ?? undefined;
  }
  expect(told).toEqual([
    ["a", 2000],
    ["a", 2000],
    ["a", 500],
    ["b", 1],
  ]);
  expect(asked).toEqual([0, 2000, 4000, 0]);
  // A request may end anywhere.
  expect((await it.step({ dry_run: true, after: "runs: +4000" })).items.map(({ runs }) => runs)).toEqual([
    500, 1,
  ]);
  expect((await it.step({ dry_run: true, after: "runs:a" })).items.map(({ runs }) => runs)).toEqual([1]);
});
