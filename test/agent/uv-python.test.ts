import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import type { UvPythonConfig } from "../../src/workflow/kinds/uv-python.ts";
import { pythonWith } from "../support/python.ts";
import { assignmentOf, Bench, isRunning, type Outcome, until, workflowOf } from "./support/bench.ts";

setDefaultTimeout(180_000);

const uv = (config: Partial<UvPythonConfig> & { script_path: string }): UvPythonConfig => ({
  type: "UvPython",
  args: [],
  packages: [],
  is_uv_project: false,
  working_directory: null,
  uv_path: null,
  ...config,
});

/** A program that stands in for uv and says how it was called. */
function fakeUv(bench: Bench): string {
  const path = join(bench.directory, "fake/uv");
  mkdirSync(dirname(path));
  writeFileSync(path, '#!/bin/sh\npwd\nfor a in "$@"; do echo "$a"; done\n');
  chmodSync(path, 0o755);
  return path;
}

function write(bench: Bench, path: string, text = ""): void {
  mkdirSync(dirname(join(bench.directory, path)), { recursive: true });
  writeFileSync(join(bench.directory, path), text);
}

describe("how uv is called", () => {
  async function argv(bench: Bench, config: UvPythonConfig): Promise<string[]> {
    const outcome = await bench.run({ t: { config } });
    expect(outcome.end).toBe("COMPLETED");
    return outcome.lines.map((line) => line.payload);
  }

  test("uv run --with PKG… SCRIPT ARGS…, with uv from the PATH of the task", async () => {
    using bench = new Bench();
    const fake = fakeUv(bench);
    write(bench, "pipe/scripts/transform.py");
    const config = uv({
      script_path: "scripts/transform.py",
      packages: ["pandas>=2.3.1", "six"],
      args: ["--day", "a b"],
      working_directory: "pipe",
    });
    const outcome = await bench.run({
      t: { config, env: { PATH: `${dirname(fake)}${delimiter}${process.env.PATH}` } },
    });
    expect(outcome.lines.map((line) => line.payload)).toEqual([
      `${bench.directory}/pipe`,
      "run",
      "--with",
      "pandas>=2.3.1",
      "--with",
      "six",
      "scripts/transform.py",
      "--day",
      "a b",
    ]);
  });

  test("plain uv run SCRIPT in a project, and for a script with inline metadata", async () => {
    using bench = new Bench();
    const uv_path = fakeUv(bench);
    write(bench, "project/pyproject.toml", '[project]\nname = "p"\nversion = "1"\n');
    write(bench, "project/main.py");
    write(
      bench,
      "project/inline.py",
      '#!/usr/bin/env python\n# /// script\n# dependencies = ["six"]\n# ///\n',
    );
    const there = { working_directory: "project", uv_path };
    expect(await argv(bench, uv({ script_path: "main.py", is_uv_project: true, ...there }))).toEqual([
      `${bench.directory}/project`,
      "run",
      "main.py",
    ]);
    expect((await argv(bench, uv({ script_path: "inline.py", ...there }))).slice(1)).toEqual([
      "run",
      "inline.py",
    ]);
  });

  test("a project in the directory is ignored if it is not requested", async () => {
    using bench = new Bench();
    const uv_path = fakeUv(bench);
    write(bench, "pyproject.toml");
    write(bench, "deep/down/main.py");
    const config = uv({ script_path: "main.py", working_directory: "deep/down", packages: ["six"], uv_path });
    expect((await argv(bench, config)).slice(1)).toEqual(["run", "--no-project", "--with", "six", "main.py"]);
  });

  test("names that uv would take for something else", async () => {
    using bench = new Bench();
    const uv_path = fakeUv(bench);
    write(bench, "tool");
    write(bench, "-x.py");
    expect((await argv(bench, uv({ script_path: "tool", uv_path }))).slice(1)).toEqual([
      "run",
      "--script",
      "tool",
    ]);
    expect((await argv(bench, uv({ script_path: "-x.py", uv_path }))).slice(1)).toEqual(["run", "./-x.py"]);
  });

  test("~ is the home directory, a relative uv_path starts at the working directory", async () => {
    using bench = new Bench();
    fakeUv(bench);
    write(bench, "s.py");
    const home = { HOME: bench.directory };
    for (const uv_path of ["~/fake/uv", "./fake/uv"]) {
      const outcome = await bench.run({ t: { config: uv({ script_path: "s.py", uv_path }), env: home } });
      expect(outcome.end).toBe("COMPLETED");
    }
  });

  test("uv's own install directory is searched when it is not in the PATH", async () => {
    using bench = new Bench();
    write(bench, "s.py");
    write(bench, ".local/bin/uv", "#!/bin/sh\necho found\n");
    chmodSync(join(bench.directory, ".local/bin/uv"), 0o755);
    const outcome = await bench.run({
      t: { config: uv({ script_path: "s.py" }), env: { HOME: bench.directory, PATH: "/usr/bin:/bin" } },
    });
    expect(outcome.log("t")).toEqual(["INFO found"]);
  });
});

describe("what cannot start", () => {
  async function reason(
    bench: Bench,
    config: UvPythonConfig,
    env: Record<string, string> = {},
  ): Promise<string[]> {
    const outcome = await bench.run({ t: { config, env } });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.log("t")[0]).toBe(`ERROR ${outcome.last("t").error}`);
    return outcome.log("t").map((line) => line.slice("ERROR ".length));
  }

  test("no uv: the message says how to get it", async () => {
    using bench = new Bench();
    write(bench, "s.py");
    const log = await reason(bench, uv({ script_path: "s.py" }), { PATH: "/nowhere", HOME: "/nobody" });
    expect(log[0]).toBe('"uv" was not found in /nowhere or in ~/.local/bin.');
    expect(log[1]).toContain("pip install uv");
    expect(log[1]).toContain("https://docs.astral.sh/uv/");
    expect(log[1]).toContain("uv_path");
  });

  test("a wrong uv_path", async () => {
    using bench = new Bench();
    write(bench, "s.py");
    const log = await reason(bench, uv({ script_path: "s.py", uv_path: "/opt/uv" }));
    expect(log[0]).toBe("uv_path does not exist: /opt/uv.");
    expect(log[1]).toContain("pip install uv");
    write(bench, "plain");
    expect(await reason(bench, uv({ script_path: "s.py", uv_path: "./plain" }))).toEqual([
      `${bench.directory}/plain is not executable.`,
      `chmod +x ${bench.directory}/plain`,
    ]);
  });

  test("a missing script or working directory", async () => {
    using bench = new Bench();
    expect(await reason(bench, uv({ script_path: "no/such.py" }))).toEqual([
      `The script ${bench.directory}/no/such.py does not exist.`,
      "script_path is relative to the working directory of the task.",
    ]);
    expect((await reason(bench, uv({ script_path: "s.py", working_directory: "nowhere" })))[0]).toBe(
      `The working directory ${bench.directory}/nowhere does not exist.`,
    );
    mkdirSync(join(bench.directory, "folder.py"));
    expect((await reason(bench, uv({ script_path: "folder.py" })))[0]).toBe(
      `The script ${bench.directory}/folder.py is a directory.`,
    );
  });
});

describe("with real uv", () => {
  let uvPath = "";
  beforeAll(async () => {
    uvPath = join(dirname(await pythonWith(["uv"])), "uv");
  });

  const SHOW = [
    "import importlib.util, os, sys",
    'print("six:", importlib.util.find_spec("six") is not None)',
    'print("roman:", importlib.util.find_spec("roman") is not None)',
    'print("args:", sys.argv[1:])',
    'print("task:", os.environ["CDKTR_TASK_ID"])',
    "",
  ].join("\n");

  const printed = (outcome: Outcome) =>
    outcome.lines.filter((line) => line.level === "INFO").map((line) => line.payload);

  test("a script that the workflow file has inline, with modules beside it", async () => {
    using bench = new Bench();
    const make = "echo 'two = 2' > helper.py";
    const outcome = await bench.run({
      make: { config: { type: "Shell", script: make, shell: null, working_directory: null } },
      t: {
        depends: ["make"],
        config: uv({
          script_path: "",
          script: "import sys, helper\nprint(helper.two, sys.argv[1:])",
          python: `${process.env.UV_PYTHON ?? "3"}`,
          args: ["a b"],
          uv_path: uvPath,
        }),
      },
    });
    expect(printed(outcome)).toEqual(["2 ['a b']"]);
  });

  test("a script with packages", async () => {
    using bench = new Bench();
    write(bench, "show.py", SHOW);
    const outcome = await bench.run({
      t: {
        config: uv({ script_path: "show.py", packages: ["six"], args: ["a b", "$HOME"], uv_path: uvPath }),
      },
    });
    expect(printed(outcome)).toEqual(["six: True", "roman: False", "args: ['a b', '$HOME']", "task: t"]);
    expect(outcome.end).toBe("COMPLETED");
  });

  test("a script with inline metadata", async () => {
    using bench = new Bench();
    write(
      bench,
      "show.py",
      `# /// script\n# requires-python = ">=3.9"\n# dependencies = ["roman"]\n# ///\n${SHOW}`,
    );
    const outcome = await bench.run({ t: { config: uv({ script_path: "show.py", uv_path: uvPath }) } });
    expect(printed(outcome)).toEqual(["six: False", "roman: True", "args: []", "task: t"]);
  });

  test("a uv project", async () => {
    using bench = new Bench();
    write(
      bench,
      "project/pyproject.toml",
      '[project]\nname = "demo"\nversion = "0.1.0"\nrequires-python = ">=3.9"\ndependencies = ["roman"]\n',
    );
    write(bench, "project/show.py", SHOW);
    const there = { working_directory: "project", script_path: "show.py", uv_path: uvPath };
    const apart = await bench.run({ t: { config: uv({ ...there, packages: ["six"] }) } });
    expect(printed(apart).slice(0, 2)).toEqual(["six: True", "roman: False"]);
    expect(readdirSync(join(bench.directory, "project")).sort()).toEqual(["pyproject.toml", "show.py"]);
    const inside = await bench.run({ t: { config: uv({ ...there, is_uv_project: true }) } });
    expect(inside.end).toBe("COMPLETED");
    expect(printed(inside)).toEqual(["six: False", "roman: True", "args: []", "task: t"]);
    expect(existsSync(join(bench.directory, "project/.venv"))).toBe(true);
  });

  test("output of a script arrives at once, without -u or flush", async () => {
    using bench = new Bench();
    write(
      bench,
      "slow.py",
      'import os, time\nprint("first")\nwhile not os.path.exists("go"): time.sleep(0.01)\nprint("second")\n',
    );
    const config = uv({ script_path: "slow.py", uv_path: uvPath });
    const [outcome] = await Promise.all([
      bench.run({ t: { config, timeout_ms: 120_000 } }),
      (async () => {
        await until(() => bench.outbox.lastLogSeq > 0, "its first line has come");
        write(bench, "go");
      })(),
    ]);
    expect(printed(outcome)).toEqual(["first", "second"]);
  });

  test("a package that does not exist: the task FAILED and uv's words are in its log", async () => {
    using bench = new Bench();
    write(bench, "show.py", SHOW);
    const config = uv({ script_path: "show.py", packages: ["six==99999"], uv_path: uvPath });
    const outcome = await bench.run({ t: { config } });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.log("t").join("\n")).toContain("six==99999");
  });

  test("a script that is cancelled ends, Python and all", async () => {
    using bench = new Bench();
    write(bench, "hang.py", "import os, time\nprint(os.getpid())\ntime.sleep(600)\n");
    const config = uv({ script_path: "hang.py", uv_path: uvPath });
    const assignment = assignmentOf(workflowOf({ t: { config } }));
    const run = bench.prepare(assignment);
    run.start();
    const pid = () => Number(printed(bench.outcome(assignment, null))[0] ?? 0);
    await until(() => pid() > 0, "the script runs");
    run.stop("cancelled");
    expect(await run.over).toBe("CANCELLED");
    expect(isRunning(pid())).toBe(false);
  });
});
