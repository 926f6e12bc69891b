/** What nobody uses, as `cdktr workflow validate --strict` tells it. */
import { expect, test } from "bun:test";
import { WORKFLOW_EXAMPLES } from "../../src/docs/examples.ts";
import { unusedIn } from "../../src/workflow/check-unused.ts";
import { definitionOf } from "./support.ts";

/** `code line:column message` of each. */
function found(text: string): string[] {
  return unusedIn(definitionOf(text), text, "test.yml").map(
    ({ code, line, column, message }) => `${code} ${line}:${column} ${message}`,
  );
}

const params = (rest: string, more = "") => `params: {day: x${more}}\n${rest}`;

test("a parameter is used by an expression, or by a script that names its variable", () => {
  const unused = ['W008 1:10 the parameter "day" is used nowhere'];
  expect(found(params("tasks: {a: {run: echo}}\n"))).toEqual(unused);
  for (const task of [
    "tasks: {a: {run: 'echo $CDKTR_PARAM_DAY'}}\n",
    "tasks: {a: {run: echo, env: {D: '${{ params.day }}'}}}\n",
    "tasks: {a: {run: echo, when: '${{ size(params) > 0 }}'}}\n",
    "tasks: {a: {run: echo, foreach: '${{ [params.day] }}'}}\n",
    "tasks: {a: {run: echo}}\nhooks: {on_exit: {run: echo, timeout: '${{ params.day }}'}}\n",
    "tasks: {a: {run: echo, outputs: [x]}}\noutputs: {x: '${{ tasks.a.outputs.x + params.day }}'}\n",
    "runs_on: {zone: '${{ params.day }}'}\ntasks: {a: {run: echo}}\n",
  ])
    expect(found(params(task))).toEqual([]);
  const computed = ", to: {default: '${{ params.day }}'}";
  expect(found(params("tasks: {a: {run: 'echo $CDKTR_PARAM_TO'}}\n", computed))).toEqual([]);
});

test("a program of its own may read what it likes", () => {
  for (const config of [
    "!Subprocess {cmd: python, args: [x.py]}",
    "!UvPython {script_path: x.py}",
    "!Bun {script_path: x.ts}",
  ])
    expect(found(params(`tasks: {a: {config: ${config}}}\n`))).toEqual([]);
  const shell = "tasks: {a: {config: !Subprocess {cmd: sh, args: [-c, ls]}}}\n";
  expect(found(params(shell))).toEqual(['W008 1:10 the parameter "day" is used nowhere']);
});

test("an output that is declared is read by an expression, or by a dependent from CDKTR_INPUTS", () => {
  const tasks = (b: string, more = "") =>
    `tasks:\n  a: {run: x, outputs: [rows, files]}\n  b: {depends: [a], ${b}}\n${more}`;
  const rows = 'W011 2:25 the output "rows" of task "a" is read by nobody';
  const files = 'W011 2:31 the output "files" of task "a" is read by nobody';
  expect(found(tasks("run: y"))).toEqual([rows, files]);
  expect(found(tasks("run: y, env: {R: '${{ tasks.a.outputs.rows }}'}"))).toEqual([files]);
  expect(found(tasks("run: y, env: {R: '${{ tasks.a.outputs }}'}"))).toEqual([]);
  expect(found(tasks("run: y", "outputs: {n: '${{ tasks.a.outputs.files }}'}\n"))).toEqual([rows]);
  expect(found(tasks("run: cat $CDKTR_INPUTS/a.json"))).toEqual([]);
  expect(found(tasks("config: !Subprocess {cmd: python, args: [x.py]}"))).toEqual([]);
  const later = "  c: {depends: [b], run: cat $CDKTR_INPUTS/a.json}\n";
  expect(found(tasks("run: y", later))).toEqual([rows, files]);
  expect(found(tasks("config: !Wait {for: 1s}", later))).toEqual([]);
});

test("help says what to do", () => {
  const text = params("tasks: {a: {run: x, outputs: [n]}}\n");
  expect(unusedIn(definitionOf(text), text, "test.yml").map(({ help }) => help)).toEqual([
    "remove it, or read it: ${{ params.day }} in an expression, $CDKTR_PARAM_DAY in a script",
    "remove it from outputs, or read it: ${{ tasks.a.outputs.n }}",
  ]);
});

test("the examples of the manual use all that they declare", () => {
  expect(WORKFLOW_EXAMPLES.flatMap(({ name, text }) => found(text).map((each) => `${name} ${each}`))).toEqual(
    [],
  );
});
