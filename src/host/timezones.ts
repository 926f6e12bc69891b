/** The time zones of this system, by their IANA names. */

/** Number of names to remember that were asked for. */
const KEPT = 1000;
const zones = new Set<string>();

/** Whether there is one with this name. */
export function isTimezone(name: string): boolean {
  if (zones.has(name)) return true;
  if (!/^[A-Za-z]/.test(name)) return false;
  try {
    new Intl.DateTimeFormat("en", { timeZone: name });
    if (zones.size >= KEPT) zones.clear();
    zones.add(name);
    return true;
  } catch {
    return false;
  }
}

/** The names of all time zones. */
export function timezoneNames(): readonly string[] {
  return ["UTC", ...Intl.supportedValuesOf("timeZone")];
}
