/** The outputs of a task: named JSON values that it publishes when it has COMPLETED. */
import { z } from "zod";
import { problemOfOutputName } from "../workflow/output-name.ts";
import type { Outputs as Published } from "../workflow/plan.ts";

/** The most that a task may publish: the bytes of its outputs as JSON. */
export const MAX_OUTPUTS_BYTES = 256 * 1024;
/** The most that one message has of the outputs of several tasks: the bytes of all as JSON. */
export const MAX_OUTPUTS_TOGETHER_BYTES = 8 * 1024 * 1024;
/** How deep arrays and objects may be nested in outputs. */
export const MAX_OUTPUTS_DEPTH = 64;

export type Outputs = Published;

/** Why a name cannot be that of an output; undefined when it can. */
export function faultOfOutputName(name: string): string | undefined {
  const problem = problemOfOutputName(name);
  return problem === null ? undefined : `${problem.message}: ${problem.help}`;
}

/**
 * What is wrong with outputs that were parsed from JSON; undefined when nothing is.
 * @returns the rest of a sentence that begins with what the outputs are
 */
export function faultOfOutputs(outputs: Outputs): string | undefined {
  for (const name of Object.keys(outputs)) {
    const fault = faultOfOutputName(name);
    if (fault !== undefined) return fault;
  }
  let level: unknown[] = [outputs];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_OUTPUTS_DEPTH) return `the values are nested more than ${MAX_OUTPUTS_DEPTH} levels deep`;
    // JSON has no bound for numbers; what this one cannot hold would silently become null.
    if (level.some((value) => typeof value === "number" && !Number.isFinite(value)))
      return "a number is out of range";
    level = level.flatMap((value) =>
      typeof value === "object" && value !== null ? Object.values(value) : [],
    );
  }
  const bytes = Buffer.byteLength(JSON.stringify(outputs));
  return bytes > MAX_OUTPUTS_BYTES
    ? `${bytes} bytes of JSON are too much: at most ${MAX_OUTPUTS_BYTES} are published`
    : undefined;
}

/** Outputs on the wire. */
export const Outputs = z.record(z.string(), z.unknown()).superRefine((outputs, context) => {
  const message = faultOfOutputs(outputs);
  if (message !== undefined) context.addIssue({ code: "custom", message });
});
