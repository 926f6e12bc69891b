import { expect, test } from "bun:test";
import { checkPools } from "../../src/workflow/check-pools.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";

function problemsOf(text: string, sizes: Record<string, number> | undefined) {
  const result = parseWorkflow(text, { path: "w.yml", id: "w" });
  if (!result.ok) throw new Error(result.diagnostics.map(({ message }) => message).join("\n"));
  return checkPools(result.definition, sizes).map(({ code, message, help, path }) => [
    code,
    path.join("."),
    message,
    help,
  ]);
}

const FLOW = `params: {n: {type: int, default: 1}}
pool: warehous
tasks:
  a: {run: ls, pool: {warehouse: 5, "\${{ run.id }}": 9}}
  b: {run: ls, pool: {warehouse: "\${{ params.n }}", licences: 1}}
  c: {run: ls, pool: {warehouse: 4}}
hooks:
  on_exit: {run: ls, pool: {warehouse: 6}}
`;

test("W018 unknown-pool: pools that the settings of the directory do not have, or that are too small", () => {
  const where = (name: string) =>
    `pools are in _cdktr.yml of the workflow directory, or made by cdktr pools set ${name} N`;
  const larger = "take fewer, or make the pool larger in _cdktr.yml";
  expect(problemsOf(FLOW, { warehouse: 4 })).toEqual([
    [
      "W018",
      "pool.warehous",
      'there is no pool "warehous"',
      `did you mean "warehouse"? ${where("warehous")}`,
    ],
    ["W018", "tasks.a.pool.warehouse", 'it never gets 5 slots of pool "warehouse", which has 4', larger],
    ["W018", "tasks.b.pool.licences", 'there is no pool "licences"', where("licences")],
    [
      "W018",
      "hooks.on_exit.pool.warehouse",
      'it never gets 6 slots of pool "warehouse", which has 4',
      larger,
    ],
  ]);
});

test("nothing is said where commands make the pools", () => {
  expect(problemsOf(FLOW, undefined)).toEqual([]);
  expect(problemsOf(FLOW, {})).toEqual([]);
});
