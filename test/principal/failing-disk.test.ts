import { expect, test } from "bun:test";
import { join } from "node:path";
import { PrincipalFailedError } from "../../src/protocol/client.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { diskFull, silent } from "../storage/operational-support.ts";
import { required, TestPrincipal } from "./support.ts";

const RUNS = 60;
/** One of this many statements fails. */
const ONE_OF = 60;

/** Behaves like a client whose request may be repeated: it retries until the disk works. */
async function insist<T>(request: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof PrincipalFailedError)) throw error;
    }
  }
}

test("a disk that fails at any statement, again and again: every run ends once, in its first attempt, with all its statuses", async () => {
  let fails = false;
  let failures = 0;
  const beforeStatement = () => {
    if (!fails || Math.random() >= 1 / ONE_OF) return;
    failures++;
    throw diskFull();
  };
  await using cluster = new TestPrincipal({
    leaseTimeoutMs: 60_000,
    wrapStore: () =>
      new SqliteOperationalStore({
        directory: join(cluster.directory, "data"),
        log: silent,
        beforeStatement,
      }),
  });
  await cluster.start();
  const client = cluster.client();
  const agents = [await cluster.agent("a"), await cluster.agent("b"), await cluster.agent("c")];
  fails = true;
  let isOver = false;
  const assigned: string[] = [];
  const working = agents.map(async (agent) => {
    while (!isOver) {
      const fetchId = crypto.randomUUID();
      const run = await insist(() => agent.fetch(100, fetchId));
      if (run === null) continue;
      assigned.push(`${run.workflow_instance_id} ${run.attempt}`);
      for (const reports of [
        [agent.runReport(run, "RUNNING"), agent.taskReport(run, "only", "RUNNING")],
        [agent.taskReport(run, "only", "COMPLETED"), agent.runReport(run, "COMPLETED")],
      ])
        await insist(() => agent.send(...reports));
      await insist(() => agent.heartbeat());
    }
  });
  const made = await Promise.all(
    Array.from({ length: RUNS }, (_, i) => insist(() => client.runTask("hello", { dedupe_key: `run-${i}` }))),
  );
  const ids = made.map((run) => run.workflow_instance_id);
  expect(new Set(ids).size).toBe(RUNS);
  for (const id of ids) {
    // As clients do: a wait ends early when the state cannot be read.
    let end = await insist(() => client.waitRun(id, 20_000));
    while (end.finished_at_ms === null) end = await insist(() => client.waitRun(id, 20_000));
    expect(end).toMatchObject({ status: "COMPLETED", attempt: 1, tasks_done: 1 });
  }
  isOver = true;
  await Promise.all(working);
  fails = false;
  expect(failures).toBeGreaterThan(10);
  expect(assigned.sort()).toEqual(ids.map((id) => `${id} 1`).sort());
  const { rows } = await client.queryDatabase({
    sql: `SELECT (SELECT count(*) FROM workflow_run_status),
      (SELECT count(*) FROM (SELECT DISTINCT workflow_instance_id, status FROM workflow_run_status)),
      (SELECT count(*) FROM task_run_status)`,
  });
  expect(required(rows[0]).map(Number)).toEqual([3 * RUNS, 3 * RUNS, 2 * RUNS]);
}, 60_000);
