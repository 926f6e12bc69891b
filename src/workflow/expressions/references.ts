/** What expressions read: the parameters, tasks and other names behind the roots of their scope. */
import { didYouMean, nearest } from "../../terminal/did-you-mean.ts";
import type { Node } from "./cel.ts";
import { ExpressionProblem } from "./problem.ts";
import { PARTS_OF_TASKS, type Root, type Scope } from "./scope.ts";
import { type CelType, DYN, mapOf, STRING } from "./types.ts";

/** A value from outside that an expression reads. */
export interface Reference {
  /** The name at its front: `params`, `tasks`, `run`, … */
  readonly root: string;
  /** The parameter, task, variable or field; null for all of them, and for a root that is itself a value. */
  readonly name: string | null;
  /** What it reads of a task. */
  readonly part: "status" | "outputs" | "error" | null;
  /** The output that it reads of a task; null for all of them. */
  readonly output: string | null;
}

/** A reference in an expression, and the type of its value. */
export interface Found {
  readonly reference: Reference;
  readonly type: CelType;
}

type IdNode = Extract<Node, { op: "id" }>;
type TasksRoot = Extract<Root, { kind: "tasks" }>;
type RecordRoot = Extract<Root, { kind: "record" }>;

interface Segment {
  /** The name after the dot or in the brackets; null if it is not known before it is evaluated. */
  readonly name: string | null;
  readonly node: Node;
  /** Where the name is. */
  readonly start: number;
  readonly end: number;
}

/** The name at the front of a chain of members, and the members after it; null if it is no chain. */
function chainOf(node: Node): { readonly root: IdNode; readonly segments: readonly Segment[] } | null {
  const segments: Segment[] = [];
  let at: Node = node;
  for (;;) {
    if (at.op === "id") return { root: at, segments: segments.reverse() };
    if (at.op === ".") {
      segments.push({ name: at.args[1], node: at, start: at.end - at.args[1].length, end: at.end });
      at = at.args[0];
    } else if (at.op === "[]") {
      const index: Node = at.args[1];
      const name = index.op === "value" && typeof index.args === "string" ? index.args : null;
      segments.push({ name, node: at, start: index.start, end: index.end });
      at = at.args[0];
    } else return null;
  }
}

/**
 * The reference that a part of an expression is: not a part of one, and not something that is read from its value.
 * @param isVariable whether a name is the variable of a macro around it, which hides a root
 * @throws ExpressionProblem when it names something that does not exist, or cannot be read here
 */
export function referenceAt(
  node: Node,
  source: string,
  scope: Scope,
  isVariable: (name: string) => boolean,
): Found | null {
  const chain = chainOf(node);
  if (chain === null || isVariable(chain.root.args)) return null;
  const name = chain.root.args;
  const root = scope.roots.get(name);
  if (root === undefined) {
    throw unknownRoot(chain.root, chain.segments, source, scope);
  }
  const [first] = chain.segments;
  const found = (own: string | null, type: CelType): Found => ({
    reference: { root: name, name: own, part: null, output: null },
    type,
  });
  switch (root.kind) {
    case "value":
      // Of what an event offers, single names are read.
      if (name === "trigger" && chain.segments.length === 1 && first?.name != null)
        return found(first.name, STRING);
      return chain.segments.length === 0 ? found(null, root.type) : null;
    case "record": {
      if (first === undefined) return found(null, mapOf(STRING, DYN));
      if (first.name === null || chain.segments.length > 1) return null;
      const type = root.fields.get(first.name);
      if (type === undefined) throw unknownField(name, root, { ...first, name: first.name }, source, scope);
      return found(first.name, type);
    }
    case "tasks":
      return taskReference(chain.root, chain.segments, root, source, scope);
  }
}

function taskReference(
  rootNode: IdNode,
  segments: readonly Segment[],
  root: TasksRoot,
  source: string,
  scope: Scope,
): Found | null {
  const [task, part, output, ...rest] = segments;
  if (rest.length > 0) return null;
  if (task === undefined || task.name === null) {
    throw new ExpressionProblem({
      code: "E063",
      message: task === undefined ? '"tasks" needs the id of a task' : "the id of a task must be written out",
      help: 'write tasks.ID.status, tasks.ID.outputs.NAME or tasks["ID"]…',
      start: task?.start ?? rootNode.start,
      end: task?.end ?? rootNode.end,
    });
  }
  const names = root.tasks.get(task.name);
  if (names === undefined) throw unreadableTask(task.name, task, part, root, source, scope);
  if (part === undefined || part.name === null) {
    throw new ExpressionProblem({
      code: "E063",
      message: `"${source.slice(rootNode.start, task.node.end)}" does not say what to read of the task`,
      help: `write ${source.slice(rootNode.start, task.node.end)}.status, .error or .outputs.NAME`,
      start: rootNode.start,
      end: task.node.end,
    });
  }
  const type = PARTS_OF_TASKS.get(part.name);
  if (type === undefined) {
    const near = didYouMean(part.name, PARTS_OF_TASKS.keys());
    const asOutput = `write tasks.${task.name}.outputs.${part.name} for what it publishes`;
    throw new ExpressionProblem({
      code: "E063",
      message: `"${source.slice(rootNode.start, part.node.end)}" does not exist: a task has status, outputs and error`,
      help: near ?? asOutput,
      start: part.start,
      end: part.end,
    });
  }
  const reference = { root: "tasks", name: task.name, part: part.name as Reference["part"], output: null };
  // Something is read of the text of the status, say: of its value.
  if (part.name !== "outputs") return output === undefined ? { reference, type } : null;
  if (output === undefined) return { reference, type };
  if (output.name === null) return null;
  if (names.outputs !== null && !names.outputs.includes(output.name)) {
    throw new ExpressionProblem({
      code: "E035",
      message: `"${task.name}" does not declare an output "${output.name}"`,
      help: didYouMean(output.name, names.outputs) ?? `its outputs are ${names.outputs.join(", ")}`,
      start: output.start,
      end: output.end,
    });
  }
  return { reference: { ...reference, output: output.name }, type: DYN };
}

function unreadableTask(
  id: string,
  at: Segment,
  next: Segment | undefined,
  root: TasksRoot,
  source: string,
  scope: Scope,
): ExpressionProblem {
  const { start, end } = at;
  const why = root.others.get(id);
  const own = scope.task;
  if (why === "itself") {
    return new ExpressionProblem({
      code: "E034",
      message: `task "${id}" reads itself, before it has run`,
      start,
      end,
    });
  }
  if (why === "no tasks here") {
    const help = "this is evaluated before any task runs";
    return new ExpressionProblem({ code: "E034", message: "tasks cannot be read here", help, start, end });
  }
  if (why === "not upstream") {
    const what = next?.name === "outputs" ? "the outputs of " : "";
    return new ExpressionProblem({
      code: "E034",
      message: `task "${own ?? ""}" reads ${what}"${id}", which does not run before it`,
      help: `add "${id}" to its depends`,
      start,
      end,
    });
  }
  const ids = [...root.tasks.keys(), ...root.others.keys()];
  const dashed = dashedId(source, start, ids);
  if (dashed !== undefined) return dashed;
  const help = didYouMean(id, ids);
  return new ExpressionProblem({
    code: "E063",
    message: `there is no task "${id}"`,
    ...(help === undefined ? {} : { help }),
    start,
    end,
  });
}

/** An id with a dash, which is a minus without quotes. */
function dashedId(source: string, start: number, ids: readonly string[]): ExpressionProblem | undefined {
  const [written = ""] = /^\w+(?:[-.]\w+)+/.exec(source.slice(start)) ?? [];
  const meant = ids
    .filter((id) => /[-.]/.test(id) && written.startsWith(id))
    .reduce((longest, id) => (id.length > longest.length ? id : longest), "");
  if (meant === "") return undefined;
  return new ExpressionProblem({
    code: "E063",
    message: `the task id "${meant}" needs quotes`,
    help: `write tasks["${meant}"]${/^[.\w]+/.exec(source.slice(start + meant.length))?.[0] ?? ""}`,
    start,
    end: start + meant.length,
  });
}

function unknownField(
  rootName: string,
  root: RecordRoot,
  at: Segment & { readonly name: string },
  source: string,
  scope: Scope,
): ExpressionProblem {
  const { start, end, name } = at;
  const names = [...root.fields.keys()];
  const isRun = rootName === "run";
  const ofRun = `run has ${names.join(", ")}`;
  const listed =
    names.length === 0
      ? `this workflow has no ${rootName === "params" ? "parameters" : "env"}`
      : `there are ${names.slice(0, 20).join(", ")}${names.length > 20 ? ", …" : ""}`;
  const late = isRun && ["status", "error", "failed_tasks"].includes(name);
  const ofTask = scope.roots.get("tasks")?.kind === "tasks" ? "read tasks.ID.status" : ofRun;
  const help = late ? ofTask : (didYouMean(name, names) ?? (isRun ? ofRun : listed));
  const unknown = isRun
    ? `"${source.slice(at.node.start, end)}" does not exist`
    : rootName === "env"
      ? `the env of this workflow has no variable "${name}"`
      : `there is no parameter "${name}"`;
  return new ExpressionProblem({
    code: "E063",
    message: late ? `"run.${name}" is known only when the run is over` : unknown,
    help,
    start,
    end,
  });
}

/** Names that other tools have, and what is meant here. */
const FOREIGN: Readonly<Record<string, string>> = {
  inputs: "write params.NAME",
  parameters: "write params.NAME",
  param: "write params.NAME",
  args: "write params.NAME",
  vars: "write env.NAME or params.NAME",
  needs: "write tasks.ID.outputs.NAME",
  steps: "write tasks.ID.outputs.NAME",
  jobs: "write tasks.ID.outputs.NAME",
  task: "write tasks.ID.outputs.NAME",
  matrix: "write item.NAME in a task with matrix",
  each: "write item in a task with foreach",
  event: "write trigger.NAME for what the event offered",
  workflow: "write run.workflow_id",
  now: "write run.created_at or run.scheduled_time",
  today: 'write date(run.scheduled_time, "%Y-%m-%d", "Europe/London")',
  ds: 'write date(run.scheduled_time, "%Y-%m-%d", "Europe/London")',
};

function unknownRoot(
  root: IdNode,
  segments: readonly Segment[],
  source: string,
  scope: Scope,
): ExpressionProblem {
  const name = root.args;
  const { start, end } = root;
  const roots = [...scope.roots.keys()];
  const problem = (message: string, help: string, code: "E056" | "E063" = "E063"): ExpressionProblem =>
    new ExpressionProblem({ code, message, help, start, end });
  // An alert file has no run.
  if (scope.roots.has("row")) {
    return problem(`"${name}" is unknown`, `write row.${name} for a column of the result`);
  }
  if (name === "secrets" || name === "secret") {
    return problem(
      "secrets cannot be used in expressions",
      "declare secrets: [NAME] at the task; it becomes the variable NAME",
    );
  }
  if (["item", "key", "index"].includes(name)) {
    return problem(
      `"${name}" is known only in the items of a fan-out`,
      "add foreach or matrix to the task",
      "E056",
    );
  }
  if (["exit_code", "outputs"].includes(name)) {
    return problem(`"${name}" is known only in repeat.until`, "write tasks.ID.outputs.NAME of another task");
  }
  if (name === "env") return problem('"env" cannot be read here', "write the parameter or the value itself");
  const [first] = segments;
  const shown = first?.name != null && /^\w+$/.test(first.name) ? source.slice(start, first.node.end) : name;
  const unknown = `"${shown}" is unknown`;
  const params = scope.roots.get("params");
  if (params?.kind === "record" && params.fields.has(name)) return problem(unknown, `write params.${name}`);
  const tasks = scope.roots.get("tasks");
  if (tasks?.kind === "tasks" && (tasks.tasks.has(name) || tasks.others.has(name))) {
    return problem(
      unknown,
      `write tasks.${name}${segments.length > 0 ? source.slice(end, segments.at(-1)?.node.end) : ".status"}`,
    );
  }
  if (Object.hasOwn(FOREIGN, name)) {
    return problem(unknown, (FOREIGN[name] ?? "").replace("NAME", first?.name ?? "NAME"));
  }
  const near = nearest(name, roots);
  return problem(unknown, near === undefined ? `names are ${roots.join(", ")}` : `did you mean "${near}"?`);
}
