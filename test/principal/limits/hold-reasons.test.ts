/** Why runs wait for their concurrency groups, or are dropped, word by word. */
import { describe, expect, test } from "bun:test";
import {
  cancelledReason,
  fullReason,
  heldReason,
  replacedReason,
  skippedReason,
  stuckReason,
} from "../../../src/principal/limits/hold-reasons.ts";

const EU = { key: "g eu", max: 1 };
const OWN = { key: "w etl.daily", max: 2 };
const AT = Date.parse("2026-01-03T02:00:00Z");
const RUN = { workflow_instance_id: "01J", workflow_id: "etl.load", started_at_ms: AT };
const WAITING = { ...RUN, started_at_ms: null };

describe("a run that waits", () => {
  const ROWS: readonly [group: typeof EU, Parameters<typeof heldReason>[1], reason: string][] = [
    [
      EU,
      { holders: [RUN], running: 1, before: 0 },
      'group "eu" is full (max_runs: 1): held by run 01J of etl.load since 2026-01-03T02:00:00Z',
    ],
    [
      EU,
      { holders: [RUN], running: 1, before: 1 },
      'group "eu" is full (max_runs: 1): held by run 01J of etl.load since 2026-01-03T02:00:00Z; 1 run waits before it',
    ],
    [
      EU,
      { holders: [WAITING], running: 1, before: 0 },
      'group "eu" is full (max_runs: 1): held by run 01J of etl.load, which has not begun',
    ],
    [
      OWN,
      { holders: [RUN], running: 2, before: 3 },
      "workflow etl.daily runs already (max_runs: 2): run 01J since 2026-01-03T02:00:00Z and 1 more; 3 runs wait before it",
    ],
    // The first of those that wait has a smaller max_runs.
    [
      { key: "g eu", max: 5 },
      { holders: [RUN], running: 1, before: 2 },
      'group "eu" (max_runs: 5): 2 runs wait before it',
    ],
    [EU, { holders: [], running: 0, before: 0 }, 'group "eu" (max_runs: 1): it is next'],
  ];
  for (const [group, state, reason] of ROWS)
    test(reason, () => {
      expect(heldReason(group, state).reason).toBe(reason);
    });

  test("says how to stop the one that has the place", () => {
    expect(heldReason(EU, { holders: [RUN], running: 1, before: 0 }).hint).toBe(
      "To stop that run: cdktr runs cancel 01J",
    );
    expect(heldReason(EU, { holders: [], running: 0, before: 0 }).hint).toBeNull();
  });
});

test("what the history has of it names nobody", () => {
  expect(fullReason(EU)).toBe('group "eu" is full (max_runs: 1)');
  expect(fullReason(OWN)).toBe("workflow etl.daily runs already (max_runs: 2)");
});

test("a run that is dropped, replaced, cancelled or stuck says for which", () => {
  expect(skippedReason(EU, "01J")).toBe(
    'group "eu" is full (max_runs: 1): run 01J holds it (on_conflict: skip)',
  );
  expect(skippedReason(OWN, "01J")).toBe(
    "workflow etl.daily runs already (max_runs: 2): run 01J (on_conflict: skip)",
  );
  expect(skippedReason(EU, null)).toBe('group "eu" is full (max_runs: 1) (on_conflict: skip)');
  expect(replacedReason(EU, "01K", "queue_latest")).toBe(
    'it still waited for group "eu" when run 01K came (on_conflict: queue_latest)',
  );
  expect(cancelledReason("01K")).toBe("cancelled for run 01K (on_conflict: cancel_running)");
  expect(stuckReason(EU, "01J")).toBe(
    'it would wait for itself: group "eu" (max_runs: 1) is held by run 01J, which waits for it',
  );
});
