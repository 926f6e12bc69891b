import { stat } from "node:fs/promises";
import { basename, dirname } from "node:path";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { drawGraph } from "../../terminal/graph.ts";
import { buildDag } from "../../workflow/dag.ts";
import { renderDiagnostic } from "../../workflow/diagnostic.ts";
import { loadWorkflowFile } from "../../workflow/load.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { command, wholeNumber } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor, terminalWidth } from "../support/style.ts";

export default command({
  meta: { name: "graph", description: "Draw a workflow's tasks and their dependencies" },
  args: {
    workflow: {
      type: "positional",
      required: true,
      description: "A workflow's ID, or the path of a workflow file (which needs no principal)",
    },
    width: {
      type: "string",
      valueHint: "N",
      description: "Number of columns (else the width of the terminal)",
    },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    completes: { workflow: "workflow" },
    details: `Each row of boxes waits for rows above it. When the drawing would be too wide, tasks with the same
      neighbours share a box; when that is not enough, it becomes a list.`,
    examples: [
      { command: "cdktr workflow graph etl.daily", does: "as the principal has it" },
      { command: "cdktr workflow graph workflows/etl/daily.yml", does: "as the file has it" },
    ],
  },
  async run({ args }) {
    const width = wholeNumber(args.width, "--width", { min: 20, max: 10_000 }) ?? terminalWidth();
    const definition = (await isFile(args.workflow))
      ? await fromFile(args.workflow)
      : (await withPrincipal(args, ({ client }) => client.getWorkflow(args.workflow))).definition;
    if (args.json) return printJson(graphJson(definition));
    const dag = buildDag(definition.tasks);
    const tasks = definition.tasks.map(({ id, depends }) => ({ id, depends, depth: dag.depth(id) }));
    await printLine(drawGraph(tasks, { width, paint: styleFor("stdout").bold }));
  },
});

/**
 * Treats text that looks like a path as one: ids have neither slashes nor a file extension.
 * @throws NotFoundError when the file does not exist
 */
async function isFile(text: string): Promise<boolean> {
  if (!text.includes("/") && !/\.ya?ml$/.test(text)) return false;
  if ((await stat(text).catch(() => null)) !== null) return true;
  throw new NotFoundError(`There is no file ${text}.`, {
    hint: "Workflows of the principal have ids such as etl.daily: see 'cdktr workflow list'.",
  });
}

async function fromFile(path: string): Promise<WorkflowDefinition> {
  const result = loadWorkflowFile(dirname(path), basename(path), { displayPath: path });
  if (result.ok) return result.definition;
  const color = styleFor("stderr").enabled;
  for (const diagnostic of result.diagnostics) say(renderDiagnostic(diagnostic, { color }));
  throw new InvalidInputError(`${path} is not a valid workflow file.`);
}

function graphJson({ id, name, tasks }: WorkflowDefinition) {
  const dag = buildDag(tasks);
  return {
    workflow_id: id,
    workflow_name: name,
    tasks: tasks.map((task) => ({
      task_id: task.id,
      task_name: task.name,
      depends: task.depends,
      ...(task.accepts === undefined ? {} : { accepts: task.accepts }),
      depth: dag.depth(task.id),
    })),
  };
}
