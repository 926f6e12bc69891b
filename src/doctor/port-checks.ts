/** Checks the principal's ports: free where it would run, reachable where it is running. */
import { createServer } from "node:net";
import type { Config } from "../config.ts";
import type { PrincipalInfo } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { listenerAt } from "../protocol/tcp-probe.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";
import { holderOf, parentOf } from "./port-holder.ts";

type PortSetting =
  | "CDKTR_PRINCIPAL_PORT"
  | "CDKTR_LOGS_LISTENING_PORT"
  | "CDKTR_LOGS_PUBLISHING_PORT"
  | "CDKTR_METRICS_PORT"
  | "CDKTR_WEBHOOK_PORT";

interface Port {
  readonly setting: PortSetting;
  readonly what: string;
  /** Set for an optional port: what does not work without it. */
  readonly without?: string;
}

const API: Port = { setting: "CDKTR_PRINCIPAL_PORT", what: "API" };
const INTAKE: Port = { setting: "CDKTR_LOGS_LISTENING_PORT", what: "log intake" };
const LIVE_LOG: Port = { setting: "CDKTR_LOGS_PUBLISHING_PORT", what: "live log" };
const FURTHER: readonly Port[] = [
  { setting: "CDKTR_METRICS_PORT", what: "metrics", without: "/healthz and /metrics are not served" },
  { setting: "CDKTR_WEBHOOK_PORT", what: "webhooks", without: "workflows are not triggered by webhooks" },
];

/** Deadline for a health request to a principal on this host, ms. */
const HEALTH_PATIENCE_MS = 1000;

/**
 * Without a running principal: checks whether one could bind its ports.
 * @param host the address that it would bind
 */
export async function checkFreePorts(config: Config, host: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { setting, what, without } of [API, INTAKE, LIVE_LOG, ...FURTHER]) {
    const port = config[setting];
    if (port === 0) continue;
    const address = without === undefined ? host : "127.0.0.1";
    const problem = await cannotBind(address, port);
    if (problem === null) {
      findings.push(ok("ports", `Port ${port} is free for the ${what}`));
      continue;
    }
    const message = `Port ${port}, the principal's ${what}, cannot be bound to ${address}: ${problem.text}.`;
    const remedy = `${problem.remedy} Or choose another port: ${setting}.`;
    findings.push(
      without === undefined
        ? failure("ports", message, "The principal cannot start without this port.", remedy)
        : warning("ports", message, `The principal runs without it, but ${without}.`, remedy),
    );
  }
  return findings;
}

/**
 * With a running principal: checks that the settings have its log ports, and that they can be reached and are its own.
 * @param isHere whether it runs on this host
 */
export async function checkLogPorts(
  config: Config,
  host: string,
  info: PrincipalInfo,
  patienceMs: number,
  isHere: boolean,
): Promise<Finding[]> {
  const told: readonly [Port, number, string][] = [
    [
      INTAKE,
      info.logs_listening_port,
      "Agents on this host cannot deliver log lines: they keep them on disk.",
    ],
    [LIVE_LOG, info.logs_publishing_port, "'cdktr logs tail' and 'cdktr run --follow' show nothing here."],
  ];
  return Promise.all(
    told.map(async ([{ setting, what }, port, why]) => {
      if (config[setting] !== port) {
        return failure(
          "ports",
          `The principal has its ${what} on port ${port}, but the settings here say ${config[setting]}.`,
          why,
          `Set ${setting}=${port} here.`,
        );
      }
      const found = await listenerAt(host, port, patienceMs);
      if (found.kind === "other" && !(isHere && isOfPrincipal(config, port))) {
        const holder = isHere ? describeHolder(port) : undefined;
        return failure(
          "ports",
          `What listens on port ${port} of ${host} is not the principal's ${what}${holder === undefined ? "" : `: ${holder.text}`}.`,
          why,
          `${holder?.remedy ?? `On the principal's host: sudo ss -ltnp 'sport = :${port}' shows what it is; stop it.`} Then the principal takes the port by itself. Or choose another port (${setting}) and restart the principal.`,
        );
      }
      if (found.kind !== "none") return ok("ports", `Port ${port}, the ${what}, can be reached`);
      return failure(
        "ports",
        `Port ${port} of ${host}, the ${what}, cannot be reached: ${found.problem}.`,
        why,
        isHere
          ? "Its history serves this port and is started again by itself. The principal's log has the details: cdktr service logs principal"
          : `Open it in the firewalls of both hosts and in between: ${openPort(port)}`,
      );
    }),
  );
}

/** Whether a process of this host's principal has a port: it, or its history, which may hang. */
function isOfPrincipal(config: Config, port: number): boolean {
  const principal = holderOf(config.CDKTR_PRINCIPAL_PORT)?.pid;
  const holder = holderOf(port)?.pid;
  if (principal === undefined || holder === undefined) return false;
  return holder === principal || parentOf(holder) === principal;
}

/** With a principal on this host: checks that the configured metrics port is its own, or that of another member of its installation. */
export async function checkMetrics(config: Config, info: PrincipalInfo): Promise<Finding[]> {
  const port = config.CDKTR_METRICS_PORT;
  if (port === 0) return [];
  const address = `127.0.0.1:${port}`;
  try {
    const response = await fetch(`http://${address}/healthz`, {
      signal: AbortSignal.timeout(HEALTH_PATIENCE_MS),
    });
    const health = (await response.json()) as { principal_id?: unknown; member?: unknown; status?: unknown };
    // A follower says its name, and not which installation it serves.
    const isMember = info.members?.some(({ name }) => name === health.member) === true;
    if (health.principal_id === info.principal_id || isMember)
      return [ok("metrics", `http://${address} has /healthz (${health.status}) and /metrics`)];
  } catch (error) {
    // Nothing listens: metrics may be turned off in the principal's own settings.
    if (/^(ECONNREFUSED|ConnectionRefused)$/.test(String((error as NodeJS.ErrnoException).code))) return [];
    // Not HTTP, not JSON, or no reply in time.
  }
  const holder = describeHolder(port);
  return [
    warning(
      "metrics",
      `What answers at ${address} is not this principal${holder === undefined ? "" : `, but ${holder.text}`}.`,
      "Its /healthz and /metrics are not served, or are on another port.",
      "Give the principal its own port: CDKTR_METRICS_PORT.",
    ),
  ];
}

/** The command that opens a port, for the two usual firewalls. */
export function openPort(port: number): string {
  return `sudo ufw allow ${port}/tcp, or sudo firewall-cmd --add-port=${port}/tcp`;
}

/** Why a port cannot be bound, and what to do; null when it can. */
function cannotBind(host: string, port: number): Promise<{ text: string; remedy: string } | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") {
        resolve(
          describeHolder(port) ?? {
            text: "another program has it",
            remedy: `Find out which: sudo ss -ltnp 'sport = :${port}'`,
          },
        );
      } else if (error.code === "EACCES") {
        resolve({ text: "only root may bind ports below 1024", remedy: "Choose one above 1023." });
      } else resolve({ text: errorMessage(error), remedy: "Check CDKTR_PRINCIPAL_HOST." });
    });
    server.listen(port, host, () => server.close(() => resolve(null)));
  });
}

function describeHolder(port: number): { text: string; remedy: string } | undefined {
  const holder = holderOf(port);
  if (holder === undefined) return undefined;
  return {
    text: `${holder.program} has it (process ${holder.pid})`,
    remedy: `Stop it if it is not needed (ps -fp ${holder.pid} shows what it is).`,
  };
}
