import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Cluster, cdktr, freePorts, startCluster } from "../support/cdktr.ts";
import { shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

let cluster: Cluster;
const directory = new TemporaryDirectory();

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "good.yml": shellWorkflow({ say: { sh: "echo to be seen" } }, "params:\n  day:\n    default: monday\n"),
      "bad.yml": shellWorkflow({ breaks: { sh: "echo about to break; exit 5" } }),
    },
  });
}, 60_000);
afterAll(async () => {
  await cluster?.stop();
  directory[Symbol.dispose]();
});

/** With --json, stdout is JSON and nothing else. */
async function json(...args: string[]): Promise<{ code: number; value: unknown }> {
  const { code, stdout } = await cluster.cdktr([...args, "--json"]);
  return { code, value: JSON.parse(stdout) };
}

describe("0: done", () => {
  test("a run that was waited for and completed; its JSON has the documented fields", async () => {
    const { code, value } = await json("task", "run", "good", "--wait");
    expect(code).toBe(0);
    expect(Object.keys(value as object).sort()).toEqual(
      ["attempt", "status", "tasks", "workflow_id", "workflow_instance_id"].sort(),
    );
    expect(value).toMatchObject({ workflow_id: "good", status: "COMPLETED", attempt: 1 });
    const [task] = (value as { tasks: object[] }).tasks;
    expect(Object.keys(task ?? {}).sort()).toEqual(
      ["agent_id", "exit_code", "finished_at_ms", "started_at_ms", "status", "task_id"].sort(),
    );
    expect(task).toMatchObject({ task_id: "say", status: "COMPLETED", exit_code: 0 });
  });

  test("a trigger without --wait, although the run will fail", async () => {
    const { code, value } = await json("task", "run", "bad");
    expect(code).toBe(0);
    expect(Object.keys(value as object).sort()).toEqual(["workflow_id", "workflow_instance_id"]);
  });

  test("lists: an array, with the documented fields", async () => {
    const runs = await json("runs", "list");
    expect(runs.code).toBe(0);
    expect(Object.keys((runs.value as object[])[0] ?? {})).toEqual(
      expect.arrayContaining([
        "workflow_id",
        "workflow_instance_id",
        "status",
        "trigger",
        "agent_id",
        "attempt",
        "created_at_ms",
        "started_at_ms",
        "finished_at_ms",
      ]),
    );
    const agents = await json("agents", "list");
    expect(Object.keys((agents.value as object[])[0] ?? {})).toEqual(
      expect.arrayContaining([
        "agent_id",
        "host",
        "status",
        "running_workflows",
        "max_concurrent_workflows",
        "last_heartbeat_ms",
        "labels",
        "version",
      ]),
    );
    const logs = await cluster.cdktr(["logs", "query", "--workflow", "good", "--json"]);
    expect(logs.code).toBe(0);
    const lines = logs.stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map((line) => line.payload)).toContain("to be seen");
    expect(Object.keys(lines[0])).toEqual([
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

  test("--follow shows what the task prints", async () => {
    const { code, stdout } = await cluster.cdktr(["run", "good", "--follow"]);
    expect(code).toBe(0);
    expect(stdout).toContain("to be seen");
  });
});

describe("1: the run did not complete", () => {
  for (const flag of ["--wait", "--follow"]) {
    test(`task run ${flag}`, async () => {
      const { code, stderr, stdout } = await cluster.cdktr(["task", "run", "bad", flag]);
      expect(code).toBe(1);
      expect(stdout + stderr).toContain("FAILED");
    });
  }
});

describe("2: wrong usage", () => {
  for (const args of [
    ["no-such-command"],
    ["runs", "lst"],
    ["runs", "list", "--no-such-option"],
    ["task", "run"],
    ["runs", "list", "-n", "many"],
    ["start", "agent", "--max-concurrent-workflows", "0"],
  ]) {
    test(args.join(" "), async () => {
      const { code, stderr, stdout } = await cluster.cdktr(args);
      expect(code).toBe(2);
      expect(stderr).not.toBe("");
      expect(stdout).toBe("");
    });
  }

  test("a setting that does not parse", async () => {
    const { code, stderr } = await cluster.cdktr(["runs", "list"], { env: { CDKTR_PRINCIPAL_PORT: "many" } });
    expect(code).toBe(2);
    expect(stderr).toContain("CDKTR_PRINCIPAL_PORT");
  });
});

describe("3: no reply", () => {
  test("says at which address, after how long", async () => {
    const [port] = await freePorts(1);
    for (const args of [
      ["runs", "list"],
      ["task", "run", "good"],
      ["agents", "list", "--json"],
    ]) {
      const { code, stderr, stdout } = await cdktr(args, {
        env: { CDKTR_PRINCIPAL_PORT: String(port), CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "200" },
      });
      expect(code).toBe(3);
      expect(stderr).toContain(`127.0.0.1:${port}`);
      expect(stderr).toContain("0.2 s");
      expect(stdout).toBe("");
    }
  });
});

describe("4: not found or invalid", () => {
  for (const args of [
    ["task", "run", "goood"],
    ["task", "run", "good", "-P", "dya=tuesday"],
    ["workflow", "show", "goood"],
    ["runs", "show", "no-such-run"],
    ["runs", "cancel", "no-such-run"],
    ["workflow", "validate", "no-such-file.yml"],
  ]) {
    test(args.join(" "), async () => {
      const { code, stderr } = await cluster.cdktr(args);
      expect(stderr).not.toBe("");
      expect(code).toBe(4);
    });
  }

  test("an invalid file, shown with its place", async () => {
    const file = directory.path("broken.yml");
    await Bun.write(
      file,
      "name: x\ntasks:\n  one:\n    name: One\n    depnds: []\n    config: !Subprocess\n      cmd: ls\n",
    );
    const { code, stderr, stdout } = await cdktr(["workflow", "validate", file]);
    expect(code).toBe(4);
    const shown = stdout + stderr;
    expect(shown).toContain("broken.yml:5:5");
    expect(shown).toContain("depends");
  });
});
