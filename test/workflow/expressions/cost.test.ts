/** A workflow without expressions pays nothing for them. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { LANGUAGE_SINCE } from "../../../src/contract/version.ts";
import { eventFor, expressionsOf } from "../../../src/workflow/expressions.ts";
import { planOf } from "../../../src/workflow/plan.ts";
import { definitionOf } from "../support.ts";

const ROOT = join(import.meta.dir, "../../..");

async function loadedFor(text: string): Promise<unknown> {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, "cost-child.ts")], {
    stdin: Buffer.from(text),
    stdout: "pipe",
  });
  return JSON.parse(await new Response(child.stdout).text());
}

test("what reads and evaluates them is not loaded", async () => {
  const plain = readFileSync(join(ROOT, "workflows/diamond.yml"), "utf8");
  expect(await loadedFor(plain)).toEqual({ language: null, loaded: false });
  const text = 'tasks:\n  a:\n    config: !Subprocess {cmd: echo, args: ["${{ run.id }}"]}\n';
  expect(await loadedFor(text)).toEqual({ language: 2, loaded: true });
});

test("a task without expressions is given back as it is, also beside one that has some", () => {
  const definition = definitionOf(`
env: {X: y}
tasks:
  a: {config: !Subprocess {cmd: echo, args: ["\${{ run.id }}"]}}
  b: {config: !Subprocess {cmd: echo, args: [x]}, retry: {max_attempts: 3}, env: {A: b}}
`);
  const facts = {
    params: {},
    run: {
      id: "r1",
      workflow_id: "w",
      attempt: 1,
      trigger: "cli",
      scheduled_time_ms: null,
      created_at_ms: 0,
    },
    event: {},
    env: definition.env,
  };
  const expressions = expressionsOf(definition);
  const [a, b] = definition.tasks;
  if (a === undefined || b === undefined) throw new Error("the file has two tasks");
  expect(expressions.resolveTask(b, { facts })).toBe(b);
  expect(expressions.resolveEnv({ facts })).toBe(definition.env);
  expect(expressions.resolveTask(a, { facts })).toEqual({
    ...a,
    config: { type: "Subprocess", cmd: "echo", args: ["r1"], working_directory: null },
  });
});

test("only agents that know the language get it, and one task with an expression is enough", () => {
  const fileOf = (arg: string) =>
    definitionOf(
      `tasks:\n  a: {config: !Subprocess {cmd: ls}}\n  b: {config: !Subprocess {cmd: echo, args: ["${arg}"]}}\n`,
    );
  expect(planOf(fileOf("x")).protocol).toBe(1);
  expect(planOf(fileOf("${{ run.id }}")).protocol).toBe(LANGUAGE_SINCE);
  // Older ones would pass the escape on.
  expect(planOf(fileOf("$${{ x }}")).protocol).toBe(LANGUAGE_SINCE);
});

test("of an event, a run keeps what its expressions read", () => {
  const fileOf = (args: string) =>
    definitionOf(`tasks:\n  a: {config: !Subprocess {cmd: echo, args: [${args}]}, env: {X: "\${{ 1 }}"}}\n`);
  const event = { path: "/a", size: "7", body: "{}" };
  expect(eventFor(fileOf('"x"'), event)).toBeNull();
  expect(eventFor(fileOf('"${{ trigger.path }} ${{ has(trigger.nope) }}"'), event)).toEqual({ path: "/a" });
  expect(eventFor(fileOf('"${{ trigger }}"'), event)).toEqual(event);
  expect(eventFor(fileOf('"${{ trigger.path }}"'), undefined)).toBeNull();
});

test("braces in a description are just text", () => {
  const definition = definitionOf(
    'description: see ${{ x }}\ntasks:\n  a: {name: "a ${{", config: !Subprocess {cmd: ls}}\n',
  );
  expect(definition.language).toBeUndefined();
  expect(definition.description).toBe("see ${{ x }}");
});
