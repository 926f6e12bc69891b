/** The stored form of definitions can be read back, also by older and newer versions. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LANGUAGE_SINCE } from "../../src/contract/version.ts";
import { readDefinition, type WorkflowDefinition } from "../../src/workflow/model.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { definitionOf, randomDag, randomNumbers } from "./support.ts";

const ROOT = join(import.meta.dir, "../..");
const EVERYTHING = `name: Everything
description: all keys
cron: "0 2 * * *"
timezone: Europe/London
start_time: 2025-01-20T02:00:00+00:00
catchup: all
on:
  webhook: {path: /deploy, secret: env:TOKEN, method: PUT, tolerance: 1m}
  file: {glob: "in/*.csv", events: [deleted], settle: 2s, catchup: none}
  workflow: {id: etl.daily, status: [FAILED, CRASHED]}
failover: never
timeout: 1h30m
env: {A: 1, B: x}
params:
  day: {description: the day}
  region: eu
tasks:
  10:
    name: Ten
    config: !Subprocess {cmd: ls, args: [-l, 1.10], working_directory: work}
  2:
    name: Two
    description: the second
    depends: ["10"]
    config: !UvPython
      script_path: x.py
      args: [a]
      packages: [pandas]
      is_uv_project: false
      working_directory: work
      uv_path: /usr/bin/uv
    retry: {max_attempts: 3, delay: 5s, backoff: exponential}
    timeout: 5m
    env: {C: z}
`;

const FILES = [
  ...[...new Bun.Glob("workflows/**/*.{yml,yaml}").scanSync(ROOT)]
    .sort()
    .map((path) => [path, readFileSync(join(ROOT, path), "utf8")] as const),
  ["a file with every key", EVERYTHING] as const,
  ...Array.from({ length: 20 }, (_, seed) => [`generated file ${seed}`, generated(seed)] as const),
];

/** Hashes of texts and of the definitions that cdktr 0.2 stored for them. */
const PINNED: Readonly<Record<string, readonly [text: string, definition: string]>> = JSON.parse(
  readFileSync(join(import.meta.dir, "pinned-definitions.json"), "utf8"),
);
const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

/** A file in which each key is there or not. */
function generated(seed: number): string {
  const random = randomNumbers(seed);
  const maybe = (...lines: string[]) => (random() < 0.5 ? lines : []);
  const tasks = randomDag(random, 1 + Math.floor(random() * 30), 3).flatMap(({ id, depends }) => [
    `  ${id}:`,
    `    name: Task ${id}`,
    ...maybe(`    depends: [${depends.join(", ")}]`),
    ...maybe("    timeout: 90s"),
    ...maybe("    retry: {max_attempts: 2}"),
    ...maybe("    env: {A: x, B: '1'}"),
    random() < 0.5 ? "    config: !Subprocess {cmd: ls}" : "    config: !UvPython {script_path: x.py}",
  ]);
  return [
    "name: Generated",
    ...maybe("cron: '*/5 * * * *'"),
    ...maybe("on:", "  file: {glob: x}"),
    ...maybe("params:", "  a: 1", "  b:"),
    "tasks:",
    ...tasks,
    "",
  ].join("\n");
}

describe("a file that uses nothing new", () => {
  test.each(FILES.filter(([path, text]) => PINNED[path]?.[0] === hashOf(text)))(
    "is stored as by an older cdktr: %s",
    (path, text) => {
      const definition = definitionOf(text);
      expect(hashOf(JSON.stringify(definition))).toBe(PINNED[path]?.[1] ?? "");
      // Any agent can have it.
      expect(planOf(definition).protocol).toBe(1);
    },
  );

  test("is among those", () => {
    const same = FILES.filter(([path, text]) => PINNED[path]?.[0] === hashOf(text));
    expect(same.length).toBeGreaterThanOrEqual(25);
  });
});

test("a name that is left out is the id", () => {
  const named = definitionOf("name: test\ntasks:\n  a:\n    name: a\n    config: !Subprocess {cmd: ls}\n");
  const nameless = definitionOf("tasks:\n  a:\n    config: !Subprocess {cmd: ls}\n");
  expect(JSON.stringify(nameless)).toBe(JSON.stringify(named));
  // The slow reader says the same, and an empty name is none.
  const slow = definitionOf("name:\ntasks: {a: {name: null, config: !Subprocess {cmd: 'ls'}}} # …\n");
  expect(JSON.stringify(slow)).toBe(JSON.stringify(named));
});

describe("the protocol that an agent needs", () => {
  const text = "tasks:\n  a:\n    config: !Subprocess {cmd: ls}\n";
  const stored = (change: (definition: ReturnType<typeof JSON.parse>) => object) => {
    const definition = JSON.parse(JSON.stringify(definitionOf(text)));
    return planOf(readDefinition(JSON.stringify(change(definition)))).protocol;
  };
  const ofTask = (change: (task: ReturnType<typeof JSON.parse>) => object) =>
    stored((definition) => ({ ...definition, tasks: [change(definition.tasks[0])] }));

  test("is the first for what every agent knows, and that of the language for the rest", () => {
    const newest = LANGUAGE_SINCE;
    expect(stored((definition) => definition)).toBe(1);
    expect(stored((definition) => ({ ...definition, priority: 5 }))).toBe(1);
    expect(stored((definition) => ({ ...definition, language: 2 }))).toBe(newest);
    expect(ofTask((task) => task)).toBe(1);
    expect(ofTask((task) => ({ ...task, grace_ms: 5 }))).toBe(newest);
    expect(ofTask((task) => ({ ...task, retry: { ...task.retry, jitter: 0.1 } }))).toBe(newest);
    expect(ofTask((task) => ({ ...task, config: { ...task.config, stdin: "x" } }))).toBe(newest);
    expect(ofTask((task) => ({ ...task, config: { type: "Teleport", to: "x" } }))).toBe(newest);
  });
});

describe("readDefinition", () => {
  test.each(FILES)("reads what was stored of %s", (_, text) => {
    const definition = definitionOf(text);
    const json = JSON.stringify(definition);
    expect(readDefinition(json)).toEqual(definition);
    // The same text has the same hash.
    expect(JSON.stringify(readDefinition(json))).toBe(json);
  });

  test("reads the definitions of databases of version 0.1, and would store them the same", () => {
    const sql = readFileSync(join(ROOT, "test/upgrade/v0.1/state.sql"), "utf8");
    const stored = [...sql.matchAll(/^INSERT INTO definitions VALUES \('[0-9a-f]+', '(.*)'\);$/gm)];
    expect(stored.length).toBeGreaterThan(0);
    for (const [, escaped = ""] of stored) {
      const json = escaped.replaceAll("''", "'");
      expect(JSON.stringify(readDefinition(json))).toBe(json);
    }
  });

  test("gives each key that an older version did not write its default", () => {
    const whole = definitionOf(
      "name: w\ntasks:\n  a:\n    name: a\n    config: !UvPython {script_path: x}\n",
    );
    const task = { id: "a", name: "a", config: { type: "UvPython", script_path: "x" } };
    expect(readDefinition(JSON.stringify({ id: "test", name: "w", tasks: [task] }))).toEqual(whole);

    const on = { webhook: { path: "/d", secret: "none" }, file: { glob: "x" }, workflow: { id: "w" } };
    const older = { id: "test", name: "w", on, params: { p: {} }, tasks: [task] };
    expect(readDefinition(JSON.stringify(older))).toMatchObject({
      on: {
        webhook: { method: "POST", tolerance_ms: 300_000 },
        file: { events: ["created", "changed"], settle_ms: 500, catchup: "all" },
        workflow: { status: ["COMPLETED"] },
      },
      params: { p: { description: null, default: null } },
    });
  });

  test("keeps what a newer version added: keys, words and kinds of tasks", () => {
    const newer = JSON.parse(JSON.stringify(definitionOf(EVERYTHING)));
    newer.priority = 5;
    newer.failover = "elsewhere";
    newer.on.calendar = { name: "workdays" };
    newer.on.webhook.roles = ["operator"];
    newer.params.day.type = "date";
    newer.tasks[0].grace_ms = 5000;
    newer.tasks[0].config.stdin = "x";
    newer.tasks[0].retry.jitter = 0.2;
    newer.tasks[1].config = { type: "Teleport", to: "Mars", expect: { arms: [2] } };
    const read: unknown = readDefinition(JSON.stringify(newer));
    expect(read).toEqual(newer);
  });

  test.each<[string, (definition: WorkflowDefinition) => unknown]>([
    ["is not JSON", () => "{"],
    ["has no tasks", (definition) => JSON.stringify({ ...definition, tasks: [] })],
    [
      "has an id that no log line can carry",
      (definition) => JSON.stringify({ ...definition, id: "a\u0001b" }),
    ],
    [
      "lacks what a known kind needs",
      (definition) => JSON.stringify(definition).replace('"cmd"', '"command"'),
    ],
    [
      "has a text where a number belongs",
      (definition) => JSON.stringify({ ...definition, timeout_ms: "5m" }),
    ],
  ])("says that a definition is damaged that %s", (_, damaged) => {
    expect(() => readDefinition(String(damaged(definitionOf(EVERYTHING))))).toThrow(
      "stored definition is damaged: ",
    );
  });
});
