/** What a workflow file says, in the form in which it is kept. Many files are parsed in other processes, see {@link WorkflowFiles}. */
import type { RegularFile } from "../../host/regular-file.ts";
import { renderDiagnostics } from "../../workflow/diagnostic.ts";
import { checkWorkflowFile } from "../../workflow/load.ts";
import type { Defaults } from "../../workflow/model.ts";
import { type PackedWorkflow, pack, type WorkflowFacts } from "./loaded-workflow.ts";

/** Plain JSON. */
export type ParsedFile =
  /** The texts are in base64. */
  | { readonly kind: "valid"; readonly facts: WorkflowFacts; readonly texts: string }
  | { readonly kind: "invalid"; readonly error: string };

/**
 * Parses a file.
 * @param path relative to the workflow directory
 * @param defaults those of its directory
 */
export function parseFile(path: string, file: RegularFile, defaults: Defaults | undefined): ParsedFile {
  const result = checkWorkflowFile(path, file, { defaults });
  if (!result.ok) return { kind: "invalid", error: renderDiagnostics(result.diagnostics) };
  const { facts, texts } = pack(result.definition, result.source ?? "", result.warnings, defaults);
  return { kind: "valid", facts, texts: Buffer.from(texts).toString("base64") };
}

/** The workflow of a valid file. */
export function packedOf({ facts, texts }: ParsedFile & { kind: "valid" }): PackedWorkflow {
  // A copy of exactly this size: thousands of them are kept.
  return { facts, texts: new Uint8Array(Buffer.from(texts, "base64")) };
}

/** {@link parseFile} for the processes that parse many files: what they are told of a directory are its defaults. */
export function digestFile(path: string, file: RegularFile, defaults: unknown): ParsedFile {
  return parseFile(path, file, defaults as Defaults | undefined);
}
