/** Forecasts: small worlds as texts, and what is said of them (scenario.ts has the words). */
import { describe, expect, test } from "bun:test";
import { forecast, inputOf, said } from "./scenario.ts";

const DAY = "now 2026-01-05T00:00Z next 24h";
/** A scenario: its name, the world, and the lines of the forecast. */
type Scenario = readonly [name: string, world: string, lines: string];

const scenarios: Readonly<Record<string, readonly Scenario[]>> = {
  firings: [
    ["a firing runs as long as its last runs", `workflow etl "0 2 * * *" 30m`, "02:00 etl 02:00-02:30"],
    ["no firing at the beginning, none at the end", `workflow etl "0 0 * * *" 30m`, ""],
    [
      "two workflows in the order of time, then of ids",
      `workflow b "0 2 * * *" 10m
       workflow a "0 2 * * *" 10m
       workflow c "0 1 * * *" 10m`,
      `01:00 c 01:00-01:10
       02:00 a 02:00-02:10
       02:00 b 02:00-02:10`,
    ],
    [
      "two schedules of one workflow",
      `workflow etl "0 2 * * *" 10m and=30_14_*_*_*`,
      `02:00 etl 02:00-02:10
       14:30 etl 14:30-14:40`,
    ],
    [
      "nothing is known of a run that never completed: it counts as 0",
      `workflow etl "0 2 * * *" ?`,
      "02:00 etl 02:00-02:00",
    ],
    [
      "a start that comes later",
      `workflow etl "0 */8 * * *" 1m start=2026-01-05T12:00Z`,
      "16:00 etl 16:00-16:01",
    ],
    [
      "an end, which is exclusive",
      `workflow etl "0 */8 * * *" 1m end=2026-01-05T16:00Z`,
      "08:00 etl 08:00-08:01",
    ],
    [
      "a calendar",
      `now 2026-01-09T12:00Z next 72h
       calendar workdays MON-FRI
       workflow etl "0 2 * * *" 1m calendar=workdays`,
      "02:00 etl 02:00-02:01",
    ],
    ["a calendar that does not exist: no firing", `workflow etl "0 2 * * *" 1m calendar=workdays`, ""],
    [
      "jitter delays the run, not the time in the schedule",
      `workflow etl "0 2 * * *" 10m jitter=90000`,
      "02:00 etl 02:01-02:11 1m30s later by jitter",
    ],
    [
      "a firing whose jitter has not passed yet is to come",
      `now 2026-01-05T02:01Z next 1h
       workflow etl "0 2 * * *" 10m jitter=90000`,
      "02:00 etl 02:01-02:11 1m30s later by jitter",
    ],
    [
      "only some workflows are told, all are simulated",
      `only b
       agent a 1
       workflow a "0 2 * * *" 30m
       workflow b "0 2 * * *" 30m`,
      "02:00 b 02:30-03:00 waits about 30m: agents are full",
    ],
  ],
  overlaps: [
    [
      "a run that takes longer than its period overlaps with the next",
      `workflow etl "0 */8 * * *" 9h`,
      `08:00 etl 08:00-17:00
       16:00 etl 16:00-01:00 overlaps with its run of 08:00 (until 17:00)`,
    ],
    [
      "one that ends when the next begins does not",
      `workflow etl "0 */8 * * *" 8h`,
      `08:00 etl 08:00-16:00
       16:00 etl 16:00-00:00`,
    ],
    [
      "with a run that goes on now",
      `workflow etl "0 2 * * *" 1h
       run r1 etl running 2026-01-04T22:00Z ends=2026-01-05T03:00Z`,
      "02:00 etl 02:00-03:00 overlaps with its run of 22:00 (until 03:00)",
    ],
    [
      "several",
      `now 2026-01-05T00:00Z next 4h
       workflow etl "0 * * * *" 150m`,
      `01:00 etl 01:00-03:30
       02:00 etl 02:00-04:30 overlaps with its run of 01:00 (until 03:30)
       03:00 etl 03:00-05:30 overlaps with its run of 01:00 (until 03:30) and 1 more`,
    ],
    [
      "runs of other workflows are no overlap",
      `workflow a "0 2 * * *" 1h
       workflow b "30 2 * * *" 1h`,
      `02:00 a 02:00-03:00
       02:30 b 02:30-03:30`,
    ],
  ],
  groups: [
    [
      "queue: the next waits for the one before it",
      `workflow etl "0 */8 * * *" 9h max=1`,
      `08:00 etl 08:00-17:00
       16:00 etl 17:00-02:00 waits about 1h for the run before it`,
    ],
    [
      "queue, and catchup: what still waits when the next is due is dropped",
      `now 2026-01-05T00:00Z next 4h
       workflow etl "0 * * * *" 150m max=1`,
      `01:00 etl 01:00-03:30
       02:00 etl - SKIPPED: it still waits when the next one is due: workflow etl runs already
       03:00 etl 03:30-06:00 waits about 30m for the run before it`,
    ],
    [
      "queue, and catchup: all: everything waits",
      `now 2026-01-05T00:00Z next 4h
       workflow etl "0 * * * *" 150m max=1 catchup=all`,
      `01:00 etl 01:00-03:30
       02:00 etl 03:30-06:00 waits about 1h30m for the run before it
       03:00 etl 06:00-08:30 waits about 3h for the run before it`,
    ],
    [
      "skip",
      `workflow etl "0 */6 * * *" 7h max=1 conflict=skip`,
      `06:00 etl 06:00-13:00
       12:00 etl - SKIPPED (on_conflict: skip)
       18:00 etl 18:00-01:00`,
    ],
    [
      "queue_latest: the newest waits instead of the one before it",
      `now 2026-01-05T00:00Z next 4h
       workflow etl "0 * * * *" 150m max=1 conflict=queue_latest catchup=all`,
      `01:00 etl 01:00-03:30
       02:00 etl - SKIPPED (on_conflict: queue_latest)
       03:00 etl 03:30-06:00 waits about 30m for the run before it`,
    ],
    [
      "cancel_running",
      `workflow etl "0 */8 * * *" 9h max=1 conflict=cancel_running`,
      `08:00 etl 08:00-16:00 is cancelled at 16:00 (on_conflict: cancel_running)
       16:00 etl 16:00-01:00 cancels the run before it (on_conflict: cancel_running)`,
    ],
    [
      "a group that workflows share",
      `workflow a "0 2 * * *" 30m group=eu max=1
       workflow b "10 2 * * *" 30m group=eu max=1`,
      `02:00 a 02:00-02:30
       02:10 b 02:30-03:00 waits about 20m for group "eu"`,
    ],
    [
      "two at once, of three",
      `workflow a "0 2 * * *" 30m group=eu max=2
       workflow b "0 2 * * *" 40m group=eu max=2
       workflow c "0 2 * * *" 30m group=eu max=2`,
      `02:00 a 02:00-02:30
       02:00 b 02:00-02:40
       02:00 c 02:30-03:00 waits about 30m for group "eu"`,
    ],
    [
      "the first that waits keeps the others from passing it",
      `workflow a "0 2 * * *" 30m group=eu max=2
       workflow b "1 2 * * *" 30m group=eu max=1
       workflow c "2 2 * * *" 30m group=eu max=2`,
      `02:00 a 02:00-02:30
       02:01 b 02:30-03:00 waits about 29m for group "eu"
       02:02 c 02:30-03:00 waits about 28m for group "eu"`,
    ],
    [
      "priority in a group",
      `workflow a "0 2 * * *" 30m group=eu max=1
       workflow b "1 2 * * *" 30m group=eu max=1
       workflow c "2 2 * * *" 30m group=eu max=1 priority=9`,
      `02:00 a 02:00-02:30
       02:01 b 03:00-03:30 waits about 59m for group "eu"
       02:02 c 02:30-03:00 waits about 28m for group "eu"`,
    ],
    [
      "a run that is there has its place",
      `workflow etl "0 2 * * *" 1h max=1
       run r1 etl running 2026-01-04T22:00Z ends=2026-01-05T03:00Z max=1`,
      "02:00 etl 03:00-04:00 waits about 1h for the run before it",
    ],
    [
      "one that waits for a place now comes first",
      `workflow etl "0 2 * * *" 1h max=1
       run r1 etl running 2026-01-04T22:00Z ends=2026-01-05T01:30Z max=1
       run r2 etl group 2026-01-04T23:00Z takes=1h max=1`,
      "02:00 etl 02:30-03:30 waits about 30m for the run before it",
    ],
    [
      "a group without a value",
      `workflow etl "0 2 * * *" 1h group=! max=1`,
      "02:00 etl - is refused: concurrency.group has no value",
    ],
  ],
  agents: [
    [
      "the only place is taken",
      `agent a 1
       workflow a "0 2 * * *" 30m
       workflow b "10 2 * * *" 30m`,
      `02:00 a 02:00-02:30
       02:10 b 02:30-03:00 waits about 20m: agents are full`,
    ],
    [
      "a lease that is held now takes a place",
      `agent a 1
       workflow a "0 2 * * *" 30m
       run r1 other running 2026-01-04T22:00Z ends=2026-01-05T03:00Z agent=a`,
      "02:00 a 03:00-03:30 waits about 1h: agents are full",
    ],
    [
      "one that is queued now goes first",
      `agent a 1
       workflow a "30 0 * * *" 30m
       run r1 other running 2026-01-04T22:00Z ends=2026-01-05T01:00Z agent=a
       run r2 other queued 2026-01-04T23:00Z takes=1h`,
      "00:30 a 02:00-02:30 waits about 1h30m: agents are full",
    ],
    [
      "labels: only one of the agents",
      `agent a 5
       agent b 1 gpu=true
       workflow a "0 2 * * *" 30m needs=gpu=true
       workflow b "0 2 * * *" 30m needs=gpu=true
       workflow c "0 2 * * *" 30m`,
      `02:00 a 02:00-02:30
       02:00 b 02:30-03:00 waits about 30m: agents are full
       02:00 c 02:00-02:30`,
    ],
    [
      "no agent has the label",
      `agent a 5
       workflow a "0 2 * * *" 30m needs=gpu=true
       workflow b "0 2 * * *" 30m`,
      `02:00 a - does not start: no agent that is up has gpu=true
       02:00 b 02:00-02:30`,
    ],
    [
      "priority goes first",
      `agent a 1
       workflow a "0 2 * * *" 30m
       workflow b "10 2 * * *" 30m
       workflow c "11 2 * * *" 30m priority=9`,
      `02:00 a 02:00-02:30
       02:10 b 03:00-03:30 waits about 50m: agents are full
       02:11 c 02:30-03:00 waits about 19m: agents are full`,
    ],
    [
      "but not before what has waited long enough",
      `agent a 1
       workflow a "0 2 * * *" 2h
       workflow b "10 2 * * *" 30m priority=4
       workflow c "25 2 * * *" 30m priority=5`,
      `02:00 a 02:00-04:00
       02:10 b 04:00-04:30 waits about 1h50m: agents are full
       02:25 c 04:30-05:00 waits about 2h5m: agents are full`,
    ],
    [
      "a firing that no agent takes is dropped by the next",
      `agent a 1
       workflow a "0 1 * * *" 5h
       workflow b "0 */2 * * *" 10m
       only b
       now 2026-01-05T00:00Z next 7h`,
      `02:00 b - SKIPPED: it still waits when the next one is due: agents are full
       04:00 b - SKIPPED: it still waits when the next one is due: agents are full
       06:00 b 06:00-06:10`,
    ],
  ],
  pools: [
    [
      "slots are taken",
      `pool warehouse 1
       workflow a "0 2 * * *" 30m pool=warehouse:1
       workflow b "10 2 * * *" 30m pool=warehouse:1`,
      `02:00 a 02:00-02:30
       02:10 b 02:30-03:00 waits about 20m for pool warehouse`,
    ],
    [
      "a heavy one is not passed over by light ones",
      `pool warehouse 4
       workflow a "0 2 * * *" 30m pool=warehouse:3
       workflow b "10 2 * * *" 30m pool=warehouse:4
       workflow c "11 2 * * *" 30m pool=warehouse:1`,
      `02:00 a 02:00-02:30
       02:10 b 02:30-03:00 waits about 20m for pool warehouse
       02:11 c 03:00-03:30 waits about 49m for pool warehouse`,
    ],
    [
      "those without a pool go on",
      `pool warehouse 1
       workflow a "0 2 * * *" 30m pool=warehouse:1
       workflow b "10 2 * * *" 30m pool=warehouse:1
       workflow c "11 2 * * *" 30m`,
      `02:00 a 02:00-02:30
       02:10 b 02:30-03:00 waits about 20m for pool warehouse
       02:11 c 02:11-02:41`,
    ],
    [
      "slots that a run holds now",
      `pool warehouse 2
       workflow a "0 2 * * *" 30m pool=warehouse:2
       run r1 other running 2026-01-04T22:00Z ends=2026-01-05T03:00Z agent=a pool=warehouse:1`,
      "02:00 a 03:00-03:30 waits about 1h for pool warehouse",
    ],
    [
      "a pool that is too small, and one that does not exist",
      `pool warehouse 1
       workflow a "0 2 * * *" 30m pool=warehouse:2
       workflow b "0 2 * * *" 30m pool=warehous:1
       workflow c "0 2 * * *" 30m pool=warehouse:1`,
      `02:00 a - does not start: it needs 2 slots of pool warehouse, which has 1
       02:00 b - does not start: there is no pool warehous
       02:00 c 02:00-02:30`,
    ],
    [
      "tasks take them one by one",
      `pool warehouse 1
       workflow a "0 2 * * *" 40m part=load:10m:warehouse:1 part=check:30m<load
       workflow b "0 2 * * *" 20m part=load:20m:warehouse:1`,
      `02:00 a 02:00-02:40
       02:00 b 02:10-02:30 waits about 10m for pool warehouse`,
    ],
    [
      "tasks side by side, and one that no agent executes",
      `agent a 2
       workflow a "0 2 * * *" 30m part=x:10m part=y:20m part=wait:60m<x<y part=z:5m<wait`,
      "02:00 a 02:00-03:25",
    ],
    [
      "its next task stands behind the runs that have come meanwhile",
      `agent a 1
       workflow a "0 2 * * *" 20m part=x:10m part=y:10m<x
       workflow b "5 2 * * *" 30m`,
      `02:00 a 02:00-02:50 waits about 30m: agents are full
       02:05 b 02:10-02:40 waits about 5m: agents are full`,
    ],
  ],
  pauses: [
    ["paused: no run", `workflow etl "0 2 * * *" 30m paused=-`, "02:00 etl - paused"],
    [
      "until a time: what follows runs",
      `workflow etl "0 */8 * * *" 30m paused=2026-01-05T10:00Z catchup=none`,
      `08:00 etl - paused
       16:00 etl 16:00-16:30`,
    ],
    [
      "and the latest of what was missed is caught up",
      `now 2026-01-05T00:00Z next 11h
       workflow etl "0 */4 * * *" 30m paused=2026-01-05T10:00Z`,
      `04:00 etl - paused
       08:00 etl 10:00-10:30 runs when its workflow is resumed`,
    ],
    [
      "or all of it",
      `now 2026-01-05T00:00Z next 11h
       workflow etl "0 */4 * * *" 30m paused=2026-01-05T10:00Z catchup=all`,
      `04:00 etl 10:00-10:30 runs when its workflow is resumed
       08:00 etl 10:00-10:30 runs when its workflow is resumed; overlaps with its run of 04:00 (until 10:30)`,
    ],
    [
      "a run that waits for the end of the pause has its place then",
      `agent a 1
       workflow a "0 2 * * *" 30m
       workflow etl "0 9 9 9 *" 30m paused=2026-01-05T01:50Z
       run r1 etl paused 2026-01-04T22:00Z takes=1h`,
      "02:00 a 02:50-03:20 waits about 50m: agents are full",
    ],
    [
      "a run in the future",
      `agent a 1
       workflow a "0 2 * * *" 30m
       run r1 etl later 2026-01-04T22:00Z start=2026-01-05T01:50Z takes=1h`,
      "02:00 a 02:50-03:20 waits about 50m: agents are full",
    ],
  ],
  "changes of the clock": [
    [
      "an hour that does not exist",
      `now 2026-03-28T12:00Z next 24h
       workflow etl "30 1 * * *" 10m zone=Europe/London`,
      "01:00 etl 01:00-01:10 this hour does not exist: fires at 01:00",
    ],
    [
      "a fixed time that comes twice fires once",
      `now 2026-10-24T12:00Z next 24h
       workflow etl "30 1 * * *" 10m zone=Europe/London`,
      "00:30 etl 00:30-00:40 this hour comes twice",
    ],
    [
      "what follows the clock fires twice",
      `now 2026-10-25T00:10Z next 3h
       workflow etl "30 * * * *" 10m zone=Europe/London`,
      `00:30 etl 00:30-00:40 this hour comes twice
       01:30 etl 01:30-01:40 this hour comes twice
       02:30 etl 02:30-02:40`,
    ],
    [
      "half an hour, in Lord Howe",
      `now 2026-10-03T12:00Z next 24h
       workflow etl "10 2 * * *" 10m zone=Australia/Lord_Howe`,
      "15:30 etl 15:30-15:40 this hour does not exist: fires at 15:30",
    ],
    [
      "nothing to say next to a change",
      `now 2026-03-29T00:10Z next 3h
       workflow etl "0 * * * *" 10m zone=Europe/London`,
      `01:00 etl 01:00-01:10
       02:00 etl 02:00-02:10
       03:00 etl 03:00-03:10`,
    ],
  ],
};

for (const [subject, rows] of Object.entries(scenarios))
  describe(subject, () => {
    test.each([...rows])("%s", (_, world, lines) => {
      const wanted = lines.split("\n").map((line) => line.trim());
      expect(said(world.includes("now ") ? world : `${DAY}\n${world}`)).toEqual(
        wanted.filter((line) => line !== ""),
      );
    });
  });

describe("the load", () => {
  const world = `${DAY}
    agent a 3
    pool warehouse 2
    workflow a "0 2 * * *" 30m pool=warehouse:1
    workflow b "15 2 * * *" 30m pool=warehouse:1
    run r1 other running 2026-01-04T22:00Z ends=2026-01-05T01:00Z agent=a`;

  test("runs, places and pools by quarters of an hour", () => {
    const { load, peaks } = forecast(inputOf(world));
    expect(load.bucket_ms).toBe(900_000);
    expect(load.room).toBe(3);
    for (const [name, buckets] of [
      ["runs", load.runs],
      ["places", load.places],
    ] as const) {
      expect([name, buckets.length]).toEqual([name, 96]);
      // Until 01:00 the run that goes on; from 02:00 the others.
      expect([name, buckets.slice(0, 12)]).toEqual([name, [1, 1, 1, 1, 0, 0, 0, 0, 1, 2, 1, 0]]);
    }
    expect(load.pools.warehouse?.size).toBe(2);
    expect(load.pools.warehouse?.used.slice(0, 12)).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 1, 0]);
    const at = Date.parse("2026-01-05T02:15Z");
    expect(peaks).toEqual({
      runs: { most: 2, at_ms: at },
      places: { most: 2, at_ms: at },
      pools: { warehouse: { most: 2, at_ms: at } },
    });
  });

  test("of each workflow", () => {
    const { workflows } = forecast(inputOf(world));
    expect(workflows.map(({ workflow_id }) => workflow_id)).toEqual(["a", "b"]);
    expect(workflows[1]).toMatchObject({ firings: 1, expected_ms: 1_800_000, is_paused: false });
    expect(workflows[1]?.starts.slice(8, 12)).toEqual([0, 1, 0, 0]);
    expect(workflows[1]?.running.slice(8, 12)).toEqual([0, 1, 1, 0]);
  });

  test("a run that takes no time is seen", () => {
    const { load } = forecast(inputOf(`${DAY}\nworkflow a "0 2 * * *" ?`));
    expect(load.runs.slice(7, 10)).toEqual([0, 1, 0]);
  });
});

describe("limits", () => {
  test("of what is told", () => {
    const { firings, left_out } = forecast(inputOf(`${DAY}\nlimit 2\nworkflow a "0 * * * *" 1m`));
    expect([firings.length, left_out]).toEqual([2, 21]);
  });

  test("of what is simulated", () => {
    const { firings, truncated_at_ms } = forecast(inputOf(`${DAY}\nmost 5\nworkflow a "0 * * * *" 1m`));
    expect(firings).toHaveLength(5);
    expect(truncated_at_ms).toBe(Date.parse("2026-01-05T06:00Z"));
  });
});

test("a firing that waits for its group does not look at all who wait before it", () => {
  const waiting = Array.from({ length: 200 }, (_, n) => `run r${n} etl group max=1 group=eu`).join("\n");
  const input = inputOf(`now 2026-01-05T00:00Z next 2h
    workflow etl "* * * * *" 1h max=1 group=eu catchup=all
    run first etl running 2026-01-04T22:00Z ends=2026-01-05T12:00Z max=1 group=eu
    ${waiting}`);
  let reads = 0;
  const counted = input.runs.map(({ group, ...run }) => ({
    ...run,
    group: group && {
      ...group,
      get max() {
        reads++;
        return group.max;
      },
    },
  }));
  expect(forecast({ ...input, runs: counted }).firings).toHaveLength(119);
  expect(reads).toBeLessThan(1000);
});
