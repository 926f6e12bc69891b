/** The state, the history and the agents do not belong to the same installation. */
import { expect, test } from "bun:test";
import { cpSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { gate, linesOf, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { FakeClock } from "./fake-clock.ts";
import { PATIENT, trigger } from "./support.ts";

const HELLO = { "hello.yml": shellWorkflow({ a: { sh: "echo hello" } }) };

/** The files of the state, which are moved or copied while no principal runs. */
function stateFiles(cluster: Cluster): string[] {
  return readdirSync(cluster.dataDirectory).filter((name) => name.startsWith("state.db"));
}

test("the history takes the statuses of a state that is new, or older than itself, also after the clock was ahead", async () => {
  using directory = new TemporaryDirectory();
  const clock = await FakeClock.create(directory.path("clock"));
  clock.set(3 * 365 * 24 * 3600);
  await using cluster = new Cluster({ env: PATIENT, workflows: HELLO }, await freePorts(3));
  const away = (name: string) => directory.path(name);
  const statusOfNewRun = async () => {
    const run = await trigger(cluster, "hello");
    expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
    const { rows } = await cluster.client.queryDatabase({
      sql: `SELECT status::VARCHAR FROM workflow_runs WHERE workflow_instance_id = '${run}'`,
    });
    return rows[0]?.[0];
  };
  const ahead = await cluster.startPrincipal([], clock);
  await cluster.startAgent();
  expect(await statusOfNewRun()).toBe("COMPLETED");
  const { installation_id } = await cluster.client.info();
  await ahead.stop();
  for (const name of stateFiles(cluster)) renameSync(join(cluster.dataDirectory, name), away(name));

  const anew = await cluster.startPrincipal();
  await anew.waitFor(/The principal's state is new, but the history in .* is not/);
  expect((await cluster.client.info()).installation_id).toBe(installation_id);
  expect(await statusOfNewRun()).toBe("COMPLETED");
  await anew.stop();

  for (const name of stateFiles(cluster)) rmSync(join(cluster.dataDirectory, name));
  for (const name of ["state.db"]) cpSync(away(name), join(cluster.dataDirectory, name));
  clock.set(4 * 365 * 24 * 3600);
  const later = await cluster.startPrincipal([], clock);
  expect(later.stderr).not.toContain("older than the history");
  expect(await statusOfNewRun()).toBe("COMPLETED");
  await later.stop();

  cpSync(away("state.db"), join(cluster.dataDirectory, "state.db"));
  const old = await cluster.startPrincipal();
  await old.waitFor(/The principal's state is older than the history/);
  expect(await statusOfNewRun()).toBe("COMPLETED");
}, 60_000);

test("data for one installation is not sent to another, and is delivered when the agent connects to its own again", async () => {
  using directory = new TemporaryDirectory();
  const gated = { "gated.yml": shellWorkflow({ a: { sh: `echo begun; ${gate(directory.path("gate"))}` } }) };
  await using one = await startCluster({ env: PATIENT, workflows: gated });
  await using other = await startCluster({ env: PATIENT, workflows: HELLO });
  const words = ["--suffix", "traveller", "--data-dir", directory.path("agent")];
  const away = await one.startAgent(words);
  const run = await trigger(one, "gated");
  await until("the task runs", async () => (await one.client.getRun(run)).tasks.length === 1);
  one.principal?.kill("SIGKILL");
  await one.principal?.finished;
  writeFileSync(directory.path("gate"), "");
  // It finishes the run, and waits a while for the principal.
  away.kill();
  expect((await away.finished).code).toBe(1);
  expect(away.stderr).toMatch(/reports and \d+ log lines could not be delivered/);

  const visitor = await other.startAgent(words);
  await visitor.waitFor(/belongs to another installation .* \d+ reports and \d+ log lines are for that one/);
  expect((await runOver(other.client, await trigger(other, "hello"))).status).toBe("COMPLETED");
  expect((await visitor.stop()).code).toBe(0);
  const lines = (cluster: Cluster) =>
    cluster.client.queryDatabase({
      sql: "SELECT payload FROM logstore WHERE payload IN ('begun', 'hello', 'passed') ORDER BY 1",
    });
  expect((await lines(other)).rows).toEqual([["hello"]]);

  await one.startPrincipal();
  await one.startAgent(words);
  const ended = await runOver(one.client, run);
  expect(ended).toMatchObject({ status: "COMPLETED", attempt: 1 });
  await until("its lines are there", async () =>
    Bun.deepEquals((await lines(one)).rows, [["begun"], ["passed"]]),
  );
}, 60_000);

test("an agent keeps its id and delivers its outbox when its host is renamed: nothing is done twice", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  const gated = shellWorkflow({ a: { sh: `echo once >> ${ledger}; ${gate(directory.path("gate"))}` } });
  await using cluster = await startCluster({ env: PATIENT, workflows: { "gated.yml": gated } });
  const on = (name: string) =>
    cluster.spawn(["start", "agent"], {
      prefix: ["unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', name],
    });
  await using before = on("old-name");
  const run = await trigger(cluster, "gated");
  await until("the task runs", async () => (await cluster.client.getRun(run)).tasks.length === 1);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  writeFileSync(directory.path("gate"), "");
  before.kill();
  expect((await before.finished).code).toBe(1);

  await cluster.startPrincipal();
  await using after = on("new-name");
  await after.waitFor(/The name of this host has changed: the agent keeps the id old-name/);
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect(linesOf(ledger)).toEqual(["once"]);
  expect(await cluster.client.registeredAgents()).toMatchObject([{ agent_id: "old-name", host: "new-name" }]);
}, 60_000);
