/** Derives the id of a workflow from the path of its file: `etl/daily.yml` is `etl.daily`. */
import { InvalidInputError } from "../errors.ts";
import { type Diagnostic, fileDiagnostic } from "./diagnostic.ts";
import { IDENTIFIER } from "./model.ts";

/** File name extensions of workflow files. */
export const WORKFLOW_ENDINGS: readonly string[] = [".yml", ".yaml"];
const EXTENSION = /\.ya?ml$/;
const LONGEST_ID = 200;

/**
 * The id of the workflow at a path relative to the workflow directory.
 * @throws InvalidInputError when the path does not result in a valid id.
 */
export function workflowIdOf(relativePath: string): string {
  if (!EXTENSION.test(relativePath)) {
    throw new InvalidInputError(`${quote(relativePath)} is not a workflow file`, {
      hint: "workflow files end in .yml or .yaml",
    });
  }
  const parts = relativePath.replace(EXTENSION, "").split("/");
  for (const part of parts) {
    if (IDENTIFIER.test(part) && !part.endsWith(".") && part !== "__proto__") continue;
    throw new InvalidInputError(`${quote(part)} in the path is not valid in a workflow id`, {
      hint: "use letters, digits, _, - and . in the names of files and directories, and start with a letter, a digit or _",
    });
  }
  const id = parts.join(".");
  if (id.length > LONGEST_ID) {
    throw new InvalidInputError(`the id derived from the path is longer than ${LONGEST_ID} characters`, {
      hint: "use shorter names or fewer directories",
    });
  }
  return id;
}

/** Like {@link workflowIdOf}, but null if the path does not result in a valid id. */
export function workflowIdOrNull(relativePath: string): string | null {
  try {
    return workflowIdOf(relativePath);
  } catch {
    return null;
  }
}

/**
 * Files with conflicting ids (`a.yml` and `a.yaml`, `a/b.yml` and `a.b.yml`): one diagnostic for each but the first, ordered by path.
 * Paths are relative to the workflow directory; those without an id are ignored.
 */
export function findDuplicateIds(relativePaths: Iterable<string>): Diagnostic[] {
  const owners = new Map<string, string>();
  const diagnostics: Diagnostic[] = [];
  for (const path of [...relativePaths].sort()) {
    const id = workflowIdOrNull(path);
    if (id === null) continue;
    const owner = owners.get(id);
    if (owner === undefined) {
      owners.set(id, path);
      continue;
    }
    diagnostics.push(
      fileDiagnostic(
        path,
        "E052",
        `the id "${id}" is already used by ${owner}`,
        "rename one of the two files",
      ),
    );
  }
  return diagnostics;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
