/**
 * Computes independently when Vixie cron runs a line: with bit arrays as in entry.c and cron.c, minute by minute through the
 * calendar in UTC. It does not use src/.
 */

/** The arrays of an entry. */
export interface Entry {
  readonly minute: boolean[];
  readonly hour: boolean[];
  readonly dom: boolean[];
  readonly month: boolean[];
  readonly dow: boolean[];
  readonly domStar: boolean;
  readonly dowStar: boolean;
}

const MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split(" ");
const DAYS = "sun mon tue wed thu fri sat".split(" ");

/** Fills the arrays from five fields, all of which are valid. */
export function entryOf(line: string): Entry {
  const [minute = "", hour = "", dom = "", month = "", dow = ""] = line.split(/\s+/);
  const days = bits(dow, 0, 7, DAYS, 0);
  if (days[0] || days[7]) {
    days[0] = true;
    days[7] = true;
  }
  return {
    minute: bits(minute, 0, 59),
    hour: bits(hour, 0, 23),
    dom: bits(dom, 1, 31),
    month: bits(month, 1, 12, MONTHS, 1),
    dow: days,
    domStar: dom.startsWith("*"),
    dowStar: dow.startsWith("*"),
  };
}

function bits(field: string, low: number, high: number, names: string[] = [], base = 0): boolean[] {
  const set: boolean[] = Array.from({ length: high + 1 }, () => false);
  const number = (word: string) => {
    const named = names.indexOf(word.toLowerCase());
    return named === -1 ? Number.parseInt(word, 10) : named + base;
  };
  for (const list of field.split(",")) {
    const [range = "", step = "1"] = list.split("/");
    const [from = "", to] = range.split("-");
    const first = range === "*" ? low : number(from);
    const last = range === "*" ? high : to === undefined ? first : number(to);
    for (let i = first; i <= last; i += Number(step)) set[i] = true;
  }
  return set;
}

/** The minutes at which it runs, ms since the epoch, from `fromMs` (a full minute) up to, not including, `untilMs`. */
export function runsBetween(entry: Entry, fromMs: number, untilMs: number): number[] {
  const runs: number[] = [];
  for (let day = Math.floor(fromMs / 86_400_000); day * 86_400_000 < untilMs; day++) {
    const date = new Date(day * 86_400_000);
    if (!entry.month[date.getUTCMonth() + 1]) continue;
    const dom = entry.dom[date.getUTCDate()] === true;
    const dow = entry.dow[date.getUTCDay()] === true;
    if (!(entry.domStar || entry.dowStar ? dom && dow : dom || dow)) continue;
    for (let hour = 0; hour < 24; hour++) {
      if (!entry.hour[hour]) continue;
      for (let minute = 0; minute < 60; minute++) {
        const at = day * 86_400_000 + hour * 3_600_000 + minute * 60_000;
        if (entry.minute[minute] && at >= fromMs && at < untilMs) runs.push(at);
      }
    }
  }
  return runs;
}
