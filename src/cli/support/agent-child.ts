/** An agent as a child process of the principal: started again when it dies, ended when the principal ends. */
import { log as processLog } from "../../log.ts";
import type { Service } from "../../service.ts";

const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** An agent that lived so long was well: the next pause is the first again. */
const HEALTHY_MS = 60_000;

/** How the child is started. */
export interface AgentChildOptions {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The supervised agent. */
export class AgentChild implements Service {
  readonly name = "agent process";
  readonly #options: AgentChildOptions;
  readonly #log = processLog.withTag("principal");
  readonly #stopped = Promise.withResolvers<void>();
  #child: Bun.Subprocess<"pipe", "inherit", "inherit"> | undefined;
  #supervising: Promise<void> | undefined;
  #isStopping = false;

  constructor(options: AgentChildOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    this.#supervising = this.#supervise();
  }

  /** Asks the agent to finish what it runs; asked again, to cancel it. */
  requestStop(): void {
    this.#isStopping = true;
    this.#stopped.resolve();
    this.#child?.kill("SIGTERM");
  }

  /** Resolves when the agent has ended. */
  async stop(): Promise<void> {
    if (!this.#isStopping) this.requestStop();
    await this.#supervising;
  }

  async #supervise(): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (!this.#isStopping) {
      const startedAt = performance.now();
      const code = await this.#run();
      if (this.#isStopping) return;
      if (code === 0) {
        this.#log.info("The agent has drained and ended; it is not started again.");
        return;
      }
      if (performance.now() - startedAt >= HEALTHY_MS) pause = FIRST_PAUSE_MS;
      this.#log.warn(`The agent ended (${code}); it is started again in ${pause / 1000} s.`);
      let timer: Timer | undefined;
      const waited = new Promise<void>((done) => {
        timer = setTimeout(done, pause);
      });
      await Promise.race([waited, this.#stopped.promise]);
      clearTimeout(timer);
      pause = Math.min(LONGEST_PAUSE_MS, pause * 2);
    }
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
        // A group of its own: Ctrl-C in the terminal reaches this process, which says to the agent what is to be done.
        detached: true,
      });
      this.#child = child;
      // Asked to stop while it was being started.
      if (this.#isStopping) child.kill("SIGTERM");
      await child.exited;
      return child.signalCode ?? child.exitCode ?? "unknown";
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    } finally {
      this.#child = undefined;
    }
  }
}
