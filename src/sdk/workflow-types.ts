/** The types of the parameters of workflows, for programs in TypeScript that trigger them. */
import type { WorkflowDefinition } from "../workflow/model.ts";
import { paramRulesText } from "../workflow/param-types.ts";

/** The name of the file with them. */
export const WORKFLOW_TYPES_FILE = "cdktr-workflows.d.ts";

type Params = WorkflowDefinition["params"];
type Param = Params[string];

/** A declaration file that tells `import … from "cdktr"` the parameters of each workflow. */
export function workflowTypes(workflows: readonly Pick<WorkflowDefinition, "id" | "params">[]): string {
  const sorted = [...workflows].sort((a, b) => (a.id < b.id ? -1 : 1));
  const members = sorted.map(({ id, params }) => `    ${JSON.stringify(id)}: ${paramsType(params)};\n`);
  return `/**
 * The parameters of the workflows, for runWorkflow of the module "cdktr". Written by \`cdktr sdk typescript DIR --workflows WORKFLOWS\`: write
 * it again when the workflows change.
 */
import "cdktr";

declare module "cdktr" {
  interface WorkflowParams {
${members.join("")}  }
}
`;
}

function paramsType(params: Params): string {
  const entries = Object.entries(params);
  if (entries.length === 0) return "Readonly<Record<string, never>>";
  const fields = entries.map(([name, param]) => {
    const mark = isRequired(param) ? "" : "?";
    return `${comment(param)}      readonly ${JSON.stringify(name)}${mark}: ${typeOf(param)};\n`;
  });
  return `{\n${fields.join("")}    }`;
}

function isRequired(param: Param): boolean {
  return param.default === null && param.default_template === undefined;
}

/** Its description, what it may be, and its default. */
function comment(param: Param): string {
  const byDefault = param.default ?? param.default_template ?? null;
  const words = [
    param.description,
    paramRulesText(param),
    byDefault === null ? "" : `by default ${byDefault}`,
  ].filter((word) => word !== null && word !== "");
  if (words.length === 0) return "";
  // What ends a comment must not end this one.
  const text = words.join("; ").replace(/\s+/g, " ").replaceAll("*/", "* /");
  return `      /** ${text} */\n`;
}

function typeOf({ type, enum: choices }: Param): string {
  switch (type) {
    case "int":
    case "number":
      return choices === undefined ? "number" : choices.join(" | ");
    case "bool":
      return "boolean";
    case "json":
      return "unknown";
    default:
      return choices === undefined ? "string" : choices.map((choice) => JSON.stringify(choice)).join(" | ");
  }
}
