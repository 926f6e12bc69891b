/** Traces and logs on the compiled binary: what a receiver gets of runs, and what runs notice of a receiver that does not work: nothing. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, freePorts, startCluster } from "../support/cdktr.ts";
import { OtlpReceiver, type ReceivedSpan } from "../support/otlp-receiver.ts";
import { until } from "../support/until.ts";

let receiver: OtlpReceiver;
let cluster: Cluster;
let webhook = 0;
let metrics = 0;
/** The headers of the requests of tasks. */
const called: Headers[] = [];
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: (request) => {
    called.push(request.headers);
    return new Response("ok");
  },
});

beforeAll(async () => {
  [webhook = 0, metrics = 0] = await freePorts(2);
  receiver = await OtlpReceiver.start();
  cluster = await startCluster({
    agents: 1,
    readyMs: 55_000,
    workflows: {
      "etl/daily.yml": `
on: {webhook: {path: /daily, secret: none}}
tasks:
  extract: {run: 'echo "extracts in $TRACEPARENT"; echo "careful" >&2'}
  load: {depends: [extract], retry: {max_attempts: 2, delay: 10ms}, run: 'echo "no disk" >&2; exit 7'}
  child: {config: !Workflow {workflow: child}}
  call: {config: !Http {url: "http://127.0.0.1:${server.port}/"}}
`,
      "child.yml": `
tasks:
  work: {run: 'echo "child in $TRACEPARENT"'}
`,
      "after.yml": `
on: {workflow: {id: etl.daily, status: [FAILED]}}
tasks:
  tell: {run: 'echo "follows in $TRACEPARENT"'}
`,
      // A task that triggers a workflow by itself.
      "outer.yml": `
tasks:
  trigger: {run: '"$CDKTR" run inner --wait'}
  own: {env: {TRACEPARENT: mine}, run: 'echo "own is $TRACEPARENT"'}
`,
      "inner.yml": `
tasks:
  work: {run: 'echo "inner in $TRACEPARENT"'}
`,
      "plain.yml": `
tasks:
  work: {run: 'echo "plain says hello"'}
`,
    },
    env: {
      CDKTR_WEBHOOK_PORT: String(webhook),
      CDKTR_METRICS_PORT: String(metrics),
      CDKTR_LOG_LEVEL: "INFO",
      CDKTR_LOG_FLUSH_INTERVAL_MS: "100",
      CDKTR: `${process.cwd()}/dist/cdktr`,
      OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20s3cret",
      // For the request that is not answered.
      OTEL_EXPORTER_OTLP_TIMEOUT: "2000",
      OTEL_SERVICE_NAME: "etl-cdktr",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
    },
  });
});
afterAll(async () => {
  await cluster?.stop();
  await server.stop(true);
  await receiver?.[Symbol.asyncDispose]();
});

function spanIn(
  traceId: string,
  name: string,
  attributes: Record<string, unknown> = {},
): Promise<ReceivedSpan> {
  return receiver.span(
    name,
    (span) =>
      span.traceId === traceId &&
      span.name === name &&
      Object.entries(attributes).every(([key, value]) => span.attributes[key] === value),
  );
}

const page = async () => (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
const counted = async (name: string, signal: string) =>
  Number(new RegExp(`^${name}\\{signal="${signal}"\\} (\\d+)$`, "m").exec(await page())?.[1]);

test("a webhook's run is part of the trace that called it, with its tasks, its child, and their lines", async () => {
  await cluster.principal?.waitFor(/Webhooks are served/);
  await cluster.principal?.waitFor(
    new RegExp(`Sends traces to ${receiver.url}/v1/traces and logs to ${receiver.url}/v1/logs`),
  );
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
  const response = await fetch(`http://127.0.0.1:${webhook}/daily`, {
    method: "POST",
    headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` },
  });
  const { workflow_instance_id: run } = (await response.json()) as { workflow_instance_id: string };
  const [root, queued, extract, load, child, work, call] = await Promise.all([
    spanIn(traceId, "etl.daily"),
    spanIn(traceId, "queued", { "cicd.pipeline.run.id": run }),
    spanIn(traceId, "extract"),
    spanIn(traceId, "load"),
    spanIn(traceId, "child", { "cicd.pipeline.name": "etl.daily" }),
    spanIn(traceId, "work"),
    spanIn(traceId, "call"),
  ]);
  expect(root).toMatchObject({
    parentSpanId: "00f067aa0ba902b7",
    status: 2,
    resource: { "service.name": "etl-cdktr", "deployment.environment.name": "test" },
    attributes: {
      "cicd.pipeline.run.id": run,
      "cicd.pipeline.result": "failure",
      "cdktr.trigger": "listener:webhook",
      "cdktr.status": "FAILED",
    },
  });
  for (const span of [queued, extract, load, child, call]) expect(span.parentSpanId).toBe(root.spanId);
  expect(extract).toMatchObject({ status: 0, attributes: { "process.exit.code": 0 } });
  expect(load).toMatchObject({
    status: 2,
    message: "exit status 7: no disk",
    attributes: { "process.exit.code": 7, "cdktr.task.attempt": 2 },
    events: ["try 1 failed", "try 2"],
  });
  // A run that a task has started is below that task.
  const below = await spanIn(traceId, "child", { "cicd.pipeline.name": "child" });
  expect(below.parentSpanId).toBe(child.spanId);
  expect(work.parentSpanId).toBe(below.spanId);
  // What follows a run is below that run.
  const after = await spanIn(traceId, "after");
  expect(after.parentSpanId).toBe(root.spanId);
  // What tasks call is below the tasks.
  expect(called.at(-1)?.get("traceparent")).toBe(`00-${traceId}-${call.spanId}-01`);

  const line = (text: string) => receiver.record(text, ({ body }) => body.startsWith(text));
  expect((await line("extracts in")).body).toBe(`extracts in 00-${traceId}-${extract.spanId}-01`);
  expect((await line("child in")).body).toBe(`child in 00-${traceId}-${work.spanId}-01`);
  expect(await line("careful")).toMatchObject({
    severity: 17,
    traceId,
    spanId: extract.spanId,
    attributes: { "cicd.pipeline.name": "etl.daily", "cicd.pipeline.task.name": "extract" },
  });
  expect(receiver.headers[0]?.get("authorization")).toBe("Bearer s3cret");
  // In no log, no history and no list of processes.
  expect(cluster.principal?.stderr).not.toContain("s3cret");
  const rows = await cluster.cdktr([
    "db",
    "query",
    "--json",
    `SELECT DISTINCT traceparent FROM workflow_runs WHERE workflow_instance_id = '${run}'`,
  ]);
  expect(JSON.parse(rows.stdout)).toEqual([{ traceparent: `00-${traceId}-00f067aa0ba902b7-01` }]);

  // A retry is part of the same trace, and linked to the run that it retries.
  const retried = await cluster.client.retryRun({ workflow_instance_id: run, dedupe_key: "again" });
  const again = await spanIn(traceId, "etl.daily", { "cicd.pipeline.run.id": retried.workflow_instance_id });
  expect(again).toMatchObject({
    links: [{ traceId, spanId: root.spanId }],
    parentSpanId: "00f067aa0ba902b7",
  });
});

test("any other run begins a trace that has its id, and what its tasks trigger is part of it", async () => {
  const { stdout } = await cluster.cdktr(["run", "outer", "--wait", "--json"]);
  const run = (JSON.parse(stdout) as { workflow_instance_id: string }).workflow_instance_id;
  const traceId = run.replaceAll("-", "");
  const [root, trigger, inner, work] = await Promise.all([
    spanIn(traceId, "outer"),
    spanIn(traceId, "trigger"),
    spanIn(traceId, "inner"),
    spanIn(traceId, "work"),
  ]);
  expect([root.parentSpanId, trigger.parentSpanId]).toEqual(["", root.spanId]);
  expect([inner.parentSpanId, work.parentSpanId]).toEqual([trigger.spanId, inner.spanId]);
  expect(inner.start).toBeGreaterThanOrEqual(root.start);
  // What the workflow says goes before.
  await receiver.record("own", ({ body }) => body === "own is mine");
});

test("runs notice nothing of a receiver that refuses or hangs, and it gets what has waited", async () => {
  const failuresBefore = await counted("cdktr_telemetry_failures_total", "traces");
  receiver.behaviour = 503;
  const first = await cluster.cdktr(["run", "plain", "--wait", "--json"]);
  expect(first.code).toBe(0);
  await until("a request has failed", async () => {
    return (await counted("cdktr_telemetry_failures_total", "traces")) > failuresBefore;
  });
  receiver.behaviour = "hangs";
  const second = await cluster.cdktr(["run", "plain", "--wait", "--json"]);
  expect(second.code).toBe(0);
  // Lines are in the history although nobody takes them elsewhere.
  const { stdout } = await cluster.cdktr(["logs", "query", "--workflow", "plain"]);
  expect(stdout.match(/plain says hello/g)).toHaveLength(2);
  expect(cluster.principal?.stderr).toMatch(/The traces cannot be sent to \S+: it answers with status 503\./);
  receiver.behaviour = "takes";
  for (const { stdout: told } of [first, second]) {
    const run = (JSON.parse(told) as { workflow_instance_id: string }).workflow_instance_id;
    const traceId = run.replaceAll("-", "");
    await spanIn(traceId, "plain");
    await receiver.record(
      "hello",
      (record) => record.traceId === traceId && record.body === "plain says hello",
    );
  }
  await cluster.principal?.waitFor(/The receiver of traces at \S+ takes them again\./);
  expect(await counted("cdktr_telemetry_dropped_total", "traces")).toBe(0);
  expect(await counted("cdktr_telemetry_dropped_total", "logs")).toBe(0);
});

test("the dashboard and the alert rules are written, and every metric in them is on the page", async () => {
  for (const kind of ["grafana", "prometheus"]) {
    const written = await cluster.cdktr(["telemetry", kind, "monitoring", "--json"]);
    expect(written).toMatchObject({ code: 0, stderr: "" });
    expect((JSON.parse(written.stdout) as { written: string[] }).written).toHaveLength(1);
  }
  const read = (name: string) => readFileSync(join(cluster.directory, "monitoring", name), "utf8");
  const files = read("cdktr-dashboard.json") + read("cdktr-rules.yml");
  const used = new Set(files.match(/\b(?:cdktr|process)_[a-z_]+\b/g));
  const there = new Set([...(await page()).matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name]) => name));
  expect(used.size).toBeGreaterThan(25);
  expect([...used].filter((name) => !there.has(name.replace(/_(bucket|sum|count)$/, "")))).toEqual([]);
  // They are not written over what somebody has changed.
  writeFileSync(join(cluster.directory, "monitoring", "cdktr-rules.yml"), "groups: []\n");
  const refused = await cluster.cdktr(["telemetry", "prometheus", "monitoring"]);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain("--force");
});
