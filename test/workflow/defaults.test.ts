/** Defaults of a workflow, and of the directories that its file is in. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { mergeDefaults } from "../../src/workflow/defaults.ts";
import { SettingsFiles } from "../../src/workflow/load.ts";
import type { Defaults, WorkflowDefinition } from "../../src/workflow/model.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { directoriesOf, isSettingsFile, parseSettings } from "../../src/workflow/settings-file.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

const TASKS = `tasks:
  plain:
    config: !Subprocess {cmd: ls}
  own:
    retry: {max_attempts: 1}
    timeout: 1h
    background: leave
    runs_on: {}
    env: {A: own}
    config: !Subprocess {cmd: ls}
`;

/** What the settings of a directory say. */
function settings(text: string): Defaults | undefined {
  const result = parseSettings(text, "_cdktr.yml", true);
  if (result.ok) return result.settings.defaults;
  throw new Error(JSON.stringify(result.diagnostics));
}

function parsed(text: string, defaults?: Defaults): WorkflowDefinition {
  const result = parseWorkflow(text, { path: "test.yml", id: "test", defaults });
  if (result.ok) return result.definition;
  throw new Error(JSON.stringify(result.diagnostics));
}

const ALL = `defaults:
  retry: {max_attempts: 3, delay: 5s}
  timeout: 10m
  background: wait
  runs_on: {zone: eu}
  env: {A: default, B: default}
`;

/** Of the quick reader, and of the one that knows all of YAML. */
describe.each([
  ["plain", ""],
  ["complete", "# …\n"],
])("defaults of a workflow, by the %s reader", (_, head) => {
  test("are what its tasks do that do not say it themselves", () => {
    const { env, runs_on, tasks } = parsed(`${head}${ALL}${TASKS}`);
    expect(env).toEqual({ A: "default", B: "default" });
    expect(runs_on).toEqual({ zone: "eu" });
    expect(tasks).toMatchObject([
      {
        id: "plain",
        retry: { max_attempts: 3, delay_ms: 5000, backoff: 1 },
        timeout_ms: 600_000,
        background: "wait",
        env: {},
      },
      {
        id: "own",
        retry: { max_attempts: 1 },
        timeout_ms: 3_600_000,
        background: "leave",
        runs_on: {},
        env: { A: "own" },
      },
    ]);
    expect(tasks[0]).not.toHaveProperty("runs_on");
  });

  test("give way to what the workflow says", () => {
    const { env, runs_on } = parsed(`${head}${ALL}env: {B: workflow}\nruns_on: {gpu: true}\n${TASKS}`);
    expect(env).toEqual({ A: "default", B: "workflow" });
    expect(runs_on).toEqual({ gpu: "true" });
  });

  test("are not stored, and any agent can have the run", () => {
    const definition = parsed(`${head}${ALL}${TASKS}`);
    expect(definition).not.toHaveProperty("defaults");
    expect(planOf(definition).protocol).toBe(1);
    // As if each task had said so.
    const spelled = parsed(`${head}env: {A: default, B: default}
runs_on: {zone: eu}
tasks:
  plain:
    config: !Subprocess {cmd: ls}
    retry: {max_attempts: 3, delay: 5s}
    timeout: 10m
    background: wait
${TASKS.split("\n").slice(3).join("\n")}`);
    expect(definition).toEqual(spelled);
    expect(parsed(`${head}defaults:\n${TASKS}`)).toEqual(parsed(`${head}${TASKS}`));
    expect(parsed(`${head}defaults: {}\n${TASKS}`)).toEqual(parsed(`${head}${TASKS}`));
  });
});

test("defaults of scripts, and of where tasks run", () => {
  const { tasks } = parsed(`defaults: {shell: python3 -u, working_directory: work, grace: 1m}
tasks:
  plain:
    run: print(1)
  own:
    run: ls
    shell: bash
    working_directory: here
    grace: 1s
  program:
    config: !Subprocess {cmd: ls}
`);
  expect(tasks).toMatchObject([
    { config: { shell: "python3 -u", working_directory: "work" }, grace_ms: 60_000 },
    { config: { shell: "bash", working_directory: "here" }, grace_ms: 1000 },
    { config: { type: "Subprocess", working_directory: "work" }, grace_ms: 60_000 },
  ]);
  expect(tasks[2]?.config).not.toHaveProperty("shell");
});

test("a task that no agent executes takes no defaults that have no effect in it", () => {
  const { tasks } = parsed(`${ALL}tasks:
  pause:
    config: !Wait {for: 1h}
  work:
    run: ls
`);
  expect(tasks).toMatchObject([
    { id: "pause", timeout_ms: null, retry: { max_attempts: 1 } },
    { id: "work", timeout_ms: 600_000, retry: { max_attempts: 3 } },
  ]);
  expect(tasks[0]).not.toHaveProperty("background");
});

test("defaults of a workflow may be expressions; its env has those of its directory", () => {
  const definition = parsed(
    `params: {limit: 5m}
defaults: {timeout: "\${{ params.limit }}", env: {A: "\${{ params.limit }}"}}
tasks:
  plain:
    config: !Subprocess {cmd: ls, args: ["\${{ env.A }}", "\${{ env.OUTER }}"]}
  own:
    timeout: 1h
    run: ls
`,
    { env: { OUTER: "x" }, shell: null, working_directory: null },
  );
  expect(definition).toMatchObject({
    language: 2,
    env: { OUTER: "x", A: "${{ params.limit }}" },
    tasks: [{ timeout_ms: null, templates: { timeout: "${{ params.limit }}" } }, { timeout_ms: 3_600_000 }],
  });
  expect(definition.tasks[1]).not.toHaveProperty("templates");
});

describe("defaults of directories", () => {
  test("apply to what the workflow and its own defaults leave out", () => {
    const outer = settings(ALL);
    expect(parsed(TASKS, outer)).toEqual(parsed(`${ALL}${TASKS}`));
    const { env, tasks } = parsed(`defaults: {timeout: 1m, env: {B: own}}\n${TASKS}`, outer);
    expect(env).toEqual({ A: "default", B: "own" });
    expect(tasks[0]).toMatchObject({ timeout_ms: 60_000, retry: { max_attempts: 3 } });
  });

  test("are merged: the nearest counts, variables one by one", () => {
    const outer = settings(ALL);
    const inner = settings("defaults: {retry: {max_attempts: 5}, env: {B: inner, C: inner}}\n");
    expect(mergeDefaults(outer, inner)).toEqual({
      shell: null,
      working_directory: null,
      retry: { max_attempts: 5, delay_ms: 1000, backoff: 1 },
      timeout_ms: 600_000,
      background: "wait",
      runs_on: { zone: "eu" },
      env: { A: "default", B: "inner", C: "inner" },
    });
    const template = { templates: { timeout: "${{ params.limit }}" }, shell: null, working_directory: null };
    const both = mergeDefaults(outer, template);
    expect(both).toMatchObject({ retry: { max_attempts: 3 }, templates: template.templates });
    expect(both).not.toHaveProperty("timeout_ms");
    expect(mergeDefaults(template, outer)).toEqual(outer as Defaults);
    expect(mergeDefaults(undefined, inner)).toBe(inner);
    expect(mergeDefaults(outer, undefined)).toBe(outer);
    expect(settings("defaults: {}\n")).toEqual({ shell: null, working_directory: null });
    expect(settings("defaults:\n")).toBeUndefined();
  });

  test("are read from the root down", () => {
    expect(["a.yml", "etl/a.yml", "etl/eu/a.yml"].map(directoriesOf)).toEqual([
      [""],
      ["", "etl"],
      ["", "etl", "etl/eu"],
    ]);
    using directory = new TemporaryDirectory();
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(directory.root, path)), { recursive: true });
      writeFileSync(join(directory.root, path), text);
    };
    write("_cdktr.yml", "defaults: {timeout: 1m, env: {A: root, B: root}}\n");
    write("etl/_cdktr.yaml", "defaults: {env: {B: etl}}\n");
    write("etl/eu/_cdktr.yml", "defaults: {timeout: soon}\n");
    const files = new SettingsFiles();
    expect(files.defaultsOf(directory.root, "a.yml")).toMatchObject({
      timeout_ms: 60_000,
      env: { A: "root", B: "root" },
    });
    const ofEtl = { timeout_ms: 60_000, env: { A: "root", B: "etl" } };
    expect(files.defaultsOf(directory.root, "etl/a.yml")).toMatchObject(ofEtl);
    // Invalid settings say nothing.
    expect(files.defaultsOf(directory.root, "etl/eu/a.yml")).toMatchObject(ofEtl);
    write("etl/_cdktr.yml", "defaults: {}\n");
    expect(new SettingsFiles().check(directory.root, "etl/_cdktr.yaml")).toMatchObject({
      ok: false,
      diagnostics: [{ code: "E052", message: "the settings of this directory are in etl/_cdktr.yml" }],
    });
  });

  test("are in files of this name", () => {
    expect(["_cdktr.yml", "etl/_cdktr.yaml"].map(isSettingsFile)).toEqual([true, true]);
    expect(["cdktr.yml", "a_cdktr.yml", "_cdktr.yml/a.yml", "_cdktr/a.yml"].map(isSettingsFile)).toEqual([
      false,
      false,
      false,
      false,
    ]);
  });
});

/** What is wrong with settings: code, place, message, help. */
const WRONG: readonly [text: string, code: string, at: string, message: string, help: string | null][] = [
  ["", "E006", "1:1", "the file is empty", "delete it, or write defaults: {} if there are none"],
  [
    "defaults: {}\ntasks: {}\n",
    "E092",
    "2:1",
    'this file holds settings of its directory, not a workflow: "tasks" does not belong here',
    "give the file of a workflow another name",
  ],
  [
    "name: x\n",
    "E092",
    "1:1",
    'this file holds settings of its directory, not a workflow: "name" does not belong here',
    "give the file of a workflow another name",
  ],
  ["timeout: 5m\n", "E092", "1:1", '"timeout" does not belong here', 'write it below "defaults:"'],
  ["env: {A: x}\n", "E092", "1:1", '"env" does not belong here', 'write it below "defaults:"'],
  ["default: {}\n", "E010", "1:1", 'unknown key "default"', 'did you mean "defaults"?'],
  ["- a\n", "E012", "1:1", "the settings of a directory must be a mapping", 'start it with "defaults:"'],
  [
    "defaults: {tiemout: 5m}\n",
    "E010",
    "1:12",
    'unknown key "tiemout" in defaults',
    'did you mean "timeout"?',
  ],
  [
    "defaults: {retries: 2}\n",
    "E010",
    "1:12",
    'unknown key "retries" in defaults',
    'it is called "retry" here: retry: {max_attempts: 3}, which counts the first one',
  ],
  [
    "defaults: {timeout: 5}\n",
    "E043",
    "1:21",
    '"timeout" in defaults: "5" has no unit',
    'write "5s" for seconds, "5m" for minutes',
  ],
  [
    "defaults: {env: {A-B: x}}\n",
    "E053",
    "1:18",
    '"A-B" is not a valid name for an environment variable',
    "use letters, digits and _, and do not start with a digit",
  ],
  [
    'defaults: {env: {A: "${{ params.day }}"}}\n',
    "E064",
    "1:21",
    "expressions are not allowed in the settings of a directory",
    "write the default into the workflows that need it",
  ],
  [
    "pools: {warehouse: 4}\n",
    "E092",
    "1:1",
    '"pools" belongs in _cdktr.yml of the workflow directory itself',
    "move it there",
  ],
  [
    "calendars: {c: {include: SAT}}\n",
    "E092",
    "1:1",
    '"calendars" belongs in _cdktr.yml of the workflow directory itself',
    "move it there",
  ],
  [
    "defaults: {retry: {delay: 5s}}\n",
    "E011",
    "1:12",
    '"max_attempts" is missing in retry of defaults',
    null,
  ],
];

describe("mistakes in settings", () => {
  test.each(WRONG)("%j", (text, code, at, message, help) => {
    const result = parseSettings(text, "etl/_cdktr.yml", false);
    if (result.ok) throw new Error("no mistake was found");
    expect(
      result.diagnostics.map((each) => [
        each.path,
        each.code,
        `${each.line}:${each.column}`,
        each.message,
        each.help,
      ]),
    ).toEqual([["etl/_cdktr.yml", code, at, message, help]]);
  });

  test("in the defaults of a workflow are told likewise", () => {
    const found = parseWorkflow(`defaults: {tiemout: 5m}\n${TASKS}`, { path: "test.yml", id: "test" });
    expect(found).toMatchObject({
      ok: false,
      diagnostics: [{ code: "E010", message: 'unknown key "tiemout" in defaults', line: 1, column: 12 }],
    });
  });
});
