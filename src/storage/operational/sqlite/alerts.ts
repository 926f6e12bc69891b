/** Statements about alerts and their deliveries. */
import type { AlertRow } from "../../../contract/history-rows.ts";
import type { AlertIntentions, AlertRecord, ChannelCounts, DeliveryRecord, FailedTask } from "../alerts.ts";
import { requireLegal } from "../legal.ts";
import type { HistoryIntentions } from "../store.ts";
import type { Statements } from "./statements.ts";

const ALERT =
  "alerts.alert_id, kind, key, workflow_id, workflow_instance_id, subject, facts, raised_at_ms, resolved_at_ms";
const DELIVERY =
  "alert_id, channel, about, state, attempts, due_ms, message_id, error, created_at_ms, changed_at_ms";

/** Maximum number of deliveries in a message, and of alerts that are removed per step: a step must not hold up the requests of others. */
const MOST_IN_MESSAGE = 1000;
const STEP = 200;

/**
 * Whether a delivery of channel ?1 that is in no message yet must wait: what a message that failed tells about its workflow goes first.
 * Otherwise a pager would open an incident after it is over.
 */
const IS_BEHIND = `(SELECT coalesce(workflow_id, alert_id) FROM alerts WHERE alerts.alert_id = deliveries.alert_id) IN (
  SELECT coalesce(workflow_id, alert_id) FROM deliveries AS failed INDEXED BY deliveries_due JOIN alerts USING (alert_id)
  WHERE failed.channel = ?1 AND failed.state IN ('PENDING', 'SENDING') AND failed.message_id IS NOT NULL)`;

/** A delivery of a message, with its alert. */
type InMessage = AlertRecord & Pick<DeliveryRecord, "about" | "error" | "attempts" | "created_at_ms">;

function alertIn({
  about: _a,
  error: _e,
  attempts: _n,
  created_at_ms: _c,
  ...alert
}: InMessage): AlertRecord {
  return alert;
}

/** The operations of a unit of work on alerts. */
export function alertIntentions(db: Statements, { logAlert }: HistoryIntentions): AlertIntentions {
  const log = (
    { alert_id, kind, workflow_id, workflow_instance_id, key, subject }: AlertRecord,
    timestamp_ms: number,
    event: AlertRow["event"],
    channel: string | null = null,
    error: string | null = null,
  ) =>
    logAlert({
      alert_id,
      timestamp_ms,
      event,
      kind,
      workflow_id,
      workflow_instance_id,
      key,
      subject,
      channel,
      error,
    });

  /** The deliveries of a message that are SENDING. */
  const sending = (channel: string, messageId: string) =>
    db.all<InMessage>(
      `SELECT ${ALERT}, about, error, attempts, created_at_ms FROM deliveries INDEXED BY deliveries_due JOIN alerts USING (alert_id)
       WHERE channel = ? AND state IN ('PENDING', 'SENDING') AND state = 'SENDING' AND message_id = ? ORDER BY deliveries.seq`,
      channel,
      messageId,
    );

  return {
    async raiseAlert(alert) {
      const { alert_id, kind, key, workflow_id, workflow_instance_id } = alert;
      const { subject, facts, raised_at_ms, resolved_at_ms } = alert;
      const { changes } = db.run(
        `INSERT INTO alerts (alert_id, kind, key, workflow_id, workflow_instance_id, subject, facts, raised_at_ms, resolved_at_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) WHERE resolved_at_ms IS NULL DO NOTHING`,
        alert_id,
        kind,
        key,
        workflow_id,
        workflow_instance_id,
        subject,
        facts,
        raised_at_ms,
        resolved_at_ms,
      );
      if (changes === 0) return false;
      await log(alert, raised_at_ms, "raised");
      return true;
    },

    async resolveAlert(key, atMs) {
      const open = db.one<AlertRecord>(
        `SELECT ${ALERT} FROM alerts INDEXED BY alerts_open WHERE key = ? AND resolved_at_ms IS NULL`,
        key,
      );
      if (open === null) return null;
      // A clock may have been set back.
      const resolved = { ...open, resolved_at_ms: Math.max(atMs, open.raised_at_ms) };
      db.run(
        "UPDATE alerts SET resolved_at_ms = ? WHERE alert_id = ?",
        resolved.resolved_at_ms,
        open.alert_id,
      );
      await log(resolved, resolved.resolved_at_ms, "resolved");
      return resolved;
    },

    async getAlert(alertId) {
      return db.one<AlertRecord>(`SELECT ${ALERT} FROM alerts WHERE alert_id = ?`, alertId);
    },

    async findAlerts(idPrefix) {
      return db.all<AlertRecord>(
        `SELECT ${ALERT} FROM alerts WHERE alert_id >= ?1 AND substr(alert_id, 1, length(?1)) = ?1 ORDER BY alert_id LIMIT 2`,
        idPrefix,
      );
    },

    async listAlerts({ which, kind = null, workflow_id = null, limit }) {
      const from = {
        open: "alerts INDEXED BY alerts_open WHERE resolved_at_ms IS NULL",
        dead: "alerts WHERE alert_id IN (SELECT alert_id FROM deliveries INDEXED BY deliveries_dead WHERE state = 'DEAD')",
        all: "alerts WHERE true",
      }[which];
      return db.all<AlertRecord>(
        `SELECT ${ALERT} FROM ${from} AND (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR workflow_id = ?2) ORDER BY seq DESC LIMIT ?3`,
        kind,
        workflow_id,
        limit,
      );
    },

    async openAlertsOf(runId) {
      return db.all<AlertRecord>(
        `SELECT ${ALERT} FROM alerts INDEXED BY alerts_of_run
         WHERE workflow_instance_id = ? AND resolved_at_ms IS NULL AND workflow_instance_id IS NOT NULL ORDER BY seq`,
        runId,
      );
    },

    async openAlerts() {
      return db.all(
        "SELECT kind, key, workflow_instance_id FROM alerts WHERE resolved_at_ms IS NULL ORDER BY key",
      );
    },

    async countOpenAlerts() {
      const rows = db.all<{ kind: string; n: number }>(
        "SELECT kind, count(*) AS n FROM alerts WHERE resolved_at_ms IS NULL GROUP BY kind ORDER BY kind",
      );
      return new Map(rows.map(({ kind, n }) => [kind, n]));
    },

    async addDelivery({ alert_id, channel, about, created_at_ms, due_ms }) {
      db.run(
        `INSERT INTO deliveries (alert_id, channel, about, state, due_ms, created_at_ms, changed_at_ms)
         VALUES (?1, ?2, ?3, 'PENDING', ?4, ?5, ?5) ON CONFLICT (alert_id, channel, about) DO NOTHING`,
        alert_id,
        channel,
        about,
        due_ms,
        created_at_ms,
      );
    },

    async deliveriesOf(alertIds) {
      return db.all<DeliveryRecord>(
        `SELECT ${DELIVERY} FROM deliveries WHERE alert_id IN (SELECT value FROM json_each(?)) ORDER BY seq`,
        JSON.stringify(alertIds),
      );
    },

    async nextDeliveries() {
      const rows = db.all<{ channel: string; due: number | null; sending: number }>(
        // From one channel to the next, and to its first: there may be tens of thousands of a channel that does not work.
        `WITH RECURSIVE waiting (channel) AS (
           SELECT min(channel) FROM deliveries INDEXED BY deliveries_due WHERE state IN ('PENDING', 'SENDING')
           UNION ALL
           SELECT (SELECT min(channel) FROM deliveries INDEXED BY deliveries_due
                   WHERE state IN ('PENDING', 'SENDING') AND channel > waiting.channel)
           FROM waiting WHERE channel IS NOT NULL)
         SELECT channel,
           (SELECT min(due_ms) FROM deliveries INDEXED BY deliveries_due
            WHERE state IN ('PENDING', 'SENDING') AND deliveries.channel = waiting.channel) AS due,
           EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_due
            WHERE state IN ('PENDING', 'SENDING') AND deliveries.channel = waiting.channel AND due_ms IS NULL) AS sending
         FROM waiting WHERE channel IS NOT NULL`,
      );
      return {
        due: new Map(rows.flatMap(({ channel, due }) => (due === null ? [] : [[channel, due]]))),
        isSending: rows.some(({ sending }) => sending > 0),
      };
    },

    async claimMessage(channel, dueByMs, nowMs, newId, most, mostTaken = MOST_IN_MESSAGE) {
      const due = (which: string) =>
        db.one<{ message_id: string | null }>(
          `SELECT message_id FROM deliveries INDEXED BY deliveries_due
           WHERE state IN ('PENDING', 'SENDING') AND channel = ?1 AND due_ms IS NOT NULL AND ${which} ORDER BY due_ms, seq LIMIT 1`,
          channel,
          dueByMs,
        );
      if (due("due_ms <= ?2") === null) return null;
      // What is behind a message that failed lets that go first, although it is due later.
      const next =
        due(`due_ms <= ?2 AND (message_id IS NOT NULL OR NOT ${IS_BEHIND})`) ??
        due("?2 IS NOT NULL AND message_id IS NOT NULL");
      if (next === null) return null;
      requireLegal("delivery", "PENDING", "SENDING");
      if (next.message_id === null)
        db.run(
          `UPDATE deliveries SET message_id = ?2 WHERE seq IN (SELECT seq FROM deliveries INDEXED BY deliveries_due
             WHERE state IN ('PENDING', 'SENDING') AND channel = ?1 AND due_ms IS NOT NULL AND message_id IS NULL AND NOT ${IS_BEHIND}
             ORDER BY seq LIMIT ?3)`,
          channel,
          newId,
          Math.min(mostTaken, MOST_IN_MESSAGE),
        );
      const message_id = next.message_id ?? newId;
      db.run(
        `UPDATE deliveries INDEXED BY deliveries_due SET state = 'SENDING', attempts = attempts + 1, due_ms = NULL, changed_at_ms = ?1
         WHERE message_id = ?2 AND channel = ?3 AND state IN ('PENDING', 'SENDING') AND state = 'PENDING'`,
        nowMs,
        message_id,
        channel,
      );
      const rows = sending(channel, message_id);
      return {
        message_id,
        channel,
        attempt: Math.max(1, ...rows.map(({ attempts }) => attempts)),
        created_at_ms: Math.min(...rows.map((row) => row.created_at_ms)),
        alerts: rows.slice(0, most).map((row) => ({ alert: alertIn(row), about: row.about })),
        more: Math.max(0, rows.length - most),
        error: rows[0]?.error ?? null,
      };
    },

    async settleMessage({ channel, message_id }, outcome, nowMs) {
      requireLegal("delivery", "SENDING", outcome.state);
      const rows = sending(channel, message_id);
      const error = outcome.state === "SENT" ? null : outcome.error;
      db.run(
        `UPDATE deliveries INDEXED BY deliveries_due SET state = ?1, error = ?2, due_ms = ?3, changed_at_ms = ?4
         WHERE channel = ?5 AND state IN ('PENDING', 'SENDING') AND state = 'SENDING' AND message_id = ?6`,
        outcome.state,
        error,
        outcome.state === "PENDING" ? outcome.due_ms : null,
        nowMs,
        channel,
        message_id,
      );
      const event = ({ SENT: "sent", PENDING: "failed", DEAD: "dead" } as const)[outcome.state];
      // The same failure, again and again, is told once.
      for (const row of rows)
        if (event !== "failed" || error !== row.error) await log(row, nowMs, event, channel, error);
      return rows.length;
    },

    async recoverSending(nowMs) {
      requireLegal("delivery", "SENDING", "PENDING");
      return db.run(
        "UPDATE deliveries SET state = 'PENDING', due_ms = ?1, changed_at_ms = ?1 WHERE state = 'SENDING'",
        nowMs,
      ).changes;
    },

    async hurryChannel(channel, nowMs) {
      db.run(
        `UPDATE deliveries SET due_ms = ?2 WHERE channel = ?1 AND state = 'PENDING' AND message_id IS NOT NULL AND due_ms > ?2`,
        channel,
        nowMs,
      );
    },

    async retryDeliveries(alertId, nowMs) {
      requireLegal("delivery", "DEAD", "PENDING");
      return db.run(
        `UPDATE deliveries SET state = 'PENDING', attempts = 0, due_ms = ?1, message_id = NULL, created_at_ms = ?1, changed_at_ms = ?1
         WHERE state = 'DEAD' AND (?2 IS NULL OR alert_id = ?2)`,
        nowMs,
        alertId,
      ).changes;
    },

    async dismissDeliveries({ alertId, channel }, nowMs) {
      requireLegal("delivery", "PENDING", "DISMISSED");
      requireLegal("delivery", "DEAD", "DISMISSED");
      const rows = db.all<AlertRecord & Pick<DeliveryRecord, "channel"> & { delivery: number }>(
        `SELECT ${ALERT}, channel, deliveries.seq AS delivery FROM deliveries JOIN alerts USING (alert_id)
         WHERE deliveries.seq IN (
           SELECT seq FROM deliveries INDEXED BY deliveries_due WHERE state IN ('PENDING', 'SENDING') AND state = 'PENDING'
             AND (?1 IS NULL OR alert_id = ?1) AND (?2 IS NULL OR channel = ?2)
           UNION ALL SELECT seq FROM deliveries INDEXED BY deliveries_dead WHERE state = 'DEAD'
             AND (?1 IS NULL OR alert_id = ?1) AND (?2 IS NULL OR channel = ?2)
           LIMIT ?3)
         ORDER BY deliveries.seq`,
        alertId,
        channel,
        STEP,
      );
      for (const { delivery, channel: name, ...alert } of rows) {
        db.run(
          "UPDATE deliveries SET state = 'DISMISSED', due_ms = NULL, changed_at_ms = ? WHERE seq = ?",
          nowMs,
          delivery,
        );
        await log(alert, nowMs, "dropped", name);
      }
      return { deliveries: rows.length, more: rows.length === STEP };
    },

    async countDeliveries() {
      return db.all<ChannelCounts>(
        `SELECT channel, sum(is_dead = 0) AS pending, sum(is_dead) AS dead FROM (
           SELECT channel, 0 AS is_dead FROM deliveries INDEXED BY deliveries_due WHERE state IN ('PENDING', 'SENDING')
           UNION ALL SELECT channel, 1 FROM deliveries INDEXED BY deliveries_dead WHERE state = 'DEAD')
         GROUP BY channel ORDER BY channel`,
      );
    },

    async channelStates() {
      return db.all(
        `WITH RECURSIVE tried (channel) AS (
           SELECT min(channel) FROM deliveries INDEXED BY deliveries_of_channel WHERE attempts > 0
           UNION ALL
           SELECT (SELECT min(channel) FROM deliveries INDEXED BY deliveries_of_channel
                   WHERE attempts > 0 AND channel > tried.channel)
           FROM tried WHERE channel IS NOT NULL)
         SELECT channel,
           (SELECT changed_at_ms FROM deliveries INDEXED BY deliveries_of_channel
            WHERE deliveries.channel = tried.channel AND attempts > 0 AND state = 'SENT'
            ORDER BY changed_at_ms DESC LIMIT 1) AS sent_at_ms,
           (SELECT error FROM deliveries INDEXED BY deliveries_of_channel
            WHERE deliveries.channel = tried.channel AND attempts > 0 AND state <> 'SENDING'
            ORDER BY changed_at_ms DESC, seq DESC LIMIT 1) AS error
         FROM tried WHERE channel IS NOT NULL`,
      );
    },

    async recentMessages(sinceMs) {
      return db.all(
        `SELECT channel, max(changed_at_ms) AS sent_at_ms FROM deliveries WHERE state = 'SENT' AND changed_at_ms > ?
         GROUP BY channel, message_id ORDER BY sent_at_ms`,
        sinceMs,
      );
    },

    async failedTasksOf(runId, limit) {
      // A task that was tried again in another attempt has several rows.
      return db.all<FailedTask>(
        `SELECT task_id, task_name, task_instance_id, item_key, status, exit_code, signal, error, finished_at_ms FROM task_runs
         WHERE workflow_instance_id = ?1 AND status IN ('FAILED', 'CRASHED') AND allowed = 0
           AND seq IN (SELECT max(seq) FROM task_runs WHERE workflow_instance_id = ?1 GROUP BY task_id, item_key)
         ORDER BY finished_at_ms DESC, seq DESC LIMIT ?2`,
        runId,
        limit,
      );
    },

    async countToldFailure(workflowId, hasFailed, nowMs) {
      const sql = "SELECT failures FROM notify_states WHERE workflow_id = ?";
      const before = db.one<{ failures: number }>(sql, workflowId)?.failures ?? 0;
      // A workflow that has never failed needs no row.
      if (!hasFailed && before === 0) return { failures: 0, before };
      const failures = hasFailed ? before + 1 : 0;
      db.run(
        `INSERT INTO notify_states (workflow_id, failures, is_raised, changed_at_ms) VALUES (?1, ?2, ?2 > 0, ?3)
         ON CONFLICT (workflow_id) DO UPDATE SET failures = ?2, is_raised = ?2 > 0, changed_at_ms = ?3`,
        workflowId,
        failures,
        nowMs,
      );
      return { failures, before };
    },

    async forgetAlerts(beforeMs, keep) {
      const old = db.all<{ alert_id: string }>(
        `SELECT alert_id FROM alerts WHERE resolved_at_ms IS NOT NULL
           AND (resolved_at_ms < ?1 OR seq <= coalesce((SELECT seq FROM alerts ORDER BY seq DESC LIMIT 1 OFFSET ?2), -1))
           AND NOT EXISTS (SELECT 1 FROM deliveries WHERE deliveries.alert_id = alerts.alert_id
             AND (state IN ('PENDING', 'SENDING') OR (state = 'DEAD' AND changed_at_ms >= ?1)))
         ORDER BY seq LIMIT ?3`,
        beforeMs,
        keep,
        STEP,
      );
      for (const { alert_id } of old) {
        db.run("DELETE FROM deliveries WHERE alert_id = ?", alert_id);
        db.run("DELETE FROM alerts WHERE alert_id = ?", alert_id);
      }
      db.run("DELETE FROM notify_states WHERE failures = 0 AND changed_at_ms < ?", beforeMs);
      return old.length;
    },
  };
}
