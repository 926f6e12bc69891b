import { expect, test } from "bun:test";
import {
  attribute,
  attributes,
  type LogRecord,
  logsRequest,
  nanoseconds,
  type Origin,
  refusedIn,
  SPAN_KIND,
  type Span,
  STATUS_CODE,
  tracesRequest,
} from "../../../src/history/telemetry/otlp.ts";
import { OTLP_PYTHON, pythonWith } from "../../support/python.ts";

const ORIGIN: Origin = {
  resource: { attributes: attributes({ "service.name": "cdktr", odd: 'ü "quoted"\n\u{1f600}' }) },
  scope: { name: "cdktr", version: "1.2.3" },
};

const SPAN: Span = {
  traceId: "0af7651916cd43dd8448eb211c80319c",
  spanId: "b7ad6b7169203331",
  parentSpanId: "00f067aa0ba902b7",
  name: "etl.daily",
  kind: SPAN_KIND.SERVER,
  startTimeUnixNano: nanoseconds(1_795_823_999_123),
  endTimeUnixNano: nanoseconds(1_795_824_000_456),
  attributes: [
    attribute("text", "a"),
    attribute("empty", ""),
    attribute("yes", true),
    attribute("no", false),
    attribute("negative", -12),
    attribute("large", Number.MAX_SAFE_INTEGER),
    attribute("half", 0.5),
    // Its length needs two bytes in protobuf, and three.
    attribute("long", "x".repeat(300)),
    attribute("longer", "ü".repeat(40_000)),
  ],
  events: [
    {
      timeUnixNano: nanoseconds(5),
      name: "try 1 failed",
      attributes: attributes({ "process.exit.code": 7 }),
    },
  ],
  links: [{ traceId: "f".repeat(32), spanId: "1".repeat(16), attributes: attributes({ why: "retry" }) }],
  status: { code: STATUS_CODE.ERROR, message: "exit status 7" },
  flags: 1,
};
const PLAIN: Span = {
  traceId: SPAN.traceId,
  spanId: "00f067aa0ba902b7",
  name: "queued",
  kind: SPAN_KIND.INTERNAL,
  startTimeUnixNano: nanoseconds(0),
  endTimeUnixNano: nanoseconds(1),
  attributes: [],
  flags: 0,
};
const RECORD: LogRecord = {
  timeUnixNano: nanoseconds(1_795_823_999_123),
  observedTimeUnixNano: nanoseconds(1_795_823_999_999),
  severityNumber: 17,
  severityText: "ERROR",
  body: { stringValue: "it broke" },
  attributes: attributes({ "cicd.pipeline.name": "etl.daily" }),
  traceId: SPAN.traceId,
  spanId: SPAN.spanId,
  flags: 1,
};

/** Reads both encodings of a request with the definitions of OpenTelemetry itself, which refuse what they do not know. */
const COMPARE = `
import sys, json, base64
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

IDS = ("traceId", "spanId", "parentSpanId")
def in_base64(value):
    # OTLP writes ids in hexadecimal digits, where the JSON of protobuf has base64.
    if isinstance(value, list):
        return [in_base64(each) for each in value]
    if isinstance(value, dict):
        return {k: base64.b64encode(bytes.fromhex(v)).decode() if k in IDS else in_base64(v) for k, v in value.items()}
    return value

for line in sys.stdin:
    case = json.loads(line)
    kind = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest}[case["kind"]]
    binary = kind.FromString(base64.b64decode(case["protobuf"]))
    text = json_format.ParseDict(in_base64(json.loads(base64.b64decode(case["json"]))), kind())
    assert binary == text, f"they differ:\\n{binary}\\n{text}"
    assert binary.ByteSize() > 0
    print(json_format.MessageToJson(binary, indent=None))
`;

test("both encodings say the same, to whoever has OpenTelemetry's own definitions", async () => {
  const cases = [
    { kind: "traces", of: (as: "json" | "protobuf") => tracesRequest(ORIGIN, [SPAN, PLAIN], as) },
    {
      kind: "traces",
      of: (as: "json" | "protobuf") =>
        tracesRequest(ORIGIN, Array(500).fill({ ...SPAN, attributes: SPAN.attributes.slice(0, 8) }), as),
    },
    { kind: "logs", of: (as: "json" | "protobuf") => logsRequest(ORIGIN, [RECORD], as) },
  ];
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  const input = cases
    .map(({ kind, of }) =>
      JSON.stringify({ kind, json: base64(of("json")), protobuf: base64(of("protobuf")) }),
    )
    .join("\n");
  const child = Bun.spawn([await pythonWith(OTLP_PYTHON), "-c", COMPARE], {
    stdin: Buffer.from(`${input}\n`),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect([status, err]).toEqual([0, ""]);
  const [traces, many, logs] = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const [resourceSpans] = traces.resourceSpans;
  expect(resourceSpans.resource.attributes[1]).toEqual({
    key: "odd",
    value: { stringValue: 'ü "quoted"\n\u{1f600}' },
  });
  expect(resourceSpans.scopeSpans[0].spans).toHaveLength(2);
  expect(resourceSpans.scopeSpans[0].spans[0]).toMatchObject({
    name: "etl.daily",
    kind: "SPAN_KIND_SERVER",
    status: { code: "STATUS_CODE_ERROR", message: "exit status 7" },
    startTimeUnixNano: "1795823999123000000",
    traceId: Buffer.from(SPAN.traceId, "hex").toString("base64"),
  });
  expect(many.resourceSpans[0].scopeSpans[0].spans).toHaveLength(500);
  expect(logs.resourceLogs[0].scopeLogs[0].logRecords[0]).toMatchObject({
    severityNumber: "SEVERITY_NUMBER_ERROR",
    body: { stringValue: "it broke" },
  });
});

test("a time that 64 bits cannot express, as from the clock of an agent that is wrong, does not keep the others from being sent", () => {
  expect(nanoseconds(8.64e15)).toBe("18446744073709000000");
  expect(nanoseconds(-1)).toBe("0000000");
  const late = { ...RECORD, timeUnixNano: nanoseconds(8.64e15) };
  expect(logsRequest(ORIGIN, [late], "protobuf").length).toBe(
    logsRequest(ORIGIN, [RECORD], "protobuf").length,
  );
});

test("what a receiver refuses of a request is read from either form of its reply", () => {
  const json = (value: unknown) =>
    refusedIn(Buffer.from(JSON.stringify(value)), "application/json; charset=utf-8");
  expect(json({})).toBeUndefined();
  expect(json({ partialSuccess: {} })).toBeUndefined();
  expect(json({ partialSuccess: { rejectedSpans: "3", errorMessage: "too old" } })).toEqual({
    count: 3,
    why: "too old",
  });
  expect(json({ partialSuccess: { rejectedLogRecords: 2 } })).toEqual({ count: 2, why: "" });
  const long = json({ partialSuccess: { rejectedSpans: 1, errorMessage: "x".repeat(60_000) } });
  expect(long?.why).toHaveLength(300);
  const protobuf = (...bytes: number[]) => refusedIn(new Uint8Array(bytes), "application/x-protobuf");
  expect(protobuf()).toBeUndefined();
  expect(protobuf(10, 0)).toBeUndefined();
  expect(protobuf(10, 3, 8, 0xac, 0x02)).toEqual({ count: 300, why: "" });
  expect(protobuf(10, 8, 8, 2, 18, 4, 0x6f, 0x6c, 0x64, 0x21)).toEqual({ count: 2, why: "old!" });
  // What is no such reply is none.
  expect(refusedIn(Buffer.from("<html>"), "application/json")).toBeUndefined();
  expect(refusedIn(Buffer.from("<html>\xff\xff"), null)).toBeUndefined();
});
