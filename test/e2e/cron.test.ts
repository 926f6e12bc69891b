import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { startCluster } from "../support/cdktr.ts";
import { runOver, shellWorkflow, until } from "./support/fixtures.ts";

const every = (cron: string, head = "") =>
  shellWorkflow({ tick: { sh: 'echo "meant for $CDKTR_SCHEDULED_TIME"' } }, `cron: "${cron}"\n${head}`);

test("a cron of every second fires once a second, for the second it means; new files join, deleted ones leave", async () => {
  await using cluster = await startCluster({
    agents: 1,
    workflows: {
      "second.yml": every("* * * * * *"),
      "later.yml": every("* * * * * *", "start_time: 2999-01-01T00:00:00+00:00\n"),
      "manual.yml": shellWorkflow({ tick: { sh: "true" } }),
    },
  });
  const runsOf = async (id: string) =>
    (await cluster.client.listRuns({ workflow_id: id, limit: 1000 })).reverse();
  // A principal that stands still for longer than a second fires for the latest one only, and what no agent takes within a second is
  // dropped: four in a row show the rhythm.
  const runs = await until("four firings in a row", async () => {
    const fired = await Promise.all(
      (await runsOf("second")).slice(-4).map((run) => runOver(cluster.client, run.workflow_instance_id)),
    );
    const [first, , , last] = fired.map((run) => run.scheduled_time_ms ?? Number.NaN);
    const areDone = fired.every(({ status }) => status === "COMPLETED");
    return areDone && last !== undefined && first !== undefined && last - first === 3000 && fired;
  });
  expect(runs.map((run) => run.trigger)).toEqual(Array(4).fill("cron"));
  const instants = runs.map((run) => run.scheduled_time_ms ?? Number.NaN);
  expect(instants.map((instant) => instant % 1000)).toEqual([0, 0, 0, 0]);
  expect(instants.slice(1).map((instant, i) => instant - (instants[i] ?? 0))).toEqual([1000, 1000, 1000]);
  // Never before its time.
  for (const run of runs)
    expect(run.created_at_ms).toBeGreaterThanOrEqual(run.scheduled_time_ms ?? Number.NaN);
  const first = runs[0];
  const page = await cluster.client.searchLogs({ workflow_instance_id: first?.workflow_instance_id });
  const said = page.rows.map((row) => row[7]).find((payload) => payload.startsWith("meant for "));
  expect(Date.parse(said?.slice("meant for ".length) ?? "")).toBe(instants[0] ?? Number.NaN);

  // What came while it ran is scheduled too; what left is not.
  rmSync(join(cluster.workflowDirectory, "second.yml"));
  await until("the file is gone", async () => (await cluster.client.listWorkflows()).second === undefined);
  cluster.writeWorkflow("another.yml", every("* * * * * *"));
  await until("the new one fires", async () => (await runsOf("another")).length >= 1);
  const afterDeletion = (await runsOf("second")).length;
  await until("the new one fires on", async () => (await runsOf("another")).length >= 3);
  expect((await runsOf("second")).length).toBe(afterDeletion);
  expect(await runsOf("later")).toEqual([]);
  expect(await runsOf("manual")).toEqual([]);
}, 120_000);

test("--no-scheduler fires nothing", async () => {
  await using cluster = await startCluster({
    agents: 1,
    principalArgs: ["--no-scheduler"],
    workflows: { "second.yml": every("* * * * * *") },
  });
  const started = Date.now();
  // Two whole seconds begin before this is over, as the tasks' own clock says.
  cluster.writeWorkflow("wait.yml", shellWorkflow({ wait: { sh: "sleep 2.2" } }));
  await until("the file is loaded", async () => (await cluster.client.listWorkflows()).wait !== undefined);
  const { workflow_instance_id } = await cluster.client.runTask("wait", { dedupe_key: "wait" });
  expect((await runOver(cluster.client, workflow_instance_id)).status).toBe("COMPLETED");
  expect(Date.now() - started).toBeGreaterThan(2000);
  expect(await cluster.client.listRuns({ workflow_id: "second" })).toEqual([]);
}, 60_000);

test("without an agent firings wait as catchup says; one that comes finds no backlog of what is worth nothing", async () => {
  const secondly = (catchup: string) => every("* * * * * *", `catchup: ${catchup}\n`);
  await using cluster = await startCluster({
    workflows: {
      "none.yml": secondly("none"),
      "latest.yml": secondly("latest"),
      "all.yml": secondly("all"),
      "told.yml": every(
        "0 0 1 1 *",
        "params:\n  workflow_instance_id: none\n  status: none\non:\n  workflow:\n    id: none\n    status: [SKIPPED]\n",
      ),
    },
  });
  const runsOf = (workflow_id: string) => cluster.client.listRuns({ workflow_id, limit: 1000 });
  const waiting = async (id: string) => (await runsOf(id)).filter((run) => run.status === "PENDING").length;
  await until("three firings wait where all count", async () => (await waiting("all")) >= 3);
  for (const id of ["none", "latest"]) {
    const skipped = await until("a firing is dropped", async () =>
      (await runsOf(id)).find((run) => run.status === "SKIPPED"),
    );
    const shown = await cluster.cdktr(["runs", "show", skipped.workflow_instance_id]);
    expect(shown.stdout).toMatch(
      new RegExp(`no agent took it before the next firing was due, at .* \\(catchup: ${id}\\)`),
    );
    expect((await cluster.cdktr(["runs", "list", "--status", "skipped"])).stdout).toMatch(id);
  }
  const told = await until("another workflow follows a dropped firing", async () =>
    (await runsOf("told")).at(-1),
  );
  const { trigger, params } = await cluster.client.getRun(told.workflow_instance_id);
  expect({ trigger, status: params.status }).toEqual({ trigger: "workflow", status: "SKIPPED" });
  expect((await cluster.client.getRun(params.workflow_instance_id ?? "")).workflow_id).toBe("none");
  expect((await runsOf("all")).some((run) => run.status === "SKIPPED")).toBe(false);
  await cluster.principal?.waitFor(/firings? that no agent took before the next one was due/);

  const agent = await cluster.startAgent();
  const backlog = (await runsOf("all")).map((run) => run.workflow_instance_id);
  for (const id of backlog) expect((await runOver(cluster.client, id)).status).toBe("COMPLETED");
  for (const id of ["none", "latest"]) {
    await until(`${id} runs again`, async () => (await runsOf(id)).some((run) => run.status === "COMPLETED"));
  }
  await agent.stop();
  const before = (await runsOf("none")).filter((run) => run.status === "SKIPPED").length;
  await until("firings are dropped again", async () => {
    return (await runsOf("none")).filter((run) => run.status === "SKIPPED").length > before + 1;
  });
}, 60_000);
