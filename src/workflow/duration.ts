/** Durations in readable form: `90s`, `5m`, `1h30m`, `500ms`. */

const UNIT_MS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000, ms: 1 } as const;
type Unit = keyof typeof UNIT_MS;
const UNITS = Object.keys(UNIT_MS) as Unit[];

/** The longest duration, in ms: the maximum of a timer (2^31 - 1 ms), rounded down to whole days. */
export const MAX_DURATION_MS = 24 * UNIT_MS.d;

/** A duration in ms, or why the text is not one and what to write instead. */
export type DurationResult =
  | { readonly ok: true; readonly ms: number }
  | { readonly ok: false; readonly message: string; readonly help: string };

const EXAMPLES =
  'write a number with its unit, the largest unit first, such as "90s", "5m", "1h30m" or "500ms"';

/** The pattern of a duration, for the JSON Schema. */
export const DURATION_PATTERN =
  "^(?=\\d)(\\d+(\\.\\d+)?d ?)?(\\d+(\\.\\d+)?h ?)?(\\d+(\\.\\d+)?m(?!s) ?)?(\\d+(\\.\\d+)?s ?)?(\\d+ms)?$";

/**
 * Parses a duration. Units are d, h, m, s and ms, largest first, each at most once; decimals are allowed (`1.5h`).
 * @param longestMs the longest that is allowed; by default what a timer can wait
 */
export function parseDuration(text: string, longestMs = MAX_DURATION_MS): DurationResult {
  const fail = (message: string, help = EXAMPLES): DurationResult => ({ ok: false, message, help });
  const trimmed = text.trim();
  if (trimmed === "") return fail("is empty");
  if (/^[+-]?\d+(\.\d+)?$/.test(trimmed)) {
    if (trimmed.startsWith("-")) return fail("is negative");
    const number = trimmed.replace(/^\+/, "");
    return fail(`"${trimmed}" has no unit`, `write "${number}s" for seconds, "${number}m" for minutes`);
  }
  if (trimmed.startsWith("-")) return fail("is negative");

  let total = 0;
  let lastUnit = -1;
  let rest = trimmed;
  while (rest !== "") {
    const part = /^(\d+(?:\.\d+)?) ?([A-Za-zµ]+) ?/.exec(rest);
    if (part === null) return fail(`"${trimmed}" is not a duration`);
    const [whole, number = "", unitText = ""] = part;
    const unit = UNITS.indexOf(unitText as Unit);
    if (unit < 0) return fail(`"${unitText}" is not a unit of time`, unitHelp(unitText, number));
    if (unit <= lastUnit) return fail(`"${trimmed}" has units out of order or repeated`);
    lastUnit = unit;
    total += Number(number) * UNIT_MS[unitText as Unit];
    rest = rest.slice(whole.length);
  }
  const ms = Math.round(total);
  if (!(ms <= longestMs))
    return fail(`"${trimmed}" is too long`, `the longest is ${formatDuration(longestMs)}`);
  return { ok: true, ms };
}

const UNIT_WORDS: readonly (readonly [word: RegExp, unit: Unit])[] = [
  [/^days?$/, "d"],
  [/^(hr|hours?)$/, "h"],
  [/^min(ute)?s?$/, "m"],
  [/^sec(ond)?s?$/, "s"],
  [/^(msec|milliseconds?)$/, "ms"],
];

function unitHelp(word: string, number: string): string {
  const lower = word.toLowerCase();
  const known = UNIT_WORDS.find(([words]) => words.test(lower))?.[1] ?? UNITS.find((unit) => unit === lower);
  return known === undefined
    ? `units are ${UNITS.join(", ")}; ${EXAMPLES}`
    : `write "${number}${known}"; units are ${UNITS.join(", ")}`;
}

/** Formats a duration in ms the way `parseDuration` reads it: 5400000 is `1h30m`, 0 is `0s`. */
export function formatDuration(ms: number): string {
  let rest = Math.max(0, Math.round(ms));
  if (rest === 0) return "0s";
  let text = "";
  for (const unit of UNITS) {
    const count = Math.floor(rest / UNIT_MS[unit]);
    if (count > 0) text += `${count}${unit}`;
    rest -= count * UNIT_MS[unit];
  }
  return text;
}
