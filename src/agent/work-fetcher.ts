import { MOST_RUNS_AT_ONCE, type RunAssignment, type RunAssignments } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { isDoneWithin, pause } from "../timer.ts";
import type { PrincipalLink } from "./principal-link.ts";

const FETCH_RETRY_MS = 500;
/** Maximum number of requests for work at once, while there is more work than the agent has got. */
const MOST_FETCHES = 2;
/** How long a draining agent waits for the reply to its last request for work, ms. */
const LAST_FETCH_MS = 250;

/** What {@link WorkFetcher} needs of its agent. */
interface Fetching {
  readonly link: PrincipalLink;
  readonly client: PrincipalClient;
  readonly agentId: string;
  readonly sessionId: string;
  readonly labels: Readonly<Record<string, string>>;
  /** How long a request waits at the principal for work (long poll), ms. */
  readonly waitMs: number;
  /** Whether the agent takes new runs. */
  isTaking(): boolean;
  /** Number of runs that it has capacity for, beyond those that it executes. */
  room(): number;
  take(assignment: RunAssignment): void;
}

/** Fetches runs from the principal, as long as the agent takes any and has room. */
export class WorkFetcher {
  readonly #agent: Fetching;
  readonly #fetching = new Set<Promise<void>>();
  /** Number of runs for which requests that wait for an answer have room. */
  #asking = 0;
  /** Aborts the requests. */
  readonly #abort = new AbortController();
  #roomFor: PromiseWithResolvers<void> | undefined;

  constructor(agent: Fetching) {
    this.#agent = agent;
  }

  /** Fetches runs one after the other, until the agent takes no more. */
  start(): void {
    this.#start(this.#agent.waitMs);
  }

  /** The agent may have room again, or takes no more runs. */
  hasRoom(): void {
    this.#roomFor?.resolve();
    this.#roomFor = undefined;
  }

  /** Ends the requests that wait for an answer. */
  abort(): void {
    this.#abort.abort();
  }

  /** Resolves when no request waits for an answer, and none follows. */
  async ended(): Promise<void> {
    while (this.#fetching.size > 0) await Promise.all(this.#fetching);
  }

  /** Once the principal knows, it answers the pending request; an assignment already under way is still accepted. */
  async end(): Promise<void> {
    await this.#agent.link.ask();
    if (await isDoneWithin(LAST_FETCH_MS, this.ended())) return;
    this.abort();
    await this.ended();
  }

  /** More work waits: fetches as much as there is or will be room for with several requests at once, until there is none. */
  #fetchMore(): void {
    while (this.#fetching.size < MOST_FETCHES) this.#start(0);
  }

  #start(waitMs: number): void {
    const fetching = this.#fetchUntilEmpty(waitMs).finally(() => this.#fetching.delete(fetching));
    this.#fetching.add(fetching);
  }

  /** @param wait_ms how long a request waits for work; if it does not wait, this ends when there is none */
  async #fetchUntilEmpty(wait_ms: number): Promise<void> {
    const { link } = this.#agent;
    const { signal } = this.#abort;
    // The same id until it is answered, so that a run whose assignment got lost is sent again.
    let fetch_id = crypto.randomUUID();
    while (this.#agent.isTaking()) {
      try {
        await link.untilUp(signal);
        const most = await this.#reserveRoom();
        if (most === 0) return;
        let assignment: RunAssignments | null;
        try {
          assignment = await this.#ask({ wait_ms, fetch_id, most });
        } finally {
          // What it brings is taken before anyone else finds this room.
          this.#asking -= most;
          this.hasRoom();
        }
        fetch_id = crypto.randomUUID();
        if (assignment !== null) {
          const { others = [], ...first } = assignment;
          this.#agent.take(first);
          for (const other of others) this.#agent.take({ ...other, workflow: first.workflow });
          if (first.has_more) this.#fetchMore();
        } else if (wait_ms === 0) return;
      } catch (error) {
        if (signal.aborted) return;
        if (link.whileUp.aborted || !link.isUp || link.mustRegister(error)) continue;
        if (error instanceof RequestRefusedError)
          log.error(`The principal refuses a request for work: ${error.message}`);
        else log.debug(`No work could be fetched: ${errorMessage(error)}`);
        await pause(FETCH_RETRY_MS, signal);
      }
    }
  }

  #ask(how: {
    readonly wait_ms: number;
    readonly fetch_id: string;
    readonly most: number;
  }): Promise<RunAssignments | null> {
    const { client, link, agentId, sessionId, labels } = this.#agent;
    const who = { session_id: sessionId, labels, last_token: link.lastToken };
    const signal = AbortSignal.any([this.#abort.signal, link.whileUp]);
    return client.fetchWorkflow(agentId, { ...who, ...how }, { attempts: 1, signal });
  }

  get #room(): number {
    return this.#agent.room() - this.#asking;
  }

  /** Waits for room and reserves it, by counting in `#asking`. Returns for how many runs; 0 when the agent takes no more. */
  async #reserveRoom(): Promise<number> {
    while (this.#room <= 0 && this.#agent.isTaking()) {
      this.#roomFor ??= Promise.withResolvers<void>();
      await this.#roomFor.promise;
    }
    if (!this.#agent.isTaking()) return 0;
    const most = Math.min(this.#room, MOST_RUNS_AT_ONCE);
    this.#asking += most;
    return most;
  }
}
