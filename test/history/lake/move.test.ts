import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { type HistoryMoveOptions, moveIntoDatabase, moveIntoLake } from "../../../src/history/lake/move.ts";
import { LONG } from "../../support/long.ts";
import { PostgresServer } from "../../support/postgres.ts";
import { archiveAll, days } from "../archive/archive-support.ts";
import { line, logs, openHistory, rowsOf, TestDirectory } from "../database-support.ts";
import { lakeAt, openLake } from "./lake-support.ts";

setDefaultTimeout(120_000);

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(() => server[Symbol.asyncDispose]());

/** What does not depend on types: statuses are text in a lake. */
async function said(history: HistoryDatabase): Promise<unknown[]> {
  const { rows } = await history.searchLogs({ limit: 1000 });
  const runs =
    "SELECT * REPLACE (status::VARCHAR AS status) FROM workflow_runs ORDER BY workflow_instance_id";
  const tasks = "SELECT * REPLACE (status::VARCHAR AS status) FROM task_runs ORDER BY task_instance_id";
  return [rows, await rowsOf(history, runs), await rowsOf(history, tasks)];
}

const LINES = "SELECT count(*)::INTEGER FROM logstore";

test("a history with an archive moves into a lake and back, is continued there, and no move is half", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.claim("installation");
  await history.write(days(1, 8));
  await archiveAll(history, 8);
  expect(existsSync(directory.at("app.db.archive/logstore"))).toBe(true);
  const before = [await said(history), await history.cursors()];
  const [[lines = 0] = []] = (await rowsOf(history, LINES)) as number[][];
  await history.close();
  const settings = lakeAt(server, directory, { schema: "moved" });
  const options: HistoryMoveOptions = {
    path: directory.at("app.db"),
    lake: settings,
    directory: directory.path,
  };

  // It was killed in the middle: a table is there, and another.
  const killed = () =>
    expect(
      moveIntoLake({
        ...options,
        progress: (_done, _all, table) => {
          if (table === "workflow_run_status") throw new Error("killed");
        },
      }),
    ).rejects.toThrow("killed");
  if (LONG) await killed();

  // What an earlier move, and a way back, have left.
  mkdirSync(directory.at("app.db.moved.archive"));
  for (const file of ["app.db.moved.archive/stale", "app.db.moved.wal"])
    writeFileSync(directory.at(file), "stale");
  const moved = await moveIntoLake(options);
  expect(readdirSync(directory.at("app.db.moved.archive"))).not.toContain("stale");
  expect(existsSync(directory.at("app.db.moved.wal"))).toBe(false);
  expect(moved.find(({ table }) => table === "logstore")?.rows).toBe(lines);
  expect([existsSync(options.path), existsSync(directory.at("app.db.moved"))]).toEqual([false, true]);
  expect(existsSync(directory.at("moving"))).toBe(false);
  // It was killed before the archive had its other name: the next history here must not take it for its own.
  renameSync(directory.at("app.db.moved.archive"), directory.at("app.db.archive"));
  await expect(moveIntoLake(options)).rejects.toThrow(/was moved already/);
  expect(existsSync(directory.at("app.db.archive"))).toBe(false);
  // It was killed before the file had its other name.
  renameSync(directory.at("app.db.moved"), options.path);
  renameSync(directory.at("app.db.moved.archive"), directory.at("app.db.archive"));
  expect(await moveIntoLake(options)).toEqual(moved);

  const there = await openLake(settings, directory);
  expect([await said(there), await there.cursors()]).toEqual(before);
  await there.write(logs("t", 1, [line({ payload: "in the lake" })]));
  await there.close();
  if (LONG) {
    // What has gone on is not replaced.
    renameSync(directory.at("app.db.moved"), options.path);
    await expect(moveIntoLake(options)).rejects.toThrow(/has a history already, and it is not the one in/);
    renameSync(options.path, directory.at("app.db.moved"));
  }

  const back = await moveIntoDatabase(options);
  expect(statSync(options.path).mode & 0o777).toBe(0o600);
  expect(back.find(({ table }) => table === "logstore")?.rows).toBe(lines + 1);
  await expect(moveIntoDatabase(options)).rejects.toThrow(/There is a history .* already/);
  const again = await openHistory(directory);
  expect((await again.cursors()).streams.get("t")).toBe(1);
  expect(await rowsOf(again, LINES)).toEqual([[lines + 1]]);
  await again.write(logs("t", 2, [line({ payload: "in the file" })]));
  await again.close();
});
