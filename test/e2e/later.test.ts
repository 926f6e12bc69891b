/** Runs that start later: stored, cancelled before, started by a principal that was away at their time. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { RunSummary } from "../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { runOver, shellWorkflow, until } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "hello.yml": shellWorkflow({ a: { sh: "echo $CDKTR_SCHEDULED_TIME" } }),
      "pauses.yml": `tasks:
  a: {config: !Subprocess {cmd: "true"}}
  pause: {depends: [a], config: !Wait {for: 2s}}
  b: {depends: [pause], config: !Subprocess {cmd: "true"}}
`,
      "hooked.yml": `${shellWorkflow({ a: { sh: "true" } })}hooks: {on_exit: {config: !Subprocess {cmd: "true"}}}\n`,
    },
  });
  await until("they are known", async () => "hooked" in (await cluster.client.listWorkflows()));
});
afterAll(() => cluster?.stop());

async function run(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.cdktr(["run", "hello", ...args]);
  expect([code, stderr]).toEqual([0, expect.stringContaining("Triggered hello; it starts at ")]);
  return stdout.trim();
}

test("a run waits for its time, says so, and can be cancelled before", async () => {
  const id = await run("--in", "3h");
  const list = await cluster.cdktr(["runs", "list"]);
  expect(list.stdout).toMatch(/STARTS[\s\S]*PENDING.* in 2h/);
  const why = await cluster.cdktr(["runs", "why", id]);
  expect(why.stdout).toMatch(
    new RegExp(
      `It starts at \\S+ \\S+ \\(in 2h\\)\\.\n +Until then it can be cancelled: cdktr runs cancel ${id}`,
    ),
  );
  expect((await cluster.cdktr(["runs", "show", id])).stdout).toMatch(/^Starts .*\(in 2h\)$/m);
  const reasons = await cluster.client.queryDatabase({
    sql: `SELECT reason FROM workflow_run_status WHERE workflow_instance_id = '${id}' AND reason IS NOT NULL`,
  });
  expect(reasons.rows).toEqual([[expect.stringMatching(/^it starts at \d{4}-\d\d-\d\dT[\d:.]+Z$/)]]);
  const cancelled = await cluster.cdktr(["runs", "cancel", id]);
  expect(cancelled.stderr).toBe(`Run ${id} of hello is cancelled.\n`);
  expect(await cluster.client.getRun(id)).toMatchObject({ status: "CANCELLED", tasks: [] });
});

test("it starts by itself, also when its time comes while the principal is away", async () => {
  const soon = await run("--in", "1s");
  const at = new Date(Date.now() + 2500);
  const missed = await run("--at", at.toISOString());
  const hooked = await cluster.cdktr(["run", "hooked", "--in", "2s", "--json"]);
  const listed: RunSummary[] = JSON.parse((await cluster.cdktr(["runs", "list", "--json"])).stdout);
  const starts = new Map(listed.map((each) => [each.workflow_instance_id, each.start_at_ms]));
  expect(starts.get(missed)).toBe(at.getTime());
  const first = await runOver(cluster.client, soon);
  expect([first.status, first.start_at_ms]).toEqual(["COMPLETED", undefined]);
  expect(first.started_at_ms ?? 0).toBeGreaterThanOrEqual(first.scheduled_time_ms ?? Infinity);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  // What is tested is that their time comes while nobody is there.
  await until("their time has come", () => Date.now() > at.getTime());
  await cluster.startPrincipal();
  const last = await runOver(cluster.client, missed);
  expect(last).toMatchObject({ status: "COMPLETED", scheduled_time_ms: at.getTime(), attempt: 1 });
  const lines = await cluster.client.searchLogs({ workflow_instance_id: missed });
  expect(lines.rows.map((row) => row.at(-1))).toEqual([at.toISOString()]);
  // One that is split when it starts.
  const { workflow_instance_id } = JSON.parse(hooked.stdout);
  expect(await runOver(cluster.client, workflow_instance_id)).toMatchObject({
    status: "COMPLETED",
    tasks_done: 2,
  });
});

test("a task waits without an agent, and says until when", async () => {
  const { workflow_instance_id: id } = await cluster.client.runTask("pauses", { dedupe_key: "pauses" });
  await until("it waits", async () =>
    (await cluster.client.getRun(id)).tasks.some(({ status }) => status === "WAITING"),
  );
  const why = await cluster.cdktr(["runs", "why", id]);
  expect(why.stdout).toMatch(/Task pause waits until \S+ \S+ \((in \d+s|just now)\); no agent is held\./);
  const [agent] = await cluster.client.registeredAgents();
  expect(agent).toMatchObject({ running_workflows: 0 });
  const run = await runOver(cluster.client, id);
  expect(run.status).toBe("COMPLETED");
  const [pause, b] = ["pause", "b"].map((task) => run.tasks.find(({ task_id }) => task_id === task));
  expect((pause?.finished_at_ms ?? 0) - (pause?.started_at_ms ?? Infinity)).toBeGreaterThanOrEqual(2000);
  expect(b?.started_at_ms).toBeGreaterThanOrEqual(pause?.finished_at_ms ?? Infinity);
});

test.each([
  [["--at", "25:00"], "--at 25:00 is not a time."],
  [["--at", "2020-01-01"], "--at 2020-01-01 is in the past."],
  [["--at", "02:00", "--in", "2h"], "--at and --in exclude each other."],
  [["--in", "soon"], "--in soon: expected a duration."],
])("%j is refused", async (args, message) => {
  const { code, stderr } = await cluster.cdktr(["run", "hello", ...args]);
  expect([code, stderr]).toEqual([2, expect.stringContaining(message)]);
});
