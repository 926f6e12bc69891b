/** Processes that a task leaves behind, and what the end of a task waits for. */
import { expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { StraySweep } from "../../src/agent/orphans.ts";
import { assignmentOf, Bench, clockWith, isRunning, until, workflowOf } from "./support/bench.ts";

const pidIn = (bench: Bench, file: string) => Number(readFileSync(join(bench.directory, file), "utf8"));
const LEFT = "The task has ended but left processes running";

test("background: wait: the task goes on until what it left has ended, also in a session of its own", async () => {
  using bench = new Bench();
  const outcome = await bench.run({
    group: { run: "(sleep 0.8; echo late; touch group) & echo early", background: "wait" },
    session: {
      run: "setsid sh -c 'echo $$ > pid; sleep 0.8; touch session' > /dev/null 2>&1 & while [ ! -s pid ]; do sleep 0.01; done",
      background: "wait",
    },
  });
  expect(outcome.end).toBe("COMPLETED");
  expect(["group", "session"].map((name) => bench.has(name))).toEqual([true, true]);
  expect(outcome.log("group")).toContain("INFO late");
  for (const id of ["group", "session"])
    expect(outcome.log(id).join()).toMatch(
      new RegExp(`INFO ${LEFT}: .*\\. The task waits for them \\(background: wait\\)\\.`),
    );
});

test("background: wait: the timeout ends what the task waits for", async () => {
  using bench = new Bench({ graceMs: 100, clock: clockWith(400, () => bench.has("waits")) });
  const outcome = await bench.run({
    t: {
      run: "(trap '' TERM; touch waits; sleep 600 & echo $! > left; wait) & true",
      background: "wait",
      timeout_ms: 400,
    },
  });
  expect(outcome.last("t")).toMatchObject({ status: "FAILED", error: "timed out after 400ms" });
  expect(isRunning(pidIn(bench, "left"))).toBe(false);
});

test("background: leave: what the task left lives on, and no sweep ends it", async () => {
  using bench = new Bench();
  const outcome = await bench.run({
    t: { run: "sleep 600 & echo $! > left; setsid sleep 600 & echo $! > session", background: "leave" },
  });
  const pids = ["left", "session"].map((file) => pidIn(bench, file));
  try {
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.log("t").join()).toMatch(
      new RegExp(`INFO ${LEFT}: .*They keep running \\(background: leave\\)`),
    );
    await new StraySweep(bench.outbox, { ...bench.context, graceMs: 200 }).sweep();
    expect(pids.map(isRunning)).toEqual([true, true]);
  } finally {
    for (const pid of pids) process.kill(pid, "SIGKILL");
  }
});

test("background: kill, the default: processes in their own session are also listed in the task's log", async () => {
  using bench = new Bench();
  const assignment = assignmentOf(
    workflowOf({ t: { run: "setsid sleep 600 > /dev/null 2>&1 & echo $! > session" } }),
  );
  const run = bench.prepare(assignment);
  run.start();
  await run.over;
  await new StraySweep(bench.outbox, { ...bench.context, graceMs: 200 }).sweep();
  expect(isRunning(pidIn(bench, "session"))).toBe(false);
  expect(bench.outcome(assignment, null).log("t").join()).toMatch(
    /WARN The task had left processes running: (setsid|sleep) \(pid \d+\)\. They will be ended\./,
  );
});

test("a program that forwards TERM receives it alone, so its child receives it once", async () => {
  using bench = new Bench({ clock: clockWith(400, () => bench.has("ready")) });
  const child =
    "trap 'echo TERM >> told' TERM; touch ready; while [ ! -s told ]; do sleep 0.02; done; sleep 0.3";
  for (const [name, text] of [
    ["uv", `#!/bin/sh\n./child & child=$!\ntrap 'kill -TERM $child' TERM\nwait; wait\n`],
    ["child", `#!/bin/sh\n${child}\n`],
  ] as const) {
    writeFileSync(join(bench.directory, name), text);
    chmodSync(join(bench.directory, name), 0o755);
  }
  const outcome = await bench.run({ t: { run: ["./uv"], timeout_ms: 400 } });
  expect(outcome.last("t").status).toBe("FAILED");
  expect(readFileSync(join(bench.directory, "told"), "utf8")).toBe("TERM\n");
});

test("the error of a task has its last line on stderr", async () => {
  using bench = new Bench();
  const outcome = await bench.run({
    said: { run: "echo first >&2; echo 'disk quota exceeded' >&2; echo >&2; echo out; exit 4" },
    long: { run: "printf '%01000d' 7 >&2; exit 5" },
    silent: { run: "exit 6" },
  });
  expect(outcome.last("said").error).toBe("exit status 4: disk quota exceeded");
  expect(outcome.last("long").error).toBe(`exit status 5: ${"0".repeat(300)}`);
  expect(outcome.last("silent").error).toBe("exit status 6");
});

test("no room in the outbox delays lines, not the end of a task: neither its own, nor a timeout, nor a cancel", async () => {
  using bench = new Bench({ outboxLimitBytes: 1, clock: clockWith(400, () => bench.has("writing")) });
  const flood = "touch writing; yes 'a line that is quite long' | head -c 50000000";
  const assignment = assignmentOf(
    workflowOf({
      ends: { run: "echo before; head -c 60000 /dev/zero | tr '\\0' x; echo; echo last" },
      "times-out": { run: flood, timeout_ms: 400 },
      cancelled: { run: `${flood}; touch done` },
    }),
  );
  // Nobody takes these lines.
  const filler = await bench.run({ t: { run: "echo full" } });
  expect(filler.end).toBe("COMPLETED");
  const run = bench.prepare(assignment);
  run.start();
  const status = (task: string) => bench.outcome(assignment, null).statuses(task).at(-1);
  await until(() => status("ends") === "COMPLETED" && status("times-out") === "FAILED", "both are over");
  run.stop("cancelled");
  expect(await run.over).toBe("CANCELLED");
  expect(existsSync(join(bench.directory, "done"))).toBe(false);
  expect(bench.outcome(assignment, null).log("ends").at(-1)).toBe("INFO last");
});
