import { expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { LONG } from "../../support/long.ts";
import { openHistory, rowsOf, TestDirectory } from "../database-support.ts";
import { archiveAll, DAY, days, FIRST_DAY, NOW, perDay } from "./archive-support.ts";

/** What a process leaves that is killed just now. */
function image(directory: TestDirectory, name: string): void {
  mkdirSync(directory.at(name));
  for (const file of ["app.db", "app.db.wal", "app.db.archive"])
    if (existsSync(directory.at(file)))
      cpSync(directory.at(file), join(directory.at(name), file), { recursive: true });
}

function files(directory: string): string[] {
  const all = readdirSync(directory, { recursive: true, withFileTypes: true });
  return all
    .filter((entry) => entry.isFile() && entry.name !== "DATABASE")
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

function open(directory: TestDirectory, path: string, at: (step: string) => Promise<void> | void = () => {}) {
  return HistoryDatabase.open({
    path,
    filesDirectory: directory.at("files"),
    tempDirectory: directory.at("temp"),
    at,
  });
}

test("whatever moment it is killed at, no row is lost or doubled, and nothing is left behind", async () => {
  using directory = new TestDirectory();
  const images: string[] = [];
  const history = await open(directory, directory.at("app.db"), (step) => {
    const name = `${images.length} ${step}`;
    image(directory, name);
    images.push(name);
  });
  await history.write(days(4));
  const before = await perDay(history);
  const cut = (FIRST_DAY + 2) * DAY;
  const [first = 0] = await history.archive.plan(cut);
  await history.archive.move(first, cut, NOW, false);
  expect(await perDay(history)).toEqual(before);
  await history.close();
  const steps = new Set(images.map((name) => name.replace(/^\d+ /, "")));
  for (const step of [
    "write logstore",
    "published logstore",
    "deleted task_run_status",
    "commit",
    "committed",
  ])
    expect(steps.has(step)).toBe(true);
  // A few of each kind; `npm run test:long` kills a process at each.
  for (const name of images.filter((_, n) => n % 3 === 0 || n >= images.length - 2)) {
    const path = join(directory.at(name), "app.db");
    const again = await open(directory, path);
    expect([name, await perDay(again)]).toEqual([name, before]);
    const manifest = again.archive.isUsed
      ? await rowsOf(again, "SELECT file FROM archive_files ORDER BY file")
      : [];
    const found = existsSync(`${path}.archive`) ? files(`${path}.archive`) : [];
    expect([name, found]).toEqual([name, manifest.map(([file]) => String(file))]);
    await again.close();
    rmSync(directory.at(name), { recursive: true });
  }
}, 60_000);

test("a part that is missing or not whole is named, and the others are shown; a new database leaves the archive of a lost one alone", async () => {
  using directory = new TestDirectory();
  let history = await openHistory(directory);
  await history.write(days(2));
  await archiveAll(history, 8);
  const [[lines = 0] = []] = await rowsOf(history, "SELECT count(*) FROM logstore");
  const parts = files(directory.at("app.db.archive")).filter((file) => file.startsWith("logstore"));
  const [one = "", two = ""] = parts;
  rmSync(directory.at(`app.db.archive/${one}`));
  // Whoever reads before it is noticed is told which file it is.
  await expect(rowsOf(history, "SELECT count(payload) FROM logstore")).rejects.toThrow(one);
  await history.archive.settled();
  const [[fewer = 0] = []] = await rowsOf(history, "SELECT count(*) FROM logstore");
  expect(Number(lines) - Number(fewer)).toBe(10);
  await history.close();
  writeFileSync(directory.at(`app.db.archive/${two}`), "half");
  const said: string[] = [];
  history = await HistoryDatabase.open({
    path: directory.at("app.db"),
    filesDirectory: directory.at("files"),
    tempDirectory: directory.at("temp"),
    say: (what) => said.push(what),
  });
  expect(await rowsOf(history, "SELECT count(*) FROM logstore")).toEqual([[Number(lines) - 30]]);
  expect(said.join()).toContain(
    "2 files of the archive are missing: history of 2025-10-01, 2025-10-02 is not shown.",
  );
  expect((await history.archive.facts()).missing).toEqual([one, two]);
  await history.close();
  // The database is lost.
  rmSync(directory.at("app.db"));
  rmSync(directory.at("app.db.wal"), { force: true });
  history = await openHistory(directory);
  await history.write(days(2));
  await archiveAll(history, 8);
  const aside = readdirSync(directory.path).filter((name) => name.startsWith("app.db.archive."));
  expect(aside).toHaveLength(1);
  expect(files(directory.at(aside[0] ?? "")).length).toBeGreaterThan(20);
  expect(await rowsOf(history, "SELECT count(*) FROM logstore")).toEqual([[lines]]);
  await history.close();
}, 60_000);

async function child(...args: string[]): Promise<{ readonly out: string; readonly signal: unknown }> {
  const process = Bun.spawn(["bun", join(import.meta.dir, "archive-child.ts"), ...args], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const out = await process.stdout.text();
  await process.exited;
  return { out, signal: process.signalCode };
}

test("a disk that gets full while a day moves leaves everything as it was, and it goes on when there is room", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.write(days(200));
  await history.close();
  const { out } = await child("fill", directory.path);
  const told = JSON.parse(out);
  expect(told).toEqual({
    failure: `The disk is full: there is no space for ${directory.at("app.db")}.archive.`,
    during: true,
    after: true,
    days: 4,
  });
}, 60_000);

// `npm run test:long` kills at each step of a day, the suite at one.
const KILLS = LONG ? Array.from({ length: 40 }, (_, n) => n + 1) : [27];
test(
  "a process that is killed leaves each row once",
  async () => {
    for (const step of KILLS) {
      using directory = new TestDirectory();
      let history = await openHistory(directory);
      await history.write(days(3));
      const before = await perDay(history);
      await history.close();
      const { signal, out } = await child("kill", directory.path, String(step));
      expect([step, signal, out]).toEqual([step, "SIGKILL", ""]);
      history = await openHistory(directory);
      expect([step, await perDay(history)]).toEqual([step, before]);
      await archiveAll(history, 8);
      expect([step, await perDay(history)]).toEqual([step, before]);
      const manifest = (await rowsOf(history, "SELECT file FROM archive_files ORDER BY file")).map(String);
      expect([step, files(directory.at("app.db.archive"))]).toEqual([step, manifest]);
      await history.close();
    }
  },
  LONG ? 3_600_000 : 60_000,
);
