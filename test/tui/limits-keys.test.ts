/** Keys of the queue and of the calendar, and those that pause and resume. */
import { describe, expect, test } from "bun:test";
import { currentPage } from "../../src/tui/navigation.ts";
import { drawScreen } from "../../src/tui/views/screen.ts";
import { NOW, state } from "./fixtures.ts";
import { QUEUE } from "./limits-fixtures.ts";
import { ui } from "./ui.ts";

const [FIRST, SECOND] = QUEUE.queue.entries;
const [BACKFILL] = QUEUE.backfills;
const HELD = QUEUE.queue.held;
/** Rows: two entries, a heading and a run for each of the two held ones, a heading and a backfill. */
const toBackfill = ["END"];

describe("queue", () => {
  test("Enter opens the run of an entry, and of one that is held", () => {
    const { s, keys } = ui({ kind: "queue" });
    keys("DOWN", "ENTER");
    expect(currentPage(s)).toMatchObject({ kind: "run", id: SECOND?.workflow_instance_id });
    keys("ESCAPE", "DOWN", "DOWN", "ENTER");
    expect(currentPage(s)).toMatchObject({ kind: "run", id: HELD[0]?.workflow_instance_id });
  });

  test("+ and - change the priority by one, from 0 to 9", () => {
    const { s, keys, actions } = ui({ kind: "queue" });
    const runId = FIRST?.workflow_instance_id;
    keys("+", "-");
    expect(actions).toEqual([
      { kind: "priority", runId: String(runId), priority: 6 },
      { kind: "priority", runId: String(runId), priority: 4 },
    ]);
    keys("DOWN", "+");
    expect(actions).toHaveLength(2);
    expect(s.toasts.at(-1)?.text).toBe("Its priority is 9 already; it goes from 0 to 9.");
  });

  test("c asks before it cancels a run, or a backfill", () => {
    const { keys, actions } = ui({ kind: "queue" });
    keys("c", "y");
    expect(actions).toEqual([{ kind: "cancel", runId: String(FIRST?.workflow_instance_id) }]);
    keys(...toBackfill, "c", "n", "c", "y");
    expect(actions.slice(1)).toEqual([
      { kind: "backfill", backfillId: String(BACKFILL?.backfill_id), to: "CANCELLED" },
    ]);
  });

  test("Z pauses a backfill and lets it go on; its runs are listed by Enter", () => {
    const { s, keys, actions } = ui({ kind: "queue" });
    keys("Z");
    expect(actions).toEqual([]);
    keys(...toBackfill, "Z");
    expect(actions).toEqual([{ kind: "backfill", backfillId: String(BACKFILL?.backfill_id), to: "PAUSED" }]);
    s.data.queue = { ...QUEUE, backfills: QUEUE.backfills.map((one) => ({ ...one, state: "PAUSED" })) };
    keys("Z");
    expect(actions.at(-1)).toMatchObject({ to: "ACTIVE" });
    keys("ENTER");
    expect(s.tab).toBe("runs");
    expect(s.lists.runs?.filter).toBe(String(BACKFILL?.backfill_id));
  });

  test("a filter leaves the headings of what it leaves", () => {
    const { s, keys, type } = ui({ kind: "queue" });
    keys("/");
    type("migration");
    keys("ENTER");
    const lines = String(drawScreen(s)).split("\n");
    expect(lines.some((line) => line.startsWith("cleanup is paused: 1 run held"))).toBe(true);
    expect(lines.some((line) => line.startsWith("group eu"))).toBe(false);
  });

  test("says why a principal cannot tell, and when there is nothing", () => {
    const older = state(80, 24, { kind: "queue" });
    older.data.queue = null;
    older.data.queueMissing = "This principal cannot tell of the queue: it is older";
    expect(String(drawScreen(older))).toContain("This principal cannot tell of the queue: it is older");
    const idle = state(80, 24, { kind: "queue" });
    idle.data.queue = {
      pools: [],
      queue: { entries: [], queued: 0, held: [] },
      backfills: [],
    };
    expect(String(drawScreen(idle))).toContain("Nothing waits for an agent, and no run is held.");
  });
});

describe("calendar", () => {
  test("the arrows move it by six hours, never before now", () => {
    const { s, keys } = ui({ kind: "calendar" });
    keys("LEFT");
    expect(s.calendarShiftMs).toBe(0);
    keys("RIGHT", "RIGHT", "]");
    expect(s.calendarShiftMs).toBe(36 * 3_600_000);
    keys("LEFT");
    expect(s.calendarShiftMs).toBe(30 * 3_600_000);
    keys("n");
    expect(s.calendarShiftMs).toBe(0);
  });

  test("Enter opens the workflow", () => {
    const { s, keys } = ui({ kind: "calendar" });
    keys("DOWN", "ENTER");
    expect(currentPage(s)).toEqual({ kind: "workflow", id: "etl.daily", pane: "overview" });
  });

  test("a workflow that does not fire as it should says why", () => {
    const { s, keys } = ui({ kind: "calendar" });
    keys("DOWN");
    expect(String(drawScreen(s))).toContain('waits about 30m for group "eu"');
  });
});

describe("pausing a workflow", () => {
  test("Z asks for a reason and how long, and checks that", () => {
    const { s, keys, type, actions } = ui({ kind: "workflows" });
    s.lists.workflows = { selected: "etl.daily", index: 0, top: 0, filter: "", sort: 0, reverse: false };
    keys("Z");
    type("migration of the database");
    keys("TAB");
    type("soon");
    keys("CTRL_S");
    expect(s.overlay).toMatchObject({ kind: "form", index: 1 });
    expect(actions).toEqual([]);
    keys("BACKSPACE", "BACKSPACE", "BACKSPACE", "BACKSPACE");
    type("1h30m");
    keys("CTRL_S");
    expect(actions).toEqual([
      {
        kind: "pause",
        workflowId: "etl.daily",
        reason: "migration of the database",
        forMs: 5_400_000,
      },
    ]);
  });

  test("without a time it lasts until somebody resumes it, which Z asks for then", () => {
    const { s, keys, actions } = ui({ kind: "workflow", id: "etl.daily", pane: "overview" });
    keys("Z", "CTRL_S");
    expect(actions).toEqual([{ kind: "pause", workflowId: "etl.daily", reason: "", forMs: null }]);
    const paused = { at_ms: NOW - 60_000, by: "ops", reason: "migration", until_ms: null, auto: false };
    s.data.workflows =
      s.data.workflows?.map((one) => (one.id === "etl.daily" ? { ...one, paused } : one)) ?? null;
    expect(String(drawScreen(s))).toContain("‖ paused since 09:59:00 by ops: migration");
    keys("Z");
    expect(String(drawScreen(s))).toContain("Resume etl.daily?");
    keys("y");
    expect(actions.at(-1)).toEqual({ kind: "resume", workflowId: "etl.daily" });
    keys("ESCAPE");
    expect(String(drawScreen(s))).toContain("‖ etl.daily");
  });
});
