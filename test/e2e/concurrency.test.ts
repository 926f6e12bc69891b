/** Concurrency groups on the executable: exact while processes are killed, and what the commands say of what waits. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunSummary } from "../../src/contract/messages.ts";
import { PrincipalUnreachableError } from "../../src/errors.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { gate, linesOf, runOver, shellWorkflow, until } from "./support/fixtures.ts";

/** A lost agent is noticed in seconds instead of half a minute. */
const IMPATIENT = { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "250", CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "2000" };

let cluster: Cluster;
let witness: string;
let open: string;

beforeAll(async () => {
  cluster = await startCluster({ agents: 2, env: IMPATIENT });
  witness = join(cluster.directory, "witness");
  open = join(cluster.directory, "open");
  const note = (sign: string) =>
    `echo "${sign} $CDKTR_WORKFLOW_INSTANCE_ID $CDKTR_RUN_ATTEMPT" >> ${witness}`;
  const short = (onConflict: string) =>
    shellWorkflow(
      { a: { sh: `${note("+")}; sleep 0.1; ${note("-")}` } },
      `concurrency: {group: eu, max_runs: 2, on_conflict: ${onConflict}}\n`,
    );
  const flows = {
    "queue.yml": short("queue"),
    "latest.yml": short("queue_latest"),
    "skip.yml": short("skip"),
    "held.yml": shellWorkflow({ a: { sh: gate(open) } }, "concurrency: 1\n"),
    "once.yml": shellWorkflow({ a: { sh: gate(open) } }, "concurrency: {on_conflict: skip}\n"),
  };
  for (const [path, text] of Object.entries(flows)) cluster.writeWorkflow(path, text);
  await until("they are known", async () => Object.keys(await cluster.client.listWorkflows()).length === 5);
}, 60_000);
afterAll(() => cluster?.stop());

/** Triggers until there is an answer. */
async function trigger(client: PrincipalClient, id: string, key: string): Promise<string> {
  for (;;) {
    try {
      return (await client.runTask(id, { dedupe_key: key })).workflow_instance_id;
    } catch (error) {
      if (!(error instanceof PrincipalUnreachableError)) throw error;
    }
  }
}

/** The most runs at once, as the tasks themselves have written it. An attempt ends when the next one of its run begins. */
function mostAtOnce(): number {
  const running = new Set<string>();
  const newest = new Map<string, number>();
  let most = 0;
  for (const line of linesOf(witness)) {
    const [sign, run = "", attempt] = line.split(" ");
    if (Number(attempt) < (newest.get(run) ?? 0)) continue;
    newest.set(run, Number(attempt));
    if (sign === "+") running.add(run);
    else running.delete(run);
    most = Math.max(most, running.size);
  }
  return most;
}

test("50 triggers of 8 clients, while the principal and an agent are killed: never more than max_runs at once, and every run ends as its policy says", async () => {
  const kinds = ["queue", "latest", "queue", "skip"];
  const clients = Array.from(
    { length: 8 },
    () => new PrincipalClient({ host: "127.0.0.1", port: cluster.ports.api, timeoutMs: 3000 }),
  );
  const triggered = Promise.all(
    Array.from({ length: 50 }, (_, n) => {
      const client = clients[n % clients.length];
      if (client === undefined) throw new Error("there are clients");
      return trigger(client, kinds[n % kinds.length] ?? "queue", `trigger ${n}`);
    }),
  );
  await until("some have run", () => linesOf(witness).length > 8);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  await until("more have run", () => linesOf(witness).length > 20);
  cluster.agents[0]?.kill("SIGKILL");
  await cluster.agents[0]?.finished;
  await cluster.startAgent(["--suffix", "three"]);
  const ids = await triggered;
  expect(new Set(ids).size).toBe(50);
  const runs = await Promise.all(ids.map((id) => runOver(cluster.client, id)));
  expect(mostAtOnce()).toBeLessThanOrEqual(2);
  for (const { workflow_id, status, error } of runs) {
    if (workflow_id === "queue" || status !== "SKIPPED") expect([status, error]).toEqual(["COMPLETED", null]);
    else
      expect(error).toContain(workflow_id === "skip" ? "(on_conflict: skip)" : "(on_conflict: queue_latest)");
  }
  expect(await cluster.client.listRuns({ limit: 1000 })).toHaveLength(50);
  for (const client of clients) await client.close();
}, 120_000);

test("the commands say what a run waits for, and why it was SKIPPED", async () => {
  const start = (id: string) => trigger(cluster.client, id, crypto.randomUUID());
  const [first, second] = [await start("held"), await start("held")];
  await until("the first runs", async () => (await cluster.client.getRun(first)).status === "RUNNING");
  const why = await cluster.cdktr(["runs", "why", second]);
  expect(why.stdout).toMatch(
    new RegExp(
      `It has waited for \\S+: workflow held runs already \\(max_runs: 1\\): run ${first} since \\S+Z\\.\n  To stop that run: cdktr runs cancel ${first}\n$`,
    ),
  );
  expect((await cluster.cdktr(["runs", "show", second])).stdout).toMatch(
    /^Waits +workflow held runs already/m,
  );
  expect((await cluster.cdktr(["runs", "list", "-n", "1"])).stdout).toMatch(/HELD BY[\s\S]*its workflow/);
  const [listed]: RunSummary[] = JSON.parse(
    (await cluster.cdktr(["runs", "list", "--json", "-n", "1"])).stdout,
  );
  expect(listed).toMatchObject({ hold: "group", group: "held" });
  const sql = `SELECT reason, concurrency_group FROM workflow_run_status WHERE workflow_instance_id = '${second}' AND reason IS NOT NULL`;
  const { rows } = await cluster.client.queryDatabase({ sql });
  expect(rows).toEqual([["workflow held runs already (max_runs: 1)", "held"]]);

  expect((await cluster.cdktr(["workflow", "show", "latest"])).stdout).toMatch(
    /^At once +2 runs of group "eu"; a further one waits, instead of those that wait$/m,
  );

  const holder = await start("once");
  const skipped = await cluster.cdktr(["run", "once", "--wait"]);
  expect(skipped.code).toBe(1);
  expect(skipped.stdout).toContain(
    `workflow once runs already (max_runs: 1): run ${holder} (on_conflict: skip)`,
  );
  const waiting = cluster.spawn(["run", "held", "--wait"]);
  await waiting.waitFor(
    /It waits: workflow held runs already \(max_runs: 1\): run .*; 1 run waits before it\./,
  );
  writeFileSync(open, "");
  expect((await waiting.finished).code).toBe(0);
}, 120_000);
