import { expect, test } from "bun:test";
import {
  cleanTraceparent,
  contextOfRun,
  contextOfTask,
  readTraceparent,
  spanIdOf,
  writeTraceparent,
} from "../../src/contract/trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

test("a traceparent is read and written as the W3C has it", () => {
  expect(readTraceparent(`00-${TRACE}-${SPAN}-01`)).toEqual({
    traceId: TRACE,
    spanId: SPAN,
    isSampled: true,
  });
  expect(readTraceparent(` 00-${TRACE.toUpperCase()}-${SPAN}-00 `)?.isSampled).toBe(false);
  // Other flags, and what later versions add, are no concern of ours.
  expect(readTraceparent(`00-${TRACE}-${SPAN}-03`)?.isSampled).toBe(true);
  expect(cleanTraceparent(`cc-${TRACE}-${SPAN}-03-what-ever`)).toBe(`00-${TRACE}-${SPAN}-01`);
  expect(writeTraceparent({ traceId: TRACE, spanId: SPAN, isSampled: false })).toBe(`00-${TRACE}-${SPAN}-00`);
});

test.each([
  "",
  "nonsense",
  `00-${TRACE}-${SPAN}`,
  `00-${TRACE}-${SPAN}-01-more`,
  `ff-${TRACE}-${SPAN}-01`,
  `00-${"0".repeat(32)}-${SPAN}-01`,
  `00-${TRACE}-${"0".repeat(16)}-01`,
  `00-${TRACE}x-${SPAN}-01`,
  `cc-${TRACE}-${SPAN}-01-${"x".repeat(1000)}`,
])("%p is none", (text) => {
  expect(readTraceparent(text)).toBeUndefined();
  expect(cleanTraceparent(text)).toBeNull();
});

test("a run begins a trace with its own id, unless its trigger is part of one", () => {
  const all = { isParentBased: true, ratio: 1 };
  const runId = "0af76519-16cd-43dd-8448-eb211c80319c";
  const own = contextOfRun({ runId, traceparent: null }, all);
  expect(own).toEqual({ traceId: TRACE, spanId: spanIdOf(runId), isSampled: true });
  const joined = contextOfRun({ runId, traceparent: `00-${"1".repeat(32)}-${SPAN}-00` }, all);
  expect(joined).toEqual({ traceId: "1".repeat(32), spanId: spanIdOf(runId), isSampled: false });
  expect(contextOfTask(own, "task")).toEqual({ traceId: TRACE, spanId: spanIdOf("task"), isSampled: true });
  // Ids that are no UUIDs, as of tests and old clients.
  expect(contextOfRun({ runId: "run-1", traceparent: null }, all).traceId).toMatch(/^[0-9a-f]{32}$/);
  expect(spanIdOf("anything")).toMatch(/^[0-9a-f]{16}$/);
});

test("a share of the traces is recorded, always the same ones", () => {
  const some = { isParentBased: true, ratio: 0.25 };
  let count = 0;
  for (let i = 0; i < 4000; i++) {
    // The digits that decide are spread evenly.
    const runId = `00000000-0000-4000-${(i * 16).toString(16).padStart(4, "0")}-000000000000`;
    const { isSampled } = contextOfRun({ runId, traceparent: null }, some);
    if (isSampled) count++;
  }
  expect(count).toBeGreaterThan(900);
  expect(count).toBeLessThan(1100);
});
