/** The queue of the simulation: who gets agents and slots, by the same rules as in the dispatcher. */
import { meets, readNeeds } from "../limits/needs.ts";
import { QueueOrder } from "../limits/order.ts";
import { PoolPass, type Slots } from "../limits/pool-pass.ts";
import { type AgentRoom, waitReasons } from "../runs/wait-reasons.ts";
import type { Holding, SimulatedRun } from "./simulated-run.ts";

/** Why what is in front of a lane does not start. */
type Obstacle = { readonly kind: "pool" | "agents"; readonly name: string | null };

/** A part that waits. */
interface Waiting {
  readonly needs: string;
  readonly position: number;
  readonly turn: number;
  readonly since_ms: number;
  readonly queuedMs: number;
  readonly run: SimulatedRun;
  readonly part: number;
}

/** Parts with the same needs, in order. */
interface Lane {
  readonly slots: Slots;
  /** Places in the list of the agents that have what is needed. */
  readonly able: readonly number[];
  readonly entries: Waiting[];
  obstacle: Obstacle | null;
}

const NO_SLOTS: Slots = {};

/** A part that starts. */
export interface Started {
  readonly run: SimulatedRun;
  readonly part: number;
  readonly holding: Holding;
}

/** Parts that wait for agents, and what the others hold. */
export class SimulatedQueue {
  readonly #agents: readonly AgentRoom[];
  readonly #pools: ReadonlyMap<string, number>;
  readonly #givesSecrets: boolean;
  readonly #reasonOf: (needs: string) => { readonly reason: string };
  readonly #lanes = new Map<string, Lane>();
  /** Free places by agent; negative for one that has more leases than it takes now. */
  readonly #free: number[];
  readonly #used = new Map<string, number>();
  #taken = 0;
  #turns = 0;
  #waiting = 0;

  constructor(agents: readonly AgentRoom[], pools: ReadonlyMap<string, number>, givesSecrets: boolean) {
    this.#agents = agents;
    this.#pools = pools;
    this.#givesSecrets = givesSecrets;
    this.#reasonOf = waitReasons(agents, givesSecrets);
    this.#free = agents.map(({ max_leases }) => max_leases);
  }

  /** Places that are taken. */
  get taken(): number {
    return this.#taken;
  }

  /** Slots of a pool that are taken. */
  usedOf(pool: string): number {
    return this.#used.get(pool) ?? 0;
  }

  /** A part waits for an agent. @param lastSeq the last run that has come: a slice stands behind it, a run as a whole in its own place */
  add(run: SimulatedRun, part: number, needs: string, nowMs: number, lastSeq: number): void {
    const isWhole = run.parts[part]?.isWhole === true;
    const entry: Waiting = {
      needs,
      position: isWhole ? run.seq : lastSeq,
      turn: isWhole ? 0 : ++this.#turns,
      since_ms: isWhole ? run.since_ms : nowMs,
      queuedMs: nowMs,
      run,
      part,
    };
    const { entries } = this.#laneOf(needs);
    let at = entries.length;
    for (; at > 0; at--) {
      const before = entries[at - 1];
      if (before === undefined || !isBefore(entry, before)) break;
    }
    entries.splice(at, 0, entry);
    this.#waiting++;
  }

  /** Why a part with these needs does not start, as part of a sentence. */
  whyNot(needs: string): string {
    const { able, obstacle, slots } = this.#laneOf(needs);
    if (able.length === 0) return this.#reasonOf(needs).reason;
    for (const [pool, count] of Object.entries(slots)) {
      const size = this.#pools.get(pool);
      if (size === undefined) return `there is no pool ${pool}`;
      if (count > size) return `it needs ${count} slots of pool ${pool}, which has ${size}`;
    }
    return obstacle?.kind === "pool" ? `pool ${obstacle.name} is full` : "agents are full";
  }

  /** Takes what a part holds. */
  take({ agent, slots }: Holding): void {
    if (agent >= 0) this.#free[agent] = (this.#free[agent] ?? 0) - 1;
    this.#taken++;
    for (const [pool, count] of Object.entries(slots)) this.#used.set(pool, this.usedOf(pool) + count);
  }

  /** Frees what a part has held. */
  free({ agent, slots }: Holding): void {
    if (agent >= 0) this.#free[agent] = (this.#free[agent] ?? 0) + 1;
    this.#taken--;
    for (const [pool, count] of Object.entries(slots)) this.#used.set(pool, this.usedOf(pool) - count);
  }

  /** What starts now, in order; it has been taken. */
  start(nowMs: number): Started[] {
    const started: Started[] = [];
    if (this.#waiting === 0) return started;
    const heads = new QueueOrder<Waiting>([], nowMs);
    for (const lane of this.#lanes.values()) {
      const head = this.#headOf(lane);
      if (head !== undefined) heads.add(head);
    }
    const pass = new PoolPass(this.#pools, this.#used);
    for (let head = heads.shift(); head !== undefined; head = heads.shift()) {
      const lane = this.#laneOf(head.needs);
      const agent = this.#place(lane, pass);
      if (agent === undefined) continue;
      lane.entries.shift();
      this.#waiting--;
      const { run, part } = head;
      if (lane.obstacle !== null) run.waited(lane.obstacle.kind, lane.obstacle.name, nowMs - head.queuedMs);
      const holding = { agent, slots: lane.slots };
      this.take(holding);
      started.push({ run, part, holding });
      const next = this.#headOf(lane);
      if (next === undefined) lane.obstacle = null;
      else heads.add(next);
    }
    return started;
  }

  /** The agent for the front of a lane; undefined if it cannot start now. */
  #place(lane: Lane, pass: PoolPass): number | undefined {
    // Nobody can have it: it holds nothing up.
    if (lane.able.length === 0) return undefined;
    const { slots } = lane;
    const verdict = slots === NO_SLOTS ? "fits" : pass.verdict(slots);
    if (verdict === "never") return undefined;
    if (verdict === "lacks") {
      lane.obstacle = { kind: "pool", name: this.#lackingOf(slots) };
      pass.reserve(slots);
      return undefined;
    }
    let [best, most] = [-1, 0];
    for (const agent of lane.able) {
      const free = this.#free[agent] ?? 0;
      if (free > most) [best, most] = [agent, free];
    }
    // Its slots are kept until an agent has room.
    pass.take(slots);
    if (best !== -1) return best;
    lane.obstacle = { kind: "agents", name: null };
    return undefined;
  }

  /** The pool that has too few slots, or is kept for something before it. */
  #lackingOf(slots: Slots): string | null {
    const names = Object.keys(slots);
    const lacking = names.find(
      (pool) => (slots[pool] ?? 0) > (this.#pools.get(pool) ?? 0) - this.usedOf(pool),
    );
    return lacking ?? names[0] ?? null;
  }

  #headOf({ entries }: Lane): Waiting | undefined {
    for (let [head] = entries; head !== undefined; [head] = entries) {
      if (!head.run.isOver) return head;
      entries.shift();
      this.#waiting--;
    }
    return undefined;
  }

  #laneOf(text: string): Lane {
    let lane = this.#lanes.get(text);
    if (lane === undefined) {
      const needs = readNeeds(text);
      const able = this.#agents.flatMap((agent, n) => (meets(agent, needs, this.#givesSecrets) ? [n] : []));
      lane = { slots: needs.placement.pool ?? NO_SLOTS, able, entries: [], obstacle: null };
      this.#lanes.set(text, lane);
    }
    return lane;
  }
}

function isBefore(a: Waiting, b: Waiting): boolean {
  return a.position < b.position || (a.position === b.position && a.turn < b.turn);
}
