import { expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { line, logs, openHistory, rowsOf, TestDirectory } from "../database-support.ts";
import { answers, archiveAll, DAY, days, NOW, perDay } from "./archive-support.ts";

test("nothing that anybody asks is answered in another way when days are in the archive", async () => {
  using directory = new TestDirectory();
  let history = await openHistory(directory);
  await history.write(days());
  const before = await answers(history);
  const moved = await archiveAll(history, 3);
  expect(moved.map(({ day }) => day)).toHaveLength(9);
  expect(await answers(history)).toEqual(before);
  // The run that is not over is still in the database, with all its lines.
  const live = await rowsOf(
    history,
    "SELECT count(*) FILTER (workflow_instance_id IS NOT NULL), count(DISTINCT workflow_instance_id) FROM main.logstore WHERE timestamp_ms < (SELECT max(timestamp_ms) FROM main.logstore) - 4 * 86400000",
  );
  expect(live).toEqual([[10, 1]]);
  await history.close();
  history = await openHistory(directory);
  expect(await archiveAll(history, 3)).toEqual([]);
  // Everything that is over.
  await archiveAll(history, -2);
  expect(await answers(history)).toEqual(before);
  await history.close();
}, 60_000);

test("a database without an archive has no trace of one, and a trial writes nothing", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.write(days(2));
  const before = await perDay(history);
  const cut = 20_370 * 86_400_000;
  expect(await history.archive.plan(cut)).toHaveLength(8);
  const trial = await history.archive.move(20_362, cut, 0, true);
  const traces =
    "SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'archive%' AND database_name <> 'temp'";
  expect(await rowsOf(history, traces)).toEqual([[0]]);
  expect(existsSync(directory.at("app.db.archive"))).toBe(false);
  const real = await history.archive.move(20_362, cut, 0, false);
  expect(trial).toEqual(real);
  expect(readdirSync(directory.at("app.db.archive"))).toContain("logstore");
  expect(await perDay(history)).toEqual(before);
  await history.close();
});

test("rows come in, and queries are answered, while days move: each sees every row once", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  await history.write(days(6));
  const old =
    "SELECT count(*), sum(hash(l)::HUGEINT)::VARCHAR, (SELECT count(*) FROM workflow_runs) FROM logstore l WHERE stream_id = 's'";
  const before = await rowsOf(history, old);
  let isOver = false;
  let written = 0;
  const writes = async () => {
    for (; !isOver; written++)
      await history.write(
        logs("t", written + 1, [line({ timestamp_ms: NOW + written, payload: `new ${written}` })]),
      );
  };
  let asked = 0;
  const queries = async () => {
    for (; !isOver || asked < 3; asked++) {
      expect(await rowsOf(history, old)).toEqual(before);
      expect((await history.searchLogs({ limit: 5, until_ms: NOW - DAY })).rows).toHaveLength(5);
    }
  };
  const moving = archiveAll(history, 2).finally(() => {
    isOver = true;
  });
  await Promise.all([moving, writes(), queries()]);
  expect(
    await rowsOf(history, "SELECT count(*), count(DISTINCT seq) FROM logstore WHERE stream_id = 't'"),
  ).toEqual([[written, written]]);
  await history.close();
}, 60_000);
