/** Expressions on the way from a file to the tasks: the workflows of the manual's page exactly as written, and a file with mistakes. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { findPage } from "../../../src/docs/index.ts";
import { type Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { codeBlocks } from "../../support/code-blocks.ts";
import { runOver } from "../support/fixtures.ts";

const [REPORT = "", COMPUTED = "", DEFAULTS = ""] = codeBlocks(findPage("expressions")?.text ?? "")
  .filter(({ language }) => language === "yaml")
  .map(({ text }) => text);

/** On two agents by its labels: what the first task published travels to the second agent, past a task that does not need it. */
const SPREAD = `
tasks:
  list:
    runs_on: {zone: a}
    config: !Subprocess {cmd: sh, args: ["-c", 'echo files=a.csv >> "$CDKTR_OUTPUT"']}
  middle: {depends: [list], config: !Subprocess {cmd: "true"}}
  load:
    depends: [middle]
    runs_on: {zone: b}
    config: !Subprocess {cmd: echo, args: ["\${{ tasks.list.outputs.files }} \${{ tasks.middle.status }}"]}
`;

/** What the event offers, in the env of the workflow and of a task; nothing of it is a parameter. */
const EVENT = `
on: {webhook: {path: /orders, secret: none}}
env: {ORDER: "\${{ trigger.order }}"}
tasks:
  ship:
    env: {TO: "\${{ default(trigger.to, 'nobody') }}"}
    run: echo "$ORDER for $TO"
`;

let cluster: Cluster;
let webhookPort = 0;

beforeAll(async () => {
  [webhookPort = 0] = await freePorts(1);
  cluster = await startCluster({
    env: { CDKTR_WEBHOOK_PORT: String(webhookPort) },
    workflows: {
      "report.yml": REPORT,
      "computed.yml": COMPUTED,
      "defaults.yml": DEFAULTS,
      "spread.yml": SPREAD,
      "event.yml": EVENT,
    },
  });
  await Promise.all(
    ["a", "b"].map((zone) => cluster.startAgent(["--suffix", zone, "--label", `zone=${zone}`])),
  );
}, 60_000);

afterAll(() => cluster?.stop());

/** Runs a workflow to its end. @returns how it ended, and what its tasks printed */
async function run(...args: string[]) {
  const { code, stdout, stderr } = await cluster.cdktr(["run", ...args, "--wait", "--json"]);
  const { workflow_instance_id, status } = JSON.parse(stdout || "{}");
  if (workflow_instance_id === undefined) throw new Error(stderr);
  return { code, status, lines: await linesOf(workflow_instance_id) };
}

async function linesOf(run: string): Promise<(string | undefined)[]> {
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run });
  return rows.map((row) => row[7]);
}

test("the manual's report: a parameter, the date, the env of the workflow, an output", async () => {
  expect(await run("report", "-P", "region=us")).toEqual({
    code: 0,
    status: "COMPLETED",
    lines: ["17 rows in s3://us-orders"],
  });
});

test("the manual's parameters: a default is computed from the time of the run, and one from another parameter", async () => {
  const today = new Intl.DateTimeFormat("en-CA", { timeZone: "Europe/London" });
  const before = today.format();
  const { lines } = await run("computed");
  expect([before, today.format()].map((day) => `imports from /data/${day}`)).toContain(lines[0] ?? "");
  expect((await run("computed", "-P", "day=2026-01-31")).lines).toEqual(["imports from /data/2026-01-31"]);
});

test("the manual's defaults: an output that was not published, a timeout", async () => {
  expect(await run("defaults")).toEqual({ code: 0, status: "COMPLETED", lines: ["0 false"] });
  const { code, lines } = await run("defaults", "-P", "limit=5");
  expect([code, lines]).toEqual([
    1,
    ['Cannot start: timeout: "5" has no unit.', 'write "5s" for seconds, "5m" for minutes'],
  ]);
});

test("results reach tasks on other agents, also of tasks on which they depend through others", async () => {
  expect(await run("spread")).toEqual({ code: 0, status: "COMPLETED", lines: ["a.csv COMPLETED"] });
});

test("a webhook offers values to expressions, and a retry has them again", async () => {
  await cluster.principal?.waitFor(/Webhooks are served/);
  const body = JSON.stringify({ order: "a 'b' $(c)", secret: "not read", to: { name: "x" } });
  const headers = { "content-type": "application/json" };
  const response = await fetch(`http://127.0.0.1:${webhookPort}/orders`, { method: "POST", headers, body });
  const { workflow_instance_id: run } = (await response.json()) as { workflow_instance_id: string };
  expect(response.status).toBe(202);
  expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
  const line = `a 'b' $(c) for {"name":"x"}`;
  expect(await linesOf(run)).toEqual([line]);

  const retried = await cluster.cdktr(["runs", "retry", run, "--from-start", "--wait", "--json"]);
  expect(await linesOf(JSON.parse(retried.stdout).workflow_instance_id)).toEqual([line]);
  // Only what is read is kept.
  const { stdout } = await cluster.cdktr([
    "db",
    "query",
    "SELECT DISTINCT event FROM workflow_runs WHERE event IS NOT NULL",
    "--json",
  ]);
  expect(JSON.parse(JSON.parse(stdout)[0].event)).toEqual({ order: "a 'b' $(c)", to: '{"name":"x"}' });
});

test("without an event, what it would offer has no value", async () => {
  const { code, lines } = await run("event");
  expect(code).toBe(1);
  expect(lines).toEqual([
    'Cannot start: env.ORDER: trigger.order has no value: what triggered the run, cli, offered no "order".',
  ]);
});

test("validate says what is wrong, and where", async () => {
  const path = join(cluster.directory, "bad.yml");
  writeFileSync(
    path,
    REPORT.replace("params.region", "params.regoin").replace("outputs.rows", "outputs.rows > 1 and true"),
  );
  const { code, stdout } = await cluster.cdktr(["workflow", "validate", path]);
  expect(code).toBe(4);
  expect(stdout).toContain('bad.yml:4:27: error[E063]: there is no parameter "regoin"');
  expect(stdout).toContain('did you mean "region"?');
  expect(stdout).toContain('"and" is not an operator');
});

test("show has the expressions as they are written", async () => {
  const { stdout } = await cluster.cdktr(["workflow", "show", "report", "--json"]);
  const { env, language, tasks } = JSON.parse(stdout).definition;
  expect({ env, language }).toEqual({ env: { BUCKET: "s3://${{ params.region }}-orders" }, language: 2 });
  expect(tasks[1].config.args).toEqual(["${{ tasks.extract.outputs.rows }} rows in ${{ env.BUCKET }}"]);
});
