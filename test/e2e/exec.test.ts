/** `cdktr exec` in front of somebody else's command, on the compiled executable. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { gate, linesOf, processesWith, runOver, until } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({ env: PATIENT });
});
afterAll(() => cluster?.stop());

const place = (name: string) => join(cluster.directory, name);
const exec = (...args: string[]) => cluster.cdktr(["exec", ...args]);

async function onlyRun(workflow: string): Promise<RunDetails> {
  return until(`a run of ${workflow}`, async () => {
    const [run, another] = await cluster.client.listRuns({ limit: 2, workflow_id: workflow });
    expect(another).toBeUndefined();
    return run === undefined ? undefined : runOver(cluster.client, run.workflow_instance_id);
  });
}

async function linesIn(run: RunDetails): Promise<unknown[]> {
  const { rows } = await cluster.client.queryDatabase({
    sql: `SELECT level, payload FROM logstore WHERE workflow_instance_id = '${run.workflow_instance_id}' ORDER BY ALL`,
  });
  return rows;
}

test("the command runs as without it, and is a run of the history", async () => {
  const words = ["$HOME", "${{ run.id }}", "two words", ""];
  const script = 'pwd; printf "[%s]" "$@"; echo; echo oops >&2; exit 3';
  const { code, stdout, stderr } = await exec(
    "--name",
    "nightly.sync",
    "--",
    "sh",
    "-c",
    script,
    "sh",
    ...words,
  );
  expect([code, stderr]).toEqual([3, "oops\n"]);
  expect(stdout.split("\n").slice(1)).toEqual([words.map((word) => `[${word}]`).join(""), ""]);
  const run = await onlyRun("nightly.sync");
  expect(run).toMatchObject({ status: "FAILED", trigger: "exec", attempt: 1 });
  expect(run.agent_id).toEndWith("-exec");
  expect(run.tasks).toMatchObject([{ task_id: "command", status: "FAILED", exit_code: 3 }]);
  expect(run.tasks[0]?.cpu_ms).toBeGreaterThan(0);
  expect(await linesIn(run)).toEqual([
    ["ERROR", "oops"],
    ...stdout
      .trim()
      .split("\n")
      .map((line) => ["INFO", line])
      .sort(),
  ]);
  const again = await cluster.cdktr(["runs", "retry", run.workflow_instance_id]);
  expect(again.code).toBe(1);
  expect(again.stderr).toContain("(cdktr exec): it cannot be retried from here.");
  expect((await cluster.cdktr(["agents", "list", "--json"])).stdout.trim()).toBe("[]");
});

test.each([
  ["that cannot be started", ["/nonexistent/program"], 127, "FAILED"],
  ["that a signal ends", ["sh", "-c", "kill -KILL $$"], 137, "FAILED"],
])("a command %s has the exit status of a shell", async (_, argv, status, end) => {
  const name = `ends.${status}`;
  expect((await exec("--name", name, "--", ...argv)).code).toBe(status);
  expect((await onlyRun(name)).status).toBe(end as RunDetails["status"]);
});

test("wrong command lines run nothing", async () => {
  const none = await exec("--name", "nothing");
  expect([none.code, none.stderr]).toEqual([2, expect.stringContaining("There is no command to run.")]);
  const name = await exec("--name", "two words", "--", "touch", place("touched"));
  expect([name.code, name.stderr]).toEqual([2, expect.stringContaining("--name two words")]);
  expect(linesOf(place("touched"))).toEqual([]);
});

test("while it runs, it can be followed and cancelled; several at once", async () => {
  const open = place("open");
  const both = [1, 2].map((n) => exec("--name", `gated.${n}`, "--", "sh", "-c", gate(open)));
  const runs = await until("both are RUNNING", async () => {
    const running = await cluster.client.listRuns({ limit: 10, status: "RUNNING" });
    return running.length === 2 ? running : undefined;
  });
  expect(new Set(runs.map(({ agent_id }) => agent_id)).size).toBe(2);
  const second = runs.find(({ workflow_id }) => workflow_id === "gated.2");
  await cluster.client.cancelRun(second?.workflow_instance_id ?? "");
  expect((await both[1])?.code).toBe(143);
  writeFileSync(open, "");
  const first = await both[0];
  expect([first?.code, first?.stdout]).toEqual([0, "waiting\npassed\n"]);
  expect((await onlyRun("gated.2")).status).toBe("CANCELLED");
  expect((await onlyRun("gated.1")).status).toBe("COMPLETED");
});

test("while the principal is away, and when exec itself is killed: all of it arrives once, later", async () => {
  await cluster.principal?.stop();
  const away = cluster.spawn(["exec", "--name", "dark", "--", "sh", "-c", "echo in the dark; exit 4"]);
  const { code, stdout, stderr } = await away.finished;
  expect([code, stdout]).toEqual([4, "in the dark\n"]);
  expect(stderr).toContain("does not have all of this run yet: it waits in ");
  const mark = `killed-${crypto.randomUUID()}`;
  const words = ["--name", "killed", "--", "sh", "-c", `echo begun; sleep 600; : ${mark}`];
  const killed = cluster.spawn(["exec", ...words]);
  await killed.waitFor(/begun/, "stdout");
  killed.kill("SIGKILL");
  await killed.finished;
  await cluster.startPrincipal();
  await cluster.startAgent();
  const dark = await onlyRun("dark");
  expect(dark).toMatchObject({ status: "FAILED", tasks: [{ exit_code: 4 }] });
  expect(await linesIn(dark)).toEqual([["INFO", "in the dark"]]);
  const lost = await onlyRun("killed");
  expect(lost.status).toBe("CRASHED");
  expect(await linesIn(lost)).toEqual([["INFO", "begun"]]);
  await until("what it left has ended", async () => processesWith(mark).length === 0 || undefined);
});

test("without a place for the record the command runs all the same", async () => {
  writeFileSync(place("file"), "");
  const { code, stdout, stderr } = await exec(
    "--agent-data",
    place("file"),
    "--",
    "sh",
    "-c",
    "echo anyway; exit 5",
  );
  expect([code, stdout]).toEqual([5, "anyway\n"]);
  expect(stderr).toContain("The run cannot be recorded: ");
});
