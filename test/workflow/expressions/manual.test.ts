/** The manual's page on expressions says what the code does. */
import { expect, test } from "bun:test";
import { findPage } from "../../../src/docs/index.ts";
import { functionNames } from "../../../src/workflow/expressions/functions.ts";
import {
  MAX_EXPRESSION_DEPTH,
  MAX_EXPRESSION_LENGTH,
  MAX_EXPRESSION_PARTS,
  MAX_EXPRESSIONS,
} from "../../../src/workflow/limits.ts";
import { DEVIATIONS } from "./deviations.ts";

const page = findPage("expressions")?.text ?? "";

test("it names every function", () => {
  const names = [...functionNames(false), ...functionNames(true)];
  expect(names.filter((name) => !new RegExp(`\\b${name}\\(`).test(page))).toEqual([]);
});

test("it has the differences from CEL that the conformance tests show", () => {
  const [, listed = ""] = /exceptions:\n\n((?:- .*\n)+)/.exec(page) ?? [];
  expect(listed.trim().split("\n")).toEqual(DEVIATIONS.map(({ reason }) => `- ${reason}`));
});

test("it has the limits", () => {
  expect(page).toContain(
    `An expression has at most ${MAX_EXPRESSION_LENGTH} characters and ${MAX_EXPRESSION_PARTS} parts and is nested at most ${MAX_EXPRESSION_DEPTH} levels deep; a text has at most ${MAX_EXPRESSIONS} expressions.`,
  );
});
