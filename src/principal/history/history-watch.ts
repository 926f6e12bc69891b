/** Watches a history process: notices when it is silent, and when it takes too much memory. */
import type { Clock } from "../../clock.ts";
import { residentMemoryOf } from "../../host/resident-memory.ts";
import type { Timer } from "../../timer.ts";

/** How often it is asked whether it is there: while somebody waits for it, and at rest, ms. */
const LOOK_MS = 250;
const LOOK_AT_REST_MS = 5000;
/** A look that comes later than this after its time says that this process was suspended, ms. */
const LATE_MS = 500;
/** Interval between looks at its memory while a statement of a user runs, ms. */
const MEMORY_LOOK_MS = 50;

/** Memory of the process above which statements of users end, and above which the process ends, bytes. */
export interface MemoryLimits {
  readonly queriesEnd: number;
  readonly processEnds: number;
}

/** The history that is watched. */
export interface Watched {
  /** Undefined when it has no process of its own. */
  readonly pid: number | undefined;
  /** Whether somebody waits for it. */
  readonly isAwaited: () => boolean;
  /** Whether a statement of a user runs. */
  readonly isQueried: () => boolean;
  /** Asks it for a sign of life. */
  readonly ping: () => void;
  /** Called at each look, with how long it has been silent, ms. */
  readonly judge: (silenceMs: number) => void;
  /** Statements of users have to end. Called once for those that run. */
  readonly endQueries: () => void;
  /** The process has to end. */
  readonly endProcess: () => void;
}

/** Options of {@link HistoryWatch}. */
export interface HistoryWatchOptions {
  readonly clock: Clock;
  /** Makes a timer that is off when the service stops. */
  readonly timer: (ring: () => void) => Timer;
  readonly memory: MemoryLimits;
}

export class HistoryWatch {
  readonly #o: HistoryWatchOptions;
  readonly #look: Timer;
  readonly #lookAtMemory: Timer;
  #watched: Watched | undefined;
  /** When the first question was sent that it has not answered; undefined when it has answered all. */
  #askedAt: number | undefined;
  #hasSpoken = false;
  #lookDueAt = 0;
  #queriesEnded = false;

  constructor(options: HistoryWatchOptions) {
    this.#o = options;
    this.#look = options.timer(() => this.#lookAtIt());
    this.#lookAtMemory = options.timer(() => this.#checkMemory());
  }

  /** How long it has not answered, ms. */
  get silenceMs(): number {
    return this.#askedAt === undefined ? 0 : this.#o.clock.monotonic() - this.#askedAt;
  }

  /** Whether the present one has said anything. */
  get hasSpoken(): boolean {
    return this.#hasSpoken;
  }

  /** A new history was started. */
  begin(watched: Watched): void {
    this.#watched = watched;
    this.#askedAt = undefined;
    this.#hasSpoken = false;
    this.#queriesEnded = false;
    this.ping();
    this.#lookIn(LOOK_MS);
  }

  /** It has ended. */
  end(): void {
    this.#watched = undefined;
  }

  /** It has said something. */
  heard(): void {
    this.#hasSpoken = true;
    this.#askedAt = undefined;
  }

  /** It is being asked something: from now on its silence counts. */
  asked(): void {
    if (this.#askedAt === undefined) this.ping();
    this.#look.by(this.#o.clock.monotonic() + LOOK_MS);
  }

  /** A statement of a user begins. */
  queried(): void {
    this.#lookAtMemory.within(MEMORY_LOOK_MS);
  }

  /** Asks for a sign of life. */
  ping(): void {
    this.#askedAt ??= this.#o.clock.monotonic();
    this.#watched?.ping();
  }

  #lookAtIt(): void {
    const watched = this.#watched;
    if (watched === undefined) return;
    const now = this.#o.clock.monotonic();
    // This process did not run for a while either: what the history has said meanwhile is heard now.
    if (now - this.#lookDueAt > LATE_MS && this.#askedAt !== undefined) this.#askedAt = now;
    watched.judge(this.silenceMs);
    const isAwaited = this.#askedAt !== undefined || watched.isAwaited();
    if (this.#askedAt === undefined) this.ping();
    this.#checkMemory();
    this.#lookIn(isAwaited ? LOOK_MS : LOOK_AT_REST_MS);
  }

  #lookIn(ms: number): void {
    this.#lookDueAt = this.#o.clock.monotonic() + ms;
    this.#look.in(ms);
  }

  /** A statement can take gigabytes within a step that DuckDB does not interrupt. */
  #checkMemory(): void {
    const watched = this.#watched;
    if (watched?.pid === undefined) return;
    const used = residentMemoryOf(watched.pid) ?? 0;
    const { queriesEnd, processEnds } = this.#o.memory;
    if (used > processEnds) watched.endProcess();
    else if (used > queriesEnd && !this.#queriesEnded) {
      this.#queriesEnded = true;
      watched.endQueries();
    }
    if (watched.isQueried()) this.#lookAtMemory.in(MEMORY_LOOK_MS);
    // The next statement is told too, even if the allocator has kept the memory of this one.
    else this.#queriesEnded = false;
  }
}
