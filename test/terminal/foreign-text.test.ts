import { expect, test } from "bun:test";
import {
  escapedJson,
  escapedText,
  messageText,
  outputText,
  plainText,
  printable,
  quotedText,
  terminalText,
} from "../../src/terminal/foreign-text.ts";

/** Colour, cursor, title, and sequences that are cut off or made of one C1 character. */
const HOSTILE =
  "a\x1b[31mb\x1b[2Jc\x1b]0;title\x07d\x1bPq;1\x1b\\e\x1b]8;;http://x\x1b\\f\x1b]0;cut off\x9b31m\x1b";
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;

test("whatever the text, nothing that a terminal obeys is left", () => {
  const everything = Array.from({ length: 0x100 }, (_, code) => String.fromCharCode(code)).join("x");
  for (const text of [HOSTILE, everything, `${everything}${HOSTILE}`]) {
    expect(plainText(text)).not.toMatch(CONTROL);
    expect(printable(text)).not.toMatch(CONTROL);
    expect(quotedText(text)).not.toMatch(CONTROL);
    expect(outputText(text, false)).not.toMatch(/[\x00-\x08\x0a-\x1f\x7f-\x9f]/);
    expect(messageText(text)).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
    expect(escapedText(text)).not.toMatch(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/);
  }
});

test("harmless text stays as it is", () => {
  const text = "naïve 日本 👍 ✓";
  for (const safe of [plainText, printable, quotedText, messageText, escapedText])
    expect(safe(text)).toBe(text);
  expect(outputText(text, true)).toBe(text);
});

test("a cell or a label is one line", () => {
  expect(plainText("two\nlines\tand \x1b[1ma tab")).toBe("two lines and a tab");
});

test("output in the terminal UI shows that there was something", () => {
  expect(printable("\x1b[31mred\x1b[0m\ttab\x07bell\rreturn")).toBe("red    tab·bell·return");
  expect(printable("\x1b]0;title\x07text")).toBe("text");
});

test("output on the command line keeps its colours where they are wanted, and ends them", () => {
  const text = "\x1b[31mred\x1b[0m \x1b[2Jgone \x1b]0;evil\x07\ttab\rback\x08";
  expect(outputText(text, true)).toBe("\x1b[31mred\x1b[0m gone \ttabback\x1b[0m");
  expect(outputText(text, false)).toBe("red gone \ttabback");
});

test("a quotation keeps its length, and its direction", () => {
  expect(quotedText("a\tb\u202ec\x1b[1m")).toBe("a\ufffdb\ufffdc\ufffd[1m");
});

test("messages and reports keep their lines", () => {
  expect(messageText("a\n\tb\x1b[1m")).toBe("a\n\tb\ufffd[1m");
  expect(escapedText("a\n\tb\x1b[1m")).toBe("a\n\tb\\x1b[1m");
});

/** Directions, zero-width characters, a tag, and a joiner that joins nothing. */
const UNSEEN = "a\u202eb\u2066c\u200bd\ufeffe\u2028f\u{e0041}g\u200dh";

test("invisible characters are made visible", () => {
  const seen = "a<U+202E>b<U+2066>c<U+200B>d<U+FEFF>e<U+2028>f<U+E0041>g<U+200D>h";
  for (const safe of [plainText, printable, messageText, escapedText, terminalText])
    expect(safe(UNSEEN)).toBe(seen);
  expect(outputText(UNSEEN, true)).toBe(seen);
  expect(quotedText(UNSEEN)).toHaveLength(UNSEEN.length);
  expect(quotedText(UNSEEN)).toMatch(/^[a-h\ufffd]+$/);
});

test("joiners of emoji and of scripts that have them stay", () => {
  for (const text of ["👩‍🚀 und 👨‍👩‍👧", "می‌خواهم", "क्‍ष"]) {
    expect(plainText(text)).toBe(text);
    expect(quotedText(text)).toBe(text);
  }
});

test("JSON says the same in other characters", () => {
  const value = { [UNSEEN]: `\x9b${UNSEEN}\x7f` };
  const text = escapedJson(JSON.stringify(value));
  expect(text).toMatch(/^[\x20-\x7e]+$/);
  expect(JSON.parse(text)).toEqual(value);
});

test("the last net lets colours through, nothing else", () => {
  expect(terminalText("\x1b[31mred\x1b[0m\n\t\x1b]0;title\x07\x1b[2J\x9b2Jx\x1b")).toBe(
    "\x1b[31mred\x1b[0m\n\t\ufffd2Jx",
  );
});
