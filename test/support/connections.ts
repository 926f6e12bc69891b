/** TCP connections as reported by the kernel. */
import { existsSync, readFileSync } from "node:fs";

/** How many connections to a port of this machine are established, at the side that accepted them. */
export function establishedAt(port: number): number {
  const local = port.toString(16).toUpperCase().padStart(4, "0");
  const line = new RegExp(`^ *\\d+: [0-9A-F]+:${local} [0-9A-F]+:[0-9A-F]{4} 01 `);
  return ["/proc/net/tcp", "/proc/net/tcp6"]
    .flatMap((file) => (existsSync(file) ? readFileSync(file, "utf8").split("\n") : []))
    .filter((text) => line.test(text)).length;
}
