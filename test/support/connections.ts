/** TCP connections as reported by the kernel. */
import { existsSync, readFileSync } from "node:fs";

/** How many connections to a port of this machine are established, at the side that accepted them. */
export function establishedAt(port: number): number {
  return accepted(port).length;
}

/** On how many of them the kernel asks a silent peer whether it is still there: the timer that it shows for them is of that kind. */
export function keptAliveAt(port: number): number {
  return accepted(port).filter((line) => / [0-9A-F]{8}:[0-9A-F]{8} 02:/.test(line)).length;
}

function accepted(port: number): string[] {
  const local = port.toString(16).toUpperCase().padStart(4, "0");
  const wanted = new RegExp(`^ *\\d+: [0-9A-F]+:${local} [0-9A-F]+:[0-9A-F]{4} 01 `);
  return ["/proc/net/tcp", "/proc/net/tcp6"]
    .flatMap((file) => (existsSync(file) ? readFileSync(file, "utf8").split("\n") : []))
    .filter((line) => wanted.test(line));
}
