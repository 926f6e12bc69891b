/** From what was said to all answers: the rest is what is in force in that directory already, or the default. */
import { existsSync, readdirSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { type Config, type LoadedConfig, loadConfig } from "../../config.ts";
import { UnprocessableError, UsageError } from "../../errors.ts";
import { isLoopback } from "../../host/addresses.ts";
import { KeyStore } from "../../principal/access/key-store.ts";
import { type Answers, type Ports, PROJECT_DATA, type ServiceAnswer } from "../../project/answers.ts";
import { checkReach, insideProject } from "../../project/checks.ts";
import { DEFAULT_PORTS, freePortsFrom, portsFrom } from "../../project/ports.ts";
import { decodeJoinToken } from "../../protocol/join-token.ts";
import { requireSystemd } from "../../systemd/host.ts";
import { DEFAULT_USER, stateDirectoryName } from "../../systemd/service-id.ts";
import { selfCommand } from "../support/self.ts";
import { requireRoot } from "../support/service-args.ts";
import { readSource, translateSource } from "./crontab-source.ts";
import type { Given } from "./given.ts";
import { currentUser, userNamed } from "./host-users.ts";
import { logPortOf } from "./look-up-principal.ts";

/** The settings in force in a directory, where it is there. */
export function settingsIn(directory: string): LoadedConfig {
  return loadConfig({}, process.env, directory);
}

/**
 * All answers.
 * @throws UsageError when one is missing that has no default
 * @throws UnprocessableError when a service is wanted that cannot be
 * @throws ConfigError when the settings that are there cannot be read
 */
export async function completeAnswers(given: Given): Promise<Answers> {
  const directory = given.directory ?? process.cwd();
  const { values, sources } = settingsIn(directory);
  if ((given.kind ?? "try") === "agent") {
    const service = given.service ? checkService(given.service, "agent", directory, undefined) : undefined;
    const dataDirectory = dataDirectoryFor(service, directory, { values, sources });
    const principal = principalOf(given, { values, sources });
    const data = { CDKTR_APP_DATA_DIRECTORY: resolve(directory, dataDirectory) };
    const learned = given.token
      ? undefined
      : await logPortOf(principal.host, principal.port, { ...values, ...data });
    return {
      kind: "agent",
      directory,
      service,
      dataDirectory,
      principal,
      logsListeningPort: given.token ? undefined : (learned ?? guessedLogPort(given, principal.port)),
      principalAnswered: learned !== undefined,
      concurrency: given.concurrency ?? values.CDKTR_AGENT_MAX_CONCURRENCY,
      labels: given.labels ?? {},
    };
  }
  const kind = given.kind === "principal" ? "principal" : "try";
  const workflowDirectory = given.workflowDirectory ?? workflowDirectoryIn(directory, values);
  const crontab = given.crontab
    ? translateSource(given.crontab, await readSource(given.crontab), workflowDirectory)
    : undefined;
  const host = given.host ?? hostIn({ values, sources }, kind);
  const service = given.service
    ? checkService(
        given.service,
        "principal",
        directory,
        crontab && (given.crontab?.user ?? currentUser().name),
      )
    : undefined;
  const dataDirectory = dataDirectoryFor(service, directory, { values, sources });
  return {
    kind,
    directory,
    service,
    dataDirectory,
    host,
    ports: await portsOf(given, { values, sources }, host),
    workflowDirectory,
    keys: given.keys ?? keysByDefault(host, resolve(directory, dataDirectory)),
    withAgent: given.withAgent ?? true,
    example: given.example ?? hasNoWorkflows(join(directory, workflowDirectory)),
    crontab,
  };
}

/** Keys are made where others than this host reach the principal; those that are there stay in use. */
export function keysByDefault(host: string, dataDirectory: string): boolean {
  return !isLoopback(host) || new KeyStore(dataDirectory).exists;
}

/** The address to bind when nobody says. */
export function hostIn({ values, sources }: LoadedConfig, kind: "try" | "principal"): string {
  return kind === "principal" && sources.CDKTR_PRINCIPAL_HOST !== "default"
    ? values.CDKTR_PRINCIPAL_HOST
    : "127.0.0.1";
}

/** The workflow directory when nobody says. */
export function workflowDirectoryIn(directory: string, values: Config): string {
  return insideProject(values.CDKTR_WORKFLOW_DIR, directory) ?? "workflows";
}

/** The ports that are in force in a directory, when something there says so. */
export function portsIn({ values, sources }: LoadedConfig): Ports | undefined {
  if (sources.CDKTR_PRINCIPAL_PORT === "default") return undefined;
  return {
    api: values.CDKTR_PRINCIPAL_PORT,
    logsListening: values.CDKTR_LOGS_LISTENING_PORT,
    logsPublishing: values.CDKTR_LOGS_PUBLISHING_PORT,
  };
}

/** Whether a directory has no workflow files yet. */
export function hasNoWorkflows(directory: string): boolean {
  if (!existsSync(directory)) return true;
  const files = readdirSync(directory, { recursive: true, encoding: "utf8" });
  // One that was made here earlier does not count.
  return !files.some((file) => /\.ya?ml$/.test(file) && file !== "hello.yml" && !file.startsWith("cron/"));
}

/**
 * Ports: those given, those in force there already, else the first three that are free.
 * @throws UsageError when two are the same
 */
async function portsOf({ ports = {} }: Given, loaded: LoadedConfig, host: string): Promise<Ports> {
  const present = portsIn(loaded);
  const base = ports.api === undefined ? (present ?? DEFAULT_PORTS) : portsFrom(ports.api);
  const wanted = { ...base, ...ports };
  const values = Object.values(wanted);
  if (new Set(values).size < values.length || values.some((port) => port > 65_535)) {
    throw new UsageError(`The three ports must be different, from 1 to 65535: ${values.join(", ")}.`, {
      hint: "Give all three: --port, --logs-listening-port, --logs-publishing-port.",
    });
  }
  const isOpen = Object.keys(ports).length === 0 && present === undefined;
  return isOpen ? freePortsFrom(host, wanted) : wanted;
}

/** Where the state goes, as `.env` says it: where the unit of a service of the host has it, else into the project. */
function dataDirectoryFor(
  service: ServiceAnswer | undefined,
  directory: string,
  { values, sources }: LoadedConfig,
): string {
  if (service !== undefined && !service.user) return `/var/lib/${stateDirectoryName(service.runAs)}`;
  if (sources.CDKTR_APP_DATA_DIRECTORY === "default") return PROJECT_DATA;
  const inside = relative(directory, values.CDKTR_APP_DATA_DIRECTORY);
  return inside === PROJECT_DATA ? PROJECT_DATA : values.CDKTR_APP_DATA_DIRECTORY;
}

function principalOf(given: Given, { values, sources }: LoadedConfig): { host: string; port: number } {
  const token = given.token ? decodeJoinToken(given.token) : undefined;
  const isKnown = sources.CDKTR_PRINCIPAL_HOST !== "default";
  const host = given.principal?.host ?? token?.host ?? (isKnown ? values.CDKTR_PRINCIPAL_HOST : undefined);
  if (host === undefined) {
    throw new UsageError("An agent must know its principal.", {
      hint: "Add --principal HOST:PORT, or --join TOKEN with the token that 'cdktr join-token create' printed there.",
    });
  }
  return { host, port: given.principal?.port ?? token?.port ?? values.CDKTR_PRINCIPAL_PORT };
}

/** By the ports that the wizard itself proposes. */
function guessedLogPort({ ports }: Given, api: number): number {
  return ports?.logsListening ?? portsFrom(api).logsListening;
}

/**
 * Makes sure that a service can be: before anything is written.
 * @param jobsOf the user whose crontab is imported
 */
function checkService(
  { user, runAs }: ServiceAnswer,
  role: "principal" | "agent",
  directory: string,
  jobsOf: string | undefined,
): ServiceAnswer {
  requireSystemd(user, role, selfCommand());
  requireRoot(user, "install");
  const name = runAs || jobsOf || DEFAULT_USER;
  if (user) return { user, runAs: "" };
  if (jobsOf !== undefined && jobsOf !== name) {
    throw new UsageError(`The imported jobs belong to ${jobsOf}, but the service would run as ${name}.`, {
      hint: `Say --run-as ${jobsOf}, or import the jobs of ${name} with --crontab-user ${name}.`,
    });
  }
  // A user that is yet to be made is like any other.
  const closed = checkReach(directory, userNamed(name) ?? { uid: -1, gid: -1 });
  if (closed !== undefined) {
    throw new UnprocessableError(`The service would run as ${name}, who has no access to ${closed}.`, {
      hint: "Choose a directory that every user can reach, such as /srv/cdktr, or another user with --run-as.",
    });
  }
  return { user, runAs: name };
}
