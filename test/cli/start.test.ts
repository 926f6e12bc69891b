import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PrincipalUnreachableError } from "../../src/errors.ts";
import { type CdktrProcess, type Cluster, startCluster } from "../support/cdktr.ts";
import { until } from "../support/until.ts";
import { jsonLines, linesOf, shellWorkflow, waitForFile } from "./support.ts";

const HELLO = shellWorkflow("Hello", { greet: "echo hello" });

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // One that is dead and not yet waited for is not alive.
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** The agent process below a principal. */
async function agentPid(cluster: Cluster, besides?: number): Promise<number> {
  const below = () =>
    linesOf(readFileSync(`/proc/${cluster.principal?.pid}/task/${cluster.principal?.pid}/children`, "utf8"))
      .join(" ")
      .trim()
      .split(/\s+/)
      .filter((word) => word !== "")
      .map(Number)
      .find((pid) => pid !== besides);
  return until("the agent process", below);
}

async function upAgents(cluster: Cluster): Promise<string[]> {
  try {
    const agents = await cluster.client.registeredAgents({ timeoutMs: 500 });
    return agents.filter(({ status }) => status === "UP").map(({ agent_id }) => agent_id);
  } catch (error) {
    if (error instanceof PrincipalUnreachableError) return [];
    throw error;
  }
}

async function ended(process: CdktrProcess): Promise<{ code: number; stderr: string }> {
  const { code, stderr } = await process.finished;
  return { code, stderr };
}

test("--with-agent: runs workflows, says where it is, and TERM ends both with status 0", async () => {
  await using cluster = await startCluster({
    workflows: { "hello.yml": HELLO },
    principalArgs: ["--with-agent"],
  });
  const { principal } = cluster;
  if (principal === undefined) throw new Error("no principal");
  await principal.waitFor(new RegExp(`127\\.0\\.0\\.1:${cluster.ports.api}`));
  await principal.waitFor(/1 workflow in /);
  await principal.waitFor(new RegExp(RegExp.escape(cluster.dataDirectory)));
  expect((await cluster.cdktr(["run", "hello", "--wait"])).code).toBe(0);
  const agent = await agentPid(cluster);
  principal.kill("SIGTERM");
  expect(await ended(principal)).toMatchObject({ code: 0 });
  expect(isAlive(agent)).toBe(false);
  expect(principal.stdout).toBe("");
});

test("--with-agent: an agent that is killed is started again", async () => {
  await using cluster = await startCluster({
    workflows: { "hello.yml": HELLO },
    principalArgs: ["--with-agent"],
    env: { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "200", CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "2000" },
  });
  await until("the agent is there", async () => (await upAgents(cluster)).length === 1);
  const first = await agentPid(cluster);
  process.kill(first, "SIGKILL");
  const second = await agentPid(cluster, first);
  expect(second).not.toBe(first);
  expect((await cluster.cdktr(["run", "hello", "--wait"])).code).toBe(0);
});

test("--with-agent: the agent of a principal that was killed finishes and ends", async () => {
  await using cluster = await startCluster({
    workflows: { "hello.yml": HELLO },
    principalArgs: ["--with-agent"],
    env: { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "500" },
  });
  await until("the agent is there", async () => (await upAgents(cluster)).length === 1);
  const agent = await agentPid(cluster);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await until("the agent has ended", () => !isAlive(agent));
});

test("--with-agent: the first signal waits for what runs, the second does not", async () => {
  for (const signals of [1, 2]) {
    await using cluster = await startCluster({
      workflows: { "wait.yml": shellWorkflow("Wait", { wait: `echo waiting; ${waitForFile("gate")}` }) },
      principalArgs: ["--with-agent"],
    });
    const { principal } = cluster;
    if (principal === undefined) throw new Error("no principal");
    const id = (await cluster.cdktr(["run", "wait"])).stdout.trim();
    await until("the task runs", () => existsSync(join(cluster.directory, "gate.started")));
    principal.kill("SIGTERM");
    await principal.waitFor(/Waiting for 1 run /);
    expect((await cluster.client.getRun(id)).status).toBe("RUNNING");
    if (signals === 1) writeFileSync(join(cluster.directory, "gate"), "");
    else principal.kill("SIGTERM");
    expect(await ended(principal)).toMatchObject({ code: 0 });
    await cluster.startPrincipal();
    expect((await cluster.client.getRun(id)).status).toBe(signals === 1 ? "COMPLETED" : "CANCELLED");
  }
});

test("an agent drains at the first signal and exits 0", async () => {
  await using cluster = await startCluster({
    workflows: { "wait.yml": shellWorkflow("Wait", { wait: waitForFile("gate") }), "hello.yml": HELLO },
    agents: 1,
  });
  const [agent] = cluster.agents;
  const id = (await cluster.cdktr(["run", "wait"])).stdout.trim();
  await until("the task runs", () => existsSync(join(cluster.directory, "gate.started")));
  agent?.kill("SIGINT");
  await agent?.waitFor(/Waiting for 1 run /);
  const later = (await cluster.cdktr(["run", "hello"])).stdout.trim();
  writeFileSync(join(cluster.directory, "gate"), "");
  expect((await agent?.finished)?.code).toBe(0);
  expect((await cluster.client.getRun(id)).status).toBe("COMPLETED");
  expect((await cluster.client.getRun(later)).status).toBe("PENDING");
});

test("what keeps a principal from starting: a message that says what to do", async () => {
  await using cluster = await startCluster();
  const taken = await cluster.cdktr(["start", "principal", "--data-dir", join(cluster.directory, "other")]);
  expect(taken.code).toBe(1);
  expect(taken.stderr).toMatch(/Port \d+ of 127\.0\.0\.1 is taken/);
  expect(taken.stderr).toContain("hint: ");
  const open = await cluster.cdktr([
    "start",
    "principal",
    "--host",
    "0.0.0.0",
    "--data-dir",
    join(cluster.directory, "other"),
  ]);
  expect(open.code).toBe(2);
  expect(open.stderr).toContain("--insecure");
  expect(taken.stderr + open.stderr).not.toContain("    at ");
});

test("--follow outlives a principal that is killed and comes back: each line once", async () => {
  const script = `for i in $(seq 1 20); do echo early $i; done; ${waitForFile("gate")}; for i in $(seq 1 20); do echo late $i; done`;
  await using cluster = await startCluster({
    workflows: { "long.yml": shellWorkflow("Long", { long: script }) },
    agents: 1,
    env: { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "2000", CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "300" },
  });
  const tail = cluster.spawn(["logs", "tail", "-n", "100", "--json"]);
  const follower = cluster.spawn(["run", "long", "--follow"]);
  await follower.waitFor(/early 20\n/, "stdout");
  await tail.waitFor(/early 20"/, "stdout");
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await follower.waitFor(/waiting for it/);
  // Printed while nobody publishes.
  writeFileSync(join(cluster.directory, "gate"), "");
  await cluster.startPrincipal();
  const { code, stdout } = await follower.finished;
  expect(code).toBe(0);
  const printed = linesOf(stdout).flatMap((line) => /│ ((?:early|late) \d+)$/.exec(line)?.[1] ?? []);
  const expected = ["early", "late"].flatMap((word) =>
    Array.from({ length: 20 }, (_, i) => `${word} ${i + 1}`),
  );
  expect(printed.sort()).toEqual([...expected].sort());
  const id = /Run (\S+) of/.exec(follower.stderr)?.[1] ?? "";
  await tail.waitFor(/late 20"/, "stdout");
  tail.kill("SIGINT");
  const tailed = jsonLines((await tail.finished).stdout).map((line) => String(line.payload));
  expect(tailed.sort()).toEqual([...expected].sort());
  const stored = jsonLines((await cluster.cdktr(["logs", "query", "--run", id, "--json"])).stdout);
  expect(stored.map((line) => line.payload)).toEqual(expected);
});
