import { expect, test } from "bun:test";
import type { RunStatus } from "../../src/workflow/status.ts";
import { undisturbedTasks } from "../../src/workflow/undisturbed.ts";
import { planned } from "./progress-support.ts";

const ANY: RunStatus[] = ["COMPLETED", "FAILED", "CRASHED", "SKIPPED", "CANCELLED"];

/** Of `deploy; verify < deploy; rollback < deploy (failed); report < verify rollback (completed or skipped); clean < deploy (ended)`. */
function undisturbed(
  ends: Readonly<Record<string, RunStatus>>,
  allowed: readonly string[] = [],
  kept: readonly string[] = [],
): string[] {
  const either: RunStatus[] = ["COMPLETED", "SKIPPED"];
  const plan = planned(
    "deploy; verify < deploy; rollback < deploy; report < verify rollback; clean < deploy; other; after < other",
    {
      rollback: { accepts: { deploy: ["FAILED", "CRASHED"] } },
      report: { accepts: { verify: either, rollback: either } },
      clean: { accepts: { deploy: ANY } },
    },
  );
  const statuses = { other: "COMPLETED", after: "COMPLETED", ...ends } as Readonly<Record<string, RunStatus>>;
  const endOf = (id: string) => {
    const status = statuses[id];
    return status === undefined ? undefined : { status, isAllowed: allowed.includes(id) };
  };
  return [...undisturbedTasks(plan, endOf, new Set(kept))].sort();
}

test("what handled a failure is disturbed when what failed runs again, and so is what comes after it", () => {
  const failed = { deploy: "FAILED", verify: "SKIPPED", rollback: "COMPLETED", report: "COMPLETED" } as const;
  expect(undisturbed({ ...failed, clean: "COMPLETED" })).toEqual(["after", "deploy", "other"]);
});

test("what was skipped because another task COMPLETED disturbs nothing", () => {
  const ends = {
    deploy: "COMPLETED",
    verify: "COMPLETED",
    rollback: "SKIPPED",
    report: "COMPLETED",
  } as const;
  const all = ["after", "clean", "deploy", "other", "report", "rollback", "verify"];
  expect(undisturbed({ ...ends, clean: "FAILED" })).toEqual(all);
});

test("an allowed failure counts as completed for those that accept it so", () => {
  const ends = { deploy: "FAILED", verify: "COMPLETED", rollback: "COMPLETED", clean: "COMPLETED" } as const;
  expect(undisturbed(ends, ["deploy"])).toEqual(["after", "clean", "deploy", "other", "verify"]);
});

test("a task that never began disturbs those after it", () => {
  expect(undisturbed({ other: "CANCELLED" })).toEqual(["deploy", "other"]);
});

test("what is known not to run again disturbs nothing, however it ended", () => {
  const ends = { deploy: "FAILED", verify: "SKIPPED", rollback: "COMPLETED" } as const;
  const all = ["after", "clean", "deploy", "other", "report", "rollback", "verify"];
  expect(undisturbed(ends, [], ["deploy"])).toEqual(all);
  expect(undisturbed(ends, [], ["rollback"])).toEqual(["after", "deploy", "other", "rollback"]);
});
