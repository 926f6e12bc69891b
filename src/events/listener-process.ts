/** A user's listener as a child process: started again when it fails, ended when this process ends. */
import type { ConsolaInstance } from "consola";
import { errorMessage } from "../errors.ts";
import type { Service } from "../service.ts";

/** The exit status of a listener's process whose file holds no listener. */
export const NOT_A_LISTENER = 78;

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;
/** A listener that lived so long was well: the next pause is the first again. */
const HEALTHY_MS = 60_000;
/** How long a listener that was told to end may take, ms; it ends by itself within less. */
const STOP_MS = 10_000;

/** How the process is started. */
export interface ListenerProcessOptions {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: ConsolaInstance;
}

/** The supervised listener. */
export class ListenerProcess implements Service {
  readonly name = "listener process";
  /**
   * Resolves when it is not started again: `"ended"` when the listener came to its end or was stopped, `"invalid"` when
   * its file held no listener at the first start.
   */
  readonly done: Promise<"ended" | "invalid">;
  readonly #options: ListenerProcessOptions;
  readonly #done = Promise.withResolvers<"ended" | "invalid">();
  readonly #stopped = Promise.withResolvers<void>();
  #child: Bun.Subprocess<"pipe", "inherit", "inherit"> | undefined;
  #isStopping = false;

  constructor(options: ListenerProcessOptions) {
    this.#options = options;
    this.done = this.#done.promise;
  }

  async start(): Promise<void> {
    void this.#supervise().then(this.#done.resolve);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#stopped.resolve();
    this.#child?.kill("SIGTERM");
    const timer = setTimeout(() => this.#killGroup(), STOP_MS);
    await this.done;
    clearTimeout(timer);
  }

  async #supervise(): Promise<"ended" | "invalid"> {
    let pause = FIRST_PAUSE_MS;
    for (let start = 1; !this.#isStopping; start++) {
      const startedAt = performance.now();
      const outcome = await this.#run();
      if (this.#isStopping || outcome === 0) break;
      if (outcome === NOT_A_LISTENER && start === 1) return "invalid";
      if (performance.now() - startedAt >= HEALTHY_MS) pause = FIRST_PAUSE_MS;
      this.#options.log.warn(`The listener failed (${outcome}); it is started again in ${pause / 1000} s.`);
      let timer: Timer | undefined;
      const waited = new Promise<void>((done) => {
        timer = setTimeout(done, pause);
      });
      await Promise.race([waited, this.#stopped.promise]);
      clearTimeout(timer);
      pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
    }
    return "ended";
  }

  /** Runs it once; how it ended. */
  async #run(): Promise<number | string> {
    try {
      const child = Bun.spawn([...this.#options.command], {
        env: this.#options.env,
        // The child sees the end of it when this process is gone, however it went.
        stdin: "pipe",
        stdout: "inherit",
        stderr: "inherit",
        // A group of its own: Ctrl-C in the terminal reaches this process, which tells the listener.
        detached: true,
      });
      this.#child = child;
      if (this.#isStopping) child.kill("SIGTERM");
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
    this.#options.log.warn("The listener does not end; it is killed.");
    try {
      process.kill(-pid, "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }
}
