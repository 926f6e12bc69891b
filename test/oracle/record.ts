/** What oracle.py records, and which parts of it are compared. */

import { type FiringContext, firingsBetween, previousFiring } from "../../src/workflow/firings.ts";
import type { Entry } from "../../src/workflow/schedules.ts";

/** Seconds since the epoch, from (inclusive) and to (exclusive). */
type Span = readonly [number, number];

export interface Row {
  readonly cron: string;
  /** The zone in which more is compared. */
  readonly home: string;
  /** How far around a change of the clock, and how long on another day, is compared; in seconds. */
  readonly around: number;
  readonly length: number;
  /** By zone, then by kind of span: how many firings, and the CRC-32 of them (seconds, with commas between). */
  readonly firings: Readonly<Record<string, Readonly<Record<string, readonly [number, number]>>>>;
  /** In the home zone: the first firings that it has not, and that it has besides; null: it refuses the expression. */
  readonly cronsim: { readonly missing: readonly number[]; readonly extra: readonly number[] } | null;
}

export interface OracleRecord {
  readonly seed: number;
  readonly zones: Readonly<
    Record<string, { start: number; end: number; offsets: readonly Span[]; days: readonly number[] }>
  >;
  readonly expressions: readonly Row[];
}

/** The spans of a row in a zone, by kind. */
export function spansOf(
  record: OracleRecord,
  row: Row,
  name: string,
): Readonly<Record<string, readonly Span[]>> {
  const zone = record.zones[name];
  if (zone === undefined) return {};
  return {
    changes: zone.offsets.slice(1).map(([at]) => [at - row.around, at + row.around]),
    days: zone.days.map((at) => [at, at + row.length]),
    years: [[zone.start, zone.end]],
  };
}

const entryOf = (cron: string): Entry => ({ cron, timezone: null, start_time_ms: null, catchup: "latest" });
const contextOf = (zone: string): FiringContext => ({ zone, calendar: null, offsetMs: 0 });

/** cdktr's firings in a span, in seconds since the epoch. */
export function between(cron: string, zone: string, [start, end]: Span): number[] {
  const found = firingsBetween(entryOf(cron), contextOf(zone), start * 1000 - 1, end * 1000 - 1, Infinity);
  return found.map((at) => at / 1000);
}

/** The same, found from the end to the start. */
export function backwards(cron: string, zone: string, [start, end]: Span): number[] {
  const found: number[] = [];
  const previous = (ms: number) => previousFiring(entryOf(cron), contextOf(zone), ms);
  for (let at = previous(end * 1000 - 1); at !== null && at >= start * 1000; at = previous(at - 1))
    found.unshift(at / 1000);
  return found;
}

const formats = new Map<string, Intl.DateTimeFormat>();

/** The offset of a zone (seconds), by this runtime's data. */
export function offsetAt(timeZone: string, at: number): number {
  let format = formats.get(timeZone);
  if (format === undefined) {
    format = new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short", timeStyle: "medium" });
    formats.set(timeZone, format);
  }
  return Date.parse(`${format.format(at * 1000).replace(" ", "T")}Z`) / 1000 - at;
}

const fields = (cron: string) => cron.trim().split(/\s+/);
const five = (cron: string) => fields(cron).length === 5;
const [minuteOf, hourOf] = [(cron: string) => fields(cron)[0] ?? "", (cron: string) => fields(cron)[1] ?? ""];
const dayOf = (cron: string) => fields(cron).at(-3) ?? "";
const weekdayOf = (cron: string) => fields(cron).at(-1) ?? "";

/** How schedules here differ from Debian's cron, as cronsim has it. Each is a row of the manual (scheduling.md). */
export const differencesToCronsim: readonly { name: string; applies(cron: string, home: string): boolean }[] =
  [
    {
      name: "a list or range of times follows the clock",
      applies: (cron) =>
        five(cron) &&
        !minuteOf(cron).startsWith("*") &&
        !hourOf(cron).startsWith("*") &&
        /[,/-]/.test(`${minuteOf(cron)}${hourOf(cron)}`),
    },
    {
      name: "a fixed time with seconds fires once a day",
      applies: (cron) =>
        fields(cron).length === 6 &&
        fields(cron)
          .slice(0, 3)
          .every((field) => /^[\d-]+$/.test(field)),
    },
    {
      name: "only `*` and `?` leave a day open",
      applies: (cron) => [dayOf(cron), weekdayOf(cron)].some((field) => field.startsWith("*/")),
    },
    {
      name: "a range of one value with a step is this value",
      applies: (cron) => fields(cron).some((field) => /(^|,)(\d+)-\2\//.test(field)),
    },
    {
      name: "a date that a zone leaves out has no firing",
      applies: (cron, home) => five(cron) && home === "Pacific/Apia",
    },
    {
      name: "signs that cron does not know",
      applies: (cron) => cron.startsWith("@") || /[?W+]|#L|-\S*#/i.test(cron) || /L,|,L/i.test(dayOf(cron)),
    },
  ];
