/**
 * The chaos test of an installation with several principals: PostgreSQL with a synchronous standby, members and agents on hosts of their own,
 * under a steady load, while they are killed, stopped and cut from each other. It must run {@link insideLab}.
 */
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PrincipalClient } from "../../../src/protocol/client.ts";
import { curveKeysOf, readKeyFile } from "../../../src/protocol/key-file.ts";
import { CdktrProcess, cdktr } from "../../support/cdktr.ts";
import { historyOf } from "../../support/history-process.ts";
import { PostgresServer } from "../../support/postgres.ts";
import { until } from "../../support/until.ts";
import { bootSeconds, filled, leftovers, patiently, readOr, settled } from "../endings.ts";
import { Meddler } from "../limits.ts";
import { Random } from "../random.ts";
import { type Account, account, type HistoryRows, type Outage } from "../verify.ts";
import { Load, prepareWorkflows } from "../workload.ts";
import { failovers } from "./failovers.ts";
import { Lab, type LabHost } from "./lab.ts";

/** How long, how hard, and from which seed. */
export interface MemberStormOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly runsPerSecond?: number;
  readonly members?: number;
  readonly agents?: number;
  /** Also workflows that use the whole language. */
  readonly language?: boolean;
  /** Also pools, concurrency groups, a backfill, and a workflow that is paused now and then. */
  readonly limits?: boolean;
  /** Only faults whose name begins like this; no faults if none does. */
  readonly only?: string;
}

/** The account with what happened when. */
export interface MemberStormResult extends Account {
  readonly faults: Readonly<Record<string, number>>;
  readonly timeline: readonly string[];
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
  CDKTR_METRICS_PORT: "0",
};
const API_PORT = 5561;
const POSTGRES_PORT = 5432;
/** So large is the disk of a server of PostgreSQL, MiB. */
const DISK_MIB = 400;
/** How long the backfill is. */
const FIRINGS_A_MINUTE = 40;
const MOST_FIRINGS = 300;
/** TERM, the grace period and KILL, a heartbeat or two, and a change of the leader. */
const FENCING_SECONDS = 15;
/** How many rows of the history are asked for at once. */
const PAGE = 50_000;
/** A guard against hanging. */
const PATIENCE_MS = 120_000;

/** A principal or an agent on its host. */
interface Station {
  readonly name: string;
  readonly host: LabHost;
  readonly start: () => CdktrProcess;
  process: CdktrProcess;
}

interface Database {
  readonly host: LabHost;
  readonly disk: string;
  server: PostgresServer;
}

export class MemberStorm implements AsyncDisposable {
  readonly #options: MemberStormOptions;
  readonly #random: Random;
  readonly #lab = new Lab();
  readonly #directory = mkdtempSync(join(tmpdir(), "cdktr-storm-"));
  readonly #timeline: string[] = [];
  readonly #faults: Record<string, number> = {};
  readonly #outages: Outage[] = [];
  readonly #members: Station[] = [];
  readonly #agents: Station[] = [];
  readonly #processes: { readonly name: string; readonly process: CdktrProcess }[] = [];
  readonly #kills: number[] = [];
  readonly #began = performance.now();
  readonly #clients: PrincipalClient[] = [];
  /** The primary is first. */
  #databases: [Database, Database] | undefined;
  #keep = false;

  constructor(options: MemberStormOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
  }

  async run(): Promise<MemberStormResult> {
    const { minutes, seed, runsPerSecond = 4, members = 3, agents = 5, language, limits } = this.#options;
    const place = { directory: this.#directory, writeWorkflow: this.#writeWorkflow };
    const workflows = await prepareWorkflows(place, { language, limits });
    writeFileSync(this.#witness, "");
    await this.#startDatabases();
    await this.#startMembers(members);
    for (let n = 1; n <= agents; n++) await this.#startAgent(n, agents);
    this.#say(
      `seed ${seed}: ${members} principals and ${agents} agents for ${minutes} minutes at ${runsPerSecond} runs/s`,
    );
    const ids = [...workflows.whole, ...workflows.split];
    const load = new Load(this.#clients, ids, new Random(seed + 1), runsPerSecond);
    load.start();
    const firings = Math.min(MOST_FIRINGS, Math.ceil(minutes * FIRINGS_A_MINUTE));
    const acknowledged = () => load.acknowledged.map((run) => run.runId);
    const [client] = this.#clients;
    if (client === undefined) throw new Error("there are no members");
    const meddler =
      limits === true ? new Meddler(client, new Random(seed + 2), firings, acknowledged) : undefined;
    await meddler?.start();
    const answers = workflows.language.length > 0 ? load.answer() : Promise.resolve();
    await this.#quiet(2000);
    const end = performance.now() + minutes * 60_000;
    // As long as whoever started it said.
    while (performance.now() < end) {
      await this.#fault();
      await this.#quiet(this.#random.between(1000, 5000));
    }
    this.#say("the storm is over");
    await load.stop();
    await meddler?.stop();
    const violations = await settled(acknowledged(), client);
    this.#say(`all ${acknowledged().length} runs are over`);
    if (meddler !== undefined) violations.push(...(await filled(meddler)));
    load.leave();
    await answers;
    for (const { process } of this.#agents) process.kill("SIGTERM");
    const ended = await Promise.all(this.#agents.map(({ process }) => process.finished));
    this.#say(`agents ended with status ${ended.map(({ code }) => code).join(", ")}`);
    violations.push(...leftovers(this.#witness));
    violations.push(...load.doubled.map((run) => `a repeated trigger of run ${run} made another run`));
    const history = this.#history(client);
    const result = await account({
      history,
      witness: this.#witness,
      acknowledged: load.acknowledged,
      split: workflows.split,
      answered: load.answered,
      outages: this.#outages,
      limits: meddler?.evidence((rows) => this.#count(rows)),
      fencingSeconds: FENCING_SECONDS,
    });
    violations.push(...result.violations);
    const counts = {
      ...result.counts,
      ...meddler?.counts,
      ...(await failovers(this.#kills, readOr(this.#witness), history)),
    };
    for (const { process } of this.#members) process.kill("SIGTERM");
    const left = await Promise.all(this.#members.map(({ process }) => process.finished));
    this.#say(`principals ended with status ${left.map(({ code }) => code).join(", ")}`);
    this.#keep = violations.length > 0;
    const { directory } = place;
    return { counts, violations, faults: this.#faults, timeline: this.#timeline, directory };
  }

  /** Ends everything; what happened is kept if it was not in order. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lab.heal();
    for (const client of this.#clients) await client.close();
    for (const { process } of this.#processes) process.kill("SIGKILL");
    for (const { name, process } of this.#processes) {
      await process.finished;
      const log = `--- process ${process.pid}\n${process.stderr}`;
      appendFileSync(join(this.#directory, `${name}.log`), log);
    }
    for (const { server, disk } of this.#databases ?? []) {
      await server[Symbol.asyncDispose]();
      await Bun.spawn(["umount", "--lazy", disk]).exited;
    }
    if (this.#keep) writeFileSync(join(this.#directory, "timeline"), this.#timeline.join("\n"));
    else rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Everything stays. */
  keep(): void {
    this.#keep = true;
  }

  get directory(): string {
    return this.#directory;
  }

  get #witness(): string {
    return join(this.#directory, "witness");
  }

  #writeWorkflow = (path: string, text: string): void => {
    const file = join(this.#directory, "workflows", path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  };

  #say(what: string): void {
    const line = `${((performance.now() - this.#began) / 1000).toFixed(1).padStart(7)} s  ${what}`;
    this.#timeline.push(line);
    console.error(line);
  }

  /** The pause between two faults is part of the plan, not a wait for something to happen. */
  #quiet(ms: number): Promise<void> {
    return Bun.sleep(ms);
  }

  // --- What there is.

  async #startDatabases(): Promise<void> {
    const hosts = [await this.#lab.host("pg1"), await this.#lab.host("pg2")] as const;
    const [one, two] = await Promise.all(hosts.map((host) => this.#disk(host)));
    if (one === undefined || two === undefined) throw new Error("there are no disks");
    const settings = { max_wal_size: "64MB", min_wal_size: "32MB", max_connections: 60 };
    const server = await PostgresServer.start({ settings, ...options(hosts[0], one) });
    const primary = { host: hosts[0], disk: one, server };
    const standby = {
      host: hosts[1],
      disk: two,
      server: await server.standby("pg2", options(hosts[1], two)),
    };
    await server.synchronous("pg2");
    this.#databases = [primary, standby];
  }

  async #disk({ name }: LabHost): Promise<string> {
    const disk = join(this.#directory, `disk-${name}`);
    mkdirSync(disk);
    const mounted = Bun.spawn(["mount", "-t", "tmpfs", "-o", `size=${DISK_MIB}m,mode=0700`, "tmpfs", disk]);
    if ((await mounted.exited) !== 0) throw new Error("no disk can be mounted");
    return disk;
  }

  get #primary(): Database {
    if (this.#databases === undefined) throw new Error("there is no database");
    return this.#databases[0];
  }

  get #storeUrl(): string {
    const [a, b] = ["pg1", "pg2"].map(
      (name) => `${this.#lab.hosts.find((host) => host.name === name)?.address}:${POSTGRES_PORT}`,
    );
    const { server } = this.#primary;
    return server.url().replace(`${server.host}:${server.port}`, `${a},${b}`);
  }

  async #startMembers(count: number): Promise<void> {
    const store = this.#storeUrl;
    const hosts: LabHost[] = [];
    for (let n = 1; n <= count; n++) hosts.push(await this.#lab.host(`m${n}`));
    for (const host of hosts) {
      const directory = join(this.#directory, host.name);
      mkdirSync(directory);
      const env = {
        ...SETTINGS,
        CDKTR_APP_DATA_DIRECTORY: join(directory, "data"),
        CDKTR_WORKFLOW_DIR: join(this.#directory, "workflows"),
        CDKTR_PRINCIPAL_HOST: host.address,
        CDKTR_PRINCIPAL_NAME: host.name,
        CDKTR_STORE_URL: store,
        CDKTR_HISTORY_URL: `ducklake:${store}`,
        CDKTR_HISTORY_DATA: join(this.#directory, "lake"),
        CDKTR_BLOB_URL: join(this.#directory, "blobs"),
      };
      const isFirst = this.#members.length === 0;
      if (isFirst) await this.#command(["keys", "init"], env);
      const start = () => this.#spawn(host, ["start", "principal"], env);
      const station = { name: host.name, host, start, process: start() };
      this.#members.push(station);
      await station.process.waitFor(/ready at/);
      if (isFirst) await this.#makeKeys(env);
    }
    const curve = curveKeysOf(readKeyFile(join(this.#directory, "m1/data/keys/admin.key")));
    for (const { address } of hosts)
      this.#clients.push(new PrincipalClient({ host: address, port: API_PORT, timeoutMs: 5000, curve }));
  }

  #agentKey = "";

  async #makeKeys(env: Readonly<Record<string, string>>): Promise<void> {
    this.#agentKey = (await this.#command(["keys", "add", "agents", "--role", "agent"], env)).trim();
  }

  async #startAgent(n: number, of: number): Promise<void> {
    const host = await this.#lab.host(`a${n}`);
    const directory = join(this.#directory, host.name);
    mkdirSync(directory);
    const env = {
      ...SETTINGS,
      CDKTR_APP_DATA_DIRECTORY: join(directory, "data"),
      CDKTR_PRINCIPALS: this.#members.map((member) => `${member.host.address}:${API_PORT}`).join(","),
      CDKTR_KEY_FILE: this.#agentKey,
      CHAOS_AGENT: host.name,
      CHAOS_WITNESS: this.#witness,
    };
    // The first has one side of the split workflows, the second the other, the others both.
    const sides = of > 1 && n === 1 ? ["left"] : of > 1 && n === 2 ? ["right"] : ["left", "right"];
    const labels = sides.flatMap((side) => ["--label", `${side}=yes`]);
    const start = () => this.#spawn(host, ["start", "agent", "--suffix", host.name, ...labels], env);
    const station = { name: host.name, host, start, process: start() };
    this.#agents.push(station);
    await station.process.waitFor(/register|connected|ready/i);
  }

  #spawn(host: LabHost, args: readonly string[], env: Readonly<Record<string, string>>): CdktrProcess {
    const process = new CdktrProcess(args, { env, cwd: this.#directory, prefix: host.prefix });
    this.#processes.push({ name: host.name, process });
    return process;
  }

  async #command(args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
    const { code, stdout, stderr } = await cdktr(args, { env, cwd: this.#directory });
    if (code !== 0) throw new Error(`${args.join(" ")}: ${stderr}`);
    return stdout;
  }

  // --- What is asked.

  /** The history, page by page. */
  #history(client: PrincipalClient): HistoryRows {
    return async <T>(sql: string) => {
      const all: T[] = [];
      for (;;) {
        const page = `SELECT * FROM (${sql}) LIMIT ${PAGE} OFFSET ${all.length}`;
        const { columns, rows } = await patiently(() =>
          client.queryDatabase({ sql: page, max_rows: PAGE }, { timeoutMs: 60_000 }),
        );
        for (const row of rows)
          all.push(Object.fromEntries(columns.map(({ name }, i) => [name, row[i]])) as T);
        if (rows.length < PAGE) return all;
      }
    };
  }

  async #count(rows: string): Promise<number> {
    const [row] = await this.#primary.server.sql<{ n: number }>(
      `SELECT count(*)::int AS n FROM cdktr.${rows}`,
      [],
      "cdktr",
    );
    return row?.n ?? 0;
  }

  /** The member that leads, as far as any of them knows; or just anyone. */
  async #leader(): Promise<Station> {
    for (const client of this.#clients) {
      const all = await client.call("LSPRINCIPALS", {}, { timeoutMs: 1000 }).catch(() => []);
      const name = all.find(({ role }) => role === "leader")?.name;
      const station = this.#members.find((member) => member.name === name);
      if (station !== undefined) return station;
    }
    return this.#random.pick(this.#members);
  }

  // --- What is done to it.

  async #fault(): Promise<void> {
    const r = this.#random;
    const leader = await this.#leader();
    const member = r.pick(this.#members);
    const [a, b] = [r.pick(this.#members), r.pick(this.#members)];
    const agent = r.pick(this.#agents);
    const databases = this.#databases?.map(({ host }) => host) ?? [];
    const others = [...this.#members, ...this.#agents].map(({ host }) => host);
    const faults: [string, () => Promise<unknown>][] = [
      ["leader killed", () => this.#kill(leader, r.between(0, 5000))],
      ["leader killed", () => this.#kill(leader, r.between(0, 500))],
      ["leader stopped", () => this.#stop(leader, r.between(300, 8000))],
      ["member killed", () => this.#kill(member, r.between(0, 5000))],
      ["member stopped", () => this.#stop(member, r.between(300, 8000))],
      ["member restarted", () => this.#restart(member)],
      ["leader restarted", () => this.#restart(leader)],
      ["leader cut from PostgreSQL", () => this.#cut([leader.host], databases, r.between(500, 8000))],
      ["member cut from PostgreSQL", () => this.#cut([member.host], databases, r.between(500, 8000))],
      [
        "leader cut from all",
        () => this.#cut([leader.host], [...databases, ...others], r.between(500, 8000)),
      ],
      [
        "member cut from agents",
        () =>
          this.#cut(
            [member.host],
            this.#agents.map(({ host }) => host),
            r.between(500, 8000),
          ),
      ],
      ["members cut from each other", () => this.#cut([a.host], [b.host, leader.host], r.between(500, 8000))],
      ["agent cut from all", () => this.#cut([agent.host], others, r.between(300, HEARTBEAT_TIMEOUT_MS * 3))],
      ["agent killed", () => this.#kill(agent, r.between(0, 4000))],
      ["agent stopped", () => this.#stop(agent, r.between(500, HEARTBEAT_TIMEOUT_MS * 3))],
      ["history killed", () => this.#killHistory(leader)],
      ["PostgreSQL restarted", () => this.#restartDatabase(r.between(0, 2000))],
      ["PostgreSQL stopped", () => this.#stopDatabase(r.between(300, 8000))],
      ["PostgreSQL's primary killed", () => this.#promote(r.between(0, 2000))],
      [
        "PostgreSQL's standby cut off",
        () => this.#cut(databases.slice(0, 1), databases.slice(1), r.between(300, 5000)),
      ],
      ["PostgreSQL's disk full", () => this.#fillDisk(r.between(500, 4000))],
    ];
    const { only = "" } = this.#options;
    const possible = faults.filter(([fault]) => fault.startsWith(only));
    if (possible.length === 0) return;
    const [name, inflict] = r.pick(possible);
    this.#say(`${name} (leader ${leader.name})`);
    const from = bootSeconds();
    const isDone = await inflict();
    // All that anybody was told, or was not, while it lasted and while somebody else took over.
    this.#outages.push({ agent: "all", from, until: bootSeconds() + 5 });
    if (isDone !== false) this.#faults[name] = (this.#faults[name] ?? 0) + 1;
  }

  async #kill(station: Station, awayMs: number): Promise<void> {
    this.#say(`  ${station.name}: KILL, back in ${Math.round(awayMs)} ms`);
    const isLeader = station === (await this.#leader()) && this.#members.includes(station);
    station.process.kill("SIGKILL");
    if (isLeader) this.#kills.push(bootSeconds());
    await station.process.finished;
    await this.#quiet(awayMs);
    await this.#comeBack(station);
  }

  async #comeBack(station: Station): Promise<void> {
    station.process = station.start();
    const isBack = station.process.waitFor(
      this.#members.includes(station) ? /ready at/ : /register|connected|ready/i,
    );
    await Promise.race([
      isBack,
      this.#quiet(PATIENCE_MS).then(() =>
        Promise.reject(new Error(`${station.name} does not come back: ${station.process.stderr}`)),
      ),
    ]);
  }

  async #restart(station: Station): Promise<void> {
    station.process.kill("SIGTERM");
    const { code } = await station.process.finished;
    if (code !== 0) throw new Error(`${station.name} ended with status ${code}: ${station.process.stderr}`);
    await this.#comeBack(station);
  }

  /** All of its processes, or only itself. */
  async #stop({ name, process }: Station, ms: number): Promise<void> {
    const history = this.#random.next() < 0.5 ? historyOf(process.pid) : undefined;
    this.#say(`  ${name}: STOP for ${Math.round(ms)} ms${history === undefined ? "" : ", with its history"}`);
    process.kill("SIGSTOP");
    signal(history, "SIGSTOP");
    await this.#quiet(ms);
    process.kill("SIGCONT");
    signal(history, "SIGCONT");
  }

  async #killHistory({ process }: Station): Promise<boolean> {
    const pid = historyOf(process.pid);
    signal(pid, "SIGKILL");
    return pid !== undefined;
  }

  async #cut(from: readonly LabHost[], to: readonly LabHost[], ms: number): Promise<boolean> {
    this.#say(
      `  cut for ${Math.round(ms)} ms: ${from.map(({ name }) => name).join(", ")} from ${to.map(({ name }) => name).join(", ")}`,
    );
    for (const a of from) for (const b of new Set(to)) if (a !== b) await this.#lab.cut(a, b);
    await this.#quiet(ms);
    await this.#lab.heal();
    return from.some((a) => to.some((b) => a !== b));
  }

  async #restartDatabase(awayMs: number): Promise<void> {
    const { server } = this.#primary;
    if (this.#random.next() < 0.5) await server.stop();
    else await server.kill();
    await this.#quiet(awayMs);
    await server.startAgain();
  }

  async #stopDatabase(ms: number): Promise<void> {
    const { server } = this.#primary;
    server.pause();
    await this.#quiet(ms);
    server.resume();
  }

  /** The primary is gone for good; the standby takes its place, and gets a new standby. */
  async #promote(afterMs: number): Promise<void> {
    if (this.#databases === undefined) return;
    const [old, next] = this.#databases;
    await old.server.kill();
    await this.#quiet(afterMs);
    await next.server.promote();
    this.#say(`  ${next.host.name} is the primary`);
    rmSync(join(old.disk, "data"), { recursive: true, force: true });
    this.#databases = [next, old];
    await this.#quiet(this.#random.between(0, 2000));
    old.server = await next.server.standby(old.host.name, options(old.host, old.disk));
    await next.server.synchronous(old.host.name);
    this.#say(`  ${old.host.name} is its standby`);
  }

  async #fillDisk(ms: number): Promise<void> {
    const { disk, server } = this.#primary;
    const ballast = join(disk, "ballast");
    const full = Bun.spawn(["dd", "if=/dev/zero", `of=${ballast}`, "bs=64k"], { stderr: "ignore" });
    await full.exited;
    await this.#quiet(ms);
    rmSync(ballast);
    // It ends when it cannot write what it must.
    if (!(await isAlive(server))) {
      this.#say("  PostgreSQL has ended, and is started again");
      await server.kill();
      await server.startAgain();
    }
  }
}

/** Where a server of PostgreSQL is. */
function options(host: LabHost, disk: string) {
  const mounts = { prefix: [], path: (...parts: string[]) => join(...parts) };
  return {
    host: host.address,
    port: POSTGRES_PORT,
    prefix: host.prefix,
    disk: { mounts, directory: join(disk, "data") },
  };
}

/** Whether it answers, sooner or later: after a crash it recovers by itself. */
async function isAlive(server: PostgresServer): Promise<boolean> {
  return until("PostgreSQL is there again, or gone", async () => {
    if (server.hasEnded) return "gone";
    return server.sql("SELECT 1").then(
      () => "there",
      () => false,
    );
  }).then((how) => how === "there");
}

/** Sends a signal to a process that may have ended. */
function signal(pid: number | undefined, name: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, name);
  } catch {
    // It has ended.
  }
}
