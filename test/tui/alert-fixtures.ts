/** Alerts of several kinds, channels and alert files, at the fixed time of the fixtures. */
import type { AlertSummary } from "../../src/contract/messages.ts";
import type { AlertData } from "../../src/tui/state.ts";

/** Wednesday, 4 March 2026, 10:00:00 UTC. */
const NOW = Date.UTC(2026, 2, 4, 10, 0, 0);

const alert = (n: number, over: Partial<AlertSummary>): AlertSummary => ({
  alert_id: `0000000${n}-0000-4000-8000-00000000000a`,
  kind: "late",
  key: `late etl.daily ${n}`,
  workflow_id: "etl.daily",
  workflow_instance_id: null,
  subject: "",
  raised_at_ms: NOW - n * 300_000,
  resolved_at_ms: null,
  deliveries: [],
  ...over,
});
const delivery = (channel: string, state: string, error: string | null = null) => ({
  channel,
  about: "raised",
  state,
  attempts: error === null ? 1 : 3,
  message_id: null,
  due_ms: state === "PENDING" ? NOW + 120_000 : null,
  error,
  changed_at_ms: NOW - 60_000,
});

/** A run that is late, a workflow that has missed its time, a row of a query, a dead letter. */
export const ALERTS: AlertData = {
  alerts: [
    alert(1, {
      workflow_instance_id: "00000001-0000-4000-8000-000000000091",
      subject: "etl.daily takes longer than 2h",
      deliveries: [delivery("ops", "SENT"), delivery("chat", "PENDING", "HTTP 503 from hooks.example.org")],
    }),
    alert(2, {
      kind: "missed",
      key: "missed reports.sales finish_by",
      workflow_id: "reports.sales",
      subject: "reports.sales had to be done by 06:00, and no run was",
    }),
    alert(3, {
      kind: "query",
      key: "query alerts/growing.yml hello",
      workflow_id: "hello",
      subject: "hello wrote 140 MB in a day; usual are 12",
      deliveries: [delivery("ops", "DEAD", "mail.example.org: 550 no such mailbox")],
    }),
    alert(4, {
      kind: "agent_lost",
      key: "agent_lost host-c",
      workflow_id: null,
      subject: "agent host-c is lost: no heartbeat for 30 s",
      deliveries: [delivery("ops", "SENDING")],
    }),
  ],
  dead: [
    alert(7, {
      kind: "failed",
      key: "failed hello 00000003",
      workflow_id: "hello",
      subject: "hello FAILED: greet ended with exit status 3",
      resolved_at_ms: NOW - 2_100_000,
      deliveries: [delivery("ops", "DEAD", "mail.example.org: 550 no such mailbox")],
    }),
  ],
  channels: [
    {
      channel: "chat",
      kind: "slack",
      pending: 1,
      dead: 0,
      exists: true,
      next_ms: NOW + 120_000,
      last_sent_ms: null,
      error: "HTTP 503 from hooks.example.org",
    },
    {
      channel: "ops",
      kind: "mail",
      pending: 0,
      dead: 1,
      exists: true,
      next_ms: null,
      last_sent_ms: NOW - 60_000,
      error: null,
    },
  ],
  queries: [
    {
      file: "alerts/growing.yml",
      name: "Growing output",
      severity: "critical",
      to: ["ops"],
      every_ms: 1_800_000,
      evaluated_at_ms: NOW - 300_000,
      next_ms: NOW + 1_500_000,
      rows: 3,
      raised: 1,
      pending: 2,
      error: null,
      problem: null,
    },
    {
      file: "alerts/slow.yml",
      name: "Slow run",
      severity: "warning",
      to: [],
      every_ms: 60_000,
      evaluated_at_ms: null,
      next_ms: NOW + 30_000,
      rows: 0,
      raised: 0,
      pending: 0,
      error: 'The query cannot be run: Referenced column "took" not found',
      problem: null,
    },
  ],
};
