/** A child process that is restarted with exponential back-off when it fails, and ended when this process ends. */
import type { ConsolaInstance } from "consola";
import { errorMessage } from "../errors.ts";
import { BackgroundService } from "../service.ts";
import { BackOff, isDoneWithin, pause, Timer } from "../timer.ts";
import { withInheritedUmask } from "./private-data.ts";

const LONGEST_PAUSE_MS = 30_000;
/** A child that ran this long was healthy: the back-off is reset, ms. */
const HEALTHY_MS = 60_000;
/** How long a killed child may take to disappear before it is left behind, ms: the kernel cannot end one that waits for a disk. */
const KILLED_MS = 5_000;

/** How a child ended: its exit status, the name of the signal, or the error with which it could not be started. */
export type ChildOutcome = number | string;

/** How to start the child, and when not to restart it. */
export interface SupervisedProcessOptions {
  /** Name in messages: `agent`. */
  readonly name: string;
  /** Called before each start. */
  readonly command: () => readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: ConsolaInstance;
  /** Delay before the first restart, ms; doubles each time, up to 30 s. */
  readonly firstPauseMs: number;
  /** Whether to stop restarting after the `start`-th exit (1-based). By default after exit status 0. */
  readonly isFinal?: (outcome: ChildOutcome, start: number) => boolean;
  /** How long the child may take to stop, ms, before its process group is killed; by default any time. */
  readonly stopMs?: number;
  /** The same after it has been told a second time. */
  readonly urgentStopMs?: number;
  /** Receives what the child sends with `process.send`, as JSON; without it, there is no IPC channel. */
  readonly heard?: (message: unknown) => void;
}

/** The supervised child. Signals `failed` when it has exited and will be restarted. */
export class SupervisedProcess extends BackgroundService<{ failed: ChildOutcome }> {
  readonly name: string;
  /** Resolves with how the child ended when it is not restarted. */
  readonly done: Promise<ChildOutcome>;
  readonly #options: SupervisedProcessOptions;
  readonly #done = Promise.withResolvers<ChildOutcome>();
  readonly #end = new AbortController();
  /** Set when the child is told to stop. It is still needed while this service stops, unlike a timer of the base class. */
  readonly #deadline = new Timer(() => this.#killGroup());
  readonly #leftBehind = Promise.withResolvers<void>();
  #child: Bun.Subprocess | undefined;
  #failure: ChildOutcome | undefined;
  #restarts = 0;

  constructor(options: SupervisedProcessOptions) {
    super();
    this.name = `${options.name} process`;
    this.#options = options;
    this.done = this.#done.promise;
  }

  /** How the child failed, while it waits for its restart. */
  get failure(): ChildOutcome | undefined {
    return this.#failure;
  }

  /** Number of restarts. */
  get restarts(): number {
    return this.#restarts;
  }

  protected override onStart(): void {
    void this.#supervise().then((outcome) => {
      this.#deadline.cancel();
      this.#done.resolve(outcome);
    });
  }

  /** Tells the child to stop, without waiting; can be repeated, which a child may treat as more urgent. */
  requestStop(): void {
    const { stopMs, urgentStopMs } = this.#options;
    const limitMs = this.#end.signal.aborted ? urgentStopMs : stopMs;
    this.#end.abort();
    this.#child?.kill("SIGTERM");
    if (limitMs !== undefined && this.#child !== undefined) this.#deadline.by(performance.now() + limitMs);
  }

  /** Tells the child to stop, unless that was done, and waits until it has exited, or cannot be ended. */
  protected override async onStop(): Promise<void> {
    if (!this.#end.signal.aborted) this.requestStop();
    await Promise.race([this.done, this.#leftBehind.promise]);
  }

  async #supervise(): Promise<ChildOutcome> {
    const { name, log, firstPauseMs, isFinal = (outcome) => outcome === 0 } = this.#options;
    const { signal } = this.#end;
    const backOff = new BackOff(firstPauseMs, LONGEST_PAUSE_MS);
    let outcome: ChildOutcome = 0;
    for (let start = 1; !signal.aborted; start++) {
      const startedAt = performance.now();
      outcome = await this.#run();
      if (signal.aborted || isFinal(outcome, start)) break;
      if (performance.now() - startedAt >= HEALTHY_MS) backOff.reset();
      this.#failure = outcome;
      this.signals.emit("failed", outcome);
      const pauseMs = backOff.next();
      log.warn(`The ${name} failed (${outcome}); restarting in ${pauseMs / 1000} s.`);
      await pause(pauseMs, signal);
      this.#failure = undefined;
      if (!signal.aborted) this.#restarts++;
    }
    return outcome;
  }

  async #run(): Promise<ChildOutcome> {
    const { heard } = this.#options;
    try {
      const child = withInheritedUmask(() =>
        Bun.spawn([...this.#options.command()], {
          env: this.#options.env,
          // The child notices end of input when this process is gone, for whatever reason.
          stdin: "pipe",
          stdout: "inherit",
          stderr: "inherit",
          // Its own process group: Ctrl-C in the terminal reaches only this process, which then tells the child what to do.
          detached: true,
          ...(heard === undefined ? {} : { serialization: "json", ipc: heard }),
        }),
      );
      this.#child = child;
      // Told to stop during the start.
      if (this.#end.signal.aborted) child.kill("SIGTERM");
      await child.exited;
      return child.signalCode ?? child.exitCode ?? "unknown";
    } catch (error) {
      return errorMessage(error);
    } finally {
      this.#child = undefined;
    }
  }

  #killGroup(): void {
    const { log, name } = this.#options;
    const { pid } = this.#child ?? {};
    if (pid === undefined) return;
    log.warn(`The ${name} does not stop; killing it.`);
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has exited in the meantime.
    }
    void isDoneWithin(KILLED_MS, this.done).then((isGone) => {
      if (isGone) return;
      log.error(
        `The ${name} (pid ${pid}) cannot be ended: it is left behind. See its state with: ps -o pid,stat,wchan -p ${pid}`,
      );
      this.#leftBehind.resolve();
    });
  }
}
