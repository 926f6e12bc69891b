/** Statements about the reasons why runs wait, as they were last written into the history. */
import type { NotedReason, ReasonIntentions } from "../store.ts";
import { queuedRuns } from "./queue.ts";
import { getRun } from "./runs.ts";
import type { Statements } from "./statements.ts";
import { writeRunReason } from "./statuses.ts";

/** The operations of a unit of work on reasons. */
export function reasonIntentions(db: Statements): ReasonIntentions {
  return {
    async queuedRuns(limit) {
      return queuedRuns(db, limit);
    },

    async notedReasons() {
      return db.all<NotedReason>("SELECT * FROM wait_reasons");
    },

    async noteReason(runId, note, nowMs) {
      const run = getRun(db, runId);
      const known = db.one<NotedReason>("SELECT * FROM wait_reasons WHERE workflow_instance_id = ?", runId);
      db.run("DELETE FROM wait_reasons WHERE workflow_instance_id = ?", runId);
      if (run === null) return;
      const { status, attempt } = run;
      if (note !== null) {
        db.insert("wait_reasons", { workflow_instance_id: runId, status, attempt, ...note });
        writeRunReason(db, run, note, nowMs);
      } else if (known?.status === status && known.attempt === attempt) {
        // Its newest row has the reason; that of another status has none anyway.
        writeRunReason(db, run, null, nowMs);
      }
    },
  };
}
