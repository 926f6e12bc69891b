/** Running other programs, so that none outlives the script that started it. */

/** What became of a program. */
export interface Finished {
  /** Exit status; 128 + n after signal n. */
  readonly code: number;
  /** stdout and stderr as they came; empty when they were inherited. */
  readonly output: string;
  readonly seconds: number;
  /** CPU time of it and of the programs that it waited for, s. */
  readonly cpu: number;
  /** It was ended because it took longer than `timeoutMs`. */
  readonly timedOut: boolean;
}

/** How to run a program. */
export interface RunOptions {
  readonly cwd?: string;
  readonly env?: Record<string, string | undefined>;
  /** `inherit` shows the output at once, `capture` returns it. */
  readonly output?: "inherit" | "capture";
  readonly timeoutMs?: number;
}

const running = new Set<Bun.Subprocess>();

/** Runs a program in a process group of its own and waits for it; whatever is left of the group then is killed. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const started = performance.now();
  const captured = options.output !== "inherit";
  const child = Bun.spawn([...command], {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdin: "ignore",
    stdout: captured ? "pipe" : "inherit",
    stderr: captured ? "pipe" : "inherit",
    detached: true,
  });
  running.add(child);
  let timedOut = false;
  const timer =
    options.timeoutMs === undefined
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          killGroup(child.pid, "SIGKILL");
        }, options.timeoutMs);
  const chunks: string[] = [];
  const reading = captured
    ? [collect(child.stdout as ReadableStream, chunks), collect(child.stderr as ReadableStream, chunks)]
    : [];
  const code = await child.exited;
  clearTimeout(timer);
  running.delete(child);
  killGroup(child.pid, "SIGKILL");
  // A process that left the group may hold the pipe: what it says later is nobody's any more.
  await Promise.race([Promise.all(reading), Bun.sleep(2000)]);
  const seconds = (performance.now() - started) / 1000;
  // In µs.
  const cpu = Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6;
  return { code, output: chunks.join(""), seconds, cpu, timedOut };
}

/** Ends every program that {@link run} still waits for. */
export function killRunning(): void {
  for (const child of running) killGroup(child.pid, "SIGKILL");
}

/** Signals a process group; one that is gone already is no error. */
export function killGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nothing left of it.
  }
}

async function collect(stream: ReadableStream<Uint8Array>, into: string[]): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) into.push(decoder.decode(chunk, { stream: true }));
}
