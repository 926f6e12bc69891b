import { describe, expect, test } from "bun:test";
import { InvalidInputError } from "../../src/errors.ts";
import type { Item, TaskEnd } from "../../src/workflow/decisions.ts";
import { readPlacement } from "../../src/workflow/placement.ts";
import type { Plan, PlanNode } from "../../src/workflow/plan.ts";
import { Progress } from "../../src/workflow/progress.ts";
import type { RunFacts } from "../../src/workflow/run-facts.ts";
import { nextSlices } from "../../src/workflow/slices.ts";
import { FACTS, planned, said } from "./progress-support.ts";

const COMPLETED: TaskEnd = { status: "COMPLETED" };
const FAILED: TaskEnd = { status: "FAILED" };
const keyed = (keys: readonly string[]): Item[] => keys.map((key) => ({ key }));

describe("the order of tasks", () => {
  test("a task starts when all that it needs has COMPLETED, and the run finishes once", () => {
    const progress = new Progress(planned("a; b < a; c < a; d < b c"));
    expect(said(progress.begin())).toEqual(["start a"]);
    expect(progress.begin()).toEqual([]);
    expect(said(progress.ended("a", COMPLETED))).toEqual(["start b", "start c"]);
    expect(progress.ended("a", FAILED)).toEqual([]);
    expect(progress.status("a")).toBe("COMPLETED");
    expect(progress.ended("c", COMPLETED)).toEqual([]);
    expect(progress.status("d")).toBe("undecided");
    expect(said(progress.ended("b", COMPLETED))).toEqual(["start d"]);
    expect(progress.finish).toBeNull();
    expect(said(progress.ended("d", COMPLETED))).toEqual(["finish COMPLETED"]);
    expect(progress.finish).toEqual({ status: "COMPLETED", error: null, allowed: 0 });
    expect(progress.ended("d", COMPLETED)).toEqual([]);
    expect(progress.stop("cancelled")).toEqual([]);
  });

  test("what depends on a failed task is skipped and names that task; other branches go on", () => {
    const progress = new Progress(
      planned("grandchild < child other; child < bad; bad; other; after < other"),
    );
    expect(said(progress.begin())).toEqual(["start bad", "start other"]);
    expect(said(progress.ended("bad", FAILED))).toEqual([
      'skip grandchild SKIPPED: "bad", on which it depends, FAILED',
      'skip child SKIPPED: "bad", on which it depends, FAILED',
    ]);
    expect(said(progress.ended("other", COMPLETED))).toEqual(["start after"]);
    expect(said(progress.ended("after", COMPLETED))).toEqual(["finish FAILED: failed: bad"]);
  });

  test.each([
    ["CRASHED", "finish CRASHED: crashed: a"],
    ["CANCELLED", "finish FAILED: failed: a"],
    ["SKIPPED", "finish COMPLETED"],
  ] as const)("a task that ends %s is not accepted either", (status, finish) => {
    const progress = new Progress(planned("a; b < a"));
    progress.begin();
    expect(said(progress.ended("a", { status }))).toEqual([
      `skip b SKIPPED: "a", on which it depends, ${status}`,
      finish,
    ]);
  });

  test("ten failed tasks are named", () => {
    const ids = Array.from({ length: 12 }, (_, n) => `t${n}`);
    const progress = new Progress(planned(ids.join(";")));
    progress.begin();
    const decisions = ids.flatMap((id) => progress.ended(id, FAILED));
    expect(said(decisions)).toEqual([`finish FAILED: failed: ${ids.slice(0, 10).join(", ")} and 2 more`]);
  });

  test("what is over from before is not decided again, and ids that no longer exist are ignored", () => {
    const plan = planned("a; b < a; c < b; d");
    const progress = new Progress(plan, {
      over: [
        ["a", FAILED],
        ["d", COMPLETED],
        ["gone", COMPLETED],
      ],
    });
    expect(said(progress.begin())).toEqual([
      'skip b SKIPPED: "a", on which it depends, FAILED',
      'skip c SKIPPED: "a", on which it depends, FAILED',
      "finish FAILED: failed: a",
    ]);
    const all = new Progress(plan, { over: plan.order.map((id) => [id, COMPLETED]) });
    expect(said(all.begin())).toEqual(["finish COMPLETED"]);
  });

  test("decides about a part of the tasks only", () => {
    const plan = planned("a; b < a; c < b; x");
    const progress = new Progress(plan, { tasks: ["b"], over: [["a", COMPLETED]] });
    expect(said(progress.begin())).toEqual(["start b"]);
    expect(said(progress.ended("b", COMPLETED))).toEqual(["finish COMPLETED"]);
    expect(() => new Progress(plan, { tasks: ["b"] })).toThrow(InvalidInputError);
    expect(() => new Progress(plan, { tasks: ["b"] })).toThrow('task "b" needs "a"');
  });

  test("an event of a task that does not exist changes nothing, and its status is an error", () => {
    const progress = new Progress(planned("a"));
    progress.begin();
    expect(progress.ended("zz", COMPLETED)).toEqual([]);
    progress.assigned(["zz"]);
    expect(progress.released(["zz"])).toEqual([]);
    expect(() => progress.status("zz")).toThrow('there is no task "zz"');
  });

  test("a graph may be as deep and as wide as one likes", () => {
    const count = 20_000;
    const chain = planned(
      Array.from({ length: count }, (_, n) => (n === 0 ? "t0" : `t${n} < t${n - 1}`)).join(";"),
    );
    const deep = new Progress(chain);
    deep.begin();
    expect(deep.ended("t0", FAILED)).toHaveLength(count);
    expect(deep.finish?.error).toBe("failed: t0");
    const ids = Array.from({ length: count }, (_, n) => `t${n}`);
    const wide = new Progress(planned(`${ids.join(";")}; last < ${ids.join(" ")}`));
    expect(wide.begin()).toHaveLength(count);
    const decisions = ids.flatMap((id) => wide.ended(id, COMPLETED));
    expect(said(decisions)).toEqual(["start last"]);
  });
});

describe("a stop", () => {
  test("cancelled: what has not started is CANCELLED, what has is waited for", () => {
    const progress = new Progress(planned("a; b < a; c"));
    progress.begin();
    progress.ended("c", FAILED);
    expect(said(progress.stop("cancelled"))).toEqual(["skip b CANCELLED: the run was cancelled"]);
    expect(progress.stop("timed out", "too late")).toEqual([]);
    expect(said(progress.ended("a", { status: "CANCELLED" }))).toEqual(["finish CANCELLED"]);
  });

  test("timed out: what has not started is SKIPPED, and the run FAILED with the caller's text", () => {
    const progress = new Progress(planned("a; b < a"));
    progress.begin();
    expect(said(progress.stop("timed out", "timed out after 5s"))).toEqual([
      "skip b SKIPPED: the run timed out",
    ]);
    expect(said(progress.ended("a", COMPLETED))).toEqual(["finish FAILED: timed out after 5s"]);
  });

  test("before the first decision: nothing starts any more", () => {
    const progress = new Progress(planned("a; b < a"));
    expect(said(progress.stop("cancelled"))).toEqual([
      "skip a CANCELLED: the run was cancelled",
      "skip b CANCELLED: the run was cancelled",
      "finish CANCELLED",
    ]);
    expect(progress.begin()).toEqual([]);
  });

  test("an open slice is waited for; what it gives back is closed", () => {
    const progress = new Progress(planned("a; b < a; c"));
    progress.assigned(["a", "b"]);
    progress.begin();
    progress.assigned(["c"]);
    expect(progress.stop("cancelled")).toEqual([]);
    expect(progress.ended("a", COMPLETED)).toEqual([]);
    expect(said(progress.released(["a", "b"]))).toEqual(["skip b CANCELLED: the run was cancelled"]);
    expect(progress.released(["b"])).toEqual([]);
    expect(said(progress.ended("c", { status: "CANCELLED" }))).toEqual(["finish CANCELLED"]);
  });
});

describe("slices elsewhere", () => {
  test("nothing is decided about an assigned task until it is over", () => {
    const progress = new Progress(planned("a; b < a; c < b"));
    progress.begin();
    progress.assigned(["a", "b"]);
    expect(progress.status("b")).toBe("assigned");
    expect(progress.ended("a", FAILED)).toEqual([]);
    expect(said(progress.ended("b", { status: "SKIPPED", error: "told by the agent" }))).toEqual([
      'skip c SKIPPED: "a", on which it depends, FAILED',
      "finish FAILED: failed: a",
    ]);
  });

  test("a lost slice makes its tasks undecided again, except what COMPLETED, and what was skipped because of them", () => {
    const progress = new Progress(planned("a; b; c < a b; d < c; e < b; f"));
    progress.begin();
    progress.assigned(["a", "b"]);
    progress.ended("a", COMPLETED);
    expect(said(progress.ended("b", FAILED))).toEqual([
      'skip c SKIPPED: "b", on which it depends, FAILED',
      'skip d SKIPPED: "b", on which it depends, FAILED',
      'skip e SKIPPED: "b", on which it depends, FAILED',
    ]);
    expect(said(progress.released(["a", "b"]))).toEqual(["start b"]);
    expect(["a", "b", "c", "d", "e"].map((id) => progress.status(id))).toEqual([
      "COMPLETED",
      "undecided",
      "undecided",
      "undecided",
      "undecided",
    ]);
    expect(said(progress.ended("b", COMPLETED))).toEqual(["start c", "start e"]);
  });

  test("conditions in a slice that gets another agent are for that agent to decide", () => {
    const when = () => ({ skip: "1 > 2 is false" });
    const progress = new Progress(planned("a; b < a; c < b", { b: { when } }));
    progress.begin();
    progress.assigned(["a", "b"]);
    progress.ended("a", COMPLETED);
    expect(said(progress.ended("b", { status: "SKIPPED" }))).toEqual([
      'skip c SKIPPED: "b", on which it depends, SKIPPED',
      "finish COMPLETED",
    ]);
    expect(progress.requeued(["a", "b"])).toEqual([]);
    expect(progress.finish).toBeNull();
    expect(["a", "b", "c"].map((id) => progress.status(id))).toEqual(["COMPLETED", "assigned", "undecided"]);
    expect(said(progress.ended("b", COMPLETED))).toEqual(["start c"]);
  });

  test("what handled a failure in a slice that gets another agent is undecided again, if it is said to be", () => {
    const plan = planned("deploy; rollback < deploy; mended < rollback; lost < rollback", {
      rollback: { accepts: { deploy: ["FAILED"] } },
      lost: { accepts: { rollback: ["SKIPPED"] } },
    });
    const progress = new Progress(plan);
    progress.begin();
    progress.assigned(["deploy", "rollback"]);
    progress.ended("deploy", FAILED);
    expect(said(progress.ended("rollback", COMPLETED))).toEqual([
      "start mended",
      'skip lost SKIPPED: "rollback", on which it depends, COMPLETED, not SKIPPED',
    ]);
    expect(progress.requeued(["deploy", "rollback"], new Set(["rollback"]))).toEqual([]);
    const statuses = ["deploy", "rollback", "mended", "lost"].map((id) => progress.status(id));
    expect(statuses).toEqual(["assigned", "assigned", "undecided", "undecided"]);
    progress.ended("deploy", COMPLETED);
    expect(said(progress.ended("rollback", { status: "SKIPPED" }))).toEqual([
      'skip mended SKIPPED: "deploy", on which it depends, COMPLETED, not FAILED',
      "start lost",
    ]);
  });

  test("what another task is to blame for, too, stays skipped", () => {
    const progress = new Progress(planned("a; b; c < a b"));
    progress.begin();
    progress.assigned(["a"]);
    progress.assigned(["b"]);
    progress.ended("a", FAILED);
    expect(said(progress.ended("b", FAILED))).toEqual(["finish FAILED: failed: a, b"]);
    expect(said(progress.released(["b"]))).toEqual(["start b"]);
    expect(progress.finish).toBeNull();
    expect(progress.status("c")).toBe("SKIPPED");
    expect(said(progress.ended("b", COMPLETED))).toEqual(["finish FAILED: failed: a"]);
  });

  test("built again from what is over, it decides the same", () => {
    const plan = planned("a; b < a; c < b; d; e < d");
    const progress = new Progress(plan, {
      over: [
        ["a", FAILED],
        ["b", { status: "SKIPPED" }],
      ],
    });
    progress.assigned(["d"]);
    expect(said(progress.begin())).toEqual(['skip c SKIPPED: "a", on which it depends, FAILED']);
    expect(said(progress.released(["a"]))).toEqual(["start a"]);
    expect(progress.status("b")).toBe("undecided");
    expect(progress.status("c")).toBe("undecided");
  });
});

describe("what the language has no key for yet", () => {
  test("conditions: failed, skipped, ended; a task whose condition cannot be met any more is skipped", () => {
    const plan = planned("a; good < a; bad < a; both < good bad", {
      bad: { accepts: { a: ["FAILED"] } },
      both: {
        accepts: { good: ["COMPLETED", "FAILED", "SKIPPED"], bad: ["COMPLETED", "FAILED", "SKIPPED"] },
      },
    });
    const progress = new Progress(plan);
    progress.begin();
    expect(said(progress.ended("a", FAILED))).toEqual([
      'skip good SKIPPED: "a", on which it depends, FAILED',
      "start bad",
    ]);
    expect(said(progress.ended("bad", COMPLETED))).toEqual(["start both"]);
    expect(said(progress.ended("both", COMPLETED))).toEqual(["finish FAILED: failed: a"]);
  });

  test("who is to blame when a condition cannot be met, in words", () => {
    const plan = planned("a; b < a; c < b; d < b; e < c", {
      b: { accepts: { a: ["FAILED", "CRASHED"] } },
      c: { accepts: { b: ["FAILED", "CRASHED", "SKIPPED"] } },
      d: { accepts: { b: ["COMPLETED"] } },
      e: { accepts: { c: ["SKIPPED", "FAILED"] } },
    });
    const progress = new Progress(plan);
    progress.begin();
    expect(said(progress.ended("a", COMPLETED))).toEqual([
      'skip b SKIPPED: "a", on which it depends, COMPLETED, not FAILED',
      "start c",
      'skip d SKIPPED: "a", on which it depends, COMPLETED, not FAILED',
    ]);
    expect(said(progress.ended("c", COMPLETED))).toEqual([
      'skip e SKIPPED: "c", on which it depends, COMPLETED, not SKIPPED or FAILED',
      "finish COMPLETED",
    ]);
  });

  test("a failure that is allowed is accepted as COMPLETED and as FAILED, and does not fail the run", () => {
    const plan = planned("a; b < a; c < a", { c: { accepts: { a: ["FAILED"] } } });
    const progress = new Progress(plan);
    progress.begin();
    expect(said(progress.ended("a", { status: "FAILED", isAllowed: true }))).toEqual(["start b", "start c"]);
    progress.ended("b", COMPLETED);
    expect(said(progress.ended("c", COMPLETED))).toEqual(["finish COMPLETED"]);
    expect(progress.finish).toEqual({ status: "COMPLETED", error: null, allowed: 1 });
  });

  test("a condition that cannot be computed fails the task, which may be allowed; a lost need asks it again", () => {
    const when: PlanNode["when"] = (result, { params }) =>
      result("a")?.status === "COMPLETED" ? null : { fail: `a has no value for ${params.day}` };
    const plan = planned("a; b < a; c < a", {
      b: { when, accepts: { a: ["COMPLETED", "FAILED"] } },
      c: { when, accepts: { a: ["COMPLETED", "FAILED"] }, allowsFailure: true },
    });
    let asked = 0;
    const facts = (): RunFacts => {
      asked++;
      return { ...FACTS, params: { day: "monday" } };
    };
    const progress = new Progress(plan, { facts });
    progress.begin();
    progress.assigned(["a"]);
    expect(progress.outcome).toBeNull();
    expect(progress.ended("a", FAILED)).toEqual([
      { kind: "skip", task: "b", status: "FAILED", reason: "a has no value for monday", isAllowed: false },
      { kind: "skip", task: "c", status: "FAILED", reason: "a has no value for monday", isAllowed: true },
      { kind: "finish", status: "FAILED", error: "failed: a, b", allowed: 1 },
    ]);
    expect(progress.outcome).toEqual({
      status: "FAILED",
      error: "failed: a, b",
      allowed: 1,
      failed: ["a", "b"],
    });
    expect(said(progress.released(["a"]))).toEqual(["start a"]);
    expect(said(progress.ended("a", COMPLETED))).toEqual(["start b", "start c"]);
    expect(asked).toBe(1);
    // Who only draws the plan asks nothing.
    const drawn = new Progress(plan);
    drawn.begin();
    expect(said(drawn.ended("a", FAILED))).toEqual(["start b", "start c"]);
  });

  test("a condition sees the results, and is the reason for a skip", () => {
    const plan = planned("a; b < a; c < b", {
      b: {
        when: (result) => (result("a")?.outputs?.rows === 0 ? { skip: "tasks.a.outputs.rows > 0" } : null),
      },
    });
    const progress = new Progress(plan, { facts: () => FACTS });
    progress.begin();
    expect(said(progress.ended("a", { status: "COMPLETED", outputs: { rows: 0 } }))).toEqual([
      "skip b SKIPPED: tasks.a.outputs.rows > 0",
      'skip c SKIPPED: "b", on which it depends, SKIPPED',
      "finish COMPLETED",
    ]);
    expect(progress.results(["a", "c", "zz"])).toEqual({
      a: { status: "COMPLETED", error: null, outputs: { rows: 0 }, isAllowed: false },
      c: {
        status: "SKIPPED",
        error: '"b", on which it depends, SKIPPED',
        outputs: null,
        isAllowed: false,
      },
    });
  });

  test("what waits for a time, a person or a child run holds no agent; a poll waits between its tries", () => {
    const progress = new Progress(planned("ask; go < ask", { ask: { waits: "time" } }));
    expect(said(progress.begin())).toEqual(["wait ask"]);
    expect(progress.ready).toEqual([]);
    expect(said(progress.ended("ask", COMPLETED))).toEqual(["start go"]);
    progress.waits("go");
    expect(progress.status("go")).toBe("undecided");
    expect(said(progress.due("go"))).toEqual(["start go"]);
    expect(progress.due("go")).toEqual([]);
    expect(said(progress.ended("go", COMPLETED))).toEqual(["finish COMPLETED"]);
    const stopped = new Progress(planned("ask; go < ask", { ask: { waits: "time" } }));
    stopped.begin();
    expect(said(stopped.stop("timed out", "late"))).toEqual([
      "skip ask FAILED: the run timed out",
      "skip go SKIPPED: the run timed out",
      "finish FAILED: late",
    ]);
  });

  test("what is known to wait from before goes on waiting; a poll tries again in the same slice", () => {
    const plan = planned("poll; child; go < poll child", {
      poll: { polls: true },
      child: { waits: "run" },
    });
    const progress = new Progress(plan);
    progress.waits("poll");
    progress.waits("child");
    expect(progress.begin()).toEqual([]);
    progress.assigned(["poll"]);
    expect(progress.status("poll")).toBe("assigned");
    expect(progress.ready).toEqual([]);
    progress.waits("poll");
    expect(said(progress.stop("cancelled"))).toEqual([
      "skip poll CANCELLED: the run was cancelled",
      "cancel child: the run was cancelled",
      "skip go CANCELLED: the run was cancelled",
    ]);
    expect(progress.status("child")).toBe("undecided");
    expect(said(progress.ended("child", { status: "CANCELLED" }))).toEqual(["finish CANCELLED"]);
  });

  const hooks = (text: string): Plan =>
    planned(`${text}; ok; bad; off; always`, {
      ok: { hook: "on_success" },
      bad: { hook: "on_failure" },
      off: { hook: "on_cancel" },
      always: { hook: "on_exit" },
    });

  test("hooks wait until it is known whether the outputs of the workflow can be computed", () => {
    const progress = new Progress(hooks("a"), { concludes: true });
    progress.begin();
    expect(progress.concluded("too early")).toEqual([]);
    expect(said(progress.ended("a", COMPLETED))).toEqual(["conclude"]);
    // The slice is lost, and a has not completed: it is asked again.
    expect(said(progress.requeued(["a"], new Set(["a"])))).toEqual([]);
    expect(said(progress.ended("a", COMPLETED))).toEqual(["conclude"]);
    expect(said(progress.concluded("output n has no value"))).toEqual([
      "skip ok SKIPPED: the run FAILED",
      "start bad",
      "skip off SKIPPED: the run FAILED",
      "start always",
    ]);
    expect(progress.concluded(null)).toEqual([]);
    expect(progress.outcome).toMatchObject({ status: "FAILED", error: "output n has no value", failed: [] });
    progress.ended("bad", COMPLETED);
    expect(said(progress.ended("always", COMPLETED))).toEqual(["finish FAILED: output n has no value"]);
    const fine = new Progress(hooks("a"), { concludes: true });
    fine.begin();
    fine.ended("a", COMPLETED);
    expect(said(fine.concluded(null))).toContain("start ok");
  });

  test("hooks run after everything else, each for its end, and change no status", () => {
    const progress = new Progress(hooks("a; b < a"));
    expect(said(progress.begin())).toEqual(["start a"]);
    expect(said(progress.ended("a", FAILED))).toEqual([
      'skip b SKIPPED: "a", on which it depends, FAILED',
      "skip ok SKIPPED: the run FAILED",
      "start bad",
      "skip off SKIPPED: the run FAILED",
      "start always",
    ]);
    expect(progress.stop("cancelled")).toEqual([]);
    expect(progress.ended("bad", FAILED)).toEqual([]);
    expect(said(progress.ended("always", COMPLETED))).toEqual(["finish FAILED: failed: a"]);
    const stopped = new Progress(hooks("a"));
    stopped.begin();
    expect(stopped.stop("cancelled")).toEqual([]);
    expect(said(stopped.ended("a", { status: "CANCELLED" }))).toEqual([
      "skip ok SKIPPED: the run was cancelled",
      "skip bad SKIPPED: the run was cancelled",
      "start off",
      "start always",
    ]);
    stopped.ended("off", COMPLETED);
    expect(said(stopped.ended("always", FAILED))).toEqual(["finish CANCELLED"]);
  });

  test("hooks can be stopped, which changes nothing about the end of the run", () => {
    const plan = hooks("a");
    const progress = new Progress(plan);
    progress.begin();
    expect(progress.stopHooks()).toEqual([]);
    progress.ended("a", FAILED);
    progress.assigned(["bad"]);
    expect(said(progress.stopHooks())).toEqual(["cancel always: the hooks of the run were stopped"]);
    expect(progress.stopHooks()).toEqual([]);
    expect(said(progress.released(["bad"]))).toEqual([
      "skip bad CANCELLED: the hooks of the run were stopped",
    ]);
    expect(said(progress.ended("always", { status: "CANCELLED" }))).toEqual(["finish FAILED: failed: a"]);
    const again = new Progress(plan, { over: [["a", FAILED]] });
    again.assigned(["bad"]);
    again.stopHooks();
    expect(said(again.begin())).toEqual([
      "skip ok CANCELLED: the hooks of the run were stopped",
      "skip off CANCELLED: the hooks of the run were stopped",
      "skip always CANCELLED: the hooks of the run were stopped",
    ]);
  });

  test("a hook whose slice is lost runs elsewhere", () => {
    const plan = hooks("a");
    const progress = new Progress(plan);
    progress.begin();
    progress.ended("a", COMPLETED);
    const [slice] = nextSlices(plan, progress);
    expect(slice?.tasks).toEqual(["ok", "always"]);
    progress.assigned(["ok", "always"]);
    progress.ended("ok", COMPLETED);
    expect(said(progress.released(["ok", "always"]))).toEqual(["start always"]);
    expect(said(progress.ended("always", COMPLETED))).toEqual(["finish COMPLETED"]);
  });

  const fan = (more: { maxParallel?: number; failFast?: boolean } = {}): Plan =>
    planned("list; load < list; sum < load", {
      load: { fanOut: { maxParallel: more.maxParallel ?? null, failFast: more.failFast ?? false } },
    });
  const fanned = (plan: Plan): Progress => {
    const progress = new Progress(plan);
    progress.begin();
    expect(said(progress.ended("list", COMPLETED))).toEqual(["expand load"]);
    return progress;
  };

  test("a fan-out starts its items, and ends with them and their outputs in order", () => {
    const progress = fanned(fan({ maxParallel: 2 }));
    expect(said(progress.expanded("load", keyed(["a", "b", "c"])))).toEqual([
      "start load[a]",
      "start load[b]",
    ]);
    expect(progress.expanded("load", keyed(["a"]))).toEqual([]);
    expect(progress.ended("load", COMPLETED)).toEqual([]);
    expect(said(progress.ended("load[b]", { status: "COMPLETED", outputs: { rows: 2 } }))).toEqual([
      "start load[c]",
    ]);
    progress.ended("load[a]", { status: "COMPLETED", outputs: { rows: 1, constructor: "x" } });
    expect(said(progress.ended("load[c]", COMPLETED))).toEqual(["end load COMPLETED", "start sum"]);
    expect(progress.results(["load"])).toEqual({
      load: {
        status: "COMPLETED",
        error: null,
        outputs: { rows: [1, 2, null], constructor: ["x", null, null] },
        isAllowed: false,
      },
    });
  });

  test("items may have places of their own, and may be over from before; their keys are unique", () => {
    const at = readPlacement('{"runs_on":{"host":"web-1"}}');
    const progress = fanned(fan());
    expect(() => progress.expanded("load", keyed(["a", "a"]))).toThrow('there is more than one "load[a]"');
    progress.expanded("load", [{ key: "a", placement: at }, { key: "b" }, { key: "c", end: COMPLETED }]);
    expect(progress.ready.map(({ id, placement, item }) => [id, placement.key, item])).toEqual([
      ["load[a]", at.key, { task: "load", key: "a", index: 0 }],
      ["load[b]", "{}", { task: "load", key: "b", index: 1 }],
    ]);
    expect(progress.size).toBe(6);
  });

  test("a fan-out that is lost as a whole, with all its failures, runs again", () => {
    const count = 20_000;
    const keys = Array.from({ length: count }, (_, n) => `${n}`);
    const progress = fanned(fan({ failFast: true }));
    const starts = progress.expanded("load", keyed(keys));
    const ids = starts.flatMap((decision) => ("task" in decision ? [decision.task] : []));
    progress.assigned(ids);
    for (const id of ids) progress.ended(id, FAILED);
    expect(progress.finish?.error).toBe("failed: load");
    expect(progress.released(ids)).toHaveLength(count);
    expect(progress.finish).toBeNull();
  });

  test("it names the items that failed also if all failures are allowed; otherwise those that are not", () => {
    const allowed: TaskEnd = { status: "FAILED", isAllowed: true };
    const endWith = (last: TaskEnd) => {
      const progress = fanned(fan());
      progress.expanded("load", keyed(["a", "b"]));
      progress.ended("load[a]", allowed);
      return progress.ended("load[b]", last).filter(({ kind }) => kind === "end");
    };
    expect(endWith(COMPLETED)).toMatchObject([{ isAllowed: true, error: "failed: load[a]" }]);
    expect(endWith(FAILED)).toMatchObject([{ isAllowed: false, error: "failed: load[b]" }]);
    expect(endWith({ status: "CANCELLED" })).toMatchObject([
      { status: "CANCELLED", isAllowed: false, error: "cancelled: load[b]" },
    ]);
    const stopped = fanned(fan());
    stopped.expanded("load", keyed(["a"]));
    stopped.stop("cancelled");
    expect(stopped.ended("load[a]", { status: "CANCELLED" })).toMatchObject([
      { status: "CANCELLED", error: "cancelled: load[a]" },
      {},
    ]);
  });

  test("a fan-out without items COMPLETED at once", () => {
    expect(said(fanned(fan()).expanded("load", []))).toEqual(["end load COMPLETED", "start sum"]);
  });

  test("it has failed when an item has; with fail_fast the first failure cancels the others", () => {
    const slow = fanned(fan());
    slow.expanded("load", keyed(["a", "b"]));
    expect(slow.ended("load[a]", FAILED)).toEqual([]);
    expect(said(slow.ended("load[b]", COMPLETED))).toEqual([
      "end load FAILED",
      'skip sum SKIPPED: "load", on which it depends, FAILED',
      "finish FAILED: failed: load",
    ]);
    const fast = fanned(fan({ maxParallel: 3, failFast: true }));
    fast.expanded("load", keyed(["a", "b", "c", "d"]));
    expect(said(fast.ended("load[b]", FAILED))).toEqual([
      'cancel load[a]: "load[b]" FAILED (fail_fast)',
      'cancel load[c]: "load[b]" FAILED (fail_fast)',
      'skip load[d] CANCELLED: "load[b]" FAILED (fail_fast)',
    ]);
    expect(fast.ended("load[a]", { status: "CANCELLED" })).toEqual([]);
    expect(said(fast.ended("load[c]", COMPLETED))[0]).toBe("end load FAILED");
  });

  test("items that COMPLETED before are kept, items of a lost slice run again, a stop skips the rest", () => {
    const plan = fan({ maxParallel: 1 });
    const progress = new Progress(plan, {
      over: [
        ["list", COMPLETED],
        ["load[b]", COMPLETED],
      ],
    });
    progress.expanded("load", keyed(["a", "b", "c"]));
    expect(said(progress.begin())).toEqual(["start load[a]"]);
    progress.assigned(["load[a]"]);
    expect(said(progress.ended("load[a]", FAILED))).toEqual(["start load[c]"]);
    progress.assigned(["load[c]"]);
    expect(said(progress.ended("load[c]", COMPLETED))[0]).toBe("end load FAILED");
    expect(said(progress.released(["load[a]"]))).toEqual(["start load[a]"]);
    expect(progress.status("sum")).toBe("undecided");
    expect(said(progress.ended("load[a]", COMPLETED))).toEqual(["end load COMPLETED", "start sum"]);
    const stopped = fanned(plan);
    stopped.expanded("load", keyed(["a", "b"]));
    expect(said(stopped.stop("cancelled"))).toEqual([
      "skip load[b] CANCELLED: the run was cancelled",
      "skip sum CANCELLED: the run was cancelled",
    ]);
    expect(said(stopped.ended("load[a]", { status: "CANCELLED" }))).toEqual([
      "end load CANCELLED",
      "finish CANCELLED",
    ]);
  });
});
