/**
 * Makes the fixtures of this directory from an executable: the files that it leaves on the disk, as SQL.
 *
 *     CDKTR_TEST_BINARY=/path/to/cdktr bun test/upgrade/record-files.ts test/upgrade/v0.1
 *
 * Under `unshare --uts`, with another host name, if that of this machine is nobody's business. Run it with each release that changes a schema, into a directory of its own; what is there already stays as it is.
 */
import { Database } from "bun:sqlite";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadDuckDB } from "../../src/history/database/duckdb.ts";
import { gate, processesWith, shellWorkflow, until } from "../e2e/support/fixtures.ts";
import { CdktrProcess, startCluster } from "../support/cdktr.ts";

const [target = "."] = process.argv.slice(2);

await using cluster = await startCluster({
  agentArgs: ["--max-concurrent-workflows", "2"],
  env: { CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "500" },
});
const open = join(cluster.directory, "open");
cluster.writeWorkflow(
  "good.yml",
  shellWorkflow({ one: { sh: "echo 'it''s one'" }, two: { sh: "echo two", depends: ["one"] } }),
);
cluster.writeWorkflow("bad.yml", shellWorkflow({ only: { sh: "echo bad >&2; exit 3" } }));
cluster.writeWorkflow("slow.yml", shellWorkflow({ wait: { sh: "sleep 600" } }));
cluster.writeWorkflow("gated.yml", shellWorkflow({ wait: { sh: `${gate(open)}; touch '${open}.seen'` } }));
cluster.writeWorkflow("yearly.yml", shellWorkflow({ one: { sh: "true" } }, 'cron: "0 0 0 1 1 *"\n'));
const agent = await cluster.startAgent();
const run = async (id: string, ...args: string[]) => cluster.cdktr(["run", id, "--json", ...args]);
await run("good", "--wait");
await run("bad", "--wait");
const gated = JSON.parse((await run("gated")).stdout) as { workflow_instance_id: string };
await run("slow");
await run("good");
await until("both run", async () => {
  const runs = await cluster.client.listRuns({ status: "RUNNING" });
  return runs.length === 2;
});
await cluster.cdktr(["logs", "query", "--run", gated.workflow_instance_id]);

// The end of the one run is only in the agent's outbox, and a trigger only in that of a listener.
cluster.principal?.kill("SIGKILL");
await cluster.principal?.finished;
const listener = join(cluster.directory, "listener.ts");
writeFileSync(
  listener,
  `import { EventListener } from "cdktr";
export default class Recorder extends EventListener {
  async startListening() {
    void this.runWorkflow("good", { params: { who: "it's me" }, dedupeKey: "event-1" }).catch(() => {});
    console.log("fired");
    await new Promise((ended) => this.signal.addEventListener("abort", ended, { once: true }));
  }
}
`,
);
const listening = new CdktrProcess(["listen", listener], { env: cluster.env, cwd: cluster.directory });
await listening.waitFor(/fired/, "stdout");
writeFileSync(open, "");
await until("the task has ended", () => existsSync(`${open}.seen`));
// The end of its process, then the disk.
await Bun.sleep(2000);
agent.kill("SIGKILL");
await agent.finished;
for (const pid of processesWith(cluster.dataDirectory)) process.kill(pid, "SIGKILL");
listening.kill("SIGKILL");
await listening.finished;

const names = readdirSync(cluster.dataDirectory, { recursive: true, encoding: "utf8" });
for (const name of ["state.db", "outbox.db", "triggers.db"]) {
  const path = names.find((candidate) => candidate.endsWith(name));
  if (path === undefined) throw new Error(`there is no ${name} among ${names.join(", ")}`);
  const file = join(target, name.replace(".db", ".sql"));
  if (!existsSync(file)) writeFileSync(file, dump(join(cluster.dataDirectory, path)));
}

if (!existsSync(join(target, "history.sql"))) {
  writeFileSync(join(target, "history.sql"), await dumpHistory(join(cluster.dataDirectory, "app.db")));
}

/** A DuckDB file as the statements that make it. */
async function dumpHistory(path: string): Promise<string> {
  const { DuckDBInstance } = await loadDuckDB();
  const instance = await DuckDBInstance.create(path);
  const connection = await instance.connect();
  const rows = async (sql: string) => (await connection.runAndReadAll(sql)).getRows();
  const lines = [
    `CREATE TYPE RunStatus AS ENUM (${(await rows("SELECT unnest(enum_range(NULL::RunStatus))::VARCHAR")).map(([value]) => literal(value)).join(", ")});`,
  ];
  const tables = await rows(
    "SELECT table_name, string_agg(column_name || ' ' || CASE WHEN data_type LIKE 'ENUM%' THEN 'RunStatus' ELSE data_type END, ', ' ORDER BY column_index) FROM duckdb_columns() WHERE database_name = current_database() AND table_name IN (SELECT table_name FROM duckdb_tables()) GROUP BY 1 ORDER BY 1",
  );
  for (const [table, columns] of tables) {
    lines.push(`CREATE TABLE ${table}(${columns});`);
    for (const row of await rows(`SELECT * FROM ${table} ORDER BY rowid`)) {
      lines.push(`INSERT INTO ${table} VALUES (${row.map(literal).join(", ")});`);
    }
  }
  for (const [sql] of await rows("SELECT sql FROM duckdb_views() WHERE NOT internal"))
    lines.push(String(sql));
  connection.closeSync();
  instance.closeSync();
  return `${lines.join("\n")}\n`;
}

/** A sqlite file as the statements that make it. */
function dump(path: string): string {
  const database = new Database(path);
  const lines: string[] = [];
  const { user_version } = database.query<{ user_version: number }, []>("PRAGMA user_version").get() ?? {
    user_version: 0,
  };
  lines.push(`PRAGMA user_version = ${user_version};`);
  const schema = database
    .query<{ name: string; type: string; sql: string | null }, []>(
      "SELECT name, type, sql FROM sqlite_schema ORDER BY type = 'index', rowid",
    )
    .all();
  for (const { name, sql } of schema) if (sql !== null && name !== "sqlite_sequence") lines.push(`${sql};`);
  for (const { name, type } of schema) {
    if (type !== "table") continue;
    for (const row of database.query(`SELECT * FROM ${name}`).values()) {
      lines.push(`INSERT INTO ${name} VALUES (${row.map(literal).join(", ")});`);
    }
  }
  database.close();
  return `${lines.join("\n")}\n`;
}

function literal(value: unknown): string {
  if (value === null) return "NULL";
  if (value instanceof Uint8Array) return `x'${Buffer.from(value).toString("hex")}'`;
  return typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : String(value);
}
