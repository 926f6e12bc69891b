import { describe, expect, test } from "bun:test";
import type { HistoricFiring } from "../../../src/contract/history.ts";
import {
  boundsOf,
  type PlannedEntry,
  planBackfill,
  presentRun,
  type Reprocess,
  runsOfFiring,
  timeLeft,
} from "../../../src/principal/backfills/plan.ts";
import { calendarOf } from "../../../src/workflow/calendar.ts";
import { type Entry, entryKey } from "../../../src/workflow/schedules.ts";
import type { RunStatus } from "../../../src/workflow/status.ts";

const LONDON = "Europe/London";

function planned(
  cron: string,
  from: string,
  to: string,
  { zone = LONDON, ...more }: Partial<Entry> & { readonly zone?: string } = {},
): PlannedEntry {
  const entry: Entry = { cron, timezone: zone, start_time_ms: null, catchup: "latest", ...more };
  return { key: entryKey(entry), entry, zone, calendar: null, ...boundsOf(from, to, zone) };
}

const instants = (entries: readonly PlannedEntry[], reverse = false) =>
  [...planBackfill(entries, reverse)].map(({ atMs }) =>
    new Date(atMs).toISOString().replace(":00.000Z", "Z"),
  );

describe("bounds", () => {
  test.each([
    // A date is the whole day, whichever way the clock goes.
    ["2025-03-30", "2025-03-30", LONDON, "2025-03-30T00:00:00.000Z", "2025-03-30T22:59:59.999Z"],
    ["2025-10-26", "2025-10-26", LONDON, "2025-10-25T23:00:00.000Z", "2025-10-26T23:59:59.999Z"],
    ["2025-01-01", "2025-01-31", "Asia/Tokyo", "2024-12-31T15:00:00.000Z", "2025-01-31T14:59:59.999Z"],
    // Midnight does not exist: the day begins when the clock has jumped.
    ["2018-11-04", "2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00:00.000Z", "2018-11-05T01:59:59.999Z"],
    // A day that does not exist at all.
    ["2011-12-30", "2011-12-30", "Pacific/Apia", "2011-12-30T10:00:00.000Z", "2011-12-30T09:59:59.999Z"],
    [
      "2025-01-01T02:00:00Z",
      "2025-01-02T02:00:00+01:00",
      LONDON,
      "2025-01-01T02:00:00.000Z",
      "2025-01-02T01:00:00.000Z",
    ],
  ])("%s to %s in %s", (from, to, zone, first, last) => {
    const { fromMs, toMs } = boundsOf(from, to, zone);
    expect([new Date(fromMs).toISOString(), new Date(toMs).toISOString()]).toEqual([first, last]);
  });
});

describe("the firings of a plan", () => {
  test.each<[what: string, entries: PlannedEntry[], firings: string[]]>([
    [
      "both ends are included",
      [planned("0 2 * * *", "2025-01-01T02:00:00Z", "2025-01-03T02:00:00Z")],
      ["2025-01-01T02:00Z", "2025-01-02T02:00Z", "2025-01-03T02:00Z"],
    ],
    [
      "in a zone",
      [planned("0 2 * * *", "2025-06-01", "2025-06-02")],
      ["2025-06-01T01:00Z", "2025-06-02T01:00Z"],
    ],
    [
      "a time that the clock skips fires after the jump",
      [planned("30 1 * * *", "2025-03-29", "2025-03-31")],
      ["2025-03-29T01:30Z", "2025-03-30T01:00Z", "2025-03-31T00:30Z"],
    ],
    [
      "a time that comes twice fires once",
      [planned("30 1 * * *", "2025-10-25", "2025-10-27")],
      ["2025-10-25T00:30Z", "2025-10-26T00:30Z", "2025-10-27T01:30Z"],
    ],
    [
      "a range follows the clock, forwards",
      [planned("0 0-3 * * *", "2025-03-30", "2025-03-30")],
      ["2025-03-30T00:00Z", "2025-03-30T01:00Z", "2025-03-30T02:00Z"],
    ],
    [
      "a range follows the clock, back",
      [planned("0 0-3 * * *", "2025-10-26", "2025-10-26")],
      [
        "2025-10-25T23:00Z",
        "2025-10-26T00:00Z",
        "2025-10-26T01:00Z",
        "2025-10-26T02:00Z",
        "2025-10-26T03:00Z",
      ],
    ],
    [
      "from its start_time on",
      [
        planned("0 2 * * *", "2025-01-01", "2025-01-04", {
          start_time_ms: Date.parse("2025-01-03T02:00:00Z"),
        }),
      ],
      ["2025-01-03T02:00Z", "2025-01-04T02:00Z"],
    ],
    [
      "before its end_time",
      [planned("0 2 * * *", "2025-01-01", "2025-01-04", { end_time_ms: Date.parse("2025-01-03T02:00:00Z") })],
      ["2025-01-01T02:00Z", "2025-01-02T02:00Z"],
    ],
    [
      "jitter has no part in it",
      [planned("0 2 * * *", "2025-01-01", "2025-01-01", { jitter_ms: 3_600_000 })],
      ["2025-01-01T02:00Z"],
    ],
    [
      "entries are merged",
      [planned("0 2 * * *", "2025-01-01", "2025-01-02"), planned("0 1 * * *", "2025-01-01", "2025-01-02")],
      ["2025-01-01T01:00Z", "2025-01-01T02:00Z", "2025-01-02T01:00Z", "2025-01-02T02:00Z"],
    ],
    [
      "entries with the same parameters make one firing of a time",
      [planned("0 2 * * *", "2025-01-01", "2025-01-02"), planned("0 2 1 * *", "2025-01-01", "2025-01-02")],
      ["2025-01-01T02:00Z", "2025-01-02T02:00Z"],
    ],
    [
      "entries with other parameters make two",
      [
        planned("0 2 * * *", "2025-01-01", "2025-01-02"),
        planned("0 2 1 * *", "2025-01-01", "2025-01-02", { params: { full: "true" } }),
      ],
      ["2025-01-01T02:00Z", "2025-01-01T02:00Z", "2025-01-02T02:00Z"],
    ],
    [
      "a date is a day of each zone",
      [
        planned("0 2 * * *", "2025-01-01", "2025-01-01"),
        planned("0 2 * * *", "2025-01-01", "2025-01-01", { zone: "Asia/Tokyo" }),
      ],
      ["2024-12-31T17:00Z", "2025-01-01T02:00Z"],
    ],
    ["nothing", [planned("0 2 29 2 *", "2025-01-01", "2025-12-31")], []],
    ["an end before the beginning", [planned("0 2 * * *", "2025-01-02", "2025-01-01")], []],
  ])("%s", (_, entries, firings) => {
    expect(instants(entries)).toEqual(firings);
    expect(instants(entries, true)).toEqual(firings.toReversed());
  });

  test("only days of its calendar", () => {
    const calendar = calendarOf({ include: ["MON-FRI"], exclude: ["2025-01-01"] });
    const entry = planned("0 2 * * *", "2024-12-31", "2025-01-06");
    const on = { ...entry, entry: { ...entry.entry, calendar: "workdays" }, calendar };
    const firings = ["2024-12-31T02:00Z", "2025-01-02T02:00Z", "2025-01-03T02:00Z", "2025-01-06T02:00Z"];
    expect(instants([on])).toEqual(firings);
    expect(instants([on], true)).toEqual(firings.toReversed());
    expect(instants([{ ...on, calendar: null }])).toEqual([]);
  });

  test("it goes on behind any of them, in both directions", () => {
    const plan = [
      planned("*/20 * * * *", "2025-10-25T22:00:00Z", "2025-10-26T03:00:00Z"),
      planned("0 * * * *", "2025-10-25T23:00:00Z", "2025-10-26T02:00:00Z", { params: { full: "true" } }),
      planned("0 0 * * *", "2025-10-25T22:00:00Z", "2025-10-26T03:00:00Z"),
    ];
    for (const reverse of [false, true]) {
      const all = [...planBackfill(plan, reverse)];
      expect(all.length).toBe(20);
      for (const [index, { atMs, planned: of }] of all.entries()) {
        const rest = [...planBackfill(plan, reverse, { at_ms: atMs, entry: of.key })];
        expect(rest).toEqual(all.slice(index + 1));
      }
    }
  });

  test("there is none behind a time that no clock will ever show", () => {
    const days = planned("0 2 * * *", "2025-01-01", "2025-01-03");
    for (const at_ms of [Number.MAX_SAFE_INTEGER, days.toMs, days.toMs + 1])
      expect([...planBackfill([days], false, { at_ms, entry: "none" })]).toEqual([]);
    for (const at_ms of [Number.MIN_SAFE_INTEGER, days.fromMs - 1])
      expect([...planBackfill([days], true, { at_ms, entry: "none" })]).toEqual([]);
  });

  test("dense and sparse schedules are the same in both directions", () => {
    for (const cron of ["* * * * * *", "*/7 * * * *", "0 0 1 * *", "* * 0 1 * *", "* 5 0 1 1 *"]) {
      const to = cron === "* * * * * *" ? "2025-01-01T01:00:00Z" : "2025-02-03T00:00:00Z";
      const plan = [planned(cron, "2024-12-31T23:00:00Z", to, { zone: "UTC" })];
      const forwards = [...planBackfill(plan, false)].map(({ atMs }) => atMs);
      expect([...planBackfill(plan, true)].map(({ atMs }) => atMs)).toEqual(forwards.toReversed());
      expect(new Set(forwards).size).toBe(forwards.length);
    }
  });
});

describe("the runs of a firing", () => {
  const at = Date.parse("2025-01-01T02:00:00Z");
  const plain = planned("0 2 * * *", "2025-01-01", "2025-01-01");
  const full = planned("0 2 1 * *", "2025-01-01", "2025-01-01", { params: { full: "true" } });
  const run = (id: string, over: Partial<HistoricFiring> = {}): HistoricFiring => ({
    workflow_instance_id: id,
    status: "COMPLETED",
    trigger: "cron",
    scheduled_time_ms: at,
    created_at_ms: 1,
    retry_of: null,
    schedule: null,
    params: {},
    ...over,
  });
  const of = (entry: PlannedEntry, runs: readonly HistoricFiring[]) =>
    runsOfFiring({ atMs: at, planned: entry }, runs, [plain, full]).map((each) => each.workflow_instance_id);

  test.each<[what: string, runs: HistoricFiring[], plain: string[], full: string[]]>([
    ["of the schedule and of backfills", [run("a"), run("b", { trigger: "backfill" })], ["a", "b"], []],
    ["none of another time", [run("a", { scheduled_time_ms: at + 1 })], [], []],
    [
      "none that somebody has triggered",
      [run("a", { trigger: "cli" }), run("b", { trigger: "api" })],
      [],
      [],
    ],
    [
      "retries, of whatever depth",
      [
        run("a"),
        run("b", { trigger: "retry", retry_of: "a" }),
        run("c", { trigger: "retry", retry_of: "b" }),
      ],
      ["a", "b", "c"],
      [],
    ],
    [
      "a retry of which nobody knows the beginning",
      [run("c", { trigger: "retry", retry_of: "b" })],
      ["c"],
      [],
    ],
    [
      "none that retries what somebody has triggered",
      [run("a", { trigger: "cli" }), run("b", { trigger: "retry", retry_of: "a" })],
      [],
      [],
    ],
    [
      "each its own, if the entry is known",
      [run("a", { schedule: plain.key }), run("b", { schedule: full.key })],
      ["a"],
      ["b"],
    ],
    ["by parameters, if it is not", [run("a", { schedule: "gone", params: { full: "true" } })], ["a"], ["a"]],
    [
      "by parameters: not with others",
      [run("a", { schedule: "gone", params: { full: "false" } })],
      ["a"],
      [],
    ],
    ["the oldest first", [run("b", { created_at_ms: 2 }), run("a")], ["a", "b"], []],
  ])("%s", (_, runs, ofPlain, ofFull) => {
    expect([of(plain, runs), of(full, runs)]).toEqual([ofPlain, ofFull]);
  });
});

describe("what a firing makes", () => {
  const verdict = (reprocess: Reprocess, ...statuses: RunStatus[]) => {
    const runs = statuses.map(
      (status, index) => ({ status, workflow_instance_id: String(index) }) as HistoricFiring,
    );
    return presentRun(reprocess, runs)?.workflow_instance_id ?? "runs";
  };

  test.each<[statuses: RunStatus[], none: string, failed: string, all: string]>([
    [[], "runs", "runs", "runs"],
    [["COMPLETED"], "0", "0", "runs"],
    [["FAILED"], "0", "runs", "runs"],
    [["CRASHED"], "0", "runs", "runs"],
    [["CANCELLED"], "0", "runs", "runs"],
    [["SKIPPED"], "runs", "runs", "runs"],
    [["FAILED", "SKIPPED"], "0", "runs", "runs"],
    [["COMPLETED", "SKIPPED"], "0", "0", "runs"],
    [["FAILED", "COMPLETED"], "1", "1", "runs"],
    [["COMPLETED", "FAILED"], "1", "runs", "runs"],
    // One that is not over is never joined by another.
    [["PENDING"], "0", "0", "0"],
    [["RUNNING"], "0", "0", "0"],
    [["WAITING"], "0", "0", "0"],
    [["RUNNING", "FAILED"], "0", "0", "0"],
    [["FAILED", "PENDING"], "1", "1", "1"],
  ])("after %p", (statuses, none, failed, all) => {
    expect([
      verdict("none", ...statuses),
      verdict("failed", ...statuses),
      verdict("all", ...statuses),
    ]).toEqual([none, failed, all]);
  });
});

describe("the time that is left", () => {
  test.each([
    [0, 10, 3, 0],
    [0, null, 3, 0],
    [1, null, 3, null],
    [1, 10, 3, 10],
    [3, 10, 3, 10],
    [4, 10, 3, 20],
    [4, 10, 0, 40],
  ])("%p firings of %p ms each, %p at once: %p ms", (open, medianMs, atOnce, left) => {
    expect(timeLeft(open, { medianMs, atOnce, endsMs: [1, 2, 3, 4, 5] })).toBe(left);
  });

  test("follows the ends of its runs, once there are some", () => {
    const pace = { medianMs: 10, atOnce: 3, endsMs: [600, 100, 200, 500, 300, 400] };
    expect(timeLeft(7, pace)).toBe(700);
    expect(timeLeft(0, pace)).toBe(0);
  });
});
