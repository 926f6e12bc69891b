import { describe, expect, test } from "bun:test";
import { decodeLogBatch, encodeLogBatch } from "../../src/contract/log-line.ts";
import { LogIntake, type LostLines } from "../../src/history/log-intake.ts";
import { line } from "./database-support.ts";

const MANY = 1e9;

function intake(maxBytes = 1e9) {
  const lost: LostLines[] = [];
  return { lost, intake: new LogIntake(maxBytes, (lines) => lost.push(lines)) };
}

const batch = (first_seq: number, last_seq: number, stream_id = "s") => ({
  agent_id: "a",
  stream_id,
  first_seq,
  lines: Array.from({ length: last_seq - first_seq + 1 }, (_, i) => line({ payload: `${first_seq + i}` })),
});

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);

/** What a flush would write: payloads by stream. */
function held(log: LogIntake, stream = "s"): string[] {
  return log
    .take(MANY, MANY)
    .logs.filter((slice) => slice.stream_id === stream)
    .flatMap((slice) => slice.lines.map((text) => text.split("\x01")[7] ?? ""));
}

test("streams at rest, however many, leave room for new ones and go on where they were", () => {
  const { intake: log, lost } = intake();
  log.reconcile(new Map(Array.from({ length: 120_000 }, (_, i) => [`old-${i}`, 5])));
  for (let i = 0; i < 30_000; i++) {
    log.agentHoldsFrom(`new-${i}`, 1);
    expect(log.offer(batch(1, 2, `new-${i}`))).toBe(2);
    if (i % 1000 === 999) log.written(log.take(MANY, MANY));
  }
  log.written(log.take(MANY, MANY));
  for (const [id, last] of [
    ["old-0", 5],
    ["old-119999", 5],
    ["new-0", 2],
    ["new-29999", 2],
  ] as const) {
    expect(log.position(id)).toEqual({ received: last, durable: last, known: true });
    expect(log.offer(batch(1, last, id))).toBe(0);
    expect(log.offer(batch(last, last + 3, id))).toBe(3);
    expect(held(log, id)).toHaveLength(3);
  }
  expect(lost).toEqual([]);
});

describe("a stream that DuckDB does not know", () => {
  test("begins at 1; overlap is trimmed, a gap is not taken", () => {
    const { intake: log } = intake();
    log.reconcile(new Map());
    expect(log.offer(batch(2, 3))).toBe(0);
    expect(log.offer(batch(1, 3))).toBe(3);
    expect(log.offer(batch(1, 3))).toBe(0);
    expect(log.offer(batch(2, 5))).toBe(2);
    expect(log.offer(batch(7, 9))).toBe(0);
    expect(log.offer({ ...batch(6, 6), lines: [] })).toBe(0);
    expect(log.position("s")).toEqual({ received: 5, durable: 0, known: true });
    expect(held(log)).toEqual(range(1, 5));
  });

  test("written lines are released, lines received meanwhile are kept", () => {
    const { intake: log } = intake();
    log.reconcile(new Map());
    log.offer(batch(1, 3));
    const portion = log.take(MANY, MANY);
    log.offer(batch(4, 5));
    expect(log.reached(new Map([["s", 3]]))).toBe(false);
    log.written(portion);
    expect(log.reached(new Map([["s", 3]]))).toBe(true);
    expect(log.position("s")).toMatchObject({ received: 5, durable: 3 });
    expect(held(log)).toEqual(range(4, 5));
    log.written(log.take(MANY, MANY));
    expect(log).toMatchObject({ bytes: 0, lines: 0 });
  });
});

describe("before DuckDB is open", () => {
  test("nothing is taken before the agent said from where on it holds lines", () => {
    const { intake: log } = intake();
    expect(log.offer(batch(7, 9))).toBe(0);
    log.agentHoldsFrom("s", 4);
    expect(log.offer(batch(7, 9))).toBe(0);
    expect(log.position("s")).toEqual({ received: 3, durable: 0, known: false });
    expect(log.offer(batch(4, 9))).toBe(6);
    log.reconcile(new Map([["s", 3]]));
    expect(held(log)).toEqual(range(4, 9));
  });

  test("lines are held from where the agent's begin, and trimmed when it opens", () => {
    const { intake: log } = intake();
    log.agentHoldsFrom("s", 4);
    log.offer(batch(4, 6));
    log.offer(batch(7, 9));
    expect(log.position("s")).toEqual({ received: 9, durable: 0, known: false });
    expect(held(log)).toEqual([]);
    log.reconcile(new Map([["s", 5]]));
    expect(log.position("s")).toEqual({ received: 9, durable: 5, known: true });
    expect(held(log)).toEqual(range(6, 9));
  });

  test("begins where its agent says also if its position was asked for before", () => {
    const { intake: log, lost } = intake();
    log.agentHoldsFrom("s", 1);
    log.agentHoldsFrom("s", 6);
    expect(log.offer(batch(6, 9))).toBe(4);
    expect(log.position("s")).toEqual({ received: 9, durable: 0, known: false });
    log.reconcile(new Map([["s", 5]]));
    expect(held(log)).toEqual(range(6, 9));
    expect(lost).toEqual([]);
  });

  test("lines that DuckDB already has are released", () => {
    const { intake: log } = intake();
    log.agentHoldsFrom("s", 4);
    log.offer(batch(4, 6));
    log.reconcile(new Map([["s", 100]]));
    expect(log.position("s")).toEqual({ received: 100, durable: 100, known: true });
    expect(log).toMatchObject({ bytes: 0, lines: 0 });
  });

  test("an agent reports that it has no earlier lines: the history was lost and continues from there", () => {
    const { intake: log, lost } = intake();
    log.agentHoldsFrom("s", 4);
    log.offer(batch(4, 6));
    log.reconcile(new Map());
    expect(log.position("s")).toEqual({ received: 6, durable: 3, known: true });
    expect(held(log)).toEqual(range(4, 6));
    expect(lost).toEqual([{ stream_id: "s", from: 1, to: 3 }]);
  });
});

describe("lines that no agent has any more", () => {
  test("are skipped once", () => {
    const { intake: log, lost } = intake();
    log.reconcile(new Map([["s", 10]]));
    log.agentHoldsFrom("s", 11);
    expect(lost).toEqual([]);
    log.agentHoldsFrom("s", 15);
    log.agentHoldsFrom("s", 15);
    log.agentHoldsFrom("s", 3);
    expect(lost).toEqual([{ stream_id: "s", from: 11, to: 14 }]);
    expect(log.position("s")).toMatchObject({ received: 14, durable: 14 });
    log.offer(batch(15, 16));
    expect(held(log)).toEqual(range(15, 16));
  });

  test("are not those that are held here", () => {
    const { intake: log, lost } = intake();
    log.reconcile(new Map());
    log.offer(batch(1, 5));
    log.agentHoldsFrom("s", 4);
    expect(lost).toEqual([]);
    expect(held(log)).toEqual(range(1, 5));
  });
});

describe("opening again", () => {
  test("after a commit whose end was not seen, what DuckDB has is let go", () => {
    const { intake: log, lost } = intake();
    log.reconcile(new Map());
    log.offer(batch(1, 10));
    log.reconcile(new Map([["s", 7]]));
    expect(held(log)).toEqual(range(8, 10));
    expect(log.position("s")).toMatchObject({ received: 10, durable: 7 });
    expect(lost).toEqual([]);
  });

  test("a database with less than was written has been replaced", () => {
    const { intake: log, lost } = intake();
    log.reconcile(new Map([["s", 10]]));
    log.offer(batch(11, 12));
    log.reconcile(new Map());
    log.reconcile(new Map());
    expect(lost).toEqual([{ stream_id: "s", from: 1, to: 10 }]);
    expect(log.position("s")).toMatchObject({ received: 12, durable: 10 });
    expect(held(log)).toEqual(range(11, 12));
  });
});

describe("bounds", () => {
  test("when memory is full nothing more is taken, until some was written", () => {
    const { intake: log } = intake(1000);
    log.reconcile(new Map());
    let taken = 0;
    for (let seq = 1; log.offer(batch(seq, seq)) === 1; seq++) taken = seq;
    expect(taken).toBeGreaterThan(1);
    expect(taken).toBeLessThan(20);
    expect(log.position("s").received).toBe(taken);
    log.written(log.take(MANY, MANY));
    expect(log.offer(batch(taken + 1, taken + 1))).toBe(1);
  });

  test("a portion is bounded, takes from every stream, and joins what follows on", () => {
    const { intake: log } = intake();
    log.reconcile(new Map());
    for (let seq = 1; seq <= 1000; seq++) log.offer(batch(seq, seq, "busy"));
    log.offer(batch(1, 3, "quiet"));
    const portion = log.take(100, MANY);
    const lines = portion.logs.reduce((sum, slice) => sum + slice.lines.length, 0);
    expect(lines).toBeLessThanOrEqual(100);
    expect(portion.logs.map((slice) => slice.stream_id)).toEqual(["busy", "quiet"]);
    expect(portion.logs[1]?.lines).toHaveLength(3);
    log.written(portion);
    expect(log.position("quiet").durable).toBe(3);
    expect(held(log, "busy")[0]).toBe(`${(portion.logs[0]?.lines.length ?? 0) + 1}`);
  });
});

describe("times that go back within a task run", () => {
  const at = (task: string, ...times: number[]) =>
    times.map((timestamp_ms) => line({ timestamp_ms, task_instance_id: task }));
  function disordered(...batches: string[][]): readonly string[] {
    const { intake: log } = intake();
    log.reconcile(new Map());
    let seq = 1;
    for (const lines of batches) {
      log.offer({ agent_id: "a", stream_id: "s", first_seq: seq, lines });
      seq += lines.length;
    }
    return log.take(MANY, MANY).disordered;
  }

  test("are noticed in a batch and from batch to batch", () => {
    expect(disordered(at("t", 1, 2, 2, 3))).toEqual([]);
    expect(disordered(at("t", 5, 4))).toEqual(["t"]);
    expect(disordered(at("t", 5), at("u", 1), at("t", 4))).toEqual(["t"]);
    expect(disordered([...at("t", 5), ...at("u", 1), ...at("t", 6), ...at("u", 0)])).toEqual(["u"]);
    expect(disordered(["", "no line", ...at("t", 5)], at("t", 6))).toEqual([]);
  });

  test("are noticed against what DuckDB has, and told once", () => {
    const { intake: log } = intake();
    log.reconcile(new Map());
    log.recallTimes(new Map([["t", 100]]));
    log.offer({ agent_id: "a", stream_id: "s", first_seq: 1, lines: at("t", 99) });
    const portion = log.take(MANY, MANY);
    expect(portion.disordered).toEqual(["t"]);
    log.written(portion);
    log.offer({ agent_id: "a", stream_id: "s", first_seq: 2, lines: at("t", 98, 101, 100) });
    expect(log.take(MANY, MANY).disordered).toEqual([]);
  });
});

test("data kept from a batch does not keep the batch in memory", () => {
  const { intake: log } = intake();
  log.reconcile(new Map());
  const text = "x".repeat(256 * 1024);
  const batches = 1500;
  Bun.gc(true);
  const before = process.memoryUsage.rss();
  for (let n = 0; n < batches; n++) {
    const sent = {
      agent_id: `agent-${n}`,
      stream_id: crypto.randomUUID(),
      first_seq: 1,
      lines: [line({ task_instance_id: crypto.randomUUID(), payload: text })],
    };
    const received = decodeLogBatch(Buffer.from(encodeLogBatch(sent)).toString());
    expect(log.offer(received)).toBe(1);
    log.written(log.take(MANY, MANY));
  }
  Bun.gc(true);
  expect(log).toMatchObject({ bytes: 0, lines: 0 });
  expect(process.memoryUsage.rss() - before).toBeLessThan((batches * text.length) / 3);
});

test("unregistered streams do not crowd out those of agents", () => {
  const { intake: log } = intake();
  log.reconcile(new Map());
  const one = (stream_id: string) => log.offer({ ...batch(1, 1), stream_id });
  for (let n = 0; n < 20_000; n++) expect(one(`forged-${n}`)).toBe(1);
  expect(one("forged-too")).toBe(0);
  expect(one("registered")).toBe(0);
  log.agentHoldsFrom("registered", 1);
  expect(one("registered")).toBe(1);
});
