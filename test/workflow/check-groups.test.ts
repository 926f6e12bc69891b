/** Concurrency groups across files. */
import { expect, test } from "bun:test";
import { callsOf, locateCallProblems } from "../../src/workflow/check-calls.ts";
import { checkGroups } from "../../src/workflow/check-groups.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";

const TASK = "tasks:\n  a: {run: 'true'}\n";
const calling = (concurrency: string, child: string, more = "") =>
  `concurrency: ${concurrency}\ntasks:\n  c: {config: !Workflow {workflow: ${child}${more}}}\n`;

/** The findings of each file. */
function check(files: Readonly<Record<string, string>>): Record<string, string[]> {
  const members = Object.entries(files).map(([id, text]) => {
    const parsed = parseWorkflow(text, { path: `${id}.yml`, id });
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.diagnostics));
    const { concurrency } = parsed.definition;
    return { id, concurrency, calls: callsOf(parsed.definition) ?? [] };
  });
  return Object.fromEntries(
    [...checkGroups(members)].map(([id, problems]) => [
      id,
      locateCallProblems(problems, files[id] ?? "", `${id}.yml`).map(
        ({ code, line, column, message }) => `${line}:${column} ${code} ${message}`,
      ),
    ]),
  );
}

test("W016 group-limits: workflows of a group with different max_runs", () => {
  expect(
    check({
      a: `concurrency: {group: eu}\n${TASK}`,
      b: `concurrency: {group: eu, max_runs: 5}\n${TASK}`,
      c: `concurrency: {group: eu, max_runs: 5}\n${TASK}`,
      us: `concurrency: {group: us, max_runs: 2}\n${TASK}`,
      own: `concurrency: 3\n${TASK}`,
    }),
  ).toEqual({
    a: ['1:1 W016 group "eu" has max_runs: 1 here, and 5 in b, 5 in c'],
    b: ['1:26 W016 group "eu" has max_runs: 5 here, and 1 in a'],
    c: ['1:26 W016 group "eu" has max_runs: 5 here, and 1 in a'],
  });
});

test("W016 group-limits: groups whose names are computed may differ", () => {
  const computed = (max: number) =>
    `params: {r: eu}\nconcurrency: {group: "\${{ params.r }}", max_runs: ${max}}\n${TASK}`;
  expect(check({ a: computed(1), b: computed(2) })).toEqual({});
});

test("W017 waits-for-itself: a task that runs a workflow of the group in which its own run has the only place", () => {
  const child = `concurrency: {group: eu}\n${TASK}`;
  expect(
    check({
      p: calling("{group: eu}", "child"),
      child,
      detached: calling("{group: eu}", "child", ", wait: false"),
      other: calling("{group: us}", "child"),
    }),
  ).toEqual({
    p: [
      '3:26 W017 task "c" would wait for itself: a run of "child" waits for group "eu" (max_runs: 1), in which this workflow has the place',
    ],
  });
  expect(
    check({
      p: calling("{group: eu, max_runs: 2}", "child"),
      child: `concurrency: {group: eu, max_runs: 2}\n${TASK}`,
    }),
  ).toEqual({});
});
