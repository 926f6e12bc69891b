import { describe, expect, test } from "bun:test";
import { onlyRun } from "../../src/cli/support/run-id.ts";
import { GetRun } from "../../src/contract/messages/runs.ts";
import type { RunSummary } from "../../src/contract/messages.ts";
import { runIdProblem } from "../../src/contract/run-id.ts";

const run = (id: string, status: RunSummary["status"] = "RUNNING"): RunSummary => ({
  workflow_id: "etl",
  workflow_instance_id: id,
  status,
  trigger: "cli",
  agent_id: null,
  attempt: 1,
  created_at_ms: 0,
  started_at_ms: null,
  finished_at_ms: null,
});

describe("the run that is meant", () => {
  const runs = [run("abcd0000-1"), run("abcd1111-1"), run("ffff0000-1"), run("ffff0000-11")];

  test("the beginning of one id, in either case, or a whole id", () => {
    expect(onlyRun("abcd0", runs, 0).workflow_instance_id).toBe("abcd0000-1");
    expect(onlyRun("ABCD1", runs, 0).workflow_instance_id).toBe("abcd1111-1");
    expect(onlyRun("ffff0000-1", runs, 0).workflow_instance_id).toBe("ffff0000-1");
  });

  test("an ambiguous beginning is refused with a list of candidates", () => {
    expect(() => onlyRun("abcd", runs, 0)).toThrow(
      /^2 runs begin with 'abcd':\n {2}abcd0000-1 .*\n {2}abcd1111-1 /,
    );
    expect(() => onlyRun("eeee", runs, 0)).toThrow("No run has the id 'eeee'");
  });
});

test.each(["", " ", "0", "abc", "etl.daily", "../x"])("%p names no run", (text) => {
  expect(runIdProblem(text)).toBeDefined();
});

test("the principal does not look for a run without a name either", () => {
  expect(GetRun.safeParse({ workflow_instance_id: "" }).success).toBe(false);
});
