/** What becomes of the directories of runs: which are kept, for how long, and what a restart of the agent leaves. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RunDirectories } from "../../src/agent/run-directories.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "./support/bench.ts";

const HOUR = 3_600_000;
const runId = (n: number) => `0198c2a4-0000-7000-8000-${String(n).padStart(12, "0")}`;
const whole = (n: number, attempt = 1) => ({ workflow_instance_id: runId(n), slice: 0, attempt });
const slice = (n: number, number: number) => ({ workflow_instance_id: runId(n), slice: number, attempt: 1 });

/** The directories of an agent in a data directory, and their names. */
function agentIn(data: string, clock = new ManualClock()) {
  const directories = new RunDirectories(data, clock);
  const names = () =>
    readdirSync(join(data, "runs"))
      .filter((name) => !name.startsWith("."))
      .sort();
  const kept = () => names().filter((name) => !name.endsWith(".kept"));
  const fail = async (n: number, file?: Uint8Array) => {
    const directory = directories.of(whole(n));
    const path = directory.make();
    if (file !== undefined) writeFileSync(join(path, "file"), file);
    directory.release("FAILED");
    await directories.settled;
  };
  return { directories, clock, names, kept, fail };
}

test("is made when it is needed, once, and removed at the end unless the run failed", async () => {
  using data = new TemporaryDirectory();
  const { directories, names } = agentIn(data.root);
  const unused = directories.of(whole(1));
  unused.release("FAILED");
  const completed = directories.of(whole(2));
  expect(completed.make()).toBe(completed.path);
  expect(completed.make()).toBe(completed.path);
  const elsewhere = directories.of(whole(2, 2));
  elsewhere.make();
  expect(names()).toEqual([`${runId(2)}-1`, `${runId(2)}-2`]);
  completed.release("COMPLETED");
  elsewhere.release(null);
  const failed = directories.of(whole(3));
  failed.make();
  failed.release("FAILED");
  await directories.settled;
  expect(names()).toEqual([`${runId(3)}-1`, `${runId(3)}-1.kept`]);
});

test("slices of a run share one, until the principal says that the run is over and none of them is here", async () => {
  using data = new TemporaryDirectory();
  const { directories, names, kept } = agentIn(data.root);
  const [first, second] = [directories.of(slice(1, 1)), directories.of(slice(1, 2))];
  expect(directories.shared).toEqual([]);
  first.make();
  writeFileSync(join(first.path, "file"), "");
  second.make();
  expect(existsSync(join(second.path, "file"))).toBe(true);
  expect(directories.shared).toEqual([runId(1)]);
  first.release("COMPLETED");
  directories.runOver(runId(1), false);
  expect(names()).toEqual([runId(1)]);
  second.release("FAILED");
  expect(names()).toEqual([runId(1)]);
  directories.runOver(runId(1), true);
  await directories.settled;
  expect(directories.shared).toEqual([]);
  expect(kept()).toEqual([runId(1)]);
  directories.runOver(runId(2), true);
  expect(kept()).toEqual([runId(1)]);
});

test("keeps a run that failed for a day, also over restarts of the agent, which leave nothing else", async () => {
  using data = new TemporaryDirectory();
  const before = agentIn(data.root);
  await before.fail(1);
  before.directories.of(whole(2)).make();
  before.directories.of(slice(3, 1)).make();
  before.clock.advance(HOUR);
  await before.fail(4);
  before.directories.close();

  const after = agentIn(data.root, before.clock);
  // What was there is gone at once: it must not be in the way of another slice of the run.
  expect(after.kept()).toEqual([`${runId(1)}-1`, `${runId(4)}-1`]);
  const again = after.directories.of(slice(3, 1));
  expect(readdirSync(again.make())).toEqual([]);
  await after.directories.settled;
  after.clock.advance(23 * HOUR);
  await after.directories.settled;
  expect(after.kept()).toEqual([runId(3), `${runId(4)}-1`].sort());
  after.clock.advance(HOUR);
  await after.directories.settled;
  expect(after.names()).toEqual([runId(3)]);
  again.release(null);
  after.directories.runOver(runId(3), false);
  await until(() => readdirSync(join(data.root, "runs")).length === 0, "everything is removed");
  after.directories.close();
});

test("keeps the last twenty, and at most 1 GiB", async () => {
  using data = new TemporaryDirectory();
  const { clock, fail, kept, names } = agentIn(data.root);
  for (let n = 1; n <= 22; n++) {
    clock.advance(1000);
    await fail(n);
  }
  expect(kept()).toHaveLength(20);
  expect(kept()[0]).toBe(`${runId(3)}-1`);
  // As if it had been measured so: the sum counts, from the newest to the oldest.
  const marker = join(data.root, "runs", `${runId(22)}-1.kept`);
  writeFileSync(marker, String(1024 ** 3 - 100_000));
  utimesSync(marker, clock.now() / 1000, clock.now() / 1000);
  clock.advance(1000);
  await fail(23, new Uint8Array(200_000));
  expect(kept()).toEqual([`${runId(23)}-1`]);
  expect(names()).toHaveLength(2);
});

test("a directory that is in the way is not taken for a fresh one", () => {
  using data = new TemporaryDirectory();
  const { directories } = agentIn(data.root);
  const directory = directories.of(whole(1));
  mkdirSync(directory.path);
  writeFileSync(join(directory.path, "stranger"), "");
  expect(readdirSync(directory.make())).toEqual([]);
});

test("one that cannot be made, or kept, is told", async () => {
  using data = new TemporaryDirectory();
  const { directories } = agentIn(data.root);
  const directory = directories.of(whole(1));
  rmSync(join(data.root, "runs"), { recursive: true });
  writeFileSync(join(data.root, "runs"), "");
  expect(() => directory.make()).toThrow(`The run's own directory ${directory.path} cannot be made: `);
  directory.release("FAILED");
  rmSync(join(data.root, "runs"));
  mkdirSync(join(data.root, "runs"));
  // It may be possible later.
  expect(readdirSync(directory.make())).toEqual([]);
});

test("a run that failed and is here again has a fresh directory, whenever what is kept of others is looked at", async () => {
  for (let turns = 0; turns < 12; turns++) {
    using data = new TemporaryDirectory();
    const { directories, clock, kept, fail } = agentIn(data.root);
    const first = directories.of(slice(1, 1));
    first.make();
    first.release("FAILED");
    directories.runOver(runId(1), true);
    for (const n of [2, 3, 4]) await fail(n);
    await directories.settled;
    // All are too old now, and are being looked at.
    clock.advance(25 * HOUR);
    for (let turn = 0; turn < turns; turn++) await Bun.sleep(0);
    const again = directories.of(slice(1, 2)).make();
    writeFileSync(join(again, "file"), "");
    await directories.settled;
    expect(kept()).toEqual([runId(1)]);
    expect(readdirSync(again)).toEqual(["file"]);
    directories.close();
  }
});
