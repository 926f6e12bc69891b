/** Requests that wait for an event (long polls). */
import { BackgroundService } from "../service.ts";
import { Timer } from "../timer.ts";

/** The reason why a wait ended. */
export type WaitEnd = "woken" | "timeout" | "closed";

/** A registration for a topic. Taken before the state is read, so that nothing that happens in between is missed. */
export interface Ticket {
  /** Resolves when the topic was woken since the ticket was taken, after `timeoutMs`, or when all waits are ended. */
  wait(timeoutMs: number): Promise<WaitEnd>;
  /** Cancels the registration. */
  drop(): void;
}

/** Waits by topic; a topic is any text. */
export class LongPolls extends BackgroundService {
  readonly name = "long polls";
  readonly #waiting = new Map<string, Set<(end: WaitEnd) => void>>();

  /** Registers. Every ticket must be waited for or dropped. */
  ticket(topic: string): Ticket {
    const { promise, resolve } = Promise.withResolvers<WaitEnd>();
    const settle = (end: WaitEnd) => {
      timer.cancel();
      const others = this.#waiting.get(topic);
      others?.delete(settle);
      if (others?.size === 0) this.#waiting.delete(topic);
      resolve(end);
    };
    const timer = new Timer(() => settle("timeout"), this.clock);
    if (this.isStopping) resolve("closed");
    else {
      const others = this.#waiting.get(topic) ?? new Set();
      others.add(settle);
      this.#waiting.set(topic, others);
    }
    return {
      wait: (timeoutMs) => {
        if (timeoutMs <= 0) settle("timeout");
        else if (this.#waiting.get(topic)?.has(settle)) timer.in(timeoutMs);
        return promise;
      },
      drop: () => settle("timeout"),
    };
  }

  /** Whether anyone waits for a topic. */
  isAwaited(topic: string): boolean {
    return this.#waiting.has(topic);
  }

  /** Wakes a topic. */
  wake(topic: string): void {
    for (const settle of [...(this.#waiting.get(topic) ?? [])]) settle("woken");
  }

  protected override onStart(): void {}

  /** Ends all waits, current and future ones. */
  protected override onStop(): void {
    for (const waiting of [...this.#waiting.values()]) {
      for (const settle of [...waiting]) settle("closed");
    }
  }
}
