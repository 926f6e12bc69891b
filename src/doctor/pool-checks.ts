/** Pools that tasks wait for and that nobody made. */
import type { PoolSummary } from "../contract/messages.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { type Finding, warning } from "./finding.ts";

export async function checkPools(client: PrincipalClient): Promise<Finding[]> {
  try {
    return judgePools(await client.pools());
  } catch (error) {
    // An older principal knows none.
    if (error instanceof RequestRefusedError) return [];
    throw error;
  }
}

/** Assesses what tasks wait for. A pool that is full is no problem. */
export function judgePools(pools: readonly Pick<PoolSummary, "name" | "size" | "waiting">[]): Finding[] {
  return pools.flatMap(({ name, size, waiting }) => {
    if (waiting === 0 || (size !== null && size > 0)) return [];
    const tasks = `${waiting} ${waiting === 1 ? "task waits" : "tasks wait"} for it`;
    return [
      warning(
        "pools",
        size === null
          ? `There is no pool ${name}, and ${tasks}.`
          : `Pool ${name} has no slots, and ${tasks}.`,
        "What waits for it does not begin.",
        `Give it slots: cdktr pools set ${name} N; or correct "pool" in the workflow: cdktr runs queue shows what waits`,
      ),
    ];
  });
}
