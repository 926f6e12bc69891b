/** What an agent must have to get a run or a slice, in the form in which the queue stores it. */
import { FIRST_PROTOCOL, SLICES_SINCE } from "../../contract/version.ts";
import type { AgentRecord } from "../../storage/operational/store.ts";
import { lacking, type Placement, readPlacement } from "../../workflow/placement.ts";
import type { Plan } from "../../workflow/plan.ts";

/** What an agent must have. */
export interface Needs {
  readonly placement: Placement;
  /** The oldest protocol version that will do. */
  readonly protocol: number;
  /** Whether the agent gets secrets of the principal's store. */
  readonly usesStore: boolean;
}

/** Follows the protocol version of what gets secrets of the principal's store. An older cdktr gives such a run to no agent. */
const WITH_SECRETS = "+secrets";

/** The key of a placement that asks for nothing. */
const ANYWHERE = "{}";

/** Maximum number of parsed needs to cache. */
const KEPT = 10_000;
const known = new Map<string, Needs>();

/**
 * The needs of a slice.
 * @param protocol the protocol version that its tasks need
 * @param usesStore whether a task gets secrets of the principal's store
 */
export function needsOfSlice(placement: Placement, protocol: number, usesStore = false): string {
  return `${Math.max(SLICES_SINCE, protocol)}${usesStore ? WITH_SECRETS : ""} ${placement.key}`;
}

/** The needs of a run as a whole: any agent can have it, unless its tasks ask for labels, or for what older agents do not know. */
export function needsOfWhole(plan: Plan): string {
  const { placement } = plan.nodes[0] ?? {};
  if (placement === undefined) return "";
  if (placement.key === ANYWHERE && plan.protocol <= FIRST_PROTOCOL.version) return "";
  return needsOfSlice(
    placement,
    plan.protocol,
    plan.nodes.some((node) => node.usesStore === true),
  );
}

/** Reads what one of the functions above wrote. */
export function readNeeds(text: string): Needs {
  const found = known.get(text);
  if (found !== undefined) return found;
  const [start = "", ...key] = text.split(" ");
  const usesStore = start.endsWith(WITH_SECRETS);
  const protocol = usesStore ? start.slice(0, -WITH_SECRETS.length) : start;
  const needs: Needs = {
    placement: readPlacement(text === "" ? ANYWHERE : key.join(" ")),
    protocol: text === "" ? FIRST_PROTOCOL.version : Number(protocol),
    usesStore,
  };
  if (known.size >= KEPT) known.clear();
  known.set(text, needs);
  return needs;
}

/**
 * Whether an agent has what is needed.
 * @param givesSecrets whether the principal gives secrets of its store to agents
 */
export function meets(
  agent: Pick<AgentRecord, "labels" | "protocol">,
  { placement, protocol, usesStore }: Needs,
  givesSecrets = true,
): boolean {
  if (usesStore && !givesSecrets) return false;
  return agent.protocol >= protocol && lacking(agent.labels, placement.runs_on).length === 0;
}
