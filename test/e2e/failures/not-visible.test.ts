/** Workflow files that cannot be seen for a while: "not visible" is not "deleted". */
import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmdirSync } from "node:fs";
import { startCluster } from "../../support/cdktr.ts";
import { shellWorkflow, until } from "../support/fixtures.ts";
import { IMPATIENT } from "./support.ts";

test("a workflow directory that is empty for a while, at the start or later, costs no firing", async () => {
  await using cluster = await startCluster({
    agents: 1,
    env: IMPATIENT,
    workflows: {
      "tick.yml": shellWorkflow({ a: { sh: "true" } }, 'cron: "* * * * * *"\ncatchup: all\n'),
      "etl/load.yml": shellWorkflow({ a: { sh: "true" } }),
    },
  });
  const root = cluster.workflowDirectory;
  const elsewhere = `${root}.elsewhere`;
  const unmount = () => {
    renameSync(root, elsewhere);
    mkdirSync(root);
  };
  const mount = () => {
    rmdirSync(root);
    renameSync(elsewhere, root);
  };
  const fired = async () => (await cluster.client.listRuns({ workflow_id: "tick", limit: 1000 })).length;
  await until("it fires", async () => (await fired()) > 0);

  // All at once while it runs: as a volume that is unmounted.
  unmount();
  await cluster.principal?.waitFor(/The files of 2 workflows disappeared at the same time: .*stay in use/);
  const before = await fired();
  await until("it fires on", async () => (await fired()) > before + 1);

  // At the start: as a volume that is not mounted yet.
  await cluster.principal?.stop();
  await cluster.startPrincipal();
  await cluster.principal?.waitFor(/2 workflows that were in .* when the principal ran last are not there/);
  expect(await cluster.client.listWorkflows()).toEqual({});
  mount();
  const missed = await fired();
  await until("it fires again, with what was missed", async () => (await fired()) > missed + 2);
  const { rows } = await cluster.client.queryDatabase({
    sql: "SELECT scheduled_time_ms::DOUBLE FROM workflow_runs WHERE workflow_id = 'tick' ORDER BY 1",
  });
  const times = rows.map(([ms]) => Number(ms));
  expect(times.slice(1).map((ms, i) => ms - (times[i] ?? 0))).toEqual(times.slice(1).map(() => 1000));
}, 60_000);
