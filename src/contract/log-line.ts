/**
 * Log lines on the wire.
 *
 * Published (PUB): one frame a line, the eight columns of `logstore` joined by 0x01.
 * Delivered (PUSH): one frame a batch: `LOGS` 0x01 agent id 0x01 stream id 0x01 sequence number of the first line, then each line,
 * in the published form, after a line feed. No column can hold a line feed: output is cut into lines there.
 */
import { InvalidInputError } from "../errors.ts";
import { ownText } from "./own-text.ts";
import { SEPARATOR } from "./wire.ts";

export type LogLevel = "DEBUG" | "INFO" | "WARN" | "ERROR";

/** A row of `logstore`. */
export interface LogLine {
  readonly workflow_id: string;
  readonly workflow_name: string;
  readonly workflow_instance_id: string;
  readonly task_name: string;
  readonly task_instance_id: string;
  readonly timestamp_ms: number;
  readonly level: LogLevel;
  readonly payload: string;
}

/** Lines of one agent's stream with consecutive sequence numbers, the first one being `first_seq` (1-based). */
export interface LogBatch {
  readonly agent_id: string;
  /** Names the sequence; a new one begins when an agent lost its outbox. */
  readonly stream_id: string;
  readonly first_seq: number;
  /** Encoded lines, see {@link encodeLogLine}. */
  readonly lines: readonly string[];
}

/** Lines of one batch. With the ids that stand in each, lines of an agent fill the longest frame before they are so many. */
export const MAX_BATCH_LINES = 200_000;

const LEVELS: ReadonlySet<string> = new Set(["DEBUG", "INFO", "WARN", "ERROR"]);

/** The published form of a line. */
export function encodeLogLine(line: LogLine): string {
  return [
    line.workflow_id,
    line.workflow_name,
    line.workflow_instance_id,
    line.task_name,
    line.task_instance_id,
    line.timestamp_ms,
    line.level,
    line.payload,
  ].join(SEPARATOR);
}

/**
 * Reads the published form of a line.
 * @throws InvalidInputError when fields are missing, the time is not a number or the level is unknown
 */
export function decodeLogLine(text: string): LogLine {
  const fields: string[] = [];
  let start = 0;
  for (let i = 0; i < 7; i++) {
    const end = text.indexOf(SEPARATOR, start);
    if (end === -1) throw new InvalidInputError(`A log line needs 8 fields; this one has ${i + 1}.`);
    fields.push(text.slice(start, end));
    start = end + 1;
  }
  const [workflow_id, workflow_name, workflow_instance_id, task_name, task_instance_id, time, level] =
    fields as [string, string, string, string, string, string, string];
  const timestamp_ms = Number(time);
  if (time === "" || !Number.isSafeInteger(timestamp_ms)) {
    throw new InvalidInputError(`A log line has the time "${time.slice(0, 40)}", which is no number of ms.`);
  }
  if (!LEVELS.has(level))
    throw new InvalidInputError(`A log line has the unknown level "${level.slice(0, 40)}".`);
  return {
    workflow_id,
    workflow_name,
    workflow_instance_id,
    task_name,
    task_instance_id,
    timestamp_ms,
    level: level as LogLevel,
    payload: text.slice(start),
  };
}

/** The delivered form of a batch. */
export function encodeLogBatch(batch: LogBatch): string {
  const head = ["LOGS", batch.agent_id, batch.stream_id, batch.first_seq].join(SEPARATOR);
  return batch.lines.length === 0 ? head : `${head}\n${batch.lines.join("\n")}`;
}

/**
 * Reads the delivered form of a batch; the lines stay encoded.
 * @throws InvalidInputError when the head is not one, or it has more than {@link MAX_BATCH_LINES}
 */
export function decodeLogBatch(text: string): LogBatch {
  const end = text.indexOf("\n");
  const head = (end === -1 ? text : text.slice(0, end)).split(SEPARATOR, 5);
  const [kind, agent_id, stream_id, seq] = head;
  const first_seq = Number(seq);
  if (
    kind !== "LOGS" ||
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
  const lines = end === -1 ? [] : text.slice(end + 1).split("\n", MAX_BATCH_LINES + 1);
  if (lines.length > MAX_BATCH_LINES)
    throw new InvalidInputError(`A log batch has more than ${MAX_BATCH_LINES} lines.`);
  // Both are remembered for longer than the lines.
  return { agent_id: ownText(agent_id), stream_id: ownText(stream_id), first_seq, lines };
}
