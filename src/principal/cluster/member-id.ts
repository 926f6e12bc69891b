/** What tells a member from all others. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";

/**
 * The id of the member with a data directory on this host: the same after each restart. Containers in the network of their host have its
 * name, and the same paths inside: their ports differ.
 */
export function memberIdOf(dataDirectory: string, apiPort: number): string {
  const parts = [machineId(), hostname(), resolve(dataDirectory), String(apiPort)];
  return createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 32);
}

function machineId(): string {
  try {
    return readFileSync("/etc/machine-id", "utf8").trim();
  } catch {
    return "";
  }
}
