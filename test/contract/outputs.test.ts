import { describe, expect, test } from "bun:test";
import { AgentReports, RunAssignment, StopOrder, TaskReport } from "../../src/contract/messages.ts";
import { faultOfOutputs, MAX_OUTPUTS_BYTES, MAX_OUTPUTS_DEPTH, Outputs } from "../../src/contract/outputs.ts";

const report = {
  kind: "task",
  seq: 1,
  workflow_id: "w",
  workflow_instance_id: "r",
  attempt: 1,
  task_id: "t",
  task_instance_id: "i",
  task_attempt: 1,
  status: "COMPLETED",
  timestamp_ms: 1,
} as const;

/** An object that is nested so deep. */
function nested(depth: number): Record<string, unknown> {
  let value: unknown = 1;
  for (let n = 1; n < depth; n++) value = n % 2 === 0 ? [value] : { a: value };
  return { a: value };
}

describe("outputs", () => {
  test.each([
    ["nothing", {}],
    [
      "every kind of value",
      { text: "", number: -0.5, none: null, list: [1, [true]], "a.b-c_1": { " ": "é" } },
    ],
    ["as much as there may be", { a: "x".repeat(MAX_OUTPUTS_BYTES - '{"a":""}'.length) }],
    ["as deep as they may be", nested(MAX_OUTPUTS_DEPTH)],
  ])("%s is taken as it is", (_, outputs) => {
    expect(faultOfOutputs(outputs)).toBeUndefined();
    expect(Outputs.parse(JSON.parse(JSON.stringify(outputs)))).toEqual(outputs);
  });

  test.each<[string, Record<string, unknown>, RegExp]>([
    [
      "a byte too much",
      { a: "x".repeat(MAX_OUTPUTS_BYTES - 7) },
      /^262145 bytes of JSON are too much: at most 262144/,
    ],
    ["characters of several bytes", { a: "é".repeat(MAX_OUTPUTS_BYTES / 2) }, /bytes of JSON are too much/],
    ["a level too deep", nested(MAX_OUTPUTS_DEPTH + 1), /more than 64 levels deep/],
    ["far too deep", nested(50_000), /more than 64 levels deep/],
    ["a number that JSON cannot hold", { a: [JSON.parse("1e999")] }, /a number is out of range/],
    ["an empty name", { "": 1 }, /^"" is not the name of an output: use letters/],
    ["a name with a space", { "a b": 1 }, /^"a b" is not the name/],
    ["a prototype", JSON.parse('{"__proto__": {"polluted": true}}'), /^"__proto__" is not the name/],
  ])("%s is refused", (_, outputs, message) => {
    expect(faultOfOutputs(outputs)).toMatch(message);
  });

  test("are checked where they come in; nothing is inherited from a prototype that was sent", () => {
    expect(TaskReport.parse({ ...report, outputs: { a: 1 } }).outputs).toEqual({ a: 1 });
    for (const outputs of [[], "x", { "a b": 1 }, nested(10_000), { a: "x".repeat(MAX_OUTPUTS_BYTES) }])
      expect(TaskReport.safeParse({ ...report, outputs }).success).toBe(false);
    const sent = JSON.parse(
      `${JSON.stringify({ ...report, outputs: {} }).slice(0, -2)}"__proto__":{"x":1}}}`,
    );
    expect(Object(TaskReport.safeParse(sent).data?.outputs).x).toBeUndefined();
  });
});

describe("a peer of protocol 1", () => {
  test("its reports, orders and assignments are about whole runs", () => {
    const run = {
      kind: "run",
      seq: 2,
      workflow_id: "w",
      workflow_instance_id: "r",
      attempt: 1,
      status: "COMPLETED",
    };
    const { reports } = AgentReports.parse({
      agent_id: "a",
      session_id: "s",
      stream_id: "t",
      reports: [report, { ...run, timestamp_ms: 1, log_seq: 0 }],
    });
    expect(reports).toMatchObject([{ slice: 0, outputs: null }, { slice: 0 }]);
    expect(StopOrder.parse({ workflow_instance_id: "r", attempt: 2, reason: "cancelled" }).slice).toBe(0);
    const { tasks, results, slice } = RunAssignment.parse({
      workflow_id: "w",
      workflow_instance_id: "r",
      attempt: 1,
      trigger: "cli",
      scheduled_time_ms: null,
      params: {},
      completed_tasks: [],
      workflow: {
        id: "w",
        name: "w",
        tasks: [{ id: "t", name: "t", config: { type: "Subprocess", cmd: "true" } }],
      },
    });
    expect({ tasks, results, slice }).toEqual({ tasks: undefined, results: undefined, slice: 0 });
  });

  test("a slice is a small whole number", () => {
    for (const slice of [-1, 0.5, 2 ** 31, "1", null])
      expect(TaskReport.safeParse({ ...report, slice }).success).toBe(false);
    expect(TaskReport.parse({ ...report, slice: 2 ** 31 - 1 }).slice).toBe(2 ** 31 - 1);
  });
});
