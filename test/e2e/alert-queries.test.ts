/** Alert files as an operator has them: checked, in use, changed and removed, also over a principal that is killed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { until } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    workflows: { "load.yml": "tasks: {load: {run: exit 3}}\n", "fine.yml": "tasks: {load: {run: exit 0}}\n" },
  });
});
afterAll(() => cluster?.stop());

const FAILED = `name: Failures
every: 1h
severity: critical
query: |
  SELECT workflow_id, count(*) AS runs FROM workflow_runs WHERE status = 'FAILED' GROUP BY workflow_id
summary: \${{ row.workflow_id }} failed \${{ row.runs }} times
`;

const queries = () => cluster.client.alertQueries();

/** What the history knows of alerts, in order. */
async function logged(): Promise<string[]> {
  const sql = "SELECT event, key, subject FROM alert_log ORDER BY timestamp_ms, event";
  const { rows } = await cluster.client.queryDatabase({ sql, max_rows: 100 });
  return rows.map((row) => row.join(" | "));
}

test("an alert file from the first look at it until it is removed", async () => {
  const none = await cluster.cdktr(["alerts", "queries"]);
  expect(none).toMatchObject({ code: 0, stdout: "", stderr: expect.stringContaining("No alert files.") });
  for (const id of ["load", "fine"]) await cluster.cdktr(["run", id, "--wait"]);

  // Before it is in use.
  const file = join(cluster.directory, "failed.yml");
  writeFileSync(file, FAILED);
  const checked = await cluster.cdktr(["alerts", "check", file]);
  expect(checked).toMatchObject({ code: 0, stderr: expect.stringContaining("1 row; all would be alerts.") });
  expect(checked.stdout).toMatch(/^load +load failed 1 times$/m);
  const { stdout } = await cluster.cdktr(["alerts", "check", file, "--json"]);
  expect(JSON.parse(stdout)).toEqual([
    { key: "load", summary: "load failed 1 times", row: { workflow_id: "load", runs: 1 } },
  ]);
  expect(await logged()).toEqual([]);

  cluster.writeWorkflow("alerts/failed.yml", FAILED);
  await until("it is raised", async () => (await queries())[0]?.raised === 1);
  const key = "query alerts/failed.yml load | load failed 1 times";
  await until("the history knows", async () => (await logged()).length === 1);
  expect(await logged()).toEqual([`raised | ${key}`]);
  expect((await cluster.cdktr(["alerts", "queries"])).stdout).toMatch(
    /^alerts\/failed\.yml +1h +\S+ ago +in \S+( \S+)? +1 +1$/m,
  );

  // Killed, and evaluated again at once because the file has changed: nothing is raised twice.
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  cluster.writeWorkflow("alerts/failed.yml", `${FAILED}description: Again\n`);
  const before = Date.now();
  await cluster.startPrincipal();
  cluster.writeWorkflow("alerts/failed.yml", `${FAILED}description: And again\n`);
  await until("it is evaluated", async () => ((await queries())[0]?.evaluated_at_ms ?? 0) >= before);
  expect(await queries()).toMatchObject([
    { raised: 1, error: null, severity: "critical", every_ms: 3_600_000 },
  ]);
  expect(await logged()).toEqual([`raised | ${key}`]);

  // One that cannot be run is no reason to resolve anything.
  cluster.writeWorkflow("alerts/failed.yml", FAILED.replace("workflow_runs", "no_such_table"));
  await until("it fails", async () => (await queries())[0]?.error != null);
  expect(await queries()).toMatchObject([{ raised: 1 }]);
  expect((await cluster.cdktr(["alerts", "queries"])).stdout).toMatch(
    /^alerts\/failed\.yml: .*no_such_table/m,
  );

  rmSync(join(cluster.workflowDirectory, "alerts/failed.yml"));
  await until("it is gone", async () => (await queries()).length === 0);
  await until("the history knows", async () => (await logged()).length === 2);
  expect(await logged()).toEqual([`raised | ${key}`, `resolved | ${key}`]);
});

test("a file that is checked", async () => {
  const check = async (name: string, text: string | null) => {
    const path = join(cluster.directory, name);
    if (text !== null) writeFileSync(path, text);
    return cluster.cdktr(["alerts", "check", path]);
  };
  expect(await check("no.yml", null)).toMatchObject({
    code: 4,
    stderr: expect.stringContaining("There is no file"),
  });
  expect(await check("flow.yml", "tasks: {a: {run: echo}}\n")).toMatchObject({
    code: 4,
    stderr: expect.stringContaining("is no alert file: it has no query."),
  });
  expect(await check("bad.yml", "query: SELECT 1\nevery: 1s\n")).toMatchObject({
    code: 4,
    stdout: expect.stringContaining('bad.yml:2:8: error[E043]: "every" must be at least 10s'),
  });
  expect(await check("sql.yml", "query: SELECT FROM\n")).toMatchObject({
    code: 4,
    stderr: expect.stringContaining("The SQL cannot be parsed"),
  });
  expect(await check("writes.yml", "query: DELETE FROM logstore\n")).toMatchObject({ code: 4 });
  expect(await check("column.yml", "query: SELECT 1 AS a\nkey: b\n")).toMatchObject({
    code: 4,
    stderr: expect.stringMatching(/The result has no column "b"[\s\S]*Its columns are a\./),
  });
  expect(await check("none.yml", "query: SELECT 1 AS a\nwhen: ${{ row.a > 1 }}\n")).toMatchObject({
    code: 0,
    stdout: "",
    stderr: expect.stringContaining("1 row: none would be an alert."),
  });

  // Without a principal.
  cluster.writeWorkflow("alerts/one.yml", "query: SELECT 1\n");
  const valid = await cluster.cdktr(["workflow", "validate", cluster.workflowDirectory]);
  expect(valid).toMatchObject({ code: 0, stderr: expect.stringContaining("3 files, all valid") });
  cluster.writeWorkflow("alerts/one.yml", "query: SELECT 1\nto: nobody\n");
  expect(await cluster.cdktr(["workflow", "validate", cluster.workflowDirectory])).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('alerts/one.yml:2:1: warning[W022]: there is no channel "nobody"'),
  });
  await until("it is in use", async () => (await queries())[0]?.problem != null);
  expect((await cluster.cdktr(["alerts", "queries"])).stdout).toContain(
    'alerts/one.yml: there is no channel "nobody": nobody is told',
  );
  cluster.writeWorkflow("alerts/one.yml", "query: SELECT 1\nlimits: 1\n");
  const invalid = await cluster.cdktr(["workflow", "validate", join(cluster.workflowDirectory, "alerts")]);
  expect(invalid).toMatchObject({ code: 4, stdout: expect.stringContaining('did you mean "limit"?') });

  // One that was never valid is in no table.
  cluster.writeWorkflow("alerts/two.yml", "query: SELECT 1\nevery: 5 parsecs\n");
  await until("it is not in use", async () =>
    /^It is not in use: alerts\/two\.yml:2:8: .*"parsecs" is not a unit of time$/m.test(
      (await cluster.cdktr(["alerts", "queries"])).stderr,
    ),
  );
});
