import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { startCluster } from "../support/cdktr.ts";
import {
  gate,
  processesWith,
  runOver,
  shellWorkflow,
  TemporaryDirectory,
  until,
} from "./support/fixtures.ts";

test("SIGTERM drains an agent: what runs finishes, what waits stays for others", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    agents: 1,
    workflows: {
      "gated.yml": shellWorkflow({
        wait: { sh: gate(directory.path("gate")) },
        after: { sh: "echo after the gate", depends: ["wait"] },
      }),
    },
  });
  const [agent] = cluster.agents;
  if (agent === undefined) throw new Error("no agent");
  const start = async (key: string) =>
    (await cluster.client.runTask("gated", { dedupe_key: key })).workflow_instance_id;
  const status = async (id: string) => (await cluster.client.getRun(id)).status;

  const first = await start("first");
  await until("the run has begun", async () =>
    (await cluster.client.getRun(first)).tasks.some((task) => task.status === "RUNNING"),
  );
  agent.kill("SIGTERM");
  await until("the agent drains", async () =>
    (await cluster.client.registeredAgents()).every((known) => known.status === "DRAINING"),
  );
  const second = await start("second");

  writeFileSync(directory.path("gate"), "");
  const { code } = await agent.finished;
  expect(code).toBe(0);
  const finished = await runOver(cluster.client, first);
  expect(finished.status).toBe("COMPLETED");
  expect(finished.attempt).toBe(1);
  expect(await status(second)).toBe("PENDING");

  await cluster.startAgent(["--suffix", "other"]);
  const taken = await runOver(cluster.client, second);
  expect(taken.status).toBe("COMPLETED");
  expect(taken.agent_id).toContain("other");
}, 120_000);

test("runs that are left when the time is up go to another agent, even if the principal was unreachable", async () => {
  await using cluster = await startCluster({
    env: { CDKTR_AGENT_STOP_GRACE_S: "0", CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "500" },
    agents: 1,
    workflows: {
      "long.yml": shellWorkflow({
        before: { sh: "echo before" },
        long: { sh: '[ "$CDKTR_RUN_ATTEMPT" = 2 ] || sleep 1000', depends: ["before"] },
      }),
    },
  });
  const [agent] = cluster.agents;
  const { workflow_instance_id } = await cluster.client.runTask("long", { dedupe_key: "long" });
  await until("the task runs", async () =>
    (await cluster.client.getRun(workflow_instance_id)).tasks.some(
      ({ task_id, status }) => task_id === "long" && status === "RUNNING",
    ),
  );
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  agent?.kill("SIGTERM");
  await agent?.finished;
  expect(processesWith(workflow_instance_id)).toEqual([]);

  await cluster.startPrincipal();
  // The agent's own next start says that its former process is gone; nobody waits for it to be taken for lost.
  await cluster.startAgent(["--suffix", "agent-1"]);
  const run = await runOver(cluster.client, workflow_instance_id);
  expect(run).toMatchObject({ status: "COMPLETED", attempt: 2 });
  const { stdout } = await cluster.cdktr(["logs", "query", "--run", workflow_instance_id, "--json"]);
  expect(stdout.match(/"payload":"before"/g)).toHaveLength(1);
}, 120_000);

test("a second SIGTERM ends the runs with all their processes", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    agents: 1,
    workflows: {
      // A grandchild in the background, and both deaf to a polite request.
      "deaf.yml": shellWorkflow({
        deaf: {
          sh: `trap '' TERM; sh -c "trap '' TERM; while :; do sleep 0.1; done" & ${gate(directory.path("never"))}`,
        },
      }),
    },
  });
  const [agent] = cluster.agents;
  if (agent === undefined) throw new Error("no agent");
  const { workflow_instance_id } = await cluster.client.runTask("deaf", { dedupe_key: "deaf" });
  await until("the task runs", () => processesWith(workflow_instance_id).length >= 2);
  agent.kill("SIGTERM");
  await until("the agent drains", async () =>
    (await cluster.client.registeredAgents()).every((known) => known.status === "DRAINING"),
  );
  agent.kill("SIGTERM");
  await agent.finished;
  expect(processesWith(workflow_instance_id)).toEqual([]);
  const run = await cluster.client.getRun(workflow_instance_id);
  expect(run.tasks.filter((task) => task.status === "RUNNING")).toEqual([]);
}, 120_000);

test("SIGTERM to a principal with an agent ends both, and neither leaves a process", async () => {
  await using cluster = await startCluster({
    principalArgs: ["--with-agent"],
    workflows: { "quick.yml": shellWorkflow({ say: { sh: "echo hi" } }) },
  });
  await until("the agent is there", async () =>
    (await cluster.client.registeredAgents()).some((agent) => agent.status === "UP"),
  );
  const { workflow_instance_id } = await cluster.client.runTask("quick", { dedupe_key: "quick" });
  expect((await runOver(cluster.client, workflow_instance_id)).status).toBe("COMPLETED");
  expect(processesWith(cluster.dataDirectory).length).toBeGreaterThanOrEqual(2);
  cluster.principal?.kill("SIGTERM");
  expect((await cluster.principal?.finished)?.code).toBe(0);
  await until("no process is left", () => processesWith(cluster.dataDirectory).length === 0);
}, 120_000);
