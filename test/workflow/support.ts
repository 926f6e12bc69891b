/** Helpers for the tests of workflow/. */
import type { DagTask } from "../../src/workflow/dag.ts";
import type { Diagnostic } from "../../src/workflow/diagnostic.ts";
import type { WorkflowDefinition } from "../../src/workflow/model.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Tasks in one line: `a; b < a; c < a b`. */
export function tasksOf(text: string): DagTask[] {
  return text.split(";").map((part) => {
    const [id = "", depends = ""] = part.split("<");
    return { id: id.trim(), depends: depends.split(" ").filter((word) => word !== "") };
  });
}

/** A graph without cycles: each task depends on up to `most` of those before it. */
export function randomDag(random: () => number, count: number, most: number): DagTask[] {
  return Array.from({ length: count }, (_, i) => {
    const wanted = i === 0 ? 0 : Math.floor(random() * (most + 1));
    const depends = new Set(Array.from({ length: wanted }, () => `t${Math.floor(random() * i)}`));
    return { id: `t${i}`, depends: [...depends] };
  });
}

/** The definition of a text that must be valid. */
export function definitionOf(text: string): WorkflowDefinition {
  const result = parseWorkflow(text, { path: "test.yml", id: "test" });
  if (result.ok) return result.definition;
  throw new Error(
    result.diagnostics.map((found) => `${found.line}: ${found.code} ${found.message}`).join("\n"),
  );
}

/** What is wrong with a text; nothing when it is valid. */
export function diagnosticsOf(text: string): readonly Diagnostic[] {
  const result = parseWorkflow(text, { path: "test.yml", id: "test" });
  return result.ok ? result.warnings : result.diagnostics;
}
