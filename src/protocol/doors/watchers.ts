/**
 * The subscribers of a port for live logs: whose topics would take too much memory is disconnected. A publisher's table of subscriptions
 * takes about fifty times the size of the topics.
 */
import type { ConsolaInstance } from "consola";
import { endConnections } from "../../host/connections.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";

const SUBSCRIBED = 1;
const UNSUBSCRIBED = 0;
/** Total size of all topics, bytes. A subscriber's topic has a few dozen bytes. */
const MOST_TOPICS = 2 * 1024 * 1024;
/** A subscriber that has sent more than this to the publisher has more topics than anyone can read. */
const MANY_TOPICS = 64 * 1024;
/** How long those that were disconnected take to be gone, ms. */
const SETTLES_MS = 1000;
/** Within this time after such a subscriber was disconnected, its topics go away, ms: no other one is disconnected because of them. */
const TOPICS_GONE_MS = 10_000;
/** A prefix longer than any workflow id is invalid, bytes. */
export const LONGEST_SUBSCRIPTION = 4096;
/** Pending subscriptions per subscriber: libzmq reads everything that waits at once, and a flood must not keep it busy for long. */
export const QUEUED_SUBSCRIPTIONS = 64;
/** Lines queued per subscriber before it misses some. */
export const QUEUED_LINES = 50_000;

/** The topics to which clients have subscribed. */
export class Watchers {
  readonly #topics = new Set<string>();
  readonly #warning: RateLimitedWarning;
  #characters = 0;
  #endedAt = Number.NEGATIVE_INFINITY;

  constructor(log: ConsolaInstance) {
    this.#warning = new RateLimitedWarning(log);
  }

  /** All topics. */
  get topics(): ReadonlySet<string> {
    return this.#topics;
  }

  /**
   * Processes a message from an XPUB.
   * @returns a new topic, or one without subscribers, as latin1 text; undefined for anything else that a peer sent
   */
  take(frame: Buffer): { readonly topic: string; readonly isNew: boolean } | undefined {
    if (frame[0] !== SUBSCRIBED && frame[0] !== UNSUBSCRIBED) return undefined;
    const topic = frame.toString("latin1", 1);
    const { size } = this.#topics;
    if (frame[0] === SUBSCRIBED) this.#topics.add(topic);
    else this.#topics.delete(topic);
    const more = this.#topics.size - size;
    this.#characters += more * topic.length;
    return more === 0 ? undefined : { topic, isNew: more > 0 };
  }

  /** Disconnects subscribers with too many topics, or all if that does not help: a legitimate one reconnects with its few topics. */
  endGreedy(port: number, now: number): void {
    if (this.#characters <= MOST_TOPICS) return;
    const since = now - this.#endedAt;
    if (since <= SETTLES_MS) return;
    const ports = new Set([port]);
    const greedy = endConnections(ports, ({ traffic }) => traffic.received > MANY_TOPICS);
    if (greedy === 0 && since <= TOPICS_GONE_MS) return;
    this.#endedAt = now;
    this.#warning.warn(
      greedy > 0 ? greedy : endConnections(ports, () => true),
      (count) =>
        `${count} connections of live log subscribers were closed: they had far too many subscriptions.`,
    );
  }
}
