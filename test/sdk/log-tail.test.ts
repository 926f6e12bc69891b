import { expect, test } from "bun:test";
import { Principal } from "../../src/sdk/typescript/index.ts";
import { LogBench, numbers } from "../protocol/log-bench.ts";

test("a tail continues after the principal was unreachable: lines printed meanwhile are delivered too, but none from before", async () => {
  await using bench = await new LogBench().start();
  await bench.store(10);
  const principal = new Principal({ host: "127.0.0.1", port: bench.ports.api, timeoutMs: 10_000 });
  using tail = await principal.tailLogs("etl.daily");
  const payloads: string[] = [];
  const lines = tail[Symbol.asyncIterator]();
  const readTo = async (last: number) => {
    while (payloads.at(-1) !== `${last}`) payloads.push((await lines.next()).value.payload);
  };
  await bench.deliver(2);
  await readTo(12);
  await bench.restart("elsewhere");
  await bench.store(100);
  await bench.restart("reachable");
  await bench.deliver(1);
  await readTo(113);
  expect(payloads).toEqual(numbers(11, 113));
  tail.close();
  expect((await lines.next()).done).toBe(true);
  await principal.close();
});
