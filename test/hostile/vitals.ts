/** Resource usage of a process, read from /proc. */
import { readdirSync, readFileSync } from "node:fs";

/** A measurement of a process. */
export interface Vitals {
  /** Memory that is its own, MiB: without files that are mapped. */
  readonly memory: number;
  readonly threads: number;
  readonly descriptors: number;
}

/** @throws Error when there is no such process */
export function vitals(pid: number): Vitals {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0);
  return {
    memory: Math.round(field("RssAnon") / 1024),
    threads: field("Threads"),
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** Keeps the most that was seen of each. */
export class PeakVitals implements Disposable {
  #peak: Vitals;
  readonly #timer: NodeJS.Timeout;

  constructor(pid: number, onLook: (now: Vitals) => void = () => {}) {
    this.#peak = vitals(pid);
    this.#timer = setInterval(() => {
      try {
        const now = vitals(pid);
        onLook(now);
        this.#peak = {
          memory: Math.max(this.#peak.memory, now.memory),
          threads: Math.max(this.#peak.threads, now.threads),
          descriptors: Math.max(this.#peak.descriptors, now.descriptors),
        };
      } catch {
        // It ended; whoever watches it finds out.
      }
    }, 50);
  }

  get peak(): Vitals {
    return this.#peak;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
