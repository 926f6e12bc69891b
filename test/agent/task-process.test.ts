import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  allLines,
  assignmentOf,
  Bench,
  clockWith,
  isRunning,
  subprocess,
  until,
  workflowOf,
} from "./support/bench.ts";

const pidIn = (bench: Bench, file: string) => Number(readFileSync(join(bench.directory, file), "utf8"));

describe("output", () => {
  test("stdout is INFO, stderr is ERROR, with names and times", async () => {
    using bench = new Bench();
    const before = Date.now();
    const outcome = await bench.run({
      t: { name: "The\x01 task", run: "echo out; echo err >&2; printf last" },
    });
    const sorted = [...outcome.lines].sort((a, b) => a.level.localeCompare(b.level));
    expect(sorted.map((line) => `${line.level} ${line.payload}`)).toEqual([
      "ERROR err",
      "INFO out",
      "INFO last",
    ]);
    for (const line of outcome.lines) {
      expect(line).toMatchObject({
        workflow_id: "test.flow",
        workflow_name: "Test flow",
        task_name: "The\\x01 task",
        task_instance_id: outcome.last("t").task_instance_id,
      });
      expect(line.timestamp_ms).toBeGreaterThanOrEqual(before);
    }
  });

  test("lines come as they are written, not when the task ends", async () => {
    using bench = new Bench();
    const assignment = assignmentOf(
      workflowOf({ t: { run: "echo first; while [ ! -e go ]; do sleep 0.01; done; echo second" } }),
    );
    const run = bench.prepare(assignment);
    run.start();
    await until(
      () => bench.outcome(assignment, null).lines.length === 1,
      "the first line is there while the task runs",
    );
    writeFileSync(join(bench.directory, "go"), "");
    await run.over;
    expect(bench.outcome(assignment, null).log("t")).toEqual(["INFO first", "INFO second"]);
  });

  test("/dev/stdout and /dev/stderr can be opened, as in a terminal", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      t: { run: "echo one > /dev/stdout; echo two > /dev/stderr; echo three >> /proc/self/fd/1" },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect([...outcome.log("t")].sort()).toEqual(["ERROR two", "INFO one", "INFO three"]);
  });

  test("stdin is empty, and there is no terminal", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      t: { run: 'cat; [ -t 0 ] || echo "no terminal"; (: < /dev/tty) 2>/dev/null || echo "none at all"' },
    });
    expect(outcome.log("t")).toEqual(["INFO no terminal", "INFO none at all"]);
  });

  test("a process inherits no other descriptor of the agent", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ t: { run: ["ls", "/proc/self/fd"] } });
    // 3 is the directory that ls itself reads.
    expect(outcome.lines.map((line) => line.payload)).toEqual(["0", "1", "2", "3"]);
  });

  test("two hundred thousand lines from eight tasks at once: each once, in order per task", async () => {
    using bench = new Bench();
    const tasks = Object.fromEntries(
      Array.from({ length: 8 }, (_, i) => [`t${i}`, { run: ["seq", "1", "25000"] as const }]),
    );
    const outcome = await bench.run(tasks);
    const next = new Map<string, number>();
    for (const { task_name, payload } of outcome.lines) {
      const expected = (next.get(task_name) ?? 0) + 1;
      if (Number(payload) !== expected) throw new Error(`${task_name}: ${payload} instead of ${expected}`);
      next.set(task_name, expected);
    }
    expect([...next.values()]).toEqual(Array(8).fill(25_000));
  });

  test("a progress bar that stands still is shown while the task runs", async () => {
    using bench = new Bench();
    const assignment = assignmentOf(workflowOf({ t: { run: 'printf "10%%\\r20%%"; sleep 600' } }));
    const run = bench.prepare(assignment);
    run.start();
    await until(() => bench.outcome(assignment, null).lines.length > 0, "a snapshot");
    run.stop("cancelled");
    await run.over;
    expect(bench.outcome(assignment, null).log("t")).toEqual([
      "INFO 20%",
      "WARN Stopped: the run was cancelled.",
    ]);
  });

  test("a full outbox makes the task wait; nothing is lost", async () => {
    using bench = new Bench({ outboxLimitBytes: 200_000 });
    const count = 60_000;
    const assignment = assignmentOf(workflowOf({ t: { run: `seq 1 ${count}; touch written` } }));
    const run = bench.prepare(assignment);
    run.start();
    await until(() => bench.outbox.room() !== undefined, "the outbox is full");
    expect(existsSync(join(bench.directory, "written"))).toBe(false);
    const payloads: string[] = [];
    const take = () => {
      for (const line of allLines(bench.outbox)) payloads.push(line.payload);
      bench.outbox.forgetLines(bench.outbox.lastLogSeq);
      return payloads.length === count;
    };
    await until(take, "every line has been taken out");
    await run.over;
    expect(payloads).toEqual(Array.from({ length: count }, (_, i) => String(i + 1)));
  });
});

describe("the end of a process", () => {
  test("exit status, signal, processor time and memory are reported", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      status: { run: "exit 42" },
      signal: { run: "kill -USR1 $$" },
      killed: { run: "kill -KILL $$" },
      busy: { run: ["python3", "-c", "b = bytearray(256 << 20)\nfor i in range(10**6): pass"] },
      short: { run: ["sleep", "0.1"] },
    });
    expect(outcome.last("status")).toMatchObject({ exit_code: 42, signal: null });
    expect(outcome.last("signal")).toMatchObject({
      exit_code: null,
      signal: "SIGUSR1",
      error: "ended by SIGUSR1",
    });
    expect(outcome.log("signal")).toEqual(["ERROR Ended by SIGUSR1."]);
    expect(outcome.log("killed")[0]).toStartWith("ERROR Ended by SIGKILL");
    const busy = outcome.last("busy");
    expect(busy.cpu_ms ?? 0).toBeGreaterThan(5);
    expect(busy.max_rss_kb ?? 0).toBeGreaterThan(256 * 1024);
    expect(busy.max_rss_kb ?? 0).toBeLessThan(400 * 1024);
    // Not the memory of the agent, which the kernel counts for the children of large processes.
    expect(outcome.last("short").max_rss_kb ?? 0).toBeGreaterThan(0);
    expect(outcome.last("short").max_rss_kb ?? 0).toBeLessThan(16 * 1024);
    // Nothing is said of one that was over before it could be looked at; not what it had before it was loaded.
    for (const id of ["status", "signal", "killed"])
      expect(outcome.last(id).max_rss_kb ?? 256).toBeGreaterThan(255);
  });

  test("a pipeline that outlives its shell may finish", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ t: { run: "(sleep 0.1; echo late) & echo early" } });
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.log("t")).toEqual(["INFO early", "INFO late"]);
  });

  test("processes of the group that are left running are ended, with a warning", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ t: { run: "sleep 600 > /dev/null 2>&1 & echo $! > left" } });
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.last("t").exit_code).toBe(0);
    expect(outcome.log("t")).toHaveLength(1);
    expect(outcome.log("t")[0]).toMatch(
      /^WARN The task has ended but left processes running: sleep \(pid \d+\)\. They will be ended\.$/,
    );
    expect(isRunning(pidIn(bench, "left"))).toBe(false);
  });

  test("a left process that ignores SIGTERM is killed", async () => {
    using bench = new Bench({ graceMs: 100 });
    const outcome = await bench.run({
      t: { run: 'trap "" TERM; (while :; do sleep 0.05; done) & echo $! > left' },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect(isRunning(pidIn(bench, "left"))).toBe(false);
  });

  test("a process in a session of its own that holds the output is found and ended: the task does not hang", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      t: {
        run: "setsid sh -c 'echo $$ > stray; echo from afar; exec sleep 600' & while [ ! -s stray ]; do sleep 0.01; done",
      },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.log("t")[0]).toBe("INFO from afar");
    expect(outcome.log("t")[1]).toMatch(
      /^WARN The task has ended, but processes that it started still hold its output open: sleep \(pid \d+\)/,
    );
    expect(outcome.log("t")).toHaveLength(2);
    expect(isRunning(pidIn(bench, "stray"))).toBe(false);
  });

  test("one that cannot be found does not delay the task", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      t: {
        run: "env -i setsid /bin/sh -c 'echo $$ > stray; exec sleep 600' & while [ ! -s stray ]; do sleep 0.01; done; echo done",
      },
    });
    const stray = pidIn(bench, "stray");
    try {
      expect(outcome.end).toBe("COMPLETED");
      expect(outcome.log("t")[0]).toBe("INFO done");
      expect(outcome.log("t")[1]).toStartWith(
        "WARN The task has ended, but a process that cannot be found still holds its output open.",
      );
      expect(isRunning(stray)).toBe(true);
    } finally {
      process.kill(stray, "SIGKILL");
    }
  });

  test("a time limit reaches processes in sessions of their own, and nobody else's", async () => {
    using bench = new Bench({ clock: clockWith(400, () => bench.has("stray")) });
    const foreign = Bun.spawn(["sleep", "600"]);
    try {
      const outcome = await bench.run({
        t: {
          run: "setsid sh -c 'echo $$ > .stray; mv .stray stray; exec sleep 600' & sleep 600",
          timeout_ms: 400,
        },
      });
      expect(outcome.last("t").status).toBe("FAILED");
      expect(isRunning(pidIn(bench, "stray"))).toBe(false);
      expect(isRunning(foreign.pid)).toBe(true);
    } finally {
      foreign.kill();
    }
  });

  test("descriptors are given back, whatever happens", async () => {
    using bench = new Bench();
    const open = () => readdirSync("/proc/self/fd").length;
    await bench.run({ warm: {} });
    const before = open();
    for (let round = 0; round < 5; round++) {
      await bench.run({
        fine: { run: "echo x" },
        missing: { run: ["/nonexistent"] },
        stray: { run: "setsid sleep 600 &" },
        slow: { run: "sleep 600", timeout_ms: 50 },
      });
    }
    expect(open()).toBeLessThanOrEqual(before + 2);
  });
});

describe("what cannot start FAILED, with the reason in its log", () => {
  async function reason(
    bench: Bench,
    config: ReturnType<typeof subprocess>,
    env: Record<string, string> = {},
  ): Promise<string[]> {
    const outcome = await bench.run({ t: { config, env } });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.statuses("t")).toEqual(["RUNNING", "FAILED"]);
    const log = outcome.log("t");
    expect(log[0]).toBe(`ERROR ${outcome.last("t").error}`);
    expect(outcome.last("t").exit_code).toBeNull();
    return log.map((line) => line.slice("ERROR ".length));
  }

  test("a cmd that is not in the PATH", async () => {
    using bench = new Bench();
    expect(await reason(bench, subprocess(["no-such-program"]), { PATH: "/bin:/usr/bin" })).toEqual([
      '"no-such-program" was not found; PATH was searched: /bin:/usr/bin.',
      "cmd is one program, without arguments and without a shell; arguments go to args.",
    ]);
    expect((await reason(bench, subprocess(["ls -l /"])))[1]).toContain("arguments go to args");
  });

  test("a script beside the workflow, named without ./", async () => {
    using bench = new Bench();
    writeFileSync(join(bench.directory, "script.sh"), "#!/bin/sh\n", { mode: 0o755 });
    expect((await reason(bench, subprocess(["script.sh"])))[1]).toBe(
      `There is ${bench.directory}/script.sh: to run it, write cmd: ./script.sh`,
    );
  });

  test("a file that is not executable, by path and in the PATH", async () => {
    using bench = new Bench();
    const file = join(bench.directory, "script.sh");
    writeFileSync(file, "#!/bin/sh\n");
    chmodSync(file, 0o644);
    expect(await reason(bench, subprocess(["./script.sh"]))).toEqual([
      `${file} is not executable.`,
      `chmod +x ${file}`,
    ]);
    expect(await reason(bench, subprocess(["script.sh"]), { PATH: `/bin:${bench.directory}` })).toEqual([
      `"script.sh" is not executable: ${file}.`,
      `chmod +x ${file}`,
    ]);
  });

  test("a missing file, a directory, an empty name", async () => {
    using bench = new Bench();
    expect((await reason(bench, subprocess(["./missing"])))[0]).toBe(
      `${bench.directory}/missing does not exist.`,
    );
    expect(await reason(bench, subprocess(["/etc"]))).toEqual(["/etc is a directory, not a program."]);
    expect(await reason(bench, subprocess([""]))).toEqual(["The task has an empty cmd."]);
  });

  test("a script without a first line, and one whose interpreter is missing", async () => {
    using bench = new Bench();
    writeFileSync(join(bench.directory, "bare"), "echo hello\n", { mode: 0o755 });
    expect(await reason(bench, subprocess(["./bare"]))).toEqual([
      '"./bare" is not a program that this host can execute.',
      "A script needs a first line that names its interpreter, such as #!/bin/sh; a binary must fit the processor.",
    ]);
    writeFileSync(join(bench.directory, "snake"), "#!/opt/python9/bin/python\n", { mode: 0o755 });
    expect(await reason(bench, subprocess(["./snake"]))).toEqual([
      `${bench.directory}/snake cannot be started: its interpreter /opt/python9/bin/python does not exist.`,
    ]);
    writeFileSync(join(bench.directory, "windows"), "#!/bin/sh\r\necho hello\r\n", { mode: 0o755 });
    expect(await reason(bench, subprocess(["./windows"]))).toEqual([
      `${bench.directory}/windows cannot be started: its first line ends with a carriage return (Windows line endings, CRLF), so its interpreter is "/bin/sh\\r", which does not exist.`,
      `sed -i 's/\\r$//' ${bench.directory}/windows`,
    ]);
  });

  test("a working directory that is missing, or none", async () => {
    using bench = new Bench();
    mkdirSync(join(bench.directory, "there"));
    writeFileSync(join(bench.directory, "there/file"), "");
    expect(await reason(bench, subprocess(["true"], "there/not"))).toEqual([
      `The working directory ${bench.directory}/there/not does not exist.`,
      "A relative working_directory starts at the directory in which the agent was started; that of a task with a script, at the run's own.",
    ]);
    expect((await reason(bench, subprocess(["true"], "there/file")))[0]).toBe(
      `The working directory ${bench.directory}/there/file is not a directory.`,
    );
  });

  test("arguments that are too long, or hold NUL", async () => {
    using bench = new Bench();
    expect((await reason(bench, subprocess(["true", "x".repeat(200_000)])))[0]).toContain("too long");
    expect((await reason(bench, subprocess(["true", "a\0b"])))[0]).toContain("contains a NUL character");
  });
});
