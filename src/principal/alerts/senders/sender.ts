/** What channels send, and who sends it. */

/** Plain JSON: what is known about an alert. */
export type Fact =
  | string
  | number
  | boolean
  | null
  | readonly Fact[]
  | { readonly [name: string]: Fact | undefined };

/** An alert as a message tells it. */
export interface AlertForMessage {
  readonly alert_id: string;
  /** See workflow/alert-kinds.ts; a kind that is not known here is told as it is. */
  readonly kind: string;
  /** Unique among open alerts: what pagers know it by. */
  readonly key: string;
  /** Whether it is told that it was raised, or that it is over. */
  readonly about: "raised" | "resolved";
  readonly workflow_id: string | null;
  readonly workflow_instance_id: string | null;
  /** What happened, in one line. */
  readonly subject: string;
  readonly facts: Readonly<Record<string, Fact | undefined>>;
  readonly raised_at_ms: number;
  readonly resolved_at_ms: number | null;
}

/** A message to the people or the program behind a channel. */
export interface OutgoingMessage {
  /** The same at each try, so that whoever gets it twice can tell. */
  readonly id: string;
  /** Name of the channel. */
  readonly channel: string;
  /** At least one, oldest first. */
  readonly alerts: readonly AlertForMessage[];
  /** How many more there are, which are only counted. */
  readonly more: number;
  readonly created_at_ms: number;
}

/** Sends messages to one channel. */
export interface Sender {
  /**
   * Sends a message; it has arrived when the promise resolves.
   * @param signal ends what is under way
   * @throws SendError
   */
  send(message: OutgoingMessage, signal: AbortSignal): Promise<void>;
}

/** What else is known about a failure to send. */
interface SendErrorOptions {
  /** Whether it would fail again, whenever it is tried: what was refused, not what was out of reach. */
  readonly isPermanent?: boolean;
  /** The receiver asked not to come back earlier than after this time, ms. */
  readonly retryAfterMs?: number | undefined;
  /** What to do about it. */
  readonly hint?: string | undefined;
}

/** A message could not be sent. Its text says why, and has no secret. */
export class SendError extends Error {
  override readonly name = "SendError";
  readonly isPermanent: boolean;
  readonly retryAfterMs: number | undefined;
  readonly hint: string | undefined;

  constructor(message: string, { isPermanent = false, retryAfterMs, hint }: SendErrorOptions = {}) {
    super(message);
    this.isPermanent = isPermanent;
    this.retryAfterMs = retryAfterMs;
    this.hint = hint;
  }

  /** Why, and what to do about it. */
  get text(): string {
    return this.hint === undefined ? this.message : `${this.message} ${this.hint}`;
  }
}
