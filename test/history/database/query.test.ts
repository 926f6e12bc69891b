import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { InvalidInputError, UnprocessableError } from "../../../src/errors.ts";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { line, logs, openHistory, rowsOf, TestDirectory } from "../database-support.ts";

const directory = new TestDirectory();
let history: HistoryDatabase;

beforeAll(async () => {
  history = await openHistory(directory);
  await history.write(logs("s", 1, [line(), line({ payload: "two" })]));
  mkdirSync(directory.at("files"), { recursive: true });
  for (const name of ["secret.csv", "files/secret.csv"]) writeFileSync(directory.at(name), "a,b\n1,2\n");
});

afterAll(async () => {
  await history.close();
  directory[Symbol.dispose]();
});

describe("statements that read", () => {
  const allowed: [string, unknown][] = [
    ["SELECT payload FROM logstore ORDER BY rowid", [["hello"], ["two"]]],
    ["FROM range(2)", [[0], [1]]],
    ["VALUES (1), (2);", [[1], [2]]],
    ["WITH x AS (SELECT 1 AS a) SELECT a, a AS a FROM x -- end", [[1, 1]]],
    ["SELECT count(*) FROM (DESCRIBE logstore)", [[11]]],
    ["SELECT count(*) FROM (SUMMARIZE workflow_runs)", [[29]]],
    ["SELECT name FROM (SHOW TABLES) WHERE name = 'task_runs'", [["task_runs"]]],
    ["SELECT count(*) > 0 FROM duckdb_settings()", [[true]]],
    ["SELECT unnest([1, 2])", [[1], [2]]],
  ];
  for (const [sql, rows] of allowed) {
    test(sql, async () => expect(await rowsOf(history, sql)).toEqual(rows as unknown[][]));
  }

  for (const sql of [
    "SHOW TABLES",
    "show all tables",
    "DESCRIBE",
    "DESCRIBE SELECT 1",
    "EXPLAIN SELECT * FROM logstore",
    "/* why */ explain analyze select count(*) from logstore",
    "EXPLAIN (FORMAT json) SELECT 1",
    "EXPLAIN (SELECT 1)",
    "FROM (PIVOT workflow_run_status ON status IN ('PENDING') USING count(*))",
  ]) {
    test(sql, async () => {
      await history.query({ sql, max_rows: 1000 });
    });
  }
});

describe("statements that do more are refused", () => {
  const file = directory.at("secret.csv");
  const reachable = directory.at("files/secret.csv");
  for (const sql of [
    "",
    ";",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE logstore",
    "DROP TABLE logstore",
    "DELETE FROM logstore",
    "UPDATE logstore SET payload = ''",
    "INSERT INTO logstore(payload) VALUES ('x')",
    "CREATE TABLE x(i INT)",
    "CREATE TEMP TABLE x(i INT)",
    "CREATE VIEW x AS SELECT 1",
    "EXPLAIN ANALYZE INSERT INTO logstore(payload) VALUES ('x')",
    "EXPLAIN (ANALYZE) DELETE FROM logstore",
    `COPY logstore TO '${directory.at("files/out.csv")}'`,
    `COPY logstore FROM '${reachable}'`,
    `EXPORT DATABASE '${directory.at("files/out")}'`,
    `ATTACH '${directory.at("files/other.db")}'`,
    "DETACH app",
    "USE memory",
    "SET threads = 8",
    "RESET threads",
    "PRAGMA threads = 8",
    "PRAGMA database_size",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "LOAD json",
    "INSTALL httpfs",
    `FROM '${reachable}'`,
    `FROM '${file}'`,
    `SELECT * FROM read_csv('${reachable}')`,
    `SELECT (SELECT count(*) FROM main.READ_TEXT('${reachable}'))`,
    `FROM read_blob('${directory.at("app.db")}')`,
    `EXPLAIN FROM read_blob('${directory.at("app.db")}')`,
    `FROM sniff_csv('${reachable}')`,
    `FROM glob('${directory.at("files")}/*')`,
    `DESCRIBE '${reachable}'`,
    `DESCRIBE FROM '${reachable}'`,
    `SUMMARIZE '${reachable}'`,
    `FROM query('FROM read_csv(''${reachable}'')')`,
    `FROM query_table('${reachable}')`,
    "FROM json_execute_serialized_sql('{}')",
    "FROM enable_logging()",
    "FROM force_checkpoint()",
    "FROM duckdb_secrets()",
    "SELEC 1",
    "SELECT nothing FROM logstore",
    "SELECT * FROM logstore WHERE payload = $1",
    "SELECT regexp_matches('a', '(')",
  ]) {
    test(sql.replaceAll(directory.path, "…") || "(nothing)", async () => {
      const error = await history.query({ sql, max_rows: 10 }).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(InvalidInputError);
    });
  }

  test("and nothing was changed or written by any of them", async () => {
    expect(await rowsOf(history, "SELECT count(*) FROM logstore")).toEqual([[2]]);
    for (const name of ["files/out.csv", "files/out", "files/other.db"]) {
      expect(existsSync(directory.at(name))).toBe(false);
    }
    // The lock on the file is still held: nobody in this process has opened and closed it.
    const child = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const { DuckDBInstance } = await import("@duckdb/node-api"); try { await DuckDBInstance.create(process.argv[1]); console.log("open"); } catch { console.log("locked"); }`,
        directory.at("app.db"),
      ],
      { cwd: import.meta.dir, stdout: "pipe", stderr: "inherit" },
    );
    expect((await child.stdout.text()).trim()).toBe("locked");
  });

  test("says where a mistake is", async () => {
    const error = await history
      .query({ sql: "SELECT 1 FRM logstore x", max_rows: 10 })
      .catch((thrown) => thrown);
    expect(error.message).toContain('syntax error at or near "logstore" (at character 14)');
  });
});

test("values are JSON, and what JSON lacks is text", async () => {
  const result = await history.query({
    sql: `SELECT 9007199254740991::BIGINT AS a, 9007199254740993::BIGINT AS b, 5::HUGEINT AS c, 1.50::DECIMAL(9,2) AS d, DATE '2026-01-02' AS e,
      TIMESTAMP '2026-01-02 03:04:05.678' AS f, [1, NULL] AS g, {'x': 1, 'y': [9007199254740993]} AS h, MAP {'k': 1} AS i,
      '\\xAA\\x01'::BLOB AS j, 'inf'::DOUBLE AS k, INTERVAL 90 MINUTE AS l, 'RUNNING'::RunStatus AS m, NULL AS n, true AS o, 0.5::DOUBLE AS p`,
    max_rows: 1,
  });
  expect(result.rows).toEqual([
    [
      9007199254740991,
      "9007199254740993",
      5,
      "1.50",
      "2026-01-02",
      "2026-01-02 03:04:05.678",
      [1, null],
      { x: 1, y: ["9007199254740993"] },
      [{ key: "k", value: 1 }],
      "\\xAA\\x01",
      "Infinity",
      "01:30:00",
      "RUNNING",
      null,
      true,
      0.5,
    ],
  ]);
  expect(result.columns.slice(0, 5)).toEqual([
    { name: "a", type: "BIGINT" },
    { name: "b", type: "BIGINT" },
    { name: "c", type: "HUGEINT" },
    { name: "d", type: "DECIMAL(9,2)" },
    { name: "e", type: "DATE" },
  ]);
});

describe("limits", () => {
  test("on rows, of any number of them", async () => {
    const result = await history.query({ sql: "FROM range(1000000000)", max_rows: 5000 });
    expect(result.rows).toHaveLength(5000);
    expect(result.truncated).toBe(true);
    const exact = await history.query({ sql: "FROM range(10)", max_rows: 10 });
    expect(exact).toMatchObject({ truncated: false });
    expect(exact.rows).toHaveLength(10);
  });

  test("on the size of the answer", async () => {
    const result = await history.query({
      sql: "SELECT repeat('x', 100000) FROM range(1000)",
      max_rows: 1000,
    });
    expect(result.truncated).toBe(true);
    expect(JSON.stringify(result).length).toBeLessThan(6 * 1024 * 1024);
    const error = await history
      .query({ sql: "SELECT string_agg(repeat('x', 1000), '') FROM range(10000)", max_rows: 1 })
      .catch((thrown) => thrown);
    expect(error).toBeInstanceOf(UnprocessableError);
  });

  test("on time; the connection is none the worse for it, and writing goes on meanwhile", async () => {
    const long = history
      .query({ sql: "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3", max_rows: 1 }, 1000)
      .catch((thrown) => thrown);
    await history.write(logs("s", 3, [line()]));
    expect(await rowsOf(history, "SELECT count(*) FROM logstore")).toEqual([[3]]);
    const error = await long;
    expect(error).toBeInstanceOf(UnprocessableError);
    expect(error.message).toBe("The query was stopped: it ran for more than 1 s.");
    for (let i = 0; i < 6; i++) expect(await rowsOf(history, "SELECT 1")).toEqual([[1]]);
  });

  test("when its own time is over, which cannot be longer than that of all", async () => {
    const sql = "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3";
    for (const [ownMs, mostMs] of [
      [20, 3_600_000],
      [3_600_000, 20],
    ] as const) {
      const ended = history.query({ sql, max_rows: 1, timeout_ms: ownMs }, mostMs);
      await expect(ended).rejects.toThrow("The query was stopped: it ran for more than 0.02 s.");
    }
  });

  test("on memory that grows from step to step", async () => {
    const doubling = `WITH RECURSIVE t(s, n) AS (SELECT 'xxxxxxxx', 1 UNION ALL SELECT s || s, n + 1 FROM t WHERE n < 40)
      SELECT max(length(s)) FROM t`;
    const hoarding = "SELECT list(repeat('x', 10000)) FROM range(1000000)";
    for (const sql of [doubling, hoarding]) {
      const error = await history.query({ sql, max_rows: 1 }).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(UnprocessableError);
      expect(error.message).toMatch(
        /stopped: it took more than 768 MiB of memory|more memory than the history may use/,
      );
    }
    expect(await rowsOf(history, "SELECT 1")).toEqual([[1]]);
  });

  test.each([
    "SELECT workflow_id || '/' || task_name || ': ' || payload FROM logstore",
    "SELECT replace(payload, 'a', 'something longer'), upper(payload), regexp_replace(payload, '[0-9]+', '#', 'g') FROM logstore",
    "SELECT bar(timestamp_ms, 0, 10, 20), printf('%08d', 3), format('{:>10}', payload), lpad(payload, 40, ' ') FROM logstore",
    `SELECT CASE ${Array.from({ length: 40 }, (_, n) => `WHEN payload = '${n}' THEN payload`).join(" ")} ELSE payload END FROM logstore`,
    `SELECT ${Array.from({ length: 60 }, () => "timestamp_ms").join(" + ")} FROM logstore`,
    "SELECT unnest(range(24)) AS hour, list(payload ORDER BY timestamp_ms) FROM logstore GROUP BY ALL",
    "SELECT string_agg(payload, chr(10)) OVER (ORDER BY timestamp_ms) FROM logstore",
    `SELECT count(*) FROM logstore WHERE workflow_id IN (${Array.from({ length: 3000 }, (_, n) => `'${n}'`).join(",")})`,
    "SELECT length(repeat('x', 100000000))",
  ])("and not on what a report needs: %s", async (sql) => {
    await history.query({ sql, max_rows: 10 });
  });

  test("on how many run at once: the others wait their turn", async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, i) => rowsOf(history, `SELECT ${i} FROM range(100000) WHERE range = 5`)),
    );
    expect(results).toEqual(Array.from({ length: 20 }, (_, i) => [[i]]));
  });
});

test("closing interrupts what runs", async () => {
  using other = new TestDirectory();
  const closing = await openHistory(other);
  const long = closing
    .query({ sql: "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3", max_rows: 1 })
    .catch((thrown) => thrown);
  await rowsOf(closing, "SELECT 1");
  await closing.close();
  expect((await long).message).toBe("The history database is being closed.");
  expect((await closing.query({ sql: "SELECT 1", max_rows: 1 }).catch((thrown) => thrown)).message).toBe(
    "The history database is being closed.",
  );
});
