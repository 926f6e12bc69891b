/** Checks the parameters of a trigger against those that the workflow declares. */
import { errorMessage, InvalidInputError } from "../errors.ts";
import { nearest } from "../terminal/did-you-mean.ts";
import { expressionsOf } from "./expressions.ts";
import type { WorkflowDefinition } from "./model.ts";
import { type ParamProblem, readParam } from "./param-types.ts";
import { factsOf, type RunWithFacts } from "./run-facts.ts";

type Param = WorkflowDefinition["params"][string];

/** Whether a parameter must be given with each trigger. */
export function isRequired(param: Pick<Param, "default" | "default_template">): boolean {
  return param.default === null && param.default_template === undefined;
}

/**
 * The parameters of a run, each in the spelling of its type: the given ones, and defaults for the rest.
 * @throws InvalidInputError naming every parameter that the workflow does not have (with the closest match), every one that has no
 * default and was not given, every value that its parameter does not allow, and those that an environment variable cannot hold.
 * @param run the run that is about to be made: defaults may be computed from it
 */
export function resolveParams(
  definition: Pick<WorkflowDefinition, "id" | "params">,
  given: Readonly<Record<string, string>>,
  run?: Omit<RunWithFacts, "params">,
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
  const resolved: Record<string, string> = {};
  for (const [name, param] of declared) {
    if (problems.length > 0) break;
    const value = Object.hasOwn(given, name) ? given[name] : param.default;
    if (value !== undefined && value !== null) {
      const read = readParam(param, value);
      resolved[name] = read.ok ? read.text : value;
    } else if (param.default_template !== undefined) {
      const computed = computedDefault(definition, param, param.default_template, {
        ...run,
        params: resolved,
      });
      if (computed.ok) resolved[name] = computed.text;
      else problems.push(`the default of parameter "${name}" ${computed.problem}`);
    }
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

  return resolved;
}

/** The value of a default with expressions; they may read the parameters before it. */
function computedDefault(
  definition: Pick<WorkflowDefinition, "id" | "params">,
  param: Param,
  template: string,
  run: Partial<RunWithFacts> & Pick<RunWithFacts, "params">,
): { readonly ok: true; readonly text: string } | { readonly ok: false; readonly problem: string } {
  const facts = factsOf(
    {
      workflow_instance_id: "",
      workflow_id: definition.id,
      attempt: 1,
      trigger: "",
      scheduled_time_ms: null,
      ...run,
    },
    { env: {} },
  );
  try {
    const compiled = expressionsOf({ params: definition.params, tasks: [] }).compile(
      template,
      "default",
      null,
    );
    const text =
      param.type === "json" && compiled.isWhole
        ? JSON.stringify(compiled.evaluate({ facts }))
        : compiled.text({ facts });
    const read = readParam(param, text);
    if (read.ok && !text.includes("\0")) return read;
    return {
      ok: false,
      problem: read.ok ? "contains a NUL character" : `must ${read.problem.must}, not ${quoted(text)}`,
    };
  } catch (error) {
    return { ok: false, problem: `cannot be computed: ${errorMessage(error)}` };
  }
}

function quoted(value: string): string {
  return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
}

function refusal(name: string, value: string, { must, help }: ParamProblem): string {
  return `parameter "${name}" must ${must}, not ${quoted(value)}${help === undefined ? "" : ` (${help})`}`;
}
