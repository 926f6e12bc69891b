/** Triggers that are well-formed but can never fire, or never stop, are reported by all commands. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { MAX_CHAIN } from "../../src/workflow/check-triggers.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { runOver, shellWorkflow, until } from "./support/fixtures.ts";

let cluster: Cluster;

const NEEDY = "params:\n  day:\n    description: which\n";
const ok = { run: { sh: "true" } };
const after = (id: string) => shellWorkflow(ok, `on:\n  workflow:\n    id: ${id}\n`);

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "needy.yml": shellWorkflow(ok, `cron: "* * * * * *"\n${NEEDY}`),
      "file.yml": shellWorkflow(ok, `on:\n  file:\n    glob: /nowhere/*\n${NEEDY}`),
      "ping.yml": after("pong"),
      "pong.yml": after("ping"),
      "etl/load.yml": after("etl.extrct"),
      "etl/extract.yml": shellWorkflow(ok),
      "old/a.yml": shellWorkflow(ok, "timezone: UTC\n"),
      "old/b.yml": shellWorkflow(ok, "timezone: UTC\n"),
      "old/c.yml": shellWorkflow(ok, "timezone: UTC\n"),
      "half.yml": shellWorkflow({ good: { sh: "true" }, bad: { sh: "exit 3", depends: ["good"] } }),
    },
  });
}, 60_000);
afterAll(() => cluster?.stop());

const PROBLEMS = [
  /needy\.yml:2:\d+: warning\[W003\]: "cron" can never run this workflow: parameter "day" has no default/,
  /file\.yml:3:\d+: warning\[W003\]: "on: file" can never run this workflow/,
  /ping\.yml:4:\d+: warning\[W005\]: workflows run after each other in a circle: ping → pong → ping/,
  /pong\.yml:4:\d+: warning\[W005\]/,
  /load\.yml:4:\d+: warning\[W004\]: this workflow never runs after "etl\.extrct": there is no such workflow/,
  /did you mean "etl\.extract"\?/,
];

test("validate says it of a directory, with --strict by its status; of one file what it can know", async () => {
  const all = await cluster.cdktr(["workflow", "validate", cluster.workflowDirectory]);
  for (const problem of PROBLEMS) expect(all.stdout).toMatch(problem);
  expect(all.code).toBe(0);
  expect(all.stderr).toMatch(/8 warnings/);
  expect((await cluster.cdktr(["workflow", "validate", "--strict"])).code).toBe(4);

  const one = await cluster.cdktr(["workflow", "validate", "workflows/etl/load.yml"]);
  expect(one.stdout).toMatch(/W004/);
  const elsewhere = { CDKTR_WORKFLOW_DIR: "/nonexistent" };
  const alone = await cluster.cdktr(["workflow", "validate", "workflows/etl/load.yml"], { env: elsewhere });
  expect(alone.stdout).toBe("");
});

test("the principal logs it, and the list, the workflow and the doctor show it", async () => {
  for (const problem of PROBLEMS) await cluster.principal?.waitFor(problem);
  const listed = await cluster.cdktr(["workflow", "list"]);
  expect(listed.stdout).toMatch(/^needy !/m);
  expect(listed.stderr).toMatch(/needy: "cron" can never run this workflow/);
  expect(listed.stderr).toMatch(/etl\.load: this workflow never runs after "etl\.extrct"/);
  const shown = await cluster.cdktr(["workflow", "show", "ping"]);
  expect(shown.stdout).toMatch(/Problem +workflows run after each other in a circle/);
  const doctor = await cluster.cdktr(["doctor"]);
  expect(doctor.stdout + doctor.stderr).toMatch(/Workflow pong: workflows run after each other/);
});

test("a refused firing is logged once for each version of the file, and shown until the file is fixed", async () => {
  const REFUSED = /A firing of workflow needy \(cron\) was refused: .*missing parameter "day"/;
  const times = () => (cluster.principal?.stderr ?? "").split(/A firing of workflow needy /).length - 1;
  await cluster.principal?.waitFor(REFUSED);
  const listed = await cluster.cdktr(["workflow", "list"]);
  expect(listed.stderr).toMatch(/needy: a firing \(cron\) was refused .*missing parameter "day"/);
  expect(times()).toBe(1);
  cluster.writeWorkflow("needy.yml", shellWorkflow(ok, `description: edited\ncron: "* * * * * *"\n${NEEDY}`));
  await until("it is said of the new version", async () => times() === 2);
  cluster.writeWorkflow("needy.yml", shellWorkflow(ok, `cron: "* * * * * *"\nparams:\n  day: today\n`));
  await until("it runs", async () => (await cluster.client.listRuns({ workflow_id: "needy" })).length > 0);
  const { needy } = await cluster.client.listWorkflows();
  expect(needy).toMatchObject({ refused: null, trigger_problems: [] });
});

test("a circle of triggers ends at the limit, and says so", async () => {
  const { code } = await cluster.cdktr(["run", "ping", "--wait"]);
  expect(code).toBe(0);
  await cluster.principal?.waitFor(
    new RegExp(`A firing of workflow p.ng \\(workflow\\) was refused: .* ${MAX_CHAIN} runs have followed`),
  );
  const runs = await cluster.client.listRuns({ limit: 1000 });
  expect(runs.filter((run) => /^p.ng$/.test(run.workflow_id))).toHaveLength(MAX_CHAIN + 1);
});

test("a status that does not exist is refused, with those that it can have", async () => {
  const { code, stderr } = await cluster.cdktr(["runs", "list", "-s", "SUCCESS"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/PENDING/);
});

test("the timeline of a retry begins before it, with what it carries over", async () => {
  const { stdout } = await cluster.cdktr(["run", "half", "--wait", "--json"]);
  const { workflow_instance_id } = JSON.parse(stdout);
  const retry = await cluster.client.retryRun({ workflow_instance_id, dedupe_key: "half again" });
  await runOver(cluster.client, retry.workflow_instance_id);
  const shown = await cluster.cdktr(["runs", "show", retry.workflow_instance_id]);
  expect(shown.stdout).toMatch(/ -\d[\dms.]* +.*good/);
  expect(shown.stdout).not.toContain("+-");
});

test("a misspelt setting is warned about by every command, with the name that was meant", async () => {
  const env = { CDKTR_WORKFLOWS_DIR: "/srv", CDKTR_RUN_ATTEMPT: "1", CDKTR_PARAM_PORT: "1" };
  const { code, stderr, stdout } = await cluster.cdktr(["runs", "list", "--json"], { env });
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toBeArray();
  expect(stderr).toMatch(
    /^warning: CDKTR_WORKFLOWS_DIR \(environment\) is no setting and has no effect: did you mean CDKTR_WORKFLOW_DIR\?$/m,
  );
  expect(stderr.match(/warning:/g)).toHaveLength(1);
  const doctor = await cluster.cdktr(["doctor"], { env });
  expect(doctor.stdout).toMatch(/CDKTR_WORKFLOWS_DIR \(environment\) is no setting of cdktr/);
});

test("what has no effect in many files is said once, by the principal and by validate", async () => {
  const ONCE =
    /old\/a\.yml:2:1: warning\[W002\]: "timezone" has no effect without cron; the same in 2 other files: \S*old\/b\.yml, \S*old\/c\.yml/;
  await cluster.principal?.waitFor(ONCE);
  const { stdout } = await cluster.cdktr(["workflow", "validate"]);
  expect(stdout).toMatch(ONCE);
  for (const text of [stdout, cluster.principal?.stderr ?? ""]) expect(text.match(/W002/g)).toHaveLength(1);
});
