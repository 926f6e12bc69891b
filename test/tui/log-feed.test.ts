import { afterEach, beforeEach, expect, test } from "bun:test";
import { LogFeed } from "../../src/tui/feeds/log-feed.ts";
import { initialState } from "../../src/tui/initial-state.ts";
import type { LogSource } from "../../src/tui/logs/log-view.ts";
import type { State } from "../../src/tui/state.ts";
import type { Store } from "../../src/tui/store.ts";
import { LogBench, numbers } from "../protocol/log-bench.ts";

/** A state that reports each change. */
class WatchedStore implements Store {
  readonly state = initialState([], 80, 24, Date.now());
  #changed = Promise.withResolvers<void>();

  update(change: (state: State) => void): void {
    change(this.state);
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  async until(holds: (log: State["log"]) => boolean): Promise<void> {
    while (!holds(this.state.log)) await this.#changed.promise;
  }

  get payloads(): string[] {
    return this.state.log.buffer.shown.map(({ payload }) => payload);
  }
}

let bench: LogBench;
let store: WatchedStore;
let feed: LogFeed;

beforeEach(async () => {
  bench = await new LogBench().start();
  store = new WatchedStore();
});

afterEach(async () => {
  await feed.stop();
  await bench[Symbol.asyncDispose]();
});

async function start(source: LogSource, client = bench.client): Promise<void> {
  feed = new LogFeed({ client, store, info: await bench.client.info(), source });
  await feed.start();
}

const size = (count: number) => (log: State["log"]) => log.buffer.size >= count;

test("history and live lines are joined; of a run, no others", async () => {
  await bench.store(20);
  await start({ kind: "run", workflowId: "etl.daily", runId: "run-1" });
  await store.until((log) => log.status === "live");
  await bench.deliver(1, { workflow_instance_id: "run-2" });
  await bench.deliver(30);
  await store.until(size(50));
  expect(store.payloads).toEqual([...numbers(1, 20), ...numbers(22, 51)]);
  expect(store.state.log.olderThere).toBe(false);
});

test("what is printed while the principal is away is shown when it is back, in its place", async () => {
  await bench.store(5);
  await start({ kind: "workflow", workflowId: "etl.daily" });
  await store.until((log) => log.status === "live");
  await bench.deliver(1);
  await store.until(size(6));
  await bench.restart("elsewhere");
  await bench.store(1000);
  await bench.restart("reachable");
  await bench.deliver(1);
  await store.until(size(1007));
  expect(store.payloads).toEqual(numbers(1, 1007));
  await feed.confirm();
  expect(store.payloads).toEqual(numbers(1, 1007));
});

test("the newest lines come first; older ones when they are wanted, without doubles", async () => {
  await bench.store(7000);
  await start({ kind: "all" });
  await store.until((log) => log.status === "live");
  expect(store.payloads).toEqual(numbers(2001, 7000));
  expect(store.state.log.olderThere).toBe(true);
  store.state.log.top = 10;
  expect(await feed.loadOlder()).toBe(2000);
  expect(store.payloads).toEqual(numbers(1, 7000));
  expect(store.state.log.top).toBe(2010);
  expect(store.state.log.loadingOlder).toBe(false);
  expect(await feed.loadOlder()).toBe(0);
});

test("all lines of a run are read automatically", async () => {
  await bench.store(12_000);
  await start({ kind: "run", workflowId: "etl.daily", runId: "run-1" });
  await store.until(size(12_000));
  expect(store.payloads).toEqual(numbers(1, 12_000));
});

test("the order of the database counts once it is asked; a look there adds nothing that is shown already", async () => {
  await start({ kind: "all" });
  await store.until((log) => log.status === "live");
  // Lines of two tasks: the one that comes later is older.
  await bench.deliver(1, { task_instance_id: "a", timestamp_ms: bench.startMs + 100 });
  await bench.deliver(1, { task_instance_id: "b", timestamp_ms: bench.startMs + 50 });
  await store.until(size(2));
  expect(store.payloads).toEqual(["1", "2"]);
  await feed.confirm();
  expect(store.payloads).toEqual(["2", "1"]);
  await feed.confirm();
  expect(store.payloads).toEqual(["2", "1"]);
});

test("while the history cannot be read, live lines are shown; then the rest", async () => {
  await bench.store(3);
  const { client } = bench;
  let failing = true;
  const refusing = Object.create(client, {
    searchLogs: {
      value: (...args: Parameters<typeof client.searchLogs>) =>
        failing ? Promise.reject(new Error("the disk is full")) : client.searchLogs(...args),
    },
    // Getters with private fields work on the client itself only.
    place: { value: client.place },
    places: { value: client.places },
    signals: { value: client.signals },
    ping: { value: client.ping.bind(client) },
    curve: { value: client.curve },
    isSubscribed: { value: client.isSubscribed.bind(client) },
  });
  await start({ kind: "all" }, refusing);
  await store.until((log) => log.status === "failed");
  expect(store.state.log.warning).toBe("the disk is full");
  await bench.deliver(1);
  await store.until(size(1));
  expect(store.payloads).toEqual(["4"]);
  failing = false;
  await store.until((log) => log.status === "live");
  expect(store.payloads).toEqual(numbers(1, 4));
  expect(store.state.log.warning).toBeNull();
});

test("after it has been stopped it changes nothing", async () => {
  await bench.store(1);
  await start({ kind: "all" });
  await store.until((log) => log.status === "live");
  await feed.stop();
  await bench.store(1);
  await feed.confirm();
  expect(await feed.loadOlder()).toBe(0);
  expect(store.payloads).toEqual(["1"]);
});

test("a text in lines that are not loaded is found on the principal, and all lines can be saved", async () => {
  await bench.store(12_000);
  await start({ kind: "workflow", workflowId: "etl.daily" });
  await store.until((log) => log.status === "live");
  const { log } = store.state;
  const [oldest = ""] = numbers(1, 1);
  expect(store.payloads).not.toContain(oldest);
  expect(log.olderThere).toBe(true);
  log.buffer.setSearch("no such line");
  expect(await feed.findOlder("no such line")).toBeNull();
  expect(store.payloads).toHaveLength(5000);
  const wanted = numbers(2000, 2000)[0] ?? "";
  log.buffer.setSearch(wanted);
  expect(await feed.findOlder(wanted)).not.toBeNull();
  expect(log.buffer.shown.some(({ payload }) => payload === wanted)).toBe(true);
  const saved: string[] = [];
  for await (const lines of feed.everyLine()) saved.push(...lines.map(({ payload }) => payload));
  expect(saved).toEqual(numbers(1, 12_000));
});
