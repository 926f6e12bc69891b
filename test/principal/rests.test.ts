/** Runs of which nothing runs, because they wait: they are WAITING, and their history says so. */
import { expect, test } from "bun:test";
import { EventHub } from "../../src/event-hub.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { RestWatch, type RestWatchOptions } from "../../src/principal/runs/rest-watch.ts";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { ManualClock } from "../support/manual-clock.ts";
import type { FakeAgent } from "./support.ts";
import { LogBook, required, TestPrincipal } from "./support.ts";

const RUN = '{config: !Subprocess {cmd: "true"}';

async function trigger(client: PrincipalClient, id = "w"): Promise<string> {
  return (await client.runTask(id, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

/** Resolves when the run has this status. */
async function status(client: PrincipalClient, id: string, wanted: string): Promise<void> {
  for (;;) {
    const run = await client.getRun(id);
    if (run.status === wanted) return;
    // A change of the status is no event for clients.
    await client.waitRun(id, 20);
  }
}

const rowsOf = async (cluster: TestPrincipal, id: string): Promise<unknown[]> => {
  const sql = `SELECT status FROM workflow_run_status WHERE workflow_instance_id = '${id}' AND reason IS NULL ORDER BY rowid`;
  return (await cluster.client().queryDatabase({ sql })).rows.flat();
};

async function report(agent: FakeAgent, run: Parameters<FakeAgent["taskReport"]>[0], ...statuses: string[]) {
  for (const each of statuses) {
    const [task = "", to = ""] = each.split(" ");
    await agent.send(agent.taskReport(run, task, to as "RUNNING"));
  }
}

test("a run is WAITING while it waits for a person, over a restart; older programs are told RUNNING", async () => {
  const text = `tasks:\n  a: ${RUN}}\n  go: {depends: [a], config: !Approval {message: Go on?}}\n  b: ${RUN}, depends: [go]}\n`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const id = await trigger(cluster.client());
  const agent = await cluster.agent("x", { protocol: 3 });
  const a = required(await agent.fetch());
  await agent.execute(a);
  await status(cluster.client(), id, "WAITING");
  await cluster.stop();
  await cluster.start();
  const client = cluster.client();
  const ids = async (filter: object) =>
    (await client.listRuns({ limit: 10, ...filter })).map(({ workflow_instance_id, status }) => [
      workflow_instance_id,
      status,
    ]);
  expect(await ids({ status: "WAITING" })).toEqual([[id, "WAITING"]]);
  expect(await ids({})).toEqual([[id, "WAITING"]]);
  expect(await ids({ status: "RUNNING" })).toEqual([]);
  for (const [verb, request] of [
    ["LSRUNS", { status: "RUNNING" }],
    ["LSRUNS", { status: "WAITING" }],
    ["GETRUN", { workflow_instance_id: id }],
    ["WAITRUN", { workflow_instance_id: id, wait_ms: 0 }],
  ] as const) {
    const { payload } = await client.request(verb, [JSON.stringify(request)]);
    expect([JSON.parse(payload)].flat()).toEqual([
      expect.objectContaining({ workflow_instance_id: id, status: "RUNNING" }),
    ]);
  }
  const answer = { workflow_instance_id: id, answer: "approve", dedupe_key: "yes" } as const;
  await client.answerApproval(answer);
  const { sessionId, streamId, seq } = agent;
  const back = await cluster.agent("x", { protocol: 3, sessionId, streamId });
  back.seq = seq;
  const b = required(await back.fetch());
  await report(back, b, "b RUNNING");
  await status(client, id, "RUNNING");
  await report(back, b, "b COMPLETED");
  await back.send(back.runReport(b, "COMPLETED"));
  expect((await client.waitRun(id, 10_000)).status).toBe("COMPLETED");
  expect(await rowsOf(cluster, id)).toEqual(["PENDING", "RUNNING", "WAITING", "RUNNING", "COMPLETED"]);
});

test("a run of which something else runs is RUNNING; it is WAITING when that is over, and CANCELLED by a cancel", async () => {
  const text = `tasks:\n  a: ${RUN}}\n  go: {config: !Approval {message: Go on?}}\n`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": text } }).start();
  const client = cluster.client();
  const id = await trigger(client);
  const agent = await cluster.agent("x", { protocol: 3 });
  const a = required(await agent.fetch());
  await report(agent, a, "a RUNNING");
  expect((await client.getRun(id)).status).toBe("RUNNING");
  await report(agent, a, "a COMPLETED");
  await agent.send(agent.runReport(a, "COMPLETED"));
  await status(client, id, "WAITING");
  expect((await client.cancelRun(id)).status).toBe("CANCELLED");
  expect(await rowsOf(cluster, id)).toEqual(["PENDING", "RUNNING", "WAITING", "CANCELLED"]);
  expect(await client.listRuns({ status: "WAITING", limit: 10 })).toEqual([]);
});

test("a whole run is WAITING while its only task waits for its next try", async () => {
  const text = `tasks:\n  a: ${RUN}, retry: {max_attempts: 3, delay: 1h}}\n  b: ${RUN}, depends: [a]}\n`;
  const workflows = { "w.yml": text };
  await using cluster = await new TestPrincipal({ workflows }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await trigger(client);
  const a = required(await agent.fetch());
  await report(agent, a, "a RUNNING", "a WAITING");
  await status(client, id, "WAITING");
  await report(agent, a, "a RUNNING");
  await status(client, id, "RUNNING");
  await report(agent, a, "a WAITING");
  await status(client, id, "WAITING");
  await report(agent, a, "a RUNNING", "a COMPLETED", "b RUNNING", "b COMPLETED");
  await agent.send(agent.runReport(a, "COMPLETED"));
  expect((await client.waitRun(id, 10_000)).status).toBe("COMPLETED");
  expect(new Set(await rowsOf(cluster, id))).toEqual(new Set(["PENDING", "RUNNING", "WAITING", "COMPLETED"]));
  expect((await rowsOf(cluster, id)).at(-1)).toBe("COMPLETED");
});

test("a wait counts when it has lasted for half a second; a failure is tried again", async () => {
  const book = new LogBook();
  const clock = new ManualClock();
  const events = new EventHub() as PrincipalEvents;
  const rested: boolean[] = [];
  let rest = { waiting: 1, since_ms: clock.now(), busy: 0 };
  let failures = 0;
  const run = { status: "RUNNING", resting: false, finished_at_ms: null };
  const tx = {
    runsThatMayRest: async () => [],
    getRun: async () => run,
    restOf: async () => {
      if (failures-- > 0) throw new Error("the disk is full");
      return rest;
    },
    restRun: async (_run: unknown, resting: boolean) => {
      rested.push(resting);
      run.resting = resting;
    },
    afterCommit: () => {},
  };
  const perform = <T>(work: (given: typeof tx) => Promise<T>) => work(tx);
  const store = { read: perform, transact: perform };
  const watch = new RestWatch({
    store,
    clock,
    events,
    log: book.log,
  } as unknown as RestWatchOptions);
  await watch.start();
  /** Lets time pass; resolves when it has looked. */
  const looks = async (ms: number) => {
    const looked = watch.signals.next("looked");
    clock.advance(ms);
    await looked;
  };
  await looks(1);
  rest = { ...rest, since_ms: clock.now() };
  expect(watch.mayRest("r")).toBe(false);
  events.emit("run touched", "r");
  await looks(250);
  expect([rested, watch.mayRest("r")]).toEqual([[], true]);
  await looks(250);
  expect(rested).toEqual([true]);
  rest = { ...rest, busy: 1 };
  failures = 1;
  events.emit("run touched", "r");
  const failed = book.waitFor(/the disk is full/);
  clock.advance(250);
  await failed;
  await looks(1000);
  expect(rested).toEqual([true, false]);
  rest = { waiting: 0, since_ms: 0, busy: 0 };
  events.emit("run touched", "r");
  await looks(250);
  expect(watch.mayRest("r")).toBe(false);
  await watch.stop();
});
