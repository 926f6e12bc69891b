/**
 * Detects agents that fall silent. The deadline after which an agent is lost is in its row; signs of life are recorded in memory only,
 * so that a heartbeat costs no write. Before a deadline passes, the rows of all agents that gave a sign of life are updated in one
 * commit, so rows are never stale by more than the time between two checks.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { BackgroundService } from "../../service.ts";
import type { DueAgent, OperationalStore } from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { PauseWatch } from "../runs/pause-watch.ts";
import type { AgentContacts } from "./agent-contacts.ts";

/** Delay after a failure. */
const RETRY_MS = 1000;

/** What {@link AgentWatch} needs. */
export interface AgentWatchOptions {
  readonly store: OperationalStore;
  readonly contacts: AgentContacts;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly heartbeatTimeoutMs: number;
  readonly pauses: Pick<PauseWatch, "check">;
  /** The deadline of an agent's process has passed without a sign of life. */
  readonly lose: (agent: DueAgent) => Promise<void>;
}

/** Events for tests. */
interface AgentWatchSignals {
  /** It has checked, and knows when the next check is due. */
  readonly looked: undefined;
}

/** Watches the deadlines of agents. */
export class AgentWatch extends BackgroundService<AgentWatchSignals> {
  readonly name = "agent watch";
  readonly #o: AgentWatchOptions;
  /** How long before a deadline the row of an agent is updated at the latest. */
  readonly #aheadMs: number;
  readonly #timer = this.timer(() => this.track(this.#look()));

  constructor(options: AgentWatchOptions) {
    super(options.clock);
    this.#o = options;
    this.#aheadMs = options.heartbeatTimeoutMs / 4;
  }

  /** The silence of an agent counts from the start: deadlines of before are replaced, whatever the clocks have done since. */
  protected onStart(): Promise<void> {
    return this.#look(true);
  }

  /** An agent registered: its deadline may be before the one that is waited for. */
  registered(): void {
    this.#timer.by(this.clock.monotonic() + this.#o.heartbeatTimeoutMs - this.#aheadMs);
  }

  async #look(isStart = false): Promise<void> {
    this.#o.pauses.check();
    try {
      // Includes those of the next checks, so that there are fewer checks.
      const withinMs = isStart ? Number.MAX_SAFE_INTEGER : 2 * this.#aheadMs;
      const due = await this.#o.store.read((tx) => tx.dueAgents(withinMs));
      const silent = await this.#extend(due, isStart);
      const isDone = await this.#loseAll(silent.filter((agent) => agent.left_ms <= 0));
      const left = await this.#o.store.read((tx) => tx.nextDueAgent());
      if (!isDone) this.#timer.in(RETRY_MS);
      else if (left !== null)
        this.#timer.in(Math.max(1, left > 2 * this.#aheadMs ? left - this.#aheadMs : left));
    } catch (error) {
      logFailure(this.#o.log, "The deadlines of agents cannot be updated", error);
      this.#timer.in(RETRY_MS);
    }
    this.signals.emit("looked");
  }

  /**
   * Updates the rows of agents that gave a sign of life since the last update. Returns the others.
   * @param replaces whether later deadlines are replaced too
   */
  async #extend(due: readonly DueAgent[], replaces: boolean): Promise<DueAgent[]> {
    const silent: DueAgent[] = [];
    const heard: { agent: DueAgent; leftMs: number; heardMs: number }[] = [];
    for (const agent of due) {
      const contact = this.#o.contacts.get(agent.agent_id);
      const leftMs = contact?.sessionId === agent.session_id ? this.#o.contacts.leftMs(contact) : 0;
      const least = replaces ? 0 : Math.max(0, agent.left_ms + 1);
      if (contact === undefined || leftMs <= least) silent.push(agent);
      else heard.push({ agent, leftMs, heardMs: contact.seenWall });
    }
    if (heard.length > 0) {
      await this.#o.store.transact(async (tx) => {
        for (const { agent, leftMs, heardMs } of heard) await tx.heardOfAgent(agent, leftMs, heardMs);
      });
    }
    return silent;
  }

  async #loseAll(overdue: readonly DueAgent[]): Promise<boolean> {
    let isDone = true;
    for (const agent of overdue) {
      if (this.isStopping) return true;
      try {
        await this.#o.lose(agent);
      } catch (error) {
        isDone = false;
        logFailure(this.#o.log, `Agent ${agent.agent_id} is silent, but cannot be marked as lost`, error);
      }
    }
    return isDone;
  }
}
