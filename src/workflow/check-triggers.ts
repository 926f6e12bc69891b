/** Finds triggers that are well-formed but can never fire or never stop, in a single file and across files. */
import { didYouMean } from "../terminal/did-you-mean.ts";
import { findCycles } from "./dag.ts";
import { type Diagnostic, type DiagnosticCode, type Finding, locate } from "./diagnostic.ts";
import { type IssuePath, nodeAt, placeOf } from "./issues.ts";
import type { WorkflowDefinition } from "./model.ts";
import { typeFacts } from "./param-types.ts";
import { isRequired } from "./params.ts";
import { schedulesOf } from "./schedules.ts";
import { SourceText } from "./source-text.ts";
import { aftersOf, filesOf, idMatcher, isIdGlob } from "./triggers.ts";
import { type Located, readYaml } from "./yaml-tree.ts";

/** Maximum number of runs in a chain of `on: workflow`; the next one is refused. */
export const MAX_CHAIN = 20;

/** The codes of problems with triggers. */
export const TRIGGER_CODES: ReadonlySet<DiagnosticCode> = new Set(["W003", "W004", "W005"]);

/** A problem of a workflow's `on: workflow`. */
export interface ChainProblem extends Pick<Finding, "code" | "message" | "help"> {
  /** Which of several `on: workflow` it is about. */
  readonly index: number;
}

/** The part of a workflow that these checks need. */
interface Follower {
  readonly id: string;
  readonly cron: string | null;
  readonly catchup: WorkflowDefinition["catchup"];
  readonly schedules?: WorkflowDefinition["schedules"];
  readonly concurrency?: WorkflowDefinition["concurrency"];
  readonly on?:
    | { readonly workflow: After | null; readonly workflows?: readonly After[] | undefined }
    | undefined;
}

interface After {
  readonly id: string;
  readonly status: readonly string[];
}

type Triggers = Pick<WorkflowDefinition, "cron" | "on" | "params">;

/** Finds triggers that do not pass a required parameter: the principal would refuse each of their firings. */
export function checkOfferedParams({ cron, on, params }: Triggers, root: Located): Finding[] {
  const triggers = [
    { path: ["cron"], isUsed: cron !== null, offered: [] },
    { path: ["on", "file"], isUsed: filesOf(on).length > 0, offered: ["path", "file", "event"] },
    {
      path: ["on", "workflow"],
      isUsed: aftersOf(on).length > 0,
      offered: ["workflow_id", "workflow_instance_id", "status"],
    },
  ];
  const needed = Object.keys(params).filter((name) =>
    isRequired(params[name] ?? { default: null, default_template: undefined }),
  );
  return triggers.flatMap(({ path, isUsed, offered }) => {
    if (!isUsed) return [];
    const unfit = offered.flatMap((name) => {
      const { type } = params[name] ?? {};
      if (type === undefined || type === "string") return [];
      const message = `"${path.join(": ")}" can never run this workflow: it passes text as "${name}", which must be ${typeFacts(type).noun}`;
      const help = "make it a string, or give the parameter another name";
      return [{ code: "W003" as const, message, help, ...placeOf(root, ["params", name, "type"]) }];
    });
    const missing = needed.filter((name) => !(offered as string[]).includes(name));
    if (missing.length === 0) return unfit;
    const names = missing.map((name) => `"${name}"`).join(", ");
    const [subject, verb] = missing.length === 1 ? ["parameter", "has"] : ["parameters", "have"];
    const message = `"${path.join(": ")}" can never run this workflow: ${subject} ${names} ${verb} no default`;
    const gives =
      offered.length === 0 ? "a schedule passes no parameters" : `it only passes ${offered.join(", ")}`;
    return [{ code: "W003", message, help: `${gives}; add a default`, ...placeOf(root, path) }, ...unfit];
  });
}

/**
 * Problems of `on: workflow` that are only visible across all workflows, by the id of the affected workflow.
 * @param known all existing ids, including those of invalid files; null if some are unknown
 */
export function checkChains(
  workflows: Iterable<Follower>,
  known: ReadonlySet<string> | null,
): Map<string, ChainProblem> {
  const problems = new Map<string, ChainProblem>();
  const byId = new Map([...workflows].map((workflow) => [workflow.id, workflow]));
  const graph: { id: string; depends: string[] }[] = [];
  for (const { id, on } of byId.values()) {
    const afters = all(on);
    for (const [index, after] of afters.entries()) {
      const problem = checkAfter(after, byId.get(after.id), known);
      if (problem !== null && !problems.has(id)) problems.set(id, { ...problem, index });
    }
    // A glob may mean any number of workflows, and names none: it does not count as part of a circle.
    const exact = afters.map((after) => after.id).filter((other) => !isIdGlob(other));
    if (exact.length > 0) graph.push({ id, depends: exact });
  }
  const ids = new Set(graph.map(({ id }) => id));
  const closed = graph.map(({ id, depends }) => ({ id, depends: depends.filter((other) => ids.has(other)) }));
  for (const cycle of findCycles(closed)) {
    const circle = fromSmallest(cycle);
    const way = [...circle, circle[0]].join(" → ");
    for (const [n, id] of circle.entries()) {
      const next = circle[(n + 1) % circle.length];
      problems.set(id, {
        code: "W005",
        message: `workflows run after each other in a circle: ${way}`,
        help: `"→" means "runs after"; each run starts the next, up to ${MAX_CHAIN} of them. Remove one "on: workflow"`,
        index: all(byId.get(id)?.on).findIndex((after) => after.id === next),
      });
    }
  }
  return problems;
}

function all(on: Follower["on"]): readonly After[] {
  return on?.workflow == null ? [] : [on.workflow, ...(on.workflows ?? [])];
}

function checkAfter(
  { id: other, status }: After,
  workflow: Follower | undefined,
  known: ReadonlySet<string> | null,
): Omit<ChainProblem, "index"> | null {
  if (isIdGlob(other)) {
    const matches = idMatcher(other);
    if (known === null || [...known].some(matches)) return null;
    const message = `this workflow never runs after "${other}": no workflow has such an id`;
    const help = "* stands for any characters of a part of an id, ** for any characters";
    return { code: "W004", message, help };
  }
  if (known !== null && !known.has(other)) {
    const message = `this workflow never runs after "${other}": there is no such workflow`;
    const help = didYouMean(other, known) ?? "an id is the path with dots: etl/daily.yml is etl.daily";
    return { code: "W004", message, help };
  }
  return checkStatuses(status, workflow);
}

/**
 * Only firings of a schedule that do not wait for an agent as long as it takes are ever SKIPPED, and runs that do not wait for their
 * concurrency group.
 */
function checkStatuses(
  statuses: readonly string[],
  other: Follower | undefined,
): Omit<ChainProblem, "index"> | null {
  if (other === undefined || statuses.some((status) => status !== "SKIPPED")) return null;
  if ((other.concurrency?.on_conflict ?? "queue") !== "queue") return null;
  const entries = schedulesOf(other);
  if (entries.some(({ catchup }) => catchup !== "all")) return null;
  const why = entries.length === 0 ? "it has no cron" : 'its catchup is "all"';
  return {
    code: "W003",
    message: `this workflow never runs: no run of "${other.id}" is ever SKIPPED, because ${why}`,
    help: "SKIPPED are firings of a schedule that no agent took before the next one was due, and runs that find their concurrency group full",
  };
}

/** A cycle as it begins with its smallest id. Each id is followed by one that it runs after. */
function fromSmallest(cycle: readonly string[]): readonly string[] {
  const ids = cycle.at(-1) === cycle[0] ? cycle.slice(0, -1) : cycle;
  const start = ids.indexOf([...ids].sort()[0] ?? "");
  return [...ids.slice(start), ...ids.slice(0, start)];
}

/** Adds the position in the file of the workflow. */
export function locateChainProblem(problem: ChainProblem, source: string, path: string): Diagnostic[] {
  const body = source.startsWith("\ufeff") ? source.slice(1) : source;
  const { root } = readYaml(body);
  const { index, ...finding } = problem;
  const range =
    root === null ? { start: 0, end: 1 } : placeOf(root, [...placeOfOne(root, "workflow", index), "id"]);
  return locate([{ ...finding, ...range }], new SourceText(body), path);
}

/** The path of one of the triggers of a kind, which the file has as one or as a list. */
function placeOfOne(root: Located, kind: string, index: number): IssuePath {
  const path = ["on", kind];
  return Array.isArray(nodeAt(root, path)?.value) ? [...path, index] : path;
}

/** Finds triggers of one file that exclude each other, or that never stop. @param id of the workflow */
export function checkTriggers(root: Located, id: string): Finding[] {
  const findings: Finding[] = [];
  for (const { node } of entriesOf(root, "workflow")) {
    const other = node.children.get("id")?.node;
    // A workflow that follows itself would never stop.
    if (other?.value !== id) continue;
    const message = "a workflow cannot run after itself";
    findings.push({
      code: "E014",
      message,
      help: "name another workflow",
      start: other.start,
      end: other.end,
    });
  }
  const paths = new Set<unknown>();
  for (const { node } of entriesOf(root, "webhook")) {
    const path = node.children.get("path")?.node;
    if (typeof path?.value !== "string") continue;
    if (paths.has(path.value)) {
      const message = `the path ${path.value} is used twice`;
      const help = "give each webhook a path of its own";
      findings.push({ code: "E014", message, help, start: path.start, end: path.end });
    }
    paths.add(path.value);
  }
  return findings;
}

function entriesOf(root: Located, kind: string): { readonly node: Located }[] {
  const node = nodeAt(root, ["on", kind]);
  if (node === null) return [];
  return Array.isArray(node.value) ? [...node.children.values()] : [{ node }];
}
