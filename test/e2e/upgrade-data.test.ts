/** Data directories of other versions. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { copyFileSync, cpSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { loadDuckDB } from "../../src/history/database/duckdb.ts";
import { HISTORY_MIGRATIONS } from "../../src/history/database/migrations.ts";
import { backupsOf } from "../../src/migrations/database-backups.ts";
import { STATE_MIGRATIONS } from "../../src/storage/operational/sqlite/schema.ts";
import { Cluster, freePorts } from "../support/cdktr.ts";
import { AGENT, FormerDirectory } from "../upgrade/support.ts";
import { PATIENT, trigger } from "./failures/support.ts";
import { runOver, shellWorkflow, until } from "./support/fixtures.ts";

const workflows = {
  "good.yml": shellWorkflow(
    { one: { sh: "echo one" }, two: { sh: "echo two", depends: ["one"] } },
    "params: { who: { default: nobody } }\n",
  ),
};

/** A cluster that is not started, on what version 0.1 left when it was killed in the middle of its work. */
async function formerCluster(): Promise<Cluster> {
  const cluster = new Cluster({ workflows, env: PATIENT }, await freePorts(3));
  using former = await FormerDirectory.of("v0.1");
  cpSync(former.path, cluster.dataDirectory, { recursive: true });
  return cluster;
}

test("unfinished work of version 0.1 is taken over: each run ends once, with all its lines", async () => {
  await using cluster = await formerCluster();
  const waiting = join(cluster.dataDirectory, "listeners", "Recorder");
  mkdirSync(waiting, { recursive: true });
  renameSync(join(cluster.dataDirectory, "triggers.db"), join(waiting, "triggers.db"));

  const principal = await cluster.startPrincipal();
  const state = join(cluster.dataDirectory, "state.db");
  expect(principal.stderr).toContain(`state.db: schema 1 became ${STATE_MIGRATIONS.length}`);
  expect(backupsOf(state)).toHaveLength(1);
  const before = await cluster.client.listRuns({ limit: 10 });
  expect(before.map(({ workflow_id, status }) => `${workflow_id} ${status}`)).toEqual([
    "good PENDING",
    "slow RUNNING",
    "gated RUNNING",
    "bad FAILED",
    "good COMPLETED",
  ]);
  const [queued, slow, gated] = before.map((run) => run.workflow_instance_id);

  await cluster.startAgent(["--suffix", AGENT.slice(AGENT.lastIndexOf("agent-1"))]);
  // Its end was only on the agent's disk.
  expect(await runOver(cluster.client, gated ?? "")).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect(await runOver(cluster.client, queued ?? "")).toMatchObject({ status: "COMPLETED", attempt: 1 });
  // What was running when everything was killed runs again, here and now.
  await until("the second attempt", async () => {
    const run = await cluster.client.getRun(slow ?? "");
    return run.attempt === 2 && run.status === "RUNNING";
  });
  await cluster.client.cancelRun(slow ?? "");
  expect((await runOver(cluster.client, slow ?? "")).attempts.map(({ status }) => status)).toEqual([
    "CRASHED",
    "CANCELLED",
  ]);
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id: gated });
  expect(rows.map((row) => row[7])).toEqual(["waiting", "passed"]);

  // A trigger that waited with a listener.
  const listener = join(cluster.directory, "listener.ts");
  writeFileSync(
    listener,
    `import { EventListener } from "cdktr";
export default class Recorder extends EventListener {
  async startListening() {
    await new Promise((ended) => this.signal.addEventListener("abort", ended, { once: true }));
  }
}
`,
  );
  const listening = cluster.spawn(["listen", listener]);
  cluster.agents.push(listening);
  const delivered = await until("the trigger", async () =>
    (await cluster.client.listRuns({})).find(({ trigger: by }) => by === "listener:Recorder"),
  );
  const run = await runOver(cluster.client, delivered.workflow_instance_id);
  expect(run).toMatchObject({ status: "COMPLETED", params: { who: "it's me" } });
  expect(await cluster.client.listRuns({})).toHaveLength(6);
});

test("a history that a newer cdktr has migrated: everything else goes on, and its lines come when the former file is back", async () => {
  await using cluster = await formerCluster();
  const history = join(cluster.dataDirectory, "app.db");
  const kept = join(cluster.directory, "kept.db");
  copyFileSync(history, kept);
  await asIfNewer(history, "/backup/of/app.db");
  for (const other of ["state.db", "agents"]) rmSync(join(cluster.dataDirectory, other), { recursive: true });
  await cluster.startPrincipal();
  await cluster.startAgent();
  const run = await trigger(cluster, "good");
  expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
  const { available, error } = (await cluster.client.info()).history;
  expect(available).toBe(false);
  expect(error).toContain(
    `was written by a newer cdktr, 7.7.7 (schema ${HISTORY_MIGRATIONS.length + 1}; this one, `,
  );
  await cluster.principal?.waitFor(
    /put the backup from before the upgrade in its place: \/backup\/of\/app\.db/,
  );
  const query = await cluster.cdktr(["logs", "query", "--run", run]);
  expect(query.code).not.toBe(0);
  expect(query.stderr).toContain("newer cdktr");

  renameSync(kept, history);
  await until("the history is back", async () => (await cluster.client.info()).history.available);
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run });
  expect(rows.map((row) => row[7])).toEqual(["one", "two"]);
});

test("a state or an outbox that a newer cdktr has migrated is refused with a status that systemd does not repeat", async () => {
  await using cluster = await formerCluster();
  const newer = (path: string, version: number) => {
    expect(existsSync(dirname(path))).toBe(true);
    const database = new Database(path);
    database.run(
      "CREATE TABLE schema_changes (version INTEGER, cdktr TEXT, backup TEXT, oldest_reader INTEGER, applied_at_ms INTEGER)",
    );
    database.run("INSERT INTO schema_changes VALUES (?, '7.7.7', '/backup/of/it', ?, 1)", [version, version]);
    database.run(`PRAGMA user_version = ${version}`);
    database.close();
  };
  newer(join(cluster.dataDirectory, "state.db"), STATE_MIGRATIONS.length + 1);
  newer(join(cluster.dataDirectory, "agents", AGENT, "outbox.db"), 99);
  for (const command of [
    ["start", "principal"],
    ["start", "agent", "--suffix", "agent-1"],
  ]) {
    const { code, stderr } = await cluster.cdktr(command);
    expect(stderr).toMatch(
      /\.db was written by a newer cdktr, 7\.7\.7 \(schema \d+; this one, .*, knows \d+\)[\s\S]*Use cdktr 7\.7\.7 again\.[\s\S]*\/backup\/of\/it/,
    );
    expect(code).toBe(2);
  }
});

/** Marks a history as one of the next schema. */
async function asIfNewer(path: string, backup: string): Promise<void> {
  const { DuckDBInstance } = await loadDuckDB();
  const instance = await DuckDBInstance.create(path);
  const connection = await instance.connect();
  await connection.run("ALTER TABLE schema_version ADD COLUMN cdktr VARCHAR");
  await connection.run("ALTER TABLE schema_version ADD COLUMN backup VARCHAR");
  await connection.run("ALTER TABLE schema_version ADD COLUMN oldest_reader INTEGER");
  await connection.run(
    `INSERT INTO schema_version VALUES (${HISTORY_MIGRATIONS.length + 1}, 1, '7.7.7', '${backup}', ${HISTORY_MIGRATIONS.length + 1})`,
  );
  connection.closeSync();
  instance.closeSync();
}
