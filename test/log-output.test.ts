import { expect, test } from "bun:test";
import { LogOutput, type LogStream } from "../src/log-output.ts";

/** A stream whose writes end when the test says so. */
class HeldStream implements LogStream {
  readonly written: { readonly text: string; readonly end: (error?: Error) => void }[] = [];
  write(text: string, end: (error?: Error | null) => void): void {
    this.written.push({ text, end });
  }
  on(): void {}
}

const lossText = (lost: number) => `lost ${lost}\n`;

test("messages that could not be written are counted, and told once with the next one that can", () => {
  const stream = new HeldStream();
  const output = new LogOutput(stream, lossText);
  output.write("a\n");
  output.write("b\n");
  for (const { end } of stream.written.splice(0)) end(new Error("EPIPE"));
  output.write("c\n");
  output.write("d\n");
  expect(stream.written.map(({ text }) => text)).toEqual(["\nlost 2\nc\n", "d\n"]);
  stream.written[0]?.end(new Error("EPIPE"));
  stream.written[1]?.end();
  output.write("e\n");
  stream.written[2]?.end();
  output.write("f\n");
  expect(stream.written.slice(2).map(({ text }) => text)).toEqual(["\nlost 3\ne\n", "f\n"]);
});

test("a reader that has stopped reading costs messages, not memory, and not the end of the process", async () => {
  const stream = new HeldStream();
  const output = new LogOutput(stream, lossText);
  const message = `${"x".repeat(1023)}\n`;
  for (let i = 0; i < 2000; i++) output.write(message);
  expect(stream.written).toHaveLength(1024);
  await output.drain(0);
  const drained = output.drain(60_000);
  for (const { end } of stream.written) end();
  await drained;
  output.write("next\n");
  expect(stream.written.at(-1)?.text).toBe("\nlost 976\nnext\n");
});
