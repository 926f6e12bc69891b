/** Processes of tasks that live on after SIGKILL: those of another user, and those that the kernel does not let go. */

import { readFileSync, statSync } from "node:fs";
import type { Survivor as SurvivorMessage } from "../contract/messages.ts";
import { isAlive, type ProcessStat, readStat } from "./proc-files.ts";

/** A process that could not be ended. */
export interface Survivor extends ProcessStat {
  /** Name of its user, or the uid. */
  readonly user: string;
  readonly reason: string;
}

/** Most survivors that are kept: a guard, not a practical limit. */
const MOST = 1000;
const MOST_SENT = 100;

/** The survivors of an agent, as long as they live. */
export class Survivors {
  readonly #known = new Map<string, Survivor>();
  readonly #onAdded: () => void;

  constructor(onAdded: () => void) {
    this.#onAdded = onAdded;
  }

  add(survivors: readonly Survivor[]): void {
    if (survivors.length === 0) return;
    for (const survivor of survivors) if (this.#known.size < MOST) this.#known.set(keyOf(survivor), survivor);
    this.#onAdded();
  }

  /** Whether a process is known not to be ended by signals. */
  has(process: ProcessStat): boolean {
    return this.#known.has(keyOf(process));
  }

  /** Those that still live. */
  list(): Survivor[] {
    for (const [key, { pid, startTicks }] of this.#known) {
      const now = readStat(pid);
      if (now === undefined || now.startTicks !== startTicks || !isAlive(now)) this.#known.delete(key);
    }
    return [...this.#known.values()];
  }

  /** Those that are still alive, in the form that heartbeats send. */
  brief(): SurvivorMessage[] {
    return this.list()
      .slice(0, MOST_SENT)
      .map(({ pid, name, user, reason }) => ({ pid, name, user: user.slice(0, 64), reason }));
  }
}

/** Describes a process that signals did not end. */
export function survivorOf(stat: ProcessStat): Survivor {
  return { ...stat, user: userOf(stat.pid), reason: reasonOf(stat) };
}

/** For a message: `pid 4711 (sleep) of root cannot be ended: this agent may not signal it`. */
export function describeSurvivors(survivors: readonly Survivor[]): string {
  const shown = survivors
    .slice(0, 3)
    .map(({ pid, name, user, reason }) => `pid ${pid} (${name}) of ${user} cannot be ended: ${reason}`);
  const more = survivors.length - shown.length;
  return shown.join("; ") + (more > 0 ? `; and ${more} more` : "");
}

function reasonOf({ pid, state }: ProcessStat): string {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EPERM")
      return "this agent may not signal it";
  }
  return state === "D"
    ? "the kernel cannot interrupt it (state D: it waits for a disk or a mount)"
    : "it does not end";
}

function userOf(pid: number): string {
  try {
    const { uid } = statSync(`/proc/${pid}`);
    for (const line of readFileSync("/etc/passwd", "utf8").split("\n")) {
      const [name, , id] = line.split(":");
      if (id === String(uid) && name) return name;
    }
    return `uid ${uid}`;
  } catch {
    return "an unknown user";
  }
}

function keyOf({ pid, startTicks }: ProcessStat): string {
  return `${pid} ${startTicks}`;
}
