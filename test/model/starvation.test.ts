/**
 * Nothing starves: under a constant load of what goes first, or of what is smaller, everything starts within a time that follows from the load.
 * The clock is simulated; the principal's parts are real.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { PoolPass } from "../../src/principal/limits/pool-pass.ts";
import type { StoredDefinition } from "../../src/principal/runs/workflow-source.ts";
import { AgentPosts } from "../principal/agent-posts.ts";
import { TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { definitionOf, randomNumbers } from "../workflow/support.ts";
import { LimitedPrincipal } from "./limited-principal.ts";

const MEMORY = existsSync("/dev/shm") ? "/dev/shm" : undefined;
const MINUTE_MS = 60_000;
/** How long each task takes, and between two looks at the world. */
const SERVICE_MS = 5 * MINUTE_MS;
const STEP_MS = 30_000;
/** How much more comes than can be done. */
const LOAD = 1.5;
const HOURS = 5;
/** Two agents with two places each. */
const PLACES = 4;
/** By how much waiting outweighs one step of priority, ms, as the manual says. */
const AGEING_MS = 10 * MINUTE_MS;

interface Scenario {
  /** Texts of workflow files, by id. */
  readonly files: Readonly<Record<string, string>>;
  /** What comes all the time. */
  readonly stream: string;
  /** What must not starve, how many of it, and when it comes, ms after the beginning. */
  readonly victim: string;
  readonly victims: number;
  readonly atMs: number;
  /** Slots of pool `db`. */
  readonly slots?: number;
  readonly ageingMs?: number;
}

/** How long each victim waited for its start, ms; Infinity for one that did not start. */
async function waitsOf(scenario: Scenario): Promise<number[]> {
  await using stores = new TestStores(MEMORY);
  const clock = new ManualClock();
  const flows = new Map(
    Object.entries(scenario.files).map(([id, text]): [string, StoredDefinition] => {
      const definition = { ...definitionOf(text), id };
      const json = JSON.stringify(definition);
      return [id, { definition, json, hash: `${Bun.hash(json)}` }];
    }),
  );
  const principal = new LimitedPrincipal({
    clock,
    store: await stores.open(),
    repeats: false,
    flow: (id) => flows.get(id),
    fault: null,
    ageingMs: scenario.ageingMs,
  });
  await principal.start();
  await principal.resize("db", scenario.slots ?? PLACES);
  const agents = new AgentPosts(
    ["a", "b"].map((id) => ({ id, labels: {}, protocol: 4, capacity: PLACES / 2 })),
    { random: () => 0.5, clock, stores, trace: [], parts: () => principal.parts, isCalm: () => true },
  );
  const random = randomNumbers(1);
  const victims: string[] = [];
  const started = new Map<string, number>();
  const trigger = (id: string) =>
    principal.runs.trigger(id, { params: {}, trigger: "api", scheduled_time_ms: null, trigger_depth: 0 });
  const begun = new Map<string, number>();
  const perStep = (LOAD * PLACES * STEP_MS) / SERVICE_MS;
  let owed = 0;
  for (let time = 0; time < HOURS * 60 * MINUTE_MS; time += STEP_MS) {
    clock.advance(STEP_MS);
    for (owed += perStep * 2 * random(); owed >= 1; owed--) await trigger(scenario.stream);
    if (victims.length === 0 && time >= scenario.atMs)
      for (let n = 0; n < scenario.victims; n++) victims.push(await trigger(scenario.victim));
    for (const post of agents.posts) {
      await agents.appear(post);
      for (const { slice, task } of post.agent.busy) {
        const name = `${slice.assignment.workflow_instance_id} ${task}`;
        if (!begun.has(name)) begun.set(name, clock.now());
        if (clock.now() - (begun.get(name) ?? 0) >= SERVICE_MS) post.agent.finish(slice, task, "COMPLETED");
      }
      await agents.flush(post);
      for (let free = PLACES; free > 0 && agents.fetch(post); free--) {
        await agents.settle();
        await agents.receive(post);
      }
      await agents.flush(post);
      for (const { slice } of post.agent.busy) {
        const id = slice.assignment.workflow_instance_id;
        if (!started.has(id)) started.set(id, clock.now());
      }
    }
    if (victims.length > 0 && victims.every((id) => started.has(id))) break;
  }
  await principal.stop();
  return victims.map((id) => (started.get(id) ?? Number.POSITIVE_INFINITY) - scenario.atMs);
}

const TASK = "tasks: {t: {run: 'true'}}";

/** Low priority against a load of the highest. */
const PRIORITIES: Scenario = {
  files: { high: `priority: 9\n${TASK}`, low: `priority: 0\n${TASK}` },
  stream: "high",
  victim: "low",
  victims: 20,
  atMs: 0,
};

/** All slots of a pool at once against a load of single ones. */
const WEIGHTS: Scenario = {
  files: {
    small: "tasks: {t: {run: 'true', pool: db}}",
    large: "tasks: {t: {run: 'true', pool: {db: 4}}}",
  },
  stream: "small",
  victim: "large",
  victims: 1,
  atMs: 30 * MINUTE_MS,
};

/** A run that wants its group for itself against a load of runs that share it. */
const GROUP: Scenario = {
  files: {
    many: `concurrency: {group: g, max_runs: 4}\n${TASK}`,
    alone: `concurrency: {group: g, max_runs: 1}\n${TASK}`,
  },
  stream: "many",
  victim: "alone",
  victims: 1,
  atMs: 30 * MINUTE_MS,
};

describe("nothing starves", () => {
  test("priority 0 under a constant load of priority 9", async () => {
    // Whatever came up to 90 minutes later goes first, and takes that much longer than it took to come.
    const bound = LOAD * 9 * AGEING_MS + 20 * SERVICE_MS;
    expect(Math.max(...(await waitsOf(PRIORITIES)))).toBeLessThanOrEqual(bound);
  });

  test("without ageing it does", async () => {
    expect(await waitsOf({ ...PRIORITIES, ageingMs: 0 })).toContain(Number.POSITIVE_INFINITY);
  });

  for (const [what, scenario] of Object.entries({
    "a task that takes a whole pool, under a load of tasks that take one slot": WEIGHTS,
    "a run that wants its group for itself, under a load of runs that share it": GROUP,
  })) {
    test(what, async () => {
      // What came before it, and then what runs.
      const bound = (LOAD - 1) * scenario.atMs * 2 + 3 * SERVICE_MS;
      expect(Math.max(...(await waitsOf(scenario)))).toBeLessThanOrEqual(bound);
    });
  }

  test("if slots were not kept for whoever waits longest, the large one would starve", async () => {
    const { reserve } = PoolPass.prototype;
    PoolPass.prototype.reserve = () => {};
    try {
      expect(await waitsOf(WEIGHTS)).toEqual([Number.POSITIVE_INFINITY]);
    } finally {
      PoolPass.prototype.reserve = reserve;
    }
  });
});
