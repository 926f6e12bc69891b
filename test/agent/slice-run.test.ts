import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import type { RunAssignment } from "../../src/contract/messages.ts";
import type { TaskConfig } from "../../src/workflow/model.ts";
import {
  assignmentOf,
  Bench,
  clockWith,
  isRunning,
  type TaskSpec,
  until,
  workflowOf,
} from "./support/bench.ts";

const retry = (max_attempts: number, delay_ms = 0, backoff = 1) => ({ max_attempts, delay_ms, backoff });

describe("the graph", () => {
  test("a diamond: everything COMPLETED, nothing before what it depends on", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      a: { run: "echo a" },
      b: { run: "echo b", depends: ["a"] },
      c: { run: "echo c >&2", depends: ["a"] },
      d: { run: "echo d", depends: ["b", "c"] },
    });
    expect(outcome.end).toBe("COMPLETED");
    for (const task of ["a", "b", "c", "d"]) expect(outcome.statuses(task)).toEqual(["RUNNING", "COMPLETED"]);
    expect(outcome.log("c")).toEqual(["ERROR c"]);
    const order = outcome.reports.map((report) => `${report.task_id} ${report.status}`);
    const at = (what: string) => order.indexOf(what);
    expect(at("b RUNNING")).toBeGreaterThan(at("a COMPLETED"));
    expect(at("c RUNNING")).toBeGreaterThan(at("a COMPLETED"));
    expect(at("d RUNNING")).toBeGreaterThan(Math.max(at("b COMPLETED"), at("c COMPLETED")));
    expect(outcome.runReports.map((report) => report.status)).toEqual(["COMPLETED"]);
    expect(outcome.runReports[0]?.log_seq).toBe(bench.outbox.lastLogSeq);
  });

  test("durations are measured, whatever the wall clock does meanwhile", async () => {
    let wall = 1e12;
    const backwards = () => {
      wall -= 1000;
      return wall;
    };
    using bench = new Bench({ clock: { ...systemClock, now: backwards } });
    const outcome = await bench.run({
      a: { run: "sleep 0.1; exit 1", retry: retry(2) },
      b: { depends: ["a"] },
    });
    const durations = outcome.reports.map(({ task_id, status, duration_ms }) => [
      task_id,
      status,
      duration_ms,
    ]);
    const measured = durations.filter(([, , ms]) => ms !== undefined);
    expect(measured.map(([id, status]) => `${id} ${status}`)).toEqual(["a FAILED"]);
    // Both tries.
    for (const ms of [measured[0]?.[2], outcome.runReports[0]?.duration_ms])
      expect(Number(ms)).toBeGreaterThanOrEqual(190);
    expect(outcome.runReports[0]?.duration_ms).toBeLessThan(50_000);
  });

  test("independent tasks run side by side", async () => {
    using bench = new Bench();
    // Each waits for the other's file: one after the other would wait for ever.
    const meet = (own: string, other: string) => `touch ${own}; while [ ! -e ${other} ]; do sleep 0.01; done`;
    const outcome = await bench.run(
      { left: { run: meet("l", "r") }, right: { run: meet("r", "l") } },
      { timeout_ms: 20_000 },
    );
    expect(outcome.end).toBe("COMPLETED");
  });

  test("never more tasks at once than the agent has slots, over all its runs", async () => {
    using bench = new Bench({ slots: 3 });
    // Each task takes one of three places; a fourth at once would find none.
    const place =
      'for n in 1 2 3; do if mkdir place$n 2>/dev/null; then sleep 0.02; rmdir place$n; exit 0; fi; done; echo "no place" >&2; exit 1';
    const tasks: Record<string, TaskSpec> = {};
    for (let i = 0; i < 12; i++) tasks[`t${i}`] = { run: place };
    const outcomes = await Promise.all([bench.run(tasks), bench.run(tasks)]);
    expect(outcomes.map((outcome) => outcome.end)).toEqual(["COMPLETED", "COMPLETED"]);
    expect(bench.context.slots.used).toBe(0);
  });

  test("a failed task skips what depends on it, directly or through others; other branches go on", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      bad: { run: "exit 3" },
      child: { depends: ["bad"] },
      grandchild: { depends: ["child", "other"] },
      other: { run: "sleep 0.05" },
      after: { depends: ["other"] },
    });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.statuses("bad")).toEqual(["RUNNING", "FAILED"]);
    expect(outcome.last("bad")).toMatchObject({ exit_code: 3, signal: null, error: "exit status 3" });
    expect(outcome.statuses("child")).toEqual(["SKIPPED"]);
    expect(outcome.statuses("grandchild")).toEqual(["SKIPPED"]);
    expect(outcome.last("grandchild")).toMatchObject({
      task_attempt: 0,
      error: '"bad", on which it depends, FAILED',
    });
    expect(outcome.statuses("after")).toEqual(["RUNNING", "COMPLETED"]);
    expect(outcome.runReports.map((report) => [report.status, report.error])).toEqual([
      ["FAILED", "failed: bad"],
    ]);
  });

  test("when the last failure skips the rest, the run ends once", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      a: { run: "false" },
      b: { depends: ["a"] },
      c: { depends: ["a", "b"] },
    });
    expect(outcome.runReports).toHaveLength(1);
    expect(outcome.reports.map((report) => report.status)).toEqual([
      "RUNNING",
      "FAILED",
      "SKIPPED",
      "SKIPPED",
    ]);
  });

  test("tasks that COMPLETED in an earlier attempt are not run again", async () => {
    using bench = new Bench();
    const tasks = {
      a: { run: "echo again" },
      b: { depends: ["a"], run: "echo b" },
      c: { depends: ["a"], run: "echo again" },
    };
    const outcome = await bench.run(
      tasks,
      {},
      { attempt: 2, completed_tasks: ["a", "c", "gone from the file"] },
    );
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.lines.map((line) => line.payload)).toEqual(["b"]);
    expect(new Set(outcome.reports.map((report) => report.task_id))).toEqual(new Set(["b"]));
    const nothing = await bench.run(tasks, {}, { completed_tasks: ["a", "b", "c"] });
    expect(nothing.end).toBe("COMPLETED");
    expect(nothing.runReports).toHaveLength(1);
  });

  test("a graph of 300 random tasks: each runs once, after all that it depends on", async () => {
    using bench = new Bench({ slots: 16 });
    let seed = 7;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    const tasks: Record<string, TaskSpec> = {};
    for (let i = 0; i < 300; i++) {
      const depends = Array.from({ length: i === 0 ? 0 : random(4) }, () => `t${random(i)}`);
      tasks[`t${i}`] = { run: ["true"], depends: [...new Set(depends)] };
    }
    const outcome = await bench.run(tasks);
    expect(outcome.end).toBe("COMPLETED");
    const completed = new Set<string>();
    for (const report of outcome.reports) {
      if (report.status === "RUNNING") {
        for (const needed of tasks[report.task_id]?.depends ?? []) expect(completed).toContain(needed);
      } else completed.add(report.task_id);
    }
    expect(outcome.reports).toHaveLength(600);
    expect(completed.size).toBe(300);
  });

  test("thousands of tasks that cannot start end without a stack of calls", async () => {
    using bench = new Bench({ slots: 1 });
    const tasks: Record<string, TaskSpec> = {};
    for (let i = 0; i < 5000; i++) tasks[`t${i}`] = { run: ["/nonexistent"] };
    const outcome = await bench.run(tasks);
    expect(outcome.end).toBe("FAILED");
    expect(outcome.runReports[0]?.error).toEndWith("t9 and 4990 more");
    expect(bench.context.slots.used).toBe(0);
  });
});

describe("tries", () => {
  test("a task that fails is tried again, WAITING between, and its log says so", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      flaky: { run: 'echo "try $CDKTR_ATTEMPT"; [ "$CDKTR_ATTEMPT" = 3 ]', retry: retry(5, 10, 2) },
      after: { depends: ["flaky"] },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.statuses("flaky")).toEqual([
      "RUNNING",
      "WAITING",
      "RUNNING",
      "WAITING",
      "RUNNING",
      "COMPLETED",
    ]);
    expect(
      outcome.reports.filter((report) => report.task_id === "flaky").map((report) => report.task_attempt),
    ).toEqual([1, 1, 2, 2, 3, 3]);
    expect(
      new Set(outcome.reports.filter((r) => r.task_id === "flaky").map((r) => r.task_instance_id)).size,
    ).toBe(1);
    expect(outcome.log("flaky")).toEqual([
      "INFO try 1",
      "WARN Attempt 1 of 5 failed (exit status 1); next attempt in 10ms.",
      "INFO try 2",
      "WARN Attempt 2 of 5 failed (exit status 1); next attempt in 20ms.",
      "INFO try 3",
    ]);
  });

  test("the waits are as long as the policy says, and hold no slot", async () => {
    using bench = new Bench({ slots: 1 });
    const outcome = await bench.run({
      flaky: { run: "false", retry: retry(3, 60, 2) },
      other: { run: "true" },
    });
    expect(outcome.end).toBe("FAILED");
    const times = outcome.reports
      .filter((report) => report.task_id === "flaky")
      .map((report) => report.timestamp_ms);
    // 60 ms, then 120 ms; the clock of the reports counts whole milliseconds.
    expect((times[2] ?? 0) - (times[1] ?? 0)).toBeGreaterThanOrEqual(59);
    expect((times[4] ?? 0) - (times[3] ?? 0)).toBeGreaterThanOrEqual(119);
    const order = outcome.reports.map(
      (report) => `${report.task_id} ${report.status} ${report.task_attempt}`,
    );
    expect(order.indexOf("other COMPLETED 1")).toBeLessThan(order.indexOf("flaky RUNNING 2"));
  });

  test("with jitter and max_delay, the report of a try says how long the next wait is", async () => {
    using bench = new Bench({ random: () => 0 });
    const outcome = await bench.run({
      flaky: { run: "false", retry: { ...retry(4, 100, 4), jitter: 0.9, max_delay_ms: 200 } },
      plain: { run: "false", retry: retry(2, 5) },
    });
    const waits = (task: string) =>
      outcome.reports.flatMap((report) => (report.task_id === task ? (report.next_try_ms ?? []) : []));
    expect(waits("flaky")).toEqual([10, 20, 20]);
    expect(waits("plain")).toEqual([5]);
    expect(outcome.log("flaky")[0]).toEndWith("failed (exit status 1); next attempt in 10ms.");
  });

  test("with on_exit_codes, only these are tried again: no other code, timeout, signal or start", async () => {
    using bench = new Bench();
    const some = { ...retry(3, 1), on_exit_codes: [[75, 75] as const, [100, 110] as const] };
    const outcome = await bench.run({
      code: { run: 'exit "$((CDKTR_ATTEMPT == 1 ? 75 : 105))"', retry: some },
      other: { run: "exit 74", retry: some },
      slow: { run: "trap 'exit 75' TERM; sleep 60 & wait", timeout_ms: 100, retry: some },
      killed: { run: "kill -9 $$", retry: some },
      missing: { run: ["/nonexistent/program"], retry: some },
    });
    const tries = (task: string) => outcome.last(task).task_attempt;
    expect(["code", "other", "slow", "killed", "missing"].map(tries)).toEqual([3, 1, 1, 1, 1]);
    expect(outcome.log("other")).toEqual([
      "WARN Attempt 1 of 3 failed (exit status 74); it is not tried again: on_exit_codes has only 75, 100-110.",
    ]);
    expect(outcome.end).toBe("FAILED");
  });

  test("a kind that only a newer principal knows fails its task, and says so", async () => {
    using bench = new Bench();
    const newer = { type: "Teleport", to: "Mars" } as unknown as TaskConfig;
    const outcome = await bench.run({ t: { config: newer }, other: {} });
    expect(outcome.last("t").error).toBe("This agent does not know the kind of task !Teleport.");
    expect(outcome.log("t").join("\n")).toContain("the principal is newer");
    expect(outcome.last("other").status).toBe("COMPLETED");
  });

  test("a failure to start counts as a failed attempt", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ t: { run: ["/nonexistent/program"], retry: retry(2) } });
    expect(outcome.statuses("t")).toEqual(["RUNNING", "WAITING", "RUNNING", "FAILED"]);
    expect(outcome.last("t").error).toBe("/nonexistent/program does not exist.");
    expect(outcome.log("t").filter((line) => line.startsWith("ERROR"))).toEqual([
      "ERROR /nonexistent/program does not exist.",
      "ERROR /nonexistent/program does not exist.",
    ]);
  });
});

describe("time limits", () => {
  test("a task that takes too long is ended with its whole group, and fails", async () => {
    using bench = new Bench({ clock: clockWith(300, () => bench.outbox.lastLogSeq > 0) });
    const outcome = await bench.run({
      slow: { run: "sleep 600 & echo $! > child; echo started; wait", timeout_ms: 300 },
      after: { depends: ["slow"] },
    });
    expect(outcome.end).toBe("FAILED");
    expect(outcome.last("slow")).toMatchObject({
      status: "FAILED",
      error: "timed out after 300ms",
      signal: "SIGTERM",
    });
    expect(outcome.log("slow")).toEqual(["INFO started", "ERROR Timed out after 300ms. SIGTERM is sent."]);
    expect(outcome.statuses("after")).toEqual(["SKIPPED"]);
    expect(isRunning(Number(readFileSync(join(bench.directory, "child"), "utf8")))).toBe(false);
  });

  test("what ignores SIGTERM is killed when the grace period is over, its children too", async () => {
    using bench = new Bench({ graceMs: 200, clock: clockWith(300, () => bench.has("child")) });
    const outcome = await bench.run({
      stubborn: {
        run: 'trap "" TERM; sh -c "trap \\"\\" TERM; echo \\$\\$ > child; while :; do sleep 0.05; done" & while :; do sleep 0.05; done',
        timeout_ms: 300,
      },
    });
    expect(outcome.last("stubborn")).toMatchObject({ status: "FAILED", signal: "SIGKILL" });
    expect(outcome.log("stubborn")).toContain("WARN Still running 200ms after SIGTERM: killed.");
    expect(isRunning(Number(readFileSync(join(bench.directory, "child"), "utf8")))).toBe(false);
  });

  test("each try has the whole time, and one that timed out is tried again", async () => {
    let limits = 0;
    // The time of the first try is over when that runs; the second one has all the time that it needs.
    using bench = new Bench({ clock: clockWith(700, () => bench.has("first") && limits++ === 0) });
    const outcome = await bench.run({
      t: { run: '[ "$CDKTR_ATTEMPT" = 2 ] || { touch first; sleep 600; }', timeout_ms: 700, retry: retry(2) },
    });
    expect(outcome.statuses("t")).toEqual(["RUNNING", "WAITING", "RUNNING", "COMPLETED"]);
  });

  test("a process that exits with 0 after being ended has still failed", async () => {
    using bench = new Bench({ clock: clockWith(300, () => bench.has("set")) });
    const outcome = await bench.run({
      t: { run: 'trap "exit 0" TERM; sleep 600 & touch set; wait', timeout_ms: 300 },
    });
    expect(outcome.last("t")).toMatchObject({
      status: "FAILED",
      exit_code: 0,
      error: "timed out after 300ms",
    });
  });

  test("a stopped process is ended too", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ t: { run: "kill -STOP $$", timeout_ms: 200 } });
    expect(outcome.last("t")).toMatchObject({ status: "FAILED", signal: "SIGTERM" });
  });

  test("a run that takes too long fails: what runs or waits for its next try FAILED, what has not begun SKIPPED", async () => {
    const reached = (status: string) =>
      bench.outbox.reports(0, 100).some((report) => report.kind === "task" && report.status === status);
    const clock = clockWith(500, () => ["COMPLETED", "WAITING"].every(reached) && bench.has("running"));
    using bench = new Bench({ slots: 2, clock });
    const outcome = await bench.run(
      {
        done: { run: "true" },
        running: { run: "touch running; sleep 600" },
        waiting: { run: "false", retry: retry(9, 600_000) },
        pending: { depends: ["running"] },
      },
      { timeout_ms: 500 },
    );
    expect(outcome.end).toBe("FAILED");
    expect(outcome.runReports.map((report) => [report.status, report.error])).toEqual([
      ["FAILED", "timed out after 500ms"],
    ]);
    expect(outcome.last("done").status).toBe("COMPLETED");
    expect(outcome.last("running")).toMatchObject({ status: "FAILED", error: "the run timed out" });
    expect(outcome.last("waiting")).toMatchObject({ status: "FAILED", error: "the run timed out" });
    expect(outcome.last("pending")).toMatchObject({ status: "SKIPPED", error: "the run timed out" });
    expect(outcome.log("running")).toEqual(["WARN Stopped: the run timed out."]);
  });

  test("a further attempt has what earlier ones have left", async () => {
    using bench = new Bench({ clock: clockWith(400, () => bench.has("running")) });
    const outcome = await bench.run(
      { running: { run: "touch running; sleep 600" } },
      { timeout_ms: 3_600_000 },
      { attempt: 2, time_left_ms: 400 },
    );
    expect(outcome.runReports.map((report) => [report.status, report.error])).toEqual([
      ["FAILED", "timed out after 1h"],
    ]);
  });

  test("nothing starts in an attempt for which no time is left", async () => {
    using bench = new Bench();
    const outcome = await bench.run(
      { first: { run: "touch first" } },
      { timeout_ms: 3_600_000 },
      { attempt: 2, time_left_ms: 0 },
    );
    expect(outcome.end).toBe("FAILED");
    expect(outcome.last("first")).toMatchObject({ status: "SKIPPED", error: "the run timed out" });
    expect(bench.has("first")).toBe(false);
  });
});

describe("stopping", () => {
  test("cancelled: what runs, waits or has not begun is CANCELLED, and so is the run", async () => {
    using bench = new Bench({ slots: 1 });
    const assignment = assignmentOf(
      workflowOf({
        running: { run: "touch running; sleep 600" },
        queued: { run: "true" },
        later: { depends: ["running"] },
      }),
    );
    const run = bench.prepare(assignment);
    run.start();
    await until(() => existsSync(join(bench.directory, "running")), "the task runs");
    run.stop("cancelled");
    run.stop("cancelled");
    const outcome = bench.outcome(assignment, await run.over);
    expect(outcome.end).toBe("CANCELLED");
    expect(outcome.statuses("running")).toEqual(["RUNNING", "CANCELLED"]);
    expect(outcome.statuses("queued")).toEqual(["CANCELLED"]);
    expect(outcome.statuses("later")).toEqual(["CANCELLED"]);
    expect(outcome.runReports.map((report) => report.status)).toEqual(["CANCELLED"]);
    expect(bench.context.slots.used).toBe(0);
  });

  test("cancelled while a task waits for its next try", async () => {
    using bench = new Bench();
    const assignment = assignmentOf(workflowOf({ t: { run: "false", retry: retry(2, 600_000) } }));
    const run = bench.prepare(assignment);
    run.start();
    await until(() => bench.outcome(assignment, null).statuses("t").includes("WAITING"), "the task waits");
    run.stop("cancelled");
    expect(await run.over).toBe("CANCELLED");
    expect(bench.outcome(assignment, null).statuses("t")).toEqual(["RUNNING", "WAITING", "CANCELLED"]);
  });

  test("superseded: the processes end, and nothing more is reported", async () => {
    using bench = new Bench();
    const assignment = assignmentOf(
      workflowOf({ t: { run: "echo $$ > pid; sleep 600" }, u: { depends: ["t"] } }),
    );
    const run = bench.prepare(assignment);
    run.start();
    const file = join(bench.directory, "pid");
    await until(() => existsSync(file) && readFileSync(file, "utf8") !== "", "the task runs");
    run.stop("superseded");
    expect(await run.over).toBe(null);
    const outcome = bench.outcome(assignment, null);
    expect(outcome.reports.map((report) => report.status)).toEqual(["RUNNING"]);
    expect(outcome.runReports).toEqual([]);
    expect(isRunning(Number(readFileSync(file, "utf8")))).toBe(false);
  });

  test("superseded after it was cancelled: the end of the run is not reported", async () => {
    using bench = new Bench();
    const assignment = assignmentOf(workflowOf({ t: { run: "sleep 600" } }));
    const run = bench.prepare(assignment);
    run.start();
    run.stop("cancelled");
    run.stop("superseded");
    expect(await run.over).toBe(null);
    expect(bench.outcome(assignment, null).runReports).toEqual([]);
  });

  test("stopped before it was confirmed: no task ever starts", async () => {
    using bench = new Bench();
    const assignment = assignmentOf(workflowOf({ t: { run: "touch ran" } }));
    const run = bench.prepare(assignment);
    run.stop("cancelled");
    run.start();
    expect(await run.over).toBe("CANCELLED");
    expect(run.isStarted).toBe(false);
    expect(existsSync(join(bench.directory, "ran"))).toBe(false);
  });
});

describe("the environment of a task", () => {
  test("says which run, task and try it is, when it was meant to run, and the parameters", async () => {
    using bench = new Bench({
      environment: {
        PATH: process.env.PATH,
        HOME: "/home/agent",
        FROM: "agent",
        CDKTR_PRINCIPAL_PORT: "5561",
        CDKTR_CURVE_SECRET_KEY: "hidden",
        CDKTR_JOIN_TOKEN: "hidden",
        CDKTR_PARAM_LEFTOVER: "of an outer task",
        CDKTR_TASK_ID: "outer",
      },
    });
    const outcome = await bench.run(
      {
        show: {
          run: ["env"],
          env: { FROM: "task", ONLY_TASK: "1", CDKTR_TASK_ID: "forged", CDKTR_PARAM_DAY: "forged" },
        },
      },
      { env: { FROM: "workflow", WORKFLOW_WIDE: "yes" } },
      {
        attempt: 2,
        scheduled_time_ms: 1_737_338_400_000,
        params: { day: "2025-01-20", "dry-run": "line one\nline two" },
      },
    );
    const lines = outcome.lines.map((line) => line.payload);
    for (const expected of [
      "FROM=task",
      "ONLY_TASK=1",
      "WORKFLOW_WIDE=yes",
      "HOME=/home/agent",
      "CDKTR_PRINCIPAL_PORT=5561",
      "CDKTR_WORKFLOW_ID=test.flow",
      `CDKTR_WORKFLOW_INSTANCE_ID=${outcome.lines[0]?.workflow_instance_id}`,
      "CDKTR_TASK_ID=show",
      `CDKTR_TASK_INSTANCE_ID=${outcome.last("show").task_instance_id}`,
      "CDKTR_ATTEMPT=1",
      "CDKTR_RUN_ATTEMPT=2",
      "CDKTR_SCHEDULED_TIME=2025-01-20T02:00:00.000Z",
      "CDKTR_PARAM_DAY=2025-01-20",
      "CDKTR_PARAM_DRY_RUN=line one",
      `CDKTR_AGENT_STREAM_ID=${bench.outbox.streamId}`,
    ]) {
      expect(lines).toContain(expected);
    }
    expect(lines.join("\n")).not.toContain("hidden");
    expect(lines.join("\n")).not.toContain("LEFTOVER");
  });

  test("without a schedule the scheduled time is that of the trigger", async () => {
    using bench = new Bench();
    const created_at_ms = Date.UTC(2024, 1, 29, 12, 30, 15, 250);
    const outcome = await bench.run({ t: { run: "echo $CDKTR_SCHEDULED_TIME" } }, {}, { created_at_ms });
    expect(outcome.lines[0]?.payload).toBe("2024-02-29T12:30:15.250Z");
  });

  test("arguments reach the program as they are: no shell takes part", async () => {
    using bench = new Bench();
    const odd = ["$HOME", "`date`", "a b", "*", "'\"", "", "--", "ž\n2"];
    const script = join(bench.directory, "args");
    writeFileSync(script, '#!/bin/sh\nfor a in "$@"; do printf "%s|" "$a"; done\n', { mode: 0o755 });
    const outcome = await bench.run({ t: { run: [script, ...odd] } });
    expect(outcome.lines.map((line) => line.payload).join("\n")).toBe(`${odd.join("|")}|`);
  });

  test("a relative working directory starts at the agent's, a relative cmd at the working directory", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      make: { run: 'mkdir -p sub/deep; printf "#!/bin/sh\\npwd\\n" > sub/deep/tool; chmod +x sub/deep/tool' },
      here: { run: ["./tool"], cwd: "sub/deep", depends: ["make"] },
      path: { run: ["deep/tool"], cwd: "./sub", depends: ["make"] },
      absolute: { run: ["pwd"], cwd: "/", depends: ["make"] },
    });
    expect(outcome.log("here")).toEqual([`INFO ${bench.directory}/sub/deep`]);
    expect(outcome.log("path")).toEqual([`INFO ${bench.directory}/sub`]);
    expect(outcome.log("absolute")).toEqual(["INFO /"]);
  });
});

describe("time", () => {
  test("when the clock jumps back, the lines and reports of a task do not", async () => {
    let now = 1_000_000;
    using bench = new Bench({
      clock: {
        ...systemClock,
        now: () => {
          now -= 1000;
          return now;
        },
      },
    });
    const outcome = await bench.run({
      t: { run: "for i in 1 2 3 4 5; do echo $i; echo $i >&2; sleep 0.02; done" },
    });
    for (const times of [outcome.lines, outcome.reports].map((rows) => rows.map((row) => row.timestamp_ms))) {
      expect(times.length).toBeGreaterThan(1);
      expect(times).toEqual([...times].sort((a, b) => a - b));
    }
  });
});

describe("a slice of a run", () => {
  const tasks: Record<string, TaskSpec> = {
    before: {},
    a: { run: 'cat "$CDKTR_INPUTS"/*; echo n=2 > "$CDKTR_OUTPUT"', depends: ["before"] },
    b: { run: 'cat "$CDKTR_INPUTS"/*', depends: ["a", "before"] },
    elsewhere: { depends: ["before"] },
    after: { depends: ["b", "elsewhere"] },
  };
  const slice = {
    slice: 3,
    attempt: 2,
    tasks: ["a", "b"],
    results: { before: { status: "COMPLETED", outputs: { n: 1 } } },
  } as const;
  const assigned = (more: Partial<RunAssignment> = {}) => ({ ...slice, tasks: [...slice.tasks], ...more });

  test("is over when its tasks are; others are neither executed nor reported", async () => {
    using bench = new Bench();
    const outcome = await bench.run(tasks, {}, assigned());
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.reports.map(({ task_id, status }) => `${task_id} ${status}`)).toEqual([
      "a RUNNING",
      "a COMPLETED",
      "b RUNNING",
      "b COMPLETED",
    ]);
    expect(outcome.log("b")).toEqual(['INFO {"n":"2"}', 'INFO {"n":1}']);
    for (const report of [...outcome.reports, ...outcome.runReports])
      expect(report).toMatchObject({ slice: 3, attempt: 2 });
  });

  test("what COMPLETED in an earlier attempt of it is not executed again, and its outputs are there", async () => {
    using bench = new Bench();
    const outcome = await bench.run(
      tasks,
      {},
      assigned({
        completed_tasks: ["before", "a"],
        results: { ...slice.results, a: { status: "COMPLETED", outputs: { n: "of attempt 1" } } },
      }),
    );
    expect([outcome.end, outcome.reports.map(({ task_id }) => task_id)]).toEqual(["COMPLETED", ["b", "b"]]);
    expect(outcome.log("b")).toEqual(['INFO {"n":"of attempt 1"}', 'INFO {"n":1}']);
  });

  test("its tasks find what is before those on which they depend, if no agent executes these", async () => {
    using bench = new Bench();
    const config = { type: "Wait", for_ms: 1 } as const;
    const gated: Record<string, TaskSpec> = {
      first: {},
      before: { depends: ["first"] },
      pause: { depends: ["before"], config },
      again: { depends: ["pause"], config },
      a: { run: 'cd "$CDKTR_INPUTS"; cat *; ls; echo n=2 > "$CDKTR_OUTPUT"', depends: ["again"] },
      b: { run: 'cd "$CDKTR_INPUTS"; cat *; ls', depends: ["a"] },
    };
    const none = { status: "COMPLETED", outputs: null } as const;
    const published = { first: { status: "COMPLETED", outputs: { n: 0 } }, ...slice.results } as const;
    const outcome = await bench.run(
      gated,
      {},
      assigned({ results: { ...published, pause: none, again: none } }),
    );
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.log("a")).toEqual(['INFO {"n":1}', "INFO before.json"]);
    expect(outcome.log("b")).toEqual(['INFO {"n":"2"}', "INFO a.json"]);
  });

  test("fails when one of its tasks fails: those in it that depend on it are skipped", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ ...tasks, a: { run: "exit 3", depends: ["before"] } }, {}, assigned());
    expect(outcome.end).toBe("FAILED");
    expect(outcome.runReports).toMatchObject([{ status: "FAILED", error: "failed: a" }]);
    expect(outcome.reports.map(({ task_id, status }) => `${task_id} ${status}`)).toEqual([
      "a RUNNING",
      "a FAILED",
      "b SKIPPED",
    ]);
  });

  test.each([
    [50, "timed out after 50ms"],
    [null, "the run timed out"],
  ])(
    "does not watch the time limit of the run (%p): the principal says when it is over",
    async (timeout_ms, error) => {
      using bench = new Bench();
      const run = bench.prepare(
        assignmentOf(
          workflowOf(
            { ...tasks, a: { run: "sleep 0.2; touch later; sleep 1000", depends: ["before"] } },
            { timeout_ms },
          ),
          assigned(),
        ),
      );
      run.start();
      // After more than the limit it is still at work.
      await until(() => bench.has("later"), "the task goes on");
      run.stop("run timed out");
      expect(await run.over).toBe("FAILED");
      const reports = bench.outbox.reports(0, 100);
      expect(reports.map((report) => `${report.kind} ${report.status} ${report.error}`)).toEqual([
        "task RUNNING null",
        "task SKIPPED the run timed out",
        "task FAILED the run timed out",
        `run FAILED ${error}`,
      ]);
    },
  );

  test.each<[string, Partial<RunAssignment>, string]>([
    ["needs a task whose result is missing", { results: {} }, '"before"'],
    ["names a task that does not exist", { tasks: ["a", "b", "c"] }, 'there is no task "c"'],
  ])("that %s is refused", (_, more, message) => {
    using bench = new Bench();
    expect(() => bench.prepare(assignmentOf(workflowOf(tasks), assigned(more)))).toThrow(message);
  });
});
