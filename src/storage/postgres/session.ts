/** One open connection to one server of PostgreSQL. */
import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { SQL } from "bun";
import { type Clock, systemClock } from "../../clock.ts";
import { CdktrError, errorMessage } from "../../errors.ts";
import { isDoneWithin } from "../../timer.ts";
import { OutcomeUnknownError, PostgresRefusedError, PostgresUnavailableError } from "./errors.ts";
import { type StoreAddress, type StoreHost, shownHost } from "./url.ts";

/** The oldest PostgreSQL that is supported, as `server_version_num`. */
const OLDEST_VERSION = 130_000;
/** How long a connection may take to be ready, ms. */
const CONNECT_MS = 3000;
/** The type int8. */
const INT8 = 20;

/** How a session behaves. */
export interface SessionOptions {
  /** What the server shows in `pg_stat_activity`. */
  readonly application: string;
  /** After how long the server gives a statement up, ms; 0: never. */
  readonly statementTimeoutMs: number;
  /** Default: that of the host. */
  readonly clock?: Clock;
}

/** Options of a statement. */
export interface QueryOptions {
  /** After how long without an answer the connection is given up, ms. Default 10 s. */
  readonly timeoutMs?: number;
}

const QUERY_MS = 10_000;

/** What a server says of itself. */
interface ServerFacts {
  readonly is_standby: boolean;
  readonly is_read_only: boolean;
  readonly version: number;
  readonly encoding: string;
  /** Counts promotions; null on a standby. */
  readonly timeline: string | null;
  readonly pid: number;
}

const FACTS = `
SELECT pg_is_in_recovery() AS is_standby,
       current_setting('default_transaction_read_only')::bool AS is_read_only,
       current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding,
       CASE WHEN pg_is_in_recovery() THEN NULL
            ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) END AS timeline,
       pg_backend_pid() AS pid`;

/** An open connection. It is closed once: by {@link close}, by the server, or when an answer is late. */
export class PostgresSession implements AsyncDisposable {
  readonly host: StoreHost;
  /** The pid of the server's process for it. */
  readonly backendPid: number;
  /** Counts promotions of the server; a number in hexadecimal, always as long. */
  readonly timeline: string;
  /** Resolves with the reason when it is closed. */
  readonly closed: Promise<string>;
  readonly #address: StoreAddress;
  readonly #sql: SQL;
  readonly #reserved: SQL;
  readonly #clock: Clock;
  readonly #close: (reason: string) => void;
  #reason: string | undefined;

  private constructor(
    address: StoreAddress,
    host: StoreHost,
    facts: ServerFacts,
    sql: { readonly pool: SQL; readonly reserved: SQL },
    lost: Promise<string>,
    clock: Clock,
  ) {
    this.#address = address;
    this.host = host;
    this.backendPid = facts.pid;
    this.timeline = facts.timeline ?? "";
    this.#sql = sql.pool;
    this.#reserved = sql.reserved;
    this.#clock = clock;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.closed = promise;
    this.#close = (reason) => {
      if (this.#reason !== undefined) return;
      this.#reason = reason;
      resolve(reason);
      void this.#sql.close({ timeout: 0 }).catch(() => {});
    };
    void lost.then(this.#close);
  }

  /**
   * Connects to a host that must be a primary.
   * @throws CdktrError that says what is the matter with the host
   */
  static async open(
    address: StoreAddress,
    host: StoreHost,
    options: SessionOptions,
  ): Promise<PostgresSession> {
    const { clock = systemClock } = options;
    const lost = Promise.withResolvers<string>();
    const pool = openSql(address, host, options.application, (error) => lost.resolve(messageOf(error)));
    const opened = (async () => {
      const reserved = await pool.reserve();
      const [facts] = (await reserved.unsafe(FACTS)) as ServerFacts[];
      if (facts === undefined) throw new Error("it says nothing of itself");
      demand(facts);
      await reserved.unsafe(settings(address.schema, options.statementTimeoutMs));
      return new PostgresSession(address, host, facts, { pool, reserved }, lost.promise, clock);
    })();
    try {
      if (await isDoneWithin(CONNECT_MS, opened, clock)) return await opened;
      throw new Error(`it does not answer within ${CONNECT_MS / 1000} s`);
    } catch (error) {
      opened.catch(() => {});
      void pool.close({ timeout: 0 }).catch(() => {});
      throw await explained(error, address, host);
    }
  }

  get isOpen(): boolean {
    return this.#reason === undefined;
  }

  /**
   * Executes a statement. Several at once are executed one after the other. Values of type int8 come as numbers.
   * @throws PostgresUnavailableError when the connection is closed, OutcomeUnknownError when it closes before the answer has come or
   *   the answer is late, PostgresRefusedError when the server refuses it
   */
  async query<T = Record<string, unknown>>(
    text: string,
    values: readonly unknown[] = [],
    { timeoutMs = QUERY_MS }: QueryOptions = {},
  ): Promise<T[]> {
    if (this.#reason !== undefined) throw new PostgresUnavailableError(this.#reason);
    // Without values it may be several statements.
    const query =
      values.length === 0 ? this.#reserved.unsafe(text) : this.#reserved.unsafe(text, [...values]);
    const answer = query.then((rows) => withNumbers<T>(rows));
    try {
      if (await isDoneWithin(timeoutMs, answer, this.#clock)) return await answer;
    } catch (error) {
      throw this.#failure(error);
    }
    answer.catch(() => {});
    const late = `PostgreSQL at ${shownHost(this.host)} has not answered within ${Math.round(timeoutMs / 100) / 10} s.`;
    this.#close(late);
    throw new OutcomeUnknownError(late);
  }

  /**
   * Does work in a transaction, which nobody else may use the session for. It is rolled back when the work throws.
   * @param begin such as `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`
   */
  async transaction<T>(begin: string, work: () => Promise<T>): Promise<T> {
    await this.query(begin);
    let result: T;
    try {
      result = await work();
    } catch (error) {
      // A connection that is gone has rolled back.
      await this.query("ROLLBACK").catch(() => {});
      throw error;
    }
    await this.query("COMMIT");
    return result;
  }

  async close(reason = "The connection to PostgreSQL was closed."): Promise<void> {
    this.#close(reason);
    await this.#sql.close({ timeout: 0 }).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #failure(error: unknown): Error {
    const at = shownHost(this.host);
    const code = sqlStateOf(error);
    if (code === undefined || isFatal(code)) {
      const lost = `The connection to PostgreSQL at ${at} was lost: ${messageOf(error)}.`;
      this.#close(lost);
      return new OutcomeUnknownError(lost, { cause: error });
    }
    // A primary that has become something else: there may be a new one.
    if (code === "25006") this.#close(`PostgreSQL at ${at} takes no changes any more.`);
    return new PostgresRefusedError(`PostgreSQL at ${at} refused: ${messageOf(error)}.`, {
      code,
      cause: error,
      ...hintFor(code, this.#address),
    });
  }
}

/** A pool of one connection to a host; it is opened by its first use. */
export function openSql(
  address: StoreAddress,
  { host, port }: StoreHost,
  application: string,
  closed: (error: Error | null) => void = () => {},
): SQL {
  const isSocket = host.startsWith("/");
  const name = host.includes(":") ? `[${host}]` : host;
  // With a URL, nothing is taken from DATABASE_URL and its like.
  return new SQL(`postgres://${isSocket ? "localhost" : name}:${port}/`, {
    adapter: "postgres",
    username: address.user,
    password: address.password(),
    database: address.database,
    ...(isSocket ? { path: host } : { tls: tlsOf(address) }),
    connection: { application_name: application },
    connectionTimeout: CONNECT_MS / 1000,
    idleTimeout: 0,
    maxLifetime: 0,
    max: 1,
    onclose: closed,
  });
}

function tlsOf({ sslMode, sslRootCertificate, sslCertificate }: StoreAddress) {
  if (sslRootCertificate === null && sslCertificate === null) return sslMode;
  const read = (path: string) => {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      throw new CdktrError(`A certificate for PostgreSQL cannot be read: ${errorMessage(error)}.`);
    }
  };
  return {
    ...(sslRootCertificate !== null && { ca: read(sslRootCertificate) }),
    ...(sslCertificate !== null && {
      cert: read(sslCertificate.certificate),
      key: read(sslCertificate.key),
    }),
    ...(sslMode === "verify-ca" && { checkServerIdentity: () => undefined }),
    rejectUnauthorized: sslMode.startsWith("verify-"),
  };
}

/**
 * What a session sets for itself. The server notices within seconds when a client's host is gone, and then gives up its locks.
 */
function settings(schema: string, statementTimeoutMs: number): string {
  return `
SET search_path = ${schema};
SET statement_timeout = ${statementTimeoutMs};
SET lock_timeout = ${statementTimeoutMs};
SET idle_in_transaction_session_timeout = 60000;
SET client_min_messages = error;
SET bytea_output = hex;
SET timezone = 'UTC';
SET tcp_keepalives_idle = 5;
SET tcp_keepalives_interval = 2;
SET tcp_keepalives_count = 3`;
}

/** @throws Error that says why the server cannot be used */
function demand({ is_standby, is_read_only, version, encoding }: ServerFacts): void {
  if (is_standby) throw new Error("it is a standby, and takes no changes");
  if (is_read_only) throw new Error("it takes no changes (default_transaction_read_only is on)");
  if (version < OLDEST_VERSION)
    throw new Error(`it is PostgreSQL ${Math.floor(version / 10_000)}, and cdktr needs 13 or later`);
  if (encoding !== "UTF8") throw new Error(`the database has the encoding ${encoding}, and cdktr needs UTF8`);
}

/** Why a host could not be connected to, and what to do. */
async function explained(error: unknown, address: StoreAddress, host: StoreHost): Promise<CdktrError> {
  if (error instanceof CdktrError) return error;
  const at = shownHost(host);
  const code = sqlStateOf(error);
  const kind = (error as { code?: string }).code ?? "";
  const because = (why: string, hint?: string) =>
    new CdktrError(
      `PostgreSQL at ${at}: ${why}.`,
      hint === undefined ? { cause: error } : { cause: error, hint },
    );
  if (code !== undefined) {
    const { hint } = hintFor(code, address);
    return because(messageOf(error), hint);
  }
  if (kind.includes("REFUSED")) {
    if (!host.host.startsWith("/") && !(await isKnown(host.host)))
      return because("its name is not known", "Look at the host's name in the URL, and at DNS.");
    return because(
      "it does not accept connections",
      "Look whether it runs and listens there (listen_addresses, firewall).",
    );
  }
  if (kind.includes("TIMEOUT")) return because(`it does not answer within ${CONNECT_MS / 1000} s`);
  if (kind.includes("TLS_NOT_AVAILABLE"))
    return because(
      `it does not speak TLS, which sslmode=${address.sslMode} asks for`,
      "Turn TLS on there (ssl = on), or write sslmode=disable if nobody else is on the network between.",
    );
  return because(messageOf(error));
}

/** What to do about an SQLSTATE. */
function hintFor(code: string, { user, database }: StoreAddress): { hint?: string } {
  const hints: Readonly<Record<string, string>> = {
    "28P01": "Look at the user and password in the URL, or in CDKTR_STORE_PASSWORD_FILE.",
    "28000": `Let ${user} in from this host: pg_hba.conf of the server.`,
    "3D000": `Create it as a superuser: CREATE DATABASE "${database}"; GRANT CREATE ON DATABASE "${database}" TO "${user}".`,
    "42501": `cdktr's role needs CREATE on its database the first time: GRANT CREATE ON DATABASE "${database}" TO "${user}".`,
    "53300": "Raise max_connections of the server, or end what holds its connections.",
    "53100": "The disk of PostgreSQL is full: make room there.",
  };
  const hint = hints[code];
  return hint === undefined ? {} : { hint };
}

async function isKnown(host: string): Promise<boolean> {
  try {
    await lookup(host);
    return true;
  } catch {
    return false;
  }
}

/** The SQLSTATE of an error that the server sent. */
function sqlStateOf(error: unknown): string | undefined {
  return error instanceof SQL.PostgresError && typeof error.errno === "string" ? error.errno : undefined;
}

/**
 * Whether the server ended the session, or says that it does not know the outcome: a commit that waited for a standby may
 * be there.
 */
function isFatal(code: string): boolean {
  return /^(57P0|08)/.test(code) || code === "40003" || code === "25P03";
}

function messageOf(error: unknown): string {
  return errorMessage(error ?? "it was closed").replace(/\.$/, "");
}

/** The rows with their int8 as numbers: the client gives them as text. */
function withNumbers<T>(rows: T[] & Partial<SQL.ResultMetadata>): T[] {
  const names = (rows.statement?.columns ?? []).filter(({ type }) => type === INT8).map(({ name }) => name);
  if (names.length > 0)
    for (const row of rows as Record<string, unknown>[])
      for (const name of names) if (typeof row[name] === "string") row[name] = Number(row[name]);
  return rows;
}
