/**
 * Traces of runs: which trace a run belongs to, and the ids of its spans. All of it follows from ids that everybody has, so that the
 * principal, an agent and the history name the same span without telling each other.
 *
 * A run whose trigger brought no context begins a trace of its own, with its own id as the id of the trace (without the dashes). One that
 * was triggered within a trace is part of that one. https://www.w3.org/TR/trace-context/
 */
import { createHash } from "node:crypto";

/** A span, and whether its trace is recorded. */
export interface SpanContext {
  /** 32 hexadecimal digits, lower case. */
  readonly traceId: string;
  /** 16 hexadecimal digits, lower case. */
  readonly spanId: string;
  readonly isSampled: boolean;
}

/** Version 00 of the header; of later versions, the part that is the same. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const LONGEST = 256;

/** Reads a `traceparent`; undefined for one that is not valid, which whoever gets it ignores. */
export function readTraceparent(text: string): SpanContext | undefined {
  const found = text.length > LONGEST ? null : TRACEPARENT.exec(text.trim().toLowerCase());
  if (found === null) return undefined;
  const [, version, traceId = "", spanId = "", flags = "", rest] = found;
  if (version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** The `traceparent` of a span. */
export function writeTraceparent({ traceId, spanId, isSampled }: SpanContext): string {
  return `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`;
}

/** A `traceparent` that somebody else wrote, as version 00; null for none, and for one that is not valid. */
export function cleanTraceparent(text: string | null | undefined): string | null {
  const context = text == null ? undefined : readTraceparent(text);
  return context === undefined ? null : writeTraceparent(context);
}

/** The id of the span of a run, of a task run, or of something else with an id of its own. */
export function spanIdOf(id: string): string {
  const spanId = createHash("sha256").update(id).digest("hex").slice(0, 16);
  return /^0+$/.test(spanId) ? "0000000000000001" : spanId;
}

/** The id of the trace that a run begins. */
function traceIdOf(runId: string): string {
  const digits = runId.replaceAll("-", "").toLowerCase();
  if (/^[0-9a-f]{32}$/.test(digits) && !/^0+$/.test(digits)) return digits;
  return createHash("sha256").update(`trace ${runId}`).digest("hex").slice(0, 32);
}

/**
 * Which traces are recorded, as in `OTEL_TRACES_SAMPLER`.
 * @see https://opentelemetry.io/docs/specs/otel/trace/sdk/#sampling
 */
export interface Sampling {
  /** Whether a run that is part of a trace follows the decision of that trace. */
  readonly isParentBased: boolean;
  /** The share of the other traces, 0 to 1. */
  readonly ratio: number;
}

/**
 * The span of a run.
 * @param traceparent that of its trigger; null for none
 */
export function contextOfRun(
  { runId, traceparent }: { readonly runId: string; readonly traceparent: string | null },
  sampling: Sampling,
): SpanContext {
  const parent = traceparent === null ? undefined : readTraceparent(traceparent);
  const traceId = parent?.traceId ?? traceIdOf(runId);
  const isSampled =
    parent !== undefined && sampling.isParentBased ? parent.isSampled : isWithin(traceId, sampling.ratio);
  return { traceId, spanId: spanIdOf(runId), isSampled };
}

/** Whether a trace is one of this share. All who use the same algorithm decide alike. */
function isWithin(traceId: string, ratio: number): boolean {
  if (ratio >= 1) return true;
  if (ratio <= 0) return false;
  return Number(BigInt(`0x${traceId.slice(16)}`) >> 1n) < ratio * 2 ** 63;
}

/** The span of a task run. @param run that of its run */
export function contextOfTask(run: SpanContext, taskInstanceId: string): SpanContext {
  return { ...run, spanId: spanIdOf(taskInstanceId) };
}
