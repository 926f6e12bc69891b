import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type CommandOptions, cdktr, type Finished } from "../support/cdktr.ts";

const GOOD = "name: w\ntasks:\n  a:\n    name: a\n    config: !Subprocess {cmd: ls}\n";
const BAD = GOOD.replace("cmd:", "cdm:");
const LIMIT = 60_000;

let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "cdktr-validate-"));
  write("good/hello.yml", GOOD);
  write("good/etl/daily.yaml", GOOD);
  write("good/notes.txt", "no workflow");
  write("good/.git/config.yml", "hidden");
  write("mixed/one.yml", GOOD);
  write("mixed/two.yml", BAD);
  write("mixed/deep/three.yml", "name: w\n");
  write("twice/a.yml", GOOD);
  write("twice/a.yaml", GOOD);
  write("warned/w.yml", GOOD.replace("tasks:", "timezone: UTC\ntasks:"));
  write("settings/_cdktr.yml", "defaults: {timeout: 5m}\n");
  write("settings/etl/_cdktr.yml", "default: {timeout: 5m}\n");
  write("settings/etl/w.yml", GOOD);
  write("empty/notes.txt", "");
  write("odd names/my flow.yml", GOOD);
});
afterAll(() => rmSync(root, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

function workflow(args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
  return cdktr(["workflow", ...args], { cwd: root, ...options });
}

describe("workflow validate", () => {
  test(
    "says how many files are valid, and finds them in directories",
    async () => {
      expect(await workflow(["validate", "good"])).toEqual({
        code: 0,
        stdout: "",
        stderr: "2 files, all valid\n",
      });
      expect(
        await workflow(["validate", "good/hello.yml", "good", join(root, "good/hello.yml")]),
      ).toMatchObject({
        code: 0,
        stderr: "2 files, all valid\n",
      });
    },
    LIMIT,
  );

  test(
    "shows each mistake with its place and exits with 4",
    async () => {
      const { code, stdout, stderr } = await workflow(["validate", "mixed"]);
      expect({ code, stderr }).toEqual({ code: 4, stderr: "3 files, 2 invalid\n" });
      expect(stdout).toContain(
        [
          'mixed/two.yml:5:26: error[E010]: unknown key "cdm" in config of task "a"',
          "    5 |     config: !Subprocess {cdm: ls}",
          "      |                          ^^^",
          '      = help: did you mean "cmd"?',
        ].join("\n"),
      );
      expect(stdout).toContain('mixed/deep/three.yml:1:1: error[E011]: "tasks" is missing');
    },
    LIMIT,
  );

  test(
    "prints JSON alone with --json",
    async () => {
      const { code, stdout, stderr } = await workflow([
        "validate",
        "--json",
        "mixed/one.yml",
        "mixed/two.yml",
      ]);
      expect({ code, stderr }).toEqual({ code: 4, stderr: "" });
      expect(JSON.parse(stdout)).toMatchObject({
        files: 2,
        invalid: 1,
        warnings: 0,
        results: [
          { path: "mixed/one.yml", workflow_id: "one", valid: true, diagnostics: [] },
          {
            path: "mixed/two.yml",
            workflow_id: null,
            valid: false,
            diagnostics: [
              { code: "E011", kind: "missing-key", line: 5 },
              { code: "E010", kind: "unknown-key", line: 5, column: 26, help: 'did you mean "cmd"?' },
            ],
          },
        ],
      });
    },
    LIMIT,
  );

  test(
    "warnings are shown and change nothing",
    async () => {
      const { code, stdout, stderr } = await workflow(["validate", "warned"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "1 file, all valid, 1 warning\n" });
      expect(stdout).toContain('warned/w.yml:2:1: warning[W002]: "timezone" has no effect without cron');
    },
    LIMIT,
  );

  test(
    "notices files that want the same id, names that give none, and files that are not there",
    async () => {
      expect(await workflow(["validate", "twice"])).toMatchObject({
        code: 4,
        stdout: expect.stringContaining('twice/a.yml: error[E052]: the id "a" is already used by a.yaml'),
      });
      expect(await workflow(["validate", "odd names"])).toMatchObject({
        code: 4,
        stdout: expect.stringContaining("odd names/my flow.yml: error[E051]"),
      });
      expect(await workflow(["validate", "none.yml"])).toMatchObject({
        code: 4,
        stdout: expect.stringContaining("none.yml: error[E008]: cannot be read: it does not exist"),
        stderr: "1 file, 1 invalid\n",
      });
      expect(await workflow(["validate", "empty"])).toMatchObject({
        code: 4,
        stderr: expect.stringContaining("There are no workflow files in empty."),
      });
    },
    LIMIT,
  );

  test(
    "checks the settings of directories, which are no workflows",
    async () => {
      const { code, stdout, stderr } = await workflow(["validate", "settings"]);
      expect({ code, stderr }).toEqual({ code: 4, stderr: "3 files, 1 invalid\n" });
      expect(stdout).toBe(
        [
          'settings/etl/_cdktr.yml:1:1: error[E010]: unknown key "default"',
          "    1 | default: {timeout: 5m}",
          "      | ^^^^^^^",
          '      = help: did you mean "defaults"?',
          "",
        ].join("\n"),
      );
      // A workflow is named alone: that it is not loaded is said all the same.
      const alone = await workflow(["validate", "settings/etl/w.yml"]);
      expect(alone.code).toBe(4);
      expect(alone.stdout).toContain('settings/etl/_cdktr.yml:1:1: error[E010]: unknown key "default"');
      expect(alone.stderr).toContain("2 files, 1 invalid");
      const { stdout: json } = await workflow(["validate", "--json", "settings/_cdktr.yml"]);
      expect(JSON.parse(json).results).toEqual([
        { path: "settings/_cdktr.yml", workflow_id: null, valid: true, diagnostics: [] },
      ]);
    },
    LIMIT,
  );

  test(
    "without a path it checks the workflow directory, and ids start there",
    async () => {
      const env = { CDKTR_WORKFLOW_DIR: join(root, "good") };
      expect(await workflow(["validate"], { env })).toMatchObject({
        code: 0,
        stderr: "2 files, all valid\n",
      });
      const { stdout } = await workflow(["validate", "--json", "good/etl/daily.yaml"], { env });
      expect(JSON.parse(stdout).results[0].workflow_id).toBe("etl.daily");
    },
    LIMIT,
  );
});

describe("workflow graph", () => {
  test(
    "draws a file without a principal, within the width",
    async () => {
      write(
        "graph.yml",
        "name: g\ntasks:\n  a: &t {name: a, config: !Subprocess {cmd: ls}}\n  b: {<<: *t, depends: [a]}\n  c: {<<: *t, depends: [a, b]}\n",
      );
      const { code, stdout } = await workflow(["graph", "./graph.yml"]);
      expect(code).toBe(0);
      expect(stdout.split("\n").slice(0, 5)).toEqual([
        "   ┌───┐",
        "   │ a │",
        "   └─┬─┘",
        "  ╭──┴─╮",
        "┌─┴─┐  │",
      ]);
      const json = await workflow(["graph", "graph.yml", "--json"]);
      expect(JSON.parse(json.stdout)).toEqual({
        workflow_id: "graph",
        workflow_name: "g",
        tasks: [
          { task_id: "a", task_name: "a", depends: [], depth: 0 },
          { task_id: "b", task_name: "a", depends: ["a"], depth: 1 },
          { task_id: "c", task_name: "a", depends: ["a", "b"], depth: 2 },
        ],
      });
    },
    LIMIT,
  );

  test(
    "shows what is wrong with a file, and refuses a width that is none",
    async () => {
      const { code, stdout, stderr } = await workflow(["graph", "mixed/two.yml"]);
      expect({ code, stdout }).toEqual({ code: 4, stdout: "" });
      expect(stderr).toContain("mixed/two.yml:5:26: error[E010]");
      expect((await workflow(["graph", "good/hello.yml", "--width", "wide"])).code).toBe(2);
    },
    LIMIT,
  );
});

test(
  "workflow schema prints the JSON Schema",
  async () => {
    const { code, stdout } = await workflow(["schema"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ type: "object", required: ["tasks"] });
  },
  LIMIT,
);
