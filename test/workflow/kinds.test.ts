import { expect, test } from "bun:test";
import { CUSTOM_TAGS } from "../../src/workflow/json-schema.ts";
import { factsOf, likelyTag, TASK_TAGS } from "../../src/workflow/kinds/index.ts";
import type { TaskConfig } from "../../src/workflow/model.ts";
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
  ["!UvPython {script_path: x.py, is_uv_project: true, uv_path: /bin/uv}", ["/bin/uv", "run"], ["x.py"]],
])("%s is shown as a command", (text, runner, command) => {
  const config = configOf(text);
  const facts = factsOf(config);
  expect([facts.runner?.(config) ?? [], facts.command(config)]).toEqual([runner, command]);
});

test("a kind that only a newer version knows is shown by its tag", () => {
  const newer = { type: "Http", url: "https://example.com" } as unknown as TaskConfig;
  expect(factsOf(newer).command(newer)).toEqual(["!Http"]);
  expect(factsOf({ ...newer, type: "constructor" } as unknown as TaskConfig).runner).toBeUndefined();
});

test("a config without a tag is of the kind whose own keys it has", () => {
  expect(likelyTag(["cmd", "args"])).toBe("Subprocess");
  expect(likelyTag(["packages"])).toBe("UvPython");
  expect(likelyTag(["cmd", "script_path", "packages"])).toBe("UvPython");
  expect(likelyTag(["args", "working_directory", "nonsense"])).toBeNull();
});

test("editors are told of every tag", () => {
  expect(JSON.parse(CUSTOM_TAGS)).toEqual(TASK_TAGS.map((tag) => `!${tag} mapping`));
});
