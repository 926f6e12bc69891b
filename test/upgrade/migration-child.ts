/**
 * A process that migrates a data directory: `migration-child.ts DIRECTORY state|history|triggers copying|changing|done`. It says where it
 * is, and stays there.
 */
import type { Database } from "bun:sqlite";
import { writeSync } from "node:fs";
import { join } from "node:path";
import { CdktrError } from "../../src/errors.ts";
import { openListenerFile } from "../../src/events/listener-file.ts";
import { TRIGGER_BUFFER_MIGRATIONS } from "../../src/events/trigger-buffer.ts";
import { HistoryDatabase } from "../../src/history/database/history-database.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { silent } from "../storage/operational-support.ts";
import { nextHistory, nextState } from "./support.ts";

const [directory = "", kind, where] = process.argv.slice(2);
const stay = (at: string) => {
  if (at !== where) return;
  writeSync(1, `${at}\n`);
  Bun.sleepSync(600_000);
};

const addColour = (database: Database) => void database.run("ALTER TABLE triggers ADD COLUMN colour TEXT");

try {
  if (kind === "state") {
    const store = new SqliteOperationalStore({
      directory,
      log: silent,
      migrations: nextState(() => stay("changing")),
    });
    await store.start();
  } else if (kind === "triggers") {
    const next = { what: "triggers have a colour", apply: addColour };
    openListenerFile(directory, "triggers.db", [...TRIGGER_BUFFER_MIGRATIONS, next]).close();
  } else {
    await HistoryDatabase.open({
      path: join(directory, "app.db"),
      filesDirectory: join(directory, "files"),
      tempDirectory: join(directory, "temp"),
      migrations: nextHistory(async () => stay("changing")),
      say: () => stay("copying"),
    });
  }
  writeSync(1, "done\n");
} catch (error) {
  const hint = error instanceof CdktrError ? error.hint : "";
  writeSync(1, `${error instanceof Error ? error.message : error} ${hint}\n`);
}
