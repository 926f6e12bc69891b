import { existsSync, readdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { UsageError } from "../errors.ts";
import { log } from "../log.ts";
import { IDENTIFIER } from "../workflow/model.ts";
import { Outbox } from "./outbox.ts";
import { type IdleOutbox, lookInto, OutboxLockedError } from "./outbox-file.ts";

/** Maximum number of agents without a suffix on one host: a guard against a loop, not a practical limit. */
const MOST = 1000;

/** The suffix of agents that run one command each: `cdktr exec`. Further ones at the same time get a number behind it. */
export const COMMANDS_SUFFIX = "exec";
const OF_COMMANDS = new RegExp(`^${COMMANDS_SUFFIX}(-[0-9]+)?$`);

/** An agent's id and its outbox. */
export interface Identity {
  readonly agentId: string;
  readonly outbox: Outbox;
  /** The id comes from the data directory rather than from the name of the host. */
  readonly isAdopted: boolean;
}

/**
 * Determines the id of an agent: the host name, with `-SUFFIX` if one is given. Without a suffix, if that id is taken on this
 * host, it is the next free one of HOST-2, HOST-3, … An id belongs to the process that holds the outbox in its data directory. An agent
 * keeps its data directory, and with it the id, when its host gets another name; on another host it continues an outbox in which
 * something waits, so that it is delivered.
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
  const open = (agentId: string, isAdopted = false) =>
    openAs(agentsDirectory, agentId, suffix, limitBytes, isAdopted);
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

/**
 * The identity of an agent that has ended, to deliver what it left: see {@link leftBehind}.
 * @throws OutboxLockedError when it runs again
 */
export function identityOf(
  agentsDirectory: string,
  agentId: string,
  suffix: string | undefined,
  limitBytes?: number,
): Identity {
  return openAs(agentsDirectory, agentId, suffix, limitBytes, true);
}

function openAs(
  agentsDirectory: string,
  agentId: string,
  suffix: string | undefined,
  limitBytes: number | undefined,
  isAdopted: boolean,
): Identity {
  const directory = join(agentsDirectory, agentId);
  return {
    agentId,
    isAdopted,
    outbox: Outbox.open({ directory, agentId, suffix: suffix ?? "", limitBytes }),
  };
}

/** The other agents of a data directory that were started with the same suffix, and those of commands. */
export interface Neighbours {
  /** Those that have ended, but left something that is to be delivered. */
  readonly left: readonly string[];
  /** Number of those that run. */
  readonly running: number;
}

/** Looks for what other agents of the data directory left when they ended: nobody else may ever take their place. */
export function leftBehind(agentsDirectory: string, suffix: string | undefined, ownId: string): Neighbours {
  const left: string[] = [];
  let running = 0;
  for (const agentId of namesIn(agentsDirectory)) {
    if (agentId === ownId) continue;
    const found = lookInto(join(agentsDirectory, agentId));
    if (found === "in use") running++;
    else if (found !== undefined && isOurs(found.suffix, suffix) && found.isHere && found.toDeliver > 0)
      left.push(agentId);
  }
  return { left, running };
}

/** Whether an agent started with this suffix delivers what one with that suffix left. Nobody may ever run a command again. */
function isOurs(left: string | null, suffix = ""): boolean {
  return left !== null && (left === suffix || OF_COMMANDS.test(left));
}

function namesIn(agentsDirectory: string): string[] {
  return existsSync(agentsDirectory) ? readdirSync(agentsDirectory).sort() : [];
}

/** The identity of an agent that does not run, under another name of this host; undefined when there is none. */
function adopt(
  agentsDirectory: string,
  suffix: string,
  open: (agentId: string, isAdopted: boolean) => Identity,
): Identity | undefined {
  const idle = namesIn(agentsDirectory).flatMap((agentId) => {
    const found = lookInto(join(agentsDirectory, agentId));
    if (found === undefined || found === "in use" || found.suffix !== suffix) return [];
    return found.isHere || found.waiting > 0 ? [{ agentId, ...found }] : [];
  });
  for (const { agentId, ...found } of idle.sort((a, b) => Number(b.isHere) - Number(a.isHere))) {
    try {
      const identity = open(agentId, true);
      log.info(reasonToKeep(agentId, found));
      return identity;
    } catch (error) {
      if (!(error instanceof OutboxLockedError)) throw error;
    }
  }
  return undefined;
}

function reasonToKeep(agentId: string, { isHere }: IdleOutbox): string {
  return isHere
    ? `The name of this host has changed: the agent keeps the id ${agentId}, and what waits in its data directory.`
    : `The data directory was moved to a host with another name: the agent keeps the id ${agentId}, and delivers what waits there.`;
}

/** The data directories of the agents on this host. */
export function agentsDirectory(appDataDirectory: string): string {
  return join(appDataDirectory, "agents");
}
