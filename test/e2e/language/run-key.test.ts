/** Tasks with `run`, as a user writes them, on the executable. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { PATIENT, trigger } from "../failures/support.ts";
import { BINARY, COMPILED, gate, linesOf, processesWith, runOver, until } from "../support/fixtures.ts";

let cluster: Cluster;
const at = (name: string) => join(cluster.directory, name);
const runsOf = (suffix: string) => join(cluster.dataDirectory, "agents", `${hostname()}-${suffix}`, "runs");
/** Directories of runs, without those that are being removed. */
const directories = (suffix: string) => readdirSync(runsOf(suffix)).filter((name) => /^\w[^.]*$/.test(name));

beforeAll(async () => {
  cluster = await startCluster({ env: PATIENT, agents: 1 });
}, 60_000);
afterAll(() => cluster?.stop());

async function linesOfRun(run: string, task: string): Promise<string[]> {
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run });
  return rows.filter((row) => row[3] === task).map((row) => row[7]);
}

test("three lines are a workflow", async () => {
  cluster.writeWorkflow("hello.yml", "tasks:\n  hello:\n    run: echo hello\n");
  await until("it is loaded", async () => "hello" in (await cluster.client.listWorkflows()));
  const { code, stdout } = await cluster.cdktr(["run", "hello", "--follow"]);
  expect([code, stdout]).toEqual([0, expect.stringMatching(/hello │ hello\n/)]);
  const shown = await cluster.cdktr(["workflow", "show", "hello"]);
  expect(shown.stdout).toMatch(/hello +hello +- +Shell +echo hello /);
});

test("tasks share a directory of the run, stdin and interpreters are what the file says, and no script is in ps", async () => {
  const open = at("open");
  cluster.writeWorkflow(
    "work.yml",
    `tasks:
  make:
    stdin: |
      one "two" $three
    run: |
      cat > rows.csv
      pwd
      ${gate(open)} # unmistakable
  read:
    depends: [make]
    shell: python3
    run: |
      import os
      print(repr(open("rows.csv").read()), os.getcwd() == os.environ["CDKTR_RUN_DIRECTORY"])
  fail:
    depends: [read]
    grace: 1s
    run: |
      echo kept > found
      false | true
      echo never
`,
  );
  await until("it is loaded", async () => "work" in (await cluster.client.listWorkflows()));
  const run = await trigger(cluster, "work");
  await until("it waits", async () => (await linesOfRun(run, "make")).includes("waiting"));
  const running = processesWith(`CDKTR_WORKFLOW_INSTANCE_ID=${run}`);
  expect(running.length).toBeGreaterThan(0);
  for (const pid of running) {
    let commandLine = "";
    try {
      commandLine = readFileSync(`/proc/${pid}/cmdline`, "latin1");
    } catch {
      continue; // A sleep that has ended.
    }
    expect(commandLine).not.toContain("unmistakable");
  }
  writeFileSync(open, "");
  const over = await runOver(cluster.client, run);
  expect([over.status, over.error]).toEqual(["FAILED", "failed: fail"]);
  const directory = join(runsOf("agent-1"), `${run}-1`);
  expect(await linesOfRun(run, "make")).toEqual([directory, "waiting", "passed"]);
  expect(await linesOfRun(run, "read")).toEqual([String.raw`'one "two" $three\n' True`]);
  expect(await linesOfRun(run, "fail")).toEqual([]);
  // Kept for whoever looks for the reason; that of the run before, which completed, is not.
  expect(readFileSync(join(directory, "found"), "utf8")).toBe("kept\n");
  await until("nothing else is kept", () => directories("agent-1").join() === `${run}-1`);
});

test("!Bun runs TypeScript with the executable itself, whose children are cdktr again", async () => {
  cluster.writeWorkflow(
    "bun.yml",
    `tasks:
  a:
    env: {PATH: /nowhere, SELF: ${JSON.stringify(COMPILED ? BINARY : "")}}
    config: !Bun
      args: ["$(x)", "--version"]
      code: |
        import { join } from "node:path";
        const words: string[] = process.argv.slice(2);
        console.log(words, process.env.BUN_BE_BUN, join("a", "b"));
        // As Bun it would look for a script of this name.
        const isCdktr = !process.env.SELF || Bun.spawnSync([process.env.SELF, "version"]).success;
        console.log(isCdktr);
`,
  );
  await until("it is loaded", async () => "bun" in (await cluster.client.listWorkflows()));
  const run = await trigger(cluster, "bun");
  expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
  expect(await linesOfRun(run, "a")).toEqual(['[ "$(x)", "--version" ] undefined a/b', "true"]);
});

test("limits are those of the task alone, and its log says how they are enforced", async () => {
  cluster.writeWorkflow(
    "limits.yml",
    `tasks:
  hog:
    shell: python3
    limits: {memory: 64MiB}
    run: x = bytearray(200 * 1024 * 1024)
  next:
    depends: {hog: failed}
    shell: python3
    run: print(len(bytearray(200 * 1024 * 1024)))
`,
  );
  await until("it is loaded", async () => "limits" in (await cluster.client.listWorkflows()));
  const run = await trigger(cluster, "limits");
  const over = await runOver(cluster.client, run);
  expect(over.tasks.find(({ task_id }) => task_id === "hog")).toMatchObject({
    status: "FAILED",
    error: expect.stringMatching(/^(exit status 1: MemoryError|exceeded its memory limit of 64MiB)$/),
  });
  expect((await linesOfRun(run, "hog"))[0]).toMatch(
    /^limits: memory 64MiB by (RLIMIT_DATA, for each process|cgroup)\.$/,
  );
  expect(await linesOfRun(run, "next")).toEqual(["209715200"]);
});

test("a directory of a run that agents share goes when the run is over, whichever of them ends it", async () => {
  cluster.writeWorkflow(
    "shared.yml",
    `tasks:
  first: {runs_on: {zone: x}, run: "echo a > file; pwd"}
  middle: {depends: [first], run: "ls; ${gate(at("shared"))}"}
  last: {depends: [middle], runs_on: {zone: x}, run: "cat file"}
`,
  );
  await until("it is loaded", async () => "shared" in (await cluster.client.listWorkflows()));
  const x = await cluster.startAgent(["--suffix", "x", "--label", "zone=x"]);
  const run = await trigger(cluster, "shared");
  await until("it waits in the middle", async () => (await linesOfRun(run, "middle")).includes("waiting"));
  // Only the principal knows that there is more for it to come.
  expect(directories("x")).toContain(run);
  writeFileSync(at("shared"), "");
  expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
  expect(await linesOfRun(run, "last")).toEqual(["a"]);
  await until("both have removed it", () =>
    ["x", "agent-1"].every((suffix) => !directories(suffix).includes(run)),
  );
  x.kill("SIGTERM");
  await x.finished;
});

test("an agent that was killed leaves nothing: the next attempt has a new directory and a new script", async () => {
  const [witness, open] = [at("witness"), at("again")];
  cluster.writeWorkflow(
    "killed.yml",
    `tasks:
  a:
    runs_on: {zone: k}
    run: |
      echo "$CDKTR_RUN_ATTEMPT $(ls | wc -l) $CDKTR_RUN_DIRECTORY $0" >> ${witness}
      touch left
      ${gate(open)}
`,
  );
  await until("it is loaded", async () => "killed" in (await cluster.client.listWorkflows()));
  const agent = await cluster.startAgent(["--suffix", "k", "--label", "zone=k"]);
  const run = await trigger(cluster, "killed");
  await until("it runs", () => linesOf(witness).length === 1);
  agent.kill("SIGKILL");
  await agent.finished;
  await cluster.startAgent(["--suffix", "k", "--label", "zone=k"]);
  writeFileSync(open, "");
  const over = await runOver(cluster.client, run);
  expect([over.status, over.attempt]).toEqual(["COMPLETED", 2]);
  const [first, second] = linesOf(witness).map((line) => line.split(" "));
  expect([first?.slice(0, 2), second?.slice(0, 2)]).toEqual([
    ["1", "0"],
    ["2", "0"],
  ]);
  expect(second?.[2]).not.toBe(first?.[2]);
  await until("nothing is left", () =>
    [first, second].every((line) => !existsSync(line?.[2] ?? "") && !existsSync(line?.[3] ?? "")),
  );
});
