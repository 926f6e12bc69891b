/**
 * Operates cdktr like a user: a principal and agents as separate processes, commands as child processes.
 * With CDKTR_TEST_BINARY it uses the compiled executable, otherwise `bun src/main.ts`.
 *
 *     await using cluster = await startCluster({ agents: 1, workflows: { "hello.yml": "..." } });
 *     const { code, stdout } = await cluster.cdktr(["run", "hello", "--wait"]);
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { freePorts } from "../../scripts/support/ports.ts";
import { PrincipalUnreachableError } from "../../src/errors.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";

export { freePorts };

const ROOT = resolve(import.meta.dir, "../..");

/** The command that is cdktr. */
export const CDKTR: readonly string[] = process.env.CDKTR_TEST_BINARY
  ? [resolve(process.env.CDKTR_TEST_BINARY)]
  : // Bun would read .env itself; the executable does not.
    [process.execPath, "--no-env-file", join(ROOT, "src/main.ts")];

/** How a command ended. `code` is -1 when a signal ended it. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Options of {@link cdktr}. */
export interface CommandOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  readonly stdin?: string;
  /** Words in front of the command: a program that becomes cdktr, such as `nsenter … --`. */
  readonly prefix?: readonly string[];
  /** The executable, if it is not {@link CDKTR}: one of another version. */
  readonly program?: string;
}

/** The environment of a child: nothing of cdktr's from outside, but the place of the unpacked libraries. */
export function cleanEnvironment(
  extra: Readonly<Record<string, string | undefined>> = {},
): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries({ ...process.env, ...extra })) {
    const foreign =
      name.startsWith("CDKTR_") && name !== "CDKTR_CACHE_DIRECTORY" && !Object.hasOwn(extra, name);
    if (value !== undefined && !foreign) env[name] = value;
  }
  return env;
}

/** Runs one command to its end. */
export async function cdktr(args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
  const child = new CdktrProcess(args, options);
  return child.finished;
}

const running = new Set<CdktrProcess>();

/** A command that runs; its output is kept, and can be waited for. */
export class CdktrProcess implements AsyncDisposable {
  readonly pid: number;
  /** Resolves when it has ended and its output is complete; never rejects. */
  readonly finished: Promise<Finished>;
  stdout = "";
  stderr = "";
  readonly #child: Bun.Subprocess<"pipe" | "ignore", "pipe", "pipe">;
  #listeners = new Set<() => void>();
  #ended = false;

  constructor(args: readonly string[], options: CommandOptions = {}) {
    const program = options.program === undefined ? CDKTR : [options.program];
    this.#child = Bun.spawn([...(options.prefix ?? []), ...program, ...args], {
      cwd: options.cwd ?? tmpdir(),
      env: cleanEnvironment(options.env),
      stdin: options.stdin === undefined ? "ignore" : "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.pid = this.#child.pid;
    if (options.stdin !== undefined && this.#child.stdin !== undefined) {
      void this.#child.stdin.write(options.stdin);
      void this.#child.stdin.end();
    }
    running.add(this);
    this.finished = this.#finish();
  }

  async #finish(): Promise<Finished> {
    const read = async (stream: ReadableStream<Uint8Array>, take: (text: string) => void) => {
      const decoder = new TextDecoder();
      for await (const chunk of stream) {
        take(decoder.decode(chunk, { stream: true }));
        for (const listener of this.#listeners) listener();
      }
    };
    await Promise.all([
      read(this.#child.stdout, (text) => {
        this.stdout += text;
      }),
      read(this.#child.stderr, (text) => {
        this.stderr += text;
      }),
      this.#child.exited,
    ]);
    this.#ended = true;
    running.delete(this);
    for (const listener of this.#listeners) listener();
    return {
      code: this.#child.signalCode === null ? (this.#child.exitCode ?? -1) : -1,
      stdout: this.stdout,
      stderr: this.stderr,
    };
  }

  /** Whether it has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    this.#child.kill(signal);
  }

  /**
   * Resolves with the match once what it has printed matches.
   * @throws Error with its output when it ends without
   */
  async waitFor(pattern: RegExp, stream: "stdout" | "stderr" = "stderr"): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this[stream]);
      if (match !== null) return match;
      if (this.#ended) {
        throw new Error(
          `cdktr ended without printing ${pattern}.\n--- stdout\n${this.stdout}\n--- stderr\n${this.stderr}`,
        );
      }
      await new Promise<void>((wake) => {
        const listener = () => {
          this.#listeners.delete(listener);
          wake();
        };
        this.#listeners.add(listener);
      });
    }
  }

  /** Asks it to end, twice if need be, then ends it. */
  async stop(graceMs = 10_000): Promise<Finished> {
    for (const signal of ["SIGTERM", "SIGTERM", "SIGKILL"] as const) {
      if (this.#ended) break;
      this.kill(signal);
      let timer: Timer | undefined;
      const patience = new Promise<void>((wake) => {
        timer = setTimeout(wake, graceMs);
      });
      await Promise.race([this.finished, patience]);
      clearTimeout(timer);
    }
    return this.finished;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

// Whatever happens to the test: nothing that it started stays.
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** What a cluster starts with. */
export interface ClusterOptions {
  /** Files of the workflow directory: relative path to text. */
  readonly workflows?: Readonly<Record<string, string>>;
  /** Agents to start; 0 by default. */
  readonly agents?: number;
  /** Further settings, for the principal, the agents and the commands. */
  readonly env?: Readonly<Record<string, string>>;
  /** Further arguments of `start principal` and `start agent`. */
  readonly principalArgs?: readonly string[];
  readonly agentArgs?: readonly string[];
  /** How long the principal and each agent may take to be there, ms. */
  readonly readyMs?: number;
}

/** A principal with its agents, directories and ports, all temporary. */
export class Cluster implements AsyncDisposable {
  /** Holds everything; commands run here. */
  readonly directory = mkdtempSync(join(tmpdir(), "cdktr-test-"));
  readonly workflowDirectory = join(this.directory, "workflows");
  readonly dataDirectory = join(this.directory, "data");
  readonly ports: { readonly api: number; readonly listening: number; readonly publishing: number };
  /** Settings that every command of the cluster gets. */
  readonly env: Readonly<Record<string, string>>;
  readonly client: PrincipalClient;
  readonly agents: CdktrProcess[] = [];
  principal: CdktrProcess | undefined;
  readonly #options: ClusterOptions;

  constructor(options: ClusterOptions, ports: readonly number[]) {
    const [api = 0, listening = 0, publishing = 0] = ports;
    this.#options = options;
    this.ports = { api, listening, publishing };
    mkdirSync(this.workflowDirectory, { recursive: true });
    this.env = {
      CDKTR_PRINCIPAL_HOST: "127.0.0.1",
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(listening),
      CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
      CDKTR_APP_DATA_DIRECTORY: this.dataDirectory,
      CDKTR_WORKFLOW_DIR: this.workflowDirectory,
      // Its default is one port for all.
      CDKTR_METRICS_PORT: "0",
      ...options.env,
    };
    this.client = new PrincipalClient({ host: "127.0.0.1", port: api, timeoutMs: 30_000 });
    for (const [path, text] of Object.entries(options.workflows ?? {})) this.writeWorkflow(path, text);
  }

  /** Writes a file into the workflow directory. */
  writeWorkflow(path: string, text: string): void {
    const file = join(this.workflowDirectory, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  /** Runs a command against the cluster. On a busy machine it may take its time, however impatient the agents are. */
  cdktr(args: readonly string[], options: CommandOptions = {}): Promise<Finished> {
    const patience = args[0] === "start" ? {} : { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "20000" };
    return cdktr(args, {
      cwd: this.directory,
      ...options,
      env: { ...this.env, ...patience, ...options.env },
    });
  }

  /** Starts a command against the cluster and does not wait for it. */
  spawn(args: readonly string[], options: CommandOptions = {}): CdktrProcess {
    return new CdktrProcess(args, { cwd: this.directory, ...options, env: { ...this.env, ...options.env } });
  }

  /** Starts the principal (again) and waits until it answers. */
  async startPrincipal(extra: readonly string[] = [], options: CommandOptions = {}): Promise<CdktrProcess> {
    const child = this.spawn(
      ["start", "principal", ...(this.#options.principalArgs ?? []), ...extra],
      options,
    );
    this.principal = child;
    await this.#until(child, "the principal", async () => {
      const { history } = await this.client.info({ timeoutMs: 1000 });
      if (history.error === "The history is starting.") throw new PrincipalUnreachableError(history.error);
    });
    return child;
  }

  /** Starts an agent and waits until the principal has it; the first is `agent-1`, if no `--suffix` says otherwise. */
  async startAgent(extra: readonly string[] = [], options: CommandOptions = {}): Promise<CdktrProcess> {
    const known = new Map(
      (await this.client.registeredAgents()).map((agent) => [agent.agent_id, agent.last_heartbeat_ms]),
    );
    const given = extra.indexOf("--suffix");
    const suffix = given === -1 ? `agent-${this.agents.length + 1}` : extra[given + 1];
    const words = given === -1 ? ["--suffix", `${suffix}`, ...extra] : extra;
    const args = ["start", "agent", ...(this.#options.agentArgs ?? []), ...words];
    const child = this.spawn(args, options);
    this.agents.push(child);
    await this.#until(child, "the agent", async () => {
      const agents = await this.client.registeredAgents({ timeoutMs: 1000 });
      const there = agents.some(
        ({ agent_id, status, last_heartbeat_ms }) =>
          agent_id.endsWith(`-${suffix}`) && status === "UP" && known.get(agent_id) !== last_heartbeat_ms,
      );
      if (!there) throw new PrincipalUnreachableError("the agent is not registered yet");
    });
    return child;
  }

  /** Stops everything and removes the directories. */
  async stop(): Promise<void> {
    await this.client.close();
    await Promise.all(this.agents.map((agent) => agent.stop()));
    await this.principal?.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #until(child: CdktrProcess, what: string, ready: () => Promise<void>): Promise<void> {
    const deadline = performance.now() + (this.#options.readyMs ?? 30_000);
    for (;;) {
      try {
        await ready();
        return;
      } catch (error) {
        if (!(error instanceof PrincipalUnreachableError)) throw error;
        if (child.ended) throw new Error(`${what} ended at once:\n${child.stderr}`);
        // For one that neither answers nor ends.
        if (performance.now() > deadline) throw new Error(`${what} is not ready:\n${child.stderr}`);
        // What a process says when it is ready depends on its log level: it is asked again, unless it has ended.
        await Promise.race([Bun.sleep(20), child.finished]);
      }
    }
  }
}

/**
 * Starts a principal, and agents if wanted, and waits until they are ready. Stop it with `await using`, or with `stop()` in `afterAll`.
 * @throws Error with what the process printed when it does not start
 */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = new Cluster(options, await freePorts(3));
  try {
    await cluster.startPrincipal();
    await Promise.all(
      Array.from({ length: options.agents ?? 0 }, (_, i) =>
        cluster.startAgent(["--suffix", `agent-${i + 1}`]),
      ),
    );
    return cluster;
  } catch (error) {
    await cluster.stop();
    throw error;
  }
}
