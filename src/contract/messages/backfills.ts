/** Backfills: the firings of a schedule in a stretch of time, as runs. */
import { z } from "zod";
import { DEFAULT_BACKFILL_RUNS, MAX_BACKFILL_RUNS } from "../../workflow/limits.ts";
import { RUN_STATUSES } from "../../workflow/status.ts";
import { Count, Name, Status } from "./common.ts";
import { Params } from "./runs.ts";

/** A date, which is the whole day in the zone of the schedule, or a point in time. */
const Bound = z
  .string()
  .max(64)
  .regex(
    /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2}))?$/,
    "is neither a date nor a time in RFC 3339",
  )
  .refine((text) => !Number.isNaN(Date.parse(text)), "does not exist");

/** What becomes of firings that have had a run already. */
const Reprocess = z.enum(["none", "failed", "all"]);

/** What is to be backfilled. */
const BackfillScope = z.object({
  workflow_id: Name,
  /** Both inclusive; without `to` until now. What is to come is left to the schedule. */
  from: Bound,
  to: Bound.optional(),
  /** Whether the newest firing comes first. */
  reverse: z.boolean().default(false),
  reprocess: Reprocess.default("none"),
  /** Parameters of its runs, beside those that the schedule gives. */
  params: Params.default({}),
});

/** A firing: the time in the schedule, and the key of the entry of the schedule. */
const FiringName = z.object({ scheduled_time_ms: z.number().int(), entry: z.string().max(64) });

/** `PLANBACKFILL`: what a backfill would do now. */
export const PlanBackfill = BackfillScope.extend({
  /** Only firings after this one, in the order of the plan: for the next page, `next` of the previous one. */
  after: FiringName.optional(),
  limit: z.number().int().min(1).max(5000).default(1000),
});
export type PlanBackfill = z.infer<typeof PlanBackfill>;

/** A firing of a plan. */
const PlannedFiring = FiringName.extend({
  /** The zone of its schedule. */
  timezone: z.string(),
  /** The parameters that the schedule gives; absent for none. */
  params: z.record(z.string(), z.string()).optional(),
  /** The run because of which it makes none; absent if it makes one. */
  present: z
    .object({
      workflow_instance_id: z.string(),
      /** Absent if nothing is known of it any more. */
      status: Status.optional(),
    })
    .optional(),
});

export const BackfillPlan = z.object({
  workflow_id: z.string(),
  /** How many firings there are; only on the first page. */
  total: Count.optional(),
  /** In the order in which their runs would be made. */
  firings: z.array(PlannedFiring),
  /** For the next page; null at the end. */
  next: FiringName.nullable(),
});
export type BackfillPlan = z.infer<typeof BackfillPlan>;

/** `CREATEBACKFILL`. */
export const CreateBackfill = BackfillScope.extend({
  /** How many of its runs may be under way at once. */
  max_active: z.number().int().min(1).max(MAX_BACKFILL_RUNS).default(DEFAULT_BACKFILL_RUNS),
  /** By default three less than that of the workflow. */
  priority: z.number().int().min(0).max(9).optional(),
  dedupe_key: z.string().min(1).max(512).optional(),
});
export type CreateBackfill = z.infer<typeof CreateBackfill>;

const State = z.enum(["ACTIVE", "PAUSED", "CANCELLED", "DONE"]);

/** An entry of `LSBACKFILLS`. */
export const BackfillSummary = z.object({
  backfill_id: z.string(),
  workflow_id: z.string(),
  state: State,
  /** As they were given. */
  from: z.string(),
  to: z.string(),
  reverse: z.boolean(),
  reprocess: Reprocess,
  max_active: z.number().int(),
  /** Null: three less than that of the workflow. */
  priority: z.number().int().nullable(),
  params: z.record(z.string(), z.string()),
  /** Who created it: the name of a key, or without keys that of the user; null for nobody. */
  actor: z.string().nullable(),
  created_at_ms: z.number(),
  /** When it was over; null before. */
  finished_at_ms: z.number().nullable(),
  /** How many firings it has. */
  total: Count,
  /** How many of them had a run before. */
  present: Count,
  /** How many of its runs are not over. */
  active: Count,
  /** How many of its runs have ended, by status; those that are 0 are left out. */
  by_status: z.partialRecord(z.enum(RUN_STATUSES), Count),
  /** Why it does not go on, or did not; null if nothing is in its way. */
  note: z.string().nullable(),
  /** The median of what runs of its workflow take, ms; null while none has COMPLETED, and if it does not go on. */
  median_ms: z.number().nullable(),
  /** How many of its runs may run at the same time: fewer than `max_active` if its concurrency group has fewer places. */
  at_once: z.number().int(),
  /** The time between the ends of two of its newest runs, ms; null while there are few. */
  interval_ms: z.number().nullable(),
  /** How long it still takes, ms; null if that is not known, and if it does not go on. */
  left_ms: z.number().nullable(),
});
export type BackfillSummary = z.infer<typeof BackfillSummary>;

/** Reply to `CREATEBACKFILL` and `CHANGEBACKFILL`. */
export const BackfillChanged = z.object({ backfill: BackfillSummary });
export type BackfillChanged = z.infer<typeof BackfillChanged>;

/** `LSBACKFILLS`: newest first. */
export const ListBackfills = z.object({
  workflow_id: Name.optional(),
  /** Only those that are not over. */
  open: z.boolean().default(false),
  limit: z.number().int().min(1).max(1000).default(100),
});
export type ListBackfills = z.infer<typeof ListBackfills>;

/** What has become of a firing: PRESENT: it had a run before; null: its run is not over. */
const Outcome = z.enum([...RUN_STATUSES, "PRESENT"]);

/** `GETBACKFILL`. */
export const GetBackfill = z.object({
  /** Its id, or the beginning of it. */
  backfill_id: Name,
  /** Only firings with this outcome; `OPEN` for those whose runs are not over. */
  outcome: z.enum([...RUN_STATUSES, "PRESENT", "OPEN"]).optional(),
  /** Only firings after this one: for the next page, `next` of the previous one. */
  after: FiringName.optional(),
  limit: z.number().int().min(0).max(1000).default(100),
});
export type GetBackfill = z.infer<typeof GetBackfill>;

export const BackfillDetails = z.object({
  backfill: BackfillSummary,
  /** Its schedule, as it was when it was created. */
  entries: z.array(
    z.object({
      entry: z.string(),
      cron: z.string(),
      timezone: z.string(),
      params: z.record(z.string(), z.string()).optional(),
    }),
  ),
  /** The file of the workflow has changed since it was created: new runs are made with the file as it is. */
  is_changed: z.boolean(),
  /** What it has done with firings so far, in the order of their times. */
  firings: z.array(
    FiringName.extend({
      workflow_instance_id: z.string().nullable(),
      outcome: Outcome.nullable(),
    }),
  ),
  /** For the next page; null at the end. */
  next: FiringName.nullable(),
});
export type BackfillDetails = z.infer<typeof BackfillDetails>;

/** `CHANGEBACKFILL`. */
export const ChangeBackfill = z.object({
  /** Its id, or the beginning of it. */
  backfill_id: Name,
  to: z.enum(["ACTIVE", "PAUSED", "CANCELLED"]),
});
export type ChangeBackfill = z.infer<typeof ChangeBackfill>;
