/** Workflow files that cannot be seen for a while: "not visible" is not "deleted". */
import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmdirSync, writeFileSync } from "node:fs";
import { type CdktrProcess, Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, PrivateMounts } from "./support.ts";

test("a workflow directory that is empty for a while, at the start or later, costs no firing", async () => {
  await using cluster = await startCluster({
    agents: 1,
    env: PATIENT,
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
  const refused = await cluster.cdktr(["run", "etl.load"]);
  expect({ code: refused.code, stderr: refused.stderr }).toEqual({
    code: 1,
    stderr: expect.stringContaining("is not visible now: is a volume not mounted yet?"),
  });
  mount();
  const missed = await fired();
  await until("it fires again, with what was missed", async () => (await fired()) > missed + 2);
  const { rows } = await cluster.client.queryDatabase({
    sql: "SELECT scheduled_time_ms::DOUBLE FROM workflow_runs WHERE workflow_id = 'tick' ORDER BY 1",
  });
  const times = rows.map(([ms]) => Number(ms));
  expect(times.slice(1).map((ms, i) => ms - (times[i] ?? 0))).toEqual(times.slice(1).map(() => 1000));
}, 60_000);

test("a volume with watched files that is mounted late, or away for a while, starts no run", async () => {
  await using mounts = await PrivateMounts.create();
  using directory = new TemporaryDirectory();
  const volume = directory.path("volume");
  const watching = (glob: string) => {
    const on = `{glob: '${directory.path(glob)}', events: [created, changed, deleted], settle: 20ms}`;
    return shellWorkflow({ a: { sh: "true" } }, `params: {file: null, event: null}\non:\n  file: ${on}\n`);
  };
  await using cluster = new Cluster(
    {
      env: PATIENT,
      // The directory of the one glob is on the volume, that of the other contains it.
      workflows: { "below.yml": watching("volume/in/*.csv"), "above.yml": watching("v*/in/*.csv") },
    },
    await freePorts(3),
  );
  await mounts.device(volume);
  mkdirSync(mounts.path(volume, "in"));
  const drop = (name: string) => writeFileSync(mounts.path(volume, "in", name), name);
  const runs = async (count: number) => {
    const found = await until(`${count} runs`, async () => {
      const all = await cluster.client.listRuns({ limit: 100 });
      return all.length >= count && all;
    });
    const details = await Promise.all(found.map((run) => cluster.client.getRun(run.workflow_instance_id)));
    return details.map(({ workflow_id: id, params }) => `${id} ${params.event} ${params.file}`).sort();
  };
  const start = () => cluster.startPrincipal([], { prefix: mounts.prefix });
  const told = async (principal: CdktrProcess, what: string) => {
    for (const id of ["below", "above"]) await principal.waitFor(new RegExp(what.replace("ID", id)));
  };

  const first = await start();
  await told(first, "Watching .* for workflow ID");
  for (const name of ["a.csv", "b.csv", "c.csv"]) drop(name);
  await runs(6);
  // While it runs.
  await mounts.unmount(volume);
  await first.waitFor(/3 files of workflow below .* are not visible: .* Is a volume not mounted/);
  await mounts.mount(volume);
  await first.waitFor(/No file of workflow below .* is hidden any more/);

  // At the start.
  await first.stop();
  await mounts.unmount(volume);
  const second = await start();
  await told(second, "3 files of workflow ID .* are not visible: .* Is a volume not mounted");
  await mounts.mount(volume);
  await told(second, "No file of workflow ID .* is hidden any more");
  drop("d.csv");
  const files = ["a.csv", "b.csv", "c.csv", "d.csv"];
  expect(await runs(8)).toEqual(
    ["above", "below"].flatMap((id) => files.map((file) => `${id} created ${file}`)),
  );
}, 60_000);
