/** The text of a calendar file (iCalendar, RFC 5545) as events with properties. */

/** A line such as `DTSTART;VALUE=DATE:20261225`. */
export interface IcsProperty {
  /** In upper case. */
  readonly name: string;
  /** By name in upper case. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly value: string;
  /** Where it begins, from 1. */
  readonly line: number;
}

/** An event: its properties, without those of alarms in it. */
export interface IcsEvent {
  readonly properties: readonly IcsProperty[];
  readonly line: number;
}

/** What is wrong with a calendar file. */
export class IcsProblem extends Error {
  readonly line: number;
  readonly help: string | undefined;

  constructor(line: number, message: string, help?: string) {
    super(message);
    this.line = line;
    this.help = help;
  }
}

/**
 * The events of a file.
 * @throws IcsProblem
 */
export function readIcsEvents(text: string, most: number): IcsEvent[] {
  const events: IcsEvent[] = [];
  const open: string[] = [];
  let properties: IcsProperty[] = [];
  let start = 0;
  let hasCalendar = false;
  for (const { line, text: content } of unfolded(text)) {
    const property = readProperty(content, line);
    const what = property.value.trim().toUpperCase();
    if (property.name === "BEGIN") {
      if (open.length === 0 && what !== "VCALENDAR")
        throw new IcsProblem(
          line,
          `BEGIN:${what} stands outside a calendar`,
          "the file must begin with BEGIN:VCALENDAR",
        );
      hasCalendar = true;
      open.push(what);
      if (what === "VEVENT" && open.length === 2) [properties, start] = [[], line];
    } else if (property.name === "END") {
      const begun = open.pop();
      if (begun !== what)
        throw new IcsProblem(
          line,
          `END:${what} ends nothing`,
          begun === undefined ? undefined : `END:${begun} is missing`,
        );
      if (what !== "VEVENT" || open.length !== 1) continue;
      if (events.length === most) throw new IcsProblem(start, `the file has more than ${most} events`);
      events.push({ properties, line: start });
    } else if (open.length === 0) {
      throw new IcsProblem(line, "this is no calendar", "the file must begin with BEGIN:VCALENDAR");
    } else if (open.length === 2 && open[1] === "VEVENT") properties.push(property);
  }
  const [unclosed] = open.slice(-1);
  if (unclosed !== undefined)
    throw new IcsProblem(text.split("\n").length, `END:${unclosed} is missing`, "is the file complete?");
  if (!hasCalendar)
    throw new IcsProblem(1, "this is no calendar", "the file must begin with BEGIN:VCALENDAR");
  return events;
}

/** Lines with those that continue them: they begin with a blank. */
function* unfolded(text: string): Iterable<{ line: number; text: string }> {
  const body = text.startsWith("\ufeff") ? text.slice(1) : text;
  let at = 0;
  let content = "";
  for (const [n, raw] of body.split("\n").entries()) {
    const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
    if (/^[ \t]/.test(line)) {
      content += line.slice(1);
      continue;
    }
    if (content.trim() !== "") yield { line: at, text: content };
    [at, content] = [n + 1, line];
  }
  if (content.trim() !== "") yield { line: at, text: content };
}

function readProperty(text: string, line: number): IcsProperty {
  const name = /^[A-Za-z0-9-]+/.exec(text)?.[0] ?? "";
  const parameters: Record<string, string> = {};
  let rest = text.slice(name.length);
  while (name !== "" && rest.startsWith(";")) {
    const found = /^;([A-Za-z0-9-]+)=((?:"[^"]*"|[^";:,]*)(?:,(?:"[^"]*"|[^";:,]*))*)/.exec(rest);
    if (found === null) break;
    const [whole, key = "", value = ""] = found;
    parameters[key.toUpperCase()] = value.replaceAll('"', "");
    rest = rest.slice(whole.length);
  }
  if (name === "" || !rest.startsWith(":"))
    throw new IcsProblem(
      line,
      "this is no line of a calendar",
      "lines are NAME:VALUE, and those that continue one begin with a blank",
    );
  return { name: name.toUpperCase(), parameters, value: rest.slice(1), line };
}
