/**
 * Sends what channels are to be told. Each message is marked as SENDING before anything is sent, and as SENT after it has arrived: see
 * delivery-state.ts. A channel sends one message at a time; all channels send at once. Nothing is done while nothing waits.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { errorMessage } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import type { ClaimedMessage, MessageOutcome } from "../../storage/operational/alerts.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import { isDoneWithin } from "../../timer.ts";
import { alertKey } from "../../workflow/alert-kinds.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Alerts } from "./alerts.ts";
import { delayAfter, LONGEST_DELAY_MS, type MessageLimit, Pace } from "./pace.ts";
import { type AlertForMessage, type OutgoingMessage, SendError, type Sender } from "./senders/sender.ts";

/** The most alerts that a message tells; others are counted. */
const MOST_TOLD = 100;
/** The longest time between two looks at the clock while something waits, ms: it may be set. */
const LONGEST_SLEEP_MS = 10_000;
/** Delay after a failure of the operational state, ms. */
const RETRY_MS = 1000;
/** A message that has not arrived by then has failed, ms. */
const SENT_WITHIN_MS = 120_000;
/** How long messages on their way may take when the principal stops, ms. */
const STOPS_WITHIN_MS = 5000;
/** For how long the limits of channels look back after a start, ms. */
const LIMITS_SINCE_MS = 24 * 3_600_000;

/** A channel, as far as sending is concerned. */
interface Channel {
  /** How long alerts are collected that go into one message, ms. */
  readonly groupMs: number;
  readonly limit: MessageLimit;
  /** The most alerts in a message; the others are in the next one. By default some may be counted only. */
  readonly mostAlerts?: number | undefined;
  readonly sender: Sender;
}

/** What {@link Deliveries} needs. */
export interface DeliveriesOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  readonly events: PrincipalEvents;
  readonly alerts: Pick<Alerts, "raise">;
  /** The channels of `_cdktr.yml`: another object for one that has changed. */
  readonly channels: { get(name: string): Channel | undefined };
  /** From 0 to 1; for tests. */
  readonly random?: () => number;
}

/** Events for tests. */
interface DeliveriesSignals {
  /** What is due is under way: so many channels are sending. */
  readonly looked: number;
  /** A try of a message is over, and this is on disk. */
  readonly settled: { readonly channel: string; readonly outcome: MessageOutcome["state"] };
}

/** A channel that fails. */
interface Failing {
  /** As it was when it failed. */
  readonly channel: Channel | undefined;
  /** When it is tried again, ms since the epoch. */
  readonly untilMs: number;
}

/** Numbers since the start, by channel. */
export interface SentCounts {
  readonly sent: number;
  readonly failed: number;
}

/** Sends messages. */
export class Deliveries extends BackgroundService<DeliveriesSignals> {
  readonly name = "deliveries";
  readonly #o: DeliveriesOptions;
  readonly #random: () => number;
  readonly #timer = this.timer(() => this.#look());
  readonly #pace = new Pace();
  /** The channels that are sending, and when they have sent. */
  readonly #busy = new Map<string, Promise<void>>();
  readonly #failing = new Map<string, Failing>();
  readonly #counts = new Map<string, SentCounts>();
  /** End what is being sent. */
  readonly #cuts = new Set<AbortController>();
  #isRunning = false;
  #looking: Promise<void> | undefined;
  #again = false;
  /** Whether what an earlier principal left is known. */
  #isReady = false;

  constructor(options: DeliveriesOptions) {
    super(options.clock);
    this.#o = options;
    this.#random = options.random ?? Math.random;
    options.events.on("alerts changed", () => this.#look());
    options.events.on("workflows changed", () => this.#channelsChanged());
  }

  /** What was being sent when a principal was killed is sent again. */
  protected override async onStart(): Promise<void> {
    this.#isRunning = true;
    this.#look();
    await this.#looking;
  }

  /** Gives messages on their way some time to arrive. */
  protected override async onStop(): Promise<void> {
    await isDoneWithin(STOPS_WITHIN_MS, Promise.all(this.#busy.values()), this.clock);
    for (const cut of this.#cuts) cut.abort(new SendError("The principal was stopped meanwhile."));
    this.#isRunning = this.#isReady = false;
  }

  /** Numbers of messages since the start, by channel. */
  get counts(): ReadonlyMap<string, SentCounts> {
    return this.#counts;
  }

  /** When a channel sends what is due then, ms since the epoch: also its limit and its failures hold it back. In the past if at once. */
  sendsAt(channel: string, dueMs: number): number {
    const now = this.clock.now();
    const at = this.#dueAt(channel, dueMs, now);
    return at <= now ? Math.min(dueMs, now) : at;
  }

  /** Looks for what is due, unless the service is not running. */
  #look(): void {
    this.#again = true;
    if (this.#looking !== undefined || !this.#isRunning || this.isStopping) return;
    this.#looking = this.#lookAll().finally(() => {
      this.#looking = undefined;
    });
    this.track(this.#looking);
  }

  async #lookAll(): Promise<void> {
    while (this.#again && !this.isStopping) {
      this.#again = false;
      try {
        if (!this.#isReady) await this.#recover();
        await this.#startDue();
      } catch (error) {
        logFailure(this.#o.log, "What channels are to be told cannot be read", error);
        this.#timer.in(RETRY_MS);
      }
    }
    this.signals.emit("looked", this.#busy.size);
  }

  async #recover(): Promise<void> {
    const { store } = this.#o;
    const now = this.clock.now();
    for (const { channel, sent_at_ms } of await store.read((tx) => tx.recentMessages(now - LIMITS_SINCE_MS)))
      this.#pace.sent(channel, sent_at_ms);
    const found = await store.read((tx) => tx.nextDeliveries());
    // Nothing is written while nothing was being sent.
    if (found.isSending) await store.transact((tx) => tx.recoverSending(now));
    this.#isReady = true;
  }

  /** Lets channels send that have something to send, and sets the timer for the others. */
  async #startDue(): Promise<void> {
    const { due } = await this.#o.store.read((tx) => tx.nextDeliveries());
    const now = this.clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (const [channel, dueMs] of due) {
      if (this.#busy.has(channel) || this.isStopping) continue;
      const at = this.#dueAt(channel, dueMs, now);
      if (at <= now) this.#start(channel, Math.max(dueMs, now));
      else next = Math.min(next, at);
    }
    if (next < Number.POSITIVE_INFINITY) this.#timer.in(Math.min(next - now, LONGEST_SLEEP_MS));
  }

  /** When a channel sends what is due then. */
  #dueAt(channel: string, dueMs: number, now: number): number {
    const { groupMs = 0, limit } = this.#o.channels.get(channel) ?? {};
    // Whatever is further away comes from a clock that was wrong: it is due.
    const ready = dueMs > now + Math.max(groupMs, LONGEST_DELAY_MS) ? now : dueMs;
    const untilMs = this.#failing.get(channel)?.untilMs ?? 0;
    const rested = untilMs > now + LONGEST_DELAY_MS ? now : untilMs;
    return Math.max(ready, rested, limit === undefined ? now : this.#pace.allowedAt(channel, limit, now));
  }

  #start(channel: string, dueByMs: number): void {
    const sending = this.#send(channel, dueByMs).finally(() => {
      this.#busy.delete(channel);
      this.#look();
    });
    this.#busy.set(channel, sending);
    this.track(sending);
  }

  /** Sends the next message of a channel. Never rejects. */
  async #send(channel: string, dueByMs: number): Promise<void> {
    const { store, log } = this.#o;
    let message: ClaimedMessage | null;
    try {
      const now = this.clock.now();
      const id = crypto.randomUUID();
      const most = this.#o.channels.get(channel)?.mostAlerts;
      message = await store.transact((tx) => tx.claimMessage(channel, dueByMs, now, id, MOST_TOLD, most));
    } catch (error) {
      logFailure(log, `Channel ${channel} cannot send`, error);
      await this.pause(RETRY_MS);
      return;
    }
    if (message === null) return void (await this.pause(RETRY_MS));
    const known = this.#o.channels.get(channel);
    const failure = await this.#try(message, known);
    const outcome = this.#outcomeOf(message, failure);
    await this.#settle(message, outcome, known);
  }

  /** Why a message has not arrived; null if it has. */
  async #try(message: ClaimedMessage, channel: Channel | undefined): Promise<SendError | null> {
    if (channel === undefined)
      return new SendError(`There is no channel "${message.channel}" in _cdktr.yml.`);
    const cut = new AbortController();
    this.#cuts.add(cut);
    const late = new SendError(`It took longer than ${SENT_WITHIN_MS / 1000} s.`);
    const callOff = this.clock.after(SENT_WITHIN_MS, () => cut.abort(late));
    try {
      // A sender that does not listen to the signal must not hold up the channel.
      await Promise.race([channel.sender.send(outgoing(message), cut.signal), aborted(cut.signal)]);
      return null;
    } catch (error) {
      if (cut.signal.reason instanceof SendError) return cut.signal.reason;
      return error instanceof SendError ? error : new SendError(errorMessage(error));
    } finally {
      callOff();
      this.#cuts.delete(cut);
    }
  }

  #outcomeOf(message: ClaimedMessage, failure: SendError | null): MessageOutcome {
    if (failure === null) return { state: "SENT" };
    const error = failure.text;
    const now = this.clock.now();
    if (this.isStopping && !failure.isPermanent) return { state: "PENDING", error, due_ms: now };
    const delayMs = delayAfter(failure, message.attempt, now - message.created_at_ms, this.#random());
    return delayMs === null ? { state: "DEAD", error } : { state: "PENDING", error, due_ms: now + delayMs };
  }

  /** Writes how a try ended; again and again until that is on disk, because the message would be sent twice otherwise. */
  async #settle(message: ClaimedMessage, outcome: MessageOutcome, known: Channel | undefined): Promise<void> {
    const { store, log } = this.#o;
    const { channel } = message;
    const wasFailing = this.#failing.has(channel);
    for (;;) {
      try {
        await store.transact(async (tx) => {
          const now = this.clock.now();
          await tx.settleMessage(message, outcome, now);
          if (outcome.state === "SENT" && wasFailing) await tx.hurryChannel(channel, now);
          if (outcome.state === "DEAD") await this.#tellOthers(tx, message, outcome.error, now);
          tx.afterCommit(() => this.#o.events.emit("statuses written"));
        });
        break;
      } catch (error) {
        logFailure(log, `What channel ${channel} has sent cannot be noted`, error);
        if (this.isStopping) return;
        await this.pause(RETRY_MS);
      }
    }
    this.#noted(message, outcome, known);
    this.signals.emit("settled", { channel, outcome: outcome.state });
  }

  /** A message was given up: other channels are told, unless that is all that it had to tell. Part of a unit of work. */
  async #tellOthers(
    tx: Parameters<Alerts["raise"]>[0],
    { channel, message_id, alerts, more }: ClaimedMessage,
    error: string,
    at_ms: number,
  ): Promise<void> {
    if (more === 0 && alerts.every(({ alert }) => alert.kind === "dead_letter")) return;
    const count = alerts.length + more;
    await this.#o.alerts.raise(tx, {
      kind: "dead_letter",
      key: alertKey("dead_letter", "message", message_id),
      workflow_id: null,
      workflow_instance_id: null,
      subject: `Channel ${channel} could not be told of ${count === 1 ? "an alert" : `${count} alerts`}`,
      facts: { channel, error, alerts: alerts.slice(0, 10).map(({ alert }) => alert.subject), count },
      at_ms,
      except: channel,
    });
  }

  #noted({ channel, attempt, alerts, more }: ClaimedMessage, outcome: MessageOutcome, known?: Channel): void {
    const { log } = this.#o;
    const { sent, failed } = this.#counts.get(channel) ?? { sent: 0, failed: 0 };
    const now = this.clock.now();
    const isFirst = !this.#failing.has(channel);
    if (outcome.state === "SENT") {
      this.#counts.set(channel, { sent: sent + 1, failed });
      this.#pace.sent(channel, now);
      if (this.#failing.delete(channel)) log.success(`Channel ${channel} works again.`);
      return;
    }
    this.#counts.set(channel, { sent, failed: failed + 1 });
    const count = alerts.length + more;
    const what = `${count === 1 ? "an alert" : `${count} alerts`}`;
    if (outcome.state === "DEAD") {
      log.error(
        `Channel ${channel} could not be told of ${what}: ${outcome.error} They are listed by: cdktr alerts list --dead`,
      );
      // A refusal says nothing about other messages.
      return;
    }
    if (this.isStopping) return;
    const untilMs = outcome.due_ms;
    this.#failing.set(channel, { channel: known, untilMs });
    const text = `Channel ${channel} could not be told of ${what}: ${outcome.error}`;
    const seconds = Math.max(1, Math.round((untilMs - now) / 1000));
    if (isFirst)
      log.warn(`${text} It is tried again in ${formatDuration(seconds * 1000)}, and so on for a day.`);
    else log.debug(`${text} This was attempt ${attempt}.`);
  }

  /** Channels that failed and are others now are tried at once. */
  #channelsChanged(): void {
    for (const [name, { channel }] of this.#failing) {
      if (this.#o.channels.get(name) === channel) continue;
      this.#failing.delete(name);
      this.track(this.#hurry(name));
    }
  }

  async #hurry(channel: string): Promise<void> {
    try {
      await this.#o.store.transact((tx) => tx.hurryChannel(channel, this.clock.now()));
      this.#look();
    } catch (error) {
      logFailure(this.#o.log, `What channel ${channel} has failed to send cannot be sent now`, error);
    }
  }
}

/** A message as senders get it. */
function outgoing({ message_id, channel, alerts, more, created_at_ms }: ClaimedMessage): OutgoingMessage {
  return {
    id: message_id,
    channel,
    alerts: alerts.map(({ alert: { facts, ...alert }, about }): AlertForMessage => {
      return { ...alert, about, facts: factsIn(facts) };
    }),
    more,
    created_at_ms,
  };
}

function factsIn(json: string): AlertForMessage["facts"] {
  try {
    return JSON.parse(json);
  } catch {
    // Damage to what is stored must not keep the alert from being told.
    return {};
  }
}

/** Rejects when the signal aborts. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
