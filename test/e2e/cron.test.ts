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
  // A principal that stands still for longer than a second fires for the latest one only: four in a row show the rhythm.
  const runs = await until("four firings in a row", async () => {
    const fired = await Promise.all(
      (await runsOf("second")).slice(-4).map((run) => runOver(cluster.client, run.workflow_instance_id)),
    );
    const [first, , , last] = fired.map((run) => run.scheduled_time_ms ?? Number.NaN);
    return last !== undefined && first !== undefined && last - first === 3000 && fired;
  });
  expect(runs.map((run) => [run.trigger, run.status])).toEqual(Array(4).fill(["cron", "COMPLETED"]));
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
