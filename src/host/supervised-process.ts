/** A child process that is started again when it fails, with growing pauses, and ended when this process ends. */
import type { ConsolaInstance } from "consola";
import { errorMessage } from "../errors.ts";
import { BackgroundService } from "../service.ts";
import { BackOff, isDoneWithin, pause } from "../timer.ts";

const LONGEST_PAUSE_MS = 30_000;
/** A child that lived so long was well: the next pause is the first again. */
const HEALTHY_MS = 60_000;

/** How a child ended: its exit status, the name of the signal that ended it, or why it could not be started. */
export type ChildOutcome = number | string;

/** How the child is started, and when not again. */
export interface SupervisedProcessOptions {
  /** Shown in messages: `agent`. */
  readonly name: string;
  /** Asked at each start. */
  readonly command: () => readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: ConsolaInstance;
  /** Pause before the second start, ms; each further one is twice as long, up to 30 s. */
  readonly firstPauseMs: number;
  /** Whether it is not to be started again after its `start`-th end (1-based). By default when it ended with status 0. */
  readonly isFinal?: (outcome: ChildOutcome, start: number) => boolean;
  /** How long the child may take to end once told, ms, before its group is killed; without it, as long as it takes. */
  readonly stopMs?: number;
  /** Takes what the child says with `process.send`, as JSON; without it, the child cannot say anything. */
  readonly heard?: (message: unknown) => void;
}

/** The supervised child. It signals `failed` when it ended and is going to be started again. */
export class SupervisedProcess extends BackgroundService<{ failed: ChildOutcome }> {
  readonly name: string;
  /** Resolves with how the child ended when it is not started again. */
  readonly done: Promise<ChildOutcome>;
  readonly #options: SupervisedProcessOptions;
  readonly #done = Promise.withResolvers<ChildOutcome>();
  readonly #end = new AbortController();
  #child: Bun.Subprocess | undefined;
  #failure: ChildOutcome | undefined;
  #restarts = 0;

  constructor(options: SupervisedProcessOptions) {
    super();
    this.name = `${options.name} process`;
    this.#options = options;
    this.done = this.#done.promise;
  }

  /** How the child failed, while it waits to be started again. */
  get failure(): ChildOutcome | undefined {
    return this.#failure;
  }

  /** How often the child was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  protected override onStart(): void {
    void this.#supervise().then(this.#done.resolve);
  }

  /** Tells the child to end, and does not wait for it; may be said again, which a child may take as more urgent. */
  requestStop(): void {
    this.#end.abort();
    this.#child?.kill("SIGTERM");
  }

  /** Tells the child to end, unless that was done, and waits until it has. */
  protected override async onStop(): Promise<void> {
    if (!this.#end.signal.aborted) this.requestStop();
    const { stopMs } = this.#options;
    if (stopMs !== undefined && !(await isDoneWithin(stopMs, this.done))) this.#killGroup();
    await this.done;
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
      log.warn(`The ${name} failed (${outcome}); it is started again in ${pauseMs / 1000} s.`);
      await pause(pauseMs, signal);
      this.#failure = undefined;
      if (!signal.aborted) this.#restarts++;
    }
    return outcome;
  }

  async #run(): Promise<ChildOutcome> {
    const { heard } = this.#options;
    try {
      const child = Bun.spawn([...this.#options.command()], {
        env: this.#options.env,
        // The child sees the end of it when this process is gone, however it went.
        stdin: "pipe",
        stdout: "inherit",
        stderr: "inherit",
        // A group of its own: Ctrl-C in the terminal reaches this process, which tells the child what is to be done.
        detached: true,
        ...(heard === undefined ? {} : { serialization: "json", ipc: heard }),
      });
      this.#child = child;
      // Told to stop while it was being started.
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
    const { pid } = this.#child ?? {};
    if (pid === undefined) return;
    this.#options.log.warn(`The ${this.#options.name} does not end; it is killed.`);
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }
}
