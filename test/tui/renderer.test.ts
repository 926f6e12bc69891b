import { expect, test } from "bun:test";
import { Canvas } from "../../src/tui/screen/canvas.ts";
import { Renderer } from "../../src/tui/screen/renderer.ts";
import { BOLD, GREEN, RED } from "../../src/tui/screen/style.ts";

const ABILITIES = { colour: true, unicode: true };

/** A terminal that supports exactly the sequences that the renderer uses. */
class Screen {
  readonly #cells: string[][];
  #x = 0;
  #y = 0;

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.#cells = Array.from({ length: height }, () => Array.from({ length: width }, () => " "));
  }

  write(text: string): void {
    for (const [token] of text.matchAll(/\x1b\[[?\d;]*[A-Za-z]|./gsu)) {
      const move = /^\x1b\[(\d+);(\d+)H$/.exec(token);
      if (move !== null) [this.#y, this.#x] = [Number(move[1]) - 1, Number(move[2]) - 1];
      else if (token === "\x1b[H") [this.#y, this.#x] = [0, 0];
      else if (token === "\x1b[2J") for (const row of this.#cells) row.fill(" ");
      else if (!token.startsWith("\x1b")) this.#put(token);
    }
  }

  #put(char: string): void {
    const columns = Bun.stringWidth(char);
    const row = this.#cells[this.#y];
    if (row === undefined || this.#x + columns > this.width)
      throw new Error(`${char} at ${this.#x},${this.#y}`);
    row[this.#x] = char;
    if (columns === 2) row[this.#x + 1] = "";
    this.#x += columns;
  }

  toString(): string {
    return this.#cells.map((row) => row.join("").trimEnd()).join("\n");
  }
}

function canvasOf(rows: readonly string[], width = 20): Canvas {
  const canvas = new Canvas(width, rows.length);
  rows.forEach((row, y) => {
    canvas.all.text(0, y, row);
  });
  return canvas;
}

test("unchanged content is not written again", () => {
  const renderer = new Renderer(ABILITIES);
  expect(renderer.render(canvasOf(["one", "two"]))).toContain("two");
  expect(renderer.render(canvasOf(["one", "two"]))).toBe("");
  const change = renderer.render(canvasOf(["one", "tXo"]));
  expect(change).toContain("\x1b[2;2H");
  expect(change).toContain("X");
  expect(change).not.toContain("one");
  expect(change.length).toBeLessThan(60);
});

test("a change of look alone is drawn; without colour only attributes are", () => {
  const styled = (style: number) => {
    const canvas = new Canvas(5, 1);
    canvas.all.text(0, 0, "word", style);
    return canvas;
  };
  const renderer = new Renderer(ABILITIES);
  renderer.render(styled(RED));
  expect(renderer.render(styled(GREEN | BOLD))).toContain("\x1b[0;1;32mword");
  const grey = new Renderer({ colour: false, unicode: true });
  expect(grey.render(styled(RED | BOLD))).toContain("\x1b[0;1mword");
});

test("after invalidate, and with another size, everything is drawn", () => {
  const renderer = new Renderer(ABILITIES);
  renderer.render(canvasOf(["one"]));
  renderer.invalidate();
  expect(renderer.render(canvasOf(["one"]))).toContain("\x1b[2J");
  expect(renderer.render(canvasOf(["one"], 30))).toContain("\x1b[2J");
});

test("the terminal shows the canvas, whatever came before", () => {
  const words = [
    "",
    "a",
    "東京",
    "x東",
    "é",
    "abcdefghijklmnopqrst",
    "東東東東東東東東東東",
    "─│┼",
    "👩‍👩‍👧 z",
    "  gap   gap  ",
  ];
  let seed = 42;
  const next = (n: number) => {
    seed = (seed * 1103515245 + 12345) % 2147483648;
    return seed % n;
  };
  // A terminal that joins no sequences would count this one otherwise: the renderer must not rely on it.
  const simple = words.filter((word) => !word.includes("\u200d"));
  const renderer = new Renderer(ABILITIES);
  const screen = new Screen(20, 6);
  for (let frame = 0; frame < 500; frame++) {
    const canvas = new Canvas(20, 6);
    for (let i = 0; i < 6; i++) canvas.all.text(next(20), next(6), simple[next(simple.length)] ?? "");
    screen.write(renderer.render(canvas));
    expect(screen.toString()).toBe(canvas.toString());
  }
});

test("half of a wide character never stays", () => {
  const canvas = canvasOf(["東京"]);
  canvas.all.text(1, 0, "x");
  expect(canvas.row(0)).toBe(" x京");
  canvas.all.text(2, 0, "y");
  expect(canvas.row(0)).toBe(" xy");
});

test("the cursor is shown where the canvas wants it, and hidden otherwise", () => {
  const renderer = new Renderer(ABILITIES);
  const canvas = canvasOf(["abc"]);
  canvas.all.cursor(1, 0);
  expect(renderer.render(canvas)).toContain("\x1b[1;2H\x1b[?25h");
  expect(renderer.render(canvasOf(["abc"]))).toContain("\x1b[?25l");
});

test("ASCII keeps the columns", () => {
  const renderer = new Renderer({ colour: true, unicode: false });
  const screen = new Screen(20, 1);
  screen.write(renderer.render(canvasOf(["╭─▶ 東 ✓ █ é"])));
  expect(screen.toString()).toBe("+-> ?? v # ?");
});
