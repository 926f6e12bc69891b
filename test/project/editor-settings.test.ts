/** Editors: their settings are extended without damage, and a YAML language server understands workflow files with them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { WORKFLOW_EXAMPLES } from "../../src/docs/examples.ts";
import { findPage } from "../../src/docs/index.ts";
import { SCHEMA_PATH } from "../../src/project/answers.ts";
import {
  editorSettings,
  SETTINGS_SCHEMA_PATH,
  withEditorSettings,
} from "../../src/project/editor-settings.ts";
import { settingsJsonSchema, workflowJsonSchema } from "../../src/workflow/json-schema.ts";
import { TASK_TAGS } from "../../src/workflow/kinds/index.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { YamlLanguageServer } from "../support/yaml-language-server.ts";

const WANTED = editorSettings("workflows");
const added = (current: string | undefined) => withEditorSettings(current, WANTED);

describe("settings of VS Code", () => {
  test("are written where there are none, and twice is once", () => {
    for (const current of [undefined, "", " \n"]) expect(JSON.parse(added(current) ?? "")).toEqual(WANTED);
    const once = added("{}") ?? "";
    expect(JSON.parse(once)).toEqual(WANTED);
    expect(added(once)).toBe(once);
  });

  test("keep comments, order, indentation, line ends, other tags and other schemas", () => {
    const current = [
      "\ufeff// mine",
      "{",
      '\t"editor.tabSize": 4, // wide',
      '\t/* tags */ "yaml.customTags": ["!Ref scalar", "!Shell mapping"],',
      '\t"yaml.schemas": {',
      '\t\t"./other.json": "*.yaml", // theirs',
      "\t},",
      "}",
      "",
    ].join("\r\n");
    const text = added(current) ?? "";
    for (const kept of [
      "\ufeff// mine\r\n{",
      "// wide",
      "/* tags */",
      "// theirs",
      '"./other.json": "*.yaml"',
    ])
      expect(text).toContain(kept);
    expect(text.replaceAll("\r\n", "")).not.toContain("\n");
    expect(text).toMatch(/^\t\t"\.\/\.cdktr\/workflow\.schema\.json": \[/m);
    expect(text.match(/"!Shell mapping"/g)).toHaveLength(1);
    expect(text.match(/"!Ref scalar"/g)).toHaveLength(1);
    expect(added(text)).toBe(text);
  });

  test("that somebody has changed since stay changed", () => {
    const changed = (added(undefined) ?? "").replace('"workflows/**/*.yml"', '"etl/*.yml"');
    expect(added(changed)).toBe(changed);
  });

  test("that cannot be read are left alone", () => {
    for (const current of [
      "{",
      "[]",
      "x",
      '{"a": }',
      '{"yaml.customTags": "x"}',
      '{"yaml.schemas": []}',
      '{"yaml.schemas": null}',
    ])
      expect(added(current)).toBeNull();
  });

  test("name the files of any workflow directory", () => {
    expect(Object.values(editorSettings(".")["yaml.schemas"])[0]?.[0]).toBe("**/*.yml");
    expect(Object.values(editorSettings("a/b")["yaml.schemas"])[0]?.[0]).toBe("a/b/**/*.yml");
  });

  test("are in the manual", () => {
    const blocks = codeBlocks(findPage("editor")?.text ?? "").filter(({ language }) => language === "json");
    expect(blocks.map(({ text }) => JSON.parse(text))).toEqual([WANTED]);
  });
});

describe("a YAML language server", () => {
  let root: string;
  let server: YamlLanguageServer;
  let count = 0;

  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), "cdktr-test-"));
    for (const [path, schema] of [
      [SCHEMA_PATH, workflowJsonSchema()],
      [SETTINGS_SCHEMA_PATH, settingsJsonSchema()],
    ] as const) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), JSON.stringify(schema));
    }
    server = await YamlLanguageServer.start(root, {
      ...WANTED,
      "yaml.validate": true,
      "yaml.completion": true,
      "yaml.hover": true,
      // Nothing is asked of the network.
      "yaml.schemaStore": { enable: false },
    });
  }, 60_000);
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]();
    rmSync(root, { recursive: true, force: true });
  });

  /** What is offered where `|` is in a file. */
  async function offered(marked: string): Promise<string[]> {
    const before = marked.slice(0, marked.indexOf("|"));
    const lines = before.split("\n");
    const path = `workflows/offered-${count++}.yml`;
    await server.open(path, marked.replace("|", ""));
    return server.completions(path, lines.length - 1, lines.at(-1)?.length ?? 0);
  }

  const problems = async (text: string, name = `problem-${count++}.yml`) =>
    (await server.open(`workflows/${name}`, text)).map(({ message, line }) => `${line + 1} ${message}`);

  test("finds nothing wrong with the examples of the manual", async () => {
    const found: string[] = [];
    for (const { name, text } of WORKFLOW_EXAMPLES)
      for (const problem of await problems(text, `${name}.yml`)) found.push(`${name} ${problem}`);
    expect(found).toEqual([]);
  }, 60_000);

  test("offers keys, words and tags", async () => {
    expect(await offered("|\ntasks:\n  a: {run: x}\n")).toContain("cron");
    const task = await offered("tasks:\n  a:\n    run: x\n    |\n");
    expect(task).toEqual(expect.arrayContaining(["depends", "retry", "foreach", "runs_on"]));
    expect(task).not.toContain("cron");
    expect(await offered("catchup: |\ntasks:\n  a: {run: x}\n")).toEqual(
      expect.arrayContaining(["none", "latest", "all"]),
    );
    const conditions = await offered("tasks:\n  a: {run: x}\n  b:\n    run: y\n    depends: {a: |}\n");
    expect(conditions).toEqual(expect.arrayContaining(["completed", "failed", "skipped", "ended"]));
    expect(await offered("tasks:\n  a:\n    config: |\n")).toEqual(
      expect.arrayContaining(TASK_TAGS.map((tag) => `!${tag}`)),
    );
  }, 60_000);

  test("offers the keys of each kind of task", async () => {
    for (const [first, others] of [
      ["!Subprocess\n      cmd: x", ["args", "working_directory"]],
      ["!UvPython\n      script_path: x.py", ["packages", "python"]],
      ["!Shell\n      script: x", ["shell"]],
      ["!Http\n      url: https://x", ["method", "expect", "headers"]],
      ["!Wait\n      f", ["for", "until"]],
    ] as const) {
      const end = first.endsWith(" f") ? "|" : "\n      |";
      expect(await offered(`tasks:\n  a:\n    config: ${first}${end}\n`)).toEqual(
        expect.arrayContaining(others),
      );
    }
  }, 60_000);

  test("underlines what is wrong, and explains keys", async () => {
    expect(await problems("tsks: {}\ntasks:\n  a:\n    run: x\n    trigger: y\n    timeout: soon\n")).toEqual(
      [
        '6 String does not match the pattern of "^(?=\\d)(\\d+(\\.\\d+)?d ?)?(\\d+(\\.\\d+)?h ?)?(\\d+(\\.\\d+)?m(?!s) ?)?(\\d+(\\.\\d+)?s ?)?(\\d+ms)?$".',
        "5 Property trigger is not allowed.",
        "1 Property tsks is not allowed.",
      ],
    );
    expect(await problems("defaults: {timeot: 5m}\ntasks: {}\n", "_cdktr.yml")).toEqual([
      "1 Property timeot is not allowed.",
      "2 Property tasks is not allowed.",
    ]);
    expect(await problems("tasks:\n  a:\n    config: !Subproces {cmd: x}\n")).toEqual([
      "3 Unresolved tag: !Subproces",
    ]);
    await server.open("workflows/hover.yml", "tasks:\n  a:\n    run: x\n    max_parallel: 2\n");
    expect(await server.hover("workflows/hover.yml", 3, 6)).toContain(
      "Maximum number of items under way at once",
    );
  }, 60_000);

  test("expressions may stand where they are allowed", async () => {
    const text = `params: {n: {type: int, default: 2}, list: {type: json, default: [a, {b: c}]}}
tasks:
  a:
    run: x
    timeout: \${{ string(params.n) + "m" }}
    retry: {max_attempts: "\${{ params.n }}", jitter: "\${{ 0.1 }}", on_exit_codes: [75, 100-110]}
    foreach: \${{ params.list }}
    runs_on: {host: "\${{ item.host }}"}
    allow_failure: {exit_codes: [3]}
  b:
    config: !Http {url: "\${{ params.n }}", timeout: 5s, expect: {status: [200-299, 404]}}
`;
    expect(await problems(text)).toEqual([]);
  }, 60_000);
});
