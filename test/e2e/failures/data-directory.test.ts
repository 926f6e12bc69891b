/** The principal's data directory is removed while it runs. */
import { expect, test } from "bun:test";
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { startCluster } from "../../support/cdktr.ts";
import { gate, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

const WORKFLOWS = { "quick.yml": shellWorkflow({ a: { sh: "echo quick" } }) };

test("removed while the principal runs: its state is rewritten, nothing that was acknowledged is lost", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    env: PATIENT,
    workflows: { ...WORKFLOWS, "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }) },
  });
  // The agent keeps its own data elsewhere.
  const own = ["--data-dir", `${cluster.directory}/agent`, "--max-concurrent-workflows", "1"];
  await cluster.startAgent(own);
  const before = await trigger(cluster, "quick");
  await runOver(cluster.client, before);
  const gated = await trigger(cluster, "gated");
  await until("the task runs", async () => (await cluster.client.getRun(gated)).tasks.length === 1);
  const queued = await trigger(cluster, "quick");

  rmSync(cluster.dataDirectory, { recursive: true });
  const acknowledged = await trigger(cluster, "quick");
  const { principal } = cluster;
  await principal?.waitFor(
    /state\.db was removed while the principal ran\. It was rewritten .* no run is lost/,
  );
  expect(existsSync(`${cluster.dataDirectory}/state.db`)).toBe(true);
  // It cannot be started twice on what it wrote anew.
  const second = await cluster.cdktr(["start", "principal"]);
  expect(second.stderr).toContain(
    `Another principal (process ${principal?.pid}) is using the data directory`,
  );

  principal?.kill("SIGKILL");
  await principal?.finished;
  await cluster.startPrincipal();
  writeFileSync(directory.path("gate"), "");
  for (const run of [before, gated, queued, acknowledged]) {
    expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  }
}, 60_000);

test("another file in the place of its state: nothing is acknowledged any more, until the principal is restarted", async () => {
  await using cluster = await startCluster({ env: PATIENT, workflows: WORKFLOWS });
  await trigger(cluster, "quick");
  const state = `${cluster.dataDirectory}/state.db`;
  renameSync(state, `${state}.mine`);
  writeFileSync(state, "");
  const refused = await cluster.cdktr(["run", "quick"]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/another file is in the place of .*state\.db.*Restart the principal/);
  expect(await cluster.client.listRuns({ limit: 10 })).toHaveLength(1);
  // The former one is as it was.
  renameSync(`${state}.mine`, state);
  await trigger(cluster, "quick");
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  expect(await cluster.client.listRuns({ limit: 10 })).toHaveLength(2);
}, 60_000);

test("a damaged state at the start: status 1, the file stays unchanged, and the principal starts fresh once it is moved away", async () => {
  await using cluster = await startCluster({ env: PATIENT, workflows: WORKFLOWS });
  await trigger(cluster, "quick");
  await cluster.principal?.stop();
  const state = `${cluster.dataDirectory}/state.db`;
  const damaged = Buffer.from(readFileSync(state));
  damaged.fill(0xa5, 0, 4096);
  writeFileSync(state, damaged);
  const refused = await cluster.cdktr(["start", "principal"]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/state\.db is damaged(.|\n)*Restore it from a backup or move it away/);
  expect(readFileSync(state).equals(damaged)).toBe(true);
  renameSync(state, `${state}.damaged`);
  await cluster.startPrincipal();
  // What the history knows is known still.
  await trigger(cluster, "quick");
  await until(
    "both runs are listed",
    async () => (await cluster.client.listRuns({ limit: 10 })).length === 2,
  );
}, 60_000);

test("the history removed under the principal: it says so and begins a new one, with what comes from then on", async () => {
  await using cluster = await startCluster({ agents: 1, env: PATIENT, workflows: WORKFLOWS });
  const before = await trigger(cluster, "quick");
  await runOver(cluster.client, before);
  const runsWithLines = async () => {
    const { rows } = await cluster.client.searchLogs({});
    return rows.map(([, , run]) => run);
  };
  await until("its line is in the history", async () => (await runsWithLines()).length === 1);
  rmSync(`${cluster.dataDirectory}/app.db`);
  const after = await trigger(cluster, "quick");
  await runOver(cluster.client, after);
  await until("the next line is in the new one", async () => (await runsWithLines()).length > 0);
  expect(await runsWithLines()).toEqual([after]);
  await cluster.principal?.waitFor(
    /history database .* was removed while the principal ran: a new one is created/,
  );
  const runs = await cluster.client.listRuns({ limit: 10 });
  expect(runs.map((run) => run.workflow_instance_id)).toEqual([after, before]);
}, 60_000);
