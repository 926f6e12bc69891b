import { hostname } from "node:os";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { IDENTIFIER } from "../workflow/model.ts";
import { Outbox, OutboxLockedError } from "./outbox.ts";

/** Agents of one host without a suffix: a guard against a loop, not a limit that anyone meets. */
const MOST = 1000;

/** An agent's id and the outbox that belongs to it. */
export interface Identity {
  readonly agentId: string;
  readonly outbox: Outbox;
}

/**
 * The id of an agent: the name of the host, with `-SUFFIX` if one is given. Without one, and when that id is taken on this
 * host, the next of HOST-2, HOST-3, … that is free. Whoever holds the outbox in the data directory of an id has the id.
 * @param agentsDirectory where the data directories of all agents of this host stand
 * @throws UsageError when the suffix cannot be part of an id
 * @throws OutboxLockedError when the id with that suffix is taken
 * @throws OutboxUnavailableError when the data directory cannot be used
 */
export function claimIdentity(
  agentsDirectory: string,
  suffix: string | undefined,
  limitBytes?: number,
): Identity {
  const host =
    hostname()
      .replace(/[^A-Za-z0-9_.-]/g, "-")
      .replace(/^[.-]+/, "") || "agent";
  const open = (agentId: string): Identity => ({
    agentId,
    outbox: Outbox.open({ directory: join(agentsDirectory, agentId), agentId, limitBytes }),
  });
  if (suffix !== undefined) {
    if (!IDENTIFIER.test(`x${suffix}`) || suffix.length > 64) {
      throw new UsageError(`"${suffix}" cannot be the suffix of an agent's id.`, {
        hint: "Use letters, digits, '_', '-' and '.', at most 64.",
      });
    }
    return open(`${host}-${suffix}`);
  }
  for (let number = 1; ; number++) {
    try {
      return open(number === 1 ? host : `${host}-${number}`);
    } catch (error) {
      if (!(error instanceof OutboxLockedError) || number === MOST) throw error;
    }
  }
}

/** The data directories of the agents of this host. */
export function agentsDirectory(appDataDirectory: string): string {
  return join(appDataDirectory, "agents");
}
