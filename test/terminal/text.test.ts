import { expect, test } from "bun:test";
import { fit, glyphs, isPlain, pad, width, wrapHard, wrapProse, wrapWords } from "../../src/terminal/text.ts";

test("what counts as plain is one column wide, every character of it", () => {
  for (let code = 0x20; code < 0x3000; code++) {
    const char = String.fromCharCode(code);
    if (isPlain(char)) expect([code, Bun.stringWidth(char)]).toEqual([code, 1]);
  }
  expect(isPlain("e\u0301")).toBe(false);
  expect(isPlain("▶\ufe0f")).toBe(false);
  expect(isPlain("a\x1b[1m")).toBe(false);
});

test("columns: wide characters take two, combining marks none, emoji sequences count as one", () => {
  expect(width("東京")).toBe(4);
  expect(width("e\u0301")).toBe(1);
  expect([...glyphs("a👩‍👩‍👧b")]).toEqual([
    ["a", 1],
    ["👩‍👩‍👧", 2],
    ["b", 1],
  ]);
});

test("cutting and filling keep to the columns", () => {
  expect(fit("abcdef", 4)).toBe("abc…");
  expect(fit("abc", 3)).toBe("abc");
  expect(fit("abc", 0)).toBe("");
  expect(fit("東京都", 4)).toBe("東…");
  expect(pad("東", 4)).toBe("東  ");
  expect(pad("東京都", 4)).toBe("東… ");
  expect(pad("7", 3, "right")).toBe("  7");
});

test("wrapping", () => {
  expect(wrapHard("abcdefg", 3)).toEqual(["abc", "def", "g"]);
  expect(wrapHard("東京都", 3)).toEqual(["東", "京", "都"]);
  expect(wrapWords("the quick brown fox", 9)).toEqual(["the quick", "brown fox"]);
  expect(wrapWords("averylongword here", 6)).toEqual(["averyl", "ongwor", "d here"]);
  expect(wrapWords("a\n\nb", 9)).toEqual(["a", "", "b"]);
  expect(wrapProse("see https://example.com/a/long/path there", 10)).toEqual([
    "see",
    "https://example.com/a/long/path",
    "there",
  ]);
});
