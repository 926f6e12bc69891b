/**
 * Reports the state of this service to systemd: ready, stopping, alive. The protocol is one datagram of `KEY=VALUE` lines to the unix
 * socket named by NOTIFY_SOCKET (sd_notify(3)). Bun has no unix datagrams, so they are sent through the C library.
 */
import { dlopen, ptr } from "bun:ffi";
import { Timer } from "../timer.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** Size of `sun_path` in `struct sockaddr_un`. */
const PATH_BYTES = 108;
/** Pings per watchdog interval, so that one may be late. */
const PINGS = 3;
/** Interval between updates of the status text, ms. */
const STATUS_MS = 1000;
/** How much each message extends the timeout of a slow start or stop, ms; several messages are sent in that time. */
const EXTENSION_MS = 30_000;
/** Maximum duration of a start, ms. */
const STARTING_MS = 3_600_000;

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
} as const;

type Environment = Record<string, string | undefined>;

/** The supervisor of this process; a no-op when there is none. */
export class Supervisor {
  readonly #address: Buffer | undefined;
  readonly #watchdogMs: number | undefined;
  readonly #pings = new Timer(() => void this.#ping());
  readonly #looks = new Timer(() => this.#describe());
  readonly #extending = new Timer(() => this.#extend());
  /** Until then it asks for more time (monotonic). */
  #extendUntil = 0;
  #describe: () => void = () => {};
  #ping: () => Promise<void> = async () => {};
  #stopping = false;
  #said = "";

  /**
   * Reads systemd's variables from the environment, and removes them: they are meant for this process, not for the tasks and agents
   * that it starts.
   */
  constructor(environment: Environment = process.env, pid: number = process.pid) {
    this.#address = addressOf(environment.NOTIFY_SOCKET);
    const { WATCHDOG_USEC: period, WATCHDOG_PID: owner } = environment;
    const isOurs = owner === undefined || owner === "" || Number(owner) === pid;
    if (isOurs && Number(period) > 0) this.#watchdogMs = Number(period) / 1000;
    for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete environment[name];
  }

  /** The service is starting, which may take a while if it migrates or recovers large files. */
  starting(status: string): void {
    this.status(status);
    this.#askForTime(STARTING_MS);
  }

  /**
   * The service is ready. From now on the watchdog is pinged as long as `isWell` resolves with true in time.
   * @param describe the status text of `systemctl status`; called periodically
   * @param isWell checks that the service does its work
   */
  ready(describe: () => string, isWell: () => Promise<boolean> = async () => true): void {
    if (this.#stopping) return;
    this.#extending.cancel();
    this.#said = oneLine(describe());
    this.#send(`READY=1\nSTATUS=${this.#said}`);
    if (this.#address === undefined) return;
    this.#describe = () => {
      if (!this.#stopping) this.status(describe());
    };
    this.#looks.every(STATUS_MS);
    if (this.#watchdogMs === undefined) return;
    let looking = false;
    this.#ping = async () => {
      if (looking) return;
      looking = true;
      try {
        if (this.#stopping || (await isWell())) this.#send("WATCHDOG=1");
      } catch {
        // Not well: systemd decides whether that lasts too long.
      } finally {
        looking = false;
      }
    };
    this.#pings.every(Math.max(1, this.#watchdogMs / PINGS));
    void this.#ping();
  }

  /** Sets the status text of `systemctl status`. */
  status(text: string): void {
    const line = oneLine(text);
    if (line === this.#said) return;
    this.#said = line;
    this.#send(`STATUS=${line}`);
  }

  /**
   * The service is stopping on request; the watchdog is satisfied until it has stopped.
   * @param patienceMs how long that may take, beyond the unit's stop timeout; a hang is still detected early
   */
  stopping(status: string, patienceMs = 0): void {
    this.#stopping = true;
    this.#said = oneLine(status);
    this.#send(`STOPPING=1\nSTATUS=${this.#said}`);
    this.#askForTime(patienceMs);
  }

  /** Keeps extending the timeout in small steps, as long as this process lives and `patienceMs` has not passed. */
  #askForTime(patienceMs: number): void {
    this.#extending.cancel();
    if (patienceMs <= 0 || this.#address === undefined) return;
    this.#extendUntil = performance.now() + patienceMs;
    this.#extending.every(EXTENSION_MS / PINGS);
    this.#extend();
  }

  #extend(): void {
    const left = Math.min(EXTENSION_MS, this.#extendUntil - performance.now());
    if (left > 0) this.#send(`EXTEND_TIMEOUT_USEC=${Math.ceil(left * 1000)}`);
    else this.#extending.cancel();
  }

  /** Stops the pings. */
  close(): void {
    for (const timer of [this.#pings, this.#looks, this.#extending]) timer.cancel();
  }

  /** An unreachable supervisor is not a reason to fail. */
  #send(message: string): void {
    const address = this.#address;
    if (address === undefined) return;
    const { socket, sendto, close } = libc();
    const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
    if (fd < 0) return;
    const bytes = Buffer.from(message, "utf8");
    sendto(fd, ptr(bytes), bytes.length, MSG_NOSIGNAL, ptr(address), address.length);
    close(fd);
  }
}

type Libc = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];
let loaded: Libc | undefined;

function libc(): Libc {
  loaded ??= dlopen("libc.so.6", SYMBOLS).symbols;
  return loaded;
}

/** The `struct sockaddr_un` of a path, or of an abstract name (`@name`); undefined for anything else. */
function addressOf(socket: string | undefined): Buffer | undefined {
  if (socket === undefined || !/^[/@]./.test(socket)) return undefined;
  const path = Buffer.from(socket, "utf8");
  const isAbstract = path[0] === 0x40;
  if (path.length > PATH_BYTES - (isAbstract ? 0 : 1)) return undefined;
  // An abstract name ends with the length of the address, a path with a NUL.
  const address = Buffer.alloc(2 + path.length + (isAbstract ? 0 : 1));
  // Both platforms are little-endian.
  address.writeUInt16LE(AF_UNIX, 0);
  path.copy(address, 2);
  if (isAbstract) address[2] = 0;
  return address;
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, " ");
}
