/** Reads one workflow file from disk. */
import { join } from "node:path";
import { CdktrError, errorMessage } from "../errors.ts";
import { type RegularFile, readRegularFile } from "../host/regular-file.ts";
import { type DiagnosticCode, fileDiagnostic, locate } from "./diagnostic.ts";
import { MAX_FILE_BYTES, type ParseResult, parseWorkflow, tooLarge } from "./parse.ts";
import { SourceText } from "./source-text.ts";
import { workflowIdOf } from "./workflow-id.ts";

/** The result of loading a file: its definition or its problems, and its text, if it could be read as text. */
export type LoadResult = ParseResult & { readonly source: string | null };

/** The name of the file in messages; by default its relative path. */
export interface LoadOptions {
  readonly displayPath?: string;
}

/**
 * Loads and checks the file at `relativePath` under `root`; the id is derived from `relativePath`. Never throws: a file that cannot be
 * read, is too large or is not UTF-8 results in a diagnostic.
 */
export function loadWorkflowFile(root: string, relativePath: string, options: LoadOptions = {}): LoadResult {
  return checkWorkflowFile(relativePath, readRegularFile(join(root, relativePath), MAX_FILE_BYTES), options);
}

/** Like {@link loadWorkflowFile}, for a file that has already been read. */
export function checkWorkflowFile(
  relativePath: string,
  file: RegularFile,
  options: LoadOptions = {},
): LoadResult {
  const path = options.displayPath ?? relativePath;
  const fail = (code: DiagnosticCode, message: string, help?: string): LoadResult => ({
    ok: false,
    diagnostics: [fileDiagnostic(path, code, message, help)],
    source: null,
  });

  let id: string;
  try {
    id = workflowIdOf(relativePath);
  } catch (error) {
    return fail("E051", errorMessage(error), error instanceof CdktrError ? error.hint : undefined);
  }
  switch (file.kind) {
    case "file":
      return parseBytes(file.bytes, { path, id });
    // A pipe or a device would block the reader or never end.
    case "directory":
      return fail("E008", "is a directory");
    case "other":
      return fail("E008", "is not a regular file");
    case "too large":
      return fail("E005", tooLarge().message, tooLarge().help);
    case "failed":
      return fail("E008", `cannot be read: ${readFailure(file)}`);
  }
}

/** Like {@link loadWorkflowFile}, for the content of a file. */
export function parseBytes(
  bytes: Uint8Array,
  source: { readonly path: string; readonly id: string },
): LoadResult {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return { ok: false, diagnostics: [notUtf8(bytes, source.path)], source: null };
  }
  return { ...parseWorkflow(text, source), source: text };
}

function notUtf8(bytes: Uint8Array, path: string) {
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
  if (isUtf16) return fileDiagnostic(path, "E004", "the file is UTF-16, not UTF-8", "save it as UTF-8");
  const text = new TextDecoder().decode(bytes);
  const { start, offset } = firstInvalid(text, bytes);
  const byte = (bytes[offset] ?? 0).toString(16).padStart(2, "0");
  const message = `the file is not UTF-8: the byte 0x${byte} is not valid here`;
  const finding = { code: "E004", message, help: "save it as UTF-8", start, end: start + 1 } as const;
  const [diagnostic] = locate([finding], new SourceText(text), path);
  return diagnostic ?? fileDiagnostic(path, "E004", "the file is not UTF-8");
}

/** Position of the first replacement character in the decoded text that is not in the bytes themselves. */
function firstInvalid(text: string, bytes: Uint8Array): { start: number; offset: number } {
  // The decoder removes a byte order mark.
  let [start, offset] = [0, bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0];
  for (;;) {
    const next = text.indexOf("\ufffd", start);
    if (next < 0) return { start: 0, offset: 0 };
    offset += Buffer.byteLength(text.slice(start, next));
    if (Buffer.compare(bytes.subarray(offset, offset + 3), REPLACEMENT) !== 0) return { start: next, offset };
    [start, offset] = [next + 1, offset + 3];
  }
}

const REPLACEMENT = Buffer.from("\ufffd");

function readFailure({ code, message }: { readonly code: string; readonly message: string }): string {
  switch (code) {
    case "ENOENT":
      return "it does not exist";
    case "EACCES":
    case "EPERM":
      return "permission denied";
    case "ELOOP":
      return "its symbolic links form a loop";
    default:
      return message;
  }
}
