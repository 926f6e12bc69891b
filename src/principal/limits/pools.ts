/** The pools as they are in one unit of work: their sizes, and what is taken of them. Read when something that takes slots is looked at. */
import type { OperationalTx } from "../../storage/operational/store.ts";
import { PoolPass } from "./pool-pass.ts";

export class Pools {
  readonly #tx: Pick<OperationalTx, "listPools" | "poolUse">;
  #pass: Promise<PoolPass> | undefined;

  constructor(tx: Pick<OperationalTx, "listPools" | "poolUse">) {
    this.#tx = tx;
  }

  /** The look at the queue that goes on. */
  pass(): Promise<PoolPass> {
    this.#pass ??= this.#read();
    return this.#pass;
  }

  async #read(): Promise<PoolPass> {
    const sizes = (await this.#tx.listPools()).map(({ name, size }) => [name, size] as const);
    return new PoolPass(new Map(sizes), await this.#tx.poolUse());
  }
}
