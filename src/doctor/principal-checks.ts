/** The principal, as this host sees it: ports, reachability, clock, versions. */
import { createConnection, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import packageJson from "../../package.json" with { type: "json" };
import type { Config } from "../config.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import { type CurveClientKeys, PrincipalClient } from "../protocol/client.ts";
import { loadCurveKeys } from "../protocol/key-file.ts";
import type { AgentSummary, PrincipalInfo } from "../protocol/messages.ts";
import { hostAndPort } from "../zmq/endpoint.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";

/** Clocks that differ by more, ms, make times of logs and runs misleading; by much more, schedules and tokens too. */
const SKEW_WARNING_MS = 1000;
const SKEW_ERROR_MS = 60_000;
/** Samples of the clock: the one that was answered fastest counts. */
const SAMPLES = 3;

const PORTS = [
  { setting: "CDKTR_PRINCIPAL_PORT", what: "API" },
  { setting: "CDKTR_LOGS_LISTENING_PORT", what: "log intake" },
  { setting: "CDKTR_LOGS_PUBLISHING_PORT", what: "live log" },
] as const;

/** What the checks of the principal found, and what it said about its history. */
export interface PrincipalVisit {
  readonly findings: readonly Finding[];
  /** Undefined when it does not answer. */
  readonly info: PrincipalInfo | undefined;
}

/** Visits the principal of the settings. */
export async function visitPrincipal(config: Config, now: () => number = Date.now): Promise<PrincipalVisit> {
  let curve: CurveClientKeys | undefined;
  try {
    curve = loadCurveKeys(config, "client");
  } catch (error) {
    const remedy = error instanceof CdktrError ? error.hint : undefined;
    return {
      findings: [failure("keys", errorMessage(error), remedy ?? "See 'cdktr docs security'.")],
      info: undefined,
    };
  }
  const client = new PrincipalClient({
    ...(curve === undefined ? {} : { curve }),
    host: config.CDKTR_PRINCIPAL_HOST,
    port: config.CDKTR_PRINCIPAL_PORT,
    timeoutMs: config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
    attempts: 1,
  });
  try {
    let info: PrincipalInfo;
    try {
      info = await client.info();
    } catch (error) {
      return { findings: await unreachable(config, error), info: undefined };
    }
    const findings = [
      ok("principal", `The principal at ${client.address} answers (version ${info.version})`),
      ...(await logPorts(config, info)),
      await clock(client, now),
      ...versions(info.version, await client.registeredAgents()),
    ];
    for (const { path, error } of info.invalid_workflow_files) {
      findings.push(
        warning(
          "workflows",
          `${path} is invalid and left out: ${error.split("\n", 1)[0]}`,
          "'cdktr workflow validate' on the principal's host shows what is wrong.",
        ),
      );
    }
    return { findings, info };
  } finally {
    await client.close();
  }
}

/** Nobody answers: on this host the ports may be free or taken, elsewhere the way may be closed. */
async function unreachable(config: Config, error: unknown): Promise<Finding[]> {
  const host = config.CDKTR_PRINCIPAL_HOST;
  if (!isHere(host)) {
    const reached = await connects(host, config.CDKTR_PRINCIPAL_PORT, config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);
    return [
      reached === null
        ? failure(
            "principal",
            `Something listens at ${hostAndPort(host, config.CDKTR_PRINCIPAL_PORT)}, but does not answer as a principal: ${errorMessage(error)}`,
            "Check CDKTR_PRINCIPAL_PORT; where keys are set up, check that this host has one.",
          )
        : failure(
            "principal",
            `No principal can be reached at ${hostAndPort(host, config.CDKTR_PRINCIPAL_PORT)}: ${reached}`,
            "Check CDKTR_PRINCIPAL_HOST and CDKTR_PRINCIPAL_PORT, that the principal runs and is bound to an address of its network (not to 127.0.0.1), and the firewalls between.",
          ),
    ];
  }
  const findings: Finding[] = [];
  for (const { setting, what } of PORTS) {
    const port = config[setting];
    const taken = await cannotBind(host, port);
    findings.push(
      taken === null
        ? ok("ports", `Port ${port} is free for the ${what}`)
        : failure(
            "ports",
            `Port ${port}, the principal's ${what}, cannot be bound to ${host}: ${taken}`,
            `See who has it with: ss -ltnp 'sport = :${port}'. Or choose another with ${setting}.`,
          ),
    );
  }
  if (findings.every(({ severity }) => severity === "ok")) {
    findings.unshift(
      warning("principal", `No principal runs at ${host}.`, "Start one: cdktr start principal --with-agent"),
    );
  }
  return findings;
}

async function logPorts(config: Config, info: PrincipalInfo): Promise<Finding[]> {
  const findings: Finding[] = [];
  const told = [info.api_port, info.logs_listening_port, info.logs_publishing_port];
  for (const [i, { setting, what }] of PORTS.entries()) {
    if (i === 0) continue;
    const port = config[setting];
    if (told[i] !== port) {
      findings.push(
        failure(
          "ports",
          `The principal has its ${what} at port ${told[i]}, the settings here say ${port}.`,
          `Set ${setting}=${told[i]} here.`,
        ),
      );
      continue;
    }
    const problem = await connects(config.CDKTR_PRINCIPAL_HOST, port, config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);
    findings.push(
      problem === null
        ? ok("ports", `Port ${port}, the ${what}, can be reached`)
        : failure(
            "ports",
            `Port ${port} of ${config.CDKTR_PRINCIPAL_HOST}, the ${what}, cannot be reached: ${problem}`,
            "Open it in the firewalls between this host and the principal.",
          ),
    );
  }
  return findings;
}

async function clock(client: PrincipalClient, now: () => number): Promise<Finding> {
  let best = { took: Number.POSITIVE_INFINITY, skew: 0 };
  for (let i = 0; i < SAMPLES; i++) {
    const asked = now();
    const { now_ms } = await client.info();
    const took = now() - asked;
    if (now_ms === undefined) return ok("clock", "The principal is too old to tell its time");
    if (took < best.took) best = { took, skew: asked + took / 2 - now_ms };
  }
  return judgeSkew(best.skew);
}

/** What a difference of the clocks means. `skew` is this host's clock less the principal's, ms. */
export function judgeSkew(skew: number): Finding {
  const apart = Math.abs(skew);
  const text = apart < 10_000 ? `${Math.round(apart)} ms` : `${Math.round(apart / 1000)} s`;
  const direction = skew > 0 ? "ahead of" : "behind";
  const remedy = "Synchronise both hosts: timedatectl set-ntp true, or chrony.";
  if (apart >= SKEW_ERROR_MS)
    return failure("clock", `This host's clock is ${text} ${direction} the principal's.`, remedy);
  if (apart >= SKEW_WARNING_MS)
    return warning("clock", `This host's clock is ${text} ${direction} the principal's.`, remedy);
  return ok("clock", `The clock is within ${text} of the principal's`);
}

/** What the versions of the principal and the agents mean beside the one of this executable. */
export function versions(
  principal: string,
  agents: readonly Pick<AgentSummary, "agent_id" | "version" | "status">[],
  own: string = packageJson.version,
): Finding[] {
  const findings: Finding[] = [];
  if (principal !== own) {
    findings.push(
      warning(
        "versions",
        `This is cdktr ${own}, the principal is ${principal}.`,
        "Bring both to one version: replace the executable and restart the service.",
      ),
    );
  }
  for (const { agent_id, version, status } of agents) {
    if (status === "LOST") {
      findings.push(
        warning(
          "agents",
          `Agent ${agent_id} is lost.`,
          "Look at its host: 'cdktr service status agent' and 'cdktr doctor' there.",
        ),
      );
    } else if (version !== principal && version !== "unknown") {
      findings.push(
        warning(
          "versions",
          `Agent ${agent_id} is ${version}, the principal is ${principal}.`,
          "Replace the executable on its host and restart the service; it loses nothing.",
        ),
      );
    }
  }
  if (findings.length === 0) findings.push(ok("versions", `Everything is version ${own}`));
  return findings;
}

/** Why a TCP connection cannot be made; null when it can. */
function connects(host: string, port: number, timeoutMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    const end = (problem: string | null) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(problem);
    };
    const timer = setTimeout(() => end(`nothing answered in ${timeoutMs / 1000} s`), timeoutMs);
    socket.once("connect", () => end(null));
    socket.once("error", (error) => end(errorMessage(error)));
  });
}

/** Why a port cannot be bound; null when it can. */
function cannotBind(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      resolve(error.code === "EADDRINUSE" ? "another program has it" : errorMessage(error));
    });
    server.listen(port, host, () => server.close(() => resolve(null)));
  });
}

function isHere(host: string): boolean {
  if (/^(127\.|0\.0\.0\.0$|::1?$|\[::1?\]$|localhost$)/i.test(host)) return true;
  return Object.values(networkInterfaces()).some((addresses) =>
    addresses?.some(({ address }) => address === host),
  );
}
