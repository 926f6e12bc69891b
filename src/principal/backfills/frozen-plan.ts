/** The plan of a backfill as it is stored: the schedules of the workflow as they were when it was created. */
import { type Calendar, calendarOf } from "../../workflow/calendar.ts";
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

/** What calendars are made of, by name. */
type FrozenCalendars = Readonly<Record<string, Calendar["source"]>>;

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
 * @param calendars by name; an entry whose calendar is not among them has no firings
 */
export function planFor(
  workflow: Scheduled,
  { from, to }: { readonly from: string; readonly to?: string | undefined },
  {
    zone: own,
    calendars,
    nowMs,
  }: { readonly zone: string; readonly calendars: ReadonlyMap<string, Calendar>; readonly nowMs: number },
): Plan {
  const until = to ?? new Date(nowMs).toISOString();
  const entries = schedulesOf(workflow).map((entry) => {
    const zone = entry.timezone ?? own;
    const { fromMs, toMs } = boundsOf(from, until, zone);
    const calendar = calendars.get(entry.calendar ?? "") ?? null;
    return { key: entryKey(entry), entry, zone, calendar, fromMs, toMs: Math.min(toMs, nowMs) };
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
  const calendars: FrozenCalendars = Object.fromEntries(
    entries.flatMap(({ entry, calendar }) =>
      entry.calendar === undefined || calendar === null ? [] : [[entry.calendar, calendar.source]],
    ),
  );
  return {
    entries: JSON.stringify(plan),
    calendars: Object.keys(calendars).length === 0 ? null : JSON.stringify(calendars),
  };
}

/** The plan that was stored. @throws SyntaxError when it is damaged */
export function thawed(stored: { readonly entries: string; readonly calendars: string | null }): Plan {
  const { from, to, entries } = JSON.parse(stored.entries) as Frozen;
  const sources = JSON.parse(stored.calendars ?? "{}") as FrozenCalendars;
  const calendars = new Map(
    Object.entries(sources).map(([name, { items, files }]) => [name, calendarOf(items, files)]),
  );
  return {
    from,
    to,
    entries: entries.map(({ entry, zone, from_ms, to_ms }) => ({
      key: entryKey(entry),
      entry,
      zone,
      calendar: calendars.get(entry.calendar ?? "") ?? null,
      fromMs: from_ms,
      toMs: to_ms,
    })),
  };
}
