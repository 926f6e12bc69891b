/** Checks the dependencies between the tasks of a workflow file: missing, repeated or circular ones. */

import { nearest } from "../terminal/did-you-mean.ts";
import { findCycles } from "./dag.ts";
import type { Finding } from "./diagnostic.ts";
import { nodeAt, placeOf } from "./issues.ts";
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

function dependenciesOf(task: Located): Dependency[] {
  const list = task.children.get("depends")?.node;
  if (list === undefined || !Array.isArray(list.value)) return [];
  return [...list.children.values()].flatMap(({ node }) =>
    typeof node.value === "string" ? [{ id: node.value, place: node }] : [],
  );
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
