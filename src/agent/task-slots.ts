/**
 * The limit on tasks in flight, shared by all runs of an agent. Runs take turns: one with a thousand ready tasks does not
 * keep the others waiting.
 */
export class TaskSlots {
  readonly size: number;
  #used = 0;
  /** What waits, run by run; the run whose turn is next stands first. */
  readonly #waiting = new Map<string, (() => void)[]>();

  /** @param size tasks at once */
  constructor(size: number) {
    this.size = size;
  }

  /** Tasks that hold a slot now. */
  get used(): number {
    return this.#used;
  }

  /**
   * Calls `start` as soon as there is a slot, perhaps at once. Whoever got one gives it back with {@link release}.
   * @returns a function that withdraws the request; it does nothing once `start` was called
   */
  request(owner: string, start: () => void): () => void {
    if (this.#used < this.size) {
      this.#used++;
      start();
      return () => {};
    }
    const queue = this.#waiting.get(owner);
    if (queue === undefined) this.#waiting.set(owner, [start]);
    else queue.push(start);
    return () => {
      const starts = this.#waiting.get(owner);
      const index = starts?.indexOf(start) ?? -1;
      if (starts === undefined || index === -1) return;
      starts.splice(index, 1);
      if (starts.length === 0) this.#waiting.delete(owner);
    };
  }

  /** Gives a slot back: the next in turn gets it. */
  release(): void {
    const next = this.#waiting.entries().next().value;
    if (next === undefined) {
      this.#used--;
      return;
    }
    const [owner, starts] = next;
    const start = starts.shift();
    // To the end of the line.
    this.#waiting.delete(owner);
    if (starts.length > 0) this.#waiting.set(owner, starts);
    start?.();
  }
}
