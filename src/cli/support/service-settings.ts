/** The settings of a service, from its environment file. */
import { existsSync, readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { SETTINGS } from "../../config.ts";
import { say } from "./report.ts";

/** Reads the file; empty if it does not exist. */
export function serviceSettings(environmentFile: string): Record<string, string | undefined> {
  if (!existsSync(environmentFile)) return {};
  return parseEnv(readFileSync(environmentFile, "utf8")) as Record<string, string | undefined>;
}

/** Explains why stopping a service with tasks may take long. */
export function sayGrace(what: string, environmentFile: string): void {
  const name = "CDKTR_AGENT_STOP_GRACE_S";
  const seconds = serviceSettings(environmentFile)[name] ?? SETTINGS[name].default;
  say(`${what}: its runs have up to ${seconds} s to finish (${name}) …`);
}
