/** When messages are sent: back-off after failures, when one is given up, and how many a channel may send in a time. Pure. */

/** Delay after the first failure, and the longest one, ms. */
const FIRST_MS = 10_000;
const LONGEST_MS = 900_000;
/** A receiver may ask for a longer delay, up to this one, ms. */
export const LONGEST_DELAY_MS = 3_600_000;
/** A message that has failed for so long, ms, and so often is given up: a weekend of a mail server is not enough. */
const GIVE_UP_MS = 24 * 3_600_000;
const FEWEST_ATTEMPTS = 10;
/** How much each delay varies, so that channels with the same receiver do not come back together. */
const JITTER = 0.2;

/** A failure to send. */
interface Failure {
  readonly isPermanent: boolean;
  /** The receiver asked not to come back earlier, ms. */
  readonly retryAfterMs?: number | undefined;
}

/**
 * What follows the failure of a message.
 * @param attempt which one it was, from 1
 * @param ageMs since it was to be sent first
 * @param random from 0 to 1
 * @returns the delay before the next attempt, ms; null if it is given up
 */
export function delayAfter(
  { isPermanent, retryAfterMs = 0 }: Failure,
  attempt: number,
  ageMs: number,
  random: number,
): number | null {
  if (isPermanent || (attempt >= FEWEST_ATTEMPTS && ageMs >= GIVE_UP_MS)) return null;
  const plain = Math.min(FIRST_MS * 2 ** Math.min(attempt - 1, 20), LONGEST_MS);
  const varied = plain * (1 + JITTER * (2 * random - 1));
  return Math.round(Math.max(varied, Math.min(retryAfterMs, LONGEST_DELAY_MS)));
}

/** How many messages a channel may send in a time. */
export interface MessageLimit {
  readonly messages: number;
  readonly per_ms: number;
}

/** The most times that are kept for a channel; a limit beyond it is none. */
const MOST_KEPT = 10_000;

/** Keeps the limits of channels. */
export class Pace {
  /** When messages of a channel were sent, ms since the epoch, oldest first. */
  readonly #sent = new Map<string, number[]>();

  /** A message was sent. */
  sent(channel: string, at: number): void {
    const times = this.#sent.get(channel) ?? [];
    times.push(at);
    if (times.length > MOST_KEPT) times.shift();
    this.#sent.set(channel, times);
  }

  /** When a channel may send its next message, ms since the epoch; now or earlier if at once. */
  allowedAt(channel: string, { messages, per_ms }: MessageLimit, now: number): number {
    // Times in the future are of a clock that was wrong.
    const recent = (this.#sent.get(channel) ?? []).filter((at) => at > now - per_ms && at <= now);
    const oldest = recent.at(-messages);
    return recent.length < messages || oldest === undefined ? now : oldest + per_ms;
  }
}
