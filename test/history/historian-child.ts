/**
 * Processes for the historian's tests, which kill them or fill their disk:
 *   hold PATH          keeps the database open until stdin ends
 *   deliver DIRECTORY  an agent and a principal in one: offers lines and status rows from the position of DuckDB, until it has all of them
 *   fill DIRECTORY     delivers with a small limit on the size of files, which a line on stdin lifts
 */

import { Database } from "bun:sqlite";
import { join } from "node:path";
import { createConsola } from "consola";
import { openDatabase } from "../../src/history/database/duckdb.ts";
import { Historian } from "../../src/history/historian.ts";
import { Statements } from "../../src/storage/operational/sqlite/statements.ts";
import { ackStatuses, takeStatuses } from "../../src/storage/operational/sqlite/statuses.ts";
import type { StatusFeed } from "../../src/storage/operational/store.ts";
import { line, runRow } from "./database-support.ts";
import { MemoryOutbox } from "./historian-support.ts";
import { limitFileSize } from "./limit-file-size.ts";

/** Lines of the stream and rows of the outbox that `deliver` brings into DuckDB. */
export const DELIVERED_LINES = 50_000;
export const DELIVERED_ROWS = 2_000;
/** Lines that `fill` brings into DuckDB. */
export const FILL_LINES = 60_000;

if (import.meta.main) {
  const [mode = "", path = ""] = process.argv.slice(2);
  const modes: Record<string, (path: string) => Promise<void>> = { hold, deliver, fill };
  await modes[mode]?.(path);
}

async function hold(path: string): Promise<void> {
  const database = await openDatabase({
    path,
    filesDirectory: `${path}.files`,
    tempDirectory: `${path}.temp`,
  });
  console.log("held");
  await Bun.stdin.text();
  database.connection.disconnectSync();
  database.instance.closeSync();
}

/** The status rows that the operational state has, filled once, a few at a time. */
function statuses(directory: string): StatusFeed {
  const database = new Database(join(directory, "outbox.db"));
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA synchronous = FULL");
  database.transaction(() => {
    database.run(
      "CREATE TABLE IF NOT EXISTS status_outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, row TEXT NOT NULL)",
    );
    const made = database
      .query<{ seq: number }, []>("SELECT seq FROM sqlite_sequence WHERE name = 'status_outbox'")
      .get();
    if (made !== null) return;
    const insert = database.prepare(
      "INSERT INTO status_outbox(target, row) VALUES ('workflow_run_status', ?)",
    );
    for (let i = 0; i < DELIVERED_ROWS; i++)
      insert.run(JSON.stringify(runRow({ workflow_instance_id: `run-${i}` })));
  })();
  const db = new Statements(() => database);
  return {
    identity: async () => ({
      installation_id: "i",
      state_id: "s",
      taken_id: 0,
      last_id: Number.MAX_SAFE_INTEGER,
      is_new: false,
      former_boot_id: null,
    }),
    changeIdentity: async () => {},
    copyTo: async () => {},
    runsChangedAfter: async () => [],
    compareWithHistory: async () => ({ unknown: [], changed: [] }),
    takeStatuses: async (afterId, limit) => takeStatuses(db, afterId, Math.min(limit, 37)),
    ackStatuses: async (upToId) => ackStatuses(db, upToId),
  };
}

async function deliver(directory: string): Promise<void> {
  const rows = statuses(directory);
  const historian = new Historian({
    dbPath: join(directory, "app.db"),
    dataDirectory: join(directory, "data"),
    // A few rows at a time, so that there are many moments at which to be killed.
    statuses: rows,
    flushIntervalMs: 5,
    log: createConsola({ level: 0 }),
  });
  await historian.start();
  console.log("started");
  for (;;) {
    const { received, durable } = historian.position("stream");
    if (durable === DELIVERED_LINES && (await rows.takeStatuses(0, 1)).length === 0) break;
    const first_seq = Math.max(1, received - 50);
    const count = Math.min(700, DELIVERED_LINES - first_seq + 1);
    const lines = Array.from({ length: count }, (_, i) =>
      line({ payload: `line ${first_seq + i}`, timestamp_ms: first_seq + i }),
    );
    historian.offer({ agent_id: "agent-1", stream_id: "stream", first_seq, lines });
    historian.notifyStatus();
    await historian.flush();
    console.log(`durable ${historian.position("stream").durable}`);
  }
  await historian.stop();
  console.log("done");
}

async function fill(directory: string): Promise<void> {
  const messages = createConsola({
    level: 3,
    reporters: [{ log: (entry) => console.log(`${entry.type}: ${entry.args.join(" ")}`) }],
  });
  const historian = new Historian({
    dbPath: join(directory, "app.db"),
    dataDirectory: join(directory, "data"),
    statuses: new MemoryOutbox(),
    flushIntervalMs: 20,
    log: messages,
  });
  await historian.start();
  limitFileSize(1024 * 1024);
  const lifted = Bun.stdin.text();
  let failures = 0;
  for (let first_seq = 1; first_seq <= FILL_LINES; first_seq += 2000) {
    const lines = Array.from({ length: 2000 }, (_, i) =>
      line({ payload: `${first_seq + i} ${crypto.randomUUID()}` }),
    );
    historian.offer({ agent_id: "agent-1", stream_id: "stream", first_seq, lines });
    await historian.flush().catch(() => failures++);
  }
  const page = await historian.searchLogs({ limit: 1 });
  console.log(
    `failures ${failures}, durable ${historian.position("stream").durable}, warning ${page.warning}`,
  );
  await lifted;
  limitFileSize(null);
  for (;;) {
    try {
      await historian.flush();
      break;
    } catch {
      // The file may grow again, and nobody says so: it is tried again.
      await Bun.sleep(50);
    }
  }
  const { rows } = await historian.query({
    sql: "SELECT count(*), count(DISTINCT seq), max(seq) FROM logstore",
    max_rows: 1,
  });
  console.log(`rows ${JSON.stringify(rows)} available ${historian.available.ok}`);
  await historian.stop();
}
