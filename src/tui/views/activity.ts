/** The principal's own events: reloads, invalid files, agents that came and went. */
import type { ActivityEvent } from "../../contract/messages.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { wrapWords } from "../../terminal/text.ts";
import { moment } from "../format.ts";
import { selectedOf } from "../lists/list-ids.ts";
import { eventRows } from "../lists/other-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, PLAIN, RED, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawFilterLine } from "./filter-line.ts";
import { drawTable } from "./table.ts";

const LEVEL: Readonly<Record<ActivityEvent["level"], Span>> = {
  INFO: ["  ", PLAIN],
  WARN: ["! ", YELLOW | BOLD],
  ERROR: ["✗ ", RED | BOLD],
};

/** Rows for the full text of the selected event. */
const DETAIL = 5;

export function drawActivity(region: Region, state: State): void {
  const list = state.lists.activity;
  const lower = region.height > 14 ? DETAIL + 1 : 0;
  const body = drawFilterLine(region.sub(0, 0, region.width, region.height - lower), state, "activity", [
    "time",
  ]);
  const rows = eventRows(state, list);
  drawTable<ActivityEvent>(body, {
    name: "activity",
    rows,
    list,
    id: (event) => String(event.seq),
    empty: state.data.eventsMissing ?? "Nothing has happened since the principal started.",
    columns: [
      { title: "WHEN", width: 16, cell: (event) => [[moment(event.timestamp_ms, state.now), DIM]] },
      { title: "PART", width: 10, cell: (event) => [[event.kind, CYAN]] },
      {
        title: "MESSAGE",
        width: 20,
        grow: 1,
        cell: (event) => [LEVEL[event.level], [printable(event.message.replaceAll("\n", " ")), PLAIN]],
      },
    ],
  });
  if (lower === 0) return;
  const detail = region.sub(0, region.height - lower, region.width, lower);
  detail.rule(0);
  const selected = selectedOf(state, "activity");
  const event = rows.find((row) => String(row.seq) === selected);
  if (event === undefined) return;
  wrapWords(printable(event.message.replaceAll("\n", " ")), detail.width - 2)
    .slice(0, DETAIL)
    .forEach((line, i) => {
      detail.text(1, i + 1, line);
    });
}
