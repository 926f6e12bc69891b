/**
 * Several principals over PostgreSQL, beside one principal with its own state, in the same run: what a trigger and a run cost, how commits
 * share statements, how the cost grows with the queue, and how long nobody dispatches after a kill.
 */
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { Installation, type TestMember } from "../../test/support/installation.ts";
import { CONCURRENCY, startFleet } from "./fleet.ts";
import { type Measure, median, quantile, timed } from "./measure.ts";
import type { SignalPipe } from "./signal-pipe.ts";

/** How much is measured. */
interface MembersSize {
  readonly samples: number;
  readonly runs: number;
  /** Runs that wait, at first and then. */
  readonly queued: readonly [number, number];
  /** Leaders that are killed, and as many principals that an agent is connected to. */
  readonly kills: number;
}

const QUICK: MembersSize = { samples: 15, runs: 60, queued: [100, 400], kills: 1 };
const WHOLE: MembersSize = { samples: 200, runs: 1000, queued: [10_000, 100_000], kills: 20 };

const AGENT = {
  CDKTR_AGENT_MAX_CONCURRENCY: String(CONCURRENCY),
  CDKTR_AGENT_MAX_TASKS: String(CONCURRENCY),
};
/** Requests that are on their way at once. */
const AT_ONCE = 200;

/** What triggers runs. */
type Side = { readonly clients: readonly PrincipalClient[] };

let triggers = 0;
async function trigger({ clients }: Side, id: string): Promise<string> {
  const client = clients[triggers++ % clients.length];
  if (client === undefined) throw new Error("there is nobody to ask");
  return (await client.runTask(id, { dedupe_key: `members ${triggers}` })).workflow_instance_id;
}

async function ended(client: PrincipalClient, runId: string): Promise<void> {
  while ((await client.waitRun(runId, 10_000)).status !== "COMPLETED");
}

/** From triggers, one after the other, to the start of their tasks, ms; the sides take turns. */
async function starts(sides: readonly Side[], pipe: SignalPipe, samples: number): Promise<number[][]> {
  const took: number[][] = sides.map(() => []);
  for (let i = -5; i < samples; i++) {
    for (const [n, side] of sides.entries()) {
      const [client] = side.clients;
      if (client === undefined) continue;
      const signalled = pipe.next();
      const began = performance.now();
      const runId = await trigger(side, "signal");
      await signalled;
      const ms = performance.now() - began;
      await ended(client, runId);
      if (i >= 0) took[n]?.push(ms);
    }
  }
  return took;
}

/** Triggers many runs, some at once. */
async function triggerMany(side: Side, id: string, count: number): Promise<void> {
  let left = count;
  const worker = async () => {
    while (left-- > 0) await trigger(side, id);
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count) }, worker));
}

/** How many runs of one task end in a second, when they are triggered at once. */
async function runsPerSecond(side: Side, runs: number, waiting = 0): Promise<number> {
  const [client] = side.clients;
  if (client === undefined) throw new Error("there is nobody to ask");
  const ms = await timed(async () => {
    await triggerMany(side, "one", runs);
    for (;;) {
      const { pending, running } = (await client.info()).runs;
      if (pending + running <= waiting) return;
      await Bun.sleep(10);
    }
  });
  return (runs / ms) * 1000;
}

const all = (installation: Installation): Side => ({
  clients: installation.members.map(({ client }) => client),
});

/** Measures with one, two and three principals, which are then killed again and again. */
export async function members(
  pipe: SignalPipe,
  isQuick: boolean,
  say: (text: string) => void,
): Promise<Measure[]> {
  const { samples, runs, queued, kills } = isQuick ? QUICK : WHOLE;
  const text = (task: string, head = "") =>
    `name: bench\ntasks:\n  task:\n${head}    config: !Subprocess\n${task}`;
  const workflows = {
    signal: text(`      cmd: sh\n      args: ["-c", ${JSON.stringify(pipe.command)}]\n`),
    one: text('      cmd: "true"\n'),
    waiting: text('      cmd: "true"\n', '    runs_on: {there: "no"}\n'),
  };
  const files = Object.fromEntries(Object.entries(workflows).map(([id, yaml]) => [`${id}.yml`, yaml]));
  const measures: Measure[] = [];
  const fleet = await startFleet(workflows);
  // As long as a lease lasts by default: what is killed is noticed earlier.
  const env = { ...AGENT, CDKTR_LEADER_LEASE_MS: undefined };
  const installation = await Installation.start(1, { workflows: files, env, postgres: { durable: true } });
  try {
    // The first one makes tables, and a lake.
    await installation.leader();
    await installation.startAgent();
    const alone: Side = { clients: [fleet.client] };
    say(
      `latency from trigger to the start of the task, with one principal over PostgreSQL, ${samples} times`,
    );
    const [ours = [], own = []] = await starts([all(installation), alone], pipe, samples);
    for (const [name, q] of [
      ["p50", 0.5],
      ["p99", 0.99],
    ] as const)
      measures.push({
        name: `trigger to task start over PostgreSQL, ${name}`,
        unit: "ms",
        cdktr: quantile(ours, q),
        against: "one principal with its own state",
        baseline: quantile(own, q),
      });
    say(`${runs} runs of one task`);
    const floor = await runsPerSecond(alone, runs);
    for (let count = 1; count <= 3; count++) {
      if (count > 1) await joined(installation);
      measures.push({
        name: `${runs.toLocaleString("en")} one-task runs, ${count === 1 ? "one principal" : `${count} principals`} over PostgreSQL`,
        unit: "runs/s",
        cdktr: await runsPerSecond(all(installation), runs),
        against: "one principal with its own state",
        baseline: floor,
      });
    }
    const through = await installation.followers();
    say(`latency through a principal that does not lead, ${samples} times`);
    const [forwarded = []] = await starts([{ clients: through.map(({ client }) => client) }], pipe, samples);
    measures.push({
      name: "trigger to task start through a principal that does not lead, p50",
      unit: "ms",
      cdktr: median(forwarded),
      against: "one principal over PostgreSQL",
      baseline: median(ours),
    });
    measures.push(...(await queues(installation, runs, queued, say)));
    measures.push(...(await failovers(installation, pipe, kills, say)));
    return measures;
  } finally {
    await fleet.stop();
    await installation[Symbol.asyncDispose]();
  }
}

/** One more principal, and an agent that knows it. */
async function joined(installation: Installation): Promise<void> {
  await installation.startMember();
  await installation.agents.at(-1)?.stop();
  await installation.startAgent();
}

/** With a longer queue of runs for which there is no agent. */
async function queues(
  installation: Installation,
  runs: number,
  [first, then]: readonly [number, number],
  say: (text: string) => void,
): Promise<Measure[]> {
  const side = all(installation);
  const commits = async () => {
    const [row] = await installation.postgres.sql<{ n: string }>(
      "SELECT commit_seq::text AS n FROM cdktr.cluster_leadership",
      [],
      "cdktr",
    );
    return Number(row?.n);
  };
  say(`${first.toLocaleString("en")} triggers, ${AT_ONCE} at once`);
  const before = await commits();
  const ms = await timed(() => triggerMany(side, "waiting", first));
  const perCommit = first / ((await commits()) - before);
  const short = await runsPerSecond(side, runs, first);
  say(`${then.toLocaleString("en")} runs in the queue`);
  await triggerMany(side, "waiting", then - first);
  const long = await runsPerSecond(side, runs, then);
  return [
    {
      name: `triggers, ${AT_ONCE} at once`,
      unit: "runs/s",
      cdktr: (first / ms) * 1000,
      against: null,
      baseline: null,
    },
    { name: "triggers in one commit", unit: "runs", cdktr: perCommit, against: null, baseline: null },
    {
      name: `a run behind ${then.toLocaleString("en")} that wait`,
      unit: "ms",
      cdktr: 1000 / long,
      against: `behind ${first.toLocaleString("en")}`,
      baseline: 1000 / short,
    },
  ];
}

/** From the kill of a principal to the start of a task that is triggered at another one. */
async function failovers(
  installation: Installation,
  pipe: SignalPipe,
  kills: number,
  say: (text: string) => void,
): Promise<Measure[]> {
  const measures: Measure[] = [];
  const after = async (who: "leader" | "follower") => {
    const took: number[] = [];
    for (let i = 0; i < kills; i++) {
      const leader = await installation.leader();
      const [follower] = await installation.followers();
      const killed = who === "leader" ? leader : follower;
      const asked = installation.members.find((member) => member !== killed && member !== leader) ?? leader;
      if (killed === undefined) throw new Error("there is nobody to kill");
      const signalled = pipe.next();
      const began = performance.now();
      killed.process.kill("SIGKILL");
      const runId = await asked.client.runTask("signal", { dedupe_key: `failover ${++triggers}` });
      await signalled;
      took.push(performance.now() - began);
      await ended(asked.client, runId.workflow_instance_id);
      await killed.process.finished;
      await back(installation, killed);
    }
    return took;
  };
  for (const who of ["leader", "follower"] as const) {
    say(`${kills} kills of a ${who}`);
    const took = await after(who);
    for (const [name, q] of [
      ["p50", 0.5],
      ["p99", 0.99],
    ] as const)
      measures.push({
        name: `kill of a ${who} to the start of a task, ${name}`,
        unit: "ms",
        cdktr: quantile(took, q),
        against: null,
        baseline: null,
      });
  }
  return measures;
}

/** Starts a member again, and waits until it has a copy of the state. */
async function back(installation: Installation, member: TestMember): Promise<void> {
  await installation.startAgain(member);
  for (;;) {
    const all = await installation.principals(member);
    if (all.every(({ role }) => role === "leader" || role === "follower")) return;
    await Bun.sleep(50);
  }
}
