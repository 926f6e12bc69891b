/**
 * A day with a principal whose store, runs, admission and dispatcher are real, and simulated agents whose tasks take as long as the test
 * says: nothing happens by chance.
 */
import { outlineOf, partsOf } from "../../../src/principal/forecast/expected-parts.ts";
import type { ExpectedWorkflow, ForecastInput } from "../../../src/principal/forecast/simulation-input.ts";
import type { StoredDefinition } from "../../../src/principal/runs/workflow-source.ts";
import { firingsBetween } from "../../../src/workflow/firings.ts";
import { groupOf } from "../../../src/workflow/group.ts";
import { resolveParams } from "../../../src/workflow/params.ts";
import { parseWorkflow } from "../../../src/workflow/parse.ts";
import { schedulesOf } from "../../../src/workflow/schedules.ts";
import { LimitedPrincipal } from "../../model/limited-principal.ts";
import type { TestStores } from "../../storage/operational-support.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { AgentPosts, type Post } from "../agent-posts.ts";
import type { SimulatedAgent } from "../simulated-agent.ts";

/** A workflow and how long each of its tasks takes, ms. */
export interface DayFlow {
  readonly id: string;
  readonly text: string;
  readonly takes: Readonly<Record<string, number>>;
}

/** What there is in the day. */
export interface DayPlan {
  readonly fromMs: number;
  readonly toMs: number;
  readonly flows: readonly DayFlow[];
  /** Places by agent. */
  readonly agents: Readonly<Record<string, number>>;
  readonly pools: Readonly<Record<string, number>>;
}

/** What became of a firing. */
export interface Happened {
  readonly workflow: string;
  readonly at_ms: number;
  readonly starts_ms: number | null;
  readonly status: string;
}

function definitionOf({ id, text }: DayFlow): StoredDefinition {
  const parsed = parseWorkflow(text, { path: `${id}.yml`, id });
  if (!parsed.ok) throw new Error(`${text}\n${JSON.stringify(parsed.diagnostics)}`);
  const json = JSON.stringify(parsed.definition);
  return { definition: parsed.definition, json, hash: `${Bun.hash(json)}` };
}

/** The day as a forecast sees it. */
export function inputOfDay(plan: DayPlan): ForecastInput {
  const workflows = plan.flows.map((flow): ExpectedWorkflow => {
    const { definition } = definitionOf(flow);
    const outline = outlineOf(definition, definition.priority ?? 5);
    // In the order of the file, where those that others need come first.
    const ends = new Map<string, number>();
    for (const { id, depends } of definition.tasks)
      ends.set(id, Math.max(0, ...depends.map((other) => ends.get(other) ?? 0)) + (flow.takes[id] ?? 0));
    const total = Math.max(...ends.values());
    return {
      id: flow.id,
      entries: schedulesOf(definition).map((entry) => ({ entry, zone: "UTC", offset_ms: 0 })),
      expected: { p50_ms: total, p90_ms: total, runs: 20 },
      priority: definition.priority ?? 5,
      parts: () => partsOf(outline, total, (task) => flow.takes[task]),
      groupOf: (_, atMs) =>
        groupOf(definition, {
          workflow_instance_id: "",
          workflow_id: flow.id,
          attempt: 1,
          trigger: "cron",
          scheduled_time_ms: atMs,
          created_at_ms: atMs,
          params: resolveParams(definition, {}),
        }),
    };
  });
  return {
    now_ms: plan.fromMs,
    from_ms: plan.fromMs,
    to_ms: plan.toMs,
    workflows,
    calendars: new Map(),
    agents: Object.entries(plan.agents).map(([agent_id, max_leases]) => ({
      agent_id,
      status: "UP",
      labels: {},
      version: "1",
      protocol: 4,
      leases: 0,
      max_leases,
    })),
    pools: new Map(Object.entries(plan.pools)),
    runs: [],
    limit: 10_000,
    most: 10_000,
    givesSecrets: true,
  };
}

/** Something that happens at a time. */
interface Due {
  readonly at_ms: number;
  readonly act: () => Promise<unknown> | unknown;
}

/** Lives a day. */
export async function live(plan: DayPlan, stores: TestStores): Promise<Happened[]> {
  const clock = new ManualClock();
  clock.advance(plan.fromMs);
  const flows = new Map(plan.flows.map((flow) => [flow.id, { ...flow, stored: definitionOf(flow) }]));
  const store = await stores.open("data", clock);
  const principal = new LimitedPrincipal({
    clock,
    store,
    repeats: false,
    flow: (id) => flows.get(id)?.stored,
    fault: null,
  });
  await principal.start();
  const agents = new AgentPosts(
    Object.entries(plan.agents).map(([id, capacity]) => ({ id, labels: {}, protocol: 4, capacity })),
    {
      random: () => 0,
      clock,
      stores,
      trace: [],
      parts: () => principal.parts,
      isCalm: () => true,
    },
  );
  for (const post of agents.posts) await agents.appear(post);
  for (const [name, size] of Object.entries(plan.pools))
    await store.transact((tx) => tx.setPool(name, size, null, clock.now()));

  const coming: Due[] = [...flows.values()].flatMap(({ id, stored }) =>
    schedulesOf(stored.definition).flatMap((entry) =>
      firingsBetween(
        entry,
        { zone: "UTC", calendar: null, offsetMs: 0 },
        plan.fromMs,
        plan.toMs - 1,
        100_000,
      ).map((at_ms) => ({
        at_ms,
        act: () =>
          principal.runs.trigger(id, {
            params: {},
            trigger: "cron",
            scheduled_time_ms: at_ms,
            dedupe_key: `cron:${id}:${at_ms}`,
            trigger_depth: 0,
          }),
      })),
    ),
  );
  const known = new WeakMap<object, Set<string>>();
  for (;;) {
    coming.sort((a, b) => a.at_ms - b.at_ms);
    const next = coming.shift();
    if (next === undefined) break;
    clock.advance(next.at_ms - clock.now());
    await next.act();
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (const post of agents.posts) {
        isBusy = (await settle(agents, post)) || isBusy;
        for (const begun of begins(post, known)) {
          const takes = flows.get(begun.workflow)?.takes[begun.task] ?? 0;
          coming.push({ at_ms: clock.now() + takes, act: () => ends(agents, post, begun) });
        }
      }
    }
  }
  const runs = await store.read((tx) => tx.listRuns({ limit: 100_000 }));
  await principal.stop();
  return runs.reverse().map((run) => ({
    workflow: run.workflow_id,
    at_ms: run.scheduled_time_ms ?? 0,
    starts_ms: run.started_at_ms,
    status: run.status,
  }));
}

type Slice = SimulatedAgent["busy"][number]["slice"];
interface Begun {
  readonly slice: Slice;
  readonly task: string;
  readonly workflow: string;
}

/** Messages are carried until there are no more. @returns whether there were any */
async function settle(agents: AgentPosts, post: Post): Promise<boolean> {
  const { agent } = post;
  let has = false;
  for (;;) {
    await agents.obey(post);
    // It tells what has ended before it asks for more.
    const told = agent.outbox.length > 0;
    await agents.flush(post);
    agents.fetch(post);
    await agents.settle();
    if (post.inbox.length === 0 && !told) return has;
    has = true;
    await agents.receive(post);
  }
}

/** The tasks that an agent has begun since the last time. */
function begins({ agent }: Post, known: WeakMap<object, Set<string>>): Begun[] {
  return agent.busy.flatMap(({ slice, task }) => {
    const tasks = known.get(slice) ?? new Set();
    known.set(slice, tasks);
    if (tasks.has(task)) return [];
    tasks.add(task);
    return [{ slice, task, workflow: slice.assignment.workflow_id }];
  });
}

/** A task has taken its time, if it was not stopped before. */
function ends(agents: AgentPosts, post: Post, { slice, task }: Begun): void {
  if (post.agent.busy.some((busy) => busy.slice === slice && busy.task === task))
    agents.finish(post, slice, task);
}
