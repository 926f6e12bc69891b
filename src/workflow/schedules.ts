/**
 * The schedules of a workflow. One that uses nothing beyond `cron`, `timezone`, `start_time` and `catchup` is stored in the keys of these
 * names, as it always was; otherwise `cron` is null and all entries are in `schedules`, so that an older cdktr fires none of them rather
 * than some. {@link schedulesOf} is the only reader of both.
 */

/** A policy for missed firings. */
export type Catchup = "none" | "latest" | "all";

/** One schedule of a workflow, with the defaults of the workflow filled in. */
export interface Entry {
  readonly cron: string;
  /** IANA name; null for the zone of the principal. */
  readonly timezone: string | null;
  /** No firing before this time, ms since the epoch (one exactly at it counts). */
  readonly start_time_ms: number | null;
  /** No firing at or after this time, ms since the epoch. */
  readonly end_time_ms?: number | undefined;
  readonly catchup: Catchup;
  /** Missed firings that are older than this are not caught up, ms. */
  readonly catchup_window_ms?: number | undefined;
  /** Name of a calendar: it fires on its days only. */
  readonly calendar?: string | undefined;
  /** All its firings are shifted by at most this, ms; see `jitterOf`. */
  readonly jitter_ms?: number | undefined;
  /** Parameters of its runs, as texts. */
  readonly params?: Readonly<Record<string, string>> | undefined;
}

/** The parts of a workflow that hold its schedules. */
export interface Scheduled {
  readonly cron: string | null;
  readonly timezone?: string | null;
  readonly start_time_ms?: number | null;
  readonly catchup: Catchup;
  readonly schedules?: readonly Entry[] | undefined;
}

/** The schedules of a workflow, in the order of its file; none if it has no `cron`. */
export function schedulesOf(workflow: Scheduled): readonly Entry[] {
  const { cron, timezone = null, start_time_ms = null, catchup, schedules } = workflow;
  return schedules ?? (cron === null ? [] : [{ cron, timezone, start_time_ms, catchup }]);
}

/** Whether a workflow has a schedule. */
export function hasSchedule({ cron, schedules }: Pick<Scheduled, "cron" | "schedules">): boolean {
  return cron !== null || schedules !== undefined;
}

/**
 * Identifies an entry among those of its workflow: 16 hexadecimal digits that change with everything that decides about its firings, but not
 * with what happens to missed ones. The position of a schedule is kept under it.
 */
export function entryKey(entry: Entry): string {
  const { cron, timezone, start_time_ms, end_time_ms, calendar, jitter_ms, params } = entry;
  const parts = [cron, timezone, start_time_ms, end_time_ms, calendar, jitter_ms, sorted(params)];
  return hashOf(JSON.stringify(parts.map((part) => part ?? null)), 16);
}

/** The entry of a workflow with this key; undefined if there is none any more. */
export function entryOf(workflow: Scheduled, key: string): Entry | undefined {
  return schedulesOf(workflow).find((entry) => entryKey(entry) === key);
}

/**
 * The idempotency key of a firing. Entries with equal parameters that fire at the same time share it, so that they make one run.
 * @param scheduledTimeMs the time in the schedule, without jitter
 */
export function firingKey(
  workflowId: string,
  { params }: Pick<Entry, "params">,
  scheduledTimeMs: number,
): string {
  const key = `cron:${workflowId}:${scheduledTimeMs}`;
  if (params === undefined || Object.keys(params).length === 0) return key;
  return `${key}:${hashOf(JSON.stringify(sorted(params)), 8)}`;
}

function sorted(params: Entry["params"]): readonly (readonly [string, string])[] | undefined {
  return params && Object.entries(params).sort(([a], [b]) => (a < b ? -1 : 1));
}

function hashOf(text: string, digits: number): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, digits);
}
