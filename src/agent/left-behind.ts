/**
 * Delivers what other agents of the data directory left when they ended while the principal was away. One example is the agent of a
 * principal that was killed: when the principal starts again, the former agent may still hold its outbox, so that the new one takes
 * another id, and then leave because its own time to deliver is over.
 */
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { BackgroundService } from "../service.ts";
import type { Neighbours } from "./agent-id.ts";

/** Interval between looks while other agents are running, ms. */
const LOOK_MS = 2000;

/** What it needs. */
export interface LeftBehindOptions {
  readonly find: () => Neighbours;
  /** Delivers what an agent left. Resolves when that is done, or cannot be done now. @throws OutboxLockedError when the agent runs again */
  readonly deliver: (agentId: string, signal: AbortSignal) => Promise<void>;
  /**
   * How long after the registration to look again while other agents are running, ms. An agent that is still running after this time is
   * connected to the principal too, and delivers itself.
   */
  readonly lookForMs: number;
}

export class LeftBehind extends BackgroundService<{ looked: Neighbours }> {
  readonly name = "delivery for agents that have ended";
  readonly #o: LeftBehindOptions;
  readonly #again = this.timer(() => this.#begin());
  /** Those that could not deliver; not tried again until the next registration. */
  readonly #tried = new Set<string>();
  #untilMs = 0;
  #isBusy = false;

  constructor(options: LeftBehindOptions) {
    super();
    this.#o = options;
  }

  protected override onStart(): void {}

  /** This agent is registered: the principal is there. */
  registered(): void {
    this.#tried.clear();
    this.#untilMs = this.clock.monotonic() + this.#o.lookForMs;
    this.#begin();
  }

  #begin(): void {
    if (this.#isBusy || this.isStopping) return;
    this.#isBusy = true;
    this.track(
      this.#deliver()
        .catch((error) =>
          log.debug(`Nothing can be delivered for agents that have ended: ${errorMessage(error)}`),
        )
        .finally(() => {
          this.#isBusy = false;
        }),
    );
  }

  async #deliver(): Promise<void> {
    const found = this.#o.find();
    for (const agentId of found.left) {
      if (this.isStopping || this.#tried.has(agentId)) continue;
      this.#tried.add(agentId);
      log.info(`Agent ${agentId} has ended and left reports or log lines: they are delivered for it.`);
      await this.#o.deliver(agentId, this.stopSignal).catch((error) => {
        log.debug(`Nothing was delivered for agent ${agentId}: ${errorMessage(error)}`);
      });
    }
    if (found.running > 0 && this.clock.monotonic() < this.#untilMs) this.#again.in(LOOK_MS);
    this.signals.emit("looked", found);
  }
}
