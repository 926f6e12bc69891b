/** How parameters are written in a workflow file, and the fields of a form, which are written in the same way. */
import { z } from "zod";
import { checkedParam } from "./check-params.ts";
import {
  Block,
  derived,
  Field,
  list,
  type NameCheck,
  named,
  notStored,
  templated,
  VARIABLE_NAME,
  type ValueOf,
} from "./field.ts";
import { hasExpressions } from "./has-expressions.ts";
import { paramVariable } from "./own-variables.ts";
import { ANY_VALUE, flag, paramType, text } from "./scalars.ts";

const NAME_HELP = "use letters, digits and _, and do not start with a digit";

const paramNames = (): NameCheck => {
  const variables = new Map<string, string>();
  return (param) => {
    if (!VARIABLE_NAME.test(param)) {
      const message = `${quote(param)} is not a valid parameter name`;
      return { code: "E054", message, help: NAME_HELP };
    }
    const other = variables.get(param.toUpperCase());
    variables.set(param.toUpperCase(), param);
    if (other === undefined) return null;
    const message = `the parameters "${other}" and "${param}" differ only in case`;
    return { code: "E054", message, help: `tasks see both as ${paramVariable(param)}; rename one` };
  };
};

/** The keys of a parameter. @param asked who gives its value, and when, such as `at each trigger` */
const keysOf = (asked: string) => ({
  description: text().optional().describe("For people, and in the form of the terminal UI"),
  type: paramType().sparse().describe("What a value is; string by default"),
  enum: list(text(), { min: 1, unique: true }).sparse().describe("The only values that are allowed"),
  pattern: text()
    .sparse()
    .describe("A regular expression in the syntax of RE2 that the whole text must match, of a string"),
  min: text().sparse().describe("The smallest value, of an int, a number or a date"),
  max: text().sparse().describe("The largest value, of an int, a number or a date"),
  required: notStored(flag()).describe("true is the same as no default"),
  // A list or a mapping is read as JSON before its field is.
  default: templated(text().json(ANY_VALUE), "string")
    .help("for a list or a mapping, write type: json")
    .optional()
    .describe(`Without one, a value must be given ${asked}`),
});

/** A parameter; without a default it must be given with each trigger. */
const Param = new Block({
  ...keysOf("at each trigger"),
  default: keysOf("at each trigger").default.at("default"),
  default_template: derived(z.string()),
});
/** A field of a form. Its default is computed when the form is shown first: it is a text like those of the rest of a task. */
const FormField = new Block(keysOf("with the answer"));

/** A parameter as files have it: its keys, or a text, which is its default, or nothing. */
function short<P extends { description: string | null; default: string | null }>(block: Field<P>): Field<P> {
  const checked = block.file.transform((param, ctx) =>
    checkedParam(param as P & Parameters<typeof checkedParam>[0], (path, problem) =>
      ctx.addIssue({ code: "custom", message: problem.message, path, params: { problem } }),
    ),
  );
  const file = z
    .union([text().file, z.null(), checked])
    .transform((param) =>
      param === null || typeof param === "string" ? { description: null, default: param } : param,
    );
  return new Field(file as unknown as z.ZodType<P>, block.stored, block.traits);
}

/** A default that has expressions is evaluated at the trigger; an older reader takes the parameter for one without a default. */
function withTemplate(param: ValueOf<typeof Param>): ValueOf<typeof Param> {
  if (param.default === null || !hasExpressions(param.default)) return param;
  return { ...param, default: null, default_template: param.default };
}
const param = short(Param);
const ShortParam = new Field(param.file.transform(withTemplate), param.stored, param.traits);

/** The parameters of a workflow, by name. */
export const Params = named(VARIABLE_NAME, paramNames, ShortParam).default({});

const fieldNames = (taken: readonly string[]) => (): NameCheck => (name) => {
  if (taken.includes(name)) {
    const message = `a field of a form cannot be named ${quote(name)}`;
    return {
      code: "E054",
      message,
      help: "every approval publishes an output of that name: choose another one",
    };
  }
  if (VARIABLE_NAME.test(name)) return null;
  return {
    code: "E054",
    message: `${quote(name)} is not a valid name for a field of a form`,
    help: NAME_HELP,
  };
};

/** The fields of a form, by name. @param taken names that no field may have */
export const form = (taken: readonly string[]) => named(VARIABLE_NAME, fieldNames(taken), short(FormField));

function quote(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
