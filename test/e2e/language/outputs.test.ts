/** Conditions over what other tasks published, and the outputs of workflows: in whole runs and in runs that agents share. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunDetails } from "../../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { linesOf, runOver, until } from "../support/fixtures.ts";

const shell = (script: string) => `config: !Subprocess {cmd: sh, args: ["-c", ${JSON.stringify(script)}]}`;

/** `far` reads what a task published that is not its direct dependency. */
const REPORT = (head: string) => `
${head}
params:
  region: eu
  rows: {type: int, default: 17}
outputs:
  rows: "\${{ int(tasks.extract.outputs.rows) }}"
  text: "\${{ tasks.extract.outputs.rows }} rows of \${{ params.region }}"
  files: "\${{ tasks.extract.outputs.files }}"
  ended: "\${{ tasks.big.status }}"
tasks:
  extract:
    outputs: [rows, files]
    env: {ROWS: "\${{ params.rows }}"}
    ${shell('echo "{\\"rows\\": \\"$ROWS\\", \\"files\\": [\\"a b\\", \\"\\$(id)\\"]}" > "$CDKTR_OUTPUT"')}
  check:
    depends: [extract]
    ${shell("true")}
  us:
    depends: [extract]
    when: \${{ params.region == "us" }}
    ${shell("true")}
  plain:
    depends: [us]
    ${shell("true")}
  either:
    depends: {us: [completed, skipped]}
    ${shell("true")}
  big:
    depends: [check]
    when: \${{ int(tasks.extract.outputs.rows) > 10 }}
    ${shell("true")}
  far:
    depends: {big: ended}
    env: {FILES: "\${{ tasks.extract.outputs.files }}", BIG: "\${{ tasks.big.status }}"}
    ${shell('echo "got $FILES $BIG"')}
`;

const HELD = (gate: string, log: string) => `
placement: spread
tasks:
  list:
    ${shell('echo n=3 > "$CDKTR_OUTPUT"')}
  wait:
    depends: [list]
    ${shell(`echo waits >> ${log}; while [ ! -e ${gate} ]; do sleep 0.05; done`)}
  three:
    depends: [wait]
    when: \${{ tasks.list.outputs.n == "3" }}
    ${shell("true")}
  four:
    depends: [wait]
    when: \${{ tasks.list.outputs.n == "4" }}
    ${shell("true")}
  broken:
    depends: [wait]
    when: \${{ tasks.list.outputs.x == "4" }}
    allow_failure: true
    ${shell("true")}
`;

const EMPTY = (head: string) => `
${head}
params: {files: {type: json, default: []}}
outputs: {sizes: "\${{ tasks.load.outputs.size }}"}
tasks:
  load:
    foreach: \${{ params.files }}
    ${shell('echo size=1 >> "$CDKTR_OUTPUT"')}
  none:
    depends: [load]
    when: \${{ size(tasks.load.outputs.size) == 0 }}
    ${shell("true")}
  far:
    depends: {none: [completed, skipped]}
    env: {SIZES: "\${{ tasks.load.outputs.size }}"}
    ${shell('echo "got $SIZES"')}
`;

const BROKEN = `
outputs: {rows: "\${{ tasks.a.outputs.rows }}"}
tasks:
  a:
    ${shell("true")}
`;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 2,
    workflows: {
      "report.yml": REPORT(""),
      "report_shared.yml": REPORT("placement: spread"),
      "empty.yml": EMPTY(""),
      "empty_shared.yml": EMPTY("placement: spread"),
      "broken.yml": BROKEN,
    },
  });
}, 60_000);
afterAll(() => cluster?.stop());

const statuses = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map((task) => [task.task_id, task.status]));

test.each(["report", "report_shared"])(
  "%s: conditions read what was published, and so do its outputs",
  async (id) => {
    const { stdout, stderr, code } = await cluster.cdktr(["run", id, "--wait", "--json"]);
    expect([code, stderr]).toEqual([0, expect.anything()]);
    const outcome = JSON.parse(stdout);
    const outputs = { rows: 17, text: "17 rows of eu", files: ["a b", "$(id)"], ended: "COMPLETED" };
    expect(outcome).toMatchObject({ status: "COMPLETED", outputs });
    const run = await runOver(cluster.client, outcome.workflow_instance_id);
    expect(statuses(run)).toEqual({
      extract: "COMPLETED",
      check: "COMPLETED",
      us: "SKIPPED",
      plain: "SKIPPED",
      either: "COMPLETED",
      big: "COMPLETED",
      far: "COMPLETED",
    });
    const errors = new Map(run.tasks.map((task) => [task.task_id, task.error]));
    expect(errors.get("us")).toBe('when: params.region == "us" is false');
    expect(errors.get("plain")).toBe('"us", on which it depends, SKIPPED');
    const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run.workflow_instance_id });
    expect(rows.map((row) => row[7]).filter((line) => line?.startsWith("got"))).toEqual([
      'got ["a b","$(id)"] COMPLETED',
    ]);
    const shown = await cluster.cdktr(["runs", "show", run.workflow_instance_id]);
    expect(shown.stdout).toContain("text=17 rows of eu");
    expect(shown.stdout).toContain('when: params.region == "us" is false');

    const small = await cluster.cdktr(["run", id, "-P", "rows=7", "-P", "region=us", "--wait", "--json"]);
    const other = await runOver(cluster.client, JSON.parse(small.stdout).workflow_instance_id);
    expect(other).toMatchObject({ status: "COMPLETED", outputs: { rows: 7, ended: "SKIPPED" } });
    expect(statuses(other)).toMatchObject({
      us: "COMPLETED",
      plain: "COMPLETED",
      big: "SKIPPED",
      far: "COMPLETED",
    });
    const sql = `SELECT outputs FROM workflow_runs WHERE workflow_instance_id = '${run.workflow_instance_id}'`;
    const [[json] = []] = (await cluster.client.queryDatabase({ sql })).rows;
    expect(JSON.parse(String(json))).toEqual(outputs);
  },
  60_000,
);

test("workflow show has the conditions and the names of the outputs", async () => {
  const { stdout } = await cluster.cdktr(["workflow", "show", "report"]);
  expect(stdout).toMatch(/^Outputs +rows, text, files, ended$/m);
  expect(stdout).toMatch(/ us +us +extract +params\.region == "us" /);
});

test.each(["empty", "empty_shared"])(
  "%s: a fan-out without items has published empty lists",
  async (id) => {
    for (const [files, none, sizes] of [
      ["[]", "COMPLETED", []],
      ['["a", "b"]', "SKIPPED", ["1", "1"]],
    ] as const) {
      const { stdout } = await cluster.cdktr(["run", id, "-P", `files=${files}`, "--wait", "--json"]);
      const run = await runOver(cluster.client, JSON.parse(stdout).workflow_instance_id);
      expect(run).toMatchObject({ status: "COMPLETED", outputs: { sizes } });
      expect(statuses(run)).toMatchObject({ none, far: "COMPLETED" });
      const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run.workflow_instance_id });
      expect(rows.map((row) => row[7])).toContain(`got ${JSON.stringify(sizes)}`);
    }
  },
  60_000,
);

test("outputs that cannot be computed make the run FAILED, and so does its retry", async () => {
  const { stdout, code } = await cluster.cdktr(["run", "broken", "--wait", "--json"]);
  expect(code).toBe(1);
  const run = await runOver(cluster.client, JSON.parse(stdout).workflow_instance_id);
  expect(run.status).toBe("FAILED");
  expect(run.error).toStartWith('output "rows": tasks.a.outputs.rows has no value');
  expect(statuses(run)).toEqual({ a: "COMPLETED" });
  expect(run.outputs).toBeUndefined();
  const again = await cluster.cdktr(["runs", "retry", run.workflow_instance_id, "--wait", "--json"]);
  expect(JSON.parse(again.stdout)).toMatchObject({ status: "FAILED" });
}, 60_000);

test("a principal that was killed decides conditions by what was published before", async () => {
  const [gate, log] = [join(cluster.directory, "gate"), join(cluster.directory, "log")];
  cluster.writeWorkflow("held.yml", HELD(gate, log));
  await until("it is loaded", async () => "held" in (await cluster.client.listWorkflows()));
  const id = (await cluster.client.runTask("held", { dedupe_key: "held" })).workflow_instance_id;
  await until("it waits", () => existsSync(log) && linesOf(log).length > 0);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  writeFileSync(gate, "");
  await cluster.startPrincipal();
  const run = await runOver(cluster.client, id);
  expect(run).toMatchObject({ status: "COMPLETED", allowed_failures: 1 });
  expect(statuses(run)).toMatchObject({ three: "COMPLETED", four: "SKIPPED", broken: "FAILED" });
  const broken = run.tasks.find((task) => task.task_id === "broken");
  expect(broken?.error).toStartWith("when: tasks.list.outputs.x has no value");
  expect(broken?.is_allowed).toBe(true);
}, 60_000);
