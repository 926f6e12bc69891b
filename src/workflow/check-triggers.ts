/** Finds triggers that are well-formed but can never fire or never stop, in a single file and across files. */
import { didYouMean } from "../terminal/did-you-mean.ts";
import { type Diagnostic, type DiagnosticCode, type Finding, locate } from "./diagnostic.ts";
import { placeOf } from "./issues.ts";
import type { WorkflowDefinition } from "./model.ts";
import { typeFacts } from "./param-types.ts";
import { isRequired } from "./params.ts";
import { SourceText } from "./source-text.ts";
import { type Located, readYaml } from "./yaml-tree.ts";

/** Maximum number of runs in a chain of `on: workflow`; the next one is refused. */
export const MAX_CHAIN = 20;

/** The codes of problems with triggers. */
export const TRIGGER_CODES: ReadonlySet<DiagnosticCode> = new Set(["W003", "W004", "W005"]);

const AFTER_ID = ["on", "workflow", "id"];

/** A problem of a workflow's `on: workflow`. */
export type ChainProblem = Pick<Finding, "code" | "message" | "help">;

/** The part of a workflow that these checks need. */
interface Follower {
  readonly id: string;
  readonly cron: string | null;
  readonly catchup: WorkflowDefinition["catchup"];
  readonly on?:
    | { readonly workflow: { readonly id: string; readonly status: readonly string[] } | null }
    | undefined;
}

type Triggers = Pick<WorkflowDefinition, "cron" | "on" | "params">;

/** Finds triggers that do not pass a required parameter: the principal would refuse each of their firings. */
export function checkOfferedParams({ cron, on, params }: Triggers, root: Located): Finding[] {
  const triggers = [
    { path: ["cron"], isUsed: cron !== null, offered: [] },
    { path: ["on", "file"], isUsed: on?.file != null, offered: ["path", "file", "event"] },
    {
      path: ["on", "workflow"],
      isUsed: on?.workflow != null,
      offered: ["workflow_id", "workflow_instance_id", "status"],
    },
  ];
  const needed = Object.keys(params).filter((name) => isRequired(params[name] ?? { default: null }));
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
  const after = new Map<string, string>();
  const problems = new Map<string, ChainProblem>();
  const byId = new Map([...workflows].map((workflow) => [workflow.id, workflow]));
  for (const { id, on } of byId.values()) {
    if (on?.workflow == null) continue;
    after.set(id, on.workflow.id);
    const problem = checkStatuses(on.workflow.status, byId.get(on.workflow.id));
    if (problem !== null) problems.set(id, problem);
  }
  for (const [id, other] of after) {
    if (known === null || known.has(other)) continue;
    const message = `this workflow never runs after "${other}": there is no such workflow`;
    const help = didYouMean(other, known) ?? "an id is the path with dots: etl/daily.yml is etl.daily";
    problems.set(id, { code: "W004", message, help });
  }
  for (const circle of circlesOf(after)) {
    const way = [...circle, circle[0]].join(" → ");
    for (const id of circle) {
      problems.set(id, {
        code: "W005",
        message: `workflows run after each other in a circle: ${way}`,
        help: `"→" means "runs after"; each run starts the next, up to ${MAX_CHAIN} of them. Remove one "on: workflow"`,
      });
    }
  }
  return problems;
}

/** Only firings of a schedule are ever SKIPPED, and only those that do not wait for an agent as long as it takes. */
function checkStatuses(statuses: readonly string[], other: Follower | undefined): ChainProblem | null {
  if (other === undefined || statuses.some((status) => status !== "SKIPPED")) return null;
  if (other.cron !== null && other.catchup !== "all") return null;
  const why = other.cron === null ? "it has no cron" : 'its catchup is "all"';
  return {
    code: "W003",
    message: `this workflow never runs: no run of "${other.id}" is ever SKIPPED, because ${why}`,
    help: "SKIPPED are firings of a schedule that no agent took before the next one was due",
  };
}

/** The cycles of a map in which each id points to at most one other. Each cycle starts with its smallest id. */
function circlesOf(next: ReadonlyMap<string, string>): string[][] {
  const circles: string[][] = [];
  const seen = new Set<string>();
  for (const start of [...next.keys()].sort()) {
    const way: string[] = [];
    let id: string | undefined = start;
    for (; id !== undefined && !seen.has(id); id = next.get(id)) {
      seen.add(id);
      way.push(id);
    }
    const entry = id === undefined ? -1 : way.indexOf(id);
    if (entry >= 0) circles.push(way.slice(entry));
  }
  return circles;
}

/** Adds the position in the file of the workflow. */
export function locateChainProblem(problem: ChainProblem, source: string, path: string): Diagnostic[] {
  const body = source.startsWith("\ufeff") ? source.slice(1) : source;
  const { root } = readYaml(body);
  const range = root === null ? { start: 0, end: 1 } : placeOf(root, AFTER_ID);
  return locate([{ ...problem, ...range }], new SourceText(body), path);
}
