/**
 * Statements about the queue: runs that wait as a whole, and slices of split runs. A slice comes after every run that was there when it
 * was queued first, and before all later ones.
 */
import type { QueueHead } from "../store.ts";
import type { Statements } from "./statements.ts";

/** What waits longest of everything with the needs ?1. */
const OLDEST = `
  SELECT * FROM (SELECT needs, workflow_instance_id, 0 AS slice, seq AS position, 0 AS turn FROM runs INDEXED BY runs_queue_by_needs
                 WHERE queued = 1 AND needs = ?1 ORDER BY seq LIMIT 1)
  UNION ALL
  SELECT * FROM (SELECT needs, workflow_instance_id, slice, position, seq AS turn FROM slices INDEXED BY slices_queue
                 WHERE state = 'QUEUED' AND needs = ?1 ORDER BY position, seq LIMIT 1)
  ORDER BY position, turn LIMIT 1`;

/** The next needs, in the order of the alphabet. */
const NEXT_NEEDS = `
  SELECT min(needs) AS needs FROM (
    SELECT * FROM (SELECT needs FROM runs INDEXED BY runs_queue_by_needs WHERE queued = 1 AND needs > ?1 ORDER BY needs LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT needs FROM slices INDEXED BY slices_queue WHERE state = 'QUEUED' AND needs > ?1 ORDER BY needs LIMIT 1))`;

/** What waits longest of everything with the same needs. */
export function queueHead(db: Statements, needs: string): QueueHead | null {
  return db.one<QueueHead>(OLDEST, needs);
}

/** What waits longest of each needs, oldest first. Does not depend on how much waits. */
export function queueHeads(db: Statements): QueueHead[] {
  const heads: QueueHead[] = [];
  for (let needs: string | null = ""; needs !== null; needs = nextNeeds(db, needs)) {
    const head = queueHead(db, needs);
    if (head !== null) heads.push(head);
  }
  return heads.sort((a, b) => a.position - b.position || a.turn - b.turn);
}

type Entry = Omit<QueueHead, "needs" | "slice">;

/** The first of everything with the needs ?1. */
const FIRST = `
  SELECT * FROM (SELECT workflow_instance_id, seq AS position, 0 AS turn FROM runs INDEXED BY runs_queue_by_needs
                 WHERE queued = 1 AND needs = ?1 ORDER BY seq LIMIT ?2)
  UNION ALL
  SELECT * FROM (SELECT workflow_instance_id, position, seq AS turn FROM slices INDEXED BY slices_queue
                 WHERE state = 'QUEUED' AND needs = ?1 ORDER BY position, seq LIMIT ?2)`;

/** The runs to which the first entries of the queue belong, this many, in the order of the queue. */
export function queuedRuns(db: Statements, limit: number): string[] {
  const first: Entry[] = [];
  for (let needs: string | null = ""; needs !== null; needs = nextNeeds(db, needs)) {
    first.push(...db.all<Entry>(FIRST, needs, limit));
  }
  first.sort((a, b) => a.position - b.position || a.turn - b.turn);
  return [...new Set(first.slice(0, limit).map((entry) => entry.workflow_instance_id))];
}

function nextNeeds(db: Statements, after: string): string | null {
  return db.one<{ needs: string | null }>(NEXT_NEEDS, after)?.needs ?? null;
}
