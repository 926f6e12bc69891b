import { expect, test } from "bun:test";
import { join } from "node:path";
import { startCluster } from "../support/cdktr.ts";
import { pythonWith } from "../support/python.ts";
import { DUCKDB, pythonJson, runOver, shellWorkflow } from "./support/fixtures.ts";

const READ = `
import duckdb, json, sys
db = duckdb.connect(sys.argv[1], read_only=True)
ask = lambda sql: db.execute(sql).fetchall()
print(json.dumps({
    "columns": {
        table: [name for (name,) in ask(f"SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position")]
        for table in ("logstore", "workflow_run_status", "task_run_status", "workflow_runs", "task_runs")
    },
    "views": [name for (name,) in ask("SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY 1")],
    "statuses": [value for (value,) in ask("SELECT unnest(enum_range(NULL::RunStatus))::VARCHAR")],
    "log": ask("SELECT workflow_id, workflow_name, task_name, level, payload FROM logstore ORDER BY rowid"),
    "times": ask("SELECT count(*) FROM logstore WHERE timestamp_ms NOT BETWEEN epoch_ms(now()) - 3600000 AND epoch_ms(now())"),
    "run history": ask("SELECT workflow_id, status::VARCHAR FROM workflow_run_status ORDER BY workflow_id, timestamp_ms, rowid"),
    "task history": ask("SELECT task_id, status::VARCHAR, exit_code FROM task_run_status WHERE workflow_id = 'bad' ORDER BY task_id, timestamp_ms, rowid"),
    "runs": ask("SELECT workflow_id, status::VARCHAR, trigger, attempt FROM workflow_runs ORDER BY workflow_id"),
    "tasks": ask("SELECT workflow_id, task_id, status::VARCHAR FROM task_runs ORDER BY workflow_id, task_id"),
}))
`;

interface History {
  columns: Record<string, string[]>;
  views: string[];
  statuses: string[];
  log: [string, string, string, string, string][];
  times: [[number]];
  "run history": [string, string][];
  "task history": [string, string, number | null][];
  runs: [string, string, string, number][];
  tasks: [string, string, string][];
}

test("SIGTERM flushes everything: another DuckDB reads tables and views of the file that was left", async () => {
  const python = await pythonWith([DUCKDB]);
  await using cluster = await startCluster({
    agents: 1,
    // Nothing gets into the file by itself: what is there at the end was flushed at the end.
    env: { CDKTR_LOG_FLUSH_INTERVAL_MS: "3600000" },
    workflows: {
      "good.yml": shellWorkflow({
        one: { sh: "echo out; echo err >&2" },
        two: { sh: "echo out", depends: ["one"] },
      }),
      "bad.yml": shellWorkflow({
        breaks: { sh: "exit 7" },
        after: { sh: "echo unreachable", depends: ["breaks"] },
      }),
    },
  });
  const runs = await Promise.all(
    ["good", "bad"].map(async (id) => {
      const { workflow_instance_id } = await cluster.client.runTask(id, { dedupe_key: id, trigger: "api" });
      return runOver(cluster.client, workflow_instance_id);
    }),
  );
  expect(runs.map((run) => run.status)).toEqual(["COMPLETED", "FAILED"]);

  const principal = cluster.principal;
  if (principal === undefined) throw new Error("no principal");
  principal.kill("SIGTERM");
  expect((await principal.finished).code).toBe(0);

  const file = join(cluster.dataDirectory, "app.db");
  const history = (await pythonJson(python, READ, file)) as History;
  expect(history.statuses.slice(0, 6)).toEqual([
    "PENDING",
    "RUNNING",
    "WAITING",
    "COMPLETED",
    "FAILED",
    "CRASHED",
  ]);
  expect(history.columns.logstore?.slice(0, 8)).toEqual([
    "workflow_id",
    "workflow_name",
    "workflow_instance_id",
    "task_name",
    "task_instance_id",
    "timestamp_ms",
    "level",
    "payload",
  ]);
  expect(history.columns.workflow_run_status?.slice(0, 4)).toEqual([
    "workflow_id",
    "workflow_instance_id",
    "status",
    "timestamp_ms",
  ]);
  expect(history.columns.task_run_status?.slice(0, 5)).toEqual([
    "task_id",
    "task_instance_id",
    "workflow_instance_id",
    "status",
    "timestamp_ms",
  ]);
  expect(history.views).toEqual(expect.arrayContaining(["task_runs", "workflow_runs"]));

  const lines = history.log.filter(([workflow]) => workflow === "good");
  expect(
    lines
      .filter(([, , task]) => task === "one")
      .map(([, , , level, payload]) => `${level} ${payload}`)
      .sort(),
  ).toEqual(["ERROR err", "INFO out"]);
  expect(
    lines.filter(([, , task]) => task === "two").map(([, name, , level, payload]) => [name, level, payload]),
  ).toEqual([["test", "INFO", "out"]]);
  expect(history.times).toEqual([[0]]);

  const statuses = (id: string) =>
    history["run history"].filter(([workflow]) => workflow === id).map(([, status]) => status);
  expect(statuses("good")).toEqual(["PENDING", "RUNNING", "COMPLETED"]);
  expect(statuses("bad")).toEqual(["PENDING", "RUNNING", "FAILED"]);
  const ends = history["task history"].filter(([, status]) => status === "FAILED" || status === "SKIPPED");
  expect(ends).toEqual([
    ["after", "SKIPPED", null],
    ["breaks", "FAILED", 7],
  ]);
  expect(history.runs).toEqual([
    ["bad", "FAILED", "api", 1],
    ["good", "COMPLETED", "api", 1],
  ]);
  expect(history.tasks).toEqual([
    ["bad", "after", "SKIPPED"],
    ["bad", "breaks", "FAILED"],
    ["good", "one", "COMPLETED"],
    ["good", "two", "COMPLETED"],
  ]);
}, 180_000);
