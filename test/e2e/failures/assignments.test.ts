/** The principal or the agent dies between two steps of assigning a run. */
import { expect, test } from "bun:test";
import { hostname } from "node:os";
import { startCluster } from "../../support/cdktr.ts";
import { linesOf, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { IMPATIENT, PATIENT, trigger } from "./support.ts";

test("the reply that hands a run to an agent is lost with the agent: another one gets it, as an attempt that does not count", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  await using cluster = await startCluster({
    env: IMPATIENT,
    workflows: { "once.yml": shellWorkflow({ a: { sh: `echo ran >> ${ledger}` } }, "failover: never\n") },
  });
  const { client } = cluster;
  const run = await trigger(cluster, "once");
  // An agent as far as the principal can tell: it registers, fetches, and is never heard of again.
  const agentId = `${hostname()}-doomed`;
  const session_id = crypto.randomUUID();
  await client.registerAgent(agentId, {
    session_id,
    stream_id: crypto.randomUUID(),
    host: hostname(),
    pid: 1,
    version: "0",
    protocol: { version: 1, oldest: 1 },
    max_concurrent_workflows: 1,
    labels: {},
    running: [],
  });
  const assignment = await client.fetchWorkflow(agentId, {
    session_id,
    wait_ms: 1000,
    labels: {},
    fetch_id: "f",
  });
  expect(assignment?.workflow_instance_id).toBe(run);

  await cluster.startAgent();
  const over = await runOver(client, run);
  // It never began, so that even `failover: never` lets it run: once.
  expect(over).toMatchObject({ status: "COMPLETED", attempt: 2 });
  expect(over.attempts.map((attempt) => attempt.status)).toEqual(["CRASHED", "COMPLETED"]);
  expect(linesOf(ledger)).toEqual(["ran"]);
}, 60_000);

test("an agent killed at any moment around an assignment: no run is lost, none runs twice at a time", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  await using cluster = await startCluster({
    env: PATIENT,
    workflows: {
      "once.yml": shellWorkflow({ a: { sh: `echo "$CDKTR_WORKFLOW_INSTANCE_ID" >> ${ledger}` } }),
    },
  });
  let agent = await cluster.startAgent(["--suffix", "mortal"]);
  for (let round = 0; round < 4; round++) {
    const runs = await Promise.all(Array.from({ length: 5 }, () => trigger(cluster, "once")));
    // The replies are under way, the confirmations too, or the tasks begin: each round it is another moment.
    await Bun.sleep(round * 5);
    agent.kill("SIGKILL");
    await agent.finished;
    agent = await cluster.startAgent(["--suffix", "mortal"]);
    for (const run of runs) {
      const over = await runOver(cluster.client, run);
      expect(over.status).toBe("COMPLETED");
      const ran = linesOf(ledger).filter((line) => line === run).length;
      expect(ran).toBeGreaterThanOrEqual(1);
      expect(ran).toBeLessThanOrEqual(over.attempts.length);
    }
  }
}, 60_000);

test("the principal killed at once after RUNTASK's OK: every run that was acknowledged is there, once", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  await using cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "once.yml": shellWorkflow({ a: { sh: `echo "$CDKTR_WORKFLOW_INSTANCE_ID" >> ${ledger}` } }),
    },
  });
  const acknowledged = new Set<string>();
  for (let round = 0; round < 2; round++) {
    const { principal } = cluster;
    // Those that the principal takes with it are never answered.
    const requests = Array.from({ length: 20 }, (_, index) =>
      cluster.client.runTask("once", { dedupe_key: `${round}-${index}` }, { timeoutMs: 2000 }),
    );
    // As soon as the first of them is acknowledged; the others may be before or behind their commit.
    acknowledged.add((await Promise.race(requests)).workflow_instance_id);
    principal?.kill("SIGKILL");
    for (const answer of await Promise.allSettled(requests)) {
      if (answer.status === "fulfilled") acknowledged.add(answer.value.workflow_instance_id);
    }
    await principal?.finished;
    await cluster.startPrincipal();
    // Who did not hear the answer asks again.
    const again = await Promise.all(
      requests.map((_, index) => trigger(cluster, "once", `${round}-${index}`)),
    );
    for (const run of again) acknowledged.add(run);
  }
  expect(acknowledged.size).toBe(40);
  for (const run of acknowledged) {
    expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  }
  expect(await cluster.client.listRuns({ limit: 1000 })).toHaveLength(40);
  await until("every task has run", () => linesOf(ledger).length >= 40);
  expect(new Set(linesOf(ledger)).size).toBe(40);
  expect(linesOf(ledger)).toHaveLength(40);
}, 60_000);
