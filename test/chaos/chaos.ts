/**
 * The chaos test: a principal with its history and three agents under a steady load of triggers, while they are killed, stopped and
 * disconnected and the history database is locked. Afterwards the results are verified.
 */
import { Database } from "bun:sqlite";
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { Attackers, ROUND } from "../hostile/attackers.ts";
import { type CdktrProcess, Cluster, freePorts } from "../support/cdktr.ts";
import { historyOf } from "../support/history-process.ts";
import { bootSeconds, filled, leftovers, readOr, settled } from "./endings.ts";
import { Meddler } from "./limits.ts";
import { TcpProxy } from "./proxy.ts";
import { Random } from "./random.ts";
import { type Account, account, type Outage, withHistoryFile } from "./verify.ts";
import { Load, prepareWorkflows } from "./workload.ts";

/** How long, how hard, and from which seed. */
export interface ChaosOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly runsPerSecond?: number;
  /** Strangers attack the principal all the while. */
  readonly hostile?: boolean;
  /** Also workflows that use the whole language. */
  readonly language?: boolean;
  /** Also pools, concurrency groups, a backfill, and a workflow that is paused now and then. */
  readonly limits?: boolean;
  /** Only faults whose name begins like this. */
  readonly only?: string;
  /** Told of each event as it happens. */
  readonly say?: (line: string) => void;
}

/** The account with what happened when. */
export interface ChaosResult extends Account {
  readonly timeline: readonly string[];
  readonly faults: Readonly<Record<string, number>>;
  /** Where everything lies; kept when there are violations. */
  readonly directory: string;
}

const HEARTBEAT_TIMEOUT_MS = 2500;
const SETTINGS = {
  CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "300",
  CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: String(HEARTBEAT_TIMEOUT_MS),
  CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "1000",
  CDKTR_RETRY_ATTEMPTS: "100000",
  CDKTR_LOG_FLUSH_INTERVAL_MS: "1000",
};
const AGENTS = 3;
/** How long the backfill is. */
const FIRINGS_A_MINUTE = 60;
const MOST_FIRINGS = 300;
/** TERM, the grace period and KILL, and a heartbeat or two. */
const FENCING_SECONDS = 12;

interface ChaosAgent {
  readonly name: string;
  readonly api: TcpProxy;
  readonly logs: TcpProxy;
  process: CdktrProcess;
}

/** Runs the chaos and gives the account. Leaves nothing running; the directory stays only when something was violated. */
export async function chaos(options: ChaosOptions): Promise<ChaosResult> {
  const storm = await Storm.start(options);
  try {
    return await storm.run();
  } finally {
    await storm.stop();
  }
}

class Storm {
  readonly #random: Random;
  readonly #timeline: string[] = [];
  readonly #faults: Record<string, number> = {};
  readonly #outages: Outage[] = [];
  readonly #agents: ChaosAgent[] = [];
  /** Every process that was started, for what it said. */
  readonly #processes: { readonly name: string; readonly process: CdktrProcess }[] = [];
  readonly #began = performance.now();
  #lock: Bun.Subprocess | undefined;
  #keep = false;
  #attackers: Attackers | undefined;
  #attacking = true;

  private constructor(
    private readonly options: ChaosOptions,
    private readonly cluster: Cluster,
  ) {
    this.#random = new Random(options.seed);
  }

  static async start(options: ChaosOptions): Promise<Storm> {
    const cluster = new Cluster({ env: SETTINGS }, await freePorts(3));
    const storm = new Storm(options, cluster);
    writeFileSync(storm.#witness, "");
    return storm;
  }

  get #witness(): string {
    return join(this.cluster.directory, "witness");
  }

  get #client(): PrincipalClient {
    return this.cluster.client;
  }

  async run(): Promise<ChaosResult> {
    const { minutes, seed, runsPerSecond = 4 } = this.options;
    const workflows = await prepareWorkflows(this.cluster, this.options);
    const workflowIds = [...workflows.whole, ...workflows.split];
    await this.#startPrincipal();
    for (let n = 1; n <= AGENTS; n++) await this.#addAgent(`chaos-${n}`);
    this.#say(
      `seed ${seed}: principal and ${AGENTS} agents for ${minutes} minutes at ${runsPerSecond} runs/s`,
    );
    const load = new Load([this.#client], workflowIds, new Random(seed + 1), runsPerSecond);
    load.start();
    const firings = Math.min(MOST_FIRINGS, Math.ceil(minutes * FIRINGS_A_MINUTE));
    const acknowledged = () => load.acknowledged.map((run) => run.runId);
    const meddler =
      this.options.limits === true
        ? new Meddler(this.#client, new Random(seed + 2), firings, acknowledged)
        : undefined;
    await meddler?.start();
    const answers = workflows.language.length > 0 ? load.answer() : Promise.resolve();
    await this.#quiet(2000);
    const memoryBefore = residentMb(this.cluster.principal?.pid);
    const attacks = this.options.hostile === true ? this.#attack(seed) : Promise.resolve(0);
    const end = performance.now() + minutes * 60_000;
    // As long as whoever started it said.
    while (performance.now() < end) {
      await this.#fault();
      await this.#quiet(this.#random.between(500, 4000));
    }
    this.#attacking = false;
    const attacked = await attacks;
    this.#say("the storm is over");
    await load.stop();
    await meddler?.stop();
    const violations = await settled(acknowledged(), this.#client);
    this.#say(`all ${acknowledged().length} runs are over`);
    if (meddler !== undefined) violations.push(...(await filled(meddler)));
    load.leave();
    await answers;
    const memoryAfter = residentMb(this.cluster.principal?.pid);
    await this.#shutDown();
    violations.push(...leftovers(this.#witness));
    violations.push(...load.doubled.map((run) => `a repeated trigger of run ${run} made another run`));
    const { dataDirectory } = this.cluster;
    const result = await withHistoryFile(join(dataDirectory, "app.db"), (history) =>
      account({
        history,
        witness: this.#witness,
        acknowledged: load.acknowledged,
        split: workflows.split,
        answered: load.answered,
        outages: this.#outages,
        limits: meddler?.evidence((rows) => countIn(join(dataDirectory, "state.db"), rows)),
        fencingSeconds: FENCING_SECONDS,
      }),
    );
    violations.push(...result.violations);
    // What came from outside may have filled it up to what the principal's guard allows.
    if (memoryAfter > memoryBefore * 3 + (attacked > 0 ? 1000 : 100)) {
      violations.push(`the principal's memory went from ${memoryBefore} MB to ${memoryAfter} MB`);
    }
    this.#keep = violations.length > 0;
    return {
      counts: {
        ...result.counts,
        ...meddler?.counts,
        ...(attacked === 0 ? {} : { "hostile connections and messages": attacked }),
        "principal MB at the start": memoryBefore,
        "principal MB at the end": memoryAfter,
      },
      violations,
      timeline: this.#timeline,
      faults: this.#faults,
      directory: this.cluster.directory,
    };
  }

  async stop(): Promise<void> {
    this.#lock?.kill("SIGKILL");
    this.#attacking = false;
    await this.#attackers?.[Symbol.asyncDispose]();
    for (const agent of this.#agents) {
      agent.process.kill("SIGCONT");
      agent.api.close();
      agent.logs.close();
    }
    this.cluster.principal?.kill("SIGCONT");
    if (this.#keep) {
      await this.#client.close();
      await Promise.all(this.#agents.map((agent) => agent.process.stop()));
      await this.cluster.principal?.stop();
      for (const { name, process } of this.#processes) {
        appendFileSync(
          join(this.cluster.directory, `${name}.log`),
          `--- process ${process.pid}\n${process.stderr}`,
        );
      }
      writeFileSync(join(this.cluster.directory, "timeline"), this.#timeline.join("\n"));
    } else {
      await Promise.all(this.#agents.map((agent) => agent.process.stop()));
      await this.cluster.stop();
    }
  }

  /** Campaign after campaign; those against a principal that is away fail, and that is all. */
  async #attack(seed: number): Promise<number> {
    let total = 0;
    for (let n = 1; this.#attacking; n++) {
      const attackers = new Attackers({ ports: this.cluster.ports, seed: seed + n, plan: ROUND });
      this.#attackers = attackers;
      const count = await attackers.done.catch(() => 0);
      this.#say(count === 0 ? "the attackers met nobody" : `${count} attacks`);
      total += count;
      await attackers.leave();
    }
    return total;
  }

  #say(what: string): void {
    const line = `${((performance.now() - this.#began) / 1000).toFixed(1).padStart(7)} s  ${what}`;
    this.#timeline.push(line);
    this.options.say?.(line);
  }

  /** The pause between two faults is part of the plan, not a wait for something to happen. */
  #quiet(ms: number): Promise<void> {
    return Bun.sleep(ms);
  }

  async #addAgent(name: string): Promise<void> {
    const api = await TcpProxy.to(this.cluster.ports.api);
    const logs = await TcpProxy.to(this.cluster.ports.listening);
    this.#agents.push({ name, api, logs, process: this.#spawnAgent(name, api, logs) });
  }

  #spawnAgent(name: string, api: TcpProxy, logs: TcpProxy): CdktrProcess {
    const process = this.cluster.spawn(["start", "agent", "--suffix", name, ...labelsOf(name)], {
      env: {
        CDKTR_PRINCIPAL_PORT: String(api.port),
        CDKTR_LOGS_LISTENING_PORT: String(logs.port),
        CHAOS_AGENT: name,
        CHAOS_WITNESS: this.#witness,
      },
    });
    this.#processes.push({ name, process });
    return process;
  }

  async #startPrincipal(): Promise<void> {
    this.#processes.push({ name: "principal", process: await this.cluster.startPrincipal() });
  }

  async #fault(): Promise<void> {
    const agent = this.#random.pick(this.#agents);
    const faults: [string, () => Promise<unknown>][] = [
      ["principal killed", () => this.#killPrincipal(this.#random.between(0, 3000))],
      ["principal stopped", () => this.#stopPrincipal(this.#random.between(300, HEARTBEAT_TIMEOUT_MS * 2))],
      ["agent killed", () => this.#killAgent(agent, this.#random.between(0, 4000))],
      ["agent killed", () => this.#killAgent(agent, this.#random.between(0, 500))],
      ["agent stopped", () => this.#stopAgent(agent, this.#random.between(500, HEARTBEAT_TIMEOUT_MS * 3))],
      ["network cut", () => this.#cutAgent(agent, this.#random.between(300, HEARTBEAT_TIMEOUT_MS * 3))],
      ["network slow", () => this.#slowAgent(agent, this.#random.between(50, 700))],
      ["history killed", () => this.#killHistory()],
      ["history starved", () => this.#starveHistory()],
      ["history stopped", () => this.#stopHistory(this.#random.between(300, HEARTBEAT_TIMEOUT_MS * 2))],
      ["database locked", () => this.#lockDatabase(this.#random.between(1500, 5000))],
    ];
    const { only = "" } = this.options;
    const [name, inflict] = this.#random.pick(faults.filter(([fault]) => fault.startsWith(only)));
    if ((await inflict()) !== false) this.#faults[name] = (this.#faults[name] ?? 0) + 1;
  }

  async #during(agent: string, ms: number): Promise<void> {
    const from = bootSeconds();
    await this.#quiet(ms);
    this.#outages.push({ agent, from, until: bootSeconds() });
  }

  async #killPrincipal(awayMs: number): Promise<void> {
    this.#say(`principal: KILL, back in ${Math.round(awayMs)} ms`);
    const from = bootSeconds();
    this.cluster.principal?.kill("SIGKILL");
    await this.cluster.principal?.finished;
    await this.#quiet(awayMs);
    await this.#startPrincipal();
    this.#outages.push({ agent: "all", from, until: bootSeconds() });
  }

  async #stopPrincipal(ms: number): Promise<void> {
    this.#say(`principal: STOP for ${Math.round(ms)} ms`);
    this.cluster.principal?.kill("SIGSTOP");
    await this.#during("all", ms);
    this.cluster.principal?.kill("SIGCONT");
  }

  /** @returns whether there was one; so do the other faults of the history */
  async #killHistory(): Promise<boolean> {
    const pid = this.#history;
    this.#say("history: KILL, the principal starts it again");
    signal(pid, "SIGKILL");
    return pid !== undefined;
  }

  /** A statement takes so much memory that the history has to end. */
  async #starveHistory(): Promise<boolean> {
    this.#say("history: a statement takes all memory that it may have");
    const sql = "SELECT max(length(repeat('x' || range, 2000000))) FROM range(2048)";
    const error = await this.#client.queryDatabase({ sql, max_rows: 1 }, { timeoutMs: 20_000 }).then(
      () => undefined,
      (thrown) => String(thrown),
    );
    return error?.includes("of memory") ?? false;
  }

  async #stopHistory(ms: number): Promise<boolean> {
    const pid = this.#history;
    this.#say(`history: STOP for ${Math.round(ms)} ms`);
    signal(pid, "SIGSTOP");
    await this.#quiet(ms);
    signal(pid, "SIGCONT");
    return pid !== undefined;
  }

  get #history(): number | undefined {
    return this.cluster.principal && historyOf(this.cluster.principal.pid);
  }

  async #killAgent(agent: ChaosAgent, awayMs: number): Promise<void> {
    this.#say(`${agent.name}: KILL, back in ${Math.round(awayMs)} ms`);
    const from = bootSeconds();
    agent.process.kill("SIGKILL");
    await agent.process.finished;
    await this.#quiet(awayMs);
    agent.process = this.#spawnAgent(agent.name, agent.api, agent.logs);
    await agent.process.waitFor(/register|connected|ready/i);
    this.#outages.push({ agent: agent.name, from, until: bootSeconds() });
  }

  async #stopAgent(agent: ChaosAgent, ms: number): Promise<void> {
    this.#say(`${agent.name}: STOP for ${Math.round(ms)} ms`);
    agent.process.kill("SIGSTOP");
    await this.#during(agent.name, ms);
    agent.process.kill("SIGCONT");
  }

  async #cutAgent(agent: ChaosAgent, ms: number): Promise<void> {
    const half = this.#random.next() < 0.3;
    this.#say(`${agent.name}: ${half ? "log connection" : "network"} cut for ${Math.round(ms)} ms`);
    if (!half) agent.api.cut();
    agent.logs.cut();
    await this.#during(agent.name, ms);
    agent.api.heal();
    agent.logs.heal();
  }

  async #slowAgent(agent: ChaosAgent, delayMs: number): Promise<void> {
    this.#say(`${agent.name}: network slow by ${Math.round(delayMs)} ms`);
    agent.api.slow(delayMs);
    agent.logs.slow(delayMs);
    await this.#during(agent.name, 3000);
    agent.api.heal();
    agent.logs.heal();
  }

  /** Another process takes the lock of the database file while the principal is away; the principal works without. */
  async #lockDatabase(ms: number): Promise<void> {
    const database = join(this.cluster.dataDirectory, "app.db");
    this.#say(`principal: KILL, and the database is locked by another process for ${Math.round(ms)} ms`);
    const from = bootSeconds();
    this.cluster.principal?.kill("SIGKILL");
    await this.cluster.principal?.finished;
    if (existsSync(database)) {
      const lock = Bun.spawn(
        [
          "python3",
          "-c",
          "import fcntl,sys\nf=open(sys.argv[1],'r+b')\nfcntl.lockf(f,fcntl.LOCK_EX)\nprint('locked',flush=True)\nsys.stdin.read()",
          database,
        ],
        { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
      );
      this.#lock = lock;
      await lock.stdout.getReader().read();
    }
    await this.#startPrincipal();
    this.#outages.push({ agent: "all", from, until: bootSeconds() });
    await this.#quiet(ms);
    this.#lock?.kill("SIGKILL");
    await this.#lock?.exited;
    this.#lock = undefined;
  }

  /** Everything ends as an operator ends it: agents first, so that what they hold is delivered. */
  async #shutDown(): Promise<void> {
    for (const agent of this.#agents) agent.process.kill("SIGTERM");
    const ended = await Promise.all(this.#agents.map((agent) => agent.process.finished));
    this.#say(`agents ended with status ${ended.map((end) => end.code).join(", ")}`);
    this.cluster.principal?.kill("SIGTERM");
    const principal = await this.cluster.principal?.finished;
    this.#say(`principal ended with status ${principal?.code}`);
  }
}

/** Sends a signal to a process that may have ended. */
function signal(pid: number | undefined, name: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, name);
  } catch {
    // It has ended.
  }
}

/** The first agent has one side of the split workflows, the second the other, the third both. */
function labelsOf(name: string): string[] {
  const sides = name.endsWith("1") ? ["left"] : name.endsWith("2") ? ["right"] : ["left", "right"];
  return sides.flatMap((side) => ["--label", `${side}=yes`]);
}

function residentMb(pid: number | undefined): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readOr(`/proc/${pid}/status`));
  return match === null ? 0 : Math.round(Number(match[1]) / 1024);
}

/** The rows of a table of the state, with a condition. */
function countIn(state: string, rows: string): number {
  using database = new Database(state, { readonly: true });
  return database.query<{ n: number }, []>(`SELECT count(*) AS n FROM ${rows}`).get()?.n ?? 0;
}
