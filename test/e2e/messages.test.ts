/** Error messages about things that do not exist: what happened, why, and what to do next. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { type Cluster, freePorts, startCluster } from "../support/cdktr.ts";
import { shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    workflows: {
      "etl/live.yml": shellWorkflow({ fetch: { sh: "true" } }).replace("name: fetch", "name: Fetch it"),
      "broken.yml": "name: x\n",
    },
  });
});
afterAll(() => cluster.stop());

const PATIENCE = { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "300" };

test("an unknown host, a closed port, another program's port, and another ZeroMQ port are four messages", async () => {
  const other = createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  const { promise, resolve } = Promise.withResolvers<void>();
  other.listen(0, "127.0.0.1", resolve);
  await promise;
  const address = other.address();
  const [closed] = await freePorts(1);
  const cases: [string, string][] = [
    ["no-such-host.invalid:5561", "the host name no-such-host.invalid cannot be resolved"],
    [`127.0.0.1:${closed}`, "the connection was refused"],
    [`127.0.0.1:${typeof address === "object" ? address?.port : ""}`, "another program listens on that port"],
    [`127.0.0.1:${cluster.ports.publishing}`, "a ZeroMQ socket is there"],
  ];
  const said = await Promise.all(
    cases.map(([principal]) =>
      cluster.cdktr(["workflow", "list", "--principal", principal], { env: PATIENCE }),
    ),
  );
  other.close();
  for (const [i, { code, stderr }] of said.entries()) {
    expect(code).toBe(3);
    expect(stderr).toContain(cases[i]?.[1] ?? "");
    expect(stderr).toContain("hint: ");
  }
});

test("a file in place of an id, and an unknown id, get a hint", async () => {
  for (const [given, hint] of [
    ["etl/live.yml", "cdktr run etl.live"],
    ["workflows/etl/life.yml", "cdktr run etl.life"],
    ["nosuch", "cdktr workflow list"],
    ["nosuch.yml", "cdktr run nosuch"],
  ] as const) {
    const { code, stderr } = await cluster.cdktr(["run", given]);
    expect({ given, code }).toEqual({ given, code: 4 });
    expect(stderr).toMatch(new RegExp(`hint: .*${hint}`));
  }
});

test("following the log of a workflow that does not exist does not wait for ever", async () => {
  const { code, stderr } = await cluster.cdktr(["logs", "tail", "--workflow", "etl.life"]);
  expect(code).toBe(4);
  expect(stderr).toContain("There is no workflow 'etl.life'");
  expect(stderr).toContain("Did you mean 'etl.live'?");
});

test("following the log of a task that does not exist says so; a run's tasks are known", async () => {
  const search = ["--workflow", "etl.live", "--task", "fetsh"];
  const tail = cluster.spawn(["logs", "tail", ...search]);
  await tail.waitFor(/Workflow 'etl\.live' has no task 'fetsh'\. Did you mean 'fetch'\?\nWaiting for/);
  await tail.stop();
  const anywhere = cluster.spawn(["logs", "tail", "--task", "nosuch"]);
  await anywhere.waitFor(/No line of a task 'nosuch' is in the history/);
  await anywhere.stop();
  const found = await cluster.cdktr(["logs", "query", ...search]);
  expect(found.stderr).toContain("Did you mean 'fetch'?");
  // Known under its id and its name, whether or not it has printed anything yet.
  for (const task of ["fetch", "Fetch it"]) {
    const known = await cluster.cdktr(["logs", "query", "--workflow", "etl.live", "--task", task]);
    expect(known.stderr).toBe("No log lines match.\n");
  }
  const { workflow_instance_id: run } = await cluster.client.runTask("etl.live", { dedupe_key: "tail" });
  const refused = await cluster.cdktr(["logs", "tail", "--run", run, "--task", "nosuch"]);
  expect(refused.code).toBe(4);
  expect(refused.stderr).toContain(`Run ${run} has no task 'nosuch'`);
  expect(refused.stderr).toContain("Its tasks: fetch, Fetch it.");
  await cluster.client.cancelRun(run);
  const over = await cluster.cdktr(["logs", "tail", "--run", run]);
  expect(over).toMatchObject({
    code: 0,
    stdout: "",
    stderr: `Run ${run} is over (CANCELLED): it prints nothing more.\n`,
  });
});

test("a query with a wrong name or a misspelt word says which names there are, and where they are described", async () => {
  for (const [sql, hint] of [
    [
      "FROM runs",
      /^hint: Did you mean workflow_runs\? There are the views workflow_runs and task_runs and the tables/m,
    ],
    ["FROM workflow_run", /Did you mean workflow_runs\?/],
    ["FROM nonsense", /There are the views .* see 'cdktr docs logs-and-history'/],
    ["SELECT statu FROM task_runs", /cdktr db query "DESCRIBE task_runs" lists the columns/],
    ["SELECT * FROM workflow_runs JOIN task_runs USING (run)", /"DESCRIBE workflow_runs" lists/],
    ["SELEC 1", /Did you mean SELECT\?.*'cdktr docs logs-and-history' has examples/],
    ["SELECT 1 +", /Statements are those of DuckDB/],
  ] as const) {
    const { code, stderr } = await cluster.cdktr(["db", "query", sql]);
    expect({ sql, code }).toEqual({ sql, code: 4 });
    expect(stderr).toMatch(hint);
    expect(stderr).not.toMatch(/duckdb_|internal/);
  }
  // The remedy.
  expect((await cluster.cdktr(["db", "query", "DESCRIBE task_runs"])).stdout).toContain("status");
});

test("an export or backup that cannot be written says why in words", async () => {
  using directory = new TemporaryDirectory();
  writeFileSync(directory.path("file"), "");
  for (const args of [
    ["backup", directory.path("no/such/copy.duckdb")],
    ["backup", directory.path("file/copy.duckdb")],
    ["backup", "/proc/copy.duckdb"],
    ["export", directory.path("file")],
    ["export", "/proc/history"],
  ]) {
    const { code, stderr } = await cluster.cdktr(["db", ...args]);
    expect({ args, code }).toEqual({ args, code: 4 });
    expect(stderr).toMatch(/cannot be written: .*\nhint: /);
    expect(stderr).not.toMatch(/\bE[A-Z]{3,}\b|syscall|errno/);
  }
});

test("an invalid file is named once", async () => {
  const { stdout } = await cluster.cdktr(["doctor"]);
  expect(stdout).toContain("invalid and was not loaded: broken.yml");
  expect(stdout.match(/loaded: [^\n]*/)?.[0].match(/broken\.yml/g)).toHaveLength(1);
});
