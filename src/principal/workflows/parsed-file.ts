/** What a workflow file says, in the form in which it is kept. Many files are parsed in other processes, see {@link WorkflowFiles}. */
import type { RegularFile } from "../../host/regular-file.ts";
import { renderDiagnostics } from "../../workflow/diagnostic.ts";
import { type CalendarFileResult, checkWorkflowFile, readCalendarFile } from "../../workflow/load.ts";
import type { Defaults } from "../../workflow/model.ts";
import { isCalendarFile } from "../../workflow/settings-file.ts";
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

/**
 * {@link parseFile} for the processes that parse many files: what they are told of a directory are its defaults. Of a calendar file, its
 * days: what they are told is the time, ms since the epoch.
 */
export function digestFile(path: string, file: RegularFile, about: unknown): ParsedFile | CalendarFileResult {
  if (isCalendarFile(path)) return readCalendarFile(path, file, about as number);
  return parseFile(path, file, about as Defaults | undefined);
}
