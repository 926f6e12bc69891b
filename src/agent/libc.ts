/** C library calls that tasks need and Bun's API lacks. */
import { CString, dlopen, type Pointer, ptr, read } from "bun:ffi";
import { CdktrError } from "../errors.ts";

const O_CLOEXEC = 0o2000000;
const FIONREAD = 0x541b;
const WNOHANG = 1;
const POLLIN = 0x1;
const POLLHUP = 0x10;
const LOCK_EX = 2;
const LOCK_NB = 4;
const RLIMIT_CORE = 4;
const RLIMIT_DATA = 2;
const RLIMIT_NOFILE = 7;
/** Signals that the runtime ignores (SIGPIPE, SIGXFSZ), which a program would inherit. */
const IGNORED = [13, 25];

const SYMBOLS = {
  pipe2: { args: ["ptr", "i32"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
  poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
  waitpid: { args: ["i32", "ptr", "i32"], returns: "i32" },
  execve: { args: ["ptr", "ptr", "ptr"], returns: "i32" },
  getrlimit: { args: ["i32", "ptr"], returns: "i32" },
  setrlimit: { args: ["i32", "ptr"], returns: "i32" },
  signal: { args: ["i32", "ptr"], returns: "ptr" },
  flock: { args: ["i32", "i32"], returns: "i32" },
  getpwnam: { args: ["ptr"], returns: "ptr" },
  initgroups: { args: ["ptr", "u32"], returns: "i32" },
  setgid: { args: ["u32"], returns: "i32" },
  setuid: { args: ["u32"], returns: "i32" },
  getxattr: { args: ["ptr", "ptr", "ptr", "u64"], returns: "i64" },
} as const;

type Libc = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];
let loaded: Libc | undefined;
const words = new Int32Array(2);
/** Soft and hard. */
const limits = new BigUint64Array(2);

function libc(): Libc {
  loaded ??= dlopen("libc.so.6", SYMBOLS).symbols;
  return loaded;
}

/** This process has too many files open. */
export class NoDescriptorsError extends CdktrError {}

/** A pipe: what is written to `write` can be read from `read`. Both are close-on-exec; the caller must close them. */
export interface Pipe {
  readonly read: number;
  readonly write: number;
}

/**
 * Creates a pipe. Bun's own "pipe" is a socket: a program that opens `/dev/stdout` or `/dev/stderr` fails on it.
 * @throws NoDescriptorsError when the process has no descriptors left
 */
export function makePipe(): Pipe {
  if (libc().pipe2(ptr(words), O_CLOEXEC) !== 0) {
    throw new NoDescriptorsError(
      "No pipe could be created for the output of a task: too many files are open.",
      {
        hint: "Raise the limit of open files (ulimit -n), or lower CDKTR_AGENT_MAX_TASKS.",
      },
    );
  }
  return { read: words[0] ?? -1, write: words[1] ?? -1 };
}

/** Number of bytes that can be read from a pipe now. */
export function readableBytes(fd: number): number {
  return libc().ioctl(fd, FIONREAD, ptr(words)) === 0 ? (words[0] ?? 0) : 0;
}

/** A `struct pollfd`: the descriptor, then 16 bits each of the events asked for and those found. */
const polled = new Int32Array(2);

/** What reading from a pipe would do now. */
export type PipeState =
  /** There is something to read. */
  | "data"
  /** Nobody holds the other end any more, and everything was read. */
  | "ended"
  /** Reading would block. */
  | "open";

/** The state of a pipe, seen from its reading end. */
export function stateOfPipe(fd: number): PipeState {
  polled[0] = fd;
  polled[1] = POLLIN;
  if (libc().poll(ptr(polled), 1, 0) <= 0) return "open";
  const found = (polled[1] ?? 0) >>> 16;
  return (found & POLLIN) !== 0 ? "data" : (found & POLLHUP) !== 0 ? "ended" : "open";
}

/** Reaps a child that nobody else waits for, so that it does not remain a zombie. */
export function reap(pid: number): void {
  libc().waitpid(pid, ptr(words), WNOHANG);
}

/**
 * Replaces this process with another program, with default signal handling.
 * @param data the most private memory that it may have, bytes: it would leave this process none to work with, so it is set at the end
 * @throws an error with the code EACCES if the system refuses
 */
export function replaceProcess(
  file: string,
  argv: readonly string[],
  env: Readonly<Record<string, string>>,
  data?: number,
): never {
  const path = Buffer.from(`${file}\0`);
  const argumentList = stringList(argv);
  const environment = stringList(Object.entries(env).map(([name, value]) => `${name}=${value}`));
  for (const signal of IGNORED) libc().signal(signal, null);
  if (data !== undefined) {
    limits.fill(BigInt(data));
    libc().setrlimit(RLIMIT_DATA, ptr(limits));
  }
  libc().execve(ptr(path), ptr(argumentList.pointers), ptr(environment.pointers));
  throw Object.assign(new Error("the system refuses to execute it"), { code: "EACCES" });
}

/** A null-terminated list of C strings. `strings` must stay referenced while the pointers are in use. */
function stringList(texts: readonly string[]): { pointers: BigUint64Array; strings: readonly Buffer[] } {
  const strings = texts.map((text) => Buffer.from(`${text}\0`));
  const pointers = new BigUint64Array(strings.length + 1);
  strings.forEach((text, index) => {
    pointers[index] = BigInt(ptr(text));
  });
  return { pointers, strings };
}

/** The limit of open files of this process. */
export function getOpenFilesLimit(): { soft: number; hard: number } {
  libc().getrlimit(RLIMIT_NOFILE, ptr(limits));
  return { soft: Number(limits[0]), hard: Number(limits[1]) };
}

/** Sets the soft limit of open files; the hard limit stays. */
export function setOpenFilesLimit(soft: number): void {
  libc().getrlimit(RLIMIT_NOFILE, ptr(limits));
  limits[0] = BigInt(soft);
  libc().setrlimit(RLIMIT_NOFILE, ptr(limits));
}

/**
 * The soft limit of the size of core dumps with which no process dumps anything: smaller than any dump, and, unlike 0, also obeyed when a
 * program receives the dumps (core(5)).
 */
const NO_CORE = 1n;

/** Starts a child process that does not dump its memory into a file when it crashes. */
export function withoutCoreDump<Child>(start: () => Child): Child {
  libc().getrlimit(RLIMIT_CORE, ptr(limits));
  const [soft = 0n, hard = 0n] = limits;
  setCoreLimit(hard < NO_CORE ? hard : NO_CORE, hard);
  try {
    return start();
  } finally {
    setCoreLimit(soft, hard);
  }
}

function setCoreLimit(soft: bigint, hard: bigint): void {
  limits[0] = soft;
  limits[1] = hard;
  libc().setrlimit(RLIMIT_CORE, ptr(limits));
}

/** The value of an extended attribute of a file; undefined if it has none. */
export function extendedAttribute(path: string, name: string): string | undefined {
  const value = Buffer.alloc(64);
  const length = libc().getxattr(
    ptr(Buffer.from(`${path}\0`)),
    ptr(Buffer.from(`${name}\0`)),
    ptr(value),
    value.length,
  );
  return length < 0 ? undefined : value.subarray(0, Number(length)).toString();
}

/**
 * Locks a file for this process until it closes the descriptor, or ends in any way. Returns whether nobody else holds the lock.
 * @param waits whether it blocks this process until that is so
 */
export function lockFile(fd: number, waits = false): boolean {
  return libc().flock(fd, waits ? LOCK_EX : LOCK_EX | LOCK_NB) === 0;
}

/** A user of the host. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  readonly shell: string;
}

/** Places in a `struct passwd`, bytes. */
const PASSWD = { uid: 16, gid: 20, home: 32, shell: 40 } as const;

/** The user of this name, wherever the host has its users; undefined if there is none. */
export function accountOf(name: string): Account | undefined {
  const found = libc().getpwnam(ptr(Buffer.from(`${name}\0`)));
  if (found === null) return undefined;
  const text = (at: number) => new CString(read.ptr(found, at) as Pointer).toString();
  return {
    name,
    uid: read.u32(found, PASSWD.uid),
    gid: read.u32(found, PASSWD.gid),
    home: text(PASSWD.home),
    shell: text(PASSWD.shell),
  };
}

/**
 * This process becomes that of another user, with the groups of that user, for good.
 * @throws Error if it may not
 */
export function becomeUser({ name, uid, gid }: Pick<Account, "name" | "uid" | "gid">): void {
  const calls: readonly (() => number)[] = [
    () => libc().initgroups(ptr(Buffer.from(`${name}\0`)), gid),
    () => libc().setgid(gid),
    () => libc().setuid(uid),
  ];
  if (calls.some((call) => call() !== 0) || process.getuid?.() !== uid || process.geteuid?.() !== uid)
    throw new Error(`This process may not become that of user "${name}".`);
}
