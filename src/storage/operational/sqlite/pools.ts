/** Statements about pools and priorities, and about what waits. */
import type { PoolHolder, PoolIntentions, PoolRecord } from "../pools.ts";
import { queueEntries } from "./queue.ts";
import { conflict, type Statements } from "./statements.ts";
import { listOf } from "./stored-json.ts";

interface StoredSetting {
  readonly name: string;
  readonly file: string | null;
  readonly own: string | null;
  readonly changed_by: string | null;
  readonly changed_at_ms: number;
}

/** Slices that have slots: an agent has them, by an open lease. An older cdktr ends a lease without the slice. */
const HELD = `FROM slices INDEXED BY slices_pooled
  JOIN slice_attempts AS a ON a.workflow_instance_id = slices.workflow_instance_id AND a.slice = slices.slice
    AND a.attempt = slices.attempt AND a.lease IN ('OFFERED', 'HELD')
  JOIN json_each(slices.pools) AS p WHERE slices.pools IS NOT NULL AND slices.state = 'LEASED'`;

/** The size in a stored setting; null without one, and if it is damaged. */
function sizeIn(json: string | null): number | null {
  if (json === null) return null;
  try {
    const { size } = JSON.parse(json) as { readonly size?: unknown };
    return typeof size === "number" ? size : null;
  } catch {
    return null;
  }
}

function poolOf({ name, file, own, changed_by, changed_at_ms }: StoredSetting): PoolRecord[] {
  const [file_size, own_size] = [sizeIn(file), sizeIn(own)];
  const size = own_size ?? file_size;
  return size === null ? [] : [{ name, size, file_size, own_size, changed_by, changed_at_ms }];
}

const POOL = "SELECT name, file, own, changed_by, changed_at_ms FROM settings WHERE kind = 'pool'";

/** The operations of a unit of work on pools and priorities. */
export function poolIntentions(db: Statements): PoolIntentions {
  return {
    async listPools() {
      return db.all<StoredSetting>(`${POOL} ORDER BY name`).flatMap(poolOf);
    },

    async setPool(name, size, by, nowMs) {
      const known = db.one<StoredSetting>(`${POOL} AND name = ?`, name);
      if ((known === null ? null : sizeIn(known.own)) === size) return false;
      if (size === null && known?.file === null)
        return db.run("DELETE FROM settings WHERE kind = 'pool' AND name = ?", name).changes > 0;
      db.run(
        `INSERT INTO settings (kind, name, own, changed_by, changed_at_ms) VALUES ('pool', ?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET own = ?2, changed_by = ?3, changed_at_ms = ?4`,
        name,
        size === null ? null : JSON.stringify({ size }),
        by,
        nowMs,
      );
      return true;
    },

    async poolUse() {
      const rows = db.all<{ pool: string; used: number }>(
        `SELECT p.key AS pool, sum(p.value) AS used ${HELD} GROUP BY p.key`,
      );
      return new Map(rows.map(({ pool, used }) => [pool, used]));
    },

    async poolHolders() {
      const rows = db.all<Omit<PoolHolder, "tasks" | "workflow_id"> & { tasks: string }>(
        `SELECT p.key AS pool, p.value AS slots, slices.workflow_instance_id, slices.slice, slices.tasks, a.agent_id,
           a.assigned_at_ms AS since_ms ${HELD} ORDER BY a.assigned_at_ms, slices.seq`,
      );
      return rows.map(({ tasks, ...row }) => {
        const run = "SELECT workflow_id FROM runs WHERE workflow_instance_id = ?";
        const workflow_id = db.one<{ workflow_id: string }>(run, row.workflow_instance_id)?.workflow_id ?? "";
        return { ...row, workflow_id, tasks: listOf(tasks) ?? [] };
      });
    },

    async queuedNeeds() {
      return db.all(
        "SELECT needs, count(*) AS slices FROM slices INDEXED BY slices_queue WHERE state = 'QUEUED' GROUP BY needs",
      );
    },

    async queueEntries(limit) {
      return queueEntries(db, limit);
    },

    async heldRuns(limit) {
      return db.all(
        `SELECT * FROM (SELECT workflow_instance_id FROM runs INDEXED BY runs_held WHERE hold = 'group' AND finished_at_ms IS NULL
           ORDER BY group_key, (coalesce(rank_ms, created_at_ms) - priority * 600000), seq LIMIT ?1)
         UNION ALL
         SELECT * FROM (SELECT workflow_instance_id FROM runs INDEXED BY runs_paused WHERE hold = 'pause' AND finished_at_ms IS NULL
           ORDER BY workflow_id, seq LIMIT ?1) LIMIT ?1`,
        limit,
      );
    },

    async setPriority(run, priority, at) {
      const { workflow_instance_id: id } = run;
      // One that an agent has goes back into the queue with them if that is lost. Those of others are written when they are queued.
      const hasNeeds = run.queued || (run.revision === 0 && run.agent_id !== null);
      const needs = hasNeeds ? at(run.needs) : run.needs;
      const { changes } = db.run(
        "UPDATE runs SET priority = ?, needs = ? WHERE workflow_instance_id = ? AND queued = ? AND needs = ? AND finished_at_ms IS NULL",
        priority,
        needs,
        id,
        run.queued ? 1 : 0,
        run.needs,
      );
      if (changes === 0) throw conflict(`run ${id}`);
      const ofSlices = db.all<{ needs: string }>(
        "SELECT DISTINCT needs FROM slices WHERE workflow_instance_id = ? AND state <> 'OVER'",
        id,
      );
      for (const { needs: before } of ofSlices)
        db.run(
          "UPDATE slices SET needs = ? WHERE workflow_instance_id = ? AND needs = ? AND state <> 'OVER'",
          at(before),
          id,
          before,
        );
      return { ...run, priority, needs };
    },
  };
}
