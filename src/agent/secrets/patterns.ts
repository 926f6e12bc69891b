/**
 * Finds many byte patterns at once (Aho–Corasick). A state is a node of the trie of all patterns: the longest end of what was read that is
 * the beginning of a pattern.
 */
export class Patterns {
  /** For each node: its byte, first child, next sibling, the node of its longest proper ending that is in the trie, and its depth. */
  readonly #byte: Uint8Array;
  readonly #child: Int32Array;
  readonly #sibling: Int32Array;
  readonly #fallback: Int32Array;
  readonly #depth: Int32Array;
  /** For each node: length of the longest pattern with which what was read ends, or 0. */
  readonly #match: Int32Array;
  /** For each node: depth of the longest ending that is the beginning of a pattern, but not all of it. */
  readonly #open: Int32Array;
  /** The children of the root, by byte. */
  readonly #first = new Int32Array(256);
  #count = 1;

  constructor(patterns: readonly Uint8Array[]) {
    const most = patterns.reduce((sum, { length }) => sum + length, 1);
    this.#byte = new Uint8Array(most);
    this.#child = new Int32Array(most);
    this.#sibling = new Int32Array(most);
    this.#fallback = new Int32Array(most);
    this.#depth = new Int32Array(most);
    this.#match = new Int32Array(most);
    this.#open = new Int32Array(most);
    for (const pattern of patterns) this.#add(pattern);
    this.#link();
  }

  /** The state after one more byte. The first state is 0. */
  next(state: number, byte: number): number {
    for (let at = state; at !== 0; at = this.#fallback[at] ?? 0) {
      const child = this.#childOf(at, byte);
      if (child !== 0) return child;
    }
    return this.#first[byte] ?? 0;
  }

  /** How many of the bytes that were read last are the beginning of a pattern, or all of it. */
  depth(state: number): number {
    return this.#depth[state] ?? 0;
  }

  /** How many of the bytes that were read last are the beginning of a pattern that may go on. */
  open(state: number): number {
    return this.#open[state] ?? 0;
  }

  /** Length of the longest pattern that ends with the byte that was read last; 0 if none does. */
  matched(state: number): number {
    return this.#match[state] ?? 0;
  }

  #childOf(node: number, byte: number): number {
    let child = this.#child[node] ?? 0;
    while (child !== 0 && this.#byte[child] !== byte) child = this.#sibling[child] ?? 0;
    return child;
  }

  #add(pattern: Uint8Array): void {
    let node = 0;
    for (const byte of pattern) {
      let child = node === 0 ? (this.#first[byte] ?? 0) : this.#childOf(node, byte);
      if (child === 0) {
        child = this.#count++;
        this.#byte[child] = byte;
        this.#depth[child] = this.depth(node) + 1;
        if (node === 0) this.#first[byte] = child;
        this.#sibling[child] = this.#child[node] ?? 0;
        this.#child[node] = child;
      }
      node = child;
    }
    this.#match[node] = pattern.length;
  }

  /** Nodes are visited in the order of their depth: a fallback is less deep than its node. */
  #link(): void {
    const order = new Int32Array(this.#count);
    let known = 1;
    for (let at = 0; at < known; at++) {
      const node = order[at] ?? 0;
      for (let child = this.#child[node] ?? 0; child !== 0; child = this.#sibling[child] ?? 0) {
        order[known++] = child;
        const fallback = node === 0 ? 0 : this.next(this.#fallback[node] ?? 0, this.#byte[child] ?? 0);
        this.#fallback[child] = fallback;
        this.#match[child] = Math.max(this.matched(child), this.matched(fallback));
        this.#open[child] = this.#child[child] === 0 ? this.open(fallback) : this.depth(child);
      }
    }
  }
}
