/**
 * Requests with replies, and news, in both directions over anything that delivers texts in order: the principal and its history speak
 * like this. A reply is never sent before news that was told earlier.
 */
import { type ErrorText, HistoryUnavailableError } from "../contract/history.ts";
import { CdktrError, errorMessage, InvalidInputError, NotFoundError, UnprocessableError } from "../errors.ts";
import { Timer } from "../timer.ts";

type RequestIn<Calls, V extends keyof Calls> = Calls[V] extends { readonly request: infer R } ? R : never;
type ReplyIn<Calls, V extends keyof Calls> = Calls[V] extends { readonly reply: infer R } ? R : never;

/** What answers each request. */
export type Answers<Calls> = {
  readonly [V in keyof Calls]: (
    request: RequestIn<Calls, V>,
  ) => ReplyIn<Calls, V> | Promise<ReplyIn<Calls, V>>;
};

/** What happens upon each piece of news. */
export type Ears<News> = { readonly [T in keyof News]: (news: News[T]) => void };

/** What goes over the wire. */
type Envelope =
  | { readonly ask: string; readonly id: number; readonly of: unknown }
  | { readonly id: number; readonly reply: unknown }
  | { readonly id: number; readonly error: ErrorText }
  | { readonly news: string; readonly of: unknown };

/** Both tables by name: what arrives is what the other side, of the same version, was typed to send. */
type Handlers = Readonly<Record<string, (of: unknown) => unknown>>;

interface Pending {
  readonly verb: string;
  readonly resolve: (reply: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly late: Timer | undefined;
}

/** Errors that keep their class. */
const KINDS: Readonly<Record<string, new (message: string, options?: { hint?: string }) => CdktrError>> = {
  HistoryUnavailableError,
  InvalidInputError,
  NotFoundError,
  UnprocessableError,
};

/** One end of a link. */
export class MessageLink<
  Asks extends object,
  Tells extends object,
  Answered extends object,
  Heard extends object,
> {
  readonly #send: (text: string) => void;
  readonly #answers: Handlers;
  readonly #ears: Handlers;
  readonly #beforeReply: () => void;
  readonly #pending = new Map<number, Pending>();
  #last = 0;
  #over: CdktrError | undefined;

  constructor(options: {
    /** Sends a text; throws when the other side is not there. */
    send: (text: string) => void;
    answers: Answers<Answered>;
    ears: Ears<Heard>;
    /** Called before a reply is sent: tells what the other side has to know by then. */
    beforeReply?: () => void;
  }) {
    this.#send = options.send;
    this.#answers = options.answers as unknown as Handlers;
    this.#ears = options.ears as unknown as Handlers;
    this.#beforeReply = options.beforeReply ?? (() => {});
  }

  /** Number of requests that are not answered yet. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Whether a request of such a kind is not answered yet. */
  waitsFor(verb: keyof Asks): boolean {
    for (const pending of this.#pending.values()) if (pending.verb === verb) return true;
    return false;
  }

  /**
   * Sends a request.
   * @param limit how long the reply may take, ms, and what is thrown when it takes longer
   * @throws what the other side throws, CdktrErrors with their class; the reason of {@link end}
   */
  ask<V extends keyof Asks & string>(
    verb: V,
    request: RequestIn<Asks, V>,
    limit?: { readonly ms: number; readonly error: () => CdktrError },
  ): Promise<ReplyIn<Asks, V>> {
    if (this.#over !== undefined) return Promise.reject(this.#over);
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      const late =
        limit &&
        new Timer(() => {
          this.#pending.delete(id);
          reject(limit.error());
        });
      this.#pending.set(id, { verb, resolve: resolve as (reply: unknown) => void, reject, late });
      late?.in(limit?.ms ?? 0);
      try {
        this.#write({ ask: verb, id, of: request });
      } catch (error) {
        // It has just gone, which is noticed elsewhere.
        const gone = new HistoryUnavailableError(`The history cannot be asked: ${errorMessage(error)}`);
        this.#take(id)?.reject(error instanceof HistoryUnavailableError ? error : gone);
      }
    });
  }

  /** Tells news; nobody hears it when the other side is not there. */
  tell<T extends keyof Tells & string>(topic: T, news: Tells[T]): void {
    if (this.#over !== undefined) return;
    try {
      this.#write({ news: topic, of: news });
    } catch {
      // The other side is gone: its end is noticed elsewhere.
    }
  }

  /** A text has arrived. */
  take(text: string): void {
    if (this.#over !== undefined) return;
    const envelope = JSON.parse(text) as Envelope;
    if ("ask" in envelope) void this.#answer(envelope);
    else if ("news" in envelope) this.#ears[envelope.news]?.(envelope.of);
    else if ("error" in envelope) this.#take(envelope.id)?.reject(errorOf(envelope.error));
    else this.#take(envelope.id)?.resolve(envelope.reply);
  }

  /** Rejects requests that are not answered yet. @param of of these kinds; of all by default */
  fail(error: CdktrError, of?: readonly (keyof Asks)[]): void {
    for (const [id, { verb }] of [...this.#pending])
      if (of === undefined || of.includes(verb as keyof Asks)) this.#take(id)?.reject(error);
  }

  /** The other side is gone: nothing more is sent or heard. */
  end(error: CdktrError): void {
    this.#over ??= error;
    this.fail(error);
  }

  async #answer({ ask, id, of }: { ask: string; id: number; of: unknown }): Promise<void> {
    let envelope: Envelope;
    try {
      const answer = this.#answers[ask];
      if (answer === undefined) throw new InvalidInputError(`There is no request "${ask}".`);
      envelope = { id, reply: (await answer(of)) ?? null };
    } catch (error) {
      envelope = { id, error: textOf(error) };
    }
    if (this.#over !== undefined) return;
    this.#beforeReply();
    try {
      this.#write(envelope);
    } catch {
      // Nobody waits for it any more.
    }
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.late?.cancel();
    return pending;
  }

  #write(envelope: Envelope): void {
    this.#send(JSON.stringify(envelope));
  }
}

/** An error as the other side gets it. */
export function textOf(error: unknown): ErrorText {
  const hint = error instanceof CdktrError ? error.hint : undefined;
  const kind = error instanceof CdktrError ? knownKind(error) : "Error";
  return { kind, message: errorMessage(error), ...(hint === undefined ? {} : { hint }) };
}

/** The error that the other side has thrown. */
export function errorOf({ kind, message, hint }: ErrorText): Error {
  if (kind === "Error") return new Error(message);
  return new (KINDS[kind] ?? CdktrError)(message, hint === undefined ? {} : { hint });
}

/** The most specific class of an error that the other side knows. */
function knownKind(error: CdktrError): string {
  for (const [kind, of] of Object.entries(KINDS)) if (error instanceof of) return kind;
  return "CdktrError";
}
