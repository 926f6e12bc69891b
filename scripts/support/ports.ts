/** Ports for what scripts and tests start. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server } from "node:net";

/** The kernel takes the ports of outgoing connections from this range. */
const OUTGOING = "/proc/sys/net/ipv4/ip_local_port_range";
const LOWEST = 10_000;

let next: number | undefined;

/**
 * Ports of the loopback address that are free now, all different. They stay free: they lie below those that the kernel gives to
 * outgoing connections, and no other process that asks here gets them while this one lives.
 */
export async function freePorts(count: number): Promise<number[]> {
  const end = existsSync(OUTGOING) ? Number.parseInt(readFileSync(OUTGOING, "utf8"), 10) : 32_768;
  const size = Math.max(end - LOWEST, 1000);
  next ??= Math.floor(Math.random() * size);
  const ports: number[] = [];
  for (let tries = 0; ports.length < count; tries++) {
    if (tries > size) throw new Error("no port is free");
    const port = LOWEST + (next++ % size);
    if (await isMine(port)) ports.push(port);
  }
  return ports;
}

/** Claims a port for this process, if nobody has claimed it and nothing listens there. */
async function isMine(port: number): Promise<boolean> {
  // An abstract socket: the kernel removes it with its process, however that ends.
  const claim = await listen({ path: `\0cdktr-port-${port}` });
  if (claim === undefined) return false;
  const server = await listen({ port, host: "127.0.0.1" });
  if (server === undefined) {
    claim.close();
    return false;
  }
  claim.unref();
  await new Promise((closed) => server.close(closed));
  return true;
}

function listen(where: { path: string } | { port: number; host: string }): Promise<Server | undefined> {
  return new Promise((settle) => {
    const server = createServer();
    server.once("error", () => settle(undefined));
    server.listen(where, () => settle(server));
  });
}
