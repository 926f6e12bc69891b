import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { AGENT_MARKER, TASK_MARKER } from "../../src/agent/environment.ts";
import { endOrphans, StraySweep } from "../../src/agent/orphans.ts";
import { Outbox } from "../../src/agent/outbox.ts";
import { readStat } from "../../src/agent/proc-files.ts";
import { bootId } from "../../src/host/boot.ts";
import { TestPrincipal } from "../principal/support.ts";
import { Bench, isRunning, until } from "./support/bench.ts";
import { ended, Fleet, linesOf, shellWorkflow, trigger } from "./support/fleet.ts";

const SOURCE = join(import.meta.dir, "../../src/agent/agent.ts");

/** An agent in a process of its own, which a test can kill. */
function spawnAgent(config: object, suffix: string): Bun.Subprocess {
  const script = `
    import { Agent } from ${JSON.stringify(SOURCE)};
    const agent = new Agent({ config: ${JSON.stringify(config)}, suffix: ${JSON.stringify(suffix)}, graceMs: 500 });
    await agent.start();
    process.exit(await agent.done);
  `;
  return Bun.spawn([process.execPath, "-e", script], { stdout: "ignore", stderr: "ignore" });
}

const pidIn = (file: string) => Number(existsSync(file) ? readFileSync(file, "utf8") : 0);

describe("an agent that was killed", () => {
  test.each([
    ["its own next start", "victim"],
    ["the start of another agent on the host", "other"],
  ])("%s ends what it left, before the run goes on", async (_, successor) => {
    await using fleet = new Fleet();
    const files = ["plain", "ignores", "daemon", "naked"].map((name) => join(fleet.directory, name));
    const [plain = "", ignores = "", daemon = "", naked = ""] = files;
    await using principal = await new TestPrincipal({
      workflows: {
        "flow.yml": shellWorkflow({
          quick: "echo quick",
          slow: {
            run:
              `[ $CDKTR_RUN_ATTEMPT = 1 ] || { echo again; exit 0; }; ` +
              `(trap "" TERM; echo $BASHPID > ${ignores}; while :; do sleep 0.05; done) & ` +
              `setsid sh -c 'echo $$ > ${daemon}; exec sleep 600' > /dev/null 2>&1 & ` +
              `env -i sh -c 'echo $$ > ${naked}; exec sleep 600' & ` +
              `echo $$ > ${plain}; sleep 600`,
            depends: ["quick"],
          },
        }).replaceAll("cmd: sh", "cmd: bash"),
      },
      config: { CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: 1500, CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 300 },
    }).start();
    const config = fleet.config(principal.ports, { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 300 });
    const victim = spawnAgent(config, "victim");
    const client = principal.client();
    const id = await trigger(client, "flow");
    await until(() => files.every((file) => pidIn(file) > 0), "the task and its children run");
    // Its report that the first task is over is delivered.
    await until(
      async () =>
        (await client.getRun(id)).tasks.find((task) => task.task_id === "slow")?.status === "RUNNING",
      "the second task is RUNNING",
    );
    victim.kill("SIGKILL");
    await victim.exited;
    const pids = files.map(pidIn);
    expect(pids.map(isRunning)).toEqual([true, true, true, true]);
    const agent = await fleet.agent(config, { suffix: successor });
    expect(pids.map(isRunning)).toEqual([false, false, false, false]);
    const run = await ended(client, id);
    expect(run).toMatchObject({ status: "COMPLETED", attempt: 2 });
    expect(run.attempts.map((attempt) => attempt.status)).toEqual(["CRASHED", "COMPLETED"]);
    // The task that had COMPLETED was not run again.
    expect(await linesOf(client, id)).toEqual(["INFO quick", "INFO again"]);
    await agent.stop();
  });
});

test("an agent returns after being silent too long: its attempt is over, its processes are ended, its late reports change nothing", async () => {
  await using fleet = new Fleet();
  const pid = join(fleet.directory, "pid");
  const times = { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 200, CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: 500 };
  await using principal = await new TestPrincipal({
    workflows: {
      "flow.yml": shellWorkflow({
        t: `[ $CDKTR_RUN_ATTEMPT = 1 ] || { echo second; exit 0; }; echo first; echo $$ > ${pid}; while :; do sleep 0.05; done`,
      }),
    },
    config: { ...times, CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: 1000 },
  }).start();
  const config = fleet.config(principal.ports, { ...times, CDKTR_RETRY_ATTEMPTS: 1000 });
  const silent = spawnAgent(config, "silent");
  try {
    const client = principal.client();
    const id = await trigger(client, "flow");
    await until(() => pidIn(pid) > 0, "the task runs");
    await until(async () => (await client.getRun(id)).status === "RUNNING", "the run is RUNNING");
    silent.kill("SIGSTOP");
    const other = await fleet.agent(config, { suffix: "other" });
    const run = await ended(client, id);
    expect(run).toMatchObject({ status: "COMPLETED", attempt: 2, agent_id: other.id });
    expect(isRunning(pidIn(pid))).toBe(true);
    silent.kill("SIGCONT");
    await until(() => !isRunning(pidIn(pid)), "the task of the first attempt is ended");
    // It is a full member again, and takes work.
    await until(
      async () => (await client.registeredAgents()).every((agent) => agent.status === "UP"),
      "both agents are UP",
    );
    const after = await client.getRun(id);
    expect(after).toMatchObject({ status: "COMPLETED", attempt: 2 });
    expect(after.attempts.map((attempt) => attempt.status)).toEqual(["CRASHED", "COMPLETED"]);
    expect(after.tasks.map((task) => task.status)).toEqual(["COMPLETED"]);
    silent.kill("SIGTERM");
    await other.stop();
  } finally {
    silent.kill("SIGKILL");
    await silent.exited;
  }
});

describe("which processes are ended", () => {
  test("not a process that has the pid of a recorded one but another start time, nor one of another boot", async () => {
    using bench = new Bench();
    const foreign = Bun.spawn(["sleep", "600"], { detached: true });
    try {
      const startTicks = readStat(foreign.pid)?.startTicks ?? 0;
      const record = { pid: foreign.pid, task_instance_id: "x" };
      bench.outbox.rememberProcess({ ...record, start_ticks: startTicks - 1, boot_id: bootId() });
      await endOrphans(bench.outbox, bench.directory, 100);
      expect(isRunning(foreign.pid)).toBe(true);
      bench.outbox.rememberProcess({ ...record, start_ticks: startTicks, boot_id: "another" });
      await endOrphans(bench.outbox, bench.directory, 100);
      expect(isRunning(foreign.pid)).toBe(true);
      expect(bench.outbox.processes()).toEqual([]);
      bench.outbox.rememberProcess({ ...record, start_ticks: startTicks, boot_id: bootId() });
      await endOrphans(bench.outbox, bench.directory, 100);
      expect(isRunning(foreign.pid)).toBe(false);
    } finally {
      foreign.kill("SIGKILL");
    }
  });

  test("not the tasks of an agent that runs beside this one", async () => {
    using bench = new Bench();
    const agents = join(bench.directory, "agents");
    const own = Outbox.open({ directory: join(agents, "own"), agentId: "own" });
    const beside = Outbox.open({ directory: join(agents, "beside"), agentId: "beside" });
    const task = Bun.spawn(["sleep", "600"], { env: { ...process.env, [AGENT_MARKER]: beside.streamId } });
    try {
      await endOrphans(own, agents, 100);
      expect(isRunning(task.pid)).toBe(true);
      beside.close();
      await endOrphans(own, agents, 100);
      expect(isRunning(task.pid)).toBe(false);
    } finally {
      task.kill("SIGKILL");
      own.close();
      beside.close();
    }
  });

  test("not the agent itself, when a task of its former self started it", async () => {
    using bench = new Bench();
    const data = join(bench.directory, "agents");
    const outbox = Outbox.open({ directory: join(data, "a"), agentId: "a" });
    const { streamId } = outbox;
    outbox.close();
    const script = `
      import { endOrphans } from ${JSON.stringify(join(import.meta.dir, "../../src/agent/orphans.ts"))};
      import { Outbox } from ${JSON.stringify(join(import.meta.dir, "../../src/agent/outbox.ts"))};
      await endOrphans(Outbox.open({ directory: ${JSON.stringify(join(data, "a"))}, agentId: "a" }), ${JSON.stringify(data)}, 100);
      console.log("alive");
    `;
    const child = Bun.spawn(["sh", "-c", '"$0" -e "$1"; echo parent', process.execPath, script], {
      env: { ...process.env, [AGENT_MARKER]: streamId, [TASK_MARKER]: "t" },
      stdout: "pipe",
      stderr: "inherit",
    });
    expect(await new Response(child.stdout).text()).toBe("alive\nparent\n");
  });
});

describe("a daemon that a task leaves", () => {
  test("is ended after the run, unless it was started without the markers", async () => {
    using bench = new Bench();
    const sweep = new StraySweep(bench.outbox, { ...bench.context, graceMs: 200 });
    await sweep.start();
    const outcome = await bench.run({
      t: {
        run:
          "setsid sh -c 'echo $$ > daemon; exec sleep 600' > /dev/null 2>&1 & " +
          `env -u ${AGENT_MARKER} -u ${TASK_MARKER} setsid sh -c 'echo $$ > meant; exec sleep 600' > /dev/null 2>&1 & ` +
          "while [ ! -s daemon ] || [ ! -s meant ]; do sleep 0.01; done",
      },
    });
    expect(outcome.end).toBe("COMPLETED");
    const daemon = pidIn(join(bench.directory, "daemon"));
    const meant = pidIn(join(bench.directory, "meant"));
    try {
      expect([daemon, meant].map(isRunning)).toEqual([true, true]);
      sweep.schedule();
      await sweep.stop();
      expect([daemon, meant].map(isRunning)).toEqual([false, true]);
    } finally {
      process.kill(meant, "SIGKILL");
    }
  });

  test("a sweep does not affect running tasks", async () => {
    using bench = new Bench();
    const sweep = new StraySweep(bench.outbox, { ...bench.context, graceMs: 200 });
    const going = bench.run({
      t: { run: "echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; echo fine" },
    });
    const file = join(bench.directory, "pid");
    await until(() => pidIn(file) > 0, "the task runs");
    await sweep.sweep();
    expect(isRunning(pidIn(file))).toBe(true);
    await Bun.write(join(bench.directory, "go"), "");
    expect((await going).log("t")).toEqual(["INFO fine"]);
  });
});
