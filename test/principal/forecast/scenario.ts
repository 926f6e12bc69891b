/**
 * Scenarios of forecasts as texts. In:
 *
 *   now 2026-01-05T00:00Z            next 24h, or: to 2026-01-06T00:00Z
 *   agent a 2 gpu=true               with so many places, and labels
 *   pool warehouse 4
 *   calendar workdays MON-FRI
 *   workflow etl "0 2 * * *" 30m     and any of: zone=… catchup=… group=… max=… conflict=… priority=… paused=TIME|- pool=NAME:SLOTS needs=k=v
 *                                    jitter=MS start=TIME end=TIME calendar=NAME and=CRON part=NAME:DURATION[:POOL:SLOTS][<NAME]
 *   run r1 etl running 2026-01-04T23:00Z ends=2026-01-05T02:30Z agent=a   or: queued, group, later start=…, paused
 *
 * Duration `?`: no run has completed yet. Out, a line for each firing: time, workflow, when it runs, remarks.
 */
import { remarksOf } from "../../../src/contract/forecast-remarks.ts";
import type { Forecast } from "../../../src/contract/messages.ts";
import { forecastInSteps } from "../../../src/principal/forecast/simulate.ts";
import type {
  ExpectedWorkflow,
  ForecastInput,
  Part,
  PresentRun,
} from "../../../src/principal/forecast/simulation-input.ts";
import { needsOfSlice } from "../../../src/principal/limits/needs.ts";
import type { AgentRoom } from "../../../src/principal/runs/wait-reasons.ts";
import { type Calendar, calendarOf } from "../../../src/workflow/calendar.ts";
import { parseDuration } from "../../../src/workflow/duration.ts";
import type { GroupOfRun } from "../../../src/workflow/group.ts";
import { readPlacement } from "../../../src/workflow/placement.ts";
import type { Entry } from "../../../src/workflow/schedules.ts";

type Options = ReadonlyMap<string, readonly string[]>;

/** The words of a line; those in quotes are one. */
function wordsOf(line: string): string[] {
  return [...line.matchAll(/((?:[^\s"]|"[^"]*")+)/g)].map(([word]) => word.replaceAll('"', ""));
}

function optionsOf(words: readonly string[]): Options {
  return Map.groupBy(words, (word) => word.split("=", 1)[0] ?? "") as unknown as Options;
}

const all = (options: Options, name: string): string[] =>
  (options.get(name) ?? []).map((word) => word.slice(name.length + 1));
const one = (options: Options, name: string): string | undefined => all(options, name)[0];

function duration(text: string): number {
  const parsed = parseDuration(text);
  if (!parsed.ok) throw new Error(parsed.message);
  return parsed.ms;
}

const instant = (text: string): number => {
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) throw new Error(`${text} is no time`);
  return ms;
};

function needs(options: Options, priority: number, pool?: Readonly<Record<string, number>>): string {
  const runs_on = Object.fromEntries(all(options, "needs").map((label) => label.split("=")));
  const key = JSON.stringify({
    ...(pool === undefined ? {} : { pool }),
    ...(Object.keys(runs_on).length === 0 ? {} : { runs_on }),
  });
  return needsOfSlice(readPlacement(key), 1, false, priority);
}

function slotsOf(text: string | undefined): Readonly<Record<string, number>> | undefined {
  const [name, count] = text?.split(":") ?? [];
  return name === undefined ? undefined : { [name]: Number(count) };
}

function partsOf(options: Options, takes: number | null, priority: number): Part[] {
  const named = all(options, "part").map((text) => {
    const [own = "", ...after] = text.split("<");
    const [name = "", time = "", ...pool] = own.split(":");
    return { name, time, after, pool: pool.length === 0 ? undefined : slotsOf(pool.join(":")) };
  });
  if (named.length === 0)
    return [
      {
        after: [],
        duration_ms: takes ?? 0,
        needs: needs(options, priority, slotsOf(one(options, "pool"))),
        isWhole: !options.has("pool"),
      },
    ];
  return named.map(({ name, time, after, pool }) => ({
    after: after.map((other) => {
      const part = named.findIndex((one) => one.name === other);
      return { part, ms: duration(named[part]?.time ?? "0s") };
    }),
    duration_ms: duration(time),
    needs: name.startsWith("wait") ? null : needs(options, priority, pool),
  }));
}

function groupOf(id: string, options: Options): GroupOfRun | null {
  const [group, max, conflict] = ["group", "max", "conflict"].map((name) => one(options, name));
  if (group === undefined && max === undefined) return null;
  return {
    key: group === undefined ? `w ${id}` : `g ${group}`,
    max: Number(max ?? 1),
    on_conflict: (conflict ?? "queue") as GroupOfRun["on_conflict"],
  };
}

function workflowOf([id = "", cron = "", takes = "", ...rest]: readonly string[]): ExpectedWorkflow {
  const options = optionsOf(rest);
  const [start, end] = ["start", "end"].map((name) => one(options, name));
  const priority = Number(one(options, "priority") ?? 5);
  const paused = one(options, "paused");
  const group = groupOf(id, options);
  const p50 = takes === "?" ? null : duration(takes);
  const zone = one(options, "zone") ?? "UTC";
  return {
    id,
    entries: [cron, ...all(options, "and")].map((expression) => {
      const entry: Entry = {
        cron: expression.replaceAll("_", " "),
        timezone: zone,
        start_time_ms: start === undefined ? null : instant(start),
        ...(end === undefined ? {} : { end_time_ms: instant(end) }),
        catchup: (one(options, "catchup") ?? "latest") as Entry["catchup"],
        ...(options.has("calendar") ? { calendar: one(options, "calendar") } : {}),
      };
      return { entry, zone, offset_ms: Number(one(options, "jitter") ?? 0) };
    }),
    expected: { p50_ms: p50, p90_ms: p50, runs: p50 === null ? 0 : 20 },
    priority,
    ...(paused === undefined ? {} : { paused_until_ms: paused === "-" ? null : instant(paused) }),
    parts: () => partsOf(options, p50, priority),
    groupOf: () => (one(options, "group") === "!" ? { fail: "concurrency.group has no value" } : group),
  };
}

function runOf([id = "", workflow_id = "", state = "", at = "", ...rest]: readonly string[]): PresentRun {
  const options = optionsOf(rest);
  const [ends, start, takes, agent] = ["ends", "start", "takes", "agent"].map((name) => one(options, name));
  const priority = Number(one(options, "priority") ?? 5);
  return {
    id,
    workflow_id,
    priority,
    group: groupOf(workflow_id, options),
    since_ms: instant(at),
    at_ms: instant(at),
    state: state as PresentRun["state"],
    ...(ends === undefined ? {} : { ends_ms: instant(ends) }),
    ...(start === undefined ? {} : { start_ms: instant(start) }),
    leases: agent === undefined ? [] : [{ agent_id: agent, slots: slotsOf(one(options, "pool")) ?? {} }],
    parts: takes === undefined ? [] : partsOf(options, duration(takes), priority),
  };
}

function agentOf([agent_id = "", places = "", ...labels]: readonly string[]): AgentRoom {
  return {
    agent_id,
    status: "UP",
    labels: Object.fromEntries(labels.map((label) => label.split("="))),
    version: "1",
    protocol: 99,
    leases: 0,
    max_leases: Number(places),
  };
}

/** The input that a text describes. */
export function inputOf(text: string): ForecastInput {
  const workflows: ExpectedWorkflow[] = [];
  const agents: AgentRoom[] = [];
  const runs: PresentRun[] = [];
  const pools = new Map<string, number>();
  const calendars = new Map<string, Calendar>();
  let [now, to, limit, most] = [0, 0, 1000, 50_000];
  let told: ReadonlySet<string> | undefined;
  for (const line of text.split("\n")) {
    const [kind, ...words] = wordsOf(line);
    const [first = "", second = "", third = ""] = words;
    if (kind === undefined) continue;
    else if (kind === "now") {
      now = instant(first);
      to = second === "to" ? instant(third) : now + duration(third);
    } else if (kind === "agent") agents.push(agentOf(words));
    else if (kind === "pool") pools.set(first, Number(second));
    else if (kind === "calendar") calendars.set(first, calendarOf({ include: words.slice(1) }));
    else if (kind === "workflow") workflows.push(workflowOf(words));
    else if (kind === "run") runs.push(runOf(words));
    else if (kind === "only") told = new Set(words);
    else if (kind === "limit") limit = Number(first);
    else if (kind === "most") most = Number(first);
    else throw new Error(`what is "${kind}"?`);
  }
  return {
    now_ms: now,
    from_ms: now,
    to_ms: to,
    workflows,
    calendars,
    agents: agents.length === 0 ? [agentOf(["a", "100"])] : agents,
    pools,
    runs,
    told,
    limit,
    most,
    givesSecrets: true,
  };
}

const time = (ms: number | null): string => (ms === null ? "-" : new Date(ms).toISOString().slice(11, 16));

/** The whole forecast at once. */
export function forecast(input: ForecastInput): Forecast {
  const steps = forecastInSteps(input);
  for (let step = steps.next(); ; step = steps.next()) if (step.done === true) return step.value;
}

/** The firings of a forecast, a line each. */
function linesOf({ firings }: Forecast): string[] {
  const [first] = firings;
  return firings.map((firing) => {
    const day = Math.floor(firing.at_ms / 86_400_000) - Math.floor((first?.at_ms ?? 0) / 86_400_000);
    const span = firing.starts_ms === null ? "-" : `${time(firing.starts_ms)}-${time(firing.ends_ms)}`;
    const remarks = remarksOf(firing, time).join("; ");
    return `${day === 0 ? "" : `+${day} `}${time(firing.at_ms)} ${firing.workflow_id} ${span} ${remarks}`.trimEnd();
  });
}

/** What the forecast of a text says. */
export function said(text: string): string[] {
  return linesOf(forecast(inputOf(text)));
}
