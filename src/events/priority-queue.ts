/** A binary heap: the item with the smallest number comes out first; ties in any order. */
export class PriorityQueue<T> {
  readonly #heap: { readonly priority: number; readonly item: T }[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The first item and its number, without removing it. */
  peek(): { readonly priority: number; readonly item: T } | undefined {
    return this.#heap[0];
  }

  push(priority: number, item: T): void {
    const heap = this.#heap;
    const entry = { priority, item };
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || above.priority <= priority) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  /** Removes and returns the first item. */
  pop(): { readonly priority: number; readonly item: T } | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      const left = heap[child];
      if (left === undefined) break;
      const right = heap[child + 1];
      if (right !== undefined && right.priority < left.priority) child++;
      const smaller = heap[child];
      if (smaller === undefined || smaller.priority >= last.priority) break;
      heap[index] = smaller;
      index = child;
    }
    heap[index] = last;
    return first;
  }

  /** The entries with numbers up to this one, in no order. */
  *upTo(most: number, index = 0): Iterable<{ readonly priority: number; readonly item: T }> {
    const entry = this.#heap[index];
    if (entry === undefined || entry.priority > most) return;
    yield entry;
    yield* this.upTo(most, 2 * index + 1);
    yield* this.upTo(most, 2 * index + 2);
  }

  clear(): void {
    this.#heap.length = 0;
  }
}
