import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findPage } from "../../src/docs/index.ts";
import { CDKTR, type Cluster, startCluster } from "../support/cdktr.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { until } from "../support/until.ts";
import { jsonLines, linesOf, shellWorkflow, waitForFile } from "./support.ts";

let cluster: Cluster;
let gates: string;

const gate = (name: string) => join(gates, name);
const open = (name: string) => writeFileSync(gate(name), "");

/** Both streams, equal lines, in a hurry. */
const CHATTER = "for i in $(seq 1 400); do echo same; echo line $i; echo bad $i >&2; done";

beforeAll(async () => {
  cluster = await startCluster({ agents: 1, env: { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "500" } });
  gates = join(cluster.directory, "gates");
  mkdirSync(gates);
  const flag = gate("repaired");
  for (const [path, text] of Object.entries({
    "hello.yml": shellWorkflow(
      "Hello",
      { greet: "echo hello $CDKTR_PARAM_WHO", after: { sh: "echo bye", depends: ["greet"] } },
      'params: { who: "world" }',
    ),
    "strict.yml": shellWorkflow("Strict", { a: "true" }, "params: { day: {} }"),
    "broken.yml": shellWorkflow("Broken", {
      first: "echo first ran",
      second: { sh: `[ -e '${flag}' ] || { echo not yet >&2; exit 3; }; echo repaired`, depends: ["first"] },
      third: { sh: "echo third ran", depends: ["second"] },
    }),
    "chatter.yml": shellWorkflow("Chatter", {
      one: CHATTER,
      two: CHATTER,
      three: { sh: "echo '  indented'; echo; echo 'ünï 👍'", depends: ["one", "two"] },
    }),
    "many.yml": shellWorkflow("Many", { count: "seq 1 25000" }),
    "detach.yml": shellWorkflow("Detach", {
      wait: `echo waiting; ${waitForFile(gate("detach"))}; echo done`,
    }),
    "cancel.yml": shellWorkflow("Cancel", { wait: `echo waiting; ${waitForFile(gate("never"))}` }),
    "steps.yml": shellWorkflow("Steps", { steps: `echo one; ${waitForFile(gate("steps"))}; echo two` }),
  })) {
    cluster.writeWorkflow(path, text);
  }
  const known = async () => Object.keys(await cluster.client.listWorkflows()).length;
  await until("all workflows are known", async () => (await known()) >= 8);
}, 60_000);

afterAll(async () => {
  await cluster?.stop();
}, 60_000);

async function ok(...args: string[]) {
  const finished = await cluster.cdktr(args);
  if (finished.code !== 0) throw new Error(`cdktr ${args.join(" ")}: ${finished.code}\n${finished.stderr}`);
  return finished;
}

async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse((await ok(...args, "--json")).stdout) as T;
}

interface Outcome {
  workflow_id: string;
  workflow_instance_id: string;
  status: string;
  attempt: number;
  tasks: { task_id: string; status: string; exit_code: number | null }[];
}

describe("task run", () => {
  test("without waiting prints the id of the run", async () => {
    const { stdout } = await ok("task", "run", "hello");
    const id = stdout.trim();
    expect(stdout).toBe(`${id}\n`);
    const run = await cluster.client.getRun(id);
    expect([run.workflow_id, run.trigger]).toEqual(["hello", "cli"]);
    expect(Object.keys(await json<object>("run", "hello"))).toEqual(["workflow_id", "workflow_instance_id"]);
  });

  test("--wait --json has the fields of the contract; parameters reach the tasks", async () => {
    const outcome = await json<Outcome>("run", "hello", "-P", "who=a=b c", "--wait");
    expect(Object.keys(outcome)).toEqual([
      "workflow_id",
      "workflow_instance_id",
      "status",
      "attempt",
      "tasks",
    ]);
    expect(outcome).toMatchObject({ workflow_id: "hello", status: "COMPLETED", attempt: 1 });
    expect(outcome.tasks.map((task) => Object.keys(task))).toEqual(
      Array(2).fill(["task_id", "status", "exit_code", "started_at_ms", "finished_at_ms", "agent_id"]),
    );
    const lines = jsonLines(
      (await ok("logs", "query", "--run", outcome.workflow_instance_id, "--json")).stdout,
    );
    expect(lines.map((line) => line.payload)).toEqual(["hello a=b c", "bye"]);
    expect(Object.keys(lines[0] ?? {})).toEqual([
      "workflow_id",
      "workflow_name",
      "workflow_instance_id",
      "task_name",
      "task_instance_id",
      "timestamp_ms",
      "level",
      "payload",
    ]);
  });

  test("a run that fails: exit 1, and the table says why", async () => {
    const { code, stdout } = await cluster.cdktr(["run", "broken", "--wait"]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^FAILED broken /);
    expect(stdout).toMatch(/^ +second +FAILED .* 3 /m);
    expect(stdout).toMatch(/^ +third +SKIPPED /m);
  });

  test("what cannot be run: exit 4 and what was probably meant", async () => {
    const unknown = await cluster.cdktr(["run", "helo"]);
    expect([unknown.code, unknown.stdout]).toEqual([4, ""]);
    expect(unknown.stderr).toContain("hello");
    const missing = await cluster.cdktr(["run", "strict"]);
    expect([missing.code, missing.stdout]).toEqual([4, ""]);
    expect(missing.stderr).toContain("day");
    expect((await cluster.cdktr(["run", "hello", "-P", "wo=x"])).stderr).toContain("who");
  });
});

describe("task run --follow", () => {
  test("prints each line of the run once, whatever the lines", async () => {
    const { code, stdout } = await cluster.cdktr(["run", "chatter", "--follow"]);
    expect(code).toBe(0);
    const lines = linesOf(stdout);
    const end = lines.findIndex((line) => line.startsWith("COMPLETED chatter "));
    const shown = lines.slice(0, end).map((line) => {
      const match = /^\d\d:\d\d:\d\d\.\d{3} (The \w+) *([ !])│ (.*)$/.exec(line);
      return match === null ? line : `${match[1]}${match[2]}${match[3]}`;
    });
    const said = (task: string) =>
      Array.from({ length: 400 }, (_, i) => [
        `${task} same`,
        `${task} line ${i + 1}`,
        `${task}!bad ${i + 1}`,
      ]).flat();
    const expected = [
      ...said("The one"),
      ...said("The two"),
      "The three   indented",
      "The three ",
      "The three ünï 👍",
    ];
    expect(shown.sort()).toEqual(expected.sort());
    expect(stdout).toMatch(/^ +three +COMPLETED /m);
  });

  test("with --json prints lines as objects and the outcome last", async () => {
    const { code, stdout } = await cluster.cdktr(["run", "broken", "--follow", "--json"]);
    expect(code).toBe(1);
    const documents = jsonLines(stdout);
    expect(documents.slice(0, -1).map((line) => [line.level, line.payload])).toEqual([
      ["INFO", "first ran"],
      ["ERROR", "not yet"],
    ]);
    expect(documents.at(-1)).toMatchObject({ workflow_id: "broken", status: "FAILED" });
  });

  test("lines come while the run goes on", async () => {
    const child = cluster.spawn(["run", "steps", "--follow"]);
    await child.waitFor(/│ one\n/, "stdout");
    expect(child.ended).toBe(false);
    open("steps");
    const { code, stdout } = await child.finished;
    expect(code).toBe(0);
    expect(stdout.match(/│ (one|two)$/gm)).toEqual(["│ one", "│ two"]);
  });

  test("Ctrl-C detaches: the run goes on, and the command says how to find it", async () => {
    const child = cluster.spawn(["run", "detach", "--follow"]);
    await child.waitFor(/│ waiting\n/, "stdout");
    child.kill("SIGINT");
    const { code, stderr } = await child.finished;
    expect(code).toBe(1);
    const id = /cdktr runs cancel (\S+)/.exec(stderr)?.[1] ?? "";
    expect(stderr).toContain(`cdktr runs show ${id}`);
    expect((await cluster.client.getRun(id)).status).toBe("RUNNING");
    open("detach");
    while ((await cluster.client.waitRun(id, 5000)).status === "RUNNING");
    expect((await cluster.client.getRun(id)).status).toBe("COMPLETED");
  });

  test("a reader that goes away ends the watching, not the run", async () => {
    const command = [...CDKTR, "run", "chatter", "--follow"].map((word) => `'${word}'`).join(" ");
    const child = Bun.spawn(["bash", "-c", `${command} | head -n 2 >/dev/null; echo "$\{PIPESTATUS[0]}"`], {
      env: { ...process.env, ...cluster.env },
      cwd: cluster.directory,
      stdout: "pipe",
      stderr: "pipe",
    });
    const errors = await new Response(child.stderr).text();
    expect(errors).not.toContain("error");
    expect(["0\n", "1\n"]).toContain(await new Response(child.stdout).text());
  });
});

describe("runs", () => {
  test("list: filters, fields of the contract, newest first", async () => {
    const first = (await ok("run", "hello")).stdout.trim();
    const second = (await ok("run", "hello", "--wait", "--json")).stdout;
    const runs = await json<Record<string, unknown>[]>("runs", "list", "--workflow", "hello", "-n", "2");
    expect(runs.map((run) => run.workflow_instance_id)).toEqual([
      JSON.parse(second).workflow_instance_id,
      first,
    ]);
    expect(
      Object.keys(runs[0] ?? {})
        .slice(0, 9)
        .sort(),
    ).toEqual(
      [
        "workflow_id",
        "workflow_instance_id",
        "status",
        "trigger",
        "agent_id",
        "attempt",
        "created_at_ms",
        "started_at_ms",
        "finished_at_ms",
      ].sort(),
    );
    for (const run of await json<{ status: string }[]>("runs", "list", "--status", "failed")) {
      expect(run.status).toBe("FAILED");
    }
    expect(await json<unknown[]>("runs", "list", "--workflow", "nothing.of.the.kind")).toEqual([]);
    const text = await ok("runs", "list", "--workflow", "hello", "-n", "1");
    expect(text.stdout).toMatch(/^RUN +WORKFLOW +STATUS/);
    expect(text.stdout).toMatch(/^\S+ +hello +COMPLETED +cli /m);
  });

  test("show: everything about a run, by any beginning of its id", async () => {
    const { workflow_instance_id: id } = await json<Outcome>("run", "hello", "-P", "who=shown", "--wait");
    const shown = await json<Record<string, unknown>>("runs", "show", id);
    expect(shown).toMatchObject({
      workflow_instance_id: id,
      workflow_id: "hello",
      status: "COMPLETED",
      trigger: "cli",
      params: { who: "shown" },
    });
    expect(shown.attempts).toMatchObject([{ attempt: 1, status: "COMPLETED" }]);
    expect(shown.tasks).toMatchObject([{ task_id: "greet" }, { task_id: "after" }]);
    const timeline = shown.timeline as { event: string; task_id: string | null; timestamp_ms: number }[];
    expect(timeline[0]?.event).toBe("created by cli");
    expect(timeline.at(-1)?.event).toBe("COMPLETED");
    expect(timeline.filter(({ task_id }) => task_id === "greet").map(({ event }) => event)).toEqual([
      "RUNNING",
      "COMPLETED",
    ]);

    expect((await json<Outcome>("runs", "show", id.slice(0, 9))).workflow_instance_id).toBe(id);
    expect((await json<Outcome>("runs", "show", id.slice(0, 9).toUpperCase())).workflow_instance_id).toBe(id);
    const text = (await ok("runs", "show", id)).stdout;
    for (const part of ["PARAMETERS", "who=shown", "ATTEMPTS", "TASKS", "TIMELINE", "created by cli"]) {
      expect(text).toContain(part);
    }
  });

  test("a text that is empty, too short, or not an id refers to no run, even if there is only one", async () => {
    for (const command of [
      ["runs", "show"],
      ["runs", "why"],
      ["runs", "cancel"],
      ["runs", "retry"],
    ]) {
      for (const [text, code, message] of [
        ["", 2, "RUN is empty"],
        [" ", 2, "RUN is empty"],
        ["0", 4, "too short"],
        ["hello", 4, "cdktr runs list --workflow hello"],
      ] as const) {
        const ended = await cluster.cdktr([...command, text]);
        expect({ text, code: ended.code, stdout: ended.stdout }).toEqual({ text, code, stdout: "" });
        expect(ended.stderr).toContain(message);
      }
    }
    for (const args of [
      ["run", ""],
      ["workflow", "show", ""],
      ["agents", "drain", ""],
      ["keys", "revoke", ""],
      ["join-token", "revoke", ""],
      ["docs", ""],
      ["runs", "list", "--workflow", ""],
      ["logs", "query", "--workflow="],
      ["logs", "query", "-r", ""],
    ]) {
      const { code, stderr } = await cluster.cdktr(args);
      expect({ args, code }).toEqual({ args, code: 2 });
      expect(stderr).toContain("is empty");
    }
  }, 30_000);

  test("a run that does not exist: exit 4", async () => {
    for (const command of [
      ["runs", "show"],
      ["runs", "why"],
      ["runs", "cancel"],
      ["runs", "retry"],
      ["logs", "query", "--run"],
    ]) {
      const { code, stdout, stderr } = await cluster.cdktr([...command, "zzzz"]);
      expect({ command, code, stdout }).toEqual({ command, code: 4, stdout: "" });
      expect(stderr).toContain("zzzz");
    }
  });

  test("cancel ends a run; once it is over it says so", async () => {
    const child = cluster.spawn(["run", "cancel", "--follow"]);
    await child.waitFor(/│ waiting\n/, "stdout");
    const id = /Run (\S+) of/.exec(child.stderr)?.[1] ?? "";
    expect((await ok("runs", "cancel", id.slice(0, 10))).stderr).toContain(id);
    const { code, stdout } = await child.finished;
    expect(code).toBe(1);
    expect(stdout).toMatch(/^CANCELLED cancel /m);
    const again = await cluster.cdktr(["runs", "cancel", id]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain("is over already: CANCELLED");
  });

  test("retry goes on from the failed tasks, or from the start", async () => {
    const failed = (await cluster.cdktr(["run", "broken", "--wait", "--json"])).stdout;
    const { workflow_instance_id: id } = JSON.parse(failed) as Outcome;
    open("repaired");
    const printed = async (run: string) =>
      jsonLines((await ok("logs", "query", "--run", run, "--json")).stdout).map((line) => line.payload);

    const retried = await json<Outcome>("runs", "retry", id, "--wait");
    expect(retried.status).toBe("COMPLETED");
    expect(retried.tasks.map(({ task_id, status }) => [task_id, status])).toEqual([
      ["first", "COMPLETED"],
      ["second", "COMPLETED"],
      ["third", "COMPLETED"],
    ]);
    expect(await printed(retried.workflow_instance_id)).toEqual(["repaired", "third ran"]);
    expect(await json<object>("runs", "show", retried.workflow_instance_id)).toMatchObject({
      retry_of: id,
      trigger: "retry",
    });

    const anew = await json<Outcome>("runs", "retry", id, "--from-start", "--wait");
    expect(await printed(anew.workflow_instance_id)).toEqual(["first ran", "repaired", "third ran"]);
  });
});

describe("logs query", () => {
  test("streams all pages in order; -n takes the newest", async () => {
    const { workflow_instance_id: run } = await json<Outcome>("run", "many", "--wait");
    const all = jsonLines((await ok("logs", "query", "--run", run, "--json")).stdout);
    expect(all.map((line) => line.payload)).toEqual(Array.from({ length: 25_000 }, (_, i) => String(i + 1)));
    const newest = jsonLines(
      (await ok("logs", "query", "--workflow", "many", "-n", "12000", "--json")).stdout,
    );
    expect(newest.map((line) => line.payload)).toEqual(
      Array.from({ length: 12_000 }, (_, i) => String(13_001 + i)),
    );
    expect(linesOf((await ok("logs", "query", "--run", run, "-n", "1")).stdout)).toHaveLength(1);
    expect((await ok("logs", "query", "-n", "0")).stdout).toBe("");
  });

  test("filters by level, task, text and time", async () => {
    const { workflow_instance_id: run } = await json<Outcome>("run", "chatter", "--wait");
    const payloads = async (...args: string[]) =>
      jsonLines((await ok("logs", "query", "--run", run, "--json", ...args)).stdout).map(
        (line) => line.payload,
      );
    expect(await payloads("--level", "error")).toHaveLength(800);
    expect(await payloads("--task", "three")).toEqual(["  indented", "", "ünï 👍"]);
    expect(await payloads("--task", "The three", "--grep", "^ünï")).toEqual(["ünï 👍"]);
    expect(await payloads("--grep", "^line 39\\d$")).toHaveLength(20);
    expect(await payloads("--until", "2001-01-01T00:00:00Z")).toEqual([]);
    expect(await payloads("--last", "1h", "--level", "ERROR")).toHaveLength(800);
    const wrong = await cluster.cdktr(["logs", "query", "--grep", "("]);
    expect(wrong.code).toBe(4);
  });

  test("text has time, level and task; --verbose the names", async () => {
    const { workflow_instance_id: run } = await json<Outcome>("run", "hello", "--wait");
    const text = (await ok("logs", "query", "--run", run)).stdout;
    expect(linesOf(text)[0]).toMatch(
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO {2}The greet │ hello world$/,
    );
    const verbose = linesOf((await ok("logs", "query", "--run", run, "--verbose")).stdout)[0];
    expect(verbose).toContain(`hello (Hello) ${run} The greet `);
    const none = await ok("logs", "query", "--workflow", "none.such");
    expect(none.stdout).toBe("");
    expect(none.stderr).toContain("No log lines");
  });
});

test("logs tail joins history and live lines: each once, in order", async () => {
  const before = await json<Outcome>("run", "hello", "-P", "who=before", "--wait");
  const child = cluster.spawn(["logs", "tail", "--workflow", "hello", "-n", "2", "--json"]);
  await child.waitFor(/"payload":"bye"\}\n/, "stdout");
  const after = await json<Outcome>("run", "hello", "-P", "who=after", "--wait");
  await child.waitFor(/hello after[\s\S]*"bye"/, "stdout");
  child.kill("SIGINT");
  const { code, stdout } = await child.finished;
  expect(code).toBe(0);
  expect(jsonLines(stdout).map((line) => [line.workflow_instance_id, line.payload])).toEqual([
    [before.workflow_instance_id, "hello before"],
    [before.workflow_instance_id, "bye"],
    [after.workflow_instance_id, "hello after"],
    [after.workflow_instance_id, "bye"],
  ]);
});

describe("db", () => {
  test("query: rows as a table and as objects", async () => {
    await ok("run", "hello", "--wait");
    const rows = await json<{ status: string; n: number }[]>(
      "db",
      "query",
      "SELECT status::VARCHAR AS status, count(*) AS n FROM workflow_runs WHERE workflow_id = 'hello' AND status = 'COMPLETED' GROUP BY 1",
    );
    expect(rows).toEqual([{ status: "COMPLETED", n: expect.any(Number) }]);
    expect(await json<unknown>("db", "query", "SELECT 1 AS a, NULL AS b, 'x' AS a")).toEqual([
      { a: 1, b: null, a_2: "x" },
    ]);
    expect((await ok("db", "query", "SELECT 'x' AS name, 10 AS size")).stdout).toBe(
      "name  size\nx       10\n",
    );
    expect((await cluster.cdktr(["db", "query", "-"], { stdin: "SELECT 42 AS answer" })).stdout).toContain(
      "42",
    );
    const cut = await ok("db", "query", "FROM range(100)", "--max-rows", "3");
    expect(linesOf(cut.stdout)).toHaveLength(4);
    expect(cut.stderr).toContain("only the first 3 rows");
    for (const sql of ["DROP TABLE logstore", "nonsense", "SELECT * FROM read_csv('/etc/passwd')"]) {
      expect((await cluster.cdktr(["db", "query", sql])).code).toBe(4);
    }
  });

  test("the SQL that the manual shows runs", async () => {
    for (const block of codeBlocks(findPage("logs-and-history")?.text ?? "")) {
      if (block.language === "sql") await ok("db", "query", block.text.replace(/;\s*$/, ""));
    }
  });

  test("backup: a database file, never over another one without --force", async () => {
    const file = join(cluster.directory, "copy.duckdb");
    const report = await json<{ bytes: number; sha256: string }>("db", "backup", file);
    const content = readFileSync(file);
    expect(content.length).toBe(report.bytes);
    expect(createHash("sha256").update(content).digest("hex")).toBe(report.sha256);
    expect(content.subarray(8, 12).toString()).toBe("DUCK");

    writeFileSync(file, "mine");
    const refused = await cluster.cdktr(["db", "backup", file]);
    expect(refused.code).toBe(4);
    expect(refused.stderr).toContain("--force");
    expect(readFileSync(file, "utf8")).toBe("mine");
    await ok("db", "backup", file, "--force");
    expect(readFileSync(file).subarray(8, 12).toString()).toBe("DUCK");
    expect((await cluster.cdktr(["db", "backup", join(cluster.directory, "no/such/dir/x")])).code).toBe(4);
  });

  test("export: one Parquet file a table", async () => {
    const directory = join(cluster.directory, "export");
    const files = await json<{ file: string; rows: number }[]>("db", "export", directory);
    expect(files.length).toBeGreaterThanOrEqual(3);
    for (const { file } of files) expect(readFileSync(file).subarray(0, 4).toString()).toBe("PAR1");
    expect(existsSync(join(directory, "logstore.parquet"))).toBe(true);
    expect((await cluster.cdktr(["db", "export", directory])).code).toBe(4);
    await ok("db", "export", directory, "--force");
  });
});

test("agents: list has the fields of the contract, drain ends an agent", async () => {
  const extra = await cluster.startAgent(["--suffix", "extra", "--label", "zone=b", "--label", "gpu=a=1"]);
  const agents = await json<Record<string, unknown>[]>("agents", "list");
  const found = agents.find(({ agent_id }) => String(agent_id).endsWith("-extra"));
  expect(Object.keys(found ?? {})).toEqual([
    "agent_id",
    "host",
    "status",
    "running_workflows",
    "running_tasks",
    "max_concurrent_workflows",
    "last_heartbeat_ms",
    "labels",
    "version",
    "survivors",
    "clock_ahead_ms",
  ]);
  expect(found).toMatchObject({ status: "UP", labels: { zone: "b", gpu: "a=1" }, running_workflows: 0 });
  expect((await ok("agents", "list")).stdout).toMatch(
    /-extra +UP +0\/5 .*zone=b gpu=a=1 arch=\S+ os=linux cores=\d+$/m,
  );

  const near = await cluster.cdktr(["agents", "drain", `${found?.agent_id}x`]);
  expect(near.code).toBe(4);
  expect(near.stderr).toContain(`Did you mean '${found?.agent_id}'?`);
  await ok("agents", "drain", String(found?.agent_id));
  expect((await extra.finished).code).toBe(0);
});

test("a filter that names no workflow says so; a run of an invalid file tells of the file", async () => {
  for (const words of [
    ["logs", "query"],
    ["runs", "list"],
  ]) {
    const { code, stdout, stderr } = await cluster.cdktr([...words, "--workflow", "helo"]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain("There is no workflow 'helo' now. Did you mean 'hello'?");
    expect((await cluster.cdktr([...words, "--workflow", "helo", "--json"])).stderr).toBe("");
  }
  cluster.writeWorkflow("etl/half-done.yml", "name: Half\n");
  await until(
    "the file is looked at",
    async () => (await cluster.client.info()).invalid_workflow_files.length > 0,
  );
  for (const words of [["run"], ["workflow", "show"]]) {
    const { code, stderr } = await cluster.cdktr([...words, "etl.half-done"]);
    expect(code).toBe(4);
    expect(stderr).toContain(
      'There is no workflow "etl.half-done": etl/half-done.yml is invalid and was not loaded',
    );
  }
});
