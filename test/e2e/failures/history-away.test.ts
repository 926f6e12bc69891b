/** The history database exists but is unusable: locked by another process, damaged, or not a database. */
import { expect, test } from "bun:test";
import { closeSync, openSync, readdirSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { type CdktrProcess, type Cluster, startCluster } from "../../support/cdktr.ts";
import { lockOf } from "../../support/file-lock.ts";
import { runOver, shellWorkflow } from "../support/fixtures.ts";
import { numbers, numbersOf, PATIENT, trigger, upTo } from "./support.ts";

const WORKFLOWS = { "chatty.yml": shellWorkflow({ a: { sh: numbers(500) } }) };

/** Checks that apply while the history is unavailable: runs are executed, lists work, queries explain why they fail. */
async function worksWithout(cluster: Cluster, why: RegExp): Promise<string> {
  const run = await trigger(cluster, "chatty");
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect((await cluster.client.info()).history).toMatchObject({
    available: false,
    error: expect.stringMatching(why),
  });
  const [runs, show, agents, logs, sql] = await Promise.all([
    cluster.cdktr(["runs", "list", "--json"]),
    cluster.cdktr(["runs", "show", run, "--json"]),
    cluster.cdktr(["agents", "list", "--json"]),
    cluster.cdktr(["logs", "query", "--run", run]),
    cluster.cdktr(["db", "query", "SELECT count(*) FROM logstore"]),
  ]);
  expect(JSON.parse(runs.stdout)[0]).toMatchObject({ workflow_instance_id: run, status: "COMPLETED" });
  expect(runs.stderr).toContain("Older runs may be missing: the history is not available");
  expect(JSON.parse(show.stdout)).toMatchObject({ tasks: [{ task_id: "a", status: "COMPLETED" }] });
  expect(JSON.parse(agents.stdout)).toMatchObject([{ status: "UP" }]);
  for (const refused of [logs, sql]) {
    expect(refused.code).toBe(1);
    expect(refused.stdout).toBe("");
    expect(refused.stderr).toMatch(why);
    expect(refused.stderr).toContain("nothing is lost in the meantime: agents keep their lines on disk");
  }
  return run;
}

/** Starts the principal again after something happened to its file, with the agent still there. */
async function restart(cluster: Cluster, happens: (file: string) => void): Promise<CdktrProcess> {
  await cluster.principal?.stop();
  happens(`${cluster.dataDirectory}/app.db`);
  return cluster.startPrincipal();
}

test("locked by another process: it is named, and when it lets go every line is there", async () => {
  await using cluster = await startCluster({ agents: 1, env: PATIENT, workflows: WORKFLOWS });
  const before = await trigger(cluster, "chatty");
  await runOver(cluster.client, before);
  await cluster.principal?.stop();
  const lock = await lockOf(`${cluster.dataDirectory}/app.db`);
  const principal = await cluster.startPrincipal();
  await using _ = lock;
  await principal.waitFor(new RegExp(`is in use by .*process ${lock.pid}`));
  const during = await worksWithout(cluster, new RegExp(`is in use by .*process ${lock.pid}`));
  await lock[Symbol.asyncDispose]();
  await principal.waitFor(/is available again/);
  for (const run of [before, during]) expect(await numbersOf(cluster.client, run, 500)).toEqual(upTo(500));
}, 60_000);

test("damaged: the file is left as it is, and moving it away or putting a copy in its place heals it without a restart", async () => {
  await using cluster = await startCluster({ agents: 1, env: PATIENT, workflows: WORKFLOWS });
  const before = await trigger(cluster, "chatty");
  await runOver(cluster.client, before);
  // The copy is to hold all of it: what is in the file the agent does not keep.
  await numbersOf(cluster.client, before, 500);
  const backup = `${cluster.directory}/backup.db`;
  expect((await cluster.cdktr(["db", "backup", backup])).code).toBe(0);

  let file = "";
  const principal = await restart(cluster, (path) => {
    file = path;
    const descriptor = openSync(path, "r+");
    // Both database headers, of which one is in force; the magic number before them stays.
    writeSync(descriptor, new Uint8Array(8192).fill(0xa5), 0, 8192, 4096);
    closeSync(descriptor);
  });
  await principal.waitFor(
    /The history database .* is damaged\. Move it .* away, or put a backup in its place/,
  );
  const during = await worksWithout(cluster, /is damaged/);
  expect(readdirSync(dirname(file))).toContain("app.db");

  renameSync(file, `${file}.damaged`);
  renameSync(backup, file);
  await principal.waitFor(/is available again/);
  for (const run of [before, during]) expect(await numbersOf(cluster.client, run, 500)).toEqual(upTo(500));
}, 60_000);

test("not a database at all: it says so, and begins a new one when the file is moved away", async () => {
  await using cluster = await startCluster({ agents: 1, env: PATIENT, workflows: WORKFLOWS });
  let file = "";
  const principal = await restart(cluster, (path) => {
    file = path;
    writeFileSync(path, "this is my shopping list\n".repeat(1000));
  });
  await principal.waitFor(/is not a DuckDB database\. Move the file away/);
  const during = await worksWithout(cluster, /is not a DuckDB database/);
  renameSync(file, `${file}.not-mine`);
  await principal.waitFor(/is available again/);
  expect(await numbersOf(cluster.client, during, 500)).toEqual(upTo(500));
}, 60_000);
