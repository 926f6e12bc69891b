import { describe, expect, test } from "bun:test";
import { decodeLogBatch, encodeLogBatch } from "../../../src/contract/log-line.ts";
import type { Historian } from "../../../src/history/historian.ts";
import { LogHub } from "../../../src/history/logs/log-hub.ts";
import { Probes } from "../../../src/history/logs/probes.ts";
import { Push, Subscriber } from "../../../src/zmq/index.ts";
import { PYZMQ, pythonWith } from "../../support/python.ts";
import { until } from "../../support/until.ts";
import { line, TestDirectory } from "../database-support.ts";
import { recordingLog, startHistorian } from "../historian-support.ts";

const batch = (first_seq: number, count: number, stream_id = "s", workflow_id = "etl.daily") => ({
  agent_id: "agent-1",
  stream_id,
  first_seq,
  lines: Array.from({ length: count }, (_, i) => line({ workflow_id, payload: `${first_seq + i}` })),
});

/** A hub with its historian, an agent and a watcher. */
class Bench implements AsyncDisposable {
  readonly messages: string[];
  readonly agent = new Push({ linger: 0, sendHighWaterMark: 0 });
  readonly watcher = new Subscriber({ receiveHighWaterMark: 0, receiveTimeout: 20_000 });

  private constructor(
    readonly hub: LogHub,
    readonly historian: Historian & AsyncDisposable,
    messages: string[],
  ) {
    this.messages = messages;
  }

  static async start(
    directory: TestDirectory,
    options: Parameters<typeof startHistorian>[1] = {},
    prefix = "",
  ): Promise<Bench> {
    const { log, messages } = recordingLog();
    const historian = await startHistorian(directory, options);
    const hub = new LogHub({
      host: "127.0.0.1",
      listeningPort: 0,
      publishingPort: 0,
      historian,
      log,
    });
    await hub.start();
    const bench = new Bench(hub, historian, messages);
    bench.agent.connect(hub.listeningEndpoint);
    bench.watcher.subscribe(prefix);
    bench.watcher.connect(hub.publishingEndpoint);
    const probe = `~${crypto.randomUUID()}`;
    bench.watcher.subscribe(probe);
    await until("the subscription is in force", () => hub.isSubscribed(probe));
    return bench;
  }

  send(frame: string | Uint8Array): Promise<void> {
    return this.agent.send(frame);
  }

  /** The text of the next published line. */
  async payload(): Promise<string> {
    const [frame] = await this.watcher.receive();
    return frame?.toString("utf8").split("\x01").slice(7).join("\x01") ?? "";
  }

  async payloads(count: number): Promise<string[]> {
    const found: string[] = [];
    while (found.length < count) found.push(await this.payload());
    return found;
  }

  async stored(
    sql = "SELECT payload FROM logstore WHERE stream_id = 's' ORDER BY rowid",
  ): Promise<unknown[]> {
    const { rows } = await this.historian.query({ sql, max_rows: 1_000_000 });
    return rows.map((row) => row[0]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.agent.close();
    this.watcher.close();
    await this.hub.stop();
    await this.historian.stop();
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);

test("each line is published as it came, and stored", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  const odd = line({ payload: "é\x01 \0 \r ✓", level: "ERROR" });
  await bench.send(encodeLogBatch({ ...batch(1, 1), lines: [odd] }));
  const [frame] = await bench.watcher.receive();
  expect(frame?.toString("utf8")).toBe(odd);
  expect(await bench.stored()).toEqual(["é\x01 \0 \r ✓"]);
});

test("the times of an agent whose clock is wrong are corrected, but those that are right already", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  const HOUR = 3_600_000;
  const now = Date.now() - 60_000;
  let seq = 0;
  const deliver = (offsetMs: number, ...times: number[]) => {
    bench.hub.clockCompared("agent-1", offsetMs);
    const lines = times.map((timestamp_ms) => line({ timestamp_ms, payload: "x" }));
    const first_seq = seq + 1;
    seq += times.length;
    return bench.send(encodeLogBatch({ ...batch(first_seq, 1), lines }));
  };
  const published = async (count: number) => {
    const times: number[] = [];
    while (times.length < count) {
      const [frame] = await bench.watcher.receive();
      times.push(Number(frame?.toString("utf8").split("\x01")[5]) - now);
    }
    return times;
  };
  await deliver(HOUR, now - HOUR, now);
  expect(await published(2)).toEqual([0, 0]);
  // A little more or less does not count.
  await deliver(HOUR + 20, now - HOUR);
  expect(await published(1)).toEqual([0]);
  await deliver(-HOUR, now + HOUR, now);
  expect(await published(2)).toEqual([0, 0]);
  await deliver(0, now - HOUR);
  expect(await published(1)).toEqual([-HOUR]);
  const stored = await bench.stored("SELECT timestamp_ms::DOUBLE FROM logstore ORDER BY rowid");
  expect(stored.map((time) => Number(time) - now)).toEqual([0, 0, 0, 0, 0, -HOUR]);
});

test("a watcher of one workflow gets only its lines", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory, {}, "etl\x01");
  await bench.send(encodeLogBatch(batch(1, 2, "s", "etl.daily")));
  await bench.send(encodeLogBatch(batch(3, 2, "s", "etl")));
  expect(await bench.payloads(2)).toEqual(["3", "4"]);
});

test("what is sent again is neither published nor stored twice, and a gap is closed in order", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  for (const [first, count] of [
    [1, 5],
    [1, 5],
    [9, 3],
    [3, 5],
    [8, 4],
    [1, 11],
    [12, 1],
  ] as const) {
    await bench.send(encodeLogBatch(batch(first, count)));
  }
  expect(await bench.payloads(12)).toEqual(range(1, 12));
  expect(await bench.stored()).toEqual(range(1, 12));
  expect(bench.hub.counts).toMatchObject({ malformed: 0, dropped: 0 });
});

test("a restarted principal publishes nothing that the history already has", async () => {
  using directory = new TestDirectory();
  {
    await using bench = await Bench.start(directory);
    await bench.send(encodeLogBatch(batch(1, 5)));
    await bench.payloads(5);
  }
  await using bench = await Bench.start(directory);
  await bench.send(encodeLogBatch(batch(1, 8)));
  expect(await bench.payloads(3)).toEqual(range(6, 8));
  expect(await bench.stored()).toEqual(range(1, 8));
});

test("lines that a former history has published are stored, and not published again", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  bench.hub.wasPublished("s", 5);
  await bench.send(encodeLogBatch(batch(1, 4)));
  await bench.send(encodeLogBatch(batch(5, 4)));
  expect(await bench.payloads(3)).toEqual(range(6, 8));
  expect(await bench.stored()).toEqual(range(1, 8));
});

test("while the history is away or full, lines are published live all the same", async () => {
  using directory = new TestDirectory();
  await Bun.write(directory.at("app.db"), "no database ".repeat(2000));
  await using bench = await Bench.start(directory, { maxHeldBytes: 2000 });
  for (let seq = 101; seq <= 200; seq++) await bench.send(encodeLogBatch(batch(seq, 1)));
  expect(await bench.payloads(100)).toEqual(range(101, 200));
  const { received, known } = bench.historian.position("s");
  expect(received).toBeLessThan(200);
  expect(known).toBe(false);
});

test("a burst beyond the memory of the historian waits: nothing has to be sent again", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory, { maxHeldBytes: 20_000 });
  for (let seq = 1; seq <= 20_000; seq += 100) await bench.send(encodeLogBatch(batch(seq, 100)));
  expect(await bench.historian.waitReceived("s", 20_000, 30_000)).toBe(true);
});

describe("malformed lines", () => {
  test("are dropped, counted and reported once; the lines around them keep their numbers", async () => {
    using directory = new TestDirectory();
    await using bench = await Bench.start(directory);
    const bad = [
      "",
      "too few",
      line().replace("INFO", "LOUD"),
      line().replace(/\x01\d+\x01/, "\x01soon\x01"),
      line().replace(/\x01\d+\x01/, "\x01\x01"),
      line().replace(/\x01\d+\x01/, "\x01-5\x01"),
      line().replace(/\x01\d+\x01/, "\x01 5\x01"),
    ];
    const lines = bad.flatMap((text, i) => [text, line({ payload: `good ${i}` })]);
    await bench.send(encodeLogBatch({ ...batch(1, 1), lines }));
    expect(await bench.payloads(bad.length)).toEqual(bad.map((_, i) => `good ${i}`));
    expect(await bench.stored("SELECT seq FROM logstore WHERE stream_id = 's' ORDER BY seq")).toEqual(
      bad.map((_, i) => 2 * i + 2),
    );
    expect(bench.historian.position("s").received).toBe(lines.length);
    expect(bench.hub.counts.malformed).toBe(bad.length);
    expect(bench.messages.filter((message) => message.startsWith("warn"))).toHaveLength(1);
    expect(bench.messages[0]).toContain("agent-1");
  });

  test("and other malformed input do not stop it", async () => {
    using directory = new TestDirectory();
    await using bench = await Bench.start(directory);
    const nonsense: (string | Uint8Array)[] = [
      "",
      "x",
      "LOGS",
      "LOGS\x01",
      "LOGS\x01a\x01s\x01",
      "LOGS\x01a\x01s\x010\nline",
      "LOGS\x01a\x01s\x011.5\nline",
      "LOGS\x01a\x01s\x01-1\nline",
      `LOGS\x01a\x01s\x01${"9".repeat(30)}\nline`,
      "LOGS\x01\x01s\x011\nline",
      "LOGS\x01a\x01s\x011\x01extra\nline",
      new Uint8Array([0xff, 0xfe, 0x00, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01, 0x01]),
      "\x01".repeat(1000),
      `a\nb${line()}`,
      crypto.getRandomValues(new Uint8Array(60_000)),
    ];
    for (const frame of nonsense) await bench.send(frame);
    await bench.agent.send(["two", "parts"]);
    await bench.send("LOGS\x01a\x01s\x011");
    await bench.send(encodeLogBatch(batch(1, 3)));
    expect(await bench.payloads(3)).toEqual(range(1, 3));
    expect(bench.hub.counts.malformed).toBe(nonsense.length + 1);
    expect(bench.messages.filter((message) => message.startsWith("warn"))).toHaveLength(1);
  });
});

test("lines that come one by one and without a number are published and stored", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  for (let i = 0; i < 50; i++) await bench.send(line({ payload: `line ${i}`, workflow_id: "LOGS" }));
  await bench.send(line({ payload: "two\nlines", workflow_id: "LOGS" }));
  const expected = [...Array.from({ length: 50 }, (_, i) => `line ${i}`), "two", "lines"];
  expect(await bench.payloads(52)).toEqual(expected);
  expect(
    await bench.stored("SELECT payload FROM logstore WHERE workflow_id = 'LOGS' ORDER BY rowid"),
  ).toEqual(expected);
});

test("everything of three busy agents arrives, in order, and the event loop is not starved", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  const agents = ["x", "y", "z"];
  const perAgent = 30_000;
  let turns = 0;
  const ticking = setInterval(() => turns++, 1);
  const pushes = agents.map(async (agent) => {
    const push = new Push({ sendHighWaterMark: 0 });
    push.connect(bench.hub.listeningEndpoint);
    for (let seq = 1; seq <= perAgent; seq += 500) {
      await push.send(encodeLogBatch({ ...batch(seq, 500, agent), agent_id: agent }));
    }
    return push;
  });
  for (const agent of agents) {
    expect(await bench.historian.waitReceived(agent, perAgent, 50_000)).toBe(true);
  }
  clearInterval(ticking);
  for (const push of await Promise.all(pushes)) push.close();
  // How many there are depends on the machine; without a pause between the batches there would be one.
  expect(turns).toBeGreaterThan(2);
  const { rows } = await bench.historian.query({
    sql: "SELECT stream_id, count(*), count(DISTINCT seq), bool_and(payload = seq::VARCHAR) FROM logstore WHERE stream_id IN ('x', 'y', 'z') GROUP BY ALL ORDER BY ALL",
    max_rows: 10,
  });
  expect(rows).toEqual(agents.map((agent) => [agent, perAgent, perAgent, true]));
}, 60_000);

test("a port that is taken is an error that names it; nothing stays bound", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  const taken = Number(bench.hub.listeningEndpoint.split(":").at(-1));
  const { log } = recordingLog();
  const other = new LogHub({
    host: "127.0.0.1",
    listeningPort: taken,
    publishingPort: 0,
    historian: bench.historian,
    log,
  });
  const error = await other.start().catch((thrown) => thrown);
  expect(error.message).toContain(`Port ${taken} of 127.0.0.1 is taken`);
  expect(other.publishingEndpoint).toBe("");
  await other.stop();
});

test("a foreign agent and a foreign watcher", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  const script = `
import sys, zmq
ctx = zmq.Context()
sub = ctx.socket(zmq.SUB); sub.setsockopt(zmq.RCVTIMEO, 20000); sub.connect(sys.argv[2]); sub.subscribe(b"py\\x01")
push = ctx.socket(zmq.PUSH); push.connect(sys.argv[1])
fields = lambda text: b"\\x01".join([b"py", b"Py", b"r", b"t", b"tr", b"5", b"INFO", text])
sub.setsockopt(zmq.RCVTIMEO, 20)
while True:
    push.send(fields(b"probe"))
    try:
        sub.recv(); break
    except zmq.Again:
        pass
sub.setsockopt(zmq.RCVTIMEO, 20000)
push.send(b"LOGS\\x01py-agent\\x01py-stream\\x011\\n" + fields(b"hello from python"))
while True:
    frame = sub.recv()
    if not frame.endswith(b"probe"):
        print(frame.split(b"\\x01")[7].decode()); break
ctx.destroy(linger=0)`;
  const python = await pythonWith([PYZMQ]);
  const child = Bun.spawn([python, "-c", script, bench.hub.listeningEndpoint, bench.hub.publishingEndpoint], {
    stdout: "pipe",
    stderr: "inherit",
  });
  expect((await child.stdout.text()).trim()).toBe("hello from python");
  expect(await bench.stored("SELECT payload FROM logstore WHERE stream_id = 'py-stream'")).toEqual([
    "hello from python",
  ]);
}, 180_000);

test("malformed and empty subscriptions do not affect the publisher", () => {
  const probes = new Probes();
  for (const frame of ["", "\x01", "\x00", "\x02", "\x01cdktr-probe-", "\xff\xff"])
    probes.take(Buffer.from(frame, "latin1"));
  expect(probes.has("")).toBe(false);
});

test("a batch with far too many lines is refused", () => {
  const batch = `LOGS\x01a\x01s\x011\n${"\n".repeat(200_000)}`;
  expect(() => decodeLogBatch(batch)).toThrow("A log batch has more than 200000 lines.");
  expect(decodeLogBatch(batch.slice(0, -1)).lines).toHaveLength(200_000);
});

test("a watcher with far too many topics is disconnected, and the others continue", async () => {
  using directory = new TestDirectory();
  await using bench = await Bench.start(directory);
  using greedy = new Subscriber({ linger: 0, sendHighWaterMark: 0, reconnectInterval: -1 });
  const gone = new Promise((resolve) => greedy.events.on("disconnected", resolve));
  for (let n = 0; n < 700; n++) greedy.subscribe(`${n}-${"x".repeat(3500)}`);
  greedy.connect(bench.hub.publishingEndpoint);
  await gone;
  await bench.send(encodeLogBatch(batch(1, 3)));
  expect(await bench.payloads(3)).toEqual(range(1, 3));
  const [warning = "", ...more] = bench.messages.filter((message) => message.startsWith("warn"));
  expect(warning).toContain(
    "1 connections of live log subscribers were closed: they had far too many subscriptions",
  );
  expect(more).toEqual([]);
});
