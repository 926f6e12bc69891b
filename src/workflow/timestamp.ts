/** Points in time in RFC 3339, such as `2025-01-20T02:00:00+00:00`. */

/** A time in ms since the epoch, or why the text is not one and what to write instead. */
export type TimestampResult =
  | { readonly ok: true; readonly ms: number }
  | { readonly ok: false; readonly message: string; readonly help: string };

const SHAPE =
  /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(\.\d+)?)?\s*([Zz]|[+-]\d{2}:?\d{2})?)?$/;

/** Parses a time; date, time and offset are all required, so that it means the same everywhere. */
export function parseTimestamp(text: string): TimestampResult {
  const fail = (message: string, help: string): TimestampResult => ({ ok: false, message, help });
  const parts = SHAPE.exec(text.trim());
  if (parts === null) {
    return fail(`"${text}" is not a date and time`, "write it like 2025-01-20T02:00:00+00:00");
  }
  const [, year, month, day, hour, minute, second = "00", fraction = "", offset] = parts;
  if (hour === undefined) {
    return fail(`"${text}" has no time`, `write it like ${year}-${month}-${day}T00:00:00+00:00`);
  }
  if (offset === undefined) {
    return fail(
      `"${text}" has no offset`,
      `write ${year}-${month}-${day}T${hour}:${minute}:${second}Z for UTC, or add an offset such as +02:00`,
    );
  }
  const fields = [year, month, day, hour, minute, second].map(Number);
  const local = Date.UTC(fields[0] ?? 0, (fields[1] ?? 0) - 1, fields[2], fields[3], fields[4], fields[5]);
  // A date or time that does not exist (30 February, 25:00) comes back as a different one.
  const expected = `${year}-${month}-${day}T${hour}:${minute}:${second}`;
  if (new Date(local).toISOString().slice(0, 19) !== expected) {
    return fail(`"${text}" does not exist`, "check the day and the time");
  }
  let shift = 0;
  if (offset.toUpperCase() !== "Z") {
    const [hours, minutes] = [Number(offset.slice(1, 3)), Number(offset.slice(-2))];
    if (hours > 23 || minutes > 59) return fail(`"${offset}" is not an offset`, "write it like +02:00");
    shift = (hours * 60 + minutes) * 60_000 * (offset.startsWith("-") ? -1 : 1);
  }
  return { ok: true, ms: local - shift + Math.trunc(Number(`0${fraction}`) * 1000) };
}
