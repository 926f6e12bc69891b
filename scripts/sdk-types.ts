/** Writes the types of replies in src/sdk/typescript/cdktr.d.ts from the schemas of the wire: bun scripts/sdk-types.ts */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import {
  AgentSummary,
  AlertQueryStatus,
  AlertSummary,
  ApprovalSummary,
  ArtifactsSummary,
  AuditEntry,
  BackfillPlan,
  BackfillSummary,
  ExpectationSummary,
  Forecast,
  ItemSummary,
  Pause,
  PoolSummary,
  Queue,
  RunAttempt,
  RunDetails,
  RunSummary,
  SliceWait,
  Survivor,
  TaskRunSummary,
  WorkflowPaused,
  WorkflowResumed,
  WorkflowSummary,
} from "../src/contract/messages.ts";
import { ParamDefinitions, TriggerDefinitions, WorkflowDefinition } from "../src/workflow/model.ts";
import { RUN_STATUSES } from "../src/workflow/status.ts";

const FILE = join(import.meta.dir, "../src/sdk/typescript/cdktr.d.ts");

const STATUS = "RunStatus";
const INTERFACES: ReadonlyMap<z.ZodObject, string> = new Map<z.ZodObject, string>([
  [WorkflowSummary, "Workflow"],
  [RunSummary, "Run"],
  [TaskRunSummary, "TaskRun"],
  [ItemSummary, "Item"],
  [RunAttempt, "RunAttempt"],
  [SliceWait, "SliceWait"],
  [RunDetails, "RunDetails"],
  [ApprovalSummary, "Approval"],
  [ArtifactsSummary, "Artifacts"],
  [AgentSummary, "Agent"],
  [Survivor, "Survivor"],
  [ExpectationSummary, "Expectation"],
  [Pause, "Pause"],
  [WorkflowPaused, "WorkflowPaused"],
  [WorkflowResumed, "WorkflowResumed"],
  [PoolSummary, "Pool"],
  [Queue, "Queue"],
  [BackfillPlan, "BackfillPlan"],
  [BackfillSummary, "Backfill"],
  [Forecast, "Forecast"],
  [AlertSummary, "Alert"],
  [AlertQueryStatus, "AlertQuery"],
  [AuditEntry, "AuditEntry"],
]);

/** Parts of the language of workflow files, which grows: they are declared as records of anything. */
const LANGUAGE: ReadonlySet<unknown> = new Set<unknown>([
  WorkflowDefinition,
  ParamDefinitions,
  TriggerDefinitions,
]);

/** The declarations between these lines are written by this program. */
const BLOCK =
  /(?<= {2}\/\/ Replies of the principal\.\n)[\s\S]*?(?= {2}\/\/ End of the replies of the principal\.\n)/;

/** The text of the file with its types of replies as they must be. */
export function withReplyTypes(text: string): string {
  const statuses = RUN_STATUSES.map((status) => `\n    | "${status}"`).join("");
  const declarations = [
    `  export type ${STATUS} =${statuses};\n`,
    ...[...INTERFACES].map(([schema, name]) => declaration(name, schema)),
  ];
  return text.replace(BLOCK, declarations.join("\n"));
}

/** What extends what. */
const BASES: ReadonlyMap<z.ZodObject, z.ZodObject> = new Map<z.ZodObject, z.ZodObject>([
  [RunDetails, RunSummary],
  [ItemSummary, TaskRunSummary],
]);

function declaration(name: string, schema: z.ZodObject): string {
  const parent = BASES.get(schema);
  const base = parent?.shape ?? {};
  const fields = Object.entries<z.ZodType>(schema.shape).filter(([key]) => !Object.hasOwn(base, key));
  const lines = fields.map(([key, inner]) => {
    const optional = inner instanceof z.ZodOptional ? "?" : "";
    return `    readonly ${key}${optional}: ${typeOf(inner)};\n`;
  });
  return `  export interface ${name}${parent === undefined ? "" : ` extends ${INTERFACES.get(parent)}`} {\n${lines.join("")}  }\n`;
}

/** @throws Error when it does not know how to write a schema as a type */
function typeOf(schema: z.ZodType): string {
  const name = INTERFACES.get(schema as z.ZodObject);
  if (name !== undefined) return name;
  if (LANGUAGE.has(schema)) return "Readonly<Record<string, unknown>>";
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodCatch)
    return typeOf(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodNullable) return `${typeOf(schema.unwrap() as z.ZodType)} | null`;
  if (schema instanceof z.ZodArray) return `readonly ${typeOf(schema.element as z.ZodType)}[]`;
  if (schema instanceof z.ZodObject) {
    const fields = Object.entries<z.ZodType>(schema.shape);
    const lines = fields.map(([key, inner]) => {
      const [optional, none] = inner instanceof z.ZodOptional ? ["?", " | undefined"] : ["", ""];
      return `      readonly ${key}${optional}: ${typeOf(inner)}${none};\n`;
    });
    return `{\n${lines.join("")}    }`;
  }
  if (schema instanceof z.ZodRecord)
    return `Readonly<Record<string, ${typeOf(schema.valueType as z.ZodType)}>>`;
  if (schema instanceof z.ZodEnum) {
    if (RUN_STATUSES.every((status) => schema.options.includes(status))) return STATUS;
    return schema.options.map((option) => JSON.stringify(option)).join(" | ");
  }
  if (schema instanceof z.ZodString) return "string";
  if (schema instanceof z.ZodNumber) return "number";
  if (schema instanceof z.ZodBoolean) return "boolean";
  if (schema instanceof z.ZodUnknown) return "unknown";
  throw new Error(`There is no type for ${schema.type} yet: add it.`);
}

if (import.meta.main) writeFileSync(FILE, withReplyTypes(readFileSync(FILE, "utf8")));
