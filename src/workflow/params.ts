/** Checks the parameters of a trigger against those that the workflow declares. */
import { errorMessage, InvalidInputError } from "../errors.ts";
import { nearest } from "../terminal/did-you-mean.ts";
import { expressionsOf } from "./expressions.ts";
import type { WorkflowDefinition } from "./model.ts";
import { type ParamProblem, type ParamRules, readParam } from "./param-types.ts";
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
  const words = { noun: "parameter", subject: `workflow "${definition.id}"`, of: "this workflow" };
  return resolve(words, definition.params, given, (param, template, params) =>
    computedDefault(definition, param, template, { ...run, params }),
  );
}

/**
 * The values of a form, as {@link resolveParams} has those of a run.
 * @param of whose form it is, as `the approval "go"`
 * @throws InvalidInputError naming everything that is wrong
 */
export function resolveForm(
  of: string,
  form: Readonly<Record<string, FormField>>,
  given: Readonly<Record<string, string>>,
): Record<string, string> {
  return resolve({ noun: "field", subject: of, of }, form, given);
}

type FormField = Pick<Param, "default"> & ParamRules & { readonly default_template?: string | undefined };

/** How the values are called in messages: `parameter`; whose they are, at the start of the message, and in `… has no parameters`. */
interface Words {
  readonly noun: string;
  readonly subject: string;
  readonly of: string;
}

function resolve<P extends FormField>(
  { noun, subject, of }: Words,
  params: Readonly<Record<string, P>>,
  given: Readonly<Record<string, string>>,
  compute?: (param: P, template: string, params: Readonly<Record<string, string>>) => Computed,
): Record<string, string> {
  const declared = new Map(Object.entries(params));
  const problems: string[] = [];
  const hints: string[] = [];

  for (const [name, value] of Object.entries(given)) {
    const param = declared.get(name);
    if (param === undefined) {
      const near = nearest(name, declared.keys());
      problems.push(`unknown ${noun} "${name}"${near === undefined ? "" : ` (did you mean "${near}"?)`}`);
    } else if (value.includes("\0")) {
      problems.push(`${noun} "${name}" contains a NUL character, which no environment variable can hold`);
    } else {
      const read = readParam(param, value);
      if (!read.ok) problems.push(refusal(noun, name, value, read.problem));
    }
  }
  const missing = [...declared].filter(([name, param]) => isRequired(param) && !Object.hasOwn(given, name));
  if (missing.length > 0) {
    const names = missing.map(([name]) => `"${name}"`).join(", ");
    problems.push(`missing ${missing.length === 1 ? noun : `${noun}s`} ${names}`);
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
      const computed = compute?.(param, param.default_template, resolved);
      if (computed?.ok === true) resolved[name] = computed.text;
      else if (computed !== undefined) problems.push(`the default of ${noun} "${name}" ${computed.problem}`);
    }
  }
  if (problems.length > 0) {
    if (hints.length === 0) {
      hints.push(
        declared.size === 0 ? `${of} has no ${noun}s` : `its ${noun}s are ${[...declared.keys()].join(", ")}`,
      );
    }
    throw new InvalidInputError(`${subject}: ${problems.join("; ")}`, { hint: hints.join("; ") });
  }

  return resolved;
}

/** The text of a default, or what is wrong with it. */
type Computed =
  | { readonly ok: true; readonly text: string }
  | { readonly ok: false; readonly problem: string };

/** The value of a default with expressions; they may read the parameters before it. */
function computedDefault(
  definition: Pick<WorkflowDefinition, "id" | "params">,
  param: Param,
  template: string,
  run: Partial<RunWithFacts> & Pick<RunWithFacts, "params">,
): Computed {
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

function refusal(noun: string, name: string, value: string, { must, help }: ParamProblem): string {
  return `${noun} "${name}" must ${must}, not ${quoted(value)}${help === undefined ? "" : ` (${help})`}`;
}
