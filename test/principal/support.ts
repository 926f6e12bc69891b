/** A principal in a directory of its own, and agents that speak to it through its API. */
import { Database } from "bun:sqlite";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createConsola, type LogObject } from "consola";
import { freePorts } from "../../scripts/support/ports.ts";
import type { Clock } from "../../src/clock.ts";
import { type Config, loadConfig } from "../../src/config.ts";
import type { HistoryHost } from "../../src/contract/history.ts";
import type {
  AgentDescription,
  AgentOrders,
  AgentReport,
  Heartbeat,
  RunAssignment,
} from "../../src/contract/messages.ts";
import { historyHere } from "../../src/history/in-process.ts";
import type { MemberParts } from "../../src/principal/cluster/member-parts.ts";
import { Principal, type PrincipalPorts } from "../../src/principal/principal.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import type { OperationalStore } from "../../src/storage/operational/store.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { RepeatingStore } from "../storage/repeating-store.ts";

/** A workflow of one task, or of several in a chain. */
export function workflowText(options: { name?: string; tasks?: string[]; top?: string } = {}): string {
  const tasks = options.tasks ?? ["only"];
  const lines = tasks.flatMap((id, index) => [
    `  ${id}:`,
    `    name: Task ${id}`,
    ...(index === 0 ? [] : [`    depends: ["${tasks[index - 1]}"]`]),
    "    config:",
    "      !Subprocess",
    '      cmd: "true"',
  ]);
  return [
    `name: ${options.name ?? "A workflow"}`,
    ...(options.top ? [options.top] : []),
    "tasks:",
    ...lines,
    "",
  ].join("\n");
}

/** A directory that is removed at the end. */
export function temporaryDirectory(): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(tmpdir(), "cdktr-principal-"));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** What the principal logged; also lets a test wait for a line. */
export class LogBook {
  readonly lines: string[] = [];
  readonly #waiting = new Set<() => void>();
  readonly log = createConsola({
    level: 4,
    reporters: [
      {
        log: (entry: LogObject) => {
          this.lines.push(`${entry.type} ${entry.tag}: ${entry.args.map(String).join(" ")}`);
          for (const wake of this.#waiting) wake();
        },
      },
    ],
  });

  count(pattern: RegExp): number {
    return this.lines.filter((line) => pattern.test(line)).length;
  }

  /** Resolves when a line matches, so many times. */
  async waitFor(pattern: RegExp, times = 1): Promise<void> {
    while (this.count(pattern) < times) {
      await new Promise<void>((wake) => {
        const once = () => {
          this.#waiting.delete(once);
          wake();
        };
        this.#waiting.add(once);
      });
    }
  }
}

/** Ports that a principal has again when it is started again. Those that the kernel chooses may be somebody else's by then. */
export async function lastingPorts() {
  const [api = 0, listening = 0, publishing = 0] = await freePorts(3);
  return {
    CDKTR_PRINCIPAL_PORT: api,
    CDKTR_LOGS_LISTENING_PORT: listening,
    CDKTR_LOGS_PUBLISHING_PORT: publishing,
  };
}

/** A running principal with its files and connections. Every unit of work is done, undone and repeated. */
export class TestPrincipal implements AsyncDisposable {
  readonly book = new LogBook();
  readonly #directory = temporaryDirectory();
  readonly #clients: PrincipalClient[] = [];
  readonly #options: TestOptions;
  principal: Principal | undefined;

  constructor(options: TestOptions = {}) {
    this.#options = options;
    for (const [path, text] of Object.entries(options.workflows ?? {})) this.write(path, text);
    if (options.workflows === undefined) this.write("hello.yml", workflowText());
  }

  get directory(): string {
    return this.#directory.path;
  }

  get config(): Config {
    return {
      ...loadConfig({}, {}, this.directory).values,
      CDKTR_APP_DATA_DIRECTORY: join(this.directory, "data"),
      CDKTR_DB_PATH: join(this.directory, "data", "app.db"),
      CDKTR_WORKFLOW_DIR: join(this.directory, "workflows"),
      CDKTR_PRINCIPAL_PORT: 0,
      CDKTR_LOGS_LISTENING_PORT: 0,
      CDKTR_LOGS_PUBLISHING_PORT: 0,
      CDKTR_METRICS_PORT: 0,
      ...this.#options.config,
    };
  }

  async start(config: Partial<Config> = {}): Promise<this> {
    this.principal = new Principal({
      config: { ...this.config, ...config },
      history: this.#options.history ?? historyHere(),
      log: this.book.log,
      scheduler: this.#options.scheduler ?? false,
      listeners: this.#options.listeners ?? true,
      ...(this.#options.member === undefined ? {} : { member: this.#options.member(this.config) }),
      wrapStore: this.#options.wrapStore ?? ((store) => new RepeatingStore(store)),
      ...(this.#options.clock === undefined ? {} : { clock: this.#options.clock }),
      ...(this.#options.leaseTimeoutMs === undefined ? {} : { leaseTimeoutMs: this.#options.leaseTimeoutMs }),
    });
    await this.principal.start();
    await this.principal.historySettled();
    return this;
  }

  /** Writes a file into the workflow directory. */
  write(path: string, text: string): void {
    const file = join(this.directory, "workflows", path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }

  /** Between two starts: as if the host had been restarted since the state was open. @param bootId the boot before */
  forgetBoot(bootId: string): void {
    const database = new Database(join(this.directory, "data", "state.db"));
    database.run("UPDATE identity SET boot_id = ?", [bootId]);
    database.close();
  }

  get ports(): PrincipalPorts {
    return required(this.principal).ports;
  }

  client(timeoutMs = 10_000): PrincipalClient {
    const client = new PrincipalClient({ host: "127.0.0.1", port: this.ports.api, timeoutMs });
    this.#clients.push(client);
    return client;
  }

  /** An agent that has registered. */
  async agent(id = "agent-1", options: AgentOptions = {}): Promise<FakeAgent> {
    const agent = new FakeAgent(this.client(), id, options);
    await agent.register();
    return agent;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients.splice(0)) await client.close();
    await this.principal?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#directory[Symbol.dispose]();
  }
}

export interface TestOptions {
  /** Files of the workflow directory; by default `hello.yml` with one task. */
  readonly workflows?: Readonly<Record<string, string>>;
  readonly config?: Partial<Config>;
  readonly scheduler?: boolean;
  readonly listeners?: boolean;
  readonly clock?: Clock;
  readonly leaseTimeoutMs?: number;
  readonly history?: HistoryHost;
  /** For a principal that is one of several. */
  readonly member?: (config: Config) => MemberParts;
  /** By default one that repeats every unit of work. */
  readonly wrapStore?: (store: OperationalStore) => OperationalStore;
}

export interface AgentOptions {
  readonly streamId?: string;
  readonly sessionId?: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** The newest protocol version that it speaks; by default the first one. */
  readonly protocol?: number;
  readonly capacity?: number;
}

/** An agent that does as it is told by the test. */
export class FakeAgent {
  readonly client: PrincipalClient;
  readonly id: string;
  readonly sessionId: string;
  readonly streamId: string;
  readonly #options: AgentOptions;
  seq = 0;

  constructor(client: PrincipalClient, id: string, options: AgentOptions = {}) {
    this.client = client;
    this.id = id;
    this.sessionId = options.sessionId ?? crypto.randomUUID();
    this.streamId = options.streamId ?? crypto.randomUUID();
    this.#options = options;
  }

  register(
    running: RunAssignment[] = [],
    more: Partial<Pick<AgentDescription, "report_seq" | "follows" | "last_token" | "clock_ahead_ms">> = {},
  ): Promise<AgentOrders> {
    return this.client.registerAgent(this.id, {
      session_id: this.sessionId,
      stream_id: this.streamId,
      host: "testhost",
      pid: 4711,
      version: "0.0.0",
      protocol: { version: this.#options.protocol ?? 1, oldest: 1 },
      max_concurrent_workflows: this.#options.capacity ?? 5,
      labels: { ...this.#options.labels },
      running: running.map(nameOf),
      ...more,
    });
  }

  fetch(waitMs = 5000, fetchId: string = crypto.randomUUID()): Promise<RunAssignment | null> {
    return this.client.fetchWorkflow(this.id, {
      session_id: this.sessionId,
      wait_ms: waitMs,
      labels: {},
      fetch_id: fetchId,
    });
  }

  heartbeat(
    running: RunAssignment[] = [],
    waitMs = 0,
    more: Partial<Pick<Heartbeat, "state" | "now_ms" | "contact_token" | "last_token">> = {},
  ) {
    return this.client.call("AGENTHEARTBEAT", {
      agent_id: this.id,
      session_id: this.sessionId,
      wait_ms: waitMs,
      running: running.map(nameOf),
      running_tasks: 0,
      ...more,
    });
  }

  runReport(run: RunAssignment, status: RunStatus, error: string | null = null): AgentReport {
    return {
      kind: "run",
      seq: ++this.seq,
      workflow_id: run.workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      slice: run.slice,
      attempt: run.attempt,
      status,
      timestamp_ms: Date.now(),
      error,
      log_seq: 0,
    };
  }

  taskReport(
    run: RunAssignment,
    taskId: string,
    status: RunStatus,
    taskAttempt = 1,
  ): AgentReport & { kind: "task" } {
    return {
      kind: "task",
      seq: ++this.seq,
      workflow_id: run.workflow_id,
      workflow_instance_id: run.workflow_instance_id,
      slice: run.slice,
      attempt: run.attempt,
      task_id: taskId,
      task_instance_id: `${run.workflow_instance_id.slice(0, 8)}-${run.attempt}-${taskId}${run.slice === 0 ? "" : `-${run.slice}`}`,
      task_attempt: taskAttempt,
      status,
      timestamp_ms: Date.now(),
      exit_code: status === "COMPLETED" ? 0 : null,
      signal: null,
      error: null,
      cpu_ms: null,
      max_rss_kb: null,
      outputs: null,
    };
  }

  send(...reports: AgentReport[]): Promise<AgentOrders> {
    return this.client.call("AGENTREPORT", {
      agent_id: this.id,
      session_id: this.sessionId,
      stream_id: this.streamId,
      reports,
    });
  }

  /** Executes a run, or a slice: each task of it, in the order of the file. */
  async execute(run: RunAssignment, status: RunStatus = "COMPLETED"): Promise<void> {
    await this.send(this.runReport(run, "RUNNING"));
    for (const id of run.tasks ?? run.workflow.tasks.map((task) => task.id)) {
      if (run.completed_tasks.includes(id)) continue;
      await this.send(this.taskReport(run, id, "RUNNING"), this.taskReport(run, id, "COMPLETED"));
    }
    await this.send(this.runReport(run, status));
  }
}

function nameOf({ workflow_instance_id, slice, attempt }: RunAssignment) {
  return { workflow_instance_id, slice, attempt };
}

/** The value, which must be there. */
export function required<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw new Error("expected a value");
  return value;
}

/**
 * The error that a promise rejects with. Not `expect(…).rejects`: that one runs the event loop inside itself, and what waits
 * for `setImmediate`, as the principal in this process does, stands still meanwhile.
 */
export async function failure(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    () => new Error("expected a failure"),
    (error: unknown) => error,
  );
  return outcome instanceof Error ? outcome : new Error(String(outcome));
}
