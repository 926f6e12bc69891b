/** The URL of a PostgreSQL database, as libpq writes them: several hosts, TLS, and the schema that cdktr uses. */
import { readFileSync } from "node:fs";
import { CdktrError, ConfigError, errorMessage } from "../../errors.ts";

/** Where a server listens. A host that begins with "/" is the directory of its unix socket. */
export interface StoreHost {
  readonly host: string;
  readonly port: number;
}

/** How much TLS a connection wants, in libpq's words. */
const SSL_MODES = ["disable", "prefer", "require", "verify-ca", "verify-full"] as const;
type SslMode = (typeof SSL_MODES)[number];

/** A database, and how to reach it. It shows no password. */
export interface StoreAddress {
  /** At least one; the primary is looked for among them. */
  readonly hosts: readonly StoreHost[];
  readonly user: string;
  readonly database: string;
  /** The schema with the tables. */
  readonly schema: string;
  readonly sslMode: SslMode;
  /** File with the certificates of the authorities that are trusted; null: the system's. */
  readonly sslRootCertificate: string | null;
  /** Files with a certificate of the client's own and its key. */
  readonly sslCertificate: { readonly certificate: string; readonly key: string } | null;
  /** The password, read anew for each connection, so that it can be changed while cdktr runs. @throws CdktrError when its file cannot be read */
  readonly password: () => string;
  /** The URL without the password, for people. */
  readonly shown: string;
}

/** What {@link parseStoreUrl} needs beside the URL. */
interface UrlSource {
  /** The setting that has it, for messages. */
  readonly setting?: string;
  /** File with the password. It wins over the URL's. */
  readonly passwordFile?: string;
  /** The schema that a URL means which names none. */
  readonly schema?: string;
  /** What stands before "postgres://" in the setting, and not in the URL that is read here; for messages. */
  readonly prefix?: string;
}

const FORM = "postgres://USER@HOST[:PORT][,HOST…]/DATABASE[?sslmode=…&sslrootcert=…&schema=…]";
const DEFAULT_PORT = 5432;
const DEFAULT_SCHEMA = "cdktr";
const PARAMETERS = ["schema", "sslmode", "sslrootcert", "sslcert", "sslkey"] as const;

/** Parameters of libpq that somebody may bring along, and why they are not known here. */
const OTHERS: Readonly<Record<string, string>> = {
  passfile: "Write the password alone into a file, and name it in CDKTR_STORE_PASSWORD_FILE.",
  password: "Write it before the host, USER:PASSWORD@HOST, or into a file (CDKTR_STORE_PASSWORD_FILE).",
  target_session_attrs: "Leave it out: cdktr always looks for the primary.",
  load_balance_hosts: "Leave it out: cdktr always looks for the primary.",
  host: "Write hosts before the database: postgres://USER@HOST1,HOST2/DATABASE.",
  port: "Write it behind its host: HOST:PORT.",
  user: "Write it before the host: postgres://USER@HOST/DATABASE.",
  dbname: "Write it behind the hosts: postgres://USER@HOST/DATABASE.",
  options: "Set such options for the role instead: ALTER ROLE … SET …",
};

/**
 * Reads the URL of a database.
 * @throws ConfigError that says what is wrong with it, and never shows the password
 */
export function parseStoreUrl(url: string, source: UrlSource = {}): StoreAddress {
  const { setting = "CDKTR_STORE_URL", passwordFile = "", prefix = "" } = source;
  const file = setting.replace(/_URL$/, "_PASSWORD_FILE");
  const wrong = (what: string, hint = `Write it as ${prefix}${FORM}.`) =>
    new ConfigError(`${setting} ${what}.`, { hint: hint.replace("CDKTR_STORE_PASSWORD_FILE", file) });
  const match =
    /^postgres(?:ql)?:\/\/(?:(?<user>[^/?#]*)@)?(?<hosts>[^/?#]*)(?:\/(?<database>[^?#]*))?(?:\?(?<query>[^#]*))?$/s.exec(
      url.trim(),
    );
  if (match?.groups === undefined) {
    if (!/^postgres(ql)?:\/\//.test(url.trim()))
      throw wrong(`is no URL of PostgreSQL: it must begin with ${prefix}postgres://`);
    throw wrong("cannot be read", "A '#' in a name or password is written %23.");
  }
  const { user: credentials = "", hosts = "", database = "", query = "" } = match.groups;
  const decoded = (what: string, text: string) => {
    try {
      return decodeURIComponent(text);
    } catch {
      throw wrong(`has a '%' in the ${what} that begins no escape`, "A '%' is written %25.");
    }
  };
  if (credentials.includes("@") || /[/?]/.test(database) || database.includes("@"))
    throw wrong(
      "has an '@', '/' or '?' in the user's name or password",
      "These are written %40, %2F and %3F. Better still, write the password into a file: CDKTR_STORE_PASSWORD_FILE.",
    );
  const colon = credentials.indexOf(":");
  const user = decoded("user", colon < 0 ? credentials : credentials.slice(0, colon));
  const password = colon < 0 ? "" : decoded("password", credentials.slice(colon + 1));
  if (user === "") throw wrong("names no user");
  if (database === "") throw wrong("names no database");
  const parameters = parametersOf(query, wrong, decoded);
  const schema = parameters.schema ?? source.schema ?? DEFAULT_SCHEMA;
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema) || schema.startsWith("pg_"))
    throw wrong(
      `has the schema "${schema}"`,
      "The name of a schema has small letters, digits and '_', begins with a letter, and not with 'pg_'.",
    );
  const address = {
    hosts: hosts.split(",").map((host) => hostOf(host, wrong, decoded)),
    user,
    database: decoded("database", database),
    schema,
    ...tlsOf(parameters, wrong),
  };
  return {
    ...address,
    password: passwordFile === "" ? () => password : () => passwordIn(passwordFile),
    shown: `postgres://${encodeURIComponent(user)}@${hosts}/${database}${query === "" ? "" : `?${query}`}`,
  };
}

/** The URL with its password replaced, for a list of settings: also one that cannot be read. */
export function withoutPassword(url: string): string {
  // Up to the last "@": a password may have one that should have been escaped.
  return url.replace(/(:\/\/[^:@/]*):.*@/s, "$1:…@").replace(/([?&](?:ssl)?password=)[^&#]*/gi, "$1…");
}

/** A host for people: `HOST:PORT`, or the directory of a socket. */
export function shownHost({ host, port }: StoreHost): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

type Wrong = (what: string, hint?: string) => ConfigError;
type Decoded = (what: string, text: string) => string;
type Parameters = Partial<Record<(typeof PARAMETERS)[number], string>>;

function hostOf(text: string, wrong: Wrong, decoded: Decoded): StoreHost {
  const match = /^(?:\[(?<six>[0-9A-Fa-f:.%]+)\]|(?<name>[^:[\]]*))(?::(?<port>[^:]*))?$/.exec(text);
  const name = match?.groups?.six ?? match?.groups?.name ?? "";
  if (match === null)
    throw wrong(`has the host "${text}"`, "An IPv6 address stands in brackets: [fd00::1]:5432.");
  if (name === "") throw wrong(text === "" ? "names no host" : `has a port without a host: "${text}"`);
  const { port = "" } = match.groups ?? {};
  if (port !== "" && (!/^\d{1,5}$/.test(port) || Number(port) < 1 || Number(port) > 65_535))
    throw wrong(`has the port "${port}"`, "A port is a number from 1 to 65535.");
  return { host: decoded("host", name), port: port === "" ? DEFAULT_PORT : Number(port) };
}

function parametersOf(query: string, wrong: Wrong, decoded: Decoded): Parameters {
  const found: Parameters = {};
  for (const part of query.split("&").filter((text) => text !== "")) {
    const [name = "", ...rest] = part.split("=");
    const known = PARAMETERS.find((parameter) => parameter === name);
    if (known === undefined)
      throw wrong(
        `has a parameter that is not known: "${name}"`,
        OTHERS[name] ?? `Those that are known: ${PARAMETERS.join(", ")}.`,
      );
    if (found[known] !== undefined) throw wrong(`has the parameter "${name}" twice`, "Write it once.");
    found[known] = decoded(`parameter ${name}`, rest.join("="));
  }
  return found;
}

function tlsOf(
  { sslmode = "prefer", sslrootcert, sslcert, sslkey }: Parameters,
  wrong: Wrong,
): Pick<StoreAddress, "sslMode" | "sslRootCertificate" | "sslCertificate"> {
  const mode = SSL_MODES.find((known) => known === sslmode);
  if (mode === undefined)
    throw wrong(`has the sslmode "${sslmode}"`, `It is one of ${SSL_MODES.join(", ")}.`);
  if ((sslcert === undefined) !== (sslkey === undefined))
    throw wrong("has only one of sslcert and sslkey", "A certificate of the client's own needs both.");
  if (sslrootcert !== undefined && !mode.startsWith("verify-"))
    throw wrong(
      `has an sslrootcert that sslmode=${mode} does not look at`,
      "Write sslmode=verify-full, which verifies the server's certificate and name.",
    );
  return {
    sslMode: mode,
    sslRootCertificate: sslrootcert === undefined || sslrootcert === "system" ? null : sslrootcert,
    sslCertificate:
      sslcert === undefined || sslkey === undefined ? null : { certificate: sslcert, key: sslkey },
  };
}

function passwordIn(path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/\r?\n$/, "");
  } catch (error) {
    throw new CdktrError(`The password of PostgreSQL cannot be read: ${errorMessage(error)}.`, {
      hint: "The file holds the password alone, and must be readable for the user that cdktr runs as.",
    });
  }
}
