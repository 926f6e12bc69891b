/** The state machines as they are drawn and told, in the manual and above each table in the source, against the tables. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findPage } from "../../src/docs/index.ts";
import { MEMBER_TRANSITIONS } from "../../src/principal/cluster/member-state.ts";
import { AGENT_TRANSITIONS } from "../../src/storage/operational/agent-state.ts";
import { BACKFILL_TRANSITIONS } from "../../src/storage/operational/backfill-state.ts";
import { DELIVERY_TRANSITIONS } from "../../src/storage/operational/delivery-state.ts";
import { EXPECTATION_TRANSITIONS } from "../../src/storage/operational/expectation-state.ts";
import { LEASE_TRANSITIONS } from "../../src/storage/operational/lease-state.ts";
import { SLICE_TRANSITIONS } from "../../src/storage/operational/slice-state.ts";
import { PHASE_TRANSITIONS } from "../../src/workflow/progress.ts";
import { RUN_TRANSITIONS } from "../../src/workflow/run-state.ts";
import type { Transitions } from "../../src/workflow/status.ts";
import { TASK_TRANSITIONS } from "../../src/workflow/task-state.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { transitionsIn } from "../support/diagram.ts";

const MANUAL = findPage("state-machines")?.text ?? "";

const MACHINES: readonly [title: string, table: Transitions<string>, file: string][] = [
  ["Run", RUN_TRANSITIONS, "workflow/run-state.ts"],
  ["Slice", SLICE_TRANSITIONS, "storage/operational/slice-state.ts"],
  ["Task run", TASK_TRANSITIONS, "workflow/task-state.ts"],
  ["Lease", LEASE_TRANSITIONS, "storage/operational/lease-state.ts"],
  ["Agent", AGENT_TRANSITIONS, "storage/operational/agent-state.ts"],
  ["Backfill", BACKFILL_TRANSITIONS, "storage/operational/backfill-state.ts"],
  ["Delivery", DELIVERY_TRANSITIONS, "storage/operational/delivery-state.ts"],
  ["Expectation", EXPECTATION_TRANSITIONS, "storage/operational/expectation-state.ts"],
  ["Member", MEMBER_TRANSITIONS, "principal/cluster/member-state.ts"],
];

function transitionsOf(table: Transitions<string>, among = Object.keys(table)): string[] {
  return Object.entries(table)
    .flatMap(([from, next]) => next.map((to) => [from, to] as const))
    .filter(([from, to]) => among.includes(from) && among.includes(to))
    .map(([from, to]) => `${from} → ${to}`)
    .sort();
}

/** The section of the manual with this title. */
function section(title: string): string {
  const [, text = ""] = MANUAL.split(`\n## ${title}\n`);
  return text.split("\n## ")[0] ?? "";
}

/** The rows of a Markdown table with at least this many columns. */
function rowsIn(markdown: string): string[][] {
  return markdown
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2)
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

/** The transitions from and to these columns; a row may name several states. */
function told(rows: readonly string[][], from: number, to: number): string[] {
  const found = rows.flatMap((row) => {
    const targets = (row[to] ?? "").split(", ");
    return (row[from] ?? "").split(", ").flatMap((one) => targets.map((other) => `${one} → ${other}`));
  });
  return [...new Set(found)].filter((each) => !each.startsWith(" → ")).sort();
}

/** The head comment of a source file. */
function headOf(file: string): string {
  const source = readFileSync(join(import.meta.dir, "../../src", file), "utf8");
  const head = source.slice(0, source.indexOf("*/"));
  return head
    .split("\n")
    .map((line) => line.replace(/^ \*/, ""))
    .join("\n");
}

describe.each(MACHINES)("%s", (title, table, file) => {
  const all = transitionsOf(table);
  const states = Object.keys(table);

  test("the diagram in the manual shows the transitions of the table, and no others", () => {
    const [diagram] = codeBlocks(section(title));
    expect(transitionsIn(diagram?.text ?? "", states)).toEqual(all);
  });

  test("so does the one above the table in the source", () => {
    expect(transitionsIn(headOf(file), states)).toEqual(all);
  });

  test("the manual says when each happens", () => {
    expect(told(rowsIn(section(title)), 0, 1)).toEqual(all);
  });
});

describe("Progress", () => {
  test("the table above the machine has every change of phase", () => {
    const lines = headOf("workflow/progress.ts").split("\n");
    const title = lines.find((line) => /^ +phase +event +next +decision$/.test(line)) ?? "";
    const [event, next, decision] = ["event", "next", "decision"].map((word) => title.indexOf(word));
    const rows: string[][] = [];
    let phase = "";
    for (const line of lines.slice(lines.indexOf(title) + 2)) {
      if (line.trim() === "") break;
      phase = line.slice(0, event).trim() || phase;
      const to = line.slice(next, decision).trim();
      if (to !== "") rows.push([phase, to]);
    }
    const changes = told(rows, 0, 1).filter((each) => each.split(" → ")[0] !== each.split(" → ")[1]);
    expect(changes).toEqual(transitionsOf(PHASE_TRANSITIONS));
  });

  test("the manual tells those that workflow files can cause today", () => {
    const phases = ["waiting", "started", "assigned", "asleep", "over"];
    const rows = rowsIn(section("Progress")).filter(([phase]) => phase !== "any");
    // Those of child runs.
    const notYet = ["asleep → started", "asleep → waiting", "started → asleep"];
    const all = transitionsOf(PHASE_TRANSITIONS, phases);
    expect(told(rows, 0, 2)).toEqual(all.filter((each) => !notYet.includes(each)));
  });
});

describe("the reader of diagrams", () => {
  const STATES = ["A", "BB", "CC", "DD"];

  test.each<[what: string, lines: string[], transitions: string[]]>([
    ["lists and branches", ["A ──┬──▶ BB, CC", "    └──▶ DD"], ["A → BB", "A → CC", "A → DD"]],
    ["lines that turn", ["A ──▶ BB", "▲     │", "└─────┘"], ["A → BB", "BB → A"]],
    ["crossings", [" A  BB", " │   │", "─┼───┼─", " ▼   ▼", " CC  DD"], ["A → CC", "BB → DD"]],
    ["joins", ["A ──┐", "BB ─┴─▶ CC"], ["A → CC", "BB → CC"]],
    ["an arrow from nowhere, and a dashed one", [" ──▶ A  words", "CC ─ ─ ▶ DD"], []],
  ])("%s", (_, lines, transitions) => {
    expect(transitionsIn(lines.join("\n"), STATES)).toEqual(transitions);
  });

  test("an arrow that points at no state is an error", () => {
    expect(() => transitionsIn("A ──▶ words", STATES)).toThrow("line 1: an arrow points at no state");
  });
});
