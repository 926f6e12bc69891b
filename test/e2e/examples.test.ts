import { afterAll, beforeAll, expect, test } from "bun:test";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import { Cluster, cdktr, freePorts } from "../support/cdktr.ts";
import { ROOT, until } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  // As the quickstart does it: the agent's working directory is the checkout.
  cluster = new Cluster({ env: { CDKTR_WORKFLOW_DIR: join(ROOT, "workflows") } }, await freePorts(3));
  await cluster.startPrincipal();
  const agent = cluster.spawn(["start", "agent"], { cwd: ROOT });
  cluster.agents.push(agent);
  await until("the agent is there", async () => (await cluster.client.registeredAgents()).length === 1);
}, 60_000);
afterAll(() => cluster?.stop());

async function follow(...args: string[]): Promise<{ run: RunDetails; lines: string[]; code: number }> {
  const { stdout, stderr, code } = await cluster.cdktr(["task", "run", ...args, "--wait", "--json"]);
  if (stdout === "") throw new Error(stderr);
  const run = await cluster.client.getRun(JSON.parse(stdout).workflow_instance_id);
  const page = await cluster.client.searchLogs({ workflow_instance_id: run.workflow_instance_id });
  return { run, lines: page.rows.map((row) => row[7]), code };
}

const statuses = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map((task) => [task.task_id, task.status]));

test("all examples are valid", async () => {
  const { code, stderr, stdout } = await cdktr(["workflow", "validate", "workflows"], { cwd: ROOT });
  expect(`${stdout}${stderr}`).not.toContain("error");
  expect(code).toBe(0);
});

test("retry: the flaky task succeeds at its third try", async () => {
  const { run, lines, code } = await follow("retry");
  expect(code).toBe(0);
  expect(lines.filter((line) => line.startsWith("try "))).toEqual([
    "try 1 fails",
    "try 2 fails",
    "try 3 succeeds",
  ]);
  expect(run.tasks.find((task) => task.task_id === "flaky")?.task_attempt).toBe(3);
  expect(run.attempt).toBe(1);
});

test("params: defaults, values, and the one that must be given", async () => {
  const { lines } = await follow("params", "-P", "who=Ada");
  expect(lines.filter((line) => /good morning/i.test(line))).toEqual([
    "Good morning, Ada! (1)",
    "Good morning, Ada! (2)",
    "GOOD MORNING, Ada!",
  ]);
  const refused = await cluster.cdktr(["task", "run", "params"]);
  expect(refused.code).toBe(4);
  expect(refused.stderr).toContain("who");
});

test("secrets: the token is in no line", async () => {
  const { run, lines } = await follow("secrets");
  expect(run.status).toBe("COMPLETED");
  expect(lines).toEqual(["the token is ***", "it has 36 characters", "***", "***"]);
});

test("scripts: three languages share a directory of the run", async () => {
  const { run, lines, code } = await follow("scripts");
  expect([code, run.status]).toEqual([0, "COMPLETED"]);
  expect(lines).toContain("all squares are right");
  expect(lines).toContain("The 20 squares add up to 2870.");
});

test("failure: what depends on the failed task is skipped, the rest goes on, the nap is cut short", async () => {
  const { run, lines, code } = await follow("failure");
  expect(code).toBe(1);
  expect(run.status).toBe("FAILED");
  expect(statuses(run)).toEqual({
    load: "FAILED",
    transform: "SKIPPED",
    publish: "SKIPPED",
    housekeeping: "COMPLETED",
    slow: "FAILED",
  });
  expect(run.tasks.find((task) => task.task_id === "load")?.exit_code).toBe(3);
  expect(run.tasks.find((task) => task.task_id === "slow")?.error).toMatch(/timeout|timed out|took longer/i);
  expect(lines).toContain("the independent branch goes on");
  expect(lines).not.toContain("unreachable");
});

test("etl.accounts: a nested directory, scripts beside the workflow, files handed over", async () => {
  const { run, lines } = await follow("etl.accounts");
  expect(run.status).toBe("COMPLETED");
  const extracted = lines.map((line) => /^(\d+) accounts extracted$/.exec(line)?.[1]).find(Boolean);
  expect(lines.find((line) => line.endsWith("accounts in each dimension"))).toContain(
    `, ${extracted} accounts`,
  );
});

test("hooks: after a failure and after a success, those that are for it run", async () => {
  const failed = await follow("hooks");
  expect(failed.code).toBe(1);
  expect(failed.lines).toContain("a mail would say: FAILED, failed: load");
  expect(failed.lines).toContain("unlocking orders");
  expect(failed.lines).not.toContain("orders is loaded");
  const done = await follow("hooks", "-P", "table=customers");
  expect(done.code).toBe(0);
  expect(statuses(done.run)).toEqual({
    lock: "COMPLETED",
    load: "COMPLETED",
    on_success: "COMPLETED",
    on_failure: "SKIPPED",
    on_exit: "COMPLETED",
  });
});

test("weekly: has a next firing and did not fire", async () => {
  const { code, stdout } = await cluster.cdktr(["workflow", "show", "weekly"]);
  expect(code).toBe(0);
  expect(stdout).toContain("0 30 3 * * SUN");
  expect(await cluster.client.listRuns({ workflow_id: "weekly" })).toEqual([]);
});

test("report: expressions, a condition over what was published, and outputs of the workflow", async () => {
  const { run, lines } = await follow("report");
  expect(run).toMatchObject({
    status: "COMPLETED",
    outputs: { rows: 40, headline: "40 rows, long version COMPLETED" },
  });
  expect(lines).toContain("all of it, 40 rows");
  const small = await follow("report", "-P", "lines=3");
  expect(statuses(small.run)).toEqual({ count: "COMPLETED", long: "SKIPPED", short: "COMPLETED" });
  expect(small.lines).toContain("in short, 3 rows; the long version SKIPPED");
});

test("rollback: a failure is handled, and the run is FAILED all the same", async () => {
  const { run, code } = await follow("rollback");
  expect([run.status, code]).toEqual(["FAILED", 1]);
  expect(statuses(run)).toMatchObject({ verify: "SKIPPED", rollback: "COMPLETED", clean: "COMPLETED" });
});
