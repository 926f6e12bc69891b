/** Hooks with real agents: after a failure, a cancel, a timeout, and whoever is killed in between. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { IMPATIENT } from "./failures/support.ts";
import { gate, linesOf, processesWith, runOver, until } from "./support/fixtures.ts";

let cluster: Cluster;
let ledger: string;
let open: string;

const sh = (script: string) => `{config: !Subprocess {cmd: sh, args: ["-c", ${JSON.stringify(script)}]}`;
/** A line in the ledger: the run, the hook or task, and how the run ended. */
const note = () =>
  `echo "$CDKTR_WORKFLOW_INSTANCE_ID $CDKTR_TASK_ID $CDKTR_RUN_STATUS [$CDKTR_RUN_ERROR] [$CDKTR_RUN_FAILED_TASKS]" >> ${ledger}`;
const notesOf = (run: string) =>
  linesOf(ledger)
    .filter((line) => line.startsWith(run))
    .map((line) => line.slice(run.length + 1))
    .sort();

const statusesOf = ({ tasks }: RunDetails) =>
  Object.fromEntries(tasks.map(({ task_id, status }) => [task_id, status]));

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    // A lost agent is detected within seconds, but not one that a busy machine holds up.
    env: { ...IMPATIENT, CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "5000" },
  });
  ledger = join(cluster.directory, "ledger");
  open = join(cluster.directory, "open");
  const all = [
    "hooks:",
    ...["on_success", "on_failure", "on_cancel", "on_exit"].map((hook) => `  ${hook}: ${sh(note())}}`),
  ];
  const held = sh(`${note()}; ${gate(open)}`);
  const flows = {
    "fails.yml": ["tasks:", `  a: ${sh("exit 3")}}`, `  b: ${sh("true")}, depends: [a]}`, ...all],
    "waits.yml": ["tasks:", `  a: ${sh(`${note()}; sleep 600`)}}`, ...all],
    "late.yml": ["timeout: 1s", "tasks:", `  a: ${sh("sleep 600")}}`, ...all],
    "held.yml": ["tasks:", `  a: ${held}}`, ...all],
    "bad.yml": [
      "tasks:",
      `  a: ${sh("true")}}`,
      "hooks:",
      `  on_success: ${sh("echo no mail >&2; exit 7")}}`,
      `  on_exit: ${sh("sleep 600")}, timeout: 500ms}`,
    ],
    "reads.yml": [
      "tasks:",
      `  a: ${sh('echo rows=7 >> "$CDKTR_OUTPUT"')}}`,
      `  b: ${sh("exit 1")}, depends: [a]}`,
      "hooks:",
      "  on_failure:",
      '    env: {READ: "${{ run.status }} ${{ run.error }} ${{ run.failed_tasks }} ${{ tasks.a.outputs.rows }} ${{ tasks.b.status }}"}',
      `    run: echo "$CDKTR_WORKFLOW_INSTANCE_ID $READ" >> ${ledger}`,
    ],
    "hook.yml": ["tasks:", `  a: ${sh("exit 1")}}`, "hooks:", `  on_failure: ${held}}`],
  };
  for (const [path, lines] of Object.entries(flows)) cluster.writeWorkflow(path, `${lines.join("\n")}\n`);
  await until(
    "the workflows are known",
    async () => Object.keys(await cluster.client.listWorkflows()).length === Object.keys(flows).length,
  );
});
afterAll(() => cluster?.stop());

async function start(workflow: string): Promise<string> {
  return (await cluster.client.runTask(workflow, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

const noted = (run: string, what: string) =>
  until(`${what} runs`, () => notesOf(run).some((line) => line.startsWith(what)));

test("after a failure and a timeout, the hooks for it run, and say why", async () => {
  const [failed, late] = [await start("fails"), await start("late")];
  const run = await runOver(cluster.client, failed);
  expect(run).toMatchObject({ status: "FAILED", error: "failed: a" });
  expect(notesOf(failed)).toEqual(["on_exit FAILED [failed: a] [a]", "on_failure FAILED [failed: a] [a]"]);
  const shown = await cluster.cdktr(["runs", "show", failed]);
  expect(shown.stdout).toMatch(/on_failure \(hook\)\s+COMPLETED/);
  expect(shown.stdout).toMatch(/on_success \(hook\)\s+SKIPPED.*the run FAILED/);
  const why = await cluster.cdktr(["runs", "why", failed]);
  expect(why.stdout).toContain("Task a FAILED");
  expect(why.stdout).not.toContain("on_success");
  expect((await runOver(cluster.client, late)).error).toBe("timed out after 1s");
  expect(notesOf(late)).toEqual([
    "on_exit FAILED [timed out after 1s] [a]",
    "on_failure FAILED [timed out after 1s] [a]",
  ]);
});

test("expressions of a hook read how the run ended, and all of its tasks", async () => {
  const id = await start("reads");
  expect(await runOver(cluster.client, id)).toMatchObject({ status: "FAILED" });
  expect(notesOf(id)).toEqual(['FAILED failed: b ["b"] 7 FAILED']);
});

test("a hook that fails, or takes too long, is shown and changes no status", async () => {
  const id = await start("bad");
  const waited = await cluster.cdktr(["run", "bad", "--wait"]);
  expect(waited.code).toBe(0);
  const run = await runOver(cluster.client, id);
  expect(run).toMatchObject({ status: "COMPLETED", error: null });
  expect(statusesOf(run)).toEqual({ a: "COMPLETED", on_success: "FAILED", on_exit: "FAILED" });
  const why = (await cluster.cdktr(["runs", "why", id])).stdout;
  expect(why).toContain("Hook on_success FAILED");
  expect(why).toContain("no mail");
  expect(why).toContain("timed out after 500ms");
  expect(why).toContain("The status of the run does not depend on its hooks.");
  expect(why).not.toContain("runs retry");
});

test("a cancelled run has its hooks, unless it is cancelled once more", async () => {
  const [once, twice] = [await start("waits"), await start("hook")];
  await noted(once, "a");
  const first = await cluster.cdktr(["runs", "cancel", once]);
  expect([first.code, first.stderr]).toEqual([0, expect.stringContaining("is being cancelled on")]);
  expect((await runOver(cluster.client, once)).status).toBe("CANCELLED");
  expect(notesOf(once)).toEqual(["a  [] []", "on_cancel CANCELLED [] []", "on_exit CANCELLED [] []"]);

  // Its task has failed, so the first cancel is about the hook.
  await noted(twice, "on_failure");
  const second = await cluster.cdktr(["runs", "cancel", twice]);
  expect([second.code, second.stderr]).toEqual([
    0,
    `The tasks of run ${twice} of hook are over; its hooks are stopped. Its status does not depend on them.\n`,
  ]);
  const run = await runOver(cluster.client, twice);
  expect(run).toMatchObject({ status: "FAILED", error: "failed: a" });
  expect(statusesOf(run)).toEqual({ a: "FAILED", on_failure: "CANCELLED" });
  await until("nothing is left", () => processesWith(`CDKTR_WORKFLOW_INSTANCE_ID=${twice}`).length === 0);
});

test("the principal is killed while the last task ends: each hook runs once", async () => {
  const id = await start("held");
  await noted(id, "a");
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  writeFileSync(open, "");
  await until("it ends", () => processesWith(`CDKTR_WORKFLOW_INSTANCE_ID=${id}`).length === 0);
  await cluster.startPrincipal();
  expect((await runOver(cluster.client, id)).status).toBe("COMPLETED");
  expect(notesOf(id)).toEqual(["a  [] []", "on_exit COMPLETED [] []", "on_success COMPLETED [] []"]);
  rmSync(open);
});

test("the agent is killed while it runs a hook: another one runs it", async () => {
  const id = await start("hook");
  await noted(id, "on_failure");
  const [first] = cluster.agents;
  first?.kill("SIGKILL");
  await first?.finished;
  const second = await cluster.startAgent(["--suffix", "second"]);
  await until("it runs again", () => notesOf(id).length === 2);
  writeFileSync(open, "");
  const run = await runOver(cluster.client, id);
  expect(run).toMatchObject({ status: "FAILED", error: "failed: a" });
  expect(statusesOf(run)).toEqual({ a: "FAILED", on_failure: "COMPLETED" });
  expect(run.tasks.find(({ task_id }) => task_id === "on_failure")?.agent_id).toEndWith("-second");
  // However often it was begun, it counts once.
  const counted = await cluster.client.queryDatabase({
    sql: `SELECT count(*)::INTEGER FROM task_run_status WHERE workflow_instance_id = '${id}' AND task_id = 'on_failure' AND status = 'COMPLETED'`,
  });
  expect(counted.rows).toEqual([[1]]);
  await second.stop();
});
