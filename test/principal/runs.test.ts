import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { historyHere } from "../../src/history/in-process.ts";
import {
  type PrincipalClient,
  RequestRefusedError,
  RequestUnprocessableError,
} from "../../src/protocol/client.ts";
import type { OperationalStore } from "../../src/storage/operational/store.ts";
import type { WorkflowDefinition } from "../../src/workflow/model.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { until } from "../support/until.ts";
import { failure, required, TestPrincipal, workflowText } from "./support.ts";

const TWO_TASKS = { "etl/daily.yml": workflowText({ tasks: ["a", "b"] }) };
const WITH_PARAMS = {
  "report.yml": workflowText({ top: 'params:\n  day: {}\n  region:\n    default: "north"' }),
};

describe("a run", () => {
  test("is triggered, dispatched, reported and listed", async () => {
    await using cluster = await new TestPrincipal({ workflows: TWO_TASKS }).start();
    const client = cluster.client();
    await client.ping();
    expect(Object.keys(await client.listWorkflows())).toEqual(["etl.daily"]);

    const agent = await cluster.agent();
    const waiting = agent.fetch();
    const { workflow_instance_id: id } = await client.runTask("etl.daily", {
      dedupe_key: "one",
      trigger: "cli",
    });
    const run = required(await waiting);
    expect(run.workflow_instance_id).toBe(id);
    expect(run.attempt).toBe(1);
    expect(run.workflow.tasks.map((task) => task.id)).toEqual(["a", "b"]);

    const end = client.waitRun(id, 10_000);
    await agent.execute(run);
    const details = await end;
    expect(details.status).toBe("COMPLETED");
    expect(details.tasks.map((task) => [task.task_id, task.status])).toEqual([
      ["a", "COMPLETED"],
      ["b", "COMPLETED"],
    ]);
    expect(details.attempts).toHaveLength(1);
    expect(details.definition?.id).toBe("etl.daily");
    const [listed] = await client.listRuns({ limit: 5 });
    expect(listed).toMatchObject({
      workflow_instance_id: id,
      status: "COMPLETED",
      agent_id: "agent-1",
      trigger: "cli",
      tasks_total: 2,
      tasks_done: 2,
    });
  });

  test("a report that a task has begun and ended counts as two", async () => {
    await using cluster = await new TestPrincipal({ workflows: TWO_TASKS }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: id } = await client.runTask("etl.daily", { dedupe_key: "whole" });
    const run = required(await agent.fetch());
    await agent.send(agent.runReport(run, "RUNNING"));
    const whole = async (task: string, status: RunStatus) => {
      const began_at_ms = Date.now();
      // The task takes 1 ms at least: a begin that is lost shows.
      await until("time has passed", () => Date.now() > began_at_ms);
      return { ...agent.taskReport(run, task, status), began_at_ms };
    };
    const a = await whole("a", "COMPLETED");
    await agent.send(a);
    // It comes again if the reply got lost.
    await agent.send(a);
    // The report of the begin counts, if there was one.
    const begun = agent.taskReport(run, "b", "RUNNING");
    await agent.send(begun);
    const b = await whole("b", "FAILED");
    await agent.send({ ...b, began_at_ms: begun.timestamp_ms - 5000 });
    await agent.send(agent.runReport(run, "FAILED"));
    const details = await client.getRun(id);
    const times = details.tasks.map(({ task_id, status, started_at_ms, finished_at_ms }) => {
      return [task_id, status, (finished_at_ms ?? 0) - (started_at_ms ?? 0)];
    });
    expect(times).toEqual([
      ["a", "COMPLETED", a.timestamp_ms - a.began_at_ms],
      ["b", "FAILED", b.timestamp_ms - begun.timestamp_ms],
    ]);
    for (const { started_at_ms } of details.tasks)
      expect(started_at_ms).toBeGreaterThanOrEqual(details.started_at_ms ?? 0);
    expect((await client.listRuns({ limit: 1 }))[0]).toMatchObject({ tasks_done: 2, status: "FAILED" });
    const { rows } = await client.queryDatabase({
      sql: "SELECT task_id, status FROM task_run_status ORDER BY task_id, timestamp_ms, status DESC",
    });
    expect(rows).toEqual([
      ["a", "RUNNING"],
      ["a", "COMPLETED"],
      ["b", "RUNNING"],
      ["b", "FAILED"],
    ]);
  });

  test("is listed without the history, if that has no older ones: it is asked for them once, when it opens", async () => {
    const host = historyHere();
    let asked = 0;
    const opened = Promise.withResolvers<void>();
    await using cluster = await new TestPrincipal({
      history: {
        ...host,
        start: (settings, heard, ended) => {
          const peer = host.start(settings, heard, ended);
          return {
            ...peer,
            send: (text) => {
              if (text.includes('"ask":"listRuns"') && ++asked === 1) setTimeout(opened.resolve);
              peer.send(text);
            },
          };
        },
      },
    }).start();
    const client = cluster.client();
    await opened.promise;
    await client.ping();
    expect(await client.listRuns({ limit: 100 })).toEqual([]);
    await client.runTask("hello", { dedupe_key: "one" });
    expect(await client.listRuns({ limit: 100 })).toHaveLength(1);
    expect(asked).toBe(1);
  });

  test("is scheduled for no later time than a date can be", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const at = (scheduled_time_ms: number) =>
      client.runTask("hello", { dedupe_key: `${scheduled_time_ms}`, scheduled_time_ms });
    expect((await failure(at(8.64e15 + 1))).message).toContain("scheduled_time_ms");
    expect((await at(8.64e15)).workflow_instance_id).toBeString();
  });

  test("that another version stored has today's defaults, and keeps what only a newer one knows", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const id = await client.runTask("hello", { dedupe_key: "one" }).then((run) => run.workflow_instance_id);
    await cluster.stop();
    const state = new Database(join(cluster.directory, "data", "state.db"));
    const task = { id: "only", name: "Only", config: { type: "Subprocess", cmd: "true", stdin: "x" } };
    state.run("UPDATE definitions SET definition = ?", [
      JSON.stringify({ id: "hello", name: "Hello", priority: 5, tasks: [task] }),
    ]);
    state.close();

    await cluster.start();
    const agent = await cluster.agent("agent-1", { protocol: 3 });
    const run = required(await agent.fetch());
    expect(run.workflow_instance_id).toBe(id);
    const whole: unknown = {
      id: "hello",
      name: "Hello",
      description: null,
      cron: null,
      timezone: null,
      start_time_ms: null,
      catchup: "latest",
      failover: "rerun",
      timeout_ms: null,
      env: {},
      params: {},
      tasks: [
        {
          ...task,
          description: null,
          depends: [],
          config: { ...task.config, args: [], working_directory: null },
          retry: { max_attempts: 1, delay_ms: 0, backoff: 1 },
          timeout_ms: null,
          env: {},
        },
      ],
      priority: 5,
    };
    expect(run.workflow).toEqual(whole as WorkflowDefinition);
    await agent.execute(run);
    expect(await cluster.client().getRun(id)).toMatchObject({ status: "COMPLETED", definition: whole });
  });

  test.each(["{", JSON.stringify({ id: "bad", name: "Bad" })])(
    "whose stored definition is damaged ends, and holds up no others: %s",
    async (damaged) => {
      const workflows = { "bad.yml": workflowText(), "good.yml": workflowText({ name: "Good" }) };
      await using cluster = await new TestPrincipal({ workflows, leaseTimeoutMs: 400 }).start();
      const ids: string[] = [];
      for (const workflow of ["bad", "bad", "good"]) {
        const run = await cluster.client().runTask(workflow, { dedupe_key: String(ids.length) });
        ids.push(run.workflow_instance_id);
      }
      const [bad = "", cancelled = "", good] = ids;
      await cluster.stop();
      const state = new Database(join(cluster.directory, "data", "state.db"));
      state.run('UPDATE definitions SET definition = ? WHERE definition LIKE \'%"id":"bad"%\'', [damaged]);
      state.close();

      await cluster.start();
      const client = cluster.client();
      expect(await client.cancelRun(cancelled)).toMatchObject({ status: "CANCELLED", definition: null });
      const agent = await cluster.agent();
      expect(await agent.fetch()).toBeNull();
      const run = required(await agent.fetch());
      expect(run.workflow_instance_id).toBe(required(good));
      const ended = await client.waitRun(bad, 10_000);
      expect(ended).toMatchObject({ status: "CRASHED", definition: null });
      expect(ended.error).toEndWith("and the stored definition is damaged");
      await agent.execute(run);
    },
  );

  test("is made once for one idempotency key, also for requests at the same time", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const made = await Promise.all(
      Array.from({ length: 20 }, () => client.runTask("hello", { dedupe_key: "same" })),
    );
    expect(new Set(made.map((run) => run.workflow_instance_id)).size).toBe(1);
    expect(await client.listRuns({ limit: 100 })).toHaveLength(1);
    await client.runTask("hello", { dedupe_key: "other" });
    expect(await client.listRuns({ limit: 100 })).toHaveLength(2);
  });

  test("of a workflow that does not exist is refused with the nearest one", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const refused = client.runTask("helo", { dedupe_key: "x" });
    expect(await failure(refused)).toBeInstanceOf(RequestRefusedError);
    expect((await failure(refused)).message).toBe('There is no workflow "helo": did you mean "hello"?');
    expect(await client.listRuns({})).toEqual([]);
  });

  test("gets its parameters, checked", async () => {
    await using cluster = await new TestPrincipal({ workflows: WITH_PARAMS }).start();
    const client = cluster.client();
    const trigger = (params: Record<string, string>) =>
      client.runTask("report", { dedupe_key: crypto.randomUUID(), params });
    expect((await failure(trigger({}))).message).toMatch(/missing parameter "day"/);
    expect((await failure(trigger({ day: "1", regoin: "south" }))).message).toMatch(/did you mean "region"/);
    const { workflow_instance_id: id } = await trigger({ day: "1" });
    expect((await client.getRun(id)).params).toEqual({ day: "1", region: "north" });
  });

  test("keeps the definition it was triggered with", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
    cluster.write("hello.yml", workflowText({ name: "Renamed", tasks: ["other"] }));
    await cluster.book.waitFor(/hello changed/);
    expect((await client.getRun(id)).definition?.tasks.map((task) => task.id)).toEqual(["only"]);
    const agent = await cluster.agent();
    expect(required(await agent.fetch()).workflow.tasks.map((task) => task.id)).toEqual(["only"]);
  });

  test("is found by the beginning of its id", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
    expect((await client.getRun(id.slice(0, 8))).workflow_instance_id).toBe(id);
    expect((await failure(client.getRun(id.slice(0, 3)))).message).toMatch(/There is no run/);
    expect(await failure(client.getRun("nonsense"))).toBeInstanceOf(RequestRefusedError);
  });

  test("can be waited for, and the wait ends in time", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
    expect((await client.waitRun(id, 50)).status).toBe("PENDING");
  });

  test("is listed by workflow and status, newest first", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "a.yml": workflowText(), "b.yml": workflowText() },
    }).start();
    const client = cluster.client();
    const ids: string[] = [];
    for (const workflow of ["a", "b", "a"]) {
      ids.push((await client.runTask(workflow, { dedupe_key: String(ids.length) })).workflow_instance_id);
    }
    await client.cancelRun(ids[0] ?? "");
    const list = async (filter: Parameters<typeof client.listRuns>[0]) =>
      (await client.listRuns(filter)).map((run) => ids.indexOf(run.workflow_instance_id));
    expect(await list({})).toEqual([2, 1, 0]);
    expect(await list({ limit: 1 })).toEqual([2]);
    expect(await list({ workflow_id: "a" })).toEqual([2, 0]);
    expect(await list({ status: "CANCELLED" })).toEqual([0]);
    expect(await list({ status: "PENDING", workflow_id: "a" })).toEqual([2]);
  });

  test("has its statuses and tasks in the history", async () => {
    await using cluster = await new TestPrincipal({ workflows: TWO_TASKS }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: id } = await client.runTask("etl.daily", { dedupe_key: "x" });
    await agent.execute(required(await agent.fetch()));
    const { rows } = await client.queryDatabase({
      sql: `SELECT status::VARCHAR, attempt FROM workflow_run_status WHERE workflow_instance_id = '${id}' ORDER BY rowid`,
    });
    expect(rows.map(([status]) => status)).toEqual(["PENDING", "RUNNING", "COMPLETED"]);
    const tasks = await client.queryDatabase({
      sql: `SELECT task_id, status::VARCHAR FROM task_run_status WHERE workflow_instance_id = '${id}' ORDER BY rowid`,
    });
    expect(tasks.rows).toEqual([
      ["a", "RUNNING"],
      ["a", "COMPLETED"],
      ["b", "RUNNING"],
      ["b", "COMPLETED"],
    ]);
  });
});

describe("a run that is only in the history", () => {
  test("is found by the beginning of its id, listed, and told from one that is not there", async () => {
    let store: OperationalStore | undefined;
    await using cluster = await new TestPrincipal({
      wrapStore: (made) => {
        store = made;
        return made;
      },
    }).start();
    let client = cluster.client();
    const ids: string[] = [];
    for (const dedupe_key of ["a", "b", "c"]) {
      const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key });
      await client.cancelRun(id);
      ids.unshift(id);
    }
    const [, , old = ""] = ids;
    // The history has all of them after a read.
    await client.queryDatabase({ sql: "SELECT 1" });
    const step = { keepRuns: 1, olderThanMs: 0, followUpsOlderThanMs: 0 };
    expect(await store?.transact((tx) => tx.forget(step))).toMatchObject({ runs: 2 });
    await cluster.stop();
    await cluster.start();
    client = cluster.client();

    expect((await client.getRun(old.slice(0, 13).toUpperCase())).workflow_instance_id).toBe(old);
    expect(await client.listItems({ workflow_instance_id: old.slice(0, 13), task_id: "hello" })).toEqual([]);
    const list = async (filter: Parameters<typeof client.listRuns>[0]) =>
      (await client.listRuns(filter)).map((run) => run.workflow_instance_id);
    expect(await list({ id_prefix: old.slice(0, 13) })).toEqual([old]);
    expect(await list({ complete: true })).toEqual(ids);
    for (const change of [
      () => client.retryRun({ workflow_instance_id: old, dedupe_key: "r" }),
      () => client.cancelRun(old),
    ]) {
      const refusal = await failure(change());
      expect(refusal).toBeInstanceOf(RequestUnprocessableError);
      expect(refusal.message).toMatch(
        /^Run \S+ of hello \(CANCELLED\) is only in the history.*'cdktr run hello'/,
      );
    }
    const unknown = client.retryRun({ workflow_instance_id: crypto.randomUUID(), dedupe_key: "u" });
    expect((await failure(unknown)).message).toMatch(/^There is no run/);

    await cluster.stop();
    writeFileSync(join(cluster.directory, "other.db"), "no database");
    await cluster.start({ CDKTR_DB_PATH: join(cluster.directory, "other.db") });
    const again = cluster.client();
    expect(await again.listRuns({})).toMatchObject([{ workflow_instance_id: ids[0] }]);
    expect(await again.listRuns({ limit: 1, complete: true })).toHaveLength(1);
    const refusal = await failure(again.listRuns({ complete: true }));
    expect(refusal).toBeInstanceOf(RequestUnprocessableError);
    expect(refusal.message).toMatch(/^Older runs may be missing: the history is not available: /);
  });
});

describe("cancelling", () => {
  test("a run that waits ends it at once; it is never handed out", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
    expect((await client.cancelRun(id)).status).toBe("CANCELLED");
    expect((await client.cancelRun(id)).status).toBe("CANCELLED");
    const agent = await cluster.agent();
    expect(await agent.fetch(0)).toBeNull();
  });

  test("a run that runs orders its agent to stop, without waiting for the next heartbeat", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
    const run = required(await agent.fetch());
    await agent.send(agent.runReport(run, "RUNNING"));
    const orders = agent.heartbeat([run], 30_000);
    const ended = client.waitRun(id, 10_000);
    expect((await client.cancelRun(id)).status).toBe("RUNNING");
    expect((await orders).stop).toEqual([
      { workflow_instance_id: id, slice: 0, attempt: 1, reason: "cancelled" },
    ]);
    // The order stands, but is no news: the next heartbeat waits.
    const next = await agent.heartbeat([run], 50);
    expect(next.stop).toHaveLength(1);
    await agent.send(agent.runReport(run, "CANCELLED"));
    expect((await ended).status).toBe("CANCELLED");
    expect((await agent.heartbeat([], 0)).stop).toEqual([]);
  });

  test("a run that is over is not possible", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
    await agent.execute(required(await agent.fetch()));
    expect(await failure(client.cancelRun(id))).toBeInstanceOf(RequestUnprocessableError);
  });

  test("an assignment that must be confirmed and is under way fences the agent", async () => {
    const workflows = { "hello.yml": workflowText({ top: "failover: never" }) };
    await using cluster = await new TestPrincipal({ workflows }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "x" });
    const run = required(await agent.fetch());
    expect((await client.cancelRun(id)).status).toBe("CANCELLED");
    const orders = await agent.send(agent.runReport(run, "RUNNING"));
    expect(orders.stop).toEqual([{ workflow_instance_id: id, slice: 0, attempt: 1, reason: "cancelled" }]);
    expect((await client.getRun(id)).status).toBe("CANCELLED");
  });
});

describe("firings of a schedule that no agent took", () => {
  const catchup = (policy: string) => workflowText({ top: `cron: "0 0 1 1 *"\ncatchup: ${policy}` });
  /** Far enough that the schedule itself fires none, and each is due after the one before it was queued. */
  const due = (n: number) => Date.now() + n * 60_000;

  async function fire(
    client: PrincipalClient,
    workflow: string,
    scheduled_time_ms: number,
    trigger = "cron",
  ) {
    const run = { trigger, scheduled_time_ms, dedupe_key: `${trigger} ${scheduled_time_ms}` };
    return (await client.runTask(workflow, run)).workflow_instance_id;
  }
  const statuses = async (client: PrincipalClient, ids: readonly string[]) =>
    (await Promise.all(ids.map((id) => client.getRun(id)))).map((run) => run.status);

  test.each<[string, RunStatus[]]>([
    ["none", ["SKIPPED", "SKIPPED", "PENDING"]],
    ["latest", ["SKIPPED", "SKIPPED", "PENDING"]],
    ["all", ["PENDING", "PENDING", "PENDING"]],
  ])("wait as catchup says, which says %s", async (policy, expected) => {
    await using cluster = await new TestPrincipal({ workflows: { "w.yml": catchup(policy) } }).start();
    const client = cluster.client();
    const others = [await fire(client, "w", due(1), "cli"), await fire(client, "w", due(1), "workflow")];
    const times = [due(1), due(2), due(3)];
    const ids: string[] = [];
    for (const time of times) ids.push(await fire(client, "w", time));
    expect(await statuses(client, ids)).toEqual(expected);
    expect(await statuses(client, others)).toEqual(["PENDING", "PENDING"]);
    // The same firing again drops nothing, nor does an earlier one that comes late.
    expect(await fire(client, "w", times[2] ?? 0)).toBe(ids[2] ?? "");
    await fire(client, "w", due(2.5));
    expect(await statuses(client, ids)).toEqual(expected);

    const agent = await cluster.agent();
    const taken: string[] = [];
    for (let run = await agent.fetch(0); run !== null; run = await agent.fetch(0)) {
      taken.push(run.workflow_instance_id);
      await agent.execute(run);
    }
    const stayed = ids.filter((_, i) => expected[i] === "PENDING");
    expect(taken.slice(0, -1)).toEqual([...others, ...stayed]);
  });

  test("end as SKIPPED, which is told by the run, its history and the log, and can be run by a retry", async () => {
    await using cluster = await new TestPrincipal({ workflows: { "w.yml": catchup("none") } }).start();
    const client = cluster.client();
    const id = await fire(client, "w", due(1));
    const end = client.waitRun(id, 10_000);
    const next = due(2);
    await fire(client, "w", next);
    const reason = `no agent took it before the next firing was due, at ${new Date(next).toISOString()} (catchup: none)`;
    expect(await end).toMatchObject({ status: "SKIPPED", error: reason, started_at_ms: null });
    expect((await end).finished_at_ms).not.toBeNull();
    expect(await client.listRuns({ status: "SKIPPED" })).toHaveLength(1);
    expect(await client.call("GETRECENTSTATUSES", {})).toMatchObject([
      { workflow_id: "w", status: "PENDING" },
    ]);
    await cluster.book.waitFor(/A firing that no agent took .* workflow w/);
    expect((await failure(client.cancelRun(id))).message).toMatch(/is over already: SKIPPED/);

    const retry = await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
    await fire(client, "w", due(3));
    expect(await statuses(client, [retry.workflow_instance_id])).toEqual(["PENDING"]);
  });

  test("stay when an agent has taken them, even if it has not confirmed them, or was lost with them", async () => {
    const options = { workflows: { "w.yml": `${catchup("none")}\nfailover: never\n` }, leaseTimeoutMs: 200 };
    await using cluster = await new TestPrincipal(options).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const waiting = agent.fetch();
    // Both are late, as after a moment in which the machine was busy: none has waited for an agent until the next was due.
    const taken = await fire(client, "w", due(-2));
    const next = await fire(client, "w", due(-1));
    expect(required(await waiting).workflow_instance_id).toBe(taken);
    expect(await statuses(client, [taken, next])).toEqual(["PENDING", "PENDING"]);
    await cluster.book.waitFor(/never confirmed/);
    const last = await fire(client, "w", due(3));
    expect(await statuses(client, [taken, next, last])).toEqual(["PENDING", "SKIPPED", "PENDING"]);
    expect(required(await agent.fetch())).toMatchObject({ workflow_instance_id: taken, attempt: 2 });
  });

  test("follow the catchup of the file as it is now", async () => {
    await using cluster = await new TestPrincipal({ workflows: { "w.yml": catchup("all") } }).start();
    const client = cluster.client();
    const ids = [await fire(client, "w", due(1)), await fire(client, "w", due(2))];
    cluster.write("w.yml", catchup("latest"));
    await cluster.book.waitFor(/Workflow w changed/);
    ids.push(await fire(client, "w", due(3)));
    expect(await statuses(client, ids)).toEqual(["SKIPPED", "SKIPPED", "PENDING"]);
  });
});

describe("retrying", () => {
  test("takes outputs that are only in the history from there, also to show them", async () => {
    let store: OperationalStore | undefined;
    await using cluster = await new TestPrincipal({
      workflows: {
        "w.yml":
          "name: W\ntasks:\n  a: { name: A, config: !Subprocess { cmd: echo } }\n  b: { name: B, config: !Subprocess { cmd: echo } }\n" +
          '  c: { name: C, depends: ["a"], config: !Subprocess { cmd: echo } }\n',
      },
      wrapStore: (made) => {
        store = made;
        return made;
      },
    }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: id } = await client.runTask("w", { dedupe_key: "x" });
    const run = required(await agent.fetch());
    const published = (task: string) => ({
      ...agent.taskReport(run, task, "COMPLETED"),
      outputs: { of: task },
    });
    await agent.send(
      agent.runReport(run, "RUNNING"),
      agent.taskReport(run, "a", "RUNNING"),
      published("a"),
      agent.taskReport(run, "b", "RUNNING"),
      published("b"),
      agent.taskReport(run, "c", "RUNNING"),
      agent.taskReport(run, "c", "FAILED"),
      agent.runReport(run, "FAILED", "task c failed"),
    );
    // The history has all of it after a read.
    await client.queryDatabase({ sql: "SELECT 1" });
    await store?.transact((tx) => tx.moveOutputs(id, []));
    expect(await store?.read((tx) => tx.outputsBytes())).toBe(0);
    const shown = async (of: string) =>
      (await client.getRun(of, { outputs: true })).tasks.map(({ task_id, outputs }) => [task_id, outputs]);
    const before = [
      ["a", { of: "a" }],
      ["b", { of: "b" }],
    ];
    expect((await shown(id)).slice(0, 2)).toEqual(before);

    const retry = await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
    expect(await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" })).toEqual(retry);
    const again = required(await agent.fetch());
    expect(again).toMatchObject({
      ...retry,
      completed_tasks: ["a", "b"],
      results: { a: { status: "COMPLETED", outputs: { of: "a" } } },
    });
    expect((await shown(retry.workflow_instance_id)).slice(0, 2)).toEqual(before);
  });

  test("repeats what handled a failure, because what failed runs again, with the items that it had", async () => {
    const task = 'config: !Subprocess { cmd: "true" }';
    const file = [
      "tasks:",
      `  deploy: {${task}}`,
      `  rollback: {depends: {deploy: failed}, foreach: [x], ${task}}`,
      `  clean: {depends: {deploy: ended}, ${task}}`,
      `  other: {${task}}`,
    ].join("\n");
    await using cluster = await new TestPrincipal({ workflows: { "w.yml": file } }).start();
    const client = cluster.client();
    const agent = await cluster.agent("x", { protocol: 3 });
    const { workflow_instance_id: id } = await client.runTask("w", { dedupe_key: "x" });
    const run = required(await agent.fetch());
    const item = { item_key: "0", item_index: 0 };
    await agent.send(
      agent.runReport(run, "RUNNING"),
      ...["deploy", "other"].map((one) => agent.taskReport(run, one, "RUNNING")),
      agent.taskReport(run, "other", "COMPLETED"),
      agent.taskReport(run, "deploy", "FAILED"),
      { ...agent.taskReport(run, "rollback", "RUNNING"), items_total: 1 },
      { ...agent.taskReport(run, "rollback", "RUNNING"), ...item, task_instance_id: "item" },
      { ...agent.taskReport(run, "rollback", "COMPLETED"), ...item, task_instance_id: "item" },
      { ...agent.taskReport(run, "rollback", "COMPLETED"), items_total: 1 },
      agent.taskReport(run, "clean", "RUNNING"),
      agent.taskReport(run, "clean", "COMPLETED"),
      agent.runReport(run, "FAILED", "failed: deploy"),
    );
    const first = await client.getRun(id);
    expect(first.tasks.find(({ task_id }) => task_id === "rollback")?.status).toBe("COMPLETED");
    await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
    const again = required(await agent.fetch());
    expect(again).toMatchObject({ trigger: "retry", completed_tasks: ["other"] });
    expect(again.item_results ?? {}).toEqual({});
  });

  test("makes a new run that does not repeat what completed", async () => {
    await using cluster = await new TestPrincipal({ workflows: TWO_TASKS }).start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: id } = await client.runTask("etl.daily", { dedupe_key: "x" });
    const run = required(await agent.fetch());
    expect((await failure(client.retryRun({ workflow_instance_id: id, dedupe_key: "r" }))).message).toMatch(
      /only a run that is over/,
    );
    await agent.send(
      agent.runReport(run, "RUNNING"),
      agent.taskReport(run, "a", "RUNNING"),
      agent.taskReport(run, "a", "COMPLETED"),
      agent.taskReport(run, "b", "RUNNING"),
      agent.taskReport(run, "b", "FAILED"),
      agent.runReport(run, "FAILED", "task b failed"),
    );
    expect(await client.getRun(id)).toMatchObject({ status: "FAILED", error: "task b failed" });
    const retry = await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
    expect(await client.retryRun({ workflow_instance_id: id, dedupe_key: "r" })).toEqual(retry);
    const again = required(await agent.fetch());
    expect(again).toMatchObject({ ...retry, attempt: 1, trigger: "retry", completed_tasks: ["a"] });
    await agent.execute(again);
    const details = await client.getRun(retry.workflow_instance_id);
    expect(details).toMatchObject({ status: "COMPLETED", retry_of: id, tasks_done: 2 });
    expect(details.tasks.map((task) => [task.task_id, task.status])).toEqual([
      ["a", "COMPLETED"],
      ["b", "COMPLETED"],
    ]);
    expect(
      (await failure(client.retryRun({ workflow_instance_id: retry.workflow_instance_id, dedupe_key: "s" })))
        .message,
    ).toMatch(/--from-start/);
    const whole = { workflow_instance_id: retry.workflow_instance_id, dedupe_key: "t", from_start: true };
    await client.retryRun(whole);
    expect(required(await agent.fetch()).completed_tasks).toEqual([]);
  });
});
