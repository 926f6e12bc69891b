/** What newcomers bring: crontabs with background jobs and table heads, typical mistakes in YAML, scripts and file names. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { type Cluster, cdktr, startCluster } from "../support/cdktr.ts";
import { runOver, shellWorkflow, TemporaryDirectory, until } from "./support/fixtures.ts";

const directory = new TemporaryDirectory();
let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ agents: 1, principalArgs: ["--no-scheduler"] });
}, 60_000);
afterAll(async () => {
  await cluster?.stop();
  directory[Symbol.dispose]();
});

test("jobs of a crontab that go into the background do their work, and are named by what they do", async () => {
  const done = (n: number) => directory.path(`done-${n}`);
  writeFileSync(
    directory.path("crontab"),
    [
      "# m h  dom mon dow   command",
      `0 * * * * sh -c 'sleep 1; touch ${done(1)}' &`,
      `5 * * * * nohup sh -c 'sleep 1; touch ${done(2)}' >/dev/null 2>&1 &`,
      `10 * * * * (setsid sh -c 'sleep 1; touch ${done(3)}' >/dev/null 2>&1 &)`,
      "",
    ].join("\n"),
  );
  const project = directory.path("project");
  const options = ["--yes", "--crontab-format", "user", "--no-example"];
  const made = await cdktr(["init", project, "--import-crontab", directory.path("crontab"), ...options]);
  expect({ code: made.code, stderr: made.stderr }).toMatchObject({ code: 0 });
  expect(readFileSync(`${project}/crontab-import.md`, "utf8")).toMatch(/background: wait/);
  const files = readdirSync(`${project}/workflows/cron`);
  expect(files).toHaveLength(3);
  for (const file of files) {
    const text = readFileSync(`${project}/workflows/cron/${file}`, "utf8");
    expect(text).not.toMatch(/^name: .*(?:dom|dow)/m);
    cluster.writeWorkflow(file, text);
  }
  await until("they are loaded", async () => Object.keys(await cluster.client.listWorkflows()).length === 3);
  const runs = await Promise.all(
    files.map((file) => cluster.client.runTask(file.replace(".yml", ""), { dedupe_key: file })),
  );
  for (const { workflow_instance_id } of runs)
    expect((await runOver(cluster.client, workflow_instance_id)).status).toBe("COMPLETED");
  expect([1, 2, 3].map((n) => existsSync(done(n)))).toEqual([true, true, true]);
}, 60_000);

test("mistakes in YAML are named as the mistakes that they are", async () => {
  const tasks = "tasks: {a: {name: a, config: !Subprocess {cmd: ls}}}\n";
  for (const [text, expected] of [
    [`name: a\ncron: */15 * * * *\n${tasks}`, /needs quotes/],
    [`name: a\ncron:\u00a0"0 1 * * *"\n${tasks}`, /U\+00A0/],
    [`name: a\ndescription: "not closed\n${tasks}`, /quote " that opens here is not closed/],
    [`name: a\n${tasks.replace("ls", "ls, args: [“hello world”]")}`, /plain quotes/],
  ] as const) {
    writeFileSync(directory.path("mistake.yml"), text);
    const { stdout, stderr } = await cdktr(["workflow", "validate", directory.path("mistake.yml")]);
    expect(stdout + stderr).toMatch(expected);
  }
});

test("a script with Windows line ends, and files that cannot be workflows, are told with the cause", async () => {
  const script = directory.path("job.sh");
  writeFileSync(script, "#!/bin/sh\r\necho hi\r\n");
  chmodSync(script, 0o755);
  cluster.writeWorkflow(
    "windows.yml",
    `name: w\ntasks:\n  a:\n    name: a\n    config: !Subprocess {cmd: ${script}}\n`,
  );
  cluster.writeWorkflow("SHOUTED.YML", shellWorkflow({ a: { sh: "true" } }));
  symlinkSync("/nowhere/at/all.yml", `${cluster.workflowDirectory}/broken.yml`);
  await until("it is loaded", async () => (await cluster.client.listWorkflows()).windows !== undefined);
  const { workflow_instance_id } = await cluster.client.runTask("windows", { dedupe_key: "windows" });
  expect((await runOver(cluster.client, workflow_instance_id)).status).toBe("FAILED");
  const logged = await cluster.cdktr(["logs", "query", "--run", workflow_instance_id]);
  expect(logged.stdout).toMatch(/carriage return|line end|CRLF|\\r/i);
  for (const name of ["SHOUTED\\.YML", "broken\\.yml"]) await cluster.principal?.waitFor(new RegExp(name));
});
