/** Statements about concurrency groups. */
import type { GroupHolder, GroupIntentions, HeldInGroup } from "../groups.ts";
import type { RunRecord } from "../store.ts";
import { AS_READ, asRead, nameOf } from "./runs.ts";
import type { Statements } from "./statements.ts";
import { nextStatusId, writeRunReason, writeRunStatus } from "./statuses.ts";

const HAS_PLACE = "group_key = ? AND admitted = 1 AND finished_at_ms IS NULL";
/** The conditions, and the order, are those of the index. */
const WAITS = "hold = 'group' AND finished_at_ms IS NULL";
const RANK = "(coalesce(rank_ms, created_at_ms) - priority * 600000)";

/** The operations of a unit of work on concurrency groups. */
export function groupIntentions(db: Statements): GroupIntentions {
  return {
    async groupState(key) {
      const sql = `SELECT (SELECT count(*) FROM runs INDEXED BY runs_in_group WHERE ${HAS_PLACE.replace("?", "?1")}) AS running,
        EXISTS (SELECT 1 FROM runs INDEXED BY runs_held WHERE group_key = ?1 AND ${WAITS}) AS isAwaited`;
      const found = db.one<{ running: number; isAwaited: number }>(sql, key);
      return { running: found?.running ?? 0, isAwaited: found?.isAwaited === 1 };
    },

    async groupHolders(key, limit) {
      return db.all<GroupHolder>(
        `SELECT workflow_instance_id, workflow_id, started_at_ms, created_at_ms, cancel_requested_at_ms, revision
         FROM runs INDEXED BY runs_in_group WHERE ${HAS_PLACE} ORDER BY seq LIMIT ?`,
        key,
        limit,
      );
    },

    async groupHeld(key, limit, onConflict) {
      return db.all<HeldInGroup>(
        `SELECT workflow_instance_id, workflow_id, parent_run, created_at_ms, group_max, on_conflict, seq FROM runs INDEXED BY runs_held
         WHERE group_key = ?1 AND ${WAITS} ${onConflict == null ? "" : "AND on_conflict = ?3"} ORDER BY ${RANK}, seq LIMIT ?2`,
        ...(onConflict == null ? [key, limit] : [key, limit, onConflict]),
      );
    },

    async heldBefore(run) {
      const sql = `SELECT count(*) AS before FROM runs AS own, runs AS other INDEXED BY runs_held
        WHERE own.workflow_instance_id = ? AND own.hold = 'group' AND other.group_key = own.group_key
          AND other.hold = 'group' AND other.finished_at_ms IS NULL
          AND ((coalesce(other.rank_ms, other.created_at_ms) - other.priority * 600000), other.seq)
            < ((coalesce(own.rank_ms, own.created_at_ms) - own.priority * 600000), own.seq)`;
      return db.one<{ before: number }>(sql, run.workflow_instance_id)?.before ?? 0;
    },

    async heldGroups(afterKey, limit) {
      const next = `SELECT group_key AS key FROM runs INDEXED BY runs_held WHERE group_key > ? AND ${WAITS} ORDER BY group_key LIMIT 1`;
      const keys: string[] = [];
      for (let after = afterKey; keys.length < limit; ) {
        const found = db.one<{ key: string }>(next, after);
        if (found === null) break;
        keys.push(found.key);
        after = found.key;
      }
      return keys;
    },

    async heldVersions(key) {
      return db.all(
        `SELECT DISTINCT workflow_id, definition_hash, group_max, on_conflict FROM runs INDEXED BY runs_held
         WHERE group_key = ? AND ${WAITS} ORDER BY workflow_id, definition_hash`,
        key,
      );
    },

    async changeHeld(key, { workflow_id, definition_hash }, { max, on_conflict }) {
      db.run(
        `UPDATE runs INDEXED BY runs_held SET group_max = ?,
           on_conflict = CASE WHEN retry_of IS NULL AND parent_run IS NULL AND backfill_id IS NULL THEN ? ELSE on_conflict END
         WHERE group_key = ? AND ${WAITS} AND workflow_id = ? AND definition_hash = ?`,
        max,
        on_conflict,
        key,
        workflow_id,
        definition_hash,
      );
    },

    async groupsOfHeldChildren() {
      const sql = `SELECT DISTINCT group_key AS key FROM runs INDEXED BY runs_held_children WHERE ${WAITS} AND parent_run IS NOT NULL`;
      return db.all<{ key: string }>(sql).map(({ key }) => key);
    },

    async waitingHolders(key) {
      const child = "CASE WHEN json_valid(waits.data) THEN json_extract(waits.data, '$.child') END";
      return db.all<{ id: string; child: string }>(
        `SELECT runs.workflow_instance_id AS id, ${child} AS child
         FROM runs INDEXED BY runs_in_group JOIN waits ON waits.workflow_instance_id = runs.workflow_instance_id AND waits.kind = 'run'
         WHERE ${HAS_PLACE} AND ${child} IS NOT NULL ORDER BY runs.seq`,
        key,
      );
    },

    async countHeld() {
      const count = (index: string, hold: string) =>
        `(SELECT count(*) FROM runs INDEXED BY ${index} WHERE hold = '${hold}' AND finished_at_ms IS NULL)`;
      const found = db.one<{ group: number; pause: number }>(
        `SELECT ${count("runs_held", "group")} AS "group", ${count("runs_paused", "pause")} AS "pause"`,
      );
      return { group: found?.group ?? 0, pause: found?.pause ?? 0 };
    },

    async holdRun(run, hold, note, nowMs) {
      const isThere = `${AS_READ} AND queued = 0 AND revision = 0 AND status = 'PENDING'`;
      db.change(nameOf(run), `UPDATE runs SET hold = ? WHERE ${isThere}`, hold, ...asRead(run));
      const next: RunRecord = { ...run, hold };
      // What is written later of why it waits is about agents.
      db.run("DELETE FROM wait_reasons WHERE workflow_instance_id = ?", run.workflow_instance_id);
      writeRunReason(db, next, note, nowMs);
      return next;
    },

    async admitRun(run, { queued, needs, revision }, nowMs) {
      const admitted = run.group_key !== null;
      const next: RunRecord = {
        ...run,
        ...{ queued, needs, revision, admitted, hold: null },
        status_at_ms: run.hold === null ? run.status_at_ms : Math.max(run.status_at_ms, nowMs),
      };
      db.change(
        nameOf(run),
        `UPDATE runs SET queued = ?, needs = ?, revision = ?, admitted = ?, hold = NULL, status_at_ms = ?
         WHERE ${AS_READ} AND queued = 0 AND revision = 0 AND status = 'PENDING'`,
        queued ? 1 : 0,
        needs,
        revision,
        admitted ? 1 : null,
        next.status_at_ms,
        ...asRead(run),
      );
      if (run.hold === null) return next;
      const statusId = nextStatusId(db);
      db.run(
        "UPDATE runs SET last_outbox_id = ? WHERE workflow_instance_id = ?",
        statusId,
        run.workflow_instance_id,
      );
      writeRunStatus(db, next, statusId);
      return next;
    },

    async noteCancelReason(run, reason) {
      const update = `UPDATE runs SET cancel_reason = ? WHERE ${AS_READ} AND finished_at_ms IS NULL`;
      db.change(nameOf(run), update, reason, ...asRead(run));
      return { ...run, cancel_reason: reason };
    },
  };
}
