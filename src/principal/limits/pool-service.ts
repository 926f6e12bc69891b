/** The pools as clients see and change them. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { PoolSummary } from "../../contract/messages.ts";
import { UnprocessableError } from "../../errors.ts";
import type { OperationalStore, OperationalTx, PoolHolder } from "../../storage/operational/store.ts";
import { type Audit, unaudited } from "../audit/audit.ts";
import { readNeeds } from "./needs.ts";

/** Holders that are named. */
const NAMED = 20;
/** Maximum number of pools that commands make. */
const MOST_POOLS = 1000;

/** What {@link PoolService} needs. */
interface PoolServiceOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  /** Whoever gives work to agents has to look again. Part of a unit of work. */
  readonly queue: { queued(tx: OperationalTx): void };
}

/** Lists and changes pools. */
export class PoolService {
  readonly #o: PoolServiceOptions;

  constructor(options: PoolServiceOptions) {
    this.#o = options;
  }

  /** By name; also those that nobody made and that tasks wait for. */
  async list(): Promise<PoolSummary[]> {
    const { pools, used, holders, needs } = await this.#o.store.read(async (tx) => ({
      pools: await tx.listPools(),
      used: await tx.poolUse(),
      holders: await tx.poolHolders(),
      needs: await tx.queuedNeeds(),
    }));
    const waiting = new Map<string, number>();
    for (const { needs: text, slices } of needs)
      for (const pool of Object.keys(readNeeds(text).placement.pool ?? {}))
        waiting.set(pool, (waiting.get(pool) ?? 0) + slices);
    const byPool = Map.groupBy(holders, ({ pool }) => pool);
    const known = new Map(pools.map((pool) => [pool.name, pool]));
    const names = new Set([...known.keys(), ...used.keys(), ...waiting.keys()]);
    return [...names].sort().map((name): PoolSummary => {
      const { size = null, own_size = null, file_size = null, changed_by = null } = known.get(name) ?? {};
      return {
        name,
        size,
        source: own_size !== null ? "command" : file_size !== null ? "file" : null,
        file_size,
        used: used.get(name) ?? 0,
        waiting: waiting.get(name) ?? 0,
        holders: (byPool.get(name) ?? []).slice(0, NAMED).map(holderOf),
        changed_by,
      };
    });
  }

  /**
   * Sets the size of a pool; null: what the settings of the workflow directory say counts again. One that is smaller than what is in use
   * drains.
   * @returns the size that counts from now on, null if there is no such pool any more, and what is in use
   * @throws UnprocessableError when there are too many
   */
  async set(
    name: string,
    size: number | null,
    actor: string | null,
    audit: Audit = unaudited,
  ): Promise<{ size: number | null; used: number }> {
    const { store, clock, queue, log } = this.#o;
    return store.transact(async (tx) => {
      const pools = await tx.listPools();
      if (size !== null && pools.length >= MOST_POOLS && pools.every((pool) => pool.name !== name))
        throw new UnprocessableError(`There are ${MOST_POOLS} pools already, the most that are allowed.`, {
          hint: "Those that nobody uses: cdktr pools list; cdktr pools reset NAME",
        });
      if (await tx.setPool(name, size, actor, clock.now())) {
        await audit(tx);
        queue.queued(tx);
        const by = actor === null ? "" : ` by ${actor}`;
        const what = size === null ? "was reset" : `has ${size} ${size === 1 ? "slot" : "slots"} now`;
        tx.afterCommit(() => log.info(`Pool ${name} ${what}${by === "" ? "" : `, set${by}`}.`));
      }
      const now = (await tx.listPools()).find((pool) => pool.name === name);
      return { size: now?.size ?? null, used: (await tx.poolUse()).get(name) ?? 0 };
    });
  }
}

function holderOf({ workflow_id, workflow_instance_id, tasks, slots, agent_id, since_ms }: PoolHolder) {
  return { workflow_id, workflow_instance_id, task_id: tasks.join(", "), slots, agent_id, since_ms };
}
