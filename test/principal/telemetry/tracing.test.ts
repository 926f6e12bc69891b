import { expect, test } from "bun:test";
import { spanIdOf } from "../../../src/contract/trace-context.ts";
import { Tracing } from "../../../src/principal/telemetry/tracing.ts";

const RUN = "0af76519-16cd-43dd-8448-eb211c80319c";
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const BROUGHT = "00-11111111111111111111111111111111-2222222222222222-01";
const own = { workflow_instance_id: RUN, traceparent: null };
const brought = { workflow_instance_id: RUN, traceparent: BROUGHT };

test("where nothing is exported, a run hands on what its trigger brought, and nothing otherwise", () => {
  const tracing = new Tracing(null);
  expect(tracing.forTasks(own)).toBeUndefined();
  expect(tracing.ofChild(own, "task")).toBeNull();
  expect(tracing.forTasks(brought)).toEqual({ traceparent: BROUGHT, has_spans: false });
  expect(tracing.ofChild(brought, "task")).toBe(BROUGHT);
});

test("where traces are exported, it hands on the contexts of its own spans", () => {
  const tracing = new Tracing({ isParentBased: true, ratio: 1 });
  const context = `00-${TRACE}-${spanIdOf(RUN)}-01`;
  expect(tracing.forTasks(own)).toEqual({ traceparent: context, has_spans: true });
  expect(tracing.ofChild(own, "task")).toBe(`00-${TRACE}-${spanIdOf("task")}-01`);
  expect(tracing.ofChild(own, null)).toBe(context);
  expect(tracing.forTasks(brought)).toEqual({
    traceparent: `00-${"1".repeat(32)}-${spanIdOf(RUN)}-01`,
    has_spans: true,
  });
});

test("a trace that is not recorded is handed on as such", () => {
  const tracing = new Tracing({ isParentBased: true, ratio: 0 });
  expect(tracing.forTasks(own)?.traceparent).toBe(`00-${TRACE}-${spanIdOf(RUN)}-00`);
});
