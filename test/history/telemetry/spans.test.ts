import { expect, test } from "bun:test";
import type { PendingStatus, RunStatusRow, TaskStatusRow } from "../../../src/contract/history-rows.ts";
import { type Sampling, spanIdOf } from "../../../src/contract/trace-context.ts";
import { logRecords } from "../../../src/history/telemetry/log-records.ts";
import type { KeyValue, Span } from "../../../src/history/telemetry/otlp.ts";
import { SpanMaker } from "../../../src/history/telemetry/spans.ts";

const ALL: Sampling = { isParentBased: true, ratio: 1 };
const RUN = "0af76519-16cd-43dd-8448-eb211c80319c";
const TRACE = "0af7651916cd43dd8448eb211c80319c";

let next = 0;
function run(fields: Partial<RunStatusRow>): PendingStatus {
  return {
    id: ++next,
    table: "workflow_run_status",
    row: {
      workflow_id: "etl.daily",
      workflow_instance_id: RUN,
      status: "PENDING",
      timestamp_ms: 1000,
      workflow_name: "Daily",
      trigger: "cron",
      attempt: 1,
      agent_id: null,
      scheduled_time_ms: 1000,
      created_at_ms: 1000,
      params: "{}",
      error: null,
      retry_of: null,
      ...fields,
    },
  };
}

function task(fields: Partial<TaskStatusRow>): PendingStatus {
  return {
    id: ++next,
    table: "task_run_status",
    row: {
      task_id: "load",
      task_instance_id: "task-1",
      workflow_instance_id: RUN,
      status: "RUNNING",
      timestamp_ms: 2000,
      workflow_id: "etl.daily",
      task_name: "Load",
      attempt: 1,
      task_attempt: 1,
      agent_id: "agent-1",
      exit_code: null,
      signal: null,
      error: null,
      cpu_ms: null,
      max_rss_kb: null,
      ...fields,
    },
  };
}

function valuesOf(of: readonly KeyValue[] = []): Record<string, unknown> {
  return Object.fromEntries(
    of.map(({ key, value }) => [
      key,
      value.intValue === undefined ? value.stringValue : Number(value.intValue),
    ]),
  );
}

/** A span in short: name, from, to in ms, and the name of its parent. */
function inShort(spans: readonly Span[]) {
  const names = new Map(spans.map((span) => [span.spanId, span.name]));
  return spans.map(({ name, startTimeUnixNano, endTimeUnixNano, parentSpanId }) => [
    name,
    Number(startTimeUnixNano) / 1e6,
    Number(endTimeUnixNano) / 1e6,
    parentSpanId === undefined ? null : (names.get(parentSpanId) ?? parentSpanId),
  ]);
}

test("a run is a span; its wait and its tasks are spans below it", () => {
  const maker = new SpanMaker(ALL);
  const spans = maker.take([
    run({}),
    run({ timestamp_ms: 1500, reason: "no agent is up" }),
    run({ status: "RUNNING", timestamp_ms: 2000, agent_id: "agent-1" }),
    task({}),
    task({ status: "COMPLETED", timestamp_ms: 4000, duration_ms: 1990, exit_code: 0, cpu_ms: 12 }),
    task({ task_id: "skipped", task_instance_id: "task-2", status: "SKIPPED" }),
    run({ status: "COMPLETED", timestamp_ms: 4500, agent_id: "agent-1", duration_ms: 2500 }),
  ]);
  expect(inShort(spans)).toEqual([
    ["queued", 1000, 2000, "etl.daily"],
    ["load", 2010, 4000, "etl.daily"],
    ["etl.daily", 1000, 4500, null],
  ]);
  expect(new Set(spans.map(({ traceId }) => traceId))).toEqual(new Set([TRACE]));
  expect(spans.every(({ flags }) => flags === 1)).toBe(true);
  const [queued, load, whole] = spans;
  expect(queued?.events?.map(({ name }) => name)).toEqual(["no agent is up"]);
  expect(load?.spanId).toBe(spanIdOf("task-1"));
  expect(valuesOf(load?.attributes)).toMatchObject({
    "cicd.pipeline.name": "etl.daily",
    "cicd.pipeline.run.id": RUN,
    "cicd.pipeline.task.name": "Load",
    "cicd.pipeline.task.run.result": "success",
    "cicd.worker.id": "agent-1",
    "process.exit.code": 0,
    "cdktr.cpu_ms": 12,
  });
  expect(valuesOf(whole?.attributes)).toMatchObject({
    "cicd.pipeline.result": "success",
    "cdktr.trigger": "cron",
    "cdktr.scheduled_time": "1970-01-01T00:00:01.000Z",
  });
  expect(whole?.status).toBeUndefined();
});

test("a failure is an error with its reason; tries are events", () => {
  const maker = new SpanMaker(ALL);
  const spans = maker.take([
    run({}),
    run({ status: "RUNNING", timestamp_ms: 2000 }),
    task({}),
    task({ status: "WAITING", timestamp_ms: 3000, error: "exit status 7: oh", exit_code: 7 }),
    task({ status: "RUNNING", timestamp_ms: 3500, task_attempt: 2 }),
    task({ status: "FAILED", timestamp_ms: 4000, task_attempt: 2, error: "exit status 8", exit_code: 8 }),
    run({ status: "FAILED", timestamp_ms: 4500, error: "task load failed" }),
  ]);
  const [, load, whole] = spans;
  // Without a duration, as of an older agent, it is the time since it began.
  expect(inShort(spans)[1]).toEqual(["load", 2000, 4000, "etl.daily"]);
  expect(load?.status).toEqual({ code: 2, message: "exit status 8" });
  expect(load?.events?.map(({ name, attributes }) => [name, valuesOf(attributes)])).toEqual([
    ["try 1 failed", { "exception.message": "exit status 7: oh", "process.exit.code": 7 }],
    ["try 2", {}],
  ]);
  expect(whole?.status).toEqual({ code: 2, message: "task load failed" });
  expect(valuesOf(whole?.attributes)).toMatchObject({
    "error.type": "FAILED",
    "cicd.pipeline.result": "failure",
  });
});

test("a crashed attempt is a span of its own when another follows, and the end of the run otherwise", () => {
  const maker = new SpanMaker(ALL);
  const spans = maker.take([
    run({}),
    run({ status: "RUNNING", timestamp_ms: 2000, agent_id: "a" }),
    run({ status: "CRASHED", timestamp_ms: 3000, agent_id: "a", error: "the agent was lost" }),
  ]);
  // It may go on in the next batch.
  expect(inShort(spans)).toEqual([["queued", 1000, 2000, spanIdOf(RUN)]]);
  const more = maker.take([
    run({ attempt: 2, timestamp_ms: 3000 }),
    run({ attempt: 2, status: "RUNNING", timestamp_ms: 5000, agent_id: "b" }),
    run({ attempt: 2, status: "CRASHED", timestamp_ms: 6000, agent_id: "b", error: "lost too" }),
  ]);
  expect(inShort(more)).toEqual([
    ["crashed attempt", 2000, 3000, spanIdOf(RUN)],
    ["queued", 3000, 5000, spanIdOf(RUN)],
  ]);
  expect(more[0]?.status).toEqual({ code: 2, message: "the agent was lost" });
  const last = maker.settle();
  expect(inShort(last)).toEqual([["etl.daily", 1000, 6000, null]]);
  expect(last[0]?.status).toEqual({ code: 2, message: "lost too" });
  expect(maker.settle()).toEqual([]);
});

test("what earlier rows would have told is left out when nobody remembers them", () => {
  const maker = new SpanMaker(ALL);
  const spans = maker.take([
    // It rested, and goes on.
    run({ status: "RUNNING", timestamp_ms: 50_000 }),
    task({ status: "FAILED", timestamp_ms: 60_000 }),
    run({ status: "FAILED", timestamp_ms: 61_000 }),
  ]);
  expect(inShort(spans)).toEqual([
    ["load", 60_000, 60_000, "etl.daily"],
    ["etl.daily", 1000, 61_000, null],
  ]);
});

const TRACEPARENT = "00-11111111111111111111111111111111-2222222222222222-01";

test("a run whose trigger is part of a trace is part of it too, also its tasks and its lines", () => {
  const maker = new SpanMaker(ALL);
  const spans = maker.take([
    run({ traceparent: TRACEPARENT }),
    task({ status: "COMPLETED" }),
    run({ status: "COMPLETED", traceparent: TRACEPARENT }),
  ]);
  expect(spans.map(({ traceId }) => traceId)).toEqual(["1".repeat(32), "1".repeat(32)]);
  expect(spans[1]?.parentSpanId).toBe("2".repeat(16));
  const line = (payload: string, run = RUN, of = "task-1") =>
    ["etl.daily", "Daily", run, "Load", of, "2500", "ERROR", payload].join("\x01");
  const other = "11111111-2222-4333-8444-555555555555";
  const records = logRecords(
    [line("one"), "", line("two\x01three"), line("four", other, "task-2"), "bad"],
    (id) => maker.contextOf(id),
    9000,
  );
  expect(records.map(({ body, traceId, spanId }) => [body.stringValue, traceId, spanId])).toEqual([
    ["one", "1".repeat(32), spanIdOf("task-1")],
    ["two\x01three", "1".repeat(32), spanIdOf("task-1")],
    ["four", other.replaceAll("-", ""), spanIdOf("task-2")],
  ]);
  expect(records[0]).toMatchObject({
    timeUnixNano: "2500000000",
    observedTimeUnixNano: "9000000000",
    severityNumber: 17,
    severityText: "ERROR",
    flags: 1,
  });
});

test("a retry is linked to the run that it retries, in the trace of that", () => {
  const maker = new SpanMaker(ALL);
  const retry = { workflow_instance_id: "22222222-2222-4333-8444-555555555555", retry_of: RUN };
  const [alone] = maker.take([run({ ...retry, status: "COMPLETED" })]);
  expect(alone?.links).toMatchObject([{ traceId: TRACE, spanId: spanIdOf(RUN) }]);
  const [joined] = maker.take([run({ ...retry, status: "COMPLETED", traceparent: TRACEPARENT })]);
  expect(joined?.links).toMatchObject([{ traceId: "1".repeat(32), spanId: spanIdOf(RUN) }]);
});

test("of a trace that is not recorded there are no spans", () => {
  const off = TRACEPARENT.replace(/01$/, "00");
  const rows = [
    run({ traceparent: off }),
    task({ status: "FAILED" }),
    run({ status: "FAILED", traceparent: off }),
  ];
  expect(new SpanMaker(ALL).take(rows)).toEqual([]);
  expect(new SpanMaker({ isParentBased: false, ratio: 1 }).take(rows)).toHaveLength(2);
  expect(new SpanMaker({ isParentBased: false, ratio: 0 }).take(rows)).toEqual([]);
  const maker = new SpanMaker({ isParentBased: true, ratio: 0 });
  maker.recall("another", TRACEPARENT);
  expect(maker.contextOf("another").isSampled).toBe(true);
});
