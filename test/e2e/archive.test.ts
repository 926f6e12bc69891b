/** A year-old history moves into the archive, whatever happens meanwhile, and goes with backups; what is not kept is deleted. */
import { expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { HistoryDatabase } from "../../src/history/database/history-database.ts";
import { days, perDaySql } from "../history/archive/archive-support.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { TemporaryDirectory, until } from "./support/fixtures.ts";

const rowsOf = async ({ client }: Cluster, sql: string) => (await client.queryDatabase({ sql })).rows;

/** The principal of a history that was there before. */
async function withOldHistory(env: Readonly<Record<string, string>>): Promise<Cluster> {
  const cluster = await startCluster({ env });
  await cluster.principal?.stop();
  const path = join(cluster.dataDirectory, "app.db");
  const history = await HistoryDatabase.open({
    path,
    filesDirectory: join(cluster.directory, "files"),
    tempDirectory: join(cluster.directory, "temp"),
  });
  await history.write(days(6, 4));
  await history.close();
  await cluster.startPrincipal();
  return cluster;
}

test("old days move into the archive, also if the principal is killed meanwhile; a backup carries them, retention deletes", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await withOldHistory({ CDKTR_HISTORY_KEEP: "30d" });
  const ok = async (...args: string[]) => {
    const finished = await cluster.cdktr(args);
    expect([args, finished.code, finished.stderr]).toEqual([args, 0, finished.stderr]);
    return finished;
  };
  // A run that nobody has in its state is ended when the history is opened.
  await until("no run is unfinished", async () => {
    const [row] = await rowsOf(cluster, "SELECT count(*) FROM workflow_runs WHERE status = 'RUNNING'");
    return row?.[0] === 0;
  });
  const before = await rowsOf(cluster, perDaySql);
  const [run = ""] = (
    await rowsOf(cluster, "SELECT workflow_instance_id FROM workflow_runs ORDER BY created_at_ms LIMIT 1")
  ).map(([id]) => String(id));
  const asked = async () => [
    await cluster.client.getRun(run),
    (await cluster.client.searchLogs({ workflow_instance_id: run })).rows,
  ];
  const answered = await asked();

  const archive = join(cluster.dataDirectory, "app.db.archive");
  const trial = JSON.parse((await ok("db", "archive", "--dry-run", "--json")).stdout);
  expect(trial.items.length).toBeGreaterThan(3);
  expect(existsSync(archive)).toBe(false);
  // Killed in the middle.
  const moving = cluster.spawn(["db", "archive"]);
  await until("a file is there", () => existsSync(join(archive, "workflow_runs")));
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await moving.stop();
  await cluster.startPrincipal();
  expect(await rowsOf(cluster, perDaySql)).toEqual(before);

  await ok("db", "archive");
  expect(await rowsOf(cluster, perDaySql)).toEqual(before);
  expect(await rowsOf(cluster, "SELECT count(*) FROM main.task_run_status")).toEqual([[2]]);
  expect((await ok("db", "archive", "--dry-run")).stderr).toContain("There is nothing to move before");
  expect(await asked()).toEqual(answered);
  expect((await rowsOf(cluster, "SHOW TABLES")).map(([name]) => name)).toEqual([
    ...new Set((await rowsOf(cluster, "SHOW TABLES")).map(([name]) => name)),
  ]);
  const doctor = await cluster.cdktr(["doctor", "--json"]);
  const findings = JSON.parse(doctor.stdout).findings as { check: string; message: string }[];
  expect(findings.find(({ check }) => check === "archive")?.message).toContain(
    "archive 1 MB, 2025-10-01 to ",
  );

  // Both ways of a backup.
  const [copy, backup] = [directory.path("copy.duckdb"), directory.path("backup")];
  await ok("db", "backup", copy);
  await ok("backup", backup);
  expect(readdirSync(backup).sort()).toEqual(["app.db", "app.db.archive", "state.db"]);
  const bare = directory.path("bare");
  expect((await ok("backup", bare, "--without-archive")).stderr).toContain("The archive is not in it.");
  expect(readdirSync(bare).sort()).toEqual(["app.db", "state.db"]);
  cpSync(archive, join(bare, "app.db.archive"), { recursive: true });
  await cluster.principal?.stop();
  for (const name of ["app.db", "app.db.archive"])
    rmSync(join(cluster.dataDirectory, name), { recursive: true, force: true });
  await ok("restore", backup);
  await cluster.startPrincipal();
  expect(await rowsOf(cluster, perDaySql)).toEqual(before);
  await cluster.principal?.stop();
  const whole = await HistoryDatabase.open({
    path: copy,
    filesDirectory: directory.path("files"),
    tempDirectory: directory.path("temp"),
  });
  expect(whole.archive.isUsed).toBe(false);
  expect((await whole.query({ sql: perDaySql, max_rows: 10_000 })).rows).toEqual(before);
  await whole.close();
  const joined = await HistoryDatabase.open({
    path: join(bare, "app.db"),
    filesDirectory: directory.path("files"),
    tempDirectory: directory.path("temp"),
  });
  expect((await joined.query({ sql: perDaySql, max_rows: 10_000 })).rows).toEqual(before);
  await joined.close();

  cluster.writeWorkflow("etl/hourly.yml", "retention: {runs: 5}\ntasks:\n  a:\n    run: 'true'\n");
  await cluster.startPrincipal();
  const deleted = await ok("db", "archive");
  expect(deleted.stdout).toContain("etl.hourly: 3 runs  deleted");
  expect(
    await rowsOf(cluster, "SELECT count(*) FROM workflow_runs WHERE workflow_id = 'etl.hourly'"),
  ).toEqual([[5]]);
  const audit = await rowsOf(
    cluster,
    "SELECT actor, subject, outcome FROM audit_log WHERE action = 'history.delete'",
  );
  expect(audit).toEqual([["cdktr", "etl.hourly", "done"]]);
}, 300_000);
