/** Conditions on how tasks ended, and failures that are allowed: in runs that one agent has as a whole, and in those that agents share. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { RunDetails } from "../../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { ROOT, runOver } from "../support/fixtures.ts";

const ROLLBACK = readFileSync(join(ROOT, "workflows/rollback.yml"), "utf8");

const shell = (script: string) => `config: !Subprocess {cmd: sh, args: ["-c", ${JSON.stringify(script)}]}`;

const ALLOWED = (head: string) => `
${head}
params: {code: "3"}
tasks:
  audit:
    allow_failure: {exit_codes: [3, 100-110]}
    ${shell("echo oops >&2; exit $CDKTR_PARAM_CODE")}
  late:
    allow_failure: true
    timeout: 100ms
    ${shell("sleep 60")}
  after:
    depends: [audit, late]
    ${shell("true")}
  told:
    depends: {audit: failed, late: [failed, completed]}
    ${shell("true")}
  never:
    depends: {audit: skipped}
    ${shell("true")}
`;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 2,
    workflows: {
      "rollback.yml": ROLLBACK,
      "shared.yml": `placement: spread\n${ROLLBACK}`,
      "allowed.yml": ALLOWED(""),
      "allowed_shared.yml": ALLOWED("placement: spread"),
    },
  });
}, 60_000);
afterAll(() => cluster?.stop());

test("workflow show has the conditions", async () => {
  const { stdout } = await cluster.cdktr(["workflow", "show", "rollback"]);
  expect(stdout).toMatch(/rollback +Roll back +deploy \(failed\)/);
  expect(stdout).toMatch(/clean +Clean up +verify \(ended\), rollback \(ended\)/);
  expect(stdout).toMatch(/lint .*exit 2$/m);
});

const statuses = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map((task) => [task.task_id, task.status]));
const errors = (run: RunDetails) =>
  Object.fromEntries(run.tasks.flatMap(({ task_id, error }) => (error === null ? [] : [[task_id, error]])));

/** Runs a workflow to its end. */
async function runOf(...args: string[]): Promise<{ run: RunDetails; code: number; outcome: unknown }> {
  const { stdout, stderr, code } = await cluster.cdktr(["run", ...args, "--wait", "--json"]);
  if (stdout === "") throw new Error(stderr);
  const outcome = JSON.parse(stdout);
  return { run: await runOver(cluster.client, outcome.workflow_instance_id), code, outcome };
}

test.each(["rollback", "shared"])(
  "%s: a task that handles a failure runs, and the run is FAILED all the same",
  async (id) => {
    const { run, code } = await runOf(id);
    expect(code).toBe(1);
    expect(run).toMatchObject({ status: "FAILED", error: "failed: deploy", allowed_failures: 1 });
    expect(statuses(run)).toEqual({
      lint: "FAILED",
      deploy: "FAILED",
      verify: "SKIPPED",
      rollback: "COMPLETED",
      clean: "COMPLETED",
    });
    expect(errors(run).verify).toBe('"deploy", on which it depends, FAILED');
    const shown = await cluster.cdktr(["runs", "show", run.workflow_instance_id]);
    expect(shown.stdout).toMatch(/Allowed +1 failure allowed/);
    expect(shown.stdout).toMatch(/lint +FAILED \(allowed\)/);
    expect(shown.stdout).toContain('"deploy", on which it depends, FAILED');
    const why = await cluster.cdktr(["runs", "why", run.workflow_instance_id]);
    expect(why.stdout).toContain("Task deploy FAILED");
    expect(why.stdout).not.toContain("Task lint FAILED");
    expect(why.stdout).toContain("1 task failed and may, as allow_failure says:");

    const good = await runOf(id, "-P", "version=2");
    expect(good.code).toBe(0);
    expect(statuses(good.run)).toEqual({
      lint: "FAILED",
      deploy: "COMPLETED",
      verify: "COMPLETED",
      rollback: "SKIPPED",
      clean: "COMPLETED",
    });
    expect(errors(good.run).rollback).toBe('"deploy", on which it depends, COMPLETED, not FAILED');

    // The retry runs what did not complete again, and asks the conditions again.
    const retried = await cluster.cdktr(["runs", "retry", run.workflow_instance_id, "--wait", "--json"]);
    expect(retried.code).toBe(1);
    expect(JSON.parse(retried.stdout)).toMatchObject({ status: "FAILED", allowed_failures: 1 });
  },
  60_000,
);

test.each(["allowed", "allowed_shared"])(
  "%s: failures that the file allows are counted, and fail nothing",
  async (id) => {
    const { run, code, outcome } = await runOf(id);
    expect(code).toBe(0);
    expect(outcome).toMatchObject({ status: "COMPLETED", allowed_failures: 2 });
    expect(run).toMatchObject({ status: "COMPLETED", error: null, allowed_failures: 2 });
    expect(statuses(run)).toEqual({
      audit: "FAILED",
      late: "FAILED",
      after: "COMPLETED",
      told: "COMPLETED",
      never: "SKIPPED",
    });
    expect(
      run.tasks
        .filter(({ is_allowed }) => is_allowed === true)
        .map(({ task_id }) => task_id)
        .sort(),
    ).toEqual(["audit", "late"]);
    expect(errors(run).never).toBe('"audit", on which it depends, FAILED, not SKIPPED');

    const other = await runOf(id, "-P", "code=4");
    expect(other.code).toBe(1);
    expect(other.run).toMatchObject({ status: "FAILED", error: "failed: audit", allowed_failures: 1 });
    expect(statuses(other.run)).toMatchObject({ after: "SKIPPED", told: "COMPLETED" });

    const rows = await cluster.client.queryDatabase({
      sql: `SELECT status::VARCHAR, allowed_failures FROM workflow_runs WHERE workflow_instance_id = '${run.workflow_instance_id}'
      UNION ALL SELECT task_id, allowed::INTEGER FROM task_runs WHERE workflow_instance_id = '${run.workflow_instance_id}' AND allowed ORDER BY 1`,
    });
    expect(rows.rows).toEqual([
      ["COMPLETED", 2],
      ["audit", 1],
      ["late", 1],
    ]);
  },
  60_000,
);
