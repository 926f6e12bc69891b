/** The principal's end of the link, with a history that says what the test wants. */
import { expect, test } from "bun:test";
import type { HistoryHost, HistorySettings } from "../../src/contract/history.ts";
import { HistoryLink } from "../../src/principal/history/history-link.ts";
import { turn } from "../../src/timer.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { LogBook } from "./support.ts";

type Envelope = { ask?: string; id?: number; news?: string; of?: unknown };

/** Histories that answer nothing but what the test lets them. */
class Histories implements HistoryHost {
  readonly started: HistorySettings[] = [];
  /** What the present one was told and asked. */
  received: Envelope[] = [];
  killed = 0;
  answersPings = true;
  stops = true;
  /** False: the kernel does not end it, because it waits for a disk. */
  isMortal = true;
  #heard: (text: string) => void = () => {};
  #ended: (how: string) => void = () => {};

  async open(): Promise<void> {}

  start(settings: HistorySettings, heard: (text: string) => void, ended: (how: string) => void) {
    this.started.push(settings);
    this.received = [];
    this.#heard = heard;
    this.#ended = ended;
    return {
      pid: undefined,
      send: (text: string) => {
        const envelope = JSON.parse(text) as Envelope;
        this.received.push(envelope);
        if ((envelope.ask === "stop" && this.stops) || (envelope.ask === "ping" && this.answersPings))
          queueMicrotask(() => heard(JSON.stringify({ id: envelope.id, reply: null })));
      },
      end: async () => {},
      kill: () => {
        this.killed++;
        if (this.isMortal) this.die("SIGKILL");
      },
    };
  }

  close(): void {}

  tell(news: string, of: unknown): void {
    this.#heard(JSON.stringify({ news, of }));
  }

  /** Answers the oldest request of a kind. */
  reply(verb: string, reply: unknown): void {
    const asked = this.received.find(({ ask }) => ask === verb);
    this.#heard(JSON.stringify({ id: asked?.id, reply }));
  }

  opens(): void {
    this.tell("bound", { listening: 1001, publishing: 1002 });
    this.tell("available", { ok: true, error: null });
  }

  die(how: string): void {
    this.#ended(how);
  }

  told(news: string): unknown[] {
    return this.received.filter((envelope) => envelope.news === news).map(({ of }) => of);
  }
}

async function start(clock = new ManualClock()) {
  const histories = new Histories();
  const book = new LogBook();
  const link = new HistoryLink({
    host: histories,
    settings: {
      db_path: ":memory:",
      data_directory: "/nowhere",
      flush_interval_ms: 1000,
      history_keep_days: null,
      archive_keep_days: null,
      host: "127.0.0.1",
      listening_port: 0,
      publishing_port: 0,
      doors: "own user",
      log_level: 3,
    },
    mayAdopt: () => false,
    isAwaited: async () => false,
    state: {
      statuses: {} as never,
      installation: {} as never,
      keys: undefined,
      retentions: () => [],
      forget: async () => {},
    },
    log: book.log,
    clock,
    memory: { queriesEnd: 1, processEnds: 1 },
  });
  await link.start();
  return { histories, clock, book, link, [Symbol.asyncDispose]: () => link.stop() };
}

test("what was received and is not stored is forgotten when the history ends; the next one is told what it has to know", async () => {
  await using world = await start();
  const { histories, link, clock } = world;
  histories.opens();
  link.agentHoldsFrom("s", 5);
  link.clockCompared("a", 4000);
  histories.tell("positions", [["s", 20, 10]]);
  expect(link.position("s")).toEqual({ received: 20, durable: 10 });
  histories.die("SIGKILL");
  expect(link.state).toBe("DOWN");
  expect(link.position("s")).toEqual({ received: 10, durable: 10 });
  expect(histories.started).toHaveLength(1);
  clock.advance(100);
  expect(histories.started).toHaveLength(2);
  // Peers find it where it was.
  expect(histories.started[1]).toMatchObject({ listening_port: 1001, publishing_port: 1002 });
  expect(histories.told("streamHeld")).toEqual([{ stream_id: "s", first_seq: 5, published_seq: 20 }]);
  expect(histories.told("clockCompared")).toEqual([{ agent_id: "a", offset_ms: 4000 }]);
});

test("what a heartbeat says of a stream is told once, also while nobody knows its position", async () => {
  await using world = await start();
  const { histories, link, clock } = world;
  const heartbeat = () => {
    link.agentHoldsFrom("s", 5);
    link.position("s");
  };
  heartbeat();
  heartbeat();
  expect(histories.told("streamHeld")).toEqual([{ stream_id: "s", first_seq: 5 }]);
  histories.opens();
  histories.tell("positions", [["s", 20, 10]]);
  heartbeat();
  link.agentHoldsFrom("s", 11);
  expect(histories.told("streamHeld")).toEqual([
    { stream_id: "s", first_seq: 5 },
    { stream_id: "s", first_seq: 11 },
  ]);
  histories.die("SIGKILL");
  clock.advance(100);
  heartbeat();
  expect(histories.told("streamHeld").at(-1)).toEqual({ stream_id: "s", first_seq: 5, published_seq: 20 });
});

test("reads that did not wait long enough for one that starts leave nothing behind", async () => {
  await using world = await start();
  const { link, clock } = world;
  let listening = 0;
  const on = link.signals.on.bind(link.signals);
  link.signals.on = (topic, handler) => {
    listening++;
    const end = on(topic, handler);
    return () => {
      listening--;
      end();
    };
  };
  const reads = Array.from({ length: 20 }, () => link.searchLogs({}).catch(() => {}));
  await turn();
  clock.advance(5000);
  await Promise.all(reads);
  expect(listening).toBe(0);
});

test("lines that a history has published are not published by the next one, until they are stored", async () => {
  await using world = await start();
  const { histories, link, clock } = world;
  const published = () =>
    histories.told("streamHeld").map((told) => (told as { published_seq?: number }).published_seq);
  histories.opens();
  link.agentHoldsFrom("s", 1);
  histories.tell("positions", [["s", 20, 10]]);
  histories.die("SIGKILL");
  clock.advance(100);
  // The agent has begun to send again.
  histories.tell("positions", [["s", 12, 10]]);
  histories.die("SIGKILL");
  clock.advance(200);
  expect(published()).toEqual([20]);
  histories.tell("positions", [["s", 25, 20]]);
  histories.tell("positions", [["s", 25, 25]]);
  histories.die("SIGKILL");
  clock.advance(400);
  expect(published()).toEqual([undefined]);
});

test("one that ends at once is started less and less often", async () => {
  await using world = await start();
  const { histories, clock } = world;
  for (const pause of [100, 200, 400, 800]) {
    const count = histories.started.length;
    histories.die("status 1");
    clock.advance(pause - 1);
    expect(histories.started).toHaveLength(count);
    clock.advance(1);
    expect(histories.started).toHaveLength(count + 1);
  }
});

test("at rest it is asked every 5 s whether it is there", async () => {
  /** As real time, it goes on between two readings. */
  class FineClock extends ManualClock {
    #read = 0;
    override monotonic(): number {
      return super.monotonic() + ++this.#read / 1000;
    }
  }
  await using world = await start(new FineClock());
  const { histories, clock } = world;
  histories.opens();
  for (let ms = 0; ms < 60_000; ms += 250) {
    clock.advance(250);
    await turn();
  }
  const pings = histories.received.filter(({ ask }) => ask === "ping").length;
  expect(pings).toBeGreaterThan(10);
  expect(pings).toBeLessThan(16);
});

test("a silent one fails reads, is not asked for lists, and is killed in the end", async () => {
  await using world = await start();
  const { histories, link, clock, book } = world;
  histories.opens();
  histories.answersPings = false;
  const read = link.searchLogs({}).catch((error) => error);
  await Promise.resolve();
  const list = link.listRuns({ limit: 1 }, 0).catch((error) => error);
  for (let ms = 0; ms < 1300; ms += 250) clock.advance(250);
  expect((await list).message).toContain("does not answer");
  expect(link.state).toBe("UP");
  for (let ms = 0; ms < 2000; ms += 250) clock.advance(250);
  expect(link.state).toBe("SLOW");
  expect((await read).message).toContain("does not answer");
  await expect(link.query({ sql: "SELECT 1", max_rows: 1 })).rejects.toThrow("does not answer");
  // A word from it is enough.
  histories.tell("positions", []);
  expect(link.state).toBe("UP");
  for (let ms = 0; ms < 40_000 && histories.killed === 0; ms += 250) clock.advance(250);
  expect(histories.killed).toBe(1);
  expect(link.state).toBe("DOWN");
  expect(book.count(/is ended: it did not answer for 20 s/)).toBe(1);
});

test("reads wait for one that is starting", async () => {
  await using world = await start();
  const { histories, link, clock } = world;
  expect(link.available).toEqual({ ok: false, error: "The history is starting." });
  const read = link.query({ sql: "SELECT 1", max_rows: 1 });
  histories.opens();
  await turn();
  histories.reply("query", { columns: [], rows: [[1]], truncated: false, warning: null });
  expect((await read).rows).toEqual([[1]]);
  histories.die("SIGKILL");
  const failing = link.query({ sql: "SELECT 1", max_rows: 1 }).catch((error) => error);
  await Promise.resolve();
  clock.advance(5000);
  expect((await failing).message).toMatch(/The history is starting|has ended/);
});

test("reads, also those that wait for it to start, end at once when the principal is about to stop", async () => {
  await using world = await start();
  const { histories, link } = world;
  const early = link.searchLogs({}).catch((error) => error);
  histories.opens();
  await turn();
  const prepared = link.prepare("everything").catch((error) => error);
  const list = link.listRuns({ limit: 1 }).catch((error) => error);
  link.endReads();
  for (const read of [early, prepared, list]) expect((await read).message).toBe("The principal is stopping.");
  await expect(link.query({ sql: "SELECT 1", max_rows: 1 })).rejects.toThrow("The principal is stopping.");
});

test("what it has of a stream is asked also while it starts, and nobody is registered without, for some time", async () => {
  await using world = await start();
  const { histories, link, clock } = world;
  const located = link.locate("s");
  histories.reply("locate", ["s", 500, 500]);
  expect(await located).toBe(true);
  expect(link.position("s")).toEqual({ received: 500, durable: 500 });

  const cut = link.locate("t");
  histories.die("SIGKILL");
  expect(await cut).toBe(false);
  expect(await link.locate("t")).toBe(false);
  // It cannot be opened: agents go on, and keep their lines.
  clock.advance(31_000);
  histories.die("SIGKILL");
  expect(await link.locate("t")).toBe(true);
});

test("nothing is waited for that the principal does at its end anyway", async () => {
  await using world = await start();
  const { histories, link } = world;
  histories.opens();
  const flushing = link.flush();
  link.endReads();
  expect(await flushing.catch((error) => error)).toMatchObject({ message: "The principal is stopping." });
  expect(await link.flush().catch((error) => error)).toMatchObject({ message: "The principal is stopping." });
});

test("one that cannot bind its ports is the failure of the start", async () => {
  await using world = await start();
  const { histories, link } = world;
  const settled = link.settled(1000).catch((error) => error);
  histories.tell("failed", { kind: "CdktrError", message: "Port 5562 is taken", hint: "choose another" });
  expect(await settled).toMatchObject({ message: "Port 5562 is taken", hint: "choose another" });
});

test.each([
  ["that is open", true, true, 30_250],
  ["that could not be opened", false, true, 5250],
  ["whose process the kernel does not end", true, false, 32_250],
])(
  "the stop does not wait for ever for a history %s on a disk that does not respond",
  async (_, isOpen, isMortal, withinMs) => {
    const { histories, link, clock, book } = await start();
    Object.assign(histories, { stops: false, isMortal });
    if (isOpen) histories.opens();
    else histories.tell("bound", { listening: 1001, publishing: 1002 });
    let isStopped = false;
    const stopping = link.stop().then(() => {
      isStopped = true;
    });
    let ms = 0;
    for (; !isStopped && ms < 60_000; ms += 250) {
      clock.advance(250);
      await turn();
    }
    await stopping;
    expect(ms).toBeLessThanOrEqual(withinMs + 250);
    expect(ms).toBeGreaterThan(withinMs - 1000);
    expect(histories.killed).toBe(1);
    expect(book.count(/The history did not end within .* and is killed/)).toBe(1);
  },
);

test("a database that is not opened for long is named, as one whose disk may not respond", async () => {
  await using world = await start();
  const { histories, link, clock } = world;
  histories.tell("bound", { listening: 1001, publishing: 1002 });
  const why = async () => {
    const read = link.searchLogs({}).catch((error) => error);
    for (let ms = 0; ms <= 5000; ms += 250) {
      clock.advance(250);
      await turn();
    }
    return (await read).message;
  };
  expect(await why()).toBe("The history is starting.");
  expect(await why()).toMatch(
    /^The history database :memory: is not open after 1\d s: does its disk respond\?$/,
  );
});
