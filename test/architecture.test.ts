import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { WAITING } from "../knip.ts";
import { allImports, cycles, importsOf, reachable } from "./architecture/imports.ts";
import {
  agentReachesHistory,
  foldersInRooms,
  MAY_IMPORT,
  roomOf,
  roomsAsFiles,
  wrongDirections,
} from "./architecture/rooms.ts";

const ROOT = join(import.meta.dir, "..");

/**
 * Files that nothing imports because something else starts them. Each with the reason.
 */
const ENTRY_POINTS: Readonly<Record<string, string>> = {
  "src/main.ts": "the executable",
  "src/host/file-helper/main.ts": "the file helper when cdktr runs from its sources",
  "src/principal/workflows/reader-main.ts": "a reader of workflow files when cdktr runs from its sources",
  "src/history/main.ts": "the process of the history when cdktr runs from its sources",
  "src/sdk/typescript/runner.ts": "the process of a user's listener, bundled on its own",
  "src/sdk/examples/file-watcher.ts": "an example for users, run by cdktr listen",
  "src/sdk/examples/ship-logs.ts": "an example for users, run by cdktr listen",
};

const paths = [...new Bun.Glob("src/**/*.ts").scanSync({ cwd: ROOT })]
  // Declarations of types are found by the compiler, not imported.
  .filter((path) => !path.endsWith(".d.ts"))
  .sort();
const sources = new Map(paths.map((path) => [path, readFileSync(join(ROOT, path), "utf8")]));
const imports = allImports(sources);

describe("the rooms of src/", () => {
  test("imports point only downwards", () => {
    expect(wrongDirections(imports)).toEqual([]);
  });

  test("the agent never reaches the history or DuckDB", () => {
    expect(agentReachesHistory(imports)).toEqual([]);
  });

  test("no file imports itself through others", () => {
    const found = cycles(imports).map((cycle) =>
      cycle.map((step) => `${step.from}:${step.line} → ${step.to}`).join("\n"),
    );
    expect(found).toEqual([]);
  });

  test("rooms may not import each other in a circle", () => {
    const found = cycles(roomsAsFiles(MAY_IMPORT)).map((cycle) => cycle.map((step) => step.to).join(" → "));
    expect(found).toEqual([]);
  });

  test("the folders inside a room do not import each other in a circle", () => {
    const found = cycles(foldersInRooms(imports)).map((cycle) =>
      cycle.map((step) => `${step.from}:${step.line} → ${step.to}`).join("\n"),
    );
    expect(found).toEqual([]);
  });

  test("no relative import leads to a file that is not there", () => {
    const broken = [...imports.values()]
      .flat()
      .filter((step) => step.relative && /(?<!\.d)\.ts$/.test(step.to) && !sources.has(step.to))
      .map((step) => `${step.from}:${step.line} imports ${step.to}, which does not exist`);
    expect(broken).toEqual([]);
  });

  test("no file is dead", () => {
    const reached = reachable([...Object.keys(ENTRY_POINTS), ...WAITING], imports);
    const dead = paths.filter((path) => !reached.has(path));
    expect(dead).toEqual([]);
  });

  test("only terminal/ measures and cuts text, so that it looks alike everywhere", () => {
    const own = /\bBun\.(?:stringWidth|wrapAnsi|stripANSI)\b|\bIntl\.Segmenter\b/;
    const found = paths.filter((path) => roomOf(path) !== "terminal" && own.test(sources.get(path) ?? ""));
    expect(found).toEqual([]);
  });

  test("every declared entry point exists", () => {
    expect([...Object.keys(ENTRY_POINTS), ...WAITING].filter((path) => !sources.has(path))).toEqual([]);
  });

  test("the reader of imports finds whatever Bun finds", () => {
    const transpiler = new Bun.Transpiler({ loader: "ts" });
    for (const [path, source] of sources) {
      const wanted = transpiler.scanImports(source).map((found) => found.path);
      const count = importsOf(path, source).length;
      expect(`${path}: ${count >= new Set(wanted).size}`).toBe(`${path}: true`);
    }
  });
});

describe("the checks themselves", () => {
  const read = (files: Record<string, string>) => allImports(new Map(Object.entries(files)));

  test("an import that points upwards is named with file and line", () => {
    const wrong = wrongDirections(
      read({
        "src/workflow/model.ts":
          '\nimport { z } from "zod";\nimport type {\n  Verb,\n} from "../protocol/verbs.ts";\n',
        "src/agent/agent.ts": 'const x = await import("../principal/principal.ts");\n',
        "src/protocol/client.ts": '// import("../cli/main.ts")\nimport { Dealer } from "../zmq/index.ts";\n',
      }),
    );
    expect(wrong).toEqual([
      "src/workflow/model.ts:5 imports src/protocol/verbs.ts, but workflow may not import protocol",
      "src/agent/agent.ts:1 imports src/principal/principal.ts, but agent may not import principal",
    ]);
  });

  test("two folders of a room that import each other are found", () => {
    const files = read({
      "src/tui/keys/a.ts": 'import "../views/b.ts";\n',
      "src/tui/views/b.ts": 'import "../state.ts";\n',
      "src/tui/views/c.ts": '\nimport "../keys/d.ts";\n',
      "src/tui/state.ts": 'import "./views/c.ts";\n',
    });
    expect(cycles(foldersInRooms(files)).flat()).toMatchObject([
      { from: "src/tui/keys/a.ts", to: "src/tui/views" },
      { from: "src/tui/views/c.ts", line: 2, to: "src/tui/keys" },
    ]);
  });

  test("two rooms that may import each other are found", () => {
    const found = cycles(roomsAsFiles({ a: ["b"], b: ["c", "d"], c: ["a"], d: [] }));
    expect(found.map((cycle) => cycle.map((step) => step.from))).toEqual([["a", "b", "c"]]);
  });

  test("a way from the agent to DuckDB is shown step by step", () => {
    const found = agentReachesHistory(
      read({
        "src/agent/agent.ts": 'import { a } from "../storage/a.ts";\n',
        "src/storage/a.ts": 'export { b } from "./b.ts";\n',
        "src/storage/b.ts": 'const duck = await import("@duckdb/node-api");\n',
      }),
    );
    expect(found).toHaveLength(1);
    expect(found[0]).toContain("src/storage/b.ts:1 imports @duckdb/node-api");
    expect(found[0]).toContain("src/agent/agent.ts:1 imports src/storage/a.ts");
  });

  test("a cycle is found, once", () => {
    const found = cycles(
      read({
        "src/a.ts": 'import "./b.ts";\n',
        "src/b.ts": 'import type { C } from "./c.ts";\nimport "./d.ts";\n',
        "src/c.ts": 'export * from "./a.ts";\n',
        "src/d.ts": "export const d = 1;\n",
      }),
    );
    expect(found.map((cycle) => cycle.map((step) => step.from))).toEqual([
      ["src/a.ts", "src/b.ts", "src/c.ts"],
    ]);
  });

  test("a file that nothing imports is not reached, a worker named by URL is", () => {
    const reached = reachable(
      ["src/main.ts"],
      read({
        "src/main.ts": 'new Worker(new URL("./worker.ts", import.meta.url).href);\n',
        "src/worker.ts": "",
        "src/dead.ts": 'import "./worker.ts";\n',
      }),
    );
    expect([...reached.keys()]).toEqual(["src/main.ts", "src/worker.ts"]);
  });
});

/** Numbers of the lines that pause, or wait until a clock says so, and that no comment above explains. */
function unexplainedWaits(source: string): number[] {
  const lines = source.split("\n");
  const clock = "\\b(?:Date|performance)\\.now\\(\\)";
  const waits = new RegExp(`\\bBun\\.sleep\\(|${clock}(?: *[-+] *[\\w.]+)? *[<>]|(?<!=)[<>]=? *${clock}`);
  return lines.flatMap((line, at) => {
    const isSaid = lines.slice(Math.max(0, at - 3), at).some((above) => /^\s*(\/\/|\/?\*)/.test(above));
    return waits.test(line) && !/\bexpect\(/.test(line) && !isSaid ? [at + 1] : [];
  });
}

test("tests wait for events: each pause, and each look at a clock to wait for it, says in a comment above what it is for", () => {
  const unsaid = [...new Bun.Glob("test/**/*.ts").scanSync({ cwd: ROOT })].flatMap((path) =>
    unexplainedWaits(readFileSync(join(ROOT, path), "utf8")).map((line) => `${path}:${line}`),
  );
  expect(unsaid.filter((place) => !place.startsWith("test/architecture"))).toEqual([]);
});

test.each([
  ["await Bun.sleep(10);", [1]],
  ["// The signal must arrive first.\nawait Bun.sleep(10);", []],
  ['await until("later", () => Date.now() > began + 20);', [1]],
  ['await until("later", async () => {\n  return performance.now() - since > 500;\n});', [2]],
  ["while (end >= performance.now());", [1]],
  ["expect(performance.now() - began).toBeLessThan(1);\nconst at = () => Date.now();", []],
])("the check of pauses: %p", (source, found) => {
  expect(unexplainedWaits(source)).toEqual(found);
});

/** Files that set timers of the runtime; everything else uses src/timer.ts, so that a service ends its timers. Each with the reason. */
const TIMERS: Readonly<Record<string, string>> = {
  "src/clock.ts": "the clock behind all timers",
  "src/zmq/reactor.ts": "its timers decide whether the process stays alive, which those of a clock always do",
  "src/sdk/examples/file-watcher.ts": "an example: users have the runtime's timers",
  "src/sdk/examples/ship-logs.ts": "an example: users have the runtime's timers",
};

test("timers come from src/timer.ts", () => {
  const sets = /\bset(?:Timeout|Interval)\(|\bBun\.sleep\(|\btimers\/promises\b/;
  const found = [...sources].filter(([, source]) => sets.test(source)).map(([path]) => path);
  expect(found).toEqual(Object.keys(TIMERS).sort());
});

/**
 * Files that write to a terminal; everything else goes through them, so that text of others passes src/terminal/foreign-text.ts.
 * Each with what it writes.
 */
const WRITERS: Readonly<Record<string, string>> = {
  "src/cli/support/report.ts": "messages on stderr",
  "src/cli/support/stdout.ts": "output",
  "src/log.ts": "cdktr's own log",
  "src/tui/screen/terminal.ts": "the cells of the terminal UI, which hold no control characters",
  "src/cli/doctor.ts": "a progress line of its own words",
  "src/cli/init/dialogue.ts": "a token that it made, and the cursor",
  "src/host/file-helper/helper.ts": "answers to its parent, through a pipe",
  "src/agent/task-starter.ts": "why a task cannot start, into the task's log",
};

test("only the writers write to a terminal", () => {
  const writes =
    /\bprocess\.(?:stdout|stderr)\.write\b|\bwriteSync\((?:1|2|STD\w*),|\bconsole\.\w+\(|\bBun\.std(?:out|err)\b/;
  const found = [...sources]
    .filter(([path, source]) => writes.test(source) && !path.startsWith("src/sdk/"))
    .map(([path]) => path)
    .filter((path) => !Object.hasOwn(WRITERS, path));
  expect(found).toEqual([]);
});
