/** Backup of state and history while the principal works, and the way back; also of one of them alone. */
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PATIENT, trigger } from "./failures/support.ts";
import {
  gate,
  processesWith,
  runOver,
  shellWorkflow,
  TemporaryDirectory,
  until,
} from "./support/fixtures.ts";

const after = (id: string) => `params:\n  workflow_instance_id: none\non:\n  workflow:\n    id: ${id}\n`;

const rowsOf = async ({ client }: Cluster, sql: string) => (await client.queryDatabase({ sql })).rows;

test("a backup has state and history of one moment; after its restore runs go on, and there are no ghosts", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "hello.yml": shellWorkflow({ a: { sh: "echo hello" } }),
      "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }),
      "later.yml": shellWorkflow({ a: { sh: gate(directory.path("never")) } }),
      "tick.yml": shellWorkflow({ a: { sh: "true" } }, 'cron: "* * * * * *"\ncatchup: all\n'),
      "follower.yml": shellWorkflow({ a: { sh: "true" } }, after("hello")),
    },
  });
  const { client } = cluster;
  const followers = () => client.listRuns({ workflow_id: "follower", limit: 100 });
  const hello = async (key: string) =>
    (await client.runTask("hello", { dedupe_key: key })).workflow_instance_id;
  const early = await hello("early");
  expect((await runOver(client, early)).status).toBe("COMPLETED");
  const going = await trigger(cluster, "gated");
  await until("the task runs", async () => (await client.getRun(going)).tasks.length === 1);

  await until("one follows, and firings run", async () => {
    return (await followers()).length === 1 && (await client.listRuns({ workflow_id: "tick" })).length > 0;
  });

  const backup = directory.path("backup");
  const made = await cluster.cdktr(["backup", backup]);
  expect(made.stderr).not.toContain("error");
  expect(made.code).toBe(0);
  expect(readdirSync(backup).sort()).toEqual(["app.db", "state.db"]);
  expect((await cluster.cdktr(["backup", backup])).code).toBe(4);
  // As if it had been killed before the second file got its name.
  const half = directory.path("half");
  mkdirSync(half);
  for (const name of ["app.db", ".state.db.999999999.partial"]) writeFileSync(`${half}/${name}`, "");
  writeFileSync(`${half}/backup.unfinished`, "999999999\n");
  const unfinished = await cluster.cdktr(["restore", half]);
  expect(unfinished).toMatchObject({
    code: 4,
    stderr: expect.stringContaining("was killed before it was complete"),
  });
  const again = await cluster.cdktr(["backup", half]);
  expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining("what it left is removed") });
  expect(readdirSync(half).sort()).toEqual(["app.db", "state.db"]);
  const late = await hello("late");
  expect((await runOver(client, late)).status).toBe("COMPLETED");
  await until("another one follows", async () => (await followers()).length === 2);
  const held = await trigger(cluster, "later");
  await until("the agent has a later run", () => processesWith(held).length > 0);

  const refused = await cluster.cdktr(["restore", backup]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("A principal is running");
  await cluster.principal?.stop();
  expect((await cluster.cdktr(["restore", directory.path("nothing")])).code).toBe(4);
  expect((await cluster.cdktr(["restore", backup])).code).toBe(0);
  const kept = readdirSync(cluster.dataDirectory).find((name) => name.startsWith("before-restore-")) ?? "";
  expect(readdirSync(`${cluster.dataDirectory}/${kept}`)).toEqual(
    expect.arrayContaining(["app.db", "state.db"]),
  );

  // As if it had been killed before it put the second file in place.
  const history = `${cluster.dataDirectory}/app.db`;
  renameSync(history, `${history}.restoring`);
  const journal = {
    pid: 999_999_999,
    started: "",
    aside: kept,
    files: [`${cluster.dataDirectory}/state.db`, history],
  };
  writeFileSync(`${cluster.dataDirectory}/restore.json`, JSON.stringify(journal));
  await cluster.startPrincipal();
  await cluster.principal?.waitFor(
    /'cdktr restore' was killed while it put files in place\. That is finished now/,
  );
  await until("the agent has let go of the later run", () => processesWith(held).length === 0);
  expect((await cluster.cdktr(["runs", "show", held])).stderr).toContain(`No run has the id '${held}'`);
  writeFileSync(directory.path("gate"), "");
  expect(await runOver(client, going)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect(await hello("early")).toBe(early);
  expect(await runOver(client, await hello("late"))).toMatchObject({ status: "COMPLETED" });
  await until("both are followed, each once", async () => (await followers()).length >= 2);
  const followed = await Promise.all(
    (await followers()).map(
      async (run) => (await client.getRun(run.workflow_instance_id)).params.workflow_instance_id,
    ),
  );
  expect(followed).toContain(early);
  expect(new Set(followed).size).toBe(2);
  expect(followed).not.toContain(late);
  const firings = await rowsOf(
    cluster,
    "SELECT scheduled_time_ms::DOUBLE FROM workflow_runs WHERE workflow_id = 'tick' ORDER BY 1",
  );
  const times = firings.map(([ms]) => Number(ms));
  expect(times.slice(1).map((ms, i) => ms - (times[i] ?? 0))).toEqual(times.slice(1).map(() => 1000));
  const rows = await rowsOf(
    cluster,
    "SELECT workflow_instance_id, status::VARCHAR FROM workflow_runs WHERE workflow_id IN ('hello', 'gated', 'later')",
  );
  expect(rows.map(([, status]) => status)).toEqual(["COMPLETED", "COMPLETED", "COMPLETED"]);
  expect(rows.map(([id]) => id)).not.toContain(late);
  expect(cluster.principal?.stderr).not.toMatch(/differed|older than the history|does not have/);
}, 60_000);

test("a history or a state that is put back alone leaves no run unfinished for ever", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: { "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }) },
  });
  const { client } = cluster;
  const history = `${cluster.dataDirectory}/app.db`;
  const begin = async () => {
    const id = await trigger(cluster, "gated");
    await until("the task runs", async () => (await client.getRun(id)).tasks[0]?.status === "RUNNING");
    return id;
  };
  const inHistory = (id: string) =>
    rowsOf(
      cluster,
      `SELECT r.status::VARCHAR, t.status::VARCHAR, r.error FROM workflow_runs r JOIN task_runs t USING (workflow_instance_id) WHERE workflow_instance_id = '${id}'`,
    );

  const known = await begin();
  const copy = directory.path("history.duckdb");
  expect((await cluster.cdktr(["db", "backup", copy])).code).toBe(0);
  const lacking = await begin();
  writeFileSync(directory.path("gate"), "");
  for (const id of [known, lacking]) await runOver(client, id);
  rmSync(directory.path("gate"));
  const unknown = await begin();
  expect(await inHistory(unknown)).toEqual([["RUNNING", "RUNNING", null]]);

  // An older history: the state tells what it lacks.
  await cluster.principal?.stop();
  copyFileSync(copy, history);
  await cluster.startPrincipal();
  await cluster.principal?.waitFor(/The history in .* and the principal's state differed in 3 runs/);
  for (const id of [known, lacking, unknown]) {
    const status = id === unknown ? "RUNNING" : "COMPLETED";
    await until("the history has it as the state", async () => {
      return JSON.stringify(await inHistory(id)) === JSON.stringify([[status, status, null]]);
    });
  }
  writeFileSync(directory.path("gate"), "");
  expect((await runOver(client, unknown)).status).toBe("COMPLETED");
  rmSync(directory.path("gate"));

  // A new state: nobody can tell any more.
  const ghost = await begin();
  expect(await inHistory(ghost)).toEqual([["RUNNING", "RUNNING", null]]);
  await cluster.principal?.stop();
  for (const name of readdirSync(cluster.dataDirectory))
    if (name.startsWith("state.db")) rmSync(`${cluster.dataDirectory}/${name}`);
  await cluster.startPrincipal();
  await cluster.principal?.waitFor(new RegExp(`1 run had not ended according to the history .*${ghost}`));
  const [row] = await inHistory(ghost);
  expect(row).toEqual(["CRASHED", "CRASHED", expect.stringContaining("does not have this run")]);
  const shown = await cluster.cdktr(["runs", "show", ghost]);
  expect(shown.stdout).toMatch(/CRASHED/);
  expect(shown.stdout).toContain("how the run ended is not known");
  expect((await cluster.cdktr(["runs", "list", "--status", "running"])).stderr).toContain("No runs");
}, 60_000);
