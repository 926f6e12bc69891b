/**
 * Statements about the queue: runs that wait as a whole, and slices of split runs. A slice comes after every run that existed when it was
 * first queued, and before all later ones. These statements run for every run, so they consist of index searches only, without a compound
 * query, and say `= (SELECT ?)`: SQLite prepares a statement anew each time it is executed if it compares an indexed column with a bare
 * parameter and has an ORDER BY.
 */
import type { QueueEntry, QueueHead } from "../store.ts";
import type { Statements } from "./statements.ts";

/** What waits longest with the needs ?1, of runs and of slices, and the next needs in the order of the alphabet. */
const LOOK = `SELECT
  (SELECT seq FROM runs INDEXED BY runs_queue_by_needs WHERE queued = 1 AND needs = (SELECT ?1) ORDER BY seq LIMIT 1) AS run,
  (SELECT seq FROM slices INDEXED BY slices_queue WHERE state = 'QUEUED' AND needs = (SELECT ?1) ORDER BY position, seq LIMIT 1) AS slice,
  (SELECT needs FROM runs INDEXED BY runs_queue_by_needs WHERE queued = 1 AND needs > ?1 ORDER BY needs LIMIT 1) AS nextOfRuns,
  (SELECT needs FROM slices INDEXED BY slices_queue WHERE state = 'QUEUED' AND needs > ?1 ORDER BY needs LIMIT 1) AS nextOfSlices`;

const OF_RUN =
  "needs, workflow_instance_id, definition_hash, 0 AS slice, seq AS position, 0 AS turn, coalesce(rank_ms, created_at_ms) AS since_ms";
const OF_SLICE = `slices.needs, workflow_instance_id, definition_hash, slice, position, slices.seq AS turn,
  coalesce(slices.rank_ms, queued_at_ms) AS since_ms`;
const RUN = `SELECT ${OF_RUN} FROM runs WHERE seq = ?`;
const SLICE = `SELECT ${OF_SLICE} FROM slices JOIN runs USING (workflow_instance_id) WHERE slices.seq = ?`;

type Entry = Pick<QueueHead, "workflow_instance_id" | "position" | "turn">;

function look(db: Statements, needs: string): { head: QueueHead | null; next: string | null } {
  const found = db.one<{
    run: number | null;
    slice: number | null;
    nextOfRuns: string | null;
    nextOfSlices: string | null;
  }>(LOOK, needs);
  if (found === null) return { head: null, next: null };
  const { run, slice, nextOfRuns, nextOfSlices } = found;
  const heads = [
    ...(run === null ? [] : db.all<QueueHead>(RUN, run)),
    ...(slice === null ? [] : db.all<QueueHead>(SLICE, slice)),
  ].sort(byAge);
  return { head: heads[0] ?? null, next: firstOf(nextOfRuns, nextOfSlices) };
}

/** The first of both in the order of SQLite, which compares bytes. */
function firstOf(a: string | null, b: string | null): string | null {
  if (a === null || b === null) return a ?? b;
  return Buffer.compare(Buffer.from(a), Buffer.from(b)) <= 0 ? a : b;
}

function byAge(a: Entry, b: Entry): number {
  return a.position - b.position || a.turn - b.turn;
}

/** What waits longest of everything with these needs. */
export function queueHead(db: Statements, needs: string): QueueHead | null {
  return look(db, needs).head;
}

/** What waits longest of each needs, oldest first. Does not depend on how much waits. */
export function queueHeads(db: Statements): QueueHead[] {
  const heads: QueueHead[] = [];
  for (let needs: string | null = ""; needs !== null; ) {
    const { head, next }: ReturnType<typeof look> = look(db, needs);
    if (head !== null) heads.push(head);
    needs = next;
  }
  return heads.sort(byAge);
}

/** The first of everything with the needs ?1. */
const FIRST = `
  SELECT * FROM (SELECT workflow_instance_id, seq AS position, 0 AS turn FROM runs INDEXED BY runs_queue_by_needs
                 WHERE queued = 1 AND needs = ?1 ORDER BY seq LIMIT ?2)
  UNION ALL
  SELECT * FROM (SELECT workflow_instance_id, position, seq AS turn FROM slices INDEXED BY slices_queue
                 WHERE state = 'QUEUED' AND needs = ?1 ORDER BY position, seq LIMIT ?2)`;

/** The runs to which the first entries of the queue belong, this many, in the order of the queue. */
export function queuedRuns(db: Statements, limit: number): string[] {
  const first = queueHeads(db).flatMap(({ needs }) => db.all<Entry>(FIRST, needs, limit));
  first.sort(byAge);
  return [...new Set(first.slice(0, limit).map((entry) => entry.workflow_instance_id))];
}

const ENTRIES_OF_RUNS = `SELECT ${OF_RUN}, workflow_id, priority FROM runs INDEXED BY runs_queue_by_needs
  WHERE queued = 1 AND needs = ?1 ORDER BY seq LIMIT ?2`;
const ENTRIES_OF_SLICES = `SELECT ${OF_SLICE}, workflow_id, priority FROM slices INDEXED BY slices_queue JOIN runs USING (workflow_instance_id)
  WHERE state = 'QUEUED' AND slices.needs = ?1 ORDER BY position, slices.seq LIMIT ?2`;

/** The first entries with each needs, at most this many of each. */
export function queueEntries(db: Statements, limit: number): QueueEntry[] {
  return queueHeads(db).flatMap(({ needs }) =>
    [
      ...db.all<QueueEntry>(ENTRIES_OF_RUNS, needs, limit),
      ...db.all<QueueEntry>(ENTRIES_OF_SLICES, needs, limit),
    ]
      .sort(byAge)
      .slice(0, limit),
  );
}
