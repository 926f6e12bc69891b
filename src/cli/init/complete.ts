/** Completes partial answers: what is still open comes from the settings already in the directory, or from the defaults. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { isAbsolute, join, relative, resolve } from "node:path";
import { type Config, type LoadedConfig, loadConfig } from "../../config.ts";
import { UnprocessableError, UsageError } from "../../errors.ts";
import { isLoopback } from "../../host/addresses.ts";
import { selfCommand } from "../../host/self.ts";
import { type Answers, type Ports, PROJECT_DATA, type ServiceAnswer } from "../../project/answers.ts";
import { checkReach, insideProject } from "../../project/checks.ts";
import { DEFAULT_PORTS, freePortsFrom, portsFrom } from "../../project/ports.ts";
import { KeyStore } from "../../protocol/doors/key-store.ts";
import { decodeJoinToken } from "../../protocol/join-token.ts";
import { requireSystemd } from "../../systemd/host.ts";
import { DEFAULT_USER, stateDirectoryName } from "../../systemd/service-id.ts";
import { currentUser, userNamed } from "../support/host-users.ts";
import { requireRoot } from "../support/service-args.ts";
import { readSource, translateSource } from "./crontab-source.ts";
import type { Given } from "./given.ts";
import { logPortOf } from "./look-up-principal.ts";

/** The text of a file; undefined if it cannot be read. */
function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** The effective settings of a directory, if it exists. */
export function settingsIn(directory: string): LoadedConfig {
  return loadConfig({}, process.env, directory);
}

/**
 * Completes the answers.
 * @throws UsageError when an answer without a default is missing
 * @throws UnprocessableError when a service is wanted but not possible
 * @throws ConfigError when the existing settings cannot be read
 */
export async function completeAnswers(given: Given): Promise<Answers> {
  const directory = given.directory ?? process.cwd();
  const loaded = settingsIn(directory);
  const { values } = loaded;
  if ((given.kind ?? "try") === "agent") {
    const service = given.service ? checkService(given.service, "agent", directory, undefined) : undefined;
    const dataDirectory = dataDirectoryFor(service, directory, loaded);
    const principal = principalOf(given, loaded);
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
    ? translateSource(
        given.crontab,
        await readSource(given.crontab),
        workflowDirectory,
        textOf(resolve(directory, workflowDirectory, "_cdktr.yml")),
      )
    : undefined;
  const host = given.host ?? hostIn(loaded, kind);
  const service = given.service
    ? checkService(
        given.service,
        "principal",
        directory,
        crontab && (given.crontab?.user ?? currentUser().name),
      )
    : undefined;
  const dataDirectory = dataDirectoryFor(service, directory, loaded);
  return {
    kind,
    directory,
    service,
    dataDirectory,
    host,
    ports: await portsOf(given, loaded, host),
    workflowDirectory,
    keys: given.keys ?? keysByDefault(host, resolve(directory, dataDirectory)),
    withAgent: given.withAgent ?? true,
    ...(given.editor == null ? {} : { editor: given.editor }),
    example: given.example ?? hasNoWorkflows(join(directory, workflowDirectory)),
    crontab,
  };
}

/** Keys are created when other hosts can reach the principal; existing keys stay in use. */
export function keysByDefault(host: string, dataDirectory: string): boolean {
  return !isLoopback(host) || new KeyStore(dataDirectory).exists;
}

/** The default address to bind to. */
export function hostIn({ values, sources }: LoadedConfig, kind: "try" | "principal"): string {
  return kind === "principal" && sources.CDKTR_PRINCIPAL_HOST !== "default"
    ? values.CDKTR_PRINCIPAL_HOST
    : "127.0.0.1";
}

/** The default workflow directory. */
export function workflowDirectoryIn(directory: string, values: Config): string {
  return insideProject(values.CDKTR_WORKFLOW_DIR, directory) ?? "workflows";
}

/** The ports that an existing directory is configured to use, if any. */
export function portsIn({ values, sources }: LoadedConfig): Ports | undefined {
  if (sources.CDKTR_PRINCIPAL_PORT === "default") return undefined;
  return {
    api: values.CDKTR_PRINCIPAL_PORT,
    logsListening: values.CDKTR_LOGS_LISTENING_PORT,
    logsPublishing: values.CDKTR_LOGS_PUBLISHING_PORT,
  };
}

export function hasNoWorkflows(directory: string): boolean {
  if (!existsSync(directory)) return true;
  const files = readdirSync(directory, { recursive: true, encoding: "utf8" });
  // An example that was written here earlier does not count.
  return !files.some((file) => /\.ya?ml$/.test(file) && file !== "hello.yml" && !file.startsWith("cron/"));
}

/**
 * Chooses the ports: those given, those already configured there, or the first three free ones.
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

/** Where the state goes, as written to `.env`: the state directory of a system service's unit, otherwise inside the project. */
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

/**
 * The data directory when only the environment of this command says that it is outside of the project: it may belong to another
 * installation, whose keys would become those of this project.
 */
export function foreignDataDirectory({ directory, dataDirectory, service }: Answers): string | undefined {
  const isOfService = service !== undefined && !service.user;
  if (isOfService || !isAbsolute(dataDirectory)) return undefined;
  if (insideProject(dataDirectory, directory) !== undefined) return undefined;
  const { values, sources } = loadConfig({}, {}, directory);
  const isOfProject =
    sources.CDKTR_APP_DATA_DIRECTORY === ".env" && values.CDKTR_APP_DATA_DIRECTORY === dataDirectory;
  return isOfProject ? undefined : dataDirectory;
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

/** Based on the ports that the wizard itself proposes. */
function guessedLogPort({ ports }: Given, api: number): number {
  return ports?.logsListening ?? portsFrom(api).logsListening;
}

/**
 * Checks that the service is possible before anything is written.
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
  // A user that will be created later is treated like any other.
  const closed = checkReach(directory, userNamed(name) ?? { uid: -1, gid: -1 });
  if (closed !== undefined) {
    throw new UnprocessableError(`The service would run as ${name}, who has no access to ${closed}.`, {
      hint: "Choose a directory that every user can reach, such as /srv/cdktr, or another user with --run-as.",
    });
  }
  return { user, runAs: name };
}
