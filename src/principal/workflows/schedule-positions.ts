/**
 * How far the schedules of the workflows have come. The state has it; it is kept in memory, because there may be tens of thousands, and each
 * change of a workflow would read all of them.
 */
import type { OperationalTx, ScheduleCursor } from "../../storage/operational/store.ts";
import { type Entry, entryKey, type Scheduled } from "../../workflow/schedules.ts";
import type { Fired } from "../runs/workflow-source.ts";

/** A change of the state, and what to do here once it is committed. */
export interface PositionChange {
  readonly write: (tx: OperationalTx) => Promise<void>;
  readonly written: () => void;
}

/** Reads, keeps and changes the positions. */
export class SchedulePositions {
  readonly #cursors = new Map<string, Omit<ScheduleCursor, "workflow_id">>();
  readonly #entries = new Map<string, Map<string, number>>();

  /** Reads all of them. */
  async load(tx: OperationalTx): Promise<void> {
    for (const { workflow_id, schedule, cursor_ms } of await tx.listScheduleCursors())
      this.#cursors.set(workflow_id, { schedule, cursor_ms });
    for (const { workflow_id, entry, cursor_ms } of await tx.listSchedulePositions()) {
      const entries = this.#entries.get(workflow_id) ?? new Map<string, number>();
      this.#entries.set(workflow_id, entries.set(entry, cursor_ms));
    }
  }

  /** Ids of the workflows that have one. */
  *ids(): Iterable<string> {
    yield* this.#cursors.keys();
    for (const id of this.#entries.keys()) if (!this.#cursors.has(id)) yield id;
  }

  /** The position of a workflow with one schedule; null if that of this schedule is not recorded yet. */
  cursorOf(workflow: Scheduled & { readonly id: string }): number | null {
    const cursor = this.#cursors.get(workflow.id);
    return cursor !== undefined && cursor.schedule === scheduleOf(workflow) ? cursor.cursor_ms : null;
  }

  /** The positions of the entries of a workflow with several schedules, by their keys; they go on changing. */
  entriesOf(workflowId: string): ReadonlyMap<string, number> | undefined {
    return this.#entries.get(workflowId);
  }

  /**
   * What changes with the schedules of a workflow; undefined for nothing. A schedule that moves from one stored form to the other keeps its
   * position, a new one begins now.
   */
  changeTo(workflow: Scheduled & { readonly id: string }, nowMs: number): PositionChange | undefined {
    const { id } = workflow;
    const [cursor, entries] = [this.#cursors.get(id), this.#entries.get(id)];
    const schedule = scheduleOf(workflow);
    const wanted = workflow.schedules;
    if (schedule === (cursor?.schedule ?? null) && hasKeys(entries, wanted)) return undefined;
    const cursor_ms = formerPosition(entries, workflow) ?? nowMs;
    const positions = new Map<string, number>();
    for (const entry of wanted ?? []) {
      const key = entryKey(entry);
      const former = cursor?.schedule === textOf(entry) && isPlain(entry) ? cursor.cursor_ms : null;
      positions.set(key, entries?.get(key) ?? former ?? nowMs);
    }
    return {
      async write(tx) {
        if (schedule !== (cursor?.schedule ?? null)) await tx.setSchedule(id, schedule, cursor_ms);
        if (positions.size > 0 || entries !== undefined) await tx.setPositions(id, positions);
      },
      written: () => {
        if (schedule === null) this.#cursors.delete(id);
        else if (schedule !== cursor?.schedule) this.#cursors.set(id, { schedule, cursor_ms });
        if (positions.size === 0) this.#entries.delete(id);
        else this.#entries.set(id, positions);
      },
    };
  }

  /** A firing became a run. */
  moved(workflowId: string, { entry, firedMs, nowMs }: Fired): void {
    const isMoved = (ms: number) => ms < firedMs || ms > nowMs;
    if (entry === null) {
      const cursor = this.#cursors.get(workflowId);
      if (cursor !== undefined && isMoved(cursor.cursor_ms))
        this.#cursors.set(workflowId, { ...cursor, cursor_ms: firedMs });
      return;
    }
    const entries = this.#entries.get(workflowId);
    const position = entries?.get(entry);
    if (position !== undefined && isMoved(position)) entries?.set(entry, firedMs);
  }

  /** A workflow is gone. */
  drop(workflowId: string): void {
    this.#cursors.delete(workflowId);
    this.#entries.delete(workflowId);
  }
}

/** The schedule that a cursor belongs to; null without one. */
function scheduleOf({ cron, timezone = null, start_time_ms = null }: Scheduled): string | null {
  return cron === null ? null : textOf({ cron, timezone, start_time_ms });
}

function textOf({
  cron,
  timezone,
  start_time_ms,
}: Pick<Entry, "cron" | "timezone" | "start_time_ms">): string {
  return JSON.stringify([cron, timezone, start_time_ms]);
}

/** Whether an entry says nothing about its firings that a workflow with one schedule could not say. */
function isPlain(entry: Entry): boolean {
  const { cron, timezone, start_time_ms, catchup } = entry;
  return entryKey(entry) === entryKey({ cron, timezone, start_time_ms, catchup });
}

/** The position of the only schedule of a workflow when it was one of several. */
function formerPosition(
  entries: ReadonlyMap<string, number> | undefined,
  { cron, timezone = null, start_time_ms = null, catchup }: Scheduled,
): number | undefined {
  if (cron === null) return undefined;
  return entries?.get(entryKey({ cron, timezone, start_time_ms, catchup }));
}

function hasKeys(
  entries: ReadonlyMap<string, number> | undefined,
  wanted: readonly Entry[] | undefined,
): boolean {
  if (wanted === undefined) return entries === undefined;
  const keys = new Set(wanted.map(entryKey));
  return entries?.size === keys.size && keys.isSubsetOf(entries);
}
