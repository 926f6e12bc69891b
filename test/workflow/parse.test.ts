import { describe, expect, test } from "bun:test";
import { WorkflowDefinition } from "../../src/workflow/model.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { definitionOf, diagnosticsOf, randomNumbers } from "./support.ts";

const FULL = `name: Data Pipeline               # required
description: |
  Two lines
  of text
cron: "0 0 2 * * *"               # optional: 6 fields, seconds first; 5 fields work too
timezone: Europe/London
start_time: 2025-01-20T02:00:00+01:00
catchup: all
failover: never
timeout: 1h30m
env:
  LEVEL: 5
  EMPTY: ""
params:
  day: "2024-01-01"
  version: 1.10
  region: {description: Where}
  size: {description: How much, default: 10}
  needed:
tasks:
  extract:
    name: Extract
    description: Reads
    config:
      !Subprocess
      cmd: python
      args: ["scripts/extract.py", 1.10, true, 010, "x y", ~]
      working_directory: ./pipeline
    retry: {max_attempts: 3, delay: 10s, backoff: exponential}
    timeout: 90s
    env: {LEVEL: 6}
  transform:
    name: Transform
    depends: ["extract"]
    config:
      !UvPython
      script_path: scripts/transform.py
      packages: ["pandas>=2.3.1"]
      is_uv_project: false
      working_directory: ./pipeline
      uv_path: /usr/local/bin/uv
    retry: {max_attempts: 2}
  10:
    name: ten
    depends: [transform, extract]
    config: !Subprocess {cmd: echo}
  2:
    name: two
    config: !UvPython
      script_path: x.py
      is_uv_project: true
`.replace(", ~]", "]");

describe("a valid file", () => {
  test("becomes the definition, every key of it", () => {
    expect(definitionOf(FULL)).toEqual({
      id: "test",
      name: "Data Pipeline",
      description: "Two lines\nof text\n",
      cron: "0 0 2 * * *",
      timezone: "Europe/London",
      start_time_ms: Date.UTC(2025, 0, 20, 1),
      catchup: "all",
      failover: "never",
      timeout_ms: 5_400_000,
      env: { LEVEL: "5", EMPTY: "" },
      params: {
        day: { description: null, default: "2024-01-01" },
        version: { description: null, default: "1.10" },
        region: { description: "Where", default: null },
        size: { description: "How much", default: "10" },
        needed: { description: null, default: null },
      },
      tasks: [
        {
          id: "extract",
          name: "Extract",
          description: "Reads",
          depends: [],
          config: {
            type: "Subprocess",
            cmd: "python",
            args: ["scripts/extract.py", "1.10", "true", "010", "x y"],
            working_directory: "./pipeline",
          },
          retry: { max_attempts: 3, delay_ms: 10_000, backoff: 2 },
          timeout_ms: 90_000,
          env: { LEVEL: "6" },
        },
        {
          id: "transform",
          name: "Transform",
          description: null,
          depends: ["extract"],
          config: {
            type: "UvPython",
            script_path: "scripts/transform.py",
            args: [],
            packages: ["pandas>=2.3.1"],
            is_uv_project: false,
            working_directory: "./pipeline",
            uv_path: "/usr/local/bin/uv",
          },
          retry: { max_attempts: 2, delay_ms: 1000, backoff: 1 },
          timeout_ms: null,
          env: {},
        },
        {
          id: "10",
          name: "ten",
          description: null,
          depends: ["transform", "extract"],
          config: { type: "Subprocess", cmd: "echo", args: [], working_directory: null },
          retry: { max_attempts: 1, delay_ms: 0, backoff: 1 },
          timeout_ms: null,
          env: {},
        },
        {
          id: "2",
          name: "two",
          description: null,
          depends: [],
          config: {
            type: "UvPython",
            script_path: "x.py",
            args: [],
            packages: [],
            is_uv_project: true,
            working_directory: null,
            uv_path: null,
          },
          retry: { max_attempts: 1, delay_ms: 0, backoff: 1 },
          timeout_ms: null,
          env: {},
        },
      ],
    });
  });

  test("fits the model that is stored and sent, and comes back from JSON as it was", () => {
    const definition = definitionOf(FULL);
    expect(WorkflowDefinition.parse(JSON.parse(JSON.stringify(definition)))).toEqual(definition);
  });

  test("needs a name and one task, no more", () => {
    expect(definitionOf("name: w\ntasks: {a: {name: a, config: !Subprocess {cmd: ls}}}")).toMatchObject({
      description: null,
      cron: null,
      timezone: null,
      start_time_ms: null,
      catchup: "latest",
      failover: "rerun",
      timeout_ms: null,
      env: {},
      params: {},
    });
  });

  test("may leave optional keys empty", () => {
    const text =
      "name: w\ndescription:\ncron: ~\nenv:\nparams: null\ntasks:\n  a:\n    name: a\n    depends:\n    retry:\n    config:\n      !Subprocess\n      cmd: ls\n      args:\n";
    expect(definitionOf(text)).toMatchObject({ cron: null, tasks: [{ depends: [] }] });
  });

  test("may start with a byte order mark and have the line ends of Windows", () => {
    const text =
      "\ufeffname: w\r\ntasks:\r\n  a:\r\n    name: a\r\n    config: !Subprocess\r\n      cmd: ls\r\n";
    expect(definitionOf(text).tasks[0]?.config).toMatchObject({ cmd: "ls" });
    expect(diagnosticsOf(text.replace("cmd", "cdm")).find((found) => found.code === "E010")).toMatchObject({
      line: 6,
      column: 7,
      source_line: "      cdm: ls",
    });
  });

  test("keeps the text of arguments as it is written", () => {
    const args = '[1.0, 1e3, 0x1F, 0o7, yes, "null", -1, 2025-01-20, 12345678901234567890, .5, "", ~x]';
    const text = `name: w\ntasks: {a: {name: a, config: !Subprocess {cmd: ls, args: ${args}}}}`;
    expect(definitionOf(text).tasks[0]?.config).toHaveProperty(
      "args",
      "1.0|1e3|0x1F|0o7|yes|null|-1|2025-01-20|12345678901234567890|.5||~x".split("|"),
    );
  });

  test("takes anchors, aliases and merge keys, also for a whole config", () => {
    const text = `name: w
env: &common {A: "1", B: "2"}
tasks:
  a:
    name: a
    env: *common
    retry: &twice {max_attempts: 2}
    config: &list
      !Subprocess
      cmd: ls
  b:
    name: b
    retry: *twice
    config: *list
    env:
      <<: *common
      B: "3"
  c:
    name: c
    config: *list
    env:
      <<: [*common, {C: "4"}]
`;
    const { tasks } = definitionOf(text);
    expect(tasks.map((task) => task.env)).toEqual([
      { A: "1", B: "2" },
      { B: "3", A: "1" },
      { A: "1", B: "2", C: "4" },
    ]);
    expect(tasks[1]?.config).toEqual({ type: "Subprocess", cmd: "ls", args: [], working_directory: null });
    expect(tasks[1]?.retry.max_attempts).toBe(2);
  });

  test("may name tasks and parameters like JavaScript's own properties", () => {
    const text =
      "name: w\nparams: {constructor: x, toString: y}\ntasks:\n  constructor: {name: a, config: !Subprocess {cmd: ls}}\n  hasOwnProperty: {name: b, depends: [constructor], config: !Subprocess {cmd: ls}}\n";
    const definition = definitionOf(text);
    expect(definition.tasks.map((task) => task.id)).toEqual(["constructor", "hasOwnProperty"]);
    expect(Object.keys(definition.params)).toEqual(["constructor", "toString"]);
  });

  test("trims names and cron", () => {
    expect(
      definitionOf(
        'name: "  w "\ncron: " 0   2 * * * "\ntasks: {a: {name: a, config: !Subprocess {cmd: ls}}}',
      ),
    ).toMatchObject({ name: "w", cron: "0 2 * * *" });
  });
});

describe("parseWorkflow never throws", () => {
  const never = (text: string): void => {
    const result = parseWorkflow(text, { path: "x.yml", id: "x" });
    if (result.ok) WorkflowDefinition.parse(result.definition);
    else expect(result.diagnostics.length).toBeGreaterThan(0);
    for (const found of result.ok ? result.warnings : result.diagnostics) {
      const lines = text.split("\n").length;
      if (found.line !== null) expect(found.line).toBeWithin(1, lines + 1);
      const { source_line, source_range } = found;
      if (source_line === null || source_range === null) continue;
      expect(source_range.from).toBeWithin(0, source_line.length + 1);
      expect(source_range.to).toBeGreaterThan(source_range.from);
    }
  };

  test("whatever is done to a valid file", () => {
    const random = randomNumbers(20250120);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    const pieces = [
      ..."{}[]:,&*!|>'\"%@`#?-~\t\n\r \\\0\x01\x7f\u{1F600}\ufeff\u2028äß".split(""),
      ...[
        "<<: *a",
        "&a",
        "*a",
        "!!",
        "!Subprocess",
        "!UvPython",
        "---\n",
        "...\n",
        "? ",
        "- ",
        ": ",
        "null",
        "__proto__: ",
      ],
      ...[
        "tasks:",
        "config:",
        "depends: [extract]",
        "name:",
        "1e999",
        "0x",
        "!<x>",
        "%YAML 1.1\n---\n",
        "[".repeat(80),
      ],
    ];
    const lines = FULL.split("\n");
    for (let round = 0; round < 1500; round++) {
      let text = FULL;
      for (let change = Math.floor(random() * 4); change >= 0; change--) {
        const at = Math.floor(random() * text.length);
        const length = Math.floor(random() * 30);
        switch (Math.floor(random() * 6)) {
          case 0:
            text = text.slice(0, at) + text.slice(at + length);
            break;
          case 1:
            text = text.slice(0, at) + pick(pieces) + text.slice(at);
            break;
          case 2:
            text = text.slice(0, at) + pick(pieces) + text.slice(at + 1);
            break;
          case 3:
            text = text.slice(0, at) + text.slice(at, at + length).repeat(3) + text.slice(at + length);
            break;
          case 4: {
            const own = text.split("\n");
            own.splice(
              Math.floor(random() * own.length),
              1,
              " ".repeat(Math.floor(random() * 8)) + pick(lines).trim(),
            );
            text = own.join("\n");
            break;
          }
          default:
            text = text.slice(0, at);
        }
      }
      never(text);
    }
  }, 60_000);

  test("at random bytes", () => {
    const random = randomNumbers(99);
    for (let round = 0; round < 300; round++) {
      const bytes = Uint8Array.from({ length: Math.floor(random() * 300) }, () => Math.floor(random() * 256));
      never(new TextDecoder().decode(bytes));
    }
  });

  test("at texts made to hurt a parser", () => {
    const alias = Array.from(
      { length: 30 },
      (_, i) => `a${i}: &a${i} [${`*a${i - 1},`.repeat(i === 0 ? 0 : 9)}x]`,
    );
    const texts = [
      "[".repeat(100_000),
      "{a: ".repeat(50_000),
      `${"[".repeat(5000)}${"]".repeat(5000)}`,
      "- ".repeat(100_000),
      "? ".repeat(50_000),
      "&a ".repeat(50_000),
      `a: ${"x".repeat(1_000_000)}`,
      `name: {${Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join(", ")}}`,
      alias.join("\n"),
      `name: w\ntasks:\n  a:\n    name: a\n    depends: [${Array.from({ length: 20_000 }, (_, i) => `x${i}`).join(", ")}]\n    config: !Subprocess {cmd: ls}\n`,
      `name: w\ntasks:\n${Array.from({ length: 8000 }, (_, i) => `  t${i}: {name: t, depends: [t${(i + 1) % 8000}], config: !Subprocess {cmd: ls}}\n`).join("")}`,
      `a: ${"&x [".repeat(60)}*x${"]".repeat(60)}`,
      "a: &a\n  <<: *a\n",
      "<<: [1, 2]\n",
      "? {a: b}\n: c\n",
      "%TAG ! tag:x,2000:\n---\na: !b c\n",
      "name: !!binary aGVsbG8=\n",
      "name: !!set {a, b}\n",
    ];
    for (const text of texts) never(text);
  }, 60_000);
});
