/** What a principal says of itself when it is asked for the principals of its installation. */
import { hostname } from "node:os";
import { VERSION } from "../../build-facts.ts";
import type { Config } from "../../config.ts";
import type { PrincipalSummary } from "../../contract/messages.ts";
import { PROTOCOL } from "../../contract/version.ts";

/** The bound ports. */
interface Ports {
  readonly api: number;
  readonly logsListening: number;
  readonly logsPublishing: number;
}

/** Addresses that stand for all of a host's. */
const WILDCARDS: ReadonlySet<string> = new Set(["0.0.0.0", "::", "*", "[::]"]);

/** The name by which people know a principal: the one in the settings, else that of its host. */
export function nameOf(config: Config): string {
  return config.CDKTR_PRINCIPAL_NAME || hostname();
}

/** Where others reach a principal: what the settings say, else the address to which it binds, else the name of its host. */
export function reachedAt(config: Config): string {
  const { CDKTR_PRINCIPAL_ADDRESS: address, CDKTR_PRINCIPAL_HOST: host } = config;
  return address || (WILDCARDS.has(host) ? hostname() : host);
}

/** The entry of a principal that is the only one. */
export function ownSummary(config: Config, ports: Ports, startedAtMs: number): PrincipalSummary {
  return {
    name: nameOf(config),
    is_self: true,
    role: "single",
    host: reachedAt(config),
    api_port: ports.api,
    logs_listening_port: ports.logsListening,
    logs_publishing_port: ports.logsPublishing,
    version: VERSION,
    protocol: PROTOCOL,
    started_at_ms: startedAtMs,
    since_ms: startedAtMs,
    silent_ms: 0,
    epoch: null,
    lag: null,
    same_workflows: true,
    store: null,
    problem: null,
  };
}
