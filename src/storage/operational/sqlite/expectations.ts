/** Statements about expectations. */
import type { SQLQueryBindings } from "bun:sqlite";
import type { ExpectationIntentions, ExpectationRecord } from "../expectations.ts";
import { requireLegal } from "../legal.ts";
import { runsWhere } from "./runs.ts";
import type { Statements } from "./statements.ts";

const EXPECTATIONS =
  "SELECT workflow_id, rule, key, due_ms, state, coalesce(data, '{}') AS data FROM expectations";
const BY_NAME = "workflow_id = ? AND rule = ? AND key = ?";
/** Those that are due by the store's clock, and not by the wall clock. */
const BY_STORE = "rule = 'max_duration'";

/**
 * The operations of a unit of work on expectations.
 * @param now the store's clock, ms
 */
export function expectationIntentions(db: Statements, now: () => number): ExpectationIntentions {
  return {
    async putExpectation({ workflow_id, rule, key, due_ms, state, data }, leftMs) {
      const due = leftMs === undefined ? due_ms : now() + Math.round(leftMs);
      db.insert(
        "expectations",
        { workflow_id, rule, key, due_ms: due, state, data },
        "ON CONFLICT DO UPDATE SET due_ms = excluded.due_ms, state = excluded.state, data = excluded.data",
      );
    },

    async changeExpectation(expectation, to) {
      const { workflow_id, rule, key, state } = expectation;
      const next: ExpectationRecord = { ...expectation, ...to };
      if (next.state !== state) requireLegal("expectation", state, next.state);
      db.change(
        `expectation ${rule} of ${workflow_id}`,
        `UPDATE expectations SET due_ms = ?, state = ?, data = ? WHERE ${BY_NAME} AND state = ?`,
        next.due_ms,
        next.state,
        next.data,
        workflow_id,
        rule,
        key,
        state,
      );
      return next;
    },

    async dropExpectation({ workflow_id, rule, key }) {
      db.run(`DELETE FROM expectations WHERE ${BY_NAME}`, workflow_id, rule, key);
    },

    async getExpectation({ workflow_id, rule, key }) {
      return db.one<ExpectationRecord>(`${EXPECTATIONS} WHERE ${BY_NAME}`, workflow_id, rule, key);
    },

    async expectationsOf(workflowId, runId = "") {
      const rules: SQLQueryBindings = JSON.stringify([
        "start_within",
        "max_duration",
        "finish_by",
        "at_least_every",
      ]);
      return db.all<ExpectationRecord>(
        `${EXPECTATIONS} WHERE workflow_id = ?1 AND rule IN (SELECT value FROM json_each(?2)) AND key IN ('', ?3)`,
        workflowId,
        rules,
        runId,
      );
    },

    async listExpectations() {
      return db.all<ExpectationRecord>(
        `${EXPECTATIONS} WHERE key = '' OR state = 'RAISED' ORDER BY workflow_id, rule, key`,
      );
    },

    async expectedWorkflows() {
      return db
        .all<{ id: string }>("SELECT DISTINCT workflow_id AS id FROM expectations")
        .map(({ id }) => id);
    },

    async expectationsOfEndedRuns() {
      return db.all<ExpectationRecord>(
        `${EXPECTATIONS} WHERE key <> '' AND NOT EXISTS (
           SELECT 1 FROM runs WHERE workflow_instance_id = expectations.key AND finished_at_ms IS NULL)`,
      );
    },

    async dueExpectations(nowMs, limit) {
      return db.all<ExpectationRecord>(
        `${EXPECTATIONS} INDEXED BY expectations_due WHERE state = 'OPEN' AND due_ms <= max(?1, ?2)
           AND due_ms <= CASE WHEN ${BY_STORE} THEN ?2 ELSE ?1 END
         ORDER BY due_ms LIMIT ?3`,
        nowMs,
        now(),
        limit,
      );
    },

    async nextExpectation() {
      const first = (which: string) =>
        db.one<{ due_ms: number }>(
          `SELECT due_ms FROM expectations INDEXED BY expectations_due WHERE state = 'OPEN' AND ${which} ORDER BY due_ms LIMIT 1`,
        )?.due_ms ?? null;
      const ofStore = first(BY_STORE);
      return { due_ms: first(`NOT (${BY_STORE})`), left_ms: ofStore === null ? null : ofStore - now() };
    },

    async holdStarts(workflowId) {
      db.run(
        "UPDATE expectations SET state = 'HELD' WHERE workflow_id = ? AND rule = 'start_within' AND state = 'OPEN'",
        workflowId,
      );
    },

    async releaseStarts(workflowId, nowMs) {
      db.run(
        `UPDATE expectations SET state = 'OPEN', due_ms = ?1 + json_extract(data, '$.limit_ms')
         WHERE workflow_id = ?2 AND rule = 'start_within' AND state = 'HELD'`,
        nowMs,
        workflowId,
      );
    },

    async newestOpenRun(workflowId, fromMs) {
      const [run] = runsWhere(
        db,
        `workflow_id = ? AND finished_at_ms IS NULL AND coalesce(scheduled_time_ms, created_at_ms) >= ?
         ORDER BY seq DESC LIMIT 1`,
        workflowId,
        fromMs,
      );
      return run ?? null;
    },
  };
}
