/**
 * What the principal knows of the streams of log lines, so that reports and heartbeats do not wait for the history, and what each new
 * history is told again, because it does not outlive its process.
 */
import type { PrincipalNews, StreamPositions as ToldPositions } from "../../contract/history.ts";
import { dropOldest } from "../../recent.ts";

/** Number of streams, and of agents with wrong clocks, to remember. */
const MAX_STREAMS = 100_000;
const MAX_CLOCKS = 10_000;

/** The last line of a stream that was received, and the last one that is in DuckDB. */
export interface Position {
  readonly received: number;
  readonly durable: number;
}

/** Tells the present history something; does nothing when there is none. */
type Tell = <N extends keyof PrincipalNews>(news: N, of: PrincipalNews[N]) => void;

export class StreamPositions {
  readonly #tell: Tell;
  readonly #positions = new Map<string, Position>();
  /** Stream → the oldest line that its agent holds. */
  readonly #held = new Map<string, number>();
  /** Streams of which the present history was told, and whose position it has not told yet. */
  readonly #asked = new Set<string>();
  /** Stream → the last line that a former history has received, and therefore published, while that is not in DuckDB. */
  readonly #published = new Map<string, number>();
  /** Agent → what has to be added to its times, ms. */
  readonly #clocks = new Map<string, number>();

  constructor(tell: Tell) {
    this.#tell = tell;
  }

  has(streamId: string): boolean {
    return this.#positions.has(streamId);
  }

  /** The position of a stream, {0, 0} while it is unknown: then the history is asked. */
  of(streamId: string): Position {
    const known = this.#positions.get(streamId);
    if (known === undefined) this.heldFrom(streamId, this.#held.get(streamId) ?? 1);
    return known ?? { received: 0, durable: 0 };
  }

  /** The history has told positions. */
  moved(positions: readonly ToldPositions[]): void {
    for (const [streamId, received, durable] of positions) {
      this.#asked.delete(streamId);
      this.#positions.delete(streamId);
      this.#positions.set(streamId, { received, durable });
      dropOldest(this.#positions, MAX_STREAMS);
      if (durable >= (this.#published.get(streamId) ?? Number.POSITIVE_INFINITY))
        this.#published.delete(streamId);
    }
  }

  /** The agent of a stream cannot send lines before `firstSeq` any more. */
  heldFrom(streamId: string, firstSeq: number): void {
    const isTold = this.#positions.has(streamId) || this.#asked.has(streamId);
    if (this.#held.get(streamId) === firstSeq && isTold) return;
    this.#held.delete(streamId);
    this.#held.set(streamId, firstSeq);
    dropOldest(this.#held, MAX_STREAMS);
    this.#ask(streamId, firstSeq);
  }

  /** An agent's clock was compared with the principal's. */
  clockCompared(agentId: string, offsetMs: number): void {
    if ((this.#clocks.get(agentId) ?? 0) === offsetMs) return;
    this.#clocks.delete(agentId);
    this.#clocks.set(agentId, offsetMs);
    dropOldest(this.#clocks, MAX_CLOCKS);
    this.#tell("clockCompared", { agent_id: agentId, offset_ms: offsetMs });
  }

  /** The history has ended. What it had received and not stored is gone with it: agents send it again. */
  historyEnded(): void {
    for (const [stream, { received, durable }] of this.#positions) {
      if (received <= durable) continue;
      this.#published.set(stream, Math.max(received, this.#published.get(stream) ?? 0));
      this.#positions.set(stream, { received: durable, durable });
    }
    this.#asked.clear();
  }

  /** Tells a new history what the one before it knew. */
  tellAgain(): void {
    for (const [agent_id, offset_ms] of this.#clocks) this.#tell("clockCompared", { agent_id, offset_ms });
    for (const [streamId, firstSeq] of this.#held) this.#ask(streamId, firstSeq);
  }

  #ask(streamId: string, firstSeq: number): void {
    if (!this.#positions.has(streamId)) this.#asked.add(streamId);
    dropOldest(this.#asked, MAX_STREAMS);
    const published_seq = this.#published.get(streamId);
    this.#tell("streamHeld", {
      stream_id: streamId,
      first_seq: firstSeq,
      ...(published_seq === undefined ? {} : { published_seq }),
    });
  }
}
