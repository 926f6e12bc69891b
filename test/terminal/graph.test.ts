import { describe, expect, test } from "bun:test";
import { drawGraph, type GraphTask, graphLines } from "../../src/terminal/graph.ts";
import { buildDag, type DagTask } from "../../src/workflow/dag.ts";
import { randomDag, randomNumbers, tasksOf } from "../workflow/support.ts";

function draw(text: string, width = 80): string {
  return drawGraph(placed(tasksOf(text)), { width });
}

/** The tasks with their depths. */
function placed(tasks: readonly DagTask[]): GraphTask[] {
  const dag = buildDag(tasks);
  return tasks.map((task) => ({ ...task, depth: dag.depth(task.id) }));
}

describe("drawGraph", () => {
  test("draws a diamond", () => {
    expect(draw("extract; clean < extract; enrich < extract; report < clean enrich")).toBe(
      [
        "     ┌─────────┐",
        "     │ extract │",
        "     └────┬────┘",
        "    ╭─────┴─────╮",
        "┌───┴───┐  ┌────┴───┐",
        "│ clean │  │ enrich │",
        "└───┬───┘  └────┬───┘",
        "    ╰─────┬─────╯",
        "     ┌────┴───┐",
        "     │ report │",
        "     └────────┘",
      ].join("\n"),
    );
  });

  test("draws a chain straight down, three lines a task", () => {
    const ids = Array.from({ length: 40 }, (_, i) => `step-${i + 10}`);
    const tasks = ids.map((id, i) => ({ id, depends: i === 0 ? [] : [ids[i - 1] ?? ""] }));
    const lines = drawGraph(placed(tasks), { width: 40 }).split("\n");
    expect(lines).toHaveLength(120);
    expect(new Set(lines.map((line) => line.length))).toEqual(new Set([11]));
  });

  test("an edge that passes a row goes beside its boxes", () => {
    expect(draw("a; b < a; c < a b")).toBe(
      [
        "   ┌───┐",
        "   │ a │",
        "   └─┬─┘",
        "  ╭──┴─╮",
        "┌─┴─┐  │",
        "│ b │  │",
        "└─┬─┘  │",
        "  ╰──┬─╯",
        "   ┌─┴─┐",
        "   │ c │",
        "   └───┘",
      ].join("\n"),
    );
  });

  test("tasks side by side with the same neighbours share a box when the drawing would be too wide", () => {
    const parts = Array.from({ length: 12 }, (_, i) => `part-${i}`);
    const text = `start; ${parts.map((id) => `${id} < start`).join("; ")}; merge < ${parts.join(" ")}`;
    const drawn = draw(text, 60);
    expect(drawn).toContain("│ part-0  part-6  │");
    expect(drawn.split("\n")).toHaveLength(14);
    for (const id of parts) expect(drawn).toContain(id);
  });

  test("long labels are cut before the drawing is given up", () => {
    const long = "a-very-long-name-for-a-task-";
    const drawn = draw(`${long}1; ${long}2 < ${long}1; b < ${long}1; c < ${long}2; d < b`, 36);
    expect(drawn).toContain("a-very-long-name-fo…");
    expect(drawn).toContain("┌");
  });

  test("what cannot be drawn within the width is listed, row by row", () => {
    const drawn = draw(
      "a1; a2; a3; a4; a5; a6; b1 < a1 a2; b2 < a2 a3; b3 < a3 a4; b4 < a4 a5; b5 < a5 a6",
      24,
    );
    expect(drawn.split("\n").slice(0, 2)).toEqual(["1  a1", "   a2"]);
    expect(drawn).toContain("2  b1 ← a1, a2");
  });

  test("shows symbols, and marks which text belongs to which task", () => {
    const lines = graphLines([
      { id: "a", depends: [], depth: 0, symbol: "✓" },
      { id: "b", depends: ["a"], depth: 1, symbol: "✗" },
    ]);
    const labels = lines.flat().filter((span) => span.task !== null);
    expect(labels).toEqual([
      { text: "✓ a", task: "a" },
      { text: "✗ b", task: "b" },
    ]);
    const painted = drawGraph([{ id: "a", depends: [], depth: 0 }], { paint: (text) => `<${text}>` });
    expect(painted).toContain("│ <a> │");
  });

  test("wide characters keep the borders in line", () => {
    const lines = draw("抽出; 変換する < 抽出; b < 抽出").split("\n");
    expect(lines[1]).toBe("       │ 抽出 │");
    expect(Bun.stringWidth(lines[4] ?? "")).toBe(Bun.stringWidth(lines[5] ?? ""));
  });

  test("labels cannot bring control characters into the terminal", () => {
    expect(drawGraph([{ id: "a\x1b[31m", depends: [], depth: 0 }])).not.toContain("\x1b");
  });

  test("two thousand tasks take no noticeable time and fall back to the list", () => {
    const tasks = randomDag(randomNumbers(5), 2000, 3);
    expect(drawGraph(placed(tasks)).split("\n")).toHaveLength(2000);
  });
});

describe("what is drawn", () => {
  test("is the graph: following the lines from box to box gives its edges, no more and no fewer", () => {
    for (let seed = 1; seed <= 500; seed++) {
      const random = randomNumbers(seed);
      const tasks = randomDag(random, 2 + Math.floor(random() * 14), 1 + Math.floor(random() * 3));
      const text = drawGraph(placed(tasks), { width: 400 });
      expect({ seed, edges: readEdges(text, tasks) }).toEqual({ seed, edges: edgesOf(tasks) });
    }
  });

  test("notes stand after the ids if all of them fit, else none", () => {
    const tasks = placed([
      { id: "a", depends: [] },
      { id: "b", depends: [] },
      { id: "c", depends: ["a", "b"] },
    ]).map((task) => ({ ...task, note: `@agent-of-${task.id}` }));
    expect(drawGraph(tasks, { width: 60 })).toContain("│ a @agent-of-a │  │ b @agent-of-b │");
    const narrow = drawGraph(tasks, { width: 30 });
    expect(narrow).toContain("│ a │  │ b │");
    expect(narrow).not.toContain("@");
  });

  test("no line is wider than asked for", () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = randomNumbers(seed);
      const tasks = randomDag(random, 2 + Math.floor(random() * 20), 2);
      const width = 20 + Math.floor(random() * 80);
      for (const line of drawGraph(placed(tasks), { width }).split("\n")) {
        expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width);
      }
    }
  });
});

function edgesOf(tasks: readonly DagTask[]): string[] {
  return tasks.flatMap((task) => task.depends.map((id) => `${id} → ${task.id}`)).sort();
}

const UP = "│╰├╯┴┤┼└┘";
const DOWN = "│╭├╮┬┤┼┌┐";
const LEFT = "╯─┴╮┤┬┼┘┐";
const RIGHT = "╰╭├─┴┬┼└┌";

/** Follows the lines of a drawing as a reader does. */
function readEdges(text: string, tasks: readonly DagTask[]): string[] {
  const rows = text.split("\n").map((line) => [...line]);
  const at = (x: number, y: number): string => rows[y]?.[x] ?? " ";
  const boxes: { id: string; left: number; right: number; top: number; bottom: number }[] = [];
  for (const { id } of tasks) {
    for (const [y, row] of rows.entries()) {
      const found = new RegExp(`│ +${id} +│`).exec(row.join(""));
      if (found === null) continue;
      boxes.push({
        id,
        left: found.index,
        right: found.index + found[0].length - 1,
        top: y - 1,
        bottom: y + 1,
      });
    }
  }
  expect(boxes).toHaveLength(tasks.length);
  const boxAt = (x: number, y: number) =>
    boxes.find((box) => box.top === y && box.left <= x && x <= box.right)?.id;

  const edges = new Set<string>();
  for (const box of boxes) {
    for (let x = box.left; x <= box.right; x++) {
      if (at(x, box.bottom) !== "┬") continue;
      const open: [number, number, "down" | "left" | "right"][] = [[x, box.bottom + 1, "down"]];
      const seen = new Set<string>();
      for (let step = open.pop(); step !== undefined; step = open.pop()) {
        const [cx, cy, direction] = step;
        const key = step.join();
        if (seen.has(key)) continue;
        seen.add(key);
        const glyph = at(cx, cy);
        if (direction === "down") {
          const reached = boxAt(cx, cy);
          if (reached !== undefined) {
            if (glyph === "┴") edges.add(`${box.id} → ${reached}`);
            continue;
          }
          if (!UP.includes(glyph)) continue;
        } else if (glyph === "│") {
          // A line that goes over this one.
          open.push([direction === "left" ? cx - 1 : cx + 1, cy, direction]);
          continue;
        } else if (!(direction === "left" ? RIGHT : LEFT).includes(glyph)) continue;
        if (DOWN.includes(glyph)) open.push([cx, cy + 1, "down"]);
        if (direction !== "right" && LEFT.includes(glyph)) open.push([cx - 1, cy, "left"]);
        if (direction !== "left" && RIGHT.includes(glyph)) open.push([cx + 1, cy, "right"]);
      }
    }
  }
  return [...edges].sort();
}
