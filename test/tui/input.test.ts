import { expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { KeyInput } from "../../src/tui/screen/input.ts";

class Source extends EventEmitter {
  setRawMode(): void {}
  pause(): void {}
  resume(): void {}
}

function collect(delayMs = 10_000) {
  const input = new KeyInput(new Source(), delayMs);
  const tokens: string[] = [];
  const pastes: string[] = [];
  input.on("data", (token: Buffer) => tokens.push(token.toString()));
  input.on("paste", (text: string) => pastes.push(text));
  return { input, tokens, pastes, feed: (text: string | Buffer) => input.feed(Buffer.from(text)) };
}

const KEYS = [
  "a",
  "é",
  "東",
  "😀",
  "\x1b[A",
  "\x1b[1;5C",
  "\x1bOP",
  "\x1b[15~",
  "\x1b[<0;120;45M",
  "\x1b[<0;120;45m",
  "\x1bx",
  "\x1b[[A",
  "\r",
  "\x03",
];

test("keys arrive whole, one by one, however they were cut", () => {
  const all = Buffer.from(KEYS.join(""));
  for (let size = 1; size <= all.length; size++) {
    const { tokens, feed } = collect();
    for (let i = 0; i < all.length; i += size) feed(all.subarray(i, i + size));
    expect(tokens).toEqual(KEYS);
  }
});

test("an Esc alone is the key Esc after a moment", async () => {
  const { input, tokens, feed } = collect(1);
  const esc = new Promise((resolve) => input.once("data", resolve));
  feed("\x1b");
  expect(tokens).toEqual([]);
  await esc;
  expect(tokens).toEqual(["\x1b"]);
});

test("Esc twice is Esc twice", () => {
  const { tokens, feed } = collect();
  feed("\x1b\x1b[A");
  expect(tokens).toEqual(["\x1b", "\x1b[A"]);
});

test("pasted text is no keys, also when it is cut anywhere", () => {
  const all = Buffer.from("x\x1b[200~:q\r東京\x1b[A\x1b[201~y");
  for (let size = 1; size <= all.length; size++) {
    const { tokens, pastes, feed } = collect();
    for (let i = 0; i < all.length; i += size) feed(all.subarray(i, i + size));
    expect(pastes).toEqual([":q\r東京\x1b[A"]);
    expect(tokens).toEqual(["x", "y"]);
  }
});

test("stray bytes are dropped and stop nothing", () => {
  const { tokens, feed } = collect();
  feed(Buffer.from([0x80, 0xbf, 0x61, 0xff, 0xc3, 0x28, 0x62]));
  expect(tokens).toContain("a");
  expect(tokens).toContain("b");
  const random = crypto.getRandomValues(new Uint8Array(65_536));
  feed(Buffer.from(random));
  feed("\x1b\\\x1b\\z");
  expect(tokens.length).toBeGreaterThan(1000);
});
