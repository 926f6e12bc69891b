/**
 * The members of the installation that an agent has learned. They are kept on its disk, so that it finds the others when it is started
 * while those in its settings are gone.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { Config } from "../config.ts";
import { MemberAddress } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { writePrivate } from "../host/private-files.ts";
import { log } from "../log.ts";
import type { PrincipalClient } from "../protocol/client.ts";
import { addressesText, connect } from "../protocol/connect.ts";

/** `given` are the addresses in the settings by which the members were found. */
const Kept = z.object({ given: z.string(), members: z.array(MemberAddress) });

/**
 * Creates the client of an agent.
 * @param directory the agent's own
 * @param isBeside whether a principal has started the agent beside itself, which is then its first choice
 * @throws see {@link connect}
 */
export function connectAgent(
  config: Config,
  agentId: string,
  directory: string,
  isBeside: boolean,
): PrincipalClient {
  const path = join(directory, "members.json");
  const given = addressesText(config);
  const client = connect(config, "agent", {
    remembered: read(path, given),
    returns: true,
    ...(isBeside ? {} : { preferredBy: agentId }),
  });
  client.signals.on("members", (members) => {
    try {
      if (members.length === 0) rmSync(path, { force: true });
      else writePrivate(path, JSON.stringify({ given, members }));
    } catch (error) {
      log.debug(`${path} cannot be written: ${errorMessage(error)}`);
    }
  });
  return client;
}

/** Where the member receives log lines that a client uses: at the port in the settings, unless the member has said at which. */
export function intakeOf({ place, places }: PrincipalClient, config: Config): { host: string; port: number } {
  const own = places.length > 1 ? place.logPorts?.logsListening : undefined;
  return { host: place.host, port: own ?? config.CDKTR_LOGS_LISTENING_PORT };
}

/** None when the settings name other principals than they did then. */
function read(path: string, given: string): MemberAddress[] {
  try {
    const kept = Kept.parse(JSON.parse(readFileSync(path, "utf8")));
    return kept.given === given ? kept.members : [];
  } catch {
    // There is none, or it is of no use: the members are learned again.
    return [];
  }
}
