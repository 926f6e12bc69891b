/** The agents that have, or had, a run or parts of it. */
import type { RunDetails, RunSummary } from "./messages.ts";
import { waitsOf } from "./run-waits.ts";

/** In short: `web-1`, `3 agents`; null for none. */
export function agentsWord({ agents = 0, agent_id }: RunSummary): string | null {
  return agents > 1 ? `${agents} agents` : agent_id;
}

/** Ids of the agents that have, or had, the run or parts of it. */
export function agentsOf(run: RunDetails): readonly string[] {
  return [...new Set(run.attempts.map(({ agent_id }) => agent_id).filter((id) => id !== null))];
}

/** Whether its tasks ran on more than one agent, so that each must be named with its task. */
export function isShared(run: RunDetails): boolean {
  return new Set(run.tasks.map((task) => task.agent_id).filter((id) => id !== null)).size > 1;
}

/** Whether agents get parts of it. */
export function isSplit(run: RunDetails): boolean {
  return [...run.attempts, ...waitsOf(run)].some(({ slice }) => slice > 0);
}
