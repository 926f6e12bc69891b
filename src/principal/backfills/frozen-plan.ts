/** The plan of a backfill as it is stored: the schedules of the workflow as they were when it was created. */
import { type Entry, entryKey, type Scheduled, schedulesOf } from "../../workflow/schedules.ts";
import { boundsOf, type PlannedEntry } from "./plan.ts";

/** The plan in JSON. */
interface Frozen {
  /** As they were given. */
  readonly from: string;
  readonly to: string;
  readonly entries: readonly {
    readonly entry: Entry;
    readonly zone: string;
    readonly from_ms: number;
    readonly to_ms: number;
  }[];
}

/** The plan of a backfill. */
export interface Plan {
  readonly from: string;
  readonly to: string;
  readonly entries: readonly PlannedEntry[];
}

/**
 * The plan for a workflow. What is later than `nowMs` is not in it.
 * @param from, to as in {@link boundsOf}; `to` is now by default
 * @param zone IANA name of the zone for schedules without one
 */
export function planFor(
  workflow: Scheduled,
  { from, to }: { readonly from: string; readonly to?: string | undefined },
  { zone: own, nowMs }: { readonly zone: string; readonly nowMs: number },
): Plan {
  const until = to ?? new Date(nowMs).toISOString();
  const entries = schedulesOf(workflow).map((entry) => {
    const zone = entry.timezone ?? own;
    const { fromMs, toMs } = boundsOf(from, until, zone);
    return { key: entryKey(entry), entry, zone, calendar: null, fromMs, toMs: Math.min(toMs, nowMs) };
  });
  return { from, to: until, entries };
}

/** A plan as it is stored, see `BackfillRecord`. */
export function frozen({ from, to, entries }: Plan): { entries: string; calendars: string | null } {
  const plan: Frozen = {
    from,
    to,
    entries: entries.map(({ entry, zone, fromMs, toMs }) => ({ entry, zone, from_ms: fromMs, to_ms: toMs })),
  };
  return { entries: JSON.stringify(plan), calendars: null };
}

/** The plan that was stored. @throws SyntaxError when it is damaged */
export function thawed(stored: { readonly entries: string; readonly calendars: string | null }): Plan {
  const { from, to, entries } = JSON.parse(stored.entries) as Frozen;
  return {
    from,
    to,
    entries: entries.map(({ entry, zone, from_ms, to_ms }) => ({
      key: entryKey(entry),
      entry,
      zone,
      calendar: null,
      fromMs: from_ms,
      toMs: to_ms,
    })),
  };
}
