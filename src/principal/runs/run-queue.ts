import type { OperationalTx } from "../../storage/operational/store.ts";

/** Where runs and slices wait for agents: whoever changes runs says so here, and the dispatcher attends to it in the same commit. */
export class RunQueue {
  #attend: (tx: OperationalTx) => void = () => {};

  /** Something waits for an agent, or what it waits for besides an agent is free. Part of a unit of work. */
  queued(tx: OperationalTx): void {
    this.#attend(tx);
  }

  /** Sets what happens when something waits. */
  attendedBy(attend: (tx: OperationalTx) => void): void {
    this.#attend = attend;
  }
}
