/** Finds ports for a principal on this host. */
import { createServer } from "node:net";
import { bareHost } from "../host/addresses.ts";
import type { Ports } from "./answers.ts";

/** The default ports. */
export const DEFAULT_PORTS: Ports = { api: 5561, logsListening: 5562, logsPublishing: 5563 };
const STEP = 10;
const TRIES = 100;

/** Why a port cannot be bound, as an error code; undefined when it can. */
export function whyNotBindable(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host: bareHost(host), port, exclusive: true }, () =>
      server.close(() => resolve(undefined)),
    );
  });
}

/** Three consecutive ports starting with the API's. */
export function portsFrom(api: number): Ports {
  return { api, logsListening: api + 1, logsPublishing: api + 2 };
}

/** Those of the ports that cannot be bound, with the reason. */
export async function takenPorts(host: string, ports: Ports): Promise<Map<number, string>> {
  const taken = new Map<number, string>();
  for (const port of Object.values(ports)) {
    const why = await whyNotBindable(host, port);
    if (why !== undefined) taken.set(port, why);
  }
  return taken;
}

/** The first three consecutive free ports, starting from the given ones; those themselves if there are none. */
export async function freePortsFrom(host: string, ports: Ports): Promise<Ports> {
  if ((await takenPorts(host, ports)).size === 0) return ports;
  for (let tries = 1; tries <= TRIES; tries++) {
    const next = portsFrom(ports.api + tries * STEP);
    if (next.logsPublishing > 65_535) break;
    if ((await takenPorts(host, next)).size === 0) return next;
  }
  return ports;
}
