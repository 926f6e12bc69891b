/**
 * Tracks the lines on their way into the history: which numbers of each stream have arrived, which are in DuckDB, and the lines in
 * between. Pure bookkeeping in bounded memory: lines that do not fit are not accepted, and the agent sends them again.
 */
import type { LogBatch } from "../contract/log-line.ts";
import { dropOldest } from "../recent.ts";
import type { LogSlice } from "./database/write.ts";
import { LineTimes } from "./line-times.ts";

/** The position of a stream; 0 for the beginning. */
export interface StreamPosition {
  /** Number of the last line that was received. */
  readonly received: number;
  /** Number of the last line that is in DuckDB. */
  readonly durable: number;
  /** Whether DuckDB has been asked what it has of the stream; until then `received` is provisional. */
  readonly known: boolean;
}

interface HeldSlice extends LogSlice {
  readonly bytes: number;
}

interface Stream {
  received: number;
  durable: number;
  known: boolean;
  /** The agent cannot send lines up to here any more. */
  gone: number;
  /** Lost lines up to here have been reported. */
  reportedLost: number;
  slices: HeldSlice[];
}

/** The input of a flush. */
export interface Portion {
  readonly logs: readonly LogSlice[];
  readonly disordered: readonly string[];
}

/** A gap: these lines no longer exist anywhere. */
export interface LostLines {
  readonly stream_id: string;
  readonly from: number;
  readonly to: number;
}

/** Approximate memory of a held line in addition to its characters. */
const LINE_OVERHEAD_BYTES = 40;
const SLICE_OVERHEAD_BYTES = 200;
/** Number of streams above which those at rest are reduced to their positions. One is an agent's whole life on a disk. */
const MANY_STREAMS = 10_000;
/** Number of positions of streams at rest to remember. */
const MAX_POSITIONS = 1_000_000;
/** Maximum number of streams that no agent has registered: anyone can make up their ids. */
const MAX_UNREGISTERED = 20_000;

export class LogIntake {
  readonly #maxBytes: number;
  readonly #lost: (lost: LostLines) => void;
  readonly #streams = new Map<string, Stream>();
  /** Streams at rest: the last line of each, all of them in DuckDB. */
  readonly #positions = new Map<string, number>();
  /** Number of streams at which those at rest are looked for. */
  #many = MANY_STREAMS;
  readonly #times = new LineTimes();
  #unregistered = 0;
  #cursorsRead = false;
  #bytes = 0;
  #lines = 0;

  /**
   * @param maxBytes memory that lines may use
   * @param lost called when lines are skipped that no agent can send any more
   */
  constructor(maxBytes: number, lost: (lost: LostLines) => void) {
    this.#maxBytes = maxBytes;
    this.#lost = lost;
  }

  /** Approximate memory of the held lines. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether nothing more is accepted until something was written. */
  get isFull(): boolean {
    return this.#bytes >= this.#maxBytes;
  }

  /** Number of lines that are held and not in DuckDB yet. */
  get lines(): number {
    return this.#lines;
  }

  position(streamId: string): StreamPosition {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) {
      const last = this.#positions.get(streamId);
      return { received: last ?? 0, durable: last ?? 0, known: last !== undefined || this.#cursorsRead };
    }
    return { received: stream.received, durable: stream.durable, known: stream.known };
  }

  /**
   * Accepts the lines of a batch that continue its stream. Lines that arrived before are skipped; a batch that leaves a gap is rejected,
   * and so is one for which there is no space. Before DuckDB could be asked for a stream's position, the oldest line that the agent says
   * it holds ({@link agentHoldsFrom}) is the beginning, and nothing is accepted before that.
   * @returns number of lines accepted
   */
  offer(batch: LogBatch): number {
    const stream = this.#known(batch.stream_id) ?? this.#unregisteredStream(batch);
    if (stream === undefined) return 0;
    const last = batch.first_seq + batch.lines.length - 1;
    if (last <= stream.received || batch.first_seq > stream.received + 1) return 0;
    if (this.isFull) return 0;
    const first_seq = stream.received + 1;
    const skipped = first_seq - batch.first_seq;
    const lines = skipped === 0 ? batch.lines : batch.lines.slice(skipped);
    const slice = held({ agent_id: batch.agent_id, stream_id: batch.stream_id, first_seq, lines });
    stream.slices.push(slice);
    stream.received = last;
    this.#hold(slice);
    this.#times.observe(lines);
    return lines.length;
  }

  /** The agent of the stream cannot send lines before `firstSeq` any more: missing ones are lost. */
  agentHoldsFrom(streamId: string, firstSeq: number): void {
    const stream = this.#stream(streamId, firstSeq - 1);
    if (firstSeq - 1 <= stream.gone) return;
    stream.gone = firstSeq - 1;
    if (stream.known) this.#passOver(streamId, stream);
    // It was asked about before the agent said what it holds.
    else if (stream.slices.length === 0) stream.received = Math.max(stream.received, stream.gone);
  }

  /**
   * Processes DuckDB's answer about a stream. Lines that it has are released, and so are held lines that do not continue it, for they
   * will be sent again. If DuckDB has less of a stream than it once confirmed, the file was replaced, and the stream continues where it
   * was.
   */
  reconcile(cursors: ReadonlyMap<string, number>): void {
    this.#cursorsRead = true;
    for (const [streamId, cursor] of cursors) {
      if (this.#streams.has(streamId)) continue;
      this.#positions.set(streamId, Math.max(cursor, this.#positions.get(streamId) ?? 0));
      dropOldest(this.#positions, MAX_POSITIONS);
    }
    for (const [streamId, stream] of this.#streams) {
      const cursor = cursors.get(streamId) ?? 0;
      const before = stream.durable;
      if (cursor >= stream.durable) this.#settle(stream, cursor);
      if (!stream.known) {
        stream.known = true;
        const next = stream.slices[0]?.first_seq ?? stream.received + 1;
        // The held lines started at an unknown position. If they do not continue what DuckDB has, the lines in between come first.
        if (stream.slices.length === 0) stream.received = stream.durable;
        else if (next > Math.max(stream.durable, stream.gone) + 1) this.#forget(stream);
      } else if (cursor < before && before > stream.reportedLost) {
        stream.reportedLost = before;
        this.#lost({ stream_id: streamId, from: cursor + 1, to: before });
      }
      this.#passOver(streamId, stream);
    }
  }

  /**
   * The next lines to write: the oldest of each stream, together at most about this many. They stay held until {@link written}.
   */
  take(maxLines: number, maxBytes: number): Portion {
    const streams = [...this.#streams.values()].filter((s) => s.known && s.slices.length > 0);
    const logs: LogSlice[] = [];
    let lines = 0;
    let bytes = 0;
    for (const [index, stream] of streams.entries()) {
      if (lines >= maxLines || bytes >= maxBytes) break;
      const waiting = streams.length - index;
      const taken = takeFrom(stream.slices, (maxLines - lines) / waiting, (maxBytes - bytes) / waiting);
      logs.push(...taken.logs);
      lines += taken.lines;
      bytes += taken.bytes;
    }
    return { logs, disordered: this.#times.disordered() };
  }

  /** A portion is in DuckDB. */
  written(portion: Portion): void {
    const ends = new Map<string, number>();
    for (const { stream_id, first_seq, lines } of portion.logs) {
      ends.set(stream_id, first_seq + lines.length - 1);
    }
    for (const [streamId, end] of ends) {
      const stream = this.#streams.get(streamId);
      if (stream !== undefined) this.#settle(stream, end);
    }
    this.#times.recorded(portion.disordered);
  }

  /** Times of task runs that are in DuckDB, with which later lines are compared. */
  recallTimes(latest: ReadonlyMap<string, number>): void {
    this.#times.recall(latest);
  }

  /** The current end of each stream: {@link reached} tells when it is in DuckDB. */
  ends(): Map<string, number> {
    const ends = new Map<string, number>();
    for (const [streamId, stream] of this.#streams) {
      if (stream.slices.length > 0) ends.set(streamId, stream.received);
    }
    return ends;
  }

  /** Whether every stream is in DuckDB up to `ends`, or is not held any more. */
  reached(ends: ReadonlyMap<string, number>): boolean {
    for (const [streamId, end] of ends) {
      const stream = this.#streams.get(streamId);
      if (stream !== undefined && stream.durable < Math.min(end, stream.received)) return false;
    }
    return true;
  }

  #unregisteredStream({ stream_id, first_seq }: LogBatch): Stream | undefined {
    // Lines after a gap would not be accepted anyway.
    if (!this.#cursorsRead || first_seq !== 1 || this.#unregistered >= MAX_UNREGISTERED) return undefined;
    this.#unregistered++;
    return this.#stream(stream_id, 0);
  }

  /** A stream that was there before. */
  #known(streamId: string): Stream | undefined {
    const stream = this.#streams.get(streamId);
    return stream === undefined && this.#positions.has(streamId) ? this.#stream(streamId, 0) : stream;
  }

  #stream(streamId: string, receivedInTheDark: number): Stream {
    let stream = this.#streams.get(streamId);
    if (stream === undefined) {
      if (this.#streams.size >= this.#many) this.#rest();
      const last = this.#positions.get(streamId);
      this.#positions.delete(streamId);
      const received = last ?? (this.#cursorsRead ? 0 : receivedInTheDark);
      const known = last !== undefined || this.#cursorsRead;
      stream = { received, durable: last ?? 0, known, gone: 0, reportedLost: 0, slices: [] };
      this.#streams.set(streamId, stream);
    }
    return stream;
  }

  /** Reduces streams at rest to their positions. Those of which lines are held are limited by the memory for lines. */
  #rest(): void {
    for (const [streamId, { received, durable, known, reportedLost, slices }] of this.#streams) {
      // What was passed over is not in DuckDB, and would be reported again.
      if (!known || slices.length > 0 || received !== durable || durable === 0 || reportedLost > 0) continue;
      this.#streams.delete(streamId);
      this.#positions.set(streamId, durable);
      dropOldest(this.#positions, MAX_POSITIONS);
    }
    this.#many = Math.max(MANY_STREAMS, 2 * this.#streams.size);
  }

  /** Everything up to `seq` is in DuckDB. */
  #settle(stream: Stream, seq: number): void {
    stream.durable = Math.max(stream.durable, seq);
    stream.received = Math.max(stream.received, seq);
    let covered = 0;
    for (const slice of stream.slices) {
      if (slice.first_seq > seq) break;
      this.#release(slice);
      covered++;
      const end = slice.first_seq + slice.lines.length - 1;
      if (end <= seq) continue;
      const rest = held({
        ...slice,
        first_seq: seq + 1,
        lines: slice.lines.slice(seq + 1 - slice.first_seq),
      });
      this.#hold(rest);
      stream.slices.splice(0, covered, rest);
      return;
    }
    stream.slices.splice(0, covered);
  }

  /** Releases the held lines: they will be sent again. */
  #forget(stream: Stream): void {
    for (const slice of stream.slices) this.#release(slice);
    stream.slices = [];
    stream.received = stream.durable;
  }

  #passOver(streamId: string, stream: Stream): void {
    const from = Math.max(stream.durable, stream.slices.length === 0 ? stream.received : 0) + 1;
    const to = Math.min(stream.gone, (stream.slices[0]?.first_seq ?? Number.POSITIVE_INFINITY) - 1);
    if (to < from) return;
    this.#lost({ stream_id: streamId, from, to });
    stream.reportedLost = Math.max(stream.reportedLost, to);
    stream.durable = Math.max(stream.durable, to);
    stream.received = Math.max(stream.received, to);
  }

  #hold(slice: HeldSlice): void {
    this.#bytes += slice.bytes;
    this.#lines += slice.lines.length;
  }

  #release(slice: HeldSlice): void {
    this.#bytes -= slice.bytes;
    this.#lines -= slice.lines.length;
  }
}

function held(slice: LogSlice): HeldSlice {
  let bytes = SLICE_OVERHEAD_BYTES;
  for (const line of slice.lines) bytes += line.length + LINE_OVERHEAD_BYTES;
  return { ...slice, bytes };
}

/** The first slices, with adjacent ones merged: DuckDB gets few long texts instead of many short ones. */
function takeFrom(slices: readonly HeldSlice[], maxLines: number, maxBytes: number) {
  const logs: { agent_id: string; stream_id: string; first_seq: number; lines: string[] }[] = [];
  let lines = 0;
  let bytes = 0;
  for (const slice of slices) {
    if (lines > 0 && (lines + slice.lines.length > maxLines || bytes + slice.bytes > maxBytes)) break;
    const last = logs.at(-1);
    if (last !== undefined && last.first_seq + last.lines.length === slice.first_seq) {
      for (const line of slice.lines) last.lines.push(line);
    } else {
      logs.push({ ...slice, lines: [...slice.lines] });
    }
    lines += slice.lines.length;
    bytes += slice.bytes;
  }
  return { logs, lines, bytes };
}
