/** The reports of a run on this agent: what they all say is said here. */
import type { RunReport, TaskReport } from "../contract/messages.ts";
import type { RunStatus } from "../workflow/status.ts";
import type { RunContext } from "./task-context.ts";

type OfAttempt = Pick<RunContext, "assignment" | "clock">;
type RunPart = Pick<TaskReport, "workflow_id" | "workflow_instance_id" | "slice" | "attempt">;
type Details = Omit<TaskReport, "kind" | "seq" | keyof RunPart>;
/** What a report says in any case. */
type Said = "task_id" | "task_instance_id" | "task_attempt" | "status" | "timestamp_ms";

function partOf({ assignment }: Pick<RunContext, "assignment">): RunPart {
  const { workflow_id, workflow_instance_id, slice, attempt } = assignment;
  return { workflow_id, workflow_instance_id, slice, attempt };
}

/** A report of the attempt's status. */
export function runReport(
  context: OfAttempt,
  status: RunStatus,
  error: string | null = null,
): Omit<RunReport, "seq" | "log_seq"> {
  return { kind: "run", ...partOf(context), status, timestamp_ms: context.clock.now(), error };
}

/** A report about one of its tasks. */
export function taskReport(
  context: Pick<RunContext, "assignment">,
  about: Pick<Details, Said> & Partial<Details>,
): Omit<TaskReport, "seq"> {
  return {
    kind: "task",
    ...partOf(context),
    exit_code: null,
    signal: null,
    error: null,
    cpu_ms: null,
    max_rss_kb: null,
    outputs: null,
    ...about,
  };
}
