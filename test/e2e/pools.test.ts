/** Pools and priorities as an operator has them: `cdktr pools`, `runs queue`, `runs priority`, and what a run that waits says. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PoolSummary, Queue } from "../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { gate, runOver, shellWorkflow, until } from "./support/fixtures.ts";

let cluster: Cluster;
let open: string;

beforeAll(async () => {
  cluster = await startCluster({ agents: 1, env: { CDKTR_AGENT_MAX_CONCURRENCY: "4" } });
  open = join(cluster.directory, "open");
  const flows = {
    "hold.yml": `priority: 6\n${shellWorkflow({ load: { sh: gate(open), extra: "    pool: {warehouse: 2}\n" } })}`,
    "light.yml": shellWorkflow({ check: { sh: "true", extra: "    pool: warehouse\n" } }),
    "lost.yml": shellWorkflow({ check: { sh: "true", extra: "    pool: warehous\n" } }),
  };
  for (const [path, text] of Object.entries(flows)) cluster.writeWorkflow(path, text);
  await until(
    "the workflows are known",
    async () => Object.keys(await cluster.client.listWorkflows()).length === 3,
  );
});
afterAll(() => cluster?.stop());

async function ok(...args: string[]) {
  const { code, stdout, stderr } = await cluster.cdktr(args);
  expect([args, code, stderr]).toEqual([args, 0, expect.any(String)]);
  return { stdout, stderr };
}

async function start(workflow: string): Promise<string> {
  return (await cluster.client.runTask(workflow, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

const waitsOf = async (id: string) => (await cluster.client.getRun(id)).pool_waits ?? [];

test("a pool from the first task that asks for it until it is removed", async () => {
  expect((await ok("pools", "list")).stderr).toContain("No pools.");
  const held = await start("hold");
  await until("it is known that there is no pool", async () => (await waitsOf(held)).length === 1);
  expect(await waitsOf(held)).toMatchObject([
    { slice: 1, tasks: ["load"], kind: "pool", reason: 'there is no pool "warehouse"' },
  ]);
  expect((await ok("pools", "list")).stdout).toMatch(/^warehouse +0\/- +1 +nobody made it$/m);
  expect((await ok("runs", "why", held)).stdout).toMatch(
    /Slice 1 \(load\) has waited for a pool for \S+: there is no pool "warehouse"\.\n {2}A pool is made by/,
  );

  // Its slots are given in the commit that makes it.
  expect((await ok("pools", "set", "warehouse", "2")).stderr).toContain("Pool warehouse has 2 slots.");
  await until("it begins", async () => (await cluster.client.getRun(held)).status === "RUNNING");
  const light = await start("light");
  const { stdout } = await ok("run", "light", "--json", "--priority", "9");
  const urgent = JSON.parse(stdout).workflow_instance_id;
  const lost = await start("lost");
  const pools: PoolSummary[] = JSON.parse((await ok("pools", "list", "--json")).stdout);
  expect(pools).toMatchObject([
    { name: "warehous", size: null, source: null, used: 0, waiting: 1 },
    {
      name: "warehouse",
      size: 2,
      source: "command",
      used: 2,
      waiting: 2,
      holders: [{ workflow_id: "hold", workflow_instance_id: held, task_id: "load", slots: 2 }],
    },
  ]);
  const full = `pool warehouse is full (2 of 2): held by load of run ${held} (2)`;
  expect((await ok("runs", "why", light)).stdout).toContain(full);
  expect((await ok("runs", "show", light)).stdout).toContain(`Slice 1 (check): ${full}`);
  expect((await waitsOf(lost))[0]?.hint).toContain('Did you mean "warehouse"?');

  const queue = (): Promise<Queue> => cluster.client.queue(100);
  const order = async () => (await queue()).entries.map((entry) => entry.workflow_instance_id);
  expect(await order()).toEqual([urgent, light, lost]);
  expect(JSON.parse((await ok("runs", "queue", "--json")).stdout)).toMatchObject({
    queued: 3,
    held: [],
    entries: [{ priority: 9, tasks: ["check"], kind: "pool" }, { priority: 5 }, { workflow_id: "lost" }],
  });
  expect((await ok("runs", "priority", urgent, "0")).stderr).toContain(
    `Run ${urgent} of light has priority 0.`,
  );
  expect(await order()).toEqual([light, lost, urgent]);
  expect((await cluster.client.getRun(urgent)).priority).toBe(0);
  expect((await ok("runs", "queue")).stdout).toMatch(/^ *1 +\S+ +light +5 +\S+ +check/m);

  expect((await ok("pools", "set", "warehouse", "1")).stderr).toContain("2 are in use: it drains.");
  await until("the reason follows", async () =>
    (await waitsOf(light)).some(({ reason }) => reason === "pool warehouse shrank to 1 slot; 2 are in use"),
  );
  writeFileSync(open, "");
  await runOver(cluster.client, held);
  await runOver(cluster.client, light);
  await runOver(cluster.client, urgent);
  expect((await ok("pools", "list", "warehouse")).stdout).toMatch(/^warehouse +0\/1 +0 +command/m);
  // Whoever waits for a pool with a wrong name waits until there is one.
  await cluster.client.setPool("warehous", 1);
  await runOver(cluster.client, lost);
  expect((await ok("pools", "reset", "warehous")).stderr).toContain("Pool warehous is gone");
  const gone = await cluster.cdktr(["pools", "reset", "warehous"]);
  expect([gone.code, gone.stderr]).toEqual([
    4,
    expect.stringMatching(/There is no pool warehous\.\s+.*Did you mean "warehouse"\?/),
  ]);
  expect((await ok("runs", "queue")).stderr).toContain("Nothing waits.");
});

test("mistakes on the command line", async () => {
  for (const [args, code, message] of [
    [["pools", "set", "a b", "1"], 2, "'a b' is not a name of a pool."],
    [["pools", "set", "db", "many"], 2, "'many' is not a number of slots"],
    [["pools", "set", "db", "100001"], 2, "expected a whole number from 0 to 100000"],
    [["pools", "list", "nowhere"], 4, "There is no pool nowhere."],
    [
      ["runs", "priority", "01234567", "10"],
      2,
      "'10' is not a priority: expected a whole number from 0 to 9.",
    ],
    [["run", "light", "--priority", "10"], 2, "--priority 10: expected a whole number, from 0 to 9."],
    [["run", "./light.yml", "--priority", "1"], 2, "--priority needs a workflow of a principal"],
  ] as const) {
    const finished = await cluster.cdktr(args);
    expect([args, finished.code, finished.stderr]).toEqual([args, code, expect.stringContaining(message)]);
  }
});
