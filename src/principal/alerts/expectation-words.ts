/** What is told of an expectation that is broken. */
import type { ListedRun, RunRecord } from "../../storage/operational/store.ts";
import { alertKey } from "../../workflow/alert-kinds.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { type Expect, type ExpectRule, ruleInWords } from "../../workflow/expect.ts";
import type { NewAlert } from "./new-alert.ts";

/** An expectation that is broken. */
export interface Broken {
  readonly rule: ExpectRule;
  readonly workflow_id: string;
  /** The run that is late; null if it is missed. */
  readonly run: RunRecord | null;
  /** The newest run of the workflow; null for none. */
  readonly last: ListedRun | null;
  readonly expect: Expect;
  /** Name of the workflow. */
  readonly name: string;
  /** The zone of its time of day. */
  readonly zone: string | undefined;
  /** Why the run waits; undefined if it does not. */
  readonly reason: string | undefined;
  /** The end of the last run that completed, as far as it is known, ms since the epoch. */
  readonly completedMs: number | undefined;
  /** When it was broken, ms since the epoch. */
  readonly dueMs: number;
  /** When that is noticed, ms since the epoch. */
  readonly noticedMs: number;
}

/** What is noticed within this time, ms, is noticed in time. */
const LOOK_MS = 5000;

/** The key of the alert about a late run. */
export function lateKey(workflowId: string, run: string, rule: string): string {
  return alertKey("late", workflowId, run, rule);
}

/** The key of the alert about what was missed. */
export function missedKey(workflowId: string, rule: string): string {
  return alertKey("missed", workflowId, rule);
}

/** What is raised for it: `late` if there is a run, `missed` otherwise. */
export function brokenAlert(broken: Broken): NewAlert {
  const { rule, workflow_id, run, last, expect, name, zone, reason, completedMs, dueMs, noticedMs } = broken;
  const runId = run?.workflow_instance_id ?? null;
  return {
    kind: runId === null ? "missed" : "late",
    key: runId === null ? missedKey(workflow_id, rule) : lateKey(workflow_id, runId, rule),
    workflow_id,
    workflow_instance_id: runId,
    subject: subjectOf(broken),
    facts: {
      workflow_name: name,
      rule,
      expected: ruleInWords(rule, expect, zone) ?? undefined,
      due_ms: dueMs,
      noticed_ms: noticedMs < dueMs + LOOK_MS ? undefined : noticedMs,
      reason,
      last_completed_ms: completedMs,
      ...(run === null ? aboutLast(last) : aboutRun(run)),
    },
    at_ms: dueMs,
  };
}

function subjectOf({ rule, workflow_id, run, expect, zone }: Broken): string {
  switch (rule) {
    case "start_within":
      return `${workflow_id} is late: a run has not started within ${formatDuration(expect.start_within_ms ?? 0)}`;
    case "max_duration":
      return `${workflow_id} is late: a run has taken longer than ${formatDuration(expect.max_duration_ms ?? 0)}`;
    case "finish_by": {
      const by = `by ${expect.finish_by?.time ?? "its time"}${zone === undefined ? "" : ` (${zone})`}`;
      return run === null
        ? `${workflow_id} missed its time: no run has completed ${by}`
        : `${workflow_id} is late: its run has not completed ${by}`;
    }
    case "at_least_every":
      return `${workflow_id} missed its time: no run has completed for ${formatDuration(expect.at_least_every_ms ?? 0)}`;
  }
}

function aboutRun(run: RunRecord) {
  const { status, trigger, attempt, agent_id, actor, created_at_ms, scheduled_time_ms, started_at_ms } = run;
  return {
    status,
    trigger,
    attempt,
    agent_id: agent_id ?? undefined,
    actor: actor ?? undefined,
    created_at_ms,
    scheduled_time_ms: scheduled_time_ms ?? undefined,
    started_at_ms: started_at_ms ?? undefined,
    finished_at_ms: run.finished_at_ms ?? undefined,
  };
}

function aboutLast(last: ListedRun | null) {
  if (last === null) return {};
  const { workflow_instance_id, status, created_at_ms } = last;
  return {
    last_run: workflow_instance_id,
    last_run_status: status,
    last_run_created_at_ms: created_at_ms,
  };
}
