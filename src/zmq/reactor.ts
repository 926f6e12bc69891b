import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLIN,
  EPOLLONESHOT,
} from "./constants.ts";
import { ZmqError } from "./error.ts";
import { EPOLL_DATA_WORD, EPOLL_EVENT_WORDS, libc } from "./libc.ts";
import { reactorWorkerSource } from "./reactor-worker.ts";

/** Looks at the sockets itself this often while no Worker does. */
const POLL_INTERVAL_MS = 1;
/** The same when no Worker can be had at all. */
const DEGRADED_POLL_INTERVAL_MS = 10;
/** A command that gets its answer within these looks never pays for a Worker. */
const POLLS_BEFORE_WORKER = 5;
/** Workers that died in a row before one became ready: then it is done without. */
const FAILED_STARTS = 3;

/** One descriptor that the reactor watches. `ready` is called when it may be ready; it may also be called for nothing. */
export interface Watch {
  readonly descriptor: number;
  readonly token: number;
  readonly ready: () => void;
  armed: boolean;
  added: boolean;
}

/**
 * Tells when the descriptors of sockets become ready. Each is in one epoll set with EPOLLONESHOT: it is reported once
 * and then silent until it is armed again. A Worker blocks in `epoll_wait` and posts what is ready; until it runs (a
 * few milliseconds, from the first longer wait on) or when it died, the main thread looks itself.
 *
 * epoll looks at the level of the descriptor when it is armed, so a Worker that dies loses nothing: what it took and
 * did not post is still armed here, and is armed in the set once more.
 */
export class Reactor {
  readonly #epoll: number;
  readonly #event = new Uint32Array(EPOLL_EVENT_WORDS);
  readonly #watches = new Map<number, Watch>();
  readonly #armed = new Set<Watch>();
  readonly #keepAlive: NodeJS.Timeout;
  #holds = 0;
  #lastToken = 0;
  #worker: Worker | undefined;
  #workerReady = false;
  #failedStarts = 0;
  #polls = 0;
  #pollTimer: NodeJS.Timeout | undefined;

  constructor() {
    this.#epoll = libc().epoll_create1(EPOLL_CLOEXEC);
    if (this.#epoll < 0) throw new ZmqError("EMFILE", "create an epoll set");
    this.#keepAlive = setInterval(() => {}, 0x7fff_ffff);
    this.#keepAlive.unref();
  }

  /** The Worker that waits at the moment, if one runs. */
  get worker(): Worker | undefined {
    return this.#worker;
  }

  /** Whether that Worker waits already; until then, and without one, the main thread looks at the sockets itself. */
  get workerReady(): boolean {
    return this.#workerReady;
  }

  /** Begins to watch a descriptor; nothing is reported before it is armed. */
  watch(descriptor: number, ready: () => void): Watch {
    // Never the descriptor as token: its number is used again as soon as it is closed.
    const token = this.#nextToken();
    const watch: Watch = { descriptor, token, ready, armed: false, added: false };
    this.#watches.set(token, watch);
    return watch;
  }

  /** Ends watching. Must come before the descriptor is closed. */
  unwatch(watch: Watch): void {
    if (!this.#watches.delete(watch.token)) return;
    this.#armed.delete(watch);
    watch.armed = false;
    if (watch.added) this.#control(EPOLL_CTL_DEL, watch);
  }

  /** Reports the watch once when its descriptor is, or becomes, readable. */
  arm(watch: Watch): void {
    if (watch.armed) return;
    watch.armed = true;
    this.#armed.add(watch);
    this.#control(watch.added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch);
    watch.added = true;
    if (!this.#workerReady) this.#poll();
  }

  /** Keeps the process alive until {@link release} was called as often. */
  hold(): void {
    if (this.#holds++ === 0) this.#keepAlive.ref();
  }

  release(): void {
    if (--this.#holds === 0) this.#keepAlive.unref();
  }

  #nextToken(): number {
    do {
      this.#lastToken = (this.#lastToken + 1) >>> 0;
    } while (this.#watches.has(this.#lastToken));
    return this.#lastToken;
  }

  #control(operation: number, watch: Watch): void {
    const event = this.#event;
    event.fill(0);
    event[0] = EPOLLIN | EPOLLONESHOT;
    event[EPOLL_DATA_WORD] = watch.token;
    if (
      libc().epoll_ctl(this.#epoll, operation, watch.descriptor, event) < 0 &&
      operation !== EPOLL_CTL_DEL
    ) {
      throw new ZmqError("EBADF", "wait for a socket", { text: "its descriptor cannot be watched" });
    }
  }

  #dispatch(token: number): void {
    const watch = this.#watches.get(token);
    if (watch === undefined) return;
    watch.armed = false;
    this.#armed.delete(watch);
    watch.ready();
  }

  #poll(): void {
    if (this.#pollTimer !== undefined || this.#armed.size === 0) return;
    const degraded = this.#failedStarts >= FAILED_STARTS;
    this.#pollTimer = setTimeout(
      () => {
        this.#pollTimer = undefined;
        if (this.#workerReady) return;
        if (this.#worker === undefined && !degraded && ++this.#polls >= POLLS_BEFORE_WORKER)
          this.#startWorker();
        for (const watch of [...this.#armed]) if (watch.armed) watch.ready();
        this.#poll();
      },
      degraded ? DEGRADED_POLL_INTERVAL_MS : POLL_INTERVAL_MS,
    );
    // Whoever waits for something that must come holds the process; this timer alone is no reason to stay.
    this.#pollTimer.unref();
  }

  #startWorker(): void {
    const url = URL.createObjectURL(
      new Blob([reactorWorkerSource(this.#epoll)], { type: "application/javascript" }),
    );
    let worker: Worker;
    try {
      worker = new Worker(url, { name: "zmq-reactor", smol: true, ref: false });
    } catch {
      this.#failedStarts++;
      return;
    }
    this.#worker = worker;
    worker.addEventListener("message", (event: MessageEvent<number | number[]>) => {
      const { data } = event;
      if (typeof data !== "number") {
        for (const token of data) this.#dispatch(token);
      } else if (data >= 0) {
        this.#dispatch(data);
      } else {
        URL.revokeObjectURL(url);
        this.#workerReady = true;
        this.#failedStarts = 0;
      }
    });
    // Its end is what counts, and "close" tells that; without a listener the error would end the process.
    worker.addEventListener("error", (event) => event.preventDefault());
    worker.addEventListener("close", () => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      if (!this.#workerReady) this.#failedStarts++;
      this.#workerReady = false;
      for (const watch of this.#armed) this.#control(EPOLL_CTL_MOD, watch);
      this.#poll();
    });
    worker.unref();
  }
}

let current: Reactor | undefined;

/** The one reactor of this process, made at the first call. */
export function reactor(): Reactor {
  current ??= new Reactor();
  return current;
}
