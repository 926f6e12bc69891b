/** Makes log records of the lines of tasks. */
import { type LogLevel, LogLineReader } from "../../contract/log-line.ts";
import { contextOfTask, type SpanContext } from "../../contract/trace-context.ts";
import { attributes, type KeyValue, type LogRecord, nanoseconds } from "./otlp.ts";
import { flagsOf } from "./spans.ts";

/** https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber */
const SEVERITIES: Readonly<Record<LogLevel, number>> = { DEBUG: 5, INFO: 9, WARN: 13, ERROR: 17 };

/**
 * The records of encoded lines; those that are malformed, which are not in the history either, are left out.
 * @param contextOf the span of a run
 * @param observedMs when they were received, ms since the epoch
 */
export function logRecords(
  lines: readonly string[],
  contextOf: (runId: string) => SpanContext,
  observedMs: number,
): LogRecord[] {
  const reader = new LogLineReader();
  const observedTimeUnixNano = nanoseconds(observedMs);
  let of = "";
  let shared: Pick<LogRecord, "traceId" | "spanId" | "flags"> & { readonly attributes: readonly KeyValue[] };
  return lines.flatMap((text) => {
    if (text === "" || reader.check(text) !== null) return [];
    const line = reader.decode(text);
    // Consecutive lines are mostly of one task run.
    if (of !== line.task_instance_id) {
      of = line.task_instance_id;
      const task = contextOfTask(contextOf(line.workflow_instance_id), line.task_instance_id);
      shared = {
        traceId: task.traceId,
        spanId: task.spanId,
        flags: flagsOf(task),
        attributes: attributes({
          "cicd.pipeline.name": line.workflow_id,
          "cicd.pipeline.run.id": line.workflow_instance_id,
          "cicd.pipeline.task.name": line.task_name,
          "cicd.pipeline.task.run.id": line.task_instance_id,
        }),
      };
    }
    return {
      timeUnixNano: nanoseconds(line.timestamp_ms),
      observedTimeUnixNano,
      severityNumber: SEVERITIES[line.level],
      severityText: line.level,
      body: { stringValue: line.payload },
      ...shared,
    };
  });
}
