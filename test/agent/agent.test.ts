import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Agent } from "../../src/agent/agent.ts";
import { OutboxLockedError } from "../../src/agent/outbox-file.ts";
import { failure, lastingPorts, TestPrincipal } from "../principal/support.ts";
import { isRunning, until } from "./support/bench.ts";
import { ended, Fleet, linesOf, shellWorkflow, trigger } from "./support/fleet.ts";

describe("runs", () => {
  test("a run is fetched, executed and reported; its lines are in the history", async () => {
    await using principal = await new TestPrincipal({
      workflows: {
        "flow.yml": shellWorkflow(
          {
            a: "echo from a",
            b: { run: "echo $CDKTR_PARAM_DAY; exit 3", depends: ["a"] },
            c: { run: "true", depends: ["b"] },
          },
          "params: {day: {default: monday}}",
        ),
      },
    }).start();
    await using fleet = new Fleet();
    const agent = await fleet.agent(fleet.config(principal.ports), { labels: { zone: "b" } });
    const client = principal.client();
    const run = await ended(client, await trigger(client, "flow", { day: "tuesday" }));
    expect(run).toMatchObject({ status: "FAILED", error: "failed: b", agent_id: agent.id });
    expect(run.tasks.map((task) => [task.task_id, task.status, task.exit_code, task.error])).toEqual([
      ["a", "COMPLETED", 0, null],
      ["b", "FAILED", 3, "exit status 3"],
      ["c", "SKIPPED", null, '"b", on which it depends, FAILED'],
    ]);
    expect(await linesOf(client, run.workflow_instance_id)).toEqual(["INFO from a", "INFO tuesday"]);
    const [listed] = await client.registeredAgents();
    expect(listed).toMatchObject({
      agent_id: agent.id,
      status: "UP",
      labels: { zone: "b" },
      running_workflows: 0,
    });
  });

  test("a run that cannot be executed as it is stored fails, and the agent goes on", async () => {
    await using principal = await new TestPrincipal({
      workflows: { "flow.yml": shellWorkflow({ t: "true" }) },
    }).start();
    const stored = await trigger(principal.client(), "flow");
    await principal.stop();
    // Later than a `Date` can be: earlier versions took it.
    const state = new Database(join(principal.directory, "data", "state.db"));
    state.run("UPDATE runs SET scheduled_time_ms = 9000000000000000");
    state.close();
    await principal.start();
    await using fleet = new Fleet();
    await fleet.agent(fleet.config(principal.ports));
    const client = principal.client();
    expect(await client.waitRun(stored, 10_000)).toMatchObject({
      status: "FAILED",
      error: expect.stringContaining("the run cannot be executed"),
    });
    expect((await ended(client, await trigger(client, "flow"))).status).toBe("COMPLETED");
  });

  test("no more runs at once than it may have, and all of them in the end", async () => {
    await using fleet = new Fleet();
    await using principal = await new TestPrincipal({
      workflows: {
        // Two places; a third run at once would find none.
        "flow.yml": shellWorkflow({
          t: "for n in 1 2; do if mkdir place$n 2>/dev/null; then sleep 0.02; rmdir place$n; exit 0; fi; done; exit 1",
        }).replace("cmd: sh", `cmd: sh\n      working_directory: ${fleet.directory}`),
      },
    }).start();
    await fleet.agent(fleet.config(principal.ports), { maxConcurrentWorkflows: 2 });
    const client = principal.client();
    const ids = await Promise.all(Array.from({ length: 12 }, () => trigger(client, "flow")));
    const runs = await Promise.all(ids.map((id) => ended(client, id)));
    expect(runs.map((run) => run.status)).toEqual(ids.map(() => "COMPLETED"));
  });

  test("two agents of one host have ids of their own and share the work", async () => {
    await using fleet = new Fleet();
    const go = join(fleet.directory, "go");
    await using principal = await new TestPrincipal({
      workflows: {
        "flow.yml": shellWorkflow({
          t: `echo $CDKTR_WORKFLOW_INSTANCE_ID; touch ${fleet.directory}/$CDKTR_WORKFLOW_INSTANCE_ID.runs; while [ ! -e ${go} ]; do sleep 0.05; done`,
        }),
      },
    }).start();
    const config = fleet.config(principal.ports);
    const share = { maxConcurrentWorkflows: 4 };
    const agents = [
      await fleet.agent(config, share),
      await fleet.agent(config, share),
      await fleet.agent(config, { ...share, suffix: "gpu" }),
    ];
    await Promise.all(agents.map((agent) => agent.registered));
    const host = agents[0]?.id;
    expect(agents.map((agent) => agent.id)).toEqual([`${host}`, `${host}-2`, `${host}-gpu`]);
    const client = principal.client();
    const ids = await Promise.all(Array.from({ length: 12 }, () => trigger(client, "flow")));
    // All of them at once: each agent has as many as it may.
    const runsNow = () => readdirSync(fleet.directory).filter((name) => name.endsWith(".runs")).length;
    await until(() => runsNow() === ids.length, "all of them run");
    writeFileSync(go, "");
    const runs = await Promise.all(ids.map((id) => ended(client, id)));
    expect(new Set(runs.map((run) => run.agent_id)).size).toBe(3);
    for (const id of ids) expect(await linesOf(client, id)).toEqual([`INFO ${id}`]);
  });

  test("a suffix that is taken on this host is refused", async () => {
    await using principal = await new TestPrincipal().start();
    await using fleet = new Fleet();
    const config = fleet.config(principal.ports);
    await fleet.agent(config, { suffix: "one" });
    expect(await failure(new Agent({ config, suffix: "one" }).start())).toBeInstanceOf(OutboxLockedError);
    expect((await failure(new Agent({ config, suffix: "a b" }).start())).message).toContain(
      "cannot be the suffix",
    );
  });

  test("cancel reaches a run at once: its processes end", async () => {
    await using principal = await new TestPrincipal({
      workflows: {
        "flow.yml": shellWorkflow({ t: "echo $$; exec sleep 600", u: { run: "true", depends: ["t"] } }),
      },
    }).start();
    await using fleet = new Fleet();
    await fleet.agent(fleet.config(principal.ports));
    const client = principal.client();
    const id = await trigger(client, "flow");
    let lines: string[] = [];
    while (lines.length === 0) lines = await linesOf(client, id);
    const pid = Number(lines[0]?.split(" ")[1]);
    expect(isRunning(pid)).toBe(true);
    await client.cancelRun(id);
    const run = await ended(client, id);
    expect(run.status).toBe("CANCELLED");
    expect(run.tasks.map((task) => [task.task_id, task.status])).toEqual([
      ["t", "CANCELLED"],
      ["u", "CANCELLED"],
    ]);
    expect(isRunning(pid)).toBe(false);
  });
});

describe("the end of an agent", () => {
  test("drain: what runs is finished, nothing new is taken, everything is reported, status 0", async () => {
    await using fleet = new Fleet();
    const go = join(fleet.directory, "go");
    await using principal = await new TestPrincipal({
      workflows: {
        "flow.yml": shellWorkflow({ a: `echo begun; while [ ! -e ${go} ]; do sleep 0.01; done; echo over` }),
      },
    }).start();
    const agent = await fleet.agent(fleet.config(principal.ports));
    const client = principal.client();
    const first = await trigger(client, "flow");
    await until(async () => (await linesOf(client, first)).length > 0, "its first line is in the history");
    agent.drain();
    await until(
      async () => (await client.registeredAgents())[0]?.status === "DRAINING",
      "the principal knows that it drains",
    );
    const second = await trigger(client, "flow");
    writeFileSync(go, "");
    expect(await agent.done).toBe(0);
    expect((await client.getRun(first)).status).toBe("COMPLETED");
    expect(await linesOf(client, first)).toEqual(["INFO begun", "INFO over"]);
    expect((await client.getRun(second)).status).toBe("PENDING");
  });

  test("an idle agent drains at once", async () => {
    await using principal = await new TestPrincipal().start();
    await using fleet = new Fleet();
    // Its long polls would wait longer than this test may take.
    const patient = { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 600_000 };
    const agent = await fleet.agent(fleet.config(principal.ports, patient));
    await agent.registered;
    agent.drain();
    expect(await agent.done).toBe(0);
  });

  test("cancelAll: what runs is CANCELLED and reported, status 0", async () => {
    await using principal = await new TestPrincipal({
      workflows: { "flow.yml": shellWorkflow({ a: "echo begun; sleep 600" }) },
    }).start();
    await using fleet = new Fleet();
    const agent = await fleet.agent(fleet.config(principal.ports));
    const client = principal.client();
    const id = await trigger(client, "flow");
    await until(async () => (await linesOf(client, id)).length > 0, "its first line is in the history");
    agent.drain();
    agent.cancelAll();
    expect(await agent.done).toBe(0);
    expect((await client.getRun(id)).status).toBe("CANCELLED");
  });

  test("drained by the principal, it finishes what runs and ends", async () => {
    await using principal = await new TestPrincipal().start();
    await using fleet = new Fleet();
    const agent = await fleet.agent(fleet.config(principal.ports));
    await agent.registered;
    await principal.client().drainAgent(agent.id);
    expect(await agent.done).toBe(0);
  });

  test("no principal at all: it ends with status 1 when the budget is spent", async () => {
    await using fleet = new Fleet();
    const nobody = { api: 1, logsListening: 2, logsPublishing: 3 };
    const config = fleet.config(nobody, { CDKTR_RETRY_ATTEMPTS: 3, CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: 50 });
    const agent = await fleet.agent(config);
    expect(await agent.done).toBe(1);
  });

  test("told to end while it still looks for the principal, it ends at once", async () => {
    await using fleet = new Fleet();
    const agent = await fleet.agent(fleet.config({ api: 1, logsListening: 2, logsPublishing: 3 }));
    agent.drain();
    expect(await agent.done).toBe(0);
  });

  test("an id that another agent has elsewhere is refused: status 1", async () => {
    await using principal = await new TestPrincipal().start();
    await using fleet = new Fleet();
    await using elsewhere = new Fleet();
    const first = await fleet.agent(fleet.config(principal.ports), { suffix: "x" });
    await first.registered;
    const second = await elsewhere.agent(elsewhere.config(principal.ports), { suffix: "x" });
    expect(await second.done).toBe(1);
    expect(first.runningWorkflows).toBe(0);
  });
});

describe("a principal that goes away", () => {
  const quick = {
    CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 100,
    CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: 20_000,
    CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: 300,
  };

  test("and comes back: the run goes on, is adopted, and ends once; every line is there once", async () => {
    await using fleet = new Fleet();
    const go = join(fleet.directory, "go");
    const count = 2000;
    await using principal = new TestPrincipal({
      workflows: {
        "flow.yml": shellWorkflow({
          a: `i=0; while [ $i -lt ${count / 2} ]; do echo $i; i=$((i+1)); done; touch ${fleet.directory}/half; while [ ! -e ${go} ]; do sleep 0.01; done; while [ $i -lt ${count} ]; do echo $i; i=$((i+1)); done`,
          b: { run: "echo last", depends: ["a"] },
        }),
      },
      config: { ...quick, ...(await lastingPorts()) },
    });
    await principal.start();
    const { ports } = principal;
    const agent = await fleet.agent(fleet.config(ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 }));
    const id = await trigger(principal.client(), "flow");
    await until(() => existsSync(join(fleet.directory, "half")), "half of the lines are written");
    await principal.stop();
    // The run ends while nobody is there.
    writeFileSync(go, "");
    await agent.signals.until("run over", () => agent.runningWorkflows === 0);
    const again = new TestPrincipal({
      workflows: {},
      config: principal.config,
    });
    await using restarted = await again.start();
    const client = restarted.client();
    const run = await ended(client, id);
    expect(run).toMatchObject({ status: "COMPLETED", attempt: 1 });
    const lines = await linesOf(client, id);
    expect(lines).toEqual([...Array.from({ length: count }, (_, i) => `INFO ${i}`), "INFO last"]);
    // And the agent works on.
    expect((await ended(client, await trigger(client, "flow"))).status).toBe("COMPLETED");
    await agent.stop();
  });

  test("for good: the run is finished, then the agent ends with status 1; the next start delivers what is left", async () => {
    await using fleet = new Fleet();
    const go = join(fleet.directory, "go");
    await using principal = new TestPrincipal({
      workflows: {
        "flow.yml": shellWorkflow({ a: `echo one; while [ ! -e ${go} ]; do sleep 0.01; done; echo two` }),
      },
      config: { ...quick, ...(await lastingPorts()) },
    });
    await principal.start();
    const { ports } = principal;
    const config = fleet.config(ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 2 });
    const agent = await fleet.agent(config);
    const id = await trigger(principal.client(), "flow");
    await until(
      async () => (await linesOf(principal.client(), id)).length > 0,
      "its first line is in the history",
    );
    await principal.stop();
    await agent.signals.until("phase", () => agent.phase === "ALONE");
    expect(agent.runningWorkflows).toBe(1);
    writeFileSync(go, "");
    expect(await agent.done).toBe(1);

    await using restarted = await new TestPrincipal({
      workflows: {},
      config: principal.config,
    }).start();
    const successor = await fleet.agent(config);
    const client = restarted.client();
    expect(await ended(client, id)).toMatchObject({ status: "COMPLETED", attempt: 1 });
    expect(await linesOf(client, id)).toEqual(["INFO one", "INFO two"]);
    await successor.stop();
    expect(readdirSync(join(fleet.directory, "data/agents"))).toHaveLength(1);
  });

  test("for good, and a second agent had started before the first gave up: the second delivers for the first", async () => {
    await using fleet = new Fleet();
    const go = join(fleet.directory, "go");
    await using principal = new TestPrincipal({
      workflows: { "flow.yml": shellWorkflow({ a: `echo one; while [ ! -e ${go} ]; do sleep 0.01; done` }) },
      config: { ...quick, ...(await lastingPorts()) },
    });
    await principal.start();
    const config = fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 });
    const first = await fleet.agent(config);
    const id = await trigger(principal.client(), "flow");
    await until(
      async () => (await linesOf(principal.client(), id)).length > 0,
      "its first line is in the history",
    );
    await principal.stop();
    // As the agent of a principal that was killed: it finishes its runs and leaves, whether or not it could deliver.
    first.drain();
    const second = await fleet.agent(config);
    expect(second.id).toBe(`${first.id}-2`);
    writeFileSync(go, "");
    expect(await first.done).toBe(1);

    await using restarted = await new TestPrincipal({ workflows: {}, config: principal.config }).start();
    const client = restarted.client();
    expect(await ended(client, id)).toMatchObject({ status: "COMPLETED", attempt: 1, agent_id: first.id });
    expect(await linesOf(client, id)).toEqual(["INFO one"]);
    expect(second.phase).toBe("UP");
  });
});
