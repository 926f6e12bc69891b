/** Tasks that run other workflows, checked across files. */
import { expect, test } from "bun:test";
import { callsOf, checkCalls, locateCallProblems } from "../../src/workflow/check-calls.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";

/** The problems of these files, as they are shown, by id. */
function problemsOf(files: Readonly<Record<string, string>>, known = new Set(Object.keys(files))) {
  const definitions = Object.entries(files).map(([id, text]) => {
    const result = parseWorkflow(text, { id, path: `${id}.yml` });
    if (!result.ok) throw new Error(JSON.stringify(result.diagnostics));
    return result.definition;
  });
  const callers = definitions.map((each) => ({ ...each, calls: callsOf(each) ?? [] }));
  return Object.fromEntries(
    [...checkCalls(callers, known)].map(([id, problems]) => [
      id,
      locateCallProblems(problems, files[id] ?? "", `${id}.yml`).map(
        ({ code, line, column, message, help }) =>
          `${line}:${column} ${code} ${message}${help === null ? "" : ` → ${help}`}`,
      ),
    ]),
  );
}

const LOAD = `params:
  day: {required: true}
  days: {type: int, max: 31, default: 7}
tasks: {a: {run: "true"}}
`;

test("what is right is not mentioned", () => {
  const caller = `tasks:
  a: {config: !Workflow {workflow: load, params: {day: monday, days: 3}}}
  b: {config: !Workflow {workflow: load, params: {day: "\${{ run.id }}", days: "\${{ 1 + 1 }}"}}}
`;
  expect(problemsOf({ caller, load: LOAD })).toEqual({});
  // Files of which nothing is known, and those that are invalid.
  const other = "tasks: {a: {config: !Workflow {workflow: other}}}\n";
  expect(problemsOf({ caller: other }, new Set(["caller", "other"]))).toEqual({});
});

test("a workflow that does not exist, and parameters that do not fit", () => {
  const caller = `tasks:
  a:
    config: !Workflow
      workflow: laod
  b:
    config: !Workflow
      workflow: load
      params:
        dya: monday
        days: many
  c:
    config:
      !Workflow
      workflow: load
      params: {day: "1", days: "40"}
  d: {config: !Workflow {workflow: plain, params: {x: 1}}}
`;
  const plain = 'tasks: {a: {run: "true"}}\n';
  expect(problemsOf({ caller, load: LOAD, plain })).toEqual({
    caller: [
      '4:7 W004 task "a" runs "laod": there is no such workflow → did you mean "load"?',
      '9:9 W013 workflow "load" has no parameter "dya" → did you mean "day"?',
      '10:9 W013 parameter "days" of workflow "load" must be a whole number, not "many"',
      '6:5 W013 workflow "load" needs the parameter "day" → give it: params: {day: …}',
      '15:26 W013 parameter "days" of workflow "load" must be at most 31, not "40"',
      '16:52 W013 workflow "plain" has no parameter "x" → it has none',
    ],
  });
});

test("workflows that run each other in a circle", () => {
  const run = (id: string) => `tasks:\n  go: {config: !Workflow {workflow: ${id}}}\n`;
  const circle = (way: string) =>
    `2:27 W005 workflows run each other in a circle: ${way} → "→" means "runs"; it ends only by a condition, or when 10 runs are nested, with a failure. Remove one of these tasks`;
  expect(problemsOf({ a: run("b"), b: run("a"), own: run("own"), c: run("a") })).toEqual({
    a: [circle("a → b → a")],
    b: [circle("a → b → a")],
    own: [circle("own → own")],
  });
});

test("mistakes in the file itself", () => {
  const problems = (config: string, more = "") => {
    const text = `tasks: {a: {${more}config: !Workflow {${config}}}}\n`;
    const result = parseWorkflow(text, { id: "w", path: "w.yml" });
    return (result.ok ? result.warnings : result.diagnostics).map(
      ({ code, message }) => `${code} ${message}`,
    );
  };
  expect(problems("params: {x: 1}")).toEqual(['E011 "workflow" is missing in config of task "a"']);
  expect(problems('workflow: b, params: {"x y": "1", z: ["${{ run.id }}"]}')).toEqual([
    'E054 "x y" is not a valid parameter name',
    'E012 "z" in params of config of task "a" must be a string, not a list',
  ]);
  expect(problems("workflow: b, wait: maybe, failover: no")).toEqual([
    'E012 "wait" in config of task "a" must be true or false, not "maybe"',
    'E014 "failover" in config of task "a" must be "rerun" or "never", not "no"',
  ]);
  expect(problems("workflow: b", "retry: {max_attempts: 2}, env: {A: b}, ")).toEqual([
    'W002 "retry" has no effect on !Workflow',
    'W002 "env" has no effect on !Workflow',
  ]);
  expect(problems("workflow: b", "timeout: 5m, outputs: [x], foreach: [a], ")).toEqual([]);
  const hook = "tasks: {a: {run: x}}\nhooks: {on_exit: {config: !Workflow {workflow: b}}}\n";
  expect(parseWorkflow(hook, { id: "w", path: "w.yml" })).toMatchObject({
    diagnostics: [{ code: "E014", message: "a hook cannot be !Workflow" }],
  });
});
