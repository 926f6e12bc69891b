import { pulse } from "../host/pulse.ts";
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
import { BUSY, CLOCK_SET, READY, reactorWorkerSource } from "./reactor-worker.ts";

/** Interval at which the main thread polls the sockets while there is no Worker. */
const POLL_INTERVAL_MS = 1;
/** The same if no Worker can be started at all. */
const DEGRADED_POLL_INTERVAL_MS = 10;
/** A command that gets its reply within this many polls never pays for a Worker. */
const POLLS_BEFORE_WORKER = 5;
/** After this many Workers in a row died before they were ready, give up on Workers. */
const FAILED_STARTS = 3;

/** A descriptor that the reactor watches. `ready` is called when it may be ready; spurious calls are possible. */
export interface Watch {
  readonly descriptor: number;
  readonly token: number;
  readonly ready: () => void;
  armed: boolean;
  added: boolean;
}

/**
 * Reports when the descriptors of sockets become ready. All are in one epoll set with EPOLLONESHOT: each is reported once and then
 * silent until it is armed again. A Worker blocks in `epoll_wait` and posts what is ready; until it runs (a few milliseconds,
 * starting with the first longer wait) or after it died, the main thread polls.
 *
 * epoll checks the level of the descriptor when it is armed, so a Worker that dies loses nothing: whatever it took and did not post is
 * still armed here, and is armed in the set again.
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

  /** The current Worker, if any. */
  get worker(): Worker | undefined {
    return this.#worker;
  }

  /** Whether that Worker is already waiting; until then the main thread polls. */
  get workerReady(): boolean {
    return this.#workerReady;
  }

  /** Starts to watch a descriptor; nothing is reported before it is armed. */
  watch(descriptor: number, ready: () => void): Watch {
    // The token must not be the descriptor: its number is reused as soon as it is closed.
    const token = this.#nextToken();
    const watch: Watch = { descriptor, token, ready, armed: false, added: false };
    this.#watches.set(token, watch);
    return watch;
  }

  /** Stops watching. Must be called before the descriptor is closed. */
  unwatch(watch: Watch): void {
    if (!this.#watches.delete(watch.token)) return;
    this.#armed.delete(watch);
    watch.armed = false;
    if (watch.added) this.#control(EPOLL_CTL_DEL, watch);
  }

  /** Reports the watch once, when its descriptor is or becomes readable. */
  arm(watch: Watch): void {
    if (watch.armed) return;
    watch.armed = true;
    this.#armed.add(watch);
    this.#control(watch.added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch);
    watch.added = true;
    if (!this.#workerReady) this.#poll();
  }

  /** Keeps the process alive until {@link release} was called the same number of times. */
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
    // Operations that wait keep the process alive themselves; this timer alone must not.
    this.#pollTimer.unref();
  }

  #startWorker(): void {
    const url = URL.createObjectURL(
      new Blob([reactorWorkerSource(this.#epoll, pulse.address)], { type: "application/javascript" }),
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
      } else if (data === READY) {
        URL.revokeObjectURL(url);
        this.#workerReady = pulse.isThere = true;
        this.#failedStarts = 0;
      } else if (data === BUSY) pulse.tell("busy");
      else if (data === CLOCK_SET) pulse.tell("clock set");
    });
    // The "close" event is what matters; but without an error listener, an error would crash the process.
    worker.addEventListener("error", (event) => event.preventDefault());
    worker.addEventListener("close", () => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      if (!this.#workerReady) this.#failedStarts++;
      this.#workerReady = pulse.isThere = false;
      for (const watch of this.#armed) this.#control(EPOLL_CTL_MOD, watch);
      this.#poll();
    });
    worker.unref();
  }
}

let current: Reactor | undefined;

/** The reactor of this process, created on the first call. */
export function reactor(): Reactor {
  current ??= new Reactor();
  return current;
}
