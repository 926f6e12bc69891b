/** The history in a process of its own: whatever happens to it, runs go on, and nothing is lost or doubled. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CdktrProcess, type Cluster, startCluster } from "../support/cdktr.ts";
import { historyOf, isAlive, nextHistoryOf } from "../support/history-process.ts";
import { runOver, shellWorkflow, until } from "./support/fixtures.ts";

const LINES = 3000;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    env: { CDKTR_LOG_FLUSH_INTERVAL_MS: "300", CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "500" },
    workflows: {
      "hello.yml": shellWorkflow({ only: { sh: "echo hello" } }),
      "chatty.yml": shellWorkflow({
        only: {
          sh: `i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo line $i; [ $((i % 100)) = 0 ] && sleep 0.1; done; true`,
        },
      }),
    },
  });
});

afterAll(async () => {
  await cluster.stop();
});

const principal = (): CdktrProcess => {
  if (cluster.principal === undefined) throw new Error("no principal");
  return cluster.principal;
};

async function history(): Promise<number> {
  return nextHistoryOf(principal().pid);
}

async function rows(sql: string): Promise<unknown[][]> {
  return (await cluster.client.queryDatabase({ sql, max_rows: 100_000 })).rows;
}

async function trigger(id: string): Promise<string> {
  const { workflow_instance_id } = await cluster.client.runTask(id, {
    dedupe_key: crypto.randomUUID(),
    trigger: "api",
  });
  return workflow_instance_id;
}

/** What the history has of a run, complete. */
async function stored(runId: string): Promise<unknown> {
  const [lines] = await rows(
    `SELECT count(*), count(DISTINCT payload), count(DISTINCT (stream_id, seq)) FROM logstore WHERE workflow_instance_id = '${runId}'`,
  );
  const statuses = await rows(
    `SELECT status::VARCHAR FROM workflow_run_status WHERE workflow_instance_id = '${runId}' ORDER BY rowid`,
  );
  return { lines, statuses: statuses.flat() };
}

test("it is a process of its own, and the principal does not have DuckDB", async () => {
  const maps = await Bun.file(`/proc/${principal().pid}/maps`).text();
  expect(maps).not.toContain("libduckdb");
  expect(await Bun.file(`/proc/${await history()}/maps`).text()).toContain("libduckdb");
});

test("killed again and again, it is started again within seconds; nothing is lost or doubled", async () => {
  const run = await trigger("chatty");
  let pid = await history();
  for (let n = 0; n < 4; n++) {
    await until("it answers", async () => (await cluster.client.info()).history.available);
    process.kill(pid, "SIGKILL");
    const killedAt = performance.now();
    expect((await cluster.client.listRuns({ limit: 1 })).length).toBe(1);
    const quick = await trigger("hello");
    pid = await nextHistoryOf(principal().pid, pid);
    expect(performance.now() - killedAt).toBeLessThan(5000);
    expect((await runOver(cluster.client, quick)).status).toBe("COMPLETED");
  }
  expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
  await until("all lines are there", async () => {
    const [[count]] = (await rows(
      `SELECT count(*) FROM logstore WHERE workflow_instance_id = '${run}'`,
    ).catch(() => [[0]])) as [[number]];
    return count >= LINES;
  });
  expect(await stored(run)).toEqual({
    lines: [LINES, LINES, LINES],
    statuses: ["PENDING", "RUNNING", "COMPLETED"],
  });
  expect(principal().stderr).toContain("The history process has ended (SIGKILL)");
});

test("it is reached again although somebody has removed its socket", async () => {
  await until("it answers", async () => (await cluster.client.info()).history.available);
  const pid = await history();
  rmSync(join(cluster.dataDirectory, "ipc"), { recursive: true });
  process.kill(pid, "SIGKILL");
  await nextHistoryOf(principal().pid, pid);
  await until("it answers again", async () => (await cluster.client.info()).history.available);
  expect(await rows("SELECT 1")).toEqual([[1]]);
  expect(principal().stderr).toContain("The socket of the history was gone");
});

describe("stopped with SIGSTOP", () => {
  test("triggers, dispatch and lists go on; a read says what is wrong, and works afterwards", async () => {
    const before = await trigger("hello");
    await runOver(cluster.client, before);
    const pid = await history();
    await until("it answers", async () => (await cluster.client.info()).history.available);
    process.kill(pid, "SIGSTOP");
    try {
      const read = cluster.cdktr(["db", "query", "SELECT 1"]);
      const run = await trigger("hello");
      expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
      expect((await cluster.client.registeredAgents()).map(({ status }) => status)).toEqual(["UP"]);
      expect((await cluster.client.listRuns({ limit: 1 }))[0]?.workflow_instance_id).toBe(run);
      const { code, stderr } = await read;
      expect(code).toBe(1);
      expect(stderr).toContain("The history does not answer");
      expect((await cluster.client.info()).history).toMatchObject({
        available: false,
        error: expect.stringContaining("does not answer"),
      });
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await until("it answers again", async () => (await cluster.client.info()).history.available);
    expect(await rows("SELECT 1")).toEqual([[1]]);
    expect(historyOf(principal().pid)).toBe(pid);
  });

  test("run --follow says that it waits for the history, and prints what it has when it answers again", async () => {
    const go = join(cluster.directory, "go");
    const sh = `echo begun; while [ ! -e ${go} ]; do sleep 0.05; done; echo over at last`;
    cluster.writeWorkflow("gated.yml", shellWorkflow({ only: { sh } }));
    await until("it is loaded", async () => "gated" in (await cluster.client.listWorkflows()));
    const pid = await history();
    await until("it answers", async () => (await cluster.client.info()).history.available);
    const following = cluster.spawn(["run", "gated", "--follow"]);
    await following.waitFor(/begun/, "stdout");
    process.kill(pid, "SIGSTOP");
    try {
      writeFileSync(go, "");
      await following.waitFor(/The run is over; waiting for the history/);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    expect(await following.finished).toMatchObject({ code: 0 });
    expect(following.stdout).toContain("over at last");
    expect(following.stderr).toContain("The history answers again.");
    expect(following.stderr).not.toContain("may be missing");
  });

  test("it ends with a principal that is killed, and the next principal opens the same file", async () => {
    const run = await trigger("hello");
    await runOver(cluster.client, run);
    const pid = await history();
    process.kill(pid, "SIGSTOP");
    principal().kill("SIGKILL");
    await principal().finished;
    await until("it has ended", () => !isAlive(pid));
    await cluster.startPrincipal();
    await until("everything is there", async () =>
      Bun.deepEquals(await stored(run).catch(() => null), {
        lines: [1, 1, 1],
        statuses: ["PENDING", "RUNNING", "COMPLETED"],
      }),
    );
  });
});

test("long statements of users do not keep lines from being written and read", async () => {
  await until("it answers", async () => (await cluster.client.info()).history.available);
  let ended = 0;
  let isProved = false;
  // As often as it takes: how long one takes depends on the machine.
  const long = Array.from({ length: 2 }, async () => {
    for (; !isProved; ended++)
      await cluster.client.queryDatabase({ sql: "SELECT max(hash(range)) FROM range(600_000_000)" });
  });
  await until("a run is over, and its line is found, while two statements go on", async () => {
    const before = ended;
    const run = await trigger("hello");
    await runOver(cluster.client, run);
    const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run });
    expect(rows).toHaveLength(1);
    return ended === before;
  });
  isProved = true;
  await Promise.all(long);
}, 60_000);

test("a statement that takes too much memory ends, or the process if that is not fast enough, and the user is told", async () => {
  await until("it answers", async () => (await cluster.client.info()).history.available);
  const pid = await history();
  const greedy = await cluster.cdktr([
    "db",
    "query",
    "SELECT max(length(repeat('x' || range, 2000000))) FROM range(2048)",
  ]);
  expect(greedy.code).toBe(1);
  expect(greedy.stderr).toMatch(/more than \d+ MiB of memory/);
  await until("it answers", async () => (await cluster.client.info()).history.available);
  expect(await rows("SELECT 1")).toEqual([[1]]);
  expect((await runOver(cluster.client, await trigger("hello"))).status).toBe("COMPLETED");
  const isEnded = /is ended: it used more than \d+ MiB of memory/.test(principal().stderr);
  expect(historyOf(principal().pid) !== pid).toBe(isEnded);
});
