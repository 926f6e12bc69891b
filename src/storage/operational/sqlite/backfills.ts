/** Statements about backfills and their firings. */
import type { SQLQueryBindings } from "bun:sqlite";
import type { RunStatus } from "../../../workflow/status.ts";
import type { BackfillFiring, BackfillIntentions, BackfillRecord, FiringOutcome } from "../backfills.ts";
import { requireLegal } from "../legal.ts";
import { getRun } from "./runs.ts";
import type { Statements } from "./statements.ts";
import { textsOf } from "./stored-json.ts";

type StoredBackfill = Omit<BackfillRecord, "params" | "is_reverse"> & { params: string; is_reverse: number };

const COLUMNS =
  "backfill_id, workflow_id, definition_hash, entries, calendars, from_ms, to_ms, is_reverse, reprocess, max_active, priority, params, actor, state, cursor_ms, cursor_entry, total, note, created_at_ms, finished_at_ms";
const BACKFILLS = `SELECT ${COLUMNS} FROM backfills`;
const FIRING = "scheduled_time_ms, entry, workflow_instance_id, outcome";
const OF_BACKFILL = "runs INDEXED BY runs_of_backfill WHERE backfill_id = ? AND finished_at_ms IS NULL";

/** Number of firings that are removed per step: others wait for it. */
const STEP = 1000;

function toBackfill({ params, is_reverse, ...row }: StoredBackfill): BackfillRecord {
  return { ...row, is_reverse: is_reverse === 1, params: textsOf(params) ?? {} };
}

/** The operations of a unit of work on backfills. */
export function backfillIntentions(db: Statements): BackfillIntentions {
  const runsOf = (rows: readonly { id: string }[]) =>
    rows.flatMap(({ id }) => {
      const run = getRun(db, id);
      return run === null ? [] : [run];
    });

  return {
    async addBackfill({ params, is_reverse, ...backfill }) {
      db.insert("backfills", { ...backfill, params: JSON.stringify(params), is_reverse: is_reverse ? 1 : 0 });
    },

    async findBackfills(id, limit) {
      const exact = db.one<StoredBackfill>(`${BACKFILLS} WHERE backfill_id = ?`, id);
      if (exact !== null) return [toBackfill(exact)];
      const sql = `${BACKFILLS} WHERE backfill_id >= ? AND backfill_id < ? LIMIT ?`;
      return db.all<StoredBackfill>(sql, id, `${id}\u{10ffff}`, limit).map(toBackfill);
    },

    async listBackfills({ limit, workflow_id = null, open = false }) {
      const which = open ? "INDEXED BY backfills_open WHERE finished_at_ms IS NULL AND" : "WHERE";
      const sql = `${BACKFILLS} ${which} (?1 IS NULL OR workflow_id = ?1) ORDER BY seq DESC LIMIT ?2`;
      return db.all<StoredBackfill>(sql, workflow_id, limit).map(toBackfill);
    },

    async changeBackfill(backfill, to) {
      if (to.state !== undefined && to.state !== backfill.state)
        requireLegal("backfill", backfill.state, to.state);
      const set = Object.keys(to).map((name) => `${name} = ?`);
      db.change(
        `backfill ${backfill.backfill_id}`,
        `UPDATE backfills SET ${set.join(", ")} WHERE backfill_id = ? AND state = ? AND cursor_ms IS ? AND cursor_entry IS ?`,
        ...(Object.values(to) as SQLQueryBindings[]),
        backfill.backfill_id,
        backfill.state,
        backfill.cursor_ms,
        backfill.cursor_entry,
      );
      return { ...backfill, ...to };
    },

    async addFirings(backfill_id, firings) {
      for (const { scheduled_time_ms, entry, workflow_instance_id, outcome } of firings) {
        const row = { backfill_id, scheduled_time_ms, entry, workflow_instance_id, outcome };
        db.insert("backfill_firings", row);
      }
    },

    async endFiring({ backfill_id, scheduled_time_ms, workflow_instance_id, status }) {
      db.run(
        "UPDATE backfill_firings SET outcome = ? WHERE backfill_id = ? AND scheduled_time_ms = ? AND workflow_instance_id = ? AND outcome IS NULL",
        status,
        backfill_id,
        scheduled_time_ms,
        workflow_instance_id,
      );
    },

    async countFirings(id) {
      const sql =
        "SELECT outcome, count(*) AS firings FROM backfill_firings WHERE backfill_id = ? GROUP BY outcome";
      return db.all<{ outcome: FiringOutcome | null; firings: number }>(sql, id);
    },

    async listFirings(id, { limit, outcome, after }) {
      const which = outcome === undefined ? "" : "AND outcome IS ?5";
      const sql = `SELECT ${FIRING} FROM backfill_firings
        WHERE backfill_id = ?1 AND (scheduled_time_ms, entry) > (?2, ?3) ${which} ORDER BY scheduled_time_ms, entry LIMIT ?4`;
      const { scheduled_time_ms = -8.64e15, entry = "" } = after ?? {};
      const more = outcome === undefined ? [] : [outcome];
      return db.all<BackfillFiring>(sql, id, scheduled_time_ms, entry, limit, ...more);
    },

    async untoldFirings(id, limit) {
      return db.all<BackfillFiring & { status: RunStatus | null }>(
        `SELECT firing.scheduled_time_ms, entry, firing.workflow_instance_id, outcome, runs.status
         FROM backfill_firings AS firing LEFT JOIN runs ON runs.workflow_instance_id = firing.workflow_instance_id
         WHERE firing.backfill_id = ? AND outcome IS NULL AND (runs.status IS NULL OR finished_at_ms IS NOT NULL) LIMIT ?`,
        id,
        limit,
      );
    },

    async countBackfillRuns(id) {
      return db.one<{ runs: number }>(`SELECT count(*) AS runs FROM ${OF_BACKFILL}`, id)?.runs ?? 0;
    },

    async backfillRuns(id, limit) {
      const sql = `SELECT workflow_instance_id AS id FROM ${OF_BACKFILL}
        AND cancel_requested_at_ms IS NULL AND timed_out_at_ms IS NULL AND hooks_stopped = 0 ORDER BY seq LIMIT ?`;
      return runsOf(db.all<{ id: string }>(sql, id, limit));
    },

    async runsAt(workflowId, timesMs) {
      const sql =
        "SELECT workflow_instance_id AS id FROM runs WHERE workflow_id = ? AND scheduled_time_ms IN (SELECT value FROM json_each(?))";
      return runsOf(db.all<{ id: string }>(sql, workflowId, JSON.stringify(timesMs)));
    },

    async keyHolder(key) {
      const sql = "SELECT workflow_instance_id AS id FROM dedupe_keys WHERE key = ?";
      return db.one<{ id: string }>(sql, key)?.id ?? null;
    },

    async medianDuration(workflowId, among) {
      const sql = `SELECT duration FROM (
          SELECT coalesce(duration_ms, finished_at_ms - started_at_ms) AS duration FROM runs
          WHERE workflow_id = ? AND status = 'COMPLETED' AND started_at_ms IS NOT NULL ORDER BY seq DESC LIMIT ?)
        ORDER BY duration`;
      const durations = db.all<{ duration: number }>(sql, workflowId, among);
      return durations[Math.floor((durations.length - 1) / 2)]?.duration ?? null;
    },

    async endsOfBackfill({ backfill_id, workflow_id }, among) {
      const sql = `SELECT finished_at_ms AS at FROM runs INDEXED BY runs_by_workflow
        WHERE workflow_id = ? AND backfill_id = ? AND finished_at_ms IS NOT NULL ORDER BY seq DESC LIMIT ?`;
      return db.all<{ at: number }>(sql, workflow_id, backfill_id, among).map(({ at }) => at);
    },

    async forgetBackfills(beforeMs) {
      const old = "SELECT backfill_id FROM backfills WHERE finished_at_ms < ?1";
      const { changes } = db.run(
        `DELETE FROM backfill_firings WHERE (backfill_id, scheduled_time_ms, entry) IN (
           SELECT backfill_id, scheduled_time_ms, entry FROM backfill_firings WHERE backfill_id IN (${old}) LIMIT ?2)`,
        beforeMs,
        STEP,
      );
      if (changes === STEP) return true;
      db.run("DELETE FROM backfills WHERE finished_at_ms < ?", beforeMs);
      return false;
    },
  };
}
