import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { LakeBucket } from "../../../src/contract/history.ts";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import type { Removed } from "../../../src/history/database/remove-history.ts";
import { Moto } from "../../support/moto.ts";
import { PostgresServer } from "../../support/postgres.ts";
import { answers, days, FIRST_DAY, NOW, perDay } from "../archive/archive-support.ts";
import { line, logs, rowsOf, TestDirectory } from "../database-support.ts";
import { lakeAt, openLake } from "./lake-support.ts";

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
}, 120_000);
afterAll(() => server[Symbol.asyncDispose]());

let schemas = 0;
const another = () => `upkeep_${++schemas}`;

const always = () => false;
/** What the catalog has, as PostgreSQL tells it. */
const inCatalog = (sql: string) =>
  server.sql<{ n: string }>(sql, [], "cdktr").then(([row]) => Number(row?.n));

/** Rows that are in the catalog itself, of all tables. */
async function inlined(schema: string): Promise<number> {
  const tables = await server.sql<{ name: string }>(
    "SELECT tablename AS name FROM pg_tables WHERE schemaname = $1 AND tablename ~ '^ducklake_inlined_data_\\d+_\\d+$'",
    [schema],
    "cdktr",
  );
  let rows = 0;
  for (const { name } of tables) rows += await inCatalog(`SELECT count(*) AS n FROM ${schema}.${name}`);
  return rows;
}

const parquetFiles = (directory: string) =>
  readdirSync(directory, { recursive: true }).filter((name) => String(name).endsWith(".parquet")).length;

/** Lets the lake look as it will after this time: its clock is PostgreSQL's. */
async function later(schema: string, interval: string): Promise<void> {
  const ago = `- INTERVAL '${interval}'`;
  await server.sql(
    `UPDATE ${schema}.ducklake_snapshot SET snapshot_time = snapshot_time ${ago}`,
    [],
    "cdktr",
  );
  await server.sql(
    `UPDATE ${schema}.ducklake_files_scheduled_for_deletion SET schedule_start = schedule_start ${ago}`,
    [],
    "cdktr",
  );
}

const linesOf = (history: HistoryDatabase) =>
  rowsOf(
    history,
    "SELECT stream_id, count(*), count(DISTINCT seq), max(seq) FROM logstore GROUP BY ALL ORDER BY ALL",
  );

describe("the upkeep of a lake", () => {
  test("rows leave the catalog, small files become few, and what nobody needs goes after its time", async () => {
    using directory = new TestDirectory();
    const schema = another();
    const settings = lakeAt(server, directory, { schema });
    const history = await openLake(settings, directory);
    await history.write(days(2, 3));
    // Small batches stay in the catalog, large ones become files.
    for (let n = 0; n < 6; n++)
      await history.write(
        logs(
          "t",
          n * 1100 + 1,
          Array.from({ length: n % 2 === 0 ? 1100 : 20 }, (_, i) => line({ payload: `${n} ${i}` })),
        ),
      );
    const before = await answers(history);
    expect(await inlined(schema)).toBeGreaterThan(20);
    const filesBefore = parquetFiles(settings.data);
    const done = await history.archive.upkeep(true, always);
    expect(done).toMatchObject({ expiredSnapshots: 0, removedFiles: 0 });
    expect(done?.flushedRows).toBeGreaterThan(20);
    expect(await inlined(schema)).toBe(0);
    // Nothing has gone: readers may be at it.
    expect(parquetFiles(settings.data)).toBeGreaterThan(filesBefore);
    expect(await answers(history)).toEqual(before);

    await later(schema, "26 hours");
    const second = await history.archive.upkeep(false, always);
    expect(second?.expiredSnapshots).toBeGreaterThan(5);
    await later(schema, "26 hours");
    const third = await history.archive.upkeep(false, always);
    expect(Number(second?.removedFiles) + Number(third?.removedFiles)).toBeGreaterThan(0);
    const known = await inCatalog(`SELECT count(*) AS n FROM ${schema}.ducklake_data_file`);
    const waiting = await inCatalog(
      `SELECT count(*) AS n FROM ${schema}.ducklake_files_scheduled_for_deletion`,
    );
    expect(parquetFiles(settings.data)).toBeLessThanOrEqual(known + waiting);
    // One a table, and what the last pass has left of updated ones.
    const ofLines = await inCatalog(
      `SELECT count(*) AS n FROM ${schema}.ducklake_data_file JOIN ${schema}.ducklake_table USING (table_id) WHERE table_name = 'logstore'`,
    );
    expect(ofLines).toBe(1);
    expect(await answers(history)).toEqual(before);
    await history.close();

    // Another one sees the same.
    const next = await openLake(settings, directory, { name: "b" });
    expect(await answers(next)).toEqual(before);
    expect((await next.archive.facts()).in_lake).toBe(true);
    await next.close();
  }, 120_000);

  test("beside a history that writes all the time, no line is lost or doubled", async () => {
    using directory = new TestDirectory();
    const history = await openLake(lakeAt(server, directory, { schema: another() }), directory);
    let isOver = false;
    let passes = 0;
    let failure: unknown;
    const upkeep = (async () => {
      while (!isOver) {
        await history.archive.upkeep(passes % 2 === 0, always);
        passes++;
      }
    })().catch((error) => {
      failure = error;
      passes = Number.POSITIVE_INFINITY;
    });
    let seq = 1;
    for (let n = 0; n < 12 || passes < 3; n++) {
      const size = n % 4 === 0 ? 1500 : 7;
      await history.write(
        logs(
          "s",
          seq,
          Array.from({ length: size }, (_, i) => line({ payload: `${seq + i}` })),
        ),
      );
      seq += size;
    }
    isOver = true;
    await upkeep;
    expect(failure).toBeUndefined();
    expect(await linesOf(history)).toEqual([["s", seq - 1, seq - 1, seq - 1]]);
    expect((await history.cursors()).streams.get("s")).toBe(seq - 1);
    await history.close();
  }, 120_000);

  test("ends early when the history stops", async () => {
    using directory = new TestDirectory();
    const history = await openLake(lakeAt(server, directory, { schema: another() }), directory);
    await history.write(logs("s", 1, [line()]));
    expect(await history.archive.upkeep(true, () => true)).toEqual({
      flushedRows: 0,
      mergedFiles: 0,
      writtenFiles: 0,
      expiredSnapshots: 0,
      removedFiles: 0,
    });
    await history.close();
  }, 60_000);
});

const counts = (removed: readonly Removed[]) =>
  removed.map(({ subject, runs, parts }) => [subject, runs, parts.map(({ table, rows }) => [table, rows])]);

describe("what a lake does not keep", () => {
  test("runs that ended before a day go as a whole, with their lines; those that have not ended stay", async () => {
    using directory = new TestDirectory();
    const history = await openLake(lakeAt(server, directory, { schema: another() }), directory);
    await history.write(days(3, 6));
    // Lines of a run that nobody knows.
    await history.write(
      logs("stray", 1, [
        line({ workflow_instance_id: "unknown", timestamp_ms: (FIRST_DAY + 1) * 86_400_000 }),
      ]),
    );
    const before = await perDay(history);
    const trial = await history.archive.removeDays(FIRST_DAY + 3, NOW, true);
    expect(await perDay(history)).toEqual(before);
    const removed = await history.archive.removeDays(FIRST_DAY + 3, NOW, false);
    expect(counts(removed)).toEqual(counts(trial));
    expect(removed.map(({ subject }) => subject)).toEqual(["before 2025-10-04"]);
    const left = await rowsOf(
      history,
      "SELECT status, finished_at_ms FROM workflow_runs WHERE created_at_ms < make_date(2025, 10, 4)::TIMESTAMP::TIMESTAMPTZ.epoch_ms() ORDER BY ALL".replace(
        "make_date(2025, 10, 4)::TIMESTAMP::TIMESTAMPTZ.epoch_ms()",
        String((FIRST_DAY + 3) * 86_400_000),
      ),
    );
    // The one of the first day that is still running, and the one that ended past midnight.
    expect(left.map(([status]) => status)).toEqual(["COMPLETED", "RUNNING"]);
    expect(
      await rowsOf(history, "SELECT count(*) FROM logstore WHERE workflow_instance_id = 'unknown'"),
    ).toEqual([[0]]);
    // Each run has all of its lines, or none.
    expect(
      await rowsOf(
        history,
        "SELECT DISTINCT n FROM (SELECT count(*) AS n FROM logstore GROUP BY workflow_instance_id)",
      ),
    ).toEqual([[10]]);
    const [audit] = await rowsOf(
      history,
      "SELECT subject, detail FROM audit_log WHERE action = 'history.delete'",
    );
    expect(audit?.[0]).toBe("before 2025-10-04");
    expect(JSON.parse(String(audit?.[1]))).toMatchObject({ why: "CDKTR_ARCHIVE_KEEP", audit_log: 3 });
    // Again: nothing is left to do, and nothing is told.
    expect(await history.archive.removeDays(FIRST_DAY + 3, NOW, false)).toEqual([]);
    await history.archive.upkeep(true, always);
    expect(await rowsOf(history, "SELECT count(*) FROM workflow_runs")).toEqual([[3 * 3 + 2]]);
    await history.close();
  }, 120_000);

  test("runs that a workflow does not keep go, in one transaction with the audit log", async () => {
    using directory = new TestDirectory();
    const history = await openLake(lakeAt(server, directory, { schema: another() }), directory);
    await history.write(days(3, 4));
    const rule = { workflow_id: "etl.hourly", days: null, runs: 1 };
    const forgotten: string[] = [];
    const forget = async (runs: readonly string[]) => void forgotten.push(...runs);
    const trial = await history.archive.removeRuns(rule, NOW, { skipped: 0 }, forget);
    expect(forgotten).toEqual([]);
    const done = await history.archive.removeRuns(rule, NOW, null, forget);
    expect(counts(done.removed)).toEqual(counts(trial.removed));
    expect(forgotten).toHaveLength(3);
    expect(
      await rowsOf(history, "SELECT workflow_id, count(*) FROM workflow_runs GROUP BY ALL ORDER BY ALL"),
    ).toEqual([
      ["etl.daily", 8],
      ["etl.hourly", 1],
    ]);
    const [audit] = await rowsOf(history, "SELECT detail FROM audit_log WHERE action = 'history.delete'");
    expect(JSON.parse(String(audit?.[0]))).toMatchObject({
      why: "retention: {runs: 1}",
      runs: 3,
      logstore: 30,
    });
    await history.close();
  }, 120_000);

  test("a history whose time is over deletes nothing", async () => {
    using directory = new TestDirectory();
    const schema = another();
    const old = await openLake(lakeAt(server, directory, { schema, epoch: 1 }), directory);
    await old.write(days(2, 3));
    const before = await perDay(old);
    const next = await openLake(lakeAt(server, directory, { schema, epoch: 2 }), directory, { name: "b" });
    const rule = { workflow_id: "etl.daily", days: 1, runs: null };
    const forget = async () => {};
    await expect(old.archive.removeDays(FIRST_DAY + 2, NOW, false)).rejects.toThrow(
      /Another principal writes/,
    );
    await expect(old.archive.removeRuns(rule, NOW, null, forget)).rejects.toThrow(/Another principal writes/);
    expect(await perDay(next)).toEqual(before);
    await Promise.all([old.close(), next.close()]);
  }, 60_000);
});

test("files in a bucket: written, read, merged and removed there; a bucket that is gone is told, without its key", async () => {
  using directory = new TestDirectory();
  await using moto = await Moto.start();
  const bucket: LakeBucket = {
    endpoint: new URL(moto.endpoint).host,
    region: "us-east-1",
    key_id: "cdktr",
    secret: "bucket's secret",
    is_path_style: true,
    uses_tls: false,
  };
  const schema = another();
  const data = `s3://${await moto.bucket()}/some where`;
  const settings = { ...lakeAt(server, directory, { schema }), data, bucket };
  const history = await openLake(settings, directory);
  await history.write(days(2, 2));
  for (let n = 0; n < 3; n++)
    await history.write(
      logs(
        "t",
        n * 1100 + 1,
        Array.from({ length: 1100 }, (_, i) => line({ payload: `${n} ${i}` })),
      ),
    );
  const before = await answers(history);
  const done = await history.archive.upkeep(true, always);
  expect(done?.mergedFiles).toBeGreaterThan(2);
  await later(schema, "26 hours");
  const second = await history.archive.upkeep(false, always);
  await later(schema, "26 hours");
  const third = await history.archive.upkeep(false, always);
  expect(Number(second?.removedFiles) + Number(third?.removedFiles)).toBeGreaterThan(2);
  expect(await answers(history)).toEqual(before);
  const inside = await rowsOf(history, "SELECT count(*) FROM logstore");
  expect(inside).toEqual([[3300 + 40]]);

  await moto[Symbol.asyncDispose]();
  const lost = history.write(
    logs(
      "t",
      3301,
      Array.from({ length: 1100 }, () => line()),
    ),
  );
  const error = await lost.then(
    () => "",
    (failure) => `${failure.message} ${failure.hint}`,
  );
  expect(error).toContain("The bucket of the history");
  expect(error).not.toContain("secret");
  await history.close();
}, 180_000);
