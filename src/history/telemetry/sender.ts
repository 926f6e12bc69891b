/**
 * Sends what waits in a bounded queue to a receiver, a batch at a time. Whoever adds something never waits: when there is no space, the
 * oldest goes. A request that fails is repeated with the same batch, until it is accepted or refused for good.
 * https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
 */
import type { ConsolaInstance } from "consola";
import type { SignalCounts, TelemetryTarget } from "../../contract/telemetry.ts";
import { errorMessage } from "../../errors.ts";
import { RateLimitedWarning } from "../../host/rate-limited-warning.ts";
import { BackgroundService } from "../../service.ts";
import { BackOff } from "../../timer.ts";
import { refusedIn } from "./otlp.ts";

/** Exponential back-off between attempts, ms. */
const FIRST_RETRY_MS = 1000;
const LAST_RETRY_MS = 60_000;
/** A receiver that wants to be left alone for longer is asked all the same, ms. */
const LONGEST_REST_MS = 600_000;
/** How long to collect what is sent together, ms. */
const COLLECT_MS = 1000;
/** How long a stop waits until what is left is sent, ms. */
const LAST_WORDS_MS = 2000;
/** The longest reply that is read, bytes. */
const LONGEST_REPLY = 64 * 1024;
/** Replies that ask for another try; all others are final. */
const TRY_AGAIN: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** Something that waits. */
export interface Waiting<T> {
  readonly item: T;
  /** Its approximate size, bytes. */
  readonly bytes: number;
}

/** Options of {@link Sender}. */
export interface SenderOptions<T> {
  /** What it sends, for messages: `traces`. */
  readonly what: string;
  readonly target: TelemetryTarget;
  /** The body of a request. */
  readonly encode: (batch: readonly T[]) => Uint8Array;
  readonly log: ConsolaInstance;
  /** The most that waits. */
  readonly queueLength: number;
  readonly queueBytes: number;
  /** The most that a request has. */
  readonly batchLength: number;
  readonly batchBytes: number;
  /** How long it collects, ms; 1 s by default. */
  readonly collectMs?: number;
  /** The first delay after a failure, ms; 1 s by default. */
  readonly firstRetryMs?: number;
  /** Numbers from 0 to below 1, for the jitter of delays. */
  readonly random?: () => number;
}

type Verdict =
  | { readonly is: "accepted"; readonly refused: number }
  | { readonly is: "refused"; readonly why: string }
  | { readonly is: "failed"; readonly why: string; readonly restMs: number | undefined };

/** Its signals. */
interface SenderSignals {
  /** A request was answered, or has failed. */
  readonly requested: Verdict["is"];
}

/** Sends one signal. */
export class Sender<T> extends BackgroundService<SenderSignals> {
  readonly name: string;
  readonly #o: SenderOptions<T>;
  readonly #queue: Waiting<T>[] = [];
  #bytes = 0;
  #counts = { exported: 0, dropped: 0, failures: 0 };
  #sending: Promise<void> | undefined;
  /** The batch of the request in progress. */
  #batch: readonly Waiting<T>[] = [];
  readonly #collect = this.timer(() => this.#send());
  readonly #backOff: BackOff;
  readonly #lost: RateLimitedWarning;
  /** Why the last request failed; "" if it did not. */
  #problem = "";
  /** Aborts when a stopping sender has had its time. */
  #end = new AbortController();

  constructor(options: SenderOptions<T>) {
    super();
    this.#o = options;
    this.name = `sender of ${options.what}`;
    this.#backOff = new BackOff(options.firstRetryMs ?? FIRST_RETRY_MS, LAST_RETRY_MS);
    this.#lost = new RateLimitedWarning(options.log);
  }

  get #collectMs(): number {
    return this.#o.collectMs ?? COLLECT_MS;
  }

  get counts(): SignalCounts {
    return { ...this.#counts, queued: this.#queue.length + this.#batch.length };
  }

  /** Adds what is to be sent. */
  add(waiting: readonly Waiting<T>[]): void {
    if (waiting.length === 0) return;
    for (const one of waiting) {
      this.#queue.push(one);
      this.#bytes += one.bytes;
    }
    this.#makeSpace();
    if (this.#queue.length >= this.#o.batchLength || this.#bytes >= this.#o.batchBytes) this.#send();
    else this.#collect.within(this.#collectMs);
  }

  protected override onStart(): void {
    this.#end = new AbortController();
  }

  /** Sends what is left, once, if the receiver takes it in time. */
  protected override async onStop(): Promise<void> {
    const callOff = this.clock.after(LAST_WORDS_MS, () => this.#end.abort());
    try {
      await this.#sending;
      await this.#drain();
    } finally {
      callOff();
    }
    this.#dropped(this.#queue.length, "the principal stops");
    this.#queue.length = this.#bytes = 0;
  }

  #makeSpace(): void {
    const { queueLength, queueBytes } = this.#o;
    let gone = 0;
    while (this.#queue.length - gone > queueLength || this.#bytes > queueBytes) {
      this.#bytes -= this.#queue[gone]?.bytes ?? 0;
      gone++;
    }
    if (gone === 0) return;
    this.#queue.splice(0, gone);
    this.#dropped(gone, this.#problem === "" ? "more came than could be sent" : this.#problem);
  }

  #dropped(count: number, why: string): void {
    if (count === 0) return;
    this.#counts.dropped += count;
    const { what, target } = this.#o;
    this.#lost.warn(
      count,
      (total) =>
        `${total} ${what === "logs" ? "log lines" : "spans"} did not get to ${shown(target.url)}: ${why}.`,
    );
  }

  #send(): void {
    if (this.#sending !== undefined || this.isStopping) return;
    this.#collect.cancel();
    this.#sending = this.#drain().finally(() => {
      this.#sending = undefined;
    });
    this.track(this.#sending);
  }

  /** Sends until nothing waits; when it is told to stop, until a request fails. */
  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      this.#batch = this.#take();
      const body = this.#body();
      for (;;) {
        const verdict = body === undefined ? NOT_ENCODED : await this.#request(body);
        const over = this.#judge(verdict);
        this.signals.emit("requested", verdict.is);
        if (over) break;
        if (this.isStopping) {
          this.#dropped(this.#batch.length, this.#problem);
          this.#batch = [];
          return;
        }
        const jitter = 1 + (this.#o.random ?? Math.random)() * 0.2;
        const asked = verdict.is === "failed" ? verdict.restMs : undefined;
        // `Retry-After: 0`, or a time that is over by this clock, is not asked for in a loop.
        const restMs = asked === undefined ? this.#backOff.next() * jitter : Math.max(asked, this.#collectMs);
        await this.pause(Math.min(restMs, LONGEST_REST_MS));
      }
      this.#batch = [];
    }
  }

  #take(): readonly Waiting<T>[] {
    const { batchLength, batchBytes } = this.#o;
    let [count, bytes] = [0, 0];
    for (; count < this.#queue.length && count < batchLength; count++) {
      const size = this.#queue[count]?.bytes ?? 0;
      if (count > 0 && bytes + size > batchBytes) break;
      bytes += size;
    }
    this.#bytes -= bytes;
    return this.#queue.splice(0, count);
  }

  #body(): Uint8Array<ArrayBuffer> | undefined {
    try {
      const body = this.#o.encode(this.#batch.map(({ item }) => item));
      const bytes = new Uint8Array(body);
      return this.#o.target.isCompressed ? Bun.gzipSync(bytes, { level: 1 }) : bytes;
    } catch (error) {
      this.#o.log.error(`The ${this.#o.what} to export could not be encoded:`, error);
      return undefined;
    }
  }

  /** Counts and logs. @returns whether the batch is over */
  #judge(verdict: Verdict): boolean {
    const { what, target, log } = this.#o;
    const count = this.#batch.length;
    if (verdict.is !== "accepted") this.#counts.failures++;
    switch (verdict.is) {
      case "accepted":
        this.#backOff.reset();
        if (this.#problem !== "")
          log.info(`The receiver of ${what} at ${shown(target.url)} takes them again.`);
        this.#problem = "";
        this.#counts.exported += count - verdict.refused;
        return true;
      case "refused":
        this.#problem = verdict.why;
        this.#dropped(count, verdict.why);
        return true;
      case "failed":
        if (this.#problem === "")
          log.warn(
            `The ${what} cannot be sent to ${shown(target.url)}: ${verdict.why}. They wait, as far as there is space, and it is tried again; runs are not affected.`,
          );
        this.#problem = verdict.why;
        return false;
    }
  }

  async #request(body: Uint8Array<ArrayBuffer>): Promise<Verdict> {
    const { target } = this.#o;
    try {
      const response = await fetch(target.url, {
        method: "POST",
        headers: {
          ...target.headers,
          "Content-Type": target.encoding === "json" ? "application/json" : "application/x-protobuf",
          ...(target.isCompressed ? { "Content-Encoding": "gzip" } : {}),
        },
        body,
        // The headers are for this receiver alone.
        redirect: "manual",
        signal: AbortSignal.any([AbortSignal.timeout(target.timeoutMs), this.#end.signal]),
        ...(await tlsOf(target)),
      });
      const reply = await replyOf(response);
      if (response.ok) {
        const refused = refusedIn(reply, response.headers.get("content-type"));
        if (refused !== undefined) {
          const least = Math.min(refused.count, this.#batch.length);
          this.#dropped(least, refused.why === "" ? "the receiver refused them" : refused.why);
          return { is: "accepted", refused: least };
        }
        return { is: "accepted", refused: 0 };
      }
      const why = `it answers with status ${response.status}`;
      if (!TRY_AGAIN.has(response.status)) return { is: "refused", why: `${why}${hintFor(response.status)}` };
      return { is: "failed", why, restMs: restMs(response.headers.get("retry-after")) };
    } catch (error) {
      const isLate = error instanceof DOMException && error.name === "TimeoutError";
      const why = isLate ? `no answer within ${target.timeoutMs / 1000} s` : errorMessage(error);
      return { is: "failed", why, restMs: undefined };
    }
  }
}

const NOT_ENCODED: Verdict = { is: "refused", why: "they could not be encoded" };

function hintFor(status: number): string {
  if (status >= 300 && status < 400)
    return " (a redirection is not followed: name the address that it leads to)";
  if (status === 401 || status === 403) return " (are the credentials in OTEL_EXPORTER_OTLP_HEADERS right?)";
  if (status === 404) return " (is the path of the endpoint right?)";
  if (status === 415)
    return " (OTEL_EXPORTER_OTLP_PROTOCOL may suit it better as http/json or http/protobuf)";
  return "";
}

/** The start of the body; the rest is not waited for. */
async function replyOf(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > LONGEST_REPLY) break;
  }
  return Buffer.concat(chunks);
}

/** What a `Retry-After` asks for, ms. */
function restMs(header: string | null): number | undefined {
  if (header === null) return undefined;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const at = Date.parse(header);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}

/** Read each time: certificates are renewed while this runs. */
async function tlsOf({ caFile, certificateFile, keyFile }: TelemetryTarget): Promise<BunFetchRequestInit> {
  if (caFile === undefined && certificateFile === undefined) return {};
  const text = (path: string | undefined) => (path === undefined ? undefined : Bun.file(path).text());
  const [ca, cert, key] = await Promise.all([text(caFile), text(certificateFile), text(keyFile)]);
  return {
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    },
  };
}

/** An address without what may be secret in it. */
export function shown(url: string): string {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}
