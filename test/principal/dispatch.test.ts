import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { silent } from "../storage/operational-support.ts";
import { required, TestPrincipal, workflowText } from "./support.ts";

async function trigger(cluster: TestPrincipal, count: number): Promise<string[]> {
  const client = cluster.client();
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    ids.push((await client.runTask("hello", { dedupe_key: crypto.randomUUID() })).workflow_instance_id);
  }
  return ids;
}

/** A workflow whose runs must be confirmed before they start. */
const ONCE = { "hello.yml": workflowText({ top: "failover: never" }) };

describe("dispatch", () => {
  test("gives the oldest run first", async () => {
    await using cluster = await new TestPrincipal().start();
    const ids = await trigger(cluster, 3);
    const agent = await cluster.agent();
    const got = [await agent.fetch(), await agent.fetch(), await agent.fetch()];
    expect(got.map((run) => run?.workflow_instance_id)).toEqual(ids);
    expect(await agent.fetch(0)).toBeNull();
  });

  test("writes a run and its assignment to an agent that waits in one commit", async () => {
    let commits = 0;
    let hasWritten = false;
    await using cluster = new TestPrincipal({
      wrapStore: () =>
        new SqliteOperationalStore({
          directory: join(cluster.directory, "data"),
          log: silent,
          beforeStatement: (sql) => {
            if (/^(INSERT|UPDATE|DELETE)/.test(sql)) hasWritten = true;
            if (sql !== "COMMIT") return;
            if (hasWritten) commits++;
            hasWritten = false;
          },
        }),
    });
    await cluster.start();
    const agent = await cluster.agent();
    const waiting = agent.fetch();
    // Its own requests are answered in order: with this answer the fetch before has arrived.
    await agent.heartbeat();
    const before = commits;
    const [id] = await trigger(cluster, 1);
    expect(required(await waiting).workflow_instance_id).toBe(required(id));
    expect(commits - before).toBe(1);
  });

  test("serves the agent that waits longest", async () => {
    await using cluster = await new TestPrincipal().start();
    const agents = [await cluster.agent("a"), await cluster.agent("b"), await cluster.agent("c")];
    const waiting: Promise<string>[] = [];
    for (const agent of agents) {
      waiting.push(agent.fetch().then((run) => required(run).workflow_instance_id));
      // Its own requests are answered in order: with this answer the fetch before has arrived.
      await agent.heartbeat();
    }
    const ids = await trigger(cluster, 3);
    expect(await Promise.all(waiting)).toEqual(ids);
  });

  test("answers a request that waits when its time is up, and one that does not wait at once", async () => {
    await using cluster = await new TestPrincipal().start();
    const agent = await cluster.agent();
    expect(await agent.fetch(30)).toBeNull();
    expect(await agent.fetch(0)).toBeNull();
  });

  test("gives the same run to a repeated request, whether it waits or was answered", async () => {
    await using cluster = await new TestPrincipal().start();
    const agent = await cluster.agent();
    const both = [agent.fetch(5000, "request-1"), agent.fetch(5000, "request-1")];
    await agent.heartbeat();
    const [first, second] = await trigger(cluster, 2);
    const got = await Promise.all(both);
    expect(got.map((run) => run?.workflow_instance_id)).toEqual([first, first]);
    expect((await agent.fetch(0, "request-1"))?.workflow_instance_id).toBe(first);
    expect((await agent.fetch(0, "request-2"))?.workflow_instance_id).toBe(second);
  });

  test("hands every run of a burst out exactly once", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const agents = [await cluster.agent("a"), await cluster.agent("b"), await cluster.agent("c")];
    const got: string[] = [];
    let isOver = false;
    const working = agents.map(async (agent) => {
      while (!isOver) {
        const run = await agent.fetch(100);
        if (run === null) continue;
        got.push(run.workflow_instance_id);
        await agent.execute(run);
      }
    });
    const made = await Promise.all(
      Array.from({ length: 60 }, (_, i) => client.runTask("hello", { dedupe_key: `burst-${i}` })),
    );
    const ends = await Promise.all(made.map((run) => client.waitRun(run.workflow_instance_id, 20_000)));
    isOver = true;
    expect(new Set(ends.map((run) => run.status))).toEqual(new Set(["COMPLETED"]));
    await Promise.all(working);
    expect(got.sort()).toEqual(made.map((run) => run.workflow_instance_id).sort());
  });

  test("holds a run for the agent that gets it, so that its tasks start without a confirmation", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { ...ONCE, "free.yml": workflowText() },
    }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    for (const [workflow, isConfirmed] of [
      ["free", true],
      ["hello", undefined],
    ] as const) {
      const { workflow_instance_id: id } = await client.runTask(workflow, { dedupe_key: workflow });
      const fetchId = crypto.randomUUID();
      const run = required(await agent.fetch(5000, fetchId));
      expect(run.is_confirmed).toBe(isConfirmed);
      expect((await client.getRun(id)).status).toBe(isConfirmed ? "RUNNING" : "PENDING");
      // The reply was lost.
      expect(await agent.fetch(5000, fetchId)).toEqual(run);
      await agent.execute(run);
      expect(await client.getRun(id)).toMatchObject({ status: "COMPLETED", attempt: 1 });
    }
  });

  test("cancels a run through the agent that was given it, though nothing was heard of it yet", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const [id = ""] = await trigger(cluster, 1);
    const run = required(await agent.fetch());
    const orders = agent.heartbeat([run], 5000);
    expect((await client.cancelRun(id)).status).toBe("RUNNING");
    expect((await orders).stop).toMatchObject([
      { workflow_instance_id: id, attempt: 1, reason: "cancelled" },
    ]);
    await agent.send(agent.runReport(run, "CANCELLED"));
    expect((await client.getRun(id)).status).toBe("CANCELLED");
  });

  test("starts nothing of a run that was cancelled while the reply that gives it was lost", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const [id = ""] = await trigger(cluster, 1);
    expect(required(await agent.fetch(5000, "request")).is_confirmed).toBe(true);
    expect((await client.cancelRun(id)).status).toBe("RUNNING");
    const run = required(await agent.fetch(5000, "request"));
    expect(run).toMatchObject({ workflow_instance_id: id, attempt: 1 });
    expect(run.is_confirmed).toBeUndefined();
    // The agent has been told before, when it did not know the run.
    await agent.heartbeat();
    const orders = await agent.send(agent.runReport(run, "RUNNING"));
    expect(orders.stop).toMatchObject([{ workflow_instance_id: id, attempt: 1, reason: "cancelled" }]);
    await agent.send(agent.runReport(run, "CANCELLED"));
    expect((await client.getRun(id)).status).toBe("CANCELLED");
  });

  test("offers an unconfirmed run again, as another attempt that does not count as a crash", async () => {
    await using cluster = await new TestPrincipal({ leaseTimeoutMs: 400, workflows: ONCE }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const [id = ""] = await trigger(cluster, 1);
    for (let attempt = 1; attempt <= 4; attempt++) {
      expect(required(await agent.fetch()).attempt).toBe(attempt);
    }
    const last = required(await agent.fetch());
    await agent.execute(last);
    const run = await client.getRun(id);
    expect(run).toMatchObject({ status: "COMPLETED", attempt: 5 });
    expect(run.attempts.map((attempt) => attempt.status)).toEqual([...Array(4).fill("CRASHED"), "COMPLETED"]);
    expect(run.attempts[0]?.error).toBe("assignment never confirmed");
  });

  test("lets an offer stand that the agent names in its heartbeats", async () => {
    await using cluster = await new TestPrincipal({ leaseTimeoutMs: 400, workflows: ONCE }).start();
    const agent = await cluster.agent();
    await trigger(cluster, 2);
    const named = required(await agent.fetch());
    const forgotten = required(await agent.fetch());
    const other = await cluster.agent("other");
    const again = other.fetch();
    let waiting = true;
    void again.then(() => {
      waiting = false;
    });
    while (waiting) await agent.heartbeat([named], 20);
    expect((await again)?.workflow_instance_id).toBe(forgotten.workflow_instance_id);
    const orders = await agent.send(agent.runReport(named, "RUNNING"), agent.runReport(forgotten, "RUNNING"));
    expect(orders.stop).toEqual([
      { workflow_instance_id: forgotten.workflow_instance_id, slice: 0, attempt: 1, reason: "superseded" },
    ]);
  });

  test("works through ten thousand runs that wait at the start", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client(60_000);
    await Promise.all(
      Array.from({ length: 10_000 }, (_, i) => client.runTask("hello", { dedupe_key: `many-${i}` })),
    );
    await cluster.stop();
    await cluster.start();
    const again = cluster.client();
    expect((await again.info()).runs).toEqual({ pending: 10_000, running: 0 });
    const agent = await cluster.agent();
    for (let i = 0; i < 50; i++) await agent.execute(required(await agent.fetch()));
    expect((await again.info()).runs).toEqual({ pending: 9_950, running: 0 });
  }, 60_000);
});
