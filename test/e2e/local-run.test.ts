/** `cdktr run FILE.yml`, as somebody uses it who has nothing but the executable. */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { CDKTR, CdktrProcess, cdktr } from "../support/cdktr.ts";
import { processesWith, TemporaryDirectory, until } from "./support/fixtures.ts";

const directory = new TemporaryDirectory();
const work = directory.path("work");
const temporary = directory.path("tmp");
const env = { TMPDIR: temporary, HOME: directory.path("home") };
mkdirSync(work);
mkdirSync(temporary);
afterAll(() => directory[Symbol.dispose]());

function file(name: string, text: string): string {
  writeFileSync(`${work}/${name}`, text);
  return name;
}

const run = (...args: string[]) => cdktr(["run", ...args], { cwd: work, env });
const begin = (...args: string[]) => new CdktrProcess(["run", ...args], { cwd: work, env });

file("hello.yml", "tasks:\n  hello:\n    run: echo hello\n");

describe("a run", () => {
  test("shows what tasks print, and how it ended; nothing stays", async () => {
    const before = readdirSync(work);
    const { code, stdout, stderr } = await run("hello.yml");
    expect(stdout.split("\n")).toEqual([
      expect.stringMatching(/^\d\d:\d\d:\d\d\.\d{3} hello │ hello$/),
      expect.stringMatching(/^COMPLETED hello in \S+$/),
      expect.stringMatching(/^ {2}TASK +STATUS +TOOK +EXIT$/),
      expect.stringMatching(/^ {2}hello +COMPLETED +\S+ +0$/),
      "",
    ]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(readdirSync(temporary)).toEqual([]);
    expect(existsSync(`${env.HOME}/.cdktr`)).toBe(false);
    expect(readdirSync(work)).toEqual(before);
  });

  test("for programs: as 'run --wait --json' of a principal, and with --follow each line before", async () => {
    file("twice.yml", "tasks:\n  a: {run: echo one}\n  b: {depends: [a], run: exit 3}\n");
    const { code, stdout, stderr } = await run("twice.yml", "--json");
    const outcome = JSON.parse(stdout);
    expect([code, stderr]).toEqual([1, ""]);
    expect(outcome).toEqual({
      workflow_id: "twice",
      workflow_instance_id: expect.any(String),
      status: "FAILED",
      attempt: 1,
      tasks: [
        ["a", "COMPLETED", 0],
        ["b", "FAILED", 3],
      ].map(([task_id, status, exit_code]) => ({
        task_id,
        status,
        exit_code,
        started_at_ms: expect.any(Number),
        finished_at_ms: expect.any(Number),
        agent_id: null,
      })),
    });
    const followed = await run("twice.yml", "--json", "--follow");
    const [line, end] = followed.stdout
      .trim()
      .split("\n")
      .map((text) => JSON.parse(text));
    expect([line.task_name, line.payload, end.status]).toEqual(["a", "one", "FAILED"]);
    const waited = await run("twice.yml", "--wait");
    expect(waited.stdout).toStartWith("FAILED twice in ");
  });

  test("settings of the directories above apply, and ids are those of a principal", async () => {
    mkdirSync(`${work}/workflows/etl`, { recursive: true });
    file("workflows/_cdktr.yml", "defaults: {env: {GREETING: hi}}\n");
    file("workflows/etl/daily.yml", 'tasks: {a: {run: echo "$GREETING from $CDKTR_WORKFLOW_ID"}}\n');
    const { stdout } = await run("workflows/etl/daily.yml");
    expect(stdout).toContain("│ hi from etl.daily\n");
    file("workflows/_cdktr.yml", "defaults: {envs: {GREETING: hi}}\n");
    const broken = await run("workflows/etl/daily.yml");
    expect([broken.code, broken.stderr]).toEqual([4, expect.stringContaining("workflows/_cdktr.yml:1:12")]);
    expect(broken.stderr).toContain("error: workflows/_cdktr.yml is not valid: nothing was run.");
  });
});

describe("what cannot be run", () => {
  file(
    "params.yml",
    "params:\n  day: {type: int}\ntasks:\n  a: {runs_on: {gpu: a100}, run: echo day $CDKTR_PARAM_DAY}\n",
  );
  file("limits.yml", 'concurrency: 1\ntasks:\n  a: {pool: db, run: "true"}\n');
  file("files.yml", 'files: ["*.sql"]\ntasks: {a: {run: "true"}}\n');
  file("bad.yml", "tasks:\n  a:\n    rum: echo\n");
  const table: readonly [args: string[], code: number, stderr: string][] = [
    [
      ["missing.yml"],
      4,
      "error: There is no file missing.yml.\nhint: A path is a file of this host. A workflow of the principal is named by its id: 'cdktr run missing'.\n",
    ],
    [["bad.yml"], 4, "error: bad.yml is not valid: nothing was run.\n"],
    [["params.yml"], 4, 'error: workflow "params": missing parameter "day"\nhint: give -P day=VALUE\n'],
    [
      ["params.yml", "-P", "day=x"],
      4,
      'error: workflow "params": parameter "day" must be a whole number, not "x"',
    ],
    [
      ["hello.yml", "--in", "1h"],
      2,
      "error: --in needs a workflow of a principal, and hello.yml is a file, which is run here and now.\nhint: Give the id of the workflow, such as hello: 'cdktr workflow list' shows them.\n",
    ],
    [
      ["./hello.yml", "--principal", "127.0.0.1:1"],
      2,
      "error: --principal needs a workflow of a principal, and ./hello.yml is a file",
    ],
    [["files.yml"], 4, 'files.yml: error[E090]: "files": no file matches "*.sql"'],
    [["./"], 4, "error: ./ is not valid: nothing was run."],
  ];
  test.each(table)("%p", async (args, code, stderr) => {
    const ended = await run(...args);
    expect([ended.code, ended.stdout]).toEqual([code, ""]);
    expect(ended.stderr).toContain(stderr);
    if (args[0] === "bad.yml") expect(ended.stderr).toContain("bad.yml:3:5");
  });

  test("an id that is also a file here: without a principal, the file is named", async () => {
    const { code, stderr } = await run("hello", "--principal", "127.0.0.1:1");
    expect([code, stderr]).toEqual([
      3,
      expect.stringContaining("hint: 'cdktr run hello.yml' runs the file here, without a principal. "),
    ]);
  });

  test("labels of agents are told, and are no obstacle", async () => {
    const { code, stdout, stderr } = await run("params.yml", "-P", "day=7");
    expect([code, stderr]).toEqual([0, "warning: a is for agents with gpu=a100; it runs here now.\n"]);
    expect(stdout).toContain("│ day 7\n");
  });

  test("what limits the runs of a principal is told, and is no obstacle", async () => {
    const { code, stderr } = await run("limits.yml");
    const warning = "warning: concurrency and pool limit what a principal runs; this runs here now.\n";
    expect([code, stderr]).toEqual([0, warning]);
  });
});

describe("its end before its time", () => {
  file(
    "long.yml",
    `tasks:
  polite: {run: "echo up; sleep 1000"}
  stubborn: {grace: 1h, run: "trap '' TERM; echo up; while :; do sleep 0.01; done"}
`,
  );
  file(
    "polite.yml",
    `tasks: {a: {run: 'echo up; sleep 1000'}}
hooks: {on_cancel: {run: 'echo "$CDKTR_RUN_STATUS"'}}
`,
  );
  const ofTest = () => processesWith(`TMPDIR=${temporary}`);

  test("Ctrl-C cancels it, and its hooks run; once more, and everything is killed", async () => {
    const polite = begin("polite.yml");
    await polite.waitFor(/│ up/, "stdout");
    polite.kill("SIGINT");
    const { code, stdout } = await polite.finished;
    expect([code, stdout]).toEqual([1, expect.stringMatching(/on_cancel │ CANCELLED\nCANCELLED polite in /)]);
    const long = begin("long.yml");
    await long.waitFor(/up[\s\S]*up/, "stdout");
    long.kill("SIGINT");
    await long.waitFor(/stubborn +│ Stopped: the run was cancelled/, "stdout");
    long.kill("SIGINT");
    const ended = await long.finished;
    expect([ended.code, ended.stdout]).toEqual([
      1,
      expect.stringMatching(/stubborn +CANCELLED +\S+ +SIGKILL/),
    ]);
    await until("nothing is left", () => ofTest().length === 0 && readdirSync(temporary).length === 0);
  });

  test("after kill -9, nothing lives on, and nothing is left on the disk", async () => {
    await using polite = begin("polite.yml");
    await polite.waitFor(/│ up/, "stdout");
    polite.kill("SIGKILL");
    await until("nothing is left", () => ofTest().length === 0 && readdirSync(temporary).length === 0);
  });

  test("a reader that goes does not end it", async () => {
    const done = directory.path("done");
    file(
      "print.yml",
      `tasks: {a: {run: 'for n in $(seq 2000); do echo "line $n of very many"; done; touch ${done}'}}\n`,
    );
    const piped = ["-c", '"$@" | head -1', "sh", ...CDKTR, "run", "print.yml"];
    const ended = await cdktr(piped, { cwd: work, env, program: "/bin/sh" });
    expect(ended.stdout).toMatch(/line 1 of very many\n$/);
    await until("it has come to its end", () => existsSync(done));
  });
});
