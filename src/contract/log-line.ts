/**
 * The codec of log lines: the one place that knows the columns of `logstore` and their order.
 *
 * Published (PUB): one frame per line, the eight columns joined by 0x01. Only the payload may contain that character.
 * Delivered (PUSH): one frame per batch: `LOGS` 0x01 agent id 0x01 stream id 0x01 sequence number of the first line, then, after a
 * line feed each, the lines in the published form. No column can contain a line feed, because output is split into lines there.
 * In pages (`SEARCHLOGS`): one array per line.
 */
import { z } from "zod";
import { InvalidInputError } from "../errors.ts";
import { ownText } from "./own-text.ts";
import { SEPARATOR } from "./wire.ts";

/** Least severe first. */
export const LOG_LEVELS = ["DEBUG", "INFO", "WARN", "ERROR"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** The columns that all lines of a task run share. */
export interface LogHead {
  readonly workflow_id: string;
  readonly workflow_name: string;
  readonly workflow_instance_id: string;
  readonly task_name: string;
  readonly task_instance_id: string;
}

/** A row of `logstore`. */
export interface LogLine extends LogHead {
  readonly timestamp_ms: number;
  readonly level: LogLevel;
  readonly payload: string;
}

const HEAD_COLUMNS = [
  "workflow_id",
  "workflow_name",
  "workflow_instance_id",
  "task_name",
  "task_instance_id",
] as const satisfies readonly (keyof LogHead)[];

/** The columns in the order in which they are sent and stored. */
export const LOG_COLUMNS = [
  ...HEAD_COLUMNS,
  "timestamp_ms",
  "level",
  "payload",
] as const satisfies readonly (keyof LogLine)[];

/** A line as an array of columns. */
export const LogRow = z.tuple([
  z.string(),
  z.string(),
  z.string(),
  z.string(),
  z.string(),
  z.number(),
  z.enum(LOG_LEVELS),
  z.string(),
]);
export type LogRow = z.infer<typeof LogRow>;

/** Converts a row into a line. */
export function lineOf(row: LogRow): LogLine {
  const [workflow_id, workflow_name, workflow_instance_id, task_name, task_instance_id] = row;
  const [, , , , , timestamp_ms, level, payload] = row;
  return {
    workflow_id,
    workflow_name,
    workflow_instance_id,
    task_name,
    task_instance_id,
    timestamp_ms,
    level,
    payload,
  };
}

/** Converts the columns of a stored line, of any type, into a row; NULL becomes empty. */
export function rowOf(columns: readonly unknown[]): LogRow {
  const text = (index: number) => String(columns[index] ?? "");
  const timestamp_ms = Number(columns[5] ?? 0);
  return [text(0), text(1), text(2), text(3), text(4), timestamp_ms, text(6) as LogLevel, text(7)];
}

/** Identifies a line by its visible content; equal lines of one task run in the same millisecond share a key. */
export function lineKey(line: LogLine): bigint {
  return Bun.hash.wyhash(
    `${line.task_instance_id}\x01${line.timestamp_ms}\x01${line.level}\x01${line.payload}`,
  );
}

/** The topic to subscribe to for the lines of a workflow, or of all workflows. */
export function logTopic(workflowId: string | undefined): string {
  return workflowId === undefined ? "" : workflowId + SEPARATOR;
}

// ---------------------------------------------------------------- published

/**
 * Encodes the columns that lines share, with the separators, for {@link encodeLogLines}.
 * @param clean removes control characters from a column
 */
export function encodeLogHead(head: LogHead, clean: (column: string) => string): string {
  return HEAD_COLUMNS.map((column) => clean(head[column]) + SEPARATOR).join("");
}

/** Encodes lines that differ only in their payloads, joined by line feeds. */
export function encodeLogLines(
  head: string,
  timestampMs: number,
  level: LogLevel,
  payloads: readonly string[],
): string {
  const before = `${head}${timestampMs}${SEPARATOR}${level}${SEPARATOR}`;
  return before + payloads.join(`\n${before}`);
}

/** The encoded head of an encoded line; "" when the line has too few columns. */
export function headOf(line: string): string {
  let end = 0;
  for (let column = 0; column < HEAD_COLUMNS.length; column++) {
    end = line.indexOf(SEPARATOR, end) + 1;
    if (end === 0) return "";
  }
  return line.slice(0, end);
}

/** A column of an encoded head. */
export function headColumn(head: string, column: keyof LogHead): string {
  return head.split(SEPARATOR, HEAD_COLUMNS.length)[HEAD_COLUMNS.indexOf(column)] ?? "";
}

/** The time of an encoded line with this head, ms; NaN when it has none. */
export function timeOf(line: string, head: string): number {
  return Number(line.slice(head.length, line.indexOf(SEPARATOR, head.length)));
}

/** An encoded line with this head, with another time. */
export function withTime(line: string, head: string, timestampMs: number): string {
  return `${head}${timestampMs}${line.slice(line.indexOf(SEPARATOR, head.length))}`;
}

const LEVELS: ReadonlySet<string> = new Set(LOG_LEVELS);

/** Decodes lines one after the other. Consecutive lines mostly have the same head, which is then only parsed once. */
export class LogLineReader {
  #head = "";
  #columns: readonly string[] | undefined;
  #time = "";
  #level = "";
  #payloadStart = 0;

  /** Null when the line is well-formed, else what is wrong with it. */
  check(line: string): string | null {
    if (this.#head === "" || !line.startsWith(this.#head)) {
      this.#head = headOf(line);
      this.#columns = undefined;
      if (this.#head === "") return tooShort(line);
    }
    const timeStart = this.#head.length;
    const timeEnd = line.indexOf(SEPARATOR, timeStart);
    if (timeEnd === -1) return tooShort(line);
    this.#time = line.slice(timeStart, timeEnd);
    if (!/^\d{1,15}$/.test(this.#time)) {
      return `A log line has the time "${this.#time.slice(0, 40)}", which is not a number of ms.`;
    }
    const levelEnd = line.indexOf(SEPARATOR, timeEnd + 1);
    if (levelEnd === -1) return tooShort(line);
    this.#level = line.slice(timeEnd + 1, levelEnd);
    this.#payloadStart = levelEnd + 1;
    return LEVELS.has(this.#level) ? null : `A log line has the unknown level "${this.#level.slice(0, 40)}".`;
  }

  /**
   * Decodes a line.
   * @throws InvalidInputError when it is malformed
   */
  decode(line: string): LogLine {
    const wrong = this.check(line);
    if (wrong !== null) throw new InvalidInputError(wrong);
    this.#columns ??= this.#head.split(SEPARATOR, HEAD_COLUMNS.length);
    return lineOf(rowOf([...this.#columns, this.#time, this.#level, line.slice(this.#payloadStart)]));
  }
}

function tooShort(line: string): string {
  return `A log line needs ${LOG_COLUMNS.length} fields; this one has ${line.split(SEPARATOR).length}.`;
}

// ---------------------------------------------------------------- delivered

/** Lines of one agent's stream with consecutive sequence numbers, the first one being `first_seq` (1-based). */
export interface LogBatch {
  readonly agent_id: string;
  /** Identifies the sequence; an agent that lost its outbox begins a new one. */
  readonly stream_id: string;
  readonly first_seq: number;
  /** Encoded lines. For encoding, an element may also be several lines, joined by line feeds. */
  readonly lines: readonly string[];
}

/** Maximum number of lines in a batch. The lines of an agent fill the longest frame before there are this many. */
const MAX_BATCH_LINES = 200_000;

const BATCH_KIND = "LOGS";

/** Encodes a batch for delivery. */
export function encodeLogBatch(batch: LogBatch): string {
  const head = [BATCH_KIND, batch.agent_id, batch.stream_id, batch.first_seq].join(SEPARATOR);
  return batch.lines.length === 0 ? head : `${head}\n${batch.lines.join("\n")}`;
}

/** Whether a delivered text is a batch, rather than a line delivered by itself, which has more fields. */
export function isLogBatch(text: string): boolean {
  if (!text.startsWith(BATCH_KIND + SEPARATOR)) return false;
  return firstLine(text).split(SEPARATOR, LOG_COLUMNS.length).length < LOG_COLUMNS.length;
}

/**
 * Decodes a batch; its lines stay encoded.
 * @throws InvalidInputError when the head is malformed, or the batch has more than {@link MAX_BATCH_LINES}
 */
export function decodeLogBatch(text: string): LogBatch {
  const first = firstLine(text);
  const head = first.split(SEPARATOR, 5);
  const [kind, agent_id, stream_id, seq] = head;
  const first_seq = Number(seq);
  if (
    kind !== BATCH_KIND ||
    head.length !== 4 ||
    !agent_id ||
    !stream_id ||
    !Number.isSafeInteger(first_seq) ||
    first_seq < 1
  ) {
    throw new InvalidInputError(
      "A log batch does not begin with LOGS, agent id, stream id and sequence number.",
    );
  }
  const lines =
    first.length === text.length ? [] : text.slice(first.length + 1).split("\n", MAX_BATCH_LINES + 1);
  if (lines.length > MAX_BATCH_LINES)
    throw new InvalidInputError(`A log batch has more than ${MAX_BATCH_LINES} lines.`);
  // The ids outlive the lines.
  return { agent_id: ownText(agent_id), stream_id: ownText(stream_id), first_seq, lines };
}

/**
 * Splits a line that was delivered by itself, as by agents that do not number their lines, at the line feeds in its payload.
 * @throws InvalidInputError when it is malformed
 */
export function splitSingleLine(text: string): readonly string[] {
  const { payload } = new LogLineReader().decode(text);
  const before = text.slice(0, text.length - payload.length);
  if (before.includes("\n")) throw new InvalidInputError("A field of a log line contains a line feed.");
  return payload.split("\n").map((part) => before + part);
}

function firstLine(text: string): string {
  const end = text.indexOf("\n");
  return end === -1 ? text : text.slice(0, end);
}
