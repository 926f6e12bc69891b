/** Reads of a history whose days are in the archive, beside the same SQL of bare DuckDB over the same files. */
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { DuckDBConnection } from "@duckdb/node-api";
import { loadDuckDB, openDatabase } from "../../src/history/database/duckdb.ts";
import { HistoryDatabase } from "../../src/history/database/history-database.ts";
import { historyMemory } from "../../src/host/history-memory.ts";
import { type Measure, median, timed } from "./measure.ts";

const DAY_MS = 86_400_000;
/** 2024-01-01. */
const FIRST_DAY = 19_723;
/** Days that are made before they move: the database need not hold all of them. */
const DAYS_AT_ONCE = 30;

/** How large the history is. */
export interface ArchiveSize {
  readonly days: number;
  /** Runs of a day, with 3 statuses each. */
  readonly runs: number;
  /** Log lines of a run. */
  readonly lines: number;
}

/** Makes the history in this directory, moves it, and measures. */
export async function archived(
  directory: string,
  { days, runs, lines }: ArchiveSize,
  samples: number,
): Promise<Measure[]> {
  const files = {
    path: join(directory, "archived.db"),
    filesDirectory: join(directory, "files"),
    tempDirectory: join(directory, "temp"),
  };
  mkdirSync(directory, { recursive: true });
  await (await HistoryDatabase.open(files)).close();
  const moves: number[] = [];
  for (let day = FIRST_DAY; day < FIRST_DAY + days; day += DAYS_AT_ONCE) {
    const end = Math.min(day + DAYS_AT_ONCE, FIRST_DAY + days);
    await fill(files, day, end, runs, lines);
    const history = await HistoryDatabase.open(files);
    const cut = end * DAY_MS;
    for (const each of await history.archive.plan(cut))
      moves.push(await timed(() => history.archive.move(each, cut, Date.now(), false)));
    await history.close();
  }
  const last = FIRST_DAY + days;
  await fill(files, last, last + 1, runs, lines);
  const history = await HistoryDatabase.open(files);
  const bare = await bareDuckDB();
  const archive = `${files.path}.archive`;
  const all = (table: string) => `read_parquet('${archive}/${table}/*/*.parquet', hive_partitioning = false)`;
  const [noon, hour] = [(FIRST_DAY + Math.floor(days / 2)) * DAY_MS, (last + 1) * DAY_MS - DAY_MS / 24];
  const id = String(
    (await bare.runAndReadAll(`SELECT min(workflow_instance_id) FROM ${all("workflow_runs")}`)).value(0, 0),
  );
  const day = (from: string, column = "*") =>
    `SELECT workflow_id, count(${column}) FROM ${from} WHERE timestamp_ms >= ${noon} AND timestamp_ms < ${noon + DAY_MS} GROUP BY workflow_id`;
  const state = "SELECT status, count(*), max(duration_ms) FROM";
  const sql = (query: string) => () => history.query({ sql: query, max_rows: 10_000 });
  const cases: readonly [name: string, mine: () => Promise<unknown>, bare: string][] = [
    [
      "archive: the newest 50 runs",
      () => history.listRuns({ limit: 50 }),
      `SELECT * FROM ${all("workflow_runs")} ORDER BY created_at_ms DESC LIMIT 50`,
    ],
    [
      "archive: 50 runs of two years ago",
      () => history.listRuns({ limit: 50 }, (FIRST_DAY + 1) * DAY_MS),
      `SELECT * FROM ${all("workflow_runs")} WHERE created_at_ms < ${(FIRST_DAY + 1) * DAY_MS} ORDER BY created_at_ms DESC LIMIT 50`,
    ],
    [
      "archive: an old run",
      () => history.findRun(id, false),
      `SELECT * FROM ${all("workflow_runs")} WHERE workflow_instance_id = '${id}'`,
    ],
    [
      "archive: the log lines of the last hour",
      () => history.searchLogs({ since_ms: hour, limit: 10_000 }),
      `SELECT * FROM ${all("logstore")} WHERE timestamp_ms >= ${hour} ORDER BY timestamp_ms LIMIT 10000`,
    ],
    ["archive: db query, lines of one day", sql(day("logstore", "payload")), day(all("logstore"), "payload")],
    [
      "archive: db query, all runs by status",
      sql(`${state} workflow_runs GROUP BY ALL`),
      `${state} ${all("workflow_runs")} GROUP BY ALL`,
    ],
  ];
  const measures: Measure[] = [
    { name: "archive: a day moves", unit: "ms", cdktr: median(moves), against: null, baseline: null },
  ];
  for (const [name, mine, theirs] of cases) {
    const times = { mine: [] as number[], theirs: [] as number[] };
    for (let n = 0; n < samples; n++) {
      times.mine.push(await timed(mine));
      times.theirs.push(await timed(() => bare.runAndReadAll(theirs)));
    }
    const against = `bare DuckDB over the ${readdirSync(join(archive, "logstore")).length} files`;
    measures.push({ name, unit: "ms", cdktr: median(times.mine), against, baseline: median(times.theirs) });
  }
  await history.close();
  return measures;
}

/** Inserts days of runs, a third of them FAILED, with their tasks and lines. */
async function fill(
  files: Parameters<typeof openDatabase>[0],
  from: number,
  to: number,
  runs: number,
  lines: number,
): Promise<void> {
  const { connection, instance } = await openDatabase(files);
  const at = `${from}::BIGINT * ${DAY_MS} + r * ${Math.floor(DAY_MS / runs)}`;
  const all = `range(${(to - from) * runs}) t(r)`;
  const id = `md5(concat(${from}, ' ', r))`;
  const common = `'etl.flow' || r % 200`;
  await connection.run(
    `INSERT INTO workflow_run_status BY NAME
     SELECT ${common} AS workflow_id, ${id} AS workflow_instance_id, s.status, ${at} + s.ms AS timestamp_ms, 'Flow' AS workflow_name, 'cron' AS trigger,
       1 AS attempt, 'agent-' || r % 20 AS agent_id, ${at} AS created_at_ms, '{}' AS params, CASE WHEN s.ms = 900 THEN 900 - 3 END AS duration_ms
     FROM ${all}, (VALUES ('PENDING', 0), ('RUNNING', 3), ('COMPLETED', 900)) s(status, ms)`,
  );
  await connection.run(
    `INSERT INTO task_run_status BY NAME
     SELECT 'load' AS task_id, ${id} || '-t' AS task_instance_id, ${id} AS workflow_instance_id, s.status, ${at} + s.ms AS timestamp_ms,
       ${common} AS workflow_id, 'load' AS task_name, 1 AS attempt, 1 AS task_attempt, 'agent-' || r % 20 AS agent_id
     FROM ${all}, (VALUES ('RUNNING', 4), ('COMPLETED', 890)) s(status, ms)`,
  );
  await connection.run(
    `INSERT INTO logstore BY NAME
     SELECT ${common} AS workflow_id, 'Flow' AS workflow_name, ${id} AS workflow_instance_id, 'load' AS task_name, ${id} || '-t' AS task_instance_id,
       ${at} + l * 20 AS timestamp_ms, 'INFO' AS level, concat('loaded part ', l, ' of ', r, ': ', hash(r * 64 + l), ' rows') AS payload,
       'agent-' || r % 20 AS agent_id, 's' AS stream_id, r * 64 + l AS seq
     FROM ${all}, range(${lines}) u(l)`,
  );
  connection.disconnectSync();
  instance.closeSync();
}

/** DuckDB with the resources that the history gives it. */
async function bareDuckDB(): Promise<DuckDBConnection> {
  const { DuckDBInstance } = await loadDuckDB();
  const memory_limit = `${Math.floor(historyMemory().database / 1e6)}MB`;
  return (await DuckDBInstance.create(":memory:", { threads: "2", memory_limit })).connect();
}
