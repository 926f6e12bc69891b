/** Checks the parameters of a trigger against those that the workflow declares. */
import { InvalidInputError } from "../errors.ts";
import { nearest } from "../terminal/did-you-mean.ts";
import type { WorkflowDefinition } from "./model.ts";
import { type ParamProblem, readParam } from "./param-types.ts";

/** Whether a parameter must be given with each trigger. */
export function isRequired(param: Pick<WorkflowDefinition["params"][string], "default">): boolean {
  return param.default === null;
}

/**
 * The parameters of a run, each in the spelling of its type: the given ones, and defaults for the rest.
 * @throws InvalidInputError naming every parameter that the workflow does not have (with the closest match), every one that has no
 * default and was not given, every value that its parameter does not allow, and those that an environment variable cannot hold.
 */
export function resolveParams(
  definition: Pick<WorkflowDefinition, "id" | "params">,
  given: Readonly<Record<string, string>>,
): Record<string, string> {
  const declared = new Map(Object.entries(definition.params));
  const problems: string[] = [];
  const hints: string[] = [];

  for (const [name, value] of Object.entries(given)) {
    const param = declared.get(name);
    if (param === undefined) {
      const near = nearest(name, declared.keys());
      problems.push(`unknown parameter "${name}"${near === undefined ? "" : ` (did you mean "${near}"?)`}`);
    } else if (value.includes("\0")) {
      problems.push(`parameter "${name}" contains a NUL character, which no environment variable can hold`);
    } else {
      const read = readParam(param, value);
      if (!read.ok) problems.push(refusal(name, value, read.problem));
    }
  }
  const missing = [...declared].filter(([name, param]) => isRequired(param) && !Object.hasOwn(given, name));
  if (missing.length > 0) {
    const names = missing.map(([name]) => `"${name}"`).join(", ");
    problems.push(`missing ${missing.length === 1 ? "parameter" : "parameters"} ${names}`);
    hints.push(`give ${missing.map(([name]) => `-P ${name}=VALUE`).join(" ")}`);
  }
  if (problems.length > 0) {
    if (hints.length === 0) {
      hints.push(
        declared.size === 0
          ? "this workflow has no parameters"
          : `its parameters are ${[...declared.keys()].join(", ")}`,
      );
    }
    throw new InvalidInputError(`workflow "${definition.id}": ${problems.join("; ")}`, {
      hint: hints.join("; "),
    });
  }

  const resolved: Record<string, string> = {};
  for (const [name, param] of declared) {
    const value = Object.hasOwn(given, name) ? given[name] : param.default;
    if (value === undefined || value === null) continue;
    const read = readParam(param, value);
    resolved[name] = read.ok ? read.text : value;
  }
  return resolved;
}

function refusal(name: string, value: string, { must, help }: ParamProblem): string {
  const shown = JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  return `parameter "${name}" must ${must}, not ${shown}${help === undefined ? "" : ` (${help})`}`;
}
