/** The quick reader must give exactly the values of the complete one, or nothing. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { readPlainYaml } from "../../src/workflow/plain-yaml.ts";
import { type Located, readYaml } from "../../src/workflow/yaml-tree.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { randomNumbers } from "./support.ts";

const WORKFLOW = `# A comment.
name: Data Pipeline   # another
description: It says "so", it's a #hashtag, isn't it:yes
cron: "0 0 2 * * *"
timezone: Europe/London
start_time: 2025-01-20T02:00:00+00:00
env: { A: 1.10, B: 'it''s', C: "a\\tb\\n\\"c\\"", E: ~ }
params:
  day:
  other: null
  third: {description: Größe, default: x}

on:
  file: {glob: /data/*.csv, events: [created, "changed"]}
tasks:
  extract:
    name: Extract
    config:
      !Subprocess
      cmd: python
      args: ["scripts/extract.py", --all, -v, 'x y', ]
  transform:
    depends: [extract]
    config: !UvPython
        script_path: ~/x.py
        packages:
        - pandas>=2.3.1
        -   "a b"
        args:
          - -c
          - |-
            echo "one": two   # no comment

              indented
          - true
  load:
    depends: ["extract", transform]
    config: !Subprocess { cmd: sh, args: ["-c", "x; y"], working_directory: null }
    retry: {max_attempts: 3, delay: 10s}
    env:
      SCRIPT: |
        first
        # second

    timeout: 1h30m
`;

/** Values, keys in order, and tags. */
function plainly({ value, children, tag }: Located): unknown {
  const inside = [...children].map(([key, { node }]) => [key, plainly(node)]);
  return { value: JSON.stringify(value), inside, tag: tag?.name };
}

/** @returns whether the quick reader read it */
function compare(text: string): boolean {
  const plain = readPlainYaml(text);
  if (plain === undefined) return false;
  const { root, findings } = readYaml(text);
  if (root === null || findings.length > 0)
    throw new Error(`read although it is not right: ${JSON.stringify(findings)}\n${text}`);
  const [quick, whole] = [plain, root].map(plainly);
  if (!Bun.deepEquals(quick, whole))
    throw new Error(`read differently:\n${text}\n${JSON.stringify(quick)}\n${JSON.stringify(whole)}`);
  return true;
}

test("a workflow with everything that is common is read", () => {
  expect(compare(WORKFLOW)).toBe(true);
  expect(compare(`---\n${WORKFLOW}`)).toBe(true);
  expect(compare(WORKFLOW.trimEnd())).toBe(true);
});

test("the workflows of the manual and of this project give the same values", () => {
  const root = join(import.meta.dir, "../..");
  const manual = readdirSync(join(root, "src/docs"))
    .filter((name) => name.endsWith(".md"))
    .flatMap((name) => codeBlocks(readFileSync(join(root, "src/docs", name), "utf8")))
    .filter(({ language }) => language === "yaml")
    .map(({ text }) => text);
  const own = [...new Bun.Glob("workflows/**/*.yml").scanSync(root)].map((path) =>
    readFileSync(join(root, path), "utf8"),
  );
  const texts = [...manual, ...own];
  expect(texts.length).toBeGreaterThan(10);
  expect(texts.filter(compare).length / texts.length).toBeGreaterThan(0.8);
});

describe("what it does not read", () => {
  for (const text of [
    "a: &x 1\nb: *x\n",
    "a:\n  <<: {b: 1}\n",
    "a: one\n  two\n",
    "a: >\n  folded\n",
    "a: 1\na: 2\n",
    "a:\tb\n",
    "a: b: c\n",
    "a: “quoted”\n",
    "a: 'open\n",
    "a: [b,\n  c]\n",
    "a: 1\n---\nb: 2\n",
    "- a\n- b\n",
    "10: a\n2: b\n",
    "__proto__: a\n",
    "? a\n: b\n",
    "a:\r\n  b: c\r\n",
    "a: |\n  x\n y: z\n",
    "a: *\n",
    "a: @b\n",
    "a:\n  b: 1\n c: 2\n",
    "",
  ])
    test(JSON.stringify(text), () => expect(readPlainYaml(text)).toBeUndefined());
});

test("damaged texts give the same values, or are left to the complete reader", () => {
  const random = randomNumbers(11);
  const pick = <T>(from: ArrayLike<T>) => from[Math.floor(random() * from.length)] as T;
  const pieces = [
    ..." \n:-#'\"[]{},|>!&*?%@~\\.ax0",
    "\n\n",
    ": ",
    " #",
    "- ",
    "  ",
    "\n  ",
    "---\n",
    "null",
    "!T ",
  ];
  const lines = WORKFLOW.split("\n");
  let read = 0;
  for (let round = 0; round < 6000; round++) {
    const from = Math.floor(random() * lines.length);
    let text = `${lines.slice(from, from + 1 + Math.floor(random() * 9)).join("\n")}\n`;
    const indent = /^ */.exec(text)?.[0].length ?? 0;
    text = text.replaceAll(new RegExp(`^ {${indent}}`, "gm"), "");
    for (let edits = Math.floor(random() * 4); edits > 0; edits--) {
      const at = Math.floor(random() * text.length);
      const removed = random() < 0.5 ? Math.floor(random() * 4) : 0;
      text = text.slice(0, at) + (random() < 0.7 ? pick(pieces) : "") + text.slice(at + removed);
    }
    if (compare(text)) read++;
  }
  expect(read).toBeGreaterThan(1000);
});
