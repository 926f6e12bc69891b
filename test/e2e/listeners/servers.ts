/** Real servers for the tests of listeners: Debian's packages, installed when they are missing, run on ports and in directories of their own. */
import { existsSync, mkdirSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { freePorts } from "../../support/cdktr.ts";
import { installed } from "../../support/debian.ts";
import { TemporaryDirectory, until } from "../support/fixtures.ts";
import { Program } from "./support.ts";

const IS_ROOT = process.getuid?.() === 0;

/** The directory of PostgreSQL's programs. */
function postgresPrograms(): string | undefined {
  const versions = [...new Bun.Glob("*/bin/initdb").scanSync({ cwd: "/usr/lib/postgresql", absolute: true })];
  return versions
    .sort()
    .at(-1)
    ?.replace(/\/initdb$/, "");
}

/** Why there is no PostgreSQL; undefined when there is one. */
export function postgresMissing(): Promise<string | undefined> {
  return installed("postgresql", () => existsSync("/usr/lib/postgresql") && postgresPrograms() !== undefined);
}

const RABBITMQ = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/** Why there is no RabbitMQ; undefined when there is one. */
export function rabbitMissing(): Promise<string | undefined> {
  return installed("rabbitmq-server", () => existsSync(RABBITMQ));
}

/** A server that runs until the end of the scope. */
export interface Server extends AsyncDisposable {
  readonly port: number;
}

/** A PostgreSQL server; user `postgres`, no password, on 127.0.0.1. */
export async function startPostgres(): Promise<Server> {
  const programs = postgresPrograms() ?? "";
  const directory = new TemporaryDirectory();
  const data = directory.path("data");
  mkdirSync(data, { mode: 0o700 });
  // It refuses to run as root.
  const prefix = IS_ROOT ? ["runuser", "-u", "postgres", "--"] : [];
  if (IS_ROOT) Bun.spawnSync(["chown", "-R", "postgres", directory.root]);
  const initdb = [join(programs, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"];
  const made = Bun.spawnSync([...prefix, ...initdb], { cwd: "/", stdout: "pipe", stderr: "pipe" });
  if (made.exitCode !== 0) throw new Error(`initdb failed: ${made.stderr}`);
  const [port = 0] = await freePorts(1);
  const options = ["-p", String(port), "-h", "127.0.0.1", "-k", data, "-c", "fsync=off"];
  const server = new Program([...prefix, join(programs, "postgres"), "-D", data, ...options], { cwd: "/" });
  await server.waitFor(/ready to accept connections/);
  return {
    port,
    async [Symbol.asyncDispose]() {
      // runuser hands it on; INT is a fast shutdown.
      server.child.kill("SIGTERM");
      await server.child.exited;
      directory[Symbol.dispose]();
    },
  };
}

/** A RabbitMQ server; user `guest`, on 127.0.0.1. */
export async function startRabbit(): Promise<Server> {
  const directory = new TemporaryDirectory();
  const [port = 0, distribution = 0, epmd = 0] = await freePorts(3);
  const env = {
    HOME: directory.root,
    RABBITMQ_NODENAME: `cdktr-${port}@localhost`,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_MNESIA_BASE: directory.path("mnesia"),
    RABBITMQ_LOG_BASE: directory.path("log"),
    RABBITMQ_LOGS: "-",
    RABBITMQ_PID_FILE: directory.path("pid"),
    RABBITMQ_ENABLED_PLUGINS_FILE: directory.path("plugins"),
    RABBITMQ_CONFIG_FILE: directory.path("rabbitmq"),
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: "127.0.0.1",
  };
  const server = new Program([RABBITMQ], { env, cwd: directory.root });
  await server.waitFor(/Server startup complete/);
  await until("it takes connections", () => connects(port));
  return {
    port,
    async [Symbol.asyncDispose]() {
      server.child.kill("SIGTERM");
      await server.child.exited;
      // Erlang's port mapper is a daemon that its node leaves behind.
      Bun.spawnSync(["epmd", "-port", String(epmd), "-kill"], { env: { ...process.env, ...env } });
      directory[Symbol.dispose]();
    },
  };
}

function connects(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}
