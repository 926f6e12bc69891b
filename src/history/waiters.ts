/** Waits for positions of streams. */
import { Timer } from "../timer.ts";

interface Waiter {
  readonly seq: number;
  readonly done: (reached: boolean) => void;
}

export class Waiters {
  readonly #byStream = new Map<string, Set<Waiter>>();

  /** Resolves with true when `seq` is reached, with false after `timeoutMs` or at the end. */
  wait(streamId: string, seq: number, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const waiters = this.#byStream.get(streamId) ?? new Set();
      this.#byStream.set(streamId, waiters);
      const timer = new Timer(() => waiter.done(false));
      const waiter: Waiter = {
        seq,
        done: (reached) => {
          timer.cancel();
          waiters.delete(waiter);
          if (waiters.size === 0) this.#byStream.delete(streamId);
          resolve(reached);
        },
      };
      waiters.add(waiter);
      timer.in(timeoutMs);
    });
  }

  /** Streams with waiters. */
  streams(): string[] {
    return [...this.#byStream.keys()];
  }

  /** The stream has reached `seq`. */
  reached(streamId: string, seq: number): void {
    const waiters = this.#byStream.get(streamId);
    if (waiters === undefined) return;
    for (const waiter of [...waiters]) if (waiter.seq <= seq) waiter.done(true);
  }

  /** Ends all waits. */
  end(): void {
    for (const waiters of [...this.#byStream.values()]) {
      for (const waiter of [...waiters]) waiter.done(false);
    }
  }
}
