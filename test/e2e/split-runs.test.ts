/** Runs that several agents share, with real agents. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { LONG } from "../support/long.ts";
import { PATIENT } from "./failures/support.ts";
import { gate, linesOf, processesWith, runOver, shellWorkflow, until } from "./support/fixtures.ts";

const inZone = (zone: string) => `    runs_on: {zone: ${zone}}\n`;

async function trigger(cluster: Cluster, workflow: string): Promise<string> {
  const run = await cluster.client.runTask(workflow, { dedupe_key: crypto.randomUUID() });
  return run.workflow_instance_id;
}

const startIn = (cluster: Cluster, zone: string) =>
  cluster.startAgent(["--suffix", zone, "--label", `zone=${zone}`]);

/** The name of the agent of each task. */
const agentsOf = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map((task) => [task.task_id, task.agent_id?.split("-").at(-1)]));

test("a run that two agents share outlives its principal, is cancelled, timed out, and handed over by one that drains", async () => {
  await using cluster = await startCluster({ env: PATIENT });
  const [witness, first, second] = ["witness", "first", "second"].map((name) =>
    join(cluster.directory, name),
  );
  const note = (id: string) => `echo "${id} $CDKTR_RUN_ATTEMPT" >> ${witness}`;
  cluster.writeWorkflow(
    "shared.yml",
    shellWorkflow({
      a: { sh: `${note("a")}; ${gate(first ?? "")}; echo n=7 > "$CDKTR_OUTPUT"`, extra: inZone("x") },
      b: { sh: `${note("b")}; ${gate(first ?? "")}`, extra: inZone("y") },
      c: {
        sh: `${note("c")}; cat $CDKTR_INPUTS/a.json >> ${witness}; ${gate(second ?? "")}`,
        depends: ["a", "b"],
        extra: inZone("y"),
      },
      d: { sh: note("d"), depends: ["c"], extra: inZone("x") },
    }),
  );
  const stuck = { sh: "sleep 600" };
  const endless = {
    a: { ...stuck, extra: inZone("x") },
    b: { ...stuck, extra: inZone("y") },
    c: { ...stuck, extra: inZone("z") },
    d: { ...stuck, depends: ["a"] },
  };
  cluster.writeWorkflow("endless.yml", shellWorkflow(endless));
  cluster.writeWorkflow("late.yml", shellWorkflow(endless, 'timeout: "3s"\n'));
  await until(
    "the workflows are loaded",
    async () => Object.keys(await cluster.client.listWorkflows()).length === 3,
  );
  const [, y] = await Promise.all([startIn(cluster, "x"), startIn(cluster, "y")]);

  const shared = await trigger(cluster, "shared");
  await until("both agents have some of it", () => linesOf(witness ?? "").length === 2);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  // They end while nobody is there to hear of it.
  writeFileSync(first ?? "", "");
  await until("nothing runs", () => processesWith(`CDKTR_WORKFLOW_INSTANCE_ID=${shared}`).length === 0);
  await cluster.startPrincipal();
  await until("the next one runs", () => linesOf(witness ?? "").includes("c 1"));

  // The agent with it drains: it finishes what it has, and what comes next goes to another one.
  const drained = (await cluster.client.registeredAgents()).find(({ agent_id }) => agent_id.endsWith("-y"));
  await cluster.cdktr(["agents", "drain", drained?.agent_id ?? ""]);
  await cluster.startAgent(["--suffix", "y2", "--label", "zone=y"]);
  const cancelled = await trigger(cluster, "endless");
  const late = await trigger(cluster, "late");
  writeFileSync(second ?? "", "");
  const over = await runOver(cluster.client, shared);
  expect(over).toMatchObject({ status: "COMPLETED", attempt: 1, tasks_done: 4 });
  expect(agentsOf(over)).toEqual({ a: "x", b: "y", c: "y", d: "x" });
  expect(linesOf(witness ?? "").sort()).toEqual(["a 1", "b 1", "c 1", "d 1", '{"n":"7"}']);
  expect((await y.finished).code).toBe(0);

  await until("both agents have some of it", async () => {
    const run = await cluster.client.getRun(cancelled);
    return run.tasks.filter(({ status }) => status === "RUNNING").length === 2;
  });
  expect((await cluster.cdktr(["runs", "cancel", cancelled])).code).toBe(0);
  const stopped = await runOver(cluster.client, cancelled);
  expect(stopped).toMatchObject({ status: "CANCELLED", tasks_done: 4 });
  expect(new Set(stopped.tasks.map(({ status }) => status))).toEqual(new Set(["CANCELLED"]));
  expect(agentsOf(stopped)).toMatchObject({ a: "x", b: "y2" });

  const failed = await runOver(cluster.client, late);
  expect(failed).toMatchObject({ status: "FAILED", error: "timed out after 3s" });
  expect(Object.fromEntries(failed.tasks.map(({ task_id, status }) => [task_id, status]))).toEqual({
    a: "FAILED",
    b: "FAILED",
    c: "SKIPPED",
    d: "SKIPPED",
  });
  for (const run of [cancelled, late])
    await until("nothing is left", () => processesWith(`CDKTR_WORKFLOW_INSTANCE_ID=${run}`).length === 0);
});

test("tasks that spread are shared evenly, each once, in the order of their dependencies", async () => {
  const [agents, rows, width] = LONG ? [8, 20, 100] : [4, 4, 30];
  await using cluster = await startCluster({ agents });
  const ledger = join(cluster.directory, "ledger");
  const ids = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: width }, (_, column) => `t${row}-${column}`),
  );
  const tasks = ids.flatMap((ofRow, row) =>
    ofRow.map((id, column) => {
      const before = ids[row - 1] ?? [];
      const depends = [before[column], before[(column * 7 + 1) % width]].filter((one) => one !== undefined);
      return [id, { sh: `echo ${id} >> ${ledger}`, depends: [...new Set(depends)] }] as const;
    }),
  );
  cluster.writeWorkflow("wide.yml", shellWorkflow(Object.fromEntries(tasks), "placement: spread\n"));
  await until("it is loaded", async () => "wide" in (await cluster.client.listWorkflows()));
  const began = performance.now();
  const run = await runOver(cluster.client, await trigger(cluster, "wide"));
  const seconds = (performance.now() - began) / 1000;
  if (LONG) console.log(`${tasks.length} tasks on ${agents} agents: ${seconds.toFixed(1)} s`);
  expect(run).toMatchObject({ status: "COMPLETED", attempt: 1, tasks_done: tasks.length });
  const done = linesOf(ledger);
  expect(done.toSorted()).toEqual(tasks.map(([id]) => id).toSorted());
  const at = new Map(done.map((id, position) => [id, position]));
  for (const [id, { depends }] of tasks)
    for (const needed of depends) expect(at.get(needed) ?? Infinity).toBeLessThan(at.get(id) ?? 0);
  const shares = [...Map.groupBy(run.tasks, (task) => task.agent_id).values()].map((own) => own.length);
  expect(shares).toHaveLength(agents);
  // An agent that gets less of the processor has less room and gets fewer tasks, which shows more the fewer there are.
  expect(Math.min(...shares)).toBeGreaterThanOrEqual((LONG ? 0.7 : 0.5) * Math.max(...shares));
});
