/** What schedules will do: `FORECAST`. */
import { z } from "zod";
import { Count, Instant, Name } from "./common.ts";

/** Maximum number of firings that are simulated, and that are in one reply; how far a forecast may reach, ms. */
export const MOST_FORECAST_FIRINGS = 50_000;
export const MOST_TOLD_FIRINGS = 10_000;
export const MOST_FORECAST_MS = 366 * 86_400_000;

/** By default the next 24 hours. All workflows are simulated; `workflow_ids` says which of them the reply is about. */
export const AskForecast = z.object({
  from_ms: Instant.optional(),
  to_ms: Instant.optional(),
  workflow_ids: z.array(Name).max(1000).optional(),
  /** Maximum number of firings in the reply. */
  limit: Count.max(MOST_TOLD_FIRINGS).default(1000),
});
export type AskForecast = z.infer<typeof AskForecast>;

const Ms = z.number();

/** What a run waits for before it starts, or between its tasks. */
const ForecastWait = z.object({
  /** A place in a group, slots of a pool, room on an agent, the end of a pause, or the jitter of its schedule. */
  kind: z.enum(["group", "pool", "agents", "pause", "jitter"]),
  name: z.string().nullable(),
  for_ms: Ms,
});
export type ForecastWait = z.infer<typeof ForecastWait>;

/**
 * `runs`; `cancels`: it runs and cancels others (`on_conflict: cancel_running`); `cancelled`: it runs until another one cancels it;
 * `skipped` by its policy; `paused` with its workflow; `dropped`: it still waits when the next one is due (`catchup`); `waits`: it does not
 * start, because no agent can take it; `refused`: it makes no run.
 */
const ForecastOutcome = z.enum([
  "runs",
  "cancels",
  "cancelled",
  "skipped",
  "paused",
  "dropped",
  "waits",
  "refused",
]);
export type ForecastOutcome = z.infer<typeof ForecastOutcome>;

const ForecastFiring = z.object({
  /** The time in the schedule. */
  at_ms: Ms,
  workflow_id: z.string(),
  cron: z.string(),
  /** In which the schedule is evaluated. */
  timezone: z.string(),
  outcome: ForecastOutcome,
  /** Null if it does not start. */
  starts_ms: Ms.nullable(),
  ends_ms: Ms.nullable(),
  /** The median of its last runs that completed; null if there are none: then it counts as 0. */
  expected_ms: Ms.nullable(),
  /** Nine of ten of them took no longer. */
  p90_ms: Ms.nullable(),
  /** How many there are, at most 20. */
  known_runs: Count,
  waits: z.array(ForecastWait),
  /** Runs of the same workflow that go on when it starts, at most five; null: one of this forecast. */
  overlaps: z.array(
    z.object({ workflow_instance_id: z.string().nullable(), at_ms: Ms, until_ms: Ms.nullable() }),
  ),
  /** What the clock of its time zone does. */
  dst: z.enum(["skipped hour", "repeated hour"]).nullable(),
  /** Why it does not run, or not to its end, if there is more to say than its outcome. */
  note: z.string().nullable(),
});
export type ForecastFiring = z.infer<typeof ForecastFiring>;

const ForecastWorkflow = z.object({
  workflow_id: z.string(),
  firings: Count,
  expected_ms: Ms.nullable(),
  is_paused: z.boolean(),
  /** By bucket: how many of its runs start, and the most that are under way at once. */
  starts: z.array(Count),
  running: z.array(Count),
});

const Peak = z.object({ most: Count, at_ms: Ms });

export const Forecast = z.object({
  now_ms: Ms,
  from_ms: Ms,
  to_ms: Ms,
  /** In the order of time, then of ids. */
  firings: z.array(ForecastFiring),
  /** How many more there are in this time. */
  left_out: Count,
  /** Workflows that fire or run in this time, at most 1,000, in the order of their ids. */
  workflows: z.array(ForecastWorkflow),
  /** The load of all workflows; bucket `n` begins at `from_ms + n * bucket_ms`. */
  load: z.object({
    bucket_ms: Ms,
    /** The most runs at once, and the most places of agents that are taken. */
    runs: z.array(Count),
    places: z.array(Count),
    /** Places of the agents that are up. */
    room: Count,
    pools: z.record(z.string(), z.object({ size: Count, used: z.array(Count) })),
  }),
  /** When most is going on; null if nothing is. */
  peaks: z.object({
    runs: Peak.nullable(),
    places: Peak.nullable(),
    pools: z.record(z.string(), Peak),
  }),
  /** There are more firings than can be simulated: the forecast ends here; null if it does not. */
  truncated_at_ms: Ms.nullable(),
  /** Why durations are missing; null if they are not. */
  warning: z.string().nullable(),
});
export type Forecast = z.infer<typeof Forecast>;
