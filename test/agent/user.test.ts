import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { accountOf } from "../../src/agent/libc.ts";
import { UserPlaces, userOfTask } from "../../src/agent/user-places.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { Bench, type TaskSpec } from "./support/bench.ts";

const isRoot =
  process.getuid?.() === 0 && ["nobody", "daemon"].every((name) => accountOf(name) !== undefined);
if (!isRoot) console.warn("Tasks of other users are not tested: this is not root, or there is no such user.");

const shell = (script: string): TaskSpec["config"] => ({
  type: "Shell",
  script,
  shell: null,
  working_directory: null,
});
const as = (user: string, script: string, more: TaskSpec = {}): TaskSpec => ({
  config: shell(script),
  user,
  ...more,
});

/** Where the directories of users' tasks are. */
const placeOf = (bench: Bench) => readFileSync(join(bench.directory, "data", "users"), "utf8");

describe.skipIf(!isRoot)("as root", () => {
  test("a task is its user: identity, files, environment, outputs; nothing stays", async () => {
    using bench = new Bench();
    const { outcome, log } = await run(bench, {
      first: { config: shell('echo "x=1" >> "$CDKTR_OUTPUT"') },
      second: as(
        "nobody",
        `echo "$(id -un) $(id -Gn)"; cat; cat "$CDKTR_INPUTS/first.json"
echo "$HOME $USER $LOGNAME $SHELL \${CDKTR_ARTIFACTS-none}"
touch here; [ "$(pwd)" = "$CDKTR_RUN_DIRECTORY" ]; stat -c '%U %a' . "$0"
echo "y=2" >> "$CDKTR_OUTPUT"`,
        { depends: ["first"], stdin: "from stdin\n" },
      ),
    });
    const account = accountOf("nobody");
    const groups = Bun.spawnSync(["id", "-Gn", "nobody"]).stdout.toString().trim();
    expect(log("second")).toEqual([
      `nobody ${groups}`,
      "from stdin",
      '{"x":"1"}',
      `${account?.home} nobody nobody ${account?.shell} none`,
      "nobody 700",
      "nobody 600",
    ]);
    expect(outcome.statuses("second")).toEqual(["RUNNING", "COMPLETED"]);
    expect(outcome.last("second").outputs).toEqual({ y: "2" });
    await until("its files are removed", () => readdirSync(placeOf(bench)).length === 0);
    await bench.context.users.close();
    expect(existsSync(placeOf(bench))).toBe(false);
  });

  test("it reaches nothing of the agent, and nothing of the tasks of others", async () => {
    using bench = new Bench();
    using shared = new TemporaryDirectory();
    chmodSync(shared.root, 0o777);
    const closed = (path: string) => `ls ${path} >/dev/null 2>&1 && echo "open: ${path}"`;
    const { outcome, log } = await run(bench, {
      other: as(
        "daemon",
        `pwd > ${shared.path("new")}; mv ${shared.path("new")} ${shared.path("where")}
until [ -e ${shared.path("done")} ]; do sleep 0.01; done`,
      ),
      nosy: as(
        "nobody",
        `until [ -e ${shared.path("where")} ]; do sleep 0.01; done
set +e; other=$(cat ${shared.path("where")})
${closed('"$other"')}; ${closed('"$other/.."')}; ${closed('"$other/../.."')}
${closed(bench.directory)}; ${closed(join(bench.directory, "data"))}
id -u; touch ${shared.path("done")}`,
      ),
    });
    expect(log("nosy")).toEqual([String(accountOf("nobody")?.uid)]);
    expect(outcome.end).toBe("COMPLETED");
  });

  test("a file for outputs that leads elsewhere is not read", async () => {
    using bench = new Bench();
    const { outcome } = await run(bench, {
      link: as("nobody", 'ln -s /etc/passwd "$CDKTR_OUTPUT"'),
      pipe: as("nobody", 'mkfifo "$CDKTR_OUTPUT"'),
    });
    for (const task of ["link", "pipe"]) {
      expect(outcome.last(task)).toMatchObject({ status: "FAILED", outputs: null });
      expect(outcome.last(task).error).toStartWith("its outputs cannot be published: ");
    }
  });

  test("limits hold, and it is ended like any other task", async () => {
    using bench = new Bench({ graceMs: 100 });
    const { log, outcome } = await run(bench, {
      limited: as("nobody", "echo $(id -un) $(ulimit -d)", { limits: { memory_bytes: 1024 * 1024 * 1024 } }),
      late: as("nobody", "trap '' TERM; while :; do sleep 0.01; done", { timeout_ms: 300 }),
    });
    expect(log("limited").at(-1)).toMatch(/^nobody (1048576|unlimited)$/);
    expect(outcome.last("late")).toMatchObject({ status: "FAILED", error: "timed out after 300ms" });
  });

  test("a user that does not exist fails the task", async () => {
    using bench = new Bench();
    const { outcome } = await run(bench, { a: as("no-such-user", "true") });
    expect(outcome.last("a").error).toBe('Cannot start: user "no-such-user" does not exist on this host.');
  });

  test("a directory that the host has cleaned away, or that somebody else has made since, is not used", () => {
    using directory = new TemporaryDirectory();
    const places = new UserPlaces(directory.root, directory.root);
    const former = dirname(places.make());
    rmSync(former, { recursive: true });
    const next = dirname(places.make());
    expect(next).not.toBe(former);
    expect(readFileSync(join(directory.root, "users"), "utf8")).toBe(next);
    chownSync(next, 65534, 65534);
    expect(dirname(places.make())).not.toBe(next);
    expect(readdirSync(next)).toHaveLength(1);
  });

  test("what a killed agent left is removed by the next one", async () => {
    using directory = new TemporaryDirectory();
    const before = new UserPlaces(directory.root, directory.root);
    const left = before.make();
    expect(existsSync(left)).toBe(true);
    new UserPlaces(directory.root, directory.root);
    await until("it is removed", () => readdirSync(directory.root).length === 1);
    expect(readdirSync(directory.root)).toEqual(["users"]);
  });
});

test("only root may start tasks of others", () => {
  expect(() => userOfTask("nobody", 1000)).toThrow(
    /^Cannot start: "user" needs an agent that runs as root; this one runs as \S+\.$/,
  );
});

test("the files of a workflow are in a place that a user does not reach: that is an error of the file", () => {
  const text = 'files: ["*.sql"]\ntasks:\n  a:\n    user: etl\n    run: "true"\n';
  const parsed = parseWorkflow(text, { path: "w.yml", id: "w" });
  expect(parsed.ok ? [] : parsed.diagnostics).toMatchObject([
    {
      code: "E014",
      line: 4,
      message: '"user" of task "a" cannot be used together with "files" of the workflow',
      help: "leave one of the two out, or put the files where that user can read them",
    },
  ]);
});

async function run(bench: Bench, tasks: Readonly<Record<string, TaskSpec>>) {
  const outcome = await bench.run(tasks);
  if (tasks.first === undefined) await bench.context.users.close();
  return { outcome, log: (task: string) => outcome.log(task).map((line) => line.replace(/^\w+ /, "")) };
}
