import { describe, expect, test } from "bun:test";
import { renderDiagnostic } from "../../src/workflow/diagnostic.ts";
import { SourceText } from "../../src/workflow/source-text.ts";
import { diagnosticsOf } from "./support.ts";

function render(text: string): string {
  return diagnosticsOf(text)
    .map((found) => renderDiagnostic(found))
    .join("\n");
}

describe("renderDiagnostic", () => {
  test("shows place, line, caret and help", () => {
    expect(
      render("name: w\ntasks:\n  a:\n    name: a\n    depend: [b]\n    config: !Subprocess {cmd: ls}\n"),
    ).toBe(
      [
        'test.yml:5:5: error[E010]: unknown key "depend" in task "a"',
        "    5 |     depend: [b]",
        "      |     ^^^^^^",
        '      = help: did you mean "depends"?',
      ].join("\n"),
    );
  });

  test("puts the caret under wide characters, combining ones and tabs", () => {
    const text =
      'name: w\ntasks: {a: {description: "日本\u0301\t語", x: 1, name: a, config: !Subprocess {cmd: ls}}}\n';
    const [, line = "", caret = ""] = render(text).split("\n");
    const before = line.slice(0, line.indexOf("x:"));
    expect(Bun.stringWidth(before)).toBe(caret.indexOf("^"));
    expect(line).not.toContain("\t");
    expect(diagnosticsOf(text)[0]?.column).toBe(35);
  });

  test("an emoji counts as one column of the position, and two of the screen", () => {
    const text = 'name: "🚀🚀"\ntasks: {"🚀": {name: a, config: !Subprocess {cmd: ls}}}\n';
    expect(diagnosticsOf(text)).toMatchObject([{ code: "E050", line: 2, column: 9 }]);
    const [, line = "", caret = ""] = render(text).split("\n");
    expect(caret.trimEnd().length - caret.indexOf("^")).toBe(4);
    expect(Bun.stringWidth(line.slice(0, line.indexOf('"')))).toBe(caret.indexOf("^"));
  });

  test("long lines are cut around the place", () => {
    const filler = Array.from({ length: 400 }, (_, i) => `"item ${i}"`).join(", ");
    const text = `name: w\ntasks: {a: {name: a, config: !Subprocess {cmd: ls, args: [${filler}]}, oops: 1, env: {X: "${"y".repeat(500)}"}}}\n`;
    const [head = "", line = "", caret = ""] = render(text).split("\n");
    expect(head).toMatch(/^test\.yml:2:\d{4}: error\[E010\]: unknown key "oops"/);
    expect(line.length).toBeLessThan(180);
    expect(line).toContain("…");
    expect(line.slice(caret.indexOf("^"), caret.lastIndexOf("^") + 1)).toBe("oops");
  });

  test("messages stay short whatever they quote", () => {
    const [found] = diagnosticsOf(
      `name: w\ntimeout: ${"1m".repeat(10_000)}\ntasks: {a: {name: a, config: !Subprocess {cmd: ls}}}\n`,
    );
    expect(found?.message.length).toBeLessThan(410);
  });

  test("nothing from the file reaches the terminal as a command", () => {
    const hostile = render(
      'name: w\n"\\e[31mkey\\a": 1\ntasks: {a: {name: a, config: !Subprocess {cmd: ls}}}\n',
    );
    expect(hostile).not.toMatch(/[\x1b\x07]/);
    expect(render("name: \x1b]0;title\x07\n")).not.toMatch(/[\x1b\x07]/);
    expect(render("name: w\n\u202ereversed: 1\n")).not.toContain("\u202e");
  });

  test("colours only when asked to", () => {
    const [found] = diagnosticsOf("name: w\n");
    if (found === undefined) throw new Error("nothing found");
    expect(renderDiagnostic(found)).not.toContain("\x1b");
    const coloured = renderDiagnostic(found, { color: true });
    expect(coloured).toContain("\x1b[1;31merror[E011]\x1b[0m");
    expect(Bun.stripANSI(coloured)).toBe(renderDiagnostic(found));
  });

  test("a problem of a file as a whole has no line", () => {
    const [found] = diagnosticsOf(`# ${"x".repeat(1024 * 1024)}`);
    if (found === undefined) throw new Error("nothing found");
    expect(
      renderDiagnostic({ ...found, line: null, column: null, source_line: null, source_range: null }),
    ).toBe(
      "test.yml: error[E005]: the file is larger than 1 MiB\n      = help: move data and scripts to files of their own",
    );
  });
});

describe("SourceText", () => {
  test("positions at the ends, in empty lines, after surrogate pairs", () => {
    const source = new SourceText("ab\n\n🚀c");
    const places = [0, 2, 3, 4, 6, 7, 99].map((offset) => source.position(offset));
    expect(places.map(({ line, column }) => `${line}:${column}`)).toEqual([
      "1:1",
      "1:3",
      "2:1",
      "3:1",
      "3:2",
      "3:3",
      "3:3",
    ]);
    expect(new SourceText("").position(5)).toEqual({ line: 1, column: 1 });
  });

  test("an excerpt ends with its line", () => {
    expect(new SourceText("abc\r\ndef").excerpt(1, 7)).toEqual({ text: "abc", start: 1, end: 3 });
    expect(new SourceText("").excerpt(0, 0)).toEqual({ text: "", start: 0, end: 1 });
  });
});
