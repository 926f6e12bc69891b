import { expect, test } from "bun:test";
import { existsSync, mkdirSync } from "node:fs";
import { pythonWith } from "../../support/python.ts";
import { until } from "../../support/until.ts";
import { line, logs, openHistory, rowsOf, runRow, TestDirectory, taskRow } from "../database-support.ts";

async function python(script: string, ...args: string[]): Promise<unknown> {
  const child = Bun.spawn([await pythonWith(["duckdb>=1.5"]), "-c", script, ...args], {
    stdout: "pipe",
    stderr: "inherit",
  });
  return JSON.parse(await child.stdout.text());
}

async function filled(directory: TestDirectory) {
  const history = await openHistory(directory);
  const lines = Array.from({ length: 5000 }, (_, i) =>
    line({ timestamp_ms: 10_000 - Math.floor(i / 10), payload: `${i}` }),
  );
  await history.write({
    ...logs("s", 1, lines),
    statuses: [
      { id: 1, table: "workflow_run_status", row: runRow() },
      { id: 2, table: "workflow_run_status", row: runRow({ status: "COMPLETED" }) },
      { id: 3, table: "task_run_status", row: taskRow() },
    ],
  });
  mkdirSync(directory.at("files/out"), { recursive: true });
  return history;
}

test("Parquet files hold every table and view, the lines in order", async () => {
  using directory = new TestDirectory();
  const history = await filled(directory);
  const rows = await history.exportTo(directory.at("files/out"));
  expect(Object.fromEntries(rows)).toEqual({
    "logstore.parquet": 5000,
    "workflow_run_status.parquet": 2,
    "task_run_status.parquet": 1,
    "workflow_runs.parquet": 1,
    "task_runs.parquet": 1,
  });
  await history.close();
  const found = await python(
    `
import duckdb, json, sys
d = sys.argv[1]
q = lambda sql: duckdb.sql(sql.replace("DIR", d)).fetchall()
print(json.dumps([
  q("SELECT count(*), count(*) FILTER (t < before) FROM (SELECT timestamp_ms AS t, lag(timestamp_ms) OVER () AS before FROM 'DIR/logstore.parquet')"),
  q("SELECT status, duration_ms FROM 'DIR/workflow_runs.parquet'"),
  q("SELECT DISTINCT compression FROM parquet_metadata('DIR/logstore.parquet')"),
]))`,
    directory.at("files/out"),
  );
  expect(found).toEqual([[[5000, 0]], [["COMPLETED", null]], [["ZSTD"]]]);
}, 180_000);

test("a backup is one whole database, taken while rows come in", async () => {
  using directory = new TestDirectory();
  const history = await filled(directory);
  const file = directory.at("files/out/copy.duckdb");
  const backup = history.backupTo(file);
  for (let i = 0; i < 20; i++) await history.write(logs("t", i + 1, [line({ payload: `later ${i}` })]));
  await backup;
  expect(existsSync(`${file}.wal`)).toBe(false);
  expect(
    await rowsOf(history, "SELECT count(*) FROM duckdb_databases() WHERE database_name LIKE 'backup%'"),
  ).toEqual([[0]]);
  const found = await python(
    `
import duckdb, json, sys
db = duckdb.connect(sys.argv[1], read_only=True)
print(json.dumps([
  db.execute("SELECT count(*), bool_and(payload = rowid::VARCHAR) FROM logstore WHERE stream_id = 's'").fetchall(),
  db.execute("SELECT count(*) - (SELECT coalesce(max(position), 0) FROM ingest_cursor WHERE id = 't') FROM logstore WHERE stream_id = 't'").fetchall(),
  db.execute("SELECT status::VARCHAR, enum_last(NULL::RunStatus)::VARCHAR FROM workflow_runs").fetchall(),
  db.execute("SELECT count(*) FROM task_runs").fetchall(),
]))`,
    file,
  );
  expect(found).toEqual([[[5000, true]], [[0]], [["COMPLETED", "CANCELLED"]], [[1]]]);
  await history.close();
}, 180_000);

test("a backup of a database in memory, with a quote in its path", async () => {
  using directory = new TestDirectory();
  const history = await openHistory(directory, ":memory:");
  await history.write(logs("s", 1, [line()]));
  mkdirSync(directory.at("files/it's"), { recursive: true });
  await history.backupTo(directory.at("files/it's/copy.duckdb"));
  await history.exportTo(directory.at("files/it's"));
  await history.close();
  const copy = await openHistory(directory, directory.at("files/it's/copy.duckdb"));
  expect(await rowsOf(copy, "SELECT payload FROM logstore")).toEqual([["hello"]]);
  await copy.close();
});

test("a backup has what was there when it was fixed; rows that come in later do not wait for it", async () => {
  using directory = new TestDirectory();
  const history = await filled(directory);
  const file = directory.at("files/out/copy.duckdb");
  let isBackedUp = false;
  const written: Promise<boolean>[] = [];
  const fixed = () => {
    written.push(history.write(logs("late", 1, [line()])).then(() => isBackedUp));
  };
  await history.backupTo(file, { fixed });
  isBackedUp = true;
  expect(await Promise.all(written)).toEqual([false]);
  await history.close();
  const copy = await openHistory(directory, file);
  expect(await rowsOf(copy, "SELECT count(*), count(*) FILTER (stream_id = 'late') FROM logstore")).toEqual([
    [5000, 0],
  ]);
  expect((await copy.cursors()).streams.has("late")).toBe(false);
  await copy.close();
});

test("exports and backups hold up nothing else, and those that wait for their turn have decided nothing yet", async () => {
  using directory = new TestDirectory();
  const history = await filled(directory);
  const go = Promise.withResolvers<void>();
  let begun = 0;
  const before = () => {
    begun++;
    return go.promise;
  };
  const backups = Array.from({ length: 4 }, (_, i) =>
    history.backupTo(directory.at(`files/out/${i}.duckdb`), { before }),
  );
  await until("the first ones have begun", () => begun === 2);
  const lists = await Promise.all(Array.from({ length: 8 }, () => history.listRuns({ limit: 1 })));
  expect(lists.flat()).toHaveLength(8);
  expect(await history.unfinished()).toEqual([]);
  expect(begun).toBe(2);
  go.resolve();
  await Promise.all(backups);
  expect(begun).toBe(4);
  await history.close();
});
