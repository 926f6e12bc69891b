/**
 * A receiver of OTLP over HTTP. What it is sent is read with OpenTelemetry's own definitions: a message that they refuse is a failure of the
 * test that looks at it.
 */
import { OTLP_PYTHON, pythonWith } from "./python.ts";
import { until } from "./until.ts";

/** A span that has arrived; attributes by name. */
export interface ReceivedSpan {
  readonly resource: Record<string, unknown>;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly start: number;
  readonly end: number;
  /** 0 for unset, 2 for an error. */
  readonly status: number;
  readonly message: string;
  readonly attributes: Record<string, unknown>;
  readonly events: readonly string[];
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
}

/** A log record that has arrived. */
export interface ReceivedRecord {
  readonly resource: Record<string, unknown>;
  readonly body: string;
  readonly severity: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly attributes: Record<string, unknown>;
}

/** Reads one request a line, and says what is in it. */
const READ = `
import sys, json, base64
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

def value(v):
    return getattr(v, v.WhichOneof("value"))
def attributes(of):
    return {a.key: value(a.value) for a in of}
def link(l):
    return {"traceId": l.trace_id.hex(), "spanId": l.span_id.hex()}
for line in sys.stdin:
    path, body = line.split(" ")
    body = base64.b64decode(body)
    spans, records = [], []
    if path == "/v1/traces":
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                for s in scope.spans:
                    assert len(s.trace_id) == 16 and len(s.span_id) == 8 and len(s.parent_span_id) in (0, 8), s
                    assert s.name and 0 < s.start_time_unix_nano <= s.end_time_unix_nano, s
                    spans.append({
                        "resource": attributes(resource.resource.attributes), "name": s.name,
                        "traceId": s.trace_id.hex(), "spanId": s.span_id.hex(), "parentSpanId": s.parent_span_id.hex(),
                        "start": s.start_time_unix_nano / 1e6, "end": s.end_time_unix_nano / 1e6,
                        "status": s.status.code, "message": s.status.message, "attributes": attributes(s.attributes),
                        "events": [e.name for e in s.events], "links": [link(l) for l in s.links]})
    else:
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
            for scope in resource.scope_logs:
                for r in scope.log_records:
                    assert len(r.trace_id) == 16 and len(r.span_id) == 8 and r.time_unix_nano > 0, r
                    records.append({
                        "resource": attributes(resource.resource.attributes), "body": value(r.body),
                        "severity": r.severity_number, "traceId": r.trace_id.hex(), "spanId": r.span_id.hex(),
                        "attributes": attributes(r.attributes)})
    print(json.dumps({"spans": spans, "records": records}), flush=True)
`;

/** How a receiver treats requests: it takes them, answers with a status, or does not answer. */
export type Behaviour = "takes" | "hangs" | number;

export class OtlpReceiver implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  readonly records: ReceivedRecord[] = [];
  /** The headers of the requests that it has got. */
  readonly headers: Headers[] = [];
  behaviour: Behaviour = "takes";
  readonly #server: Bun.Server<undefined>;
  readonly #reader: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #reading: Promise<void>;

  constructor(python: string) {
    this.#reader = Bun.spawn([python, "-c", READ], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    this.#reading = this.#read();
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 0,
      fetch: (request) => this.#answer(request),
    });
  }

  static async start(): Promise<OtlpReceiver> {
    return new OtlpReceiver(await pythonWith(OTLP_PYTHON));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  /** Resolves with a span that has arrived or arrives. */
  span(what: string, isIt: (span: ReceivedSpan) => boolean): Promise<ReceivedSpan> {
    return until(`the span of ${what} arrives`, async () => this.spans.find(isIt));
  }

  /** Resolves with a log record that has arrived or arrives. */
  record(what: string, isIt: (record: ReceivedRecord) => boolean): Promise<ReceivedRecord> {
    return until(`the line ${what} arrives`, async () => this.records.find(isIt));
  }

  async #answer(request: Request): Promise<Response> {
    const body = await request.arrayBuffer();
    const { pathname } = new URL(request.url);
    this.headers.push(request.headers);
    const { behaviour } = this;
    if (behaviour === "hangs") await new Promise(() => {});
    if (typeof behaviour === "number") return new Response("not now", { status: behaviour });
    if (pathname !== "/v1/traces" && pathname !== "/v1/logs") return new Response("no", { status: 404 });
    this.#reader.stdin.write(`${pathname} ${Buffer.from(body).toString("base64")}\n`);
    this.#reader.stdin.flush();
    return new Response(new Uint8Array(), { headers: { "Content-Type": "application/x-protobuf" } });
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    let text = "";
    for await (const chunk of this.#reader.stdout) {
      text += decoder.decode(chunk, { stream: true });
      for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
        const { spans, records } = JSON.parse(text.slice(0, end));
        this.spans.push(...spans);
        this.records.push(...records);
        text = text.slice(end + 1);
      }
    }
  }

  /** @throws Error when something arrived that is no OTLP */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop(true);
    this.#reader.stdin.end();
    await this.#reading;
    const errors = await new Response(this.#reader.stderr).text();
    if ((await this.#reader.exited) !== 0) throw new Error(`what arrived is no OTLP:\n${errors}`);
  }
}
