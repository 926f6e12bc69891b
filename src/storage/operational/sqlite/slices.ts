/** Statements about the slices of split runs. */
import { requireLegal } from "../legal.ts";
import type { RunRecord, SliceIntentions, SliceRecord } from "../store.ts";
import { getRun } from "./runs.ts";
import { conflict, type Statements } from "./statements.ts";
import { listOf } from "./stored-json.ts";

const COLUMNS =
  "workflow_instance_id, slice, tasks, needs, attempt, crashed_attempts, state, queued_at_ms, is_hook, pools, rank_ms";

type StoredSlice = Omit<SliceRecord, "tasks" | "is_hook"> & { tasks: string; is_hook: number };

function toSlice(row: StoredSlice): SliceRecord {
  const tasks = listOf(row.tasks);
  const damage = tasks === null ? { damage: `what is stored of slice ${row.slice} is damaged` } : undefined;
  return { ...row, tasks: tasks ?? [], is_hook: row.is_hook === 1, ...damage };
}

export function getSlice(db: Statements, runId: string, slice: number): SliceRecord | null {
  const sql = `SELECT ${COLUMNS} FROM slices WHERE workflow_instance_id = ? AND slice = ?`;
  const row = db.one<StoredSlice>(sql, runId, slice);
  return row === null ? null : toSlice(row);
}

/** Removes a waiting slice from the queue, for an agent. */
export function takeQueuedSlice(
  db: Statements,
  of: { workflow_instance_id: string; slice: number },
  agentId: string,
): { run: RunRecord; slice: SliceRecord } | null {
  const { workflow_instance_id: id, slice: number } = of;
  const slice = getSlice(db, id, number);
  if (slice === null) return null;
  const taken = changeState(db, slice, "LEASED");
  db.run(
    `UPDATE runs SET agent_id = ?1, agents = agents + NOT EXISTS (
       SELECT 1 FROM slice_attempts WHERE workflow_instance_id = ?2 AND agent_id = ?1)
     WHERE workflow_instance_id = ?2`,
    agentId,
    id,
  );
  const run = getRun(db, id);
  return run === null ? null : { run, slice: taken };
}

function changeState(db: Statements, slice: SliceRecord, state: SliceRecord["state"]): SliceRecord {
  requireLegal("slice", slice.state, state);
  db.change(
    nameOf(slice),
    "UPDATE slices SET state = ? WHERE workflow_instance_id = ? AND slice = ? AND attempt = ? AND state = ?",
    state,
    slice.workflow_instance_id,
    slice.slice,
    slice.attempt,
    slice.state,
  );
  return { ...slice, state };
}

const nameOf = ({ slice, workflow_instance_id }: SliceRecord) =>
  `slice ${slice} of run ${workflow_instance_id}`;

/** The operations of a unit of work on slices. */
export function sliceIntentions(db: Statements): SliceIntentions {
  /** A task run that waits goes on in the next attempt. */
  const continueTask = ({ workflow_instance_id: id, slice, attempt }: SliceRecord) =>
    db.run(
      "UPDATE task_runs SET attempt = ? WHERE workflow_instance_id = ? AND slice = ? AND slice > 0 AND attempt = ? AND status = 'WAITING'",
      attempt + 1,
      id,
      slice,
      attempt,
    );

  return {
    async addSlices(run, slices, nowMs) {
      for (const { slice, tasks, needs, is_hook = false, pools = null, rank_ms = null } of slices) {
        const { changes } = db.run(
          `INSERT INTO slices (workflow_instance_id, slice, tasks, needs, attempt, crashed_attempts, state, position, queued_at_ms, is_hook, pools, rank_ms)
           SELECT ?, ?, ?, ?, 1, 0, 'QUEUED', (SELECT max(seq) FROM runs), ?, ?, ?, ? WHERE true ON CONFLICT DO NOTHING`,
          run.workflow_instance_id,
          slice,
          JSON.stringify(tasks),
          needs,
          nowMs,
          is_hook ? 1 : 0,
          pools,
          rank_ms,
        );
        if (changes === 0) throw conflict(`slice ${slice} of run ${run.workflow_instance_id}`);
      }
    },

    async requeueSlice(slice, crashedAttempts, nowMs, runAttempt = slice.attempt + 1) {
      requireLegal("slice", slice.state, "QUEUED");
      const { workflow_instance_id: id } = slice;
      const next: SliceRecord = {
        ...slice,
        state: "QUEUED",
        attempt: slice.attempt + 1,
        crashed_attempts: crashedAttempts,
        queued_at_ms: nowMs,
        rank_ms: slice.rank_ms ?? slice.queued_at_ms,
      };
      db.change(
        nameOf(slice),
        `UPDATE slices SET state = 'QUEUED', attempt = ?, crashed_attempts = ?, queued_at_ms = ?, rank_ms = ?
         WHERE workflow_instance_id = ? AND slice = ? AND attempt = ? AND state = ?`,
        next.attempt,
        next.crashed_attempts,
        next.queued_at_ms,
        next.rank_ms,
        id,
        slice.slice,
        slice.attempt,
        slice.state,
      );
      // Tasks that did not complete run again.
      db.run(
        `UPDATE runs SET attempt = max(attempt, ?1), tasks_done = tasks_done - (
           SELECT count(*) FROM task_runs WHERE workflow_instance_id = ?2 AND slice = ?3 AND slice > 0 AND attempt = ?4 AND item_key IS NULL
             AND status IN ('FAILED', 'CRASHED', 'CANCELLED', 'SKIPPED'))
         WHERE workflow_instance_id = ?2`,
        runAttempt,
        id,
        slice.slice,
        slice.attempt,
      );
      continueTask(slice);
      return next;
    },

    async sleepSlice(slice) {
      const asleep = changeState(db, slice, "ASLEEP");
      if (slice.crashed_attempts === 0) return asleep;
      const update = "UPDATE slices SET crashed_attempts = 0 WHERE workflow_instance_id = ? AND slice = ?";
      db.run(update, slice.workflow_instance_id, slice.slice);
      return { ...asleep, crashed_attempts: 0 };
    },

    async wakeSlice(slice, nowMs) {
      const { workflow_instance_id: id, slice: number, attempt } = slice;
      const woken = changeState(db, slice, "QUEUED");
      const rank_ms = slice.rank_ms ?? slice.queued_at_ms;
      const next = { ...woken, attempt: attempt + 1, queued_at_ms: nowMs, rank_ms };
      db.run(
        "UPDATE slices SET attempt = ?, queued_at_ms = ?, rank_ms = ? WHERE workflow_instance_id = ? AND slice = ?",
        next.attempt,
        nowMs,
        rank_ms,
        id,
        number,
      );
      db.run(
        `DELETE FROM slice_attempts WHERE workflow_instance_id = ?1 AND slice = ?2 AND attempt < ?3 AND lease NOT IN ('OFFERED', 'HELD')
           AND EXISTS (SELECT 1 FROM slice_attempts AS later WHERE later.workflow_instance_id = ?1 AND later.slice = ?2
             AND later.attempt > slice_attempts.attempt AND later.agent_id = slice_attempts.agent_id
             AND later.log_stream_id IS slice_attempts.log_stream_id)`,
        id,
        number,
        attempt,
      );
      continueTask(slice);
      return next;
    },

    async endSlice(slice) {
      changeState(db, slice, "OVER");
    },

    async getSlice(runId, slice) {
      return getSlice(db, runId, slice);
    },

    async listSlices(runId, which) {
      const open = which === "open" ? "AND state <> 'OVER'" : "";
      const sql = `SELECT ${COLUMNS} FROM slices WHERE workflow_instance_id = ? ${open} ORDER BY slice`;
      return db.all<StoredSlice>(sql, runId).map(toSlice);
    },

    async lastSlice(runId) {
      const sql = "SELECT max(slice) AS last FROM slices WHERE workflow_instance_id = ?";
      return db.one<{ last: number | null }>(sql, runId)?.last ?? 0;
    },

    async settleSlices() {
      const ofNone = (table: string) =>
        `NOT EXISTS (SELECT 1 FROM runs WHERE runs.workflow_instance_id = ${table}.workflow_instance_id AND finished_at_ms IS NULL)`;
      db.run(
        `UPDATE slice_attempts SET lease = 'REVOKED', status = 'CANCELLED', deadline_ms = NULL
         WHERE lease IN ('OFFERED', 'HELD') AND ${ofNone("slice_attempts")}`,
      );
      db.run(`UPDATE slices SET state = 'OVER' WHERE state <> 'OVER' AND ${ofNone("slices")}`);
      // What a run that is over was waiting for does not come any more.
      db.run(`DELETE FROM waits WHERE ${ofNone("waits")}`);
      for (const table of ["slice_attempts", "slices", "fan_outs", "blob_refs"]) {
        db.run(
          `DELETE FROM ${table} WHERE workflow_instance_id IN (
             SELECT workflow_instance_id FROM ${table} EXCEPT SELECT workflow_instance_id FROM runs)`,
        );
      }
    },
  };
}
