import { describe, expect, test } from "bun:test";
import type { AgentReport, RunAssignment } from "../../src/contract/messages.ts";
import { historyHere } from "../../src/history/in-process.ts";
import { RequestUnprocessableError } from "../../src/protocol/client.ts";
import { until } from "../support/until.ts";
import { FakeAgent, failure, lastingPorts, required, TestPrincipal, workflowText } from "./support.ts";

const TASKS = { "etl.yml": workflowText({ tasks: ["a", "b"] }) };
const QUICK = { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 150, CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: 600 };

async function trigger(cluster: TestPrincipal, workflow = "etl"): Promise<string> {
  const run = await cluster.client().runTask(workflow, { dedupe_key: crypto.randomUUID() });
  return run.workflow_instance_id;
}

/** An agent that executes a run and has completed its first task. */
async function halfway(
  cluster: TestPrincipal,
  id = "agent-1",
): Promise<{ agent: FakeAgent; run: RunAssignment }> {
  const agent = await cluster.agent(id);
  const run = required(await agent.fetch());
  await agent.send(
    agent.runReport(run, "RUNNING"),
    agent.taskReport(run, "a", "RUNNING"),
    agent.taskReport(run, "a", "COMPLETED"),
    agent.taskReport(run, "b", "RUNNING"),
  );
  return { agent, run };
}

/** An agent that has begun the run of a workflow with one task. */
async function halfwayOf(cluster: TestPrincipal): Promise<{ agent: FakeAgent; run: RunAssignment }> {
  await trigger(cluster, "hello");
  const agent = await cluster.agent(`agent-${crypto.randomUUID()}`);
  const run = required(await agent.fetch());
  await agent.send(agent.runReport(run, "RUNNING"));
  return { agent, run };
}

/** Heartbeats until told to end. */
function keepAlive(agent: FakeAgent, running: () => RunAssignment[] = () => []): () => Promise<void> {
  let going = true;
  const beating = (async () => {
    while (going) await agent.heartbeat(running(), 50).catch(() => {});
  })();
  return () => {
    going = false;
    return beating;
  };
}

describe("an agent", () => {
  test("is listed with its description and the time of its last sign of life", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    await trigger(cluster);
    const before = Date.now();
    await halfway(cluster);
    const [listed] = await cluster.client().registeredAgents();
    expect(listed).toMatchObject({
      agent_id: "agent-1",
      host: "testhost",
      status: "UP",
      running_workflows: 1,
      max_concurrent_workflows: 5,
    });
    expect(required(listed).last_ping_timestamp).toBe(required(listed).last_heartbeat_ms * 1000);
    expect(required(listed).last_heartbeat_ms).toBeGreaterThanOrEqual(before);
  });

  test("must register before it fetches, reports or sends heartbeats", async () => {
    await using cluster = await new TestPrincipal().start();
    const stranger = new FakeAgent(cluster.client(), "stranger");
    for (const request of [stranger.fetch(0), stranger.heartbeat(), stranger.send()]) {
      const error = await failure(request);
      expect(error).toBeInstanceOf(RequestUnprocessableError);
      expect(error.message).toContain("register first");
    }
  });

  test("that falls silent is lost; its run goes on elsewhere, without what had completed", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS, config: QUICK }).start();
    const client = cluster.client();
    const id = await trigger(cluster);
    const { agent, run } = await halfway(cluster);
    const other = await cluster.agent("other");
    const held: RunAssignment[] = [];
    const stop = keepAlive(other, () => held);
    const again = required(await other.fetch(20_000));
    // It mentions what it has, or that is given to somebody else too.
    held.push(again);
    expect(again).toMatchObject({ workflow_instance_id: id, attempt: 2, completed_tasks: ["a"] });

    const agents = await client.registeredAgents();
    expect(agents.map(({ agent_id, status }) => [agent_id, status])).toEqual([
      ["agent-1", "LOST"],
      ["other", "UP"],
    ]);
    // It was only cut off: what it says late changes nothing, and it is told to stop.
    expect((await failure(agent.heartbeat([run]))).message).toContain("register first");
    const orders = await agent.register([run]);
    expect(orders.stop).toEqual([{ workflow_instance_id: id, slice: 0, attempt: 1, reason: "superseded" }]);
    const late = await agent.send(agent.taskReport(run, "b", "COMPLETED"), agent.runReport(run, "COMPLETED"));
    expect(late.stop).toEqual([{ workflow_instance_id: id, slice: 0, attempt: 1, reason: "superseded" }]);
    expect(await client.getRun(id)).toMatchObject({ status: "RUNNING", attempt: 2 });

    await other.execute(again);
    const details = await client.getRun(id);
    expect(details).toMatchObject({ status: "COMPLETED", attempt: 2, agent_id: "other" });
    expect(details.attempts.map(({ status, agent_id }) => [status, agent_id])).toEqual([
      ["CRASHED", "agent-1"],
      ["COMPLETED", "other"],
    ]);
    expect(details.tasks.map(({ task_id, attempt, status }) => [task_id, attempt, status])).toEqual([
      ["a", 1, "COMPLETED"],
      ["b", 2, "COMPLETED"],
    ]);
    await stop();
    const rows = await client.queryDatabase({
      sql: `SELECT attempt, status::VARCHAR FROM workflow_run_status WHERE workflow_instance_id = '${id}' AND reason IS NULL ORDER BY rowid`,
    });
    expect(rows.rows.map(([attempt, status]) => `${attempt} ${status}`)).toEqual([
      "1 PENDING",
      "1 RUNNING",
      "1 CRASHED",
      "2 PENDING",
      "2 RUNNING",
      "2 COMPLETED",
    ]);
    const tasks = await client.queryDatabase({
      sql: `SELECT attempt, status::VARCHAR FROM task_run_status WHERE task_id = 'b' ORDER BY rowid`,
    });
    expect(tasks.rows.map(([attempt, status]) => `${attempt} ${status}`)).toEqual([
      "1 RUNNING",
      "1 CRASHED",
      "2 RUNNING",
      "2 COMPLETED",
    ]);
  });

  test.each([
    ["a whole run", 0, ""],
    ["a slice of a run", 1, "\n  elsewhere: {depends: [long], runs_on: {zone: y}, TASK}"],
  ])(
    "that is lost with %s: what handled a failure runs again, as what failed does",
    async (_, slice, more) => {
      const file = `tasks:
  deploy: {TASK}
  rollback: {depends: {deploy: failed}, foreach: [x], TASK}
  verify: {TASK}
  after: {depends: {rollback: [completed, skipped]}, TASK}
  good: {depends: [verify], TASK}
  long: {TASK}${more}
`.replaceAll("TASK", 'config: !Subprocess { cmd: "true" }');
      await using cluster = await new TestPrincipal({ workflows: { "w.yml": file } }).start();
      const client = cluster.client();
      const { workflow_instance_id: id } = await client.runTask("w", { dedupe_key: "x" });
      const agents = await Promise.all(["1", "2", "3"].map((name) => cluster.agent(name, { protocol: 3 })));
      const [first, second, third] = [required(agents[0]), required(agents[1]), required(agents[2])];
      const item = { item: { key: "0", index: 0 } };
      /** Reports of an agent that has deployed in vain, and then is lost. */
      const handled = async (agent: FakeAgent, run: RunAssignment, fresh: readonly string[]) => {
        await agent.send(
          agent.runReport(run, "RUNNING"),
          ...[...fresh, "deploy", "long"].map((task) => agent.taskReport(run, task, "RUNNING")),
          ...fresh.map((task) => agent.taskReport(run, task, "COMPLETED")),
          agent.taskReport(run, "deploy", "FAILED"),
          { ...agent.taskReport(run, "rollback", "RUNNING"), items_total: 1 },
          {
            ...agent.taskReport(run, "rollback", "RUNNING"),
            ...item,
            task_instance_id: `item ${run.attempt}`,
          },
          {
            ...agent.taskReport(run, "rollback", "COMPLETED"),
            ...item,
            task_instance_id: `item ${run.attempt}`,
          },
          { ...agent.taskReport(run, "rollback", "COMPLETED"), items_total: 1 },
          agent.taskReport(run, "after", "RUNNING"),
          agent.taskReport(run, "after", "COMPLETED"),
        );
        await agent.heartbeat([run], 0, { state: "leaving" });
      };
      const kept = ["good", "verify"];
      await handled(first, required(await first.fetch()), ["verify", "good"]);
      for (const [agent, next] of [
        [second, 2],
        [third, 3],
      ] as const) {
        const run = await client.getRun(id);
        expect(run.tasks_done).toBe(2);
        expect(run.tasks.map(({ task_id }) => task_id).sort()).toEqual(kept);
        const again = required(await agent.fetch());
        expect(again).toMatchObject({ workflow_instance_id: id, slice, attempt: next });
        expect(again.completed_tasks.toSorted()).toEqual(kept);
        expect(again.item_results ?? {}).toEqual({});
        if (agent === second) await handled(agent, again, []);
      }
    },
  );

  test("that is lost ends a run that was cancelled, or may not run again", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "etl.yml": workflowText(), "once.yml": workflowText({ top: "failover: never" }) },
      config: QUICK,
    }).start();
    const client = cluster.client();
    const ids = [await trigger(cluster, "etl"), await trigger(cluster, "once")];
    const agent = await cluster.agent();
    for (const _ of ids) await agent.send(agent.runReport(required(await agent.fetch()), "RUNNING"));
    await client.cancelRun(ids[0] ?? "");
    const ends = await Promise.all(ids.map((id) => client.waitRun(id, 20_000)));
    expect(ends.map((run) => run.status)).toEqual(["CANCELLED", "CRASHED"]);
    expect(ends[1]?.error).toContain("agent lost");
  });

  test("that is lost, after another was lost with the same run, is its last: a third does not get it", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS, config: QUICK }).start();
    const client = cluster.client();
    const id = await trigger(cluster);
    for (const name of ["one", "two"]) {
      const agent = await cluster.agent(name);
      const run = required(await agent.fetch(5000));
      await agent.send(agent.runReport(run, "RUNNING"));
      await until(`${name} is lost`, async () => (await client.getRun(id)).status !== "RUNNING");
    }
    const run = await client.getRun(id);
    expect(run).toMatchObject({ status: "CRASHED", attempt: 2 });
    expect(run.error).toContain("not given to a third");
  });

  test("gives a run back three times, no more", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const client = cluster.client();
    const id = await trigger(cluster);
    const streamId = crypto.randomUUID();
    for (let attempt = 1; attempt <= 3; attempt++) {
      const agent = await cluster.agent("unlucky", { streamId });
      const run = required(await agent.fetch());
      expect(run.attempt).toBe(attempt);
      agent.seq = attempt * 100;
      await agent.send(agent.runReport(run, "RUNNING"));
    }
    await cluster.agent("unlucky", { streamId });
    expect(await client.getRun(id)).toMatchObject({ status: "CRASHED", attempt: 3 });
  });

  test("is not lost while the principal itself was suspended", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS, config: QUICK }).start();
    await trigger(cluster);
    const { agent, run } = await halfway(cluster);
    const stop = keepAlive(agent, () => [run]);
    // The principal runs in this process.
    Bun.sleepSync(1500);
    await cluster.book.waitFor(/was suspended/);
    await agent.heartbeat([run], 0);
    await stop();
    expect(cluster.book.count(/is lost/)).toBe(0);
    expect((await cluster.client().registeredAgents())[0]?.status).toBe("UP");
  });
});

describe("a restarted agent", () => {
  test("on the same disk gives up at once what its former process had", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const id = await trigger(cluster);
    const { agent } = await halfway(cluster);
    const waiting = agent.fetch(20_000);
    const restarted = new FakeAgent(cluster.client(), "agent-1", { streamId: agent.streamId });
    const orders = await restarted.register();
    expect(orders.report_durable_seq).toBe(4);
    // The former process is answered, and never served again.
    expect(await waiting).toBeNull();
    expect(required(await restarted.fetch())).toMatchObject({ workflow_instance_id: id, attempt: 2 });
    expect((await failure(agent.fetch(0))).message).toContain("register first");
  });

  test("first delivers the end of a run that its former process had no time to report", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const client = cluster.client();
    const id = await trigger(cluster);
    const { agent, run } = await halfway(cluster);
    const end = [agent.taskReport(run, "b", "COMPLETED"), agent.runReport(run, "COMPLETED")];
    const restarted = new FakeAgent(cluster.client(), "agent-1", { streamId: agent.streamId });
    await restarted.register([], { report_seq: agent.seq });
    expect((await client.getRun(id)).status).toBe("RUNNING");
    await restarted.send(...end);
    expect(await client.getRun(id)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  });

  test("and only has reports about other runs, gives up the rest after delivering them", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const client = cluster.client();
    const id = await trigger(cluster);
    const { agent, run } = await halfway(cluster);
    const restarted = new FakeAgent(cluster.client(), "agent-1", { streamId: agent.streamId });
    await restarted.register([], { report_seq: agent.seq + 1 });
    await restarted.send(agent.taskReport(run, "b", "COMPLETED"));
    const next = required(await restarted.fetch());
    expect(next).toMatchObject({ workflow_instance_id: id, attempt: 2, completed_tasks: ["a", "b"] });
    expect(await client.getRun(id)).toMatchObject({ status: "RUNNING", attempt: 2 });
  });

  test("may deliver reports before it registers", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const id = await trigger(cluster);
    const { agent, run } = await halfway(cluster);
    const restarted = new FakeAgent(cluster.client(), "agent-1", { streamId: agent.streamId });
    await restarted.send(agent.runReport(run, "FAILED"));
    await restarted.register();
    expect((await cluster.client().getRun(id)).status).toBe("FAILED");
  });

  test("under an id that is in use is refused, unless its owner is lost", async () => {
    await using cluster = await new TestPrincipal({ config: QUICK }).start();
    const owner = await cluster.agent();
    const stop = keepAlive(owner);
    const twin = new FakeAgent(cluster.client(), "agent-1");
    const error = await failure(twin.register());
    expect(error).toBeInstanceOf(RequestUnprocessableError);
    expect(error.message).toBe("agent id in use by testhost pid 4711; give this one another with --suffix");
    await stop();
    await cluster.book.waitFor(/is lost/);
    await twin.register();
  });
});

describe("draining and leaving", () => {
  test("do not wait for a history that does not write", async () => {
    const host = historyHere();
    await using cluster = await new TestPrincipal({
      history: {
        ...host,
        start: (settings, heard, ended) => {
          const peer = host.start(settings, heard, ended);
          return { ...peer, send: (text) => void (text.includes('"ask":"flush"') || peer.send(text)) };
        },
      },
    }).start();
    const agent = await cluster.agent();
    await agent.heartbeat([], 0, { state: "draining" });
    await agent.heartbeat([], 0, { state: "leaving" });
    expect(await cluster.client().registeredAgents()).toEqual([]);
  });

  test("an agent that is ordered to drain is notified at once and gets no new work", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const orders = agent.heartbeat([], 30_000);
    const fetching = agent.fetch(30_000);
    await client.ping();
    await client.drainAgent("agent-1");
    expect((await orders).drain).toBe(true);
    expect(await fetching).toBeNull();
    await trigger(cluster);
    expect(await agent.fetch(30)).toBeNull();
    expect((await client.registeredAgents())[0]?.status).toBe("DRAINING");
    expect((await failure(client.drainAgent("agent-2"))).message).toBe(
      'There is no agent "agent-2": did you mean "agent-1"?',
    );
  });

  test("an agent that drains by itself is listed so, and one that leaves is gone", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    await agent.heartbeat([], 0, { state: "draining" });
    expect((await client.registeredAgents())[0]?.status).toBe("DRAINING");
    await agent.heartbeat([], 0, { state: "leaving" });
    expect(await client.registeredAgents()).toEqual([]);
    expect((await failure(agent.heartbeat())).message).toContain("register first");
  });
});

describe("a restarted principal", () => {
  test("takes back what agents still execute, and has what they report meanwhile", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const id = await trigger(cluster);
    const { agent, run } = await halfway(cluster);
    const waiting = await trigger(cluster);
    await cluster.stop();
    await cluster.start();

    const back = new FakeAgent(cluster.client(), agent.id, agent);
    back.seq = agent.seq;
    expect((await failure(new FakeAgent(cluster.client(), "new", {}).heartbeat())).message).toContain(
      "register first",
    );
    const orders = await back.register([run]);
    expect(orders).toMatchObject({ stop: [], report_durable_seq: 4 });
    expect((await back.heartbeat([run])).stop).toEqual([]);
    await back.send(back.taskReport(run, "b", "COMPLETED"), back.runReport(run, "COMPLETED"));
    expect(await cluster.client().getRun(id)).toMatchObject({ status: "COMPLETED", attempt: 1 });
    expect(required(await back.fetch()).workflow_instance_id).toBe(waiting);
  });

  test("gives up agents that do not come back", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS, config: QUICK }).start();
    const id = await trigger(cluster);
    await halfway(cluster);
    await cluster.stop();
    await cluster.start();
    const other = await cluster.agent("other");
    const stop = keepAlive(other);
    expect(required(await other.fetch(20_000))).toMatchObject({ workflow_instance_id: id, attempt: 2 });
    await stop();
  });
});

describe("reports", () => {
  test("count once, however often they are sent", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const client = cluster.client();
    const id = await trigger(cluster);
    const agent = await cluster.agent();
    const run = required(await agent.fetch());
    const reports = [
      agent.runReport(run, "RUNNING"),
      agent.taskReport(run, "a", "RUNNING"),
      agent.taskReport(run, "a", "FAILED"),
    ];
    await agent.send(...reports);
    await agent.send(...reports);
    expect(await agent.send(reports[0] as (typeof reports)[0])).toMatchObject({
      report_durable_seq: 3,
      stop: [],
    });
    const { rows } = await client.queryDatabase({
      sql: `SELECT (SELECT count(*) FROM workflow_run_status), (SELECT count(*) FROM task_run_status)`,
    });
    expect(rows).toEqual([[2, 2]]);
    expect((await client.getRun(id)).tasks[0]?.status).toBe("FAILED");
  });

  test("of a stream of which the principal has less than the agent assumes are accepted anyway", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const id = await trigger(cluster);
    const agent = await cluster.agent();
    const run = required(await agent.fetch());
    agent.seq = 41;
    expect((await agent.send(agent.runReport(run, "RUNNING"))).report_durable_seq).toBe(42);
    expect(cluster.book.count(/nothing is known here of its first 41 reports/)).toBe(1);
    expect((await cluster.client().getRun(id)).status).toBe("RUNNING");
  });

  test("of a run that the agent forgot are missed: after a timeout of heartbeats without it, it runs again", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS, config: QUICK }).start();
    const id = await trigger(cluster);
    const { agent } = await halfway(cluster);
    const stop = keepAlive(agent);
    expect(required(await agent.fetch(20_000))).toMatchObject({ workflow_instance_id: id, attempt: 2 });
    await stop();
  });

  test.each([-3_600_000, 0, 3_600_000])(
    "of an agent whose clock is off by %d ms give true times",
    async (off) => {
      await using cluster = await new TestPrincipal().start();
      const client = cluster.client();
      const agent = await cluster.agent();
      const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
      const run = required(await agent.fetch());
      const began = Date.now();
      const at = (report: AgentReport, sinceBegin: number): AgentReport => ({
        ...report,
        timestamp_ms: began + off + sinceBegin,
      });
      // What happened while the agent was cut off comes in one batch: it ran for 3 ms.
      await until("3 ms later", async () => Date.now() > began + 3);
      await agent.send(
        at(agent.runReport(run, "RUNNING"), 0),
        at(agent.taskReport(run, "only", "RUNNING"), 1),
        at(agent.taskReport(run, "only", "COMPLETED"), 3),
        at(agent.runReport(run, "COMPLETED"), 3),
      );
      const [details, now] = [await client.getRun(id), Date.now()];
      const [started, finished] = [required(details.started_at_ms), required(details.finished_at_ms)];
      // The run began with the assignment, by the principal's clock.
      expect(finished - started).toBeGreaterThanOrEqual(2);
      // This agent does not measure.
      expect(details.duration_ms).toBe(finished - started);
      expect(started).toBeGreaterThanOrEqual(details.created_at_ms);
      expect(finished).toBeLessThanOrEqual(now);
      expect(started).toBeLessThanOrEqual(began);
      const [task] = details.tasks;
      expect(required(task?.finished_at_ms) - required(task?.started_at_ms)).toBe(2);
    },
  );

  test("of an agent whose clock is set right during a run give true times from then on", async () => {
    // The report that confirms an attempt sets its start.
    const workflows = { "hello.yml": workflowText({ top: "failover: never" }) };
    for (const off of [-3_600_000, 3_600_000]) {
      await using cluster = await new TestPrincipal({ workflows }).start();
      const client = cluster.client();
      const agent = await cluster.agent();
      const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
      const run = required(await agent.fetch());
      const began = Date.now();
      await agent.send({ ...agent.runReport(run, "RUNNING"), timestamp_ms: began + off });
      // The duration of the run is compared.
      await until("it ran for 20 ms", async () => Date.now() > began + 20);
      const ended = Date.now();
      await agent.send({ ...agent.runReport(run, "COMPLETED"), timestamp_ms: ended });
      const { started_at_ms, finished_at_ms } = await client.getRun(id);
      expect(required(finished_at_ms)).toBe(ended);
      expect(Math.abs(ended - required(started_at_ms))).toBeLessThan(3_000_000);
    }
  });

  test.each([-3_600_000, 3_600_000])(
    "of an agent whose clock is off by %d ms, and then by as much the other way, give true times although heartbeats take long",
    async (off) => {
      await using cluster = await new TestPrincipal().start();
      const client = cluster.client();
      await client.runTask("hello", { dedupe_key: "x" });
      const agent = await cluster.agent();
      const run = required(await agent.fetch());
      await agent.send({ ...agent.runReport(run, "RUNNING"), timestamp_ms: Date.now() + off });
      // Each was under way for a second: the clock seems to be slower than it is, and the report to come from the future.
      for (let i = 0; i < 3; i++) await agent.heartbeat([run], 0, { now_ms: Date.now() - off - 1000 });
      const ended = Date.now();
      await until("it ran for 20 ms", async () => Date.now() > ended + 20);
      await agent.send({ ...agent.runReport(run, "COMPLETED"), timestamp_ms: Date.now() - off });
      const { finished_at_ms } = await client.getRun(run.workflow_instance_id);
      expect(required(finished_at_ms)).toBeGreaterThan(ended + 20);
      expect(required(finished_at_ms)).toBeLessThanOrEqual(Date.now());
    },
  );

  test("say how long a run took by the agent's monotonic clock; one of two attempts took what the times say", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const { agent, run } = await halfwayOf(cluster);
    const measured = { duration_ms: 5000 };
    await agent.send(
      { ...agent.taskReport(run, "only", "RUNNING"), timestamp_ms: Date.now() },
      { ...agent.taskReport(run, "only", "COMPLETED"), timestamp_ms: Date.now(), ...measured },
      { ...agent.runReport(run, "COMPLETED"), timestamp_ms: Date.now(), ...measured },
    );
    const details = await client.getRun(run.workflow_instance_id);
    expect([details.duration_ms, details.tasks[0]?.duration_ms]).toEqual([5000, 5000]);
    expect((await client.listRuns({}))[0]?.duration_ms).toBe(5000);
    const sql = "SELECT (SELECT duration_ms FROM workflow_runs), (SELECT duration_ms FROM task_runs)";
    expect((await client.queryDatabase({ sql })).rows[0]?.map(Number)).toEqual([5000, 5000]);

    const second = await halfwayOf(cluster);
    expect((await client.getRun(second.run.workflow_instance_id)).duration_ms).toBeNull();
    const restarted = new FakeAgent(client, second.agent.id, { streamId: second.agent.streamId });
    await restarted.register();
    const again = required(await restarted.fetch());
    expect(again.attempt).toBe(2);
    restarted.seq = second.agent.seq;
    await restarted.send(restarted.runReport(again, "RUNNING"), {
      ...restarted.runReport(again, "COMPLETED"),
      duration_ms: 900_000,
    });
    const over = await client.getRun(again.workflow_instance_id);
    expect(over.duration_ms).toBe(required(over.finished_at_ms) - required(over.started_at_ms));
  });

  test("and heartbeats of an agent whose clock is wrong make the principal warn until it is right again", async () => {
    await using cluster = await new TestPrincipal().start();
    const agent = await cluster.agent();
    const beat = (off: number) => agent.heartbeat([], 0, { now_ms: Date.now() + off });
    for (let i = 0; i < 3; i++) await beat(-3_600_000);
    await cluster.book.waitFor(
      /The clock of agent agent-1 is 1h.* behind the principal's: .* log lines are corrected/,
    );
    await cluster.client().runTask("hello", { dedupe_key: "x" });
    const run = required(await agent.fetch());
    await agent.send(agent.runReport(run, "RUNNING"));
    for (let i = 0; i < 3; i++) await beat(-3_600_000);
    const ended = Date.now();
    await agent.send({ ...agent.runReport(run, "COMPLETED"), timestamp_ms: ended - 3_600_000 });
    const { finished_at_ms } = await cluster.client().getRun(run.workflow_instance_id);
    expect(Math.abs(required(finished_at_ms) - ended)).toBeLessThan(1000);
    for (let i = 0; i < 3; i++) await beat(0);
    await cluster.book.waitFor(/clocks of agent agent-1 and of the principal agree again/);
  });

  test("of a try that failed say when the next one begins", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const id = await trigger(cluster);
    const agent = await cluster.agent();
    const run = required(await agent.fetch());
    await agent.send(agent.runReport(run, "RUNNING"), agent.taskReport(run, "a", "RUNNING"));
    await agent.send({ ...agent.taskReport(run, "a", "WAITING"), next_try_ms: 90_000 });
    const [task] = (await cluster.client().getRun(id)).tasks;
    const inMs = required(task?.next_attempt_ms) - Date.now();
    expect(inMs).toBeGreaterThan(60_000);
    expect(inMs).toBeLessThanOrEqual(90_000);
    await agent.send({ ...agent.taskReport(run, "a", "RUNNING"), task_attempt: 2 });
    expect((await cluster.client().getRun(id)).tasks[0]).not.toHaveProperty("next_attempt_ms");
  });

  test("that make no sense are ignored", async () => {
    await using cluster = await new TestPrincipal({ workflows: TASKS }).start();
    const id = await trigger(cluster);
    const agent = await cluster.agent();
    const run = required(await agent.fetch());
    await agent.send(
      agent.runReport(run, "RUNNING"),
      agent.runReport(run, "WAITING"),
      agent.runReport(run, "SKIPPED"),
      agent.taskReport(run, "a", "COMPLETED"),
      agent.taskReport(run, "a", "RUNNING"),
      agent.runReport({ ...run, attempt: 7 }, "COMPLETED"),
      agent.runReport({ ...run, workflow_instance_id: "unheard-of" }, "COMPLETED"),
      agent.runReport(run, "COMPLETED"),
      agent.runReport(run, "FAILED"),
      agent.taskReport(run, "b", "RUNNING"),
    );
    const details = await cluster.client().getRun(id);
    expect(details).toMatchObject({ status: "COMPLETED", tasks_done: 1 });
    expect(details.tasks.map(({ task_id, status }) => [task_id, status])).toEqual([["a", "COMPLETED"]]);
  });
});

test("an agent that registered with an earlier principal learns by its next heartbeat that there is another one, however long that may wait", async () => {
  await using cluster = await new TestPrincipal({ config: await lastingPorts() }).start();
  const agent = await cluster.agent();
  const before = await agent.heartbeat();
  await cluster.principal?.stop();
  await cluster.start();
  const client = cluster.client();
  const now = await client.call("AGENTHEARTBEAT", {
    agent_id: agent.id,
    session_id: agent.sessionId,
    wait_ms: 60_000,
    running: [],
    running_tasks: 0,
  });
  expect(now.principal_id).not.toBe(before.principal_id);
});
