/** The alert files of the manual, each over a history in which it must find something, and one in which it must not. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { RunStatusRow } from "../../../src/contract/history-rows.ts";
import { ALERT_EXAMPLES } from "../../../src/docs/alert-examples.ts";
import type { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { parseAlert } from "../../../src/workflow/alert-file.ts";
import { alertRows } from "../../../src/workflow/alert-rows.ts";
import { renderDiagnostics } from "../../../src/workflow/diagnostic.ts";
import { line, logs, openHistory, runRow, TestDirectory } from "../database-support.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MINUTE = 60_000;

interface Event extends Partial<RunStatusRow> {
  readonly ago_ms: number;
}

/** Rows of runs, and lines, that happened so long ago. */
async function put(
  history: HistoryDatabase,
  runs: readonly Event[],
  lines: readonly { readonly ago_ms: number; readonly workflow_id: string; readonly payload: string }[],
): Promise<void> {
  const now = Date.now();
  const statuses = runs.map(({ ago_ms, ...row }, n) => ({
    id: n + 1,
    table: "workflow_run_status" as const,
    row: runRow({ ...row, timestamp_ms: now - ago_ms, created_at_ms: now - ago_ms }),
  }));
  const written = lines.map(({ ago_ms, ...fields }) => line({ ...fields, timestamp_ms: now - ago_ms }));
  await history.write({ ...logs("stream", 1, written), statuses, state_id: "state" });
}

/** A run that started so long ago, and ended after that time; null if it has not. */
function run(
  workflow_id: string,
  started: number,
  took: number | null,
  status: "COMPLETED" | "CRASHED" = "COMPLETED",
): Event[] {
  const id = {
    workflow_id,
    workflow_instance_id: `${workflow_id}-${started}`,
    agent_id: `agent-${workflow_id}`,
  };
  const start: Event = { ...id, ago_ms: started, status: "RUNNING" };
  if (took === null) return [start];
  return [start, { ...id, ago_ms: started - took, status, duration_ms: took }];
}

const daily = (workflow: string, from: number, took = 2 * MINUTE) =>
  [1, 2, 3, 4, 5, 6].flatMap((day) => run(workflow, from + day * DAY, took));

/** What each file finds in the history of this test: the keys of its rows. */
const FOUND: Readonly<Record<string, readonly string[]>> = {
  "alerts/slow-runs": [`ended-${12 * MINUTE}`, `slow-${7 * MINUTE}`],
  "alerts/log-errors": ["disk Extract"],
  "alerts/no-success": ["silent"],
  "alerts/growing-output": ["chatty"],
  "alerts/agent-flapping": ["agent-flap"],
};

describe("the alert files of the manual", () => {
  const directory = new TestDirectory();
  let history: HistoryDatabase;
  let quiet: HistoryDatabase;

  beforeAll(async () => {
    history = await openHistory(directory);
    quiet = await openHistory(directory, directory.at("quiet.db"));
    const text = "x".repeat(1000);
    const chatter = (workflow_id: string, ago_ms: number, count: number) =>
      Array.from({ length: count }, () => ({ workflow_id, ago_ms, payload: text }));
    const usual = [
      ...daily("slow", 0),
      ...run("slow", 90 * MINUTE, 2 * MINUTE),
      ...daily("ended", 0),
      ...daily("healthy", 0),
      ...run("healthy", HOUR, 3 * MINUTE),
      // Too few runs to know what is usual.
      ...run("young", 2 * DAY, MINUTE),
      ...run("flap", 50 * MINUTE, MINUTE, "CRASHED"),
      ...run("once", 50 * MINUTE, MINUTE, "CRASHED"),
    ];
    const lines = [
      { workflow_id: "disk", ago_ms: 20 * MINUTE, payload: "No space left on device" },
      { workflow_id: "fine", ago_ms: MINUTE, payload: "there is space left on this device" },
      ...chatter("chatty", 3 * DAY, 2000),
      ...chatter("steady", 3 * DAY, 14_000),
    ];
    await put(quiet, usual, lines);
    await put(
      history,
      [
        ...usual,
        ...run("slow", 7 * MINUTE, null),
        ...run("ended", 12 * MINUTE, 8 * MINUTE),
        ...run("young", 60 * MINUTE, null),
        ...daily("silent", 4 * HOUR),
        ...run("flap", 40 * MINUTE, MINUTE, "CRASHED"),
        ...run("flap", 30 * MINUTE, MINUTE, "CRASHED"),
        ...run("once", 3 * HOUR, MINUTE, "CRASHED"),
      ],
      [
        ...lines,
        { workflow_id: "disk", ago_ms: MINUTE, payload: "write: No space left on device" },
        ...chatter("chatty", HOUR, 2000),
        ...chatter("steady", HOUR, 3000),
      ],
    );
  });

  afterAll(async () => {
    await Promise.all([history.close(), quiet.close()]);
    directory[Symbol.dispose]();
  });

  test("are all here", () => {
    expect(ALERT_EXAMPLES.map(({ name }) => name).sort()).toEqual(Object.keys(FOUND).sort());
  });

  for (const { name, text } of ALERT_EXAMPLES) {
    test(`${name} finds what it is for, and nothing else`, async () => {
      const result = parseAlert(text, `${name}.yml`);
      if (!result.ok) throw new Error(renderDiagnostics(result.diagnostics));
      const { alert } = result;
      const keysIn = async (database: HistoryDatabase) => {
        const found = await database.evaluate({ sql: alert.query, max_rows: 1000 }, alert.timeout_ms);
        const { rows } = alertRows(alert, found);
        for (const { summary } of rows) expect(summary).not.toContain("${{");
        return rows.map(({ key }) => key).sort();
      };
      expect(await keysIn(history)).toEqual([...(FOUND[name] ?? [])]);
      expect(await keysIn(quiet)).toEqual([]);
    });
  }
});
