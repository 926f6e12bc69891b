/**
 * Bounds the resources that strangers, floods and non-reading peers can use. libzmq limits the number of messages per peer, but
 * neither their bytes, nor the parts of an endless message, nor the number of connections. So this guard watches the process as a
 * whole: with too many descriptors it closes the connections with the least traffic, with too much memory that is no garbage those with the
 * most. A well-behaved peer reconnects by itself and repeats requests that got no reply.
 */
import { totalmem } from "node:os";
import type { ConsolaInstance } from "consola";
import { BackgroundService } from "../service.ts";
import { countDescriptors, descriptorLimit, endConnections } from "./connections.ts";
import { PULSE_MS, pulse } from "./pulse.ts";
import { RateLimitedWarning } from "./rate-limited-warning.ts";
import { giveBackMemory, residentMemory } from "./resident-memory.ts";

/** Interval between checks, ms; the longer one at rest, while the process says when it is busy. */
const LOOK_MS = PULSE_MS;
const REST_MS = 5000;
/** A check is skipped while the process has used less CPU than this since the last one, up to this time after it, ms: an attack costs CPU. */
const QUIET_CPU_MS = 5;
const QUIET_MS = 1000;
/** Upper limit for descriptors, even if the system allows more: each connection also takes some KiB. */
const MOST_DESCRIPTORS = 16_384;
/** The share of the limit that connections may use: descriptors are also needed for files. */
const USABLE = 0.8;
/** The share to reduce to after the limit was exceeded. */
const KEPT = 0.9;
/** Memory above which connections are closed, or this share of the host's. In the history's process DuckDB may use 512 MiB of it for its buffers. */
const MOST_MEMORY = 1024 * 1024 * 1024;
const PART_OF_HOST = 0.6;
/** Below this share of the limits there is nothing to watch, and traffic counters are reset from time to time, ms. */
const WATCHFUL = 0.5;
const FORGIVE_MS = 10_000;
/** A peer that sent less than this since then has not filled the memory. */
const MUCH_SENT = 256 * 1024;
/** Number of consecutive checks that close connections; if they do not help, something else uses the memory, and pauses double. */
const ROUNDS = 10;
const LONGEST_PAUSE_MS = 60_000;
/** A peer that reads nothing of its queue for this long is considered not reading, ms. */
const DEAF_MS = 1000;
/** Memory growth since the last garbage collection that justifies another one when the process is idle. */
const WORTH_COLLECTING = 96 * 1024 * 1024;
/** After this time, ms, an idle process collects once more: in the first collection, much of what a burst used may still have been in use. */
const AGAIN_MS = 3000;
/** The CPU share below which the process is idle. */
const IDLE = 0.1;

/** A port that accepts peers. */
export interface Door {
  readonly port: number;
  /** The share of the descriptors that its connections may use when there are not enough for all ports. */
  readonly share: number;
}

/** Options of {@link ResourceGuard}. */
export interface ResourceGuardOptions {
  /** All ports; their shares add up to at most 1. */
  readonly doors: () => readonly Door[];
  readonly log: ConsolaInstance;
  /** Default 1 GiB, at most 60 % of the host's. */
  readonly mostMemory?: number;
  /** Default 80 % of the process's limit, at most 16,384. */
  readonly mostDescriptors?: number;
}

/** Tracking data of a connection. */
interface Noted {
  readonly receivedBefore: number;
  confirmed: number;
  /** Since when it has not read anything of its queue; undefined when the queue is empty. */
  stuckSince: number | undefined;
}

/** Checks descriptors and memory, and closes connections when there is too much of either. */
export class ResourceGuard extends BackgroundService<{ looked: undefined; collected: undefined }> {
  readonly name = "resource guard";
  readonly #o: ResourceGuardOptions;
  readonly #mostMemory: number;
  readonly #mostDescriptors: number;
  readonly #crowded: RateLimitedWarning;
  readonly #full: RateLimitedWarning;
  readonly #noted = new Map<bigint, Noted>();
  #forgaveAt = Number.NEGATIVE_INFINITY;
  #rounds = 0;
  #pausedUntil = 0;
  readonly #looks = this.timer(() => this.#lookNow());
  #endPulse = () => {};
  /** Memory after the last collection; when that was; whether another one is due. */
  #collected = 0;
  #collectedAt = 0;
  #isAgainDue = false;
  /** At the last check: the time, the CPU used until then, and whether there was nothing to watch. */
  #lookedAt = performance.now();
  #cpu = process.cpuUsage();
  #isCalm = false;
  #isIdle = false;

  constructor(options: ResourceGuardOptions) {
    super();
    this.#o = options;
    this.#mostMemory = options.mostMemory ?? Math.min(MOST_MEMORY, totalmem() * PART_OF_HOST);
    this.#mostDescriptors =
      options.mostDescriptors ?? Math.min(MOST_DESCRIPTORS, Math.floor(descriptorLimit() * USABLE));
    this.#crowded = new RateLimitedWarning(options.log);
    this.#full = new RateLimitedWarning(options.log);
  }

  protected override onStart(): void {
    this.#collected = residentMemory() ?? 0;
    this.#endPulse = pulse.on("busy", () => this.#lookNow());
    this.#looks.in(LOOK_MS);
  }

  protected override onStop(): void {
    this.#endPulse();
  }

  #lookNow(): void {
    this.#look();
    this.#looks.in(this.#isCalm && this.#isIdle && pulse.isBeating ? REST_MS : LOOK_MS);
  }

  #look(): void {
    const passedMs = performance.now() - this.#lookedAt;
    const { user, system } = process.cpuUsage(this.#cpu);
    const usedMs = (user + system) / 1000;
    if (this.#isCalm && usedMs < QUIET_CPU_MS && passedMs < QUIET_MS) return;
    this.#lookedAt = performance.now();
    this.#cpu = process.cpuUsage();
    this.#isIdle = usedMs < passedMs * IDLE;
    this.#isCalm = this.#lookAround(this.#isIdle);
    this.signals.emit("looked");
  }

  /** @returns whether there is nothing to watch */
  #lookAround(isIdle: boolean): boolean {
    const descriptors = countDescriptors(this.#mostDescriptors);
    if (descriptors >= this.#mostDescriptors) this.#thin();
    const memory = residentMemory();
    if (memory === undefined) return false;
    const isWatched = memory > this.#mostMemory * WATCHFUL;
    if (isWatched) this.#watch(memory > this.#mostMemory);
    else if (performance.now() - this.#forgaveAt > FORGIVE_MS) this.#forgive();
    if (memory <= this.#mostMemory) this.#rounds = 0;
    if (memory < this.#collected) this.#collected = memory;
    // A burst leaves garbage that an idle process would keep for long.
    const isOld = performance.now() - this.#collectedAt > AGAIN_MS;
    if (isIdle && memory - this.#collected > WORTH_COLLECTING) this.#collect();
    else if (isIdle && isOld && this.#isAgainDue) this.#collect(false);
    return !isWatched && descriptors < this.#mostDescriptors * WATCHFUL;
  }

  /**
   * Closes the connections with the least traffic: those that were opened and abandoned, or never completed the handshake. A port that
   * does not exceed its share loses no connections because of another port.
   */
  #thin(): void {
    const found = new Map<number, { id: bigint; received: number; silentMs: number }[]>();
    this.#visit(({ id, port, traffic }) => {
      if (id !== undefined) found.set(port, [...(found.get(port) ?? []), { id, ...traffic }]);
      return false;
    });
    let tooMany = countDescriptors(this.#mostDescriptors) - Math.floor(this.#mostDescriptors * KEPT);
    const crowds = this.#o
      .doors()
      .map(({ port, share }) => ({
        here: found.get(port) ?? [],
        due: Math.floor(this.#mostDescriptors * share),
      }))
      .sort((a, b) => b.here.length / b.due - a.here.length / a.due);
    const over = new Set<bigint>();
    for (const { here, due } of crowds) {
      if (tooMany <= 0) break;
      here.sort((a, b) => a.received - b.received || b.silentMs - a.silentMs);
      const ended = here.slice(0, Math.max(0, Math.min(tooMany, here.length - due)));
      for (const { id } of ended) over.add(id);
      tooMany -= ended.length;
    }
    const ended = this.#visit(({ id }) => id !== undefined && over.has(id));
    this.#crowded.warn(
      ended,
      (count) =>
        `${count} connections with the least traffic were closed: there were more than this process may have (${this.#mostDescriptors} descriptors; the limit comes from 'ulimit -n').`,
    );
  }

  #forgive(): void {
    this.#forgaveAt = performance.now();
    this.#noted.clear();
    this.#visit(({ id, traffic: { received, confirmed } }) => {
      if (id !== undefined)
        this.#noted.set(id, { receivedBefore: received, confirmed, stuckSince: undefined });
      return false;
    });
  }

  /** @param isOver whether there is more memory than the limit */
  #watch(isOver: boolean): void {
    const now = performance.now();
    const present = new Set<bigint>();
    const suspects: { id: bigint; sent: number; deaf: boolean }[] = [];
    this.#visit(({ id, traffic }) => {
      if (id === undefined) return false;
      present.add(id);
      const { received, confirmed, unsent } = traffic;
      const known = this.#noted.get(id);
      const noted = known ?? { receivedBefore: 0, confirmed, stuckSince: undefined };
      if (unsent === 0 || confirmed !== noted.confirmed) noted.stuckSince = undefined;
      else noted.stuckSince ??= now;
      noted.confirmed = confirmed;
      this.#noted.set(id, noted);
      const deaf = noted.stuckSince !== undefined && now - noted.stuckSince >= DEAF_MS;
      const sent = received - noted.receivedBefore;
      if (deaf || sent >= MUCH_SENT) suspects.push({ id, sent, deaf });
      return false;
    });
    for (const id of this.#noted.keys()) if (!present.has(id)) this.#noted.delete(id);
    if (!isOver || suspects.length === 0 || now < this.#pausedUntil) return;
    if (++this.#rounds > ROUNDS)
      this.#pausedUntil = now + Math.min(LOOK_MS * 2 ** (this.#rounds - ROUNDS), LONGEST_PAUSE_MS);
    // What large requests leave is garbage once they are answered: on a busy machine it gathers, and whoever sends the next one would lose it.
    this.#collect();
    const excess = (residentMemory() ?? 0) - this.#mostMemory;
    if (excess <= 0) return;
    suspects.sort((a, b) => Number(b.deaf) - Number(a.deaf) || b.sent - a.sent);
    const over = new Set<bigint>();
    let relief = 0;
    for (const { id, sent, deaf } of suspects) {
      if (!deaf && relief >= excess) break;
      over.add(id);
      relief += sent;
    }
    const ended = this.#visit(({ id }) => id !== undefined && over.has(id));
    this.#full.warn(
      ended,
      (count) =>
        `${count} connections with the most traffic, or whose peers do not read, were closed: this process uses more than ${Math.round(this.#mostMemory / 1024 / 1024)} MiB of memory.`,
    );
  }

  #collect(isAgainDue = true): void {
    giveBackMemory();
    this.#collected = residentMemory() ?? this.#collected;
    this.#collectedAt = performance.now();
    this.#isAgainDue = isAgainDue;
    this.signals.emit("collected");
  }

  #visit(isOver: Parameters<typeof endConnections>[1]): number {
    return endConnections(new Set(this.#o.doors().map(({ port }) => port)), isOver);
  }
}
