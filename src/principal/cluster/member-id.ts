/** What tells a member from all others. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { resolve } from "node:path";

/** The id of the member with a data directory on this host: the same after each restart. */
export function memberIdOf(dataDirectory: string): string {
  const parts = [machineId(), hostname(), resolve(dataDirectory)];
  return createHash("sha256").update(parts.join("\0")).digest("hex").slice(0, 32);
}

function machineId(): string {
  try {
    return readFileSync("/etc/machine-id", "utf8").trim();
  } catch {
    return "";
  }
}
