/** Tasks with a script: its file, its interpreter, the run's own directory; stdin, env_file and grace. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TaskConfig } from "../../src/workflow/model.ts";
import { assignmentOf, Bench, isRunning, until, workflowOf } from "./support/bench.ts";

const shell = (script: string, more: { shell?: string; working_directory?: string } = {}): TaskConfig => ({
  type: "Shell",
  script,
  shell: null,
  working_directory: null,
  ...more,
});

/** What is in the directories of tries, and in those of runs. */
const leftIn = (bench: Bench) =>
  ["tasks", "runs"].flatMap((name) => readdirSync(join(bench.directory, "data", name)));

describe("a script", () => {
  test("is a private file with the name of the task, and gone afterwards; nobody sees it among the arguments", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      look: {
        config: shell(
          `echo "$0"; stat -c %a "$0" "$(dirname "$0")"; tr '\\0' ' ' < /proc/$$/cmdline; echo; id=secret-word; readlink /proc/self/fd/0`,
        ),
      },
    });
    const [path = "", ...rest] = outcome.log("look").map((line) => line.slice(5));
    expect(path).toMatch(/\/data\/tasks\/[0-9a-f-]+-1\.given\/look\.sh$/);
    expect(rest).toEqual([
      "600",
      "700",
      expect.stringMatching(/^\S*\/bash -euo pipefail \S+\/look\.sh $/),
      "/dev/null",
    ]);
    await until(() => leftIn(bench).length === 0, "everything is removed");
  });

  test.each([
    ["a command that fails", "false; echo on", "exit status 1"],
    ["a part of a pipe that fails", "false | cat; echo on", "exit status 1"],
    [
      "a variable that is not set",
      "echo $NO_SUCH_VARIABLE_HERE; echo on",
      /^exit status 1: .*unbound variable/,
    ],
  ])("ends with %s", async (_, script, error) => {
    using bench = new Bench();
    const outcome = await bench.run({ a: { config: shell(script) } });
    expect(outcome.log("a").some((line) => line.endsWith(" on"))).toBe(false);
    expect(outcome.last("a").error).toEqual(typeof error === "string" ? error : expect.stringMatching(error));
  });

  test("may have any text", async () => {
    using bench = new Bench();
    const text = `'"\`$(echo no) \\ %s é € 𝄞 -rf -- ${"x".repeat(200_000)}`;
    const outcome = await bench.run({ a: { config: shell(`cat <<'END' | wc -c\n${text}\nEND\n`) } });
    expect(outcome.log("a")).toEqual([`INFO ${Buffer.byteLength(text) + 1}`]);
  });

  test("is for the interpreter that the task names, with its options", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      py: {
        config: shell("import sys, os\nprint(sys.argv[0][-5:], os.environ['PYTHONUNBUFFERED'])", {
          shell: "python3",
        }),
      },
      isolated: { config: shell("import sys\nprint(sys.flags.isolated)", { shell: "python3 -I" }) },
      env: { config: shell("print(1)", { shell: "/usr/bin/env python3" }) },
      sh: { config: shell("false | true; echo $-", { shell: "sh" }) },
      lax: { config: shell("false; echo on", { shell: "bash --norc" }) },
      cat: { config: shell("some\ntext", { shell: "cat" }) },
    });
    expect(outcome.log("py")).toEqual(["INFO -1.py 1"]);
    expect(outcome.log("isolated")).toEqual(["INFO 1"]);
    expect(outcome.log("env")).toEqual(["INFO 1"]);
    expect(outcome.log("sh")).toEqual([expect.stringMatching(/^INFO (eu|ue)/)]);
    expect(outcome.log("lax")).toEqual(["INFO on"]);
    expect(outcome.log("cat")).toEqual(["INFO some", "INFO text"]);
  });

  test("runs with sh where there is no bash, and says what is missing", async () => {
    using bench = new Bench({ environment: { PATH: "/nowhere" } });
    const only = join(bench.directory, "bin");
    mkdirSync(only);
    for (const program of ["sh", "tr"])
      writeFileSync(join(only, program), `#!/bin/sh\nexec /bin/${program} "$@"\n`, { mode: 0o755 });
    const outcome = await bench.run({
      sh: { config: shell('/usr/bin/tr "\\0" " " < /proc/$$/cmdline'), env: { PATH: only } },
      none: { config: shell("echo") },
      zsh: { config: shell("echo", { shell: "zsh -f" }) },
      path: { config: shell("echo", { shell: "./mine" }) },
    });
    expect(outcome.log("sh")).toEqual([expect.stringMatching(/sh -eu \S+\/sh\.sh $/)]);
    expect(outcome.log("none")).toEqual([
      "ERROR Cannot start: there is no bash and no sh in PATH.",
      "ERROR PATH is /nowhere. Install one of them, set PATH under env, or name another interpreter with shell.",
    ]);
    const hint =
      "ERROR shell names the interpreter of the script; install it on this host or choose another.";
    expect(outcome.log("zsh")).toEqual(['ERROR "zsh" was not found in /nowhere.', hint]);
    expect(outcome.log("path")).toEqual([
      expect.stringMatching(/\/runs\/[0-9a-f-]+\/mine does not exist\.$/),
      hint,
    ]);
  });

  test("that cannot be written fails its task with the reason", async () => {
    using bench = new Bench();
    // A file in place of the directory that the run would have.
    const run = assignmentOf(workflowOf({ a: { config: shell("echo") } }));
    const tasks = join(bench.directory, "data", "tasks");
    const slice = bench.prepare(run);
    Bun.spawnSync(["sh", "-c", `rm -r "${tasks}"; : > "${tasks}"`]);
    slice.start();
    const outcome = bench.outcome(run, await slice.over);
    expect(outcome.last("a").error).toMatch(/^The script of the task cannot be written to \S+\/a\.sh: /);
  });
});

const bun = (more: {
  code?: string;
  script_path?: string;
  args?: string[];
  working_directory?: string;
}): TaskConfig => ({
  type: "Bun",
  script_path: null,
  code: null,
  args: [],
  working_directory: null,
  ...more,
});

describe("!Bun", () => {
  test("runs TypeScript where nothing is installed, with its arguments, among the files of the run", async () => {
    using bench = new Bench({ environment: { PATH: "/nowhere", HOME: "/nowhere" } });
    const outcome = await bench.run({
      make: { config: bun({ code: "await Bun.write('helper.ts', 'export const two: number = 2;');" }) },
      use: {
        depends: ["make"],
        config: bun({
          code: `import { two } from "./helper.ts";
            const name: string = "O'Neil";
            console.log(name, two, process.argv.slice(2), process.cwd() === process.env.CDKTR_RUN_DIRECTORY);
            console.log(Object.keys(process.env).filter((key) => key.startsWith("BUN")));
            throw new Error("the end");`,
          args: ["-rf", "$(x)", "--help"],
        }),
      },
      script: { depends: ["make"], config: bun({ script_path: "helper.ts" }) },
      none: { config: bun({ script_path: "missing.ts" }) },
    });
    expect(outcome.log("use").filter((line) => line.startsWith("INFO"))).toEqual([
      `INFO O'Neil 2 [ "-rf", "$(x)", "--help" ] true`,
      "INFO []",
    ]);
    expect(outcome.last("use").error).toMatch(/^exit status 1: /);
    expect(outcome.statuses("script")).toEqual(["RUNNING", "COMPLETED"]);
    expect(outcome.log("none")).toEqual([
      expect.stringMatching(/^ERROR The script \S+\/runs\/\S+\/missing\.ts does not exist\.$/),
      "ERROR script_path is relative to the working directory of the task, which is by default the run's own.",
    ]);
  });

  test("is not passed on to the programs that it starts, and files around it do not change it", async () => {
    using bench = new Bench();
    const show = "['sh', '-c', 'echo $0 ${BUN_BE_BUN-none}', NAME]";
    const spawned = ["Bun.spawnSync(WORDS)", "Bun.spawnSync({cmd: WORDS})"].map(
      (call, n) =>
        `console.log(${call.replace("WORDS", show.replace("NAME", `"${n}"`))}.stdout.toString().trim());`,
    );
    const outcome = await bench.run({
      make: {
        config: shell(
          "echo 'preload = [\"./evil.ts\"]' > bunfig.toml; echo 'console.log(\"evil\")' > evil.ts; echo EVIL=1 > .env",
        ),
      },
      a: {
        depends: ["make"],
        config: bun({
          code: `${spawned.join("\n")}
            import { spawnSync } from "node:child_process";
            console.log(spawnSync("sh", ["-c", "echo \${BUN_BE_BUN-none}"]).stdout.toString().trim(), process.env.EVIL);
            console.log(await Bun.$\`echo \${process.env.BUN_BE_BUN ?? "none"}\`.text().then((text) => text.trim()));`.replaceAll(
            "\\",
            "",
          ),
        }),
      },
    });
    expect(outcome.log("a")).toEqual(["INFO 0 none", "INFO 1 none", "INFO none undefined", "INFO none"]);
    await until(() => leftIn(bench).length === 0, "everything is removed");
  });
});

describe("!UvPython with a script", () => {
  const uv = (more: { script: string; python?: string; packages?: string[] }): TaskConfig => ({
    type: "UvPython",
    script_path: "",
    args: ["x y"],
    packages: [],
    is_uv_project: false,
    working_directory: null,
    uv_path: "./uv",
    ...more,
  });

  test("passes it as a file among those of the run, with the version of Python", async () => {
    using bench = new Bench();
    const fake =
      'echo \'#!/bin/sh\nfor word; do echo "$word"; done; cat "$1"\' > uv; chmod +x uv; touch helper.py';
    const outcome = await bench.run({
      make: { config: shell(fake) },
      a: { depends: ["make"], config: uv({ script: "import helper\n", python: "3.12", packages: ["p"] }) },
    });
    const words = outcome.log("a").map((line) => line.replace(/^\w+ /, ""));
    expect(words.slice(0, 4)).toEqual(["run", "--python=3.12", "--with", "p"]);
    expect(words.slice(4, 6)).toEqual([expect.stringMatching(/\/runs\/[^/]+\/\.a-[0-9a-f-]+-1\.py$/), "x y"]);
  });
});

describe("the run's own directory", () => {
  test("is shared by the tasks of a run, fresh for each attempt, and private", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      first: { config: shell('pwd; stat -c %a .; echo data > file; echo "$CDKTR_RUN_DIRECTORY"') },
      second: { config: shell("cat file; pwd"), depends: ["first"] },
      deeper: { config: shell("pwd", { working_directory: "sub" }), depends: ["make"] },
      make: { config: shell("mkdir sub"), depends: ["second"] },
      // Others start where they always did.
      other: { run: 'pwd; cat "$CDKTR_RUN_DIRECTORY/file"', depends: ["first"] },
    });
    const path = join(bench.directory, "data", "runs", `${outcome.runReports[0]?.workflow_instance_id}-1`);
    expect(outcome.log("first")).toEqual([`INFO ${path}`, "INFO 700", `INFO ${path}`]);
    expect(outcome.log("second")).toEqual(["INFO data", `INFO ${path}`]);
    expect(outcome.log("deeper")).toEqual([`INFO ${path}/sub`]);
    expect(outcome.log("other")).toEqual([`INFO ${bench.directory}`, "INFO data"]);
    await until(() => leftIn(bench).length === 0, "everything is removed");
  });

  test("is not made for tasks that do not start there", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ a: { run: 'ls -d "$CDKTR_RUN_DIRECTORY"' } });
    expect(outcome.end).toBe("FAILED");
    expect(readdirSync(join(bench.directory, "data", "runs"))).toEqual([]);
  });

  test("of a run that failed is kept, and of one that was cancelled is not", async () => {
    using bench = new Bench();
    const failed = await bench.run({ a: { config: shell("echo found > it; exit 3") } });
    const id = failed.runReports[0]?.workflow_instance_id;
    expect(readFileSync(join(bench.directory, "data", "runs", `${id}-1`, "it"), "utf8")).toBe("found\n");

    const run = assignmentOf(workflowOf({ a: { config: shell("touch up; sleep 60") } }));
    const slice = bench.prepare(run);
    slice.start();
    await until(() => existsSync(join(bench.context.directories.of(run).path, "up")), "it runs");
    slice.stop("cancelled");
    expect(await slice.over).toBe("CANCELLED");
    expect(existsSync(bench.context.directories.of(run).path)).toBe(false);
  });

  test("holds what a task has closed to everyone no longer than the run", async () => {
    using bench = new Bench();
    await bench.run({ a: { config: shell("mkdir -p a/b; touch a/b/c; chmod 500 a/b; chmod 000 a") } });
    await until(() => leftIn(bench).length === 0, "everything is removed");
  });

  test("refuses ids that would lead elsewhere", () => {
    using bench = new Bench();
    for (const id of ["../../x", "", ".kept", "a/b", "a\0b", "x".repeat(65)])
      expect(() => bench.context.directories.of({ workflow_instance_id: id, slice: 0, attempt: 1 })).toThrow(
        "is not the id of a run",
      );
  });
});

test("Python finds modules in the run's own directory", async () => {
  using bench = new Bench();
  const outcome = await bench.run({
    make: { config: shell("echo 'two = 2' > helper.py") },
    a: { depends: ["make"], config: shell("import helper\nprint(helper.two)", { shell: "python3" }) },
  });
  expect(outcome.log("a")).toEqual(["INFO 2"]);
});

describe("stdin", () => {
  test("is a text, or nothing", async () => {
    using bench = new Bench();
    const text = "a 'b' $(c)\n\0é\nno end";
    const outcome = await bench.run({
      text: { run: "od -An -c | tr -d '\\n '", stdin: text },
      script: { config: shell("cat"), stdin: "x\n" },
      long: { run: "wc -c", stdin: "x".repeat(1024 * 1024) },
      longer: { run: "wc -c", stdin: "x".repeat(1024 * 1024 + 1) },
      empty: { run: "wc -c", stdin: "" },
      none: { run: "wc -c" },
    });
    expect(outcome.log("text")).toEqual([String.raw`INFO a'b'$(c)\n\0303251\nnoend`]);
    expect(outcome.log("script")).toEqual(["INFO x"]);
    expect(outcome.log("long")).toEqual(["INFO 1048576"]);
    expect(outcome.log("longer")).toEqual([
      "ERROR stdin has 1048577 bytes; a task gets at most 1048576.",
      "ERROR Pass large data on as a file.",
    ]);
    expect(outcome.log("empty")).toEqual(["INFO 0"]);
    expect(outcome.log("none")).toEqual(["INFO 0"]);
    await until(() => readdirSync(join(bench.directory, "data", "tasks")).length === 0, "it is removed");
  });

  test("is there again for each try", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      a: { run: "cat; exit 1", stdin: "x\n", retry: { max_attempts: 2, delay_ms: 0, backoff: 1 } },
    });
    expect(outcome.log("a").filter((line) => line === "INFO x")).toHaveLength(2);
  });
});

describe("env_file", () => {
  test("overrides the agent and the workflow; the task and cdktr override it; it is read at each try", async () => {
    using bench = new Bench({ environment: { PATH: process.env.PATH, A: "agent", B: "agent" } });
    writeFileSync(
      join(bench.directory, "x.env"),
      "A=file\nB=file\nC=file\nD=file\nCDKTR_TASK_ID=file\nexport E='$(x) \"'\n",
    );
    const outcome = await bench.run(
      {
        a: {
          run: 'echo $A $B $C $D $CDKTR_TASK_ID "$E"; echo C=again > x.env; exit 1',
          env_file: "x.env",
          env: { D: "task" },
          retry: { max_attempts: 2, delay_ms: 0, backoff: 1 },
        },
      },
      { env: { B: "workflow", C: "workflow" } },
    );
    expect(outcome.log("a").filter((line) => line.startsWith("INFO"))).toEqual([
      'INFO file file file task a $(x) "',
      "INFO agent workflow again task a ",
    ]);
  });

  test("is relative to the working directory of the task", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      make: { config: shell("echo WHERE=own > .env") },
      own: { config: shell("echo $WHERE"), env_file: ".env", depends: ["make"] },
      moved: { run: "echo $WHERE", env_file: ".env", cwd: join(bench.directory, "there") },
    });
    expect(outcome.log("own")).toEqual(["INFO own"]);
    expect(outcome.log("moved")).toEqual([
      "ERROR env_file .env does not exist.",
      `ERROR It is ${bench.directory}/there/.env: a relative env_file is relative to the working directory of the task.`,
    ]);
  });

  test.each([
    ["A=1\n\n# x\nB\n", "line 4: write NAME=VALUE"],
    ["1A=x\n", "line 1: write NAME=VALUE"],
    ["A='x\ny\n", "line 1: the value of A has no closing '"],
    ["A='x\ny'\nB=\"x\" y\n", 'line 3: nothing may follow the closing " of B'],
    ["A=x\0y\n", "line 1: the value of A contains a NUL character"],
    ["A=\xff\n", "line 1: the file is not UTF-8"],
  ])("says where it is wrong: %j", async (text, what) => {
    using bench = new Bench();
    writeFileSync(join(bench.directory, "x.env"), Buffer.from(text, "latin1"));
    const outcome = await bench.run({ a: { env_file: "./x.env" } });
    expect(outcome.last("a").error).toBe(`env_file ./x.env, ${what}.`);
  });
});

test("grace is the time between TERM and KILL of this task", async () => {
  using bench = new Bench({ graceMs: 60_000 });
  const deaf = 'trap "" TERM; echo $$; while :; do sleep 0.01; done';
  const run = assignmentOf(
    workflowOf({ a: { run: deaf, grace_ms: 100 }, b: { config: shell(deaf), grace_ms: 0 } }),
  );
  const slice = bench.prepare(run);
  slice.start();
  const pids = () =>
    bench
      .outcome(run, null)
      .lines.flatMap((line) => (/^\d+$/.test(line.payload) ? [Number(line.payload)] : []));
  await until(() => pids().length === 2, "both run");
  slice.stop("cancelled");
  expect(await slice.over).toBe("CANCELLED");
  expect(pids().filter(isRunning)).toEqual([]);
  expect(bench.outcome(run, null).log("a")).toContain("WARN Still running 100ms after SIGTERM: killed.");
});
