/**
 * The settings: one table declares the name, type, default, bounds and meaning of each.
 * Sources in order of precedence: flags, the environment, `.env` in the working directory.
 */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseEnv } from "node:util";
import { z } from "zod";
import { ConfigError } from "./errors.ts";
import { parseAddresses } from "./host/addresses.ts";
import { homeFor } from "./host/home.ts";

const port = z.coerce.number().int().min(1).max(65535);
const positive = z.coerce.number().int().positive();

/** How long something is kept: days, weeks or years, or all of it. */
const kept = z.string().regex(/^(all|[1-9]\d{0,4}d|[1-9]\d{0,3}w|[1-9]\d{0,1}y)$/);
const KEPT = "all, or a number of days, weeks or years such as 90d, 12w or 2y";
const DAYS = { d: 1, w: 7, y: 365 } as const;

/** The number of days of a setting that says how long something is kept; null for all. */
export function daysOf(text: string): number | null {
  const unit = text.at(-1);
  return unit === "d" || unit === "w" || unit === "y" ? Number.parseInt(text, 10) * DAYS[unit] : null;
}

interface SettingSpec<T> {
  readonly description: string;
  readonly schema: z.ZodType<T>;
  /** The default; a function when it depends on other settings. */
  readonly default: T | ((values: Partial<Record<string, unknown>>) => T);
  /** The bounds as text, for `config list` and error messages. */
  readonly bounds: string;
}

function setting<T>(
  description: string,
  schema: z.ZodType<T>,
  bounds: string,
  byDefault: T | ((values: Partial<Record<string, unknown>>) => T),
): SettingSpec<T> {
  return { description, schema, bounds, default: byDefault };
}

const milliseconds = "a whole number of milliseconds, at least 1";

/** Every setting, in the order of `config list`. */
export const SETTINGS = {
  CDKTR_LOG_LEVEL: setting<"DEBUG" | "INFO" | "WARN" | "ERROR">(
    "Verbosity of cdktr's own log on stderr",
    z.preprocess((v) => String(v).toUpperCase(), z.enum(["DEBUG", "INFO", "WARN", "ERROR"])),
    "DEBUG, INFO, WARN or ERROR",
    "INFO",
  ),
  CDKTR_PRINCIPAL_HOST: setting(
    "Address that a principal binds to and everyone else connects to",
    z.string().min(1),
    "a host name or an IP address",
    "127.0.0.1",
  ),
  CDKTR_PRINCIPAL_PORT: setting("Port of the principal's API", port, "1 to 65535", 5561),
  CDKTR_PRINCIPALS: setting(
    "Addresses of the principals of an installation with several, for everyone who connects to one; wins over host and port",
    z.string().refine((text) => parseAddresses(text) !== undefined),
    "HOST:PORT, several separated by commas",
    () => "",
  ),
  CDKTR_LOGS_LISTENING_PORT: setting("Port on which agents deliver log lines", port, "1 to 65535", 5562),
  CDKTR_LOGS_PUBLISHING_PORT: setting("Port on which log lines are published live", port, "1 to 65535", 5563),
  CDKTR_PRINCIPAL_NAME: setting(
    "Name of a principal in 'cdktr principals list'; by default that of its host",
    z.string().regex(/^$|^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/),
    "at most 64 letters, digits, dots, dashes and underscores",
    () => "",
  ),
  CDKTR_PRINCIPAL_ADDRESS: setting(
    "Address at which others reach a principal; by default the one that it binds to, or the name of its host if it binds to all",
    z.string(),
    "a host name or an IP address",
    () => "",
  ),
  CDKTR_STORE_URL: setting(
    "PostgreSQL database that several principals share; without it there is one principal, with its state in its data directory",
    z.string(),
    "postgres://USER@HOST[:PORT][,HOST…]/DATABASE",
    () => "",
  ),
  CDKTR_STORE_PASSWORD_FILE: setting(
    "File with the password for that database",
    z.string(),
    "a path",
    () => "",
  ),
  CDKTR_LEADER_LEASE_MS: setting(
    "Silence after which another principal takes the place of the one that leads",
    z.coerce.number().int().min(1000).max(60_000),
    "a whole number of milliseconds, 1000 to 60000",
    3000,
  ),
  CDKTR_WORKFLOW_DIR: setting("Directory of the workflow files", z.string().min(1), "a path", "workflows"),
  CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S: setting(
    "Seconds between full scans of the workflow directory (file events reload at once)",
    positive,
    "a whole number of seconds, at least 1",
    60,
  ),
  CDKTR_AGENT_MAX_CONCURRENCY: setting("How many workflows an agent runs at once", positive, "at least 1", 5),
  CDKTR_AGENT_MAX_TASKS: setting(
    "How many tasks an agent has in flight at once",
    positive,
    "at least 1",
    () => Math.max(1, navigator.hardwareConcurrency) * 4,
  ),
  CDKTR_AGENT_OUTBOX_LIMIT_MB: setting(
    "Log lines and reports an agent buffers on disk for the principal; when it is full, tasks that print block",
    positive,
    "a whole number of MiB, at least 1",
    256,
  ),
  CDKTR_SECRET_VARIABLES: setting(
    "Variables of an agent's environment that its tasks do not see: names and patterns such as AWS_*, separated by commas",
    z.string().regex(/^[A-Za-z0-9_*?, ]*$/),
    "names and patterns of variables, separated by commas",
    () => "",
  ),
  CDKTR_AGENT_STOP_GRACE_S: setting(
    "Grace period in which a stopping agent lets its runs finish; unfinished runs go to another agent",
    z.coerce.number().int().min(0).max(604_800),
    "a whole number of seconds, 0 to 604800 (a week)",
    900,
  ),
  CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: setting(
    "Time between an agent's heartbeats",
    positive,
    milliseconds,
    5000,
  ),
  CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: setting(
    "Silence after which the principal counts an agent as lost",
    positive,
    milliseconds,
    30_000,
  ),
  CDKTR_RETRY_ATTEMPTS: setting(
    "Unanswered requests after which an agent gives the principal up",
    positive,
    "at least 1",
    20,
  ),
  CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: setting(
    "How long a request waits for its reply",
    positive,
    milliseconds,
    3000,
  ),
  CDKTR_SCHEDULER_START_POLL_FREQUENCY_MS: setting(
    "Longest sleep of the scheduler where nothing else notices clock jumps",
    positive,
    milliseconds,
    500,
  ),
  CDKTR_LOG_FLUSH_INTERVAL_MS: setting(
    "Longest time before a log line is written to DuckDB (a query flushes first)",
    positive,
    milliseconds,
    30_000,
  ),
  CDKTR_APP_DATA_DIRECTORY: setting("Directory for cdktr's own state", z.string().min(1), "a path", () =>
    join(homeFor("CDKTR_APP_DATA_DIRECTORY"), ".cdktr"),
  ),
  CDKTR_DB_PATH: setting(
    "The DuckDB file of history and logs",
    z.string().min(1),
    "a path, or :memory:",
    (values) => join(String(values.CDKTR_APP_DATA_DIRECTORY), "app.db"),
  ),
  CDKTR_HISTORY_URL: setting(
    "The database that lists what is in the lake of several principals' history: ducklake:postgres://…; by default the history is in the file of CDKTR_DB_PATH",
    z.string(),
    "a URL",
    () => "",
  ),
  CDKTR_HISTORY_PASSWORD_FILE: setting(
    "File with the password of that database",
    z.string(),
    "a path",
    () => "",
  ),
  CDKTR_HISTORY_DATA: setting(
    "Where the files of the lake are: s3://BUCKET/PREFIX, or a directory that all members share",
    z.string().regex(/^$|^(?!s3:)(?!https?:).|^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/.*)?$/),
    "a path, or s3://BUCKET/PREFIX",
    () => "",
  ),
  CDKTR_HISTORY_COMPACT_S: setting(
    "How often the leader makes larger files of the lake's small ones",
    z.coerce.number().int().min(10).max(86_400),
    "a whole number of seconds, 10 to 86400 (a day)",
    600,
  ),
  CDKTR_HISTORY_SNAPSHOTS_KEEP: setting(
    "How long the lake keeps its former states, and with them what was deleted since",
    kept,
    KEPT,
    "1d",
  ),
  CDKTR_HISTORY_KEEP: setting(
    "How long the history stays in the DuckDB file; days that are older move into Parquet files beside it",
    kept,
    KEPT,
    "all",
  ),
  CDKTR_ARCHIVE_KEEP: setting(
    "How long days stay in these files; days that are older are deleted",
    kept,
    KEPT,
    "all",
  ),
  CDKTR_BLOB_URL: setting(
    "Where the principal keeps the files that travel with runs: a directory, or a bucket as s3://BUCKET/PREFIX",
    z.string().regex(/^(?!s3:)(?!https?:).|^s3:\/\/[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](\/.*)?$/),
    "a path, or s3://BUCKET/PREFIX",
    (values) => join(String(values.CDKTR_APP_DATA_DIRECTORY), "blobs"),
  ),
  CDKTR_BLOB_LIMIT_GB: setting(
    "The most that the principal keeps of such files; beyond it no more are taken",
    positive,
    "a whole number of GiB, at least 1",
    50,
  ),
  CDKTR_ARTIFACTS_LIMIT_MB: setting(
    "The most that the tasks of a run may leave as files",
    positive,
    "a whole number of MiB, at least 1",
    256,
  ),
  CDKTR_ARTIFACTS_KEEP_DAYS: setting(
    "How long the files are kept that tasks of runs have left that are over; 0 for ever",
    z.coerce.number().int().min(0).max(36_500),
    "a whole number of days, 0 to 36500",
    0,
  ),
  CDKTR_BLOB_CACHE_MB: setting(
    "How much an agent keeps of such files, for the next run that needs them",
    positive,
    "a whole number of MiB, at least 1",
    2048,
  ),
  CDKTR_S3_ENDPOINT: setting(
    "URL of the S3 server of CDKTR_BLOB_URL and CDKTR_HISTORY_DATA; by default that of AWS",
    z.string().regex(/^$|^https?:\/\//),
    "a URL",
    () => "",
  ),
  CDKTR_S3_REGION: setting("Region of the bucket", z.string(), "a name", () => ""),
  CDKTR_S3_ACCESS_KEY_ID: setting(
    "Id of the access key for the bucket; by default the one in AWS_ACCESS_KEY_ID",
    z.string(),
    "a name",
    () => "",
  ),
  CDKTR_S3_SECRET_ACCESS_KEY_FILE: setting(
    "File with the secret of that key; by default it is in AWS_SECRET_ACCESS_KEY",
    z.string(),
    "a path",
    () => "",
  ),
  CDKTR_KEY_FILE: setting(
    "Key file used to connect to a secured principal (else agent.key, client.key or admin.key in the keys directory)",
    z.string(),
    "a path",
    () => "",
  ),
  CDKTR_SECRETS_KEY_FILE: setting(
    "The principal's file with the key that seals secrets for tasks",
    z.string().min(1),
    "a path",
    (values) => join(String(values.CDKTR_APP_DATA_DIRECTORY), "secrets.key"),
  ),
  CDKTR_CACHE_DIRECTORY: setting(
    "Directory into which the executable unpacks its native libraries",
    z.string().min(1),
    "a path",
    () => join(process.env.XDG_CACHE_HOME || join(homeFor("CDKTR_CACHE_DIRECTORY"), ".cache"), "cdktr"),
  ),
  CDKTR_WEBHOOK_HOST: setting(
    "Address on which webhooks of workflow files are served",
    z.string().min(1),
    "a host name or an IP address",
    "127.0.0.1",
  ),
  CDKTR_WEBHOOK_PORT: setting(
    "Port on which webhooks of workflow files are served",
    port,
    "1 to 65535",
    5564,
  ),
  CDKTR_METRICS_PORT: setting(
    "Loopback port of the principal's /metrics and /healthz; 0 turns them off",
    z.coerce.number().int().min(0).max(65535),
    "0 to 65535",
    5565,
  ),
  CDKTR_LISTENER_METRICS_PORT: setting(
    "The same for 'cdktr listen' and 'cdktr start listeners'",
    z.coerce.number().int().min(0).max(65535),
    "0 to 65535",
    0,
  ),
  CDKTR_METRICS_WORKFLOWS: setting(
    "How many workflows have metrics of their own on /metrics; the others are counted together. 0 for none",
    z.coerce.number().int().min(0).max(10_000),
    "a whole number, 0 to 10000",
    500,
  ),
  CDKTR_TUI_STATUS_REFRESH_INTERVAL_MS: setting(
    "Time between status refreshes of the terminal UI",
    positive,
    milliseconds,
    1000,
  ),
} as const;

/** The name of a setting, which is also its environment variable. */
export type SettingName = keyof typeof SETTINGS;

/** The effective values of all settings. */
export type Config = {
  readonly [K in SettingName]: (typeof SETTINGS)[K] extends SettingSpec<infer T> ? T : never;
};

/** Where the value of a setting came from. */
type SettingSource = "default" | ".env" | "environment" | "flag";

/** The settings with the source of each value. */
export interface LoadedConfig {
  readonly values: Config;
  readonly sources: Readonly<Record<SettingName, SettingSource>>;
  /** Variables that are named like settings and are none, with the place where they are set. */
  readonly unknown: ReadonlyMap<string, "environment" | ".env">;
}

/** Paths that become absolute. `CDKTR_WORKFLOW_DIR` stays as it was given. */
const PATH_SETTINGS: readonly SettingName[] = [
  "CDKTR_APP_DATA_DIRECTORY",
  "CDKTR_DB_PATH",
  "CDKTR_KEY_FILE",
  "CDKTR_HISTORY_PASSWORD_FILE",
  "CDKTR_S3_SECRET_ACCESS_KEY_FILE",
  "CDKTR_STORE_PASSWORD_FILE",
  "CDKTR_CACHE_DIRECTORY",
];

/**
 * Reads the settings.
 * @param flags values from the command line, which take precedence; `undefined` ones are ignored
 * @throws ConfigError naming the variable whose value is invalid, its source and its bounds
 */
export function loadConfig(
  flags: Partial<Record<SettingName, string | number | undefined>> = {},
  environment: Record<string, string | undefined> = process.env,
  directory: string = process.cwd(),
): LoadedConfig {
  const dotenv = readDotenv(join(directory, ".env"));
  const values: Partial<Record<string, unknown>> = {};
  const sources: Partial<Record<string, SettingSource>> = {};
  for (const [name, spec] of Object.entries(SETTINGS) as [SettingName, SettingSpec<unknown>][]) {
    const candidates: [SettingSource, string | number | undefined][] = [
      ["flag", flags[name]],
      ["environment", environment[name]],
      [".env", dotenv[name]],
    ];
    const found = candidates.find(([, value]) => value !== undefined && value !== "");
    if (found === undefined) {
      sources[name] = "default";
      setDefault(values, name, spec);
      continue;
    }
    const [source, raw] = found;
    const isPath = name === "CDKTR_WORKFLOW_DIR" || PATH_SETTINGS.includes(name);
    const parsed = spec.schema.safeParse(
      isPath ? withHome(String(raw), environment.HOME ?? process.env.HOME, name) : raw,
    );
    if (!parsed.success) {
      throw new ConfigError(`${name}="${raw}" (${source}) is not valid: it must be ${spec.bounds}.`, {
        hint: `${spec.description}. Unset it to use the default, or run 'cdktr config list'.`,
      });
    }
    values[name] = parsed.data;
    sources[name] = source;
  }
  for (const name of PATH_SETTINGS) {
    if (Object.getOwnPropertyDescriptor(values, name)?.get !== undefined) continue;
    if (values[name] !== ":memory:" && values[name] !== "")
      values[name] = resolve(directory, String(values[name]));
  }
  const unknown = new Map<string, "environment" | ".env">();
  for (const name of Object.keys(dotenv)) if (isUnknown(name)) unknown.set(name, ".env");
  for (const name of Object.keys(environment)) if (isUnknown(name)) unknown.set(name, "environment");
  return { values: values as Config, sources: sources as Record<SettingName, SettingSource>, unknown };
}

function isUnknown(name: string): boolean {
  return name.startsWith("CDKTR_") && !Object.hasOwn(SETTINGS, name);
}

/** The variables of programs that cdktr shares with others, such as those of OpenTelemetry: from `.env` and from the environment. */
export function sharedVariables(
  environment: Record<string, string | undefined> = process.env,
  directory: string = process.cwd(),
): Readonly<Record<string, string | undefined>> {
  return { ...readDotenv(join(directory, ".env")), ...environment };
}

/** Expands `~`, `$HOME` and `${HOME}` at the beginning of a path: no shell does so in a `.env` or a unit file. */
function withHome(path: string, home: string | undefined, name: SettingName): string {
  const match = /^(?:~|\$HOME|\$\{HOME\})(?=\/|$)/.exec(path);
  if (match === null) return path;
  if (home) return home + path.slice(match[0].length);
  throw new ConfigError(`${name}="${path}" cannot be expanded: HOME is not set.`, {
    hint: "Write an absolute path.",
  });
}

/** Sets a default. One that this host does not have is an error for whoever reads it, not for a command that does not need it. */
function setDefault(
  values: Partial<Record<string, unknown>>,
  name: SettingName,
  spec: SettingSpec<unknown>,
): void {
  try {
    values[name] = typeof spec.default === "function" ? spec.default(values) : spec.default;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const get = () => {
      throw error;
    };
    Object.defineProperty(values, name, { enumerable: true, configurable: true, get });
  }
}

/** A setting; undefined when it has no default on this host. */
export function knownSetting<K extends SettingName>(config: Config, name: K): Config[K] | undefined {
  try {
    return config[name];
  } catch (error) {
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** The same settings, but for some. Those without a value, which say so when they are read, stay as they are. */
export function withSettings(config: Config, others: Partial<Config>): Config {
  const own = Object.getOwnPropertyDescriptors(config);
  return Object.defineProperties({}, { ...own, ...Object.getOwnPropertyDescriptors(others) }) as Config;
}

function readDotenv(path: string): Record<string, string | undefined> {
  if (!existsSync(path)) return {};
  try {
    return parseEnv(readFileSync(path, "utf8")) as Record<string, string | undefined>;
  } catch (error) {
    throw new ConfigError(`${path} cannot be read: ${error instanceof Error ? error.message : error}`, {
      cause: error,
    });
  }
}
