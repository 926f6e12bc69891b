/**
 * Telling systemd how this service is: ready, stopping, alive. The protocol is one datagram of `KEY=VALUE` lines to the unix
 * socket that NOTIFY_SOCKET names (sd_notify(3)). The platform has no unix datagrams, so the C library sends them.
 */
import { dlopen, ptr } from "bun:ffi";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** `sun_path` of `struct sockaddr_un`. */
const PATH_BYTES = 108;
/** Pings in the time within which systemd wants one: one may be late. */
const PINGS = 3;
/** Between two looks at what the service says of itself, ms. */
const STATUS_MS = 1000;
/** How much longer each message of a service that takes its time to start or to end gives it, ms; several come in that time. */
const EXTENSION_MS = 30_000;
/** How long a start may take at most, ms. */
const STARTING_MS = 3_600_000;

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
} as const;

type Environment = Record<string, string | undefined>;

/** The supervisor above this process; does nothing when there is none. */
export class Supervisor {
  readonly #address: Buffer | undefined;
  readonly #watchdogMs: number | undefined;
  #pings: Timer | undefined;
  #looks: Timer | undefined;
  #extending: Timer | undefined;
  #stopping = false;
  #said = "";

  /**
   * Reads what systemd says in the environment, and takes it out of there: it is meant for this process, not for the tasks and
   * agents that it starts.
   */
  constructor(environment: Environment = process.env, pid: number = process.pid) {
    this.#address = addressOf(environment.NOTIFY_SOCKET);
    const { WATCHDOG_USEC: period, WATCHDOG_PID: owner } = environment;
    const isOurs = owner === undefined || owner === "" || Number(owner) === pid;
    if (isOurs && Number(period) > 0) this.#watchdogMs = Number(period) / 1000;
    for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete environment[name];
  }

  /** The service starts, and may take its time for that: it migrates and recovers what is large. */
  starting(status: string): void {
    this.status(status);
    this.#askForTime(STARTING_MS);
  }

  /**
   * The service is ready. From now on the watchdog hears of it, as long as `isWell` resolves with true in time.
   * @param describe what `systemctl status` shows; asked again and again
   * @param isWell looks whether the service does what it is there for
   */
  ready(describe: () => string, isWell: () => Promise<boolean> = async () => true): void {
    if (this.#stopping) return;
    clearInterval(this.#extending);
    this.#said = oneLine(describe());
    this.#send(`READY=1\nSTATUS=${this.#said}`);
    if (this.#address === undefined) return;
    this.#looks = setInterval(() => {
      if (!this.#stopping) this.status(describe());
    }, STATUS_MS);
    if (this.#watchdogMs === undefined) return;
    let looking = false;
    const look = async () => {
      if (looking) return;
      looking = true;
      try {
        if (this.#stopping || (await isWell())) this.#send("WATCHDOG=1");
      } catch {
        // Not well: whether that lasts too long is for systemd to say.
      } finally {
        looking = false;
      }
    };
    this.#pings = setInterval(look, Math.max(1, this.#watchdogMs / PINGS));
    void look();
  }

  /** What `systemctl status` shows. */
  status(text: string): void {
    const line = oneLine(text);
    if (line === this.#said) return;
    this.#said = line;
    this.#send(`STATUS=${line}`);
  }

  /**
   * The service ends on somebody's wish; until it has, the watchdog is content.
   * @param patienceMs how long it may take, beyond what the unit says; one that hangs is found soon all the same
   */
  stopping(status: string, patienceMs = 0): void {
    this.#stopping = true;
    this.#said = oneLine(status);
    this.#send(`STOPPING=1\nSTATUS=${this.#said}`);
    this.#askForTime(patienceMs);
  }

  /** Asks again and again for a little more of it, for as long as this process lives and `patienceMs` is not over. */
  #askForTime(patienceMs: number): void {
    clearInterval(this.#extending);
    if (patienceMs <= 0 || this.#address === undefined) return;
    const until = performance.now() + patienceMs;
    const extend = () => {
      const left = Math.min(EXTENSION_MS, until - performance.now());
      if (left > 0) this.#send(`EXTEND_TIMEOUT_USEC=${Math.ceil(left * 1000)}`);
      else clearInterval(this.#extending);
    };
    this.#extending = setInterval(extend, EXTENSION_MS / PINGS);
    extend();
  }

  /** Ends the pings. */
  close(): void {
    clearInterval(this.#pings);
    clearInterval(this.#looks);
    clearInterval(this.#extending);
  }

  /** A supervisor that cannot be reached is no reason to fail. */
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
