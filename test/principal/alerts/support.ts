/** Helpers for the tests of what channels send. */
import type { AlertForMessage, OutgoingMessage } from "../../../src/principal/alerts/senders/sender.ts";

/** A failed run. */
export const FAILED: AlertForMessage = {
  alert_id: "0b5ad9ee-6bd5-4a2c-a8a5-3f6a1f8f3b11",
  kind: "failed",
  key: "failed etl.daily 8c1f2c3a-8e0b-4d6e-9d52-1f9d7a3e5c44",
  about: "raised",
  workflow_id: "etl.daily",
  workflow_instance_id: "8c1f2c3a-8e0b-4d6e-9d52-1f9d7a3e5c44",
  subject: "etl.daily failed, 2 times in a row",
  facts: {
    workflow_name: "Daily load",
    status: "FAILED",
    error: "load: exit status 3",
    trigger: "cron",
    attempt: 1,
    agent_id: "host-1",
    created_at_ms: Date.UTC(2026, 10, 27, 2),
    started_at_ms: Date.UTC(2026, 10, 27, 2),
    finished_at_ms: Date.UTC(2026, 10, 27, 2, 2, 3),
    duration_ms: 123_456,
    failures: 2,
    failed_tasks: [
      {
        task_id: "load",
        task_name: "load",
        task_instance_id: "1d3c",
        item_key: "orders",
        status: "FAILED",
        exit_code: 3,
        signal: null,
        error: "exit status 3: no such table",
        finished_at_ms: Date.UTC(2026, 10, 27, 2, 2),
      },
    ],
  },
  raised_at_ms: Date.UTC(2026, 10, 27, 2, 2, 3),
  resolved_at_ms: Date.UTC(2026, 10, 27, 2, 2, 3),
};

/** An agent that was silent, and is back. */
export const BACK: AlertForMessage = {
  alert_id: "a2",
  kind: "agent_lost",
  key: "agent_lost host-2",
  about: "resolved",
  workflow_id: null,
  workflow_instance_id: null,
  subject: "agent host-2 is lost",
  facts: { agent_id: "host-2" },
  raised_at_ms: Date.UTC(2026, 10, 27, 3),
  resolved_at_ms: Date.UTC(2026, 10, 27, 3, 4),
};

/** A message with these alerts. */
export function messageOf(alerts: readonly AlertForMessage[] = [FAILED], more = 0): OutgoingMessage {
  return { id: "m-1", channel: "ops", alerts, more, created_at_ms: Date.UTC(2026, 10, 27, 2, 2, 4) };
}
