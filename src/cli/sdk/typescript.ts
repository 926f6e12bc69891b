import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { listTree } from "../../host/file-helper/tree.ts";
import { TYPESCRIPT_FILES } from "../../sdk/typescript-files.ts";
import { WORKFLOW_TYPES_FILE, workflowTypes } from "../../sdk/workflow-types.ts";
import { writeFiles } from "../../sdk/write-files.ts";
import { loadAlertFile, loadWorkflowFile } from "../../workflow/load.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { isSettingsFile } from "../../workflow/settings-file.ts";
import { WORKFLOW_ENDINGS } from "../../workflow/workflow-id.ts";
import { command } from "../support/command.ts";
import { plural } from "../support/format.ts";
import { jsonArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { shortList } from "../support/run-report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "typescript", description: "Write the types of TypeScript listeners" },
  args: {
    dir: { type: "positional", required: true, description: "The directory of the listeners" },
    workflows: {
      type: "string",
      valueHint: "DIR",
      description: "Also write the types of the parameters of the workflows in this directory",
    },
    force: { type: "boolean", description: "Replace files of the same names" },
    ...jsonArg,
  },
  extras: {
    completes: { dir: "directory", workflows: "directory" },
    exit: { 4: "With --workflows: a file there is invalid, or there is none" },
    details: `Editors and the TypeScript compiler need the types; cdktr itself does not. The implementation is in this executable.

      With --workflows the compiler also knows the ids of workflows, and checks the parameters that runWorkflow gets: their names, types,
      choices, and which ones must be given. Write them again when the workflows change; files that were written before are replaced.`,
    topic: "listeners",
    examples: [
      { command: "cdktr sdk typescript .", does: "for the listeners in this directory" },
      {
        command: "cdktr sdk typescript . --workflows workflows",
        does: "the parameters of workflows as well",
      },
    ],
  },
  async run({ args }) {
    const directory = resolve(args.dir);
    const definitions = args.workflows === undefined ? [] : readWorkflows(args.workflows);
    let { written, unchanged } = writeFiles(directory, TYPESCRIPT_FILES, { force: args.force ?? false });
    if (args.workflows !== undefined) {
      const types = { [WORKFLOW_TYPES_FILE]: workflowTypes(definitions) };
      // Nobody writes it by hand, and it changes with the workflows.
      const more = writeFiles(directory, types, { force: true });
      written = [...written, ...more.written];
      unchanged = [...unchanged, ...more.unchanged];
    }
    if (args.json) return printJson({ directory, written, unchanged });
    say(`The types of cdktr are in ${directory} (${plural(written.length, "file")} written).`);
  },
});

/**
 * The workflows of a directory.
 * @throws InvalidInputError when a file is invalid, NotFoundError when there is none
 */
function readWorkflows(path: string): WorkflowDefinition[] {
  const root = resolve(path);
  if (!existsSync(root)) throw new NotFoundError(`There is no directory ${path}.`);
  const { files } = listTree(root, { endings: WORKFLOW_ENDINGS });
  const definitions: WorkflowDefinition[] = [];
  const invalid: string[] = [];
  for (const file of [...files.keys()].sort()) {
    if (isSettingsFile(file) || loadAlertFile(root, file) !== undefined) continue;
    const loaded = loadWorkflowFile(root, file);
    if (loaded.ok) definitions.push(loaded.definition);
    else invalid.push(join(path, file));
  }
  if (invalid.length > 0) {
    throw new InvalidInputError(`These workflow files are invalid: ${shortList(invalid)}.`, {
      hint: `Nothing was written. 'cdktr workflow validate ${path}' says what is wrong.`,
    });
  }
  if (definitions.length === 0) {
    throw new NotFoundError(`There are no workflow files in ${path}.`, {
      hint: "Workflow files end in .yml or .yaml.",
    });
  }
  return definitions;
}
