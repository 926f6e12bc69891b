/** Processes left behind by a killed agent, and processes that only look like them. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { startCluster } from "../../support/cdktr.ts";
import { linesOf, processesWith, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { IMPATIENT, trigger } from "./support.ts";

test("an agent killed with KILL: its next start ends the task, processes that ignore TERM, and a daemon in its own session", async () => {
  using directory = new TemporaryDirectory();
  const started = directory.path("started");
  const deaf = `trap '' TERM; echo deaf >> ${started}; while :; do sleep 0.1; done`;
  const daemon = `echo daemon >> ${started}; exec sleep 1000`;
  await using cluster = await startCluster({
    agents: 1,
    // The run is not to go to the new agent: only what is left of it counts.
    env: IMPATIENT,
    workflows: {
      "leaves.yml": shellWorkflow(
        {
          a: {
            sh: `(${deaf}) & setsid sh -c '${daemon}' > /dev/null 2>&1 & echo task >> ${started}; sleep 1000`,
          },
        },
        "failover: never\n",
      ),
    },
  });
  const run = await trigger(cluster, "leaves");
  await until("everything runs", () => linesOf(started).length === 3);
  const [agent] = cluster.agents;
  agent?.kill("SIGKILL");
  await agent?.finished;
  const sessions = new Set(processesWith(run).map((pid) => statOf(pid)[3]));
  expect(sessions.size).toBe(2);

  const next = await cluster.startAgent(["--suffix", "agent-1"]);
  await next.waitFor(/An agent that was killed left processes of its tasks running: .*They will be ended/);
  // Before it takes anything new.
  expect(processesWith(run)).toEqual([]);
  const over = await cluster.client.getRun(run);
  expect(over.status).toBe("CRASHED");
  // Ending what is deaf takes longer than this principal waits for a sign of life.
  expect(over.error).toMatch(/the agent was restarted|agent lost/);
}, 60_000);

test("a process that has the pid of a former task by chance is left alone", async () => {
  await using cluster = await startCluster({ agents: 1, env: IMPATIENT });
  const [agent] = cluster.agents;
  agent?.kill("SIGKILL");
  await agent?.finished;
  // Leaders of groups of their own, as tasks are, without any marker.
  const leader = () =>
    Bun.spawn(["sleep", "1000"], { env: {}, stdio: ["ignore", "ignore", "ignore"], detached: true });
  const [sameProcess, otherStart, otherBoot] = [leader(), leader(), leader()];
  try {
    const outbox = `${cluster.dataDirectory}/agents/${hostname()}-agent-1/outbox.db`;
    const boot = readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
    const database = new Database(outbox, { readwrite: true });
    const remember = (pid: number, ticks: number, bootId: string) =>
      database.run("INSERT INTO processes VALUES (?, ?, ?, ?)", [pid, ticks, bootId, crypto.randomUUID()]);
    const ticks = (pid: number) => Number(statOf(pid)[19]);
    remember(sameProcess.pid, ticks(sameProcess.pid), boot);
    remember(otherStart.pid, ticks(otherStart.pid) - 1, boot);
    remember(otherBoot.pid, ticks(otherBoot.pid), crypto.randomUUID());
    database.close();
    await cluster.startAgent(["--suffix", "agent-1"]);
    await sameProcess.exited;
    expect(sameProcess.signalCode).toBe("SIGTERM");
    for (const innocent of [otherStart, otherBoot])
      expect(innocent.exitCode ?? innocent.signalCode).toBeNull();
  } finally {
    for (const process of [sameProcess, otherStart, otherBoot]) process.kill("SIGKILL");
  }
}, 60_000);

/** The fields of `/proc/PID/stat` from the state on. */
function statOf(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}
