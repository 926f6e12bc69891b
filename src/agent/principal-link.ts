import type { AgentDescription, AgentOrders, Heartbeat, PrincipalInfo } from "../contract/messages.ts";
import { mismatch, VersionMismatchError } from "../contract/version.ts";
import { CdktrError, errorMessage, PrincipalUnreachableError } from "../errors.ts";
import { log } from "../log.ts";
import {
  AccessRefusedError,
  OriginalPrincipalError,
  type PrincipalClient,
  PrincipalFailedError,
  type RequestOptions,
  RequestRefusedError,
  RequestUnprocessableError,
} from "../protocol/client.ts";
import { clockAhead } from "../protocol/clock-ahead.ts";
import { BackgroundService } from "../service.ts";

/** The principal belongs to another installation of cdktr than the one whose runs this agent executes. */
export class OtherInstallationError extends CdktrError {
  constructor(address: string) {
    super(
      `The principal at ${address} belongs to another installation of cdktr than the one whose runs this agent executes.`,
      {
        hint: "Nothing is sent to it. The runs continue; their reports are delivered when this agent is connected to their own principal again.",
      },
    );
  }
}

/** Maximum duration of a heartbeat's long poll, ms. */
const LONGEST_POLL_MS = 60_000;
/** A loop that is this late is stuck, ms. */
const STALL_MS = 30_000;

/** What the link needs from the agent. */
export interface LinkOptions {
  readonly client: PrincipalClient;
  readonly agentId: string;
  readonly heartbeatIntervalMs: number;
  /** How long one request waits for its reply, ms. */
  readonly timeoutMs: number;
  /** Number of consecutive unanswered requests after which the principal counts as gone. */
  readonly attempts: number;
  /** The agent's wall clock, ms since the epoch. */
  now(): number;
  describe(): AgentDescription;
  beat(): Omit<Heartbeat, "agent_id" | "session_id" | "wait_ms">;
  /** Called when a principal of this installation answers. @throws OtherInstallationError when the agent cannot switch to it now */
  meet(installation: string): void;
  /** Whether orders of a principal of this installation are for this agent's stream; undefined if it does not say. */
  isFor(installation: string | undefined): boolean;
  /** The agent is registered (again); receives the principal's reply. */
  registered(orders: AgentOrders): void;
  /** Orders that came with any reply. */
  obey(orders: AgentOrders): void;
  /** The principal is gone: all attempts are used up. It may come back. */
  gone(error: CdktrError): void;
  /** The principal refuses this agent. */
  refused(error: CdktrError): void;
  /** The principal answers, but does not register this agent yet. */
  postponed(): Promise<void>;
}

/**
 * The agent's relationship with the principal: registers, sends heartbeats, and knows whether the principal is there. Each
 * heartbeat is a long poll, so that orders arrive at once. When one goes unanswered, other requests wait until the principal is back.
 */
export class PrincipalLink extends BackgroundService {
  readonly name = "link to the principal";
  readonly #options: LinkOptions;
  #poll = new AbortController();
  #isRegistered = false;
  #isUp = false;
  #up = Promise.withResolvers<void>();
  #whileUp = new AbortController();
  #failures = 0;
  #isGone = false;
  /** The last reply of a principal that does not register this agent yet. */
  #notYet = "";
  /** Why the last request failed. */
  #reason = "";
  /** The principal process that registered this agent. */
  #principalId: string | undefined;
  /** From the last reply to a registration or to a heartbeat of the loop; undefined for principals that send none. */
  #token: string | undefined;
  #turnedMs = performance.now();

  constructor(options: LinkOptions) {
    super();
    this.#options = options;
  }

  /** Whether the principal answered the last request. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Shows the principal which reply this process has heard last. */
  get lastToken(): string | undefined {
    return this.#token;
  }

  /** Aborted when the principal is gone: waiting for it is pointless then. */
  get whileUp(): AbortSignal {
    return this.#whileUp.signal;
  }

  /** Whether all attempts are used up. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Whether its loop has made progress recently, whatever the result: each round waits for one reply at most. */
  isTurning(nowMs = performance.now()): boolean {
    const { heartbeatIntervalMs, timeoutMs } = this.#options;
    const longest = Math.min(heartbeatIntervalMs, LONGEST_POLL_MS) + timeoutMs;
    return nowMs - this.#turnedMs < 2 * longest + STALL_MS;
  }

  /** Begins to register, and continues until it is stopped. */
  protected override onStart(): void {
    this.track(this.#run());
  }

  protected override onStop(): void {
    this.#poll.abort();
  }

  /** Resolves when the agent is registered and the principal answers; rejects when `signal` aborts. */
  async untilUp(signal: AbortSignal): Promise<void> {
    while (!this.#isUp) {
      signal.throwIfAborted();
      const aborted = Promise.withResolvers<never>();
      const onAbort = () => aborted.reject(signal.reason);
      signal.addEventListener("abort", onAbort, { once: true });
      try {
        await Promise.race([this.#up.promise, aborted.promise]);
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    }
  }

  /** A request went unanswered: checks at once whether the principal is there. */
  suspect(): void {
    this.#down();
    this.beatNow();
  }

  /** Whether an error says that the agent must register first; if so, it does. */
  mustRegister(error: unknown): boolean {
    if (!(error instanceof RequestUnprocessableError)) return false;
    this.#isRegistered = false;
    this.#down();
    this.beatNow();
    return true;
  }

  /** Sends the next heartbeat at once, because there is something to report. */
  beatNow(): void {
    this.#poll.abort();
  }

  /** Follows the orders of a reply. A restarted principal may have another version, so it is treated as unknown. */
  obey(orders: AgentOrders): void {
    if (this.#isRegistered && orders.principal_id !== this.#principalId) this.#isRegistered = false;
    if (!this.#options.isFor(orders.installation_id)) return;
    this.#options.obey(orders);
  }

  /** Sends an additional heartbeat and follows its orders, without a long poll. */
  async ask(): Promise<void> {
    if (this.#isUp) await this.#say({});
  }

  /** Tells the principal that the agent leaves, if it can be reached. */
  async leave(): Promise<void> {
    if (this.#isUp) await this.#say({ state: "leaving" });
  }

  async #say(extra: Partial<Heartbeat>): Promise<void> {
    const { client, timeoutMs, beat } = this.#options;
    try {
      this.obey(
        await client.call(
          "AGENTHEARTBEAT",
          { ...this.#who(), ...beat(), wait_ms: 0, last_token: this.#token, ...extra },
          { timeoutMs },
        ),
      );
    } catch (error) {
      log.debug(`An additional heartbeat was not answered: ${errorMessage(error)}`);
    }
  }

  #who(): { agent_id: string; session_id: string } {
    return { agent_id: this.#options.agentId, session_id: this.#options.describe().session_id };
  }

  async #run(): Promise<void> {
    while (!this.isStopping) {
      const begun = performance.now();
      this.#turnedMs = begun;
      const isRegistering = !this.#isRegistered;
      try {
        if (isRegistering) await this.#register();
        else await this.#beat();
        // Another request may have learned in the meantime that the agent must register again.
        if (this.#isRegistered) this.#succeeded();
      } catch (error) {
        if (this.isStopping) return;
        // Only the long poll was interrupted.
        if (!isRegistering && this.#poll.signal.aborted && !(error instanceof CdktrError)) continue;
        if (!(await this.#failed(error, isRegistering, begun))) return;
      }
    }
  }

  async #register(): Promise<void> {
    const { client, agentId, timeoutMs, now, describe, registered } = this.#options;
    const patience = { timeoutMs, attempts: 1, signal: this.stopSignal };
    const asked = now();
    const principal = await this.#compareVersions(patience);
    const clock_ahead_ms =
      principal?.now_ms === undefined ? undefined : -clockAhead(principal.now_ms, asked, now());
    if (principal?.installation_id !== undefined) this.#options.meet(principal.installation_id);
    const description = { ...describe(), last_token: this.#token, clock_ahead_ms };
    const orders = await client.registerAgent(agentId, description, patience).catch(async (error) => {
      // The principal may have been replaced between the two requests.
      if (error instanceof RequestUnprocessableError) await this.#compareVersions(patience);
      throw error;
    });
    // The principal may have been replaced between the two requests.
    if (!this.#options.isFor(orders.installation_id)) return;
    this.#isRegistered = true;
    this.#principalId = orders.principal_id;
    this.#token = orders.contact_token;
    registered(orders);
  }

  /**
   * Checked before registering: an old principal would accept an agent that it does not understand.
   * @throws VersionMismatchError when they have no protocol in common
   */
  async #compareVersions(patience: RequestOptions): Promise<PrincipalInfo | undefined> {
    const principal = await this.#options.client.info(patience).catch((error) => {
      // It cannot tell now, or never could. Its reply to the registration decides then.
      if (
        error instanceof PrincipalUnreachableError ||
        error instanceof OriginalPrincipalError ||
        !(error instanceof CdktrError)
      )
        throw error;
      return undefined;
    });
    const apart = principal === undefined ? undefined : mismatch(this.#options.describe(), principal);
    if (apart !== undefined) throw apart;
    return principal;
  }

  async #beat(): Promise<void> {
    const { client, timeoutMs, heartbeatIntervalMs, beat } = this.#options;
    this.#poll = new AbortController();
    const orders = await client.call(
      "AGENTHEARTBEAT",
      // After a silence the reply itself is what matters.
      {
        ...this.#who(),
        ...beat(),
        wait_ms: this.#isUp ? Math.min(heartbeatIntervalMs, LONGEST_POLL_MS) : 0,
        contact_token: this.#token,
      },
      { timeoutMs, attempts: 1, signal: this.#poll.signal },
    );
    if (orders.contact_token !== undefined) this.#token = orders.contact_token;
    this.obey(orders);
  }

  #succeeded(): void {
    if (this.#failures > 0) log.info(`The principal at ${this.#options.client.address} answers again.`);
    this.#failures = 0;
    this.#isGone = false;
    if (this.#isUp) return;
    this.#isUp = true;
    this.#whileUp = new AbortController();
    this.#up.resolve();
  }

  #down(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#up = Promise.withResolvers<void>();
    this.#whileUp.abort();
  }

  /** @returns whether to continue */
  async #failed(error: unknown, isRegistering: boolean, begunMs: number): Promise<boolean> {
    const { attempts, timeoutMs, gone, refused, client } = this.#options;
    const known = error instanceof CdktrError ? error : new CdktrError(errorMessage(error), { cause: error });
    if (!isRegistering && error instanceof RequestUnprocessableError) {
      // Another request may have learned it before.
      if (this.#isRegistered) log.info("The principal no longer knows this agent: registering again.");
      this.#isRegistered = false;
      this.#down();
      return true;
    }
    if (error instanceof RequestRefusedError || error instanceof RequestUnprocessableError) {
      refused(known);
      return false;
    }
    const saysWhy =
      error instanceof AccessRefusedError ||
      error instanceof VersionMismatchError ||
      error instanceof OtherInstallationError;
    // A principal that replies with a failure is there.
    if (!(error instanceof PrincipalFailedError)) this.#failures++;
    // The principal may be upgraded in time, but the agent cannot be.
    const isTooOld = error instanceof VersionMismatchError && error.tooOld === "agent";
    if (error instanceof PrincipalFailedError && isRegistering && error.message !== this.#notYet) {
      this.#notYet = error.message;
      log.warn(`The principal does not accept this agent yet: ${error.message}`);
    } else if (
      !isTooOld &&
      (this.#isUp || this.#failures === 1 || (saysWhy && known.message !== this.#reason))
    )
      log.warn(saysWhy ? `${known.message} ${known.hint}` : known.message);
    this.#reason = known.message;
    this.#down();
    if (error instanceof PrincipalFailedError && isRegistering) await this.#options.postponed();
    if ((isTooOld || this.#failures >= attempts) && !this.#isGone) {
      this.#isGone = true;
      gone(
        saysWhy
          ? known
          : new PrincipalUnreachableError(
              `The principal at ${client.address} did not answer ${this.#failures} requests in a row.`,
              {
                cause: error,
                hint: "CDKTR_RETRY_ATTEMPTS and CDKTR_DEFAULT_ZMQ_TIMEOUT_MS set how long an agent tries.",
              },
            ),
      );
    }
    // A failure that came immediately (the principal replied with an error) is not retried immediately.
    const left = timeoutMs - (performance.now() - begunMs);
    if (left > 0) await this.pause(left);
    return true;
  }
}
