import { expect, test } from "bun:test";
import { judgeBackfills } from "../../src/doctor/backfill-checks.ts";

test("backfills that do not go on are told, with what to do", () => {
  const of = (id: string, state: "ACTIVE" | "PAUSED", note: string | null) => ({
    backfill_id: id,
    workflow_id: "etl",
    state,
    note,
  });
  const found = judgeBackfills([
    of("a", "ACTIVE", null),
    // Somebody wants it so.
    of("b", "PAUSED", null),
    of("c", "PAUSED", "Workflow etl is gone."),
    of("d", "ACTIVE", "The history is away."),
  ]);
  expect(found.map(({ message, remedy }) => [message, remedy])).toEqual([
    [
      "Backfill c of etl does not go on: Workflow etl is gone.",
      "When the cause is gone: cdktr backfills resume c; or end it: cdktr backfills cancel c",
    ],
    ["Backfill d of etl does not go on: The history is away.", "See how far it is: cdktr backfills show d"],
  ]);
});
