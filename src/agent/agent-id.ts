import { existsSync, readdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { log } from "../log.ts";
import { IDENTIFIER } from "../workflow/model.ts";
import { Outbox, OutboxLockedError, suffixOf } from "./outbox.ts";

/** Maximum number of agents without a suffix on one host: a guard against a loop, not a practical limit. */
const MOST = 1000;

/** An agent's id and its outbox. */
export interface Identity {
  readonly agentId: string;
  readonly outbox: Outbox;
}

/**
 * Determines the id of an agent: the host name, with `-SUFFIX` if one is given. Without a suffix, if that id is taken on this
 * host, it is the next free one of HOST-2, HOST-3, … An id belongs to the process that holds the outbox in its data directory. An agent
 * keeps its data directory, and with it the id, when its host gets another name.
 * @param agentsDirectory contains the data directories of all agents on this host
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
    outbox: Outbox.open({
      directory: join(agentsDirectory, agentId),
      agentId,
      suffix: suffix ?? "",
      limitBytes,
    }),
  });
  const openOrAdopt = (agentId: string): Identity => {
    if (existsSync(join(agentsDirectory, agentId))) return open(agentId);
    return adopt(agentsDirectory, suffix ?? "", open) ?? open(agentId);
  };
  if (suffix !== undefined) {
    if (!IDENTIFIER.test(`x${suffix}`) || suffix.length > 64) {
      throw new UsageError(`"${suffix}" cannot be the suffix of an agent's id.`, {
        hint: "Use letters, digits, '_', '-' and '.', at most 64.",
      });
    }
    return openOrAdopt(`${host}-${suffix}`);
  }
  for (let number = 1; ; number++) {
    try {
      return openOrAdopt(number === 1 ? host : `${host}-${number}`);
    } catch (error) {
      if (!(error instanceof OutboxLockedError) || number === MOST) throw error;
    }
  }
}

/** The identity of an agent that had another name of this host, and does not run; undefined when there is none. */
function adopt(
  agentsDirectory: string,
  suffix: string,
  open: (agentId: string) => Identity,
): Identity | undefined {
  const names = existsSync(agentsDirectory) ? readdirSync(agentsDirectory).sort() : [];
  for (const agentId of names) {
    if (suffixOf(join(agentsDirectory, agentId)) !== suffix) continue;
    try {
      const identity = open(agentId);
      log.info(
        `The name of this host has changed: the agent keeps the id ${agentId}, and what waits in its data directory.`,
      );
      return identity;
    } catch (error) {
      if (!(error instanceof OutboxLockedError)) throw error;
    }
  }
  return undefined;
}

/** The data directories of the agents on this host. */
export function agentsDirectory(appDataDirectory: string): string {
  return join(appDataDirectory, "agents");
}
