/**
 * Why tasks wait for an agent: a pure function of what they need and of the registered agents. `runs why`, `runs show`, the terminal UI and
 * the history all use it. The first row that applies gives the reason:
 *
 *   kind       when
 *   no agent   no agent is up or draining
 *   draining   an agent with the labels is draining, and none that is up has them
 *   labels     no agent that is up has the labels
 *   version    all agents that have the labels are too old
 *   no agent   it needs secrets of the principal's store, which this principal gives to no agent
 *   pool       it lacks slots of pools, see limits/pool-reasons.ts
 *   full       all agents that could take them are executing as many runs as they may
 *   ready      an agent has room: it takes the oldest tasks first
 *
 * A run that waits for the time at which it starts (`time`) has nothing to do with agents yet: {@link startReason}. Nor has one that is held by
 * a pause of its workflow (`pause`) or by its concurrency group (`group`), see ../limits/hold-reasons.ts.
 */
import { AUTOMATIC_LABELS } from "../../contract/agent-labels.ts";
import { lacking, type Placement } from "../../workflow/placement.ts";
import { type Needs, readNeeds } from "../limits/needs.ts";

type Labels = Placement["runs_on"];

/** See the table above. */
type WaitKind =
  | "no agent"
  | "draining"
  | "labels"
  | "version"
  | "pool"
  | "full"
  | "ready"
  | "time"
  | "pause"
  | "group";

/** What matters of an agent to tasks that wait. */
export interface AgentRoom {
  readonly agent_id: string;
  readonly status: "UP" | "DRAINING" | "LOST";
  readonly labels: Readonly<Record<string, string>>;
  readonly version: string;
  readonly protocol: number;
  /** Number of leases that it has, and the most that it takes. */
  readonly leases: number;
  readonly max_leases: number;
}

/** Why tasks wait. */
export interface WaitReason {
  readonly kind: WaitKind;
  /** Part of a sentence, such as `no agent is up`. */
  readonly reason: string;
  /** What to do about it; null when nothing need be done. */
  readonly hint: string | null;
  /** What the history has of it, if that is another text, which changes less often. */
  readonly noted?: string;
}

/** The reason of a run that waits for the time at which it starts, ms since the epoch. */
export function startReason(startMs: number): WaitReason {
  const start = new Date(startMs).toISOString().replace(".000Z", "Z");
  return { kind: "time", reason: `it starts at ${start}`, hint: null };
}

/**
 * Gives the reason for needs as the queue has them; equal needs are answered once.
 * @param givesSecrets whether the principal gives secrets of its store to agents
 */
export function waitReasons(
  agents: readonly AgentRoom[],
  givesSecrets = true,
): (needs: string) => WaitReason {
  const known = new Map<string, WaitReason>();
  return (needs) => {
    let reason = known.get(needs);
    if (reason === undefined) {
      reason = reasonFor(readNeeds(needs), agents, givesSecrets);
      known.set(needs, reason);
    }
    return reason;
  };
}

function reasonFor(
  { placement: { runs_on }, protocol, usesStore }: Needs,
  agents: readonly AgentRoom[],
  givesSecrets: boolean,
): WaitReason {
  const fits = (agent: AgentRoom) => lacking(agent.labels, runs_on).length === 0;
  const inState = (status: AgentRoom["status"]) => agents.filter((agent) => agent.status === status);
  const [up, draining, lost] = [inState("UP"), inState("DRAINING"), inState("LOST")];
  const start = startOf(runs_on);
  if (up.length === 0 && draining.length === 0) {
    const gone = lost.length === 0 ? "" : `; lost: ${namesOf(lost)}`;
    return { kind: "no agent", reason: `no agent is up${gone}`, hint: start };
  }
  const fitting = up.filter(fits);
  if (fitting.length === 0) {
    const leaving = draining.filter(fits);
    if (leaving.length > 0) {
      const which = Object.keys(runs_on).length === 0 ? "that is up" : `with ${labelsOf(runs_on)}`;
      return {
        kind: "draining",
        reason: `every agent ${which} is draining: ${namesOf(leaving)}`,
        hint: start,
      };
    }
    return { kind: "labels", reason: lackOf(runs_on, up, lost.filter(fits)), hint: start };
  }
  const able = fitting.filter((agent) => agent.protocol >= protocol);
  if (able.length === 0) {
    const versions = listOf(fitting, ({ agent_id, version }) => `${agent_id} has cdktr ${version}`);
    return {
      kind: "version",
      reason: `every agent that fits is too old: ${versions}`,
      hint: "Replace the executable of these agents and restart them: cdktr docs operations",
    };
  }
  if (usesStore && !givesSecrets)
    return {
      kind: "no agent",
      reason:
        "it needs secrets of the principal's store, and this principal gives them to no agent, because it serves everyone without keys (--insecure)",
      hint: "Set up keys: cdktr docs security",
    };
  const free = able.filter((agent) => agent.leases < agent.max_leases);
  if (free.length === 0) {
    const [one, some] = able.length === up.length ? ["that is up", "that are up"] : ["that fits", "that fit"];
    const which = able.length === 1 ? `the only agent ${one} is full` : `all agents ${some} are full`;
    const loads = listOf(able, ({ agent_id, leases, max_leases }) => `${agent_id} ${leases}/${max_leases}`);
    return {
      kind: "full",
      reason: `${which}: ${loads}`,
      hint: "See what they run: cdktr runs list --status running. More agents, or a higher --max-concurrent-workflows, make room.",
    };
  }
  return { kind: "ready", reason: `${namesOf(free)} can take it next: the oldest goes first`, hint: null };
}

/** @param lost agents that have the labels and are lost */
function lackOf(runs_on: Labels, up: readonly AgentRoom[], lost: readonly AgentRoom[]): string {
  const missing = `no agent that is up has ${labelsOf(runs_on)}`;
  if (lost.length > 0) return `${missing}; lost: ${namesOf(lost)}`;
  const [nearest] = up
    .map(({ agent_id, labels }) => {
      const lack = lacking(labels, runs_on);
      return { agent_id, lack, absent: lack.filter(({ has }) => has === null).length };
    })
    .sort((a, b) => a.lack.length - b.lack.length || a.absent - b.absent);
  // One that knows none of the labels is not near.
  if (nearest === undefined || nearest.absent === Object.keys(runs_on).length) return missing;
  return `${missing}; the nearest is ${nearest.agent_id}, which ${nearest.lack.map(hasOf).join(" and ")}`;
}

function hasOf({ label, has }: ReturnType<typeof lacking>[number]): string {
  return has === null ? `has no label ${label}` : `has ${label}=${has}`;
}

function labelsOf(runs_on: Labels): string {
  const labels = Object.entries(runs_on).map(([label, value]) => `${label}=${value}`);
  return labels.length < 2 ? labels.join() : `${labels.slice(0, -1).join(", ")} and ${labels.at(-1)}`;
}

/** Labels that every agent has by itself. */
const AUTOMATIC: ReadonlySet<string> = new Set(AUTOMATIC_LABELS);

/** How to get an agent that can take it. Labels that every agent has by itself cannot be given: they say where to start it. */
function startOf(runs_on: Labels): string {
  const labels = Object.entries(runs_on).map(([label, value]) => ({ label, text: `${label}=${value}` }));
  const where = labels.filter(({ label }) => AUTOMATIC.has(label)).map(({ text }) => text);
  const flags = labels
    .filter(({ label }) => !AUTOMATIC.has(label))
    .map(
      ({ text }) => ` --label ${/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`}`,
    );
  const place = where.length === 0 ? "" : ` on a host with ${where.join(", ")}`;
  return `Start one${place}: cdktr start agent${flags.join("")}`;
}

/** Names given before the number of the others. */
const NAMED = 5;

function namesOf(agents: readonly AgentRoom[]): string {
  return listOf(agents, ({ agent_id }) => agent_id);
}

function listOf(agents: readonly AgentRoom[], text: (agent: AgentRoom) => string): string {
  const named = agents.slice(0, NAMED).map(text).join(", ");
  return agents.length > NAMED ? `${named} and ${agents.length - NAMED} more` : named;
}
