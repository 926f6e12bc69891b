/** The file of a workflow is edited or deleted while runs of it wait or run: each run keeps the definition it was triggered with. */
import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startCluster } from "../../support/cdktr.ts";
import { gate, linesOf, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

test("deleted while it runs: the run goes on to its end, on another agent too; there is no next one", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  await using cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "doomed.yml": shellWorkflow({
        first: { sh: `echo first >> ${ledger}; ${gate(directory.path("gate"))}` },
        second: { sh: `echo second >> ${ledger}`, depends: ["first"] },
      }),
    },
  });
  const run = await trigger(cluster, "doomed");
  await until("the first task runs", () => linesOf(ledger).length === 1);
  rmSync(join(cluster.workflowDirectory, "doomed.yml"));
  await until("it is gone", async () => Object.keys(await cluster.client.listWorkflows()).length === 0);
  const next = await cluster.cdktr(["run", "doomed"]);
  expect(next.code).toBe(4);
  expect(next.stderr).toMatch(/no workflow "doomed"/i);

  // Not even a lost agent needs the file.
  const [agent] = cluster.agents;
  agent?.kill("SIGKILL");
  await agent?.finished;
  writeFileSync(directory.path("gate"), "");
  await cluster.startAgent(["--suffix", "agent-1"]);
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 2 });
  expect(linesOf(ledger)).toEqual(["first", "first", "second"]);
  const retry = await cluster.cdktr(["runs", "retry", run, "--from-start", "--json"]);
  expect(retry.code).toBe(0);
  expect((await runOver(cluster.client, JSON.parse(retry.stdout).workflow_instance_id)).status).toBe(
    "COMPLETED",
  );
}, 60_000);

test("edited, then deleted, while runs are queued: each runs what it was, and `runs show` shows it", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  const version = (name: string) => shellWorkflow({ [name]: { sh: `echo ${name} >> ${ledger}` } });
  await using cluster = await startCluster({ env: PATIENT, workflows: { "moving.yml": version("old") } });
  const old = await trigger(cluster, "moving");
  cluster.writeWorkflow("moving.yml", version("new"));
  await until("the edit is in force", async () =>
    (await cluster.client.getWorkflow("moving")).definition.tasks.some((task) => task.id === "new"),
  );
  const edited = await trigger(cluster, "moving");
  rmSync(join(cluster.workflowDirectory, "moving.yml"));
  await until("it is gone", async () => Object.keys(await cluster.client.listWorkflows()).length === 0);
  // What is stored survives the principal.
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();

  await cluster.startAgent(["--max-concurrent-workflows", "1"]);
  for (const [run, task] of [
    [old, "old"],
    [edited, "new"],
  ] as const) {
    expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
    const show = await cluster.cdktr(["runs", "show", run, "--json"]);
    const shown = JSON.parse(show.stdout);
    expect(shown.tasks.map((one: { task_id: string }) => one.task_id)).toEqual([task]);
    expect(shown.definition.tasks.map((one: { id: string }) => one.id)).toEqual([task]);
  }
  expect(linesOf(ledger)).toEqual(["old", "new"]);
}, 60_000);
