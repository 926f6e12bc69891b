/** The part of the chaos about limits: pools whose sizes change, concurrency groups, a backfill, and a workflow that is paused and resumed. */
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { bootSeconds } from "./endings.ts";
import type { Random } from "./random.ts";
import type { Place } from "./workload.ts";

/** Workflows with a concurrency group: its name, and how many runs it may have. */
const GROUPS: Readonly<
  Record<string, { readonly group: string; readonly max: number; readonly head: string }>
> = {
  "line.one": { group: "line", max: 1, head: "concurrency: {group: line}" },
  "line.two": { group: "line", max: 1, head: "concurrency: {group: line, max_runs: 1, on_conflict: queue}" },
  newest: { group: "newest", max: 2, head: "concurrency: {max_runs: 2, on_conflict: queue_latest}" },
  replaced: { group: "replaced", max: 1, head: "concurrency: {on_conflict: cancel_running}" },
  skipping: { group: "skipping", max: 1, head: "concurrency: {on_conflict: skip}" },
  filled: {
    group: "filled",
    max: 3,
    // It has fired in the past only.
    head: 'cron: [{cron: "0 * * * *", timezone: UTC, end_time: 2026-02-01T00:00:00Z}]\nconcurrency: {max_runs: 3}',
  },
};

/** Tasks that take slots of pools, by workflow and id. */
const POOLED: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, number>>>>>> = {
  "slots.narrow": { one: { small: 1 }, two: { small: 1 }, three: { small: 1, large: 1 } },
  "slots.wide": { both: { small: 2, large: 3 }, more: { large: 2 } },
};

/** The sizes that the pools have now and then. A task that takes more than there is waits until there is more again. */
const SIZES: Readonly<Record<string, readonly number[]>> = { small: [4, 2, 1, 3], large: [6, 3, 5] };

/** The workflow that is paused now and then, and the one that is backfilled. */
const RESTING = "resting";
const FILLED = "filled";
const FIRST_FIRING = Date.parse("2026-01-01T00:00:00Z");
const HOUR = 3_600_000;

/** A smaller pool, or a lease that is over, reaches what was claimed before within this time, s: an agent may stand still in between. */
const LAG_SECONDS = 15;
/** The boot clock of the witness has hundredths. */
const BLUR_SECONDS = 0.05;

const SOON = { timeoutMs: 3000 };

/** How much more often these are triggered than others, so that they meet. */
const OFTEN = 3;

/** Workflows that are triggered, often, and those of them whose runs are split. */
export interface LimitWorkflows {
  readonly triggered: readonly string[];
  readonly split: readonly string[];
}

/** Writes the workflows. @param script the task */
export function prepareLimits(place: Place, script: string): LimitWorkflows {
  const task = (id: string, pause: string, more = "") =>
    `  ${id}: {${more}config: !Subprocess {cmd: sh, args: ${JSON.stringify([script, "8", pause, "0"])}}}\n`;
  const write = (id: string, text: string) => place.writeWorkflow(`${id.replace(".", "/")}.yml`, text);
  for (const [id, { head }] of Object.entries(GROUPS)) {
    const pause = id === FILLED ? "0.05" : id.startsWith("line") ? "0.8" : "1.5";
    write(id, `${head}\ntasks:\n${task("only", pause)}`);
  }
  for (const [id, tasks] of Object.entries(POOLED)) {
    const all = Object.entries(tasks).map(([name, pool]) =>
      task(name, "0.6", `pool: ${JSON.stringify(pool)}, `),
    );
    write(id, `tasks:\n${all.join("")}`);
  }
  write(RESTING, `tasks:\n${task("only", "0.2")}`);
  const grouped = Object.keys(GROUPS).filter((id) => id !== FILLED);
  const triggered = [...grouped, ...Object.keys(POOLED), RESTING];
  return { triggered: Array(OFTEN).fill(triggered).flat(), split: Object.keys(POOLED) };
}

/** A size that a pool had, or may have had, from a time on; seconds of the boot clock. */
interface Resized {
  readonly pool: string;
  readonly size: number;
  readonly at: number;
  /** Whether it was acknowledged: otherwise the size before may go on. */
  readonly isCertain: boolean;
}

/** What was done to the limits, for the account. */
export interface LimitEvidence {
  readonly resized: readonly Resized[];
  readonly backfill: string;
  readonly firings: number;
  /** How many rows there are: of a table of the state, with a condition. The principal has ended. */
  readonly count: (rows: string) => number | Promise<number>;
}

/** Changes sizes and priorities, pauses and resumes, while the storm goes on. */
export class Meddler {
  readonly #resized: Resized[] = [];
  #backfill = "";
  #ended = false;
  #work: Promise<void> = Promise.resolve();
  readonly #counts: Record<string, number> = {};

  constructor(
    private readonly client: PrincipalClient,
    private readonly random: Random,
    private readonly firings: number,
    private readonly runs: () => readonly string[],
  ) {}

  /** Makes the pools, and the backfill; then goes on by itself. */
  async start(): Promise<void> {
    for (const [pool, [size = 1]] of Object.entries(SIZES)) await insist(() => this.#resize(pool, size));
    const to = new Date(FIRST_FIRING + (this.firings - 1) * HOUR).toISOString().replace(".000", "");
    const from = new Date(FIRST_FIRING).toISOString().replace(".000", "");
    const request = { workflow_id: FILLED, from, to, max_active: 4, dedupe_key: "chaos" };
    const { backfill } = await insist(() => this.client.call("CREATEBACKFILL", request, SOON));
    this.#backfill = backfill.backfill_id;
    this.#work = this.#meddle();
  }

  /** Everything may go on: the pools have room, and nothing is paused. */
  async stop(): Promise<void> {
    this.#ended = true;
    await this.#work;
    await insist(() => this.client.resumeWorkflow({ workflow_id: RESTING }, SOON));
    for (const [pool, [size = 1]] of Object.entries(SIZES)) await insist(() => this.#resize(pool, size));
  }

  /** How far the backfill has got; undefined while the principal does not answer. */
  async filled(): Promise<{ state: string; done: number } | undefined> {
    const found = await this.client
      .call("GETBACKFILL", { backfill_id: this.#backfill, limit: 0 }, SOON)
      .catch(() => undefined);
    if (found === undefined) return undefined;
    const { state, by_status, present } = found.backfill;
    return { state, done: present + Object.values(by_status).reduce((sum, count) => sum + count, 0) };
  }

  get counts(): Readonly<Record<string, number>> {
    return this.#counts;
  }

  /** @param count how many rows of a table of the state there are, with a condition, once the principal has ended */
  evidence(count: LimitEvidence["count"]): LimitEvidence {
    const { firings } = this;
    return { resized: this.#resized, backfill: this.#backfill, firings, count };
  }

  async #meddle(): Promise<void> {
    while (!this.#ended) {
      const pool = this.random.pick(Object.keys(SIZES));
      const run = this.runs().at(-1 - Math.floor(this.random.between(0, 20)));
      const acts: readonly [string, () => Promise<unknown>][] = [
        ["pools resized", () => this.#resize(pool, this.random.pick(SIZES[pool] ?? [1]))],
        ["workflows paused", () => this.client.pauseWorkflow({ workflow_id: RESTING }, SOON)],
        ["workflows resumed", () => this.client.resumeWorkflow({ workflow_id: RESTING }, SOON)],
        [
          "priorities changed",
          async () =>
            run !== undefined && this.client.setPriority(run, Math.floor(this.random.between(0, 9.99)), SOON),
        ],
      ];
      const [what, act] = this.random.pick(acts);
      const done = await act().then(
        () => true,
        () => false,
      );
      if (done) this.#counts[what] = (this.#counts[what] ?? 0) + 1;
      // A pause, not a wait: somebody meddles now and then.
      await Bun.sleep(this.random.between(200, 1500));
    }
  }

  async #resize(pool: string, size: number): Promise<void> {
    // It may count although the reply never comes.
    this.#resized.push({ pool, size, at: bootSeconds(), isCertain: false });
    await this.client.setPool(pool, size, SOON);
    this.#resized.push({ pool, size, at: bootSeconds(), isCertain: true });
  }
}

/** A run as the history has it. */
export interface LimitedRun {
  readonly run: string;
  readonly workflow: string;
  readonly backfill: string | null;
  readonly scheduled: number | null;
  readonly status: string;
  readonly error: string | null;
  /** When it ended, ms since the epoch. */
  readonly ended: number;
}

/** A record of the witness file, and a status of a task run in the history. */
interface Record_ {
  readonly what: string;
  readonly at: number;
  readonly run: string;
  readonly task: string;
  readonly instance: string;
}
interface TaskEnd {
  readonly instance: string;
  readonly status: string;
  readonly timestamp: number;
}

interface Span {
  readonly from: number;
  readonly until: number;
  readonly weight: number;
  readonly what: string;
}

/** No group and no pool had more than it may have, every firing of the backfill has one run, and whatever was dropped says why. */
export async function checkLimits(
  evidence: LimitEvidence,
  witnessed: readonly Record_[],
  runs: readonly LimitedRun[],
  tasks: readonly TaskEnd[],
  violations: string[],
): Promise<Record<string, number | string>> {
  const offset = Date.now() / 1000 - bootSeconds();
  const bootOf = (ms: number) => ms / 1000 - offset - BLUR_SECONDS;
  const starts = witnessed.filter(({ what }) => what === "start");
  const byRun = new Map(runs.map((run) => [run.run, run]));
  return {
    ...checkGroups(starts, byRun, bootOf, violations),
    ...checkPools(evidence, starts, byRun, tasks, bootOf, violations),
    ...checkBackfill(evidence, runs, violations),
    ...checkReasons(runs, violations),
    ...(await checkState(evidence, violations)),
  };
}

type Starts = readonly Record_[];

/**
 * A run counts from its first start until it is over for the principal: what a process of a lost agent does after that, and one that such
 * an agent starts after that, is no run any more.
 */
function checkGroups(
  starts: Starts,
  runs: ReadonlyMap<string, LimitedRun>,
  bootOf: (ms: number) => number,
  violations: string[],
): Record<string, string> {
  const spans = new Map<string, { max: number; spans: Span[] }>();
  for (const { group, max } of Object.values(GROUPS)) spans.set(group, { max, spans: [] });
  for (const [run, [first]] of Map.groupBy(starts, (start) => start.run)) {
    const known = runs.get(run);
    const of = known === undefined ? undefined : GROUPS[known.workflow];
    if (first === undefined || known === undefined || of === undefined) continue;
    const until = bootOf(known.ended);
    if (first.at < until) spans.get(of.group)?.spans.push({ from: first.at, until, weight: 1, what: run });
  }
  return Object.fromEntries(
    [...spans].map(([group, { max, spans: all }]) => {
      const most = mostAtOnce(all, () => max, `group ${group}`, violations);
      return [`most runs at once in group ${group}`, `${most} of ${max}`];
    }),
  );
}

/** A task has its slots from its start until it is over for the principal, if it was reported. */
function checkPools(
  { resized }: LimitEvidence,
  starts: Starts,
  runs: ReadonlyMap<string, LimitedRun>,
  tasks: readonly TaskEnd[],
  bootOf: (ms: number) => number,
  violations: string[],
): Record<string, string> {
  const ends = new Map(
    tasks
      .filter(({ status }) => TERMINAL.has(status))
      .map(({ instance, timestamp }) => [instance, timestamp]),
  );
  const spans = new Map<string, Span[]>();
  for (const [instance, [first]] of Map.groupBy(starts, (start) => start.instance)) {
    const pools = POOLED[runs.get(first?.run ?? "")?.workflow ?? ""]?.[first?.task ?? ""];
    const ended = ends.get(instance);
    if (first === undefined || pools === undefined || ended === undefined || first.at >= bootOf(ended))
      continue;
    for (const [pool, weight] of Object.entries(pools)) {
      const span = {
        from: first.at,
        until: bootOf(ended),
        weight,
        what: `${first.task} of run ${first.run}`,
      };
      spans.set(pool, [...(spans.get(pool) ?? []), span]);
    }
  }
  return Object.fromEntries(
    Object.entries(SIZES).map(([pool, sizes]) => {
      const own = resized.filter((each) => each.pool === pool);
      // What was acknowledged last before, and whatever may have come after it.
      const sizeAt = (at: number) => {
        const known = own.findLastIndex((each) => each.isCertain && each.at < at - LAG_SECONDS);
        return Math.max(
          0,
          ...own
            .slice(Math.max(0, known))
            .filter((each) => each.at <= at)
            .map(({ size }) => size),
        );
      };
      const most = mostAtOnce(spans.get(pool) ?? [], sizeAt, `pool ${pool}`, violations);
      return [`most slots at once of pool ${pool}`, `${most} of ${Math.max(...sizes)}`];
    }),
  );
}

/** The largest sum of weights at once; a violation if it is more than there may be at the start of one of them. */
function mostAtOnce(
  spans: readonly Span[],
  mostAt: (at: number) => number,
  name: string,
  violations: string[],
): number {
  let most = 0;
  const ordered = spans.toSorted((a, b) => a.from - b.from);
  for (const [index, { from, what }] of ordered.entries()) {
    const present = ordered.slice(0, index + 1).filter(({ until }, other) => other === index || until > from);
    const sum = present.reduce((total, { weight }) => total + weight, 0);
    most = Math.max(most, sum);
    if (sum > mostAt(from))
      violations.push(
        `${name} has ${sum} of ${mostAt(from)} when ${what} starts at ${from}: ${present.map((one) => one.what).join(", ")}`,
      );
  }
  return most;
}

/** Each firing of the backfill has one run. */
function checkBackfill(
  { backfill, firings }: LimitEvidence,
  runs: readonly LimitedRun[],
  violations: string[],
): Record<string, number> {
  const own = runs.filter((run) => run.backfill === backfill);
  const times = Map.groupBy(own, ({ scheduled }) => scheduled);
  const twice = [...times].filter(([, of]) => of.length > 1);
  for (const [time, of] of twice)
    violations.push(`the firing of ${new Date(time ?? 0).toISOString()} was backfilled ${of.length} times`);
  if (times.size !== firings)
    violations.push(`the backfill has ${firings} firings, and made runs of ${times.size} of them`);
  return { "firings backfilled": firings, "their runs": own.length, "backfilled twice": twice.length };
}

/** What was dropped says why. */
function checkReasons(runs: readonly LimitedRun[], violations: string[]): Record<string, number> {
  const skipped = runs.filter(({ status }) => status === "SKIPPED");
  const silent = skipped.filter(({ error }) => error === null || error === "");
  for (const { run } of silent) violations.push(`run ${run} was SKIPPED without a reason`);
  return { "runs dropped by policies": skipped.length, "SKIPPED without a reason": silent.length };
}

/** Nothing is held, and nothing has a slot. */
async function checkState({ count }: LimitEvidence, violations: string[]): Promise<Record<string, number>> {
  const held = await count("runs WHERE hold IS NOT NULL");
  const slots = await count("slice_attempts WHERE lease IN ('OFFERED', 'HELD')");
  if (held > 0) violations.push(`${held} runs are held and were never admitted`);
  if (slots > 0) violations.push(`${slots} leases are still open`);
  return { "held and never admitted": held, "slots that nobody gave back": slots };
}

const TERMINAL = new Set(["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SKIPPED"]);

/** Again and again until the principal has answered. */
async function insist<T>(ask: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await ask();
    } catch {
      // The principal is away or ill.
      await Bun.sleep(100);
    }
  }
}
