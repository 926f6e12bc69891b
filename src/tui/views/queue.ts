/** The queue: the pools, what waits in order and why, held runs, backfills. */

import type { BackfillSummary, PoolSummary } from "../../contract/messages.ts";
import { printable } from "../../terminal/foreign-text.ts";
import { pad, width, wrapWords } from "../../terminal/text.ts";
import { backfillProgress } from "../backfill-words.ts";
import { age, count, moment } from "../format.ts";
import { type QueueRow, queueRows } from "../lists/queue-rows.ts";
import type { Region, Span } from "../screen/canvas.ts";
import { BOLD, CYAN, DIM, GREEN, MAGENTA, PLAIN, RED, YELLOW } from "../screen/style.ts";
import type { State } from "../state.ts";
import { drawDetailedList } from "./detailed-list.ts";
import { progressBar } from "./spark.ts";
import type { Column } from "./table.ts";

/** Rows for what is to be said of the selected row. */
const DETAIL = 5;
/** Columns of a pool's bar. */
const BAR = 16;

export function drawQueue(region: Region, state: State): void {
  const { data } = state;
  const list = state.lists.queue;
  const pools = data.queue?.pools ?? [];
  const most = region.height < 16 ? 2 : region.height < 30 ? 4 : 10;
  const above = drawPools(region, pools, most);
  drawDetailedList(region.sub(0, above, region.width, region.height - above), state, {
    name: "queue",
    rows: queueRows(state, list),
    columns: columns(state.now),
    empty: emptyText(state, list?.filter ?? ""),
    height: region.height,
    rowsBelow: DETAIL,
    about: (row, width) => detailLines(row, width, state.now),
  });
}

/** A line for each pool. Returns how many. */
function drawPools(region: Region, pools: readonly PoolSummary[], most: number): number {
  const shown = pools.length <= most ? pools : pools.slice(0, most - 1);
  const names = Math.min(24, Math.max(0, ...pools.map(({ name }) => width(name))));
  for (const [y, pool] of shown.entries()) region.spans(1, y, poolLine(pool, names), region.width - 2);
  if (shown.length < pools.length)
    region.spans(1, shown.length, [[`and ${count(pools.length - shown.length, "more pool")}`, DIM]]);
  return Math.min(pools.length, most);
}

function poolLine({ name, size, used, waiting, holders }: PoolSummary, names: number): Span[] {
  const title: Span = [`${pad(printable(name), names)}  `, BOLD];
  const wait: Span = [waiting === 0 ? "" : `  ${waiting} ${waiting === 1 ? "waits" : "wait"}`, YELLOW];
  if (size === null) return [title, ["nobody made it: cdktr pools set", RED], wait];
  const isFull = used >= size;
  const line: Span[] = [
    title,
    ...progressBar(size === 0 ? 0 : used / size, BAR, used > size ? RED : isFull ? YELLOW : CYAN),
    [`  ${used}/${size}`, isFull ? YELLOW : PLAIN],
  ];
  if (used > size) line.push([" drains", RED]);
  else if (size === 0) line.push([" closed", RED]);
  line.push(wait);
  const named = holders.map(({ workflow_id, task_id, slots }) => {
    const taken = slots === 1 ? "" : ` (${slots})`;
    return `${task_id} of ${workflow_id}${taken}`;
  });
  if (named.length > 0) line.push([`  ${printable(named.join(", "))}`, DIM]);
  return line;
}

function columns(now: number): Column<QueueRow>[] {
  return [
    { title: "#", width: 3, align: "right", cell: (row) => [placeOf(row)] },
    { title: "WORKFLOW", width: 12, grow: 2, cell: (row) => [[workflowOf(row), PLAIN]] },
    { title: "WHAT", width: 12, grow: 2, cell: whatOf },
    { title: "PRI", width: 3, align: "right", cell: (row) => [priorityOf(row)] },
    { title: "SINCE", width: 5, align: "right", cell: (row) => [[sinceOf(row, now), DIM]] },
    { title: "WHY", width: 24, grow: 5, cell: (row) => [[whyOf(row), row.kind === "entry" ? PLAIN : DIM]] },
  ];
}

function placeOf(row: QueueRow): Span {
  if (row.kind === "entry") return [String(row.place), PLAIN];
  if (row.kind === "held") return [row.held.kind === "pause" ? "‖" : "◷", YELLOW];
  if (row.kind === "backfill") return BACKFILL_LOOK[row.backfill.state];
  return ["", PLAIN];
}

const BACKFILL_LOOK: Readonly<Record<BackfillSummary["state"], Span>> = {
  ACTIVE: ["▶", CYAN],
  PAUSED: ["‖", YELLOW],
  CANCELLED: ["✗", MAGENTA],
  DONE: ["✓", GREEN],
};

function workflowOf(row: QueueRow): string {
  if (row.kind === "entry") return row.entry.workflow_id;
  if (row.kind === "held") return row.held.workflow_id;
  return row.kind === "backfill" ? row.backfill.workflow_id : "";
}

function whatOf(row: QueueRow): Span[] {
  if (row.kind === "entry") {
    const { slice, tasks } = row.entry;
    return [[slice === 0 ? "the whole run" : printable(tasks.join(", ")), DIM]];
  }
  if (row.kind === "held") return [[`run ${row.held.workflow_instance_id.slice(0, 8)}`, DIM]];
  if (row.kind !== "backfill") return [];
  const { total, done } = backfillProgress(row.backfill);
  const text = `${done}/${total}`;
  return [...progressBar(total === 0 ? 1 : done / total, 6, CYAN), [` ${text}`, DIM]];
}

function priorityOf(row: QueueRow): Span {
  if (row.kind === "heading") return ["", PLAIN];
  const priority =
    row.kind === "entry"
      ? row.entry.priority
      : row.kind === "held"
        ? row.held.priority
        : row.backfill.priority;
  if (priority === null) return ["–", DIM];
  return [String(priority), priority === 5 ? DIM : priority > 5 ? CYAN : PLAIN];
}

function sinceOf(row: QueueRow, now: number): string {
  if (row.kind === "entry") return age(now - row.entry.since_ms);
  if (row.kind === "held") return age(now - row.held.since_ms);
  return row.kind === "backfill" ? age(now - row.backfill.created_at_ms) : "";
}

function whyOf(row: QueueRow): string {
  if (row.kind === "entry") return printable(row.entry.reason);
  if (row.kind === "held") return printable(row.held.reason);
  return row.kind === "backfill" ? printable(backfillProgress(row.backfill).text) : "";
}

function detailLines(row: QueueRow, columns: number, now: number): Span[][] {
  const lines: Span[][] = [];
  const add = (text: string, style = PLAIN) => {
    for (const line of wrapWords(printable(text), columns)) lines.push([[line, style]]);
  };
  switch (row.kind) {
    case "heading":
      add(row.text);
      break;
    case "entry":
    case "held": {
      const {
        workflow_id,
        workflow_instance_id: run,
        since_ms,
        reason,
        hint,
      } = row.kind === "entry" ? row.entry : row.held;
      add(`Run ${run} of ${workflow_id}, since ${moment(since_ms, now)}`, DIM);
      add(reason, YELLOW);
      if (hint !== null) add(hint, DIM);
      break;
    }
    case "backfill": {
      const { backfill_id, workflow_id, from, to, reverse, reprocess, max_active, actor, note } =
        row.backfill;
      const by = actor === null ? "" : ` by ${actor}`;
      add(`Backfill ${backfill_id} of ${workflow_id}${by}`, DIM);
      add(
        `${from} to ${to}${reverse ? ", the newest first" : ""}; ${max_active} at once; reprocess ${reprocess}`,
      );
      add(backfillProgress(row.backfill).counts, DIM);
      if (note !== null) add(note, YELLOW);
    }
  }
  return lines;
}

function emptyText({ data }: State, filter: string): string {
  if (data.queueMissing !== null) return data.queueMissing;
  if (data.queue === null) return "Loading …";
  if (filter !== "") return `Nothing in the queue matches "${filter}". Esc clears the filter.`;
  return "Nothing waits for an agent, and no run is held.";
}
