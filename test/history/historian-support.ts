/** Helpers for the tests of the historian. */
import { createConsola, type LogObject } from "consola";
import type { PendingStatus } from "../../src/contract/history-rows.ts";
import { Historian, type HistorianOptions } from "../../src/history/historian.ts";
import type { StateIdentity, StatusFeed } from "../../src/storage/operational/store.ts";
import type { TestDirectory } from "./database-support.ts";

/** Status rows in memory, with ids as in the operational state. */
export class MemoryOutbox implements StatusFeed {
  readonly rows: PendingStatus[] = [];
  #next = 1_700_000_000_000_000;

  add(...rows: Omit<PendingStatus, "id">[]): void {
    for (const row of rows) this.rows.push({ ...row, id: this.#next++ } as PendingStatus);
  }

  async identity(): Promise<StateIdentity> {
    return {
      installation_id: "i",
      state_id: "s",
      taken_id: 0,
      last_id: Number.MAX_SAFE_INTEGER,
      is_new: false,
      former_boot_id: null,
    };
  }

  /** How much a portion has, at most. */
  portionBytes = Number.POSITIVE_INFINITY;

  async changeIdentity(): Promise<void> {}

  async copyTo(): Promise<void> {}

  async runsChangedAfter() {
    return [];
  }

  async compareWithHistory() {
    return { unknown: [], changed: [] };
  }

  async takeStatuses(afterId: number, limit: number): Promise<PendingStatus[]> {
    const rows = this.rows.filter(({ id }) => id > afterId).slice(0, limit);
    let bytes = 0;
    const end = rows.findIndex(({ row }) => {
      bytes += JSON.stringify(row).length;
      return bytes > this.portionBytes;
    });
    return end === -1 ? rows : rows.slice(0, Math.max(1, end));
  }

  async ackStatuses(id: number): Promise<void> {
    while (this.rows[0] !== undefined && this.rows[0].id <= id) this.rows.shift();
  }
}

/** A logger that keeps what it is told (`warn: text`), and a way to wait for a message. */
export function recordingLog() {
  const messages: string[] = [];
  const waiting = new Set<() => void>();
  const log = createConsola({
    level: 3,
    reporters: [
      {
        log: (entry: LogObject) => {
          messages.push(`${entry.type}: ${entry.args.join(" ")}`);
          for (const wake of waiting) wake();
        },
      },
    ],
  });
  const waitFor = (pattern: RegExp): Promise<string> =>
    new Promise((resolve) => {
      const look = () => {
        const found = messages.find((message) => pattern.test(message));
        if (found === undefined) return;
        waiting.delete(look);
        resolve(found);
      };
      waiting.add(look);
      look();
    });
  return { log, messages, waitFor };
}

/** A historian on a file in `directory`; it is started, and stopped at the end of the test. */
export async function startHistorian(
  directory: TestDirectory,
  options: Partial<HistorianOptions> = {},
): Promise<Historian & AsyncDisposable> {
  const historian = new Historian({
    dbPath: directory.at("app.db"),
    dataDirectory: directory.at("data"),
    statuses: new MemoryOutbox(),
    flushIntervalMs: 3_600_000,
    log: recordingLog().log,
    ...options,
  });
  await historian.start();
  return Object.assign(historian, { [Symbol.asyncDispose]: () => historian.stop() });
}
