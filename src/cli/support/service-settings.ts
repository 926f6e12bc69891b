/** The settings of a service, as its file has them. */
import { existsSync, readFileSync } from "node:fs";
import { parseEnv } from "node:util";
import { SETTINGS } from "../../config.ts";
import { say } from "./report.ts";

/** What the file says; nothing when there is none. */
export function serviceSettings(environmentFile: string): Record<string, string | undefined> {
  if (!existsSync(environmentFile)) return {};
  return parseEnv(readFileSync(environmentFile, "utf8")) as Record<string, string | undefined>;
}

/** Says why the end of a service that runs tasks may take long. */
export function sayGrace(what: string, environmentFile: string): void {
  const name = "CDKTR_AGENT_STOP_GRACE_S";
  const seconds = serviceSettings(environmentFile)[name] ?? SETTINGS[name].default;
  say(`${what}: its runs have up to ${seconds} s to finish (${name}) …`);
}
