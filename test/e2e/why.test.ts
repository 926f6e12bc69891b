/** `cdktr runs why`: what a run waits for, what is tried again when, why it failed; and the reasons in the history. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunExplanation } from "../../src/cli/support/run-why.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { gate, runOver, shellWorkflow, until } from "./support/fixtures.ts";

let cluster: Cluster;
let open: string;

beforeAll(async () => {
  cluster = await startCluster({
    env: { CDKTR_AGENT_MAX_CONCURRENCY: "2", CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "500" },
  });
  open = join(cluster.directory, "open");
  const flows = {
    "hold.yml": shellWorkflow({ wait: { sh: gate(open) } }),
    "flaky.yml": shellWorkflow({
      fetch: { sh: "echo not there >&2; exit 7", extra: "    retry: { max_attempts: 3, delay: 1h }\n" },
      load: { sh: "true", depends: ["fetch"] },
    }),
    "broken.yml": shellWorkflow({
      first: { sh: "echo fine" },
      second: {
        sh: "echo reading; for i in 1 2 3 4 5 6; do echo problem $i >&2; done; exit 3",
        depends: ["first"],
      },
      third: { sh: "true", depends: ["second"] },
    }),
    "shared.yml": shellWorkflow({
      fetch: { sh: "echo fetched" },
      train: { sh: "echo trained", depends: ["fetch"], extra: "    runs_on: { gpu: a100 }\n" },
      report: { sh: "echo reported", depends: ["train"] },
    }),
  };
  for (const [path, text] of Object.entries(flows)) cluster.writeWorkflow(path, text);
  await until(
    "the workflows are known",
    async () => Object.keys(await cluster.client.listWorkflows()).length === 4,
  );
});
afterAll(() => cluster?.stop());

async function start(workflow: string): Promise<string> {
  return (await cluster.client.runTask(workflow, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

async function why(id: string): Promise<{ text: string; json: RunExplanation }> {
  const [text, json] = await Promise.all([
    cluster.cdktr(["runs", "why", id.slice(0, 9)]),
    cluster.cdktr(["runs", "why", id, "--json"]),
  ]);
  expect([text.code, json.code, text.stderr]).toEqual([0, 0, ""]);
  return { text: text.stdout, json: JSON.parse(json.stdout) };
}

test("a run that waits says for what; the reason is in the history, once, until it changes", async () => {
  const id = await start("hold");
  const nobody = await why(id);
  expect(nobody.json).toMatchObject({
    workflow_instance_id: id,
    status: "PENDING",
    waits: [
      {
        slice: 0,
        tasks: ["wait"],
        kind: "no agent",
        reason: "no agent is up",
        hint: expect.stringContaining("cdktr start agent"),
      },
    ],
  });
  expect(nobody.text).toMatch(
    /^PENDING hold .*\n\nIt has waited for an agent for \S+: no agent is up\.\n {2}Start one/,
  );
  expect((await cluster.cdktr(["runs", "show", id])).stdout).toMatch(/^Waits +no agent is up$/m);

  const rows = async () => {
    const sql = `SELECT status, reason FROM workflow_run_status WHERE workflow_instance_id = '${id}' ORDER BY rowid`;
    return JSON.parse((await cluster.cdktr(["db", "query", sql, "--json"])).stdout);
  };
  await until("the reason is in the history", async () => (await rows()).length === 2);
  await cluster.startAgent(["--suffix", "one"]);
  await until("it runs", async () => (await cluster.client.getRun(id)).status === "RUNNING");
  expect(await rows()).toEqual([
    { status: "PENDING", reason: null },
    { status: "PENDING", reason: "no agent is up" },
    { status: "RUNNING", reason: null },
  ]);
  expect((await why(id)).text).toMatch(/^1 task is running:\n {2}wait on \S+-one for /m);
});

test("a task between two tries says when the next one begins, and what waits for it", async () => {
  const flaky = await start("flaky");
  await until("its first try is over", async () =>
    (await cluster.client.getRun(flaky)).tasks.some(({ status }) => status === "WAITING"),
  );
  const { json, text } = await why(flaky);
  expect(json).toMatchObject({
    // It is found a moment later that nothing of it runs.
    status: expect.stringMatching(/^(RUNNING|WAITING)$/),
    retries: [{ task_id: "fetch", task_attempt: 1, max_attempts: 3 }],
    blocked: [{ task_id: "load", waits_for: ["fetch"] }],
  });
  expect(text).toMatch(/^Task fetch begins attempt 2 of 3 in (1h|59m [\d.]+s)\.\n {2}Attempt 1: /m);
  expect(text).toMatch(/^1 task waits for others:\n {2}load waits for fetch$/m);

  // Together they fill the only agent.
  const waiting = await start("broken");
  const { json: full } = await why(waiting);
  expect(full.waits).toMatchObject([{ kind: "full", tasks: ["first", "second", "third"] }]);
  expect(full.waits[0]?.reason).toMatch(/^the only agent that is up is full: \S+-one 2\/2$/);
  await cluster.cdktr(["runs", "cancel", flaky]);
  writeFileSync(open, "");
  await runOver(cluster.client, waiting);
  const failed = await why(waiting);
  expect(failed.json).toMatchObject({
    status: "FAILED",
    waits: [],
    blocked: [],
    failed: [
      {
        task_id: "second",
        status: "FAILED",
        exit_code: 3,
        agent_id: expect.stringMatching(/-one$/),
        last_lines: ["problem 2", "problem 3", "problem 4", "problem 5", "problem 6"],
      },
    ],
    skipped: [{ task_id: "third", reason: expect.stringContaining("second") }],
  });
  expect(failed.text).toMatch(/^Task second FAILED on \S+-one: .*\n {2}│ problem 2\n/m);
  expect(failed.text).toMatch(/^1 task was skipped:\n {2}third: /m);
  expect(failed.text).toContain(`cdktr runs retry ${waiting}`);
});

test("runs diff: a run and the last one before it that COMPLETED", async () => {
  const mark = join(cluster.directory, "worked");
  const sh = `echo reading 10 rows; test -e ${mark} || { touch ${mark}; exit 0; }; echo no rows >&2; exit 4`;
  cluster.writeWorkflow("again.yml", `params: {day: monday}\n${shellWorkflow({ load: { sh } })}`);
  await until("it is loaded", async () => "again" in (await cluster.client.listWorkflows()));
  const first = await start("again");
  expect((await runOver(cluster.client, first)).status).toBe("COMPLETED");
  const nothing = await cluster.cdktr(["runs", "diff", first]);
  expect([nothing.code, nothing.stderr]).toEqual([4, expect.stringContaining("COMPLETED before")]);
  const options = { dedupe_key: crypto.randomUUID(), params: { day: "tuesday" } };
  const second = (await cluster.client.runTask("again", options)).workflow_instance_id;
  expect((await runOver(cluster.client, second)).status).toBe("FAILED");
  const [text, json, other] = await Promise.all([
    cluster.cdktr(["runs", "diff", second]),
    cluster.cdktr(["runs", "diff", second, first, "--json"]),
    cluster.cdktr(["runs", "diff", second, second]),
  ]);
  expect(text.stdout).toMatch(
    /^run {2}FAILED .*\nthan COMPLETED .*\n\nPARAMETERS\n {2}day\n {4}- monday\n {4}\+ tuesday\n/,
  );
  expect(text.stdout).toContain("  load: COMPLETED → FAILED, exit status 0 → exit status 4");
  expect(text.stdout).toContain(
    "first differing line of stderr, line 1:\n    - (no more lines)\n    + no rows",
  );
  expect(JSON.parse(json.stdout)).toMatchObject({
    run: { workflow_instance_id: second },
    other: { workflow_instance_id: first },
    definition: [],
    tasks: [
      { task_id: "load", first_difference: { stream: "stderr", line: 1, other: null, run: "no rows" } },
    ],
  });
  expect([other.code, other.stderr]).toEqual([4, expect.stringContaining("the same run twice")]);
});

test("a run of which a part waits says which part, and for which labels; then, which agent had what", async () => {
  const id = await start("shared");
  await until("its first slice is over", async () => {
    const { tasks, waits = [] } = await cluster.client.getRun(id);
    return tasks.some(({ status }) => status === "COMPLETED") && waits.length > 0;
  });
  const { json, text } = await why(id);
  expect(json).toMatchObject({
    status: "RUNNING",
    waits: [{ slice: 2, tasks: ["train"], kind: "labels", reason: "no agent that is up has gpu=a100" }],
    waiting_slices: 1,
    blocked: [{ task_id: "report", waits_for: ["train"] }],
  });
  expect(text).toMatch(
    /^Slice 2 \(train\) has waited for an agent for \S+: no agent that is up has gpu=a100\.\n {2}Start one: cdktr start agent --label gpu=a100$/m,
  );
  const reasons = async () => {
    const sql = `SELECT status, reason, waits FROM workflow_run_status WHERE workflow_instance_id = '${id}' AND reason IS NOT NULL`;
    return JSON.parse((await cluster.cdktr(["db", "query", sql, "--json"])).stdout);
  };
  await until("the reason is in the history", async () => (await reasons()).length > 0);
  const reason = "no agent that is up has gpu=a100";
  const told = `Slice 2 (train): ${reason}`;
  expect((await cluster.cdktr(["runs", "show", id])).stdout).toContain(`Waits     ${told}\n`);
  await cluster.startAgent(["--suffix", "two", "--label", "gpu=a100"]);
  const run = await runOver(cluster.client, id);
  expect(run.status).toBe("COMPLETED");
  const [row, ...others] = await reasons();
  expect(others).toEqual([]);
  expect(row).toMatchObject({ status: "RUNNING", reason: told });
  expect(JSON.parse(row.waits)).toEqual([{ reason, slices: [2], tasks: ["train"] }]);
  const [shown, table, list] = await Promise.all([
    cluster.cdktr(["runs", "show", id, "--json"]),
    cluster.cdktr(["runs", "show", id]),
    cluster.cdktr(["runs", "list", "-w", "shared"]),
  ]);
  const { tasks, attempts } = JSON.parse(shown.stdout) as typeof run;
  expect(tasks.map(({ task_id, slice, agent_id }) => [task_id, slice, agent_id])).toEqual([
    ["fetch", 1, expect.stringMatching(/-one$/)],
    ["train", 2, expect.stringMatching(/-two$/)],
    ["report", 3, expect.stringMatching(/-(one|two)$/)],
  ]);
  expect(attempts.map(({ slice, attempt, status }) => [slice, attempt, status])).toEqual([
    [1, 1, "COMPLETED"],
    [2, 1, "COMPLETED"],
    [3, 1, "COMPLETED"],
  ]);
  expect(table.stdout).toMatch(/^Agents +\S+-one, \S+-two$/m);
  expect(table.stdout).toMatch(/^ +train +COMPLETED +\S+-two /m);
  expect(list.stdout).toMatch(/ 2 agents /);
});

test("what needs a task that failed is skipped at once, on whichever agent it would run", async () => {
  const gateFile = join(cluster.directory, "half");
  const tasks = {
    bad: { sh: "exit 3" },
    long: { sh: gate(gateFile) },
    after: { sh: "true", depends: ["bad"], extra: "    runs_on: { gpu: a100 }\n" },
  };
  cluster.writeWorkflow("half.yml", shellWorkflow(tasks));
  await until("it is loaded", async () => "half" in (await cluster.client.listWorkflows()));
  const id = await start("half");
  await until("it is skipped", async () =>
    (await cluster.client.getRun(id)).tasks.some(({ status }) => status === "SKIPPED"),
  );
  const { json, text } = await why(id);
  expect(json).toMatchObject({ status: "RUNNING", waits: [], waiting_slices: 0, blocked: [] });
  expect(text).toMatch(/^RUNNING half \S+ for /);
  expect(text).toMatch(/^1 task was skipped:\n {2}after: "bad", on which it depends, FAILED$/m);
  writeFileSync(gateFile, "");
  expect((await runOver(cluster.client, id)).status).toBe("FAILED");
});

test("every view of --json says which agent had which task", async () => {
  const id = await start("broken");
  await runOver(cluster.client, id);
  const shown = JSON.parse((await cluster.cdktr(["runs", "show", id, "--json"])).stdout);
  expect(
    shown.tasks.map(({ task_id, agent_id, slice }: Record<string, unknown>) => [task_id, agent_id, slice]),
  ).toEqual([
    ["first", expect.stringMatching(/-(one|two)$/), 0],
    ["second", expect.stringMatching(/-(one|two)$/), 0],
    ["third", expect.stringMatching(/-(one|two)$/), 0],
  ]);
});
