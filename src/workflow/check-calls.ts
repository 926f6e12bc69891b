/** Checks the tasks that run other workflows (`!Workflow`) across files: that those exist, take these parameters, and do not run each other in a circle. */
import { didYouMean, nearest } from "../terminal/did-you-mean.ts";
import { findCycles } from "./dag.ts";
import { type Diagnostic, type Finding, locate } from "./diagnostic.ts";
import { hasExpressions } from "./has-expressions.ts";
import { type IssuePath, placeOf } from "./issues.ts";
import { MAX_RUN_DEPTH } from "./limits.ts";
import type { WorkflowDefinition } from "./model.ts";
import { readParam } from "./param-types.ts";
import { isRequired } from "./params.ts";
import { SourceText } from "./source-text.ts";
import { readYaml } from "./yaml-tree.ts";

/** A task that runs another workflow. Plain JSON. */
export interface Call {
  readonly task: string;
  readonly workflow: string;
  /** The parameters that it passes on; null for a value that is an expression. */
  readonly params: Readonly<Record<string, string | null>>;
  /** False if the task does not wait for the run; absent if it does. */
  readonly wait?: false;
}

/** A problem of such a task. */
export interface CallProblem extends Pick<Finding, "code" | "message" | "help"> {
  /** Where it is in the file. */
  readonly path: IssuePath;
}

/** The part of a workflow that these checks need. */
interface Caller {
  readonly id: string;
  readonly params: WorkflowDefinition["params"];
  readonly calls: readonly Call[];
}

/** The tasks of a workflow that run others; undefined for none. */
export function callsOf({
  tasks,
  language,
}: Pick<WorkflowDefinition, "tasks" | "language">): Call[] | undefined {
  const calls = tasks.flatMap(({ id, config }): Call[] => {
    if (config.type !== "Workflow") return [];
    const params = Object.entries(config.params).map(([name, value]): [string, string | null] => [
      name,
      language !== undefined && hasExpressions(value) ? null : value,
    ]);
    const wait = config.wait ? {} : { wait: false as const };
    return [{ task: id, workflow: config.workflow, params: Object.fromEntries(params), ...wait }];
  });
  return calls.length === 0 ? undefined : calls;
}

/** Finds the problems of each workflow. @param known ids of all workflows; null if they are not known */
export function checkCalls(
  workflows: Iterable<Caller>,
  known: ReadonlySet<string> | null,
): Map<string, CallProblem[]> {
  const byId = new Map([...workflows].map((workflow) => [workflow.id, workflow]));
  const problems = new Map<string, CallProblem[]>();
  const callers = [...byId.values()].filter(({ calls }) => calls.length > 0);
  for (const { id, calls } of callers) {
    const found = calls.flatMap((call) => checkCall(call, byId.get(call.workflow), known));
    if (found.length > 0) problems.set(id, found);
  }
  const graph = callers.map(({ id, calls }) => ({ id, depends: calls.map(({ workflow }) => workflow) }));
  for (const cycle of findCycles(graph)) {
    const way = cycle.join(" → ");
    for (const [n, id] of cycle.slice(0, -1).entries()) {
      const task = byId.get(id)?.calls.find(({ workflow }) => workflow === cycle[n + 1])?.task ?? "";
      const problem: CallProblem = {
        code: "W005",
        message: `workflows run each other in a circle: ${way}`,
        help: `"→" means "runs"; it ends only by a condition, or when ${MAX_RUN_DEPTH} runs are nested, with a failure. Remove one of these tasks`,
        path: pathOf(task, "workflow"),
      };
      problems.set(id, [...(problems.get(id) ?? []), problem]);
    }
  }
  return problems;
}

function checkCall(
  { task, workflow: id, params }: Call,
  called: Caller | undefined,
  known: ReadonlySet<string> | null,
): CallProblem[] {
  if (called === undefined) {
    if (known === null || known.has(id)) return [];
    const message = `task "${task}" runs "${id}": there is no such workflow`;
    const help = didYouMean(id, known) ?? "an id is the path with dots: etl/daily.yml is etl.daily";
    return [{ code: "W004", message, help, path: pathOf(task, "workflow") }];
  }
  const problems = Object.entries(params).flatMap(([name, value]): CallProblem[] => {
    const path = pathOf(task, "params", name);
    const param = Object.hasOwn(called.params, name) ? called.params[name] : undefined;
    if (param === undefined) {
      const names = Object.keys(called.params);
      const near = nearest(name, names);
      const listed = names.length === 0 ? "it has none" : `its parameters are ${names.join(", ")}`;
      const help = near === undefined ? listed : `did you mean "${near}"?`;
      return [{ code: "W013", message: `workflow "${id}" has no parameter "${name}"`, help, path }];
    }
    if (value === null) return [];
    const read = readParam(param, value);
    if (read.ok) return [];
    const { must, help } = read.problem;
    const shown = JSON.stringify(value.length > 60 ? `${value.slice(0, 60).toWellFormed()}…` : value);
    return [
      {
        code: "W013",
        message: `parameter "${name}" of workflow "${id}" must ${must}, not ${shown}`,
        help,
        path,
      },
    ];
  });
  const missing = Object.entries(called.params)
    .filter(([name, param]) => isRequired(param) && !Object.hasOwn(params, name))
    .map(([name]) => name);
  if (missing.length > 0) {
    const names = missing.map((name) => `"${name}"`).join(", ");
    problems.push({
      code: "W013",
      message: `workflow "${id}" needs ${missing.length === 1 ? "the parameter" : "the parameters"} ${names}`,
      help: `give ${missing.length === 1 ? "it" : "them"}: params: {${missing.map((name) => `${name}: …`).join(", ")}}`,
      path: pathOf(task),
    });
  }
  return problems;
}

function pathOf(task: string, ...rest: string[]): IssuePath {
  return ["tasks", task, "config", ...rest];
}

/** Adds the positions in the file of the workflow. */
export function locateCallProblems(
  problems: readonly CallProblem[],
  source: string,
  path: string,
): Diagnostic[] {
  const body = source.startsWith("\ufeff") ? source.slice(1) : source;
  const { root } = readYaml(body);
  const findings = problems.map(({ path: at, ...problem }): Finding => {
    const range = root === null ? { start: 0, end: 1 } : placeOf(root, at);
    return { ...problem, ...range };
  });
  return locate(findings, new SourceText(body), path);
}
