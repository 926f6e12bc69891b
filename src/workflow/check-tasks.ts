/** Checks the dependencies between the tasks of a workflow file: missing, repeated or circular ones. */

import { nearest } from "../terminal/did-you-mean.ts";
import { acceptedBy } from "./conditions.ts";
import { findCycles } from "./dag.ts";
import type { Finding } from "./diagnostic.ts";
import { nodeAt, placeOf } from "./issues.ts";
import type { WorkflowDefinition } from "./model.ts";
import type { Located } from "./yaml-tree.ts";

interface Dependency {
  readonly id: string;
  readonly place: { readonly start: number; readonly end: number };
}

/** Limit on suggestions: each one compares a name with all ids, and a file full of wrong names must not take minutes. */
const MAX_SUGGESTIONS = 20;

/** Checks the tasks as far as they can be read, whatever else is wrong with the file. */
export function checkTasks(root: Located): Finding[] {
  const tasks = nodeAt(root, ["tasks"]);
  if (tasks === null) return [];
  if (tasks.broken === true || Array.isArray(tasks.value)) return [];
  if (tasks.value === null || (typeof tasks.value === "object" && tasks.children.size === 0)) {
    const help = "add at least one task";
    return [{ code: "E013", message: "there are no tasks", help, ...placeOf(root, ["tasks"]) }];
  }
  const findings: Finding[] = [];
  const names = new Map<string, string>();
  const depends = new Map<string, Dependency[]>();
  for (const [key, child] of tasks.children) {
    const id = String(key);
    const name = child.node.children.get("name")?.node.value;
    if (typeof name === "string" && !names.has(name)) names.set(name, id);
    depends.set(id, dependenciesOf(child.node));
    if (root.children.has("files") && child.node.children.has("user")) {
      findings.push({
        code: "E014",
        message: `"user" of task "${id}" cannot be used together with "files" of the workflow`,
        help: "leave one of the two out, or put the files where that user can read them",
        ...placeOf(root, ["tasks", id, "user"]),
      });
    }
  }

  let suggestions = 0;
  for (const [id, dependencies] of depends) {
    const seen = new Set<string>();
    for (const { id: dependency, place } of dependencies) {
      if (dependency === id) {
        findings.push({ code: "E031", message: `task "${id}" depends on itself`, ...place });
      } else if (!depends.has(dependency)) {
        const isHelped = suggestions++ < MAX_SUGGESTIONS;
        const help = isHelped ? suggestion(dependency, id, depends.keys(), names) : undefined;
        const message = `task "${id}" depends on "${dependency}", which does not exist`;
        findings.push({ code: "E030", message, help, ...place });
      } else if (seen.has(dependency)) {
        findings.push({
          code: "W001",
          message: `task "${id}" lists the dependency "${dependency}" twice`,
          ...place,
        });
      }
      seen.add(dependency);
    }
  }

  const graph = [...depends].map(([id, list]) => ({
    id,
    depends: list.map((dependency) => dependency.id).filter((dependency) => dependency !== id),
  }));
  for (const cycle of findCycles(graph)) {
    const [first = "", second] = cycle;
    const place = depends.get(first)?.find((dependency) => dependency.id === second)?.place;
    const message = `the dependencies form a cycle: ${cycle.join(" → ")}`;
    const help = '"→" means "depends on"; remove one of these dependencies';
    findings.push({ code: "E032", message, help, ...(place ?? placeOf(root, ["tasks", first])) });
  }
  return findings;
}

/** The tasks that one depends on: the entries of a list, or the keys of a mapping. */
function dependenciesOf(task: Located): Dependency[] {
  const depends = task.children.get("depends")?.node;
  if (depends === undefined) return [];
  const isList = Array.isArray(depends.value);
  return [...depends.children].flatMap(([key, { key: place, node }]) => {
    if (!isList) return [{ id: String(key), place: place ?? node }];
    return typeof node.value === "string" ? [{ id: node.value, place: node }] : [];
  });
}

type Conditions = Pick<WorkflowDefinition["tasks"][number], "id" | "depends" | "accepts" | "allow_failure">;

/**
 * Warns about tasks that can never run: one that must not complete for them must complete for another one that they need. Only
 * dependencies that accept nothing but COMPLETED are followed.
 */
export function checkReachable(tasks: readonly Conditions[], root: Located): Finding[] {
  if (tasks.every(({ accepts }) => accepts === undefined)) return [];
  const byId = new Map(tasks.map((task) => [task.id, task]));
  return tasks.flatMap((task) => {
    for (const failed of task.depends) {
      if (acceptedBy(task, failed).has("COMPLETED") || byId.get(failed)?.allow_failure !== undefined)
        continue;
      const through = task.depends.find(
        (other) => other !== failed && mustComplete(byId, task, other) && needs(byId, other, failed),
      );
      if (through === undefined) continue;
      const wanted = [...acceptedBy(task, failed)].filter((status) => status !== "CRASHED").join(" or ");
      return [
        {
          code: "W009",
          message: `task "${task.id}" can never run: it needs "${failed}" to be ${wanted} and, through "${through}", COMPLETED`,
          help: `write ${through}: ended, or give "${through}" another condition`,
          ...placeOf(root, ["tasks", task.id, "depends", failed]),
        },
      ];
    }
    return [];
  });
}

function mustComplete(byId: ReadonlyMap<string, Conditions>, task: Conditions, other: string): boolean {
  const accepted = acceptedBy(task, other);
  return accepted.size === 1 && accepted.has("COMPLETED") && byId.get(other)?.allow_failure === undefined;
}

/** Whether a task completes only if another one does. */
function needs(byId: ReadonlyMap<string, Conditions>, id: string, other: string): boolean {
  const seen = new Set([id]);
  // The set grows while it is read.
  for (const each of seen) {
    const task = byId.get(each);
    for (const needed of task?.depends ?? []) {
      if (task === undefined || !mustComplete(byId, task, needed)) continue;
      if (needed === other) return true;
      seen.add(needed);
    }
  }
  return false;
}

function suggestion(
  wanted: string,
  own: string,
  ids: Iterable<string>,
  names: ReadonlyMap<string, string>,
): string | undefined {
  const near = nearest(
    wanted,
    [...ids].filter((id) => id !== own),
  );
  if (near !== undefined) return `did you mean "${near}"?`;
  const named = names.get(wanted);
  return named === undefined ? undefined : `"${wanted}" is the name of task "${named}"; write its id`;
}
