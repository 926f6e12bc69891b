/** Checks the principal as seen from this host: reachability, clock, versions. */

import { lookup } from "node:dns/promises";
import { networkInterfaces } from "node:os";
import { type Config, withSettings } from "../config.ts";
import { invalidFileText } from "../contract/invalid-file.ts";
import type { AgentSummary, PrincipalInfo, WorkflowSummary } from "../contract/messages.ts";
import { mismatch, type Peer, THIS_PEER } from "../contract/version.ts";
import { CdktrError, ConfigError, errorMessage } from "../errors.ts";
import { bareHost, isLoopback, reachableHost } from "../host/addresses.ts";
import {
  AccessRefusedError,
  type CurveClientKeys,
  type PrincipalClient,
  RequestRefusedError,
} from "../protocol/client.ts";
import { connect, principalAddresses } from "../protocol/connect.ts";
import { loadCurveKeys } from "../protocol/key-file.ts";
import type { Address } from "../protocol/members.ts";
import { cannotConnect } from "../protocol/tcp-probe.ts";
import { isDoneWithin } from "../timer.ts";
import { hostAndPort } from "../zmq/endpoint.ts";
import { checkChannels } from "./alert-checks.ts";
import { checkArchive } from "./archive-checks.ts";
import { checkBackfills } from "./backfill-checks.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";
import { checkMembers } from "./member-checks.ts";
import { checkPauses } from "./pause-checks.ts";
import { checkPools } from "./pool-checks.ts";
import { checkFreePorts, checkLogPorts, checkMetrics, openPort } from "./port-checks.ts";
import { holderOf } from "./port-holder.ts";

/** Clock skew, ms, that makes times of logs and runs misleading; a much larger one affects schedules and tokens too. */
const SKEW_WARNING_MS = 1000;
const SKEW_ERROR_MS = 60_000;
/** Number of clock samples; the one with the fastest reply counts. */
const SAMPLES = 3;
/** Upper limit for the deadline of a single reply, whatever the settings say, ms. */
const MOST_PATIENCE_MS = 5000;

const UPGRADE_AGENT =
  "On its host, replace the executable and restart it: sudo systemctl restart cdktr-agent. It finishes what it runs first.";
const UPGRADE =
  "Bring both to one version: replace the older executable and restart what runs it (sudo systemctl restart cdktr-principal, cdktr-agent). See 'cdktr docs operations'.";

/** What the checks found, and what the principal reported about itself. */
export interface PrincipalVisit {
  readonly findings: readonly Finding[];
  /** Undefined when it does not answer. */
  readonly info: PrincipalInfo | undefined;
  /** Whether the principal is, or would be, on this host. */
  readonly isHere: boolean;
}

/** Options of the checks. */
export interface VisitOptions {
  readonly now?: () => number;
  /** Called with a description of what is being checked. */
  readonly progress?: (what: string) => void;
}

/** Connects to the configured principal and examines it. Of several, each is looked for; the first that answers is examined. */
export async function visitPrincipal(config: Config, options: VisitOptions = {}): Promise<PrincipalVisit> {
  const [first, ...others] = principalAddresses(config);
  const at = ({ host, port }: Address): Config =>
    withSettings(config, {
      CDKTR_PRINCIPAL_HOST: config.CDKTR_PRINCIPALS === "" ? config.CDKTR_PRINCIPAL_HOST : host,
      CDKTR_PRINCIPAL_PORT: port,
      CDKTR_PRINCIPALS: "",
    });
  if (others.length === 0) return visitOne(at(first), options);
  const away: Finding[] = [];
  let last: PrincipalVisit | undefined;
  for (const address of [first, ...others]) {
    if (last?.info !== undefined) {
      const { host, port } = address;
      const problem = await cannotConnect(host, port, patienceOf(config));
      if (problem !== null) away.push(notThere(host, port, problem));
      continue;
    }
    const visit = await visitOne(at(address), options);
    if (visit.info === undefined) away.push(...visit.findings.filter(({ severity }) => severity !== "ok"));
    last = visit;
  }
  if (last?.info === undefined) return { findings: away, info: undefined, isHere: last?.isHere ?? false };
  // As long as one answers, the others are missed, but nothing fails.
  const missed = away.map((finding): Finding => ({ ...finding, severity: "warning", why: OTHERS_SERVE }));
  return { ...last, findings: [...last.findings, ...missed] };
}

const OTHERS_SERVE = "Commands and agents here use another principal of the installation meanwhile.";

function notThere(host: string, port: number, problem: string): Finding {
  return warning(
    "principal",
    `No principal can be reached at ${hostAndPort(host, port)}: ${problem}.`,
    OTHERS_SERVE,
    `See there with cdktr doctor; CDKTR_PRINCIPALS lists the addresses. The firewalls in between: ${openPort(port)}`,
  );
}

function patienceOf(config: Config): number {
  return Math.min(config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS, MOST_PATIENCE_MS);
}

async function visitOne(config: Config, options: VisitOptions): Promise<PrincipalVisit> {
  const { now = Date.now, progress = () => {} } = options;
  const patienceMs = patienceOf(config);
  const host = bareHost(reachableHost(config.CDKTR_PRINCIPAL_HOST));
  const here = await isHere(host, patienceMs);
  const without = (findings: readonly Finding[]): PrincipalVisit => ({
    findings,
    info: undefined,
    isHere: here,
  });
  let keys: CurveClientKeys | undefined;
  try {
    keys = loadCurveKeys(config, "client");
  } catch (error) {
    // Where the keys are is unknown, which is another finding.
    if (error instanceof ConfigError) return without([]);
    const remedy = error instanceof CdktrError ? error.hint : undefined;
    const why = "Without its key this host cannot connect to a secured principal.";
    return without([failure("keys", errorMessage(error), why, remedy ?? "See 'cdktr docs security'.")]);
  }
  const address = hostAndPort(host, config.CDKTR_PRINCIPAL_PORT);
  progress(`looking for the principal at ${address}`);
  const problem = await cannotConnect(host, config.CDKTR_PRINCIPAL_PORT, patienceMs);
  if (problem !== null) {
    return without(here ? await notRunning(config, host) : [unreachable(config, host, problem)]);
  }
  const client = connect(config, { keys }, { timeoutMs: patienceMs });
  try {
    progress(`asking the principal at ${address}`);
    const info = await client.info();
    const findings = [
      ok("principal", `The principal at ${client.address} answers (version ${info.version})`),
      ...(await checkLogPorts(ofMember(config, info), host, info, patienceMs, here)),
      ...(here ? await checkMetrics(config, info) : []),
      await clock(client, now),
      ...(await fleet(client, info)),
      ...(await workflows(client, info)),
      ...(await checkBackfills(client)),
      ...(await checkPools(client)),
      ...(await checkMembers(client)),
      ...(info.history.available ? await checkArchive(client, info.now_ms ?? Date.now()) : []),
      ...(await checkChannels(client)),
      ...info.invalid_workflow_files.map((file) =>
        warning(
          "workflows",
          `A file is invalid and was not loaded: ${invalidFileText(file)}`,
          file.path.endsWith(".ics")
            ? "The days that were read of it last stay in use; schedules of a calendar of which none were read do not fire."
            : file.waiting === undefined
              ? "It is not scheduled and cannot be run; if it was valid before, its last valid version stays in use."
              : `${file.waiting} ${file.waiting === 1 ? "workflow" : "workflows"} below it cannot be run until it is valid.`,
          `On the principal's host: cdktr workflow validate ${file.path.endsWith(".ics") ? "_cdktr.yml" : file.path} in the workflow directory`,
        ),
      ),
    ];
    return { findings, info, isHere: here };
  } catch (error) {
    // Without a leader it still says who is there.
    const members = await checkMembers(client).catch(() => []);
    return without(members.length > 0 ? members : [silent(config, host, here, error)]);
  } finally {
    await client.close();
  }
}

/** The ports of members are asked for: whatever the settings say, nobody uses it. */
function ofMember(config: Config, info: PrincipalInfo): Config {
  if (info.members === undefined) return config;
  return withSettings(config, {
    CDKTR_LOGS_LISTENING_PORT: info.logs_listening_port,
    CDKTR_LOGS_PUBLISHING_PORT: info.logs_publishing_port,
  });
}

/** The principal would run on this host but does not; its ports may be free or taken. */
async function notRunning(config: Config, host: string): Promise<Finding[]> {
  return [
    warning(
      "principal",
      `No principal runs at ${hostAndPort(host, config.CDKTR_PRINCIPAL_PORT)}.`,
      "Commands that need a principal fail, and agents get no work.",
      "Start one: cdktr start principal --with-agent. Or give its address: --principal HOST:PORT",
    ),
    ...(await checkFreePorts(config, bareHost(config.CDKTR_PRINCIPAL_HOST))),
  ];
}

function unreachable(config: Config, host: string, problem: string): Finding {
  const port = config.CDKTR_PRINCIPAL_PORT;
  return failure(
    "principal",
    `No principal can be reached at ${hostAndPort(host, port)}: ${problem}.`,
    "Commands fail here, and agents here get no work.",
    `Check CDKTR_PRINCIPAL_HOST and CDKTR_PRINCIPAL_PORT; that the principal is running there and listens on a network address, not on 127.0.0.1 (run cdktr doctor there); and the firewalls in between: ${openPort(port)}`,
  );
}

/** Something listens on the principal's port, but does not give a proper reply. */
function silent(config: Config, host: string, here: boolean, error: unknown): Finding {
  if (error instanceof AccessRefusedError) {
    return failure(
      "keys",
      error.message,
      "Nothing on this host can connect, including agents.",
      error.hint ?? "See 'cdktr docs security'.",
    );
  }
  const port = config.CDKTR_PRINCIPAL_PORT;
  const holder = here ? holderOf(port) : undefined;
  const who = holder === undefined ? "Something" : `${holder.program} (process ${holder.pid})`;
  return failure(
    "principal",
    `${who} listens at ${hostAndPort(host, port)}, but does not answer like a principal: ${errorMessage(error)}`,
    "It is either another program or a principal that hangs.",
    holder === undefined
      ? "Check CDKTR_PRINCIPAL_HOST and CDKTR_PRINCIPAL_PORT, and the principal's host with cdktr doctor"
      : `See what it is: ps -fp ${holder.pid}. Stop the other program or choose another port (CDKTR_PRINCIPAL_PORT); restart a principal that hangs: sudo systemctl restart cdktr-principal`,
  );
}

async function clock(client: PrincipalClient, now: () => number): Promise<Finding> {
  let best = { took: Number.POSITIVE_INFINITY, skew: 0 };
  for (let i = 0; i < SAMPLES; i++) {
    const asked = now();
    const { now_ms } = await client.info();
    const took = now() - asked;
    if (now_ms === undefined) return ok("clock", "The principal is too old to report its time");
    if (took < best.took) best = { took, skew: asked + took / 2 - now_ms };
  }
  return judgeSkew(best.skew);
}

/** The agents, if the key's role may list them: an agent's may not. */
async function fleet(client: PrincipalClient, info: PrincipalInfo): Promise<Finding[]> {
  try {
    return versions(info, await client.registeredAgents());
  } catch (error) {
    if (error instanceof RequestRefusedError) return versions(info, []);
    throw error;
  }
}

/** Triggers that cannot work and firings that were refused, if the key's role may list workflows. */
async function workflows(client: PrincipalClient, info: PrincipalInfo): Promise<Finding[]> {
  try {
    const all = Object.values(await client.listWorkflows());
    return [...triggers(all), ...(await checkPauses(client, all, info.now_ms ?? Date.now()))];
  } catch (error) {
    if (error instanceof RequestRefusedError) return [];
    throw error;
  }
}

function triggers(all: readonly WorkflowSummary[]): Finding[] {
  return all.flatMap(({ id, trigger_problems = [], refused }) => [
    ...trigger_problems.map((problem) =>
      warning(
        "workflows",
        `Workflow ${id}: ${problem}.`,
        "It does not run when you expect it to, or runs more often.",
        `Edit its file; cdktr workflow show ${id} shows it, cdktr workflow validate checks it`,
      ),
    ),
    ...(refused == null
      ? []
      : [
          warning(
            "workflows",
            `A firing of workflow ${id} (${refused.trigger}) was refused: ${refused.message}`,
            "It did not become a run, and the next firings will probably be refused too.",
            `Edit its file; cdktr workflow show ${id} shows it`,
          ),
        ]),
  ]);
}

/** Assesses the clock skew: this host's clock minus the principal's, ms. */
export function judgeSkew(skew: number): Finding {
  const apart = Math.abs(skew);
  const text = apart < 10_000 ? `${Math.round(apart)} ms` : `${Math.round(apart / 1000)} s`;
  const direction = skew > 0 ? "ahead of" : "behind";
  const message = `This host's clock is ${text} ${direction} the principal's.`;
  const remedy =
    "Synchronise both hosts: sudo timedatectl set-ntp true (or install chrony); timedatectl shows the state.";
  if (apart >= SKEW_ERROR_MS) {
    const why =
      "Times of runs and logs from here are wrong, '--last' and '--since' miss them, and join tokens may seem to have expired.";
    return failure("clock", message, why, remedy);
  }
  if (apart >= SKEW_WARNING_MS)
    return warning("clock", message, "Log lines of different hosts appear in the wrong order.", remedy);
  return ok("clock", `The clock is within ${text} of the principal's`);
}

/** Compares the versions of the principal and the agents with this executable. */
export function versions(
  principal: Peer,
  agents: readonly Pick<AgentSummary, "agent_id" | "version" | "status" | "protocol" | "survivors">[],
  own: Peer = THIS_PEER,
): Finding[] {
  const findings: Finding[] = [];
  const apart = mismatch(own, principal);
  if (apart !== undefined) {
    findings.push(
      failure(
        "versions",
        apart.message,
        "An agent with this executable gets no work from that principal.",
        apart.hint ?? UPGRADE,
      ),
    );
  } else if (principal.version !== own.version) {
    findings.push(
      warning(
        "versions",
        `This is cdktr ${own.version}, the principal is ${principal.version}.`,
        "They are compatible, but features of the newer version are missing.",
        UPGRADE,
      ),
    );
  }
  for (const { agent_id, version, status, protocol, survivors = [] } of agents) {
    for (const { pid, name, user, reason } of survivors) {
      findings.push(
        warning(
          "agents",
          `Agent ${agent_id} could not end process ${pid} (${name}) of ${user}, which a task left: ${reason}.`,
          "It is still running although its task is over.",
          `On its host: sudo kill -9 ${pid}. In state D, repair the disk or the mount that it waits for.`,
        ),
      );
    }
    if (status === "LOST") {
      findings.push(
        warning(
          "agents",
          `Agent ${agent_id} is lost: it sent no heartbeat for too long.`,
          "Its runs went to other agents, and it gets no new ones.",
          "On its host: cdktr service status agent, and cdktr doctor",
        ),
      );
    } else if (protocol !== undefined && protocol < principal.protocol.oldest) {
      findings.push(
        failure(
          "versions",
          `Agent ${agent_id} is too old: cdktr ${version} speaks protocol ${protocol}, the principal (${principal.version}) needs ${principal.protocol.oldest}.`,
          "It finishes its runs and gets no new ones.",
          UPGRADE_AGENT,
        ),
      );
    } else if (version !== principal.version && version !== "unknown") {
      findings.push(
        warning(
          "versions",
          `Agent ${agent_id} is ${version}, the principal is ${principal.version}.`,
          "They are compatible, but features of the newer version are missing.",
          UPGRADE_AGENT,
        ),
      );
    }
  }
  if (findings.length === 0) findings.push(ok("versions", `Everything is version ${own.version}`));
  return findings;
}

/** Whether a host name or address belongs to this host. */
async function isHere(host: string, patienceMs: number): Promise<boolean> {
  let address = "";
  const resolved = lookup(host).then(
    (found) => {
      address = found.address;
    },
    () => {},
  );
  await isDoneWithin(patienceMs, resolved);
  if (isLoopback(address)) return true;
  return Object.values(networkInterfaces()).some((own) => own?.some((each) => each.address === address));
}
