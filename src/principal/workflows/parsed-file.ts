/** What a workflow file says, in the form in which it is kept. Many files are parsed in other processes, see {@link WorkflowFiles}. */
import type { RegularFile } from "../../host/regular-file.ts";
import { renderDiagnostics } from "../../workflow/diagnostic.ts";
import { checkWorkflowFile } from "../../workflow/load.ts";
import { type PackedWorkflow, pack, type WorkflowFacts } from "./loaded-workflow.ts";

/** Plain JSON. */
export type ParsedFile =
  /** The texts are in base64. */
  | { readonly kind: "valid"; readonly facts: WorkflowFacts; readonly texts: string }
  | { readonly kind: "invalid"; readonly error: string };

/** Parses a file. @param path relative to the workflow directory */
export function parseFile(path: string, file: RegularFile): ParsedFile {
  const result = checkWorkflowFile(path, file);
  if (!result.ok) return { kind: "invalid", error: renderDiagnostics(result.diagnostics) };
  const { facts, texts } = pack(result.definition, result.source ?? "", result.warnings);
  return { kind: "valid", facts, texts: Buffer.from(texts).toString("base64") };
}

/** The workflow of a valid file. */
export function packedOf({ facts, texts }: ParsedFile & { kind: "valid" }): PackedWorkflow {
  // A copy of exactly this size: thousands of them are kept.
  return { facts, texts: new Uint8Array(Buffer.from(texts, "base64")) };
}
