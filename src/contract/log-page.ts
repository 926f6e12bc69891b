import type { LogLine } from "./log-line.ts";
import type { LogPage } from "./messages.ts";

/** The rows of a page as lines. */
export function linesOf(page: LogPage): LogLine[] {
  return page.rows.map((row) => {
    const [workflow_id, workflow_name, workflow_instance_id, task_name, task_instance_id] = row;
    const [, , , , , timestamp_ms, level, payload] = row;
    return {
      workflow_id,
      workflow_name,
      workflow_instance_id,
      task_name,
      task_instance_id,
      timestamp_ms,
      level,
      payload,
    };
  });
}
