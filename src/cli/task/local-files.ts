/** Reads a workflow file that is run without a principal, and those of the workflows that it runs. */
import { existsSync } from "node:fs";
import { dirname, join, normalize, resolve } from "node:path";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { callsOf } from "../../workflow/check-calls.ts";
import { type Diagnostic, renderDiagnostic } from "../../workflow/diagnostic.ts";
import { loadWorkflowFile, SettingsFiles } from "../../workflow/load.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { directoriesOf, SETTINGS_NAMES } from "../../workflow/settings-file.ts";
import { WORKFLOW_ENDINGS, workflowIdOrNull } from "../../workflow/workflow-id.ts";
import { say } from "../support/report.ts";
import { styleFor } from "../support/style.ts";
import type { FilePlace } from "../support/workflow-file.ts";

/** A workflow, and where its file is. */
interface Loaded {
  readonly definition: WorkflowDefinition;
  readonly directory: string;
}

/**
 * Loads a file, and from the same root the files of the workflows that its tasks run.
 * @throws NotFoundError when one is missing
 * @throws InvalidInputError when one is not valid, after printing what is wrong
 */
export function loadWithOthers(
  place: FilePlace,
): Loaded & { readonly workflows: ReadonlyMap<string, Loaded> } {
  const files = new SettingsFiles();
  const { root, relativePath, shown } = place;
  if (!existsSync(resolve(root, relativePath))) {
    // Beside the workflow directory the path as it was given is the nearest guess.
    const isBelow = relativePath.includes("/");
    const id = (isBelow ? null : workflowIdOrNull(normalize(shown))) ?? workflowIdOrNull(relativePath);
    throw new NotFoundError(`There is no file ${shown}.`, {
      hint: `A path is a file of this host.${id === null ? "" : ` A workflow of the principal is named by its id: 'cdktr run ${id}'.`}`,
    });
  }
  const loaded = load(place, files);
  const workflows = new Map([[loaded.definition.id, loaded]]);
  // The map grows while it is read.
  for (const { definition: caller } of workflows.values()) {
    for (const { task, workflow } of callsOf(caller) ?? []) {
      if (workflows.has(workflow)) continue;
      const path = pathsOf(workflow).find((each) => existsSync(join(root, each)));
      if (path === undefined)
        throw new NotFoundError(
          `Task "${task}" of ${caller.id} runs the workflow "${workflow}", and there is no file ${pathsOf(workflow)[0]} in ${root}.`,
          {
            hint: "Without a principal, the files of other workflows are looked for beside the one that is run.",
          },
        );
      workflows.set(workflow, load({ root, relativePath: path, shown: shownAs(place, path) }, files));
    }
  }
  return { ...loaded, workflows };
}

/** The paths at which the file of a workflow may be. Dots of an id are directories or parts of a name. */
function pathsOf(id: string): string[] {
  const names = [id.replaceAll(".", "/"), id];
  return [...new Set(names)].flatMap((name) => WORKFLOW_ENDINGS.map((ending) => name + ending));
}

/** @throws InvalidInputError after printing what is wrong */
function load(place: FilePlace, files: SettingsFiles): Loaded {
  const { root, relativePath, shown } = place;
  for (const directory of directoriesOf(relativePath)) {
    const below = directory === "" ? "" : `${directory}/`;
    const file = SETTINGS_NAMES.map((name) => below + name).find((name) => existsSync(resolve(root, name)));
    if (file === undefined) continue;
    const checked = files.check(root, file, shownAs(place, file));
    if (!checked.ok) throw invalid(shownAs(place, file), checked.diagnostics);
  }
  const loaded = loadWorkflowFile(root, relativePath, {
    displayPath: shown,
    defaults: files.defaultsOf(root, relativePath),
  });
  if (!loaded.ok) throw invalid(shown, loaded.diagnostics);
  show(loaded.warnings);
  return { definition: loaded.definition, directory: dirname(resolve(root, relativePath)) };
}

/** The name of another file below the same root, as the user would write it. */
function shownAs({ shown, relativePath }: FilePlace, other: string): string {
  return shown.endsWith(relativePath) ? shown.slice(0, shown.length - relativePath.length) + other : other;
}

function invalid(shown: string, diagnostics: readonly Diagnostic[]): InvalidInputError {
  show(diagnostics);
  return new InvalidInputError(`${shown} is not valid: nothing was run.`);
}

function show(diagnostics: readonly Diagnostic[]): void {
  const color = styleFor("stderr").enabled;
  for (const diagnostic of diagnostics) say(renderDiagnostic(diagnostic, { color }));
}
