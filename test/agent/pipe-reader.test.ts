import { expect, test } from "bun:test";
import { closeSync, writeSync } from "node:fs";
import { join } from "node:path";
import { makePipe } from "../../src/agent/libc.ts";
import { PipeReader } from "../../src/agent/pipe-reader.ts";
import { until } from "./support/bench.ts";

/** A pipe that is read into `text`, with a full stop at its end. */
function readPipe() {
  const { read, write } = makePipe();
  const got = { text: "" };
  const take = (chunk: Uint8Array) => {
    got.text += new TextDecoder().decode(chunk);
    return undefined;
  };
  const reader = new PipeReader(read, take, () => {
    got.text += ".";
  });
  return { reader, got, write };
}

test("what was written is read at once, and the end is known at once", async () => {
  const { reader, got, write } = readPipe();
  expect([reader.readNow(), got.text]).toEqual([false, ""]);
  writeSync(write, "one");
  expect([reader.readNow(), got.text]).toEqual([false, "one"]);
  writeSync(write, " two");
  closeSync(write);
  expect([reader.readNow(), got.text, reader.idle]).toEqual([true, "one two.", true]);
  await reader.ended;
  // It stays so.
  reader.begin();
  expect(reader.readNow()).toBe(true);
  await reader.giveUp();
});

test("what comes later is read as it comes, from what was left on", async () => {
  const { reader, got, write } = readPipe();
  writeSync(write, "one");
  reader.readNow();
  writeSync(write, " two");
  reader.begin();
  // From now on it is not read beside the stream.
  expect(reader.readNow()).toBe(false);
  writeSync(write, " three");
  closeSync(write);
  await reader.ended;
  expect(got.text).toBe("one two three.");
});

test("a full pipe is read to its end", () => {
  const { reader, got, write } = readPipe();
  const text = "x".repeat(65_536);
  writeSync(write, text);
  closeSync(write);
  expect(reader.readNow()).toBe(true);
  expect(got.text).toBe(`${text}.`);
});

test("one that never stops writing does not hold it up", async () => {
  const { read, write } = makePipe();
  const child = Bun.spawn(["yes"], { stdio: ["ignore", write, "ignore"] });
  closeSync(write);
  const reader = new PipeReader(
    read,
    () => undefined,
    () => {},
  );
  try {
    await until(() => !reader.idle, "it writes");
    expect(reader.readNow()).toBe(false);
  } finally {
    child.kill();
    await child.exited;
  }
  while (!reader.readNow());
});

test("reading that was given up before it began has ended", async () => {
  const { reader, write } = readPipe();
  await reader.giveUp();
  expect(() => writeSync(write, "x")).toThrow("EPIPE");
  closeSync(write);
});

test("without a descriptor for reading, what is written is read all the same, and goes on when there is one", async () => {
  const agent = join(import.meta.dir, "../../src/agent");
  const script = `
    import { closeSync, openSync, writeSync } from "node:fs";
    import { makePipe } from "${agent}/libc.ts";
    import { PipeReader } from "${agent}/pipe-reader.ts";
    const pipes = [makePipe(), makePipe()];
    const got = ["", ""];
    let sum = 0;
    const readers = pipes.map(({ read }, i) => new PipeReader(read, (chunk) => {
      sum += chunk.length;
      return undefined;
    }, () => {
      got[i] += ".";
    }));
    const held = [];
    try { for (;;) held.push(openSync("/dev/null", "r")); } catch {}
    for (const reader of readers) reader.begin();
    closeSync(pipes[1].write);
    // More than a pipe holds: the next write would block.
    for (let n = 1; n <= 8; n++) {
      writeSync(pipes[0].write, "x".repeat(32_768));
      while (sum < n * 32_768) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await readers[1].ended;
    const before = [...got];
    for (const fd of held) closeSync(fd);
    writeSync(pipes[0].write, " two");
    closeSync(pipes[0].write);
    await readers[0].ended;
    console.log(JSON.stringify({ before, got, sum }));
    process.exit(0);
  `;
  const child = Bun.spawn(["sh", "-c", 'ulimit -n 100; exec "$0" -e "$1"', process.execPath, script], {
    stdout: "pipe",
    stderr: "inherit",
  });
  expect(JSON.parse(await child.stdout.text())).toEqual({
    before: ["", "."],
    got: [".", "."],
    sum: 8 * 32_768 + 4,
  });
});
