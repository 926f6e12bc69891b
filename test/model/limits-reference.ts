/**
 * What concurrency groups, pools, pauses and priorities promise, as sets: written from LANGUAGE.md alone. It compares the records of the state before and after each unit of work with what the workflow files say.
 */
import { PARKED } from "../../src/storage/operational/pauses.ts";
import type { OperationalTx, RunRecord } from "../../src/storage/operational/store.ts";

/** What a workflow file says of the limits of its runs. */
export interface Limits {
  /** The group of a run with these parameters; null for none. */
  readonly group: (params: Readonly<Record<string, string>>) => string | null;
  readonly maxRuns: number;
  readonly onConflict: OnConflict;
  readonly priority: number;
  /** Slots of a task by pool. */
  readonly pools: ReadonlyMap<string, Readonly<Record<string, number>>>;
}

export type OnConflict = "queue" | "queue_latest" | "skip" | "cancel_running";

/** A run as its row has it. */
interface Run {
  readonly seq: number;
  readonly id: string;
  readonly workflow: string;
  readonly status: string;
  readonly params: Readonly<Record<string, string>>;
  readonly queued: boolean;
  readonly revision: number;
  /** Whether it was in the queue when its workflow was paused. */
  readonly isParked: boolean;
  /** Whether an agent has, or had, something of it. */
  readonly isGiven: boolean;
  readonly hold: string | null;
  readonly group: string | null;
  readonly max: number | null;
  readonly onConflict: OnConflict | null;
  readonly admitted: boolean;
  readonly priority: number;
  readonly sinceMs: number;
  readonly isStopping: boolean;
  readonly isBeforeStart: boolean;
  readonly isOver: boolean;
  readonly error: string | null;
  readonly parent: string | null;
  readonly retryOf: string | null;
  readonly backfill: string | null;
  readonly scheduledMs: number | null;
  /** Whether its tasks are over, and hooks run. */
  readonly isInHooks: boolean;
}

/** A slice that is not over. */
interface Slice {
  readonly run: string;
  readonly slice: number;
  readonly state: string;
  readonly tasks: readonly string[];
  readonly pools: Readonly<Record<string, number>>;
  readonly sinceMs: number;
  readonly isLeased: boolean;
  readonly isParked: boolean;
}

/** The rows. */
export interface Snapshot {
  readonly runs: ReadonlyMap<string, Run>;
  readonly slices: readonly Slice[];
  /** Workflows that are paused. */
  readonly paused: ReadonlySet<string>;
}

/**
 * Reads the records.
 * @param last what was read before: what was over then is not read again
 */
export async function snapshot(tx: OperationalTx, last: Snapshot = NOTHING): Promise<Snapshot> {
  const leased = new Set((await tx.openAttempts()).map((attempt) => keyOf(attempt)));
  const runs = new Map<string, Run>();
  const slices: Slice[] = [];
  const listed = await tx.listRuns({ limit: 10_000 });
  for (const { workflow_instance_id: id } of listed.reverse()) {
    const seq = runs.size;
    const known = last.runs.get(id);
    if (known?.isOver === true) {
      runs.set(id, known);
      continue;
    }
    const run = await tx.getRun(id);
    if (run === null) continue;
    const open = await tx.listSlices(id, "open");
    runs.set(id, {
      ...runOf(run),
      seq,
      isInHooks: open.some(({ is_hook }) => is_hook),
    });
    for (const slice of open)
      slices.push({
        run: id,
        slice: slice.slice,
        state: slice.state,
        tasks: slice.tasks,
        pools: JSON.parse(slice.pools ?? "{}"),
        sinceMs: slice.rank_ms ?? slice.queued_at_ms,
        isLeased: leased.has(keyOf(slice)),
        isParked: slice.needs.startsWith(PARKED),
      });
  }
  const paused = new Set((await tx.listPauses()).map(({ workflow_id }) => workflow_id));
  return { runs, slices, paused };
}

/** Before anything has been written. */
export const NOTHING: Snapshot = { runs: new Map(), slices: [], paused: new Set() };

function keyOf(of: { workflow_instance_id: string; slice: number; attempt: number }): string {
  return `${of.workflow_instance_id} ${of.slice} ${of.attempt}`;
}

function runOf(run: RunRecord): Omit<Run, "seq" | "isInHooks"> {
  return {
    id: run.workflow_instance_id,
    workflow: run.workflow_id,
    status: run.status,
    params: run.params,
    queued: run.queued,
    revision: run.revision,
    isParked: run.queued && run.needs.startsWith(PARKED),
    isGiven: run.agent_id !== null || run.started_at_ms !== null,
    hold: run.hold,
    group: run.group_key,
    max: run.group_max,
    onConflict: run.on_conflict,
    admitted: run.admitted,
    priority: run.priority,
    sinceMs: run.rank_ms ?? run.created_at_ms,
    isStopping: run.cancel_requested_at_ms !== null || run.timed_out_at_ms !== null,
    isBeforeStart: run.start_at_ms !== null,
    isOver: run.finished_at_ms !== null,
    error: run.error,
    parent: run.parent_run,
    retryOf: run.retry_of,
    backfill: run.backfill_id,
    scheduledMs: run.scheduled_time_ms,
  };
}

/** The rank in a queue: ten minutes of waiting weigh as much as one step of priority. */
function rank({ sinceMs }: { readonly sinceMs: number }, priority: number): number {
  return sinceMs - priority * 600_000;
}

/** A broken promise. */
export class BrokenPromise extends Error {
  override readonly name = "BrokenPromise";
}

function check(holds: boolean, what: () => string): void {
  if (!holds) throw new BrokenPromise(what());
}

/** Sets of runs, by group. */
function byGroup(of: Snapshot, belongs: (run: Run) => boolean): Map<string, Run[]> {
  return Map.groupBy(
    [...of.runs.values()].filter((run) => run.group !== null && belongs(run)),
    ({ group }) => group ?? "",
  );
}

const isIn = (run: Run) => run.admitted && !run.isOver;
const isHeldByGroup = (run: Run) => run.hold === "group" && !run.isOver;
const inOrder = (runs: readonly Run[]) =>
  [...runs].sort((a, b) => rank(a, a.priority) - rank(b, b.priority) || a.seq - b.seq);

/** What a unit of work may not have done. */
export class Reference {
  readonly #limits: ReadonlyMap<string, Limits>;
  readonly #size: (pool: string) => number | null;

  /** @param size slots of a pool; null if there is no such pool */
  constructor(limits: ReadonlyMap<string, Limits>, size: (pool: string) => number | null) {
    this.#limits = limits;
    this.#size = size;
  }

  /** What must hold whenever nothing is being written. @param poolsShrank pools that have become smaller since `before` */
  step(before: Snapshot, after: Snapshot): void {
    for (const run of after.runs.values()) this.#run(before.runs.get(run.id), run, after);
    this.#groups(before, after);
    this.#pools(before, after);
    for (const run of after.runs.values()) this.#pause(before, run, after);
  }

  /** Nobody gets a run of a paused workflow that has not begun; nothing is kept by a pause that is over. */
  #pause(before: Snapshot, run: Run, after: Snapshot): void {
    const slices = after.slices.filter((slice) => slice.run === run.id);
    const isParked = run.isParked || slices.some((slice) => slice.isParked);
    if (!after.paused.has(run.workflow)) {
      check(run.isOver || run.hold !== "pause", () => `${run.id} is held by a pause that is over`);
      check(!isParked, () => `${run.id} is parked by a pause that is over`);
      return;
    }
    if (!before.paused.has(run.workflow) || run.isOver) return;
    const old = before.runs.get(run.id);
    if (old === undefined) {
      check(run.isBeforeStart || run.hold === "pause", () => `${run.id} of a paused workflow is not held`);
      return;
    }
    const hadBegun = old.isGiven || old.status !== "PENDING";
    // Hooks of one that is cancelled run.
    check(
      hadBegun || run.isStopping || !run.isGiven,
      () => `${run.id} of a paused workflow is given to an agent`,
    );
  }

  #run(old: Run | undefined, run: Run, after: Snapshot): void {
    const limits = this.#limits.get(run.workflow);
    if (limits === undefined) return;
    const group = limits.group(run.params);
    const isHeadless = run.isOver && run.group === null;
    check(isHeadless || run.group === group, () => `${run.id} is in group ${run.group}, not in ${group}`);
    check(old?.admitted !== true || run.admitted || run.isOver, () => `${run.id} has lost its slot`);
    const slices = after.slices.filter((slice) => slice.run === run.id);
    if (run.hold !== null && !run.isOver) {
      check(run.status === "PENDING", () => `${run.id} is held, and ${run.status}`);
      check(
        !run.queued && slices.length === 0 && !run.admitted,
        () => `${run.id} is held, and waits for agents`,
      );
    }
    if (run.group !== null && !run.isOver && !run.isBeforeStart) {
      check(
        run.admitted || run.hold !== null,
        () => `${run.id} (${run.status}) is neither held nor admitted`,
      );
      if (!run.admitted) check(run.status === "PENDING", () => `${run.id} is ${run.status} without a slot`);
    }
    if (run.status === "SKIPPED")
      check((run.error ?? "") !== "", () => `${run.id} is SKIPPED, and says not why`);
  }

  #groups(before: Snapshot, after: Snapshot): void {
    const held = byGroup(after, isHeldByGroup);
    const running = byGroup(after, isIn);
    for (const [group, runs] of running) {
      const fresh = runs.filter(({ id }) => before.runs.get(id)?.admitted !== true);
      const stayed = runs.length - fresh.length;
      // The order of those of one commit is not known: the most favourable one.
      const maxima = fresh.map(({ max }) => max ?? 0).sort((a, b) => a - b);
      for (const [n, max] of maxima.entries())
        check(
          stayed + n + 1 <= max,
          () => `group ${group} admitted its run number ${stayed + n + 1} of at most ${max}`,
        );
    }
    for (const [group, runs] of byGroup(before, isHeldByGroup)) {
      const waiting = inOrder(runs).map(({ id }) => after.runs.get(id));
      const passed = waiting.find((run) => run !== undefined && isHeldByGroup(run));
      const jumped = waiting.slice(waiting.indexOf(passed)).find((run) => run !== undefined && isIn(run));
      const isOvertaken =
        passed !== undefined && jumped !== undefined && inOrder([passed, jumped])[0] === passed;
      check(!isOvertaken, () => `${jumped?.id} gets a place of group ${group} before ${passed?.id}`);
    }
    for (const [group, runs] of held) {
      const [first] = inOrder(runs);
      const count = running.get(group)?.length ?? 0;
      check(
        first === undefined || count >= (first.max ?? 0),
        () => `${first?.id} is held, and group ${group} has ${count} of ${first?.max}`,
      );
    }
  }

  #pools(before: Snapshot, after: Snapshot): void {
    const leased = new Set(
      before.slices.filter(({ isLeased }) => isLeased).map((slice) => `${slice.run} ${slice.slice}`),
    );
    const used = new Map<string, number>();
    const grown = new Set<string>();
    for (const slice of after.slices) {
      const wanted = this.#wants(slice, after);
      check(
        same(wanted, slice.pools),
        () =>
          `slice ${slice.slice} of ${slice.run} takes ${JSON.stringify(slice.pools)}, not ${JSON.stringify(wanted)}`,
      );
      if (Object.keys(wanted).length === 0) continue;
      check(
        (slice.state === "LEASED") === slice.isLeased,
        () =>
          `slice ${slice.slice} of ${slice.run} is ${slice.state}, and its lease is ${slice.isLeased ? "open" : "over"}`,
      );
      check(
        slice.tasks.length === 1,
        () => `slice ${slice.slice} of ${slice.run} takes pools for ${slice.tasks}`,
      );
      if (!slice.isLeased) continue;
      for (const [pool, slots] of Object.entries(wanted)) {
        used.set(pool, (used.get(pool) ?? 0) + slots);
        if (!leased.has(`${slice.run} ${slice.slice}`)) grown.add(pool);
      }
    }
    for (const pool of grown) {
      const size = this.#size(pool) ?? 0;
      check(
        (used.get(pool) ?? 0) <= size,
        () => `pool ${pool} has ${size} slots, and ${used.get(pool)} are taken`,
      );
    }
  }

  /** The slots that the file gives the tasks of a slice. */
  #wants(slice: Slice, { runs }: Snapshot): Record<string, number> {
    const pools = this.#limits.get(runs.get(slice.run)?.workflow ?? "")?.pools;
    const sum: Record<string, number> = {};
    for (const node of slice.tasks) {
      for (const [pool, slots] of Object.entries(pools?.get(taskOf(node)) ?? {}))
        sum[pool] = (sum[pool] ?? 0) + slots;
    }
    return sum;
  }

  /**
   * What is said of a run that is held.
   * @param told what clients are told
   * @param noted what the history has
   */
  reason({ runs }: Snapshot, id: string, told: string, noted: string | null): void {
    const run = runs.get(id);
    if (run === undefined) return;
    check(noted !== null && noted !== "", () => `${id} is held (${run.hold}), and the history says not why`);
    if (run.hold === "pause") {
      check(told.includes(run.workflow), () => `${id} is held by a pause, and says: ${told}`);
      return;
    }
    const others = [...runs.values()].filter((other) => other.group === run.group);
    const holders = others.filter(isIn);
    const [first] = inOrder(others.filter(isHeldByGroup));
    // Somebody who needs more room is first.
    const isBehind = holders.length < (run.max ?? 0) && first?.id !== id && /waits? before it/.test(told);
    const isNamed = isBehind || holders.some((holder) => told.includes(holder.id));
    check(isNamed, () => `${id} is held by a group, and names none of its runs: ${told}`);
  }

  /**
   * What its policy does with a run that has just been created, if it was the only thing that happened.
   * @param isAsked whether it was asked for by itself: a retry, a child run, one of a backfill
   */
  arrived(before: Snapshot, after: Snapshot, id: string, isAsked: boolean): void {
    const run = after.runs.get(id);
    const limits = this.#limits.get(run?.workflow ?? "");
    if (
      run === undefined ||
      limits === undefined ||
      run.group === null ||
      run.hold === "pause" ||
      run.isBeforeStart
    )
      return;
    const inGroup = (belongs: (run: Run) => boolean) => byGroup(before, belongs).get(run.group ?? "") ?? [];
    const running = inGroup(isIn);
    const waiting = inGroup(isHeldByGroup);
    const policy = isAsked ? "queue" : limits.onConflict;
    const now = (old: Run) => after.runs.get(old.id) ?? old;
    if (running.length < limits.maxRuns && waiting.length === 0) {
      check(run.admitted, () => `${id} is ${run.status}, ${run.hold}: its group had room`);
      for (const other of running)
        check(
          now(other).isStopping === other.isStopping,
          () => `${other.id} is stopped for ${id}, for which there was room`,
        );
      return;
    }
    if (policy === "skip") {
      check(run.status === "SKIPPED", () => `${id} is ${run.status}: its group was full (skip)`);
      return;
    }
    const replaces = policy === "queue_latest" || policy === "cancel_running";
    for (const old of waiting) {
      const isReplaced = now(old).status === "SKIPPED";
      const mustBe = replaces && old.onConflict === policy;
      check(isReplaced === mustBe, () => `${old.id} is ${now(old).status} when ${id} comes (${policy})`);
    }
    const others = waiting.filter((old) => now(old).status !== "SKIPPED");
    if (running.length < limits.maxRuns && inOrder([...others, run])[0] === run) {
      // Those that wait do so because their max_runs is smaller; it goes before them.
      check(run.admitted, () => `${id} is ${run.status}, ${run.hold}: it is first, and its group had room`);
      return;
    }
    // Whoever is cancelled before it has begun is over at once.
    const mayBegin = policy === "cancel_running" && run.admitted;
    check(mayBegin || run.status === "PENDING", () => `${id} is ${run.status} at once (${policy})`);
    const stopped = running.filter((old) => now(old).isStopping && !old.isStopping);
    if (policy !== "cancel_running") {
      check(stopped.length === 0, () => `${stopped[0]?.id} is stopped for ${id} (${policy})`);
      return;
    }
    // Those that are in their hooks are about to be over.
    const staying = running.filter((old) => !now(old).isStopping && !now(old).isOver && !old.isInHooks);
    check(staying.length < limits.maxRuns, () => `nothing makes room for ${id} (cancel_running)`);
  }

  /** Something that waits although an agent that asks for work could have it. @param fits whether such an agent can execute it */
  stuck(
    now: Snapshot,
    fits: (run: string, tasks: readonly string[] | null) => boolean,
    someAgentCan: (run: string, tasks: readonly string[] | null) => boolean,
  ): void {
    const used = new Map<string, number>();
    for (const slice of now.slices) {
      if (slice.isLeased)
        for (const [pool, slots] of Object.entries(slice.pools))
          used.set(pool, (used.get(pool) ?? 0) + slots);
    }
    const queue = now.slices
      .filter(
        ({ state, run, isParked }) => state === "QUEUED" && !isParked && now.runs.get(run)?.hold === null,
      )
      .filter((slice) => someAgentCan(slice.run, slice.tasks))
      .filter(({ pools }) =>
        Object.entries(pools).every(([pool, slots]) => slots <= (this.#size(pool) ?? -1)),
      )
      .map((slice) => ({ slice, rank: rank(slice, now.runs.get(slice.run)?.priority ?? 5) }));
    for (const { slice, rank: mine } of queue) {
      if (!fits(slice.run, slice.tasks)) continue;
      const pools = Object.entries(slice.pools);
      if (!pools.every(([pool, slots]) => (used.get(pool) ?? 0) + slots <= (this.#size(pool) ?? 0))) continue;
      // Whoever has waited longer may have a pool kept free.
      const isKept = queue.some(
        (other) =>
          other.slice !== slice && other.rank <= mine && pools.some(([pool]) => pool in other.slice.pools),
      );
      check(
        isKept,
        () => `slice ${slice.slice} of ${slice.run} (${slice.tasks}) waits, and an agent could take it`,
      );
    }
    for (const run of now.runs.values()) {
      if (run.queued && !run.isParked && fits(run.id, null))
        check(false, () => `${run.id} waits, and an agent could take it`);
    }
  }

  /** What must hold when all is over. */
  calm(now: Snapshot): void {
    for (const run of now.runs.values()) {
      check(run.isOver, () => `${run.id} is ${run.status}, ${run.hold ?? "not held"}`);
      if (run.status === "SKIPPED")
        check((run.error ?? "") !== "", () => `${run.id} is SKIPPED without a reason`);
    }
    check(
      now.slices.length === 0,
      () => `slices are left: ${now.slices.map((slice) => `${slice.run} ${slice.slice}`)}`,
    );
    const firings = [...now.runs.values()].filter(
      ({ backfill, retryOf, status }) => backfill !== null && retryOf === null && status !== "SKIPPED",
    );
    const twice = Map.groupBy(firings, (run) => `${run.workflow} ${run.scheduledMs} ${run.backfill}`)
      .values()
      .find((runs) => runs.length > 1);
    check(
      twice === undefined,
      () => `firing ${twice?.[0]?.scheduledMs} of ${twice?.[0]?.workflow} has ${twice?.length} runs`,
    );
  }
}

/** The task of a node: `load` of `load[x]`. No task of the world has a bracket in its name. */
function taskOf(node: string): string {
  return node.split("[")[0] ?? node;
}

function same(a: Readonly<Record<string, number>>, b: Readonly<Record<string, number>>): boolean {
  const text = (of: Readonly<Record<string, number>>) => JSON.stringify(Object.entries(of).sort());
  return text(a) === text(b);
}
