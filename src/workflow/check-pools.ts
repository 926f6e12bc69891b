/** Finds tasks that never get their slots, as far as the settings of the workflow directory say which pools there are. */
import { didYouMean } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import { hasExpressions } from "./has-expressions.ts";
import { hookTasks } from "./hooks.ts";
import type { IssuePath } from "./issues.ts";
import type { WorkflowDefinition } from "./model.ts";
import type { Pool } from "./pool.ts";

/** A pool that a task cannot get slots of. */
interface PoolProblem extends Pick<Finding, "code" | "message" | "help"> {
  readonly path: IssuePath;
}

/**
 * Pools that do not exist or are too small.
 * @param sizes those in the settings of the workflow directory; without any, commands make the pools, and nothing is known about them
 */
export function checkPools(
  workflow: Pick<WorkflowDefinition, "pool" | "tasks" | "hooks">,
  sizes: Readonly<Record<string, number>> | undefined,
): PoolProblem[] {
  if (sizes === undefined || Object.keys(sizes).length === 0) return [];
  const check = (pool: Pool | undefined, at: IssuePath): PoolProblem[] =>
    Object.entries(pool ?? {}).flatMap(([name, slots]): PoolProblem[] => {
      if (hasExpressions(name)) return [];
      const size = Object.hasOwn(sizes, name) ? sizes[name] : undefined;
      const path = [...at, "pool", name];
      if (size === undefined) {
        const near = didYouMean(name, Object.keys(sizes));
        const help = `${near === undefined ? "" : `${near} `}pools are in _cdktr.yml of the workflow directory, or made by cdktr pools set ${name} N`;
        return [{ code: "W018", message: `there is no pool "${name}"`, help, path }];
      }
      if (typeof slots === "string" || slots <= size) return [];
      const message = `it never gets ${slots} ${slots === 1 ? "slot" : "slots"} of pool "${name}", which has ${size}`;
      return [{ code: "W018", message, help: "take fewer, or make the pool larger in _cdktr.yml", path }];
    });
  return [
    ...check(workflow.pool, []),
    ...workflow.tasks.flatMap(({ id, pool }) => check(pool, ["tasks", id])),
    ...hookTasks(workflow).flatMap(({ id, pool }) => check(pool, ["hooks", id])),
  ];
}
