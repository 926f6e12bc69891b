import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { lakeExtensionPaths } from "../../src/native/lake-extensions.ts";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { startCluster } from "../support/cdktr.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { nextHistoryOf } from "../support/history-process.ts";
import { Installation } from "../support/installation.ts";
import { PostgresServer } from "../support/postgres.ts";
import { pythonWith } from "../support/python.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { until } from "../support/until.ts";
import { ROOT, runOver, shellWorkflow } from "./support/fixtures.ts";

/** The version of the extensions, which Python's DuckDB must have too: both come from PyPI. */
const DUCKDB = "duckdb==1.5.5";

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
}, 120_000);
afterAll(() => server[Symbol.asyncDispose]());

/** Command lines of all processes that can be seen. */
function commandLines(): string {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "latin1");
      } catch {
        return "";
      }
    })
    .join("\n");
}

test("a history in a lake: every command answers, a killed principal loses no line, others read it, no secret shows", async () => {
  using directory = new TemporaryDirectory();
  const url = new URL(server.url());
  const password = decodeURIComponent(url.password);
  const passwordFile = directory.path("password");
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600 });
  const data = directory.path("files");
  const env = {
    CDKTR_HISTORY_URL: `ducklake:postgres://${url.username}@${url.host}${url.pathname}`,
    CDKTR_HISTORY_PASSWORD_FILE: passwordFile,
    CDKTR_HISTORY_DATA: data,
  };
  await using cluster = await startCluster({
    agents: 1,
    env,
    workflows: {
      "talk.yml": shellWorkflow({ say: { sh: "seq 1 1500" } }),
    },
  });
  const run = async () => {
    const { workflow_instance_id: id } = await cluster.client.runTask("talk", {
      dedupe_key: crypto.randomUUID(),
    });
    expect((await runOver(cluster.client, id)).status).toBe("COMPLETED");
    return id;
  };
  const first = await run();
  // Written, but perhaps not yet asked for: killed between two steps of anything.
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  await run();
  const counted = await cluster.cdktr([
    ...["db", "query", "--json"],
    "SELECT count(*) AS lines, count(DISTINCT (stream_id, seq)) AS different FROM logstore",
  ]);
  expect(JSON.parse(counted.stdout)).toEqual([{ lines: 3000, different: 3000 }]);
  const lines = await cluster.cdktr(["logs", "query", "--run", first, "--json", "-n", "5000"]);
  expect(lines.stdout.trim().split("\n")).toHaveLength(1500);
  expect(lines.stdout).not.toContain(password);
  const listed = await cluster.cdktr(["runs", "list", "--json"]);
  expect(JSON.parse(listed.stdout).map((row: { status: string }) => row.status)).toEqual([
    "COMPLETED",
    "COMPLETED",
  ]);

  // What a task of this host may not see, and what no list shows.
  const settings = await cluster.cdktr(["config", "list", "--json"], {
    env: { CDKTR_HISTORY_URL: env.CDKTR_HISTORY_URL.replace("@", `:${password}@`) },
  });
  expect(settings.code).toBe(0);
  for (const text of [settings.stdout, commandLines(), cluster.principal?.stderr ?? ""])
    expect(text.includes(password)).toBe(false);
  for (const sql of [
    "FROM duckdb_secrets()",
    "FROM read_text('/etc/passwd')",
    `FROM read_parquet('${data}/main/logstore/*.parquet')`,
    "FROM postgres_query('__ducklake_metadata_lake', 'SELECT 1')",
    "FROM __ducklake_metadata_lake.cdktr_lake.ducklake_snapshot",
    "SHOW TABLES FROM __ducklake_metadata_lake",
    "DESCRIBE __ducklake_metadata_lake.cdktr_lake.ducklake_snapshot",
    "SUMMARIZE __ducklake_metadata_lake.cdktr_lake.ducklake_snapshot",
    "FROM ducklake_snapshots('lake')",
    "FROM query_table('__ducklake_metadata_lake.cdktr_lake.ducklake_snapshot')",
    "FROM query('SELECT 1')",
  ]) {
    const refused = await cluster.client.queryDatabase({ sql }).then(
      () => "answered",
      (error: Error) => error.message,
    );
    expect(`${sql}: ${refused}`).toMatch(/may not be used in FROM|is not part of the history|is not a table/);
  }

  // Others, as the manual says.
  const page = readFileSync(`${ROOT}/src/docs/lake.md`, "utf8");
  const blocks = codeBlocks(page);
  const grants = blocks.find(({ text }) => text.includes("CREATE ROLE analyst"))?.text ?? "";
  for (const statement of grants.replace("'…'", "'reads'").split(";"))
    if (statement.trim() !== "") await server.sql(statement, [], "cdktr");
  const loads = lakeExtensionPaths(false)
    .map((path) => `LOAD '${path}'`)
    .join("; ");
  const python = (blocks.find(({ language }) => language === "python")?.text ?? "")
    .replace("INSTALL ducklake; INSTALL postgres; LOAD ducklake; LOAD postgres", loads)
    .replace(
      "host=db1.example.com dbname=ops user=analyst",
      `host=${url.hostname} port=${url.port} dbname=${url.pathname.slice(1)} user=analyst password=reads`,
    );
  const reader = Bun.spawn([await pythonWith([DUCKDB]), "-c", python], { stdout: "pipe", stderr: "pipe" });
  const [said, complained] = await Promise.all([
    new Response(reader.stdout).text(),
    new Response(reader.stderr).text(),
  ]);
  expect(`${said}${complained}`.trim()).toBe("[('talk', 2, 0)]");
  await until("the principal is well", async () => (await cluster.cdktr(["doctor", "--json"])).code === 0);
}, 240_000);

/** Opening a lake takes long where the machine is busy, ms. */
const PATIENCE_MS = 120_000;
const LINES = 2000;
const CHATTY = shellWorkflow({
  only: {
    sh: `i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo line $i; [ $((i % 100)) = 0 ] && sleep 0.1; done; true`,
  },
});

async function rows(client: PrincipalClient, sql: string): Promise<unknown[][]> {
  return (await client.queryDatabase({ sql })).rows;
}

/** How many lines the history has of a run; 0 while it cannot be asked. */
async function count(client: PrincipalClient, run: string): Promise<number> {
  const sql = `SELECT count(*) FROM logstore WHERE workflow_instance_id = '${run}'`;
  return Number((await rows(client, sql).catch(() => []))[0]?.[0] ?? 0);
}

/** What the history has of a run. */
async function stored(client: PrincipalClient, run: string): Promise<unknown> {
  const where = `WHERE workflow_instance_id = '${run}'`;
  const [lines] = await rows(
    client,
    `SELECT count(*), count(DISTINCT payload), count(DISTINCT (stream_id, seq)) FROM logstore ${where}`,
  );
  const statuses = await rows(client, `SELECT status FROM workflow_run_status ${where} ORDER BY rowid`);
  return { lines, statuses: statuses.flat() };
}

const WHOLE = { lines: [LINES, LINES, LINES], statuses: ["PENDING", "RUNNING", "COMPLETED"] };

test("the history, its catalog and the principal are killed in turn: runs go on, and each line is there once", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    agents: 1,
    env: {
      CDKTR_LOG_FLUSH_INTERVAL_MS: "300",
      CDKTR_HISTORY_URL: `ducklake:${server.url({ parameters: { schema: "killed" } })}`,
      CDKTR_HISTORY_DATA: directory.path("files"),
    },
    workflows: { "chatty.yml": CHATTY, "hello.yml": shellWorkflow({ only: { sh: "echo hello" } }) },
  });
  const { client } = cluster;
  const trigger = async (id: string) =>
    (await client.runTask(id, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
  const run = await trigger("chatty");
  await until("some lines are in the lake", async () => (await count(client, run)) > 100, PATIENCE_MS);
  const pid = cluster.principal?.pid ?? 0;
  const history = await nextHistoryOf(pid);
  process.kill(history, "SIGKILL");
  await nextHistoryOf(pid, history);
  await server.stop();
  // Runs do not wait for the history.
  const other = await trigger("hello");
  expect((await runOver(client, other)).status).toBe("COMPLETED");
  await until(
    "it says what is wrong",
    async () => {
      const { error } = (await client.info()).history;
      return error?.includes("cannot be reached: PostgreSQL does not answer") ?? false;
    },
    PATIENCE_MS,
  );
  await server.startAgain();
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  expect((await runOver(client, run)).status).toBe("COMPLETED");
  await until(
    "everything is there",
    async () => Bun.deepEquals(await stored(client, run).catch(() => null), WHOLE),
    PATIENCE_MS,
  );
  expect(await stored(client, other)).toMatchObject({ lines: [1, 1, 1] });
}, 480_000);

test("the next leader's history goes on where that of a killed leader ended", async () => {
  await using installation = await Installation.start(2, {
    lake: true,
    workflows: { "chatty.yml": CHATTY },
    env: { CDKTR_LOG_FLUSH_INTERVAL_MS: "100" },
  });
  const leader = await installation.leader();
  const [follower] = await installation.followers();
  if (follower === undefined) throw new Error("there is no follower");
  await installation.startAgent();
  const { workflow_instance_id: run } = await leader.client.runTask("chatty", { dedupe_key: "once" });
  await until(
    "some lines are in the lake",
    async () => (await count(follower.client, run)) > 100,
    PATIENCE_MS,
  );
  leader.process.kill("SIGKILL");
  expect((await runOver(follower.client, run)).status).toBe("COMPLETED");
  await until(
    "everything is there",
    async () => Bun.deepEquals(await stored(follower.client, run).catch(() => null), WHOLE),
    PATIENCE_MS,
  );
  // The former leader follows now, and answers with what the lake has.
  await installation.startAgain(leader);
  expect(await stored(leader.client, run)).toEqual(WHOLE);
}, 480_000);
