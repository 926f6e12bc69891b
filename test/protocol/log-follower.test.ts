import { expect, test } from "bun:test";
import type { SearchLogs } from "../../src/contract/messages.ts";
import { UnprocessableError } from "../../src/errors.ts";
import { RequestRefusedError } from "../../src/protocol/client.ts";
import { until } from "../support/until.ts";
import { LogBench, numbers } from "./log-bench.ts";

test("a burst at the transition: lines that arrive live and from the history are delivered once, those that arrive by one way are not lost", async () => {
  await using bench = await new LogBench().start();
  await bench.store(500);
  const live = await bench.subscribe();
  let asked = 0;
  const followed = bench.follow(live, {
    ask: async (search) => {
      // What is stored now comes live too; what is delivered after the answer comes live alone.
      if (asked++ === 0) await bench.store(5000);
      const page = await bench.client.searchLogs(search);
      await bench.deliver(3000);
      return page;
    },
  });
  expect(await followed.readTo("8500")).toEqual(numbers(1, 8500));
  live.close();
  expect(await followed.readAll()).toHaveLength(8500);
});

test("cut to the newest lines: what came live meanwhile and is older than they are is left out", async () => {
  await using bench = await new LogBench().start();
  await bench.store(10);
  const live = await bench.subscribe();
  await bench.store(20);
  const followed = bench.follow(live, { limit: 5 });
  await followed.readTo("30");
  await bench.deliver(2);
  expect(await followed.readTo("32")).toEqual(numbers(26, 32));
});

test("lines published while disconnected are read from the history, nothing older and nothing twice", async () => {
  await using bench = await new LogBench().start();
  await bench.store(1000);
  const live = await bench.subscribe();
  const followed = bench.follow(live, { limit: 5 });
  await followed.readTo("1000");
  await bench.deliver(10);
  await followed.readTo("1010");
  await bench.restart("elsewhere");
  await bench.store(4000);
  await bench.restart("reachable");
  await bench.deliver(1);
  expect(await followed.readTo("5011")).toEqual(numbers(996, 5011));
  // Once more: what was read from the history is remembered as well.
  await bench.restart("elsewhere");
  await bench.store(9);
  await bench.restart("reachable");
  await bench.deliver(1);
  expect(await followed.readTo("5021")).toEqual(numbers(996, 5021));
});

test("a late line with an old timestamp is delivered", async () => {
  await using bench = await new LogBench().start();
  await bench.store(3);
  const live = await bench.subscribe();
  const followed = bench.follow(live, { limit: 2 });
  await followed.readTo("3");
  await bench.deliver(1, { timestamp_ms: bench.startMs - 3_600_000 });
  expect(await followed.readTo("4")).toEqual(["2", "3", "4"]);
});

test("equal lines are delivered as often as they were printed", async () => {
  await using bench = await new LogBench().start();
  const twin = { timestamp_ms: bench.startMs, payload: "twin" };
  const live = await bench.subscribe();
  await bench.deliver(3, twin);
  await bench.store(1);
  const followed = bench.follow(live);
  await followed.readTo("4");
  await bench.deliver(2, twin);
  await bench.deliver(1);
  expect(await followed.readTo("7")).toEqual(["twin", "twin", "twin", "4", "twin", "twin", "7"]);
});

test("while the history cannot be read after an interruption, live lines continue; missed lines follow later", async () => {
  await using bench = await new LogBench().start();
  const live = await bench.subscribe();
  const failures: unknown[] = [];
  const readable = Promise.withResolvers<void>();
  let isReadable = false;
  const followed = bench.follow(live, {
    limit: 0,
    ask: (search) =>
      isReadable ? bench.client.searchLogs(search) : Promise.reject(new UnprocessableError("not now")),
    failed: (error) => {
      failures.push(error);
      readable.resolve();
    },
  });
  await bench.deliver(1);
  await followed.readTo("1");
  await bench.restart("elsewhere");
  await bench.store(2);
  await bench.restart("reachable");
  const reading = followed.readTo("4");
  await readable.promise;
  await bench.deliver(1);
  expect(await reading).toEqual(["1", "4"]);
  isReadable = true;
  expect(await followed.readTo("3")).toEqual(["1", "4", "2", "3"]);
  expect(failures.length).toBeGreaterThan(0);
});

test("a principal that does not report its history is not asked again", async () => {
  await using bench = await new LogBench().start();
  const live = await bench.subscribe();
  const refused = Promise.withResolvers<void>();
  const searches: SearchLogs[] = [];
  const failures: unknown[] = [];
  const followed = bench.follow(live, {
    limit: 0,
    ask: (search) => {
      searches.push(search);
      return Promise.reject(new RequestRefusedError("may not"));
    },
    failed: (error) => {
      failures.push(error);
      refused.resolve();
    },
  });
  await bench.restart("reachable");
  const reading = followed.readTo("1");
  await refused.promise;
  await bench.deliver(1);
  await reading;
  await bench.deliver(1);
  await followed.readTo("2");
  expect([searches.length, failures.length]).toEqual([1, 1]);
});

test("a reader that is much too slow: dropped lines are read from the history, without duplicates although few are remembered", async () => {
  await using bench = await new LogBench().start();
  const live = await bench.subscribe({ mostWaiting: 20_000 });
  const followed = bench.follow(live, { limit: 0, remembered: 300 });
  await bench.deliver(100);
  await followed.readTo("100");
  const { connection } = live;
  for (let i = 0; i < 20; i++) await bench.store(100);
  await until("lines had to go", () => live.connection > connection);
  await bench.deliver(1);
  expect(await followed.readTo("2101")).toEqual(numbers(1, 2101));
});

test("filters apply to live lines as to the history", async () => {
  await using bench = await new LogBench().start();
  await bench.store(2);
  await bench.deliver(1, { level: "ERROR", payload: "stored error" });
  await bench.store(1);
  const live = await bench.subscribe();
  const followed = bench.follow(live, {
    search: { level: "ERROR", workflow_instance_id: "run-1" },
    matches: async (line) => line.payload !== "unwanted",
  });
  await followed.readTo("stored error");
  await bench.deliver(1);
  await bench.deliver(1, { level: "ERROR", payload: "other run", workflow_instance_id: "run-2" });
  await bench.deliver(1, { level: "ERROR", payload: "unwanted" });
  await bench.deliver(1, { level: "ERROR", payload: "live error" });
  expect(await followed.readTo("live error")).toEqual(["stored error", "live error"]);
});

test("at the end all that did not come live is read, unless nothing is missing", async () => {
  await using bench = await new LogBench().start();
  await bench.store(5);
  for (const isComplete of [false, true]) {
    const live = await bench.subscribe();
    const followed = bench.follow(live, { limit: 0 });
    await bench.deliver(1, { payload: `live ${isComplete}` });
    await followed.readTo(`live ${isComplete}`);
    followed.follower.finish(async () => isComplete);
    const told = await followed.readAll();
    if (isComplete) expect(told).toEqual(["live true"]);
    else expect(told).toEqual(["live false", ...numbers(1, 5)]);
  }
});
