/** The calendar: what the schedules will do in 24 hours, by workflow, and the load over that time. */

import { remarksOf } from "../../contract/forecast-remarks.ts";
import type { Forecast } from "../../contract/messages.ts";
import { DAYS, MONTHS, shortName } from "../../terminal/calendar-names.ts";
import { pad, width as textWidth, wrapWords } from "../../terminal/text.ts";
import { calendarRows } from "../lists/calendar-rows.ts";
import { selectedOf } from "../lists/list-ids.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, GREEN, PLAIN, RED, type Style, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawFilterLine } from "./filter-line.ts";
import { bar } from "./spark.ts";
import { drawTable } from "./table.ts";

type ForecastWorkflow = Forecast["workflows"][number];

/** How many buckets a column may stand for. */
const FOLDS = [1, 2, 3, 4, 6, 8, 12] as const;
const BUCKETS = 96;
const HOUR_MS = 3_600_000;

/** How a forecast is laid out: each column stands for `fold` buckets. */
interface Layout {
  readonly names: number;
  readonly fold: number;
  readonly columns: number;
  /** When a column begins, ms since the epoch. */
  readonly at: (column: number) => number;
}

export function drawCalendar(region: Region, state: State): void {
  const { forecast } = state.data;
  const list = state.lists.calendar;
  if (forecast === null) {
    region.text(1, 2, state.data.forecastMissing ?? "Loading …", DIM);
    return;
  }
  const layout = layoutOf(forecast, region.width);
  const load = loadLines(forecast, layout, region.height < 30 ? 2 : 6);
  const detail = region.height > 16 ? (region.height < 30 ? 3 : 7) : 0;
  const lower = load.length + 1 + detail;
  const upper = region.sub(0, 0, region.width, region.height - lower);
  const body = drawFilterLine(upper, state, "calendar", []);
  const rows = calendarRows(state, list);
  drawTable<ForecastWorkflow>(body, {
    name: "calendar",
    rows,
    list,
    id: (row) => row.workflow_id,
    empty:
      (list?.filter ?? "") === ""
        ? "Nothing fires and nothing runs in this time."
        : `No workflow matches "${list?.filter}". Esc clears the filter.`,
    columns: [
      {
        title: dayOf(forecast.from_ms),
        width: layout.names,
        cell: ({ workflow_id, is_paused }) => [
          [is_paused ? "‖ " : "", YELLOW],
          [workflow_id, is_paused ? DIM : PLAIN],
        ],
      },
      { title: ruler(layout), width: layout.columns, cell: (row) => cells(row, forecast, layout) },
    ],
  });
  const below = region.sub(0, region.height - lower, region.width, lower);
  below.rule(0);
  const { truncated_at_ms, warning } = forecast;
  const cut =
    truncated_at_ms === null
      ? null
      : `more firings than can be computed: it ends at ${hourMinute(truncated_at_ms)}`;
  const note = cut ?? warning;
  if (note !== null) below.textRight(0, ` ${note} `, YELLOW, 1);
  for (const [y, line] of load.entries()) below.spans(0, y + 1, line);
  if (detail === 0) return;
  const id = selectedOf(state, "calendar");
  const lines = rows.length === 0 || id === null ? [] : detailLines(forecast, id, below.width - 2);
  for (const [y, line] of lines.slice(0, detail).entries())
    below.spans(1, y + 1 + load.length, line, below.width - 2);
}

function layoutOf({ workflows, load, from_ms }: Forecast, width: number): Layout {
  const labels = [
    ...workflows.map(({ workflow_id, is_paused }) => textWidth(workflow_id) + (is_paused ? 2 : 0)),
    ...Object.entries(load.pools).map(([name, { size }]) => textWidth(name) + 2 * String(size).length + 2),
  ];
  const names = Math.min(Math.max(13, ...labels), width < 100 ? 18 : 22);
  const room = width - names - 2;
  const fold = FOLDS.find((one) => BUCKETS / one <= room) ?? 12;
  const at = (column: number) => from_ms + column * fold * load.bucket_ms;
  return { names, fold, columns: BUCKETS / fold, at };
}

/** The hours above the columns, by this host's clock: `10  12  14`. */
function ruler({ columns, at }: Layout): string {
  const perHour = HOUR_MS / (at(1) - at(0));
  const step = [1, 2, 3, 6, 12].find((hours) => hours * perHour >= 4) ?? 12;
  let text = "";
  for (let column = 0; column < columns; column++) {
    if (text.length > column) continue;
    const date = new Date(at(column));
    const isHour =
      column === 0 ? date.getMinutes() === 0 : new Date(at(column - 1)).getHours() !== date.getHours();
    const isMarked = isHour && date.getHours() % step === 0;
    text += isMarked && column + 2 <= columns ? String(date.getHours()).padStart(2, "0") : " ";
  }
  return text;
}

/** A workflow over time: `●` starts, `━` goes on, a number starts several, `×` does not run. */
function cells(
  { workflow_id, starts, running, is_paused }: ForecastWorkflow,
  forecast: Forecast,
  layout: Layout,
): Span[] {
  const { columns, fold } = layout;
  const missed = new Set(
    forecast.firings
      .filter((firing) => firing.workflow_id === workflow_id && !RUNS.has(firing.outcome))
      .map(({ at_ms }) => Math.floor((at_ms - forecast.from_ms) / (fold * forecast.load.bucket_ms))),
  );
  return Array.from({ length: columns }, (_, column): Span => {
    const begun = folded(starts, column, fold).reduce((sum, one) => sum + one, 0);
    const most = Math.max(0, ...folded(running, column, fold));
    const style: Style = is_paused ? DIM : most > 1 ? YELLOW : CYAN;
    if (begun > 0) return [begun === 1 ? "●" : begun > 9 ? "+" : String(begun), style | BOLD];
    if (missed.has(column)) return ["×", YELLOW];
    if (most > 0) return ["━", style];
    return ["·", DIM];
  });
}

const RUNS: ReadonlySet<string> = new Set(["runs", "cancels", "cancelled"]);

function folded(values: readonly number[], column: number, fold: number): readonly number[] {
  return values.slice(column * fold, (column + 1) * fold);
}

/** Lines with the load: agents, then runs, then the pools that are used most. */
function loadLines({ load }: Forecast, layout: Layout, most: number): Span[][] {
  const { names, columns, fold } = layout;
  const line = (title: string, values: readonly number[], room: number): Span[] => {
    const peak = Math.max(0, ...values);
    const scale = Math.max(room, peak, 1);
    const spans = Array.from({ length: columns }, (_, column): Span => {
      const value = Math.max(0, ...folded(values, column, fold));
      if (value === 0) return ["·", DIM];
      return [bar(value / scale), room > 0 && value >= room ? RED : value * 4 >= room * 3 ? YELLOW : GREEN];
    });
    const value = room > 0 ? `${peak}/${room}` : String(peak);
    return [[`${pad(title, names - value.length - 1)} ${value} `, DIM], ...spans];
  };
  const share = ([, { size, used }]: [string, { size: number; used: number[] }]) =>
    Math.max(0, ...used) / Math.max(1, size);
  const pools = Object.entries(load.pools)
    .filter((one) => share(one) > 0)
    .sort((a, b) => share(b) - share(a));
  const runs = line("runs", load.runs, 0).map(
    ([text, style], i): Span => [text, i > 0 && style !== DIM ? CYAN : style],
  );
  return [
    line("agents", load.places, load.room),
    ...pools.map(([name, { size, used }]) => line(name, used, size)),
    runs,
  ].slice(0, most);
}

/** The coming firings of a workflow, in words: `20:00  until about 21:30, waits about 30m for group "eu"`. */
function detailLines({ firings, from_ms, left_out }: Forecast, id: string, columns: number): Span[][] {
  const own = firings.filter(({ workflow_id }) => workflow_id === id);
  const time = (ms: number) => momentOf(ms, from_ms);
  const lines = own.flatMap((firing): Span[][] => {
    const { at_ms, starts_ms, ends_ms, expected_ms } = firing;
    const end =
      starts_ms === null || ends_ms === null || expected_ms === null ? [] : [`until about ${time(ends_ms)}`];
    const remarks = remarksOf(firing, time);
    const text = wrapWords([...end, ...remarks].join(", "), columns - 12);
    return text.map((part, i): Span[] => [
      [(i === 0 ? time(at_ms) : "").padEnd(12), BOLD],
      [part, remarks.length === 0 ? DIM : YELLOW],
    ]);
  });
  if (lines.length > 0) return lines;
  return [
    [
      [
        left_out > 0
          ? "there are more firings than are listed here; see cdktr forecast"
          : "it does not fire in this time",
        DIM,
      ],
    ],
  ];
}

/** `02:40`, or `Thu 02:40` on another day than the first. */
function momentOf(ms: number, from_ms: number): string {
  const day = dayOf(ms);
  return day === dayOf(from_ms) ? hourMinute(ms) : `${day.slice(0, 3)} ${hourMinute(ms)}`;
}

function dayOf(ms: number): string {
  const date = new Date(ms);
  return `${shortName(DAYS[date.getDay()] ?? "")} ${date.getDate()} ${shortName(MONTHS[date.getMonth()] ?? "")}`;
}

function hourMinute(ms: number): string {
  const date = new Date(ms);
  return `${String(date.getHours()).padStart(2, "0")}:${String(date.getMinutes()).padStart(2, "0")}`;
}
