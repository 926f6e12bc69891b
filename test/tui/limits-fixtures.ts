/** A queue with everything that can be in it, and a forecast, at the fixed time of the fixtures. */
import type { Forecast } from "../../src/contract/messages.ts";
import type { QueueData } from "../../src/tui/state.ts";

/** Wednesday, 4 March 2026, 10:00:00 UTC. */
const NOW = Date.UTC(2026, 2, 4, 10, 0, 0);

const runId = (n: number) => `0000000${n}-0000-4000-8000-00000000009${n}`;

/** Two pools, one of which drains; a queue, runs that are held, a backfill. */
export const QUEUE: QueueData = {
  pools: [
    {
      name: "warehouse",
      size: 4,
      source: "file",
      file_size: 4,
      changed_by: null,
      used: 3,
      waiting: 2,
      holders: [
        {
          workflow_id: "etl.daily",
          workflow_instance_id: runId(5),
          task_id: "load",
          slots: 2,
          agent_id: "host-a",
          since_ms: NOW - 60_000,
        },
        {
          workflow_id: "reports",
          workflow_instance_id: runId(6),
          task_id: "read",
          slots: 1,
          agent_id: "host-a",
          since_ms: NOW - 30_000,
        },
      ],
    },
    {
      name: "api",
      size: 2,
      source: "command",
      file_size: null,
      changed_by: "ops",
      used: 3,
      waiting: 0,
      holders: [],
    },
    {
      name: "gpus",
      size: null,
      source: null,
      file_size: null,
      changed_by: null,
      used: 0,
      waiting: 1,
      holders: [],
    },
  ],
  queue: {
    entries: [
      {
        workflow_id: "etl.daily",
        workflow_instance_id: runId(1),
        slice: 2,
        tasks: ["load"],
        priority: 5,
        since_ms: NOW - 1_200_000,
        kind: "pool",
        reason:
          "pool warehouse has 1 of 4 slots free, it needs 2: held by load of run 00000005 (2) and 1 more",
        hint: null,
      },
      {
        workflow_id: "reports",
        workflow_instance_id: runId(2),
        slice: 0,
        tasks: [],
        priority: 9,
        since_ms: NOW - 45_000,
        kind: "full",
        reason: "all agents are full: host-a (5/5)",
        hint: "start another agent, or wait",
      },
    ],
    queued: 2,
    held: [
      {
        workflow_id: "etl.daily",
        workflow_instance_id: runId(3),
        kind: "group",
        group: "eu",
        priority: 5,
        since_ms: NOW - 300_000,
        reason: 'group "eu" is full (max_runs: 1): held by run 00000005 of etl.daily since 09:59',
        hint: "To stop that run: cdktr runs cancel 00000005",
      },
      {
        workflow_id: "cleanup",
        workflow_instance_id: runId(4),
        kind: "pause",
        priority: 2,
        since_ms: NOW - 7_200_000,
        reason: "workflow cleanup is paused since 08:00 by ops: migration",
        hint: "To go on: cdktr workflow resume cleanup",
      },
    ],
  },
  backfills: [
    {
      backfill_id: "0000000b-0000-4000-8000-00000000000b",
      workflow_id: "etl.daily",
      state: "ACTIVE",
      from: "2026-01-01",
      to: "2026-01-31",
      reverse: false,
      reprocess: "none",
      max_active: 3,
      priority: 2,
      params: {},
      actor: "ops",
      created_at_ms: NOW - 3_600_000,
      finished_at_ms: null,
      total: 31,
      present: 3,
      active: 3,
      by_status: { COMPLETED: 11, FAILED: 1 },
      note: null,
      median_ms: 720_000,
      at_once: 3,
      interval_ms: 260_000,
      left_ms: 3_900_000,
    },
  ],
};

const BUCKETS = 96;
const QUARTER_MS = 900_000;
const buckets = (of: (bucket: number) => number) => Array.from({ length: BUCKETS }, (_, n) => of(n));
const none = buckets(() => 0);

/** A day with a workflow that waits for its group, one that fires all the time, one that overlaps with itself, and one that is paused. */
export const FORECAST: Forecast = {
  now_ms: NOW,
  from_ms: NOW,
  to_ms: NOW + BUCKETS * QUARTER_MS,
  firings: [
    {
      at_ms: NOW + 40 * QUARTER_MS,
      workflow_id: "cleanup",
      cron: "0 20 * * *",
      timezone: "UTC",
      outcome: "paused",
      starts_ms: null,
      ends_ms: null,
      expected_ms: null,
      p90_ms: null,
      known_runs: 0,
      waits: [],
      overlaps: [],
      dst: null,
      note: null,
    },
    {
      at_ms: NOW + 64 * QUARTER_MS,
      workflow_id: "etl.daily",
      cron: "0 0 2 * * *",
      timezone: "UTC",
      outcome: "runs",
      starts_ms: NOW + 66 * QUARTER_MS,
      ends_ms: NOW + 72 * QUARTER_MS,
      expected_ms: 6 * QUARTER_MS,
      p90_ms: 7 * QUARTER_MS,
      known_runs: 20,
      waits: [{ kind: "group", name: "eu", for_ms: 2 * QUARTER_MS }],
      overlaps: [],
      dst: null,
      note: null,
    },
  ],
  left_out: 0,
  workflows: [
    {
      workflow_id: "cleanup",
      firings: 1,
      expected_ms: null,
      is_paused: true,
      starts: none,
      running: none,
    },
    {
      workflow_id: "etl.daily",
      firings: 1,
      expected_ms: 6 * QUARTER_MS,
      is_paused: false,
      starts: buckets((n) => (n === 66 ? 1 : 0)),
      running: buckets((n) => (n >= 66 && n < 72 ? 1 : 0)),
    },
    {
      workflow_id: "mirror",
      firings: 288,
      expected_ms: 30_000,
      is_paused: false,
      starts: buckets(() => 3),
      running: buckets(() => 1),
    },
    {
      workflow_id: "reports",
      firings: 12,
      expected_ms: 6 * QUARTER_MS,
      is_paused: false,
      starts: buckets((n) => (n % 8 === 4 ? 1 : 0)),
      running: buckets((n) => (n % 8 === 4 ? 2 : n % 8 > 4 || n % 8 < 2 ? 1 : 0)),
    },
  ],
  load: {
    bucket_ms: QUARTER_MS,
    runs: buckets((n) => 1 + (n % 8 > 3 ? 2 : 0)),
    places: buckets((n) => (n >= 66 && n < 70 ? 10 : 2 + (n % 8))),
    room: 10,
    pools: { warehouse: { size: 4, used: buckets((n) => (n >= 66 && n < 72 ? 4 : n % 3)) } },
  },
  peaks: {
    runs: { most: 3, at_ms: NOW + 4 * QUARTER_MS },
    places: { most: 10, at_ms: NOW + 66 * QUARTER_MS },
    pools: { warehouse: { most: 4, at_ms: NOW + 66 * QUARTER_MS } },
  },
  truncated_at_ms: null,
  warning: null,
};
