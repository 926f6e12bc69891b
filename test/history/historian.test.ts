import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HistoryUnavailableError } from "../../src/contract/history.ts";
import { NotFoundError, UnprocessableError } from "../../src/errors.ts";
import { until } from "../support/until.ts";
import { line, runRow, TestDirectory, taskRow } from "./database-support.ts";
import { DELIVERED_LINES, DELIVERED_ROWS, FILL_LINES } from "./historian-child.ts";
import { MemoryOutbox, recordingLog, startHistorian } from "./historian-support.ts";

const batch = (first_seq: number, count: number, stream_id = "s") => ({
  agent_id: "agent-1",
  stream_id,
  first_seq,
  lines: Array.from({ length: count }, (_, i) => line({ payload: `${first_seq + i}` })),
});

const count = async (
  historian: { query(q: { sql: string; max_rows: number }): Promise<{ rows: unknown[][] }> },
  sql = "SELECT count(*), count(DISTINCT seq) FROM logstore",
) => (await historian.query({ sql, max_rows: 100 })).rows[0];

describe("lines", () => {
  test("are received at once, durable after a flush, and never duplicated", async () => {
    using directory = new TestDirectory();
    await using historian = await startHistorian(directory);
    historian.offer(batch(1, 3));
    expect(historian.position("s")).toMatchObject({ received: 3, durable: 0 });
    historian.offer(batch(1, 5));
    historian.offer(batch(9, 2));
    await historian.flush();
    expect(historian.position("s")).toMatchObject({ received: 5, durable: 5 });
    historian.offer(batch(1, 5));
    expect(await count(historian)).toEqual([5, 5]);
  });

  test("go on where DuckDB was after a restart", async () => {
    using directory = new TestDirectory();
    {
      await using historian = await startHistorian(directory);
      historian.offer(batch(1, 10));
    }
    await using historian = await startHistorian(directory);
    expect(historian.position("s")).toEqual({ received: 10, durable: 10, known: true });
    historian.offer(batch(5, 10));
    expect(await count(historian)).toEqual([14, 14]);
  });

  test("are written periodically, and at once when there are many", async () => {
    using directory = new TestDirectory();
    await using historian = await startHistorian(directory, { flushIntervalMs: 10 });
    historian.offer(batch(1, 3));
    await historian.signals.until("flushed", () => historian.position("s").durable === 3);
    await historian.stop();
    await using patient = await startHistorian(directory, { flushBytes: 1000 });
    patient.offer(batch(4, 100));
    await patient.signals.until("flushed", () => patient.position("s").durable === 103);
  });

  test("can be waited for", async () => {
    using directory = new TestDirectory();
    await using historian = await startHistorian(directory);
    const waiting = historian.waitReceived("s", 5, 60_000);
    const other = historian.waitReceived("t", 1, 60_000);
    historian.offer(batch(1, 4));
    expect(await historian.waitReceived("s", 4, 0)).toBe(true);
    expect(await historian.waitReceived("s", 5, 1)).toBe(false);
    historian.offer(batch(5, 1));
    expect(await waiting).toBe(true);
    await historian.stop();
    expect(await other).toBe(false);
  });

  test("of many calls at once are flushed together, each call with what was there before it", async () => {
    using directory = new TestDirectory();
    let writes = 0;
    const statuses = {
      identity: () => new MemoryOutbox().identity(),
      changeIdentity: async () => {},
      copyTo: async () => {},
      runsChangedAfter: async () => [],
      compareWithHistory: async () => ({ unknown: [], changed: [] }),
      takeStatuses: async () => {
        writes++;
        return [];
      },
      ackStatuses: async () => {},
    };
    await using historian = await startHistorian(directory, { statuses });
    const flushes: Promise<void>[] = [];
    for (let seq = 1; seq <= 200; seq++) {
      historian.offer(batch(seq, 1));
      flushes.push(
        historian.flush().then(() => expect(historian.position("s").durable).toBeGreaterThanOrEqual(seq)),
      );
      if (seq % 20 === 0) await new Promise((turn) => setImmediate(turn));
    }
    await Promise.all(flushes);
    expect(writes).toBeLessThan(50);
    expect(await count(historian)).toEqual([200, 200]);
  });

  test("of which the agent says that it has no earlier ones are taken although some are missing", async () => {
    using directory = new TestDirectory();
    const { log, messages } = recordingLog();
    await using historian = await startHistorian(directory, { log });
    historian.offer(batch(8, 2));
    expect(historian.position("s").received).toBe(0);
    historian.agentHoldsFrom("s", 8);
    expect(historian.position("s")).toMatchObject({ received: 7, durable: 7 });
    historian.offer(batch(8, 2));
    expect(await count(historian)).toEqual([2, 2]);
    expect(messages.join()).toContain("Log lines 1 to 7 of stream s are not in");
  });

  test("keep their order in answers when the clock of an agent was set back", async () => {
    using directory = new TestDirectory();
    const at = (...times: number[]) =>
      times.map((timestamp_ms) => line({ timestamp_ms, payload: `${timestamp_ms}` }));
    {
      await using historian = await startHistorian(directory);
      historian.offer({ agent_id: "a", stream_id: "s", first_seq: 1, lines: at(100, 200) });
    }
    await using historian = await startHistorian(directory);
    historian.offer({ agent_id: "a", stream_id: "s", first_seq: 3, lines: at(50, 60) });
    const page = await historian.searchLogs({});
    expect(page.rows.map((row) => row[7])).toEqual(["100", "200", "50", "60"]);
    expect(page.warning).toBeNull();
  });
});

describe("statuses", () => {
  test("go from the outbox into DuckDB and are then deleted, once each", async () => {
    using directory = new TestDirectory();
    const outbox = new MemoryOutbox();
    await using historian = await startHistorian(directory, { statuses: outbox });
    for (let i = 0; i < 5000; i++) {
      outbox.add({ table: "workflow_run_status", row: runRow({ workflow_instance_id: `run-${i}` }) });
    }
    outbox.add({ table: "task_run_status", row: taskRow() });
    historian.notifyStatus();
    await historian.flush();
    expect(outbox.rows).toEqual([]);
    expect(
      await count(
        historian,
        "SELECT count(*), count(DISTINCT workflow_instance_id), bool_and(workflow_instance_id = 'run-' || rowid) FROM workflow_run_status",
      ),
    ).toEqual([5000, 5000, true]);
  });

  test("that DuckDB has already, because the end came before they were deleted, are only deleted", async () => {
    using directory = new TestDirectory();
    const outbox = new MemoryOutbox();
    outbox.add({ table: "workflow_run_status", row: runRow() }, { table: "task_run_status", row: taskRow() });
    {
      const deaf = new MemoryOutbox();
      deaf.ackStatuses = async () => {};
      deaf.rows.push(...outbox.rows);
      await using historian = await startHistorian(directory, { statuses: deaf });
      expect(historian.available.ok).toBe(true);
    }
    expect(outbox.rows).toHaveLength(2);
    outbox.add({ table: "workflow_run_status", row: runRow({ status: "RUNNING" }) });
    await using historian = await startHistorian(directory, { statuses: outbox });
    expect(outbox.rows).toEqual([]);
    expect(
      await count(
        historian,
        "SELECT (SELECT count(*) FROM workflow_run_status), (SELECT count(*) FROM task_run_status)",
      ),
    ).toEqual([2, 1]);
  });

  test("that are too large for one portion are all there after a flush, whatever is large in them", async () => {
    using directory = new TestDirectory();
    const outbox = new MemoryOutbox();
    outbox.portionBytes = 8 * 1024 * 1024;
    await using historian = await startHistorian(directory, { statuses: outbox });
    const params = JSON.stringify({ text: "x".repeat(250_000) });
    for (let i = 0; i < 80; i++)
      outbox.add({ table: "workflow_run_status", row: runRow({ workflow_instance_id: `run-${i}`, params }) });
    await historian.flush();
    expect(outbox.rows).toEqual([]);
  });

  test("are written by the interval after a notice", async () => {
    using directory = new TestDirectory();
    const outbox = new MemoryOutbox();
    await using historian = await startHistorian(directory, { statuses: outbox, flushIntervalMs: 10 });
    outbox.add({ table: "workflow_run_status", row: runRow() });
    historian.notifyStatus();
    await historian.signals.until("flushed", () => outbox.rows.length === 0);
    expect((await historian.findRun("run-1", false))?.status).toBe("PENDING");
    expect(await historian.listRuns({ limit: 5 })).toHaveLength(1);
  });
});

describe("while the database is away", () => {
  test("locked by another process: it says by whom, buffers lines, and recovers automatically", async () => {
    using directory = new TestDirectory();
    const holder = Bun.spawn(
      [process.execPath, join(import.meta.dir, "historian-child.ts"), "hold", directory.at("app.db")],
      {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "inherit",
      },
    );
    const reader = holder.stdout.getReader();
    await reader.read();
    const { log, waitFor } = recordingLog();
    const outbox = new MemoryOutbox();
    outbox.add({ table: "workflow_run_status", row: runRow() });
    await using historian = await startHistorian(directory, { log, statuses: outbox });
    expect(historian.available.ok).toBe(false);
    expect(historian.available.error).toContain(`(process ${holder.pid})`);
    historian.agentHoldsFrom("s", 1);
    historian.offer(batch(1, 3));
    expect(historian.position("s")).toEqual({ received: 3, durable: 0, known: false });
    for (const asked of [
      historian.flush(),
      historian.searchLogs({}),
      historian.query({ sql: "SELECT 1", max_rows: 1 }),
      historian.findRun("run-1", false),
      historian.prepareBackup(),
    ]) {
      expect(await asked.catch((thrown) => thrown)).toBeInstanceOf(HistoryUnavailableError);
    }
    expect(outbox.rows).toHaveLength(1);
    await waitFor(/^warn: The history database .* is in use by .* \(process \d+\)\. Close it there/);
    void holder.stdin.end();
    await holder.exited;
    await waitFor(/^info: The history database .* is available again/);
    expect(historian.available).toEqual({ ok: true, error: null });
    expect(outbox.rows).toHaveLength(0);
    expect(historian.position("s")).toEqual({ received: 3, durable: 3, known: true });
    expect(await count(historian)).toEqual([3, 3]);
  });

  test("damaged: lines wait in bounded memory; when the file is moved away a new one is begun", async () => {
    using directory = new TestDirectory();
    writeFileSync(directory.at("app.db"), "not a database".repeat(2000));
    const { log, messages, waitFor } = recordingLog();
    await using historian = await startHistorian(directory, { log, maxHeldBytes: 20_000 });
    await waitFor(/^warn: .* is not a DuckDB database\. Move the file away/);
    historian.agentHoldsFrom("s", 1);
    let seq = 1;
    for (; seq < 10_000; seq++) {
      historian.offer(batch(seq, 1));
      if (historian.position("s").received < seq) break;
    }
    expect(seq).toBeLessThan(200);
    await Bun.$`mv ${directory.at("app.db")} ${directory.at("aside")}`.quiet();
    await waitFor(/is available again/);
    expect(await count(historian)).toEqual([seq - 1, seq - 1]);
    historian.offer(batch(seq, 1));
    expect(historian.position("s").received).toBe(seq);
    expect(messages.filter((message) => message.startsWith("warn"))).toHaveLength(1);
  });

  test("removed while it runs: a new one is created and numbering continues", async () => {
    using directory = new TestDirectory();
    const { log, messages } = recordingLog();
    await using historian = await startHistorian(directory, { log });
    historian.offer(batch(1, 5));
    await historian.flush();
    await Bun.$`mv ${directory.at("app.db")} ${directory.at("aside.db")}`.quiet();
    historian.offer(batch(6, 5));
    await historian.flush();
    expect(historian.position("s")).toMatchObject({ received: 10, durable: 10 });
    expect(await count(historian, "SELECT min(seq), max(seq), count(*) FROM logstore")).toEqual([6, 10, 5]);
    expect(messages.join()).toContain("Log lines 1 to 5 of stream s are not in");
    await using aside = await startHistorian(directory, {
      dbPath: directory.at("aside.db"),
      dataDirectory: directory.at("data2"),
    });
    expect(await count(aside, "SELECT min(seq), max(seq), count(*) FROM logstore")).toEqual([1, 5, 5]);
  });

  test("the disk being full: what is there can be read, the rest waits, and nothing is lost or doubled", async () => {
    using directory = new TestDirectory();
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "historian-child.ts"), "fill", directory.path],
      {
        stdin: "pipe",
        stdout: "pipe",
        stderr: "inherit",
      },
    );
    const output = new Output(child.stdout);
    const [, failures, durable, warning] = await output.waitFor(
      /failures (\d+), durable (\d+), warning (.*)/,
    );
    expect(Number(failures)).toBeGreaterThan(0);
    expect(Number(durable)).toBeGreaterThan(0);
    expect(Number(durable)).toBeLessThan(FILL_LINES);
    expect(warning).toContain("are not shown: The disk is full");
    void child.stdin.end();
    await output.waitFor(
      new RegExp(`rows \\[\\[${FILL_LINES},${FILL_LINES},${FILL_LINES}\\]\\] available true`),
    );
    expect(await child.exited).toBe(0);
    expect(output.text).toMatch(/^warn: The disk is full: .* cannot be written\. Free some space there/m);
    expect(output.text).toMatch(/^info: .* is available again/m);
  }, 60_000);

  test("nothing is asked of it before the start, and nothing after the stop", async () => {
    using directory = new TestDirectory();
    const historian = await startHistorian(directory);
    await historian.stop();
    await historian.stop();
    expect(await historian.flush().catch((thrown) => thrown)).toBeInstanceOf(HistoryUnavailableError);
    expect(await historian.searchLogs({}).catch((thrown) => thrown)).toBeInstanceOf(HistoryUnavailableError);
    expect(historian.available.ok).toBe(false);
    await historian.start();
    historian.offer(batch(1, 1));
    expect(await count(historian)).toEqual([1, 1]);
    await historian.stop();
  });
});

test("killed at any moment, it doubles nothing and loses nothing", async () => {
  using directory = new TestDirectory();
  const seed = Number(process.env.CDKTR_TEST_SEED ?? Date.now() % 1_000_000);
  const random = generator(seed);
  let kills = 0;
  for (;;) {
    const child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "historian-child.ts"), "deliver", directory.path],
      {
        stdout: "pipe",
        stderr: "inherit",
      },
    );
    const output = new Output(child.stdout);
    await output.waitFor(/started/);
    if (kills < 15) {
      // At first after whole flushes, with the rest of a moment that falls anywhere in the next ones.
      for (let flushes = Math.floor(random() * 4); flushes > 0; flushes--) await output.nextLine();
      // Not a wait: the moment at which it is killed is chance.
      await Bun.sleep(random() * 20);
      child.kill("SIGKILL");
      kills++;
      await child.exited;
      if (output.text.includes("done")) break;
      continue;
    }
    expect(await child.exited).toBe(0);
    break;
  }
  await using historian = await startHistorian(directory);
  const lines = await count(
    historian,
    "SELECT count(*), count(DISTINCT seq), max(seq), bool_and(payload = 'line ' || seq), bool_and(seq = rowid + 1) FROM logstore",
  );
  const rows = await count(
    historian,
    "SELECT count(*), count(DISTINCT workflow_instance_id) FROM workflow_run_status",
  );
  expect({ seed, lines, rows }).toEqual({
    seed,
    lines: [DELIVERED_LINES, DELIVERED_LINES, DELIVERED_LINES, true, true],
    rows: [DELIVERED_ROWS, DELIVERED_ROWS],
  });
}, 120_000);

describe("prepared files", () => {
  test("are transferred in pieces, and removed when dropped", async () => {
    using directory = new TestDirectory();
    await using historian = await startHistorian(directory);
    // Text that does not compress, so that there are several pieces.
    const noise = () => Buffer.from(crypto.getRandomValues(new Uint8Array(30_000))).toString("base64");
    historian.offer({
      agent_id: "a",
      stream_id: "s",
      first_seq: 1,
      lines: Array.from({ length: 150 }, () => line({ payload: noise() })),
    });
    const prepared = await historian.prepareExport();
    expect(prepared.files.map(({ name, rows }) => [name, rows])).toEqual([
      ["logstore.parquet", 150],
      ["task_run_status.parquet", 0],
      ["task_runs.parquet", 0],
      ["workflow_run_status.parquet", 0],
      ["workflow_runs.parquet", 0],
    ]);
    expect(statSync(join(directory.at("data/transfers"), prepared.transfer_id)).isDirectory()).toBe(true);
    expect(statSync(directory.at("data/transfers")).mode & 0o777).toBe(0o700);
    for (const { name, bytes, sha256 } of prepared.files) {
      const pieces: Buffer[] = [];
      for (let offset: number | null = 0; offset !== null; ) {
        const piece: { data: string; next: number | null } = await historian.readFile({
          transfer_id: prepared.transfer_id,
          name,
          offset,
        });
        expect(piece.data.length).toBeLessThanOrEqual(4 * 1024 * 1024);
        pieces.push(Buffer.from(piece.data, "base64"));
        offset = piece.next;
      }
      const whole = Buffer.concat(pieces);
      expect(whole.length).toBe(bytes);
      expect(new Bun.CryptoHasher("sha256").update(whole).digest("hex")).toBe(sha256);
      if (name === "logstore.parquet") expect(pieces.length).toBeGreaterThan(1);
    }
    historian.dropFiles(prepared.transfer_id);
    historian.dropFiles(prepared.transfer_id);
    await until("they are gone", () => readdirSync(directory.at("data/transfers")).length === 0);
    const read = historian.readFile({
      transfer_id: prepared.transfer_id,
      name: "logstore.parquet",
      offset: 0,
    });
    expect(await read.catch((thrown) => thrown)).toBeInstanceOf(NotFoundError);
  });

  test("cannot be used to read anything else, nor beyond their end", async () => {
    using directory = new TestDirectory();
    await using historian = await startHistorian(directory);
    const { transfer_id, files } = await historian.prepareBackup();
    expect(files).toMatchObject([{ name: "cdktr.duckdb", rows: null }]);
    for (const name of ["../../app.db", "/etc/passwd", "", "none"]) {
      expect(
        await historian.readFile({ transfer_id, name, offset: 0 }).catch((thrown) => thrown),
      ).toBeInstanceOf(NotFoundError);
    }
    expect(
      await historian.readFile({ transfer_id: "../..", name: "app.db", offset: 0 }).catch((thrown) => thrown),
    ).toBeInstanceOf(NotFoundError);
    expect(await historian.readFile({ transfer_id, name: "cdktr.duckdb", offset: 1e12 })).toEqual({
      data: "",
      next: null,
    });
  });

  test("are limited in number, and removed when they are not requested", async () => {
    using directory = new TestDirectory();
    await using historian = await startHistorian(directory, { transferIdleMs: 300 });
    const prepared = await Promise.allSettled(Array.from({ length: 6 }, () => historian.prepareBackup()));
    const refused = prepared.filter((result) => result.status === "rejected");
    const full = expect.stringContaining("4 exports and backups are already in progress");
    expect(refused.map(({ reason }) => String(reason))).toEqual([full, full]);
    for (const { reason } of refused) expect(reason).toBeInstanceOf(UnprocessableError);
    await until("they are gone", () => readdirSync(directory.at("data/transfers")).length === 0);
    await historian.prepareBackup();
  });

  test("of a whole backup hold writes only while its moment is decided", async () => {
    using directory = new TestDirectory();
    const outbox = new MemoryOutbox();
    const copied = Promise.withResolvers<void>();
    let fix = () => {};
    outbox.copyTo = async (_path?: string, fixed?: () => void) => {
      fix = fixed ?? fix;
      isCopying.resolve();
      await copied.promise;
    };
    const isCopying = Promise.withResolvers<void>();
    await using historian = await startHistorian(directory, { statuses: outbox });
    const backup = historian.prepareFullBackup();
    await isCopying.promise;
    historian.offer(batch(1, 3));
    let isWritten = false;
    const written = historian.flush().then(() => {
      isWritten = true;
    });
    // Reads go on meanwhile, in the time of which a write would have been done.
    for (let n = 0; n < 20; n++) await historian.listRuns({ limit: 1 });
    expect(isWritten).toBe(false);
    fix();
    await written;
    copied.resolve();
    expect((await backup).files.map(({ name }) => name)).toEqual(["app.db"]);
  });

  test("that an earlier process left are removed at the start, and all at the end", async () => {
    using directory = new TestDirectory();
    await Bun.$`mkdir -p ${directory.at("data/transfers/old")}`.quiet();
    writeFileSync(directory.at("data/transfers/old/file"), "x");
    const historian = await startHistorian(directory);
    expect(readdirSync(directory.at("data/transfers"))).toEqual([]);
    await historian.prepareBackup();
    await historian.stop();
    expect(existsSync(directory.at("data/transfers"))).toBe(false);
  });
});

/** What a process prints. */
class Output {
  text = "";
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #decoder = new TextDecoder();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** The match, once what was printed matches. */
  async waitFor(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.text);
      if (match !== null) return match;
      if (!(await this.#more())) throw new Error(`It ended without printing ${pattern}:\n${this.text}`);
    }
  }

  /** Waits until something more is printed, or the end. */
  async nextLine(): Promise<void> {
    await this.#more();
  }

  async #more(): Promise<boolean> {
    const { value, done } = await this.#chunks.next();
    if (done) return false;
    this.text += this.#decoder.decode(value, { stream: true });
    return true;
  }
}

/** Random numbers in [0, 1) that a seed determines (mulberry32). */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
