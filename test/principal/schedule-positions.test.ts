import { expect, test } from "bun:test";
import { SchedulePositions } from "../../src/principal/workflows/schedule-positions.ts";
import type { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { type Entry, entryKey } from "../../src/workflow/schedules.ts";
import { TestStores } from "../storage/operational-support.ts";

const text = (cron: string | null, schedules?: readonly Entry[]) => ({
  id: "w",
  cron,
  timezone: null,
  start_time_ms: null,
  catchup: "latest" as const,
  ...(schedules === undefined ? {} : { schedules }),
});
const entry = (cron: string, more: Partial<Entry> = {}): Entry => ({
  cron,
  timezone: null,
  start_time_ms: null,
  catchup: "latest",
  ...more,
});
const list = (...schedules: readonly Entry[]) => text(null, schedules);

async function apply(
  store: SqliteOperationalStore,
  positions: SchedulePositions,
  to: ReturnType<typeof text>,
  nowMs: number,
) {
  const change = positions.changeTo(to, nowMs);
  if (change === undefined) return false;
  await store.transact((tx) => change.write(tx));
  change.written();
  const read = new SchedulePositions();
  await store.read((tx) => read.load(tx));
  // What is in memory is what is in the state.
  expect([positions.cursorOf(to), positions.entriesOf("w")]).toEqual([
    read.cursorOf(to),
    read.entriesOf("w"),
  ]);
  return true;
}

test("a schedule keeps its position when the file turns its text into a list, or back", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const positions = new SchedulePositions();
  const [hourly, late, full] = [
    entry("0 * * * *"),
    entry("30 * * * *"),
    entry("0 * * * *", { params: { full: "true" } }),
  ];
  expect(await apply(store, positions, text("0 * * * *"), 1000)).toBe(true);
  expect(await apply(store, positions, text("0 * * * *"), 2000)).toBe(false);
  await store.transact((tx) => tx.moveSchedule("w", 5000, 6000));
  positions.moved("w", { entry: null, firedMs: 5000, nowMs: 6000 });
  expect(await apply(store, positions, list(hourly, late, full), 9000)).toBe(true);
  // One with parameters is another schedule.
  expect(positions.entriesOf("w")).toEqual(
    new Map([
      [entryKey(hourly), 5000],
      [entryKey(late), 9000],
      [entryKey(full), 9000],
    ]),
  );
  expect(await apply(store, positions, list(late, hourly, full), 9500)).toBe(false);
  await store.transact((tx) => tx.moveSchedule("w", 8000, 9600, entryKey(hourly)));
  positions.moved("w", { entry: entryKey(hourly), firedMs: 8000, nowMs: 9600 });
  expect(await apply(store, positions, list(hourly, late), 9700)).toBe(true);
  expect(positions.entriesOf("w")?.get(entryKey(hourly))).toBe(8000);
  expect(positions.cursorOf(list(hourly))).toBeNull();
  expect(await apply(store, positions, text("30 * * * *"), 9800)).toBe(true);
  expect(positions.cursorOf(text("30 * * * *"))).toBe(9000);
  expect(positions.entriesOf("w")).toBeUndefined();
  expect([...positions.ids()]).toEqual(["w"]);
  expect(await apply(store, positions, text(null), 9900)).toBe(true);
  expect([...positions.ids()]).toEqual([]);
});
