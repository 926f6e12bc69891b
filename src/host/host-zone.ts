/**
 * The time zone of this host as the C library sees it: `TZ` may be a path or a POSIX rule (`JST-9`), and `/etc/localtime` a regular file.
 * The runtime silently uses UTC in all of these cases.
 */
import { readFileSync, realpathSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { CdktrError } from "../errors.ts";
import { nearest } from "../terminal/did-you-mean.ts";
import { isTimezone, timezoneNames } from "./timezones.ts";

/** The host's time zone cannot be mapped to an IANA name. */
export class UnknownZoneError extends CdktrError {}

const LOCALTIME = "/etc/localtime";
/** The part of a zone file's path before the zone's name. */
const DIRECTORY = /^.*\/zoneinfo\/(?:(?:posix|right)\/)?/;
const NAME = "(?:<[A-Za-z0-9+-]+>|[A-Za-z]{3,})";
const OFFSET = "[+-]?\\d{1,3}(?::\\d{2}){0,2}";
const RULE = new RegExp(`^${NAME}(${OFFSET})(?:${NAME}(${OFFSET})?(,\\S+)?)?$`);
/** The C library's default for the clock changes of a rule with daylight saving that does not specify them. */
const DEFAULT_CHANGES = ",M3.2.0,M11.1.0";

/**
 * The IANA name of the host's zone; for a rule, the name of a zone with that rule.
 * @param tz the variable `TZ`
 * @throws UnknownZoneError when there is none
 */
export function hostZone(tz = process.env.TZ, localtime = LOCALTIME): string {
  if (tz === "") return "UTC";
  if (tz === undefined) {
    const known = new Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (!/^(Etc\/)?(UTC|Unknown)$/.test(known)) return known;
    return zoneOfFile(localtime) ?? "UTC";
  }
  const name = tz.replace(/^:/, "");
  if (isTimezone(name)) return name;
  const found = isAbsolute(name) ? zoneOfFile(name) : zoneOfRule(name);
  if (found !== undefined) return found;
  const near = nearest(name.replace(DIRECTORY, ""), timezoneNames());
  throw new UnknownZoneError(`TZ is "${tz}", which is not a time zone that schedules can use.`, {
    hint:
      near === undefined
        ? "Give an IANA name, such as TZ=Europe/Berlin."
        : `Give an IANA name; did you mean TZ=${near}?`,
  });
}

/** The zone of a compiled zone file; undefined if the file does not exist or no zone has its rule. */
function zoneOfFile(path: string): string | undefined {
  for (const file of [path, real(path)]) {
    const name = file?.replace(DIRECTORY, "");
    if (name !== undefined && name !== file && isTimezone(name)) return name;
  }
  const rule = ruleOfFile(path);
  return rule === undefined ? undefined : zoneOfRule(rule);
}

function zoneOfRule(rule: string): string | undefined {
  const wanted = meaningOf(rule);
  if (wanted === undefined) return undefined;
  const [, hours] = /^([+-]?\d{1,2})$/.exec(wanted) ?? [];
  const fixed = Number(hours) === 0 ? "UTC" : `Etc/GMT${Number(hours) > 0 ? "+" : ""}${Number(hours)}`;
  if (hours !== undefined && isTimezone(fixed)) return fixed;
  const directory = process.env.TZDIR || "/usr/share/zoneinfo";
  return timezoneNames().find((name) => {
    const known = ruleOfFile(join(directory, name));
    return known !== undefined && meaningOf(known) === wanted;
  });
}

/** A rule in normalized form: without its abbreviations and with defaults filled in; undefined if it is not a rule. */
function meaningOf(rule: string): string | undefined {
  const match = RULE.exec(rule);
  if (match === null) return undefined;
  const [, standard = "", summer, changes] = match;
  const offset = plain(standard);
  const hasSummer = rule.slice(rule.indexOf(standard) + standard.length) !== "";
  return hasSummer
    ? `${offset}/${summer === undefined ? "" : plain(summer)}${changes ?? DEFAULT_CHANGES}`
    : offset;
}

function plain(offset: string): string {
  return offset
    .replace(/^\+/, "")
    .replace(/(^|-)0+(?=\d)/, "$1")
    .replace(/(:00)+$/, "");
}

/** The rule in the last line of a compiled zone file. */
function ruleOfFile(path: string): string | undefined {
  try {
    const text = readFileSync(path, "latin1");
    return text.startsWith("TZif") ? /\n([^\n]*)\n$/.exec(text)?.[1] : undefined;
  } catch {
    return undefined;
  }
}

function real(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
