/** Fan-outs on an agent: items with real processes, without a principal. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { TaskReport } from "../../src/contract/messages.ts";
import { Bench, type Outcome } from "./support/bench.ts";

/** Statuses of the items of a fan-out, by key. */
function itemsOf(outcome: Outcome, task: string): Record<string, string[]> {
  const items: Record<string, string[]> = {};
  for (const { task_id, item, status } of outcome.reports) {
    if (task_id !== task || item === undefined) continue;
    items[item.key] ??= [];
    items[item.key]?.push(status);
  }
  return items;
}

/** The reports about a fan-out as a task. */
function parentOf(outcome: Outcome, task: string): TaskReport[] {
  return outcome.reports.filter(({ task_id, item }) => task_id === task && item === undefined);
}

/** An output line. */
const publish = (text: string) => `echo "${text}" >> "$CDKTR_OUTPUT"`;

describe("foreach", () => {
  test("runs each item with its variables, then what depends on the fan-out", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      load: {
        foreach: ["eu", "us east", { name: "x", days: ["1", "2"] }],
        run: 'printf "%s|%s|%s" "$CDKTR_ITEM_INDEX" "$CDKTR_ITEM_KEY" "$CDKTR_ITEM"',
      },
      after: { depends: ["load"] },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.log("load[0]")).toEqual(["INFO 0|0|eu"]);
    expect(outcome.log("load[1]")).toEqual(["INFO 1|1|us east"]);
    expect(outcome.log("load[2]")).toEqual(['INFO 2|2|{"name":"x","days":["1","2"]}']);
    const completed = ["RUNNING", "COMPLETED"];
    expect(itemsOf(outcome, "load")).toEqual({ 0: completed, 1: completed, 2: completed });
    expect(parentOf(outcome, "load")).toMatchObject([
      { status: "RUNNING", items_total: 3 },
      { status: "COMPLETED", error: null },
    ]);
    const order = outcome.reports.map((report) => `${report.task_id} ${report.status}`);
    expect(order.indexOf("after RUNNING")).toBeGreaterThan(order.lastIndexOf("load COMPLETED"));
  });

  test("has the item in its expressions, and what it is written in is data", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      load: {
        foreach: ["$(id)", { name: "-rf", n: [1, 2] }],
        key: "k${{ index }}",
        run: [
          "echo",
          "${{ key }} ${{ index }}",
          "${{ item }}",
          "${{ item == '$(id)' ? 'text' : item.n[1] }}",
        ],
      },
    });
    expect(outcome.log("load[k0]")).toEqual(["INFO k0 0 $(id) text"]);
    expect(outcome.log("load[k1]")).toEqual(['INFO k1 1 {"name":"-rf","n":[1,2]} 2']);
  });

  test("an empty list COMPLETED at once", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ load: { foreach: [] }, after: { depends: ["load"] } });
    expect(parentOf(outcome, "load").map(({ status }) => status)).toEqual(["RUNNING", "COMPLETED"]);
    expect(outcome.last("after").status).toBe("COMPLETED");
    expect(outcome.end).toBe("COMPLETED");
  });

  test("takes its list from a parameter, with keys of the items", async () => {
    using bench = new Bench();
    const items = [
      { id: "a", n: 1 },
      { id: "b/c", n: 2 },
    ];
    const outcome = await bench.run(
      { load: { foreach: "${{ params.tables }}", key: "${{ item.id }}", run: 'echo "$CDKTR_ITEM"' } },
      { params: { tables: { description: null, default: null, type: "json" } } },
      { params: { tables: JSON.stringify(items) } },
    );
    expect(outcome.log("load[a]")).toEqual(['INFO {"id":"a","n":1}']);
    expect(outcome.log("load[b/c]")).toEqual(['INFO {"id":"b/c","n":2}']);
    expect(outcome.end).toBe("COMPLETED");
  });

  test("takes its list from an output, also of a task that is not a direct dependency", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      list: { run: `echo '{"files": ["x", "y"]}' > "$CDKTR_OUTPUT"` },
      between: { depends: ["list"] },
      load: { depends: ["between"], foreach: "${{ tasks.list.outputs.files }}", run: 'echo "$CDKTR_ITEM"' },
    });
    expect([...outcome.log("load[0]"), ...outcome.log("load[1]")]).toEqual(["INFO x", "INFO y"]);
  });

  test.each([
    ["${{ tasks.list.outputs.text }}", "foreach: it is a string, not a list"],
    [
      "${{ tasks.list.outputs.fles }}",
      'foreach: tasks.list.outputs.fles has no value: "list" published no "fles"',
    ],
    ["${{ tasks.list.outputs.many }}", "foreach: 50001 items; at most 50000"],
  ])("a list that is none fails the fan-out: %s", async (foreach, error) => {
    using bench = new Bench();
    const outcome = await bench.run({
      list: {
        run: `text="$(yes 0, | head -n 50000 | tr -d '\\n')0"; echo "{\\"text\\": \\"[1]\\", \\"many\\": [$text]}" > "$CDKTR_OUTPUT"`,
      },
      load: { depends: ["list"], foreach },
      after: { depends: ["load"] },
    });
    expect(outcome.end).toBe("FAILED");
    expect(parentOf(outcome, "load")).toMatchObject([{ status: "FAILED", error, task_attempt: 0 }]);
    expect(outcome.last("after")).toMatchObject({
      status: "SKIPPED",
      error: '"load", on which it depends, FAILED',
    });
  });

  test("two items of a key fail the fan-out", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      load: { foreach: [{ id: "eu" }, { id: "eu" }], key: "${{ item.id }}" },
    });
    expect(parentOf(outcome, "load")[0]?.error).toBe(
      'foreach: two items have the key "eu"; key names each item, such as key: ${{ item.id }}',
    );
  });

  test("never has more items under way than max_parallel", async () => {
    using bench = new Bench({ slots: 8 });
    const outcome = await bench.run({
      load: {
        foreach: Array.from({ length: 12 }, (_, n) => `${n}`),
        max_parallel: 2,
        run: 'for n in 1 2; do if mkdir place$n 2>/dev/null; then sleep 0.02; rmdir place$n; exit 0; fi; done; echo "no place" >&2; exit 1',
      },
    });
    expect(outcome.end).toBe("COMPLETED");
    expect(Object.keys(itemsOf(outcome, "load"))).toHaveLength(12);
  });

  test("items that fail make it fail, the others go on; each is tried again by itself", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      load: {
        foreach: ["a", "b", "c"],
        key: "${{ item }}",
        retry: { max_attempts: 2, delay_ms: 1, backoff: 1 },
        run: 'test "$CDKTR_ITEM" != b && { test "$CDKTR_ITEM" != c || test "$CDKTR_ATTEMPT" = 2; }',
      },
    });
    expect(outcome.end).toBe("FAILED");
    expect(itemsOf(outcome, "load")).toEqual({
      a: ["RUNNING", "COMPLETED"],
      b: ["RUNNING", "WAITING", "RUNNING", "FAILED"],
      c: ["RUNNING", "WAITING", "RUNNING", "COMPLETED"],
    });
    expect(parentOf(outcome, "load").at(-1)).toMatchObject({ status: "FAILED", error: "failed: load[b]" });
    expect(outcome.runReports.at(-1)?.error).toBe("failed: load");
  });

  test("fail_fast: the first failure cancels what is under way, and what waits", async () => {
    using bench = new Bench({ slots: 2 });
    const outcome = await bench.run({
      load: {
        foreach: ["slow", "bad", "x", "y"],
        key: "${{ item }}",
        fail_fast: true,
        run: 'test "$CDKTR_ITEM" != slow || { touch slow; sleep 600; }; while [ ! -e slow ]; do sleep 0.01; done; exit 1',
      },
    });
    expect(outcome.end).toBe("FAILED");
    const items = itemsOf(outcome, "load");
    // One may get the slot of the item that failed before the others are cancelled.
    expect(items).toEqual({
      slow: ["RUNNING", "CANCELLED"],
      bad: ["RUNNING", "FAILED"],
      x: [...(items.x?.slice(0, -1) ?? []), "CANCELLED"],
      y: ["CANCELLED"],
    });
    const slow = outcome.reports.find(({ item, status }) => item?.key === "slow" && status === "CANCELLED");
    expect(slow?.error).toBe('"load[bad]" FAILED (fail_fast)');
    expect(outcome.log("load[slow]")).toContain('WARN Stopped: "load[bad]" FAILED (fail_fast).');
    expect(parentOf(outcome, "load").at(-1)).toMatchObject({ status: "FAILED", error: "failed: load[bad]" });
  });

  test("fail_fast: every item is told of before the end of the run, also those that had no slot or turn", async () => {
    using bench = new Bench({ slots: 1 });
    const outcome = await bench.run({
      load: { foreach: ["a", "b", "c", "d", "e"], max_parallel: 3, fail_fast: true, run: "exit 1" },
    });
    const ends = Object.values(itemsOf(outcome, "load")).map((statuses) => statuses.at(-1));
    expect(ends).toEqual(["FAILED", "CANCELLED", "CANCELLED", "CANCELLED", "CANCELLED"]);
    const all = bench.outbox.reports(0, 1000);
    expect(all.at(-1)?.kind).toBe("run");
    expect(all.at(-2)).toMatchObject({ task_id: "load", status: "FAILED" });
  });

  test("a stop ends items under way, and those that wait for a slot or their turn", async () => {
    using bench = new Bench({ slots: 1 });
    const outcome = await bench.run(
      { load: { foreach: ["a", "b", "c"], max_parallel: 2, run: "sleep 600" }, after: { depends: ["load"] } },
      { timeout_ms: 100 },
    );
    expect(outcome.end).toBe("FAILED");
    expect(itemsOf(outcome, "load")).toEqual({
      0: ["RUNNING", "FAILED"],
      1: ["SKIPPED"],
      2: ["SKIPPED"],
    });
    expect(parentOf(outcome, "load").map(({ status }) => status)).toEqual(["RUNNING", "FAILED"]);
    expect(outcome.last("after").status).toBe("SKIPPED");
  });
});

describe("what items publish", () => {
  test("is there for the next task: together, and by item", async () => {
    using bench = new Bench();
    const outcome = await bench.run({
      load: {
        foreach: ["a", "b", ".c d"],
        key: "${{ item }}",
        run: `test "$CDKTR_ITEM" = b || ${publish("rows=$CDKTR_ITEM_INDEX")}`,
      },
      sum: { depends: ["load"], run: 'cd "$CDKTR_INPUTS"; cp load.json load/* "$OLDPWD"; ls load' },
    });
    expect(outcome.end).toBe("COMPLETED");
    const read = (name: string) => JSON.parse(readFileSync(join(bench.directory, name), "utf8"));
    expect(read("load.json")).toEqual({ rows: ["0", null, "2"] });
    expect(read("a.json")).toEqual({ rows: "0" });
    expect(read("%2Ec%20d.json")).toEqual({ rows: "2" });
    expect(outcome.log("sum")).toHaveLength(2);
  });

  test("counts for what is kept in memory, and is dropped when it was read", async () => {
    using bench = new Bench({ keptOutputsBytes: 100 });
    const tasks = (items: number) => ({
      load: {
        foreach: Array.from({ length: items }, () => "x"),
        run: publish("x=0123456789012345678901234567890"),
      },
      sum: { depends: ["load"] },
      again: {
        depends: ["sum"],
        run: publish("x=0123456789012345678901234567890123456789012345678901234567890"),
      },
      end: { depends: ["again"] },
    });
    expect((await bench.run(tasks(2))).end).toBe("COMPLETED");
    const outcome = await bench.run(tasks(3));
    expect(parentOf(outcome, "load").at(-1)?.status).toBe("FAILED");
  });
});

describe("part of a fan-out", () => {
  const load = { foreach: [], run: `echo "$CDKTR_ITEM"; ${publish("x=$CDKTR_ITEM")}` };
  const items = { load: ["a", "b"].map((value, n) => ({ key: `k${n + 3}`, index: n + 3, value })) };

  test("runs the given items, and says nothing about the fan-out", async () => {
    using bench = new Bench();
    const outcome = await bench.run({ load }, {}, { slice: 1, tasks: ["load"], items });
    expect(outcome.end).toBe("COMPLETED");
    expect(itemsOf(outcome, "load")).toEqual({
      k3: ["RUNNING", "COMPLETED"],
      k4: ["RUNNING", "COMPLETED"],
    });
    expect(parentOf(outcome, "load")).toEqual([]);
    expect(outcome.reports[0]?.item).toEqual({ key: "k3", index: 3 });
  });

  test("what COMPLETED before does not run again", async () => {
    using bench = new Bench();
    const done = { load: [{ key: "k3", index: 3, status: "COMPLETED" as const, outputs: { x: "a" } }] };
    const part = await bench.run(
      { load },
      {},
      { slice: 1, attempt: 2, tasks: ["load"], items, item_results: done },
    );
    expect(itemsOf(part, "load")).toEqual({ k4: ["RUNNING", "COMPLETED"] });
    const whole = await bench.run(
      {
        load: { ...load, foreach: ["a", "b"] },
        sum: { depends: ["load"], run: 'cat "$CDKTR_INPUTS/load.json"' },
      },
      {},
      {
        attempt: 2,
        item_results: { load: [{ key: "0", index: 0, status: "COMPLETED", outputs: { x: "a" } }] },
      },
    );
    expect(itemsOf(whole, "load")).toEqual({ 1: ["RUNNING", "COMPLETED"] });
    expect(whole.log("sum")).toEqual(['INFO {"x":["a","b"]}']);
  });

  test("the results of items on other agents are there for who depends on the fan-out", async () => {
    using bench = new Bench();
    const outcome = await bench.run(
      {
        load: {},
        sum: { depends: ["load"], run: 'cat "$CDKTR_INPUTS/load.json" "$CDKTR_INPUTS/load/b.json"' },
      },
      {},
      {
        slice: 9,
        tasks: ["sum"],
        completed_tasks: ["load"],
        results: { load: { status: "COMPLETED", outputs: null, items_total: 3 } },
        item_results: { load: [{ key: "b", index: 1, status: "COMPLETED", outputs: { x: 7 } }] },
      },
    );
    expect(outcome.log("sum")).toEqual(['INFO {"x":[null,7,null]}', 'INFO {"x":7}']);
  });

  test("single items are stopped on an order", async () => {
    using bench = new Bench({ slots: 1 });
    const { assignmentOf, workflowOf, until } = await import("./support/bench.ts");
    const workflow = workflowOf({ load: { foreach: [], run: "touch begun; sleep 600" } });
    const assignment = assignmentOf(workflow, { slice: 1, tasks: ["load"], items });
    const run = bench.prepare(assignment);
    run.start();
    await until(() => bench.has("begun"), "the first item runs");
    run.stopItems([
      { task_id: "load", key: "k3", index: 3 },
      { task_id: "load", key: "k4", index: 4 },
      { task_id: "load", key: "unknown", index: 5 },
    ]);
    const outcome = bench.outcome(assignment, await run.over);
    expect(outcome.end).toBe("FAILED");
    expect(itemsOf(outcome, "load")).toEqual({ k3: ["RUNNING", "CANCELLED"], k4: ["CANCELLED"] });
  });
});

test("ten thousand items cost little each until they run, and are stopped at once", async () => {
  using bench = new Bench({ slots: 1 });
  const outcome = await bench.run(
    { load: { foreach: Array.from({ length: 10_000 }, (_, n) => `${n}`), run: "sleep 600" } },
    { timeout_ms: 300 },
  );
  expect(Object.keys(itemsOf(outcome, "load"))).toHaveLength(10_000);
  expect(parentOf(outcome, "load").at(-1)?.status).toBe("FAILED");
});
