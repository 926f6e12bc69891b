import { describe, expect, test } from "bun:test";
import type { LogPage, SearchLogs } from "../../../src/contract/messages.ts";
import { InvalidInputError } from "../../../src/errors.ts";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { line, logs, openHistory, TestDirectory, taskRow } from "../database-support.ts";

const payloads = (page: Pick<LogPage, "rows">) => page.rows.map((row) => row[7]);

async function search(history: HistoryDatabase, filter: SearchLogs): Promise<string[]> {
  return payloads(await history.searchLogs(filter));
}

describe("searching", () => {
  async function sample(directory: TestDirectory): Promise<HistoryDatabase> {
    const history = await openHistory(directory);
    await history.write({
      ...logs("s", 1, [
        line({ timestamp_ms: 1000, payload: "one" }),
        line({ timestamp_ms: 1000, payload: "two", level: "ERROR" }),
        line({ timestamp_ms: 3000, payload: "three (x)", task_name: "Load", task_instance_id: "task-2" }),
        line({ timestamp_ms: 4000, payload: "four", workflow_id: "other", workflow_instance_id: "run-2" }),
      ]),
      statuses: [
        { id: 1, table: "task_run_status", row: taskRow({ task_id: "load", task_instance_id: "task-2" }) },
      ],
    });
    await history.write(logs("t", 1, [line({ timestamp_ms: 2000, payload: "late" })]));
    return history;
  }

  test("gives the eight columns, in the order of time and then insertion", async () => {
    using directory = new TestDirectory();
    const history = await sample(directory);
    const page = await history.searchLogs({});
    expect(payloads(page)).toEqual(["one", "two", "late", "three (x)", "four"]);
    expect(page.next).toBeNull();
    expect(page.rows[1]).toEqual(["etl.daily", "Daily", "run-1", "Extract", "task-1", 1000, "ERROR", "two"]);
    await history.close();
  });

  test("filters by everything it can be asked for", async () => {
    using directory = new TestDirectory();
    const history = await sample(directory);
    const cases: [SearchLogs, string[]][] = [
      [{ workflow_id: "other" }, ["four"]],
      [{ workflow_instance_id: "run-2" }, ["four"]],
      [{ task: "Load" }, ["three (x)"]],
      [{ task: "task-2" }, ["three (x)"]],
      [{ task: "load" }, ["three (x)"]],
      [{ level: "ERROR" }, ["two"]],
      [{ since_ms: 2000 }, ["late", "three (x)", "four"]],
      [{ since_ms: 1999.5, until_ms: 3000.5 }, ["late", "three (x)"]],
      [{ until_ms: 1000 }, ["one", "two"]],
      [{ grep: "^t" }, ["two", "three (x)"]],
      [{ grep: "\\(x\\)" }, ["three (x)"]],
      [{ grep: "(?i)ONE" }, ["one"]],
      [{ grep: "'; DROP TABLE logstore; --" }, []],
      [{ limit: 2 }, ["three (x)", "four"]],
      [{ limit: 1, workflow_id: "etl.daily", grep: "o" }, ["two"]],
      [{ since_ms: Number.MAX_VALUE }, []],
      [{ since_ms: -1, until_ms: Number.MAX_VALUE, limit: 1 }, ["four"]],
    ];
    for (const [filter, expected] of cases) {
      expect({ filter, found: await search(history, filter) }).toEqual({ filter, found: expected });
    }
    await history.close();
  });

  test("says why a pattern is none", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    for (const [grep, reason] of [
      ["(", "missing )"],
      ["(?<=a)b", "invalid perl operator"],
      ["a**", "bad repetition operator"],
    ] as const) {
      const error = await history.searchLogs({ grep }).catch((thrown) => thrown);
      expect(error).toBeInstanceOf(InvalidInputError);
      expect(error.message).toContain(`"${grep}" is not a regular expression: ${reason}`);
    }
    const error = await history.searchLogs({ after: 12 }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(InvalidInputError);
    await history.close();
  });
});

describe("paging", () => {
  async function pages(history: HistoryDatabase, filter: SearchLogs): Promise<string[][]> {
    const found: string[][] = [];
    let after: number | undefined;
    do {
      const page = await history.searchLogs(after === undefined ? filter : { ...filter, after });
      found.push(payloads(page));
      after = page.next ?? undefined;
    } while (after !== undefined);
    return found;
  }

  test("gives every line once, in order, over pages bounded in lines", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    // Many lines share each instant, so that pages end among them.
    const lines = Array.from({ length: 25_000 }, (_, i) =>
      line({ timestamp_ms: 1000 + Math.floor(i / 3000), payload: `${i}` }),
    );
    await history.write(logs("s", 1, lines));
    const expected = lines.map((_, i) => `${i}`);
    const all = await pages(history, {});
    expect(all.length).toBeGreaterThan(2);
    expect(all.flat()).toEqual(expected);
    expect((await pages(history, { limit: 12_345 })).flat()).toEqual(expected.slice(-12_345));
    expect((await pages(history, { since_ms: 1002 })).flat()).toEqual(expected.slice(6000));
    await history.close();
  });

  test("bounds a page in characters", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const lines = Array.from({ length: 100 }, (_, i) => line({ payload: `${i} ${"x".repeat(60_000)}` }));
    await history.write(logs("s", 1, lines));
    const all = await pages(history, {});
    expect(all.length).toBeGreaterThan(2);
    expect(all.flat().map((payload) => payload.split(" ")[0])).toEqual(lines.map((_, i) => `${i}`));
    await history.close();
  });

  test("`limit` after a position bounds what follows", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    await history.write(
      logs(
        "s",
        1,
        ["a", "b", "c"].map((payload) => line({ payload })),
      ),
    );
    const page = await history.searchLogs({ after: 0, limit: 1 });
    expect(payloads(page)).toEqual(["b"]);
    expect(page.next).toBe(1);
    await history.close();
  });

  test("keeps the order within a task run when the clock was set back", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const jump = [5000, 5001, 1000, 1001, 6000];
    await history.write({
      ...logs(
        "s",
        1,
        jump.map((timestamp_ms, i) =>
          line({ timestamp_ms, payload: `jump ${i}`, task_instance_id: "jumper" }),
        ),
      ),
      disordered: ["jumper"],
    });
    await history.write(
      logs("t", 1, [
        line({ timestamp_ms: 2000, payload: "early" }),
        line({ timestamp_ms: 5500, payload: "late" }),
      ]),
    );
    const expected = ["early", "jump 0", "jump 1", "jump 2", "jump 3", "late", "jump 4"];
    expect(await search(history, {})).toEqual(expected);
    expect(await search(history, { limit: 3 })).toEqual(expected.slice(-3));
    const paged: string[] = [];
    for (let after: number | null = null; ; ) {
      const page: Omit<LogPage, "warning"> = await history.searchLogs(
        after === null ? { until_ms: 9000 } : { after, limit: 1 },
      );
      if (after === null) {
        const first = page.rows[0]?.[7];
        paged.push(first ?? "");
        after = 5; // "early" is the sixth line that was inserted.
        continue;
      }
      paged.push(...payloads(page));
      if (page.next === null) break;
      after = page.next;
    }
    expect(paged).toEqual(expected);
    await history.close();
    // It is remembered.
    const again = await openHistory(directory);
    expect(await search(again, {})).toEqual(expected);
    await again.close();
  });
});

describe("lines as text", () => {
  const everything = {
    endMs: null,
    startMs: null,
    workflowId: null,
    workflowInstanceId: null,
    verbose: false,
  };

  test("have time, level and text; verbose ones names too", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    await history.write(
      logs("s", 1, [
        line({ timestamp_ms: Date.UTC(2026, 0, 1) + 123, payload: "first" }),
        line({
          timestamp_ms: Date.UTC(2026, 0, 2),
          payload: "second",
          level: "ERROR",
          workflow_id: "other",
          workflow_instance_id: "run-2",
        }),
      ]),
    );
    expect(await history.queryLogLines(everything)).toEqual([
      "2026-01-01T00:00:00.123Z [INFO] first",
      "2026-01-02T00:00:00.000Z [ERROR] second",
    ]);
    expect(await history.queryLogLines({ ...everything, verbose: true, workflowId: "etl.daily" })).toEqual([
      "2026-01-01T00:00:00.123Z [INFO] Daily/run-1/Extract/task-1: first",
    ]);
    expect(await history.queryLogLines({ ...everything, startMs: Date.UTC(2026, 0, 2) })).toHaveLength(1);
    expect(await history.queryLogLines({ ...everything, endMs: Date.UTC(2026, 0, 2) - 1 })).toHaveLength(1);
    expect(await history.queryLogLines({ ...everything, workflowInstanceId: "run-2" })).toHaveLength(1);
    await history.close();
  });

  test("are the newest, and say so, when they are too many for a reply", async () => {
    using directory = new TestDirectory();
    const history = await openHistory(directory);
    const lines = Array.from({ length: 200 }, (_, i) =>
      line({ timestamp_ms: 1000 + i, payload: `${i} ${"x".repeat(60_000)}` }),
    );
    await history.write(logs("s", 1, lines));
    const found = await history.queryLogLines(everything);
    expect(found.length).toBeLessThan(200);
    expect(found[0]).toContain(`[WARN] cdktr: ${200 - (found.length - 1)} older lines are omitted`);
    expect(found.at(-1)).toContain("[INFO] 199 x");
    await history.close();
  });
});
