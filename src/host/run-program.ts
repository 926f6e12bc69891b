/** What a program prints: run with limits, in a process group of its own, which is ended when it goes beyond them. */
import { isDoneWithin, Timer } from "../timer.ts";
import { withInheritedUmask } from "./private-data.ts";

/** How long what a program leaves running may hold its output open, ms. */
const SETTLE_MS = 500;

/** How a program is run. */
export interface ProgramLimits {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** How long it may take, ms; then its group is told to end, and killed after {@link graceMs}. */
  readonly limitMs: number;
  /** Between TERM and KILL, ms; 0 kills at once. */
  readonly graceMs: number;
  readonly signal: AbortSignal;
  /** What it reads from its standard input; nothing by default. */
  readonly stdin?: string;
  /** The most that is kept of what it prints, bytes: of the output the beginning, of the errors the end. */
  readonly outBytes: number;
  /** Whether it is ended when it prints more than is kept. */
  readonly endsWhenFull?: boolean;
  readonly errBytes: number;
}

/** How it ended. */
export interface ProgramEnd {
  /** Null when a signal ended it. */
  readonly status: number | null;
  readonly endedBy: string | null;
  /** Whether it was ended because it took too long. */
  readonly isLate: boolean;
  readonly out: Buffer;
  readonly isCut: boolean;
  readonly err: Buffer;
}

/**
 * Runs a program; it gets no shell. What it leaves running keeps nobody waiting.
 * @throws what the system says when it cannot be started
 */
export async function runProgram(argv: readonly string[], limits: ProgramLimits): Promise<ProgramEnd> {
  const { signal, stdin } = limits;
  const child = withInheritedUmask(() =>
    Bun.spawn([...argv], {
      env: { ...limits.env },
      ...(limits.cwd === undefined ? {} : { cwd: limits.cwd }),
      stdin: stdin === undefined ? "ignore" : "pipe",
      stdout: "pipe",
      stderr: "pipe",
      detached: true,
    }),
  );
  let isLate = false;
  let isEnded = false;
  const kill = new Timer(() => signalGroup(child.pid, "SIGKILL"));
  const end = () => {
    isEnded = true;
    if (limits.graceMs > 0) {
      signalGroup(child.pid, "SIGTERM");
      kill.in(limits.graceMs);
    } else signalGroup(child.pid, "SIGKILL");
  };
  const limit = new Timer(() => {
    isLate = true;
    end();
  });
  limit.in(limits.limitMs);
  signal.addEventListener("abort", end);
  if (signal.aborted) end();
  const out = new Kept(child.stdout, limits.outBytes, "beginning", () => {
    if (limits.endsWhenFull === true) end();
  });
  const err = new Kept(child.stderr, limits.errBytes, "end");
  try {
    if (stdin !== undefined) void give(child.stdin as Bun.FileSink, stdin);
    await child.exited;
    limit.cancel();
    if (!(await isDoneWithin(SETTLE_MS, Promise.all([out.done, err.done]))))
      await Promise.all([out.stop(), err.stop()]);
    return {
      status: child.signalCode === null ? child.exitCode : null,
      endedBy: child.signalCode === null ? null : String(child.signalCode),
      isLate,
      out: out.bytes,
      isCut: out.isCut,
      err: err.bytes,
    };
  } finally {
    limit.cancel();
    kill.cancel();
    // Whoever does not end with it.
    if (isEnded) signalGroup(child.pid, "SIGKILL");
    signal.removeEventListener("abort", end);
  }
}

/** A program that reads nothing, or not all, is none of our business. */
async function give(sink: Bun.FileSink, text: string): Promise<void> {
  try {
    await sink.write(text);
    await sink.end();
  } catch {
    // It has ended.
  }
}

/** Signals a whole group; it is not an error if it is gone. */
function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // Gone, or not ours.
  }
}

/** Reads a stream to its end, and keeps a part. */
class Kept {
  readonly done: Promise<void>;
  readonly #reader: {
    read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
    cancel(): Promise<void>;
  };
  readonly #most: number;
  readonly #part: "beginning" | "end";
  readonly #full: () => void;
  #chunks: Uint8Array[] = [];
  #length = 0;
  isCut = false;

  constructor(
    stream: ReadableStream<Uint8Array>,
    most: number,
    part: "beginning" | "end",
    full: () => void = () => {},
  ) {
    this.#full = full;
    this.#reader = stream.getReader();
    this.#most = most;
    this.#part = part;
    this.done = this.#read();
  }

  get bytes(): Buffer {
    const all = Buffer.concat(this.#chunks);
    return this.#part === "beginning" ? all.subarray(0, this.#most) : all.subarray(-this.#most);
  }

  async stop(): Promise<void> {
    await this.#reader.cancel().catch(() => {});
    await this.done;
  }

  async #read(): Promise<void> {
    try {
      for (let next = await this.#reader.read(); !next.done; next = await this.#reader.read())
        if (next.value !== undefined) this.#add(next.value);
    } catch {
      // Cancelled: what was read counts.
    }
  }

  #add(chunk: Uint8Array): void {
    if (this.#part === "beginning" && this.#length > this.#most) return;
    // Bun may use the array again.
    this.#chunks.push(new Uint8Array(chunk));
    this.#length += chunk.length;
    if (this.#length <= this.#most) return;
    if (!this.isCut) this.#full();
    this.isCut = true;
    if (this.#part === "beginning") return;
    const end = this.bytes;
    if (this.#length > 2 * this.#most) {
      this.#chunks = [new Uint8Array(end)];
      this.#length = end.length;
    }
  }
}
