/** The names of outputs. */
import { z } from "zod";
import { IDENTIFIER, type Problem, scalar } from "./field.ts";

const LONGEST = 256;
const HELP = 'use letters, digits, "_", "-" and "."';

/** What is wrong with the name of an output; null for nothing. */
export function problemOfOutputName(name: string): Problem | null {
  if (name !== "__proto__" && name.length <= LONGEST && IDENTIFIER.test(name)) return null;
  const message = `${JSON.stringify(name.slice(0, 64))} is not the name of an output`;
  return { code: "E014", message, help: HELP };
}

/** The name of an output, as a value. */
export const outputName = () =>
  scalar(z.string(), { type: "string", pattern: IDENTIFIER.source, maxLength: LONGEST }, (name, refuse) => {
    const problem = problemOfOutputName(name);
    return problem === null ? name : refuse(problem.code, problem.message, problem.help);
  });
