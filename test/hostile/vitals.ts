/** Resource usage of a process, read from /proc. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

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

/**
 * CPU time of the main thread of a process, ms: of what it does in turns. Other threads work beside it, all the more the longer it has to
 * wait for a processor.
 */
export function mainThreadCpuMs(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
}

/** What the descriptors of a process refer to, one a line; for a TCP connection, also its line in the kernel's table. */
export function openFiles(pid: number): string {
  const connections = readFileSync("/proc/net/tcp", "utf8").split("\n");
  const describe = (descriptor: string) => {
    try {
      const target = readlinkSync(`/proc/${pid}/fd/${descriptor}`);
      const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
      return `${target} ${(inode && connections.find((line) => line.includes(` ${inode} `))) ?? ""}`;
    } catch {
      return "closed meanwhile";
    }
  };
  return readdirSync(`/proc/${pid}/fd`).map(describe).join("\n");
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
