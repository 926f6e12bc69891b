/** A principal with an agent and a schedule, when nothing happens. */
import { test } from "bun:test";
import { readFileSync } from "node:fs";
import { startCluster } from "../support/cdktr.ts";
import { nextHistoryOf } from "../support/history-process.ts";
import { runOver, shellWorkflow } from "./support/fixtures.ts";

/** How often the main thread of a process has gone to sleep. */
function sleeps(pid: number): number {
  const status = readFileSync(`/proc/${pid}/task/${pid}/status`, "latin1");
  return Number(/^voluntary_ctxt_switches:\s*(\d+)/m.exec(status)?.[1]);
}

test("principal and history sleep", async () => {
  await using cluster = await startCluster({
    agents: 1,
    workflows: { "daily.yml": shellWorkflow({ only: { sh: "echo hello" } }, 'cron: "0 0 3 1 1 *"\n') },
  });
  const { workflow_instance_id } = await cluster.client.runTask("daily", { dedupe_key: "one" });
  await runOver(cluster.client, workflow_instance_id);
  const principal = cluster.principal?.pid ?? 0;
  const pids = [principal, await nextHistoryOf(principal)];
  const wakeUps = async (ms: number) => {
    const before = pids.map(sleeps);
    // Rest is what happens while time passes.
    await Bun.sleep(ms);
    return pids.map((pid, i) => sleeps(pid) - (before[i] ?? 0));
  };
  // What the run and the start have left to do is over after a while.
  let counts: number[] = [];
  for (let n = 0; n < 4; n++) {
    counts = await wakeUps(5000);
    // A heartbeat, a ping, a look: a few of each, not several a second.
    if (counts.every((count) => count < 40)) return;
  }
  throw new Error(`the main threads of the principal and the history woke up so often in 5 s: ${counts}`);
}, 60_000);
