/** What the doctor says of pauses that somebody may have forgotten. */
import { expect, test } from "bun:test";
import { judgeHeld, judgePauses } from "../../src/doctor/pause-checks.ts";

const DAY_MS = 86_400_000;
const NOW = Date.UTC(2026, 5, 20, 12);
const pause = (days: number, until_ms: number | null = null) => ({
  at_ms: NOW - days * DAY_MS,
  by: "ops",
  reason: "migration",
  until_ms,
  auto: false,
});

test("a workflow that is paused for more than a week, unless the pause ends by itself", () => {
  expect(
    judgePauses(
      [
        { id: "etl", paused: pause(8) },
        { id: "fresh", paused: pause(7) },
        { id: "ends", paused: pause(8, NOW + 1) },
        { id: "runs" },
      ],
      NOW,
    ),
  ).toEqual([
    {
      check: "workflows",
      severity: "warning",
      message: "Workflow etl is paused since 2026-06-12T12:00:00Z by ops: migration.",
      why: "Its schedules and events make no runs, and runs that people ask for are held.",
      remedy: "cdktr workflow resume etl",
    },
  ]);
});

test("runs that are held for more than a day", () => {
  const run = (id: string, days: number, hold?: "pause" | "group", workflow_id = "etl") => ({
    workflow_id,
    workflow_instance_id: id,
    created_at_ms: NOW - days * DAY_MS,
    ...(hold === undefined ? {} : { hold }),
  });
  expect(judgeHeld([run("a", 1, "pause"), run("b", 9)], NOW)).toEqual([]);
  expect(judgeHeld([run("a", 2, "pause")], NOW)).toMatchObject([
    {
      check: "runs",
      message: "1 run is held for more than a day, of etl.",
      remedy: "See why: cdktr runs why a",
    },
  ]);
  const many = ["a", "b", "c", "d", "e", "f"].map((id) => run(id, 2, "group", id));
  expect(judgeHeld([...many, ...many], NOW)[0]?.message).toBe(
    "12 runs are held for more than a day, of a, b, c, d, e and 1 more.",
  );
});
