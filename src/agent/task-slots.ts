/**
 * The limit of concurrent tasks, shared by all runs of an agent. Runs take turns: one with a thousand ready tasks does not block the
 * others.
 */
export class TaskSlots {
  readonly size: number;
  #used = 0;
  /** Waiting requests by run; the run whose turn is next comes first. */
  readonly #waiting = new Map<string, (() => void)[]>();

  readonly #room: () => Promise<void> | undefined;
  /** Whether {@link #room} is being waited for. */
  #isHeld = false;

  /**
   * @param size maximum number of concurrent tasks
   * @param room undefined when a task may start; otherwise nothing starts until it resolves
   */
  constructor(size: number, room: () => Promise<void> | undefined = () => undefined) {
    this.size = size;
    this.#room = room;
  }

  /** Number of tasks that hold a slot. */
  get used(): number {
    return this.#used;
  }

  /**
   * Calls `start` as soon as there is a free slot, possibly at once. The holder returns it with {@link release}.
   * @returns withdraws the request; a no-op once `start` was called
   */
  request(owner: string, start: () => void): () => void {
    const queue = this.#waiting.get(owner);
    if (queue === undefined) this.#waiting.set(owner, [start]);
    else queue.push(start);
    this.#fill();
    return () => {
      const starts = this.#waiting.get(owner);
      const index = starts?.indexOf(start) ?? -1;
      if (starts === undefined || index === -1) return;
      starts.splice(index, 1);
      if (starts.length === 0) this.#waiting.delete(owner);
    };
  }

  /** Returns a slot: the next in turn gets it. */
  release(): void {
    this.#used--;
    this.#fill();
  }

  #fill(): void {
    for (;;) {
      const next = this.#waiting.entries().next().value;
      if (next === undefined || this.#used >= this.size || !this.#mayStart()) return;
      const [owner, starts] = next;
      const start = starts.shift();
      // To the end of the queue.
      this.#waiting.delete(owner);
      if (starts.length > 0) this.#waiting.set(owner, starts);
      this.#used++;
      start?.();
    }
  }

  #mayStart(): boolean {
    if (this.#isHeld) return false;
    const room = this.#room();
    if (room === undefined) return true;
    this.#isHeld = true;
    void room.then(() => {
      this.#isHeld = false;
      this.#fill();
    });
    return false;
  }
}
