import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { startCluster } from "../support/cdktr.ts";
import {
  gate,
  linesOf,
  processesWith,
  runOver,
  shellWorkflow,
  TemporaryDirectory,
  until,
} from "./support/fixtures.ts";

/** A lost agent is noticed in seconds instead of half a minute. */
const IMPATIENT = {
  CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "250",
  CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "2000",
};

test("an agent that was killed: its attempt is CRASHED, another agent goes on without repeating what was done", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  const note = (task: string) => `echo "${task} $CDKTR_ATTEMPT" >> ${ledger}`;
  await using cluster = await startCluster({
    agents: 2,
    env: IMPATIENT,
    workflows: {
      "steps.yml": shellWorkflow({
        done: { sh: note("done") },
        held: { sh: `${note("held")}; ${gate(directory.path("gate"))}`, depends: ["done"] },
        last: { sh: note("last"), depends: ["held"] },
      }),
    },
  });
  const { workflow_instance_id } = await cluster.client.runTask("steps", { dedupe_key: "steps" });
  await until("the second task runs", () => linesOf(ledger).some((line) => line.startsWith("held")));
  await until("the principal knows that the first task is done", async () => {
    const { tasks } = await cluster.client.getRun(workflow_instance_id);
    return tasks.some(({ task_id, status }) => task_id === "done" && status === "COMPLETED");
  });
  const before = await cluster.client.getRun(workflow_instance_id);
  const index = before.agent_id?.endsWith("agent-1") ? 0 : 1;
  const agent = cluster.agents[index];
  // The shell of the second task; what it starts has a higher number.
  const orphan = Math.min(...processesWith(workflow_instance_id));
  agent?.kill("SIGKILL");
  await agent?.finished;

  await until("the other agent has it", async () => {
    const run = await cluster.client.getRun(workflow_instance_id);
    return run.attempt === 2 && run.status === "RUNNING";
  });
  await until(
    "the second task runs again",
    () => linesOf(ledger).filter((line) => line.startsWith("held")).length === 2,
  );
  const lost = (await cluster.client.registeredAgents()).find((known) => known.agent_id === before.agent_id);
  expect(lost?.status).toBe("LOST");

  // Back on the same host, the agent ends what its predecessor left, before anything else.
  expect(processesWith(workflow_instance_id)).toContain(orphan);
  await cluster.startAgent(["--suffix", `agent-${index + 1}`]);
  await until("only the new attempt runs", () => !processesWith(workflow_instance_id).includes(orphan));

  writeFileSync(directory.path("gate"), "");
  const run = await runOver(cluster.client, workflow_instance_id);
  expect(run.status).toBe("COMPLETED");
  expect(run.attempts.map((attempt) => attempt.status)).toEqual(["CRASHED", "COMPLETED"]);
  expect(run.agent_id).not.toBe(before.agent_id);
  const tasks = linesOf(ledger).map((line) => line.split(" ")[0]);
  expect(tasks).toEqual(["done", "held", "held", "last"]);

  const { rows } = await cluster.client.queryDatabase({
    sql: "SELECT status::VARCHAR, attempt FROM workflow_run_status ORDER BY timestamp_ms, rowid",
  });
  expect(rows.map(([status, attempt]) => `${status} ${attempt}`)).toEqual(
    expect.arrayContaining(["RUNNING 1", "CRASHED 1", "RUNNING 2", "COMPLETED 2"]),
  );
}, 120_000);

test("failover: never", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    agents: 2,
    env: IMPATIENT,
    workflows: {
      "once.yml": shellWorkflow({ held: { sh: gate(directory.path("gate")) } }, "failover: never\n"),
    },
  });
  const { workflow_instance_id } = await cluster.client.runTask("once", { dedupe_key: "once" });
  await until("the task runs", () => processesWith(workflow_instance_id).length > 0);
  const { agent_id } = await cluster.client.getRun(workflow_instance_id);
  cluster.agents[agent_id?.endsWith("agent-1") ? 0 : 1]?.kill("SIGKILL");
  const run = await runOver(cluster.client, workflow_instance_id);
  expect(run.status).toBe("CRASHED");
  expect(run.attempts).toHaveLength(1);
  // What the dead agent left waits at the gate; it goes by itself once that opens.
  writeFileSync(directory.path("gate"), "");
  await until("nothing is left", () => processesWith(workflow_instance_id).length === 0);
}, 120_000);
