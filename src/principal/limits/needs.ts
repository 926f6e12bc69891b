/**
 * What an agent must have to get a run or a slice, and what the principal must have for it, in the form in which the queue stores it:
 *
 *   needs      = ["paused:"] ["p" DIGIT ":"] PROTOCOL ["+secrets"] ["+pool"] " " PLACEMENT     or "" for any agent, at the default priority
 *   example      p8:2+pool {"pool":{"warehouse":2}}
 *
 * The order of the alphabet keeps what has the same priority together. An older cdktr takes what is before the first blank for the version
 * that an agent must have, which none has then, and the rest for the JSON of a placement: nothing else may have a blank.
 */
import { FIRST_PROTOCOL, SLICES_SINCE } from "../../contract/version.ts";
import { PARKED, PARKED_ANY } from "../../storage/operational/pauses.ts";
import type { AgentRecord } from "../../storage/operational/store.ts";
import { DEFAULT_PRIORITY } from "../../workflow/limits.ts";
import { lacking, type Placement, readPlacement } from "../../workflow/placement.ts";
import type { Plan } from "../../workflow/plan.ts";

/** What is needed. */
export interface Needs {
  readonly placement: Placement;
  /** The oldest protocol version that will do; NaN for what a newer cdktr has written. */
  readonly protocol: number;
  /** Whether the agent gets secrets of the principal's store. */
  readonly usesStore: boolean;
  /** 0 to 9, the highest first. */
  readonly priority: number;
  /** Its workflow is paused: no agent gets it. */
  readonly isPaused: boolean;
}

/** Follows the protocol version of what gets secrets of the principal's store. An older cdktr gives such a run to no agent. */
const WITH_SECRETS = "+secrets";
/** The same of what takes slots of pools. */
const WITH_POOL = "+pool";

const FORM = /^(?:p(\d):)?(\d+)(\+secrets)?(\+pool)? (\{.*\})$/s;

/** The key of a placement that asks for nothing. */
const ANYWHERE = "{}";

/** Maximum number of parsed needs to cache. */
const KEPT = 10_000;
const known = new Map<string, Needs>();

/**
 * The needs of a slice.
 * @param protocol the protocol version that its tasks need
 * @param usesStore whether a task gets secrets of the principal's store
 * @param priority that of its run
 */
export function needsOfSlice(
  placement: Placement,
  protocol: number,
  usesStore = false,
  priority = DEFAULT_PRIORITY,
): string {
  return textOf({ placement, protocol: Math.max(SLICES_SINCE, protocol), usesStore, priority });
}

/** The needs of a run as a whole: any agent can have it, unless its tasks ask for labels, or for what older agents do not know. */
export function needsOfWhole(plan: Plan, priority = DEFAULT_PRIORITY): string {
  const placement = plan.nodes[0]?.placement ?? readPlacement(ANYWHERE);
  if (placement.key === ANYWHERE && plan.protocol <= FIRST_PROTOCOL.version)
    return textOf({ placement, protocol: FIRST_PROTOCOL.version, usesStore: false, priority });
  const usesStore = plan.nodes.some((node) => node.usesStore === true);
  return needsOfSlice(placement, plan.protocol, usesStore, priority);
}

/** The same needs at another priority. */
export function withPriority(needs: string, priority: number): string {
  const { isPaused, ...own } = readNeeds(needs);
  // What a newer cdktr has written stays as it is.
  if (Number.isNaN(own.protocol)) return needs;
  const text = textOf({ ...own, priority });
  return isPaused ? `${PARKED}${text || PARKED_ANY}` : text;
}

function textOf({ placement, protocol, usesStore, priority }: Omit<Needs, "isPaused">): string {
  const isPlain = placement.key === ANYWHERE && protocol <= FIRST_PROTOCOL.version && !usesStore;
  if (isPlain && priority === DEFAULT_PRIORITY) return "";
  const level = priority === DEFAULT_PRIORITY ? "" : `p${priority}:`;
  const marks = `${usesStore ? WITH_SECRETS : ""}${placement.pool === undefined ? "" : WITH_POOL}`;
  return `${level}${protocol}${marks} ${placement.key}`;
}

/** Reads what one of the functions above wrote. */
export function readNeeds(text: string): Needs {
  const found = known.get(text);
  if (found !== undefined) return found;
  const isPaused = text.startsWith(PARKED);
  const needs = { ...readOwn(isPaused ? text.slice(PARKED.length) : text), isPaused };
  if (known.size >= KEPT) known.clear();
  known.set(text, needs);
  return needs;
}

function readOwn(text: string): Omit<Needs, "isPaused"> {
  const of = { placement: readPlacement(ANYWHERE), usesStore: false, priority: DEFAULT_PRIORITY };
  if (text === "") return { ...of, protocol: FIRST_PROTOCOL.version };
  const [, level, protocol, secrets, , key = ANYWHERE] = FORM.exec(text) ?? [];
  if (protocol === undefined) return { ...of, protocol: Number.NaN };
  return {
    placement: readPlacement(key),
    protocol: Number(protocol),
    usesStore: secrets !== undefined,
    priority: level === undefined ? DEFAULT_PRIORITY : Number(level),
  };
}

/**
 * Whether an agent has what is needed.
 * @param givesSecrets whether the principal gives secrets of its store to agents
 */
export function meets(
  agent: Pick<AgentRecord, "labels" | "protocol">,
  { placement, protocol, usesStore, isPaused }: Needs,
  givesSecrets = true,
): boolean {
  if (isPaused || (usesStore && !givesSecrets)) return false;
  return agent.protocol >= protocol && lacking(agent.labels, placement.runs_on).length === 0;
}
