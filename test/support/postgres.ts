/** PostgreSQL servers for tests: Debian's, in a temporary directory, on a free port of the loopback address. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { appendFile, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { SQL } from "bun";
import { freePorts } from "../../scripts/support/ports.ts";
import { unpacked } from "./debian.ts";
import { TemporaryDirectory } from "./temporary-directory.ts";
import { until } from "./until.ts";

/** Where Debian's packages have the programs of each version. */
const VERSIONS = "usr/lib/postgresql";
/** What the server needs beyond the C library, where it is not installed. */
const PACKAGES = ["postgresql-15", "postgresql-client-15", "libpq5", "libicu72", "libxml2", "libldap-2.5-0"];

/** How long a server may take to start or to end before a test fails, ms. */
const PATIENCE_MS = 120_000;

/** The user whom {@link PostgresServer.url} names: a plain role that may create schemas in its databases, and no more. */
const ROLE = "cdktr";
/** With characters that a URL must escape. */
const PASSWORD = "s3cret/of:cdktr@home";
const SUPERUSER = "postgres";

/** A file system of its own for the data of a server: `PrivateMounts` of the tests of failures. */
interface Mounts {
  readonly prefix: readonly string[];
  path(...path: string[]): string;
}

/** Options of {@link PostgresServer.start}. */
export interface PostgresOptions {
  /** Settings of postgresql.conf. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Whether commits reach the disk (fsync), as outside of tests. Without, they survive a killed server, but not a killed host. */
  readonly durable?: boolean;
  /** The address that it listens at. Default: the loopback address. */
  readonly host?: string;
  /** Default: a free one. */
  readonly port?: number;
  /** A certificate and its key, PEM: connections may use TLS then. */
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Words in front of the server's command: a program that becomes it, such as `nsenter … --`. */
  readonly prefix?: readonly string[];
  /** Has the data on another file system. `directory` is where, seen from inside. */
  readonly disk?: { readonly mounts: Mounts; readonly directory: string };
}

/** Whom and what {@link PostgresServer.url} names. */
interface UrlOptions {
  readonly user?: string;
  readonly password?: string;
  readonly database?: string;
  /** Parameters: `schema`, `sslmode` … */
  readonly parameters?: Readonly<Record<string, string>>;
}

/** A running server. At the end of the scope it is gone, with its data. */
export class PostgresServer implements AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly #options: PostgresOptions;
  readonly #programs: Programs;
  readonly #root = new TemporaryDirectory();
  readonly #data: string;
  readonly #standbys: PostgresServer[] = [];
  #process: Bun.Subprocess | undefined;

  private constructor(options: PostgresOptions, programs: Programs, port: number) {
    this.#options = options;
    this.#programs = programs;
    this.host = options.host ?? "127.0.0.1";
    this.port = port;
    this.#data = options.disk?.directory ?? this.#root.path("data");
  }

  /** Starts a server with an empty database `cdktr`, in which the role of {@link url} may create schemas. */
  static async start(options: PostgresOptions = {}): Promise<PostgresServer> {
    const server = await PostgresServer.#made(options);
    try {
      const segments = options.durable ? [] : ["--wal-segsize=1"];
      await server.#run(
        "initdb",
        "--no-sync",
        "--no-instructions",
        "--encoding=UTF8",
        "--locale=C",
        `--username=${SUPERUSER}`,
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        `--pwfile=${server.#passwordFile}`,
        ...segments,
        `--pgdata=${server.#data}`,
      );
      await appendFile(
        server.#path("pg_hba.conf"),
        "host replication all all scram-sha-256\nhost all all all scram-sha-256\n",
      );
      await server.#configure({});
      await server.startAgain();
      await server.sql(`CREATE ROLE ${ROLE} LOGIN PASSWORD '${PASSWORD}'`);
      await server.#createDatabase(ROLE);
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  static async #made(options: PostgresOptions): Promise<PostgresServer> {
    const programs = await Programs.found();
    const port = options.port ?? (await freePorts(1))[0] ?? 0;
    const server = new PostgresServer(options, programs, port);
    await Bun.write(server.#passwordFile, PASSWORD);
    return server;
  }

  /** A standby that streams from this server; it ends with this one's scope. */
  async standby(
    name: string,
    options: Omit<PostgresOptions, "tls" | "durable"> = {},
  ): Promise<PostgresServer> {
    const standby = await PostgresServer.#made({
      ...this.#options,
      port: undefined,
      disk: undefined,
      ...options,
    });
    this.#standbys.push(standby);
    const upstream = {
      host: this.host,
      port: this.port,
      user: SUPERUSER,
      password: `'${PASSWORD}'`,
      application_name: name,
    };
    const connection = Object.entries(upstream).map(([key, value]) => `${key}=${value}`);
    await standby.#run(
      "pg_basebackup",
      "--no-sync",
      "--checkpoint=fast",
      "--wal-method=stream",
      "--write-recovery-conf",
      `--pgdata=${standby.#data}`,
      `--dbname=${connection.join(" ")}`,
    );
    await standby.#configure({ primary_conninfo: connection.join(" "), synchronous_standby_names: "" });
    await standby.startAgain();
    return standby;
  }

  /**
   * Has each commit wait for these standbys: all that was acknowledged is there after a promotion. None: no commit waits.
   * Resolves when they stream.
   */
  async synchronous(...standbys: readonly string[]): Promise<void> {
    const names = standbys.length === 0 ? "" : `FIRST ${standbys.length} (${standbys.join(", ")})`;
    await this.sql(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`);
    await this.sql("SELECT pg_reload_conf()");
    await until("the standbys are synchronous", async () => {
      const rows = await this.sql("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'");
      return rows.length === standbys.length;
    });
  }

  /** Makes a standby a primary. Resolves when it takes changes. */
  async promote(): Promise<void> {
    await this.sql("SELECT pg_promote(true, 120)");
  }

  /** The URL of a database for {@link ROLE}, or for whom the options name. */
  url(options: UrlOptions = {}): string {
    const { user = ROLE, password = PASSWORD, database = ROLE, parameters = {} } = options;
    const query = new URLSearchParams(parameters).toString();
    const credentials = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
    return `postgres://${credentials}@${this.host}:${this.port}/${database}${query === "" ? "" : `?${query}`}`;
  }

  /** Makes a database of its own for a test. @returns its name, for {@link url} */
  async database(): Promise<string> {
    const name = `test_${crypto.randomUUID().replaceAll("-", "")}`;
    await this.#createDatabase(name);
    return name;
  }

  async #createDatabase(name: string): Promise<void> {
    await this.sql(`CREATE DATABASE ${name}`);
    await this.sql(`GRANT CREATE ON DATABASE ${name} TO ${ROLE}`);
  }

  /** What a statement gives to the superuser. */
  async sql<T = Record<string, unknown>>(
    text: string,
    values: readonly unknown[] = [],
    database = SUPERUSER,
  ): Promise<T[]> {
    const sql = new SQL(this.url({ user: SUPERUSER, database }), { max: 1 });
    try {
      return [...(await sql.unsafe(text, [...values]))] as T[];
    } finally {
      await sql.close({ timeout: 0 });
    }
  }

  /** The pid of the server's first process. */
  get pid(): number {
    if (this.#process === undefined) throw new Error("the server does not run");
    return this.#process.pid;
  }

  /** Whether it has ended by itself. */
  get hasEnded(): boolean {
    return this.#process !== undefined && (this.#process.exitCode ?? this.#process.signalCode) !== null;
  }

  /** Starts it after {@link stop} or {@link kill}. Resolves when it takes connections. */
  async startAgain(): Promise<void> {
    if (this.#process !== undefined) throw new Error("the server runs already");
    // One that was killed has left what it said.
    await rm(this.#path("postmaster.pid"), { force: true });
    const server = Bun.spawn(this.#command("postgres", "-D", this.#data), {
      env: this.#programs.environment,
      stdin: "ignore",
      stdout: Bun.file(this.#root.path("log")),
      stderr: Bun.file(this.#root.path("log")),
    });
    this.#process = server;
    await until(
      "PostgreSQL takes connections",
      () => {
        if (server.exitCode !== null || server.signalCode !== null)
          throw new Error(`PostgreSQL ended: ${this.log()}`);
        return /^(ready|standby) /m.test(this.#read("postmaster.pid"));
      },
      PATIENCE_MS,
    );
  }

  /** Ends it in order: connections are closed, everything is on disk. */
  async stop(): Promise<void> {
    await this.#end("SIGINT");
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.startAgain();
  }

  /** Kills all its processes at once. The data stay as they are: {@link startAgain} recovers them. */
  async kill(): Promise<void> {
    // Who forks is first: nobody comes after.
    for (const pid of this.#pids()) signal(pid, "SIGKILL");
    await this.#end("SIGKILL");
  }

  /** Stops all its processes where they are: connections stay open, and nothing answers. {@link resume} ends it. */
  pause(): void {
    for (const pid of this.#pids()) signal(pid, "SIGSTOP");
  }

  resume(): void {
    for (const pid of this.#pids()) signal(pid, "SIGCONT");
  }

  /** The end of its log. */
  log(): string {
    const path = this.#root.path("log");
    return existsSync(path) ? readFileSync(path, "utf8").slice(-4000) : "";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const standby of this.#standbys) await standby[Symbol.asyncDispose]();
    if (this.#process !== undefined) await this.kill();
    this.#root[Symbol.dispose]();
  }

  /** The first process and its children. */
  #pids(): number[] {
    const children = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && parentOf(name) === this.pid);
    return [this.pid, ...children.map(Number)];
  }

  async #end(how: NodeJS.Signals): Promise<void> {
    const server = this.#process;
    if (server === undefined) return;
    server.kill(how);
    await server.exited;
    this.#process = undefined;
    // A child that outlived it would keep the next one from starting.
    const [, , , , , , shared] = this.#read("postmaster.pid").split("\n");
    if (shared !== undefined) await this.#released(shared);
  }

  /** Waits until no process of a killed server uses its shared memory, which would refuse the next start. */
  async #released(line: string): Promise<void> {
    const [, id] = line.trim().split(/\s+/);
    await until("the processes of PostgreSQL are gone", () => {
      const [, ...segments] = readFileSync("/proc/sysvipc/shm", "utf8").trim().split("\n");
      const mine = segments.map((segment) => segment.trim().split(/\s+/)).find((fields) => fields[1] === id);
      return mine === undefined || mine[6] === "0";
    });
  }

  get #passwordFile(): string {
    return this.#root.path("password");
  }

  /** A file of the data directory, as this process sees it. */
  #path(name: string): string {
    const path = join(this.#data, name);
    return this.#options.disk?.mounts.path(path) ?? path;
  }

  #read(name: string): string {
    const path = this.#path(name);
    try {
      return readFileSync(path, "utf8");
    } catch {
      return "";
    }
  }

  async #configure(more: Readonly<Record<string, string>>): Promise<void> {
    const { tls, durable = false, settings } = this.#options;
    const sockets = this.#root.path("run");
    await mkdir(sockets, { recursive: true });
    const all: Record<string, string | number | boolean> = {
      listen_addresses: this.host,
      port: this.port,
      unix_socket_directories: sockets,
      shared_buffers: "16MB",
      max_connections: 60,
      wal_keep_size: "64MB",
      fsync: durable,
      full_page_writes: durable,
      ssl: tls !== undefined,
      ...settings,
      ...more,
    };
    if (tls !== undefined) {
      await Bun.write(this.#path("server.crt"), tls.certificate);
      await writeFile(this.#path("server.key"), tls.key, { mode: 0o600 });
    }
    const lines = Object.entries(all).map(
      ([key, value]) => `${key} = '${String(value).replaceAll("'", "''")}'\n`,
    );
    await appendFile(this.#path("postgresql.conf"), lines.join(""));
    // What a standby has copied of ALTER SYSTEM is its primary's.
    await Bun.write(this.#path("postgresql.auto.conf"), "");
  }

  #command(program: string, ...words: readonly string[]): string[] {
    const { prefix = [], disk } = this.#options;
    return [...prefix, ...(disk?.mounts.prefix ?? []), ...this.#programs.command(program), ...words];
  }

  async #run(program: string, ...words: readonly string[]): Promise<void> {
    const child = Bun.spawn(this.#command(program, ...words), {
      env: this.#programs.environment,
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const said = await new Response(child.stderr).text();
    if ((await child.exited) !== 0) throw new Error(`${program} failed: ${said}`);
  }
}

/** The programs of PostgreSQL. */
class Programs {
  static #found: Promise<Programs> | undefined;
  readonly #bin: string;
  /** For their processes; nothing of PostgreSQL's own from outside. */
  readonly environment: Readonly<Record<string, string>>;

  private constructor(bin: string, libraries: string | undefined) {
    this.#bin = bin;
    this.environment = {
      PATH: Bun.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
      LC_ALL: "C",
      TZ: "UTC",
      ...(libraries !== undefined && { LD_LIBRARY_PATH: libraries }),
    };
  }

  /** The newest installed ones, or else Debian's, unpacked. */
  static found(): Promise<Programs> {
    Programs.#found ??= Programs.#find();
    return Programs.#found;
  }

  static async #find(): Promise<Programs> {
    const installed = newest("/");
    if (installed !== undefined) return new Programs(installed, undefined);
    const root = await unpacked(PACKAGES);
    const bin = newest(root);
    if (bin === undefined) throw new Error(`Debian's packages ${PACKAGES.join(", ")} have no initdb`);
    const [libraries] = new Bun.Glob("usr/lib/*-linux-gnu").scanSync({ cwd: root, onlyFiles: false });
    return new Programs(bin, libraries && join(root, libraries));
  }

  /**
   * The words of a command. PostgreSQL refuses to run as root: there it sees another user, whose files are root's. It ends with
   * the process that started it.
   */
  command(program: string): string[] {
    const isRoot = process.getuid?.() === 0;
    const other = isRoot ? ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"] : [];
    return [...other, "setpriv", "--pdeathsig", "QUIT", join(this.#bin, program)];
  }
}

/** The directory of the newest version's programs below a root. */
function newest(root: string): string | undefined {
  const directory = join(root, VERSIONS);
  if (!existsSync(directory)) return undefined;
  const bins = readdirSync(directory)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(directory, version, "bin"));
  return bins.find((bin) => existsSync(join(bin, "initdb")) && existsSync(join(bin, "pg_basebackup")));
}

/** The pid of a process's parent; undefined when the process is gone. */
function parentOf(pid: string): number | undefined {
  try {
    return Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  } catch {
    return undefined;
  }
}

/** Sends a signal to a process that may be gone. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
