/** A forecast is right: a day in which everything takes as long as expected does what was forecast. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { TestStores } from "../../storage/operational-support.ts";
import { LONG } from "../../support/long.ts";
import { randomNumbers } from "../../workflow/support.ts";
import { type DayFlow, type DayPlan, inputOfDay, live } from "./day-world.ts";
import { forecast } from "./scenario.ts";

const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : undefined;
const SEEDS = LONG ? 2000 : 8;
const [FIRST = 1, LAST = FIRST] = (process.env.CDKTR_TEST_SEED ?? `1-${SEEDS}`).split("-").map(Number);
const HOUR_MS = 3_600_000;

/** Workflows by chance. No two things happen at the same time, because seconds and milliseconds differ. */
function dayOf(random: () => number): DayPlan {
  const chance = (of: number) => random() < of;
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  const flows = Array.from({ length: 2 + Math.floor(random() * 4) }, (_, n): DayFlow => {
    const takes: Record<string, number> = {};
    const tasks: string[] = [];
    const count = chance(0.5) ? 1 : 2 + Math.floor(random() * 2);
    for (let task = 0; task < count; task++) {
      takes[`t${task}`] = Math.floor((random() ** 2 * 3 * HOUR_MS) / 7) * 7 + n + 1;
      const pool = chance(0.4) ? [`    pool: {db: ${1 + Math.floor(random() * 2)}}`] : [];
      tasks.push(`  t${task}:`, "    run: 'true'", ...pool);
      if (task > 0 && chance(0.6)) tasks.push(`    depends: [t${task - 1}]`);
    }
    const group = chance(0.5) ? "group: shared, " : "";
    const limit = `concurrency: {${group}max_runs: ${1 + Math.floor(random() * 2)}, on_conflict: ${one(["queue", "queue_latest", "skip", "cancel_running"])}}`;
    const isLimited = chance(0.6);
    const text = [
      `cron: "${n + 1} ${Math.floor(random() * 60)} ${one(["*", "*/2", "*/3", "1-23/4"])} * * *"`,
      `catchup: ${one(["all", "latest"])}`,
      ...(isLimited ? [limit] : []),
      ...(chance(0.3) ? [`priority: ${Math.floor(random() * 10)}`] : []),
      "tasks:",
      ...tasks,
    ].join("\n");
    return { id: `w${n}`, text, takes };
  });
  const fromMs = Date.UTC(2026, 0, 5);
  return {
    fromMs,
    toMs: fromMs + 24 * HOUR_MS,
    flows,
    agents: { a: 1 + Math.floor(random() * 3), b: 1 },
    pools: { db: 2 },
  };
}

const STATUS = {
  runs: "COMPLETED",
  cancels: "COMPLETED",
  cancelled: "CANCELLED",
  skipped: "SKIPPED",
  dropped: "SKIPPED",
};

async function compare(seed: number): Promise<void> {
  const plan = dayOf(randomNumbers(seed));
  const expected = forecast(inputOfDay(plan)).firings.map((firing) => ({
    workflow: firing.workflow_id,
    at_ms: firing.at_ms,
    starts_ms: firing.starts_ms,
    status: STATUS[firing.outcome as keyof typeof STATUS],
  }));
  await using stores = new TestStores(MEMORY);
  const happened = await live(plan, stores);
  const show = (list: readonly (typeof expected)[number][]) =>
    list
      .map(({ workflow, at_ms, starts_ms, status }) =>
        [
          workflow,
          ...[at_ms, starts_ms].map((ms) => (ms === null ? "-" : new Date(ms).toISOString())),
          status,
        ].join(" "),
      )
      .sort();
  expect({
    seed,
    flows: plan.flows.map(({ text }) => text),
    agents: plan.agents,
    firings: show(happened),
  }).toEqual({
    seed,
    flows: plan.flows.map(({ text }) => text),
    agents: plan.agents,
    firings: show(expected),
  });
}

test(
  `a day does what was forecast (${SEEDS} seeds)`,
  async () => {
    for (let seed = FIRST; seed <= LAST; seed++) await compare(seed);
  },
  { timeout: Math.max(SEEDS, LAST - FIRST) * 10_000 },
);
