/**
 * The version of the wire protocol, and who can work with whom.
 *
 * Fields and verbs may be added without another version: both sides pass over fields that they do not know and do without those
 * that are missing, and a verb that a principal does not know is answered with CLIENTERROR (VerbUnknownError). Everything else
 * that a peer must know raises `version`: another meaning of a field, another value of an enum, an instruction in a run's
 * definition that an agent must not pass over. The newer side then still works the old way with a peer of the previous version.
 * `oldest` follows at the earliest with the next minor version of cdktr: neighbours always work together.
 */
import { PRETENCE, VERSION } from "../build-facts.ts";
import { CdktrError } from "../errors.ts";

/** The protocol versions that a peer speaks: all from `oldest` to `version`. */
export interface ProtocolRange {
  readonly version: number;
  readonly oldest: number;
}

/** From this protocol version on, an agent executes slices: an assignment may name the tasks that it is about, and give results of others. */
export const SLICES_SINCE = 2;

/** From this protocol version on, an agent knows the second version of the workflow language. */
export const LANGUAGE_SINCE = 3;

/** From this protocol version on, a principal knows pauses, concurrency groups, pools, priorities, backfills and forecasts. Agents need nothing new. */
export const LIMITS_SINCE = 4;

/** From this protocol version on, a principal knows alerts, expectations, the audit log and the role viewer. Agents need nothing new. */
export const ALERTS_SINCE = 5;

/** From this protocol version on, a principal takes reports of runs that an agent has begun by itself: `cdktr exec`. */
export const COMMANDS_SINCE = 6;

/** From this protocol version on, a principal may be one of several. Agents and clients need nothing new. */
export const MEMBERS_SINCE = 6;

/** The protocol versions of this cdktr. */
export const PROTOCOL: ProtocolRange = PRETENCE.protocol ?? { version: COMMANDS_SINCE, oldest: 1 };

/** The protocol versions of a peer that does not send any; it is older than the field. */
export const FIRST_PROTOCOL: ProtocolRange = { version: 1, oldest: 1 };

/** An agent or a principal. */
export interface Peer {
  /** The version of its cdktr. */
  readonly version: string;
  readonly protocol: ProtocolRange;
}

export const THIS_PEER: Peer = { version: VERSION, protocol: PROTOCOL };

/** The agent and the principal have no protocol version in common. */
export class VersionMismatchError extends CdktrError {
  override readonly reply = "UNPROC";
  readonly tooOld: "agent" | "principal";

  constructor(tooOld: "agent" | "principal", agent: Peer, principal: Peer) {
    const [theAgent, thePrincipal] = [
      `The agent (${describe(agent)})`,
      `the principal (${describe(principal)})`,
    ];
    if (tooOld === "agent") {
      super(`${theAgent} is too old for ${thePrincipal}.`, {
        hint: `Upgrade the agent: put the executable of cdktr ${principal.version} in its place and start it again. What it could not deliver is kept on its disk until then.`,
      });
    } else {
      super(`${theAgent} is too new for ${thePrincipal}.`, {
        hint: `Upgrade the principal to cdktr ${agent.version}, or put the agent back to ${principal.version}.`,
      });
    }
    this.tooOld = tooOld;
  }
}

/** The error when an agent and a principal cannot work together; undefined when they can. */
export function mismatch(agent: Peer, principal: Peer): VersionMismatchError | undefined {
  if (agent.protocol.version < principal.protocol.oldest)
    return new VersionMismatchError("agent", agent, principal);
  if (principal.protocol.version < agent.protocol.oldest)
    return new VersionMismatchError("principal", agent, principal);
  return undefined;
}

function describe({ version, protocol }: Peer): string {
  const { oldest, version: newest } = protocol;
  return `cdktr ${version}, ${oldest === newest ? `protocol ${newest}` : `protocols ${oldest} to ${newest}`}`;
}
