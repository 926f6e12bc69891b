/**
 * Why tasks wait for slots of pools: a pure function of the pools, of who has slots, and of the queue. The first row that applies:
 *
 *   a pool does not exist, or is smaller than what the task takes     it waits until somebody changes that
 *   a pool has shrunk, and more is in use than it has                 it drains
 *   a pool has too few free slots                                     who has them
 *   free slots are kept for something that goes first                 for which run
 *
 * The history gets a text that says nothing of who has the slots, which changes all the time.
 */
import { didYouMean } from "../../terminal/did-you-mean.ts";
import { type Needs, readNeeds } from "./needs.ts";
import { PoolPass, type Slots } from "./pool-pass.ts";

/** A task that has slots. */
interface Holder {
  readonly pool: string;
  readonly slots: number;
  readonly workflow_instance_id: string;
  readonly tasks: readonly string[];
}

/** What the reasons follow from. */
export interface PoolFacts {
  readonly sizes: ReadonlyMap<string, number>;
  readonly used: ReadonlyMap<string, number>;
  /** Oldest first. */
  readonly holders: readonly Holder[];
  /** What waits with each needs, the first of each, in the order of the queue. */
  readonly queue: readonly { readonly needs: string; readonly workflow_instance_id: string }[];
}

/** Why something waits for slots. */
export interface PoolReason {
  /** Part of a sentence. */
  readonly reason: string;
  readonly hint: string | null;
  /** What the history has of it. */
  readonly noted: string;
}

/**
 * Gives the reason of needs, or null if what needs them has its slots, or takes none.
 * @param hasAgent whether an agent that is up could take it: otherwise it holds up nothing
 */
export function poolReasons(
  facts: PoolFacts,
  hasAgent: (needs: string) => boolean,
): (needs: string) => PoolReason | null {
  const { sizes, used, queue } = facts;
  const pass = new PoolPass(sizes, used);
  /** For which run what is free of a pool is kept. */
  const keepers = new Map<string, string>();
  const known = new Map<string, PoolReason | null>();
  const look = (slots: Slots): PoolReason | null => {
    const verdict = pass.verdict(slots);
    if (verdict === "never") return never(slots, sizes);
    return verdict === "lacks" ? lacking(slots, facts, pass, keepers) : null;
  };
  for (const { needs, workflow_instance_id: run } of queue) {
    const slots = slotsIn(readNeeds(needs));
    if (slots === undefined || known.has(needs) || !hasAgent(needs)) continue;
    known.set(needs, look(slots));
    const verdict = pass.verdict(slots);
    if (verdict === "never") continue;
    if (verdict === "lacks") pass.reserve(slots);
    else pass.take(slots);
    for (const pool of Object.keys(slots)) if (!keepers.has(pool)) keepers.set(pool, run);
  }
  return (needs) => {
    const found = known.get(needs);
    if (found !== undefined) return found;
    const slots = slotsIn(readNeeds(needs));
    return slots === undefined ? null : look(slots);
  };
}

function slotsIn({ placement }: Needs): Slots | undefined {
  return placement.pool;
}

function never(slots: Slots, sizes: ReadonlyMap<string, number>): PoolReason {
  const reasons = Object.entries(slots).flatMap(([pool, count]): PoolReason[] => {
    const size = sizes.get(pool);
    if (size !== undefined && count <= size) return [];
    if (size !== undefined) {
      const reason = `it needs ${slotsText(count)} of pool ${pool}, which has ${size}`;
      const hint = `Make the pool larger: cdktr pools set ${pool} ${count}; or write a smaller "pool" into the workflow`;
      return [{ reason, hint, noted: reason }];
    }
    const near = didYouMean(pool, sizes.keys());
    const make = `A pool is made by pools: in _cdktr.yml, or by: cdktr pools set ${pool} N`;
    const reason = `there is no pool "${pool}"`;
    const hint = near === undefined ? make : `${near[0]?.toUpperCase()}${near.slice(1)} ${make}`;
    return [{ reason, hint, noted: reason }];
  });
  const [first] = reasons;
  if (first === undefined) throw new Error("it can have its slots");
  return first;
}

const HINT = "Who has slots of which pools: cdktr pools list";

function lacking(
  slots: Slots,
  { sizes, used, holders }: PoolFacts,
  pass: PoolPass,
  keepers: ReadonlyMap<string, string>,
): PoolReason {
  const noted = `it waits for ${Object.entries(slots)
    .map(([pool, count]) => `${slotsText(count)} of pool ${pool}`)
    .join(" and ")}`;
  for (const [pool, count] of Object.entries(slots)) {
    const [size, taken] = [sizes.get(pool) ?? 0, used.get(pool) ?? 0];
    if (taken > size)
      return { reason: `pool ${pool} shrank to ${slotsText(size)}; ${taken} are in use`, hint: HINT, noted };
    if (count <= size - taken) continue;
    const free = size - taken;
    const state =
      free === 0
        ? `pool ${pool} is full (${taken} of ${size})`
        : `pool ${pool} has ${free} of ${slotsText(size)} free, it needs ${count}`;
    return { reason: `${state}: held by ${holdersText(holders, pool)}`, hint: HINT, noted };
  }
  for (const [pool, count] of Object.entries(slots)) {
    if (pass.verdict({ [pool]: count }) !== "lacks") continue;
    const keeper = keepers.get(pool);
    const whom = keeper === undefined ? "another run" : `run ${keeper}`;
    return { reason: `pool ${pool} is kept free for ${whom}, which goes first`, hint: HINT, noted };
  }
  return { reason: noted, hint: HINT, noted };
}

function holdersText(holders: readonly Holder[], pool: string): string {
  const of = holders.filter((holder) => holder.pool === pool);
  const [first, ...others] = of;
  if (first === undefined) return "a task that is about to end";
  const { tasks, workflow_instance_id, slots } = first;
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  return `${tasks.join(", ")} of run ${workflow_instance_id}${slots === 1 ? "" : ` (${slots})`}${more}`;
}

function slotsText(count: number): string {
  return `${count} ${count === 1 ? "slot" : "slots"}`;
}
