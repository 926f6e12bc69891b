/**
 * Says what happens to this process, without a timer of the main thread: each of its wake-ups costs more than looking. The thread that
 * waits for sockets looks every {@link PULSE_MS}, if somebody listens; after a second at rest, half a second may pass between two looks
 * unless something arrives.
 */
import { ptr } from "bun:ffi";
import { EventHub } from "../event-hub.ts";

/** Interval between looks, ms. */
export const PULSE_MS = 200;

/** What happens to the process. */
interface PulseEvents {
  /** It has used noticeable processor time since the last look, on any thread. */
  readonly busy: undefined;
  /** The wall clock was set, or the host was suspended. */
  readonly "clock set": undefined;
}

class Pulse {
  readonly #events = new EventHub<PulseEvents>();
  /** The interval between looks, ms; 0 while nobody listens. The thread reads this memory. */
  readonly #wanted = new Int32Array(1);
  #listeners = 0;
  /** Whether the thread is there; set by it. */
  isThere = false;

  /** Whether events are reported. */
  get isBeating(): boolean {
    return this.isThere && this.#listeners > 0;
  }

  /** Address of the interval between looks, an int32; 0 while nobody listens. */
  get address(): number {
    return ptr(this.#wanted);
  }

  /** Calls `handler` at each event. Returns a function that ends it. */
  on(event: keyof PulseEvents, handler: () => void): () => void {
    const end = this.#events.on(event, handler);
    this.#listeners++;
    this.#wanted[0] = PULSE_MS;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      end();
      if (--this.#listeners === 0) this.#wanted[0] = 0;
    };
  }

  /** The thread has noticed something. */
  tell(event: keyof PulseEvents): void {
    this.#events.emit(event);
  }
}

/** That of this process. */
export const pulse = new Pulse();
