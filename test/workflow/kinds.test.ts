import { describe, expect, test } from "bun:test";
import { CUSTOM_TAGS } from "../../src/workflow/json-schema.ts";
import { factsOf, likelyTag, TASK_TAGS } from "../../src/workflow/kinds/index.ts";
import type { TaskConfig } from "../../src/workflow/model.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { definitionOf } from "./support.ts";

const configOf = (config: string): TaskConfig => {
  const [task] = definitionOf(`name: w\ntasks:\n  a:\n    name: a\n    config: ${config}\n`).tasks;
  if (task === undefined) throw new Error("there is no task");
  return task.config;
};

test.each([
  ["!Subprocess {cmd: ls, args: [-l]}", [], ["ls", "-l"]],
  [
    "!UvPython {script_path: x.py, args: [a], packages: [p, q]}",
    ["uv", "run", "--with", "p", "--with", "q"],
    ["x.py", "a"],
  ],
  ["!Shell {script: 'a; b'}", [], ["a; b"]],
  ["!Shell {script: 'a', shell: python3  -u}", ["python3", "-u"], ["a"]],
  [
    "!UvPython {script: 'x', python: '3.12', packages: [p]}",
    ["uv", "run", "--python", "3.12", "--with", "p"],
    ["x"],
  ],
  ["!Bun {code: 'f(1)', args: [a]}", ["bun"], ["f(1)", "a"]],
  ["!Bun {script_path: x.ts}", ["bun"], ["x.ts"]],
  ["!UvPython {script_path: x.py, is_uv_project: true, uv_path: /bin/uv}", ["/bin/uv", "run"], ["x.py"]],
])("%s is shown as a command", (text, runner, command) => {
  const config = configOf(text);
  const facts = factsOf(config);
  expect([facts.runner?.(config) ?? [], facts.command(config)]).toEqual([runner, command]);
});

test("a kind that only a newer version knows is shown by its tag", () => {
  const newer = { type: "Teleport", to: "Mars" } as unknown as TaskConfig;
  expect(factsOf(newer).command(newer)).toEqual(["!Teleport"]);
  expect(factsOf({ ...newer, type: "constructor" } as unknown as TaskConfig).runner).toBeUndefined();
});

test("a config without a tag is of the kind whose own keys it has", () => {
  expect(likelyTag(["cmd", "args"])).toBe("Subprocess");
  expect(likelyTag(["packages"])).toBe("UvPython");
  expect(likelyTag(["shell", "script"])).toBe("Shell");
  expect(likelyTag(["code", "args"])).toBe("Bun");
  expect(likelyTag(["script_path", "args"])).toBe("UvPython");
  expect(likelyTag(["script"])).toBe("Shell");
  expect(likelyTag(["cmd", "script_path", "packages"])).toBe("UvPython");
  expect(likelyTag(["args", "working_directory", "nonsense"])).toBeNull();
});

test("editors are told of every tag", () => {
  expect(JSON.parse(CUSTOM_TAGS)).toEqual(TASK_TAGS.flatMap((tag) => [`!${tag} mapping`, `!${tag} scalar`]));
});

describe("a script", () => {
  test("has braces as they are, where $${{ stands for ${{", () => {
    const text = 'tasks:\n  a:\n    run: |\n      echo "$${{ a }}" {{.Names}} $$\n';
    expect(definitionOf(text).tasks[0]?.config).toMatchObject({
      script: 'echo "${{ a }}" {{.Names}} $$\n',
    });
    for (const kind of ["Shell {script", "Bun {code", "UvPython {script"]) {
      const [tag = "", key = ""] = kind.split(" {");
      const config = definitionOf(`tasks: {a: {config: !${tag} {${key}: "f'$\${{x}}'"}}}`).tasks[0]?.config;
      expect(config).toMatchObject({ [key]: "f'${{x}}'" });
    }
  });
});

describe("run", () => {
  const tasksOf = (text: string) => definitionOf(text).tasks;

  test("the shortest workflow is short for the long form", () => {
    const [short] = tasksOf("tasks:\n  hello:\n    run: echo hello\n");
    expect(short).toEqual({
      id: "hello",
      name: "hello",
      description: null,
      depends: [],
      config: { type: "Shell", script: "echo hello", shell: null, working_directory: null },
      retry: { max_attempts: 1, delay_ms: 0, backoff: 1 },
      timeout_ms: null,
      env: {},
    });
    const long = tasksOf("tasks:\n  hello:\n    config: !Shell {script: echo hello}\n");
    expect(long[0]).toEqual(short);
  });

  test("takes an interpreter and a working directory", () => {
    const text = "tasks:\n  a:\n    run: x\n    shell: ' python3   -u '\n    working_directory: w\n";
    expect(tasksOf(text)[0]?.config).toEqual({
      type: "Shell",
      script: "x",
      shell: "python3 -u",
      working_directory: "w",
    });
    const long = "tasks:\n  a:\n    config: !Subprocess {cmd: ls}\n    working_directory: w\n";
    expect(tasksOf(long)[0]?.config).toMatchObject({ cmd: "ls", working_directory: "w" });
  });

  test("has the line ends of Unix, whatever the file has", () => {
    const text = "tasks:\r\n  a:\r\n    run: |\r\n      one\r\n      two\r\n";
    expect(tasksOf(text)[0]?.config).toMatchObject({ script: "one\ntwo\n" });
  });

  test.each([
    ["run: x", 3],
    ["config: !Bun {code: x}", 3],
    ["config: !UvPython {script: x}", 3],
    ["config: !UvPython {script_path: x, python: '3.12'}", 3],
    ["config: !UvPython {script_path: x}", 1],
    ["config: !Shell {script: x}", 3],
    ["config: !Subprocess {cmd: x}\n    stdin: y", 3],
    ["config: !Subprocess {cmd: x}\n    env_file: y", 3],
    ["config: !Subprocess {cmd: x}\n    grace: 1s", 3],
    ["config: !Subprocess {cmd: x}\n    user: etl", 3],
    ["config: !Subprocess {cmd: x}\n    limits: {cpu: 1}", 3],
    // An old key that may be written in a new place.
    ["config: !Subprocess {cmd: x}\n    working_directory: y", 1],
  ])("%s is for agents of protocol %d", (text, protocol) => {
    expect(planOf(definitionOf(`tasks:\n  a:\n    ${text}\n`)).protocol).toBe(protocol);
  });
});
