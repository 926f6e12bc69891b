import { expect, test } from "bun:test";
import { join } from "node:path";
import { LOG_COLUMNS } from "../../src/contract/log-line.ts";
import { Principal } from "../../src/sdk/typescript/index.ts";
import { LogBench, numbers } from "../protocol/log-bench.ts";
import { PYZMQ, pythonWith } from "../support/python.ts";

/** A tail of one of the SDKs, of the lines of `etl.daily`. */
interface Tail extends AsyncDisposable {
  /** The payload of the next line; undefined at the end. */
  next(): Promise<string | undefined>;
  /** Ends the iteration. */
  close(): void;
}

async function typescriptTail(port: number): Promise<Tail> {
  const principal = new Principal({ host: "127.0.0.1", port, timeoutMs: 10_000 });
  const tail = await principal.tailLogs("etl.daily");
  const lines = tail[Symbol.asyncIterator]();
  return {
    next: async () => (await lines.next()).value?.payload,
    close: () => tail.close(),
    [Symbol.asyncDispose]: () => principal.close(),
  };
}

/** A program with the Python package: prints the columns of a line, then each line's payload; ends when its stdin does. */
async function pythonTail(port: number): Promise<Tail> {
  const python = await pythonWith([PYZMQ]);
  const child = Bun.spawn([python, join(import.meta.dir, "tail.py"), String(port)], {
    env: { ...process.env, PYTHONPATH: join(import.meta.dir, "../../src/sdk/python") },
    stdin: "pipe",
    stdout: "pipe",
  });
  const lines = printedLines(child.stdout);
  const columns = (await lines.next()).value;
  expect(JSON.parse(columns ?? "")).toEqual(LOG_COLUMNS);
  return {
    next: async () => (await lines.next()).value,
    close: () => void child.stdin.end(),
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.exited;
    },
  };
}

async function* printedLines(output: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of output) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

test.each(Object.entries({ TypeScript: typescriptTail, Python: pythonTail }))(
  "a tail in %s continues after the principal was unreachable: lines printed meanwhile are delivered too, but none from before",
  async (_, open) => {
    await using bench = await new LogBench().start();
    await bench.store(10);
    await using tail = await open(bench.ports.api);
    const payloads: string[] = [];
    const readTo = async (last: number) => {
      while (payloads.at(-1) !== `${last}`) {
        const payload = await tail.next();
        if (payload === undefined) throw new Error(`the tail has ended before ${last} came`);
        payloads.push(payload);
      }
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
    expect(await tail.next()).toBeUndefined();
  },
);
