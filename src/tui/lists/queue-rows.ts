/** The rows of the queue: what waits for agents in order, held runs by what holds them, backfills. */
import type { BackfillSummary, Queue } from "../../contract/messages.ts";
import { count } from "../format.ts";
import { memo } from "../memo.ts";
import type { ListState, QueueData, State } from "../state.ts";
import { matcher } from "./filter.ts";

type QueueEntry = Queue["entries"][number];
type HeldRun = Queue["held"][number];

export type QueueRow =
  | { readonly kind: "heading"; readonly id: string; readonly text: string }
  /** @param place from 1 */
  | { readonly kind: "entry"; readonly id: string; readonly place: number; readonly entry: QueueEntry }
  | { readonly kind: "held"; readonly id: string; readonly held: HeldRun }
  | { readonly kind: "backfill"; readonly id: string; readonly backfill: BackfillSummary };

const NOTHING: readonly QueueRow[] = [];

const compute = memo((data: QueueData, filter: string): readonly QueueRow[] => {
  const matches = matcher(filter);
  const { queue, backfills } = data;
  const entries = queue.entries.flatMap((entry, index): QueueRow[] => {
    const { workflow_id, workflow_instance_id: run, slice, tasks, reason } = entry;
    if (!matches(`${workflow_id} ${run} ${tasks.join(" ")} ${reason}`)) return [];
    return [{ kind: "entry", id: `entry ${run} ${slice}`, place: index + 1, entry }];
  });
  const rows: QueueRow[] = [...entries];
  const more = queue.queued - queue.entries.length;
  if (more > 0) rows.push(heading("more", `and ${count(more, "more entry", "more entries")}`));
  const held = queue.held.filter((one) =>
    matches(`${one.workflow_id} ${one.workflow_instance_id} ${one.group ?? ""} ${one.kind} ${one.reason}`),
  );
  for (const [name, runs] of Map.groupBy(held, holderOf)) {
    rows.push(heading(`held ${name}`, `${name}: ${count(runs.length, "run")} held`));
    for (const one of runs) rows.push({ kind: "held", id: `held ${one.workflow_instance_id}`, held: one });
  }
  const shown = backfills.filter((one) =>
    matches(`${one.workflow_id} ${one.backfill_id} ${one.state} backfill`),
  );
  if (shown.length > 0) rows.push(heading("backfills", count(shown.length, "backfill")));
  for (const backfill of shown)
    rows.push({ kind: "backfill", id: `backfill ${backfill.backfill_id}`, backfill });
  return rows;
});

function heading(id: string, text: string): QueueRow {
  return { kind: "heading", id: `heading ${id}`, text };
}

/** What holds a run, as a heading. */
function holderOf({ kind, group, workflow_id }: HeldRun): string {
  return kind === "pause" ? `${workflow_id} is paused` : `group ${group ?? workflow_id}`;
}

/** The rows that the filter leaves. */
export function queueRows(state: State, list: Readonly<ListState> | undefined): readonly QueueRow[] {
  return state.data.queue === null ? NOTHING : compute(state.data.queue, list?.filter ?? "");
}

/** The run of a row; null if it has none. */
export function runOfRow(row: QueueRow | undefined): string | null {
  if (row?.kind === "entry") return row.entry.workflow_instance_id;
  return row?.kind === "held" ? row.held.workflow_instance_id : null;
}
