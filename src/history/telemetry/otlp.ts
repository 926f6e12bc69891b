/**
 * What OTLP transports. Values have the form of OTLP in JSON, so that JSON needs no conversion; tables tell where each field is in
 * protobuf. Only what cdktr sends is described.
 * https://github.com/open-telemetry/opentelemetry-proto
 */
import { encodeMessage, type MessageType } from "./protobuf.ts";

/** A value of an attribute, or the body of a log record. */
interface AnyValue {
  readonly stringValue?: string;
  readonly boolValue?: boolean;
  /** A whole number, in decimal. */
  readonly intValue?: string;
  readonly doubleValue?: number;
}

export interface KeyValue {
  readonly key: string;
  readonly value: AnyValue;
}

/** Something that happened within a span. */
export interface SpanEvent {
  readonly timeUnixNano: string;
  readonly name: string;
  readonly attributes?: readonly KeyValue[];
}

/** Another span that a span has to do with. */
interface SpanLink {
  readonly traceId: string;
  readonly spanId: string;
  readonly attributes?: readonly KeyValue[];
}

export const SPAN_KIND = { INTERNAL: 1, SERVER: 2 } as const;
export const STATUS_CODE = { ERROR: 2 } as const;

export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly KeyValue[];
  readonly events?: readonly SpanEvent[];
  readonly links?: readonly SpanLink[];
  readonly status?: { readonly code: number; readonly message?: string };
  readonly flags: number;
}

export interface LogRecord {
  readonly timeUnixNano: string;
  readonly observedTimeUnixNano: string;
  readonly severityNumber: number;
  readonly severityText: string;
  readonly body: AnyValue;
  readonly attributes: readonly KeyValue[];
  readonly traceId: string;
  readonly spanId: string;
  readonly flags: number;
}

interface Resource {
  readonly attributes: readonly KeyValue[];
}

interface Scope {
  readonly name: string;
  readonly version: string;
}

const ANY_VALUE: MessageType = {
  stringValue: [1, "string"],
  boolValue: [2, "bool"],
  intValue: [3, "int64"],
  doubleValue: [4, "double"],
};
const KEY_VALUE: MessageType = { key: [1, "string"], value: [2, ANY_VALUE] };
const RESOURCE: MessageType = { attributes: [1, KEY_VALUE] };
const SCOPE: MessageType = { name: [1, "string"], version: [2, "string"] };
const SPAN: MessageType = {
  traceId: [1, "id"],
  spanId: [2, "id"],
  parentSpanId: [4, "id"],
  name: [5, "string"],
  kind: [6, "uint32"],
  startTimeUnixNano: [7, "fixed64"],
  endTimeUnixNano: [8, "fixed64"],
  attributes: [9, KEY_VALUE],
  events: [11, { timeUnixNano: [1, "fixed64"], name: [2, "string"], attributes: [3, KEY_VALUE] }],
  links: [13, { traceId: [1, "id"], spanId: [2, "id"], attributes: [4, KEY_VALUE] }],
  status: [15, { message: [2, "string"], code: [3, "uint32"] }],
  flags: [16, "fixed32"],
};
const LOG_RECORD: MessageType = {
  timeUnixNano: [1, "fixed64"],
  severityNumber: [2, "uint32"],
  severityText: [3, "string"],
  body: [5, ANY_VALUE],
  attributes: [6, KEY_VALUE],
  flags: [8, "fixed32"],
  traceId: [9, "id"],
  spanId: [10, "id"],
  observedTimeUnixNano: [11, "fixed64"],
};
const SCOPE_SPANS: MessageType = { scope: [1, SCOPE], spans: [2, SPAN] };
const SCOPE_LOGS: MessageType = { scope: [1, SCOPE], logRecords: [2, LOG_RECORD] };
const TRACES_REQUEST: MessageType = {
  resourceSpans: [1, { resource: [1, RESOURCE], scopeSpans: [2, SCOPE_SPANS] }],
};
const LOGS_REQUEST: MessageType = {
  resourceLogs: [1, { resource: [1, RESOURCE], scopeLogs: [2, SCOPE_LOGS] }],
};

/** Who sends. */
export interface Origin {
  readonly resource: Resource;
  readonly scope: Scope;
}

type Encoding = "protobuf" | "json";

/** The body of a request with spans. */
export function tracesRequest({ resource, scope }: Origin, spans: readonly Span[], as: Encoding): Uint8Array {
  return encoded(TRACES_REQUEST, { resourceSpans: [{ resource, scopeSpans: [{ scope, spans }] }] }, as);
}

/** The body of a request with log records. */
export function logsRequest(
  { resource, scope }: Origin,
  logRecords: readonly LogRecord[],
  as: Encoding,
): Uint8Array {
  return encoded(LOGS_REQUEST, { resourceLogs: [{ resource, scopeLogs: [{ scope, logRecords }] }] }, as);
}

function encoded(type: MessageType, message: object, as: Encoding): Uint8Array {
  return as === "json" ? Buffer.from(JSON.stringify(message)) : encodeMessage(type, message);
}

/** An attribute; numbers that are whole are integers. */
export function attribute(key: string, value: string | number | boolean): KeyValue {
  if (typeof value === "string") return { key, value: { stringValue: value } };
  if (typeof value === "boolean") return { key, value: { boolValue: value } };
  return { key, value: Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value } };
}

/** The attributes that have a value. */
export function attributes(
  values: Readonly<Record<string, string | number | boolean | null | undefined>>,
): KeyValue[] {
  return Object.entries(values).flatMap(([key, value]) => (value == null ? [] : [attribute(key, value)]));
}

/** The last time that 64 bits can express in nanoseconds, ms: in the year 2554. */
const LAST_MS = 18_446_744_073_709;

/** A time in ms since the epoch, in nanoseconds. One that cannot be expressed, as from a clock that is wrong, is the nearest that can. */
export function nanoseconds(ms: number): string {
  return `${Math.min(Math.max(0, Math.round(ms)), LAST_MS)}000000`;
}

/** Characters of what a receiver says that are told. */
const MOST_OF_REASON = 300;

/** How many the receiver has refused of a request that it accepted, and why. Undefined for none, or if the reply cannot be read. */
export function refusedIn(
  reply: Uint8Array,
  contentType: string | null,
): { readonly count: number; readonly why: string } | undefined {
  try {
    const refused = /\bjson\b/.test(contentType ?? "") ? refusedInJson(reply) : refusedInProtobuf(reply);
    return refused && { count: refused.count, why: refused.why.slice(0, MOST_OF_REASON) };
  } catch {
    return undefined;
  }
}

function refusedInJson(reply: Uint8Array): ReturnType<typeof refusedIn> {
  const { partialSuccess = {} } = JSON.parse(new TextDecoder().decode(reply));
  const { rejectedSpans, rejectedLogRecords, errorMessage = "" } = partialSuccess;
  const count = Number(rejectedSpans ?? rejectedLogRecords ?? 0);
  return count > 0 ? { count, why: String(errorMessage) } : undefined;
}

/** The reply holds one message, the partial success, with a number and a text. */
function refusedInProtobuf(reply: Uint8Array): ReturnType<typeof refusedIn> {
  let [count, why, at] = [0, "", 0];
  const varint = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = reply[at++] ?? 0;
      value += (byte & 127) * factor;
      if (byte < 128) return value;
    }
  };
  if (varint() !== 10) return undefined;
  varint();
  while (at < reply.length) {
    const tag = varint();
    const value = varint();
    if (tag === 8) count = value;
    else if (tag === 18) {
      why = new TextDecoder().decode(reply.subarray(at, at + value));
      at += value;
    } else return undefined;
  }
  return count > 0 ? { count, why } : undefined;
}
