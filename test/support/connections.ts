/** TCP connections as the kernel has them. */
import { readFileSync } from "node:fs";

/** How many connections to a port of this machine are established, at the side that accepted them. IPv4 only. */
export function establishedAt(port: number): number {
  const local = port.toString(16).toUpperCase().padStart(4, "0");
  const line = new RegExp(`^ *\\d+: [0-9A-F]{8}:${local} [0-9A-F]{8}:[0-9A-F]{4} 01 `);
  return readFileSync("/proc/net/tcp", "utf8")
    .split("\n")
    .filter((text) => line.test(text)).length;
}
