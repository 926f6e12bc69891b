/** Checks concurrency groups across files: that workflows of a group agree, and that no run waits for itself. Only groups whose names have no expression. */
import type { Call, CallProblem } from "./check-calls.ts";
import type { Concurrency } from "./concurrency.ts";
import { groupText } from "./group.ts";
import { hasExpressions } from "./has-expressions.ts";

/** The part of a workflow that these checks need. */
export interface MemberOfGroup {
  readonly id: string;
  readonly concurrency?: Concurrency | undefined;
  readonly calls: readonly Call[];
}

/** Files that are named in a message. */
const NAMED = 3;

/** Finds the problems of each workflow. */
export function checkGroups(workflows: Iterable<MemberOfGroup>): Map<string, CallProblem[]> {
  const problems = new Map<string, CallProblem[]>();
  const add = (id: string, problem: CallProblem) => problems.set(id, [...(problems.get(id) ?? []), problem]);
  const byId = new Map([...workflows].map((workflow) => [workflow.id, workflow]));
  const members = [...byId.values()].flatMap((workflow) => {
    const key = keyOf(workflow);
    return key === null ? [] : [{ ...workflow, key, max: workflow.concurrency?.max_runs ?? 1 }];
  });
  for (const [key, group] of Map.groupBy(members, (member) => member.key)) {
    if (new Set(group.map(({ max }) => max)).size < 2) continue;
    for (const { id, max } of group) {
      const others = group.filter((other) => other.max !== max);
      const named = others.slice(0, NAMED).map((other) => `${other.max} in ${other.id}`);
      const more = others.length > NAMED ? ` and ${others.length - NAMED} more` : "";
      add(id, {
        code: "W016",
        message: `${groupText(key)} has max_runs: ${max} here, and ${named.join(", ")}${more}`,
        help: "a run starts when fewer runs than its own max_runs are in the group, and whoever waits first blocks the others: write the same number in each",
        path: ["concurrency", "max_runs"],
      });
    }
  }
  for (const { id, key, calls } of members) {
    for (const { task, workflow, wait } of calls) {
      const called = members.find((member) => member.id === workflow);
      if (called === undefined || called.key !== key || called.max > 1 || wait === false) continue;
      add(id, {
        code: "W017",
        message: `task "${task}" would wait for itself: a run of "${workflow}" waits for ${groupText(key)} (max_runs: 1), in which this workflow has the place`,
        help: "give one of the two another group, or more max_runs",
        path: ["tasks", task, "config", "workflow"],
      });
    }
  }
  return problems;
}

/** The key of the group of all runs of a workflow; null if it has none, or one for each of several values. */
function keyOf({ id, concurrency }: MemberOfGroup): string | null {
  if (concurrency === undefined) return null;
  const { group } = concurrency;
  if (group === undefined) return `w ${id}`;
  return hasExpressions(group) ? null : `g ${group}`;
}
