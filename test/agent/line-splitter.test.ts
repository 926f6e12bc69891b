import { describe, expect, test } from "bun:test";
import { LineSplitter, MAX_LINE_BYTES, REWRITE_SNAPSHOT_MS } from "../../src/agent/line-splitter.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** Splits a whole text at once, then ends the stream. */
function split(input: string | Uint8Array): string[] {
  const splitter = new LineSplitter();
  const lines = splitter.push(typeof input === "string" ? bytes(input) : input, 0);
  return [...lines, ...splitter.end()];
}

describe("lines", () => {
  test.each([
    ["", []],
    ["a\n", ["a"]],
    ["a", ["a"]],
    ["a\nb", ["a", "b"]],
    ["\n", [""]],
    ["a\n\n\nb\n", ["a", "", "", "b"]],
    ["a\r\nb\r\n", ["a", "b"]],
    ["tab\tstays\n", ["tab\tstays"]],
    ["žluťoučký 🐎\n", ["žluťoučký 🐎"]],
    ["\ufeffmark\n", ["\ufeffmark"]],
    ["a real \ufffd stays\n", ["a real \ufffd stays"]],
  ])("%j", (input, expected) => {
    expect(split(input)).toEqual(expected);
  });

  test("a line that comes in pieces is one line, also when a piece ends inside a character", () => {
    const splitter = new LineSplitter();
    const horse = bytes("ku🐎ň\nrest");
    const lines: string[] = [];
    for (const byte of horse) lines.push(...splitter.push(Uint8Array.of(byte), 0));
    expect(lines).toEqual(["ku🐎ň"]);
    expect(splitter.end()).toEqual(["rest"]);
    expect(splitter.end()).toEqual([]);
  });

  test("what was read may be overwritten afterwards", () => {
    const splitter = new LineSplitter();
    const buffer = bytes("kept");
    splitter.push(buffer, 0);
    buffer.fill(0);
    expect(splitter.push(bytes("\n"), 0)).toEqual(["kept"]);
  });
});

describe("bytes that could break a frame or a terminal", () => {
  test.each([
    ["field\x01field\n", ["field\\x01field"]],
    ["nul\0!\n", ["nul\\x00!"]],
    ["bell\x07 back\x08 del\x7f\n", ["bell\\x07 back\\x08 del\\x7f"]],
    ["c1 \u009b2J\n", ["c1 \\x9b2J"]],
    ["\x1b[31mred\x1b[0m and \x1b[1;38:5:2mgreen\x1b[m\x1b[K\n", ["red and green"]],
    ["\x1b[2J\x1b]0;title\x07\n", ["\\x1b[2J\\x1b]0;title\\x07"]],
  ])("%j", (input, expected) => {
    expect(split(input)).toEqual(expected);
  });

  test("bytes that are not UTF-8 stay readable, and so does what is around them", () => {
    expect(split(Uint8Array.of(0x63, 0x61, 0x66, 0xe9, 0x0a))).toEqual(["caf\\xe9"]);
    expect(split(Uint8Array.of(0xff, 0xfe, 0x41, 0x0a, 0x42))).toEqual(["\\xff\\xfeA", "B"]);
    const mixed = Uint8Array.of(...bytes("ů"), 0xc3, ...bytes("🐎"), 0xf0, 0x9f, 0x90, 0x0a);
    expect(split(mixed)).toEqual(["ů\\xc3🐎\\xf0\\x9f\\x90"]);
    // Overlong, surrogate, beyond U+10FFFF.
    expect(split(Uint8Array.of(0xc0, 0xaf, 0x0a))).toEqual(["\\xc0\\xaf"]);
    expect(split(Uint8Array.of(0xed, 0xa0, 0x80, 0x0a))).toEqual(["\\xed\\xa0\\x80"]);
    expect(split(Uint8Array.of(0xf4, 0x90, 0x80, 0x80, 0x0a))).toEqual(["\\xf4\\x90\\x80\\x80"]);
  });

  test("any bytes at all, in any pieces, give the same lines, none with a control character", () => {
    let seed = 1;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 8) % below;
    };
    for (let round = 0; round < 300; round++) {
      const input = Uint8Array.from({ length: random(200) }, () =>
        random(4) === 0 ? ([10, 13, 1, 195, 169, 0][random(6)] ?? 0) : random(256),
      );
      const whole = split(input);
      const splitter = new LineSplitter();
      const pieces: string[] = [];
      for (let start = 0; start < input.length; ) {
        const length = 1 + random(20);
        pieces.push(...splitter.push(input.slice(start, start + length), 0));
        start += length;
      }
      pieces.push(...splitter.end());
      expect(pieces).toEqual(whole);
      for (const line of whole) expect(line).not.toMatch(/[\x00-\x08\x0a-\x1f\x7f-\x9f]/);
    }
  });
});

describe("long lines", () => {
  test("are cut at 64 KiB, nothing is lost", () => {
    const long = "x".repeat(MAX_LINE_BYTES * 2 + 10);
    expect(split(`${long}\nnext\n`).map((line) => line.length)).toEqual([
      MAX_LINE_BYTES,
      MAX_LINE_BYTES,
      10,
      4,
    ]);
    expect(split(`${"y".repeat(MAX_LINE_BYTES)}\n`)).toHaveLength(1);
  });

  test("are shown before they end", () => {
    const splitter = new LineSplitter();
    expect(splitter.push(bytes("z".repeat(MAX_LINE_BYTES + 1)), 0)).toEqual(["z".repeat(MAX_LINE_BYTES)]);
    expect(splitter.end()).toEqual(["z"]);
  });

  test("are cut between characters", () => {
    const text = `a${"🐎".repeat(MAX_LINE_BYTES / 2)}`;
    const lines = split(text);
    expect(lines.join("")).toBe(text);
    for (const line of lines) {
      expect(line).not.toContain("\\x");
      expect(bytes(line).length).toBeLessThanOrEqual(MAX_LINE_BYTES);
    }
  });

  test("that are not text are cut too", () => {
    const lines = split(new Uint8Array(MAX_LINE_BYTES + 3).fill(0x80));
    expect(lines.map((line) => line.length / 4)).toEqual([MAX_LINE_BYTES, 3]);
  });

  test("many short lines in one large read stay what they are", () => {
    const text = Array.from({ length: 50_000 }, (_, index) => `line ${index}`);
    expect(split(text.join("\n"))).toEqual(text);
    expect(split(`${text.join("\r\n")}\r\n`)).toEqual(text);
  });
});

describe("progress bars", () => {
  test("only the last state of a rewritten line is kept", () => {
    expect(split("10%\r50%\r100%\ndone\n")).toEqual(["100%", "done"]);
    expect(split("10%\r50%\r100%\r\ndone\n")).toEqual(["100%", "done"]);
    expect(split("\r10%\r50%")).toEqual(["50%"]);
    expect(split("10%\r50%\r")).toEqual(["50%"]);
  });

  test("while it continues, there is one snapshot per second, and the last state is not repeated", () => {
    const splitter = new LineSplitter();
    const lines: [number, string][] = [];
    const at = (now: number, text: string) => {
      for (const line of splitter.push(bytes(text), now)) lines.push([now, line]);
    };
    for (let now = 0; now <= 5000; now += 10) at(now, `${now / 50}%\r`);
    expect(lines.map(([now]) => now)).toEqual([1000, 2000, 3000, 4000, 5000]);
    expect(lines.at(-1)).toEqual([5000, "100%"]);
    at(5010, "\n");
    expect(lines).toHaveLength(5);
    at(5020, "next\n");
    expect(lines.at(-1)).toEqual([5020, "next"]);
  });

  test("a stalled bar is shown after a second", () => {
    const splitter = new LineSplitter();
    expect(splitter.push(bytes("\r 10%"), 0)).toEqual([]);
    expect(splitter.push(bytes("\r 20%"), 100)).toEqual([]);
    expect(splitter.snapshotDueMs).toBe(REWRITE_SNAPSHOT_MS);
    expect(splitter.snapshot(999)).toEqual([]);
    expect(splitter.snapshot(1000)).toEqual([" 20%"]);
    expect(splitter.snapshot(2000)).toEqual([]);
    expect(splitter.push(bytes("\r 30%\n"), 2100)).toEqual([" 30%"]);
    expect(splitter.snapshotDueMs).toBeUndefined();
  });

  test("a bar of a million states takes no memory", () => {
    const splitter = new LineSplitter();
    for (let state = 0; state < 20_000; state++)
      expect(splitter.push(bytes(`${"#".repeat(100)} ${state}\r`), 0)).toEqual([]);
    expect(splitter.end()).toEqual([`${"#".repeat(100)} 19999`]);
  });

  test("a line without CR is never shown half", () => {
    const splitter = new LineSplitter();
    splitter.push(bytes("half"), 0);
    expect(splitter.snapshotDueMs).toBeUndefined();
    splitter.push(bytes("half\r"), 0);
    expect(splitter.snapshotDueMs).toBeUndefined();
    expect(splitter.push(bytes("\nhalf"), 10_000)).toEqual(["halfhalf"]);
  });
});
