/**
 * More than 10,000 hostile connections and messages to the three ports of a principal, while runs are executed: each run is
 * executed once and keeps every line, clients get replies, and the principal does not use more resources than before.
 */
import { describe, expect, test } from "bun:test";
import { utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../../src/config.ts";
import { type CurveClientKeys, PrincipalClient } from "../../src/protocol/client.ts";
import { curveKeysOf, readKeyFile } from "../../src/protocol/key-file.ts";
import { Attackers, ROUND } from "../hostile/attackers.ts";
import type { Target } from "../hostile/attacks.ts";
import { greeting, RawPeer } from "../hostile/raw-peer.ts";
import { PeakVitals, type Vitals, vitals } from "../hostile/vitals.ts";
import { Cluster, freePorts } from "../support/cdktr.ts";
import { linesOf, runOver, shellWorkflow, until } from "./support/fixtures.ts";

const LINES = 20;
/** Floods of each kind, one after another. */
const ROUNDS = 2;
/** How long a client waits for a reply unless it is set otherwise. */
const PATIENCE_MS = loadConfig({}).values.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS;

/** Triggers runs and asks the principal for a sign of life, steadily, until it is stopped. */
class Customer {
  readonly runs: string[] = [];
  readonly latencies: number[] = [];
  #ended = false;
  readonly #loops: Promise<void>;

  constructor(client: PrincipalClient) {
    const pinging = async () => {
      while (!this.#ended) {
        const began = performance.now();
        await client.ping();
        this.latencies.push(performance.now() - began);
        // The pace of a customer, not a wait.
        await Bun.sleep(20);
      }
    };
    const triggering = async () => {
      while (!this.#ended) {
        const options = { dedupe_key: crypto.randomUUID() };
        const run = await client.runTask("good", options);
        this.runs.push(run.workflow_instance_id);
        await runOver(client, run.workflow_instance_id);
        // So is this.
        await Bun.sleep(100);
      }
    };
    this.#loops = Promise.all([pinging(), triggering()]).then(() => {});
    this.#loops.catch(() => {});
  }

  async stop(): Promise<void> {
    this.#ended = true;
    await this.#loops;
  }

  /** Of ten answers nine were there by then, ms. */
  get usual(): number {
    const sorted = this.latencies.toSorted((a, b) => a - b);
    return sorted[Math.floor(sorted.length * 0.9)] ?? Number.POSITIVE_INFINITY;
  }
}

async function during<T>(client: PrincipalClient, work: () => Promise<T>): Promise<[Customer, T]> {
  const customer = new Customer(client);
  try {
    const result = await work();
    await customer.stop();
    return [customer, result];
  } catch (error) {
    await customer.stop().catch(() => {});
    throw error;
  }
}

async function startCluster(secured: boolean) {
  const cluster = new Cluster({}, await freePorts(3));
  const witness = join(cluster.directory, "witness");
  writeFileSync(witness, "");
  const talk = `echo $CDKTR_WORKFLOW_INSTANCE_ID >> ${witness}; for i in $(seq ${LINES}); do echo line $i; done`;
  cluster.writeWorkflow("good.yml", shellWorkflow({ talk: { sh: talk } }));
  const { ports } = cluster;
  if (!secured) return { cluster, witness, target: { ports }, client: cluster.client };
  await cluster.cdktr(["keys", "init"]);
  const key = async (role: string): Promise<CurveClientKeys> => {
    const { stdout } = await cluster.cdktr(["keys", "add", `mallory-${role}`, "--role", role]);
    return curveKeysOf(readKeyFile(stdout.trim()));
  };
  const keys = { client: await key("client"), agent: await key("agent") };
  const curve = curveKeysOf(readKeyFile(join(cluster.dataDirectory, "keys/admin.key")));
  const client = new PrincipalClient({ host: "127.0.0.1", port: ports.api, timeoutMs: 30_000, curve });
  await cluster.client.close();
  return { cluster: Object.assign(cluster, { client }), witness, target: { ports, keys }, client };
}

describe.each(["unsecured", "secured"])("an %s principal", (kind) => {
  test("takes 10,000 hostile connections and messages, and works on", async () => {
    const { cluster, witness, target, client } = await startCluster(kind === "secured");
    await using _cluster = cluster;
    const principal = await cluster.startPrincipal();
    await cluster.startAgent();
    // What is usual without attackers, measured over a while.
    const [calm] = await during(client, () => Bun.sleep(2000));
    const before = vitals(principal.pid);
    const rounds: { count: number; peak: Vitals; after: Vitals; usual: number }[] = [];
    const runs = [...calm.runs];
    for (let seed = 1; seed <= ROUNDS; seed++) {
      using peak = new PeakVitals(principal.pid);
      await using attackers = new Attackers({ ...(target satisfies Target), seed, plan: ROUND });
      const [customer, count] = await during(client, () => attackers.done);
      runs.push(...customer.runs);
      await attackers.leave();
      // What was held against it is given back: connections, and whatever served them.
      const after = await until("descriptors and threads are as before", () => {
        const now = vitals(principal.pid);
        return now.descriptors <= before.descriptors + 5 && now.threads <= before.threads + 3 && now;
      });
      rounds.push({ count, peak: peak.peak, after, usual: customer.usual });
    }
    const [first, last] = [rounds[0], rounds.at(-1)];
    if (first === undefined || last === undefined) throw new Error("no round");
    expect(rounds.reduce((sum, { count }) => sum + count, 0)).toBeGreaterThan(10_000);

    // Memory: a flood costs something, more of it costs nothing more.
    const { memory } = before;
    expect(last.peak.memory).toBeLessThan(2 * Math.max(first.peak.memory, memory * 6));
    expect(first.peak.memory).toBeLessThan(memory * 25);
    // Clients are answered long before they lose patience, also where the attackers leave the principal little of a processor.
    const limit = Math.max(calm.usual * 50, PATIENCE_MS / 4);
    expect(Math.max(...rounds.map(({ usual }) => usual))).toBeLessThan(limit);
    // The log tells of it, and not of every single one.
    expect(principal.stderr.split("\n").length).toBeLessThan(750 * ROUNDS);

    // Everything that was acknowledged was done once, and is there with every line.
    expect(runs.length).toBeGreaterThan(5);
    expect(linesOf(witness).toSorted()).toEqual(runs.toSorted());
    const { rows } = await client.queryDatabase({
      sql: `SELECT workflow_instance_id, count(*), count(DISTINCT payload) FROM logstore
            WHERE workflow_id = 'good' AND payload LIKE 'line %' GROUP BY ALL`,
      max_rows: 10_000,
    });
    expect(rows.toSorted()).toEqual(runs.map((run) => [run, LINES, LINES]).toSorted());
  }, 600_000);
});

test.each(["unsecured", "secured"])(
  "an %s principal that has no descriptor left goes on, and lets new clients in",
  async (kind) => {
    const { cluster, client } = await startCluster(kind === "secured");
    await using _cluster = cluster;
    const limited = { prefix: ["prlimit", "--nofile=256:256"] };
    const principal = await cluster.startPrincipal([], limited);
    await cluster.startAgent();
    const before = vitals(principal.pid);
    const strangers: (RawPeer | undefined)[] = [];
    const clientKeys = join(cluster.dataDirectory, "keys/clients");
    const { api, listening, publishing } = cluster.ports;
    const crowd = async () => {
      for (let n = 0; n < 500; n++) {
        const peer = await RawPeer.connect([api, listening, publishing][n % 3] ?? api);
        if (n % 2 === 0) await peer?.write(greeting("NULL"));
        strangers.push(peer);
        // It looks at its keys again.
        if (kind === "secured" && n % 25 === 0) utimesSync(clientKeys, n, n);
      }
    };
    const [customer] = await during(client, crowd);
    await principal.waitFor(/connections with the least traffic were closed/);
    expect(principal.stderr).not.toContain("Revoked");
    const fresh = await cluster.cdktr(["runs", "list", "--json"]);
    expect(fresh.code).toBe(0);
    expect(JSON.parse(fresh.stdout).length).toBeGreaterThanOrEqual(customer.runs.length);
    for (const stranger of strangers) stranger?.reset();
    await until(
      "descriptors are as before",
      () => vitals(principal.pid).descriptors <= before.descriptors + 5,
    );
    expect((await cluster.cdktr(["run", "good", "--wait"])).code).toBe(0);
  },
);
