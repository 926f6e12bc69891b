import { afterEach, beforeEach, describe, expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../../scripts/support/ports.ts";
import { LogSender } from "../../src/agent/log-sender.ts";
import { Outbox } from "../../src/agent/outbox.ts";
import { type Clock, systemClock } from "../../src/clock.ts";
import { decodeLogBatch } from "../../src/contract/log-line.ts";
import { log } from "../../src/log.ts";
import { Pull } from "../../src/zmq/index.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { until } from "../support/until.ts";

let directory: string;
let outbox: Outbox;
let pull: Pull;
let sender: LogSender;
/** What the receiving side has, without gaps. */
let received: number;
let lines: string[];
let asked: number;
/** Decides which frames get lost, by the number of the first line. */
let isLost: (first: number) => boolean;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cdktr-lines-"));
  outbox = Outbox.open({ directory, agentId: "host" });
  pull = new Pull();
  received = 0;
  lines = [];
  asked = 0;
  isLost = () => false;
});
afterEach(async () => {
  await sender.stop();
  pull.close();
  outbox.close();
  rmSync(directory, { recursive: true, force: true });
});

function connect(port: number, clock: Clock = systemClock): void {
  sender = new LogSender({
    outbox,
    host: "127.0.0.1",
    port,
    clock,
    ask: async () => {
      asked++;
      sender.received(received);
    },
  });
  void sender.start();
  outbox.attach({ lines: (frame) => sender.push(frame), reports: () => {} });
}

/** Takes frames as a principal does, until it has line `last`. */
async function takeUntil(last: number): Promise<void> {
  while (received < last) {
    const [frame] = await pull.receive();
    const batch = decodeLogBatch(new TextDecoder().decode(frame));
    if (batch.first_seq > received + 1 || isLost(batch.first_seq)) continue;
    const fresh = batch.lines.slice(received - batch.first_seq + 1);
    lines.push(...fresh);
    received += fresh.length;
  }
}

/** Writes lines `from` to `to`, a frame each. */
function write(from: number, to: number, text = "line"): void {
  for (let i = from; i <= to; i++) {
    outbox.addLines(`${text} ${i}`, 1);
    outbox.flush();
  }
}

const numbered = (to: number, text = "line") => Array.from({ length: to }, (_, i) => `${text} ${i + 1}`);

async function bound(): Promise<number> {
  await pull.bind("tcp://127.0.0.1:*");
  return Number(pull.lastEndpoint.split(":").at(-1));
}

describe("lines reach the principal", () => {
  test("in order, from where it says it is", async () => {
    write(1, 10);
    connect(await bound());
    write(11, 20);
    received = 5;
    sender.rewind(5);
    write(21, 30);
    await takeUntil(30);
    expect(lines).toEqual(numbered(30).slice(5));
    await sender.handedOver(30, 10_000);
  });

  test("when it comes up later, more than fits into the socket", async () => {
    const [port = 0] = await freePorts(1);
    connect(port);
    sender.rewind(0);
    write(1, 500);
    // Not for longer than it may.
    await sender.handedOver(500, 50);
    await pull.bind(`tcp://127.0.0.1:${port}`);
    await takeUntil(500);
    expect(lines).toEqual(numbered(500));
  });

  test("nothing waits long for lines when none gets through, which is said once, and again when they do", async () => {
    const [warn, info] = [spyOn(log, "warn"), spyOn(log, "info")];
    try {
      const port = await bound();
      await pull.unbind(pull.lastEndpoint);
      const clock = new ManualClock();
      connect(port, clock);
      sender.rewind(0);
      write(1, 1);
      const first = sender.handedOver(1, 1000);
      clock.advance(1000);
      await first;
      // None of these has a time limit that could end it.
      for (let seconds = 0; seconds < 30; seconds++) {
        clock.advance(1000);
        await sender.handedOver(1, Number.POSITIVE_INFINITY);
      }
      expect(warn.mock.calls).toEqual([
        [expect.stringContaining("The principal answers, but no log line gets through")],
      ]);
      await pull.bind(`tcp://127.0.0.1:${port}`);
      await takeUntil(1);
      await until("it is said", () => info.mock.calls.length > 0);
      expect(info.mock.calls).toEqual([["Log lines get through to the principal again."]]);
    } finally {
      warn.mockRestore();
      info.mockRestore();
    }
  });

  test("lost lines are sent again automatically", async () => {
    connect(await bound());
    sender.rewind(0);
    const lost = new Set([3, 9]);
    isLost = (first) => lost.delete(first);
    write(1, 12);
    await takeUntil(12);
    expect(lines).toEqual(numbered(12));
    expect(lost.size).toBe(0);
  });

  test("a restarted principal gets the lines that it no longer has", async () => {
    connect(await bound());
    sender.rewind(0);
    write(1, 10);
    await takeUntil(10);
    outbox.forgetLines(4);
    received = 4;
    lines = numbered(4);
    sender.rewind(4);
    await takeUntil(10);
    expect(lines).toEqual(numbered(10));
  });

  test("a large backlog is sent in portions: the sender waits for acknowledgements", async () => {
    const text = "x".repeat(60_000);
    const count = 700;
    write(1, count, text);
    connect(await bound());
    sender.rewind(0);
    await takeUntil(count);
    expect(lines.at(-1)).toBe(`${text} ${count}`);
    // 42 MB through a window of 16 MiB.
    expect(asked).toBeGreaterThanOrEqual(2);
  });

  test("nothing is asked while nothing is under way", async () => {
    const clock = new ManualClock();
    connect(await bound(), clock);
    sender.rewind(0);
    write(1, 3);
    await takeUntil(3);
    clock.advance(600);
    await new Promise(setImmediate);
    expect(asked).toBe(1);
    clock.advance(600_000);
    expect([asked, clock.alarms]).toEqual([1, 0]);
  });
});
