/** Limits of tasks: by a control group where the agent has one, otherwise as far as a process can limit itself. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cgroups } from "../../src/agent/cgroups.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { Bench } from "./support/bench.ts";

const MIB = 1024 * 1024;
const hog = `python3 -c 'x = bytearray(200 * 1024 * 1024); print("got it")'`;
const NO_GROUP = "this agent has no cgroup of its own (Delegate=yes)";

/** A directory in place of the cgroup file system: it keeps what is written, and limits nothing. */
function pretended(directory: TemporaryDirectory, controllers = "cpuset cpu io memory pids") {
  const unit = directory.path("unit");
  mkdirSync(unit);
  writeFileSync(join(unit, "cgroup.controllers"), `${controllers}\n`);
  writeFileSync(join(unit, "cgroup.procs"), "");
  const groups = () => readdirSync(unit).filter((name) => name.startsWith("t-"));
  const cgroups = new Cgroups({
    root: directory.root,
    self: "4:memory:/x\n0::/unit\n",
    isDelegated: () => true,
  });
  return { unit, groups, cgroups };
}

/** One that is on a host without cgroup v2, or not handed over. */
const without = (directory: TemporaryDirectory) =>
  new Cgroups({ root: directory.root, self: "0::/unit\n", isDelegated: () => false });

describe("without a control group", () => {
  test("memory is limited for each process, and the log says what is not possible", async () => {
    using directory = new TemporaryDirectory();
    pretended(directory);
    using bench = new Bench({ cgroups: without(directory) });
    const outcome = await bench.run({
      small: { run: hog, limits: { memory_bytes: 64 * MIB, cpu: 1.5, pids: 50 } },
      large: { run: hog, limits: { memory_bytes: 1024 * MIB } },
      none: { run: hog },
      child: {
        run: ["sh", "-c", `sh -c '${hog.replaceAll("'", `"`).replace('"got it"', "1")}' || exit 9`],
        limits: { memory_bytes: 64 * MIB },
      },
      cpu: { run: "echo on", limits: { cpu: 0.5 } },
      neither: { run: "echo on", limits: {} },
    });
    expect(outcome.last("small")).toMatchObject({ status: "FAILED", error: "exit status 1: MemoryError" });
    expect(outcome.log("small")[0]).toBe(
      `INFO limits: memory 64MiB by RLIMIT_DATA, for each process; cpu 1.5 and pids 50 cannot be limited here: ${NO_GROUP}.`,
    );
    expect(outcome.log("large")).toEqual([
      "INFO limits: memory 1GiB by RLIMIT_DATA, for each process.",
      "INFO got it",
    ]);
    expect(outcome.log("none")).toEqual(["INFO got it"]);
    expect(outcome.last("child")).toMatchObject({ status: "FAILED", exit_code: 9 });
    expect(outcome.log("cpu")).toEqual([
      `INFO limits: cpu 0.5 cannot be limited here: ${NO_GROUP}.`,
      "INFO on",
    ]);
    expect(outcome.log("neither")).toEqual(["INFO on"]);
  });

  test("a task is what it would be without limits: its arguments, directory, stdin, environment and end", async () => {
    using bench = new Bench();
    const config = {
      type: "Shell",
      script: 'cat; pwd; echo "$A"; exit 3',
      shell: null,
      working_directory: null,
    } as const;
    const [plain, limited] = await Promise.all(
      [{}, { limits: { memory_bytes: 512 * MIB } }].map((more) =>
        bench.run({ a: { config, stdin: "x\n", env: { A: "it's" }, ...more } }),
      ),
    );
    const words = (outcome: typeof plain) =>
      outcome
        ?.log("a")
        .filter((line) => !line.includes("limits:"))
        .map((line) => line.replace(/[0-9a-f-]{36}/, "ID"));
    expect(words(limited)).toEqual(words(plain));
    expect(limited?.last("a")).toMatchObject({ status: "FAILED", exit_code: 3 });
  });

  test("a runtime that would not even start says so, instead of breaking down", async () => {
    using directory = new TemporaryDirectory();
    pretended(directory);
    using bench = new Bench({ cgroups: without(directory) });
    const config = {
      type: "Bun",
      script_path: null,
      code: "1",
      args: [] as string[],
      working_directory: null,
    } as const;
    const outcome = await bench.run({ a: { config, limits: { memory_bytes: 64 * MIB } } });
    expect(outcome.last("a")).toMatchObject({
      status: "FAILED",
      exit_code: null,
      error: `Cannot start: !Bun needs limits.memory of at least 384MiB here, not 64MiB, because ${NO_GROUP}.`,
    });
  });

  test("a host without cgroup v2", () => {
    using directory = new TemporaryDirectory();
    for (const self of ["0::/unit\n", "9:memory:/\n", ""]) {
      const cgroups = new Cgroups({ root: directory.root, self, isDelegated: () => true });
      expect(cgroups.lack("memory")).toBe("this host has no cgroup v2");
    }
  });
});

describe("with a control group", () => {
  test("a task runs in a group of its own with its limits", async () => {
    using directory = new TemporaryDirectory();
    const { unit, groups, cgroups } = pretended(directory);
    using bench = new Bench({ cgroups });
    const outcome = await bench.run({
      a: {
        run: `echo $$; cat ${unit}/t-*/cgroup.procs; echo; tail -n 1 ${unit}/t-*/*.max ${unit}/t-*/memory.oom.group`,
        limits: { memory_bytes: 64 * MIB, cpu: 1.5, pids: 50 },
      },
    });
    expect(outcome.log("a")[0]).toBe(
      "INFO limits: memory 64MiB by cgroup, cpu 1.5 by cgroup, pids 50 by cgroup.",
    );
    const [pid, inside] = outcome.log("a").slice(1);
    expect(inside).toBe(pid);
    const [group = ""] = groups();
    const written = ["memory.max", "cpu.max", "pids.max", "memory.swap.max", "memory.oom.group"].map((file) =>
      readFileSync(join(unit, group, file), "utf8"),
    );
    expect(written).toEqual([String(64 * MIB), "150000 100000", "50", "0", "1"]);
    expect(readFileSync(join(unit, "cgroup.subtree_control"), "utf8")).toBe("+pids");
  });

  test("what exceeded its memory says so, whatever ended it", async () => {
    using directory = new TemporaryDirectory();
    const { unit, cgroups } = pretended(directory);
    using bench = new Bench({ cgroups });
    const killed = `cd ${unit}/t-*; printf "low 0\\noom_kill 2\\n" > memory.events; echo 7340032 > memory.peak`;
    const outcome = await bench.run({
      a: { run: `${killed}; kill -9 $$`, limits: { memory_bytes: 64 * MIB } },
    });
    expect(outcome.last("a")).toMatchObject({
      status: "FAILED",
      error: "exceeded its memory limit of 64MiB",
      signal: "SIGKILL",
      max_rss_kb: 7168,
    });
  });

  test("what is not there is told, and the rest holds", async () => {
    using directory = new TemporaryDirectory();
    const { cgroups } = pretended(directory, "memory");
    using bench = new Bench({ cgroups });
    const outcome = await bench.run({
      a: { run: "echo on", limits: { memory_bytes: 64 * MIB, cpu: 1 } },
    });
    expect(outcome.log("a")).toEqual([
      "INFO limits: memory 64MiB by cgroup; cpu 1 cannot be limited here: the cgroup of this agent lacks the controller cpu.",
      "INFO on",
    ]);
  });

  test("this process moves out of the way, groups of a killed agent go, and an agent that was moved finds its group", () => {
    using directory = new TemporaryDirectory();
    const { unit, cgroups } = pretended(directory);
    writeFileSync(join(unit, "cgroup.procs"), `${process.pid}\n4194305\n`);
    mkdirSync(join(unit, "t-left"));
    expect(cgroups.lack("cpu")).toBeUndefined();
    expect(readFileSync(join(unit, "agent/cgroup.procs"), "utf8")).toBe("4194305");
    expect(existsSync(join(unit, "t-left"))).toBe(false);
    writeFileSync(join(unit, "agent/cgroup.controllers"), "");
    const again = new Cgroups({ root: directory.root, self: "0::/unit/agent\n", isDelegated: () => true });
    again.make("x", {}).close(true);
    expect(existsSync(join(unit, "agent/t-x"))).toBe(false);
    expect(again.lack("memory")).toBeUndefined();
  });
});

// Needs an agent in a group that was handed over to it, such as: systemd-run --user --pty -p Delegate=yes npm test
const real = new Cgroups().lack("memory");
test.skipIf(real !== undefined)(
  `a real group${real === undefined ? "" : ` (${real})`}: who exceeds its memory is killed, its neighbours live`,
  async () => {
    using bench = new Bench({ cgroups: new Cgroups() });
    const outcome = await bench.run({
      hog: { run: hog, limits: { memory_bytes: 64 * MIB } },
      neighbour: { run: "sleep 1; echo on", limits: { memory_bytes: 64 * MIB } },
    });
    expect(outcome.last("hog").error).toBe("exceeded its memory limit of 64MiB");
    expect(outcome.log("neighbour").at(-1)).toBe("INFO on");
  },
);
